/* event: set, clear, wait, read; several waiters with masks, in order; deadlines; death. Watches are in ring.c. */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

static handle_t make(void)
{
    handle_t event = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    return event;
}

static uint64_t read_bits(handle_t event)
{
    uint64_t bits = ~0ull;
    EXPECT_OK(tess_event_read(event, &bits));
    return bits;
}

static void bits(void)
{
    handle_t event = make();
    uint64_t got = 0;
    EXPECT_EQUAL(read_bits(event), 0);
    EXPECT_OK(tess_event_set(event, 0xF0F0));
    EXPECT_OK(tess_event_set(event, 1ull << 63));
    EXPECT_EQUAL(read_bits(event), 0xF0F0 | 1ull << 63);
    EXPECT_OK(tess_event_clear(event, 0xF000));
    EXPECT_EQUAL(read_bits(event), 0x00F0 | 1ull << 63);
    EXPECT_OK(tess_event_wait(event, 0x30, &got, DEADLINE_NOW));
    EXPECT_EQUAL(got, 0x30);
    EXPECT_EQUAL(read_bits(event), 0xC0 | 1ull << 63);
    EXPECT_STATUS(tess_event_wait(event, 0x30, &got, DEADLINE_NOW), ERROR_TIMED_OUT);
    EXPECT_STATUS(tess_event_wait(event, 0, &got, DEADLINE_NOW), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_event_wait(event, ~0ull, &got, DEADLINE_INFINITE));
    EXPECT_EQUAL(got, 0xC0 | 1ull << 63);
    uint64_t deadline = time_after_ns(3 * NS_PER_MS);
    EXPECT_STATUS(tess_event_wait(event, 1, &got, deadline), ERROR_TIMED_OUT);
    EXPECT(time_now_ns() >= deadline);
    EXPECT_STATUS(tess_event_wait(event, 1, &got, 1), ERROR_TIMED_OUT); /* long past */
    handle_drop(event);
}

struct waiter {
    handle_t event;
    uint64_t mask, got;
    status_t status;
};

static void waits(void *context)
{
    struct waiter *waiter = context;
    waiter->status = tess_event_wait(waiter->event, waiter->mask, &waiter->got, patience());
}

static void several_waiters(void)
{
    struct waiter waiters[4] = {};
    struct std_thread threads[4];
    handle_t event = make();
    static const uint64_t masks[] = {1, 2, 3, 4};
    for (uint32_t i = 0; i < 4; i++) {
        waiters[i] = (struct waiter){.event = event, .mask = masks[i]};
        thread_start(&threads[i], waits, &waiters[i]);
        thread_wait_until_waiting(threads[i].thread);
    }
    EXPECT_OK(tess_event_set(event, 8)); /* nobody's */
    EXPECT_OK(tess_event_set(event, 1)); /* the first who wants it, in order: waiter 0 */
    thread_join(&threads[0]);
    EXPECT(thread_is_waiting(threads[2].thread));
    EXPECT_OK(tess_event_set(event, 7)); /* 1 gets bit 1, 2 gets bit 0, 3 gets bit 2 */
    for (uint32_t i = 1; i < 4; i++)
        thread_join(&threads[i]);
    static const uint64_t wanted[] = {1, 2, 1, 4};
    for (uint32_t i = 0; i < 4; i++) {
        EXPECT_STATUS(waiters[i].status, OK);
        EXPECT_EQUAL(waiters[i].got, wanted[i]);
    }
    EXPECT_EQUAL(read_bits(event), 8);
    handle_drop(event);
}

static void death(void)
{
    struct waiter waiters[3] = {};
    struct std_thread threads[3];
    handle_t event = make();
    for (uint32_t i = 0; i < 3; i++) {
        waiters[i] = (struct waiter){.event = event, .mask = 1};
        thread_start(&threads[i], waits, &waiters[i]);
        thread_wait_until_waiting(threads[i].thread);
    }
    handle_destroy(event);
    for (uint32_t i = 0; i < 3; i++) {
        thread_join(&threads[i]);
        EXPECT_STATUS(waiters[i].status, ERROR_PEER_DIED);
    }
}

/* The waiter's own handle is deleted while it waits: the object lives until the wait is over. */
static void deleted_while_waiting(void)
{
    struct waiter waiter = {.event = make(), .mask = 1};
    struct std_thread thread;
    handle_t other = with_rights(waiter.event, EVENT_RIGHT_SIGNAL);
    thread_start(&thread, waits, &waiter);
    thread_wait_until_waiting(thread.thread);
    handle_drop(waiter.event);
    EXPECT_OK(tess_event_set(other, 1));
    thread_join(&thread);
    EXPECT_STATUS(waiter.status, OK);
    handle_drop(other);
}

