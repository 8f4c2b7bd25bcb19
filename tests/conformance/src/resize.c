/* memory.resize, guards in an address space, MAP_REPLACE. */
#include <conformance.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

static handle_t make(uint64_t pages, uint32_t flags)
{
    handle_t memory = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, pages * STD_PAGE, flags, &memory));
    return memory;
}

static uint64_t map(handle_t memory, uint64_t pages, uint32_t flags)
{
    uint64_t at = 0;
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, pages * STD_PAGE, 0, flags, &at));
    return at;
}

static void unmap(uint64_t at, uint64_t pages) { EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, pages * STD_PAGE)); }

static uint64_t size_of(handle_t memory, uint64_t *out_committed)
{
    uint64_t size = 0;
    uint32_t flags, is_device;
    EXPECT_OK(tess_memory_info(memory, &size, out_committed, &flags, &is_device));
    return size / STD_PAGE;
}

static void put(handle_t memory, uint64_t page, uint64_t value)
{
    EXPECT_OK(tess_memory_write(memory, page * STD_PAGE, (uint64_t)&value, 8));
}

static uint64_t get(handle_t memory, uint64_t page)
{
    uint64_t value = 0;
    EXPECT_OK(tess_memory_read(memory, page * STD_PAGE, (uint64_t)&value, 8));
    return value;
}

static uint64_t used_pages(handle_t untyped)
{
    uint64_t limit, used = 0, objects;
    EXPECT_OK(tess_untyped_info(untyped, &limit, &used, &objects));
    return used;
}

/* Every depth of the tree, up and down; what was there stays, what was beyond the end is zero. */
static void sizes(void)
{
    static const uint64_t steps[] = {8, 9, 3, 512, 513, 8, 1 << 18, (1 << 18) + 1, 600, 0, 1 << 28, 10};
    handle_t memory = make(1, MEMORY_RESIZABLE);
    uint64_t committed, size = 1;
    put(memory, 0, 1000);
    bool is_kept = true;
    for (uint32_t i = 0; i < ARRAY_LENGTH(steps); i++) {
        EXPECT_OK(tess_memory_resize(memory, steps[i] * STD_PAGE - (steps[i] != 0)));
        EXPECT_EQUAL(size_of(memory, &committed), steps[i]);
        EXPECT(committed <= steps[i]);
        is_kept = is_kept && steps[i] != 0;
        uint64_t value = 1;
        if (steps[i] > size) {
            EXPECT_EQUAL(get(memory, steps[i] - 1), 0);
            put(memory, steps[i] - 1, steps[i]);
        }
        if (steps[i] != 0)
            EXPECT_EQUAL(get(memory, 0), is_kept ? 1000 : 0);
        EXPECT_STATUS(tess_memory_read(memory, steps[i] * STD_PAGE, (uint64_t)&value, 8), ERROR_BAD_ARGUMENT);
        size = steps[i];
    }
    EXPECT_STATUS(tess_memory_resize(memory, (1ull << 40) + 1), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_resize(memory, ~0ull), ERROR_BAD_ARGUMENT);
    EXPECT_EQUAL(size_of(memory, &committed), 10);
    handle_destroy(memory);
}

