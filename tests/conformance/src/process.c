/* process: exit, kill, wait, info, crash_info; what a fault does; what becomes of threads that wait. */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/process.h>
#include <tess/stub/ring.h>
#include <tess/stub/system.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

static struct tess_process_info info_of(handle_t process)
{
    struct tess_process_info info = {};
    EXPECT_OK(tess_process_info(process, (uint64_t)&info));
    return info;
}

static void exits(void)
{
    struct child child;
    uint32_t cause;
    int32_t status;
    if (!child_start(&child, &(struct child_args){.role = "exit", .is_suspended = true}))
        return;
    struct tess_process_info info = info_of(child.spawned.process);
    EXPECT(memcmp(info.name, "exit", 5) == 0);
    EXPECT_EQUAL(info.state, PROCESS_STATE_ALIVE);
    EXPECT_EQUAL(info.thread_count, 1);
    EXPECT(info.handle_count >= 5 && info.memory_pages > 0);
    EXPECT_STATUS(tess_process_wait(child.spawned.process, &cause, &status, DEADLINE_NOW), ERROR_TIMED_OUT);
    EXPECT_STATUS(tess_process_wait(child.spawned.process, &cause, &status, time_after_ns(2 * NS_PER_MS)), ERROR_TIMED_OUT);
    EXPECT_OK(process_start(&child.spawned));
    child_expect(&child, EXIT_NORMAL, 7);
    child_expect(&child, EXIT_NORMAL, 7); /* it stays ended */
    info = info_of(child.spawned.process);
    EXPECT_EQUAL(info.state, PROCESS_STATE_ENDED);
    EXPECT_EQUAL(info.thread_count, 0);
    EXPECT_EQUAL(info.handle_count, 0);
    EXPECT_STATUS(tess_process_kill(child.spawned.process, 1), ERROR_ALREADY);
    handle_t thread, memory;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory));
    EXPECT_STATUS(tess_untyped_create_thread(std_self.untyped, child.spawned.process, memory, 0, 0, &thread), ERROR_PEER_DIED);
    struct tess_crash_record crash;
    EXPECT_STATUS(tess_process_crash_info(child.spawned.process, (uint64_t)&crash), ERROR_NOT_FOUND);
    child_end(&child);
}

static void kills(void)
{
    struct child child;
    if (!child_start(&child, &(struct child_args){.role = "wait"}))
        return;
    thread_wait_until_waiting(child.spawned.thread);
    EXPECT_OK(tess_process_kill(child.spawned.process, -33));
    child_expect(&child, EXIT_KILLED, -33);
    child_end(&child);
    if (!child_start(&child, &(struct child_args){.role = "wait", .is_suspended = true})) /* one that never ran */
        return;
    EXPECT_OK(tess_process_kill(child.spawned.process, 5));
    child_expect(&child, EXIT_KILLED, 5);
    EXPECT(tess_thread_start(child.spawned.thread, 0x1000, 0, 0, 0, 0) != OK ||
           info_of(child.spawned.process).state != PROCESS_STATE_ALIVE);
    child_end(&child);
    if (!child_start(&child, &(struct child_args){.role = "wait"}))
        return;
    handle_destroy(child.spawned.process);
    process_drop(&child.spawned);
    child_end(&child);
}

static void ends_with_last_thread(void)
{
    struct child child;
    if (!child_start(&child, &(struct child_args){.role = "wait"}))
        return;
    thread_wait_until_waiting(child.spawned.thread);
    EXPECT_OK(tess_thread_exit(child.spawned.thread));
    child_expect(&child, EXIT_NORMAL, 0);
    child_end(&child);
}

static void pointers(void)
{
    handle_t self = std_self.process;
    uint64_t text = (uint64_t)process_tests;
    static const uint64_t bad[] = {0, 1, 1ull << 38, 0xFFFFFFFF80000000, ~0ull};
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++)
        EXPECT_STATUS(tess_process_info(self, bad[i]), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_process_info(self, text), ERROR_BAD_ADDRESS);
    EXPECT_EQUAL(info_of(self).state, PROCESS_STATE_ALIVE);
    EXPECT_EQUAL(info_of(self).thread_count, 2); /* and the watchdog */
}

