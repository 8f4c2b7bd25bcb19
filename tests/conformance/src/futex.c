/* Futexes: wait, wake, requeue, words that name their owner; what happens to those who wait when mapping, memory or thread goes. */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

constexpr uint32_t ALL_BITS = UINT32_MAX;

struct waiter {
    struct std_thread thread;
    uint64_t address, deadline;
    uint32_t value, bits, owner; /* owner != 0: futex_lock */
    status_t status;
};

static void waits(void *context)
{
    struct waiter *waiter = context;
    waiter->status = waiter->owner != 0
                         ? tess_vspace_futex_lock(std_self.vspace, waiter->address, waiter->owner, waiter->deadline)
                         : tess_vspace_futex_wait(std_self.vspace, waiter->address, waiter->value, waiter->bits, waiter->deadline);
}

static void begin(struct waiter *waiter, volatile void *word, uint32_t bits)
{
    *waiter = (struct waiter){.address = (uint64_t)word, .deadline = patience(), .bits = bits, .value = *(volatile uint32_t *)word};
    thread_start(&waiter->thread, waits, waiter);
    thread_wait_until_waiting(waiter->thread.thread);
}

static void begin_lock(struct waiter *waiter, volatile void *word, uint32_t owner)
{
    *waiter = (struct waiter){.address = (uint64_t)word, .deadline = patience(), .owner = owner};
    thread_start(&waiter->thread, waits, waiter);
    thread_wait_until_waiting(waiter->thread.thread);
}

static void end(struct waiter *waiter, status_t wanted)
{
    thread_join(&waiter->thread);
    EXPECT_STATUS(waiter->status, wanted);
}

static uint32_t wake(volatile void *word, uint32_t count, uint32_t bits)
{
    uint32_t woken = ~0u;
    EXPECT_OK(tess_vspace_futex_wake(std_self.vspace, (uint64_t)word, count, bits, &woken));
    return woken;
}

static volatile uint32_t *map(handle_t memory, uint32_t flags)
{
    uint64_t at = 0;
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, flags, &at));
    return (volatile uint32_t *)at;
}

static handle_t make_memory(void)
{
    handle_t memory = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory));
    return memory;
}

static void unmap(volatile uint32_t *at) { EXPECT_OK(tess_vspace_unmap(std_self.vspace, (uint64_t)at, STD_PAGE)); }