static void refused(void)
{
    handle_t plain = make(4, 0), memory = make(4, MEMORY_RESIZABLE), out, ring;
    uint64_t at, committed;
    EXPECT_STATUS(tess_memory_resize(plain, STD_PAGE), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_memory_resize(guest.image, STD_PAGE), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_untyped_create_memory(std_self.untyped, STD_PAGE, MEMORY_RESIZABLE | MEMORY_CONTIGUOUS, &out), ERROR_BAD_ARGUMENT);
    handle_t reader = with_rights(memory, RIGHTS_ALL & ~MEMORY_RIGHT_RESIZE);
    EXPECT_STATUS(tess_memory_resize(reader, STD_PAGE), ERROR_MISSING_RIGHT);
    handle_drop(reader);
    /* Only who expects faults gets a mapping that another one can make fault. */
    EXPECT_STATUS(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, MAP_READ, &at), ERROR_UNSUPPORTED);
    /* What is pinned beyond the end stays, and nothing else has changed. */
    EXPECT_OK(tess_untyped_create_ring(std_self.untyped, memory, 1, 2, 0, 0, 0, &ring));
    put(memory, 3, 7);
    EXPECT_STATUS(tess_memory_resize(memory, 0), ERROR_BUSY);
    EXPECT_EQUAL(size_of(memory, &committed), 4);
    EXPECT_EQUAL(get(memory, 3), 7);
    EXPECT_OK(tess_memory_resize(memory, STD_PAGE));
    EXPECT_STATUS(tess_untyped_create_ring(std_self.untyped, memory, 64, 64, 0, 0, 0, &out), ERROR_BAD_ARGUMENT);
    handle_drop(ring);
    sleep_ns(2 * NS_PER_MS);
    EXPECT_OK(tess_memory_resize(memory, 0));
    EXPECT_STATUS(tess_untyped_create_ring(std_self.untyped, memory, 1, 2, 0, 0, 0, &out), ERROR_BAD_ARGUMENT);
    handle_destroy(memory);
    handle_destroy(plain);
}

/* Growing charges nothing but the tree; shrinking gives back; a level more of the tree may find no memory. */
static void charges(void)
{
    handle_t untyped, memory;
    EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 16 * STD_PAGE, &untyped));
    EXPECT_OK(tess_untyped_create_memory(untyped, 8 * STD_PAGE, MEMORY_RESIZABLE, &memory));
    for (uint64_t i = 0; i < 8; i++)
        put(memory, i, i + 1);
    uint64_t before = used_pages(untyped), committed;
    EXPECT_OK(tess_memory_resize(memory, 512 * STD_PAGE));
    EXPECT_EQUAL(used_pages(untyped), before + 1);
    put(memory, 300, 301);
    EXPECT_EQUAL(used_pages(untyped), before + 2);
    EXPECT_OK(tess_memory_resize(memory, 4 * STD_PAGE));
    EXPECT_EQUAL(used_pages(untyped), before - 3);
    EXPECT_OK(tess_memory_resize(memory, 512 * STD_PAGE));
    EXPECT_EQUAL(get(memory, 3), 4);
    EXPECT_EQUAL(get(memory, 4), 0);
    EXPECT_EQUAL(get(memory, 300), 0);
    uint64_t filled = 4, value = 1;
    while (tess_memory_write(memory, filled * STD_PAGE, (uint64_t)&value, 8) == OK)
        filled++;
    EXPECT_STATUS(tess_memory_resize(memory, 513 * STD_PAGE), ERROR_NO_MEMORY);
    EXPECT_EQUAL(size_of(memory, &committed), 512);
    EXPECT_EQUAL(committed, filled);
    EXPECT_EQUAL(get(memory, filled - 1), 1);
    handle_drop(memory);
    handle_destroy(untyped);
}

/* ---- Through mappings, which may reach beyond the end ---- */

/* Touches pages of the mapping of "shared" until it faults; std_arg(1): where the handle is, or a guard to hit. */
int32_t role_beyond(void)
{
    uint64_t at;
    if (std_arg(1)[0] == 'g') {
        if (tess_vspace_reserve(std_self.vspace, 0, 4 * STD_PAGE, 0, &at) != OK)
            return 1;
        return *(volatile int32_t *)(at + STD_PAGE);
    }
    handle_t shared = std_handle_needed("shared");
    if (tess_vspace_map(std_self.vspace, shared, 0, 16 * STD_PAGE, 0, MAP_READ | MAP_WRITE | MAP_MAY_FAULT, &at) != OK)
        return 1;
    if (std_arg(1)[0] == 'n') {
        if (tess_vspace_protect(std_self.vspace, at + STD_PAGE, STD_PAGE, 0) != OK)
            return 2;
        *(volatile uint64_t *)(at + STD_PAGE) = 1;
        return 3;
    }
    for (;;)
        for (uint64_t i = 0; i < 16; i++)
            *(volatile uint64_t *)(at + i * STD_PAGE) = 5;
}

