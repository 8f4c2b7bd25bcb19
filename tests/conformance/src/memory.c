/* memory: anonymous, committed, contiguous, image slices; read, write, commit, decommit; a memory that dies while it is mapped. */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/machine.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

struct info {
    uint64_t size, committed;
    uint32_t flags, is_device;
};

static struct info info_of(handle_t memory)
{
    struct info info = {};
    EXPECT_OK(tess_memory_info(memory, &info.size, &info.committed, &info.flags, &info.is_device));
    return info;
}

static handle_t make(uint64_t size, uint32_t flags)
{
    handle_t memory = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, size, flags, &memory));
    return memory;
}

static uint64_t used_pages(void)
{
    uint64_t limit, used = 0, objects;
    EXPECT_OK(tess_untyped_info(std_self.untyped, &limit, &used, &objects));
    return used;
}

static void info(void)
{
    handle_t memory = make(5 * STD_PAGE + 1, 0);
    EXPECT_EQUAL(info_of(memory).size, 6 * STD_PAGE);
    EXPECT_EQUAL(info_of(memory).committed, 0);
    EXPECT_EQUAL(info_of(memory).is_device, 0);
    handle_drop(memory);
    memory = make(20 * STD_PAGE, MEMORY_COMMITTED);
    EXPECT_EQUAL(info_of(memory).committed, 20);
    handle_drop(memory);
    memory = make(3 * STD_PAGE, MEMORY_CONTIGUOUS);
    EXPECT_EQUAL(info_of(memory).committed, 3);
    EXPECT_EQUAL(info_of(memory).flags, MEMORY_CONTIGUOUS);
    handle_drop(memory);
}

/* Reads and writes at all places of a page, across pages, in sparse objects of every depth. */
static void read_write_at(handle_t memory, uint64_t offset, uint64_t size)
{
    static uint8_t out[3 * STD_PAGE], in[3 * STD_PAGE];
    for (uint64_t i = 0; i < size; i++)
        out[i] = (uint8_t)(offset * 7 + i * 13 + 1);
    memset(in, 0xEE, sizeof(in));
    EXPECT_OK(tess_memory_write(memory, offset, (uint64_t)out, size));
    EXPECT_OK(tess_memory_read(memory, offset, (uint64_t)in, size));
    EXPECT(memcmp(out, in, size) == 0);
    EXPECT(size == sizeof(in) || in[size] == 0xEE);
}

static void read_write(void)
{
    static const uint64_t sizes[] = {8 * STD_PAGE, 9 * STD_PAGE, 512 * STD_PAGE, 513 * STD_PAGE, 1ull << 30, (1ull << 30) + STD_PAGE,
                                     1ull << 40};
    for (uint32_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        handle_t memory = make(sizes[i], 0);
        uint8_t byte = 1;
        EXPECT_OK(tess_memory_read(memory, sizes[i] - 1, (uint64_t)&byte, 1));
        EXPECT_EQUAL(byte, 0);
        EXPECT_EQUAL(info_of(memory).committed, 0);
        read_write_at(memory, 0, 1);
        read_write_at(memory, STD_PAGE - 1, 2);
        read_write_at(memory, 511, 514);
        read_write_at(memory, STD_PAGE - 100, 2 * STD_PAGE);
        read_write_at(memory, sizes[i] - 3 * STD_PAGE, 3 * STD_PAGE);
        read_write_at(memory, sizes[i] - 5, 5);
        static uint8_t buffer[16];
        EXPECT_OK(tess_memory_write(memory, sizes[i], (uint64_t)buffer, 0));
        EXPECT_STATUS(tess_memory_write(memory, sizes[i], (uint64_t)buffer, 1), ERROR_BAD_ARGUMENT);
        EXPECT_STATUS(tess_memory_read(memory, sizes[i] - 7, (uint64_t)buffer, 8), ERROR_BAD_ARGUMENT);
        EXPECT_STATUS(tess_memory_read(memory, ~0ull, (uint64_t)buffer, 2), ERROR_BAD_ARGUMENT);
        EXPECT_STATUS(tess_memory_read(memory, 0, (uint64_t)buffer, (1 << 20) + 1), ERROR_BAD_ARGUMENT);
        handle_destroy(memory);
    }
}

/* ---- User pointers ---- */

