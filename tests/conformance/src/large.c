/*
 * Pages of 2 MiB: contiguous memory and MEMORY_HUGE, translated as a whole and taken apart by whatever touches a part. What is in the memory
 * and what may be accessed must be the same as with small pages; vspace.info tells which they are.
 */
#include <conformance.h>
#include <tess/stub/memory.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

constexpr uint64_t LARGE = 2 << 20, LARGE_PAGES = LARGE / STD_PAGE;

static uint64_t large_pages(handle_t space)
{
    uint64_t mapped, large = ~0ull;
    EXPECT_OK(tess_vspace_info(space, &mapped, &large));
    return large;
}

static handle_t make(uint64_t pages, uint32_t flags)
{
    handle_t memory = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, pages * STD_PAGE, flags, &memory));
    return memory;
}

static uint64_t map(handle_t memory, uint64_t offset, uint64_t size, uint64_t address, uint32_t flags)
{
    uint64_t at = 0;
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, offset, size, address, flags, &at));
    return at;
}

static void unmap(uint64_t at, uint64_t size) { EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, size)); }

static volatile uint64_t *word(uint64_t at, uint64_t page) { return (volatile uint64_t *)(at + page * STD_PAGE); }

static uint64_t get(handle_t memory, uint64_t page)
{
    uint64_t value = 0;
    EXPECT_OK(tess_memory_read(memory, page * STD_PAGE, (uint64_t)&value, 8));
    return value;
}

static uint64_t committed(handle_t memory)
{
    uint64_t size, pages = 0;
    uint32_t flags, is_device;
    EXPECT_OK(tess_memory_info(memory, &size, &pages, &flags, &is_device));
    return pages;
}

/* Protecting, unmapping and splitting parts; copies by the kernel; each page keeps what it had. */
static void parts(handle_t memory)
{
    uint64_t before = large_pages(std_self.vspace), at = map(memory, 0, 2 * LARGE, 0, MAP_READ | MAP_WRITE), value = 0;
    if (at == 0)
        return;
    EXPECT_EQUAL(at % LARGE, 0);
    for (uint64_t i = 0; i < 2 * LARGE_PAGES; i++)
        *word(at, i) = i + 1;
    EXPECT_EQUAL(large_pages(std_self.vspace), before + 2);
    EXPECT_EQUAL(get(memory, 700), 701);
    EXPECT_OK(tess_memory_read(memory, 600 * STD_PAGE, at + 3 * STD_PAGE + 8, STD_PAGE)); /* into the large page */
    EXPECT_EQUAL(word(at, 3)[1], 601);
    EXPECT_OK(tess_memory_write(memory, 9 * STD_PAGE, at + 700 * STD_PAGE, 8)); /* out of it */
    EXPECT_EQUAL(*word(at, 9), 701);
    /* One page becomes read-only: the others of its 2 MiB stay writable. */
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at + 5 * STD_PAGE, STD_PAGE, MAP_READ));
    EXPECT_EQUAL(large_pages(std_self.vspace), before + 1);
    EXPECT_STATUS(tess_memory_read(memory, 0, at + 5 * STD_PAGE, 8), ERROR_BAD_ADDRESS);
    EXPECT_EQUAL(*word(at, 5), 6);
    *word(at, 4) = 50;
    *word(at, 6) = 60;
    EXPECT_EQUAL(get(memory, 6), 60);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at, 2 * LARGE, 0));
    EXPECT_EQUAL(large_pages(std_self.vspace), before);
    EXPECT_STATUS(tess_memory_write(memory, 0, at + LARGE, 8), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at, 2 * LARGE, MAP_READ | MAP_WRITE));
    EXPECT_EQUAL(*word(at, 600), 601);
    EXPECT_EQUAL(large_pages(std_self.vspace), before + 1);
    /* A boundary of mappings that moved no translation, then half is unmapped. */
    EXPECT_OK(tess_vspace_set_inherit(std_self.vspace, at + LARGE, LARGE / 2, INHERIT_DROP));
    EXPECT_EQUAL(*word(at, 1000), 1001);
    unmap(at + LARGE, LARGE / 2);
    EXPECT_EQUAL(large_pages(std_self.vspace), before);
    EXPECT_STATUS(tess_memory_write(memory, 0, at + LARGE, 8), ERROR_BAD_ADDRESS);
    EXPECT_EQUAL(*word(at, 1000), 1001);
    EXPECT_EQUAL(*word(at, 511), 512);
    unmap(at, 2 * LARGE);
    /* Where it does not fit it is small. */
    at = map(memory, STD_PAGE, LARGE, 0, MAP_READ);
    EXPECT_EQUAL(*word(at, 0), 2);
    unmap(at, LARGE);
    at = map(memory, 0, LARGE, 0x800001000, MAP_READ | MAP_FIXED);
    EXPECT_EQUAL(*word(at, 511), 512);
    unmap(at, LARGE);
    EXPECT_EQUAL(large_pages(std_self.vspace), before);
    /* Small ones that are there already stay. */
    at = map(memory, 0, LARGE, 0x800000000, MAP_READ | MAP_WRITE | MAP_FIXED);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ));
    EXPECT_EQUAL(*word(at, 0), 1);
    EXPECT_EQUAL(*word(at, 1), 2);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ | MAP_WRITE));
    *word(at, 2) = 3;
    EXPECT_EQUAL(get(memory, 2), 3);
    unmap(at, LARGE);
    EXPECT_EQUAL(large_pages(std_self.vspace), before);
    EXPECT_OK(tess_memory_read(memory, 700 * STD_PAGE, (uint64_t)&value, 8));
    EXPECT_EQUAL(value, 701);
}

