/* The memory object: a run of pages, and who maps it. */
#pragma once
#include <kernel/object.h>

struct region;

enum memory_kind : uint8_t {
    MEMORY_KIND_ANONYMOUS, /* pages appear zeroed on first use, kept in a radix tree */
    MEMORY_KIND_RUN,       /* one physical run, ours, charged */
    MEMORY_KIND_FIXED,     /* one physical run that is never freed: boot image, clock page */
    MEMORY_KIND_DEVICE,    /* registers: mapped PROT_DEVICE, never copied from */
};

constexpr uint32_t MEMORY_INLINE_PAGES = 8;

struct memory {
    struct object object;
    struct spinlock lock;
    enum memory_kind kind;
    bool is_committed;
    bool is_traced;   /* the trace writes to it: its kill is told */
    bool has_futexes; /* somebody waited for a word of it once; set once, peek() */
    uint8_t depth;    /* radix levels above the inline array; 0 = inline */
    uint64_t size_pages;
    paddr_t run; /* RUN, FIXED, DEVICE */
    uint64_t committed_pages GUARDED_BY(&lock);
    uint32_t pin_count GUARDED_BY(&lock);  /* > 0: no page may go away before destroy */
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
/* The page at `index`, allocated when missing and `allocate` says so. The lock is held. */
[[nodiscard]] status_t memory_page_locked(struct memory *memory, uint64_t index, bool allocate, paddr_t *out_page) REQUIRES(&memory->lock);
/* How many pages from `index` on are surely not there: 0 when this one is. Whole missing nodes of the tree are counted at once. */
uint64_t memory_pages_missing_locked(struct memory *memory, uint64_t index) REQUIRES(&memory->lock);
/* Forgets a page that is there (its frame becomes the caller's). */
void memory_page_forget_locked(struct memory *memory, uint64_t index) REQUIRES(&memory->lock);
/* Commits [first, first + count) and forbids decommit until memory_unpin. */
[[nodiscard]] status_t memory_pin(struct memory *memory, uint64_t first, uint64_t count);
void memory_unpin(struct memory *memory);