static void arguments(void)
{
    handle_t memory = make_memory(), vspace = std_self.vspace;
    volatile uint32_t *word = map(memory, MAP_READ | MAP_WRITE), *shown = map(memory, MAP_READ);
    uint64_t at = (uint64_t)word;
    uint32_t a, b;
    /* The page is not there yet: it comes. */
    EXPECT_STATUS(tess_vspace_futex_wait(vspace, at, 1, ALL_BITS, patience()), ERROR_WOULD_BLOCK);
    EXPECT_STATUS(tess_vspace_futex_wait(vspace, at, 0, ALL_BITS, DEADLINE_NOW), ERROR_TIMED_OUT);
    EXPECT_STATUS(tess_vspace_futex_wait(vspace, at, 0, ALL_BITS, time_after_ns(NS_PER_MS)), ERROR_TIMED_OUT);
    EXPECT_STATUS(tess_vspace_futex_wait(vspace, (uint64_t)shown, 0, ALL_BITS, DEADLINE_NOW), ERROR_TIMED_OUT);
    EXPECT_STATUS(tess_vspace_futex_wait(vspace, at, 0, 0, DEADLINE_NOW), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_futex_wake(vspace, at, 1, 0, &a), ERROR_BAD_ARGUMENT);
    for (uint64_t off = 1; off < 4; off++) {
        EXPECT_STATUS(tess_vspace_futex_wait(vspace, at + off, 0, ALL_BITS, DEADLINE_NOW), ERROR_BAD_ARGUMENT);
        EXPECT_STATUS(tess_vspace_futex_wake(vspace, at + off, 1, ALL_BITS, &a), ERROR_BAD_ARGUMENT);
        EXPECT_STATUS(tess_vspace_futex_requeue(vspace, at + off, FUTEX_ANY, at, 1, 1, &a, &b), ERROR_BAD_ARGUMENT);
        EXPECT_STATUS(tess_vspace_futex_requeue(vspace, at, FUTEX_ANY, at + off, 1, 1, &a, &b), ERROR_BAD_ARGUMENT);
        EXPECT_STATUS(tess_vspace_futex_lock(vspace, at + off, 1, DEADLINE_NOW), ERROR_BAD_ARGUMENT);
        EXPECT_STATUS(tess_vspace_futex_unlock(vspace, at + off, 1, &a), ERROR_BAD_ARGUMENT);
    }
    static const uint64_t nowhere[] = {0, 4, 0x1000, (1ull << 38) - 4};
    for (uint32_t i = 0; i < ARRAY_LENGTH(nowhere); i++) {
        EXPECT_STATUS(tess_vspace_futex_wait(vspace, nowhere[i], 0, ALL_BITS, DEADLINE_NOW), ERROR_BAD_ADDRESS);
        EXPECT_STATUS(tess_vspace_futex_wake(vspace, nowhere[i], 1, ALL_BITS, &a), ERROR_BAD_ADDRESS);
        EXPECT_STATUS(tess_vspace_futex_requeue(vspace, at, FUTEX_ANY, nowhere[i], 1, 1, &a, &b), ERROR_BAD_ADDRESS);
        EXPECT_STATUS(tess_vspace_futex_lock(vspace, nowhere[i], 1, DEADLINE_NOW), ERROR_BAD_ADDRESS);
    }
    EXPECT_STATUS(tess_vspace_futex_wait(vspace, 1ull << 38, 0, ALL_BITS, DEADLINE_NOW), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_futex_wake(vspace, ~3ull, 1, ALL_BITS, &a), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_futex_requeue(vspace, at, FUTEX_ANY + 1, at, 1, 1, &a, &b), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_futex_lock(vspace, (uint64_t)shown, 1, DEADLINE_NOW), ERROR_BAD_ADDRESS); /* may not be written */
    EXPECT_STATUS(tess_vspace_futex_lock(vspace, at, 0, DEADLINE_NOW), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_futex_lock(vspace, at, FUTEX_OWNER_DIED, DEADLINE_NOW), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_futex_unlock(vspace, at, 0, &a), ERROR_BAD_ARGUMENT);
    handle_t blind = with_rights(vspace, RIGHTS_ALL & ~(uint32_t)VSPACE_RIGHT_FUTEX);
    EXPECT_STATUS(tess_vspace_futex_wait(blind, at, 0, ALL_BITS, DEADLINE_NOW), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_vspace_futex_wake(blind, at, 1, ALL_BITS, &a), ERROR_MISSING_RIGHT);
    handle_drop(blind);
    /* A page that only a wake looks at need not come; one whose memory died is no word any more. */
    handle_t other = make_memory();
    volatile uint32_t *fresh = map(other, MAP_READ | MAP_WRITE);
    EXPECT_EQUAL(wake(fresh, 1, ALL_BITS), 0);
    handle_destroy(other);
    EXPECT_STATUS(tess_vspace_futex_wait(vspace, (uint64_t)fresh, 0, ALL_BITS, DEADLINE_NOW), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_vspace_futex_wake(vspace, (uint64_t)fresh, 1, ALL_BITS, &a), ERROR_BAD_ADDRESS);
    unmap(fresh);
    unmap(shown);
    unmap(word);
    handle_drop(memory);
}

static void counts_and_bits(void)
{
    static volatile uint32_t words[2];
    struct waiter waiters[4];
    words[0] = words[1] = 7;
    for (uint32_t i = 0; i < 4; i++)
        begin(&waiters[i], &words[i == 3], i == 1 ? 2 : 1);
    EXPECT_EQUAL(wake(&words[0], 0, ALL_BITS), 0);
    EXPECT_EQUAL(wake(&words[0], 10, 4), 0);
    EXPECT_EQUAL(wake(&words[0], 10, 2), 1);
    end(&waiters[1], OK);
    EXPECT_EQUAL(wake(&words[0], 1, ALL_BITS), 1); /* in the order they came */
    end(&waiters[0], OK);
    EXPECT(thread_is_waiting(waiters[2].thread.thread));
    EXPECT_EQUAL(wake(&words[0], UINT32_MAX, ALL_BITS), 1);
    end(&waiters[2], OK);
    EXPECT(thread_is_waiting(waiters[3].thread.thread));
    EXPECT_EQUAL(wake(&words[1], 1, ALL_BITS), 1);
    end(&waiters[3], OK);
    EXPECT_EQUAL(wake(&words[0], 1, ALL_BITS), 0);
    /* Ended otherwise. */
    begin(&waiters[0], &words[0], 1);
    EXPECT_OK(tess_thread_interrupt(waiters[0].thread.thread));
    end(&waiters[0], ERROR_INTERRUPTED);
    EXPECT_EQUAL(wake(&words[0], 1, ALL_BITS), 0);
}

