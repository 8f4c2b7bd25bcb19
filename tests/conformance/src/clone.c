/* memory.clone: snapshots, who is charged for what, every order of ending, and several CPUs that write, clone and break at once. */
#include <conformance.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

static handle_t make(handle_t untyped, uint64_t pages)
{
    handle_t memory = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_memory(untyped, pages * STD_PAGE, 0, &memory));
    return memory;
}

static handle_t make_untyped(uint64_t pages)
{
    handle_t untyped = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, pages * STD_PAGE, &untyped));
    return untyped;
}

static handle_t clone_of(handle_t memory, handle_t untyped, uint64_t pages)
{
    handle_t clone = HANDLE_NONE;
    EXPECT_OK(tess_memory_clone(memory, untyped, 0, pages * STD_PAGE, &clone));
    return clone;
}

static void put(handle_t memory, uint64_t page, uint64_t value)
{
    EXPECT_OK(tess_memory_write(memory, page * STD_PAGE + 8 * (page % 512), (uint64_t)&value, 8));
}

static uint64_t get(handle_t memory, uint64_t page)
{
    uint64_t value = 0;
    EXPECT_OK(tess_memory_read(memory, page * STD_PAGE + 8 * (page % 512), (uint64_t)&value, 8));
    return value;
}

static uint64_t used_pages(handle_t untyped)
{
    uint64_t limit, used = 0, objects;
    EXPECT_OK(tess_untyped_info(untyped, &limit, &used, &objects));
    return used;
}

static uint64_t committed(handle_t memory)
{
    uint64_t size, pages = 0;
    uint32_t flags, is_device;
    EXPECT_OK(tess_memory_info(memory, &size, &pages, &flags, &is_device));
    return pages;
}

static volatile uint64_t *map(handle_t memory, uint64_t pages, uint32_t flags)
{
    uint64_t at = 0;
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, pages * STD_PAGE, 0, flags, &at));
    return (volatile uint64_t *)at;
}

static void unmap(volatile uint64_t *at, uint64_t pages) { EXPECT_OK(tess_vspace_unmap(std_self.vspace, (uint64_t)at, pages * STD_PAGE)); }

constexpr uint64_t PAGE_WORDS = STD_PAGE / 8;

/* Sizes of every depth of the tree; sparse; a part of the source; a clone of a clone. */
static void snapshot(void)
{
    static const uint64_t sizes[] = {8, 9, 300, 513, 1 << 18};
    for (uint32_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        uint64_t last = sizes[i] - 1;
        handle_t source = make(std_self.untyped, sizes[i]), part;
        put(source, 0, 10);
        put(source, 5, 15);
        put(source, last, 19);
        handle_t clone = clone_of(source, std_self.untyped, sizes[i]);
        EXPECT_EQUAL(committed(clone), 3);
        put(source, 0, 20);
        put(clone, 5, 25);
        put(source, 6, 26);
        EXPECT_EQUAL(get(clone, 0), 10);
        EXPECT_EQUAL(get(source, 5), 15);
        EXPECT_EQUAL(get(clone, 6), 0);
        EXPECT_EQUAL(get(clone, last), 19);
        handle_t second = clone_of(clone, std_self.untyped, sizes[i]);
        put(clone, last, 29);
        EXPECT_EQUAL(get(source, last), 19);
        EXPECT_EQUAL(get(second, last), 19);
        EXPECT_EQUAL(get(second, 5), 25);
        EXPECT_OK(tess_memory_clone(source, std_self.untyped, 5 * STD_PAGE, 2 * STD_PAGE, &part));
        uint64_t value = 0;
        EXPECT_OK(tess_memory_read(part, 5 * 8, (uint64_t)&value, 8));
        EXPECT_EQUAL(value, 15);
        handle_t all[] = {source, clone, second, part};
        for (uint32_t n = 0; n < ARRAY_LENGTH(all); n++)
            handle_drop(all[n]);
    }
}

