/* The jobs. Each step makes its own things, uses them against the others' scheduling, and takes them away in one way or another. */
#include <std/ring.h>
#include <stress.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

/* ---- The server: answers some calls at once, some later, some never (the caller's deadline ends those) ---- */

static struct std_ring server_ring;
static handle_t server_endpoint, client_endpoint;
static struct std_thread server_thread;
static _Atomic bool is_server_over;
static _Atomic uint64_t badges_gone;

static void answer(uint64_t token, uint64_t word)
{
    struct tess_call call = {.words = {word}, .reply_words = 1};
    status_t status = std_ring_reply(&server_ring, token, OK, &call);
    EXPECT(status == OK || status == ERROR_PEER_DIED || status == ERROR_NOT_FOUND); /* the last: it was given up, and we are told */
}

static void serves(void *)
{
    struct tess_completion late[8], completion;
    uint32_t late_count = 0;
    uint64_t seed = 12345;
    while (!atomic_load(&is_server_over)) {
        status_t status = std_ring_wait(&server_ring, &completion, time_after_ns(2 * NS_PER_MS));
        if (status != OK) {
            EXPECT_STATUS(status, ERROR_TIMED_OUT);
        } else if (completion.kind == COMPLETION_BADGE_GONE) {
            atomic_fetch_add(&badges_gone, 1);
        } else if (completion.kind == COMPLETION_CALL) {
            for (uint32_t i = 0; i < op_handles(completion.op); i++)
                std_handle_delete(completion.words[MESSAGE_HANDLE_WORD + i]);
            if (completion.cookie == 0)
                continue; /* wants no answer */
            if (random_next(&seed) % 4 == 0 && late_count < ARRAY_LENGTH(late))
                late[late_count++] = completion;
            else
                answer(completion.cookie, completion.words[0] + 1);
        }
        if (late_count == ARRAY_LENGTH(late) || (status != OK && late_count > 0) || (late_count > 0 && random_next(&seed) % 8 == 0)) {
            struct tess_completion one = late[random_next(&seed) % late_count];
            for (uint32_t i = 0; i < late_count; i++)
                if (late[i].cookie == one.cookie)
                    late[i] = late[--late_count];
            answer(one.cookie, one.words[0] + 1);
        }
    }
}

void server_open(void)
{
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = 8, .call_slots = 10, .watch_slots = 2};
    EXPECT_OK(std_ring_open(&server_ring, &sizes));
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &server_endpoint));
    EXPECT_OK(tess_ring_bind(server_ring.handle, server_endpoint, 1));
    client_endpoint = HANDLE_NONE;
    EXPECT_OK(std_handle_copy(server_endpoint, RIGHTS_ALL & ~(uint32_t)RIGHT_OWNER, &client_endpoint));
    atomic_store(&is_server_over, false);
    thread_start(&server_thread, serves, nullptr);
}

void server_close(void)
{
    atomic_store(&is_server_over, true);
    thread_join(&server_thread);
    std_ring_close(&server_ring);
    handle_destroy(server_endpoint);
}

