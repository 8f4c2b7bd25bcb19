/*
 * The page-table walk. struct page of a table frame counts its present entries in slab_free (state PAGE_TABLE), so that a table
 * that became empty can go back. Boot-time tables are never freed and not counted.
 */
#include <kernel/page_table.h>
#include <kernel/untyped.h>

constexpr uint32_t INDEX_BITS = 9, TABLE_ENTRIES = 1u << INDEX_BITS;

static uint32_t entry_index(vaddr_t va, uint32_t level)
{
    return (uint32_t)(va >> (PAGE_SHIFT + INDEX_BITS * level)) & (TABLE_ENTRIES - 1);
}

static uint64_t level_size(uint32_t level) { return PAGE_SIZE << (INDEX_BITS * level); }

static status_t table_alloc(struct untyped *untyped, paddr_t *out_table)
{
    if (untyped != nullptr) {
        status_t status = untyped_page_alloc(untyped, OBJECT_VSPACE, out_table);
        if (status != OK)
            return status;
    } else {
        *out_table = page_alloc(0);
        if (*out_table == 0)
            panic("not enough memory for the kernel's page tables");
        page_zero(phys_to_virt(*out_table));
    }
    peekable_set(page_of(*out_table)->state, PAGE_TABLE);
    page_of(*out_table)->slab_free = 0;
    return OK;
}

/* A table for the empty `entry` of another one. */
static status_t table_add(struct untyped *untyped, paddr_t table, uint64_t *entry)
{
    paddr_t next;
    status_t status = table_alloc(untyped, &next);
    if (status != OK)
        return status;
    page_of(table)->slab_free++;
    atomic_store_explicit((_Atomic uint64_t *)entry, arch_pte_table(next), memory_order_release);
    return OK;
}

/* arch_pte_is_leaf() is for entries that are present. */
static bool is_large(uint64_t entry, uint32_t level) { return arch_pte_is_present(entry) && arch_pte_is_leaf(entry, level); }

static uint64_t *entry_in(paddr_t table, vaddr_t va, uint32_t level) { return (uint64_t *)phys_to_virt(table) + entry_index(va, level); }

static inline status_t leaf_set(paddr_t table, uint32_t level, vaddr_t va, paddr_t pa, uint32_t prot)
{
    uint64_t *entry = entry_in(table, va, level);
    if (arch_pte_is_present(*entry))
        return level == 0 || arch_pte_is_leaf(*entry, level) ? ERROR_ALREADY : ERROR_BUSY;
    atomic_store_explicit((_Atomic uint64_t *)entry, arch_pte_leaf(pa, prot, level), memory_order_release);
    page_of(table)->slab_free++;
    return OK;
}

/* A leaf of this level, with the tables it needs. */
[[clang::noinline]] static status_t map_at(paddr_t root, struct untyped *untyped, uint32_t target, vaddr_t va, paddr_t pa, uint32_t prot)
{
    paddr_t table = root;
    for (uint32_t level = ARCH_PT_LEVELS - 1; level > target; level--) {
        uint64_t *entry = entry_in(table, va, level);
        status_t status = !arch_pte_is_present(*entry)      ? table_add(untyped, table, entry)
                          : arch_pte_is_leaf(*entry, level) ? ERROR_BUSY
                                                            : OK;
        if (status != OK)
            return status;
        table = arch_pte_address(*entry);
    }
    return leaf_set(table, target, va, pa, prot);
}

status_t page_table_map(paddr_t root, struct untyped *untyped, vaddr_t va, paddr_t pa, uint32_t prot)
{
    paddr_t table = root;
    for (uint32_t level = ARCH_PT_LEVELS - 1; level > 0; level--) {
        uint64_t entry = *entry_in(table, va, level);
        if (!arch_pte_is_present(entry))
            return map_at(root, untyped, 0, va, pa, prot);
        table = arch_pte_address(entry);
    }
    return leaf_set(table, 0, va, pa, prot);
}

/* `entry` of a table of this level, for va, is empty or done with: the address of the next one that is not empty, of the table's end, or
 * beyond `end`. */
static vaddr_t next_present(const uint64_t *entry, vaddr_t va, vaddr_t end, uint32_t level)
{
    vaddr_t at = (va & ~(level_size(level) - 1)) + level_size(level);
    while (at < end && (at & (level_size(level + 1) - 1)) != 0 && !arch_pte_is_present(*++entry))
        at += level_size(level);
    return at;
}

status_t page_table_map_large(paddr_t root, struct untyped *untyped, vaddr_t va, paddr_t pa, uint32_t prot)
{
    return map_at(root, untyped, 1, va, pa, prot);
}

