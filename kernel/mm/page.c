/*
 * The buddy allocator. Owns page_array and the free lists; one lock. A free block of order n is aligned to its size and listed by
 * its first frame; every other frame of it has state PAGE_FREE and order 0xFF.
 */
#include <arch/arch.h>
#include <kernel/boot_info.h>
#include <kernel/init.h>
#include <kernel/page.h>
#include <tess/string.h>
#include <tess/util.h>

constexpr uint8_t ORDER_NOT_HEAD = 0xFF;

struct page *page_array;
uint64_t page_array_first, page_array_count;

static struct spinlock buddy_lock;
static struct list free_lists[PAGE_ORDER_MAX + 1];
static uint64_t free_pages, ram_pages;

static paddr_t page_address(const struct page *page) { return (page_array_first + (uint64_t)(page - page_array)) << PAGE_SHIFT; }

static void block_push(struct page *page, uint32_t order) REQUIRES(&buddy_lock)
{
    page->state = PAGE_FREE;
    page->order = (uint8_t)order;
    list_push_front(&free_lists[order], &page->node);
}

static void block_free(uint64_t frame, uint32_t order) REQUIRES(&buddy_lock)
{
    free_pages += 1ull << order;
    while (order < PAGE_ORDER_MAX) {
        uint64_t buddy = frame ^ (1ull << order);
        if (buddy < page_array_first || buddy - page_array_first >= page_array_count)
            break;
        struct page *other = &page_array[buddy - page_array_first];
        if (peek(other->state) != PAGE_FREE || other->order != order)
            break;
        list_remove(&other->node);
        other->order = ORDER_NOT_HEAD;
        page_array[frame - page_array_first].order = ORDER_NOT_HEAD;
        page_array[frame - page_array_first].state = PAGE_FREE;
        frame &= ~(1ull << order);
        order++;
    }
    block_push(&page_array[frame - page_array_first], order);
}

static struct page *block_take(uint32_t order) REQUIRES(&buddy_lock)
{
    uint32_t found = order;
    while (found <= PAGE_ORDER_MAX && list_is_empty(&free_lists[found]))
        found++;
    if (found > PAGE_ORDER_MAX)
        return nullptr;
    struct page *page = container_of(list_pop_front(&free_lists[found]), struct page, node);
    while (found > order) {
        found--;
        block_push(page + (1ull << found), found);
    }
    page->state = PAGE_USED;
    page->order = (uint8_t)order;
    free_pages -= 1ull << order;
    return page;
}

paddr_t page_alloc(uint32_t order)
{
    spinlock_acquire(&buddy_lock);
    struct page *page = order <= PAGE_ORDER_MAX ? block_take(order) : nullptr;
    spinlock_release(&buddy_lock);
    return page != nullptr ? page_address(page) : 0;
}

void page_free(paddr_t address, uint32_t order)
{
    spinlock_acquire(&buddy_lock);
    block_free(address >> PAGE_SHIFT, order);
    spinlock_release(&buddy_lock);
}

uint32_t page_alloc_batch(paddr_t pages[], uint32_t count)
{
    uint32_t taken = 0;
    struct page *page;
    spinlock_acquire(&buddy_lock);
    while (taken < count && (page = block_take(0)) != nullptr)
        pages[taken++] = page_address(page);
    spinlock_release(&buddy_lock);
    return taken;
}

void page_free_batch(const paddr_t pages[], uint32_t count)
{
    spinlock_acquire(&buddy_lock);
    while (count > 0)
        block_free(pages[--count] >> PAGE_SHIFT, 0);
    spinlock_release(&buddy_lock);
}

/* Gives back [frame, end) as the largest aligned blocks. */
static void range_free(uint64_t frame, uint64_t end) REQUIRES(&buddy_lock)
{
    while (frame < end) {
        uint32_t order = 0;
        while (order < PAGE_ORDER_MAX && (frame & ((2ull << order) - 1)) == 0 && frame + (2ull << order) <= end)
            order++;
        block_free(frame, order);
        frame += 1ull << order;
    }
}

