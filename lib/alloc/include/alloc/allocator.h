/*
 * The allocator as a value: whoever needs memory is handed a struct allocator * and passes it on; there is no hidden global. The
 * owner gives the size back with the memory, so simple allocators need no headers. nullptr means no memory; never aborts.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <tess/string.h>

struct allocator {
    /* alignment: a power of two. */
    void *(*allocate)(struct allocator *allocator, size_t size, size_t alignment);
    /* size as allocated; pointer may be nullptr. */
    void (*release)(struct allocator *allocator, void *pointer, size_t size);
};

constexpr size_t ALLOCATOR_ALIGNMENT = 16;

static inline void *allocator_allocate(struct allocator *allocator, size_t size)
{
    return allocator->allocate(allocator, size, ALLOCATOR_ALIGNMENT);
}
static inline void *allocator_allocate_zeroed(struct allocator *allocator, size_t size)
{
    void *pointer = allocator_allocate(allocator, size);
    return pointer == nullptr ? nullptr : memset(pointer, 0, size);
}
static inline void allocator_release(struct allocator *allocator, void *pointer, size_t size)
{
    if (pointer != nullptr) {
        allocator->release(allocator, pointer, size);
    }
}
