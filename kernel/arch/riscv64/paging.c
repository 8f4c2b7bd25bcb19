/*
 * Sv39 and ASIDs (RISC-V Privileged 4.4, 4.1.11). Kernel entries are global.
 */
#include "rv.h"
#include <tess/string.h>

constexpr uint32_t ROOT_ENTRIES = 512;
constexpr uint32_t ROOT_KERNEL_FIRST = 256;

constexpr uint32_t SATP_ASID_SHIFT = 44;
constexpr uint64_t SATP_ASID_MASK = 0xFFFFull << SATP_ASID_SHIFT;

static uint32_t asid_count = 1;

bool arch_has_page_level(uint32_t level) { return level < ARCH_PT_LEVELS; }

static uint64_t satp_for(paddr_t root) { return SATP_MODE_SV39 | root >> PAGE_SHIFT; }

void arch_paging_enable(paddr_t kernel_root)
{
    /* The new tables need not map the console where the early ones did. */
    rv_console_suspend();
    csr_write(satp, satp_for(kernel_root));
    /* How many bits an ASID has: those that keep a one. All harts are taken to be alike. */
    csr_write(satp, satp_for(kernel_root) | SATP_ASID_MASK);
    asid_count = (uint32_t)((csr_read(satp) & SATP_ASID_MASK) >> SATP_ASID_SHIFT) + 1;
    csr_write(satp, satp_for(kernel_root));
    arch_tlb_flush_kernel_local();
}

/* Which entries of the upper half are in use: a few, and the same ones since boot. */
static uint16_t root_used[ROOT_ENTRIES - ROOT_KERNEL_FIRST];
static uint32_t root_used_count;

static void find_used(const uint64_t *kernel_root)
{
    for (uint32_t i = ROOT_KERNEL_FIRST; i < ROOT_ENTRIES; i++)
        if (kernel_root[i] != 0)
            root_used[root_used_count++] = (uint16_t)i;
}

void arch_root_init(void *user_root, const void *kernel_root)
{
    if (root_used_count == 0)
        find_used(kernel_root); /* for the first process: nobody else makes one yet */
    for (uint32_t i = 0; i < root_used_count; i++)
        ((uint64_t *)user_root)[root_used[i]] = ((const uint64_t *)kernel_root)[root_used[i]];
}

void arch_root_clear(void *user_root)
{
    for (uint32_t i = 0; i < root_used_count; i++)
        ((uint64_t *)user_root)[root_used[i]] = 0;
}

uint32_t arch_asid_count(void) { return asid_count; }

uint64_t arch_vspace_token(paddr_t root, uint32_t asid) { return satp_for(root) | (uint64_t)asid << SATP_ASID_SHIFT; }

void arch_vspace_switch(uint64_t token) { csr_write(satp, token); }

/* A register that holds the ASID, even if it is 0, is not the zero register: global entries stay. */
static void asid_flush(uint64_t token)
{
    uint64_t asid = (token & SATP_ASID_MASK) >> SATP_ASID_SHIFT;
    __asm__ volatile("sfence.vma zero, %0" ::"r"(asid) : "memory");
}

/* Emptied before it is loaded, so that no walk begins in an old copy of a table that is freed. ASID 0 may be that of the space which
 * is loaded now, and is filled until it is not. */
void arch_vspace_switch_emptied(uint64_t token)
{
    if ((token & SATP_ASID_MASK) != 0) {
        asid_flush(token);
        csr_write(satp, token);
    } else {
        csr_write(satp, token);
        asid_flush(token);
    }
}

/* SFENCE.VMA (RISC-V Privileged 4.2.1) also orders the page-table stores before it with walks after it. */
void arch_tlb_flush_page_local(vaddr_t va) { __asm__ volatile("sfence.vma %0, zero" ::"r"(va) : "memory"); }

void arch_tlb_flush_all_local(void) { asid_flush(csr_read(satp)); }

void arch_tlb_flush_kernel_local(void) { __asm__ volatile("sfence.vma" ::: "memory"); }

void arch_tlb_flush_broadcast([[maybe_unused]] uint64_t token, [[maybe_unused]] vaddr_t start, [[maybe_unused]] uint64_t count_pages) {}

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