static void contiguous(void)
{
    handle_t memory = make(2 * LARGE_PAGES, MEMORY_CONTIGUOUS);
    parts(memory);
    /* Its end while it is mapped large: scratch, then nothing. */
    uint64_t at = map(memory, 0, 2 * LARGE, 0, MAP_READ | MAP_WRITE), before = large_pages(std_self.vspace);
    *word(at, 1) = 5;
    EXPECT_EQUAL(large_pages(std_self.vspace), before + 1);
    handle_destroy(memory);
    EXPECT_EQUAL(large_pages(std_self.vspace), before);
    *word(at, 1) = 6;
    unmap(at, 2 * LARGE);
}

static void huge(void)
{
    handle_t memory = make(2 * LARGE_PAGES + 5, MEMORY_HUGE), clone;
    parts(memory);
    EXPECT_EQUAL(committed(memory), 2 * LARGE_PAGES);
    uint64_t before = large_pages(std_self.vspace), at = map(memory, 0, 2 * LARGE, 0, MAP_READ | MAP_WRITE);
    *word(at, 0) = 1;
    *word(at, 512) = 513;
    EXPECT_EQUAL(large_pages(std_self.vspace), before + 2);
    /* One page goes: the others stay, in small pages; it comes back zeroed. */
    EXPECT_OK(tess_memory_decommit(memory, 100 * STD_PAGE, STD_PAGE));
    EXPECT_EQUAL(committed(memory), 2 * LARGE_PAGES - 1);
    EXPECT_EQUAL(large_pages(std_self.vspace), before + 1);
    EXPECT_EQUAL(*word(at, 100), 0);
    EXPECT_EQUAL(*word(at, 101), 102);
    /* A snapshot takes the right to write away from the large one too. */
    EXPECT_OK(tess_memory_clone(memory, std_self.untyped, 0, 2 * LARGE, &clone));
    EXPECT_EQUAL(large_pages(std_self.vspace), before);
    *word(at, 600) = 9;
    EXPECT_EQUAL(get(clone, 600), 601);
    EXPECT_EQUAL(get(memory, 600), 9);
    EXPECT_EQUAL(*word(at, 601), 602);
    handle_destroy(clone);
    /* The odd end is small. */
    uint64_t end = map(memory, 2 * LARGE, 5 * STD_PAGE, 0, MAP_READ | MAP_WRITE);
    *word(end, 4) = 4;
    EXPECT_EQUAL(committed(memory), 2 * LARGE_PAGES + 1);
    unmap(end, 5 * STD_PAGE);
    unmap(at, 2 * LARGE);
    handle_destroy(memory);
    memory = make(LARGE_PAGES, MEMORY_HUGE | MEMORY_COMMITTED);
    EXPECT_EQUAL(committed(memory), LARGE_PAGES);
    at = map(memory, 0, LARGE, 0, MAP_READ);
    EXPECT_EQUAL(*word(at, 77), 0);
    EXPECT_EQUAL(large_pages(std_self.vspace), before + 1);
    unmap(at, LARGE);
    handle_destroy(memory);
    EXPECT_STATUS(tess_untyped_create_memory(std_self.untyped, LARGE, MEMORY_HUGE | MEMORY_CONTIGUOUS, &memory), ERROR_BAD_ARGUMENT);
}

/* Only a hint: with too little of the untyped left pages are small, and charged as they come. */
static void exhausted(void)
{
    handle_t untyped, memory;
    uint64_t at, before = large_pages(std_self.vspace), limit, used, objects;
    EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 300 * STD_PAGE, &untyped));
    EXPECT_OK(tess_untyped_create_memory(untyped, LARGE, MEMORY_HUGE, &memory));
    at = map(memory, 0, LARGE, 0, MAP_READ | MAP_WRITE);
    *word(at, 3) = 3;
    *word(at, 200) = 200;
    EXPECT_EQUAL(committed(memory), 2);
    EXPECT_EQUAL(large_pages(std_self.vspace), before);
    EXPECT_OK(tess_untyped_info(untyped, &limit, &used, &objects));
    EXPECT(used < 10);
    unmap(at, LARGE);
    handle_destroy(memory);
    handle_destroy(untyped);
}

