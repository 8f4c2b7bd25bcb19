/*
 * Quotas of cells: hard limits of CPU time, through cells in each other; whoever is held up hurts only itself. Measured as in budget.c.
 */
#include <conformance.h>
#include <tess/stub/cell.h>
#include <tess/stub/cspace.h>
#include <tess/stub/sched.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

constexpr uint64_t MEASURE_NS = 400 * NS_PER_MS;
constexpr uint64_t SLACK_NS = 32 * NS_PER_MS;
constexpr uint32_t TRIES = 4;
static const uint8_t NAME[16] = "quota cell";

static handle_t cell_in(handle_t parent)
{
    handle_t cell = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_cell(std_self.untyped, parent, 1024, NAME, &cell));
    return cell;
}

static struct tess_cell_info info_of(handle_t cell)
{
    struct tess_cell_info info = {};
    EXPECT_OK(tess_cell_info(cell, (uint64_t)&info));
    return info;
}

static bool spin_in(struct child *child, handle_t cell, const char *count)
{
    const struct child_args args = {.role = "spin", .argument = count, .cell = cell};
    return child_start(child, &args);
}

/* What two cells had in a while that is about so long, and that while. */
static uint64_t measure(const handle_t cells[2], uint64_t had[2], uint32_t try)
{
    uint64_t before[2];
    sleep_ns(60 * NS_PER_MS);
    uint64_t begun_ns = time_now_ns();
    for (uint32_t i = 0; i < 2; i++)
        before[i] = info_of(cells[i]).cpu_ns;
    sleep_ns(MEASURE_NS << try);
    for (uint32_t i = 0; i < 2; i++)
        had[i] = info_of(cells[i]).cpu_ns - before[i];
    return time_now_ns() - begun_ns;
}

static bool is_near(uint64_t got, uint64_t wanted) { return got < wanted + wanted / 8 + SLACK_NS && got + SLACK_NS > wanted / 2; }

/* Two threads of a cell with a quarter of a CPU, beside one of a cell without a quota on the same CPU. */
static void held(void)
{
    handle_t cells[2] = {cell_in(guest.cell), cell_in(guest.cell)};
    struct child children[2];
    EXPECT_OK(tess_cell_set_quota(cells[0], 10 * NS_PER_MS, 40 * NS_PER_MS));
    if (!spin_in(&children[0], cells[0], "2") || !spin_in(&children[1], cells[1], "1"))
        return;
    uint64_t had[2] = {}, ns = 1;
    bool is_right = false;
    for (uint32_t try = 0; try < TRIES && !is_right; try++) {
        ns = measure(cells, had, try);
        is_right = is_near(had[0], ns / 4) && had[1] + SLACK_NS > ns * 3 / 8;
    }
    if (!is_right)
        test_fail("%lu and %lu of %lu ms", (unsigned long)(had[0] / NS_PER_MS), (unsigned long)(had[1] / NS_PER_MS),
                  (unsigned long)(ns / NS_PER_MS));
    struct tess_cell_info info = info_of(cells[0]);
    EXPECT(info.throttled > 3 && info.quota_ns == 10 * NS_PER_MS && info.quota_period_ns == 40 * NS_PER_MS);
    EXPECT_EQUAL(info_of(cells[1]).throttled, 0);
    for (uint32_t i = 0; i < 2; i++) {
        child_end(&children[i]);
        handle_drop(cells[i]);
    }
}

static void in_each_other(void)
{
    handle_t outer = cell_in(guest.cell);
    EXPECT_OK(tess_cell_set_quota(outer, 16 * NS_PER_MS, 40 * NS_PER_MS));
    handle_t inner = cell_in(outer), cells[2] = {outer, inner};
    EXPECT_OK(tess_cell_set_quota(inner, 4 * NS_PER_MS, 40 * NS_PER_MS));
    struct child in_outer, in_inner;
    if (!spin_in(&in_outer, outer, "1") || !spin_in(&in_inner, inner, "2"))
        return;
    uint64_t had[2] = {}, ns = 1;
    bool is_right = false;
    for (uint32_t try = 0; try < TRIES && !is_right; try++) {
        ns = measure(cells, had, try);
        is_right = is_near(had[1], ns / 10) && is_near(had[0] + had[1], ns * 2 / 5);
    }
    if (!is_right)
        test_fail("%lu and %lu of %lu ms", (unsigned long)(had[0] / NS_PER_MS), (unsigned long)(had[1] / NS_PER_MS),
                  (unsigned long)(ns / NS_PER_MS));
    child_end(&in_outer);
    child_end(&in_inner);
    handle_drop(inner);
    handle_drop(outer);
}

static bool stands(handle_t cell)
{
    for (uint64_t end = patience(); time_now_ns() < end;) {
        uint64_t before = info_of(cell).cpu_ns;
        sleep_ns(20 * NS_PER_MS);
        if (info_of(cell).cpu_ns == before)
            return true;
    }
    return false;
}

static bool moves(handle_t cell)
{
    uint64_t before = info_of(cell).cpu_ns;
    for (uint64_t end = time_after_ns(PATIENCE_NS / 4); time_now_ns() < end; sleep_ns(NS_PER_MS))
        if (info_of(cell).cpu_ns > before + NS_PER_MS)
            return true;
    return false;
}

