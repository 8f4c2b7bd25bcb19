/* vspace: map, unmap, protect, query; partial ranges; what is refused (writable and executable, beyond the handle's rights). */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

static handle_t make(uint64_t pages)
{
    handle_t memory = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, pages * STD_PAGE, 0, &memory));
    return memory;
}

static status_t map(handle_t memory, uint64_t offset, uint64_t size, uint64_t address, uint32_t flags, uint64_t *out_address)
{
    return tess_vspace_map(std_self.vspace, memory, offset, size, address, flags, out_address);
}

static void map_arguments(void)
{
    handle_t memory = make(4);
    uint64_t at;
    static const struct {
        uint64_t offset, size, address;
        uint32_t flags;
    } bad[] = {
        {0, 0, 0, MAP_READ},
        {1, STD_PAGE, 0, MAP_READ},
        {0, 100, 0, MAP_READ},
        {0, 5 * STD_PAGE, 0, MAP_READ},
        {4 * STD_PAGE, STD_PAGE, 0, MAP_READ},
        {~0xFFFull, 2 * STD_PAGE, 0, MAP_READ},
        {0, STD_PAGE, 0, MAP_WRITE},
        {0, STD_PAGE, 0, MAP_READ | MAP_REPLACE},
        {0, STD_PAGE, 0, MAP_EXEC},
        {0, STD_PAGE, 0, MAP_READ | MAP_WRITE | MAP_EXEC},
        {0, STD_PAGE, 0, MAP_READ | 256},
        {0, STD_PAGE, 0, MAP_READ | MAP_FIXED},
        {0, STD_PAGE, 1, MAP_READ},
        {0, STD_PAGE, 2048, MAP_READ},
        {0, STD_PAGE, 1ull << 38, MAP_READ},
        {0, 2 * STD_PAGE, (1ull << 38) - STD_PAGE, MAP_READ},
        {0, STD_PAGE, 0xFFFFFFFF80000000, MAP_READ},
        {0, STD_PAGE, ~0xFFFull, MAP_READ},
    };
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        status_t status = map(memory, bad[i].offset, bad[i].size, bad[i].address, bad[i].flags, &at);
        if (status != ERROR_BAD_ARGUMENT)
            test_fail("case %u: %s", i, status_name(status));
    }
    EXPECT_OK(map(memory, 0, STD_PAGE, (1ull << 38) - STD_PAGE, MAP_READ | MAP_FIXED, &at)); /* the last page of user space */
    EXPECT_EQUAL(*(volatile uint64_t *)at, 0);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, STD_PAGE));
    EXPECT_OK(map(memory, 0, STD_PAGE, STD_PAGE, MAP_READ | MAP_FIXED, &at)); /* the first one */
    EXPECT_EQUAL(at, STD_PAGE);
    EXPECT_EQUAL(*(volatile uint64_t *)at, 0);
    EXPECT_STATUS(map(memory, 0, STD_PAGE, STD_PAGE, MAP_READ | MAP_FIXED, &at), ERROR_BUSY);
    EXPECT_OK(map(memory, 0, STD_PAGE, STD_PAGE, MAP_READ, &at)); /* only a wish: somewhere else */
    EXPECT(at != STD_PAGE);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, STD_PAGE));
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, STD_PAGE, STD_PAGE));
    handle_t huge;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, 1ull << 39, 0, &huge));
    EXPECT_STATUS(map(huge, 0, 1ull << 39, 0, MAP_READ, &at), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(map(huge, 0, 1ull << 38, 0, MAP_READ, &at), ERROR_NO_SPACE);
    EXPECT_OK(map(huge, 0, 1ull << 36, 0, MAP_READ | MAP_WRITE, &at));
    *(volatile uint64_t *)(at + (1ull << 36) - 8) = 1;
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, 1ull << 36));
    handle_destroy(huge);
    handle_destroy(memory);
}

static void rights(void)
{
    handle_t memory = make(2), read = with_rights(memory, MEMORY_RIGHT_READ),
             write = with_rights(memory, MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE),
             exec = with_rights(memory, MEMORY_RIGHT_READ | MEMORY_RIGHT_EXEC), blind = with_rights(memory, MEMORY_RIGHT_WRITE);
    uint64_t at;
    EXPECT_STATUS(map(blind, 0, STD_PAGE, 0, MAP_READ, &at), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(map(read, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &at), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(map(read, 0, STD_PAGE, 0, MAP_READ | MAP_EXEC, &at), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(map(write, 0, STD_PAGE, 0, MAP_READ | MAP_EXEC, &at), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(map(exec, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &at), ERROR_MISSING_RIGHT);
    EXPECT_OK(map(read, 0, STD_PAGE, 0, MAP_READ, &at));
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ | MAP_WRITE), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ | MAP_EXEC), ERROR_MISSING_RIGHT);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, STD_PAGE));
    EXPECT_OK(map(memory, 0, STD_PAGE, 0, MAP_READ, &at)); /* the handle allowed more: it may become more */
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ | MAP_WRITE));
    *(volatile uint64_t *)at = 1;
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ | MAP_WRITE | MAP_EXEC), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ | MAP_EXEC));
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, STD_PAGE));
    handle_destroy(memory);
}

