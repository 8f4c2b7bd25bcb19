/*
 * Regions: which part of which memory an address space shows where. A region lies in its vspace's tree (vspace->lock) and on its
 * memory's list (memory->lock, taken after it).
 */
#pragma once
#include <kernel/vspace.h>

bool region_less(const struct tree_node *a, const struct tree_node *b);
/* The first region that ends above `address`. */
struct region *region_at_or_after(struct vspace *vspace, vaddr_t address) REQUIRES(&vspace->lock);
struct region *region_next(struct region *region);
/* Nothing is mapped at the address (`found` is what region_at_or_after() found), but something is about to be. */
static inline bool region_is_coming(struct vspace *vspace, const struct region *found, vaddr_t address) REQUIRES(&vspace->lock)
{
    return __builtin_expect(vspace->is_replacing, false) && (found == nullptr || found->start > address) &&
           address - vspace->replace_start < vspace->replace_end - vspace->replace_start;
}

struct region *region_alloc(struct vspace *vspace);
void region_free(struct vspace *vspace, struct region *region);
static inline bool region_is_orphan(const struct region *region) { return region->memory == nullptr && region->max_prot != 0; }
/* Unlinks the region from tree and memory; the caller has removed translations and frees the cell and the reference. */
struct memory *region_unlink(struct vspace *vspace, struct region *region) REQUIRES(&vspace->lock);
/* Two cells for what region_split_at_edges() may need; they are freed together, used or not. */
bool region_spares_alloc(struct vspace *vspace, struct region *spares[2]);
void region_spares_free(struct vspace *vspace, struct region *spares[2]);
/* Makes region boundaries at start and end with the two spare cells; clears the ones it used. */
void region_split_at_edges(struct vspace *vspace, vaddr_t start, vaddr_t end, struct region *spares[2]) REQUIRES(&vspace->lock);

/* Empties the page tables of [start, end) and waits until no CPU translates there. */
void region_remove_translations(struct vspace *vspace, vaddr_t start, vaddr_t end) REQUIRES(&vspace->lock);
/* Changes the protection of what is mapped in [start, end) and not 2 MiB large (that is removed); true when the caller must flush it. */
bool region_protect(struct vspace *vspace, vaddr_t start, vaddr_t end, uint32_t prot) REQUIRES(&vspace->lock);
/* Before long work under vspace->lock: removes the translations of [start, end) in parts, with interrupts let in between. What is touched
 * again meanwhile is found by the caller's own pass, which is short then. No lock held. */
void region_evict_large(struct vspace *vspace, vaddr_t start, vaddr_t end);
static inline void region_evict(struct vspace *vspace, vaddr_t start, vaddr_t end)
{
    constexpr uint64_t SMALL = 256 * PAGE_SIZE;
    if (end - start > SMALL)
        region_evict_large(vspace, start, end);
}

/*
 * A memory's regions are listed in the order of their link numbers, what was split off behind the rest of it. Who goes through the list in
 * parts leaves a record in it while the memory's lock is dropped, that maps nothing in no vspace; others pass over it.
 */
static inline void region_place_init(struct region *place)
{
    place->vspace = nullptr;
    list_node_init(&place->memory_node);
}
static inline bool region_is_place(const struct region *region) { return region->vspace == nullptr; }
static inline void region_place_move(struct region *place, struct list_node *behind)
{
    list_remove(&place->memory_node);
    list_insert_before(behind->next, &place->memory_node);
}

enum withdraw : uint8_t { WITHDRAW_ALL, WITHDRAW_WRITE };
/* Takes translations of pages [first, first + count) of the memory away, or only the right to write through them, where all its regions
 * are in this vspace (region_only_vspace). On return no CPU uses them any more. */
void region_withdraw_locked(struct vspace *vspace, struct memory *memory, uint64_t first, uint64_t count, enum withdraw what)
    REQUIRES(&vspace->lock) REQUIRES(&memory->lock);
/* The same in all regions linked up to now, some at a time, with no lock held. One linked meanwhile, or a fault, may make new ones: the caller has
 * taken the pages out of the memory, or sealed them. */
void region_withdraw(struct memory *memory, uint64_t first, uint64_t count, enum withdraw what);
/* True when at most one vspace maps the memory, this one or nullptr, in a few regions. */
bool region_only_vspace(struct memory *memory, struct vspace **out_vspace) REQUIRES(&memory->lock);
