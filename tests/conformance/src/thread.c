/* thread: start, suspend, resume, interrupt, exit, yield, sleep, affinity, info; floating point state. */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

struct facts {
    uint64_t id, cpu_ns;
    uint32_t state, cpu;
};

static struct facts facts_of(handle_t thread)
{
    struct facts facts = {};
    EXPECT_OK(tess_thread_info(thread, &facts.id, &facts.state, &facts.cpu, &facts.cpu_ns));
    return facts;
}

struct counter {
    _Atomic uint64_t count;
    _Atomic bool is_over;
    handle_t event;
    _Atomic int32_t result;
};

static void counts(void *context)
{
    struct counter *counter = context;
    while (!atomic_load(&counter->is_over))
        atomic_fetch_add(&counter->count, 1);
}

static void wait_for_progress(struct counter *counter)
{
    uint64_t before = atomic_load(&counter->count), end = patience();
    while (atomic_load(&counter->count) == before && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    EXPECT(atomic_load(&counter->count) != before);
}

static void suspend_resume(void)
{
    struct counter counter = {};
    struct std_thread thread;
    thread_start(&thread, counts, &counter);
    for (uint32_t i = 0; i < 20; i++) {
        wait_for_progress(&counter);
        EXPECT_OK(tess_thread_suspend(thread.thread));
        EXPECT_STATUS(tess_thread_suspend(thread.thread), ERROR_ALREADY);
        sleep_ns(NS_PER_MS);
        uint64_t before, end = patience();
        do { /* it may take until its CPU hears of it */
            before = atomic_load(&counter.count);
            sleep_ns(3 * NS_PER_MS);
        } while (before != atomic_load(&counter.count) && time_now_ns() < end);
        EXPECT_EQUAL(atomic_load(&counter.count), before);
        EXPECT_OK(tess_thread_resume(thread.thread));
        EXPECT_STATUS(tess_thread_resume(thread.thread), ERROR_ALREADY);
    }
    wait_for_progress(&counter);
    atomic_store(&counter.is_over, true);
    thread_join(&thread);
}

static void waits_for_event(void *context)
{
    struct counter *counter = context;
    uint64_t bits;
    atomic_store(&counter->result, tess_event_wait(counter->event, 1, &bits, patience()));
    atomic_fetch_add(&counter->count, 1);
}

/* Suspended while it waits: the wait goes on and may even end, but the thread does not run. */
static void suspended_in_wait(void)
{
    struct counter counter = {};
    struct std_thread thread;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &counter.event));
    thread_start(&thread, waits_for_event, &counter);
    thread_wait_until_waiting(thread.thread);
    EXPECT_OK(tess_thread_suspend(thread.thread));
    EXPECT_OK(tess_event_set(counter.event, 1));
    sleep_ns(5 * NS_PER_MS);
    EXPECT_EQUAL(atomic_load(&counter.count), 0);
    uint64_t bits = 9;
    EXPECT_OK(tess_event_read(counter.event, &bits));
    EXPECT_EQUAL(bits, 0); /* the bit was given to it */
    EXPECT_OK(tess_thread_resume(thread.thread));
    thread_join(&thread);
    EXPECT_EQUAL(atomic_load(&counter.count), 1);
    EXPECT_STATUS(atomic_load(&counter.result), OK);
}

static void interrupt(void)
{
    struct counter counter = {};
    struct std_thread thread;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &counter.event));
    thread_start(&thread, waits_for_event, &counter);
    thread_wait_until_waiting(thread.thread);
    EXPECT_OK(tess_thread_interrupt(thread.thread));
    thread_join(&thread);
    EXPECT_STATUS(atomic_load(&counter.result), ERROR_INTERRUPTED);
    /* One that does not wait is interrupted in its next wait, once. */
    EXPECT_OK(tess_thread_interrupt(std_self.thread));
    uint64_t bits;
    EXPECT_STATUS(tess_event_wait(counter.event, 1, &bits, time_after_ns(PATIENCE_NS)), ERROR_INTERRUPTED);
    EXPECT_STATUS(tess_event_wait(counter.event, 1, &bits, time_after_ns(NS_PER_MS)), ERROR_TIMED_OUT);
    EXPECT_OK(tess_thread_interrupt(std_self.thread));
    EXPECT_STATUS(tess_thread_sleep(std_self.thread, time_after_ns(PATIENCE_NS)), ERROR_INTERRUPTED);
}

/* Interrupted again and again while it waits with timeouts: each wait ends with one of the two, and none is lost or doubled. */
static void waits_many_times(void *context)
{
    struct counter *counter = context;
    uint64_t bits;
    for (uint32_t i = 0; i < 400; i++) {
        status_t status = tess_event_wait(counter->event, 1, &bits, time_after_ns(200 * NS_PER_US));
        EXPECT(status == ERROR_TIMED_OUT || status == ERROR_INTERRUPTED || status == OK);
        if (status == ERROR_INTERRUPTED)
            atomic_fetch_add(&counter->count, 1);
    }
    atomic_store(&counter->is_over, true);
}

