/*
 * Translation control: TTBR1 is the kernel root on all CPUs, TTBR0 the current user root or the empty one. No ASIDs: user
 * entries are not global, and all carry ASID 0. TLB maintenance: Arm ARM D8.14 and C5.5.
 */
#include "a64.h"
#include "a64_asm.h"

/* Beyond this many pages one full invalidation costs less than the single ones. */
constexpr uint64_t BROADCAST_PAGES_MAX = 64;

/* Read by a64_secondary_entry with the MMU off. */
paddr_t a64_kernel_root;

bool arch_has_page_level(uint32_t level) { return level < ARCH_PT_LEVELS; }

/* Operand of TLBI by address: VA[55:12], ASID field zero (ignored by the VAAE1 forms). */
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
    arch_vspace_switch(kernel_root);
    arch_tlb_flush_kernel_local();
}

void arch_root_init(void *user_root, const void *kernel_root)
{
    /* The kernel half has its own root in TTBR1. */
    (void)user_root;
    (void)kernel_root;
}

void arch_vspace_switch(paddr_t root)
{
    if (__builtin_expect(root == a64_kernel_root, false))
        root = a64_image_physical(a64_empty_root);
    A64_WRITE(ttbr0_el1, root);
    a64_isb();
    arch_tlb_flush_all_local();
}

void arch_tlb_flush_page_local(vaddr_t va)
{
    begin_local();
    __asm__ volatile("tlbi vaae1, %0" ::"r"(tlbi_operand(va)) : "memory");
    finish_local();
}

void arch_tlb_flush_all_local(void)
{
    begin_local();
    __asm__ volatile("tlbi aside1, xzr" ::: "memory"); /* all that is not global, of ASID 0 */
    finish_local();
}

void arch_tlb_flush_kernel_local(void)
{
    begin_local();
    __asm__ volatile("tlbi vmalle1" ::: "memory");
    finish_local();
}

bool arch_tlb_flush_broadcast(vaddr_t start, uint64_t count_pages)
{
    __asm__ volatile("dsb ishst" ::: "memory");
    if (count_pages > BROADCAST_PAGES_MAX) {
        __asm__ volatile("tlbi vmalle1is" ::: "memory");
    } else {
        for (uint64_t i = 0; i < count_pages; i++)
            __asm__ volatile("tlbi vaae1is, %0" ::"r"(tlbi_operand(start + i * PAGE_SIZE)) : "memory");
    }
    __asm__ volatile("dsb ish\n\tisb" ::: "memory");
    return true;
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
