/* The inline half of <arch/arch.h> for the host. A page-table entry: address | PROT_* << 2 | leaf << 1 | present. */
#pragma once
#include <arch/arch.h>

extern _Thread_local struct cpu *host_cpu;

static inline struct cpu *arch_cpu(void) { return host_cpu; }
void arch_cpu_relax(void);
uint64_t arch_time_ns(void);
static inline uint64_t arch_counter(void) { return arch_time_ns(); }
static inline uint64_t arch_counter_ns(uint64_t ticks) { return ticks; }

constexpr uint32_t ARCH_PT_LEVELS = 3;
constexpr bool ARCH_TLB_BROADCAST = false;
constexpr uint64_t HOST_PTE_PRESENT = 1, HOST_PTE_LEAF = 2;
constexpr uint32_t HOST_PTE_PROT_SHIFT = 2;

static inline uint64_t arch_pte_table(paddr_t table) { return table | HOST_PTE_PRESENT; }
static inline uint64_t arch_pte_leaf(paddr_t pa, uint32_t prot, [[maybe_unused]] uint32_t level)
{
    return pa | (uint64_t)prot << HOST_PTE_PROT_SHIFT | HOST_PTE_LEAF | HOST_PTE_PRESENT;
}
static inline bool arch_pte_is_present(uint64_t entry) { return entry & HOST_PTE_PRESENT; }
static inline bool arch_pte_is_leaf(uint64_t entry, [[maybe_unused]] uint32_t level) { return entry & HOST_PTE_LEAF; }
static inline paddr_t arch_pte_address(uint64_t entry) { return entry & ~(PAGE_SIZE - 1); }
static inline uint64_t arch_pte_read_only(uint64_t entry) { return entry & ~((uint64_t)PROT_WRITE << HOST_PTE_PROT_SHIFT); }
static inline uint32_t arch_pte_prot(uint64_t entry) { return entry >> HOST_PTE_PROT_SHIFT & 31; }