static void interrupt_storm(void)
{
    struct counter counter = {};
    struct std_thread thread;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &counter.event));
    thread_start(&thread, waits_many_times, &counter);
    for (uint32_t i = 0; !atomic_load(&counter.is_over); i++) {
        if (i % 3 == 0)
            EXPECT_OK(tess_event_set(counter.event, 1));
        else
            EXPECT_OK(tess_thread_interrupt(thread.thread));
        if (i % 8 == 0)
            EXPECT_OK(tess_thread_yield(std_self.thread));
    }
    thread_join(&thread);
    test_note("%lu interrupted", atomic_load(&counter.count));
}

/* ---- Time ---- */

static void sleeps(void)
{
    static const uint64_t lengths[] = {0, 1, 1000, 100'000, 1'000'000, 7'000'000, 20'000'000};
    uint64_t late = 0;
    for (uint32_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
        uint64_t deadline = time_after_ns(lengths[i]);
        EXPECT_STATUS(tess_thread_sleep(std_self.thread, deadline), ERROR_TIMED_OUT);
        uint64_t now = time_now_ns();
        EXPECT(now >= deadline);
        late = max_u64(late, now - deadline);
    }
    EXPECT_STATUS(tess_thread_sleep(std_self.thread, DEADLINE_NOW), ERROR_TIMED_OUT);
    EXPECT_STATUS(tess_thread_sleep(std_self.thread, 1), ERROR_TIMED_OUT);
    test_note("at most %lu us late", late / 1000);
}

static void sleeps_often(void *)
{
    uint64_t seed = time_now_ns() | 1;
    for (uint32_t i = 0; i < 60; i++) {
        uint64_t deadline = time_after_ns(random_next(&seed) % (2 * NS_PER_MS));
        EXPECT_STATUS(tess_thread_sleep(tess_thread_block()->thread, deadline), ERROR_TIMED_OUT);
        EXPECT(time_now_ns() >= deadline);
    }
}

static void many_sleepers(void)
{
    struct std_thread threads[12];
    for (uint32_t i = 0; i < ARRAY_LENGTH(threads); i++)
        thread_start(&threads[i], sleeps_often, nullptr);
    for (uint32_t i = 0; i < ARRAY_LENGTH(threads); i++)
        thread_join(&threads[i]);
}

static void on_itself_only(void)
{
    struct counter counter = {};
    struct std_thread thread;
    thread_start(&thread, counts, &counter);
    EXPECT_STATUS(tess_thread_sleep(thread.thread, time_after_ns(1000)), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_yield(thread.thread), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_thread_yield(std_self.thread));
    atomic_store(&counter.is_over, true);
    thread_join(&thread);
}

/* ---- Where it runs ---- */

static void visits(void *context)
{
    struct counter *counter = context;
    handle_t self = tess_thread_block()->thread;
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t cpu = i % guest.cpu_count;
        EXPECT_OK(tess_thread_set_affinity(self, 1ull << cpu));
        EXPECT_EQUAL(facts_of(self).cpu, cpu);
        EXPECT_OK(tess_thread_yield(self));
        EXPECT_EQUAL(facts_of(self).cpu, cpu);
        if (i % 4 == 0)
            sleep_ns(NS_PER_MS / 5);
        EXPECT_EQUAL(facts_of(self).cpu, cpu);
    }
    atomic_fetch_add(&counter->count, 1);
}

static void affinity(void)
{
    struct counter counter = {};
    struct std_thread threads[3];
    EXPECT_STATUS(tess_thread_set_affinity(std_self.thread, 0), ERROR_BAD_ARGUMENT);
    if (guest.cpu_count < 63)
        EXPECT_STATUS(tess_thread_set_affinity(std_self.thread, 1ull << guest.cpu_count), ERROR_BAD_ARGUMENT);
    for (uint32_t i = 0; i < 3; i++)
        thread_start(&threads[i], visits, &counter);
    for (uint32_t i = 0; i < 3; i++)
        thread_join(&threads[i]);
    EXPECT_EQUAL(atomic_load(&counter.count), 3);
}

/* Others move a thread that runs, waits in a queue or sleeps: it always goes on. */
static void moved_by_others(void)
{
    struct counter counters[3] = {};
    struct std_thread threads[3];
    uint64_t seed = 4711;
    for (uint32_t i = 0; i < 3; i++)
        thread_start(&threads[i], counts, &counters[i]);
    for (uint32_t i = 0; i < 150; i++) {
        for (uint32_t t = 0; t < 3; t++)
            EXPECT_OK(tess_thread_set_affinity(threads[t].thread, 1ull << (random_next(&seed) % guest.cpu_count)));
        if (i % 10 == 0)
            sleep_ns(NS_PER_MS);
    }
    for (uint32_t t = 0; t < 3; t++)
        wait_for_progress(&counters[t]);
    for (uint32_t t = 0; t < 3; t++) {
        EXPECT_OK(tess_thread_set_affinity(threads[t].thread, ~0ull));
        atomic_store(&counters[t].is_over, true);
        thread_join(&threads[t]);
    }
}

