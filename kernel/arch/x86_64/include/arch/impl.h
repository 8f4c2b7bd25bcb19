/* The inline half of <arch/arch.h> for x86_64: this CPU, the counter, page-table entries (Intel SDM vol. 3, 4.5). */
#pragma once
#include <arch/arch.h>

static inline struct cpu *arch_cpu(void)
{
    struct cpu *self;
    __asm__ volatile("mov %%gs:0, %0" : "=r"(self));
    return self;
}

static inline void arch_cpu_relax(void) { __asm__ volatile("pause" : : : "memory"); }

/* RDTSC may run before earlier loads; LFENCE keeps time from going backwards between CPUs (Intel SDM vol. 2, RDTSC). */
static inline uint64_t arch_counter(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static inline uint64_t arch_counter_ns(uint64_t ticks) { return (uint64_t)((unsigned __int128)ticks * time_mult >> TIME_SHIFT); }

static inline uint64_t arch_time_ns(void) { return arch_counter_ns(arch_counter() - time_counter_base); }

constexpr uint32_t ARCH_PT_LEVELS = 4;
constexpr bool ARCH_TLB_BROADCAST = false;

constexpr uint64_t X86_PTE_PRESENT = 1ull << 0;
constexpr uint64_t X86_PTE_WRITE = 1ull << 1;
constexpr uint64_t X86_PTE_USER = 1ull << 2;
constexpr uint64_t X86_PTE_WRITE_THROUGH = 1ull << 3;
constexpr uint64_t X86_PTE_CACHE_DISABLE = 1ull << 4;
constexpr uint64_t X86_PTE_ACCESSED = 1ull << 5;
constexpr uint64_t X86_PTE_DIRTY = 1ull << 6;
constexpr uint64_t X86_PTE_LARGE = 1ull << 7; /* levels 1 and 2; at level 0 the bit selects a PAT entry and stays zero */
constexpr uint64_t X86_PTE_GLOBAL = 1ull << 8;
constexpr uint64_t X86_PTE_NO_EXECUTE = 1ull << 63;
constexpr uint64_t X86_PTE_ADDRESS = 0x000FFFFFFFFFF000;

static inline uint64_t arch_pte_table(paddr_t table) { return table | X86_PTE_PRESENT | X86_PTE_WRITE | X86_PTE_USER | X86_PTE_ACCESSED; }

/* PWT and PCD together select PAT entry 3, strong uncacheable after reset (Intel SDM vol. 3, 11.12.4). */
static inline uint64_t arch_pte_leaf(paddr_t pa, uint32_t prot, uint32_t level)
{
    uint64_t entry = pa | X86_PTE_PRESENT | X86_PTE_ACCESSED | X86_PTE_DIRTY;
    entry |= prot & PROT_WRITE ? X86_PTE_WRITE : 0;
    entry |= prot & PROT_EXEC ? 0 : X86_PTE_NO_EXECUTE;
    entry |= prot & PROT_USER ? X86_PTE_USER : X86_PTE_GLOBAL;
    entry |= prot & PROT_DEVICE ? X86_PTE_WRITE_THROUGH | X86_PTE_CACHE_DISABLE : 0;
    entry |= level > 0 ? X86_PTE_LARGE : 0;
    return entry;
}

static inline bool arch_pte_is_present(uint64_t entry) { return entry & X86_PTE_PRESENT; }

static inline bool arch_pte_is_leaf(uint64_t entry, uint32_t level)
{
    return (entry & X86_PTE_PRESENT) && (level == 0 || (entry & X86_PTE_LARGE));
}

static inline paddr_t arch_pte_address(uint64_t entry) { return entry & X86_PTE_ADDRESS; }

static inline uint64_t arch_pte_read_only(uint64_t entry) { return entry & ~X86_PTE_WRITE; }

static inline uint32_t arch_pte_prot(uint64_t entry)
{
    uint32_t prot = PROT_READ;
    prot |= entry & X86_PTE_WRITE ? PROT_WRITE : 0;
    prot |= entry & X86_PTE_NO_EXECUTE ? 0 : PROT_EXEC;
    prot |= entry & X86_PTE_USER ? PROT_USER : 0;
    prot |= entry & X86_PTE_CACHE_DISABLE ? PROT_DEVICE : 0;
    return prot;
}