static void refused(void)
{
    handle_t memory = make(std_self.untyped, 4), out;
    EXPECT_STATUS(tess_memory_clone(memory, std_self.untyped, 0, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_clone(memory, std_self.untyped, 1, STD_PAGE, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_clone(memory, std_self.untyped, 0, 5 * STD_PAGE, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_clone(memory, std_self.untyped, STD_PAGE, ~0xFFFull, &out), ERROR_BAD_ARGUMENT);
    handle_drop(memory);
    uint64_t size = 0;
    EXPECT_OK(tess_memory_clone(guest.image, std_self.untyped, 0, STD_PAGE, &out));
    EXPECT_OK(tess_memory_read(out, 0, (uint64_t)&size, 6));
    EXPECT_EQUAL(size, 0x313037303730);
    handle_drop(out);
}

/* One page for each write to a shared page, none for the last holder's. */
static void charges(void)
{
    handle_t untyped = make_untyped(64), source = make(untyped, 8);
    for (uint64_t i = 0; i < 8; i++)
        put(source, i, i + 1);
    handle_t clone = clone_of(source, untyped, 8);
    uint64_t before = used_pages(untyped);
    for (uint64_t i = 0; i < 8; i++)
        put(i & 1 ? source : clone, i, 100 + i);
    EXPECT_EQUAL(used_pages(untyped), before + 8);
    for (uint64_t i = 0; i < 8; i++)
        put(i & 1 ? clone : source, i, 200 + i);
    EXPECT_EQUAL(used_pages(untyped), before + 8);
    for (uint64_t i = 0; i < 8; i++) {
        EXPECT_EQUAL(get(source, i), (i & 1 ? 100 : 200) + i);
        EXPECT_EQUAL(get(clone, i), (i & 1 ? 200 : 100) + i);
    }
    handle_t second = clone_of(clone, untyped, 8);
    uint64_t shared = used_pages(untyped);
    handle_drop(clone);
    sleep_ns(2 * NS_PER_MS);
    EXPECT(used_pages(untyped) <= shared);
    uint64_t alone = used_pages(untyped);
    for (uint64_t i = 0; i < 8; i++)
        put(second, i, 300 + i); /* the only holder now: in place */
    EXPECT_EQUAL(used_pages(untyped), alone);
    EXPECT_OK(tess_memory_decommit(second, 0, 8 * STD_PAGE));
    EXPECT_EQUAL(used_pages(untyped), alone - 8);
    handle_drop(second);
    handle_drop(source);
    handle_destroy(untyped);
}

/* For another untyped everything is copied at once, and charged there; the two do not depend on each other. */
static void other_untyped(void)
{
    handle_t here = make_untyped(32), there = make_untyped(32), source = make(here, 20);
    for (uint64_t i = 0; i < 16; i++)
        put(source, i, i + 1);
    uint64_t before = used_pages(here), empty = used_pages(there);
    handle_t clone = clone_of(source, there, 20);
    EXPECT_EQUAL(used_pages(here), before);
    EXPECT(used_pages(there) >= empty + 17); /* pages, a node, the object */
    handle_destroy(here);
    for (uint64_t i = 0; i < 16; i++)
        EXPECT_EQUAL(get(clone, i), i + 1);
    handle_drop(clone);
    handle_destroy(there);
    std_handle_delete(source); /* stale since its untyped went */
}

/* What is pinned is copied at once: a device or the kernel writes to the source's page, whoever else holds it. */
static void pinned(void)
{
    handle_t untyped = make_untyped(64), source = make(untyped, 8), ring;
    EXPECT_OK(tess_untyped_create_ring(untyped, source, 1, 2, 0, 0, 0, &ring));
    put(source, 3, 33);
    handle_t warm = clone_of(source, untyped, 8);
    handle_drop(warm);
    sleep_ns(2 * NS_PER_MS);
    uint64_t before = used_pages(untyped);
    handle_t clone = clone_of(source, untyped, 8);
    EXPECT_EQUAL(used_pages(untyped), before + 1);
    EXPECT_STATUS(tess_memory_decommit(source, 0, STD_PAGE), ERROR_BUSY);
    EXPECT_OK(tess_memory_decommit(clone, 0, STD_PAGE));
    /* And pinning breaks sharing. */
    handle_t other;
    EXPECT_OK(tess_untyped_create_ring(untyped, clone, 1, 2, 0, 0, 0, &other));
    EXPECT_EQUAL(get(clone, 3), 33);
    handle_drop(ring);
    handle_drop(other);
    handle_drop(clone);
    handle_drop(source);
    handle_destroy(untyped);
}

/* Five clones in a tree, ended in every order (the order is a permutation's number). */
static void orders(void)
{
    for (uint32_t number = 0; number < 120; number++) {
        handle_t untyped = make_untyped(64), all[5];
        all[0] = make(untyped, 10);
        for (uint64_t i = 0; i < 10; i++)
            put(all[0], i, i);
        all[1] = clone_of(all[0], untyped, 10);
        put(all[0], 1, 11);
        all[2] = clone_of(all[1], untyped, 10);
        put(all[1], 2, 12);
        all[3] = clone_of(all[0], untyped, 10);
        all[4] = clone_of(all[2], untyped, 10);
        put(all[4], 3, 13);
        uint32_t left = 5, rest = number;
        while (left > 1) {
            uint32_t n = rest % left;
            rest /= left;
            handle_drop(all[n]);
            all[n] = all[--left];
            for (uint32_t i = 0; i < left; i++)
                EXPECT_EQUAL(get(all[i], 9), 9);
        }
        sleep_ns(NS_PER_MS / 4);
        uint64_t before = used_pages(untyped);
        for (uint64_t i = 0; i < 10; i++)
            put(all[0], i, 50);
        EXPECT_EQUAL(used_pages(untyped), before);
        handle_drop(all[0]);
        handle_destroy(untyped);
        if (!test_has_passed())
            return;
    }
}

/* Writing through mappings: two of one memory see each other; a protected one stays protected; reading makes no copy. */
static void mapped_in(handle_t elsewhere)
{
    handle_t untyped = make_untyped(96), source = make(untyped, 16);
    uint64_t other_at;
    if (elsewhere != HANDLE_NONE)
        EXPECT_OK(tess_vspace_map(elsewhere, source, 0, 16 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &other_at));
    volatile uint64_t *a = map(source, 16, MAP_READ | MAP_WRITE), *b = map(source, 16, MAP_READ | MAP_WRITE);
    for (uint64_t i = 0; i < 16; i++)
        a[i * PAGE_WORDS] = i + 1;
    for (uint64_t i = 0; i < 16; i++)
        EXPECT_EQUAL(b[i * PAGE_WORDS], i + 1);
    handle_t clone = clone_of(source, untyped, 16);
    volatile uint64_t *c = map(clone, 16, MAP_READ | MAP_WRITE);
    uint64_t before = used_pages(untyped);
    for (uint64_t i = 0; i < 16; i++)
        EXPECT_EQUAL(a[i * PAGE_WORDS] + b[i * PAGE_WORDS] + c[i * PAGE_WORDS], 3 * i + 3);
    EXPECT_EQUAL(used_pages(untyped), before);
    for (uint64_t i = 0; i < 16; i++) {
        (i & 1 ? a : c)[i * PAGE_WORDS] = 100 + i;
        EXPECT_EQUAL(b[i * PAGE_WORDS], i & 1 ? 100 + i : i + 1);
        EXPECT_EQUAL(a[i * PAGE_WORDS], i & 1 ? 100 + i : i + 1);
        EXPECT_EQUAL(c[i * PAGE_WORDS], i & 1 ? i + 1 : 100 + i);
    }
    EXPECT_EQUAL(used_pages(untyped), before + 16);
    for (uint64_t i = 0; i < 16; i++)
        (i & 1 ? c : b)[i * PAGE_WORDS] = 200 + i;
    EXPECT_EQUAL(used_pages(untyped), before + 16);
    /* Writable again by protect, the shared page is still not. */
    handle_t second = clone_of(source, untyped, 16);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, (uint64_t)a, 16 * STD_PAGE, MAP_READ));
    (void)a[0];
    EXPECT_OK(tess_vspace_protect(std_self.vspace, (uint64_t)a, 16 * STD_PAGE, MAP_READ | MAP_WRITE));
    a[0] = 7777;
    EXPECT_EQUAL(get(second, 0), 200);
    EXPECT_EQUAL(b[0], 7777);
    /* The kernel writes to a user's buffer that is shared. */
    uint64_t value = 31;
    EXPECT_OK(tess_memory_write(clone, 0, (uint64_t)&value, 8));
    EXPECT_OK(tess_memory_read(clone, 0, (uint64_t)&a[4 * PAGE_WORDS], 8));
    EXPECT_EQUAL(b[4 * PAGE_WORDS], 31);
    uint64_t old = 0;
    EXPECT_OK(tess_memory_read(second, 4 * STD_PAGE, (uint64_t)&old, 8));
    EXPECT_EQUAL(old, 204);
    /* Decommitted in one, there in the other. */
    EXPECT_OK(tess_memory_decommit(source, 0, 8 * STD_PAGE));
    EXPECT_EQUAL(a[5 * PAGE_WORDS] + b[5 * PAGE_WORDS], 0);
    EXPECT_OK(tess_memory_read(second, 5 * STD_PAGE, (uint64_t)&old, 8));
    EXPECT_EQUAL(old, 105);
    unmap(a, 16);
    unmap(b, 16);
    unmap(c, 16);
    handle_drop(second);
    handle_drop(clone);
    handle_drop(source);
    handle_destroy(untyped);
}

static void mapped(void) { mapped_in(HANDLE_NONE); }

static void mapped_twice(void)
{
    handle_t vspace;
    EXPECT_OK(tess_untyped_create_vspace(std_self.untyped, &vspace));
    mapped_in(vspace);
    handle_drop(vspace);
}

/* No memory for a page of one's own: the kernel's write fails and changes nothing; the source is readable. */
static void exhausted(void)
{
    handle_t untyped = make_untyped(16), source = make(untyped, 8), fill;
    for (uint64_t i = 0; i < 8; i++)
        put(source, i, i + 1);
    handle_t clone = clone_of(source, untyped, 8);
    uint64_t left = 16 - used_pages(untyped), value = 9;
    EXPECT_OK(tess_untyped_create_untyped(untyped, (left - 2) * STD_PAGE, &fill));
    left = 16 - used_pages(untyped);
    for (uint64_t i = 0; i < left; i++)
        put(clone, i, 100 + i);
    EXPECT_STATUS(tess_memory_write(clone, 7 * STD_PAGE, (uint64_t)&value, 8), ERROR_NO_MEMORY);
    EXPECT_STATUS(tess_memory_write(source, 7 * STD_PAGE, (uint64_t)&value, 8), ERROR_NO_MEMORY);
    EXPECT_STATUS(tess_memory_commit(clone, 7 * STD_PAGE, STD_PAGE), ERROR_NO_MEMORY);
    EXPECT_EQUAL(get(clone, 7), 8);
    handle_drop(source);
    sleep_ns(2 * NS_PER_MS);
    EXPECT_OK(tess_memory_write(clone, 7 * STD_PAGE, (uint64_t)&value, 8)); /* the last holder needs none */
    handle_drop(clone);
    handle_drop(fill);
    handle_destroy(untyped);
}

/* ---- Several CPUs ---- */

constexpr uint32_t WRITERS = 4;
constexpr uint64_t WRITER_PAGES = 24;

struct writer {
    struct std_thread thread;
    handle_t memory;
    volatile uint64_t *at;
    uint64_t number, mistakes;
};
static _Atomic uint32_t starters;
static _Atomic bool is_over;

static void write_all(void *context)
{
    struct writer *writer = context;
    atomic_fetch_add(&starters, 1);
    while (atomic_load(&starters) < WRITERS)
        ;
    for (uint64_t i = 0; i < WRITER_PAGES; i++) {
        volatile uint64_t *word = &writer->at[i * PAGE_WORDS];
        writer->mistakes += word[1] != i + 1;
        word[0] = writer->number;
        writer->mistakes += word[0] != writer->number || word[1] != i + 1;
    }
    for (uint64_t i = 0; i < WRITER_PAGES; i++)
        writer->mistakes += writer->at[i * PAGE_WORDS] != writer->number;
}

/* All holders break the same pages at once: one copy fewer than there are holders, exactly; and there is room for no more. */
static void break_at_once(void)
{
    for (uint32_t round = 0; round < 8 && test_has_passed(); round++) {
        static struct writer writers[WRITERS];
        handle_t untyped = make_untyped(4 * WRITER_PAGES + 40), source = make(untyped, WRITER_PAGES);
        for (uint64_t i = 0; i < WRITER_PAGES; i++) {
            uint64_t value = i + 1;
            EXPECT_OK(tess_memory_write(source, i * STD_PAGE + 8, (uint64_t)&value, 8));
        }
        atomic_store(&starters, 0);
        for (uint32_t i = 0; i < WRITERS; i++) {
            writers[i] = (struct writer){.number = i + 1, .memory = clone_of(source, untyped, WRITER_PAGES)};
            writers[i].at = map(writers[i].memory, WRITER_PAGES, MAP_READ | MAP_WRITE);
        }
        handle_drop(source);
        sleep_ns(NS_PER_MS);
        uint64_t before = used_pages(untyped);
        handle_t fill;
        uint64_t spare = 4 * WRITER_PAGES + 40 - before - (WRITERS - 1) * WRITER_PAGES;
        EXPECT_OK(tess_untyped_create_untyped(untyped, (spare > 2 ? spare - 2 : 1) * STD_PAGE, &fill));
        before = used_pages(untyped);
        for (uint32_t i = 0; i < WRITERS; i++)
            thread_start(&writers[i].thread, write_all, &writers[i]);
        for (uint32_t i = 0; i < WRITERS; i++)
            thread_join(&writers[i].thread);
        EXPECT_EQUAL(used_pages(untyped), before + (WRITERS - 1) * WRITER_PAGES);
        for (uint32_t i = 0; i < WRITERS; i++) {
            EXPECT_EQUAL(writers[i].mistakes, 0);
            unmap(writers[i].at, WRITER_PAGES);
            handle_drop(writers[i].memory);
        }
        handle_drop(fill);
        handle_destroy(untyped);
    }
}

static void count_up(void *context)
{
    struct writer *writer = context;
    for (uint64_t value = 1; !atomic_load(&is_over); value++)
        for (uint64_t i = 0; i < WRITER_PAGES; i++) {
            volatile uint64_t *word = &writer->at[i * PAGE_WORDS + writer->number];
            writer->mistakes += *word != value - 1; /* nobody else writes it: a write was lost */
            *word = value;
        }
}

/* Threads write to a mapped memory all the time while it is cloned: no write is lost, and no snapshot changes. */
static void clone_while_written_in(handle_t elsewhere)
{
    static struct writer writers[WRITERS];
    handle_t memory = make(std_self.untyped, WRITER_PAGES);
    uint64_t other_at;
    if (elsewhere != HANDLE_NONE)
        EXPECT_OK(tess_vspace_map(elsewhere, memory, 0, WRITER_PAGES * STD_PAGE, 0, MAP_READ | MAP_WRITE, &other_at));
    volatile uint64_t *at = map(memory, WRITER_PAGES, MAP_READ | MAP_WRITE);
    atomic_store(&is_over, false);
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.at = at, .number = i * 16};
        thread_start(&writers[i].thread, count_up, &writers[i]);
    }
    uint64_t changed = 0;
    for (uint32_t round = 0; round < 60; round++) {
        static uint64_t first[WRITER_PAGES][WRITERS], second[WRITER_PAGES][WRITERS];
        handle_t clone = clone_of(memory, std_self.untyped, WRITER_PAGES);
        for (uint64_t i = 0; i < WRITER_PAGES * WRITERS; i++)
            EXPECT_OK(tess_memory_read(clone, i / WRITERS * STD_PAGE + i % WRITERS * 128, (uint64_t)&first[i / WRITERS][i % WRITERS], 8));
        for (uint64_t i = 0; i < WRITER_PAGES * WRITERS; i++) {
            EXPECT_OK(tess_memory_read(clone, i / WRITERS * STD_PAGE + i % WRITERS * 128, (uint64_t)&second[i / WRITERS][i % WRITERS], 8));
            changed += second[i / WRITERS][i % WRITERS] != first[i / WRITERS][i % WRITERS];
        }
        if (round % 3 == 0)
            EXPECT_OK(tess_memory_decommit(clone, 0, 3 * STD_PAGE));
        handle_drop(clone);
    }
    atomic_store(&is_over, true);
    for (uint32_t i = 0; i < WRITERS; i++) {
        thread_join(&writers[i].thread);
        EXPECT_EQUAL(writers[i].mistakes, 0);
    }
    EXPECT_EQUAL(changed, 0);
    unmap(at, WRITER_PAGES);
    handle_drop(memory);
}

static void clone_while_written(void) { clone_while_written_in(HANDLE_NONE); }

static void clone_while_written_twice(void)
{
    handle_t vspace;
    EXPECT_OK(tess_untyped_create_vspace(std_self.untyped, &vspace));
    clone_while_written_in(vspace);
    handle_drop(vspace);
}

void clone_tests(void)
{
    static const struct test tests[] = {
        {"clone.snapshot", snapshot},
        {"clone.refused", refused},
        {"clone.charges", charges},
        {"clone.other_untyped", other_untyped},
        {"clone.pinned", pinned},
        {"clone.orders", orders},
        {"clone.mapped", mapped},
        {"clone.mapped_twice", mapped_twice},
        {"clone.exhausted", exhausted},
        {"clone.break_at_once", break_at_once},
        {"clone.while_written", clone_while_written},
        {"clone.while_written_twice", clone_while_written_twice},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
