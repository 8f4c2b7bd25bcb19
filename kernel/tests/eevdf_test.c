/*
 * The EEVDF queue against a plain one that looks at every entity: the same choice after every step of long random histories, sums
 * exact; and what it promises: shares by weight, lag within one request, nobody starves, sleeping wins nothing.
 */
#include <check.h>
#include <kernel/eevdf.h>

constexpr uint32_t MOST = 40;
constexpr uint64_t SLICE = 4'000'000;
constexpr int64_t LIMIT = 8'000'000;

static struct eevdf_queue queue;
static struct eevdf_entity entities[MOST];
static bool is_waiting[MOST];
static uint64_t served[MOST];
static int runs; /* -1: nobody */

static uint64_t random_state = 11;
static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33) % limit;
}

static void start_over(void)
{
    eevdf_init(&queue, LIMIT);
    memset(entities, 0, sizeof(entities));
    memset(is_waiting, 0, sizeof(is_waiting));
    memset(served, 0, sizeof(served));
    runs = -1;
}

static void add(uint32_t i, uint32_t weight, uint64_t request)
{
    entities[i] = (struct eevdf_entity){.weight = weight, .request = request};
    eevdf_join(&queue, &entities[i]);
    is_waiting[i] = true;
}

static uint64_t check_subtree(const struct tree_node *node)
{
    const struct eevdf_entity *entity = container_of(node, struct eevdf_entity, node);
    uint64_t least = entity->v;
    for (uint32_t side = 0; side < 2; side++) {
        const struct tree_node *child = side == 0 ? node->left : node->right;
        if (child == nullptr)
            continue;
        uint64_t below = check_subtree(child);
        least = (int64_t)(below - least) < 0 ? below : least;
    }
    CHECK(entity->min_v == least);
    return least;
}

/* Everything the queue keeps, computed anew. */
static void check_queue(void)
{
    __int128 sum = 0;
    uint64_t weight = 0;
    for (uint32_t i = 0; i < MOST; i++) {
        if (!is_waiting[i])
            continue;
        sum += (__int128)(int64_t)(entities[i].v - queue.base) * entities[i].weight;
        weight += entities[i].weight;
    }
    if (runs >= 0) {
        sum += (__int128)(int64_t)(queue.running.v - queue.base) * queue.running.weight;
        weight += queue.running.weight;
    }
    CHECK(weight == queue.weight);
    CHECK(queue.waiting.root == nullptr || sum == queue.sum);
    CHECK((queue.only != nullptr) <= (queue.waiting.root == nullptr));
    CHECK((runs >= 0) == (queue.running.weight != 0));
    if (queue.waiting.root != nullptr)
        check_subtree(queue.waiting.root);
}

static bool is_eligible(uint32_t i)
{
    __int128 sum = 0, weight = 0;
    for (uint32_t j = 0; j < MOST; j++)
        if (is_waiting[j]) {
            sum += (__int128)(int64_t)(entities[j].v - queue.base) * entities[j].weight;
            weight += entities[j].weight;
        }
    return (__int128)(int64_t)(entities[i].v - queue.base) * weight <= sum;
}

static void pick_checked(void)
{
    bool has_any = false;
    uint64_t earliest = 0;
    for (uint32_t i = 0; i < MOST; i++)
        if (is_waiting[i] && is_eligible(i) && (!has_any || (int64_t)(entities[i].deadline - earliest) < 0)) {
            has_any = true;
            earliest = entities[i].deadline;
        }
    struct eevdf_entity *entity = eevdf_pick(&queue);
    CHECK((entity != nullptr) == has_any);
    if (entity == nullptr)
        return;
    uint32_t i = (uint32_t)(entity - entities);
    CHECK(is_eligible(i) && entity->deadline == earliest);
    is_waiting[i] = false;
    runs = (int)i;
}

