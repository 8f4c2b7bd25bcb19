/*
 * Address spaces. A region maps part of a memory; page tables are filled by faults and emptied by unmap, orphaning (the memory
 * died) and decommit. A region whose memory is gone shows one scratch page of its own vspace, so that a peer's death never faults
 * its partner. Everything that removes translations holds vspace->lock until the shootdown is done.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/audit.h>
#include <kernel/page_table.h>
#include <kernel/process.h>
#include <kernel/region.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>

status_t vspace_create(struct untyped *untyped, struct vspace **out_vspace)
{
    struct vspace *vspace;
    status_t status = object_create(untyped, OBJECT_VSPACE, sizeof(struct vspace), (void **)&vspace);
    if (status != OK)
        return status;
    tree_init(&vspace->regions, region_less);
    status = untyped_page_alloc(untyped, OBJECT_VSPACE, &vspace->root);
    if (status != OK) {
        object_put(&vspace->object);
        return status;
    }
    peekable_set(page_of(vspace->root)->state, PAGE_TABLE);
    page_of(vspace->root)->slab_free = 0;
    arch_root_init(phys_to_virt(vspace->root), phys_to_virt(kernel_root));
    vspace->asid = tlb_asid_alloc();
    vspace->token = arch_vspace_token(vspace->root, vspace->asid);
    *out_vspace = vspace;
    return OK;
}

/* The scratch page goes when nothing can show it any more: after region_remove_translations() of the last orphaned region. */
static void scratch_release(struct vspace *vspace) REQUIRES(&vspace->lock)
{
    if (vspace->orphan_count == 0 && vspace->scratch != 0) {
        untyped_page_free(vspace->object.untyped, OBJECT_VSPACE, vspace->scratch);
        vspace->scratch = 0;
    }
}

[[clang::noinline]] void vspace_pause(struct vspace *vspace)
{
    spinlock_release(&vspace->lock);
    arch_irq_poll();
    spinlock_acquire(&vspace->lock);
}

[[clang::noinline]] void vspace_wait_replaced(struct vspace *vspace)
{
    while (vspace->is_replacing) {
        arch_cpu_relax();
        vspace_pause(vspace);
    }
}

/* The first gap of this size; 0 when there is none. The lock is dropped now and then: what was passed by then is not looked at again. */
static vaddr_t find_gap(struct vspace *vspace, uint64_t size) REQUIRES(&vspace->lock)
{
    constexpr vaddr_t FIRST = 0x10000000; /* leaves the low 256 MiB to fixed mappings */
    constexpr uint32_t AT_ONCE = 64;
    vaddr_t candidate = max_u64(vspace->full_up_to, FIRST);
    bool is_full = true; /* up to here */
    uint32_t count = 0;
    uint64_t align = size >= LARGE_PAGE_SIZE ? LARGE_PAGE_SIZE - 1 : 0;
    vaddr_t place = (candidate + align) & ~align;
    struct region *region = region_at_or_after(vspace, candidate);
    while (region != nullptr && region->start < place + size) {
        is_full = is_full && region->start <= candidate;
        candidate = region->end;
        place = (candidate + align) & ~align;
        if (is_full)
            vspace->full_up_to = candidate;
        if (++count % AT_ONCE == 0) {
            vspace_pause(vspace);
            vspace_settle(vspace);
            is_full = is_full && vspace->full_up_to == candidate;
            region = region_at_or_after(vspace, candidate);
        } else {
            region = region_next(region);
        }
    }
    return place <= USER_TOP && USER_TOP - place >= size ? place : 0;
}

/* Chooses where a new region of this size goes, or looks whether it can go where it is to. */
static inline status_t place_locked(struct vspace *vspace, uint64_t size, uint32_t flags, vaddr_t *address) REQUIRES(&vspace->lock)
{
    vspace_settle(vspace);
    if (*address != 0 && !(flags & MAP_REPLACE)) {
        struct region *next = region_at_or_after(vspace, *address);
        if (next != nullptr && next->start < *address + size) {
            if (flags & MAP_FIXED)
                return ERROR_BUSY;
            *address = 0;
        }
    }
    if (*address == 0)
        *address = find_gap(vspace, size);
    /* Only now: looking for a gap may drop the lock. */
    return *address == 0 ? ERROR_NO_SPACE : vspace->is_destroyed ? ERROR_STALE_HANDLE : OK;
}