/* ---- Faults ---- */

static void faults(void)
{
    static const char *const kinds[] = {"read", "write", "kernel", "noncanonical", "text", "execute", "jump", "stack", "trap", "clock"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        struct child child;
        struct tess_crash_record crash = {};
        if (!child_start(&child, &(struct child_args){.role = "fault", .argument = kinds[i]}))
            return;
        uint32_t cause = 99;
        int32_t status;
        EXPECT_OK(tess_process_wait(child.spawned.process, &cause, &status, patience()));
        if (cause != EXIT_FAULT)
            test_fail("fault %s: cause %u status %d", kinds[i], cause, status);
        EXPECT_OK(tess_process_crash_info(child.spawned.process, (uint64_t)&crash));
        EXPECT_EQUAL(crash.cause, EXIT_FAULT);
        EXPECT(crash.frame_count >= 1 && crash.frame_count <= 16);
        EXPECT_EQUAL(crash.frames[0], crash.pc);
        if (strcmp(kinds[i], "write") == 0)
            EXPECT(crash.address == 0x7000000000 && crash.is_write == 1);
        if (strcmp(kinds[i], "read") == 0)
            EXPECT(crash.address == 8 && crash.is_write == 0);
        EXPECT_STATUS(tess_process_crash_info(child.spawned.process, 8), ERROR_BAD_ADDRESS);
        child_end(&child);
    }
}

/* ---- Others wait for it ---- */

static void waits(void *context)
{
    uint32_t cause = 99;
    int32_t status = 0;
    EXPECT_OK(tess_process_wait(*(handle_t *)context, &cause, &status, patience()));
    EXPECT_EQUAL(cause, EXIT_KILLED);
    EXPECT_EQUAL((uint32_t)status, 3);
}

static void several_waiters(void)
{
    struct child child;
    struct std_thread threads[3];
    struct std_ring ring;
    struct tess_completion completion;
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = 4, .watch_slots = 4};
    if (!child_start(&child, &(struct child_args){.role = "wait"}) || !EXPECT_OK(std_ring_open(&ring, &sizes)))
        return;
    EXPECT_OK(tess_ring_watch(ring.handle, child.spawned.process, 0, 11, WATCH_DEATH));
    EXPECT_OK(tess_ring_watch(ring.handle, child.spawned.thread, 0, 12, WATCH_DEATH));
    for (uint32_t i = 0; i < 3; i++)
        thread_start(&threads[i], waits, &child.spawned.process);
    for (uint32_t i = 0; i < 3; i++)
        thread_wait_until_waiting(threads[i].thread);
    EXPECT_OK(tess_process_kill(child.spawned.process, 3));
    uint64_t cookies = 0;
    for (uint32_t i = 0; i < 2 && EXPECT_OK(std_ring_wait(&ring, &completion, patience())); i++) {
        EXPECT_EQUAL(completion.kind, COMPLETION_WATCH);
        EXPECT_EQUAL((uint32_t)completion.status, (uint32_t)ERROR_PEER_DIED);
        cookies |= 1ull << completion.cookie;
    }
    EXPECT_EQUAL(cookies, 1ull << 11 | 1ull << 12);
    for (uint32_t i = 0; i < 3; i++)
        thread_join(&threads[i]);
    /* A watch on what has ended already completes at once. */
    EXPECT_OK(tess_ring_watch(ring.handle, child.spawned.process, 0, 13, WATCH_DEATH));
    EXPECT_OK(std_ring_wait(&ring, &completion, patience()));
    EXPECT_EQUAL(completion.cookie, 13);
    std_ring_close(&ring);
    child_end(&child);
}

/* Killed while its threads wait in every way there is. */
static void waits_on_event(void *context)
{
    uint64_t bits;
    (void)tess_event_wait(*(handle_t *)context, 1, &bits, DEADLINE_INFINITE);
}
static void waits_on_call(void *context)
{
    struct tess_regs regs = {.op = OP_TEST_ECHO, .handle = *(handle_t *)context, .aux = DEADLINE_INFINITE};
    (void)tess_invoke(&regs);
}
static void waits_on_receive(void *context)
{
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = *(handle_t *)context, .aux = DEADLINE_INFINITE};
    (void)tess_invoke(&regs);
    time_sleep_until(DEADLINE_INFINITE); /* with a caller that waits for the reply */
}
static void waits_on_ring(void *context)
{
    struct tess_completion completion;
    (void)std_ring_wait(context, &completion, DEADLINE_INFINITE);
}
static void waits_on_process(void *context)
{
    uint32_t cause;
    int32_t status;
    (void)tess_process_wait(*(handle_t *)context, &cause, &status, DEADLINE_INFINITE);
}
static void runs(void *)
{
    for (;;)
        ;
}

