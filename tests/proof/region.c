/*
 * mm/region.c: finding, cutting and unlinking regions, one step from any two of them (adjacent or not, of one memory, of two, of none) in
 * PAGES pages of address space. Which page of which memory an address shows is the same before and after a cut; edges lie where they were asked
 * for; counts are exact. The tree is a search tree all of whose left links are empty (the harness keeps it; lib/core's balanced one is proven
 * with the run queue).
 */
#include <kernel/mm/region.c>
#include <proof.h>

enum { PAGES = 8, CELLS = 4 };

static struct vspace space;
static struct memory memories[2];
static struct region cell0, cell1, cell2, cell3; /* the last two are spare */
static struct region *const cells[CELLS] = {&cell0, &cell1, &cell2, &cell3};

static struct cpu this_cpu;
struct cpu *host_cpu = &this_cpu;
void spinlock_wait(struct spinlock *lock, const struct lock_site *site) { PROVE(!"taken twice"); }
void *proof_ram_at(paddr_t address) { return nullptr; }
paddr_t proof_ram_address(const void *at) { return 0; }

void tree_insert(struct tree *tree, struct tree_node *node)
{
    struct tree_node **link = &tree->root, *parent = nullptr;
    for (uint32_t i = 0; i < CELLS && *link != nullptr && !region_less(node, *link); i++) {
        parent = *link;
        link = &parent->right;
    }
    node->left = nullptr;
    node->right = *link;
    node->parent = parent;
    if (*link != nullptr)
        (*link)->parent = node;
    *link = node;
}
void tree_remove(struct tree *tree, struct tree_node *node)
{
    PROVE(node == tree->root || (node->parent != nullptr && node->parent->right == node));
    if (node->right != nullptr)
        node->right->parent = node->parent;
    if (node->parent != nullptr)
        node->parent->right = node->right;
    else
        tree->root = node->right;
}
struct tree_node *tree_next(const struct tree_node *node) { return node->right; }

/* ---- States ---- */

static struct shown {
    const struct memory *memory;
    uint64_t offset_pages;
    uint32_t prot, max_prot;
    bool is_mapped;
} before[PAGES];

static void any_region(struct region *region)
{
    uint32_t which = choose(3), first = choose(PAGES), last = choose(PAGES);
    ASSUME(first <= last);
    region->start = (vaddr_t)first << PAGE_SHIFT;
    region->end = (vaddr_t)(last + 1) << PAGE_SHIFT;
    region->offset_pages = nondet_u8();
    region->max_prot = nondet_u8();
    region->prot = nondet_u8() & region->max_prot;
    region->vspace = &space;
    if (which < 2) {
        region->memory = &memories[which];
        list_push_back(&memories[which].regions, &region->memory_node);
    }
    space.orphan_count += region_is_orphan(region);
    space.mapped_pages += (region->end - region->start) >> PAGE_SHIFT;
}

static void look(struct shown shown[PAGES])
{
    for (uint32_t i = 0; i < PAGES; i++) {
        struct region *region = region_at_or_after(&space, (vaddr_t)i << PAGE_SHIFT);
        shown[i] = (struct shown){};
        if (region != nullptr && region->start <= (vaddr_t)i << PAGE_SHIFT)
            shown[i] = (struct shown){region->memory, region->offset_pages + i - (region->start >> PAGE_SHIFT), region->prot,
                                      region->max_prot, true};
    }
}

static void any_space(void)
{
    list_init(&memories[0].regions);
    list_init(&memories[1].regions);
    bool has_second = nondet_bool();
    any_region(&cell0);
    tree_insert(&space.regions, &cell0.tree_node);
    if (has_second) {
        any_region(&cell1);
        ASSUME(cell1.start >= cell0.end);
        tree_insert(&space.regions, &cell1.tree_node);
    }
    memories[0].object.refs = memories[1].object.refs = 1;
    look(before);
}

/* In order, apart, linked to their memories once; with exact counts. */
static void prove_space(uint32_t count)
{
    uint64_t pages = 0, orphans = 0;
    uint32_t seen = 0, of_memory = 0, listed = 0;
    vaddr_t end = 0;
    for (struct tree_node *node = space.regions.root; node != nullptr; node = node->right) {
        struct region *region = container_of(node, struct region, tree_node);
        PROVE(region->start >= end && region->end > region->start);
        end = region->end;
        pages += (region->end - region->start) >> PAGE_SHIFT;
        orphans += region_is_orphan(region);
        of_memory += region->memory != nullptr;
        seen++;
    }
    for (uint32_t m = 0; m < 2; m++)
        list_for_each (node, &memories[m].regions) {
            PROVE(container_of(node, struct region, memory_node)->memory == &memories[m]);
            listed++;
        }
    PROVE(seen == count && listed == of_memory && pages == space.mapped_pages && orphans == space.orphan_count);
}

static bool is_edge(vaddr_t address)
{
    struct region *region = region_at_or_after(&space, address);
    return region == nullptr || region->start >= address;
}

/* ---- Steps ---- */

void proof_cut(void)
{
    any_space();
    uint32_t first = choose(PAGES), end = 1 + choose(PAGES), count = 1 + (space.regions.root->right != nullptr);
    ASSUME(first < end);
    struct region *spares[2] = {&cell2, &cell3};
    region_split_at_edges(&space, (vaddr_t)first << PAGE_SHIFT, (vaddr_t)end << PAGE_SHIFT, spares);
    PROVE(is_edge((vaddr_t)first << PAGE_SHIFT) && is_edge((vaddr_t)end << PAGE_SHIFT));
    struct shown after[PAGES];
    look(after);
    for (uint32_t i = 0; i < PAGES; i++)
        PROVE(after[i].is_mapped == before[i].is_mapped && after[i].memory == before[i].memory &&
              after[i].offset_pages == before[i].offset_pages && after[i].prot == before[i].prot &&
              after[i].max_prot == before[i].max_prot);
    uint32_t used = (spares[0] == nullptr) + (spares[1] == nullptr);
    PROVE((memories[0].object.refs - 1) + (memories[1].object.refs - 1) <= used);
    prove_space(count + used);
    REACHED();
}

void proof_unlink(void)
{
    any_space();
    bool has_second = space.regions.root->right != nullptr;
    uint32_t gone = choose(1 + has_second);
    struct region *region = cells[gone];
    const struct memory *memory = region->memory;
    PROVE(region_unlink(&space, region) == memory);
    struct shown after[PAGES];
    look(after);
    for (uint32_t i = 0; i < PAGES; i++) {
        vaddr_t at = (vaddr_t)i << PAGE_SHIFT;
        bool was_in = at >= region->start && at < region->end;
        PROVE(after[i].is_mapped == (before[i].is_mapped && !was_in));
        PROVE(was_in || (after[i].memory == before[i].memory && after[i].offset_pages == before[i].offset_pages));
    }
    prove_space(has_second);
    REACHED();
}
