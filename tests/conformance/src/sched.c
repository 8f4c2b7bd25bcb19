/*
 * Scheduling: weights, the idle class, cells: shares between and inside them, their end. Shares are measured on CPU 0; a virtual CPU that
 * its host stops for long at the end of a measurement spoils it, so it counts when one of TRIES is as it should be,
 * each twice as long as the one before.
 */
#include <conformance.h>
#include <tess/stub/cell.h>
#include <tess/stub/cpu_lease.h>
#include <tess/stub/cspace.h>
#include <tess/stub/process.h>
#include <tess/stub/system.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

constexpr uint64_t MEASURE_NS = 400 * NS_PER_MS;
constexpr uint64_t SLACK_NS = 32 * NS_PER_MS; /* some slices: who is measured is never stopped at the same moment */
constexpr uint32_t MOST = 6, TRIES = 3;

struct spinner {
    struct std_thread thread;
    _Atomic bool *is_over;
    uint32_t policy, weight, latency;
    uint64_t before_ns, cpu_ns;
};

static void spins(void *context)
{
    struct spinner *spinner = context;
    handle_t self = tess_thread_block()->thread;
    EXPECT_OK(tess_thread_set_sched(self, spinner->policy, spinner->weight, spinner->latency));
    EXPECT_OK(tess_thread_set_affinity(self, 1));
    while (!atomic_load(spinner->is_over))
        ;
}

static uint64_t thread_cpu_ns(handle_t thread)
{
    uint64_t id, cpu_ns = 0;
    uint32_t state, cpu;
    EXPECT_OK(tess_thread_info(thread, &id, &state, &cpu, &cpu_ns));
    return cpu_ns;
}

/* Lets them run beside each other; cpu_ns is what each had meanwhile. */
static uint64_t measure(struct spinner *spinners, uint32_t count, uint32_t try)
{
    _Atomic bool is_over = false;
    for (uint32_t i = 0; i < count; i++) {
        spinners[i].is_over = &is_over;
        thread_start(&spinners[i].thread, spins, &spinners[i]);
    }
    sleep_ns(60 * NS_PER_MS);
    for (uint32_t i = 0; i < count; i++)
        spinners[i].before_ns = thread_cpu_ns(spinners[i].thread.thread);
    sleep_ns(MEASURE_NS << try);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        spinners[i].cpu_ns = thread_cpu_ns(spinners[i].thread.thread) - spinners[i].before_ns;
        sum += spinners[i].cpu_ns;
    }
    atomic_store(&is_over, true);
    for (uint32_t i = 0; i < count; i++)
        thread_join(&spinners[i].thread);
    return sum;
}

static bool is_near(uint64_t got, uint64_t wanted) { return got < wanted + SLACK_NS && got + SLACK_NS > wanted; }

static void weights(void)
{
    for (uint32_t left = TRIES; left > 0; left--) {
        struct spinner spinners[3] = {{.weight = 1024, .latency = SCHED_LATENCY_NORMAL},
                                      {.weight = 2048, .latency = SCHED_LATENCY_SHORT},
                                      {.weight = 1024, .latency = SCHED_LATENCY_LONG}};
        uint64_t sum = measure(spinners, 3, TRIES - left);
        uint32_t wrong = 0;
        for (uint32_t i = 0; i < 3; i++)
            wrong += !is_near(spinners[i].cpu_ns, sum * spinners[i].weight / 4096);
        if (wrong == 0)
            return;
        if (left == 1)
            test_fail("weights 1 2 1: %lu %lu %lu ms", (unsigned long)(spinners[0].cpu_ns / NS_PER_MS),
                      (unsigned long)(spinners[1].cpu_ns / NS_PER_MS), (unsigned long)(spinners[2].cpu_ns / NS_PER_MS));
    }
}

static void idle_class(void)
{
    struct spinner spinners[2] = {{.weight = 1}, {.policy = SCHED_IDLE, .weight = 65536}};
    uint64_t sum = measure(spinners, 2, 0);
    EXPECT(sum > MEASURE_NS / 4);
    EXPECT(spinners[1].cpu_ns < SLACK_NS);
    struct spinner alone[2] = {{.policy = SCHED_IDLE, .weight = 1}, {.policy = SCHED_IDLE, .weight = 1}};
    sum = measure(alone, 2, 0);
    EXPECT(alone[0].cpu_ns > sum / 8 && alone[1].cpu_ns > sum / 8); /* in turn, whatever the turns cost */
}

