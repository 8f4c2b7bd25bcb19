/* Page-table roots and TLB invalidation (Intel SDM vol. 3, 4.10). Without PCIDs each load of CR3 drops all entries that are not global. */
#include "x86.h"

/* The kernel's half is one root entry: everything from DIRECT_MAP_BASE up. */
constexpr uint32_t ROOT_ENTRY_KERNEL = 511;
static_assert(DIRECT_MAP_BASE == (UINT64_MAX << 39 | 1ull << 38));

bool arch_has_page_level(uint32_t level) { return level < 2 || (level == 2 && x86_features.has_1g_pages); }

void arch_paging_enable(paddr_t kernel_root)
{
    x86_write_cr3(kernel_root);
    x86_write_cr4(x86_read_cr4() | X86_CR4_PGE);
}

void arch_root_init(void *user_root, const void *kernel_root)
{
    ((uint64_t *)user_root)[ROOT_ENTRY_KERNEL] = ((const uint64_t *)kernel_root)[ROOT_ENTRY_KERNEL];
}

void arch_root_clear(void *user_root) { ((uint64_t *)user_root)[ROOT_ENTRY_KERNEL] = 0; }

constexpr uint64_t CR3_KEEP = 1ull << 63; /* with CR4.PCIDE: what is cached under this PCID stays */

uint32_t arch_asid_count(void) { return x86_features.has_pcid ? 4096 : 1; }

uint64_t arch_vspace_token(paddr_t root, uint32_t asid) { return root | asid; }

void arch_vspace_switch(uint64_t token) { x86_write_cr3(token | CR3_KEEP); }

void arch_vspace_switch_emptied(uint64_t token) { x86_write_cr3(token); }

void arch_tlb_flush_page_local(vaddr_t va) { __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory"); }

void arch_tlb_flush_all_local(void)
{
    uint64_t root;
    __asm__ volatile("mov %%cr3, %0" : "=r"(root) : : "memory");
    x86_write_cr3(root);
}

/* Changing CR4.PGE drops global entries as well (Intel SDM vol. 3, 4.10.4.1). */
void arch_tlb_flush_kernel_local(void)
{
    uint64_t cr4 = x86_read_cr4();
    x86_write_cr4(cr4 & ~X86_CR4_PGE);
    x86_write_cr4(cr4);
}

void arch_tlb_flush_broadcast([[maybe_unused]] uint64_t token, [[maybe_unused]] vaddr_t start, [[maybe_unused]] uint64_t count_pages) {}

/* Instruction fetch is coherent with stores (Intel SDM vol. 3, 11.6). */
void arch_icache_sync([[maybe_unused]] const void *direct_map_address, [[maybe_unused]] uint64_t size) {}