/* A call with up to 12 words, up to 2 handles, any deadline. */
static void call_once(handle_t endpoint, uint64_t *seed)
{
    struct tess_message_page *page = tess_message_page();
    uint32_t words = 1 + (uint32_t)(random_next(seed) % 12), handles = words <= 8 ? (uint32_t)(random_next(seed) % 3) : 0, mask = 0;
    uint64_t word = random_next(seed) >> 8;
    struct tess_regs regs = {
        .handle = endpoint, .aux = time_after_ns(random_next(seed) % 4 == 0 ? random_next(seed) % 100'000 : 2 * NS_PER_S), .word = {word}};
    handle_t sent[2] = {HANDLE_NONE, HANDLE_NONE};
    for (uint32_t i = 0; i < handles; i++) {
        if (tess_untyped_create_event(std_self.untyped, &sent[i]) != OK)
            return;
        mask |= (uint32_t)(random_next(seed) % 2) << i;
        page->words[MESSAGE_HANDLE_WORD + i] = sent[i];
    }
    regs.op = op_make(INTERFACE_TEST, 1, words, handles, mask) | (random_next(seed) % 8 == 0 ? OP_SEND : 0);
    bool is_call = (regs.op & OP_SEND) == 0;
    status_t status = tess_invoke(&regs);
    if (status == OK && is_call)
        EXPECT_EQUAL(regs.word[0], word + 1);
    EXPECT(status == OK || status == ERROR_TIMED_OUT || status == ERROR_INTERRUPTED || status == ERROR_PEER_DIED ||
           status == ERROR_NO_HANDLES || status == ERROR_STALE_HANDLE || status == ERROR_NO_MEMORY);
    for (uint32_t i = 0; i < handles; i++)
        std_handle_delete(sent[i]); /* stale when it was moved */
}

static void calls(struct worker *worker)
{
    for (uint32_t i = 0; i < 20; i++)
        call_once(client_endpoint, &worker->seed);
}

static void badges(struct worker *worker)
{
    handle_t badged;
    EXPECT_OK(tess_cspace_mint(std_self.cspace, server_endpoint, RIGHTS_ALL, 1 + any(worker, 1000), &badged));
    if (any(worker, 2) != 0)
        call_once(badged, &worker->seed);
    handle_drop(badged);
}

/* ---- Children ---- */

int32_t role_idle(void)
{
    time_sleep_until(DEADLINE_INFINITE);
    return 0;
}

int32_t role_busy(void)
{
    for (volatile uint64_t i = 0;; i++)
        ;
}

int32_t role_crash(void)
{
    *(volatile uint64_t *)8 = 1;
    return 0;
}

int32_t role_caller(void)
{
    uint64_t seed = time_now_ns() | 1;
    handle_t endpoint = std_handle_needed("endpoint");
    for (uint32_t i = 0; i < 50; i++)
        call_once(endpoint, &seed);
    return test_has_passed() ? 0 : 1;
}

static void waits_or_spins(void *context)
{
    uint64_t bits;
    if (context == nullptr)
        for (;;)
            ;
    (void)tess_event_wait(*(handle_t *)context, 1, &bits, DEADLINE_INFINITE);
}

int32_t role_threads(void)
{
    static struct std_thread threads[6];
    static handle_t event;
    if (tess_untyped_create_event(std_self.untyped, &event) != OK)
        return 1;
    for (uint32_t i = 0; i < 6; i++)
        if (std_thread_start(&threads[i], waits_or_spins, i % 3 == 0 ? nullptr : &event, 0) != OK)
            return 2;
    sleep_ns(NS_PER_MS);
    return 0;
}

static void children(struct worker *worker)
{
    static const char *const names[] = {"idle", "busy", "caller", "threads", "crash"};
    struct child child;
    struct child_args args = {.role = names[any(worker, 5)],
                              .untyped_bytes = 768 << 10,
                              .handles = {{"endpoint", client_endpoint, RIGHTS_ALL, false}},
                              .handle_count = 1};
    uint32_t cause;
    int32_t status;
    if (!child_start(&child, &args))
        return;
    if (any(worker, 3) != 0)
        sleep_ns(any(worker, 4 * NS_PER_MS));
    switch (any(worker, 5)) {
    case 0:
        status = tess_process_kill(child.spawned.process, 1);
        EXPECT(status == OK || status == ERROR_ALREADY);
        EXPECT_OK(tess_process_wait(child.spawned.process, &cause, &status, time_after_ns(30 * NS_PER_S)));
        break;
    case 1: status = tess_thread_suspend(child.spawned.thread); break;
    case 2:
        handle_destroy(child.spawned.vspace); /* the ground under its feet */
        break;
    case 3: handle_destroy(child.spawned.cspace); break;
    default: break;
    }
    child_end(&child);
}

/* ---- Threads of our own ---- */

struct victim {
    handle_t event;
    _Atomic uint64_t turns;
    _Atomic bool is_over;
};

static void is_pushed_around(void *context)
{
    struct victim *victim = context;
    uint64_t bits;
    while (!atomic_load(&victim->is_over)) {
        atomic_fetch_add(&victim->turns, 1);
        status_t status = tess_event_wait(victim->event, 3, &bits, time_after_ns(300 * NS_PER_US));
        EXPECT(status == OK || status == ERROR_TIMED_OUT || status == ERROR_INTERRUPTED);
    }
}

static void threads(struct worker *worker)
{
    struct victim victim = {};
    struct std_thread thread;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &victim.event));
    thread_start(&thread, is_pushed_around, &victim);
    bool is_suspended = false;
    for (uint32_t i = 0; i < 40; i++) {
        status_t status = OK;
        switch (any(worker, 6)) {
        case 0: EXPECT_OK(tess_thread_interrupt(thread.thread)); break;
        case 1: EXPECT_OK(tess_thread_set_affinity(thread.thread, 1ull << any(worker, guest.cpu_count))); break;
        case 2:
            status = is_suspended ? tess_thread_resume(thread.thread) : tess_thread_suspend(thread.thread);
            is_suspended = !is_suspended;
            break;
        case 3: EXPECT_OK(tess_event_set(victim.event, 1 + any(worker, 3))); break;
        case 4: EXPECT_OK(tess_thread_yield(worker->thread.thread)); break;
        default: sleep_ns(any(worker, 200 * NS_PER_US));
        }
        EXPECT_STATUS(status, OK);
    }
    if (is_suspended)
        EXPECT_OK(tess_thread_resume(thread.thread));
    EXPECT_OK(tess_thread_set_affinity(thread.thread, ~0ull));
    atomic_store(&victim.is_over, true);
    if (std_thread_join(&thread, time_after_ns(30 * NS_PER_S)) != OK)
        test_fail("a thread that was pushed around does not end");
    handle_drop(victim.event);
}

