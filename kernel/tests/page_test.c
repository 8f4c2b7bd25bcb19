/* The buddy allocator: random blocks and runs, no overlap, every block aligned, and all merged back at the end. */
#include <check.h>
#include <host.h>
#include <kernel/page.h>
#include <stdlib.h>

constexpr uint64_t PAGES = 8192 + 37;
constexpr uint32_t HELD_MAX = 600;

static uint16_t owner[PAGES + 512]; /* by frame, from the start of RAM: 0 = free, else index of the block + 1 */
static struct {
    paddr_t address;
    uint64_t count;
    uint32_t order;
    bool is_run;
} held[HELD_MAX];

static uint64_t blocks_of_order(uint32_t order, paddr_t *chain)
{
    uint64_t count = 0;
    paddr_t page;
    while ((page = page_alloc(order)) != 0)
        chain[count++] = page;
    for (uint64_t i = 0; i < count; i++)
        page_free(chain[i], order);
    return count;
}

static void mark(uint64_t i, uint16_t from, uint16_t to)
{
    uint64_t first = (held[i].address >> PAGE_SHIFT) - page_array_first;
    for (uint64_t n = 0; n < held[i].count; n++) {
        CHECK(first + n < PAGES && owner[first + n] == from);
        owner[first + n] = to;
    }
}

int main(void)
{
    srand(1);
    host_ram(PAGES);
    static paddr_t chain[PAGES];
    uint64_t free_at_start = page_free_count(), by_order[12];
    CHECK(free_at_start > PAGES - 200 && free_at_start < PAGES);
    for (uint32_t order = 0; order < 12; order++)
        by_order[order] = blocks_of_order(order, chain);
    CHECK(by_order[0] == free_at_start);
    CHECK(page_alloc(PAGE_ORDER_MAX + 1) == 0);
    CHECK(page_alloc_run(0) == 0 && page_alloc_run(PAGES) == 0);
    uint64_t used = 0;
    for (uint32_t step = 0; step < 100'000; step++) {
        uint32_t i = (uint32_t)rand() % HELD_MAX;
        if (held[i].address != 0) {
            mark(i, (uint16_t)(i + 1), 0);
            if (held[i].is_run)
                page_free_run(held[i].address, held[i].count);
            else
                page_free(held[i].address, held[i].order);
            used -= held[i].count;
            held[i].address = 0;
        } else {
            held[i].is_run = rand() % 3 == 0;
            held[i].order = rand() % 4 == 0 ? (uint32_t)rand() % 9 : 0;
            held[i].count = held[i].is_run ? 1 + (uint64_t)rand() % 70 : 1ull << held[i].order;
            held[i].address = held[i].is_run ? page_alloc_run(held[i].count) : page_alloc(held[i].order);
            if (held[i].address == 0)
                continue;
            CHECK(held[i].is_run || (held[i].address & ((PAGE_SIZE << held[i].order) - 1)) == 0);
            mark(i, 0, (uint16_t)(i + 1));
            used += held[i].count;
        }
        CHECK(page_free_count() == free_at_start - used);
    }
    for (uint32_t i = 0; i < HELD_MAX; i++)
        if (held[i].address != 0) {
            if (held[i].is_run)
                page_free_run(held[i].address, held[i].count);
            else
                page_free(held[i].address, held[i].order);
        }
    CHECK(page_free_count() == free_at_start);
    for (uint32_t order = 0; order < 12; order++)
        CHECK(blocks_of_order(order, chain) == by_order[order]);
    CHECK(page_is_ram((page_array_first + 5) << PAGE_SHIFT, 1));
    CHECK(!page_is_ram(0, PAGE_SIZE));
    CHECK(page_is_ram(0, 1ull << 40));
    CHECK(!page_is_ram((page_array_first + page_array_count) << PAGE_SHIFT, 1ull << 40));
    return check_result();
}
