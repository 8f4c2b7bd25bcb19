/*
 * Budgets against a model that remembers when every tick was used: long random histories of one and several CPUs. No window of a
 * period holds more than the capacity and the overruns in it; what was used is back in time; what is back is granted.
 */
#include <check.h>
#include <kernel/budget.h>

constexpr uint32_t PERIOD = 800, STEPS = 40'000, CPUS = 4;

static uint64_t random_state = 5;
static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33) % limit;
}

static uint32_t use[STEPS]; /* CPUs that ran in each tick */

static void check_windows(uint64_t most)
{
    uint64_t sum = 0;
    bool is_kept = true;
    for (uint32_t t = 0; t < STEPS; t++) {
        sum += use[t];
        if (t >= PERIOD)
            sum -= use[t - PERIOD];
        is_kept = is_kept && sum <= most;
    }
    CHECK(is_kept);
}

/* Each CPU runs by turns as long as it gets grants, in pieces of random length, and late by up to `late` ticks. Returns what was used. */
static uint64_t history(uint32_t capacity, uint32_t ways, uint32_t piece, uint32_t pause, uint32_t late)
{
    struct budget budget;
    budget_init(&budget, capacity, PERIOD, capacity / 16 + 1, ways);
    memset(use, 0, sizeof(use));
    uint64_t until[CPUS] = {}, granted[CPUS] = {}, begun[CPUS] = {}, all = 0;
    for (uint32_t t = 1; t < STEPS; t++) {
        for (uint32_t cpu = 0; cpu < ways; cpu++) {
            if (granted[cpu] != 0 && t >= until[cpu]) {
                budget_settle(&budget, granted[cpu], t, t - begun[cpu]);
                granted[cpu] = 0;
                until[cpu] = t + random_below(pause + 1);
            }
            if (granted[cpu] == 0 && t >= until[cpu]) {
                uint64_t most = ways == 1 ? capacity : PERIOD / BUDGET_PIECES;
                uint64_t ready = budget_ready_at(&budget, t), left = budget_left(&budget, t);
                granted[cpu] = budget_grant(&budget, t, most);
                CHECK((granted[cpu] != 0) == (ready == t));
                CHECK(granted[cpu] <= left && budget.used + budget.granted <= capacity + ways * late * 10);
                begun[cpu] = t;
                uint64_t wants = 1 + random_below(piece);
                until[cpu] = t + (granted[cpu] == 0 ? 1 : wants < granted[cpu] ? wants : granted[cpu] + random_below(late + 1));
            }
            use[t] += granted[cpu] != 0;
            all += granted[cpu] != 0;
        }
    }
    return all;
}

static void one_thread(void)
{
    /* In one piece: all of it in every period, and not a tick more. */
    for (uint32_t capacity = 1; capacity <= PERIOD; capacity += 37) {
        uint64_t all = history(capacity, 1, PERIOD, 0, 0);
        check_windows(capacity);
        CHECK(all >= (uint64_t)(STEPS / PERIOD - 1) * (capacity - capacity / 16));
    }
    /* In crumbs: at most an eighth of a period late, and what is too little to be granted. */
    uint64_t all = history(400, 1, 5, 3, 0);
    check_windows(400);
    CHECK(all >= (uint64_t)(STEPS / (PERIOD + PERIOD / BUDGET_PIECES) - 1) * (400 - 26));
}

static void many(void)
{
    for (uint32_t round = 0; round < 60; round++) {
        uint32_t ways = 1 + round % CPUS, capacity = 16 + random_below(ways * PERIOD - 16);
        (void)history(capacity, ways, 1 + random_below(PERIOD), random_below(round % 3 == 0 ? 4 : 200), 0);
        check_windows(capacity);
    }
}

/* Overruns are the only excess, and in the long run none. */
static void late(void)
{
    constexpr uint32_t LATE = 3;
    for (uint32_t round = 0; round < 20; round++) {
        uint32_t ways = 1 + round % CPUS;
        uint64_t all = history(300, ways, PERIOD, 0, LATE);
        check_windows(300 + ways * LATE * 12);
        CHECK(all <= 300 * (STEPS / PERIOD + 1) + ways * LATE * 12);
    }
}

/* Twice the budget at once: it is paid for before there is more. */
static void long_overrun(void)
{
    struct budget budget;
    budget_init(&budget, 100, 1000, 10, 1);
    CHECK(budget_grant(&budget, 0, 1000) == 100);
    budget_settle(&budget, 100, 300, 300);
    CHECK(budget_left(&budget, 999) == 0 && budget_left(&budget, 1999) == 0 && budget_left(&budget, 2999) == 0);
    CHECK(budget_left(&budget, 3300) == 100 && budget.total == 300 && budget.debt == 0);
}

static void several_use_all(void)
{
    /* Three CPUs' worth for four: 3/4 of everything, less the pieces that come back late. */
    uint64_t all = history(3 * PERIOD, CPUS, 50, 0, 0);
    check_windows(3 * PERIOD);
    CHECK(all > (uint64_t)STEPS * 5 / 2);
}

int main(void)
{
    one_thread();
    many();
    late();
    several_use_all();
    long_overrun();
    /* A grant that holds everything: nothing comes back before it is settled. */
    struct budget budget;
    budget_init(&budget, 100, 1000, 10, 1);
    CHECK(budget_grant(&budget, 5, 1000) == 100);
    CHECK(budget_grant(&budget, 5, 1000) == 0 && budget_ready_at(&budget, 5) == UINT64_MAX);
    budget_settle(&budget, 100, 45, 40);
    CHECK(budget_left(&budget, 45) == 60 && budget.total == 40);
    CHECK(budget_grant(&budget, 45, 20) == 20);
    budget_change(&budget, 50, 1000, 5, 1);
    CHECK(budget_left(&budget, 45) == 0);
    budget_settle(&budget, 20, 65, 20);
    CHECK(budget_ready_at(&budget, 65) == 1005 && budget_left(&budget, 1004) == 0 && budget_left(&budget, 1005) == 50);
    return check_result();
}