/* Killed at a random moment, its handles and memory at another. */
static void short_lives(struct worker *worker)
{
    struct victim victim = {};
    struct std_thread thread;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &victim.event));
    thread_start(&thread, is_pushed_around, &victim);
    sleep_ns(any(worker, 500 * NS_PER_US));
    atomic_store(&victim.is_over, any(worker, 2) != 0);
    EXPECT_OK(tess_cspace_destroy(std_self.cspace, thread.thread));
    /* Its stack must stay until it is gone: a destroyed thread ends when it next would run. */
    struct tess_process_info info;
    (void)info;
    sleep_ns(2 * NS_PER_MS);
    std_handle_delete(thread.ended);
    std_handle_delete(victim.event);
    EXPECT_OK(tess_cspace_destroy(std_self.cspace, thread.mapping.memory));
    std_unmap(thread.mapping.address, thread.mapping.size);
}

/* The fastest jobs can outrun the return of memory while the host stops one of our CPUs inside the kernel. */
static bool is_full(status_t status)
{
    if (status == ERROR_NO_MEMORY)
        sleep_ns(5 * NS_PER_MS);
    return status == ERROR_NO_MEMORY;
}

/* ---- Memory ---- */

static void memory(struct worker *worker)
{
    uint64_t pages = 1 + any(worker, 60), at;
    uint32_t flags = any(worker, 4) == 0 ? MEMORY_COMMITTED : any(worker, 6) == 0 ? MEMORY_CONTIGUOUS : 0;
    handle_t memory;
    status_t status = tess_untyped_create_memory(std_self.untyped, pages * STD_PAGE, flags, &memory);
    if (status == ERROR_NO_CONTIGUOUS || is_full(status))
        return;
    if (!EXPECT_OK(status) || !EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, pages * STD_PAGE, 0, MAP_READ | MAP_WRITE, &at)))
        return;
    for (uint32_t i = 0; i < 30; i++) {
        uint64_t page = any(worker, pages), value = random_next(&worker->seed) | 1, got = 0;
        *(volatile uint64_t *)(at + page * STD_PAGE) = value;
        EXPECT_OK(tess_memory_read(memory, page * STD_PAGE, (uint64_t)&got, 8));
        EXPECT_EQUAL(got, value);
        if (any(worker, 4) == 0 && flags != MEMORY_CONTIGUOUS) {
            EXPECT_OK(tess_memory_decommit(memory, page * STD_PAGE, STD_PAGE));
            EXPECT_EQUAL(*(volatile uint64_t *)(at + page * STD_PAGE), 0);
        }
        if (any(worker, 6) == 0) {
            EXPECT_OK(tess_vspace_protect(std_self.vspace, at + page * STD_PAGE, STD_PAGE, MAP_READ));
            EXPECT_OK(tess_vspace_protect(std_self.vspace, at, pages * STD_PAGE, MAP_READ | MAP_WRITE));
        }
    }
    if (any(worker, 2) != 0)
        handle_destroy(memory);
    else
        handle_drop(memory);
    *(volatile uint64_t *)at = 1; /* scratch, or still there */
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, pages * STD_PAGE));
}

