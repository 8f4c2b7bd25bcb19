/*
 * Sched objects: budgets enforced on one CPU and shared on several, ahead of fair threads, told when used up, taken back in every state of
 * their threads. Times are wall-clock on virtual CPUs that their host may stop: a measurement counts when one of TRIES is as it should be.
 * A host that stops a CPU ends its grants late (more is used, and paid for later) and wakes late who waits for time (less is used): so
 * the bounds below are wide; what is exact is shown on the host (kernel/tests/budget_test.c).
 */
#include <conformance.h>
#include <tess/stub/cell.h>
#include <tess/stub/cspace.h>
#include <tess/stub/endpoint.h>
#include <tess/stub/ring.h>
#include <tess/stub/sched.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

constexpr uint64_t MEASURE_NS = 400 * NS_PER_MS;
constexpr uint64_t SLACK_NS = 32 * NS_PER_MS;
constexpr uint32_t TRIES = 4;
static const uint8_t NAME[16] = "budget cell";

struct runner {
    struct std_thread thread;
    uint64_t affinity;
    _Atomic bool is_over;
    _Atomic uint64_t rounds;
};

static void runs(void *context)
{
    struct runner *runner = context;
    EXPECT_OK(tess_thread_set_affinity(tess_thread_block()->thread, runner->affinity));
    while (!atomic_load(&runner->is_over))
        atomic_fetch_add_explicit(&runner->rounds, 1, memory_order_relaxed);
}

static void runner_start(struct runner *runner, uint64_t affinity)
{
    *runner = (struct runner){.affinity = affinity};
    thread_start(&runner->thread, runs, runner);
}

static void runner_end(struct runner *runner)
{
    atomic_store(&runner->is_over, true);
    thread_join(&runner->thread);
}

static bool moves(struct runner *runner, uint64_t patience_ns)
{
    uint64_t before = atomic_load(&runner->rounds), end = time_after_ns(patience_ns);
    while (atomic_load(&runner->rounds) == before && time_now_ns() < end)
        sleep_ns(NS_PER_MS);
    return atomic_load(&runner->rounds) != before;
}

static bool stands(struct runner *runner)
{
    for (uint64_t end = patience(); time_now_ns() < end;)
        if (!moves(runner, 20 * NS_PER_MS))
            return true;
    return false;
}

static uint64_t thread_ns(handle_t thread)
{
    uint64_t id, cpu_ns = 0;
    uint32_t state, cpu;
    EXPECT_OK(tess_thread_info(thread, &id, &state, &cpu, &cpu_ns));
    return cpu_ns;
}

static handle_t make(uint64_t budget_ns, uint64_t period_ns)
{
    handle_t sched = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_sched(std_self.untyped, guest.cell, budget_ns, period_ns, &sched));
    return sched;
}

static struct tess_sched_info info_of(handle_t sched)
{
    struct tess_sched_info info = {};
    EXPECT_OK(tess_sched_info(sched, (uint64_t)&info));
    return info;
}

/* What was used of a budget in a while that is about so long, and that while. */
static uint64_t measure(handle_t sched, uint64_t *out_ns, uint32_t try)
{
    sleep_ns(60 * NS_PER_MS);
    uint64_t begun_ns = time_now_ns(), before = info_of(sched).used_ns;
    sleep_ns(MEASURE_NS << try);
    uint64_t used = info_of(sched).used_ns - before;
    *out_ns = time_now_ns() - begun_ns;
    return used;
}