paddr_t page_alloc_run(uint64_t count)
{
    uint32_t order = 0;
    while (order <= PAGE_ORDER_MAX && (1ull << order) < count)
        order++;
    if (count == 0 || order > PAGE_ORDER_MAX)
        return 0;
    spinlock_acquire(&buddy_lock);
    struct page *page = block_take(order);
    paddr_t address = 0;
    if (page != nullptr) {
        address = page_address(page);
        uint64_t frame = address >> PAGE_SHIFT;
        range_free(frame + count, frame + (1ull << order));
    }
    spinlock_release(&buddy_lock);
    return address;
}

void page_free_run(paddr_t address, uint64_t count)
{
    spinlock_acquire(&buddy_lock);
    range_free(address >> PAGE_SHIFT, (address >> PAGE_SHIFT) + count);
    spinlock_release(&buddy_lock);
}

uint64_t page_free_count(void) { return free_pages; }

uint64_t page_ram_count(void) { return ram_pages; }

bool page_is_ram(paddr_t address, uint64_t size)
{
    uint64_t first = address >> PAGE_SHIFT, last = (address + size - 1) >> PAGE_SHIFT;
    for (uint64_t frame = first; frame <= last; frame++) {
        if (frame < page_array_first)
            frame = page_array_first;
        if (frame > last || frame - page_array_first >= page_array_count)
            return false;
        if (page_array[frame - page_array_first].is_ram)
            return true;
    }
    return false;
}

void page_zero(void *page)
{
    uint64_t *word = page;
    constexpr uint32_t AT_ONCE = 64;
    for (uint32_t i = 0; i < PAGE_SIZE / 8; i += AT_ONCE) {
        uint64_t *w = word + i;
#pragma clang loop unroll(full)
        for (uint32_t j = 0; j < AT_ONCE; j++)
            w[j] = 0;
        /* Keeps the compiler from turning the loop into a call of memset, which would be slower for a whole page. */
        __asm__ volatile("" : : "r"(w) : "memory");
    }
}

struct cut {
    uint64_t first, last;
}; /* frames [first, last) that are not free */

/* Walks the parts of RAM range `r` that no reserved range, the kernel, the boot image or `extra` covers. */
static void for_each_free(const struct boot_info *bi, const struct boot_range *r, const struct cut *extra,
                          void (*visit)(uint64_t first, uint64_t last))
{
    uint64_t frame = (r->base + PAGE_SIZE - 1) >> PAGE_SHIFT, end = (r->base + r->size) >> PAGE_SHIFT;
    while (frame < end) {
        struct cut cuts[BOOT_RANGES_MAX + 3];
        uint32_t count = 0;
        cuts[count++] = (struct cut){bi->kernel_start >> PAGE_SHIFT, (bi->kernel_end + PAGE_SIZE - 1) >> PAGE_SHIFT};
        if (bi->image_size != 0)
            cuts[count++] = (struct cut){bi->image_start >> PAGE_SHIFT, (bi->image_start + bi->image_size + PAGE_SIZE - 1) >> PAGE_SHIFT};
        if (extra != nullptr)
            cuts[count++] = *extra;
        for (uint32_t i = 0; i < bi->range_count; i++)
            if (bi->ranges[i].kind == BOOT_RESERVED && bi->ranges[i].size != 0)
                cuts[count++] =
                    (struct cut){bi->ranges[i].base >> PAGE_SHIFT, (bi->ranges[i].base + bi->ranges[i].size + PAGE_SIZE - 1) >> PAGE_SHIFT};
        uint64_t stop = end;
        bool is_cut = false;
        for (uint32_t i = 0; i < count; i++) {
            if (cuts[i].first <= frame && frame < cuts[i].last) {
                frame = cuts[i].last;
                is_cut = true;
                break;
            }
            if (cuts[i].first > frame && cuts[i].first < stop)
                stop = cuts[i].first;
        }
        if (is_cut)
            continue;
        visit(frame, stop);
        frame = stop;
    }
}

