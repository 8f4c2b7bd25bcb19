/*
 * mm/page_table.c: one step from every table of three levels with two entries each (eight pages of address space instead of 2^27; the code
 * knows the width in one constant). Any tables may be there, empty ones too; every leaf is any. What an address translates to
 * afterwards is what it did before, or what the step asked for; counts are exact; no table is lost, and none that is still linked goes back.
 */
#include <kernel/mm/page_table.c>
#include <proof.h>

enum { PAGES = 8, TABLES = 7, ENTRIES = 2 }; /* table 0 is the root, 1 and 2 lie below it, 3 to 6 below those */

static uint64_t ram[TABLES + 1][ENTRIES];
static struct page frames[TABLES + 1];
struct page *page_array = frames;
uint64_t page_array_first = 1, page_array_count = TABLES + 1;
static uint8_t frame_of[TABLES]; /* of the table of that place, if it is there */
static bool is_there[TABLES];    /* the table */
static uint64_t leaves[PAGES];   /* what page i translates to; 0: nothing */
static bool is_frame_used[TABLES + 1];

void panic(const char *format, ...) { PROVE(!"panic"); }
paddr_t page_alloc(uint32_t order)
{
    PROVE(!"not for user tables");
    return 0;
}
void page_zero(void *page) {}

static uint32_t frame_number(paddr_t address)
{
    PROVE(address >> PAGE_SHIFT >= 1 && address >> PAGE_SHIFT <= TABLES + 1 && address % PAGE_SIZE == 0);
    return (uint32_t)(address >> PAGE_SHIFT) - 1;
}
void *proof_ram_at(paddr_t address) { return ram[frame_number(address)]; }
paddr_t proof_ram_address(const void *at)
{
    uint64_t i = (uint64_t)((const uint64_t *)at - ram[0]);
    return ((i / ENTRIES + 1) << PAGE_SHIFT) + i % ENTRIES * 8;
}
bool arch_has_page_level(uint32_t level) { return false; }

status_t untyped_page_alloc(struct untyped *untyped, enum object_type type, paddr_t *out_page)
{
    if (nondet_bool())
        return ERROR_NO_MEMORY;
    uint32_t i = choose(TABLES + 1); /* any that is free */
    ASSUME(!is_frame_used[i]);
    is_frame_used[i] = true;
    for (uint32_t k = 0; k < ENTRIES; k++)
        ram[i][k] = 0;
    *out_page = (paddr_t)(i + 1) << PAGE_SHIFT;
    return OK;
}
void untyped_page_free(struct untyped *untyped, enum object_type type, paddr_t page)
{
    uint32_t i = frame_number(page);
    PROVE(is_frame_used[i]);
    is_frame_used[i] = false;
}
void untyped_page_free_zeroed(struct untyped *untyped, enum object_type type, paddr_t page)
{
    for (uint32_t k = 0; k < ENTRIES; k++)
        PROVE(ram[frame_number(page)][k] == 0);
    untyped_page_free(untyped, type, page);
}
void arch_root_clear(void *user_root) {}

/* ---- States ---- */

static uint32_t parent_of(uint32_t table) { return (table - 1) / 2; }
static uint32_t place_in_parent(uint32_t table) { return (table - 1) % 2; }
static paddr_t address_of(uint32_t table) { return (paddr_t)(frame_of[table] + 1) << PAGE_SHIFT; }
static bool is_leaf_table(uint32_t table) { return table >= 3; }

static uint64_t any_leaf(void)
{
    paddr_t pa = (nondet_u64() & 0xFFFFFFFFFull) << PAGE_SHIFT;
    return nondet_bool() ? arch_pte_leaf(pa, choose(32), 0) : 0;
}

static void any_tables(void)
{
    for (uint32_t t = 0; t < TABLES; t++) {
        is_there[t] = t == 0 || (is_there[parent_of(t)] && nondet_bool());
        if (!is_there[t])
            continue;
        frame_of[t] = (uint8_t)t;
        is_frame_used[frame_of[t]] = true;
        struct page *page = &frames[frame_of[t]];
        page->slab_free = 0;
        if (t != 0) {
            ram[frame_of[parent_of(t)]][place_in_parent(t)] = arch_pte_table(address_of(t));
            frames[frame_of[parent_of(t)]].slab_free++;
        }
        for (uint32_t k = 0; k < ENTRIES; k++) {
            uint64_t leaf = is_leaf_table(t) ? any_leaf() : 0;
            ram[frame_of[t]][k] = leaf;
            if (is_leaf_table(t)) {
                leaves[(t - 3) * ENTRIES + k] = leaf;
                page->slab_free += leaf != 0;
            }
        }
    }
}

