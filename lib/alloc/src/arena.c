#include <alloc/arena.h>
#include <tess/util.h>

void *arena_allocate(struct arena *arena, size_t size, size_t alignment)
{
    size_t gap = (size_t)(align_up((uintptr_t)arena->next, alignment) - (uintptr_t)arena->next);
    size_t left = (size_t)(arena->end - arena->next);
    if (gap > left || size > left - gap) {
        return nullptr;
    }
    void *pointer = arena->next + gap;
    arena->next += gap + size;
    return pointer;
}

static void *allocate(struct allocator *allocator, size_t size, size_t alignment)
{
    return arena_allocate(container_of(allocator, struct arena, allocator), size, alignment);
}

static void release(struct allocator *allocator, void *pointer, size_t size)
{
    struct arena *arena = container_of(allocator, struct arena, allocator);
    if (pointer != nullptr && (uint8_t *)pointer + size == arena->next) {
        arena->next = pointer;
    }
}

void arena_init(struct arena *arena, void *memory, size_t size)
{
    uint8_t *start = memory;
    *arena = (struct arena){.allocator = {.allocate = allocate, .release = release}, .start = start, .next = start, .end = start + size};
}

void arena_reset(struct arena *arena, size_t mark)
{
    if (mark <= arena_mark(arena)) {
        arena->next = arena->start + mark;
    }
}
