/*
 * Random calls. Most are nearly right (a handle of the right type, plausible sizes), so that they get past the first checks. Left
 * out, but for a few: what ends the caller itself by right (its own exit, unmapping its own code).
 */
#include <conformance.h>
#include <intruder.h>
#include <std/ring.h>
#include <std/thread.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>

constexpr uint32_t POOL = 48, SELVES = 8;
constexpr uint32_t BATCH = 8000; /* calls of one child */
static struct pooled {
    handle_t handle;
    uint32_t type;
} pool[POOL];
static uint64_t seed;
static uint8_t scratch[4 * STD_PAGE] __attribute__((aligned(4096)));
static handle_t main_thread;

uint64_t random_next(uint64_t *state)
{
    /* Marsaglia, "Xorshift RNGs"; Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled". */
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1Dull;
}

static uint64_t below(uint64_t limit) { return (random_next(&seed) >> 16) % limit; }

static bool one_in(uint64_t count) { return below(count) == 0; }

status_t raw_call(uint64_t op, handle_t handle, uint64_t aux, uint64_t words[MESSAGE_WORDS])
{
    struct tess_message_page *page = tess_message_page();
    struct tess_regs regs = {.op = op, .handle = handle, .aux = aux};
    memcpy(regs.word, words, sizeof(regs.word));
    memcpy(&page->words[4], &words[4], 8 * sizeof(words[0]));
    status_t status = tess_invoke(&regs);
    memcpy(words, regs.word, sizeof(regs.word));
    memcpy(&words[4], &page->words[4], 8 * sizeof(words[0]));
    return status;
}

static void pool_add(handle_t handle)
{
    uint32_t type, rights;
    uint64_t badge, id;
    if (tess_cspace_inspect(std_self.cspace, handle, &type, &rights, &badge, &id) != OK)
        return;
    struct pooled *place = &pool[SELVES + below(POOL - SELVES)];
    if (place->handle != HANDLE_NONE && below(8) != 0)
        std_handle_delete(place->handle); /* else it is only forgotten, until the table is full */
    *place = (struct pooled){handle, type};
}

/* Copies of the child's own handles: the originals are not called, so that it can still end. */
static void pool_refresh(void)
{
    const handle_t selves[SELVES] = {std_self.untyped, std_self.untyped, std_self.cspace, std_self.vspace,
                                     std_self.process, std_self.thread,  shared->http,    std_self.log};
    static const uint32_t types[SELVES] = {OBJECT_UNTYPED, OBJECT_UNTYPED, OBJECT_CSPACE,   OBJECT_VSPACE,
                                           OBJECT_PROCESS, OBJECT_THREAD,  OBJECT_ENDPOINT, OBJECT_LOG};
    for (uint32_t i = 0; i < SELVES; i++) {
        std_handle_delete(pool[i].handle);
        pool[i] = (struct pooled){};
        if (selves[i] != HANDLE_NONE && std_handle_copy(selves[i], RIGHTS_ALL, &pool[i].handle) == OK)
            pool[i].type = types[i];
    }
}

static uint64_t garbage(void)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     4095,
                                     4096,
                                     8192,
                                     1ull << 20,
                                     1ull << 32,
                                     USER_END - 4096,
                                     USER_END,
                                     1ull << 47,
                                     0x7FFFFFFFFFFF,
                                     0xFFFF800000000000,
                                     0xFFFFFFFF80000000,
                                     ~0ull,
                                     ~0ull - 4095,
                                     1ull << 63};
    switch (below(5)) {
    case 0: return edges[below(ARRAY_LENGTH(edges))];
    case 1: return edges[below(ARRAY_LENGTH(edges))] + below(64) - 32;
    case 2: return random_next(&seed);
    case 3: return random_next(&seed) >> below(64);
    default: return 1ull << below(64);
    }
}