static void set_sched_arguments(void)
{
    handle_t self = std_self.thread;
    EXPECT_STATUS(tess_thread_set_sched(self, 2, 1024, 1), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_sched(self, SCHED_FAIR, 0, 1), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_sched(self, SCHED_FAIR, 65537, 1), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_sched(self, SCHED_FAIR, 1024, 3), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_thread_set_sched(self, SCHED_IDLE, 65536, SCHED_LATENCY_SHORT));
    EXPECT_OK(tess_thread_set_sched(self, SCHED_FAIR, 1024, SCHED_LATENCY_NORMAL));
}

/* ---- Cells ---- */

static const uint8_t NAME[16] = "test cell";

static struct tess_cell_info info_of(handle_t cell)
{
    struct tess_cell_info info = {};
    EXPECT_OK(tess_cell_info(cell, (uint64_t)&info));
    return info;
}

/* std_arg(1): how many threads spin on CPU 0 until the process is killed. */
int32_t role_spin(void)
{
    static struct spinner spinners[MOST];
    static _Atomic bool is_over;
    uint32_t count = (uint32_t)(std_arg(1)[0] - '0');
    for (uint32_t i = 0; i < count && i < MOST; i++) {
        spinners[i] = (struct spinner){.is_over = &is_over, .weight = 1024, .latency = SCHED_LATENCY_NORMAL};
        if (std_thread_start(&spinners[i].thread, spins, &spinners[i], 0) != OK)
            return 1;
    }
    status_t status = tess_thread_sleep(std_self.thread, DEADLINE_INFINITE);
    return status == OK ? 0 : 1;
}

static bool cell_make(handle_t parent, uint32_t weight, handle_t *out_cell)
{
    return EXPECT_OK(tess_untyped_create_cell(std_self.untyped, parent, weight, NAME, out_cell));
}

static bool spin_in(struct child *child, handle_t cell, const char *count)
{
    struct child_args args = {.role = "spin", .argument = count, .cell = cell};
    return child_start(child, &args);
}

/* What each cell had of a while; returns the sum. */
static uint64_t cells_measure(const handle_t cells[3], uint64_t had[3], uint32_t try)
{
    uint64_t before[3], sum = 0;
    sleep_ns(60 * NS_PER_MS);
    for (uint32_t i = 0; i < 3; i++)
        before[i] = info_of(cells[i]).cpu_ns;
    sleep_ns(MEASURE_NS << try);
    for (uint32_t i = 0; i < 3; i++)
        sum += had[i] = info_of(cells[i]).cpu_ns - before[i];
    EXPECT(sum > MEASURE_NS / 4);
    return sum;
}

/* One thread in the first cell, four in two levels of the second: what each cell gets follows from the cells' weights alone. */
static void cell_shares(void)
{
    handle_t a, b, inner;
    struct child in_a, in_b, in_inner;
    if (!cell_make(guest.cell, 1024, &a) || !cell_make(guest.cell, 2048, &b) || !cell_make(b, 1024, &inner) || !spin_in(&in_a, a, "1") ||
        !spin_in(&in_b, b, "1") || !spin_in(&in_inner, inner, "3"))
        return;
    handle_t cells[3] = {a, b, inner};
    uint64_t had[3];
    bool is_fair = false;
    for (uint32_t left = TRIES; left > 0 && !is_fair; left--) {
        uint64_t sum = cells_measure(cells, had, TRIES - left);
        is_fair = is_near(had[0], sum / 3) && is_near(had[1], sum / 3) && is_near(had[2], sum / 3);
    }
    if (!is_fair)
        test_fail("%lu %lu %lu ms, not a third each", (unsigned long)(had[0] / NS_PER_MS), (unsigned long)(had[1] / NS_PER_MS),
                  (unsigned long)(had[2] / NS_PER_MS));
    EXPECT_EQUAL(info_of(b).process_count, 1);
    EXPECT_EQUAL(info_of(inner).parent_id, info_of(b).id);
    /* A weight that changes takes effect. */
    EXPECT_OK(tess_cell_set_weight(a, 6144));
    is_fair = false;
    for (uint32_t left = TRIES; left > 0 && !is_fair; left--) {
        uint64_t sum = cells_measure(cells, had, TRIES - left);
        is_fair = is_near(had[0], sum * 3 / 4);
    }
    EXPECT(is_fair);
    EXPECT_OK(tess_cell_kill(b));
    child_expect(&in_b, EXIT_KILLED, -1);
    child_expect(&in_inner, EXIT_KILLED, -1);
    child_end(&in_a);
    child_end(&in_b);
    child_end(&in_inner);
    handle_drop(inner);
    handle_drop(b);
    handle_drop(a);
}

