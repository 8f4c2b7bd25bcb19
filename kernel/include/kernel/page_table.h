/*
 * The portable page-table walk over the architecture's entry format. Callers hold the lock of the address space. Tables are
 * charged to an untyped (nullptr at boot: straight from the buddy).
 */
#pragma once
#include <arch/arch.h>
#include <kernel/page.h>

struct untyped;

/* Maps one 4 KiB page; replaces nothing: an entry already present is left and reported as ALREADY. */
[[nodiscard]] status_t page_table_map(paddr_t root, struct untyped *untyped, vaddr_t va, paddr_t pa, uint32_t prot);
constexpr uint64_t LARGE_PAGE_SIZE = PAGE_SIZE << 9;
/* The same with one of 2 MiB, both addresses aligned so. BUSY: smaller pages are mapped there. */
[[nodiscard]] status_t page_table_map_large(paddr_t root, struct untyped *untyped, vaddr_t va, paddr_t pa, uint32_t prot);
/* Removes all pages of 2 MiB that [start, end) touches; how many (the caller flushes all of the space). page_table_map(), unmap() and protect()
 * expect none where they work. The tables go with the next page_table_unmap() there. */
uint64_t page_table_drop_large(paddr_t root, vaddr_t start, vaddr_t end);
/* Boot only: a range with the largest pages that fit. Panics when memory runs out. */
void page_table_map_range(paddr_t root, vaddr_t va, paddr_t pa, uint64_t size, uint32_t prot);
/* Removes [start, end); true when any entry was present (the caller flushes TLBs). Tables that became empty are put on
 * `out_tables` (chained through their first word), to be freed after the flush with page_table_free_list(). */
bool page_table_unmap(paddr_t root, vaddr_t start, vaddr_t end, paddr_t *out_tables);
/* The first address from `start` on that a large page or a table of the lowest level is for; `end` when there is none below it. */
vaddr_t page_table_next(paddr_t root, vaddr_t start, vaddr_t end);
void page_table_free_list(struct untyped *untyped, paddr_t tables);
/* Changes the protection of present entries; true when any was. */
bool page_table_protect(paddr_t root, vaddr_t start, vaddr_t end, uint32_t prot);
/* Takes the right to write away; true when any entry had it. */
bool page_table_write_protect(paddr_t root, vaddr_t start, vaddr_t end);
/* The leaf for va; false when not mapped. */
bool page_table_lookup(paddr_t root, vaddr_t va, paddr_t *out_pa, uint32_t *out_prot);
/* Frees all tables of the user half and the root itself. */
void page_table_destroy(paddr_t root, struct untyped *untyped);
