/*
 * The process's private memory above the program's: one memory object at LINUX_ARENA_BASE, copied by fork as a whole, kept by exec. From its
 * start: struct linux_start (page 0), process block, then pages given out here.
 */
#pragma once
#include <linux/start.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed, 16-byte aligned; nullptr when the arena is full. Small sizes come from slabs, those from a page upwards are whole pages. */
[[nodiscard]] void *linux_allocate(size_t size);
/* The same, not zeroed. */
[[nodiscard]] void *linux_allocate_raw(size_t size);
/* size as it was allocated. nullptr is nothing. */
void linux_free(void *memory, size_t size);
/* The offset of an address in process->arena, for handles to parts of it (message pages, buffers that go to a service). */
static inline uint64_t linux_arena_offset(const void *address) { return (uint64_t)address - LINUX_ARENA_BASE; }
