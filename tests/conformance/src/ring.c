/* ring: submissions, watches, timeouts, cancel; a full completion queue loses nothing; nonsense in the shared header. */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/ring.h>
#include <tess/stub/system.h>
#include <tess/stub/untyped.h>

static struct std_ring ring;

static bool open_ring(uint32_t sq, uint32_t cq, uint32_t calls, uint32_t watches)
{
    struct std_ring_sizes sizes = {.sq_entries = sq, .cq_entries = cq, .call_slots = calls, .watch_slots = watches};
    return EXPECT_OK(std_ring_open(&ring, &sizes));
}

static struct tess_completion take(void)
{
    struct tess_completion completion = {};
    EXPECT_OK(std_ring_wait(&ring, &completion, patience()));
    return completion;
}

static void expect_none(void)
{
    struct tess_completion completion;
    EXPECT_STATUS(std_ring_wait(&ring, &completion, time_after_ns(3 * NS_PER_MS)), ERROR_TIMED_OUT);
}

static handle_t make_event(void)
{
    handle_t event = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    return event;
}

static void submissions(void)
{
    handle_t event = make_event();
    uint64_t bits;
    if (!open_ring(8, 16, 0, 0))
        return;
    for (uint32_t round = 0; round < 40; round++) { /* around the end of both queues */
        for (uint64_t i = 0; i < 5; i++) {
            struct tess_submission entry = {.op = OP_EVENT_SET, .cookie = round * 10 + i, .handle = event, .words = {1ull << i}};
            EXPECT_OK(std_ring_submit(&ring, &entry));
        }
        struct tess_submission read = {.op = OP_EVENT_READ, .cookie = 1000, .handle = event};
        EXPECT_OK(std_ring_submit(&ring, &read));
        for (uint64_t i = 0; i < 5; i++) {
            struct tess_completion completion = take();
            EXPECT_EQUAL(completion.kind, COMPLETION_RESULT);
            EXPECT_EQUAL(completion.cookie, round * 10 + i);
            EXPECT_STATUS(completion.status, OK);
        }
        EXPECT_EQUAL(take().words[0], 31);
        EXPECT_OK(tess_event_wait(event, ~0ull, &bits, DEADLINE_NOW));
    }
    /* More than there is room for completions: the rest stays in the submission queue. */
    uint32_t submitted, available;
    std_ring_close(&ring);
    if (!open_ring(8, 2, 0, 0))
        return;
    for (uint64_t i = 0; i < 8; i++) {
        struct tess_submission entry = {.op = OP_EVENT_SET, .cookie = i, .handle = event, .words = {1ull << i}};
        EXPECT_OK(std_ring_submit(&ring, &entry));
    }
    EXPECT_OK(tess_ring_enter(ring.handle, 8, 0, &submitted, &available, DEADLINE_NOW));
    EXPECT_EQUAL(submitted, 2);
    EXPECT_EQUAL(available, 2);
    EXPECT_OK(tess_event_read(event, &bits));
    EXPECT_EQUAL(bits, 3);
    for (uint64_t i = 0; i < 8; i++)
        EXPECT_EQUAL(take().cookie, i);
    EXPECT_OK(tess_event_read(event, &bits));
    EXPECT_EQUAL(bits, 255);
    EXPECT_STATUS(tess_ring_enter(ring.handle, 9, 0, &submitted, &available, DEADLINE_NOW), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_ring_enter(ring.handle, 0, 3, &submitted, &available, DEADLINE_NOW), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_ring_enter(ring.handle, 0, 1, &submitted, &available, DEADLINE_NOW), ERROR_TIMED_OUT);
    std_ring_close(&ring);
    handle_drop(event);
}

