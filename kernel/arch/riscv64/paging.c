/*
 * Sv39 (RISC-V Privileged 4.4). No ASIDs: all user entries are tagged 0, and a switch drops them; kernel entries are global.
 */
#include "rv.h"
#include <tess/string.h>

constexpr uint32_t ROOT_ENTRIES = 512;
constexpr uint32_t ROOT_KERNEL_FIRST = 256;

bool arch_has_page_level(uint32_t level) { return level < ARCH_PT_LEVELS; }

static uint64_t satp_for(paddr_t root) { return SATP_MODE_SV39 | root >> PAGE_SHIFT; }

void arch_paging_enable(paddr_t kernel_root)
{
    /* The new tables need not map the console where the early ones did. */
    rv_console_suspend();
    csr_write(satp, satp_for(kernel_root));
    arch_tlb_flush_kernel_local();
}

void arch_root_init(void *user_root, const void *kernel_root)
{
    constexpr size_t OFFSET = ROOT_KERNEL_FIRST * sizeof(uint64_t);
    constexpr size_t SIZE = (ROOT_ENTRIES - ROOT_KERNEL_FIRST) * sizeof(uint64_t);
    memcpy((char *)user_root + OFFSET, (const char *)kernel_root + OFFSET, SIZE);
}

void arch_vspace_switch(paddr_t root)
{
    csr_write(satp, satp_for(root));
    arch_tlb_flush_all_local();
}

/* SFENCE.VMA (RISC-V Privileged 4.2.1) also orders the page-table stores before it with walks after it. */
void arch_tlb_flush_page_local(vaddr_t va) { __asm__ volatile("sfence.vma %0, zero" ::"r"(va) : "memory"); }

void arch_tlb_flush_all_local(void)
{
    /* A register that holds 0, not the zero register: address space 0, global entries stay. */
    uint64_t asid;
    __asm__ volatile("li %0, 0\n\tsfence.vma zero, %0" : "=r"(asid)::"memory");
}

void arch_tlb_flush_kernel_local(void) { __asm__ volatile("sfence.vma" ::: "memory"); }

bool arch_tlb_flush_broadcast([[maybe_unused]] vaddr_t start, [[maybe_unused]] uint64_t count_pages) { return false; }

void arch_icache_sync([[maybe_unused]] const void *direct_map_address, [[maybe_unused]] uint64_t size)
{
    /* FENCE orders the stores before the request to the other harts (RISC-V Unprivileged, Zifencei). */
    __asm__ volatile("fence rw, rw\n\tfence.i" ::: "memory");
    if (cpu_count > 1) {
        rv_sbi_remote_fence_i_all();
    }
}

uint64_t rv_walk_active(vaddr_t va, uint32_t *out_level)
{
    const uint64_t *table = phys_to_virt((csr_read(satp) & SATP_PPN_MASK) << PAGE_SHIFT);
    for (uint32_t level = ARCH_PT_LEVELS; level-- > 0;) {
        uint64_t e = table[va >> (PAGE_SHIFT + 9 * level) & 511];
        if (!arch_pte_is_present(e)) {
            return 0;
        }
        if (arch_pte_is_leaf(e, level)) {
            *out_level = level;
            return e;
        }
        table = phys_to_virt(arch_pte_address(e));
    }
    return 0;
}