/* Memory that must be there at once: what does not fit is refused without the wait for memory on its way back, of which there is none. */
static void refused_at_once(void)
{
    handle_t untyped, memory;
    EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 100 * STD_PAGE, &untyped));
    static const struct {
        uint32_t flags;
        uint64_t pages;
    } tries[] = {{MEMORY_CONTIGUOUS, 101}, {MEMORY_COMMITTED, 101}, {MEMORY_CONTIGUOUS, 1 << 28}, {MEMORY_COMMITTED, 1 << 28}};
    uint64_t longest = 0;
    for (uint32_t i = 0; i < 8 * ARRAY_LENGTH(tries); i++) {
        uint64_t start = time_now_ns();
        EXPECT_STATUS(tess_untyped_create_memory(untyped, tries[i % 4].pages * STD_PAGE, tries[i % 4].flags, &memory), ERROR_NO_MEMORY);
        uint64_t took = time_now_ns() - start;
        longest = took > longest ? took : longest;
    }
    EXPECT(longest < NS_PER_S / 2);
    EXPECT_OK(tess_untyped_create_memory(untyped, 50 * STD_PAGE, MEMORY_CONTIGUOUS, &memory));
    handle_destroy(memory);
    handle_destroy(untyped);
}

/* ---- Another CPU never sees the large page that was there before ---- */

struct shared {
    uint64_t at;
    _Atomic uint64_t round;
    _Atomic bool is_over;
};

static void reads_rounds(void *context)
{
    struct shared *shared = context;
    while (!atomic_load(&shared->is_over)) {
        uint64_t least = atomic_load(&shared->round), value = *word(shared->at, 300);
        if (value != 0 && value < least) {
            test_fail("round %lu was read in round %lu", value, least);
            return;
        }
    }
}

/* What was given up comes back when every CPU has been out of the kernel, which on a loaded host takes its time. */
static void wait_for_room(uint64_t pages)
{
    uint64_t end = patience(), limit = 0, used = 0, objects;
    do
        EXPECT_OK(tess_untyped_info(std_self.untyped, &limit, &used, &objects));
    while (limit - used < pages && time_now_ns() < end);
}

static void replaced_everywhere(void)
{
    struct shared shared = {.at = 0x800000000};
    struct std_thread threads[3];
    handle_t memory = make(LARGE_PAGES, MEMORY_HUGE);
    (void)map(memory, 0, LARGE, shared.at, MAP_READ | MAP_WRITE | MAP_FIXED);
    *word(shared.at, 300) = 1;
    for (uint32_t i = 0; i < 3; i++)
        thread_start(&threads[i], reads_rounds, &shared);
    uint64_t end = time_after_ns(NS_PER_S), value, rounds = 0;
    for (uint64_t round = 2; time_now_ns() < end && round < 60 && test_has_passed(); round++, rounds++) {
        wait_for_room(2 * LARGE_PAGES);
        handle_t next = make(LARGE_PAGES, MEMORY_HUGE | MEMORY_COMMITTED);
        value = round;
        EXPECT_OK(tess_memory_write(next, 300 * STD_PAGE, (uint64_t)&value, 8));
        EXPECT_EQUAL(*word(shared.at, 300), round - 1);
        if (round % 2 == 0)
            (void)map(next, 0, LARGE, shared.at, MAP_READ | MAP_WRITE | MAP_FIXED | MAP_REPLACE);
        else
            (void)map(next, 300 * STD_PAGE, STD_PAGE, shared.at + 300 * STD_PAGE, MAP_READ | MAP_WRITE | MAP_FIXED | MAP_REPLACE);
        atomic_store(&shared.round, round);
        EXPECT_EQUAL(*word(shared.at, 300), round);
        handle_drop(memory);
        memory = next;
    }
    atomic_store(&shared.is_over, true);
    for (uint32_t i = 0; i < 3; i++)
        thread_join(&threads[i]);
    EXPECT(rounds > 1);
    unmap(shared.at, LARGE);
    handle_drop(memory);
}

void large_tests(void)
{
    static const struct test tests[] = {
        {"large.contiguous", contiguous},
        {"large.huge", huge},
        {"large.exhausted", exhausted},
        {"large.refused_at_once", refused_at_once},
        {"large.replaced_everywhere", replaced_everywhere},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
