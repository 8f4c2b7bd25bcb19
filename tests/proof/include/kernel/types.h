/* Overrides kernel/include/kernel/types.h: physical memory is an array of the harness. */
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

constexpr vaddr_t DIRECT_MAP_BASE = 0xFFFFFFC000000000ull;
constexpr uint64_t DIRECT_MAP_SIZE = 0x2C00000000ull;
constexpr vaddr_t MMIO_BASE = 0xFFFFFFF000000000ull;
constexpr vaddr_t USER_TOP = 0x0000004000000000ull;

constexpr uint32_t CPU_MAX = 256;

void *proof_ram_at(paddr_t address);
paddr_t proof_ram_address(const void *at);
#define phys_to_virt(pa) proof_ram_at(pa)
#define virt_to_phys(va) proof_ram_address((const void *)(va))
