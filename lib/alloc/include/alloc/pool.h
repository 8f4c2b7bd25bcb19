/*
 * Objects of one size, in slabs taken from another allocator; constant time, no waste per object. Slabs go back only with
 * pool_destroy, which expects every object to be back (and says how many are not).
 */
#pragma once
#include <alloc/allocator.h>

struct pool {
    struct allocator *source;
    void *free;  /* chain through the objects */
    void *slabs; /* chain through the slabs' headers */
    size_t object_size;
    size_t alignment;
    uint32_t objects_per_slab;
    uint32_t used_count;
    uint32_t limit; /* most objects in use; UINT32_MAX = no limit */
};

void pool_init(struct pool *pool, struct allocator *source, size_t object_size, size_t alignment, uint32_t objects_per_slab,
               uint32_t limit);
void *pool_get(struct pool *pool); /* not zeroed; nullptr = limit or no memory */
void pool_put(struct pool *pool, void *object);
uint32_t pool_destroy(struct pool *pool);
