/*
 * Memory objects. Pages of an anonymous object hang in an array of 8 inside the object, or in a radix tree of 512-entry nodes
 * whose depth is fixed by the size; nodes and pages are charged to the object's untyped. Lock: memory->lock, after vspace->lock.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/futex.h>
#include <kernel/page.h>
#include <kernel/page_cache.h>
#include <kernel/pager.h>
#include <kernel/process.h>
#include <kernel/trace.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>
#include <tess/string.h>

constexpr uint64_t COPY_MAX = 1 << 20;

/* The place that holds the address of page `index`; nullptr when a node is missing (and could not be or was not allocated). */
static paddr_t *page_place(struct memory *memory, uint64_t index, bool allocate)
{
    if (memory->depth == 0)
        return &memory->pages[index];
    paddr_t *place = &memory->root;
    for (uint32_t level = memory->depth; level > 0; level--) {
        if (*place == 0) {
            paddr_t node;
            if (!allocate || untyped_page_alloc(memory->object.untyped, OBJECT_MEMORY, &node) != OK)
                return nullptr;
            *place = node;
        }
        place = (paddr_t *)phys_to_virt(*place) + ((index >> (9 * (level - 1))) & 511);
    }
    return place;
}

paddr_t *memory_places_locked(struct memory *memory, uint64_t index, bool allocate, uint64_t *out_count)
{
    uint64_t in_node = memory->depth == 0 ? MEMORY_INLINE_PAGES : 512;
    *out_count = in_node - index % in_node;
    return page_place(memory, index, allocate);
}

status_t memory_page_locked(struct memory *memory, uint64_t index, bool allocate, paddr_t *out_page)
{
    if (memory->kind != MEMORY_KIND_ANONYMOUS) {
        *out_page = memory->run + (index << PAGE_SHIFT);
        return OK;
    }
    if (index >= memory->size_pages)
        return ERROR_BAD_ADDRESS;
    paddr_t *place = page_place(memory, index, allocate);
    if (place == nullptr)
        return allocate ? ERROR_NO_MEMORY : ERROR_NOT_FOUND;
    if (*place == 0) {
        if (!allocate)
            return ERROR_NOT_FOUND;
        status_t status = untyped_page_alloc(memory->object.untyped, OBJECT_MEMORY, place);
        if (status != OK)
            return status;
        memory_page_begin(*place);
        memory->committed_pages++;
    }
    *out_page = *place;
    return OK;
}

static uint64_t memory_capacity(const struct memory *memory)
{
    return memory->depth == 0 ? MEMORY_INLINE_PAGES : 1ull << (9 * memory->depth);
}

uint64_t memory_pages_missing_locked(struct memory *memory, uint64_t index)
{
    if (index >= memory_capacity(memory))
        return MEMORY_PAGES_MAX;
    if (memory->depth == 0)
        return memory->pages[index] == 0;
    paddr_t place = memory->root;
    for (uint32_t level = memory->depth; place != 0; level--) {
        if (level == 0)
            return 0;
        place = ((paddr_t *)phys_to_virt(place))[(index >> (9 * (level - 1))) & 511];
        if (place == 0) {
            uint64_t span = 1ull << (9 * (level - 1));
            return span - (index & (span - 1));
        }
    }
    return MEMORY_PAGES_MAX;
}

void memory_page_forget_locked(struct memory *memory, uint64_t index)
{
    *page_place(memory, index, false) = 0;
    memory->committed_pages--;
}

static status_t commit_range(struct memory *memory, uint64_t first, uint64_t count) REQUIRES(&memory->lock)
{
    for (uint64_t i = first; i < first + count; i++) {
        paddr_t page;
        status_t status = memory_page_locked(memory, i, true, &page);
        if (status != OK)
            return status;
    }
    return OK;
}

/* The same without the lock, which is taken for some pages at a time. */
static status_t commit_in_parts(struct memory *memory, uint64_t first, uint64_t last)
{
    constexpr uint64_t AT_ONCE = 4;
    status_t status = OK;
    for (uint64_t i = first; i < last && status == OK; i += AT_ONCE) {
        memory_fill_run(memory, i);
        spinlock_acquire(&memory->lock);
        status = commit_range(memory, i, min_u64(AT_ONCE, last - i));
        spinlock_release(&memory->lock);
        arch_irq_poll();
    }
    return status;
}