struct found {
    uint64_t start, size, offset;
    uint32_t flags;
};

static struct found query(uint64_t address)
{
    struct found found = {};
    EXPECT_OK(tess_vspace_query(std_self.vspace, address, &found.start, &found.size, &found.flags, &found.offset));
    return found;
}

static void partial(void)
{
    handle_t memory = make(16);
    uint64_t at;
    EXPECT_OK(map(memory, 2 * STD_PAGE, 12 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &at));
    for (uint64_t i = 0; i < 12; i++)
        *(volatile uint64_t *)(at + i * STD_PAGE) = i + 100;
    /* A hole in the middle. */
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at + 4 * STD_PAGE, 2 * STD_PAGE));
    EXPECT_EQUAL(query(at).size, 4 * STD_PAGE);
    EXPECT_EQUAL(query(at + 4 * STD_PAGE).start, at + 6 * STD_PAGE);
    EXPECT_EQUAL(query(at + 6 * STD_PAGE).offset, 8 * STD_PAGE);
    EXPECT_EQUAL(query(at + 6 * STD_PAGE).size, 6 * STD_PAGE);
    EXPECT_EQUAL(*(volatile uint64_t *)(at + 3 * STD_PAGE), 103);
    EXPECT_EQUAL(*(volatile uint64_t *)(at + 6 * STD_PAGE), 106);
    /* Protection of a part; it must be mapped as a whole. */
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, at, 12 * STD_PAGE, MAP_READ), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, at + 3 * STD_PAGE, 2 * STD_PAGE, MAP_READ), ERROR_NOT_FOUND);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at + 7 * STD_PAGE, 3 * STD_PAGE, MAP_READ));
    EXPECT_EQUAL(query(at + 7 * STD_PAGE).flags, MAP_READ);
    EXPECT_EQUAL(query(at + 7 * STD_PAGE).size, 3 * STD_PAGE);
    EXPECT_EQUAL(query(at + 6 * STD_PAGE).flags, MAP_READ | MAP_WRITE);
    EXPECT_EQUAL(query(at + 10 * STD_PAGE).flags, MAP_READ | MAP_WRITE);
    EXPECT_EQUAL(*(volatile uint64_t *)(at + 8 * STD_PAGE), 108);
    EXPECT_OK(tess_vspace_protect(std_self.vspace, at + 6 * STD_PAGE, 6 * STD_PAGE, MAP_READ | MAP_WRITE)); /* over three parts */
    *(volatile uint64_t *)(at + 8 * STD_PAGE) = 1;
    /* Unmapping over holes and edges; a second time finds nothing, which is fine. */
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at + 3 * STD_PAGE, 8 * STD_PAGE));
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at + 3 * STD_PAGE, 8 * STD_PAGE));
    EXPECT_EQUAL(*(volatile uint64_t *)(at + 11 * STD_PAGE), 111);
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, at, 12 * STD_PAGE));
    /* What was written is still in the memory. */
    uint64_t value;
    EXPECT_OK(tess_memory_read(memory, 10 * STD_PAGE, (uint64_t)&value, 8));
    EXPECT_EQUAL(value, 1);
    EXPECT_STATUS(tess_vspace_unmap(std_self.vspace, at + 1, STD_PAGE), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_unmap(std_self.vspace, at, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_unmap(std_self.vspace, 0, STD_PAGE), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_unmap(std_self.vspace, at, ~0xFFFull), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_unmap(std_self.vspace, (1ull << 38) - STD_PAGE, 2 * STD_PAGE), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, at, 0, MAP_READ), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_WRITE), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ | MAP_FIXED), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_protect(std_self.vspace, at, STD_PAGE, MAP_READ), ERROR_NOT_FOUND);
    uint64_t start, size, offset;
    uint32_t flags;
    EXPECT_STATUS(tess_vspace_query(std_self.vspace, (1ull << 38) - STD_PAGE, &start, &size, &flags, &offset), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_vspace_query(std_self.vspace, ~0ull, &start, &size, &flags, &offset), ERROR_NOT_FOUND);
    handle_destroy(memory);
}

