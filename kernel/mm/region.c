/* Regions of an address space, and taking translations away from those that map a memory. See region.h. */
#include <arch/arch.h>
#include <kernel/page_table.h>
#include <kernel/region.h>
#include <kernel/untyped.h>

bool region_less(const struct tree_node *a, const struct tree_node *b)
{
    return container_of(a, struct region, tree_node)->start < container_of(b, struct region, tree_node)->start;
}

/* The first region that ends above `address`. */
struct region *region_at_or_after(struct vspace *vspace, vaddr_t address)
{
    struct region *found = nullptr;
    for (struct tree_node *node = vspace->regions.root; node != nullptr;) {
        struct region *region = container_of(node, struct region, tree_node);
        if (region->end > address) {
            found = region;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return found;
}

struct region *region_next(struct region *region)
{
    struct tree_node *next = tree_next(&region->tree_node);
    return next != nullptr ? container_of(next, struct region, tree_node) : nullptr;
}

/* A TLB may hold a large page in pieces, of which one invalidation by address need not reach all. */
[[clang::noinline]] static bool drop_large(struct vspace *vspace, vaddr_t start, vaddr_t end) REQUIRES(&vspace->lock)
{
    uint64_t dropped = page_table_drop_large(vspace->root, start, end);
    vspace->large_count -= dropped;
    return dropped != 0;
}

void region_remove_translations(struct vspace *vspace, vaddr_t start, vaddr_t end)
{
    paddr_t tables = 0;
    bool is_large = vspace->large_count != 0 && drop_large(vspace, start, end);
    /* Tables that go may be cached by walkers, which an invalidation by address need not reach (RISC-V Privileged 4.2.1). */
    if (page_table_unmap(vspace->root, start, end, &tables) || tables != 0 || is_large)
        tlb_shootdown(vspace, start, tables != 0 || is_large ? SHOOTDOWN_ALL : (end - start) >> PAGE_SHIFT);
    page_table_free_list(vspace->object.untyped, tables);
}

bool region_protect(struct vspace *vspace, vaddr_t start, vaddr_t end, uint32_t prot)
{
    if (vspace->large_count != 0 && drop_large(vspace, start, end))
        tlb_shootdown(vspace, start, SHOOTDOWN_ALL);
    return page_table_protect(vspace->root, start, end, prot);
}

static bool write_protect(struct vspace *vspace, vaddr_t start, vaddr_t end) REQUIRES(&vspace->lock)
{
    if (vspace->large_count != 0 && drop_large(vspace, start, end))
        tlb_shootdown(vspace, start, SHOOTDOWN_ALL);
    return page_table_write_protect(vspace->root, start, end);
}

struct region *region_alloc(struct vspace *vspace)
{
    struct region *region = untyped_cell_alloc(vspace->object.untyped, OBJECT_VSPACE, sizeof(struct region));
    if (region != nullptr)
        region->vspace = vspace;
    return region;
}

void region_free(struct vspace *vspace, struct region *region)
{
    untyped_cell_free(vspace->object.untyped, OBJECT_VSPACE, region, sizeof(struct region));
}

/* Unlinks the region from tree and memory; the caller has removed translations and frees the cell and the reference. */
struct memory *region_unlink(struct vspace *vspace, struct region *region)
{
    struct memory *memory = region->memory;
    if (memory != nullptr) {
        spinlock_acquire(&memory->lock);
        list_remove(&region->memory_node);
        spinlock_release(&memory->lock);
    }
    vspace->orphan_count -= region_is_orphan(region);
    tree_remove(&vspace->regions, &region->tree_node);
    vspace->full_up_to = min_u64(vspace->full_up_to, region->start);
    vspace->mapped_pages -= (region->end - region->start) >> PAGE_SHIFT;
    return memory;
}

/* Cuts `region` at `at` so that a region boundary lies there; `spare` becomes the upper part. */
static void region_split(struct vspace *vspace, struct region *region, vaddr_t at, struct region *spare) REQUIRES(&vspace->lock)
{
    *spare = *region;
    spare->start = at;
    spare->offset_pages = region->offset_pages + ((at - region->start) >> PAGE_SHIFT);
    if (region->memory != nullptr) {
        spinlock_acquire(&region->memory->lock);
        region->end = at;
        list_insert_before(region->memory_node.next, &spare->memory_node);
        object_get(&region->memory->object);
        spinlock_release(&region->memory->lock);
    } else {
        region->end = at;
        vspace->orphan_count += region_is_orphan(spare);
    }
    tree_insert(&vspace->regions, &spare->tree_node);
}

/* Makes region boundaries at start and end with the two spare cells; clears the ones it used. */
void region_split_at_edges(struct vspace *vspace, vaddr_t start, vaddr_t end, struct region *spares[2])
{
    vaddr_t edges[2] = {start, end};
    for (uint32_t i = 0; i < 2; i++) {
        struct region *region = region_at_or_after(vspace, edges[i]);
        if (region != nullptr && region->start < edges[i]) {
            region_split(vspace, region, edges[i], spares[i]);
            spares[i] = nullptr;
        }
    }
}

bool region_spares_alloc(struct vspace *vspace, struct region *spares[2])
{
    spares[0] = region_alloc(vspace);
    spares[1] = region_alloc(vspace);
    return spares[0] != nullptr && spares[1] != nullptr;
}

void region_spares_free(struct vspace *vspace, struct region *spares[2])
{
    for (uint32_t i = 0; i < 2; i++)
        if (spares[i] != nullptr)
            region_free(vspace, spares[i]);
}

void region_evict_large(struct vspace *vspace, vaddr_t start, vaddr_t end)
{
    constexpr uint64_t PART = 128 * PAGE_SIZE;
    for (vaddr_t at = start; vspace->root != 0 && at < end;) {
        spinlock_acquire(&vspace->lock);
        at = page_table_next(vspace->root, at, end);
        vaddr_t stop = min_u64(end, at + PART);
        if (at < end)
            region_remove_translations(vspace, at, stop);
        spinlock_release(&vspace->lock);
        arch_irq_poll();
        at = stop;
    }
}

static struct region *first_region(struct memory *memory) REQUIRES(&memory->lock)
{
    list_for_each (node, &memory->regions)
        if (!region_is_place(container_of(node, struct region, memory_node)))
            return container_of(node, struct region, memory_node);
    return nullptr;
}

/* The first one, when it is in this vspace, whose lock decides whether it still is what it was. */
static struct region *first_region_in(struct memory *memory, const struct vspace *vspace) REQUIRES(&memory->lock) REQUIRES(&vspace->lock)
{
    struct region *region = first_region(memory);
    return region != nullptr && region->vspace == vspace ? region : nullptr;
}

/* Takes one region of the memory away under the vspace's lock; false when the list is empty. */
static bool orphan_one(struct memory *memory)
{
    spinlock_acquire(&memory->lock);
    struct region *region = first_region(memory);
    struct vspace *vspace = region != nullptr ? region->vspace : nullptr; /* stays readable for this kernel entry */
    spinlock_release(&memory->lock);
    if (vspace == nullptr)
        return false;
    vaddr_t start = 0, end = 0;
    spinlock_acquire(&vspace->lock);
    spinlock_acquire(&memory->lock);
    region = first_region_in(memory, vspace);
    if (region != nullptr) {
        start = region->start;
        end = region->end;
    }
    spinlock_release(&memory->lock);
    spinlock_release(&vspace->lock);
    region_evict(vspace, start, end);
    spinlock_acquire(&vspace->lock);
    spinlock_acquire(&memory->lock);
    region = first_region_in(memory, vspace);
    if (region != nullptr) {
        list_remove(&region->memory_node);
        region->memory = nullptr;
        vspace->orphan_count++;
    }
    spinlock_release(&memory->lock);
    if (region != nullptr)
        region_remove_translations(vspace, region->start, region->end);
    spinlock_release(&vspace->lock);
    if (region != nullptr)
        object_put(&memory->object);
    return true;
}

void vspace_orphan_regions(struct memory *memory)
{
    while (orphan_one(memory))
        arch_irq_poll();
}

/* ---- Translations of some pages of a memory, in every region that maps them ---- */

static bool is_concerned(const struct region *region, uint64_t first, uint64_t count)
{
    return region->offset_pages < first + count && region->offset_pages + ((region->end - region->start) >> PAGE_SHIFT) > first;
}

static void withdraw_one(struct vspace *vspace, struct region *region, uint64_t first, uint64_t count, enum withdraw what)
    REQUIRES(&vspace->lock)
{
    uint64_t from = max_u64(first, region->offset_pages);
    uint64_t to = min_u64(first + count, region->offset_pages + ((region->end - region->start) >> PAGE_SHIFT));
    vaddr_t start = region->start + ((from - region->offset_pages) << PAGE_SHIFT);
    vaddr_t end = start + ((to - from) << PAGE_SHIFT);
    if (what == WITHDRAW_ALL)
        region_remove_translations(vspace, start, end);
    else if ((region->prot & PROT_WRITE) && write_protect(vspace, start, end))
        tlb_shootdown(vspace, start, to - from);
}

void region_withdraw_locked(struct vspace *vspace, struct memory *memory, uint64_t first, uint64_t count, enum withdraw what)
{
    list_for_each (node, &memory->regions) {
        struct region *region = container_of(node, struct region, memory_node);
        if (!region_is_place(region) && is_concerned(region, first, count))
            withdraw_one(vspace, region, first, count, what);
    }
}

/* Moves the place to before the next region that was linked up to `last_link` and shows some of the pages, or to before one of the next few;
 * nullptr: there is none. */
static struct region *next_concerned(struct memory *memory, struct region *place, uint64_t last_link, uint64_t first, uint64_t count)
    REQUIRES(&memory->lock)
{
    constexpr uint32_t AT_ONCE = 64;
    uint32_t looks = 0;
    for (struct list_node *node = &place->memory_node; (node = list_next(&memory->regions, node)) != nullptr;) {
        struct region *region = container_of(node, struct region, memory_node);
        if (region_is_place(region))
            continue;
        if (region->link_number > last_link)
            return nullptr;
        if (looks++ == AT_ONCE || is_concerned(region, first, count)) {
            list_remove(&place->memory_node);
            list_insert_before(node, &place->memory_node);
            return region;
        }
    }
    return nullptr;
}

void region_withdraw(struct memory *memory, uint64_t first, uint64_t count, enum withdraw what)
{
    struct region place;
    region_place_init(&place);
    spinlock_acquire(&memory->lock);
    uint64_t last_link = memory->link_count;
    list_push_front(&memory->regions, &place.memory_node);
    for (struct region *next; (next = next_concerned(memory, &place, last_link, first, count)) != nullptr;) {
        struct vspace *vspace = next->vspace; /* stays readable for this kernel entry */
        spinlock_release(&memory->lock);
        spinlock_acquire(&vspace->lock);
        spinlock_acquire(&memory->lock);
        /* Unless it went meanwhile. */
        struct list_node *node = list_next(&memory->regions, &place.memory_node);
        struct region *region = node != nullptr ? container_of(node, struct region, memory_node) : nullptr;
        if (region != nullptr && region->vspace == vspace && region->link_number <= last_link) {
            if (is_concerned(region, first, count))
                withdraw_one(vspace, region, first, count, what);
            region_place_move(&place, node);
        }
        spinlock_release(&memory->lock);
        spinlock_release(&vspace->lock);
        arch_irq_poll();
        spinlock_acquire(&memory->lock);
    }
    list_remove(&place.memory_node);
    spinlock_release(&memory->lock);
}

bool region_only_vspace(struct memory *memory, struct vspace **out_vspace)
{
    constexpr uint32_t FEW = 16;
    uint32_t count = 0;
    *out_vspace = nullptr;
    list_for_each (node, &memory->regions) {
        struct vspace *vspace = container_of(node, struct region, memory_node)->vspace;
        if (vspace == nullptr)
            continue; /* somebody's place */
        if (count++ == FEW || (*out_vspace != nullptr && *out_vspace != vspace))
            return false;
        *out_vspace = vspace;
    }
    return true;
}
