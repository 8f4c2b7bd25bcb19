/*
 * Per-CPU caches above the buddy and above the quotas: free pages, and pages charged to one untyped ahead of their use. A page comes
 * from and goes to the cache of the CPU it is asked for on, so page faults on different CPUs share no lock and no cache line. What
 * lies in the caches is given back before anybody is told that there is no memory, or no contiguous run.
 * Locks: cache->lock, then an untyped's or the buddy's. Other CPUs take cache->lock only to empty it or to count.
 */
#pragma once
#include <kernel/spinlock.h>
#include <tess/abi.h>

struct untyped;

constexpr uint32_t PAGE_CACHE_MAX = 48, PAGE_CACHE_BATCH = 16, PAGE_CACHE_ZEROED_MAX = 16;
constexpr uint64_t CHARGE_BATCH = 16;

struct page_cache {
    struct spinlock lock;
    uint32_t count GUARDED_BY(&lock);
    struct untyped *charged_to GUARDED_BY(&lock); /* not counted: page_cache_forget() comes before its end */
    uint64_t charged_pages GUARDED_BY(&lock);     /* of its used_pages, not in use */
    uint32_t zeroed_count GUARDED_BY(&lock);
    paddr_t pages[PAGE_CACHE_MAX] GUARDED_BY(&lock);
    paddr_t zeroed[PAGE_CACHE_ZEROED_MAX] GUARDED_BY(&lock); /* all zero: tables that were emptied entry by entry */
};

/* One page, charged to the untyped; its contents are old, unless it is wanted zeroed and there is such a one: its address comes with PAGE_IS_ZERO
 * then. NO_MEMORY with nothing changed. */
constexpr paddr_t PAGE_IS_ZERO = 1;
[[nodiscard]] status_t page_cache_alloc(struct untyped *untyped, bool wants_zeroed, paddr_t *out_page);
void page_cache_free(struct untyped *untyped, paddr_t page, bool is_zeroed);
/* Gives all cached pages to the buddy; true when there were any. */
bool page_cache_drain(void);
/* Takes back what is charged to the untyped ahead of use; true when anything was. */
bool page_cache_discharge(struct untyped *untyped);
uint64_t page_cache_charged(const struct untyped *untyped); /* how much that is; no lock is taken */
uint64_t page_cache_count(void);                            /* free pages in all caches */