static void pointers(void)
{
    handle_t memory = make(4 * STD_PAGE, MEMORY_COMMITTED);
    uint64_t at, bad[] = {0, 8, STD_PAGE - 1, 1ull << 38, (1ull << 38) - 1, 1ull << 47, 1ull << 63, 0xFFFFFFFF80000000, ~0ull, ~7ull};
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        EXPECT_STATUS(tess_memory_read(memory, 0, bad[i], 8), ERROR_BAD_ADDRESS);
        EXPECT_STATUS(tess_memory_write(memory, 0, bad[i], 8), ERROR_BAD_ADDRESS);
    }
    /* Mapped, unmapped, mapped: a copy over the edge is refused, one up to the edge works. */
    handle_t place = make(3 * STD_PAGE, 0);
    EXPECT_OK(tess_vspace_map(std_self.vspace, place, 0, 3 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &at));
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at + STD_PAGE, STD_PAGE));
    EXPECT_OK(tess_memory_read(memory, 0, at + STD_PAGE - 16, 16));
    EXPECT_STATUS(tess_memory_read(memory, 0, at + STD_PAGE - 16, 17), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_memory_write(memory, 0, at + STD_PAGE - 16, 17), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_memory_read(memory, 0, at + 2 * STD_PAGE - 1, 2), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_memory_read(memory, 0, at + 2 * STD_PAGE, 16));
    /* Read-only pages cannot be written through the kernel. */
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ));
    EXPECT_STATUS(tess_memory_read(memory, 0, at, 1), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_memory_write(memory, 0, at, 1));
    EXPECT_STATUS(tess_memory_read(memory, 0, (uint64_t)memory_tests, 1), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_memory_read(memory, 0, std_bootstrap()->clock_page, 1), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, 3 * STD_PAGE));
    EXPECT_STATUS(tess_memory_read(memory, 0, at, 1), ERROR_BAD_ADDRESS);
    /* A memory read into a mapping of itself, across a page edge. */
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, 4 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &at));
    *(volatile uint32_t *)at = 0x12345678;
    EXPECT_OK(tess_memory_read(memory, 0, at + STD_PAGE - 2, 4));
    EXPECT_EQUAL(*(volatile uint16_t *)(at + STD_PAGE), 0x1234);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, 4 * STD_PAGE));
    handle_destroy(memory);
    handle_destroy(place);
}

static void commit(void)
{
    handle_t memory = make(32 * STD_PAGE, 0);
    uint64_t before = used_pages();
    EXPECT_OK(tess_memory_commit(memory, 4 * STD_PAGE, 2 * STD_PAGE));
    EXPECT_EQUAL(info_of(memory).committed, 2);
    EXPECT_EQUAL(used_pages(), before + 3); /* and one node of the tree */
    EXPECT_OK(tess_memory_commit(memory, 0, 32 * STD_PAGE));
    EXPECT_EQUAL(info_of(memory).committed, 32);
    EXPECT_OK(tess_memory_commit(memory, 0, 0));
    EXPECT_STATUS(tess_memory_commit(memory, 1, STD_PAGE), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_commit(memory, 0, 1), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_commit(memory, 0, 33 * STD_PAGE), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_commit(memory, STD_PAGE, ~0xFFFull), ERROR_BAD_ARGUMENT);
    uint64_t value = 77, zero = 1;
    EXPECT_OK(tess_memory_write(memory, 9 * STD_PAGE, (uint64_t)&value, 8));
    EXPECT_OK(tess_memory_decommit(memory, 8 * STD_PAGE, 2 * STD_PAGE));
    EXPECT_EQUAL(info_of(memory).committed, 30);
    EXPECT_OK(tess_memory_read(memory, 9 * STD_PAGE, (uint64_t)&zero, 8));
    EXPECT_EQUAL(zero, 0);
    EXPECT_STATUS(tess_memory_decommit(memory, 1, STD_PAGE), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_decommit(memory, 0, 33 * STD_PAGE), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_memory_decommit(memory, 0, 32 * STD_PAGE));
    EXPECT_EQUAL(info_of(memory).committed, 0);
    handle_destroy(memory);
    memory = make(2 * STD_PAGE, MEMORY_CONTIGUOUS);
    EXPECT_OK(tess_memory_commit(memory, 0, 2 * STD_PAGE));
    EXPECT_STATUS(tess_memory_decommit(memory, 0, STD_PAGE), ERROR_UNSUPPORTED);
    handle_destroy(memory);
    EXPECT_STATUS(tess_memory_commit(guest.image, 0, STD_PAGE), ERROR_MISSING_RIGHT);
}