static void random_history(uint32_t steps, bool is_extreme)
{
    static const uint32_t weights[] = {1, 3, 20, 512, 1024, 1024, 2048, 9000, EEVDF_WEIGHT_MAX};
    static const uint64_t requests[] = {1, 1'000'000, SLICE, SLICE, 16'000'000, EEVDF_REQUEST_MAX};
    start_over();
    if (is_extreme)
        queue.base = UINT64_MAX - 1000; /* everything wraps at once */
    for (uint32_t step = 0; step < steps; step++) {
        uint32_t i = random_below(MOST);
        if (!is_waiting[i] && runs != (int)i) {
            int64_t lag = entities[i].lag;
            entities[i].weight = weights[is_extreme ? random_below(9) : 1 + random_below(7)];
            entities[i].request = requests[is_extreme ? random_below(6) : 1 + random_below(4)];
            CHECK(lag <= LIMIT && lag >= -LIMIT);
            eevdf_join(&queue, &entities[i]);
            is_waiting[i] = true;
        } else if (is_waiting[i] && random_below(3) == 0) {
            eevdf_remove(&queue, &entities[i]);
            is_waiting[i] = false;
        }
        if (runs >= 0) {
            (void)eevdf_charge(&queue, is_extreme ? (uint64_t)random_below(UINT32_MAX) << random_below(12) : random_below(6'000'000));
            check_queue();
            struct eevdf_entity *entity = &entities[runs];
            uint32_t what = random_below(4);
            if (what == 0) {
                entity->lag = eevdf_leave(&queue);
            } else if (what == 1) { /* a hand-over and back */
                struct eevdf_running place = queue.running;
                (void)eevdf_leave(&queue);
                eevdf_resume(&queue, &place);
                check_queue();
                continue;
            } else {
                if (what == 2)
                    entity->weight = weights[1 + random_below(7)];
                is_waiting[runs] = true;
                eevdf_put_back(&queue, entity);
            }
            runs = -1;
        }
        check_queue();
        pick_checked();
        check_queue();
    }
}

/* Runs `ticks` of the queue: each turn to the end of its request. Returns the longest that a waiting one had to wait. */
static uint64_t run_for(uint64_t ticks, uint32_t count)
{
    uint64_t last[MOST] = {}, longest = 0, now = 0;
    while (now < ticks) {
        struct eevdf_entity *entity = eevdf_pick(&queue);
        uint32_t i = (uint32_t)(entity - entities);
        uint64_t turn = eevdf_ticks_left(&queue) + 1;
        (void)eevdf_charge(&queue, turn);
        longest = now - last[i] > longest ? now - last[i] : longest;
        served[i] += turn;
        now += turn;
        last[i] = now;
        eevdf_put_back(&queue, entity);
    }
    for (uint32_t i = 0; i < count; i++)
        longest = now - last[i] > longest ? now - last[i] : longest;
    return longest;
}

/* At every moment each has had its share of what was given, give or take one request of its own and one of another. */
static void check_shares(void)
{
    for (uint32_t round = 0; round < 200; round++) {
        start_over();
        uint32_t count = 2 + random_below(MOST - 2), total = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t weight = 64 + random_below(4096);
            total += weight;
            add(i, weight, 1'000'000 + random_below(4) * 1'000'000);
        }
        uint64_t length = 2'000'000'000, sum = 0;
        uint64_t longest = run_for(length, count);
        for (uint32_t i = 0; i < count; i++)
            sum += served[i];
        for (uint32_t i = 0; i < count; i++) {
            double share = (double)sum * entities[i].weight / total;
            CHECK(served[i] < share + 4'000'100 + 4'000'100 && served[i] + 4'000'100 + 4'000'100 > share);
        }
        /* Nobody waits for longer than its request takes at its share, and one other's. */
        CHECK(longest < (uint64_t)total * 4'000'100 / 64 + 8'000'200);
    }
}