static void crashes(const char *how, handle_t memory, uint32_t kind, void (*meanwhile)(handle_t memory))
{
    struct child child;
    struct child_args args = {.role = "beyond", .argument = how, .handles = {{"shared", memory, RIGHTS_ALL, false}}, .handle_count = 1};
    if (!child_start(&child, &args))
        return;
    if (meanwhile != nullptr)
        meanwhile(memory);
    uint32_t cause = 99;
    int32_t status;
    struct tess_crash_record crash = {};
    EXPECT_OK(tess_process_wait(child.spawned.process, &cause, &status, patience()));
    EXPECT_EQUAL(cause, EXIT_FAULT);
    EXPECT_OK(tess_process_crash_info(child.spawned.process, (uint64_t)&crash));
    EXPECT_EQUAL(crash.fault_kind, kind);
    child_end(&child);
}

static void shrink_under_it(handle_t memory)
{
    uint64_t committed = 0;
    for (uint64_t end = patience(); committed < 16 && time_now_ns() < end;)
        (void)size_of(memory, &committed);
    EXPECT_OK(tess_memory_resize(memory, 5 * STD_PAGE));
    EXPECT_EQUAL(size_of(memory, &committed), 5);
    EXPECT_EQUAL(committed, 5);
}

static void destroy_under_it(handle_t memory)
{
    uint64_t committed = 0;
    for (uint64_t end = patience(); committed < 16 && time_now_ns() < end;)
        (void)size_of(memory, &committed);
    handle_destroy(memory);
}

static void mappings(void)
{
    handle_t memory = make(16, MEMORY_RESIZABLE);
    uint64_t at = map(memory, 16, MAP_READ | MAP_WRITE | MAP_MAY_FAULT);
    if (at == 0)
        return;
    for (uint64_t i = 0; i < 16; i++)
        *(volatile uint64_t *)(at + i * STD_PAGE) = i + 1;
    EXPECT_OK(tess_memory_resize(memory, 4 * STD_PAGE));
    /* System calls find nothing there. */
    EXPECT_STATUS(tess_memory_read(guest.image, 0, at + 4 * STD_PAGE, 8), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_memory_read(guest.image, 0, at + 3 * STD_PAGE, 8));
    uint32_t woken;
    EXPECT_STATUS(tess_vspace_futex_wait(std_self.vspace, at + 5 * STD_PAGE, 0, 1, DEADLINE_NOW), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_vspace_futex_wake(std_self.vspace, at + 5 * STD_PAGE, 1, 1, &woken));
    EXPECT_OK(tess_memory_resize(memory, 16 * STD_PAGE));
    EXPECT_EQUAL(*(volatile uint64_t *)(at + STD_PAGE), 2);
    EXPECT_EQUAL(*(volatile uint64_t *)(at + 5 * STD_PAGE), 0);
    crashes("b", memory, UPCALL_PAGE, shrink_under_it);
    unmap(at, 16);
    EXPECT_OK(tess_memory_resize(memory, 16 * STD_PAGE));
    EXPECT_OK(tess_memory_decommit(memory, 0, 16 * STD_PAGE));
    /* No scratch page for who expects faults. */
    crashes("b", memory, UPCALL_PAGER, destroy_under_it);
}

/* A clone of an address space in which a mapping reaches beyond the end has the same. */
static void cloned(void)
{
    handle_t memory = make(600, MEMORY_RESIZABLE), space, clone;
    uint64_t at;
    EXPECT_OK(tess_untyped_create_vspace(std_self.untyped, &space));
    EXPECT_OK(tess_vspace_map(space, memory, 0, 600 * STD_PAGE, 0, MAP_READ | MAP_WRITE | MAP_MAY_FAULT, &at));
    put(memory, 2, 77);
    EXPECT_OK(tess_memory_resize(memory, 3 * STD_PAGE));
    EXPECT_OK(tess_vspace_clone(space, std_self.untyped, &clone));
    uint64_t value = 0, done;
    EXPECT_OK(tess_vspace_read(clone, at + 2 * STD_PAGE, (uint64_t)&value, 8, &done));
    EXPECT_EQUAL(value, 77);
    EXPECT_STATUS(tess_vspace_read(clone, at + 3 * STD_PAGE, (uint64_t)&value, 8, &done), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_vspace_write(clone, at + 599 * STD_PAGE, (uint64_t)&value, 8, &done), ERROR_BAD_ADDRESS);
    handle_destroy(clone);
    handle_destroy(space);
    handle_destroy(memory);
}