/* `region` and the next ones of [*at, end), whose edges are those of regions; moves *at on. False when there are no more. */
[[gnu::always_inline]] static inline bool unmap_some(struct vspace *vspace, struct region *region, vaddr_t *at, vaddr_t end)
    REQUIRES(&vspace->lock)
{
    constexpr uint32_t AT_ONCE = 8;
    struct region *dead = nullptr; /* chained through tree_node.left */
    vaddr_t start = *at;
    uint32_t count = 0;
    for (; region != nullptr && region->start >= start && region->end <= end && count < AT_ONCE; count++) {
        *at = region->end;
        struct region *next = *at < end ? region_next(region) : nullptr;
        (void)region_unlink(vspace, region);
        region->tree_node.left = dead != nullptr ? &dead->tree_node : nullptr;
        dead = region;
        region = next;
    }
    if (dead == nullptr)
        return false;
    region_remove_translations(vspace, start, *at);
    scratch_release(vspace);
    while (dead != nullptr) {
        region = dead;
        dead = region->tree_node.left != nullptr ? container_of(region->tree_node.left, struct region, tree_node) : nullptr;
        if (region->memory != nullptr)
            object_put(&region->memory->object);
        region_free(vspace, region);
    }
    return *at < end;
}

/* Unmaps what is where the region goes, in parts: nobody else maps meanwhile, and who touches what is not mapped there comes again. */
[[clang::noinline]] static void replace_locked(struct vspace *vspace, const struct region *region, struct region *spares[2])
    REQUIRES(&vspace->lock)
{
    vaddr_t at = region->start;
    region_split_at_edges(vspace, at, region->end, spares);
    vspace->is_replacing = true;
    vspace->replace_start = at;
    vspace->replace_end = region->end;
    while (unmap_some(vspace, region_at_or_after(vspace, at), &at, region->end))
        vspace_pause(vspace);
    vspace->is_replacing = false;
}

/* Under the memory's lock: memory_kill empties the list under it, so nothing is linked after that. */
static inline status_t link_locked(struct region *region, struct memory *memory) REQUIRES(&memory->lock)
{
    if (!object_is_alive(&memory->object))
        return ERROR_STALE_HANDLE;
    region->memory = memory;
    region->link_number = ++memory->link_count;
    list_push_back(&memory->regions, &region->memory_node);
    object_get(&memory->object);
    return OK;
}

/* Puts a region into the space whose memory, place and rights are described; MAP_REPLACE needs the spares. */
[[gnu::always_inline]] static inline status_t insert_region(struct vspace *vspace, struct region *region, struct memory *memory,
                                                            uint32_t flags, struct region *spares[2])
{
    uint64_t size = region->end - region->start;
    spinlock_acquire(&vspace->lock);
    status_t status = place_locked(vspace, size, flags, &region->start);
    region->end = region->start + size;
    if (status == OK && memory != nullptr) {
        spinlock_acquire(&memory->lock);
        status = link_locked(region, memory);
        spinlock_release(&memory->lock);
    }
    if (status == OK) {
        if (flags & MAP_REPLACE)
            replace_locked(vspace, region, spares);
        tree_insert(&vspace->regions, &region->tree_node);
        vspace->mapped_pages += size >> PAGE_SHIFT;
        if (memory == nullptr)
            vspace->orphan_count += region_is_orphan(region);
    }
    spinlock_release(&vspace->lock);
    return status;
}

[[clang::noinline]] static status_t insert_replacing(struct vspace *vspace, struct region *region, struct memory *memory)
{
    struct region *spares[2];
    region_evict(vspace, region->start, region->end);
    status_t status =
        region_spares_alloc(vspace, spares) ? insert_region(vspace, region, memory, MAP_FIXED | MAP_REPLACE, spares) : ERROR_NO_MEMORY;
    region_spares_free(vspace, spares);
    return status;
}