/* One runs all the time, the other sleeps just before its request ends and comes back at once: it gets no more than half. */
static void check_sleeper(uint64_t request_of_sleeper)
{
    start_over();
    add(0, 1024, SLICE);
    add(1, 1024, request_of_sleeper);
    for (uint64_t now = 0; now < 4'000'000'000;) {
        struct eevdf_entity *entity = eevdf_pick(&queue);
        uint32_t i = (uint32_t)(entity - entities);
        uint64_t turn = eevdf_ticks_left(&queue);
        turn = i == 1 && turn > 10'000 ? turn - 10'000 : turn + 1;
        (void)eevdf_charge(&queue, turn);
        served[i] += turn;
        now += turn;
        if (i == 0) {
            eevdf_put_back(&queue, entity);
            continue;
        }
        entity->lag = eevdf_leave(&queue);
        struct eevdf_entity *other = eevdf_pick(&queue);
        (void)eevdf_charge(&queue, 10'000);
        served[0] += 10'000;
        now += 10'000;
        eevdf_join(&queue, entity);
        eevdf_put_back(&queue, other);
    }
    CHECK(served[1] < served[0] + 2 * LIMIT);
}

/* Who asks for less at a time comes sooner, and gets the same share. */
static void check_latency(void)
{
    start_over();
    for (uint32_t i = 0; i < 8; i++)
        add(i, 1024, SLICE);
    (void)run_for(64 * SLICE, 8);
    add(8, 1024, SLICE / 8);
    struct eevdf_entity *first = eevdf_pick(&queue);
    (void)eevdf_charge(&queue, SLICE / 2);
    CHECK(first == &entities[8] || eevdf_preempts(&queue, &entities[8]));
    CHECK(!eevdf_preempts(&queue, first == &entities[7] ? &entities[6] : &entities[7]));
}

/* Lag survives a change of weight and a stay outside, and is bounded. */
static void check_lag(void)
{
    start_over();
    add(0, 1024, SLICE);
    add(1, 1024, SLICE);
    struct eevdf_entity *entity = eevdf_pick(&queue);
    (void)eevdf_charge(&queue, 2'000'000);
    int64_t lag = eevdf_leave(&queue);
    CHECK(lag <= -999'990 && lag >= -1'000'010); /* it was due one half */
    entity->lag = lag;
    entity->weight = 4096;
    eevdf_join(&queue, entity);
    eevdf_remove(&queue, entity);
    CHECK(entity->lag <= lag + 10 && entity->lag >= lag - 10);
    struct eevdf_entity *other = eevdf_pick(&queue);
    CHECK(other != entity);
    eevdf_join(&queue, entity);
    (void)eevdf_charge(&queue, 1ull << 34);
    CHECK(eevdf_leave(&queue) == -LIMIT);
    eevdf_remove(&queue, entity);
    CHECK(entity->lag <= LIMIT && queue.weight == 0);
    CHECK(eevdf_pick(&queue) == nullptr);
}

/* One that comes to the running one gets its place when somebody looks: as if it had got it at once, whatever happened meanwhile. */
static void check_unplaced(void)
{
    static struct eevdf_queue at_once;
    for (uint32_t round = 0; round < 100'000; round++) {
        start_over();
        at_once = queue;
        struct eevdf_entity coming[2], *others[2], runner = {.weight = 1 + random_below(9000), .request = SLICE};
        coming[0] = (struct eevdf_entity){
            .weight = 1 + random_below(9000), .request = SLICE, .lag = (int64_t)random_below(2 * (uint32_t)LIMIT) - LIMIT};
        coming[1] = coming[0];
        int64_t lags[2];
        struct eevdf_queue *queues[2] = {&queue, &at_once};
        for (uint32_t i = 0; i < 2; i++) {
            struct eevdf_entity third = {.weight = 1024, .request = SLICE};
            struct eevdf_queue *q = queues[i];
            runner.lag = 0;
            eevdf_begin(q, &runner);
            eevdf_join(q, &coming[i]);
            CHECK(q->is_unplaced);
            if (i == 1) { /* somebody looks */
                eevdf_join(q, &third);
                eevdf_remove(q, &third);
                CHECK(!q->is_unplaced);
            }
        }
        uint64_t ticks = random_below(3) == 0 ? random_below(60'000'000) : random_below(100'000);
        bool is_resumed = random_below(2) == 0, is_put_back = random_below(2) == 0;
        for (uint32_t i = 0; i < 2; i++) {
            struct eevdf_queue *q = queues[i];
            (void)eevdf_charge(q, ticks);
            const struct eevdf_running place = q->running;
            lags[i] = eevdf_leave(q);
            if (is_resumed) {
                eevdf_resume(q, &place);
                (void)eevdf_charge(q, ticks / 2);
                if (is_put_back) {
                    eevdf_put_back(q, &runner);
                    eevdf_remove(q, &runner);
                    lags[i] = runner.lag;
                } else {
                    lags[i] = eevdf_leave(q);
                }
            }
            others[i] = eevdf_pick(q);
            CHECK(others[i] == &coming[i] && q->running.weight == coming[i].weight && q->weight == coming[i].weight && q->only == nullptr);
            CHECK(eevdf_ticks_left(q) <= SLICE + 1 && eevdf_ticks_left(q) + 1 >= SLICE);
        }
        int64_t apart = lags[0] - lags[1];
        CHECK(apart <= 2 && apart >= -2);
    }
}

int main(void)
{
    check_unplaced();
    random_history(60'000, false);
    random_history(60'000, true);
    check_shares();
    check_sleeper(SLICE);
    check_sleeper(SLICE / 4);
    check_latency();
    check_lag();
    return check_result();
}