int32_t role_blocked(void)
{
    static struct std_thread threads[8];
    static struct std_ring ring;
    static handle_t event, silent, served;
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = 4, .watch_slots = 4};
    if (tess_untyped_create_event(std_self.untyped, &event) != OK || tess_untyped_create_endpoint(std_self.untyped, &silent) != OK ||
        tess_untyped_create_endpoint(std_self.untyped, &served) != OK || std_ring_open(&ring, &sizes) != OK)
        return 1;
    thread_start(&threads[0], waits_on_event, &event);
    thread_start(&threads[1], waits_on_call, &silent);
    thread_start(&threads[2], waits_on_receive, &served);
    thread_start(&threads[3], waits_on_ring, &ring);
    thread_start(&threads[4], waits_on_process, &std_self.process);
    thread_start(&threads[5], waits_on_call, &served);
    thread_start(&threads[6], runs, nullptr);
    for (uint32_t i = 0; i < 5; i++)
        if (i != 2)
            thread_wait_until_waiting(threads[i].thread);
    (void)tess_event_set(std_handle_needed("ready"), 1);
    (void)tess_thread_sleep(std_self.thread, DEADLINE_INFINITE);
    return 2;
}

static void killed_while_blocked(void)
{
    for (uint32_t i = 0; i < 6; i++) {
        struct child child;
        handle_t ready;
        uint64_t bits;
        EXPECT_OK(tess_untyped_create_event(std_self.untyped, &ready));
        struct child_args args = {.role = "blocked", .handles = {{"ready", ready, RIGHTS_ALL, false}}, .handle_count = 1};
        if (!child_start(&child, &args))
            return;
        EXPECT_OK(tess_event_wait(ready, 1, &bits, patience()));
        EXPECT_EQUAL(info_of(child.spawned.process).thread_count, 8);
        if (i % 2 == 0) {
            EXPECT_OK(tess_process_kill(child.spawned.process, 1));
            child_expect(&child, EXIT_KILLED, 1);
        }
        child_end(&child); /* else: its memory is taken away under it */
        handle_drop(ready);
    }
}

/* Two processes with one table: it is closed by the last of them. */
static void shared_table(void)
{
    static const uint8_t name[16] = "second";
    handle_t vspace, process, out;
    if (!EXPECT_OK(tess_untyped_create_vspace(std_self.untyped, &vspace)) ||
        !EXPECT_OK(tess_untyped_create_process(std_self.untyped, vspace, std_self.cspace, name, &process)))
        return;
    EXPECT_OK(tess_process_kill(process, 1));
    EXPECT_EQUAL(info_of(process).state, PROCESS_STATE_ENDED);
    EXPECT_OK(tess_untyped_create_process(std_self.untyped, vspace, std_self.cspace, name, &out));
    handle_drop(out);
    handle_drop(process);
    handle_drop(vspace);
}

/* Many short lives: nothing is left of any (test_run compares). */
static void many(void)
{
    for (uint32_t i = 0; i < 50; i++) {
        struct child child;
        if (!child_start(&child, &(struct child_args){.role = "exit"}))
            return;
        if (i % 3 != 0)
            child_expect(&child, EXIT_NORMAL, 7);
        child_end(&child);
    }
}

void process_tests(void)
{
    static const struct test tests[] = {
        {"process.exits", exits},
        {"process.kills", kills},
        {"process.ends_with_last_thread", ends_with_last_thread},
        {"process.pointers", pointers},
        {"process.faults", faults},
        {"process.several_waiters", several_waiters},
        {"process.killed_while_blocked", killed_while_blocked},
        {"process.shared_table", shared_table},
        {"process.many", many},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