[[gnu::always_inline]] static inline status_t map_memory(struct vspace *vspace, struct memory *memory, uint64_t offset, uint64_t size,
                                                         vaddr_t address, uint32_t flags, uint32_t prot, uint32_t max_prot,
                                                         uint32_t inherit, vaddr_t *out_address)
{
    struct region *region = region_alloc(vspace);
    if (region == nullptr)
        return ERROR_NO_MEMORY;
    region->start = address;
    region->end = address + size;
    region->offset_pages = offset >> PAGE_SHIFT;
    region->prot = prot;
    region->max_prot = max_prot;
    region->inherit = (uint8_t)inherit;
    region->may_fault = (flags & MAP_MAY_FAULT) != 0;
    status_t status = __builtin_expect((flags & MAP_REPLACE) != 0, false)
                          ? insert_replacing(vspace, region, memory)
                          : insert_region(vspace, region, memory, flags & MAP_FIXED, nullptr);
    if (status == OK)
        *out_address = region->start;
    else
        region_free(vspace, region);
    return status;
}

[[clang::noinline]] status_t vspace_map_memory(struct vspace *vspace, struct memory *memory, uint64_t offset, uint64_t size,
                                               vaddr_t address, uint32_t flags, uint32_t prot, uint32_t max_prot, uint32_t inherit,
                                               vaddr_t *out_address)
{
    return map_memory(vspace, memory, offset, size, address, flags, prot, max_prot, inherit, out_address);
}

[[clang::noinline]] status_t vspace_map_bare(struct vspace *vspace, const struct region *model, uint32_t flags, vaddr_t *out_address)
{
    struct region *region = region_alloc(vspace);
    if (region == nullptr)
        return ERROR_NO_MEMORY;
    *region = *model;
    region->vspace = vspace;
    region->memory = nullptr;
    status_t status = insert_region(vspace, region, nullptr, flags & MAP_FIXED, nullptr);
    if (status == OK)
        *out_address = region->start;
    else
        region_free(vspace, region);
    return status;
}

static bool is_user_range(uint64_t address, uint64_t size)
{
    uint64_t end;
    return ((address | size) & (PAGE_SIZE - 1)) == 0 && size != 0 && address >= PAGE_SIZE && !ckd_add(&end, address, size) &&
           end <= USER_TOP;
}

status_t vspace_unmap(struct invocation *inv, struct vspace *self, uint64_t address, uint64_t size)
{
    (void)inv;
    if (!is_user_range(address, size))
        return ERROR_BAD_ARGUMENT;
    vaddr_t end = address + size;
    region_evict(self, address, end);
    struct region *spares[2] = {nullptr, nullptr};
    spinlock_acquire(&self->lock);
    struct region *first = region_at_or_after(self, address);
    /* The common case, one whole region, needs no spare cells and so cannot fail for memory. */
    if (first == nullptr || first->start != address || first->end != end) {
        spinlock_release(&self->lock);
        if (!region_spares_alloc(self, spares)) {
            region_spares_free(self, spares);
            return ERROR_NO_MEMORY;
        }
        spinlock_acquire(&self->lock);
        region_split_at_edges(self, address, end, spares);
        first = region_at_or_after(self, address);
    }
    while (unmap_some(self, first, &address, end)) {
        vspace_pause(self);
        first = region_at_or_after(self, address);
    }
    spinlock_release(&self->lock);
    region_spares_free(self, spares);
    return OK;
}

static void vspace_kill(struct object *object)
{
    /* Every mapping ends now; processes that still run here fault and end. */
    struct vspace *vspace = (struct vspace *)object;
    spinlock_acquire(&vspace->lock);
    peekable_set(vspace->is_destroyed, true);
    vspace_settle(vspace); /* what is mapped last goes too */
    spinlock_release(&vspace->lock);
    for (;;) {
        arch_irq_poll();
        spinlock_acquire(&vspace->lock);
        struct tree_node *next = tree_first(&vspace->regions);
        vaddr_t start = next != nullptr ? container_of(next, struct region, tree_node)->start : 0;
        vaddr_t end = next != nullptr ? container_of(next, struct region, tree_node)->end : 0;
        spinlock_release(&vspace->lock);
        region_evict(vspace, start, end); /* does nothing for small ones */
        spinlock_acquire(&vspace->lock);
        struct tree_node *node = tree_first(&vspace->regions);
        struct region *region = node != nullptr ? container_of(node, struct region, tree_node) : nullptr;
        struct memory *memory = nullptr;
        if (region != nullptr) {
            memory = region_unlink(vspace, region);
            region_remove_translations(vspace, region->start, region->end);
        }
        spinlock_release(&vspace->lock);
        if (region == nullptr)
            return;
        if (memory != nullptr)
            object_put(&memory->object);
        region_free(vspace, region);
    }
}