uint64_t page_table_drop_large(paddr_t root, vaddr_t start, vaddr_t end)
{
    uint64_t dropped = 0;
    for (vaddr_t va = start & ~(LARGE_PAGE_SIZE - 1); va < end;) {
        paddr_t table = root;
        uint32_t level = ARCH_PT_LEVELS - 1;
        for (; level > 1 && arch_pte_is_present(*entry_in(table, va, level)); level--)
            table = arch_pte_address(*entry_in(table, va, level));
        uint64_t *entry = entry_in(table, va, level);
        if (level == 1 && is_large(*entry, 1)) {
            atomic_store_explicit((_Atomic uint64_t *)entry, 0, memory_order_release);
            page_of(table)->slab_free--;
            dropped++;
        }
        bool is_last = end - va <= level_size(level) - (va & (level_size(level) - 1));
        va = is_last ? end : next_present(entry, va, end, level);
    }
    return dropped;
}

void page_table_map_range(paddr_t root, vaddr_t va, paddr_t pa, uint64_t size, uint32_t prot)
{
    for (uint64_t step; size != 0; va += step, pa += step, size -= step) {
        uint32_t level = 2;
        while (level > 0 && (!arch_has_page_level(level) || ((va | pa) & (level_size(level) - 1)) != 0 || size < level_size(level)))
            level--;
        step = level_size(level);
        if (map_at(root, nullptr, level, va, pa, prot) == ERROR_BUSY) /* a page that two ranges share is mapped once */
            panic("page_table_map_range: %lx is mapped by a larger page already", va);
    }
}

/* Removes the leaves of [va, stop), which lie in one table of level 0 that has `count` of them; how many there were. */
static uint32_t leaves_remove(uint64_t *entry, vaddr_t va, vaddr_t stop, uint32_t count)
{
    uint32_t removed = 0;
    for (; va < stop && removed != count; va += PAGE_SIZE, entry++)
        if (arch_pte_is_present(*entry)) {
            atomic_store_explicit((_Atomic uint64_t *)entry, 0, memory_order_release);
            removed++;
        }
    return removed;
}

[[clang::noinline]] static bool unmap_generally(paddr_t root, vaddr_t start, vaddr_t end, paddr_t *out_tables)
{
    bool any = false;
    for (vaddr_t va = start; va < end;) {
        uint64_t *path[ARCH_PT_LEVELS]; /* the entry for va in the table of each level */
        paddr_t table = root;
        uint32_t level = ARCH_PT_LEVELS - 1;
        path[level] = entry_in(table, va, level);
        while (level > 0 && arch_pte_is_present(*path[level])) {
            table = arch_pte_address(*path[level--]);
            path[level] = entry_in(table, va, level);
        }
        vaddr_t stop = min_u64(end, (va & ~(level_size(level + 1) - 1)) + level_size(level + 1));
        if (level > 0) {
            stop = min_u64(end, next_present(path[level], va, end, level)); /* nothing is mapped by this entry */
        } else {
            uint32_t removed = leaves_remove(path[0], va, stop, page_of(table)->slab_free);
            page_of(table)->slab_free -= (uint16_t)removed;
            any |= removed != 0;
        }
        /* Tables that are empty now, upwards. The chain word lies in a table no walker can enter any more, but walkers under way
         * still may: it is a table's address, whose bit 0 is clear, so they find nothing there. */
        while (++level < ARCH_PT_LEVELS && page_of(table)->slab_free == 0) {
            atomic_store_explicit((_Atomic uint64_t *)path[level], 0, memory_order_release);
            *(uint64_t *)phys_to_virt(table) = *out_tables;
            *out_tables = table;
            table = virt_to_phys(path[level]) & ~(PAGE_SIZE - 1);
            page_of(table)->slab_free--;
        }
        va = stop;
    }
    return any;
}

static uint64_t *leaf_entry(paddr_t root, vaddr_t va)
{
    paddr_t table = root;
    for (uint32_t level = ARCH_PT_LEVELS - 1; level > 0; level--) {
        uint64_t entry = ((uint64_t *)phys_to_virt(table))[entry_index(va, level)];
        if (!arch_pte_is_present(entry) || arch_pte_is_leaf(entry, level))
            return nullptr;
        table = arch_pte_address(entry);
    }
    uint64_t *entry = (uint64_t *)phys_to_virt(table) + entry_index(va, 0);
    return arch_pte_is_present(*entry) ? entry : nullptr;
}

bool page_table_unmap(paddr_t root, vaddr_t start, vaddr_t end, paddr_t *out_tables)
{
    uint64_t *entry = end - start == PAGE_SIZE ? leaf_entry(root, start) : nullptr;
    if (entry == nullptr)
        return unmap_generally(root, start, end, out_tables);
    paddr_t table = virt_to_phys(entry) & ~(PAGE_SIZE - 1);
    if (page_of(table)->slab_free == 1)
        return unmap_generally(root, start, end, out_tables); /* the table goes too */
    atomic_store_explicit((_Atomic uint64_t *)entry, 0, memory_order_release);
    page_of(table)->slab_free--;
    return true;
}

vaddr_t page_table_next(paddr_t root, vaddr_t start, vaddr_t end)
{
    for (vaddr_t va = start; va < end;) {
        paddr_t table = root;
        uint32_t level = ARCH_PT_LEVELS - 1;
        for (; level > 0; level--) {
            uint64_t entry = *entry_in(table, va, level);
            if (!arch_pte_is_present(entry) || arch_pte_is_leaf(entry, level))
                break;
            table = arch_pte_address(entry);
        }
        if (level == 0 || is_large(*entry_in(table, va, level), level))
            return va;
        va = next_present(entry_in(table, va, level), va, end, level);
    }
    return end;
}

