/*
 * mm/page.c: one step from every state. Which frames are free says what the free blocks are, because they are merged as far as they go:
 * the state is any set of free frames, with the blocks that follow from it; so a proof of one step is one of every sequence. Frames that
 * are not free, and those in a free block behind its first, say anything but that they are a free block's first.
 */
#include <kernel/mm/page.c>
#include <proof.h>

#ifndef FRAMES
#define FRAMES 8
#endif

static struct page pages[FRAMES];
static uint64_t first; /* frame number of pages[0] */
static bool is_free[FRAMES];
static uint8_t listed[FRAMES]; /* order + 1 of the free list; 0: in none */

void *proof_ram_at(paddr_t address) { return nullptr; }
paddr_t proof_ram_address(const void *at) { return 0; }
void spinlock_wait(struct spinlock *lock, const struct lock_site *site) { PROVE(!"taken twice"); }
static struct cpu this_cpu;
struct cpu *host_cpu = &this_cpu;
void panic(const char *format, ...) { PROVE(!"panic"); }

static uint32_t index_of(const struct list_node *node) { return (uint32_t)(container_of(node, struct page, node) - pages); }
static uint8_t number_of(const struct list *list) { return (uint8_t)(list - free_lists + 1); }
void list_init(struct list *list) {}
bool list_is_empty(const struct list *list)
{
    bool is_empty = true;
    for (uint32_t i = 0; i < FRAMES; i++)
        is_empty &= listed[i] != number_of(list);
    return is_empty;
}
void list_push_front(struct list *list, struct list_node *node)
{
    PROVE(index_of(node) < FRAMES && listed[index_of(node)] == 0);
    listed[index_of(node)] = number_of(list);
}
void list_remove(struct list_node *node)
{
    PROVE(index_of(node) < FRAMES && listed[index_of(node)] != 0);
    listed[index_of(node)] = 0;
}
struct list_node *list_pop_front(struct list *list)
{
    uint32_t i = choose(FRAMES);
    ASSUME(listed[i] == number_of(list));
    listed[i] = 0;
    return &pages[i].node;
}

/* All frames of the block of this order that has frame i, which may reach beyond the array. */
static bool is_block_free(uint32_t i, uint32_t order)
{
    uint64_t start = (first + i) & ~((1ull << order) - 1);
    for (uint64_t frame = start; frame < start + (1ull << order); frame++)
        if (frame < first || frame >= first + FRAMES || !is_free[frame - first])
            return false;
    return true;
}

/* The order of the free block that begins with frame i; 0xFF: none does. */
static uint8_t order_at(uint32_t i)
{
    uint32_t order = 0;
    if (!is_free[i])
        return ORDER_NOT_HEAD;
    while (order < PAGE_ORDER_MAX && is_block_free(i, order + 1))
        order++;
    return ((first + i) & ((1ull << order) - 1)) == 0 ? (uint8_t)order : ORDER_NOT_HEAD;
}

static void any_state(void)
{
    first = 1 + choose(FRAMES);
    page_array = pages;
    page_array_first = first;
    page_array_count = FRAMES;
    for (uint32_t i = 0; i < FRAMES; i++)
        is_free[i] = nondet_bool();
    for (uint32_t i = 0; i < FRAMES; i++) {
        free_pages += is_free[i];
        pages[i].state = nondet_u8();
        pages[i].order = nondet_u8();
        uint8_t order = order_at(i);
        if (order != ORDER_NOT_HEAD) {
            pages[i].state = PAGE_FREE;
            pages[i].order = order;
            listed[i] = order + 1;
        } else {
            ASSUME(pages[i].state != PAGE_FREE || pages[i].order == ORDER_NOT_HEAD);
        }
    }
}

static void prove_state(void)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < FRAMES; i++) {
        count += is_free[i];
        uint8_t order = order_at(i);
        bool is_head = pages[i].state == PAGE_FREE && pages[i].order != ORDER_NOT_HEAD;
        PROVE(is_head == (order != ORDER_NOT_HEAD));
        PROVE(!is_head || pages[i].order == order);
        PROVE(listed[i] == (is_head ? order + 1 : 0));
    }
    PROVE(free_pages == count && buddy_lock.is_held == 0);
}

static void take(uint64_t frame, uint64_t count)
{
    for (uint32_t i = 0; i < FRAMES; i++)
        if (first + i >= frame && first + i - frame < count) {
            PROVE(is_free[i]);
            is_free[i] = false;
        }
}

static void give(uint64_t frame, uint64_t count)
{
    for (uint32_t i = 0; i < FRAMES; i++)
        if (first + i >= frame && first + i - frame < count) {
            ASSUME(!is_free[i]);
            is_free[i] = true;
        }
}

void proof_page_alloc(void)
{
    any_state();
    uint32_t order = choose(PAGE_ORDER_MAX + 2);
    paddr_t address = page_alloc(order);
    if (address == 0) {
        for (uint32_t i = 0; i < FRAMES; i++)
            PROVE(order > PAGE_ORDER_MAX || !is_block_free(i, order)); /* there was none */
    } else {
        uint64_t frame = address >> PAGE_SHIFT, count = 1ull << order;
        PROVE(address % (count << PAGE_SHIFT) == 0 && frame >= first && frame + count <= first + FRAMES);
        take(frame, count);
        REACHED();
    }
    prove_state();
}

void proof_page_free(void)
{
    any_state();
    uint32_t order = choose(PAGE_ORDER_MAX + 1);
    uint64_t count = 1ull << order, frame = first + choose(FRAMES);
    ASSUME(frame % count == 0 && frame + count <= first + FRAMES);
    give(frame, count);
    page_free(frame << PAGE_SHIFT, order);
    prove_state();
    REACHED();
}

void proof_page_alloc_run(void)
{
    any_state();
    uint64_t count = nondet_u64();
    paddr_t address = page_alloc_run(count);
    if (address != 0) {
        PROVE(count != 0 && count <= FRAMES);
        uint64_t frame = address >> PAGE_SHIFT;
        PROVE(frame >= first && frame + count <= first + FRAMES);
        take(frame, count);
        REACHED();
    }
    prove_state();
}

void proof_page_free_run(void)
{
    any_state();
    uint64_t count = choose(FRAMES + 1), frame = first + choose(FRAMES);
    ASSUME(frame + count <= first + FRAMES);
    give(frame, count);
    page_free_run(frame << PAGE_SHIFT, count);
    prove_state();
    REACHED();
}