/* ---- Several at once: each page is there or gone, none is lost or left ---- */

struct shared {
    handle_t memory;
    uint64_t at;
    _Atomic bool is_over;
    _Atomic uint64_t resizes;
};

static void resizes(void *context)
{
    struct shared *shared = context;
    uint64_t seed = 0x123456789 + (uint64_t)&seed;
    while (!atomic_load(&shared->is_over)) {
        status_t status = tess_memory_resize(shared->memory, (random_next(&seed) % 700) * STD_PAGE);
        if (status != OK && status != ERROR_BUSY)
            test_fail("resize: %d", (int)status);
        atomic_fetch_add(&shared->resizes, 1);
    }
}

static void writes(void *context)
{
    struct shared *shared = context;
    uint64_t seed = 0x987654321 + (uint64_t)&seed, value = 1, got;
    while (!atomic_load(&shared->is_over)) {
        uint64_t page = random_next(&seed) % 700, done;
        status_t status = tess_memory_write(shared->memory, page * STD_PAGE, (uint64_t)&value, 8);
        if (status != OK && status != ERROR_BAD_ARGUMENT && status != ERROR_BAD_ADDRESS)
            test_fail("write: %d", (int)status);
        status = tess_vspace_write(std_self.vspace, shared->at + page * STD_PAGE, (uint64_t)&value, 8, &done);
        if (status == OK)
            status = tess_vspace_read(std_self.vspace, shared->at + page * STD_PAGE, (uint64_t)&got, 8, &done);
        if ((status != OK && status != ERROR_BAD_ADDRESS) || (status == OK && got > 1))
            test_fail("mapping: %d", (int)status);
    }
}

static void crowd(void)
{
    struct shared shared = {.memory = make(1, MEMORY_RESIZABLE)};
    EXPECT_OK(tess_memory_resize(shared.memory, 700 * STD_PAGE));
    shared.at = map(shared.memory, 700, MAP_READ | MAP_WRITE | MAP_MAY_FAULT);
    struct std_thread threads[4];
    for (uint32_t i = 0; i < 4; i++)
        thread_start(&threads[i], i < 2 ? resizes : writes, &shared);
    for (uint64_t end = time_after_ns(NS_PER_S); time_now_ns() < end && test_has_passed();)
        sleep_ns(10 * NS_PER_MS);
    atomic_store(&shared.is_over, true);
    for (uint32_t i = 0; i < 4; i++)
        thread_join(&threads[i]);
    EXPECT(atomic_load(&shared.resizes) > 2);
    unmap(shared.at, 700);
    uint64_t committed, size;
    EXPECT_OK(tess_memory_resize(shared.memory, 0));
    size = size_of(shared.memory, &committed);
    EXPECT(size == 0 && committed == 0);
    handle_destroy(shared.memory);
}

/* ---- Guards ---- */

