/* The memory object: a run of pages, and who maps it. */
#pragma once
#include <kernel/object.h>
#include <kernel/page.h>

struct region;
struct pager;

enum memory_kind : uint8_t {
    MEMORY_KIND_ANONYMOUS, /* pages appear zeroed on first use, kept in a radix tree */
    MEMORY_KIND_RUN,       /* one physical run, ours, charged */
    MEMORY_KIND_FIXED,     /* one physical run that is never freed: boot image, clock page */
    MEMORY_KIND_DEVICE,    /* registers: mapped PROT_DEVICE, never copied from */
};

constexpr uint32_t MEMORY_INLINE_PAGES = 8;
constexpr uint64_t MEMORY_PAGES_MAX = (1ull << 40) >> PAGE_SHIFT;

struct memory {
    struct object object;
    struct spinlock lock;
    enum memory_kind kind;
    bool is_plain;         /* anonymous, and may_share is false: peek() without the lock is no use, it becomes false under it */
    bool is_shrinking;     /* lock; a resize is under way */
    bool is_resizable;     /* MEMORY_RESIZABLE, or paged: may be mapped only where a fault is expected */
    bool is_paged;         /* missing pages are not zero: a pager has them (kernel/pager.h); may_share is set too */
    bool is_huge;          /* MEMORY_HUGE; not plain */
    bool is_traced;        /* the trace writes to it: its kill is told */
    bool has_futexes;      /* somebody waited for a word of it once; set once, peek() */
    uint8_t depth;         /* radix levels above the inline array; 0 = inline */
    uint64_t size_pages;   /* lock; peek(). With a tree, its capacity is never less than any size it had */
    uint64_t pinned_below; /* lock. Pages from here on get no pins: size_pages, or what that is about to become */
    uint64_t source_id;    /* of the memory this was cloned from; 0 = none */
    paddr_t run;           /* RUN, FIXED, DEVICE */
    uint64_t committed_pages GUARDED_BY(&lock);
    bool may_share GUARDED_BY(&lock);     /* not each page may be mapped writable: it was cloned or is a clone (mm/share.c), or is paged */
    uint64_t pin_count GUARDED_BY(&lock); /* sum over its pages */
    uint64_t seal_first, seal_count GUARDED_BY(&lock); /* pages that nobody may map or write now; count 0 = none */
    struct pager *pager;                               /* lock and pager->lock; peek(). Not counted; nullptr: it is gone */
    struct list_node pager_node;                       /* pager->lock */
    uint64_t pager_key;
    struct list regions GUARDED_BY(&lock); /* struct region, memory_node */
    uint64_t link_count GUARDED_BY(&lock); /* regions linked so far */
    union {
        paddr_t pages[MEMORY_INLINE_PAGES]; /* 0 = not there yet */
        paddr_t root;                       /* radix node: 512 entries */
    };
};

extern const struct object_class memory_class;

[[nodiscard]] status_t memory_create(struct untyped *untyped, uint64_t size_pages, uint32_t flags, struct memory **out_memory);
[[nodiscard]] status_t memory_create_fixed(struct untyped *untyped, enum memory_kind kind, paddr_t run, uint64_t size_pages,
                                           struct memory **out_memory);
/* The page at `index`, allocated when missing and `allocate` says so. The lock is held. BAD_ADDRESS: beyond the end. */
[[nodiscard]] status_t memory_page_locked(struct memory *memory, uint64_t index, bool allocate, paddr_t *out_page) REQUIRES(&memory->lock);
/* How many pages from `index` on are surely not there: 0 when this one is. Whole missing nodes of the tree are counted at once. */
uint64_t memory_pages_missing_locked(struct memory *memory, uint64_t index) REQUIRES(&memory->lock);
/* Forgets a page that is there (its frame becomes the caller's). */
void memory_page_forget_locked(struct memory *memory, uint64_t index) REQUIRES(&memory->lock);
/* The place of page `index` and how many follow it in the same node; nullptr when the node is missing (and `allocate` did not help). */
paddr_t *memory_places_locked(struct memory *memory, uint64_t index, bool allocate, uint64_t *out_count) REQUIRES(&memory->lock);

/* mm/large.c. Pages [first, first + 512) are there, one run that begins at `page`, and may be mapped as one. */
bool memory_is_run_locked(struct memory *memory, uint64_t first, paddr_t page) REQUIRES(&memory->lock);
/* The 2 MiB round page `index` are empty, and are to be filled by one run; memory_fill_run() does so, with no lock held, if it is so and
 * there is one. */
bool memory_wants_run_locked(struct memory *memory, uint64_t index) REQUIRES(&memory->lock);
void memory_fill_run(struct memory *memory, uint64_t index);

/* mm/fault.c: whether one of the pages is pinned. No lock held. */
bool memory_has_pins(struct memory *memory, uint64_t first, uint64_t count);

/* mm/share.c */
static inline void memory_page_begin(paddr_t page)
{
    atomic_store_explicit(&page_of(page)->holders, 1, memory_order_relaxed);
    page_of(page)->pin_count = 0;
}
static inline bool memory_is_sealed_locked(const struct memory *memory, uint64_t index) REQUIRES(&memory->lock)
{
    return index - memory->seal_first < memory->seal_count;
}
static inline bool memory_page_is_shared_locked(const struct memory *memory, paddr_t page) REQUIRES(&memory->lock)
{
    return memory->may_share && atomic_load_explicit(&page_of(page)->holders, memory_order_acquire) != 1;
}
/* The page for the kernel to write to, allocated when missing. RESTART: shared or sealed; release the lock, memory_unshare(), again. */
[[nodiscard]] status_t memory_page_writable_locked(struct memory *memory, uint64_t index, paddr_t *out_page) REQUIRES(&memory->lock);
/* The page is this memory's own then, if it is there. No lock held; waits for a seal. */
[[nodiscard]] status_t memory_unshare(struct memory *memory, uint64_t index);
/* The same under the lock, for a page that is there and has no translations left. */
[[nodiscard]] status_t memory_break_locked(struct memory *memory, uint64_t index, paddr_t *out_page) REQUIRES(&memory->lock);
void memory_page_free(struct memory *memory, paddr_t page);
/* Gives up a page that was taken out of its place. */
static inline void memory_page_release(struct memory *memory, paddr_t page)
{
    struct page *frame = page_of(page);
    if (atomic_load_explicit(&frame->holders, memory_order_relaxed) != 1 &&
        atomic_fetch_sub_explicit(&frame->holders, 1, memory_order_release) != 1)
        return;
    atomic_thread_fence(memory_order_acquire); /* what the other holders read is read before the page is another's */
    memory_page_free(memory, page);
}
/* There and the memory's own. */
[[nodiscard]] status_t memory_commit_page(struct memory *memory, uint64_t index);
/* Commits [first, first + count); they stay as they are until memory_unpin with the same range. */
[[nodiscard]] status_t memory_pin(struct memory *memory, uint64_t first, uint64_t count);
void memory_unpin(struct memory *memory, uint64_t first, uint64_t count);
/* Gives `clone`, which nobody else sees yet, pages [first, first + count) of the source; *cursor counts from 0. RESTART: some are left.
 * Shared, if both are charged to one untyped and the page is not pinned, else copied. */
[[nodiscard]] status_t memory_clone_step(struct memory *source, struct memory *clone, uint64_t first, uint64_t count, uint64_t *cursor);