/* Nobody else wants the CPU: it gets its budget and no more. */
static void enforced(void)
{
    struct runner runner;
    handle_t sched = make(10 * NS_PER_MS, 40 * NS_PER_MS);
    runner_start(&runner, 1);
    EXPECT_OK(tess_sched_bind(sched, runner.thread.thread));
    bool is_right = false;
    uint64_t used = 0, ns = 1, thread_used = 0;
    for (uint32_t try = 0; try < TRIES && !is_right; try++) {
        uint64_t before = thread_ns(runner.thread.thread);
        used = measure(sched, &ns, try);
        thread_used = thread_ns(runner.thread.thread) - before;
        is_right = used < ns / 4 + SLACK_NS && used + SLACK_NS > ns / 8 && thread_used + SLACK_NS > used && thread_used < ns / 3 + SLACK_NS;
    }
    if (!is_right)
        test_fail("%lu of %lu ms, the thread %lu", (unsigned long)(used / NS_PER_MS), (unsigned long)(ns / NS_PER_MS),
                  (unsigned long)(thread_used / NS_PER_MS));
    struct tess_sched_info info = info_of(sched);
    EXPECT(info.depletions > 3 && info.thread_count == 1 && info.budget_ns == 10 * NS_PER_MS && info.period_ns == 40 * NS_PER_MS);
    runner_end(&runner);
    EXPECT_EQUAL(info_of(sched).thread_count, 0);
    handle_drop(sched);
}

static void ahead(void)
{
    struct runner runner, others[3];
    handle_t sched = make(10 * NS_PER_MS, 20 * NS_PER_MS);
    runner_start(&runner, 1);
    for (uint32_t i = 0; i < 3; i++)
        runner_start(&others[i], 1);
    EXPECT_OK(tess_sched_bind(sched, runner.thread.thread));
    bool is_right = false;
    uint64_t used = 0, ns = 1;
    for (uint32_t try = 0; try < TRIES && !is_right; try++) {
        used = measure(sched, &ns, try);
        is_right = used + SLACK_NS > ns * 3 / 8 && used < ns / 2 + SLACK_NS;
    }
    if (!is_right)
        test_fail("%lu of %lu ms, not half", (unsigned long)(used / NS_PER_MS), (unsigned long)(ns / NS_PER_MS));
    for (uint32_t i = 0; i < 3; i++)
        EXPECT(moves(&others[i], PATIENCE_NS));
    runner_end(&runner);
    for (uint32_t i = 0; i < 3; i++)
        runner_end(&others[i]);
    handle_drop(sched);
}

/* Several threads, on as many CPUs as there are: together no more than the budget. */
static void shared(void)
{
    struct runner runners[4];
    handle_t sched = make(12 * NS_PER_MS, 40 * NS_PER_MS);
    for (uint32_t i = 0; i < 4; i++) {
        runner_start(&runners[i], ~0ull);
        EXPECT_OK(tess_sched_bind(sched, runners[i].thread.thread));
    }
    bool is_right = false;
    uint64_t used = 0, ns = 1;
    for (uint32_t try = 0; try < TRIES && !is_right; try++) {
        used = measure(sched, &ns, try);
        is_right = used < ns * 12 / 40 + ns / 16 + SLACK_NS && used + SLACK_NS > ns * 12 / 80;
    }
    if (!is_right)
        test_fail("%lu of %lu ms", (unsigned long)(used / NS_PER_MS), (unsigned long)(ns / NS_PER_MS));
    for (uint32_t i = 0; i < 4; i++)
        EXPECT(moves(&runners[i], PATIENCE_NS)); /* nobody is left behind */
    for (uint32_t i = 0; i < 4; i++)
        runner_end(&runners[i]);
    handle_drop(sched);
}

