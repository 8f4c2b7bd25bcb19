/*
 * Runs of 2 MiB: which parts of a memory may be translated as one (page_table_map_large), and how anonymous memory gets such parts
 * (MEMORY_HUGE). Its pages stay pages: each has its place, its count of holders and its way back, so whatever takes one of them away need
 * know nothing of the others. Only translations are large, and those go whole when a part is touched (region.c).
 */
#include <arch/arch.h>
#include <kernel/memory.h>
#include <kernel/page_cache.h>
#include <kernel/untyped.h>

constexpr uint64_t RUN_PAGES = 512;

bool memory_is_run_locked(struct memory *memory, uint64_t first, paddr_t page)
{
    if (first + RUN_PAGES > memory->size_pages)
        return false;
    if (memory->kind != MEMORY_KIND_ANONYMOUS)
        return memory->run + (first << PAGE_SHIFT) == page;
    if (!memory->is_huge || memory->may_share || first % RUN_PAGES != 0)
        return false;
    uint64_t in_node;
    const paddr_t *places = memory_places_locked(memory, first, false, &in_node);
    for (uint64_t i = 0; places != nullptr && i < RUN_PAGES; i++)
        if (places[i] != page + (i << PAGE_SHIFT))
            return false;
    return places != nullptr;
}

bool memory_wants_run_locked(struct memory *memory, uint64_t index)
{
    uint64_t first = index & ~(RUN_PAGES - 1);
    return memory->is_huge && !memory->may_share && first + RUN_PAGES <= memory->size_pages && index < memory->size_pages &&
           memory_pages_missing_locked(memory, first) >= RUN_PAGES;
}

/* False when somebody was first, the memory changed, or there is no node. */
static bool put_locked(struct memory *memory, uint64_t index, paddr_t run) REQUIRES(&memory->lock)
{
    uint64_t first = index & ~(RUN_PAGES - 1), in_node;
    paddr_t *places = memory_wants_run_locked(memory, index) ? memory_places_locked(memory, first, true, &in_node) : nullptr;
    if (places == nullptr)
        return false;
    for (uint64_t i = 0; i < RUN_PAGES; i++) {
        places[i] = run + (i << PAGE_SHIFT);
        peekable_set(page_of(places[i])->state, PAGE_USED); /* of a block that was taken whole, only the first one says so */
        memory_page_begin(places[i]);
    }
    memory->committed_pages += RUN_PAGES;
    return true;
}

void memory_fill_run(struct memory *memory, uint64_t index)
{
    if (!memory->is_huge)
        return;
    spinlock_acquire(&memory->lock);
    bool is_wanted = memory_wants_run_locked(memory, index);
    spinlock_release(&memory->lock);
    if (!is_wanted || untyped_charge(memory->object.untyped, RUN_PAGES) != OK)
        return;
    paddr_t run = page_alloc_run(RUN_PAGES);
    for (uint64_t i = 0; run != 0 && i < RUN_PAGES; i++) {
        page_zero(phys_to_virt(run + (i << PAGE_SHIFT)));
        arch_irq_poll();
    }
    spinlock_acquire(&memory->lock);
    bool is_used = run != 0 && put_locked(memory, index, run);
    spinlock_release(&memory->lock);
    if (is_used) {
        object_pages_add(OBJECT_MEMORY, (int64_t)RUN_PAGES);
        return;
    }
    if (run != 0)
        page_free_run(run, RUN_PAGES);
    untyped_uncharge(memory->object.untyped, RUN_PAGES);
}