static bool vspace_destroy(struct object *object)
{
    struct vspace *vspace = (struct vspace *)object;
    /* A CPU may still have the table loaded (its last thread just ended): make it leave before the root is freed. */
    if (vspace_is_loaded_elsewhere(vspace))
        return false;
    if (arch_cpu()->active_vspace == vspace)
        vspace_leave(arch_cpu());
    tlb_asid_free(vspace->asid);
    if (vspace->scratch != 0)
        untyped_page_free(object->untyped, OBJECT_VSPACE, vspace->scratch);
    if (vspace->root != 0)
        page_table_destroy(vspace->root, object->untyped);
    return true;
}

const struct object_class vspace_class = {.kill = vspace_kill, .destroy = vspace_destroy};

bool vspace_is_guard(struct vspace *vspace, vaddr_t address)
{
    spinlock_acquire(&vspace->lock);
    struct region *region = region_at_or_after(vspace, address);
    bool is_guard = region != nullptr && region->start <= address && region->prot == 0;
    spinlock_release(&vspace->lock);
    return is_guard;
}

status_t vspace_word_locked(struct vspace *vspace, vaddr_t address, uint32_t access, struct memory **out_memory, uint64_t *out_offset,
                            uint32_t **out_word)
{
    struct region *region = region_at_or_after(vspace, address);
    if (region == nullptr || region->start > address || (region->prot & access) != access || region->memory == nullptr ||
        region->memory->kind == MEMORY_KIND_DEVICE)
        return region_is_coming(vspace, region, address) ? ERROR_RESTART : ERROR_BAD_ADDRESS;
    *out_memory = region->memory;
    *out_offset = (region->offset_pages << PAGE_SHIFT) + (address - region->start);
    paddr_t page;
    uint32_t prot;
    bool is_there = page_table_lookup(vspace->root, address, &page, &prot) && (prot & access) == access;
    *out_word = is_there ? (uint32_t *)((uint8_t *)phys_to_virt(page) + (address & (PAGE_SIZE - 1))) : nullptr;
    return OK;
}

/* ---- Methods ---- */

static bool prot_of_flags(uint32_t flags, uint32_t allowed_extra, uint32_t *out_prot)
{
    if ((flags & ~(uint32_t)(MAP_READ | MAP_WRITE | MAP_EXEC | allowed_extra)) != 0)
        return false;
    if ((flags & (MAP_WRITE | MAP_EXEC)) != 0 && (!(flags & MAP_READ) || (flags & (MAP_WRITE | MAP_EXEC)) == (MAP_WRITE | MAP_EXEC)))
        return false;
    *out_prot = (flags & MAP_READ ? PROT_READ : 0) | (flags & MAP_WRITE ? PROT_WRITE : 0) | (flags & MAP_EXEC ? PROT_EXEC : 0);
    return true;
}

status_t untyped_create_vspace(struct invocation *inv, struct untyped *self, handle_t *out_vspace)
{
    struct vspace *vspace;
    status_t status = vspace_create(self, &vspace);
    return status == OK ? invocation_give(inv, &vspace->object, RIGHTS_ALL, out_vspace) : status;
}