/* Three that compute on one CPU all get on. */
static void shares_a_cpu(void)
{
    struct counter counters[3] = {};
    struct std_thread threads[3];
    for (uint32_t i = 0; i < 3; i++) {
        thread_start(&threads[i], counts, &counters[i]);
        EXPECT_OK(tess_thread_set_affinity(threads[i].thread, 1));
    }
    sleep_ns(60 * NS_PER_MS);
    for (uint32_t i = 0; i < 3; i++)
        wait_for_progress(&counters[i]);
    for (uint32_t i = 0; i < 3; i++)
        atomic_store(&counters[i].is_over, true);
    for (uint32_t i = 0; i < 3; i++)
        thread_join(&threads[i]);
}

/* As a program waits without a call. riscv64: wfi is illegal in user mode (RISC-V Privileged 3.3.3), so the hint. */
static void wait_instruction(void)
{
#if defined(__x86_64__)
    uint32_t leaf = 7, features = 0;
    __asm__ volatile("cpuid" : "+a"(leaf), "+c"(features) : : "rbx", "rdx");
    if (features >> 5 & 1)                                                                                   /* WAITPKG */
        __asm__ volatile(".byte 0x66, 0x0F, 0xAE, 0xF1" : : "a"(UINT32_MAX), "c"(0), "d"(INT32_MAX) : "cc"); /* tpause %ecx */
    else
        __asm__ volatile("pause");
#elif defined(__aarch64__)
    __asm__ volatile("wfe\n\twfi");
#else
    __asm__ volatile(".word 0x0100000F"); /* pause */
#endif
}

static void waits(void *context)
{
    struct counter *counter = context;
    while (!atomic_load(&counter->is_over)) {
        wait_instruction();
        atomic_fetch_add(&counter->count, 1);
    }
}

/* On a CPU where no interrupt comes: it goes on by itself, and others there too. */
static void waits_without_a_call(void)
{
    struct counter counters[2] = {};
    struct std_thread threads[2];
    uint32_t last = guest.cpu_count - 1;
    for (uint32_t i = 0; i < 2; i++) {
        thread_start(&threads[i], i == 0 ? waits : counts, &counters[i]);
        EXPECT_OK(tess_thread_set_affinity(threads[i].thread, 1ull << last));
        for (uint32_t k = 0; k <= i; k++)
            wait_for_progress(&counters[k]);
    }
    atomic_store(&counters[1].is_over, true);
    thread_join(&threads[1]);
    uint64_t before = atomic_load(&counters[0].count);
    sleep_ns(100 * NS_PER_MS);
    EXPECT(atomic_load(&counters[0].count) > before + 10);
    atomic_store(&counters[0].is_over, true);
    thread_join(&threads[0]);
}

/* ---- Life ---- */

static void start_and_end(void)
{
    handle_t memory, thread;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory));
    EXPECT_OK(tess_untyped_create_thread(std_self.untyped, std_self.process, memory, 0, 0, &thread));
    EXPECT_EQUAL(facts_of(thread).state, 3);
    EXPECT_STATUS(tess_thread_resume(thread), ERROR_BAD_ARGUMENT); /* nothing to resume at */
    EXPECT_STATUS(tess_thread_suspend(thread), ERROR_ALREADY);
    EXPECT_STATUS(tess_thread_start(thread, 1ull << 38, 0, 0, 0, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_start(thread, 0xFFFFFFFF80000000, 0, 0, 0, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_start(thread, 0x1000, (1ull << 38) + 8, 0, 0, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_start(thread, 0x1000, 0, 0, 0, ~0ull), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_thread_exit(thread));
    uint64_t end = patience();
    while (facts_of(thread).state != 4 && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    EXPECT_EQUAL(facts_of(thread).state, 4);
    EXPECT_OK(tess_thread_exit(thread));
    handle_drop(thread);
    handle_drop(memory);
}

static void destroyed_while_running(void)
{
    for (uint32_t i = 0; i < 20; i++) {
        struct counter counter = {};
        struct std_thread thread;
        thread_start(&thread, counts, &counter);
        if (i % 2 == 0)
            wait_for_progress(&counter);
        handle_destroy(thread.thread);
        uint64_t before, end = patience();
        do {
            before = atomic_load(&counter.count);
            sleep_ns(2 * NS_PER_MS);
        } while (before != atomic_load(&counter.count) && time_now_ns() < end);
        EXPECT_EQUAL(atomic_load(&counter.count), before);
        std_handle_delete(thread.ended);
        std_mapping_destroy(&thread.mapping);
    }
}

void thread_tests(void)
{
    static const struct test tests[] = {
        {"thread.start_and_end", start_and_end},
        {"thread.suspend_resume", suspend_resume},
        {"thread.suspended_in_wait", suspended_in_wait},
        {"thread.interrupt", interrupt},
        {"thread.interrupt_storm", interrupt_storm},
        {"thread.sleeps", sleeps},
        {"thread.many_sleepers", many_sleepers},
        {"thread.on_itself_only", on_itself_only},
        {"thread.affinity", affinity},
        {"thread.moved_by_others", moved_by_others},
        {"thread.shares_a_cpu", shares_a_cpu},
        {"thread.waits_without_a_call", waits_without_a_call},
        {"thread.destroyed_while_running", destroyed_while_running},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