static void notice(void)
{
    struct std_ring ring;
    const struct std_ring_sizes sizes = {.sq_entries = 4, .cq_entries = 8, .call_slots = 0, .watch_slots = 4};
    struct runner runner;
    struct tess_completion completion;
    handle_t sched = make(2 * NS_PER_MS, 10 * NS_PER_MS), weak = with_rights(sched, RIGHT_WATCH);
    if (!EXPECT_OK(std_ring_open(&ring, &sizes)))
        return;
    EXPECT_STATUS(tess_ring_watch(ring.handle, weak, 1, 7, WATCH_MULTI), ERROR_MISSING_RIGHT);
    EXPECT_OK(tess_ring_watch(ring.handle, sched, 1, 7, WATCH_MULTI));
    EXPECT_OK(tess_ring_watch(ring.handle, sched, 1, 8, WATCH_ONCE));
    EXPECT_OK(tess_ring_watch(ring.handle, sched, 0, 9, WATCH_DEATH));
    EXPECT_STATUS(std_ring_wait(&ring, &completion, time_after_ns(20 * NS_PER_MS)), ERROR_TIMED_OUT);
    runner_start(&runner, 1);
    EXPECT_OK(tess_sched_bind(sched, runner.thread.thread));
    uint32_t multi = 0, once = 0;
    while (multi < 3 && EXPECT_OK(std_ring_wait(&ring, &completion, patience()))) {
        EXPECT(completion.kind == COMPLETION_WATCH && completion.status == OK && completion.words[0] == 1);
        multi += completion.cookie == 7;
        once += completion.cookie == 8;
    }
    EXPECT_EQUAL(once, 1);
    EXPECT(info_of(sched).depletions >= 3);
    handle_drop(weak);
    handle_destroy(sched);
    uint64_t end = patience();
    do
        EXPECT_OK(std_ring_wait(&ring, &completion, end));
    while (completion.cookie != 9 && time_now_ns() < end);
    EXPECT(completion.cookie == 9 && completion.status == ERROR_PEER_DIED);
    runner_end(&runner);
    std_ring_close(&ring);
}

/* A thread that has used up what comes back in ten seconds. */
static handle_t hold_up(struct runner *runner)
{
    handle_t sched = make(SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MAX_NS);
    runner_start(runner, ~0ull);
    while (atomic_load(&runner->rounds) == 0)
        sleep_ns(NS_PER_MS);
    EXPECT_OK(tess_sched_bind(sched, runner->thread.thread));
    EXPECT(stands(runner));
    EXPECT(info_of(sched).depletions == 1 && info_of(sched).left_ns < SCHED_BUDGET_MIN_NS);
    return sched;
}

/* Whoever is held up goes on at once when it is not to be any more; and ends, stops and moves as others do. */
static void held_up(void)
{
    struct runner runner;
    uint64_t begun_ns = time_now_ns();
    handle_t sched = hold_up(&runner), other;
    EXPECT_OK(tess_sched_unbind(sched, runner.thread.thread));
    EXPECT(moves(&runner, PATIENCE_NS / 4));
    EXPECT_OK(tess_sched_bind(sched, runner.thread.thread)); /* what was used stays used */
    EXPECT(stands(&runner));
    other = make(NS_PER_MS, 10 * NS_PER_MS);
    EXPECT_STATUS(tess_sched_bind(other, runner.thread.thread), ERROR_BUSY);
    EXPECT_STATUS(tess_sched_unbind(other, runner.thread.thread), ERROR_NOT_FOUND);
    EXPECT_OK(tess_thread_suspend(runner.thread.thread));
    EXPECT_OK(tess_thread_set_affinity(runner.thread.thread, 1));
    EXPECT_OK(tess_thread_resume(runner.thread.thread));
    EXPECT(stands(&runner));
    EXPECT_OK(tess_sched_unbind(sched, runner.thread.thread));
    EXPECT_OK(tess_sched_bind(other, runner.thread.thread));
    EXPECT(moves(&runner, PATIENCE_NS / 4));
    handle_drop(other); /* its last handle */
    EXPECT(moves(&runner, PATIENCE_NS / 4));
    runner_end(&runner);
    handle_drop(sched);
    sched = hold_up(&runner);
    handle_destroy(sched);
    EXPECT(moves(&runner, PATIENCE_NS / 4));
    runner_end(&runner);
    EXPECT(time_now_ns() - begun_ns < SCHED_PERIOD_MAX_NS); /* else time came back by itself */
}

/* It is killed while it is held up. */
static void killed(void)
{
    struct child child;
    handle_t sched = make(SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MAX_NS);
    const struct child_args args = {.role = "spin", .argument = "1"};
    if (!child_start(&child, &args))
        return;
    EXPECT_OK(tess_sched_bind(sched, child.spawned.thread));
    sleep_ns(20 * NS_PER_MS);
    uint64_t begun_ns = time_now_ns();
    child_end(&child);
    EXPECT(time_now_ns() - begun_ns < 5 * NS_PER_S);
    EXPECT_EQUAL(info_of(sched).thread_count, 0);
    handle_drop(sched);
}

