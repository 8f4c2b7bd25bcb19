/* The program's mappings (memory.c). Map flags are the kernel's (MAP_*). Results: 0 or -LINUX_E*. */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

struct linux_process;

/* Zeroed memory at `address` (0: anywhere). out_address may be nullptr. */
[[nodiscard]] int64_t linux_memory_map_anonymous(uint64_t address, uint64_t size, uint32_t flags, uint64_t *out_address);
/* A private copy of `bytes` of a file's memory from `offset` (page aligned), zeros behind, at a fixed address. */
[[nodiscard]] int64_t linux_memory_map_copy(handle_t memory, uint64_t offset, uint64_t address, uint64_t size, uint64_t bytes,
                                            uint32_t flags);
/* Where there is room of this size now. */
[[nodiscard]] int64_t linux_memory_find(uint64_t size, uint64_t *out_address);
/* brk: the heap begins at `address` and may grow by `size_max`, less where something lies in the way. */
[[nodiscard]] int64_t linux_memory_start_break(uint64_t address, uint64_t size_max);
/* exec: nothing of the program before is left. */
void linux_memory_forget(struct linux_process *process);
