/*
 * A hostile program and its keeper. The keeper is the first process: it runs a small server and starts children that hold an
 * endpoint to it and themselves, nothing else. They make random calls, write garbage into rings, exhaust their memory, start
 * threads without end, recurse, jump and reach for what is not theirs. Each may die; after each kind the keeper finds all memory
 * and all objects of the system as they were (test_run), and its server still answers.
 *
 * Kernel command line: hostile.calls=N random calls in all (200000), hostile.seed=N (1).
 */
#include <hostile.h>
#include <tess/fmt.h>
#include <tess/stub/cspace.h>
#include <tess/stub/endpoint.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

const struct role roles[] = {{"calls", role_calls}, {"ring", role_ring},     {"exhaust", role_exhaust},
                             {"bomb", role_bomb},   {"attack", role_attack}, {}};

static uint64_t seed;
static _Atomic uint64_t calls_made, total_calls, served;

/* ---- The server ---- */

static handle_t server_endpoint, client_endpoint;

static void drop_handles(uint64_t op)
{
    struct tess_message_page *page = tess_message_page();
    for (uint32_t i = 0; i < op_handles(op); i++)
        std_handle_delete(page->words[MESSAGE_HANDLE_WORD + i]);
}

static void serves(void *)
{
    for (;;) {
        struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = server_endpoint, .aux = DEADLINE_INFINITE};
        status_t status = tess_invoke(&regs);
        if (status == ERROR_PEER_DIED || status == ERROR_STALE_HANDLE)
            return;
        if (status != OK) {
            EXPECT_STATUS(status, OK);
            continue;
        }
        drop_handles(regs.op);
        bool is_report = op_method(regs.op) == REPORT_METHOD && regs.word[0] == REPORT_WORD && regs.aux == 1;
        if (is_report)
            atomic_fetch_add(&calls_made, regs.word[1]);
        atomic_fetch_add(&served, 1);
        uint64_t word = regs.word[0];
        regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY | 1ull << 16, .handle = server_endpoint, .word = {word}};
        status = tess_invoke(&regs); /* PEER_DIED: the caller did not wait; NOT_FOUND: it wanted no reply */
        EXPECT(status == OK || status == ERROR_PEER_DIED || status == ERROR_NOT_FOUND);
    }
}

static struct std_thread server_thread;

static void server_start(void)
{
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &server_endpoint));
    EXPECT_OK(tess_cspace_mint(std_self.cspace, server_endpoint, RIGHTS_ALL, 1, &client_endpoint));
    thread_start(&server_thread, serves, nullptr);
}

/* It still answers, and then it goes. */
static void server_end(void)
{
    struct tess_regs regs = {.op = op_make(INTERFACE_TEST, 1, 1, 0, 0), .handle = client_endpoint, .aux = patience(), .word = {12345}};
    EXPECT_OK(tess_invoke(&regs));
    EXPECT_EQUAL(regs.word[0], 12345);
    handle_destroy(server_endpoint);
    thread_join(&server_thread);
}

/* ---- Children ---- */

static bool hostile_start(struct child *child, const char *role, const char *argument)
{
    bool is_bomb = role[0] == 'b'; /* a hundred threads show as much as three hundred */
    struct child_args args = {.role = role,
                              .argument = argument,
                              .untyped_bytes = is_bomb ? 1 << 20 : 3 << 20,
                              .handles = {{"endpoint", client_endpoint, RIGHTS_ALL, false}},
                              .handle_count = 1};
    return child_start(child, &args);
}

static bool has_ended(struct child *child, uint64_t deadline)
{
    uint32_t cause;
    int32_t status;
    status_t result = tess_process_wait(child->spawned.process, &cause, &status, deadline);
    return result == OK;
}

/* One child until it ends, or makes no progress: it may well wait for ever by its own fault. */
static void run_for_a_while(const char *role, uint64_t number, uint64_t quiet_ns)
{
    char argument[24];
    struct child child;
    fmt_print(argument, sizeof(argument), "%lu", seed * 1'000'003 + number);
    if (!hostile_start(&child, role, argument))
        return;
    uint64_t before;
    do
        before = atomic_load(&calls_made);
    while (!has_ended(&child, time_after_ns(quiet_ns)) && atomic_load(&calls_made) != before);
    child_end(&child);
}

static uint64_t calls_wanted;

static void random_calls(void)
{
    server_start();
    uint64_t children = 0;
    atomic_store(&calls_made, 0);
    while (atomic_load(&calls_made) < calls_wanted && test_has_passed())
        run_for_a_while("calls", children++, 400 * NS_PER_MS);
    test_note("%lu calls by %lu processes, seed %lu, %lu served", atomic_load(&calls_made), children, seed, atomic_load(&served));
    atomic_fetch_add(&total_calls, atomic_load(&calls_made));
    server_end();
}

static void rounds(const char *role, uint32_t count)
{
    server_start();
    for (uint64_t i = 0; i < count && test_has_passed(); i++)
        run_for_a_while(role, i, 2 * NS_PER_S);
    atomic_fetch_add(&total_calls, atomic_load(&calls_made));
    atomic_store(&calls_made, 0);
    server_end();
}

static void ring_garbage(void) { rounds("ring", 6); }

static void exhaustion(void) { rounds("exhaust", 4); }

static void thread_bomb(void) { rounds("bomb", 2); }

/* Each of these must end as a fault of the child alone. */
static void attacks(void)
{
    server_start();
    for (uint32_t i = 0; i < attack_count; i++) {
        struct child child;
        uint32_t cause = 99;
        int32_t status = 0;
        if (!hostile_start(&child, "attack", attack_names[i]))
            break;
        EXPECT_OK(tess_process_wait(child.spawned.process, &cause, &status, patience()));
        if (cause != EXIT_FAULT)
            test_fail("%s: ended with cause %u status %d", attack_names[i], cause, status);
        child_end(&child);
    }
    server_end();
}

int main(void)
{
    if (!guest_init())
        return child_result;
    seed = option_u64("hostile.seed", 1);
    calls_wanted = option_u64("hostile.calls", 200'000);
    test_seconds_max = 120 + calls_wanted / 1000;
    static const struct test tests[] = {
        {"hostile.calls", random_calls},      {"hostile.ring_garbage", ring_garbage}, {"hostile.exhaustion", exhaustion},
        {"hostile.thread_bomb", thread_bomb}, {"hostile.attacks", attacks},
    };
    log_info("HOSTILE seed %lu", seed);
    tests_run(tests, ARRAY_LENGTH(tests));
    log_info("HOSTILE done, %lu calls", atomic_load(&total_calls));
    tests_finish();
}
