/* A slab is a header with the chain's link, then objects_per_slab objects. A free object holds the link of the free chain. */
#include <alloc/pool.h>
#include <stdckdint.h>
#include <tess/util.h>

static size_t slab_alignment(const struct pool *pool) { return pool->alignment > alignof(void *) ? pool->alignment : alignof(void *); }

static size_t slab_header(const struct pool *pool) { return (size_t)align_up(sizeof(void *), slab_alignment(pool)); }

static bool slab_size(const struct pool *pool, size_t *out_size)
{
    return !ckd_mul(out_size, pool->object_size, (size_t)pool->objects_per_slab) && !ckd_add(out_size, *out_size, slab_header(pool));
}

void pool_init(struct pool *pool, struct allocator *source, size_t object_size, size_t alignment, uint32_t objects_per_slab, uint32_t limit)
{
    *pool = (struct pool){
        .source = source, .alignment = alignment, .objects_per_slab = objects_per_slab > 0 ? objects_per_slab : 1, .limit = limit};
    size_t needed = object_size > sizeof(void *) ? object_size : sizeof(void *);
    pool->object_size = (size_t)align_up(needed, slab_alignment(pool));
}

static bool add_slab(struct pool *pool)
{
    size_t size;
    if (!slab_size(pool, &size)) {
        return false;
    }
    uint8_t *slab = pool->source->allocate(pool->source, size, slab_alignment(pool));
    if (slab == nullptr) {
        return false;
    }
    *(void **)slab = pool->slabs;
    pool->slabs = slab;
    uint8_t *object = slab + slab_header(pool);
    uint32_t left = pool->objects_per_slab; /* at least one: pool_init() */
    do {
        *(void **)object = pool->free;
        pool->free = object;
        object += pool->object_size;
    } while (--left > 0);
    return true;
}

void *pool_get(struct pool *pool)
{
    if (pool->used_count == pool->limit || (pool->free == nullptr && !add_slab(pool))) {
        return nullptr;
    }
    void *object = pool->free;
    pool->free = *(void **)object;
    pool->used_count++;
    return object;
}

void pool_put(struct pool *pool, void *object)
{
    if (object == nullptr) {
        return;
    }
    *(void **)object = pool->free;
    pool->free = object;
    pool->used_count--;
}

uint32_t pool_destroy(struct pool *pool)
{
    size_t size;
    if (slab_size(pool, &size)) {
        for (void *slab = pool->slabs, *next; slab != nullptr; slab = next) {
            next = *(void **)slab;
            pool->source->release(pool->source, slab, size);
        }
    }
    uint32_t left = pool->used_count;
    pool->slabs = pool->free = nullptr;
    pool->used_count = 0;
    return left;
}
