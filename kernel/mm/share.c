/*
 * Pages held by several memories (copy-on-write), and pinned ones.
 *
 * page->holders counts the places (of memories' trees) that hold a page. It grows only under the lock of a memory that holds it, so
 * who holds a memory's lock and sees 1 is the only one. Above 1 there is no translation that allows writing, in no page table and in
 * no TLB: memory_clone_step() withdraws them before it counts, and vspace_fault() makes none. The first to write takes a copy for his
 * memory (memory_unshare), the last holder writes in place.
 *
 * All holders are charged to one untyped: a clone for another untyped copies. So the charge of a shared page is nobody's in
 * particular, and goes back with its last holder, whatever the order.
 *
 * A memory that several vspaces map, or many regions, cannot have all its translations withdrawn under one lock. Then the range is sealed
 * (memory->seal_*): faults and writers of the kernel come again until the CPU that sealed it is done; it is in the kernel, and waits
 * for nothing but locks and shootdowns.
 */
#include <kernel/region.h>
#include <kernel/untyped.h>
#include <tess/string.h>

/* Held while one holder copies: the next one then sees whether it is the last. By frame; after memory->lock, before untyped->lock. */
static struct spinlock break_locks[64];

/* A page for a place, not cleared. */
static status_t page_take(struct memory *memory, paddr_t *out_page)
{
    status_t status = untyped_page_take(memory->object.untyped, OBJECT_MEMORY, out_page);
    if (status == OK)
        memory_page_begin(*out_page);
    return status;
}

void memory_page_free(struct memory *memory, paddr_t page) { untyped_page_free(memory->object.untyped, OBJECT_MEMORY, page); }

status_t memory_page_writable_locked(struct memory *memory, uint64_t index, paddr_t *out_page)
{
    if (memory_is_sealed_locked(memory, index))
        return ERROR_RESTART;
    status_t status = memory_page_locked(memory, index, !memory->is_paged, out_page);
    if (memory->is_paged && status == OK)
        page_of(*out_page)->is_dirty = true;
    if (memory->is_paged && status == ERROR_NOT_FOUND)
        status = ERROR_NOT_PRESENT;
    return status == OK && memory_page_is_shared_locked(memory, *out_page) ? ERROR_RESTART : status;
}

status_t memory_break_locked(struct memory *memory, uint64_t index, paddr_t *out_page)
{
    uint64_t count;
    paddr_t *place = memory_places_locked(memory, index, false, &count), old = *place;
    struct spinlock *lock = &break_locks[(old >> PAGE_SHIFT) % ARRAY_LENGTH(break_locks)];
    status_t status = OK;
    spinlock_acquire(lock);
    if (memory_page_is_shared_locked(memory, old)) {
        paddr_t copy;
        status = page_take(memory, &copy);
        if (status == OK) {
            memcpy(phys_to_virt(copy), phys_to_virt(old), PAGE_SIZE);
            *place = copy;
            memory_page_release(memory, old);
        }
    }
    *out_page = *place;
    spinlock_release(lock);
    return status;
}

static bool is_shared_locked(struct memory *memory, uint64_t index) REQUIRES(&memory->lock)
{
    paddr_t page;
    return memory->may_share && memory_page_locked(memory, index, false, &page) == OK && memory_page_is_shared_locked(memory, page);
}

static status_t break_if_shared_locked(struct memory *memory, uint64_t index) REQUIRES(&memory->lock)
{
    paddr_t page;
    return is_shared_locked(memory, index) ? memory_break_locked(memory, index, &page) : OK;
}

/* Waits for the end of the seal that is in the way. */
static void lock_unsealed(struct memory *memory) ACQUIRES(&memory->lock)
{
    spinlock_acquire(&memory->lock);
    while (memory->seal_count != 0) {
        spinlock_release(&memory->lock);
        smp_poll();
        arch_cpu_relax();
        arch_irq_poll();
        spinlock_acquire(&memory->lock);
    }
}

static void seal_locked(struct memory *memory, uint64_t first, uint64_t count) REQUIRES(&memory->lock)
{
    memory->seal_first = first;
    memory->seal_count = count;
}

/* Without the memory's lock: of the one vspace that maps it. False when that changed meanwhile. */
static bool unshare_in(struct memory *memory, struct vspace *vspace, uint64_t index, status_t *out_status)
{
    struct vspace *only;
    spinlock_acquire(&vspace->lock);
    spinlock_acquire(&memory->lock);
    bool is_same = memory->seal_count == 0 && region_only_vspace(memory, &only) && only == vspace;
    if (is_same && is_shared_locked(memory, index)) {
        region_withdraw_locked(vspace, memory, index, 1, WITHDRAW_ALL);
        *out_status = break_if_shared_locked(memory, index);
    }
    spinlock_release(&memory->lock);
    spinlock_release(&vspace->lock);
    return is_same;
}

