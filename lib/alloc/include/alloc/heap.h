/*
 * General allocator over memory regions: two-level segregated fit (Masmano et al. 2004), so that allocating and releasing take
 * constant time whatever the history. 16 bytes of overhead per block; alignment 16 or any larger power of two. Not locked.
 *
 * Block header invariants are checked on release; damage (overrun, double release) calls heap->damaged, which does not return.
 */
#pragma once
#include <alloc/allocator.h>
#include <stdbool.h>

constexpr uint32_t HEAP_SECOND_LOG2 = 4;  /* 16 size classes per power of two: at most 1/16 of a block is wasted */
constexpr uint32_t HEAP_FIRST_COUNT = 36; /* up to 2^40 bytes */

struct heap_block;

struct heap {
    struct allocator allocator; /* pass &heap->allocator on */
    /* Called when nothing fits: adds a region that holds a block of `size` bytes (heap_add_region), or returns false. */
    bool (*grow)(struct heap *heap, size_t size);
    void (*damaged)(struct heap *heap, void *pointer);
    void *context;
    size_t chunk_size, limit; /* for `grow` */
    size_t total, used;       /* bytes of regions; bytes of blocks in use, headers included */
    uint64_t first_map;
    uint32_t second_map[HEAP_FIRST_COUNT];
    struct heap_block *free[HEAP_FIRST_COUNT][1u << HEAP_SECOND_LOG2];
};

/* Bytes a region needs beyond the block it is to hold. */
constexpr size_t HEAP_REGION_OVERHEAD = 64;

/* No grow function: only regions that are added. damaged nullptr = trap. */
void heap_init(struct heap *heap);
void heap_add_region(struct heap *heap, void *memory, size_t size);
void *heap_allocate(struct heap *heap, size_t size, size_t alignment);
void heap_release(struct heap *heap, void *pointer);
/* realloc: contents kept up to the smaller size; nullptr and nothing changed when there is no memory. */
void *heap_resize(struct heap *heap, void *pointer, size_t size);
size_t heap_block_size(const void *pointer); /* usable bytes */