/* Walks down for page i, independently of the code: what is there, and that it is counted. */
static void prove_tables(void)
{
    uint32_t reached = 0, used = 0;
    bool was_seen[TABLES + 1] = {};
    uint32_t at[TABLES];
    bool has[TABLES];
    at[0] = frame_of[0];
    has[0] = true;
    for (uint32_t t = 0; t < TABLES; t++) {
        if (t != 0) {
            uint64_t entry = has[parent_of(t)] ? ram[at[parent_of(t)]][place_in_parent(t)] : 0;
            has[t] = (entry & 1) != 0;
            PROVE(has[t] || entry == 0);
            if (!has[t]) {
                if (is_leaf_table(t))
                    PROVE(leaves[(t - 3) * ENTRIES] == 0 && leaves[(t - 3) * ENTRIES + 1] == 0);
                continue;
            }
            at[t] = frame_number(arch_pte_address(entry));
        }
        PROVE(!was_seen[at[t]] && is_frame_used[at[t]]); /* a table of its own */
        was_seen[at[t]] = true;
        reached++;
        uint32_t count = 0;
        for (uint32_t k = 0; k < ENTRIES; k++) {
            count += (ram[at[t]][k] & 1) != 0;
            if (is_leaf_table(t))
                PROVE(ram[at[t]][k] == leaves[(t - 3) * ENTRIES + k]);
        }
        PROVE(frames[at[t]].slab_free == count);
    }
    for (uint32_t i = 0; i < TABLES + 1; i++)
        used += is_frame_used[i];
    PROVE(used == reached);
}

static vaddr_t any_page(uint32_t *out_i)
{
    *out_i = choose(PAGES);
    return (vaddr_t)*out_i << PAGE_SHIFT;
}

static void any_range(uint32_t *out_first, uint32_t *out_end)
{
    *out_first = choose(PAGES);
    *out_end = 1 + choose(PAGES);
    ASSUME(*out_first < *out_end);
}

/* ---- Steps ---- */

void proof_map(void)
{
    any_tables();
    uint32_t i, prot = choose(32);
    vaddr_t va = any_page(&i);
    paddr_t pa = (nondet_u64() & 0xFFFFFFFFFull) << PAGE_SHIFT;
    struct untyped *untyped = (struct untyped *)frames; /* not nullptr */
    status_t status = page_table_map(address_of(0), untyped, va, pa, prot);
    PROVE((status == ERROR_ALREADY) == (leaves[i] != 0));
    if (status == OK) {
        leaves[i] = arch_pte_leaf(pa, prot, 0);
        REACHED();
    }
    prove_tables();
}

void proof_unmap(void)
{
    any_tables();
    uint32_t first, end;
    any_range(&first, &end);
    bool has_any = false;
    for (uint32_t i = 0; i < PAGES; i++)
        if (i >= first && i < end) {
            has_any |= leaves[i] != 0;
            leaves[i] = 0;
        }
    paddr_t tables = 0;
    bool any = page_table_unmap(address_of(0), (vaddr_t)first << PAGE_SHIFT, (vaddr_t)end << PAGE_SHIFT, &tables);
    PROVE(any == has_any);
    PROVE(frames[frame_of[0]].slab_free == 0 || first != 0 || end != PAGES); /* nothing of an empty space stays */
    page_table_free_list(nullptr, tables);
    prove_tables();
    REACHED();
}

void proof_protect(void)
{
    any_tables();
    uint32_t first, end, prot = choose(32);
    any_range(&first, &end);
    bool has_any = false;
    for (uint32_t i = 0; i < PAGES; i++)
        if (i >= first && i < end && leaves[i] != 0) {
            has_any = true;
            leaves[i] = arch_pte_leaf(arch_pte_address(leaves[i]), prot | (arch_pte_prot(leaves[i]) & PROT_DEVICE), 0);
        }
    PROVE(page_table_protect(address_of(0), (vaddr_t)first << PAGE_SHIFT, (vaddr_t)end << PAGE_SHIFT, prot) == has_any);
    prove_tables();
    REACHED();
}

void proof_look(void)
{
    any_tables();
    uint32_t i, first, end, prot;
    vaddr_t va = any_page(&i);
    paddr_t pa;
    bool is_mapped = page_table_lookup(address_of(0), va, &pa, &prot);
    PROVE(is_mapped == (leaves[i] != 0));
    PROVE(!is_mapped || arch_pte_leaf(pa, prot, 0) == leaves[i]);
    any_range(&first, &end);
    vaddr_t next = page_table_next(address_of(0), (vaddr_t)first << PAGE_SHIFT, (vaddr_t)end << PAGE_SHIFT);
    for (uint32_t k = 0; k < PAGES; k++) {
        bool is_before = k >= first && k < end && (vaddr_t)k << PAGE_SHIFT < next;
        PROVE(!is_before || !is_there[3 + k / ENTRIES]); /* nothing is jumped over */
        PROVE(next != (vaddr_t)k << PAGE_SHIFT || k >= end || is_there[3 + k / ENTRIES]);
    }
    PROVE(next >= (vaddr_t)first << PAGE_SHIFT);
    prove_tables();
    REACHED();
}

void proof_destroy(void)
{
    any_tables();
    page_table_destroy(address_of(0), nullptr);
    for (uint32_t i = 0; i < TABLES + 1; i++)
        PROVE(!is_frame_used[i]);
    REACHED();
}