static status_t create(struct untyped *untyped, enum memory_kind kind, uint64_t size_pages, struct memory **out_memory)
{
    status_t status = object_create(untyped, OBJECT_MEMORY, sizeof(struct memory), (void **)out_memory);
    if (status != OK)
        return status;
    struct memory *memory = *out_memory;
    list_init(&memory->regions);
    memory->size_pages = memory->pinned_below = size_pages;
    memory->kind = kind;
    memory->is_plain = kind == MEMORY_KIND_ANONYMOUS;
    return OK;
}

/* What must be there at once, before anything is made: who fails in the middle gives up an object, and seems to wait for its return.
 * A contiguous run stays charged, for the others it was only asked whether there is as much. */
static status_t reserve(struct untyped *untyped, uint64_t size_pages, uint32_t flags, paddr_t *out_run)
{
    if (!(flags & (MEMORY_CONTIGUOUS | MEMORY_COMMITTED)))
        return OK;
    status_t status = untyped_charge(untyped, size_pages);
    if (status != OK)
        return status;
    if (flags & MEMORY_CONTIGUOUS) {
        *out_run = page_alloc_run(size_pages);
        if (*out_run == 0 && page_cache_drain())
            *out_run = page_alloc_run(size_pages);
        if (*out_run != 0)
            return OK;
        status = ERROR_NO_CONTIGUOUS;
    }
    untyped_uncharge(untyped, size_pages);
    return status;
}

static void take_run(struct memory *memory, paddr_t run, uint64_t size_pages)
{
    for (uint64_t i = 0; i < size_pages; i++) {
        page_zero(phys_to_virt(run + (i << PAGE_SHIFT)));
        arch_irq_poll();
    }
    memory->kind = MEMORY_KIND_RUN;
    memory->is_plain = false;
    memory->run = run;
    spinlock_acquire(&memory->lock);
    memory->committed_pages = size_pages;
    spinlock_release(&memory->lock);
    object_pages_add(OBJECT_MEMORY, (int64_t)size_pages);
}

status_t memory_create(struct untyped *untyped, uint64_t size_pages, uint32_t flags, struct memory **out_memory)
{
    paddr_t run = 0;
    status_t status = reserve(untyped, size_pages, flags, &run);
    if (status != OK)
        return status;
    struct memory *memory;
    status = create(untyped, MEMORY_KIND_ANONYMOUS, size_pages, &memory);
    if (status != OK) {
        if (run != 0) {
            page_free_run(run, size_pages);
            untyped_uncharge(untyped, size_pages);
        }
        return status;
    }
    if (run != 0) {
        take_run(memory, run, size_pages);
    } else {
        memory->is_resizable = (flags & MEMORY_RESIZABLE) != 0;
        memory->is_huge = (flags & MEMORY_HUGE) != 0;
        memory->is_plain = !memory->is_huge;
        while (size_pages > memory_capacity(memory))
            memory->depth++;
        if (flags & MEMORY_COMMITTED)
            status = commit_in_parts(memory, 0, size_pages);
    }
    if (status != OK) {
        object_put(&memory->object);
        return status;
    }
    *out_memory = memory;
    return OK;
}

status_t memory_create_fixed(struct untyped *untyped, enum memory_kind kind, paddr_t run, uint64_t size_pages, struct memory **out_memory)
{
    status_t status = create(untyped, kind, size_pages, out_memory);
    if (status == OK)
        (*out_memory)->run = run;
    return status;
}