status_t memory_unshare(struct memory *memory, uint64_t index)
{
    for (;;) {
        struct vspace *vspace;
        status_t status = OK;
        lock_unsealed(memory);
        bool is_single = region_only_vspace(memory, &vspace);
        if (!is_shared_locked(memory, index) || (is_single && vspace == nullptr)) {
            status = break_if_shared_locked(memory, index);
            spinlock_release(&memory->lock);
            return status;
        }
        if (!is_single)
            seal_locked(memory, index, 1);
        spinlock_release(&memory->lock);
        if (!is_single) {
            region_withdraw(memory, index, 1, WITHDRAW_ALL);
            spinlock_acquire(&memory->lock);
            status = break_if_shared_locked(memory, index);
            memory->seal_count = 0;
            spinlock_release(&memory->lock);
            return status;
        }
        if (unshare_in(memory, vspace, index, &status))
            return status;
    }
}

/* ---- Pins ---- */

static status_t pin_page(struct memory *memory, uint64_t index, bool has_pin)
{
    for (;;) {
        paddr_t page;
        spinlock_acquire(&memory->lock);
        status_t status = index < memory->pinned_below ? memory_page_writable_locked(memory, index, &page) : ERROR_BUSY;
        if (status == OK && has_pin) {
            page_of(page)->pin_count++;
            memory->pin_count++;
        }
        spinlock_release(&memory->lock);
        if (status != ERROR_RESTART)
            return status;
        status = memory_unshare(memory, index);
        if (status != OK)
            return status;
    }
}

status_t memory_commit_page(struct memory *memory, uint64_t index) { return pin_page(memory, index, false); }

status_t memory_pin(struct memory *memory, uint64_t first, uint64_t count)
{
    if (memory->kind == MEMORY_KIND_RUN)
        return OK;
    if (memory->kind != MEMORY_KIND_ANONYMOUS || memory->is_paged)
        return ERROR_BAD_ARGUMENT;
    for (uint64_t i = 0; i < count; i++) {
        status_t status = pin_page(memory, first + i, true);
        if (status != OK) {
            memory_unpin(memory, first, i);
            return status;
        }
        if (i % 4 == 3)
            arch_irq_poll();
    }
    return OK;
}

void memory_unpin(struct memory *memory, uint64_t first, uint64_t count)
{
    if (memory->kind != MEMORY_KIND_ANONYMOUS)
        return;
    constexpr uint64_t AT_ONCE = 64;
    for (uint64_t part; count != 0; first += part, count -= part) {
        part = min_u64(count, AT_ONCE);
        spinlock_acquire(&memory->lock);
        for (uint64_t i = first; i < first + part; i++) {
            paddr_t page;
            if (memory_page_locked(memory, i, false, &page) == OK) /* always: a pinned page stays */
                page_of(page)->pin_count--;
        }
        memory->pin_count -= part;
        spinlock_release(&memory->lock);
        if (part < count)
            arch_irq_poll();
    }
}

/* ---- Clone ---- */

constexpr uint64_t CLONE_STEP_PAGES = 128, CLONE_STEP_COPIES = 12;

/* Nobody else sees the clone yet. */
static status_t clone_copy(struct memory *clone, paddr_t *place, paddr_t from) NO_THREAD_SAFETY
{
    status_t status = page_take(clone, place);
    if (status != OK)
        return status;
    memcpy(phys_to_virt(*place), phys_to_virt(from), PAGE_SIZE);
    arch_icache_sync(phys_to_virt(*place), PAGE_SIZE);
    clone->committed_pages++;
    return OK;
}

static paddr_t *clone_places(struct memory *clone, uint64_t index, uint64_t *out_count) NO_THREAD_SAFETY
{
    return memory_places_locked(clone, index, true, out_count);
}

/* Shares pages up to the first pinned one; how many places that are. */
static uint64_t clone_share(struct memory *clone, paddr_t *to, const paddr_t *from, uint64_t count) NO_THREAD_SAFETY
{
    uint64_t shared = 0, i = 0, first_frame = page_array_first;
    struct page *frames = page_array;
    for (; i < count; i++) {
        paddr_t page = from[i];
        if (page == 0)
            continue;
        struct page *frame = &frames[(page >> PAGE_SHIFT) - first_frame];
        if (frame->pin_count != 0)
            break;
        atomic_fetch_add_explicit(&frame->holders, 1, memory_order_relaxed);
        to[i] = page;
        shared++;
    }
    if (shared != 0)
        clone->may_share = true, clone->is_plain = false;
    clone->committed_pages += shared;
    return i;
}