void page_table_free_list(struct untyped *untyped, paddr_t tables)
{
    while (tables != 0) {
        uint64_t *link = phys_to_virt(tables);
        paddr_t next = *link;
        *link = 0;
        untyped_page_free_zeroed(untyped, OBJECT_VSPACE, tables);
        tables = next;
    }
}

static bool protect_leaves(uint64_t *entry, const uint64_t *stop, uint32_t prot)
{
    bool any = false;
    for (; entry < stop; entry++) {
        uint64_t old = *entry;
        if (!arch_pte_is_present(old))
            continue;
        uint64_t changed = __builtin_expect(arch_pte_prot(old) & PROT_DEVICE, 0)
                               ? arch_pte_leaf(arch_pte_address(old), prot | PROT_DEVICE, 0)
                               : arch_pte_leaf(arch_pte_address(old), prot, 0);
        atomic_store_explicit((_Atomic uint64_t *)entry, changed, memory_order_release);
        any = true;
    }
    return any;
}

static bool write_protect_leaves(uint64_t *entry, const uint64_t *stop)
{
    uint64_t any = 0;
    for (; entry < stop; entry++) {
        uint64_t old = *entry, changed = arch_pte_read_only(old);
        if (!arch_pte_is_present(old))
            continue;
        atomic_store_explicit((_Atomic uint64_t *)entry, changed, memory_order_relaxed);
        any |= old ^ changed;
    }
    return any != 0;
}

constexpr uint32_t PROT_AS_IT_IS = UINT32_MAX; /* but for writing */

static bool protect_level(paddr_t table, uint32_t level, vaddr_t start, vaddr_t end, uint32_t prot)
{
    bool any = false;
    uint64_t *entries = phys_to_virt(table);
    if (level == 0) {
        uint64_t *entry = &entries[entry_index(start, 0)], *stop = &entries[entry_index(end - 1, 0) + 1];
        return prot == PROT_AS_IT_IS ? write_protect_leaves(entry, stop) : protect_leaves(entry, stop, prot);
    }
    uint64_t step = level_size(level);
    for (vaddr_t va = start; va < end;) {
        vaddr_t next = (va & ~(step - 1)) + step;
        vaddr_t stop = next < end ? next : end;
        uint64_t *entry = &entries[entry_index(va, level)];
        if (arch_pte_is_present(*entry))
            any |= protect_level(arch_pte_address(*entry), level - 1, va, stop, prot);
        va = stop;
    }
    return any;
}

bool page_table_protect(paddr_t root, vaddr_t start, vaddr_t end, uint32_t prot)
{
    if (end - start != PAGE_SIZE)
        return protect_level(root, ARCH_PT_LEVELS - 1, start, end, prot);
    uint64_t *entry = leaf_entry(root, start);
    return entry != nullptr && protect_leaves(entry, entry + 1, prot);
}

bool page_table_write_protect(paddr_t root, vaddr_t start, vaddr_t end)
{
    return protect_level(root, ARCH_PT_LEVELS - 1, start, end, PROT_AS_IT_IS);
}

bool page_table_lookup(paddr_t root, vaddr_t va, paddr_t *out_pa, uint32_t *out_prot)
{
    uint32_t level = ARCH_PT_LEVELS - 1;
    uint64_t entry = *entry_in(root, va, level);
    while (level > 0 && arch_pte_is_present(entry) && !arch_pte_is_leaf(entry, level)) {
        level--;
        entry = *entry_in(arch_pte_address(entry), va, level);
    }
    if (!arch_pte_is_present(entry))
        return false;
    *out_pa = arch_pte_address(entry) + (va & (level_size(level) - 1) & ~(PAGE_SIZE - 1));
    *out_prot = arch_pte_prot(entry);
    return true;
}

static void destroy_level(paddr_t table, uint32_t level, uint32_t last_entry, struct untyped *untyped)
{
    uint64_t *entries = phys_to_virt(table);
    bool is_emptied = page_of(table)->slab_free == 0; /* by page_table_unmap() */
    if (level > 0)
        for (uint32_t i = 0; i < last_entry && page_of(table)->slab_free != 0; i++)
            if (arch_pte_is_present(entries[i])) {
                destroy_level(arch_pte_address(entries[i]), level - 1, TABLE_ENTRIES, untyped);
                page_of(table)->slab_free--;
            }
    if (is_emptied)
        untyped_page_free_zeroed(untyped, OBJECT_VSPACE, table);
    else
        untyped_page_free(untyped, OBJECT_VSPACE, table);
}

void page_table_destroy(paddr_t root, struct untyped *untyped)
{
    uint32_t top = ARCH_PT_LEVELS - 1;
    uint32_t user_entries = entry_index(USER_TOP - 1, top) + 1;
    arch_root_clear(phys_to_virt(root));
    destroy_level(root, top, user_entries, untyped);
}
