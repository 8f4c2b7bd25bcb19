/*
 * Copies to and from user memory by walking the user's tables in software: SMAP, PAN and SUM stay closed for good, a hostile
 * pointer can only name what its own address space maps, and a page cannot vanish during the copy because vspace->lock is held.
 */
#include <kernel/page_table.h>
#include <kernel/vspace.h>
#include <tess/string.h>

static status_t copy_part(struct vspace *vspace, vaddr_t address, void *kernel, uint64_t size, uint32_t access)
{
    for (uint32_t attempt = 0; attempt < 4;) {
        spinlock_acquire(&vspace->lock);
        paddr_t page;
        uint32_t prot;
        bool is_mapped = page_table_lookup(vspace->root, address, &page, &prot) && (prot & (access | PROT_USER)) == (access | PROT_USER) &&
                         !(prot & PROT_DEVICE);
        if (is_mapped) {
            uint8_t *data = (uint8_t *)phys_to_virt(page) + (address & (PAGE_SIZE - 1));
            if (access == PROT_WRITE)
                memcpy(data, kernel, size);
            else
                memcpy(kernel, data, size);
        }
        spinlock_release(&vspace->lock);
        if (is_mapped)
            return OK;
        status_t status = vspace_fault(vspace, address, access);
        if (status == ERROR_RESTART) {
            smp_poll();
            arch_cpu_relax();
            continue;
        }
        if (status != OK)
            return status;
        attempt++;
    }
    return ERROR_BAD_ADDRESS;
}

static status_t copy(struct vspace *vspace, vaddr_t address, void *kernel, uint64_t size, uint32_t access)
{
    uint64_t end;
    if (ckd_add(&end, address, size) || end > USER_TOP)
        return ERROR_BAD_ADDRESS;
    uint8_t *at = kernel;
    while (size != 0) {
        uint64_t part = min_u64(size, PAGE_SIZE - (address & (PAGE_SIZE - 1)));
        status_t status = copy_part(vspace, address, at, part, access);
        if (status != OK)
            return status;
        address += part;
        at += part;
        size -= part;
    }
    return OK;
}

status_t user_copy_in(struct vspace *vspace, void *to, vaddr_t from, uint64_t size) { return copy(vspace, from, to, size, PROT_READ); }

status_t user_copy_out(struct vspace *vspace, vaddr_t to, const void *from, uint64_t size)
{
    return copy(vspace, to, (void *)from, size, PROT_WRITE);
}