/* The word is the memory's, not the address's: another mapping of it, of another process, and the first one gone. */
static void mappings(void)
{
    handle_t memory = make_memory();
    volatile uint32_t *one = map(memory, MAP_READ | MAP_WRITE), *two = map(memory, MAP_READ);
    struct waiter waiter;
    begin(&waiter, &one[5], 1);
    EXPECT_EQUAL(wake(&two[6], 1, 1), 0);
    EXPECT_EQUAL(wake(&two[5], 1, 1), 1);
    end(&waiter, OK);
    struct child child;
    struct child_args args = {.role = "wait", .is_suspended = true};
    if (child_start(&child, &args)) {
        uint64_t at;
        uint32_t woken;
        handle_t vspace = child.spawned.vspace;
        EXPECT_OK(tess_vspace_map(vspace, memory, 0, STD_PAGE, 0, MAP_READ, &at));
        begin(&waiter, &one[5], 1);
        EXPECT_OK(tess_vspace_futex_wake(vspace, at + 20, 1, 1, &woken));
        EXPECT_EQUAL(woken, 1);
        end(&waiter, OK);
        child_end(&child);
    }
    begin(&waiter, &one[5], 1);
    unmap(one);
    EXPECT(thread_is_waiting(waiter.thread.thread));
    EXPECT_EQUAL(wake(&two[5], 1, 1), 1);
    end(&waiter, OK);
    unmap(two);
    handle_drop(memory);
}

static void memory_dies(void)
{
    struct waiter waiters[3];
    for (uint32_t round = 0; round < 2; round++) {
        handle_t memory = make_memory(), other = make_memory();
        volatile uint32_t *at = map(memory, MAP_READ | MAP_WRITE), *elsewhere = map(other, MAP_READ | MAP_WRITE);
        uint32_t woken, moved;
        begin(&waiters[0], &at[0], 1);
        begin(&waiters[1], &at[9], 1);
        begin(&waiters[2], &elsewhere[0], 1);
        if (round == 1) { /* one comes, one goes */
            EXPECT_OK(tess_vspace_futex_requeue(std_self.vspace, (uint64_t)at, FUTEX_ANY, (uint64_t)&elsewhere[3], 0, 1, &woken, &moved));
            EXPECT_EQUAL(moved, 1);
            EXPECT_OK(tess_vspace_futex_requeue(std_self.vspace, (uint64_t)elsewhere, FUTEX_ANY, (uint64_t)&at[3], 0, 1, &woken, &moved));
            EXPECT_EQUAL(moved, 1);
        }
        handle_destroy(memory);
        end(&waiters[1], ERROR_PEER_DIED);
        end(&waiters[round == 0 ? 0 : 2], ERROR_PEER_DIED);
        EXPECT_EQUAL(wake(&elsewhere[round == 0 ? 0 : 3], 1, 1), 1);
        end(&waiters[round == 0 ? 2 : 0], OK);
        unmap(at);
        unmap(elsewhere);
        handle_drop(other);
    }
    /* With the untyped it was made from, and a waiter that is all that holds it. */
    handle_t untyped, memory;
    EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 16 * STD_PAGE, &untyped));
    EXPECT_OK(tess_untyped_create_memory(untyped, STD_PAGE, 0, &memory));
    volatile uint32_t *at = map(memory, MAP_READ | MAP_WRITE);
    begin(&waiters[0], at, 1);
    unmap(at);
    handle_drop(memory);
    EXPECT(thread_is_waiting(waiters[0].thread.thread));
    handle_destroy(untyped);
    end(&waiters[0], ERROR_PEER_DIED);
}

static void requeue(void)
{
    static volatile uint32_t from, to;
    struct waiter waiters[6];
    uint32_t woken, moved;
    handle_t vspace = std_self.vspace;
    from = 3;
    for (uint32_t i = 0; i < 6; i++)
        begin(&waiters[i], &from, 1);
    EXPECT_STATUS(tess_vspace_futex_requeue(vspace, (uint64_t)&from, 4, (uint64_t)&to, 1, 9, &woken, &moved), ERROR_WOULD_BLOCK);
    EXPECT_OK(tess_vspace_futex_requeue(vspace, (uint64_t)&from, 3, (uint64_t)&to, 1, 3, &woken, &moved));
    EXPECT_EQUAL(woken, 1);
    EXPECT_EQUAL(moved, 3);
    end(&waiters[0], OK);
    EXPECT_EQUAL(wake(&from, 99, ALL_BITS), 2);
    end(&waiters[4], OK);
    end(&waiters[5], OK);
    EXPECT_OK(tess_thread_interrupt(waiters[2].thread.thread)); /* leaves the queue it is in now */
    end(&waiters[2], ERROR_INTERRUPTED);
    EXPECT_OK(tess_vspace_futex_requeue(vspace, (uint64_t)&to, FUTEX_ANY, (uint64_t)&to, 1, 9, &woken, &moved));
    EXPECT_EQUAL(woken, 1);
    EXPECT_EQUAL(moved, 0); /* it is there already */
    end(&waiters[1], OK);
    EXPECT_EQUAL(wake(&to, 99, ALL_BITS), 1);
    end(&waiters[3], OK);
}