static void guard_region(void)
{
    uint64_t guard, at, start, size, offset;
    uint32_t flags = 99;
    handle_t memory = make(8, 0);
    if (!EXPECT_OK(tess_vspace_reserve(std_self.vspace, 0, 8 * STD_PAGE, 0, &guard)))
        return;
    EXPECT_OK(tess_vspace_query(std_self.vspace, guard, &start, &size, &flags, &offset));
    EXPECT(start == guard && size == 8 * STD_PAGE && flags == 0);
    EXPECT_STATUS(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, guard + STD_PAGE, MAP_READ | MAP_FIXED, &at), ERROR_BUSY);
    EXPECT_STATUS(tess_vspace_reserve(std_self.vspace, guard + STD_PAGE, STD_PAGE, MAP_FIXED, &at), ERROR_BUSY);
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, guard + STD_PAGE, MAP_READ, &at)); /* elsewhere */
    EXPECT(at < guard || at >= guard + 8 * STD_PAGE);
    unmap(at, 1);
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, guard, STD_PAGE, MAP_READ), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_memory_read(guest.image, 0, guard, 8), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, 2 * STD_PAGE, guard + 3 * STD_PAGE,
                              MAP_READ | MAP_WRITE | MAP_FIXED | MAP_REPLACE, &at));
    EXPECT_EQUAL(at, guard + 3 * STD_PAGE);
    *(volatile uint64_t *)at = 5;
    EXPECT_STATUS(tess_memory_read(guest.image, 0, at + 2 * STD_PAGE, 8), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_memory_read(guest.image, 0, at - 8, 8), ERROR_BAD_ADDRESS);
    unmap(guard, 8);
    EXPECT_STATUS(tess_vspace_reserve(std_self.vspace, 0, 0, 0, &at), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_reserve(std_self.vspace, 0, 100, 0, &at), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_reserve(std_self.vspace, 100, STD_PAGE, 0, &at), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_reserve(std_self.vspace, 0, STD_PAGE, MAP_FIXED, &at), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_reserve(std_self.vspace, 0, STD_PAGE, MAP_READ, &at), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_reserve(std_self.vspace, 1ull << 38, STD_PAGE, MAP_FIXED, &at), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_reserve(std_self.vspace, 0, ~0xFFFull, 0, &at), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_reserve(std_self.vspace, 0, (1ull << 38) & ~0xFFFull, 0, &at), ERROR_NO_SPACE);
    handle_destroy(memory);
    crashes("guard", guest.image, UPCALL_GUARD, nullptr);
}

/* Mapped without any access: its pages stay, and come back with the access. */
static void no_access(void)
{
    handle_t memory = make(4, 0), ours = make(16, MEMORY_RESIZABLE);
    uint64_t at = map(memory, 4, MAP_READ | MAP_WRITE), word = 0, other;
    *(volatile uint64_t *)(at + STD_PAGE) = 9;
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at + STD_PAGE, STD_PAGE, 0));
    EXPECT_STATUS(tess_memory_read(guest.image, 0, at + STD_PAGE, 8), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_memory_write(memory, 0, at + STD_PAGE, 8), ERROR_BAD_ADDRESS);
    EXPECT_EQUAL(get(memory, 1), 9);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at, 4 * STD_PAGE, MAP_READ));
    EXPECT_EQUAL(*(volatile uint64_t *)(at + STD_PAGE), 9);
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_EXEC), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, 0, &other));
    EXPECT_STATUS(tess_memory_read(guest.image, 0, other, 8), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, other, STD_PAGE, MAP_READ | MAP_WRITE));
    *(volatile uint64_t *)other = 3;
    EXPECT_OK(tess_memory_read(memory, 0, (uint64_t)&word, 8));
    EXPECT_EQUAL(word, 3);
    unmap(other, 1);
    unmap(at, 4);
    crashes("n", ours, UPCALL_GUARD, nullptr);
    handle_destroy(memory);
    handle_destroy(ours);
}

/* The other mapping is there or the old one, never a hole. */
static void replaces(void *context)
{
    struct shared *shared = context;
    uint64_t at;
    while (!atomic_load(&shared->is_over)) {
        EXPECT_OK(tess_vspace_map(std_self.vspace, shared->memory, 0, 2 * STD_PAGE, shared->at + STD_PAGE,
                                  MAP_READ | MAP_WRITE | MAP_FIXED | MAP_REPLACE, &at));
        atomic_fetch_add(&shared->resizes, 1);
    }
}