static void watches(void)
{
    handle_t event = make_event();
    if (!open_ring(1, 8, 0, 4))
        return;
    EXPECT_OK(tess_ring_watch(ring.handle, event, 0x0F, 1, WATCH_ONCE));
    EXPECT_OK(tess_ring_watch(ring.handle, event, 0xF0, 2, WATCH_MULTI));
    expect_none();
    EXPECT_OK(tess_event_set(event, 0x11));
    struct tess_completion first = take(), second = take();
    EXPECT_EQUAL(first.cookie + second.cookie, 3);
    EXPECT_EQUAL((first.cookie == 1 ? first : second).words[0], 0x01);
    EXPECT_EQUAL((first.cookie == 1 ? second : first).words[0], 0x10);
    uint64_t bits;
    EXPECT_OK(tess_event_read(event, &bits));
    EXPECT_EQUAL(bits, 0); /* reported bits are consumed */
    EXPECT_OK(tess_event_set(event, 0x22));
    first = take();
    EXPECT_EQUAL(first.cookie, 2);
    EXPECT_EQUAL(first.words[0], 0x20);
    expect_none();
    EXPECT_OK(tess_event_read(event, &bits));
    EXPECT_EQUAL(bits, 0x02);                                            /* the one-shot watch is over */
    EXPECT_OK(tess_ring_watch(ring.handle, event, 0x0F, 3, WATCH_ONCE)); /* bits that are set already */
    EXPECT_EQUAL(take().cookie, 3);
    uint32_t count;
    EXPECT_OK(tess_ring_cancel(ring.handle, 2, &count));
    EXPECT_EQUAL(count, 1);
    EXPECT_STATUS(tess_ring_cancel(ring.handle, 2, &count), ERROR_NOT_FOUND);
    EXPECT_OK(tess_event_set(event, 0xF0));
    expect_none();
    /* Death completes what watches, with and without a mask. */
    EXPECT_OK(tess_ring_watch(ring.handle, event, 1, 4, WATCH_ONCE));
    EXPECT_OK(tess_ring_watch(ring.handle, event, 0, 5, WATCH_DEATH));
    EXPECT_OK(tess_ring_watch(ring.handle, event, 2, 6, WATCH_MULTI | WATCH_DEATH));
    handle_destroy(event);
    uint64_t cookies = 0;
    for (uint32_t i = 0; i < 3; i++) {
        struct tess_completion completion = take();
        EXPECT_STATUS(completion.status, ERROR_PEER_DIED);
        cookies |= 1ull << completion.cookie;
    }
    EXPECT_EQUAL(cookies, 0x70);
    std_ring_close(&ring);
}

static void watch_arguments(void)
{
    handle_t event = make_event(), blind = with_rights(event, EVENT_RIGHT_WAIT), deaf = with_rights(event, RIGHT_WATCH), memory;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory));
    if (!open_ring(1, 4, 0, 2))
        return;
    EXPECT_STATUS(tess_ring_watch(ring.handle, HANDLE_NONE, 1, 1, 0), ERROR_BAD_HANDLE);
    EXPECT_STATUS(tess_ring_watch(ring.handle, blind, 1, 1, 0), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_ring_watch(ring.handle, deaf, 1, 1, 0), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_ring_watch(ring.handle, memory, 1, 1, 0), ERROR_WRONG_TYPE);
    EXPECT_STATUS(tess_ring_watch(ring.handle, event, 1, 1, 4), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_ring_watch(ring.handle, deaf, 0, 1, WATCH_DEATH));
    EXPECT_OK(tess_ring_watch(ring.handle, memory, 0, 1, WATCH_DEATH));
    EXPECT_STATUS(tess_ring_watch(ring.handle, event, 1, 1, 0), ERROR_NO_SPACE);
    EXPECT_STATUS(tess_ring_timeout(ring.handle, 0, 1), ERROR_NO_SPACE);
    uint32_t count;
    EXPECT_OK(tess_ring_cancel(ring.handle, 1, &count));
    EXPECT_EQUAL(count, 2);
    EXPECT_OK(tess_ring_watch(ring.handle, memory, 0, 9, WATCH_DEATH));
    handle_destroy(memory);
    EXPECT_STATUS(take().status, ERROR_PEER_DIED);
    handle_drop(blind);
    EXPECT_STATUS(tess_ring_watch(ring.handle, blind, 1, 1, 0), ERROR_STALE_HANDLE);
    handle_drop(deaf);
    std_ring_close(&ring);
    handle_drop(event);
}