static void arguments(void)
{
    handle_t cell, inner, sched, other;
    handle_t untyped = std_self.untyped;
    EXPECT_STATUS(tess_untyped_create_sched(untyped, guest.cell, SCHED_BUDGET_MIN_NS - 1, NS_PER_S, &sched), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_sched(untyped, guest.cell, SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MIN_NS - 1, &sched), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_sched(untyped, guest.cell, SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MAX_NS + 1, &sched), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_sched(untyped, guest.cell, ~0ull, NS_PER_S, &sched), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_sched(untyped, guest.cell, NS_PER_S * guest.cpu_count + 1, NS_PER_S, &sched), ERROR_BAD_ARGUMENT);
    /* Admission: 95 % of every CPU is there to give, none of it in a new cell. */
    EXPECT_STATUS(tess_untyped_create_sched(untyped, guest.cell, NS_PER_S * guest.cpu_count, NS_PER_S, &sched), ERROR_OVERCOMMITTED);
    if (!EXPECT_OK(tess_untyped_create_cell(untyped, guest.cell, 1024, NAME, &cell)) ||
        !EXPECT_OK(tess_untyped_create_cell(untyped, cell, 1024, NAME, &inner)))
        return;
    EXPECT_STATUS(tess_untyped_create_sched(untyped, cell, NS_PER_MS, NS_PER_S, &sched), ERROR_OVERCOMMITTED);
    EXPECT_STATUS(tess_cell_set_sched_limit(guest.cell, inner, 1000), ERROR_REFUSED);
    EXPECT_STATUS(tess_cell_set_sched_limit(inner, cell, 1000), ERROR_REFUSED);
    EXPECT_STATUS(tess_cell_set_sched_limit(cell, cell, 1000), ERROR_REFUSED);
    EXPECT_STATUS(tess_cell_set_sched_limit(guest.cell, cell, ~0ull), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_cell_set_sched_limit(guest.cell, cell, 1000000ull * guest.cpu_count), ERROR_OVERCOMMITTED);
    EXPECT_OK(tess_cell_set_sched_limit(guest.cell, cell, 300000));
    EXPECT_STATUS(tess_cell_set_sched_limit(cell, inner, 300001), ERROR_OVERCOMMITTED);
    EXPECT_OK(tess_cell_set_sched_limit(cell, inner, 100000));
    EXPECT_OK(tess_untyped_create_sched(untyped, cell, 200 * NS_PER_MS, NS_PER_S, &sched));
    EXPECT_STATUS(tess_untyped_create_sched(untyped, cell, SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MAX_NS, &other), ERROR_OVERCOMMITTED);
    EXPECT_STATUS(tess_cell_set_sched_limit(guest.cell, cell, 299999), ERROR_OVERCOMMITTED);
    handle_drop(sched);
    EXPECT_OK(tess_untyped_create_sched(untyped, cell, 100 * NS_PER_MS, NS_PER_S, &sched));
    EXPECT_OK(tess_cell_set_sched_limit(guest.cell, cell, 200000));
    /* What a cell had goes back with it; a sched object keeps its cell. */
    handle_drop(inner);
    handle_drop(cell);
    EXPECT_STATUS(tess_untyped_create_sched(untyped, guest.cell, NS_PER_S * guest.cpu_count * 19 / 20, NS_PER_S, &other),
                  ERROR_OVERCOMMITTED);
    handle_drop(sched);
    uint64_t end = patience();
    status_t status;
    while ((status = tess_untyped_create_sched(untyped, guest.cell, NS_PER_S * guest.cpu_count * 19 / 20, NS_PER_S, &other)) != OK &&
           time_now_ns() < end)
        sleep_ns(NS_PER_MS);
    EXPECT_OK(status);
    EXPECT_STATUS(tess_sched_info(other, 8), ERROR_BAD_ADDRESS);
    handle_drop(other);
}

