/* The inline half of the architecture contract (<arch/arch.h>, which includes this last) for aarch64. */
#pragma once

/* ---- CPU -------------------------------------------------------------------------------------------------------- */

static inline struct cpu *arch_cpu(void)
{
    struct cpu *cpu;

    __asm__ volatile("mrs %0, tpidr_el1" : "=r"(cpu));
    return cpu;
}

static inline void arch_cpu_relax(void) { __asm__ volatile("yield" ::: "memory"); }

/* ---- Time ------------------------------------------------------------------------------------------------------- */

static inline uint64_t arch_counter(void)
{
    uint64_t value;

    /* The isb keeps the read from being made earlier than the code before it (Arm ARM D12.1.2). */
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(value)::"memory");
    return value;
}

static inline uint64_t arch_counter_ns(uint64_t ticks) { return (uint64_t)((unsigned __int128)ticks * time_mult >> TIME_SHIFT); }

static inline uint64_t arch_time_ns(void) { return arch_counter_ns(arch_counter() - time_counter_base); }

/* ---- Page table entries: 4 KiB granule, 39-bit addresses (Arm ARM D8.3) ------------------------------------------ */

constexpr uint32_t ARCH_PT_LEVELS = 3;
constexpr bool ARCH_TLB_BROADCAST = true;

enum : uint64_t {
    A64_PTE_VALID = 1,
    A64_PTE_TABLE_OR_PAGE = 2, /* table above level 0; page at level 0 */
    A64_PTE_ATTR_DEVICE = 0,   /* MAIR_EL1 index 0: nGnRnE */
    A64_PTE_ATTR_NORMAL = 1 << 2,
    A64_PTE_USER = 1 << 6,
    A64_PTE_READ_ONLY = 1 << 7,
    A64_PTE_INNER_SHAREABLE = 3 << 8,
    A64_PTE_ACCESSED = 1 << 10,
    A64_PTE_NOT_GLOBAL = 1 << 11,
    A64_PTE_GUARDED = 1ull << 50, /* indirect branches go to BTI instructions only (Arm ARM D8.5.6) */
    A64_PTE_PXN = 1ull << 53,
    A64_PTE_UXN = 1ull << 54,
    A64_PTE_ATTR_MASK = 7 << 2,
    A64_PTE_ADDRESS_MASK = 0x0000FFFFFFFFF000,
};

static inline uint64_t arch_pte_table(paddr_t table) { return table | A64_PTE_TABLE_OR_PAGE | A64_PTE_VALID; }

uint64_t a64_pte_guarded(void); /* A64_PTE_GUARDED where the CPU has it (FEAT_BTI) */

/* User pages are never executable in the kernel, kernel pages never in user mode. */
static inline uint64_t arch_pte_leaf(paddr_t pa, uint32_t prot, uint32_t level)
{
    uint64_t e = pa | A64_PTE_VALID | A64_PTE_ACCESSED | A64_PTE_INNER_SHAREABLE | A64_PTE_PXN | A64_PTE_UXN;

    if (level == 0)
        e |= A64_PTE_TABLE_OR_PAGE;
    e |= (prot & PROT_DEVICE) ? A64_PTE_ATTR_DEVICE : A64_PTE_ATTR_NORMAL;
    if (!(prot & PROT_WRITE))
        e |= A64_PTE_READ_ONLY;
    if (prot & PROT_USER)
        e |= A64_PTE_USER | A64_PTE_NOT_GLOBAL;
    if (prot & PROT_EXEC)
        e = (prot & PROT_USER) ? e & ~A64_PTE_UXN : (e & ~A64_PTE_PXN) | a64_pte_guarded();
    return e;
}

static inline bool arch_pte_is_present(uint64_t e) { return e & A64_PTE_VALID; }
static inline bool arch_pte_is_leaf(uint64_t e, uint32_t level) { return level == 0 || !(e & A64_PTE_TABLE_OR_PAGE); }
static inline paddr_t arch_pte_address(uint64_t e) { return e & A64_PTE_ADDRESS_MASK; }

static inline uint64_t arch_pte_read_only(uint64_t e) { return e | A64_PTE_READ_ONLY; }

static inline uint32_t arch_pte_prot(uint64_t e)
{
    bool is_user = e & A64_PTE_USER;
    uint32_t prot = PROT_READ;

    if (!(e & A64_PTE_READ_ONLY))
        prot |= PROT_WRITE;
    if (is_user)
        prot |= PROT_USER;
    if (!(e & (is_user ? A64_PTE_UXN : A64_PTE_PXN)))
        prot |= PROT_EXEC;
    if ((e & A64_PTE_ATTR_MASK) == A64_PTE_ATTR_DEVICE)
        prot |= PROT_DEVICE;
    return prot;
}