static void timeouts(void)
{
    if (!open_ring(1, 16, 0, 16))
        return;
    EXPECT_OK(tess_ring_timeout(ring.handle, 0, 5)); /* long over */
    EXPECT_EQUAL(take().cookie, 5);
    /* All are set before the first is due, also where the host stops us now and then. */
    uint64_t now = time_after_ns(100 * NS_PER_MS);
    static const uint64_t delays_ms[] = {9, 3, 6, 1, 0, 12};
    for (uint64_t i = 0; i < ARRAY_LENGTH(delays_ms); i++)
        EXPECT_OK(tess_ring_timeout(ring.handle, now + delays_ms[i] * NS_PER_MS, delays_ms[i]));
    EXPECT_OK(tess_ring_timeout(ring.handle, now + 600 * NS_PER_S, 100));
    uint32_t count;
    EXPECT_OK(tess_ring_cancel(ring.handle, 100, &count));
    uint64_t last = 0, sum = 0;
    for (uint32_t i = 0; i < ARRAY_LENGTH(delays_ms); i++) {
        struct tess_completion completion = take();
        EXPECT_EQUAL(completion.kind, COMPLETION_TIMEOUT);
        EXPECT_STATUS(completion.status, ERROR_TIMED_OUT);
        /* A timer belongs to the CPU that set it: those of several CPUs expire independently. */
        EXPECT(guest.cpu_count > 1 || completion.cookie >= last);
        EXPECT(time_now_ns() >= now + completion.cookie * NS_PER_MS);
        last = completion.cookie;
        sum += completion.cookie;
    }
    EXPECT_EQUAL(sum, 9 + 3 + 6 + 1 + 0 + 12);
    expect_none();
    EXPECT_OK(tess_ring_timeout(ring.handle, DEADLINE_INFINITE, 7)); /* never; goes with the ring */
    EXPECT_OK(tess_ring_timeout(ring.handle, time_after_ns(50 * NS_PER_MS), 8));
    std_ring_close(&ring);
}

/* The completion queue is full: nothing is lost, and an object that dies meanwhile does no harm. */
static void overflow(void)
{
    handle_t events[10];
    if (!open_ring(1, 4, 0, 32))
        return;
    for (uint64_t i = 0; i < 10; i++) {
        events[i] = make_event();
        EXPECT_OK(tess_ring_watch(ring.handle, events[i], 1, i, i % 2 != 0 ? WATCH_MULTI : WATCH_ONCE));
        EXPECT_OK(tess_ring_timeout(ring.handle, 1, 100 + i));
        EXPECT_OK(tess_event_set(events[i], 1));
    }
    sleep_ns(5 * NS_PER_MS);
    for (uint32_t i = 0; i < 10; i++)
        if (i < 8)
            handle_destroy(events[i]);
    for (uint32_t i = 0; i < 100; i++) { /* their memory is used again */
        handle_t other = make_event();
        handle_drop(other);
    }
    uint32_t count;
    EXPECT_OK(tess_ring_cancel(ring.handle, 6, &count)); /* a one-shot watch that waits for room; its event is gone */
    EXPECT_OK(tess_ring_cancel(ring.handle, 7, &count));
    uint32_t signals[128] = {}, deaths[128] = {};
    struct tess_completion completion;
    while (std_ring_wait(&ring, &completion, time_after_ns(10 * NS_PER_MS)) == OK && EXPECT(completion.cookie < 128)) {
        signals[completion.cookie] += completion.kind == COMPLETION_TIMEOUT || completion.words[0] == 1;
        deaths[completion.cookie] += completion.status == ERROR_PEER_DIED;
    }
    for (uint32_t i = 0; i < 10; i++) {
        EXPECT_EQUAL(signals[i], i == 6 || i == 7 ? 0 : 1);
        EXPECT_EQUAL(deaths[i], i % 2 != 0 && i < 6 ? 1 : 0); /* only those that stay hear of it */
        EXPECT_EQUAL(signals[100 + i], 1);
    }
    EXPECT_EQUAL(ring.header->cq_dropped, 0);
    expect_none();
    handle_drop(events[8]);
    handle_drop(events[9]);
    std_ring_close(&ring);
}

/* Far more news than the kernel moves at once, and than the queue has room for. */
static void backlog(void)
{
    constexpr uint32_t COUNT = 600, ROOM = 256;
    if (!open_ring(1, ROOM, 0, COUNT))
        return;
    static uint8_t seen[COUNT];
    memset(seen, 0, sizeof(seen));
    for (uint32_t i = 0; i < COUNT; i++)
        EXPECT_OK(tess_ring_timeout(ring.handle, 1, i));
    sleep_ns(5 * NS_PER_MS);
    uint32_t taken = 0;
    while (taken < COUNT) {
        uint32_t submitted, available = 0, wanted = COUNT - taken < ROOM ? COUNT - taken : ROOM;
        if (!EXPECT_OK(tess_ring_enter(ring.handle, 0, wanted, &submitted, &available, patience())) || !EXPECT_EQUAL(available, wanted))
            break;
        struct tess_completion completion;
        for (uint32_t i = 0; i < wanted && EXPECT_OK(std_ring_wait(&ring, &completion, DEADLINE_NOW)); i++)
            if (EXPECT(completion.cookie < COUNT))
                seen[completion.cookie]++;
        taken += wanted;
    }
    for (uint32_t i = 0; i < COUNT; i++)
        EXPECT_EQUAL(seen[i], 1);
    expect_none();
    std_ring_close(&ring);
}