/* The lowest level of a tree, some places at a time. Only parts that held something count, so that the next round gets further. */
static bool free_leaves(struct memory *memory, paddr_t *places, uint32_t *budget) NO_THREAD_SAFETY /* nobody else sees it any more */
{
    constexpr uint32_t PART = 16;
    for (uint32_t part = 0; part < 512 && memory->committed_pages != 0; part += PART) {
        paddr_t *place = &places[part], *end = place + PART;
        paddr_t any = 0;
        for (uint32_t i = 0; i < PART; i++)
            any |= place[i];
        if (any == 0)
            continue;
        if (*budget < PART)
            return false;
        for (; place < end; place++) {
            paddr_t page = *place;
            if (page == 0)
                continue;
            *place = 0;
            memory->committed_pages--;
            memory_page_release(memory, page);
        }
        *budget -= PART;
        arch_irq_poll();
    }
    return true;
}

/* Frees pages [*cursor..) of the radix tree below `place`, at most *budget of them; true when all are gone. */
static bool free_tree(struct memory *memory, paddr_t *place, uint32_t level, uint32_t *budget)
{
    if (*place == 0)
        return true;
    if (level > 0) {
        paddr_t *entries = phys_to_virt(*place);
        if (level == 1 && !free_leaves(memory, entries, budget))
            return false;
        for (uint32_t i = 0; level > 1 && i < 512; i++)
            if (entries[i] != 0 && !free_tree(memory, &entries[i], level - 1, budget))
                return false;
        arch_irq_poll();
    }
    if (*budget == 0)
        return false;
    (*budget)--;
    if (level == 0)
        memory_page_release(memory, *place);
    else
        untyped_page_free_zeroed(memory->object.untyped, OBJECT_MEMORY, *place);
    *place = 0;
    return true;
}

static void memory_kill(struct object *object)
{
    if (((struct memory *)object)->is_traced)
        trace_memory_gone((struct memory *)object);
    vspace_orphan_regions((struct memory *)object);
    pager_memory_gone((struct memory *)object);
    futex_memory_gone((struct memory *)object);
}

static bool memory_destroy(struct object *object)
{
    struct memory *memory = (struct memory *)object;
    uint32_t budget = 512;
    if (memory->kind == MEMORY_KIND_RUN) {
        page_free_run(memory->run, memory->size_pages);
        object_pages_add(OBJECT_MEMORY, -(int64_t)memory->size_pages);
        untyped_uncharge(object->untyped, memory->size_pages);
    } else if (memory->kind == MEMORY_KIND_ANONYMOUS && memory->depth == 0) {
        for (uint32_t i = 0; i < MEMORY_INLINE_PAGES; i++)
            (void)free_tree(memory, &memory->pages[i], 0, &budget);
    } else if (memory->kind == MEMORY_KIND_ANONYMOUS) {
        return free_tree(memory, &memory->root, memory->depth, &budget);
    }
    return true;
}

const struct object_class memory_class = {.kill = memory_kill, .destroy = memory_destroy};

/* ---- Methods ---- */

status_t untyped_create_memory(struct invocation *inv, struct untyped *self, uint64_t size_bytes, uint32_t flags, handle_t *out_memory)
{
    uint64_t pages = size_bytes / PAGE_SIZE + (size_bytes % PAGE_SIZE != 0);
    if (pages == 0 || pages > MEMORY_PAGES_MAX ||
        (flags & ~(uint32_t)(MEMORY_CONTIGUOUS | MEMORY_COMMITTED | MEMORY_RESIZABLE | MEMORY_HUGE)) != 0 ||
        ((flags & MEMORY_CONTIGUOUS) && (flags & (MEMORY_RESIZABLE | MEMORY_HUGE))))
        return ERROR_BAD_ARGUMENT;
    struct memory *memory;
    status_t status = memory_create(self, pages, flags, &memory);
    return status == OK ? invocation_give(inv, &memory->object, RIGHTS_ALL, out_memory) : status;
}

status_t memory_info(struct invocation *inv, struct memory *self, uint64_t *out_size_bytes, uint64_t *out_committed_pages,
                     uint32_t *out_flags, uint32_t *out_is_device)
{
    (void)inv;
    spinlock_acquire(&self->lock);
    *out_size_bytes = self->size_pages << PAGE_SHIFT;
    *out_committed_pages = self->committed_pages;
    spinlock_release(&self->lock);
    *out_flags = self->kind == MEMORY_KIND_RUN ? MEMORY_CONTIGUOUS
                                               : (self->is_resizable ? MEMORY_RESIZABLE : 0) | (self->is_paged ? MEMORY_PAGED : 0) |
                                                     (self->is_huge ? MEMORY_HUGE : 0);
    *out_is_device = self->kind == MEMORY_KIND_DEVICE;
    return OK;
}