/* Pages from *cursor to at most `end`, as far as the copies of one step reach. */
static status_t clone_pages(struct memory *source, struct memory *clone, uint64_t first, uint64_t end, bool can_share, uint64_t *cursor)
    REQUIRES(&source->lock)
{
    uint64_t copies = 0;
    while (*cursor < end) {
        uint64_t missing = memory_pages_missing_locked(source, *cursor), from_count, to_count;
        if (missing != 0) {
            *cursor = min_u64(end, *cursor + missing);
            continue;
        }
        paddr_t *from = memory_places_locked(source, *cursor, false, &from_count), *to = clone_places(clone, *cursor - first, &to_count);
        if (to == nullptr)
            return ERROR_NO_MEMORY;
        uint64_t count = min_u64(min_u64(from_count, to_count), end - *cursor);
        uint64_t done = can_share ? clone_share(clone, to, from, count) : 0;
        *cursor += done;
        if (done == count)
            continue;
        if (copies++ == CLONE_STEP_COPIES)
            return OK;
        status_t status = clone_copy(clone, &to[done], from[done]);
        if (status != OK)
            return status;
        (*cursor)++;
    }
    return OK;
}

/* Contiguous memory and parts of the boot image have no places: their pages are copied. */
static status_t clone_run(struct memory *source, struct memory *clone, uint64_t first, uint64_t end, uint64_t *cursor)
{
    for (uint64_t copies = 0; *cursor < end && copies < CLONE_STEP_COPIES; copies++, (*cursor)++) {
        uint64_t count;
        paddr_t *to = clone_places(clone, *cursor - first, &count);
        status_t status = to != nullptr ? clone_copy(clone, to, source->run + (*cursor << PAGE_SHIFT)) : ERROR_NO_MEMORY;
        if (status != OK)
            return status;
    }
    return OK;
}

static status_t clone_shared_pages(struct memory *source, struct memory *clone, uint64_t first, uint64_t end, uint64_t *cursor)
{
    struct vspace *vspace, *only;
    spinlock_acquire(&source->lock);
    if (source->seal_count != 0) {
        spinlock_release(&source->lock);
        return OK; /* no progress: the next step comes after others ran */
    }
    source->may_share = true;
    source->is_plain = false;
    *cursor = min_u64(end, *cursor + memory_pages_missing_locked(source, *cursor));
    uint64_t count = min_u64(CLONE_STEP_PAGES, end - *cursor);
    bool is_single = region_only_vspace(source, &vspace);
    status_t status = OK;
    if (is_single && vspace == nullptr) {
        status = clone_pages(source, clone, first, *cursor + count, true, cursor);
    } else if (is_single) {
        spinlock_release(&source->lock);
        spinlock_acquire(&vspace->lock);
        spinlock_acquire(&source->lock);
        if (source->seal_count == 0 && region_only_vspace(source, &only) && only == vspace) {
            region_withdraw_locked(vspace, source, *cursor, count, WITHDRAW_WRITE);
            status = clone_pages(source, clone, first, *cursor + count, true, cursor);
        }
        spinlock_release(&vspace->lock);
    } else {
        seal_locked(source, *cursor, count);
        spinlock_release(&source->lock);
        region_withdraw(source, *cursor, count, WITHDRAW_WRITE);
        spinlock_acquire(&source->lock);
        status = clone_pages(source, clone, first, *cursor + count, true, cursor);
        source->seal_count = 0;
    }
    spinlock_release(&source->lock);
    return status;
}

status_t memory_clone_step(struct memory *source, struct memory *clone, uint64_t first, uint64_t count, uint64_t *cursor)
{
    uint64_t end = first + count, at = first + *cursor;
    status_t status = OK;
    if (at < end) {
        if (source->kind != MEMORY_KIND_ANONYMOUS) {
            status = clone_run(source, clone, first, end, &at);
        } else if (source->object.untyped == clone->object.untyped) {
            status = clone_shared_pages(source, clone, first, end, &at);
        } else {
            spinlock_acquire(&source->lock);
            status = clone_pages(source, clone, first, min_u64(end, at + CLONE_STEP_PAGES), false, &at);
            spinlock_release(&source->lock);
        }
    }
    *cursor = at - first;
    return status != OK ? status : at < end ? ERROR_RESTART : OK;
}