/* Random maps, unmaps and protects of a small range, against a model of one byte for each page. */
static void against_model(void)
{
    constexpr uint32_t PAGES = 24;
    uint64_t base, seed = 0x5EED5EED, at;
    handle_t memory = make(PAGES);
    uint8_t model[PAGES] = {}; /* 0 unmapped, else flags */
    EXPECT_OK(map(memory, 0, PAGES * STD_PAGE, 0, MAP_READ | MAP_WRITE, &base));
    for (uint32_t i = 0; i < PAGES; i++)
        *(volatile uint64_t *)(base + i * STD_PAGE) = i;
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, base, PAGES * STD_PAGE));
    for (uint32_t step = 0; step < 3000 && test_has_passed(); step++) {
        uint32_t first = (uint32_t)(random_next(&seed) % PAGES), count = 1 + (uint32_t)(random_next(&seed) % (PAGES - first));
        uint32_t flags = random_next(&seed) % 2 != 0 ? MAP_READ : MAP_READ | MAP_WRITE;
        uint64_t address = base + first * STD_PAGE, size = count * STD_PAGE;
        bool is_free = true, is_mapped = true;
        for (uint32_t i = first; i < first + count; i++) {
            is_free = is_free && model[i] == 0;
            is_mapped = is_mapped && model[i] != 0;
        }
        uint8_t becomes = (uint8_t)flags;
        switch (random_next(&seed) % 3) {
        case 0:
            EXPECT_STATUS(map(memory, first * STD_PAGE, size, address, flags | MAP_FIXED, &at), is_free ? OK : ERROR_BUSY);
            if (!is_free)
                continue;
            break;
        case 1:
            EXPECT_STATUS(tess_vspace_protect(std_self.vspace, address, size, flags), is_mapped ? OK : ERROR_NOT_FOUND);
            if (!is_mapped)
                continue;
            break;
        default: EXPECT_OK(tess_vspace_unmap(std_self.vspace, address, size)); becomes = 0;
        }
        memset(&model[first], becomes, count);
        uint32_t page = (uint32_t)(random_next(&seed) % PAGES);
        if (model[page] != 0) {
            EXPECT_EQUAL(query(base + page * STD_PAGE).flags, model[page]);
            EXPECT_EQUAL(*(volatile uint64_t *)(base + page * STD_PAGE), page);
        }
        if (model[page] & MAP_WRITE)
            *(volatile uint64_t *)(base + page * STD_PAGE) = page;
        uint64_t value;
        status_t wanted = model[page] & MAP_WRITE ? OK : ERROR_BAD_ADDRESS;
        EXPECT_STATUS(tess_memory_read(memory, page * STD_PAGE, base + page * STD_PAGE, 8), wanted);
        EXPECT_STATUS(tess_memory_write(memory, page * STD_PAGE, base + page * STD_PAGE, 8), model[page] != 0 ? OK : ERROR_BAD_ADDRESS);
        EXPECT_OK(tess_memory_read(memory, page * STD_PAGE, (uint64_t)&value, 8));
        EXPECT_EQUAL(value, page);
    }
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, base, PAGES * STD_PAGE));
    handle_destroy(memory);
}

/* A foreign address space is worked on in the same way; destroying it ends its mappings. */
static void foreign(void)
{
    handle_t vspace, memory = make(4);
    uint64_t at, again;
    if (!EXPECT_OK(tess_untyped_create_vspace(std_self.untyped, &vspace)))
        return;
    EXPECT_OK(tess_vspace_map(vspace, memory, 0, 4 * STD_PAGE, 0x10000, MAP_READ | MAP_WRITE | MAP_FIXED, &at));
    EXPECT_OK(tess_vspace_map(vspace, memory, 0, 4 * STD_PAGE, 0, MAP_READ, &again));
    EXPECT_OK(tess_vspace_protect(vspace, 0x11000, STD_PAGE, MAP_READ));
    EXPECT_OK(tess_vspace_unmap(vspace, 0x12000, STD_PAGE));
    handle_destroy(vspace);
    EXPECT_STATUS(tess_vspace_unmap(vspace, 0x10000, STD_PAGE), ERROR_STALE_HANDLE);
    handle_drop(memory);
}

void vspace_tests(void)
{
    static const struct test tests[] = {
        {"vspace.map_arguments", map_arguments}, {"vspace.rights", rights},   {"vspace.partial", partial},
        {"vspace.against_model", against_model}, {"vspace.foreign", foreign},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