static bool is_range_inside(const struct memory *memory, uint64_t offset, uint64_t size)
{
    uint64_t end;
    return !ckd_add(&end, offset, size) && end <= peek(memory->size_pages) << PAGE_SHIFT;
}

/* Copies one page's part through a bounce buffer of bounded size, so that neither lock is held across the other's fault. */
static status_t copy(struct invocation *inv, struct memory *self, uint64_t offset, uint64_t address, uint64_t size, bool is_write)
{
    if (self->kind == MEMORY_KIND_DEVICE)
        return ERROR_UNSUPPORTED;
    if (size > COPY_MAX || !is_range_inside(self, offset, size))
        return ERROR_BAD_ARGUMENT;
    if (is_write && self->kind == MEMORY_KIND_FIXED)
        return ERROR_UNSUPPORTED;
    struct vspace *vspace = inv->thread->process->vspace;
    uint8_t bounce[512];
    while (size != 0) {
        uint64_t part = min_u64(size, min_u64((uint64_t)sizeof(bounce), PAGE_SIZE - (offset & (PAGE_SIZE - 1))));
        status_t status = is_write ? user_copy_in(vspace, bounce, address, part) : OK;
        if (status != OK)
            return status;
        spinlock_acquire(&self->lock);
        paddr_t page;
        status = is_write ? memory_page_writable_locked(self, offset >> PAGE_SHIFT, &page)
                          : memory_page_locked(self, offset >> PAGE_SHIFT, false, &page);
        if (status == ERROR_RESTART) {
            spinlock_release(&self->lock);
            status = memory_unshare(self, offset >> PAGE_SHIFT);
            if (status != OK)
                return status;
            continue;
        }
        if (status == OK) {
            uint8_t *data = (uint8_t *)phys_to_virt(page) + (offset & (PAGE_SIZE - 1));
            if (is_write) {
                memcpy(data, bounce, part);
                arch_icache_sync(data, part);
            } else {
                memcpy(bounce, data, part);
            }
        } else if (status == ERROR_NOT_FOUND && self->is_paged) {
            status = ERROR_NOT_PRESENT;
        } else if (status == ERROR_NOT_FOUND) {
            memset(bounce, 0, part);
            status = OK;
        }
        spinlock_release(&self->lock);
        if (status == OK && !is_write)
            status = user_copy_out(vspace, address, bounce, part);
        if (status != OK)
            return status;
        offset += part;
        address += part;
        size -= part;
        arch_irq_poll();
    }
    return OK;
}

status_t memory_read(struct invocation *inv, struct memory *self, uint64_t offset, uint64_t address, uint64_t size)
{
    return copy(inv, self, offset, address, size, false);
}

status_t memory_write(struct invocation *inv, struct memory *self, uint64_t offset, uint64_t address, uint64_t size)
{
    return copy(inv, self, offset, address, size, true);
}

static bool is_page_range_inside(const struct memory *memory, uint64_t offset, uint64_t size)
{
    return ((offset | size) & (PAGE_SIZE - 1)) == 0 && is_range_inside(memory, offset, size);
}

status_t memory_commit(struct invocation *inv, struct memory *self, uint64_t offset, uint64_t size)
{
    (void)inv;
    if (!is_page_range_inside(self, offset, size))
        return ERROR_BAD_ARGUMENT;
    if (self->kind != MEMORY_KIND_ANONYMOUS || self->is_paged)
        return self->kind == MEMORY_KIND_RUN ? OK : ERROR_UNSUPPORTED;
    uint64_t first = offset >> PAGE_SHIFT, last = (offset + size) >> PAGE_SHIFT;
    for (uint64_t i = first; i < last; i++) {
        memory_fill_run(self, i);
        status_t status = memory_commit_page(self, i);
        if (status != OK)
            return status;
        if (i % 8 == 7)
            arch_irq_poll();
    }
    return OK;
}