static handle_t some_handle(uint32_t type)
{
    if (!one_in(6)) {
        uint32_t first = (uint32_t)below(POOL);
        for (uint32_t i = 0; i < POOL; i++) {
            const struct pooled *p = &pool[(first + i) % POOL];
            if (p->handle != HANDLE_NONE && p->type == type)
                return p->handle;
        }
    }
    handle_t handle = pool[below(POOL)].handle;
    switch (below(4)) {
    case 0: return handle ^ 1ull << below(64);             /* forged */
    case 1: return handle - (1ull << 32) * (1 + below(3)); /* as it was before */
    case 2: return garbage();
    default: return handle;
    }
}

static uint64_t some_word(void)
{
    switch (below(8)) {
    case 0: return garbage();
    case 1: return (uint64_t)scratch + below(sizeof(scratch));
    case 2: return (uint64_t)scratch + STD_PAGE * below(4);
    case 3: return STD_PAGE * below(64);
    case 4: return 0x3000000000 + STD_PAGE * below(64); /* where nothing of the child is, but what it maps there */
    case 5: return pool[below(POOL)].handle;
    default: return below(16);
    }
}

static uint64_t some_deadline(void)
{
    switch (below(32)) {
    case 0: return DEADLINE_INFINITE;
    case 1: return garbage();
    case 2:
    case 3: return time_after_ns(below(100'000));
    default: return DEADLINE_NOW;
    }
}

static bool is_own(handle_t handle, uint32_t type)
{
    for (uint32_t i = 0; i < SELVES; i++)
        if (pool[i].handle == handle)
            return pool[i].type == type;
    return false;
}

/* Calls that would end this child: rarely made. */
static bool is_suicide(const struct method *method, handle_t handle, const uint64_t words[MESSAGE_WORDS])
{
    switch (op_make(method->interface, method->number, 0, 0, 0) & 0xFFFF) {
    case OP_PROCESS_EXIT & 0xFFFF:
    case OP_PROCESS_KILL & 0xFFFF: return is_own(handle, OBJECT_PROCESS);
    case OP_THREAD_EXIT & 0xFFFF:
    case OP_THREAD_SUSPEND & 0xFFFF: return is_own(handle, OBJECT_THREAD);
    case OP_THREAD_START & 0xFFFF: return true; /* anywhere: it dies of a fault */
    case OP_VSPACE_UNMAP & 0xFFFF:
    case OP_VSPACE_PROTECT & 0xFFFF: return is_own(handle, OBJECT_VSPACE) && words[0] < 0x3000000000;
    case OP_LOG_APPEND & 0xFFFF:
        if (is_own(handle, OBJECT_LOG) && shared->appends_left > 0) {
            shared->appends_left--;
            return false;
        }
        return true;
    default: return false;
    }
}

static uint64_t damaged_op(uint64_t op)
{
    switch (below(40)) {
    case 0: return op ^ 1ull << below(64);
    case 1: return op ^ 1ull << below(32);
    case 2: return random_next(&seed);
    case 3: return op_make((uint32_t)below(256), (uint32_t)below(256), (uint32_t)below(16), (uint32_t)below(8), (uint32_t)below(16));
    default: return op;
    }
}

static void call_method(void)
{
    const struct method *method = &methods[below(method_count)];
    handle_t handle = some_handle(method->interface);
    uint64_t words[MESSAGE_WORDS];
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        words[i] = some_word();
    for (uint32_t i = 0; i < method->argument_count; i++) {
        const struct argument *argument = &method->arguments[i];
        if (argument->kind == ARGUMENT_HANDLE)
            words[argument->word] = some_handle(argument->type);
        else if (argument->kind == ARGUMENT_U32 && !one_in(8))
            words[argument->word] = below(16);
    }
    if (is_suicide(method, handle, words) && !one_in(3000))
        return;
    uint64_t op = damaged_op(op_make(method->interface, method->number, method->in_words, 0, 0));
    status_t status = raw_call(op, handle, some_deadline(), words);
    bool is_into_own = method->interface == INTERFACE_CSPACE && is_own(handle, OBJECT_CSPACE) && method->number <= 3;
    if (status == OK && (method->gives_handle || is_into_own))
        pool_add(words[0]);
}

/* To a server: its own, or one of this child's endpoints, which nobody serves. */
static void call_server(void)
{
    uint64_t words[MESSAGE_WORDS];
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        words[i] = one_in(2) ? pool[below(POOL)].handle : some_word();
    uint64_t op = op_make((uint32_t)(17 + below(64)), (uint32_t)below(12), (uint32_t)below(13), one_in(2) ? 0 : (uint32_t)below(8),
                          (uint32_t)below(16));
    if (one_in(8))
        op |= OP_SEND;
    handle_t handle = one_in(2) ? pool[6].handle : some_handle(OBJECT_ENDPOINT);
    status_t status = raw_call(op, handle, time_after_ns(below(3'000'000)), words);
    (void)status; /* any answer will do */
}

/* Ends what the main thread waits for, for ever. */
static void interrupter(void *)
{
    for (;;) {
        time_sleep_until(time_after_ns(NS_PER_MS));
        status_t status = tess_thread_interrupt(main_thread);
        (void)status;
    }
}

int32_t random_calls(uint64_t argument)
{
    static struct std_thread second;
    seed = argument | 1;
    main_thread = std_self.thread;
    if (std_thread_start(&second, interrupter, nullptr, 0) != OK)
        return STATUS_SAFE; /* too little memory: the next child */
    for (uint32_t i = 0; i < BATCH && atomic_load_explicit(&shared->calls, memory_order_relaxed) < shared->calls_wanted; i++) {
        if (i % 256 == 0)
            pool_refresh();
        if (one_in(24))
            call_server();
        else
            call_method();
        atomic_fetch_add_explicit(&shared->calls, 1, memory_order_relaxed);
    }
    return STATUS_SAFE;
}

/* ---- Rings ---- */

static struct std_ring ring;

static void overwriter(void *)
{
    uint64_t state = seed ^ 0x5555;
    uint32_t *header = (uint32_t *)ring.header;
    uint64_t *entries = (uint64_t *)ring.submissions;
    uint64_t count = (uint64_t)ring.sq_entries * sizeof(struct tess_submission) / sizeof(uint64_t);
    for (;;) {
        uint64_t value = random_next(&state);
        uint32_t field = (uint32_t)(value >> 8) % 8;
        uint32_t wrong = (value & 1) != 0 ? (uint32_t)(value >> 32) : header[field] + (uint32_t)(value >> 60) - 8;
        *(volatile uint32_t *)&header[field] = wrong;
        ((volatile uint64_t *)entries)[(value >> 20) % count] = (value & 2) != 0 ? value >> (value & 63) : pool[value % POOL].handle;
    }
}

int32_t ring_garbage(uint64_t argument)
{
    static struct std_thread second;
    const struct std_ring_sizes sizes = {.sq_entries = 16, .cq_entries = 16, .call_slots = 4, .watch_slots = 16};
    seed = (shared->seed ^ argument << 20) | 1;
    pool_refresh();
    pool[4] = pool[5] = (struct pooled){}; /* not its own process and thread */
    if (std_ring_open(&ring, &sizes) != OK || std_thread_start(&second, overwriter, nullptr, 0) != OK)
        return STATUS_SAFE;
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t submitted, available;
        uint64_t deadline = one_in(4) ? time_after_ns(below(300'000)) : DEADLINE_NOW;
        status_t status = tess_ring_enter(ring.handle, (uint32_t)below(20), (uint32_t)below(3), &submitted, &available, deadline);
        if (status == OK && submitted > 20)
            return STATUS_BREACH;
        (void)tess_ring_watch(ring.handle, pool[below(POOL)].handle, below(4), below(100), (uint32_t)below(4));
        (void)tess_ring_timeout(ring.handle, time_after_ns(below(1'000'000)), below(100));
        uint32_t cancelled;
        (void)tess_ring_cancel(ring.handle, below(100), &cancelled);
        atomic_fetch_add_explicit(&shared->calls, 4, memory_order_relaxed);
    }
    return STATUS_SAFE;
}
