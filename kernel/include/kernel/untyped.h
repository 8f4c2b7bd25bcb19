/* The untyped object: a quota of pages. Charging and allocation go together; both fail with nothing changed. */
#pragma once
#include <kernel/object.h>

constexpr uint32_t SLAB_CLASS_COUNT = 7; /* 64 .. 4096 bytes */

struct untyped {
    struct object object;
    struct spinlock lock;
    uint64_t limit_pages;
    uint64_t used_pages; /* changed under lock; with what CPUs have charged ahead of use (page_cache.h) */
    uint64_t object_count GUARDED_BY(&lock);
    struct list objects GUARDED_BY(&lock);                 /* alive, object.untyped_node */
    bool is_closing GUARDED_BY(&lock);                     /* being destroyed: nothing new joins `objects` */
    struct list slabs[SLAB_CLASS_COUNT] GUARDED_BY(&lock); /* pages with a free cell */
    struct untyped *parent;                                /* counted; nullptr for the root */
};

extern struct untyped *untyped_root;
void untyped_init_root(void); /* takes all free pages */

[[nodiscard]] status_t untyped_charge(struct untyped *untyped, uint64_t count_pages);
void untyped_uncharge(struct untyped *untyped, uint64_t count_pages);
uint64_t untyped_used_pages(const struct untyped *untyped); /* really used; no lock is taken */
/* One zeroed page, charged. */
[[nodiscard]] status_t untyped_page_alloc(struct untyped *untyped, enum object_type type, paddr_t *out_page);
/* The same with old contents. */
[[nodiscard]] status_t untyped_page_take(struct untyped *untyped, enum object_type type, paddr_t *out_page);
void untyped_page_free(struct untyped *untyped, enum object_type type, paddr_t page);
void untyped_page_free_zeroed(struct untyped *untyped, enum object_type type, paddr_t page); /* it is all zero */
/* Zeroed cell of at most PAGE_SIZE bytes. */
[[nodiscard]] void *untyped_cell_alloc(struct untyped *untyped, enum object_type type, uint32_t size);
void untyped_cell_free(struct untyped *untyped, enum object_type type, void *cell, uint32_t size);
extern const struct object_class untyped_class;
/* Kills everything made from it, a bounded number of objects; true when something is left. */
bool untyped_kill_step(struct untyped *untyped);