/* A quota that is set while they run, changed, taken away while they are held up; and their end then. */
static void changed(void)
{
    handle_t cell = cell_in(guest.cell);
    struct child child;
    uint64_t begun_ns = time_now_ns();
    if (!spin_in(&child, cell, "3"))
        return;
    EXPECT(moves(cell));
    EXPECT_OK(tess_cell_set_quota(cell, SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MAX_NS));
    EXPECT(stands(cell));
    EXPECT_OK(tess_cell_set_quota(cell, 200 * NS_PER_MS, SCHED_PERIOD_MAX_NS));
    EXPECT(moves(cell));
    EXPECT_OK(tess_cell_set_quota(cell, SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MAX_NS));
    EXPECT(stands(cell));
    EXPECT_OK(tess_cell_set_quota(cell, 0, 0));
    EXPECT(moves(cell));
    EXPECT_EQUAL(info_of(cell).quota_ns, 0);
    EXPECT_OK(tess_cell_set_quota(cell, SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MAX_NS));
    EXPECT(stands(cell));
    EXPECT_OK(tess_cell_kill(cell));
    child_expect(&child, EXIT_KILLED, -1);
    EXPECT(time_now_ns() - begun_ns < SCHED_PERIOD_MAX_NS);
    child_end(&child);
    handle_drop(cell);
    /* A cell that goes with what it holds up. */
    cell = cell_in(guest.cell);
    EXPECT_OK(tess_cell_set_quota(cell, SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MAX_NS));
    if (!spin_in(&child, cell, "2"))
        return;
    EXPECT(stands(cell));
    handle_destroy(cell);
    child_expect(&child, EXIT_KILLED, -1);
    child_end(&child);
}

static void arguments(void)
{
    handle_t cell = cell_in(guest.cell), inner;
    EXPECT_STATUS(tess_cell_set_quota(guest.cell, NS_PER_S, NS_PER_S), ERROR_REFUSED);
    EXPECT_STATUS(tess_cell_set_quota(cell, SCHED_BUDGET_MIN_NS - 1, NS_PER_S), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_cell_set_quota(cell, NS_PER_MS, SCHED_PERIOD_MIN_NS - 1), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_cell_set_quota(cell, NS_PER_MS, SCHED_PERIOD_MAX_NS + 1), ERROR_BAD_ARGUMENT);
    inner = cell_in(cell);
    EXPECT_STATUS(tess_cell_set_quota(cell, NS_PER_S, NS_PER_S), ERROR_BUSY);
    EXPECT_OK(tess_cell_set_quota(inner, ~0ull, NS_PER_S)); /* all CPUs: as much as there is */
    EXPECT_EQUAL(info_of(inner).quota_ns, NS_PER_S * guest.cpu_count);
    handle_drop(inner);
    handle_drop(cell);
}

/* Quotas and budgets that change all the time under threads that run all the time. */
static void storm(void)
{
    handle_t outer = cell_in(guest.cell);
    uint64_t random = 9;
    EXPECT_OK(tess_cell_set_quota(outer, NS_PER_S, NS_PER_S));
    handle_t inner = cell_in(outer), cells[2] = {outer, inner};
    struct child children[2];
    EXPECT_OK(tess_cell_set_sched_limit(guest.cell, outer, 100000));
    if (!spin_in(&children[0], outer, "2") || !spin_in(&children[1], inner, "2"))
        return;
    for (uint64_t end = time_after_ns(option_u64("test.budget_ms", 700) * NS_PER_MS); time_now_ns() < end;) {
        handle_t sched = HANDLE_NONE;
        EXPECT_OK(tess_untyped_create_sched(std_self.untyped, outer, SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MIN_NS, &sched));
        for (uint32_t i = 0; i < 6; i++) {
            uint64_t period_ns = SCHED_PERIOD_MIN_NS << random_next(&random) % 4;
            EXPECT_OK(tess_cell_set_quota(cells[random_next(&random) % 2], random_next(&random) % 5 == 0 ? 0 : period_ns / 4, period_ns));
            if (i == 2)
                (void)tess_sched_bind(sched, children[random_next(&random) % 2].spawned.thread);
            sleep_ns(random_next(&random) % 700000);
        }
        handle_drop(sched);
        for (uint64_t until = patience(); info_of(outer).sched_ppm != 0 && time_now_ns() < until;)
            sleep_ns(NS_PER_MS / 4);
    }
    for (uint32_t i = 0; i < 2; i++)
        EXPECT_OK(tess_cell_set_quota(cells[i], 0, 0));
    for (uint32_t i = 0; i < 2; i++) {
        EXPECT(moves(cells[i]));
        child_end(&children[i]);
    }
    handle_drop(inner);
    handle_drop(outer);
}

void quota_tests(void)
{
    static const struct test tests[] = {
        {"quota.held", held},   {"quota.in_each_other", in_each_other}, {"quota.changed", changed}, {"quota.arguments", arguments},
        {"quota.storm", storm},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
