/*
 * Physical pages: a buddy allocator over all RAM with one struct page per frame. Callers charge an untyped first (untyped.h);
 * at boot the kernel takes pages for itself before the root untyped is made.
 */
#pragma once
#include <kernel/spinlock.h>
#include <tess/abi.h>
#include <tess/list.h>

struct untyped;

enum page_state : uint8_t { PAGE_RESERVED, PAGE_FREE, PAGE_USED, PAGE_SLAB, PAGE_TABLE };

constexpr uint32_t PAGE_ORDER_MAX = 18; /* 1 GiB */

struct page {
    struct list_node node; /* free list, or the slab's list */
    union {
        struct untyped *untyped;      /* PAGE_SLAB */
        struct {                      /* a page of an anonymous memory (mm/share.c) */
            _Atomic uint32_t holders; /* memories that hold it; above 1 it is shared, and read-only wherever it is mapped */
            uint32_t pin_count;       /* lock of its only holder: a pinned page is never shared */
        };
    };
    uint8_t state; /* enum page_state; who has the page may change it, a neighbour peek()s whether it is free */
    uint8_t order; /* of a free or allocated block, in its first page */
    uint8_t slab_class;
    bool is_ram; /* reserved or not */
    union {
        uint16_t slab_free; /* PAGE_SLAB: offset / 16 of the first free cell, 0xFFFF = none; PAGE_TABLE: entries in use */
        struct {            /* a page of a paged memory (mm/pager_page.c) */
            bool is_dirty;  /* written to since it was supplied or told clean */
            bool is_code;   /* was mapped executable: instruction caches know it */
        };
    };
    uint16_t slab_used;
};
static_assert(sizeof(struct page) == 32);

extern struct page *page_array;
extern uint64_t page_array_first; /* frame number of page_array[0] */
extern uint64_t page_array_count;

struct boot_info;
void page_init(const struct boot_info *bi);
uint64_t page_free_count(void);
uint64_t page_ram_count(void);

/* 0 when there is no block. Contents are not cleared. */
[[nodiscard]] paddr_t page_alloc(uint32_t order);
void page_free(paddr_t address, uint32_t order);
/* Single pages under one taking of the lock, as many as there are: how many. */
[[nodiscard]] uint32_t page_alloc_batch(paddr_t pages[], uint32_t count);
void page_free_batch(const paddr_t pages[], uint32_t count);
/* A run of any length: the smallest block that fits, the tail given back. 0 = no such run. */
[[nodiscard]] paddr_t page_alloc_run(uint64_t count);
void page_free_run(paddr_t address, uint64_t count);
bool page_is_ram(paddr_t address, uint64_t size); /* any byte of it */

static inline struct page *page_of(paddr_t address) { return &page_array[(address >> PAGE_SHIFT) - page_array_first]; }

void page_zero(void *page); /* 8-byte stores */
