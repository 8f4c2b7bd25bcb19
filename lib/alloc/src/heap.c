/*
 * Two-level segregated fit. A region is a row of blocks, each a header and its payload, closed by a header of size 0 that is never
 * free. Invariants: no two neighbours are free; every free block is in exactly the list of its size class; a list is not empty
 * exactly when its bit in second_map is set, second_map[i] is not 0 exactly when bit i of first_map is set.
 */
#include <alloc/heap.h>
#include <tess/util.h>

struct heap_block {
    struct heap_block *before;                /* physical neighbour; nullptr for a region's first */
    size_t size_flags;                        /* payload bytes (multiple of 16) | IS_FREE */
    struct heap_block *next_free, *prev_free; /* payload of a free block */
};

constexpr size_t IS_FREE = 1;
constexpr size_t GRAIN = 16;
constexpr size_t HEADER = offsetof(struct heap_block, next_free);
constexpr size_t PAYLOAD_MIN = sizeof(struct heap_block) - HEADER;
constexpr uint32_t SMALL_LOG2 = 4 + HEAP_SECOND_LOG2; /* below this, classes are GRAIN apart */
constexpr size_t SIZE_MAX_PAYLOAD = (size_t)1 << (HEAP_FIRST_COUNT + SMALL_LOG2 - 2);
static_assert(HEADER == GRAIN && PAYLOAD_MIN == GRAIN);

static size_t block_size(const struct heap_block *block) { return block->size_flags & ~IS_FREE; }
static bool block_is_free(const struct heap_block *block) { return (block->size_flags & IS_FREE) != 0; }
static void *block_payload(struct heap_block *block) { return (uint8_t *)block + HEADER; }
static struct heap_block *block_of(const void *payload) { return (struct heap_block *)((uintptr_t)payload - HEADER); }
static struct heap_block *block_after(struct heap_block *block)
{
    return (struct heap_block *)((uint8_t *)block + HEADER + block_size(block));
}

/* The list a free block of this size belongs to. */
static void class_of(size_t size, uint32_t *out_first, uint32_t *out_second)
{
    if (size < (size_t)1 << SMALL_LOG2) {
        *out_first = 0;
        *out_second = (uint32_t)(size / GRAIN);
        return;
    }
    uint32_t top = bit_highest(size);
    *out_first = top - SMALL_LOG2 + 1;
    *out_second = (uint32_t)(size >> (top - HEAP_SECOND_LOG2)) & ((1u << HEAP_SECOND_LOG2) - 1);
}

static void list_insert(struct heap *heap, struct heap_block *block)
{
    uint32_t first, second;
    class_of(block_size(block), &first, &second);
    struct heap_block *head = heap->free[first][second];
    block->prev_free = nullptr;
    block->next_free = head;
    if (head != nullptr) {
        head->prev_free = block;
    }
    heap->free[first][second] = block;
    heap->second_map[first] |= 1u << second;
    heap->first_map |= 1ull << first;
    block->size_flags |= IS_FREE;
}

static void list_take(struct heap *heap, struct heap_block *block)
{
    uint32_t first, second;
    class_of(block_size(block), &first, &second);
    if (block->next_free != nullptr) {
        block->next_free->prev_free = block->prev_free;
    }
    if (block->prev_free != nullptr) {
        block->prev_free->next_free = block->next_free;
    } else {
        heap->free[first][second] = block->next_free;
        if (block->next_free == nullptr) {
            heap->second_map[first] &= ~(1u << second);
            if (heap->second_map[first] == 0) {
                heap->first_map &= ~(1ull << first);
            }
        }
    }
    block->size_flags &= ~IS_FREE;
}

/* A free block of at least `size`: from the first class all of whose blocks are large enough. */
static struct heap_block *find_free(struct heap *heap, size_t size)
{
    if (size >= (size_t)1 << SMALL_LOG2) {
        size += ((size_t)1 << (bit_highest(size) - HEAP_SECOND_LOG2)) - 1;
    }
    uint32_t first, second;
    class_of(size, &first, &second);
    uint32_t seconds = heap->second_map[first] & ~0u << second;
    if (seconds == 0) {
        uint64_t firsts = heap->first_map & ~0ull << (first + 1);
        if (firsts == 0) {
            return nullptr;
        }
        first = bit_lowest(firsts);
        seconds = heap->second_map[first];
    }
    return heap->free[first][bit_lowest(seconds)];
}

/* Cuts a block in use after `size` payload bytes; the rest becomes a free block (its neighbour after must not be free). */
static void block_trim(struct heap *heap, struct heap_block *block, size_t size)
{
    size_t rest = block_size(block) - size;
    if (rest < HEADER + PAYLOAD_MIN) {
        return;
    }
    block->size_flags = size;
    struct heap_block *tail = block_after(block);
    tail->before = block;
    tail->size_flags = rest - HEADER;
    block_after(tail)->before = tail;
    list_insert(heap, tail);
}

/* Joins `block` with the one after it, which is in no list. */
static void block_join(struct heap_block *block)
{
    block->size_flags += HEADER + block_size(block_after(block));
    block_after(block)->before = block;
}

