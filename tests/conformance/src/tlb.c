/*
 * What several CPUs see of one address space. A page that was unmapped, decommitted or protected on one CPU must be gone on all
 * when the call returns. Threads here own no other process's memory, so a stale translation shows as a value that must not be
 * seen, or as a write that arrives where it must not.
 */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/system.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

constexpr uint32_t THREADS = 4;

/* ---- Decommit: readers never see the old value once the call has returned ---- */

struct shared {
    uint64_t at;
    handle_t memory;
    _Atomic uint64_t generation; /* values below it must not be read any more */
    _Atomic bool is_over;
    _Atomic uint64_t reads;
};

static void place(uint32_t index) { EXPECT_OK(tess_thread_set_affinity(tess_thread_block()->thread, 1ull << (index % guest.cpu_count))); }

static _Atomic uint32_t next_index;

static void reads_generations(void *context)
{
    struct shared *shared = context;
    place(atomic_fetch_add(&next_index, 1));
    while (!atomic_load(&shared->is_over)) {
        uint64_t least = atomic_load(&shared->generation);
        uint64_t value = *(volatile uint64_t *)shared->at;
        if (value != 0 && value < least) {
            test_fail("a page of generation %lu was read when %lu had begun", value, least);
            return;
        }
        atomic_fetch_add_explicit(&shared->reads, 1, memory_order_relaxed);
    }
}

static void decommitted_everywhere(void)
{
    struct shared shared = {};
    struct std_thread threads[THREADS];
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, 4 * STD_PAGE, 0, &shared.memory));
    EXPECT_OK(tess_vspace_map(std_self.vspace, shared.memory, 0, 4 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &shared.at));
    atomic_store(&next_index, 1);
    for (uint32_t i = 0; i < THREADS - 1; i++)
        thread_start(&threads[i], reads_generations, &shared);
    while (guest.cpu_count > 1 && atomic_load(&shared.reads) == 0) /* else all could be over before a reader runs */
        sleep_ns(NS_PER_MS);
    uint64_t end = time_after_ns(NS_PER_S);
    for (uint64_t generation = 1; generation <= 300 && time_now_ns() < end && test_has_passed(); generation++) {
        *(volatile uint64_t *)shared.at = generation;
        for (uint32_t spin = 0; spin < 2000; spin++)
            (void)*(volatile uint64_t *)shared.at;
        EXPECT_OK(tess_memory_decommit(shared.memory, 0, STD_PAGE));
        atomic_store(&shared.generation, generation + 1);
    }
    atomic_store(&shared.is_over, true);
    for (uint32_t i = 0; i < THREADS - 1; i++)
        thread_join(&threads[i]);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, shared.at, 4 * STD_PAGE));
    handle_destroy(shared.memory);
}

/* ---- Remapping: the address shows another memory, its old one is not written any more ---- */

static void writes_all_the_time(void *context)
{
    struct shared *shared = context;
    place(atomic_fetch_add(&next_index, 1));
    while (!atomic_load(&shared->is_over))
        *(volatile uint64_t *)shared->at = 0xBAD;
}

/* The window is replaced by orphaning (a destroyed memory shows scratch), so that the writers never fault. */
static void written_nowhere_else(void)
{
    struct std_thread threads[THREADS];
    uint64_t end = time_after_ns(NS_PER_S);
    for (uint32_t round = 0; round < 30 && time_now_ns() < end && test_has_passed(); round++) {
        struct shared shared = {};
        handle_t victim;
        EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, MEMORY_COMMITTED, &shared.memory));
        EXPECT_OK(tess_vspace_map(std_self.vspace, shared.memory, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &shared.at));
        atomic_store(&next_index, 1);
        for (uint32_t i = 0; i < THREADS - 1; i++)
            thread_start(&threads[i], writes_all_the_time, &shared);
        sleep_ns(NS_PER_MS);
        handle_destroy(shared.memory); /* its page goes back, and is taken again at once */
        for (uint32_t i = 0; i < 8; i++) {
            uint64_t words[16];
            EXPECT_OK(tess_untyped_create_memory(std_self.untyped, 8 * STD_PAGE, MEMORY_COMMITTED, &victim));
            for (uint64_t page = 0; page < 8; page++) {
                EXPECT_OK(tess_memory_read(victim, page * STD_PAGE, (uint64_t)words, sizeof(words)));
                EXPECT_EQUAL(words[0], 0);
            }
            handle_destroy(victim);
        }
        atomic_store(&shared.is_over, true);
        for (uint32_t i = 0; i < THREADS - 1; i++)
            thread_join(&threads[i]);
        EXPECT_OK(tess_vspace_unmap(std_self.vspace, shared.at, STD_PAGE));
    }
}

/* ---- A page unmapped on one CPU faults on another: in a child, because it dies of it ---- */

struct victim {
    uint64_t at;
    _Atomic uint64_t reads;
};

static void reads_for_ever(void *context)
{
    struct victim *victim = context;
    place(1);
    for (;;) {
        (void)*(volatile uint64_t *)victim->at;
        atomic_fetch_add(&victim->reads, 1);
    }
}