static void replaced(void)
{
    handle_t first = make(4, 0);
    struct shared shared = {.memory = make(2, 0)};
    struct std_thread thread;
    put(first, 0, 1), put(first, 1, 1), put(first, 3, 1);
    put(shared.memory, 0, 2), put(shared.memory, 1, 3);
    shared.at = map(first, 4, MAP_READ | MAP_WRITE);
    thread_start(&thread, replaces, &shared);
    for (uint64_t end = time_after_ns(NS_PER_S / 4); time_now_ns() < end || atomic_load(&shared.resizes) < 3;)
        for (uint64_t i = 0; i < 4; i++) {
            uint64_t value = *(volatile uint64_t *)(shared.at + i * STD_PAGE);
            if (value > 3)
                test_fail("page %lu shows %lu", i, value);
        }
    atomic_store(&shared.is_over, true);
    thread_join(&thread);
    EXPECT_EQUAL(*(volatile uint64_t *)shared.at, 1);
    EXPECT_EQUAL(*(volatile uint64_t *)(shared.at + STD_PAGE), 2);
    EXPECT_EQUAL(*(volatile uint64_t *)(shared.at + 2 * STD_PAGE), 3);
    EXPECT_EQUAL(*(volatile uint64_t *)(shared.at + 3 * STD_PAGE), 1);
    unmap(shared.at, 4);
    handle_destroy(first);
    handle_destroy(shared.memory);
}

/* The same over many mappings, whose unmapping takes several parts: no access fails, nobody else maps there, a clone has all of it. */
constexpr uint64_t REPLACED = 24;

static void looks(void *context)
{
    struct shared *shared = context;
    uint64_t out, done, value;
    for (uint64_t i = 0; !atomic_load(&shared->is_over); i++) {
        uint64_t at = shared->at + i % REPLACED * STD_PAGE;
        handle_t clone;
        EXPECT(*(volatile uint64_t *)at <= REPLACED);
        EXPECT_STATUS(tess_vspace_map(std_self.vspace, shared->memory, 0, STD_PAGE, at, MAP_READ | MAP_FIXED, &out), ERROR_BUSY);
        EXPECT_OK(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ | MAP_WRITE));
        if (i % 16 == 0 && EXPECT_OK(tess_vspace_clone(std_self.vspace, std_self.untyped, &clone))) {
            EXPECT_OK(tess_vspace_read(clone, at, (uint64_t)&value, 8, &done));
            handle_destroy(clone);
        }
        atomic_fetch_add(&shared->resizes, 1);
    }
}