static void owners(void)
{
    static volatile uint32_t word;
    struct waiter waiters[3];
    uint32_t heir;
    handle_t vspace = std_self.vspace;
    uint64_t at = (uint64_t)&word;
    word = 0;
    EXPECT_STATUS(tess_vspace_futex_unlock(vspace, at, 5, &heir), ERROR_REFUSED);
    EXPECT_OK(tess_vspace_futex_lock(vspace, at, 5, DEADLINE_NOW));
    EXPECT_EQUAL(word, 5);
    EXPECT_STATUS(tess_vspace_futex_lock(vspace, at, 5, patience()), ERROR_ALREADY);
    EXPECT_STATUS(tess_vspace_futex_lock(vspace, at, 6, DEADLINE_NOW), ERROR_TIMED_OUT);
    EXPECT_STATUS(tess_vspace_futex_lock(vspace, at, 6, time_after_ns(NS_PER_MS)), ERROR_TIMED_OUT);
    EXPECT_EQUAL(word, 5 | FUTEX_WAITERS);
    for (uint32_t i = 0; i < 3; i++)
        begin_lock(&waiters[i], &word, 10 + i);
    EXPECT_EQUAL(wake(&word, 9, ALL_BITS), 0); /* these want to be made owners */
    EXPECT_STATUS(tess_vspace_futex_unlock(vspace, at, 10, &heir), ERROR_REFUSED);
    EXPECT_OK(tess_vspace_futex_unlock(vspace, at, 5, &heir));
    EXPECT_EQUAL(heir, 10);
    end(&waiters[0], OK);
    EXPECT_EQUAL(word, 10 | FUTEX_WAITERS);
    EXPECT_OK(tess_thread_interrupt(waiters[1].thread.thread));
    end(&waiters[1], ERROR_INTERRUPTED);
    EXPECT_OK(tess_vspace_futex_unlock(vspace, at, 10, &heir));
    EXPECT_EQUAL(heir, 12);
    end(&waiters[2], OK);
    EXPECT_EQUAL(word, 12);
    EXPECT_OK(tess_vspace_futex_unlock(vspace, at, 12, &heir));
    EXPECT_EQUAL(heir, 0);
    EXPECT_EQUAL(word, 0);
    word = FUTEX_OWNER_DIED; /* its heir is to know */
    EXPECT_OK(tess_vspace_futex_lock(vspace, at, 7, DEADLINE_NOW));
    EXPECT_EQUAL(word, FUTEX_OWNER_DIED | 7);
    begin_lock(&waiters[0], &word, 8);
    EXPECT_OK(tess_vspace_futex_unlock(vspace, at, 7, &heir)); /* and the next one as well */
    end(&waiters[0], OK);
    EXPECT_EQUAL(word, FUTEX_OWNER_DIED | 8);
    word = 8;
    EXPECT_OK(tess_vspace_futex_unlock(vspace, at, 8, &heir));
    EXPECT_EQUAL(word, 0);
}

/* ---- Several at once ---- */

static struct std_mutex mutex;
static uint64_t guarded;

static void counts(void *)
{
    for (uint32_t i = 0; i < 2000; i++) {
        std_mutex_lock(&mutex);
        uint64_t seen = *(volatile uint64_t *)&guarded;
        if (i % 64 == 0)
            (void)tess_thread_yield(tess_thread_block()->thread);
        *(volatile uint64_t *)&guarded = seen + 1;
        std_mutex_unlock(&mutex);
    }
}

static volatile uint32_t owned;

static void owns(void *context)
{
    uint32_t owner = *(uint32_t *)context, heir;
    for (uint32_t i = 0; i < 1000; i++) {
        EXPECT_OK(tess_vspace_futex_lock(std_self.vspace, (uint64_t)&owned, owner, patience()));
        EXPECT_EQUAL(owned & FUTEX_OWNER_MASK, owner);
        (*(volatile uint64_t *)&guarded)++;
        EXPECT_OK(tess_vspace_futex_unlock(std_self.vspace, (uint64_t)&owned, owner, &heir));
    }
}