status_t vspace_map(struct invocation *inv, struct vspace *self, const struct cap *memory, uint64_t offset, uint64_t size, uint64_t address,
                    uint32_t flags, uint64_t *out_address)
{
    (void)inv;
    struct memory *object = (struct memory *)memory->object;
    uint32_t prot;
    uint64_t end;
    if (!prot_of_flags(flags, MAP_FIXED | MAP_INHERIT_DROP | MAP_MAY_FAULT | MAP_REPLACE, &prot) ||
        ((offset | size) & (PAGE_SIZE - 1)) != 0 || size == 0 || ckd_add(&end, offset, size) ||
        end > peek(object->size_pages) << PAGE_SHIFT || (flags & (MAP_FIXED | MAP_REPLACE)) == MAP_REPLACE)
        return ERROR_BAD_ARGUMENT;
    if (address != 0 ? !is_user_range(address, size) : (size > USER_TOP || (flags & MAP_FIXED)))
        return ERROR_BAD_ARGUMENT;
    uint32_t max_prot = (memory->rights & MEMORY_RIGHT_READ ? PROT_READ : 0) | (memory->rights & MEMORY_RIGHT_WRITE ? PROT_WRITE : 0) |
                        (memory->rights & MEMORY_RIGHT_EXEC ? PROT_EXEC : 0);
    if (object->kind == MEMORY_KIND_FIXED)
        max_prot &= ~(uint32_t)PROT_WRITE;
    if (object->kind == MEMORY_KIND_DEVICE)
        max_prot &= ~(uint32_t)PROT_EXEC;
    uint32_t inherit = (flags & MAP_INHERIT_DROP) / MAP_INHERIT_SHARE;
    if (inherit == INHERIT_COPY && (object->kind == MEMORY_KIND_DEVICE || object->is_paged))
        return ERROR_BAD_ARGUMENT;
    if ((prot & ~max_prot) != 0)
        return audit_denied(inv->cspace, &object->object, inv->op, memory->rights);
    if (object->is_resizable && !(flags & MAP_MAY_FAULT))
        return ERROR_UNSUPPORTED;
    return map_memory(self, object, offset, size, address, flags, prot, max_prot, inherit, out_address);
}

status_t vspace_reserve(struct invocation *inv, struct vspace *self, uint64_t address, uint64_t size, uint32_t flags, uint64_t *out_address)
{
    (void)inv;
    if ((flags & ~(uint32_t)MAP_FIXED) != 0 || (size & (PAGE_SIZE - 1)) != 0 || size == 0 || size > USER_TOP ||
        (address != 0 ? !is_user_range(address, size) : (flags & MAP_FIXED) != 0))
        return ERROR_BAD_ARGUMENT;
    const struct region guard = {.start = address, .end = address + size};
    return vspace_map_bare(self, &guard, flags, out_address);
}

/* Pages that others may hold become writable one by one, when they are written to (mm/share.c). */
static bool show_prot(struct vspace *vspace, struct region *region, vaddr_t start, vaddr_t end) REQUIRES(&vspace->lock)
{
    uint32_t prot = region->prot;
    if (prot == 0) {
        region_remove_translations(vspace, max_u64(region->start, start), min_u64(region->end, end));
        return false;
    }
    if (region->memory != nullptr) {
        spinlock_acquire(&region->memory->lock);
        prot &= region->memory->may_share ? ~(uint32_t)PROT_WRITE : UINT32_MAX;
        spinlock_release(&region->memory->lock);
    }
    return region_protect(vspace, max_u64(region->start, start), min_u64(region->end, end), prot | PROT_USER);
}

/* The page tables of [start, end) allow what the regions do, whatever is mapped there by now. A part at a time. */
static void show_protection(struct vspace *vspace, vaddr_t start, vaddr_t end) REQUIRES(&vspace->lock)
{
    constexpr uint64_t PART = 128 * PAGE_SIZE;
    constexpr uint32_t REGIONS_AT_ONCE = 8;
    for (vaddr_t at = start, stop; at < end; at = stop) {
        stop = min_u64(end, at + PART);
        bool is_changed = false;
        struct region *region = region_at_or_after(vspace, at);
        for (uint32_t i = 0; region != nullptr && region->start < stop; i++, region = region_next(region)) {
            if (i == REGIONS_AT_ONCE)
                stop = region->start;
            else
                is_changed |= show_prot(vspace, region, at, stop);
        }
        if (is_changed)
            tlb_shootdown(vspace, at, (stop - at) >> PAGE_SHIFT);
        if (stop < end) {
            vspace_pause(vspace);
            stop = page_table_next(vspace->root, stop, end);
        }
    }
}

/* What a range may become: protection within what its mappings' handles allowed, and inheritance. */
struct range_change {
    bool is_inherit;
    uint32_t prot, inherit;
};