static void cell_kill(void)
{
    handle_t cell, inner, empty, out;
    struct child children[4];
    if (!cell_make(guest.cell, 1, &cell) || !cell_make(cell, 65536, &inner) || !cell_make(cell, 1, &empty))
        return;
    for (uint32_t i = 0; i < 4; i++) {
        struct child_args args = {.role = "wait", .cell = i < 2 ? cell : inner, .is_suspended = i == 3};
        if (!child_start(&children[i], &args))
            return;
    }
    EXPECT_EQUAL(info_of(cell).process_count, 2);
    EXPECT_OK(tess_cell_kill(cell));
    EXPECT_OK(tess_cell_kill(cell));
    for (uint32_t i = 0; i < 4; i++)
        child_expect(&children[i], EXIT_KILLED, -1);
    handle_t cells[3] = {cell, inner, empty};
    for (uint32_t i = 0; i < 3; i++) {
        EXPECT_STATUS(tess_untyped_create_cell(std_self.untyped, cells[i], 1, NAME, &out), ERROR_PEER_DIED);
        EXPECT_STATUS(tess_cell_create_process(cells[i], std_self.untyped, std_self.vspace, std_self.cspace, NAME, &out), ERROR_PEER_DIED);
    }
    for (uint32_t i = 0; i < 4; i++)
        child_end(&children[i]);
    /* An object of a cell that goes takes what it holds along. */
    handle_t other;
    struct child child;
    if (cell_make(guest.cell, 1, &other) && child_start(&child, &(struct child_args){.role = "wait", .cell = other})) {
        handle_destroy(other);
        child_expect(&child, EXIT_KILLED, -1);
        child_end(&child);
    }
    for (uint32_t i = 0; i < 3; i++)
        handle_drop(cells[i]);
}