/* Each bit goes to the first that asked for it, however many stand before it. */
static void many_watches(void)
{
    constexpr uint32_t COUNT = 64 * 4;
    if (!open_ring(1, 64, 0, COUNT))
        return;
    handle_t event = make_event();
    for (uint64_t i = 0; i < COUNT; i++)
        EXPECT_OK(tess_ring_watch(ring.handle, event, 1ull << (i % 64), i, WATCH_ONCE));
    struct tess_completion completion;
    for (uint64_t i = 0; i < COUNT; i += 64)
        for (uint64_t bit = 63; bit >= 62; bit--) {
            EXPECT_OK(tess_event_set(event, 1ull << bit));
            if (EXPECT_OK(std_ring_wait(&ring, &completion, patience())))
                EXPECT_EQUAL(completion.cookie, i + bit);
        }
    EXPECT_OK(tess_event_set(event, 3ull << 62)); /* none is left for these */
    expect_none();
    uint64_t got;
    EXPECT_OK(tess_event_wait(event, ~0ull, &got, DEADLINE_NOW));
    EXPECT_EQUAL(got, 3ull << 62);
    handle_drop(event);
    std_ring_close(&ring);
}

/* Bits that come while the queue is full are joined, none is missing. */
static void joined_bits(void)
{
    handle_t event = make_event();
    uint64_t bits = 0;
    if (!open_ring(1, 2, 0, 8))
        return;
    EXPECT_OK(tess_ring_timeout(ring.handle, 1, 50));
    EXPECT_OK(tess_ring_timeout(ring.handle, 1, 51));
    sleep_ns(2 * NS_PER_MS);
    EXPECT_OK(tess_ring_watch(ring.handle, event, ~0ull, 1, WATCH_MULTI));
    for (uint32_t i = 0; i < 64; i++)
        EXPECT_OK(tess_event_set(event, 1ull << i));
    uint64_t end = patience();
    while (bits != ~0ull && time_now_ns() < end) {
        struct tess_completion completion = take();
        if (completion.kind == COMPLETION_WATCH) {
            EXPECT_EQUAL(bits & completion.words[0], 0);
            bits |= completion.words[0];
        }
    }
    EXPECT_EQUAL(bits, ~0ull);
    std_ring_close(&ring);
    handle_drop(event);
}