/* As many as may be bound, one more, and one that has ended. */
static void crowd(void)
{
    handle_t memory, threads[SCHED_THREADS_MAX + 1], sched = make(NS_PER_MS, NS_PER_S);
    if (!EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory)))
        return;
    for (uint32_t i = 0; i <= SCHED_THREADS_MAX; i++) {
        if (!EXPECT_OK(tess_untyped_create_thread(std_self.untyped, std_self.process, memory, 0, 0, &threads[i])))
            return;
        EXPECT_STATUS(tess_sched_bind(sched, threads[i]), i < SCHED_THREADS_MAX ? OK : ERROR_NO_SPACE);
    }
    handle_destroy(threads[0]);
    for (uint64_t end = patience(); info_of(sched).thread_count != SCHED_THREADS_MAX - 1 && time_now_ns() < end;)
        sleep_ns(NS_PER_MS);
    EXPECT_OK(tess_sched_bind(sched, threads[SCHED_THREADS_MAX]));
    EXPECT_EQUAL(info_of(sched).thread_count, SCHED_THREADS_MAX);
    handle_destroy(sched);
    sched = make(NS_PER_MS, NS_PER_S);
    EXPECT_OK(tess_sched_bind(sched, threads[1]));
    for (uint32_t i = 1; i <= SCHED_THREADS_MAX; i++)
        handle_destroy(threads[i]);
    handle_drop(sched);
    handle_drop(memory);
}

/* ---- Everything at once ---- */

static struct runner targets[3];
static _Atomic bool is_storm_over;

static void storms(void *context)
{
    uint64_t random = (uint64_t)context;
    while (!atomic_load(&is_storm_over)) {
        handle_t sched;
        uint64_t period_ns = SCHED_PERIOD_MIN_NS << random_next(&random) % 4;
        if (tess_untyped_create_sched(std_self.untyped, guest.cell, SCHED_BUDGET_MIN_NS << random_next(&random) % 3, period_ns, &sched) !=
            OK)
            continue;
        for (uint32_t i = 0; i < 12; i++) {
            handle_t thread = targets[random_next(&random) % 3].thread.thread;
            switch (random_next(&random) % 6) {
            case 0:
            case 1: (void)tess_sched_bind(sched, thread); break;
            case 2: (void)tess_sched_unbind(sched, thread); break;
            case 3: (void)tess_thread_set_affinity(thread, 1 + random_next(&random) % 15); break;
            case 4:
                if (tess_thread_suspend(thread) == OK)
                    (void)tess_thread_resume(thread);
                break;
            default: sleep_ns(random_next(&random) % 400000);
            }
        }
        if (random_next(&random) % 2 == 0)
            handle_destroy(sched);
        else
            handle_drop(sched);
    }
}

static void storm(void)
{
    struct std_thread stormers[2];
    atomic_store(&is_storm_over, false);
    for (uint32_t i = 0; i < 3; i++)
        runner_start(&targets[i], ~0ull);
    for (uint64_t i = 0; i < 2; i++)
        thread_start(&stormers[i], storms, (void *)(0x9E3779B97F4A7C15ull + i));
    sleep_ns(option_u64("test.budget_ms", 700) * NS_PER_MS);
    atomic_store(&is_storm_over, true);
    for (uint32_t i = 0; i < 2; i++)
        thread_join(&stormers[i]);
    for (uint32_t i = 0; i < 3; i++) {
        EXPECT(moves(&targets[i], PATIENCE_NS)); /* nobody was lost */
        runner_end(&targets[i]);
    }
}

void budget_tests(void)
{
    static const struct test tests[] = {
        {"budget.enforced", enforced},   {"budget.ahead", ahead},     {"budget.shared", shared},
        {"budget.notice", notice},       {"budget.held_up", held_up}, {"budget.killed", killed},
        {"budget.arguments", arguments}, {"budget.crowd", crowd},     {"budget.storm", storm},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