/* Decommitted pages vanish from every mapping, and come back zeroed; pinned ones stay. */
static void decommit_mapped(void)
{
    handle_t memory = make(16 * STD_PAGE, 0);
    uint64_t a, b;
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, 16 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &a));
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 4 * STD_PAGE, 8 * STD_PAGE, 0, MAP_READ, &b));
    for (uint64_t i = 0; i < 16; i++)
        *(volatile uint64_t *)(a + i * STD_PAGE) = i + 1;
    EXPECT_EQUAL(*(volatile uint64_t *)(b + STD_PAGE), 6);
    EXPECT_OK(tess_memory_decommit(memory, 5 * STD_PAGE, 2 * STD_PAGE));
    EXPECT_EQUAL(*(volatile uint64_t *)(b + STD_PAGE), 0);
    EXPECT_EQUAL(*(volatile uint64_t *)(a + 6 * STD_PAGE), 0);
    EXPECT_EQUAL(*(volatile uint64_t *)(a + 7 * STD_PAGE), 8);
    *(volatile uint64_t *)(a + 5 * STD_PAGE) = 99;
    EXPECT_EQUAL(*(volatile uint64_t *)(b + STD_PAGE), 99);
    handle_t ring;
    EXPECT_OK(tess_untyped_create_ring(std_self.untyped, memory, 1, 2, 0, 0, 0, &ring));
    EXPECT_STATUS(tess_memory_decommit(memory, 0, STD_PAGE), ERROR_BUSY);
    EXPECT_STATUS(tess_memory_decommit(memory, 0, 16 * STD_PAGE), ERROR_BUSY);
    EXPECT_EQUAL(*(volatile uint64_t *)(a + 15 * STD_PAGE), 16);      /* nothing was done */
    EXPECT_OK(tess_memory_decommit(memory, 15 * STD_PAGE, STD_PAGE)); /* its neighbours are not */
    handle_drop(ring);
    sleep_ns(2 * NS_PER_MS);
    EXPECT_OK(tess_memory_decommit(memory, 0, STD_PAGE));
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, a, 16 * STD_PAGE));
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, b, 8 * STD_PAGE));
    handle_destroy(memory);
}

static void image_and_slices(void)
{
    handle_t slice, out;
    char magic[6] = {};
    struct info image = info_of(guest.image);
    EXPECT_OK(tess_memory_read(guest.image, 0, (uint64_t)magic, 6));
    EXPECT(memcmp(magic, "070701", 6) == 0);
    EXPECT_STATUS(tess_memory_slice(guest.image, 0, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_slice(guest.image, 1, STD_PAGE, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_slice(guest.image, 0, image.size + STD_PAGE, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_memory_slice(guest.image, STD_PAGE, ~0xFFFull, &out), ERROR_BAD_ARGUMENT);
    if (!EXPECT_OK(tess_memory_slice(guest.image, STD_PAGE, 2 * STD_PAGE, &slice)))
        return;
    EXPECT_EQUAL(info_of(slice).size, 2 * STD_PAGE);
    uint64_t direct, through;
    EXPECT_OK(tess_memory_read(guest.image, STD_PAGE + 64, (uint64_t)&direct, 8));
    EXPECT_OK(tess_memory_read(slice, 64, (uint64_t)&through, 8));
    EXPECT_EQUAL(through, direct);
    uint32_t type, rights;
    uint64_t badge, id, at;
    EXPECT_OK(tess_cspace_inspect(std_self.cspace, slice, &type, &rights, &badge, &id));
    EXPECT_EQUAL(rights & MEMORY_RIGHT_WRITE, 0);
    EXPECT_STATUS(tess_memory_write(slice, 0, (uint64_t)magic, 1), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_vspace_map(std_self.vspace, slice, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &at), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_memory_read(slice, 2 * STD_PAGE - 4, (uint64_t)&direct, 8), ERROR_BAD_ARGUMENT);
    handle_t anonymous = make(STD_PAGE, 0);
    EXPECT_STATUS(tess_memory_slice(anonymous, 0, STD_PAGE, &out), ERROR_UNSUPPORTED);
    handle_destroy(anonymous);
    handle_destroy(slice); /* the image itself is as before */
    EXPECT_OK(tess_memory_read(guest.image, 0, (uint64_t)magic, 6));
}

/* ---- A memory that dies while it is mapped: its users see scratch, and never a fault ---- */

static void orphaned(void)
{
    handle_t memory = make(12 * STD_PAGE, 0);
    uint64_t a, b;
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, 12 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &a));
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 2 * STD_PAGE, STD_PAGE, 0, MAP_READ, &b));
    for (uint64_t i = 0; i < 12; i++)
        *(volatile uint64_t *)(a + i * STD_PAGE) = 5;
    uint64_t before = used_pages();
    handle_destroy(memory);
    sleep_ns(2 * NS_PER_MS);
    EXPECT(used_pages() + 12 <= before); /* the pages are back although they are mapped */
    for (uint64_t i = 0; i < 12; i++)
        EXPECT(*(volatile uint64_t *)(a + i * STD_PAGE) != 5);
    *(volatile uint64_t *)(a + 3 * STD_PAGE) = 8;
    EXPECT(*(volatile uint64_t *)b != 5);
    uint64_t start, size, offset;
    uint32_t flags;
    EXPECT_OK(tess_vspace_query(std_self.vspace, a, &start, &size, &flags, &offset));
    EXPECT_EQUAL(size, 12 * STD_PAGE);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, a + STD_PAGE, STD_PAGE, MAP_READ));
    (void)*(volatile uint64_t *)(a + STD_PAGE);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, a, 6 * STD_PAGE));
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, a + 6 * STD_PAGE, 6 * STD_PAGE));
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, b, STD_PAGE));
}

