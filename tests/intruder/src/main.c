/* Runs the attacks, then random calls, each in children; at the end everything must be as before. Arguments: calls, seed. */
#include <intruder.h>
#include <tess/fmt.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/process.h>
#include <tess/stub/untyped.h>

constexpr uint64_t CHILD_BYTES = 2 << 20;
constexpr uint64_t PATIENCE_NS = 10 * NS_PER_S;
constexpr uint64_t STUCK_NS = NS_PER_S / 50; /* a random caller that makes no call for so long is ended */
static uint32_t failed_count, fault_count, stuck_count, child_count;

[[gnu::format(printf, 1, 2)]] static void fail(const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    fmt_vprint(text, sizeof(text), format, args);
    va_end(args);
    if (++failed_count <= 20)
        log_error("INTRUDER FAIL %s", text);
}

static bool start(struct clone *clone, const struct clone_args *args)
{
    status_t status = clone_start(clone, args);
    if (status != OK)
        fail("no child: %s", status_name(status));
    child_count += status == OK;
    return status == OK;
}

static void attack_end(const struct attack *attack, uint64_t argument, struct clone *clone)
{
    uint32_t cause;
    int32_t code;
    status_t status =
        tess_process_wait(clone->process, &cause, &code, time_after_ns(attack->end == ENDS_KILLED ? NS_PER_S / 20 : PATIENCE_NS));
    if (status == ERROR_TIMED_OUT) {
        if (attack->end != ENDS_KILLED)
            fail("%s %llu did not end", attack->name, (unsigned long long)argument);
        (void)tess_process_kill(clone->process, 3);
        if (tess_process_wait(clone->process, &cause, &code, time_after_ns(PATIENCE_NS)) != OK) {
            fail("%s %llu could not be killed", attack->name, (unsigned long long)argument);
            return;
        }
    } else if (status != OK || attack->end == ENDS_KILLED) {
        fail("%s %llu: %s, cause %u status %d", attack->name, (unsigned long long)argument, status_name(status), cause, code);
    }
    if ((cause == EXIT_NORMAL && code != STATUS_SAFE) || (attack->end == ENDS_FAULT && cause != EXIT_FAULT) ||
        (attack->end == ENDS_SAFE && cause != EXIT_NORMAL))
        fail("%s %llu: ended with cause %u status %d, at %llu", attack->name, (unsigned long long)argument, cause, code,
             (unsigned long long)shared->step);
    fault_count += cause == EXIT_FAULT;
}

static void run_attacks(const struct attack *list)
{
    for (const struct attack *attack = list; attack->name != nullptr; attack++)
        for (uint64_t i = 0; i < attack->count; i++) {
            struct clone clone;
            struct clone_args args = {.fn = attack->fn, .argument = i, .untyped_bytes = CHILD_BYTES, .has_http = true};
            if (!start(&clone, &args))
                return;
            attack_end(attack, i, &clone);
            clone_end(&clone);
        }
}

/* Waits for the child as long as it makes calls. */
static void random_end(struct clone *clone, uint64_t seed)
{
    uint32_t cause;
    int32_t code;
    uint64_t calls = atomic_load(&shared->calls);
    while (tess_process_wait(clone->process, &cause, &code, time_after_ns(STUCK_NS)) == ERROR_TIMED_OUT) {
        uint64_t now = atomic_load(&shared->calls);
        if (now == calls) {
            stuck_count++;
            status_t status = tess_process_kill(clone->process, 3);
            (void)status; /* ALREADY: it just ended */
            if (tess_process_wait(clone->process, &cause, &code, time_after_ns(PATIENCE_NS)) != OK)
                fail("the caller of seed %#llx could not be killed", (unsigned long long)seed);
            break;
        }
        calls = now;
    }
    fault_count += cause == EXIT_FAULT;
}

static void run_random(uint64_t wanted, uint64_t seed)
{
    uint64_t reported = 0;
    shared->calls_wanted = atomic_load(&shared->calls) + wanted;
    shared->appends_left = 50;
    for (uint32_t round = 0; atomic_load(&shared->calls) < shared->calls_wanted; round++) {
        uint64_t own = hash_u64(seed + round);
        struct clone clone;
        struct clone_args args = {
            .fn = random_calls, .argument = own, .untyped_bytes = CHILD_BYTES, .has_http = true, .has_log = round % 8 == 0};
        if (!start(&clone, &args))
            return;
        random_end(&clone, own);
        clone_end(&clone);
        if (atomic_load(&shared->calls) - reported >= wanted / 10) {
            reported = atomic_load(&shared->calls);
            log_info("%llu calls, %u children, %u died of a fault, %u were stuck", (unsigned long long)reported, child_count, fault_count,
                     stuck_count);
        }
    }
}

static uint64_t number(const char *text, uint64_t otherwise)
{
    if (text == nullptr)
        return otherwise;
    uint64_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    return value;
}

struct account {
    uint64_t limit, used, objects;
    uint32_t handles, slots;
};

static void account_read(struct account *account)
{
    memset(account, 0, sizeof(*account));
    status_t status = tess_untyped_info(std_self.untyped, &account->limit, &account->used, &account->objects);
    if (status == OK)
        status = tess_cspace_info(std_self.cspace, &account->handles, &account->slots);
    if (status != OK)
        fail("account: %s", status_name(status));
}

int main(void)
{
    uint64_t wanted = number(std_arg(0), 200'000), seed = number(std_arg(1), 20260101);
    struct account before, after;
    shared_make();
    shared->seed = seed;
    log_info("INTRUDER %llu calls, seed %llu", (unsigned long long)wanted, (unsigned long long)seed);
    /* Once without looking, so that every page of this program that is used is there. */
    struct clone clone;
    struct clone_args warm = {.fn = machine_attacks[0].fn, .untyped_bytes = CHILD_BYTES};
    if (start(&clone, &warm)) {
        attack_end(&machine_attacks[0], 0, &clone);
        clone_end(&clone);
    }
    time_sleep_until(time_after_ns(NS_PER_S / 5)); /* what is given up comes back a moment later */
    account_read(&before);
    run_attacks(attacks);
    run_attacks(machine_attacks);
    log_info("%u children, %u died of a fault", child_count, fault_count);
    run_random(wanted, seed);
    uint64_t end = time_after_ns(3 * NS_PER_S);
    do {
        time_sleep_until(time_after_ns(5 * NS_PER_MS));
        account_read(&after);
    } while (memcmp(&before, &after, sizeof(before)) != 0 && time_now_ns() < end);
    if (memcmp(&before, &after, sizeof(before)) != 0)
        fail("not given back: %lld pages, %lld objects, %d handles", (long long)(after.used - before.used),
             (long long)(after.objects - before.objects), (int)(after.handles - before.handles));
    log_info("%u children, %u died of a fault, %u were stuck, %u failures", child_count, fault_count, stuck_count, failed_count);
    log_info("INTRUDER done, %llu calls", (unsigned long long)atomic_load(&shared->calls));
    return failed_count == 0 ? 0 : 1;
}