/* ---- Handles ---- */

static void revokes(struct worker *worker)
{
    handle_t root, tree[24], table;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &root));
    status_t status = tess_untyped_create_cspace(std_self.untyped, 64, &table);
    if (is_full(status)) {
        handle_drop(root);
        return;
    }
    EXPECT_STATUS(status, OK);
    tree[0] = root;
    for (uint32_t i = 1; i < ARRAY_LENGTH(tree); i++) {
        handle_t away;
        EXPECT_OK(std_handle_copy(tree[any(worker, i)], RIGHTS_ALL, &tree[i]));
        EXPECT_OK(tess_cspace_copy(table, tree[i], RIGHTS_ALL, &away));
    }
    uint32_t chosen = 1 + (uint32_t)any(worker, ARRAY_LENGTH(tree) - 1), used, limit;
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, tree[chosen]));
    EXPECT_OK(tess_event_set(tree[chosen], 1));
    switch (any(worker, 3)) {
    case 0:
        EXPECT_OK(tess_cspace_revoke(std_self.cspace, root));
        EXPECT_OK(tess_cspace_info(table, &used, &limit));
        EXPECT_EQUAL(used, 0);
        handle_drop(root);
        break;
    case 1: handle_destroy(root); break;
    default:
        for (uint32_t i = 0; i < ARRAY_LENGTH(tree); i++)
            std_handle_delete(tree[i]);
    }
    handle_destroy(table);
}

/* ---- Rings ---- */

static volatile uint32_t futex_words[3];

/* Bounded, or what waits: for an event, a futex, or as a call to the server; cancelled, timed out or left to the ring's end. */
static void submit_something(struct worker *worker, struct std_ring *ring, handle_t event)
{
    struct tess_submission entry = {.cookie = any(worker, 10), .aux = time_after_ns(any(worker, NS_PER_MS)), .words = {1 + any(worker, 7)}};
    switch (any(worker, 4)) {
    case 0: entry.op = OP_EVENT_SET, entry.handle = event; break;
    case 1: entry.op = OP_EVENT_WAIT, entry.handle = event; break;
    case 2:
        entry.op = OP_VSPACE_FUTEX_WAIT, entry.handle = std_self.vspace;
        entry.words[0] = (uint64_t)&futex_words[any(worker, 3)];
        entry.words[2] = 1;
        break;
    default: entry.op = op_make(INTERFACE_TEST, 1, 1 + (uint32_t)any(worker, 12), 0, 0), entry.handle = client_endpoint;
    }
    status_t status = std_ring_submit(ring, &entry);
    EXPECT(status == OK || status == ERROR_NO_SPACE);
}

