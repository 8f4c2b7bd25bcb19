/*
 * The pages of paged memory: supplied by a move, evicted, clean or dirty.
 *
 * page->is_dirty is guarded by the memory's lock. A clean page has no translation that allows writing, in no table and no TLB, but for
 * the time in which pager.dirty takes them away: it marks the page clean first, so a write that finds no right to write marks it dirty
 * again, and one that still has the right is done when the call returns, before the pager reads the page.
 */
#include <kernel/abi_dispatch.h>
#include <kernel/page_cache.h>
#include <kernel/pager.h>
#include <kernel/region.h>
#include <kernel/untyped.h>

void pager_page_used_locked(struct memory *memory, paddr_t page, uint32_t access, uint32_t *prot)
{
    (void)memory;
    struct page *frame = page_of(page);
    if (access & PROT_WRITE)
        frame->is_dirty = true;
    else if (!frame->is_dirty)
        *prot &= ~(uint32_t)PROT_WRITE;
    /* Whoever filled it wrote through another address. */
    if ((*prot & PROT_EXEC) && !frame->is_code) {
        arch_icache_sync(phys_to_virt(page), PAGE_SIZE);
        frame->is_code = true;
    }
}

static bool is_page_range(uint64_t offset, uint64_t size, uint64_t pages)
{
    uint64_t end;
    return ((offset | size) & (PAGE_SIZE - 1)) == 0 && !ckd_add(&end, offset, size) && end <= pages << PAGE_SHIFT;
}

/* ---- Supply ---- */

constexpr uint32_t SUPPLY_AT_ONCE = 16;

struct move {
    struct memory *from, *to;
    uint64_t from_first, first;
    uint32_t count, charged;
    paddr_t pages[SUPPLY_AT_ONCE]; /* in neither memory now; 0 = none */
};

/* Everything that may fail: places in the target, pages of their own in the source for those that are empty, the charge for these. A call
 * that is made again for want of memory finds what it moved before in its place. */
static status_t move_prepare(struct move *move)
{
    status_t status = OK;
    uint32_t wanted = 0;
    static_assert(SUPPLY_AT_ONCE <= 32);
    spinlock_acquire(&move->to->lock);
    for (uint32_t i = 0; i < move->count && status == OK; i++) {
        uint64_t in_node;
        paddr_t *place = nullptr;
        if (move->first + i >= move->to->size_pages)
            status = ERROR_BAD_ADDRESS;
        else if ((place = memory_places_locked(move->to, move->first + i, true, &in_node)) == nullptr)
            status = ERROR_NO_MEMORY;
        else
            wanted |= (uint32_t)(*place == 0) << i;
    }
    spinlock_release(&move->to->lock);
    for (uint32_t i = 0; i < move->count && status == OK; i++) {
        if (wanted >> i & 1)
            status = memory_commit_page(move->from, move->from_first + i);
        if (i % 4 == 3)
            arch_irq_poll();
    }
    move->charged = move->from->object.untyped != move->to->object.untyped ? (uint32_t)__builtin_popcount(wanted) : 0;
    return status == OK && move->charged != 0 ? untyped_charge(move->to->object.untyped, move->charged) : status;
}

/* Up to the first page that is pinned; one that somebody took away meanwhile is missing. How many it reached. */
static uint32_t move_take(struct move *move)
{
    uint32_t i = 0;
    spinlock_acquire(&move->from->lock);
    for (; i < move->count; i++) {
        uint64_t index = move->from_first + i, in_node;
        move->pages[i] = 0;
        if (memory_pages_missing_locked(move->from, index) != 0)
            continue;
        paddr_t page = *memory_places_locked(move->from, index, false, &in_node);
        if (page_of(page)->pin_count != 0 || memory_page_is_shared_locked(move->from, page))
            break;
        memory_page_forget_locked(move->from, index);
        move->pages[i] = page;
    }
    spinlock_release(&move->from->lock);
    return i;
}

/* Pages for which there is no place any more, or no charge (one was evicted just now), stay in move->pages. How many found one. */
static uint32_t move_put(struct move *move, uint32_t count)
{
    uint32_t put = 0, limit = move->from->object.untyped != move->to->object.untyped ? move->charged : count;
    spinlock_acquire(&move->to->lock);
    for (uint32_t i = 0; i < count && put < limit; i++) {
        uint64_t index = move->first + i, in_node;
        paddr_t *place = memory_places_locked(move->to, index, false, &in_node);
        if (move->pages[i] == 0 || index >= move->to->size_pages || *place != 0)
            continue;
        page_of(move->pages[i])->is_dirty = page_of(move->pages[i])->is_code = false;
        *place = move->pages[i];
        move->to->committed_pages++;
        move->pages[i] = 0;
        put++;
    }
    spinlock_release(&move->to->lock);
    return put;
}