static uint64_t wanted_pages, found_first;

static void find_room(uint64_t first, uint64_t last)
{
    /* The array must lie where the early direct map reaches: below 4 GiB on x86_64 (arch.h). */
    first += first == 0; /* page_alloc's failure value */
    if (found_first == 0 && first < last && last - first >= wanted_pages && first + wanted_pages <= (4ull << 30) / PAGE_SIZE)
        found_first = first;
}

/* Until the final tables are active only memory below 4 GiB is surely mapped (arch.h); the rest comes with page_init_late(). */
constexpr uint64_t EARLY_LIMIT = (4ull << 30) >> PAGE_SHIFT;

static void give_early(uint64_t first, uint64_t last) NO_THREAD_SAFETY
{
    first += first == 0; /* address 0 is page_alloc's failure */
    if (first < EARLY_LIMIT)
        range_free(first, min_u64(last, EARLY_LIMIT));
}

static void give_late(uint64_t first, uint64_t last) NO_THREAD_SAFETY
{
    if (last > EARLY_LIMIT)
        range_free(max_u64(first, EARLY_LIMIT), last);
}

static void give_ranges(const struct boot_info *bi, void (*give)(uint64_t first, uint64_t last))
{
    struct cut array = {found_first, found_first + wanted_pages};
    for (uint32_t i = 0; i < bi->range_count; i++) {
        const struct boot_range *r = &bi->ranges[i];
        if (r->kind == BOOT_RAM && r->size >= PAGE_SIZE && r->base + r->size <= DIRECT_MAP_SIZE)
            for_each_free(bi, r, &array, give);
    }
}

/* Remembers which frames are RAM, free or not (page_is_ram). */
static void mark_ram(const struct boot_range *r)
{
    for (uint64_t frame = r->base >> PAGE_SHIFT; frame < (r->base + r->size + PAGE_SIZE - 1) >> PAGE_SHIFT; frame++)
        page_array[frame - page_array_first].is_ram = true;
}

void page_init(const struct boot_info *bi)
{
    uint64_t first = UINT64_MAX, last = 0;
    for (uint32_t i = 0; i < bi->range_count; i++) {
        const struct boot_range *r = &bi->ranges[i];
        if (r->kind != BOOT_RAM || r->size < PAGE_SIZE || r->base + r->size > DIRECT_MAP_SIZE)
            continue;
        first = min_u64(first, r->base >> PAGE_SHIFT);
        last = max_u64(last, (r->base + r->size + PAGE_SIZE - 1) >> PAGE_SHIFT);
    }
    if (last == 0)
        panic("no usable memory in the boot memory map");
    for (uint32_t i = 0; i <= PAGE_ORDER_MAX; i++)
        list_init(&free_lists[i]);
    page_array_first = first;
    page_array_count = last - first;
    wanted_pages = (page_array_count * sizeof(struct page) + PAGE_SIZE - 1) >> PAGE_SHIFT;
    for (uint32_t i = 0; i < bi->range_count && found_first == 0; i++)
        if (bi->ranges[i].kind == BOOT_RAM)
            for_each_free(bi, &bi->ranges[i], nullptr, find_room);
    if (found_first == 0)
        panic("not enough memory: no room for the page array (%lu KiB)", wanted_pages * 4);
    page_array = phys_to_virt(found_first << PAGE_SHIFT);
    memset(page_array, 0, page_array_count * sizeof(struct page));
    for (uint64_t i = 0; i < page_array_count; i++)
        page_array[i].order = ORDER_NOT_HEAD;
    for (uint32_t i = 0; i < bi->range_count; i++) {
        const struct boot_range *r = &bi->ranges[i];
        if (r->kind != BOOT_RAM || r->size < PAGE_SIZE || r->base + r->size > DIRECT_MAP_SIZE)
            continue;
        ram_pages += r->size >> PAGE_SHIFT;
        mark_ram(r);
    }
    give_ranges(bi, give_early);
}

void page_init_late(const struct boot_info *bi) { give_ranges(bi, give_late); }