static void replaced_many(void)
{
    handle_t page = make(1, 0);
    struct shared shared = {.memory = make(REPLACED, 0)};
    struct std_thread thread;
    uint64_t at;
    shared.at = map(shared.memory, REPLACED, MAP_READ | MAP_WRITE);
    put(page, 0, 1);
    for (uint64_t i = 0; i < REPLACED; i++)
        put(shared.memory, i, i);
    thread_start(&thread, looks, &shared);
    uint32_t rounds = 0;
    for (; (rounds < 3 || atomic_load(&shared.resizes) < 8) && rounds < 100'000; rounds++) {
        for (uint64_t i = 0; i < REPLACED; i++)
            EXPECT_OK(tess_vspace_map(std_self.vspace, page, 0, STD_PAGE, shared.at + i * STD_PAGE,
                                      MAP_READ | MAP_WRITE | MAP_FIXED | MAP_REPLACE, &at));
        EXPECT_OK(tess_vspace_map(std_self.vspace, shared.memory, 0, REPLACED * STD_PAGE, shared.at,
                                  MAP_READ | MAP_WRITE | MAP_FIXED | MAP_REPLACE, &at));
        for (uint64_t i = 0; i < REPLACED; i++)
            EXPECT_EQUAL(*(volatile uint64_t *)(shared.at + i * STD_PAGE), i);
    }
    EXPECT(rounds < 100'000);
    atomic_store(&shared.is_over, true);
    thread_join(&thread);
    unmap(shared.at, REPLACED);
    handle_destroy(page);
    handle_destroy(shared.memory);
}

/* One page shown in more places than are looked at at once: it goes from all, comes back in all, is shared and unshared in all; a clone of the
 * space shows one copy. */
static void mapped_often(void)
{
    constexpr uint64_t PLACES = 150, BASE = 0x10000000;
    handle_t memory = make(1, 0), copy, space, clone;
    uint64_t at[PLACES], out, value = 0, done;
    for (uint64_t i = 0; i < PLACES; i++) {
        at[i] = map(memory, 1, MAP_READ | MAP_WRITE);
        *(volatile uint64_t *)at[i] = 5;
    }
    EXPECT_OK(tess_memory_decommit(memory, 0, STD_PAGE));
    for (uint64_t i = 0; i < PLACES; i++)
        EXPECT_EQUAL(*(volatile uint64_t *)at[i], 0);
    *(volatile uint64_t *)at[PLACES / 2] = 6;
    EXPECT_OK(tess_memory_clone(memory, std_self.untyped, 0, STD_PAGE, &copy));
    *(volatile uint64_t *)at[PLACES - 1] = 7;
    for (uint64_t i = 0; i < PLACES; i++)
        EXPECT_EQUAL(*(volatile uint64_t *)at[i], 7);
    EXPECT_EQUAL(get(copy, 0), 6);
    EXPECT_OK(tess_untyped_create_vspace(std_self.untyped, &space));
    for (uint64_t i = 0; i < PLACES; i++)
        EXPECT_OK(tess_vspace_map(space, memory, 0, STD_PAGE, BASE + 2 * i * STD_PAGE, MAP_READ | MAP_WRITE | MAP_FIXED, &out));
    EXPECT_OK(tess_vspace_clone(space, std_self.untyped, &clone));
    uint64_t fresh = 8;
    EXPECT_OK(tess_vspace_write(clone, BASE, (uint64_t)&fresh, 8, &done));
    for (uint64_t i = 0; i < PLACES; i++) {
        EXPECT_OK(tess_vspace_read(clone, BASE + 2 * i * STD_PAGE, (uint64_t)&value, 8, &done));
        EXPECT_EQUAL(value, 8);
    }
    EXPECT_EQUAL(get(memory, 0), 7);
    for (uint64_t i = 0; i < PLACES; i++)
        unmap(at[i], 1);
    handle_destroy(clone);
    handle_destroy(space);
    handle_destroy(copy);
    handle_destroy(memory);
}

/* A replacing map that fails leaves what was there: for want of memory, at every allocation it makes. */
static void replace_exhausted(void)
{
    for (uint64_t pages = 1; pages < 16; pages++) {
        handle_t untyped, space, memory = make(4, 0);
        uint64_t at = 0x10000000, out, value = 6, done;
        EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, pages * STD_PAGE, &untyped));
        bool is_made = tess_untyped_create_vspace(untyped, &space) == OK;
        bool is_mapped = is_made && tess_vspace_map(space, memory, 0, 4 * STD_PAGE, at, MAP_READ | MAP_WRITE | MAP_FIXED, &out) == OK;
        if (is_mapped) {
            status_t status = tess_vspace_map(space, memory, 0, STD_PAGE, at + STD_PAGE, MAP_READ | MAP_FIXED | MAP_REPLACE, &out);
            uint64_t start, size, offset;
            uint32_t flags;
            EXPECT(status == OK || status == ERROR_NO_MEMORY);
            EXPECT_OK(tess_vspace_query(space, at + STD_PAGE, &start, &size, &flags, &offset));
            EXPECT_EQUAL(start, status == OK ? at + STD_PAGE : at);
            EXPECT_EQUAL(flags, status == OK ? MAP_READ : MAP_READ | MAP_WRITE);
            if (status == OK && tess_vspace_write(space, at, (uint64_t)&value, 8, &done) == OK)
                EXPECT_EQUAL(get(memory, 0), 6);
        }
        if (is_made)
            handle_drop(space);
        handle_destroy(untyped);
        handle_destroy(memory);
    }
}

void resize_tests(void)
{
    static const struct test tests[] = {
        {"resize.sizes", sizes},
        {"resize.refused", refused},
        {"resize.charges", charges},
        {"resize.mappings", mappings},
        {"resize.cloned", cloned},
        {"resize.crowd", crowd},
        {"guard.region", guard_region},
        {"guard.no_access", no_access},
        {"guard.replaced", replaced},
        {"guard.replace_exhausted", replace_exhausted},
        {"guard.replaced_many", replaced_many},
        {"guard.mapped_often", mapped_often},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
