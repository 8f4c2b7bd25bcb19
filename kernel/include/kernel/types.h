/* Scalar types every kernel file uses. User-visible scalars come from <tess/types.h> (lib/core). */
#pragma once
#include <stdbool.h>
#include <stdckdint.h>
#include <stddef.h>
#include <stdint.h>
#include <tess/types.h>

typedef uint64_t paddr_t; /* physical address, bytes */
typedef uint64_t vaddr_t; /* virtual address, bytes */

constexpr uint64_t PAGE_SHIFT = 12;
constexpr uint64_t PAGE_SIZE = 1ull << PAGE_SHIFT;

/*
 * Kernel address space, the same on all architectures. Everything lies in the last 256 GiB, the upper half of Sv39
 * (RISC-V Privileged 4.4) and one top-level entry on x86_64 and aarch64 alike.
 */
constexpr vaddr_t DIRECT_MAP_BASE = 0xFFFFFFC000000000ull; /* all RAM, 4 KiB .. 1 GiB pages, RW NX (kernel text RO) */
constexpr uint64_t DIRECT_MAP_SIZE = 0x2C00000000ull;      /* 176 GiB */
constexpr vaddr_t MMIO_BASE = 0xFFFFFFF000000000ull;       /* device registers the kernel itself drives */
constexpr vaddr_t STACK_BASE = 0xFFFFFFF800000000ull;      /* per-CPU kernel stacks with guard pages */
constexpr vaddr_t KERNEL_BASE = 0xFFFFFFFF80000000ull;     /* the kernel image */
constexpr vaddr_t USER_TOP = 0x0000004000000000ull;        /* user space: [PAGE_SIZE, USER_TOP), 256 GiB (Sv39) */

constexpr uint32_t CPU_MAX = 256;

#define phys_to_virt(pa) ((void *)((paddr_t)(pa) + DIRECT_MAP_BASE))
#define virt_to_phys(va) ((paddr_t)((vaddr_t)(va) - DIRECT_MAP_BASE)) /* direct-map addresses only */
