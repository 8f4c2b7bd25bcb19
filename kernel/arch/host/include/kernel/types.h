/* Overrides kernel/include/kernel/types.h: a host process keeps the "direct map" where both sanitizers leave room. */
#pragma once
#include <stdbool.h>
#include <stdckdint.h>
#include <stddef.h>
#include <stdint.h>
#include <tess/types.h>

typedef uint64_t paddr_t;
typedef uint64_t vaddr_t;

constexpr uint64_t PAGE_SHIFT = 12;
constexpr uint64_t PAGE_SIZE = 1ull << PAGE_SHIFT;

constexpr vaddr_t DIRECT_MAP_BASE = 0x7A8000000000ull; /* in the sanitizers' high application memory, below their heaps */
constexpr uint64_t DIRECT_MAP_SIZE = 0x2C00000000ull;
constexpr vaddr_t USER_TOP = 0x0000004000000000ull;

constexpr uint32_t CPU_MAX = 256;

#define phys_to_virt(pa) ((void *)((paddr_t)(pa) + DIRECT_MAP_BASE))
#define virt_to_phys(va) ((paddr_t)((vaddr_t)(va) - DIRECT_MAP_BASE))