static status_t supply_part(struct move *move)
{
    status_t status = move_prepare(move);
    if (status != OK)
        return status;
    uint32_t taken = move_take(move);
    region_withdraw(move->from, move->from_first, taken, WITHDRAW_ALL);
    uint32_t put = move_put(move, taken);
    if (move->charged != 0) {
        untyped_uncharge(move->from->object.untyped, put);
        untyped_uncharge(move->to->object.untyped, move->charged - put);
    }
    for (uint32_t i = 0; i < taken; i++)
        if (move->pages[i] != 0)
            memory_page_release(move->from, move->pages[i]);
    arch_irq_poll();
    pager_wake(move->to, move->first, taken);
    return taken == move->count ? OK : ERROR_BUSY;
}

status_t pager_supply(struct invocation *inv, struct pager *self, const struct cap *memory, uint64_t offset, const struct cap *from,
                      uint64_t from_offset, uint64_t size)
{
    struct move move = {.to = (struct memory *)memory->object, .from = (struct memory *)from->object};
    if (size == 0 || !is_page_range(offset, size, peek(move.to->size_pages)) ||
        !is_page_range(from_offset, size, peek(move.from->size_pages)))
        return ERROR_BAD_ARGUMENT;
    if (peek(move.to->pager) != self)
        return ERROR_REFUSED;
    if (move.from->kind != MEMORY_KIND_ANONYMOUS || move.from->is_paged)
        return ERROR_UNSUPPORTED;
    status_t status = OK;
    for (uint64_t done = 0, count = size >> PAGE_SHIFT; done < count && status == OK; done += SUPPLY_AT_ONCE) {
        move.first = (offset >> PAGE_SHIFT) + done;
        move.from_first = (from_offset >> PAGE_SHIFT) + done;
        move.count = (uint32_t)min_u64(SUPPLY_AT_ONCE, count - done);
        status = supply_part(&move);
        inv->is_committed |= status == OK;
        arch_irq_poll();
    }
    return status;
}

/* ---- Pages that are there ---- */

/* The checks that evict and dirty share. */
static status_t check_range(struct pager *pager, const struct cap *memory, uint64_t offset, uint64_t size, uint32_t flags, uint32_t allowed)
{
    struct memory *object = (struct memory *)memory->object;
    if ((flags & ~allowed) != 0 || !is_page_range(offset, size, MEMORY_PAGES_MAX))
        return ERROR_BAD_ARGUMENT;
    return peek(object->pager) == pager ? OK : ERROR_REFUSED;
}

status_t pager_evict(struct invocation *inv, struct pager *self, const struct cap *memory, uint64_t offset, uint64_t size, uint32_t flags,
                     uint64_t *out_kept_pages)
{
    (void)inv;
    status_t status = check_range(self, memory, offset, size, flags, PAGER_DIRTY);
    *out_kept_pages = 0;
    if (status == OK)
        status = vspace_decommit((struct memory *)memory->object, offset >> PAGE_SHIFT, size >> PAGE_SHIFT,
                                 flags & PAGER_DIRTY ? nullptr : out_kept_pages);
    return status;
}

/* The run of dirty pages that begins at the first one in [*at, end), made clean if `cleans`; its length. Looks at some pages only: *at is
 * where the run begins, or where to go on. */
static uint64_t find_dirty_locked(struct memory *memory, uint64_t *at, uint64_t end, bool cleans) REQUIRES(&memory->lock)
{
    constexpr uint32_t LOOKS = 64;
    uint64_t run = 0;
    for (uint32_t looks = 0; *at + run < end && (run != 0 ? run < PAGER_RUN_MAX / PAGE_SIZE : looks < LOOKS); looks++) {
        uint64_t missing = memory_pages_missing_locked(memory, *at + run), in_node;
        struct page *frame = missing == 0 ? page_of(*memory_places_locked(memory, *at + run, false, &in_node)) : nullptr;
        if (frame != nullptr && frame->is_dirty) {
            frame->is_dirty = !cleans;
            run++;
        } else if (run != 0) {
            break;
        } else {
            *at += min_u64(max_u64(missing, 1), end - *at);
        }
    }
    return run;
}

status_t pager_dirty(struct invocation *inv, struct pager *self, const struct cap *memory, uint64_t offset, uint64_t size, uint32_t flags,
                     uint64_t *out_offset, uint64_t *out_size)
{
    (void)inv;
    struct memory *object = (struct memory *)memory->object;
    status_t status = check_range(self, memory, offset, size, flags, PAGER_CLEAN);
    if (status != OK)
        return status;
    uint64_t at = offset >> PAGE_SHIFT, end = (offset + size) >> PAGE_SHIFT, run = 0;
    while (at < end && run == 0) {
        spinlock_acquire(&object->lock);
        run = find_dirty_locked(object, &at, end, (flags & PAGER_CLEAN) != 0);
        spinlock_release(&object->lock);
        arch_irq_poll();
    }
    if (run != 0 && (flags & PAGER_CLEAN))
        region_withdraw(object, at, run, WITHDRAW_WRITE);
    *out_offset = at << PAGE_SHIFT;
    *out_size = run << PAGE_SHIFT;
    return OK;
}