status_t memory_decommit(struct invocation *inv, struct memory *self, uint64_t offset, uint64_t size)
{
    (void)inv;
    if (!is_page_range_inside(self, offset, size))
        return ERROR_BAD_ARGUMENT;
    if (self->kind != MEMORY_KIND_ANONYMOUS || self->is_paged)
        return ERROR_UNSUPPORTED;
    return vspace_decommit(self, offset >> PAGE_SHIFT, size >> PAGE_SHIFT, nullptr);
}

/* A tree of one level more, with what is there at its beginning. */
static status_t deepen_locked(struct memory *memory) REQUIRES(&memory->lock)
{
    paddr_t node = 0;
    bool is_empty = memory->depth != 0 ? memory->root == 0 : memory->committed_pages == 0;
    if (!is_empty && untyped_page_alloc(memory->object.untyped, OBJECT_MEMORY, &node) != OK)
        return ERROR_NO_MEMORY;
    if (node != 0)
        memcpy(phys_to_virt(node), memory->pages, memory->depth != 0 ? sizeof(memory->root) : sizeof(memory->pages));
    memory->root = node;
    memory->depth++;
    return OK;
}

static status_t grow_locked(struct memory *memory, uint64_t pages) REQUIRES(&memory->lock)
{
    while (pages > memory_capacity(memory)) {
        status_t status = deepen_locked(memory);
        if (status != OK)
            return status;
    }
    peekable_set(memory->size_pages, pages);
    memory->pinned_below = pages;
    return OK;
}

/* New pins stay below the new end from now on, so that what is looked for is all there is. */
static status_t shrink(struct memory *memory, uint64_t old, uint64_t pages)
{
    bool is_pinned = memory_has_pins(memory, pages, old - pages);
    if (!is_pinned) {
        spinlock_acquire(&memory->lock);
        peekable_set(memory->size_pages, pages);
        spinlock_release(&memory->lock);
    }
    return is_pinned ? ERROR_BUSY : vspace_decommit(memory, pages, old - pages, nullptr);
}

status_t memory_resize(struct invocation *inv, struct memory *self, uint64_t size_bytes)
{
    (void)inv;
    uint64_t pages = size_bytes / PAGE_SIZE + (size_bytes % PAGE_SIZE != 0);
    if (pages > MEMORY_PAGES_MAX)
        return ERROR_BAD_ARGUMENT;
    if (!self->is_resizable)
        return ERROR_UNSUPPORTED;
    spinlock_acquire(&self->lock);
    uint64_t old = self->size_pages;
    status_t status = self->is_shrinking ? ERROR_BUSY : pages >= old ? grow_locked(self, pages) : OK;
    bool must_shrink = status == OK && pages < old;
    if (must_shrink) {
        self->is_shrinking = true;
        self->pinned_below = pages;
    }
    spinlock_release(&self->lock);
    if (!must_shrink)
        return status;
    status = shrink(self, old, pages);
    spinlock_acquire(&self->lock);
    self->is_shrinking = false;
    self->pinned_below = self->size_pages;
    spinlock_release(&self->lock);
    if (self->is_paged)
        pager_wake(self, pages, old - pages);
    return status;
}

status_t memory_slice(struct invocation *inv, struct memory *self, uint64_t offset, uint64_t size, handle_t *out_memory)
{
    if (size == 0 || !is_page_range_inside(self, offset, size))
        return ERROR_BAD_ARGUMENT;
    if (self->kind != MEMORY_KIND_FIXED)
        return ERROR_UNSUPPORTED;
    struct memory *slice;
    status_t status = memory_create_fixed(self->object.untyped, MEMORY_KIND_FIXED, self->run + offset, size >> PAGE_SHIFT, &slice);
    if (status != OK)
        return status;
    uint32_t generic = 0xFF, keep = MEMORY_RIGHT_READ | MEMORY_RIGHT_EXEC;
    return invocation_give(inv, &slice->object, inv->rights & (generic | keep), out_memory);
}
