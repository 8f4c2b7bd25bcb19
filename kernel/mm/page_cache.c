/* Per-CPU caches of pages and charges; page_cache.h says what for. */
#include <arch/arch.h>
#include <kernel/page.h>
#include <kernel/page_cache.h>
#include <kernel/untyped.h>

/* Some pages of the quota at once. A small or nearly full one is not charged far ahead: others would only have to take that back. */
static uint64_t charge_ahead(struct untyped *untyped)
{
    spinlock_acquire(&untyped->lock);
    uint64_t room = untyped->limit_pages - untyped->used_pages;
    uint64_t count = room / 32 >= CHARGE_BATCH ? CHARGE_BATCH : room != 0;
    peekable_set(untyped->used_pages, untyped->used_pages + count);
    spinlock_release(&untyped->lock);
    return count;
}

static void set_charged(struct page_cache *cache, uint64_t count) REQUIRES(&cache->lock) { peekable_set(cache->charged_pages, count); }

static void set_count(struct page_cache *cache, uint32_t count) REQUIRES(&cache->lock) { peekable_set(cache->count, count); }

static void uncharge_cached(struct page_cache *cache, uint64_t keep) REQUIRES(&cache->lock)
{
    if (cache->charged_pages > keep) {
        untyped_uncharge(cache->charged_to, cache->charged_pages - keep);
        set_charged(cache, keep);
    }
}

/* One page of the quota, from the cache or with a batch for it. False: the quota is used up, as far as this CPU knows. */
static bool charge_one(struct page_cache *cache, struct untyped *untyped) REQUIRES(&cache->lock)
{
    if (cache->charged_to != untyped || cache->charged_pages == 0) {
        uint64_t count = charge_ahead(untyped);
        if (count == 0)
            return false;
        uncharge_cached(cache, 0);
        peekable_set(cache->charged_to, untyped);
        set_charged(cache, count);
    }
    set_charged(cache, cache->charged_pages - 1);
    return true;
}

/* 0 when there is none. */
static inline paddr_t take_page(struct page_cache *cache, bool wants_zeroed) REQUIRES(&cache->lock)
{
    uint32_t count = cache->zeroed_count;
    if (wants_zeroed && count != 0) {
        peekable_set(cache->zeroed_count, count - 1);
        return cache->zeroed[count - 1] | PAGE_IS_ZERO;
    }
    count = cache->count;
    if (count == 0)
        return 0;
    set_count(cache, count - 1);
    return cache->pages[count - 1];
}

static void refill(struct page_cache *cache) REQUIRES(&cache->lock)
{
    if (cache->count < PAGE_CACHE_BATCH)
        set_count(cache, cache->count + page_alloc_batch(&cache->pages[cache->count], PAGE_CACHE_BATCH - cache->count));
}

[[clang::noinline]] static status_t alloc_generally(struct untyped *untyped, bool wants_zeroed, paddr_t *out_page)
{
    constexpr uint32_t ATTEMPTS = 8; /* what one CPU gives back another may take */
    struct page_cache *cache = arch_cpu()->page_cache;
    spinlock_acquire(&cache->lock);
    status_t status = charge_one(cache, untyped) ? OK : ERROR_NO_MEMORY;
    spinlock_release(&cache->lock);
    if (status != OK)
        status = untyped_charge(untyped, 1); /* takes back what other CPUs have charged ahead */
    if (status != OK)
        return status;
    for (uint32_t i = 0; i < ATTEMPTS; i++) {
        spinlock_acquire(&cache->lock);
        if (cache->count == 0)
            refill(cache);
        *out_page = take_page(cache, wants_zeroed);
        spinlock_release(&cache->lock);
        if (*out_page != 0)
            return OK;
        if (!page_cache_drain())
            break;
    }
    untyped_uncharge(untyped, 1);
    return ERROR_NO_MEMORY;
}

static void give_back(struct page_cache *cache, uint32_t count) REQUIRES(&cache->lock)
{
    set_count(cache, cache->count - count);
    page_free_batch(&cache->pages[cache->count], count);
}

status_t page_cache_alloc(struct untyped *untyped, bool wants_zeroed, paddr_t *out_page)
{
    struct page_cache *cache = arch_cpu()->page_cache;
    spinlock_acquire(&cache->lock);
    if (cache->charged_to != untyped || cache->charged_pages == 0 || cache->count == 0) {
        spinlock_release(&cache->lock);
        return alloc_generally(untyped, wants_zeroed, out_page);
    }
    set_charged(cache, cache->charged_pages - 1);
    *out_page = take_page(cache, wants_zeroed);
    spinlock_release(&cache->lock);
    return OK;
}

void page_cache_free(struct untyped *untyped, paddr_t page, bool is_zeroed)
{
    struct page_cache *cache = arch_cpu()->page_cache;
    spinlock_acquire(&cache->lock);
    if (is_zeroed && cache->zeroed_count < PAGE_CACHE_ZEROED_MAX) {
        cache->zeroed[cache->zeroed_count] = page;
        peekable_set(cache->zeroed_count, cache->zeroed_count + 1);
    } else {
        if (cache->count == PAGE_CACHE_MAX)
            give_back(cache, PAGE_CACHE_BATCH);
        cache->pages[cache->count] = page;
        set_count(cache, cache->count + 1);
    }
    if (cache->charged_to == untyped) {
        set_charged(cache, cache->charged_pages + 1);
        if (cache->charged_pages > 2 * CHARGE_BATCH)
            uncharge_cached(cache, CHARGE_BATCH);
    } else {
        untyped_uncharge(untyped, 1);
    }
    spinlock_release(&cache->lock);
}

bool page_cache_drain(void)
{
    bool any = false;
    for (uint32_t i = 0; i < cpu_count; i++) {
        struct page_cache *cache = cpus[i]->page_cache;
        spinlock_acquire(&cache->lock);
        any |= cache->count != 0 || cache->zeroed_count != 0;
        give_back(cache, cache->count);
        page_free_batch(cache->zeroed, cache->zeroed_count);
        peekable_set(cache->zeroed_count, 0);
        spinlock_release(&cache->lock);
    }
    return any;
}

bool page_cache_discharge(struct untyped *untyped)
{
    bool any = false;
    for (uint32_t i = 0; i < cpu_count; i++) {
        struct page_cache *cache = cpus[i]->page_cache;
        spinlock_acquire(&cache->lock);
        if (cache->charged_to == untyped) {
            any |= cache->charged_pages != 0;
            uncharge_cached(cache, 0);
            peekable_set(cache->charged_to, nullptr);
        }
        spinlock_release(&cache->lock);
    }
    return any;
}

/* The sums are exact when no other CPU allocates or frees meanwhile. */
uint64_t page_cache_charged(const struct untyped *untyped) NO_THREAD_SAFETY
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < cpu_count; i++)
        count += peek(cpus[i]->page_cache->charged_to) == untyped ? peek(cpus[i]->page_cache->charged_pages) : 0;
    return count;
}

uint64_t page_cache_count(void) NO_THREAD_SAFETY
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < cpu_count; i++)
        count += peek(cpus[i]->page_cache->count) + peek(cpus[i]->page_cache->zeroed_count);
    return count;
}
