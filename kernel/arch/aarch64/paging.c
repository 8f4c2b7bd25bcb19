/*
 * Translation control: TTBR1 is the kernel root on all CPUs, TTBR0 the current user root or the empty one, with the ASID that user
 * entries, which are not global, carry. TLB maintenance: Arm ARM D8.14 and C5.5.
 */
#include "a64.h"
#include "a64_asm.h"

/* Beyond this many pages one full invalidation costs less than the single ones. */
constexpr uint64_t BROADCAST_PAGES_MAX = 64;

/* Read by a64_secondary_entry with the MMU off. */
paddr_t a64_kernel_root;

bool arch_has_page_level(uint32_t level) { return level < ARCH_PT_LEVELS; }

constexpr uint64_t TCR_AS = 1ull << 36; /* ASIDs of 16 bits */

/* TTBR0_EL1 and the operands of TLBI have the ASID in the same place. */
constexpr uint64_t TTBR_ASID_MASK = 0xFFFFull << 48;

uint64_t a64_pte_guarded(void) { return A64_READ(id_aa64pfr1_el1) & 15 ? A64_PTE_GUARDED : 0; }

/* Operand of TLBI by address: VA[55:12]; the ASID field is zero (ignored by the VAAE1 forms). */
static uint64_t tlbi_operand(vaddr_t va) { return va >> PAGE_SHIFT & 0xFFFFFFFFFFF; }

/* After local invalidation: completed on this CPU, and nothing fetched or translated before it is used after it. */
static void finish_local(void) { __asm__ volatile("dsb nsh\n\tisb" ::: "memory"); }

/* Earlier changes of table entries must be visible to walkers before old entries are thrown away. */
static void begin_local(void) { __asm__ volatile("dsb nshst" ::: "memory"); }

/* To the point of coherency, for readers with caches off. */
static void clean_to_memory(const void *start, uint64_t size)
{
    uint64_t line = 4ull << (A64_READ(ctr_el0) >> 16 & 15);

    for (uintptr_t at = (uintptr_t)start & ~(line - 1); at < (uintptr_t)start + size; at += line)
        __asm__ volatile("dc cvac, %0" ::"r"(at) : "memory");
    __asm__ volatile("dsb sy" ::: "memory");
}

void arch_paging_enable(paddr_t kernel_root)
{
    void (*switch_tables)(paddr_t, paddr_t) = (void (*)(paddr_t, paddr_t))a64_image_physical(a64_switch_tables);
    paddr_t empty_root = a64_image_physical(a64_empty_root);

    a64_kernel_root = kernel_root;
    clean_to_memory(&a64_kernel_root, sizeof(a64_kernel_root));
    a64_console_unmap();
    __asm__ volatile("dsb ish" ::: "memory");
    switch_tables(kernel_root, empty_root);
    arch_vspace_switch_emptied(arch_vspace_token(kernel_root, 0));
    arch_tlb_flush_kernel_local();
}

void arch_root_init(void *user_root, const void *kernel_root)
{
    /* The kernel half has its own root in TTBR1. */
    (void)user_root;
    (void)kernel_root;
}

void arch_root_clear(void *user_root) { (void)user_root; }

/* 16 bits where boot.S could ask for them (TCR_EL1.AS), else 8. */
uint32_t arch_asid_count(void) { return A64_READ(tcr_el1) & TCR_AS ? 65536 : 256; }

uint64_t arch_vspace_token(paddr_t root, uint32_t asid)
{
    if (root == a64_kernel_root)
        root = a64_image_physical(a64_empty_root);
    return root | (uint64_t)asid << 48;
}

void arch_vspace_switch(uint64_t token)
{
    A64_WRITE(ttbr0_el1, token);
    a64_isb();
}

static void asid_flush(uint64_t token)
{
    begin_local();
    __asm__ volatile("tlbi aside1, %0" ::"r"(token & TTBR_ASID_MASK) : "memory"); /* all of it that is not global */
    finish_local();
}

/* Emptied before it is loaded, so that no walk begins in an old copy of a table that is freed. ASID 0 may be that of the space which
 * is loaded now, and is filled until it is not. */
void arch_vspace_switch_emptied(uint64_t token)
{
    if (token & TTBR_ASID_MASK) {
        asid_flush(token);
        arch_vspace_switch(token);
    } else {
        arch_vspace_switch(token);
        asid_flush(token);
    }
}

void arch_tlb_flush_page_local(vaddr_t va)
{
    begin_local();
    __asm__ volatile("tlbi vaae1, %0" ::"r"(tlbi_operand(va)) : "memory");
    finish_local();
}

void arch_tlb_flush_all_local(void) { asid_flush(A64_READ(ttbr0_el1)); }

void arch_tlb_flush_kernel_local(void)
{
    begin_local();
    __asm__ volatile("tlbi vmalle1" ::: "memory");
    finish_local();
}

void arch_tlb_flush_broadcast(uint64_t token, vaddr_t start, uint64_t count_pages)
{
    uint64_t asid = token & TTBR_ASID_MASK;

    __asm__ volatile("dsb ishst" ::: "memory");
    if (count_pages > BROADCAST_PAGES_MAX) {
        __asm__ volatile("tlbi aside1is, %0" ::"r"(asid) : "memory");
    } else {
        for (uint64_t i = 0; i < count_pages; i++)
            __asm__ volatile("tlbi vae1is, %0" ::"r"(asid | tlbi_operand(start + i * PAGE_SIZE)) : "memory");
    }
    __asm__ volatile("dsb ish\n\tisb" ::: "memory");
}

/* The address is not the one user code will fetch from, so the instruction cache, which may be indexed by virtual address,
 * is invalidated as a whole (Arm ARM B2.4.4, D7.5.9). */
void arch_icache_sync(const void *direct_map_address, uint64_t size)
{
    uint64_t line = 4ull << (A64_READ(ctr_el0) >> 16 & 15);
    uintptr_t start = (uintptr_t)direct_map_address;

    for (uintptr_t at = start & ~(line - 1); at < start + size; at += line)
        __asm__ volatile("dc cvau, %0" ::"r"(at) : "memory");
    __asm__ volatile("dsb ish\n\tic ialluis\n\tdsb ish\n\tisb" ::: "memory");
}