/* ---- No bit is lost and none is seen twice ---- */

struct exchange {
    handle_t there, back;
    uint64_t rounds;
};

static void answers(void *context)
{
    struct exchange *exchange = context;
    for (uint64_t i = 0; i < exchange->rounds && test_has_passed(); i++) {
        uint64_t got;
        if (!EXPECT_OK(tess_event_wait(exchange->there, ~0ull, &got, patience())))
            return;
        EXPECT_EQUAL(got, 1ull << (i % 64));
        EXPECT_OK(tess_event_set(exchange->back, got));
    }
}

static void ping_pong(void)
{
    struct exchange exchange = {.there = make(), .back = make(), .rounds = 3000};
    struct std_thread thread;
    thread_start(&thread, answers, &exchange);
    for (uint64_t i = 0; i < exchange.rounds && test_has_passed(); i++) {
        uint64_t got;
        EXPECT_OK(tess_event_set(exchange.there, 1ull << (i % 64)));
        EXPECT_OK(tess_event_wait(exchange.back, 1ull << (i % 64), &got, patience()));
    }
    thread_join(&thread);
}

struct crowd {
    handle_t event;
    _Atomic uint64_t set, got;
    _Atomic bool is_over;
};

static void takes(void *context)
{
    struct crowd *crowd = context;
    uint64_t bits;
    for (;;) {
        status_t status = tess_event_wait(crowd->event, ~0ull, &bits, time_after_ns(NS_PER_MS));
        if (status == OK)
            atomic_fetch_add(&crowd->got, (uint64_t)__builtin_popcountll(bits));
        else if (status != ERROR_TIMED_OUT || atomic_load(&crowd->is_over))
            return;
    }
}

/* Bits that are never set twice before they were taken: as many are taken as were set. */
static void crowd(void)
{
    struct crowd crowd = {.event = make()};
    struct std_thread threads[3];
    for (uint32_t i = 0; i < 3; i++)
        thread_start(&threads[i], takes, &crowd);
    for (uint32_t round = 0; round < 60; round++) {
        for (uint32_t bit = 0; bit < 64; bit++)
            EXPECT_OK(tess_event_set(crowd.event, 1ull << bit));
        atomic_fetch_add(&crowd.set, 64);
        uint64_t end = patience();
        while (atomic_load(&crowd.got) != atomic_load(&crowd.set) && time_now_ns() < end)
            EXPECT_OK(tess_thread_yield(std_self.thread));
    }
    atomic_store(&crowd.is_over, true);
    for (uint32_t i = 0; i < 3; i++)
        thread_join(&threads[i]);
    EXPECT_EQUAL(atomic_load(&crowd.got), atomic_load(&crowd.set));
    handle_drop(crowd.event);
}

/* Who waits for other bits stands before the one that is meant. */
static void long_queue(void)
{
    constexpr uint32_t COUNT = 80;
    static struct waiter waiters[COUNT];
    static struct std_thread threads[COUNT];
    handle_t event = make();
    for (uint32_t i = 0; i < COUNT; i++) {
        waiters[i] = (struct waiter){.event = event, .mask = i < COUNT - 1 ? 1 : 2};
        if (i == COUNT - 1)
            for (uint32_t j = 0; j < i; j++)
                thread_wait_until_waiting(threads[j].thread);
        thread_start(&threads[i], waits, &waiters[i]);
    }
    thread_wait_until_waiting(threads[COUNT - 1].thread);
    EXPECT_OK(tess_event_set(event, 2));
    thread_join(&threads[COUNT - 1]);
    EXPECT_OK(waiters[COUNT - 1].status);
    EXPECT_EQUAL(waiters[COUNT - 1].got, 2);
    EXPECT_EQUAL(read_bits(event), 0);
    handle_destroy(event);
    for (uint32_t i = 0; i < COUNT - 1; i++) {
        thread_join(&threads[i]);
        EXPECT_STATUS(waiters[i].status, ERROR_PEER_DIED);
    }
}

void event_tests(void)
{
    static const struct test tests[] = {
        {"event.bits", bits},
        {"event.several_waiters", several_waiters},
        {"event.death", death},
        {"event.deleted_while_waiting", deleted_while_waiting},
        {"event.ping_pong", ping_pong},
        {"event.crowd", crowd},
        {"event.long_queue", long_queue},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