/* std_arg(1): what is done to the page that a thread on another CPU uses. 0 reads: none of what it did was noticed. */
int32_t role_unmapped(void)
{
    static struct victim victim;
    struct std_thread thread;
    struct tess_system_info info;
    handle_t memory;
    if (tess_system_info(std_handle_needed("system"), (uint64_t)&info) != OK)
        return 1;
    guest.cpu_count = info.cpu_count;
    if (tess_untyped_create_memory(std_self.untyped, STD_PAGE, MEMORY_COMMITTED, &memory) != OK ||
        tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &victim.at) != OK)
        return 2;
    thread_start(&thread, reads_for_ever, &victim);
    while (atomic_load(&victim.reads) < 1000)
        sleep_ns(NS_PER_MS);
    if (tess_vspace_unmap(std_self.vspace, victim.at, STD_PAGE) != OK)
        return 3;
    uint64_t reads = atomic_load(&victim.reads);
    sleep_ns(50 * NS_PER_MS); /* the process must have died of it by now */
    return atomic_load(&victim.reads) > reads + 1 ? 4 : 5;
}

static void unmapped_faults(void)
{
    for (uint32_t i = 0; i < 5; i++) {
        struct child child;
        struct child_args args = {.role = "unmapped", .handles = {{"system", guest.system, RIGHTS_ALL, false}}, .handle_count = 1};
        if (!child_start(&child, &args))
            return;
        child_expect(&child, EXIT_FAULT, -1);
        child_end(&child);
    }
}

/* ---- Four threads map, use, protect and unmap at once, each its own pages and all of them one memory ---- */

struct work {
    handle_t memory;
    uint64_t seed;
    _Atomic uint64_t steps;
};

static void maps_and_unmaps(void *context)
{
    struct work *work = context;
    uint32_t index = atomic_fetch_add(&next_index, 1);
    uint64_t seed = work->seed + index * 977, end = time_after_ns(400 * NS_PER_MS);
    place(index);
    while (time_now_ns() < end && test_has_passed()) {
        uint64_t page = random_next(&seed) % 8, count = 1 + random_next(&seed) % 8, at;
        if (!EXPECT_OK(tess_vspace_map(std_self.vspace, work->memory, page * STD_PAGE, count * STD_PAGE, 0, MAP_READ | MAP_WRITE, &at)))
            return;
        for (uint64_t i = 0; i < count; i++) {
            volatile uint64_t *mine = (volatile uint64_t *)(at + i * STD_PAGE) + index; /* a word of each page for each thread */
            uint64_t value = random_next(&seed);
            *mine = value;
            EXPECT_EQUAL(*mine, value);
        }
        EXPECT_OK(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ));
        (void)*(volatile uint64_t *)at;
        /* A hole is anybody's: what is left is unmapped round it. */
        uint64_t whole = count > 2 ? 1 : count;
        if (count > 2) {
            EXPECT_OK(tess_vspace_unmap(std_self.vspace, at + STD_PAGE, STD_PAGE));
            EXPECT_OK(tess_vspace_unmap(std_self.vspace, at + 2 * STD_PAGE, (count - 2) * STD_PAGE));
        }
        EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, whole * STD_PAGE));
        atomic_fetch_add(&work->steps, 1);
    }
}

static void concurrent(void)
{
    struct work work = {.seed = 0xC0FFEE};
    struct std_thread threads[THREADS];
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, 16 * STD_PAGE, 0, &work.memory));
    atomic_store(&next_index, 0);
    for (uint32_t i = 0; i < THREADS; i++)
        thread_start(&threads[i], maps_and_unmaps, &work);
    for (uint32_t i = 0; i < THREADS; i++)
        thread_join(&threads[i]);
    test_note("%lu rounds", atomic_load(&work.steps));
    handle_destroy(work.memory);
}

/* All threads fault the same fresh pages in at once: each page exists once. */
static void faults_a_range(void *context)
{
    struct shared *shared = context;
    place(atomic_fetch_add(&next_index, 1));
    while (atomic_load(&shared->generation) == 0)
        ;
    for (uint64_t i = 0; i < 64; i++)
        atomic_fetch_add((_Atomic uint64_t *)(shared->at + i * STD_PAGE), 1);
}

static void same_fault(void)
{
    for (uint32_t round = 0; round < 10; round++) {
        struct shared shared = {};
        struct std_thread threads[THREADS];
        uint64_t size, committed;
        uint32_t flags, is_device;
        EXPECT_OK(tess_untyped_create_memory(std_self.untyped, 64 * STD_PAGE, 0, &shared.memory));
        EXPECT_OK(tess_vspace_map(std_self.vspace, shared.memory, 0, 64 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &shared.at));
        atomic_store(&next_index, 0);
        for (uint32_t i = 0; i < THREADS; i++)
            thread_start(&threads[i], faults_a_range, &shared);
        atomic_store(&shared.generation, 1);
        for (uint32_t i = 0; i < THREADS; i++)
            thread_join(&threads[i]);
        for (uint64_t i = 0; i < 64; i++)
            EXPECT_EQUAL(*(volatile uint64_t *)(shared.at + i * STD_PAGE), THREADS);
        EXPECT_OK(tess_memory_info(shared.memory, &size, &committed, &flags, &is_device));
        EXPECT_EQUAL(committed, 64);
        EXPECT_OK(tess_vspace_unmap(std_self.vspace, shared.at, 64 * STD_PAGE));
        handle_destroy(shared.memory);
    }
}

void tlb_tests(void)
{
    static const struct test tests[] = {
        {"tlb.decommitted_everywhere", decommitted_everywhere},
        {"tlb.written_nowhere_else", written_nowhere_else},
        {"tlb.unmapped_faults", unmapped_faults},
        {"tlb.concurrent", concurrent},
        {"tlb.same_fault", same_fault},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