/* Whatever stands in the shared page, the kernel stays within its queues and the ring stays usable. */
static void nonsense(void)
{
    static const uint32_t values[] = {0, 1, 7, 8, 9, 1000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    handle_t event = make_event();
    if (!open_ring(8, 8, 0, 4))
        return;
    EXPECT_OK(tess_ring_watch(ring.handle, event, ~0ull, 1, WATCH_MULTI));
    for (uint32_t a = 0; a < ARRAY_LENGTH(values); a++)
        for (uint32_t b = 0; b < ARRAY_LENGTH(values); b++) {
            uint32_t submitted, available;
            ring.header->sq_tail = values[a];
            ring.header->cq_head = values[b];
            ring.header->sq_head = values[b];
            ring.header->cq_tail = values[a];
            ring.header->sq_entries = values[b];
            ring.header->cq_entries = values[a];
            EXPECT_OK(tess_event_set(event, 1));
            status_t status = tess_ring_enter(ring.handle, 8, 0, &submitted, &available, DEADLINE_NOW);
            EXPECT_STATUS(status, OK);
            EXPECT(submitted <= 8 && available <= 8);
        }
    std_ring_close(&ring);
    handle_drop(event);
}

struct waiter {
    status_t status;
    uint32_t available;
};

static void enters(void *context)
{
    struct waiter *waiter = context;
    uint32_t submitted;
    waiter->status = tess_ring_enter(ring.handle, 0, 2, &submitted, &waiter->available, patience());
}

/* One waiter at most; it wakes at min_complete; the ring's death ends the wait. */
static void waiting(void)
{
    handle_t event = make_event();
    struct waiter waiter = {};
    struct std_thread thread;
    uint32_t submitted, available;
    if (!open_ring(1, 8, 0, 4))
        return;
    EXPECT_OK(tess_ring_watch(ring.handle, event, ~0ull, 1, WATCH_MULTI));
    thread_start(&thread, enters, &waiter);
    thread_wait_until_waiting(thread.thread);
    EXPECT_STATUS(tess_ring_enter(ring.handle, 0, 2, &submitted, &available, time_after_ns(NS_PER_MS)), ERROR_BUSY);
    EXPECT_OK(tess_event_set(event, 1));
    sleep_ns(2 * NS_PER_MS);
    EXPECT(thread_is_waiting(thread.thread)); /* one is not enough */
    EXPECT_OK(tess_event_set(event, 2));
    thread_join(&thread);
    EXPECT_STATUS(waiter.status, OK);
    EXPECT_EQUAL(waiter.available, 2);
    (void)take(), (void)take();
    thread_start(&thread, enters, &waiter);
    thread_wait_until_waiting(thread.thread);
    handle_destroy(ring.handle);
    thread_join(&thread);
    EXPECT_STATUS(waiter.status, ERROR_PEER_DIED);
    std_mapping_destroy(&ring.mapping);
    handle_drop(event);
}

static void pinned(void)
{
    if (!open_ring(1, 8, 0, 4))
        return;
    EXPECT_STATUS(tess_memory_decommit(ring.mapping.memory, 0, STD_PAGE), ERROR_BUSY);
    handle_destroy(ring.mapping.memory); /* our mapping shows scratch now; the ring's own pages stay until it goes */
    EXPECT_OK(tess_ring_timeout(ring.handle, 1, 1));
    uint32_t submitted, available;
    sleep_ns(NS_PER_MS);
    EXPECT_OK(tess_ring_enter(ring.handle, 0, 1, &submitted, &available, patience()));
    handle_drop(ring.handle);
    std_unmap(ring.mapping.address, ring.mapping.size);
}

/* Watches made, signalled, cancelled and their events destroyed from several threads at once. */
struct storm {
    handle_t events[4];
    _Atomic bool is_over;
};

static void storms(void *context)
{
    struct storm *storm = context;
    uint64_t seed = time_now_ns() | 1;
    while (!atomic_load(&storm->is_over)) {
        handle_t event = storm->events[random_next(&seed) % 4];
        uint32_t count;
        status_t status;
        switch (random_next(&seed) % 4) {
        case 0:
            status = tess_ring_watch(ring.handle, event, random_next(&seed) | 1, random_next(&seed) % 8, random_next(&seed) % 4);
            EXPECT(status == OK || status == ERROR_NO_SPACE || status == ERROR_STALE_HANDLE);
            break;
        case 1:
            status = tess_ring_cancel(ring.handle, random_next(&seed) % 8, &count);
            EXPECT(status == OK || status == ERROR_NOT_FOUND);
            break;
        case 2:
            status = tess_ring_timeout(ring.handle, time_now_ns() + random_next(&seed) % 100'000, random_next(&seed) % 8);
            EXPECT(status == OK || status == ERROR_NO_SPACE);
            break;
        default: status = tess_event_set(event, random_next(&seed)); EXPECT(status == OK || status == ERROR_STALE_HANDLE);
        }
    }
}

static void storm(void)
{
    struct storm storm = {};
    struct std_thread threads[3];
    uint64_t seed = 99, taken = 0;
    if (!open_ring(1, 8, 0, 24))
        return;
    for (uint32_t i = 0; i < 4; i++)
        storm.events[i] = make_event();
    for (uint32_t i = 0; i < 3; i++)
        thread_start(&threads[i], storms, &storm);
    for (uint64_t end = time_after_ns(400 * NS_PER_MS); time_now_ns() < end;) {
        struct tess_completion completion;
        status_t status = std_ring_wait(&ring, &completion, time_after_ns(NS_PER_MS));
        EXPECT(status == OK || status == ERROR_TIMED_OUT);
        taken += status == OK;
        if (random_next(&seed) % 16 == 0) {
            handle_t *event = &storm.events[random_next(&seed) % 4], fresh = make_event(), old = *event;
            *event = fresh;
            handle_destroy(old);
        }
    }
    atomic_store(&storm.is_over, true);
    for (uint32_t i = 0; i < 3; i++)
        thread_join(&threads[i]);
    test_note("%lu completions", taken);
    std_ring_close(&ring);
    for (uint32_t i = 0; i < 4; i++)
        handle_drop(storm.events[i]);
}

void ring_tests(void)
{
    static const struct test tests[] = {
        {"ring.submissions", submissions},   {"ring.watches", watches},         {"ring.watch_arguments", watch_arguments},
        {"ring.timeouts", timeouts},         {"ring.overflow", overflow},       {"ring.backlog", backlog},
        {"ring.many_watches", many_watches}, {"ring.joined_bits", joined_bits}, {"ring.nonsense", nonsense},
        {"ring.waiting", waiting},           {"ring.pinned", pinned},           {"ring.storm", storm},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