static void *take(struct heap *heap, struct heap_block *block, size_t size, size_t alignment)
{
    list_take(heap, block);
    uintptr_t payload = (uintptr_t)block_payload(block);
    if (!is_aligned(payload, alignment)) {
        /* The gap in front becomes a free block of its own. */
        uintptr_t aligned = align_up(payload + HEADER + PAYLOAD_MIN, alignment);
        size_t whole = block_size(block), gap = aligned - payload;
        struct heap_block *front = block;
        front->size_flags = gap - HEADER;
        block = block_after(front);
        block->before = front;
        block->size_flags = whole - gap;
        block_after(block)->before = block;
        list_insert(heap, front);
    }
    block_trim(heap, block, size);
    heap->used += HEADER + block_size(block);
    return block_payload(block);
}

void *heap_allocate(struct heap *heap, size_t size, size_t alignment)
{
    if (size > SIZE_MAX_PAYLOAD / 4 || alignment > SIZE_MAX_PAYLOAD / 4 || !is_power_of_two(alignment)) {
        return nullptr;
    }
    size = size < PAYLOAD_MIN ? PAYLOAD_MIN : (size_t)align_up(size, GRAIN);
    size_t needed = alignment <= GRAIN ? size : size + alignment + HEADER + PAYLOAD_MIN;
    struct heap_block *block = find_free(heap, needed);
    if (block == nullptr) {
        /* A region of exactly `needed` may fall into a class that find_free passes over: ask for a class more. */
        size_t rounded = needed + (needed >> HEAP_SECOND_LOG2) + GRAIN;
        if (heap->grow == nullptr || !heap->grow(heap, rounded)) {
            return nullptr;
        }
        block = find_free(heap, needed);
        if (block == nullptr) {
            return nullptr;
        }
    }
    return take(heap, block, size, alignment < GRAIN ? GRAIN : alignment);
}

static void damaged(struct heap *heap, void *pointer)
{
    if (heap->damaged != nullptr) {
        heap->damaged(heap, pointer);
    }
    __builtin_trap();
}

/* The block of a pointer that must be in use. */
static struct heap_block *block_checked(struct heap *heap, void *pointer)
{
    struct heap_block *block = block_of(pointer);
    if (!is_aligned((uintptr_t)pointer, GRAIN) || block_is_free(block) || block_size(block) % GRAIN != 0 ||
        block_size(block) > heap->total || block_after(block)->before != block) {
        damaged(heap, pointer);
    }
    return block;
}

void heap_release(struct heap *heap, void *pointer)
{
    if (pointer == nullptr) {
        return;
    }
    struct heap_block *block = block_checked(heap, pointer);
    heap->used -= HEADER + block_size(block);
    struct heap_block *after = block_after(block), *before = block->before;
    if (block_is_free(after)) {
        list_take(heap, after);
        block_join(block);
    }
    if (before != nullptr && block_is_free(before)) {
        list_take(heap, before);
        block_join(before);
        block = before;
    }
    list_insert(heap, block);
}

void *heap_resize(struct heap *heap, void *pointer, size_t size)
{
    if (pointer == nullptr) {
        return heap_allocate(heap, size, GRAIN);
    }
    struct heap_block *block = block_checked(heap, pointer);
    size_t old = block_size(block);
    if (size > SIZE_MAX_PAYLOAD / 4) {
        return nullptr;
    }
    size_t wanted = size < PAYLOAD_MIN ? PAYLOAD_MIN : (size_t)align_up(size, GRAIN);
    struct heap_block *after = block_after(block);
    if (block_is_free(after) && old + HEADER + block_size(after) >= wanted) {
        list_take(heap, after);
        block_join(block);
        block_trim(heap, block, wanted > old ? wanted : old);
    }
    if (block_size(block) >= wanted) {
        heap->used += block_size(block) - old;
        return pointer;
    }
    void *moved = heap_allocate(heap, size, GRAIN);
    if (moved != nullptr) {
        memcpy(moved, pointer, old < size ? old : size);
        heap_release(heap, pointer);
    }
    return moved;
}

size_t heap_block_size(const void *pointer) { return block_size(block_of(pointer)); }

void heap_add_region(struct heap *heap, void *memory, size_t size)
{
    uintptr_t start = align_up((uintptr_t)memory, GRAIN);
    uintptr_t end = align_down((uintptr_t)memory + size, GRAIN);
    if (end < start || end - start < 2 * HEADER + PAYLOAD_MIN || end - start > SIZE_MAX_PAYLOAD) {
        return;
    }
    struct heap_block *block = (struct heap_block *)start;
    block->before = nullptr;
    block->size_flags = end - start - 2 * HEADER;
    struct heap_block *last = block_after(block);
    last->before = block;
    last->size_flags = 0;
    heap->total += end - start;
    list_insert(heap, block);
}

static void *allocator_allocate_from_heap(struct allocator *allocator, size_t size, size_t alignment)
{
    return heap_allocate(container_of(allocator, struct heap, allocator), size, alignment);
}

static void allocator_release_to_heap(struct allocator *allocator, void *pointer, size_t)
{
    heap_release(container_of(allocator, struct heap, allocator), pointer);
}

void heap_init(struct heap *heap)
{
    *heap = (struct heap){.allocator = {.allocate = allocator_allocate_from_heap, .release = allocator_release_to_heap}};
}
