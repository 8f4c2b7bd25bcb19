/* Filling page tables on demand, and emptying memory that is mapped. */
#include <arch/arch.h>
#include <kernel/page_table.h>
#include <kernel/pager.h>
#include <kernel/region.h>
#include <kernel/untyped.h>

/* What a memory that is not plain has for the page, and how it may be mapped. ERROR_RESTART: sealed. ERROR_BUSY: shared, and mapped by
 * other vspaces too: memory_unshare() first. */
[[clang::noinline]] static status_t page_for_access(struct vspace *vspace, struct memory *memory, uint64_t index, uint32_t access,
                                                    uint32_t *prot, paddr_t *out_page) REQUIRES(&vspace->lock) REQUIRES(&memory->lock)
{
    if (memory_is_sealed_locked(memory, index))
        return ERROR_RESTART;
    status_t status = memory_page_locked(memory, index, !memory->is_paged, out_page);
    if (memory->is_paged) {
        if (status == OK)
            pager_page_used_locked(memory, *out_page, access, prot);
        return status == ERROR_NOT_FOUND ? ERROR_NOT_PRESENT : status;
    }
    if (memory->kind == MEMORY_KIND_DEVICE)
        *prot |= PROT_DEVICE;
    if (status != OK || !memory_page_is_shared_locked(memory, *out_page))
        return status;
    if (!(access & PROT_WRITE)) {
        *prot &= ~(uint32_t)PROT_WRITE;
        return OK;
    }
    struct vspace *only;
    if (!region_only_vspace(memory, &only))
        return ERROR_BUSY;
    region_withdraw_locked(vspace, memory, index, 1, WITHDRAW_ALL);
    return memory_break_locked(memory, index, out_page);
}

/* An entry was there: another CPU was first, this CPU's TLB held an older, narrower one, or it did not allow writing. */
static status_t refresh(struct vspace *vspace, vaddr_t va, paddr_t page, uint32_t access, uint32_t prot) REQUIRES(&vspace->lock)
{
    paddr_t mapped;
    uint32_t mapped_prot;
    if ((access & PROT_WRITE) && page_table_lookup(vspace->root, va, &mapped, &mapped_prot) && !(mapped_prot & PROT_WRITE)) {
        if (mapped != page)
            return ERROR_RESTART; /* a page that is being decommitted: its translation goes in a moment */
        (void)region_protect(vspace, va, va + PAGE_SIZE, prot);
    }
    arch_tlb_flush_page_local(va);
    return OK;
}

/* Of a memory that is not plain: with a large page if it can be. */
[[clang::noinline]] static status_t map_carefully(struct vspace *vspace, struct region *region, struct memory *memory, vaddr_t va,
                                                  paddr_t page, uint32_t prot) REQUIRES(&vspace->lock) REQUIRES(&memory->lock)
{
    paddr_t mapped;
    uint32_t mapped_prot;
    vaddr_t start = va & ~(LARGE_PAGE_SIZE - 1);
    paddr_t first = page - (va - start);
    if (page_table_lookup(vspace->root, va, &mapped, &mapped_prot))
        return ERROR_ALREADY;
    if ((first & (LARGE_PAGE_SIZE - 1)) == 0 && region->start <= start && region->end - start >= LARGE_PAGE_SIZE &&
        memory_is_run_locked(memory, region->offset_pages + ((start - region->start) >> PAGE_SHIFT), first)) {
        status_t status = page_table_map_large(vspace->root, vspace->object.untyped, start, first, prot);
        vspace->large_count += status == OK;
        if (status != ERROR_BUSY)
            return status;
    }
    return page_table_map(vspace->root, vspace->object.untyped, va, page, prot);
}