static void futexes(struct worker *worker)
{
    for (uint32_t i = 0; i < 20; i++) {
        uint64_t at = (uint64_t)&futex_words[any(worker, 3)], to = (uint64_t)&futex_words[any(worker, 3)];
        uint32_t woken, moved;
        status_t status;
        switch (any(worker, 3)) {
        case 0:
            status = tess_vspace_futex_wait(std_self.vspace, at, 0, 1, time_after_ns(any(worker, NS_PER_MS)));
            EXPECT(status == OK || status == ERROR_TIMED_OUT);
            break;
        case 1: EXPECT_OK(tess_vspace_futex_wake(std_self.vspace, at, (uint32_t)any(worker, 4), 1, &woken)); break;
        default:
            EXPECT_OK(
                tess_vspace_futex_requeue(std_self.vspace, at, 0, to, (uint32_t)any(worker, 2), (uint32_t)any(worker, 4), &woken, &moved));
        }
    }
}

static void rings(struct worker *worker)
{
    struct std_ring ring;
    struct std_ring_sizes sizes = {
        .sq_entries = 4, .cq_entries = 4u << any(worker, 3), .call_slots = 1, .watch_slots = 20, .operation_slots = 5};
    handle_t events[3];
    struct tess_completion completion;
    if (!EXPECT_OK(std_ring_open(&ring, &sizes)))
        return;
    for (uint32_t i = 0; i < 3; i++)
        EXPECT_OK(tess_untyped_create_event(std_self.untyped, &events[i]));
    for (uint32_t i = 0; i < 30; i++) {
        uint32_t count;
        status_t status;
        switch (any(worker, 6)) {
        case 0:
            status = tess_ring_watch(ring.handle, events[any(worker, 3)], 1 + any(worker, 7), any(worker, 10), (uint32_t)any(worker, 4));
            EXPECT(status == OK || status == ERROR_NO_SPACE);
            break;
        case 1:
            status = tess_ring_timeout(ring.handle, time_now_ns() + any(worker, NS_PER_MS), any(worker, 10));
            EXPECT(status == OK || status == ERROR_NO_SPACE);
            break;
        case 2:
            status = tess_ring_cancel(ring.handle, any(worker, 10), &count);
            EXPECT(status == OK || status == ERROR_NOT_FOUND);
            break;
        case 3: submit_something(worker, &ring, events[any(worker, 3)]); break;
        case 4: EXPECT_OK(tess_event_set(events[any(worker, 3)], any(worker, 8))); break;
        default:
            status = std_ring_wait(&ring, &completion, time_after_ns(any(worker, 500 * NS_PER_US)));
            EXPECT(status == OK || status == ERROR_TIMED_OUT);
        }
    }
    if (any(worker, 2) != 0) /* the events first */
        for (uint32_t i = 0; i < 3; i++)
            handle_destroy(events[i]);
    std_ring_close(&ring);
    for (uint32_t i = 0; i < 3; i++)
        std_handle_delete(events[i]);
}

static void sleeps(struct worker *worker)
{
    uint64_t deadline = time_after_ns(any(worker, 3 * NS_PER_MS));
    time_sleep_until(deadline);
    EXPECT(time_now_ns() >= deadline);
}

const struct job jobs[] = {
    {"calls", calls},
    {"calls", calls},
    {"badges", badges},
    {"children", children},
    {"children", children},
    {"threads", threads},
    {"short_lives", short_lives},
    {"memory", memory},
    {"memory", memory},
    {"revokes", revokes},
    {"rings", rings},
    {"rings", rings},
    {"futexes", futexes},
    {"futexes", futexes},
    {"sleeps", sleeps},
    {"pairs", step_pairs},
    {"events", step_events},
    {"interrupts", step_interrupts},
};
const uint32_t job_count = ARRAY_LENGTH(jobs);
