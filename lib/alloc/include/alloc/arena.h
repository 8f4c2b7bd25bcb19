/* Memory that is given back all at once: a pointer that moves up through one region. Releasing only undoes the last allocation. */
#pragma once
#include <alloc/allocator.h>

struct arena {
    struct allocator allocator; /* pass &arena->allocator on */
    uint8_t *start, *next, *end;
};

void arena_init(struct arena *arena, void *memory, size_t size);
void *arena_allocate(struct arena *arena, size_t size, size_t alignment);
/* A mark is everything allocated so far; arena_reset takes back what came after it. */
static inline size_t arena_mark(const struct arena *arena) { return (size_t)(arena->next - arena->start); }
void arena_reset(struct arena *arena, size_t mark);