static status_t change_check(const struct region *region, const struct range_change *change)
{
    if (!change->is_inherit)
        return (change->prot & ~region->max_prot) != 0 ? ERROR_MISSING_RIGHT : OK;
    return change->inherit == INHERIT_COPY && region->memory != nullptr &&
                   (region->memory->kind == MEMORY_KIND_DEVICE || region->memory->is_paged)
               ? ERROR_UNSUPPORTED
               : OK;
}

/* Looks at all regions of the range, or changes them; NOT_FOUND when there is a hole. The lock is dropped now and then: what others map
 * there meanwhile is changed too, as far as it may be. */
static status_t change_regions(struct vspace *vspace, vaddr_t start, vaddr_t end, const struct range_change *change, bool is_check)
    REQUIRES(&vspace->lock)
{
    constexpr uint32_t AT_ONCE = 64;
    uint32_t count = 0;
    struct region *region = region_at_or_after(vspace, start);
    while (start < end) {
        if (region == nullptr || region->start > start)
            return ERROR_NOT_FOUND;
        status_t status = change_check(region, change);
        if (status != OK)
            return status;
        bool is_whole = region->start == start && region->end <= end;
        if (!is_check && is_whole && change->is_inherit)
            region->inherit = (uint8_t)change->inherit;
        else if (!is_check && is_whole)
            region->prot = change->prot;
        start = region->end;
        if (++count % AT_ONCE == 0) {
            vspace_pause(vspace);
            region = region_at_or_after(vspace, start);
        } else {
            region = region_next(region);
        }
    }
    return OK;
}

static status_t change_range(struct vspace *vspace, uint64_t address, uint64_t size, const struct range_change *change)
{
    struct region *spares[2];
    if (!region_spares_alloc(vspace, spares)) {
        region_spares_free(vspace, spares);
        return ERROR_NO_MEMORY;
    }
    spinlock_acquire(&vspace->lock);
    vspace_settle(vspace);
    status_t status = change_regions(vspace, address, address + size, change, true);
    if (status == OK) {
        region_split_at_edges(vspace, address, address + size, spares);
        status = change_regions(vspace, address, address + size, change, false);
        if (!change->is_inherit)
            show_protection(vspace, address, address + size);
    }
    spinlock_release(&vspace->lock);
    region_spares_free(vspace, spares);
    return status;
}

status_t vspace_protect(struct invocation *inv, struct vspace *self, uint64_t address, uint64_t size, uint32_t flags)
{
    (void)inv;
    struct range_change change = {};
    if (!is_user_range(address, size) || !prot_of_flags(flags, 0, &change.prot))
        return ERROR_BAD_ARGUMENT;
    return change_range(self, address, size, &change);
}

status_t vspace_set_inherit(struct invocation *inv, struct vspace *self, uint64_t address, uint64_t size, uint32_t inherit)
{
    (void)inv;
    if (!is_user_range(address, size) || inherit > INHERIT_DROP)
        return ERROR_BAD_ARGUMENT;
    struct range_change change = {.is_inherit = true, .inherit = inherit};
    return change_range(self, address, size, &change);
}

status_t vspace_info(struct invocation *inv, struct vspace *self, uint64_t *out_mapped_pages, uint64_t *out_large_pages)
{
    (void)inv;
    spinlock_acquire(&self->lock);
    *out_mapped_pages = self->mapped_pages;
    *out_large_pages = self->large_count;
    spinlock_release(&self->lock);
    return OK;
}

status_t vspace_query(struct invocation *inv, struct vspace *self, uint64_t address, uint64_t *out_start, uint64_t *out_size,
                      uint32_t *out_flags, uint64_t *out_offset)
{
    (void)inv;
    status_t status = ERROR_NOT_FOUND;
    spinlock_acquire(&self->lock);
    vspace_settle(self);
    struct region *region = region_at_or_after(self, address);
    if (region != nullptr) {
        *out_start = region->start;
        *out_size = region->end - region->start;
        *out_flags = region->prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
        *out_offset = region->offset_pages << PAGE_SHIFT;
        status = OK;
    }
    spinlock_release(&self->lock);
    return status;
}
