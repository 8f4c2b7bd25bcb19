/* The inline part of <arch/arch.h> for riscv64: this CPU, the counter, Sv39 page-table entries (RISC-V Privileged 4.4). */
#pragma once
#include <kernel/cpu.h>
#include <kernel/types.h>

/* tp holds this CPU's struct cpu whenever the kernel runs. */
static inline struct cpu *arch_cpu(void)
{
    struct cpu *cpu;
    __asm__ volatile("mv %0, tp" : "=r"(cpu));
    return cpu;
}

static inline uint64_t arch_counter(void)
{
    uint64_t value;
    __asm__ volatile("rdtime %0" : "=r"(value));
    return value;
}

static inline uint64_t arch_counter_ns(uint64_t ticks) { return (uint64_t)((unsigned __int128)ticks * time_mult >> TIME_SHIFT); }

static inline uint64_t arch_time_ns(void) { return arch_counter_ns(arch_counter() - time_counter_base); }

static inline void arch_cpu_relax(void)
{
    /* `pause` (Zihintpause) by its encoding: a hint, a no-op where it is not implemented. */
    __asm__ volatile(".4byte 0x0100000f" ::: "memory");
}

constexpr uint32_t ARCH_PT_LEVELS = 3;
constexpr bool ARCH_TLB_BROADCAST = false;

constexpr uint64_t RV_PTE_V = 1 << 0, RV_PTE_R = 1 << 1, RV_PTE_W = 1 << 2, RV_PTE_X = 1 << 3;
constexpr uint64_t RV_PTE_U = 1 << 4, RV_PTE_G = 1 << 5, RV_PTE_A = 1 << 6, RV_PTE_D = 1 << 7;
constexpr uint64_t RV_PTE_DEVICE = 1 << 8; /* for software; the platform's memory attributes decide (PMA) */
constexpr uint64_t RV_PTE_PPN_MASK = (1ull << 44) - 1;

static inline uint64_t arch_pte_table(paddr_t table) { return table >> 12 << 10 | RV_PTE_V; }

static inline uint64_t arch_pte_leaf(paddr_t pa, uint32_t prot, uint32_t level)
{
    (void)level;
    bool is_readable = (prot & PROT_READ) != 0, is_writable = (prot & PROT_WRITE) != 0, is_executable = (prot & PROT_EXEC) != 0;
    uint64_t e = pa >> 12 << 10 | RV_PTE_V | RV_PTE_A | RV_PTE_D;
    e |= is_readable || is_writable ? RV_PTE_R : 0; /* W without R is reserved */
    e |= is_writable ? RV_PTE_W : 0;
    e |= is_executable ? RV_PTE_X : 0;
    e |= (prot & PROT_USER) != 0 ? RV_PTE_U : RV_PTE_G;
    e |= (prot & PROT_DEVICE) != 0 ? RV_PTE_DEVICE : 0;
    return e;
}

static inline bool arch_pte_is_present(uint64_t e) { return (e & RV_PTE_V) != 0; }

static inline bool arch_pte_is_leaf(uint64_t e, uint32_t level)
{
    (void)level;
    return (e & (RV_PTE_R | RV_PTE_W | RV_PTE_X)) != 0;
}

static inline paddr_t arch_pte_address(uint64_t e) { return (e >> 10 & RV_PTE_PPN_MASK) << 12; }

static inline uint64_t arch_pte_read_only(uint64_t e) { return e & ~(uint64_t)RV_PTE_W; }

static inline uint32_t arch_pte_prot(uint64_t e)
{
    uint32_t prot = (e & RV_PTE_R) != 0 ? PROT_READ : 0;
    prot |= (e & RV_PTE_W) != 0 ? PROT_WRITE : 0;
    prot |= (e & RV_PTE_X) != 0 ? PROT_EXEC : 0;
    prot |= (e & RV_PTE_U) != 0 ? PROT_USER : 0;
    prot |= (e & RV_PTE_DEVICE) != 0 ? PROT_DEVICE : 0;
    return prot;
}