static void cell_arguments(void)
{
    handle_t cells[CELL_DEPTH_MAX], out;
    EXPECT_STATUS(tess_untyped_create_cell(std_self.untyped, guest.cell, 0, NAME, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_cell(std_self.untyped, guest.cell, 65537, NAME, &out), ERROR_BAD_ARGUMENT);
    uint32_t depth = 0; /* of those that were made; the root counts as one */
    for (handle_t parent = guest.cell; depth + 1 < CELL_DEPTH_MAX && cell_make(parent, 1, &cells[depth]); parent = cells[depth++])
        ;
    EXPECT_STATUS(tess_untyped_create_cell(std_self.untyped, cells[depth - 1], 1, NAME, &out), ERROR_OVERFLOW);
    EXPECT_STATUS(tess_cell_set_weight(cells[0], 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_cell_set_weight(cells[0], 65537), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_cell_info(cells[0], 8), ERROR_BAD_ADDRESS);
    uint64_t seen = 0, found = 0;
    struct tess_cell_info info;
    for (; tess_system_cell_next(guest.system, seen, (uint64_t)&info) == OK; seen = info.id)
        found += memcmp(info.name, NAME, sizeof(info.name)) == 0 && info.weight == 1;
    EXPECT_EQUAL(found, depth);
    EXPECT_STATUS(tess_system_cell_next(guest.system, seen, (uint64_t)&info), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_system_cell_next(guest.system, 0, 8), ERROR_BAD_ADDRESS);
    while (depth-- > 0)
        handle_drop(cells[depth]);
}

/* ---- CPU leases ---- */

struct leased {
    struct std_thread thread;
    _Atomic bool is_over, is_there;
    uint32_t cpu;
    uint64_t affinity;
};

static uint32_t cpu_of(handle_t thread)
{
    uint64_t id, cpu_ns;
    uint32_t state, cpu = UINT32_MAX;
    EXPECT_OK(tess_thread_info(thread, &id, &state, &cpu, &cpu_ns));
    return cpu;
}

static void spins_anywhere(void *context)
{
    struct leased *leased = context;
    EXPECT_OK(tess_thread_set_affinity(tess_thread_block()->thread, leased->affinity));
    atomic_store(&leased->is_there, true);
    while (!atomic_load(&leased->is_over))
        ;
}

static bool comes_to(handle_t thread, uint32_t cpu, bool is_there)
{
    uint64_t end = patience();
    while ((cpu_of(thread) == cpu) != is_there && time_now_ns() < end)
        sleep_ns(NS_PER_MS);
    return (cpu_of(thread) == cpu) == is_there;
}

static struct tess_cpu_info cpu_info(uint32_t cpu)
{
    struct tess_cpu_info info = {};
    EXPECT_OK(tess_system_cpu(guest.system, cpu, (uint64_t)&info));
    return info;
}

/* A bound thread that runs sees no interrupt at all while others are busy, wait with deadlines and would like its CPU. */
static void lease(void)
{
    uint32_t cpu = guest.cpu_count - 1;
    handle_t lease, out;
    if (guest.cpu_count == 1) {
        EXPECT_STATUS(tess_untyped_create_cpu_lease(std_self.untyped, guest.cell, 0, &out), ERROR_BUSY);
        return;
    }
    static struct leased all[4];
    for (uint32_t i = 0; i < 4; i++) {
        all[i] = (struct leased){.affinity = i < 2 ? ~0ull : 1ull << cpu};
        thread_start(&all[i].thread, spins_anywhere, &all[i]);
        while (!atomic_load(&all[i].is_there))
            sleep_ns(NS_PER_MS);
    }
    if (!EXPECT_OK(tess_untyped_create_cpu_lease(std_self.untyped, guest.cell, cpu, &lease)))
        return;
    EXPECT_STATUS(tess_untyped_create_cpu_lease(std_self.untyped, guest.cell, cpu, &out), ERROR_BUSY);
    handle_t bound = all[0].thread.thread;
    EXPECT_OK(tess_cpu_lease_bind(lease, bound));
    EXPECT_STATUS(tess_cpu_lease_bind(lease, bound), ERROR_BUSY);
    EXPECT(comes_to(bound, cpu, true));
    for (uint32_t i = 1; i < 4; i++)
        EXPECT(comes_to(all[i].thread.thread, cpu, false));
    uint32_t got_cpu, count;
    EXPECT_OK(tess_cpu_lease_info(lease, &got_cpu, &count));
    EXPECT(got_cpu == cpu && count == 1);
    sleep_ns(20 * NS_PER_MS);
    struct tess_cpu_info before = cpu_info(cpu);
    for (uint32_t i = 0; i < 20; i++)
        sleep_ns(10 * NS_PER_MS);
    struct tess_cpu_info after = cpu_info(cpu);
    EXPECT_EQUAL(after.interrupts, before.interrupts);
    EXPECT_EQUAL(after.switches, before.switches);
    EXPECT_OK(tess_cpu_lease_unbind(lease, bound));
    EXPECT_STATUS(tess_cpu_lease_unbind(lease, bound), ERROR_NOT_FOUND);
    EXPECT(comes_to(bound, cpu, false));
    EXPECT_OK(tess_cpu_lease_bind(lease, bound)); /* and the lease's end finds it bound */
    EXPECT(comes_to(bound, cpu, true));
    handle_destroy(lease);
    EXPECT(comes_to(all[2].thread.thread, cpu, true));
    EXPECT(comes_to(all[3].thread.thread, cpu, true));
    for (uint32_t i = 0; i < 4; i++)
        atomic_store(&all[i].is_over, true);
    for (uint32_t i = 0; i < 4; i++)
        thread_join(&all[i].thread);
}

static void lease_arguments(void)
{
    handle_t cell, out;
    EXPECT_STATUS(tess_untyped_create_cpu_lease(std_self.untyped, guest.cell, guest.cpu_count, &out), ERROR_BAD_ARGUMENT);
    if (cell_make(guest.cell, 1, &cell)) {
        EXPECT_STATUS(tess_untyped_create_cpu_lease(std_self.untyped, cell, 0, &out), ERROR_REFUSED);
        handle_drop(cell);
    }
    if (guest.cpu_count == 1)
        return;
    /* A thread that ends while it is bound leaves its lease; one that has ended cannot be bound. */
    struct leased ends = {.affinity = ~0ull};
    handle_t lease, copy;
    thread_start(&ends.thread, spins_anywhere, &ends);
    EXPECT_OK(std_handle_copy(ends.thread.thread, RIGHTS_ALL, &copy));
    if (!EXPECT_OK(tess_untyped_create_cpu_lease(std_self.untyped, guest.cell, 1, &lease)))
        return;
    EXPECT_OK(tess_cpu_lease_bind(lease, copy));
    atomic_store(&ends.is_over, true);
    thread_join(&ends.thread);
    uint32_t cpu, count = 1;
    for (uint64_t end = patience(); count != 0 && time_now_ns() < end;)
        EXPECT_OK(tess_cpu_lease_info(lease, &cpu, &count));
    EXPECT_EQUAL(count, 0);
    status_t status = tess_cpu_lease_bind(lease, copy);
    EXPECT(status == ERROR_PEER_DIED || status == ERROR_STALE_HANDLE);
    std_handle_delete(copy);
    handle_drop(lease);
}

void sched_tests(void)
{
    static const struct test tests[] = {
        {"sched.weights", weights},
        {"sched.idle_class", idle_class},
        {"sched.arguments", set_sched_arguments},
        {"sched.cell_shares", cell_shares},
        {"sched.cell_kill", cell_kill},
        {"sched.cell_arguments", cell_arguments},
        {"sched.lease", lease},
        {"sched.lease_arguments", lease_arguments},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