/* A mapping keeps the memory whose last handle is gone: that is not death. */
static void kept_by_mapping(void)
{
    handle_t memory = make(2 * STD_PAGE, 0);
    uint64_t a;
    if (tess_vspace_map(std_self.vspace, memory, 0, 2 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &a) != OK) {
        test_fail("cannot map");
        return;
    }
    *(volatile uint64_t *)a = 42;
    handle_drop(memory);
    sleep_ns(NS_PER_MS);
    EXPECT_EQUAL(*(volatile uint64_t *)a, 42);
    *(volatile uint64_t *)(a + STD_PAGE) = 43;
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, a, STD_PAGE));
    EXPECT_EQUAL(*(volatile uint64_t *)(a + STD_PAGE), 43);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, a + STD_PAGE, STD_PAGE));
}

/* The peer of a shared memory reads it all the time while its owner destroys it. */
int32_t role_map(void)
{
    uint64_t at, size, committed;
    uint32_t flags, is_device;
    handle_t shared = std_handle_needed("shared");
    if (tess_memory_info(shared, &size, &committed, &flags, &is_device) != OK ||
        tess_vspace_map(std_self.vspace, shared, 0, size, 0, MAP_READ | MAP_WRITE, &at) != OK)
        return 1;
    do {
        for (uint64_t i = 1; i < size / STD_PAGE; i++) {
            uint64_t value = *(volatile uint64_t *)(at + i * STD_PAGE);
            if (value != 0 && value != 7 && value != 9)
                return 2;
            *(volatile uint64_t *)(at + i * STD_PAGE) = 9;
        }
        *(volatile uint64_t *)at = 1; /* one turn is done: the owner may destroy it now */
    } while (tess_memory_info(shared, &size, &committed, &flags, &is_device) == OK);
    for (uint64_t i = 0; i < size / STD_PAGE; i++)
        *(volatile uint64_t *)(at + i * STD_PAGE) = 1;
    return 0;
}

static void orphaned_at_peer(void)
{
    for (uint32_t round = 0; round < 8; round++) {
        handle_t memory = make(16 * STD_PAGE, 0);
        uint64_t at;
        struct child child;
        struct child_args args = {.role = "map", .handles = {{"shared", memory, RIGHTS_ALL, false}}, .handle_count = 1};
        EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, 16 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &at));
        for (uint64_t i = 1; i < 16; i++)
            *(volatile uint64_t *)(at + i * STD_PAGE) = 7;
        if (!child_start(&child, &args))
            return;
        uint64_t end = patience();
        while (*(volatile uint64_t *)at != 1 && time_now_ns() < end)
            sleep_ns(NS_PER_MS / 10);
        sleep_ns(round * NS_PER_MS / 2);
        handle_destroy(memory);
        child_expect(&child, EXIT_NORMAL, 0);
        child_end(&child);
        EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, 16 * STD_PAGE));
    }
}

void memory_tests(void)
{
    static const struct test tests[] = {
        {"memory.info", info},         {"memory.read_write", read_write},           {"memory.pointers", pointers},
        {"memory.commit", commit},     {"memory.decommit_mapped", decommit_mapped}, {"memory.image_and_slices", image_and_slices},
        {"memory.orphaned", orphaned}, {"memory.kept_by_mapping", kept_by_mapping}, {"memory.orphaned_at_peer", orphaned_at_peer},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