/* *out_memory is set with ERROR_BUSY, and with ERROR_NO_CONTIGUOUS: a run of 2 MiB might be taken first (`can_fill`). */
static status_t fault_once(struct vspace *vspace, vaddr_t va, uint32_t access, bool can_fill, struct memory **out_memory,
                           uint64_t *out_index)
{
    status_t status = ERROR_BAD_ADDRESS;
    spinlock_acquire(&vspace->lock);
    struct region *region = region_at_or_after(vspace, va);
    if (region != nullptr && region->start <= va && (region->prot & access) == access) {
        paddr_t page = 0;
        uint32_t prot = region->prot | PROT_USER;
        struct memory *memory = region->memory;
        if (memory != nullptr) {
            *out_memory = memory;
            *out_index = region->offset_pages + ((va - region->start) >> PAGE_SHIFT);
            spinlock_acquire(&memory->lock);
            if (__builtin_expect(memory->is_plain, true)) {
                status = memory_page_locked(memory, *out_index, true, &page);
                if (status == OK)
                    status = page_table_map(vspace->root, vspace->object.untyped, va, page, prot);
            } else {
                status = can_fill && memory_wants_run_locked(memory, *out_index)
                             ? ERROR_NO_CONTIGUOUS
                             : page_for_access(vspace, memory, *out_index, access, &prot, &page);
                if (status == OK)
                    status = map_carefully(vspace, region, memory, va, page, prot);
            }
            spinlock_release(&memory->lock);
        } else if (!region->may_fault) {
            status = vspace->scratch != 0 ? OK : untyped_page_alloc(vspace->object.untyped, OBJECT_VSPACE, &vspace->scratch);
            page = vspace->scratch;
            if (status == OK)
                status = page_table_map(vspace->root, vspace->object.untyped, va, page, prot);
        } else {
            status = ERROR_PEER_DIED;
        }
        if (status == ERROR_ALREADY)
            status = refresh(vspace, va, page, access, prot);
    } else if (region_is_coming(vspace, region, va)) {
        status = ERROR_RESTART;
    }
    spinlock_release(&vspace->lock);
    return status;
}

status_t vspace_fault(struct vspace *vspace, vaddr_t address, uint32_t access)
{
    if (address < PAGE_SIZE || address >= USER_TOP)
        return ERROR_BAD_ADDRESS;
    for (bool can_fill = true;; can_fill = false) {
        struct memory *memory;
        uint64_t index;
        status_t status = fault_once(vspace, address & ~(PAGE_SIZE - 1), access, can_fill, &memory, &index);
        if (status == ERROR_NO_CONTIGUOUS) {
            memory_fill_run(memory, index);
            continue;
        }
        if (status != ERROR_BUSY)
            return status;
        /* Unmapped or not meanwhile, the memory stays for this kernel entry. */
        status = memory_unshare(memory, index);
        if (status != OK)
            return status;
    }
}

constexpr uint32_t TAKEN_MAX = 16;

/* Takes the next pages that are there out of the memory, so that no fault can map them again. BUSY when one is pinned. */
static status_t take_out(struct memory *memory, uint64_t *at, uint64_t end, paddr_t pages[TAKEN_MAX], uint32_t *out_held, uint64_t *kept)
{
    status_t status = OK;
    spinlock_acquire(&memory->lock);
    for (uint32_t looks = 0; looks < 4 * TAKEN_MAX && *at < end && *out_held < TAKEN_MAX; looks++) {
        uint64_t missing = memory_pages_missing_locked(memory, *at);
        if (missing != 0) {
            *at += min_u64(missing, end - *at);
            continue;
        }
        uint64_t count;
        paddr_t page = *memory_places_locked(memory, *at, false, &count); /* beyond the memory's new end, perhaps */
        if (page_of(page)->pin_count != 0) {
            status = ERROR_BUSY;
            break;
        }
        if (kept != nullptr && page_of(page)->is_dirty) {
            (*kept)++;
            (*at)++;
            continue;
        }
        pages[(*out_held)++] = page;
        memory_page_forget_locked(memory, *at);
        (*at)++;
    }
    spinlock_release(&memory->lock);
    return status;
}

bool memory_has_pins(struct memory *memory, uint64_t first, uint64_t count)
{
    constexpr uint32_t AT_ONCE = 64;
    bool found = false;
    for (uint64_t i = first, end = first + count; i < end && !found;) {
        spinlock_acquire(&memory->lock);
        if (memory->pin_count == 0)
            i = end;
        for (uint32_t n = 0; n < AT_ONCE && i < end && !found; n++) {
            uint64_t missing = memory_pages_missing_locked(memory, i), in_node;
            found = missing == 0 && page_of(*memory_places_locked(memory, i, false, &in_node))->pin_count != 0;
            i += min_u64(max_u64(missing, 1), end - i);
        }
        spinlock_release(&memory->lock);
        arch_irq_poll();
    }
    return found;
}

status_t vspace_decommit(struct memory *memory, uint64_t first, uint64_t count, uint64_t *out_kept)
{
    if (memory_has_pins(memory, first, count))
        return ERROR_BUSY;
    status_t status = OK;
    for (uint64_t at = first; at < first + count && status == OK;) {
        paddr_t pages[TAKEN_MAX];
        uint32_t held = 0;
        uint64_t begin = at;
        status = take_out(memory, &at, first + count, pages, &held, out_kept);
        if (held != 0)
            region_withdraw(memory, begin, at - begin, WITHDRAW_ALL);
        for (uint32_t i = 0; i < held; i++)
            memory_page_release(memory, pages[i]);
        arch_irq_poll();
    }
    return status;
}