static void exclusion(void)
{
    struct std_thread threads[4];
    uint32_t names[4] = {1, 2, 3, FUTEX_OWNER_MASK};
    guarded = 0;
    EXPECT_OK(std_mutex_init(&mutex));
    for (uint32_t i = 0; i < 4; i++)
        thread_start(&threads[i], counts, nullptr);
    for (uint32_t i = 0; i < 4; i++)
        thread_join(&threads[i]);
    std_mutex_destroy(&mutex);
    EXPECT_EQUAL(guarded, 8000);
    guarded = 0;
    owned = 0;
    for (uint32_t i = 0; i < 4; i++)
        thread_start(&threads[i], owns, &names[i]);
    for (uint32_t i = 0; i < 4; i++)
        thread_join(&threads[i]);
    EXPECT_EQUAL(guarded, 4000);
    EXPECT_EQUAL(owned, 0);
}

/* Waits, wakes, moves, interrupts, deadlines and killed threads against each other: nobody is left behind in a queue he is not in. */
static volatile uint32_t storm_words[4];
static _Atomic bool is_storm_over;
static _Atomic uint64_t storm_waits;

static void storm_waiter(void *context)
{
    uint64_t seed = (uint64_t)context;
    while (!atomic_load(&is_storm_over)) {
        uint64_t at = (uint64_t)&storm_words[random_next(&seed) % 4];
        status_t status = tess_vspace_futex_wait(std_self.vspace, at, 0, ALL_BITS, time_after_ns(random_next(&seed) % 200'000));
        EXPECT(status == OK || status == ERROR_TIMED_OUT || status == ERROR_INTERRUPTED);
        atomic_fetch_add(&storm_waits, 1);
    }
}

static void storm_waker(void *context)
{
    uint64_t seed = (uint64_t)context;
    while (!atomic_load(&is_storm_over)) {
        uint64_t from = (uint64_t)&storm_words[random_next(&seed) % 4], to = (uint64_t)&storm_words[random_next(&seed) % 4];
        uint32_t a, b;
        if (random_next(&seed) % 2 == 0)
            EXPECT_OK(tess_vspace_futex_wake(std_self.vspace, from, random_next(&seed) % 3, ALL_BITS, &a));
        else
            EXPECT_OK(tess_vspace_futex_requeue(std_self.vspace, from, 0, to, random_next(&seed) % 2, random_next(&seed) % 4, &a, &b));
    }
}

static void storm(void)
{
    struct std_thread waiters[4], wakers[2], victim;
    uint64_t seed = 5;
    storm_words[0] = storm_words[1] = storm_words[2] = storm_words[3] = 0;
    atomic_store(&is_storm_over, false);
    atomic_store(&storm_waits, 0);
    for (uint64_t i = 0; i < 4; i++)
        thread_start(&waiters[i], storm_waiter, (void *)(i + 100));
    for (uint64_t i = 0; i < 2; i++)
        thread_start(&wakers[i], storm_waker, (void *)(i + 200));
    for (uint64_t end_ns = time_after_ns(400 * NS_PER_MS); time_now_ns() < end_ns;) {
        EXPECT_OK(tess_thread_interrupt(waiters[random_next(&seed) % 4].thread));
        thread_start(&victim, storm_waiter, (void *)(random_next(&seed) | 1));
        sleep_ns(random_next(&seed) % 400'000);
        EXPECT_OK(tess_cspace_destroy(std_self.cspace, victim.thread));
        std_handle_delete(victim.thread);
        handle_drop(victim.ended);
        std_mapping_destroy(&victim.mapping);
    }
    atomic_store(&is_storm_over, true);
    for (uint32_t i = 0; i < 4; i++)
        thread_join(&waiters[i]);
    for (uint32_t i = 0; i < 2; i++)
        thread_join(&wakers[i]);
    test_note("%lu waits", atomic_load(&storm_waits));
}

void futex_tests(void)
{
    static const struct test tests[] = {
        {"futex.arguments", arguments}, {"futex.counts_and_bits", counts_and_bits},
        {"futex.mappings", mappings},   {"futex.memory_dies", memory_dies},
        {"futex.requeue", requeue},     {"futex.owners", owners},
        {"futex.exclusion", exclusion}, {"futex.storm", storm},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
