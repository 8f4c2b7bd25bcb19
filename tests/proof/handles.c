/*
 * cap/cspace.c: one step from every table of PAGES_NOW pages of SLOTS_PER_PAGE slots (smaller ones than the kernel's). A slot is free, full,
 * reserved (on its way from one to the other), retired (its generations are used up) or beyond the limit; generations are any. What holds after each
 * step, for every slot: its name never goes back, so a handle that became stale names nothing for ever after; all others' handles
 * still name what they did; the free list has each free slot once. A lock that is tried may be another's. The derivation tree is proven in
 * derivation.c; badges and endpoints' owners are not looked at here.
 */
#include <kernel/spinlock.h>
#include <proof.h>
#undef spinlock_try_acquire
#define spinlock_try_acquire(lock) (nondet_bool() && spinlock_try_acquire_at(lock, LOCK_SITE(lock)))
#include <kernel/cap/cspace.c>

#ifndef PAGES_NOW
#define PAGES_NOW 1 /* that the table has; it may grow to CSPACE_PAGES_MAX */
#endif
enum { SLOTS = CSPACE_PAGES_MAX * SLOTS_PER_PAGE, OBJECTS = 2 };
enum kind { NONE, FREE, FULL, RESERVED, RETIRED };

static struct cspace table;
static struct slot slots[SLOTS], extra_page[SLOTS_PER_PAGE];
static struct slot *directory[CSPACE_PAGES_MAX];
static struct object objects[OBJECTS];
static uint8_t kinds[SLOTS], held[SLOTS]; /* held: which object */
static uint32_t generations[SLOTS], given_rights[SLOTS], refs[OBJECTS];
static uint8_t first_free = SLOTS, next_free[SLOTS]; /* SLOTS: none */
static bool is_in_tree[SLOTS];
static uint32_t unreferenced;

/* ---- What the table uses ---- */

static struct cpu this_cpu;
struct cpu *host_cpu = &this_cpu;
void spinlock_wait(struct spinlock *lock, const struct lock_site *site) { PROVE(!"taken twice"); }
void object_unreferenced(struct object *object) { unreferenced++; }
void *proof_ram_at(paddr_t address) { return address == 1 ? &slots[SLOTS_PER_PAGE * (table.slot_count / SLOTS_PER_PAGE)] : extra_page; }
paddr_t proof_ram_address(const void *at) { return 0; }

static uint32_t index_of(const struct derivation_node *node) { return (uint32_t)(container_of(node, struct slot, node) - slots); }
void derivation_insert(struct derivation_node *parent, struct derivation_node *node)
{
    PROVE(index_of(node) < SLOTS && !is_in_tree[index_of(node)]);
    is_in_tree[index_of(node)] = true;
    node->child = nullptr;
}
void derivation_remove(struct derivation_node *node)
{
    PROVE(index_of(node) < SLOTS && is_in_tree[index_of(node)]);
    is_in_tree[index_of(node)] = false;
}

static struct cell payer;
static uint64_t charged;
bool cell_charge(struct cell *cell, uint32_t kind, uint64_t count)
{
    PROVE(cell == &payer && kind == CELL_LIMIT_HANDLES);
    bool fits = nondet_bool();
    charged += fits ? count : 0;
    return fits;
}
void cell_uncharge(struct cell *cell, uint32_t kind, uint64_t count)
{
    PROVE(cell == &payer && kind == CELL_LIMIT_HANDLES && charged >= count);
    charged -= count;
}

static bool is_second, is_extra_given;
status_t untyped_page_alloc(struct untyped *untyped, enum object_type type, paddr_t *out_page)
{
    PROVE(table.lock.is_held == 0);
    if (nondet_bool())
        return ERROR_NO_MEMORY;
    *out_page = 1;
    if (!is_second && nondet_bool()) { /* another CPU finds the table full too, and is faster */
        is_second = true;
        if (slots_grow(&table) == OK) {
            *out_page = 2;
            is_extra_given = true;
        }
        is_second = false;
    }
    return OK;
}
void untyped_page_free(struct untyped *untyped, enum object_type type, paddr_t page)
{
    PROVE(page == 2 && is_extra_given);
    is_extra_given = false;
}

/* ---- States ---- */

static void any_table(void)
{
    table.pages = directory;
    table.slot_limit = 1 + choose(SLOTS);
    const uint32_t count = PAGES_NOW * SLOTS_PER_PAGE;
    ASSUME(count < table.slot_limit + SLOTS_PER_PAGE);
    table.slot_count = count;
    table.is_closed = nondet_bool();
    for (uint32_t i = 0; i < OBJECTS; i++) {
        objects[i].type = OBJECT_EVENT;
        objects[i].state = nondet_bool() ? OBJECT_ALIVE : OBJECT_DEAD;
        refs[i] = nondet_bool(); /* others' */
    }
    for (uint32_t n = 0; n < SLOTS; n++) {
        uint32_t i = SLOTS - 1 - n;
        if (i >= count)
            continue;
        directory[i / SLOTS_PER_PAGE] = &slots[i / SLOTS_PER_PAGE * SLOTS_PER_PAGE];
        slots[i].cspace = &table;
        kinds[i] = i < table.slot_limit ? 1 + choose(4) : NONE;
        generations[i] = kinds[i] == RETIRED ? 0 : kinds[i] == NONE ? 1 : nondet_u32();
        ASSUME(kinds[i] == RETIRED || generations[i] != 0);
        uint64_t name = (uint64_t)generations[i] << 32 | i;
        slots[i].name = kinds[i] == FULL ? name : name ^ SLOT_EMPTY;
        table.used_count += kinds[i] == FULL || kinds[i] == RESERVED;
        if (kinds[i] == FULL) {
            held[i] = (uint8_t)choose(OBJECTS);
            refs[held[i]]++;
            slots[i].object = &objects[held[i]];
            slots[i].rights = given_rights[i] = nondet_u32();
            is_in_tree[i] = true;
        }
        if (kinds[i] == FREE) {
            slots[i].node.child = (struct derivation_node *)table.free;
            table.free = &slots[i];
            next_free[i] = first_free;
            first_free = (uint8_t)i;
        }
    }
    for (uint32_t i = 0; i < OBJECTS; i++)
        objects[i].refs = refs[i];
}

static bool is_slot(const void *slot, uint32_t i) { return slot == (i == SLOTS ? nullptr : &slots[i]); }

/* The table is what kinds[], generations[], held[], given_rights[] and the model of the free list say. */
static void prove_table(void)
{
    uint32_t used = 0;
    PROVE(table.lock.is_held == 0 && !is_extra_given && is_slot(table.free, first_free));
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (i >= table.slot_count)
            continue;
        used += kinds[i] == FULL || kinds[i] == RESERVED;
        uint64_t name = (uint64_t)generations[i] << 32 | i;
        PROVE(slots[i].cspace == &table && slots[i].name == (kinds[i] == FULL ? name : name ^ SLOT_EMPTY));
        PROVE(slots[i].object == (kinds[i] == FULL ? &objects[held[i]] : nullptr) && is_in_tree[i] == (kinds[i] == FULL));
        PROVE(kinds[i] != FULL || slots[i].rights == given_rights[i]);
        PROVE(kinds[i] != FREE || is_slot(slots[i].node.child, next_free[i]));
    }
    PROVE(table.used_count == used);
    for (uint32_t i = 0; i < OBJECTS; i++)
        PROVE(objects[i].refs == refs[i] && objects[i].lock.is_held == 0);
}

static void note_free(uint32_t i)
{
    kinds[i] = FREE;
    next_free[i] = first_free;
    first_free = (uint8_t)i;
}

/* What growing makes of the slots that there were none of. */
static void note_growth(uint32_t before)
{
    PROVE(table.slot_count == before || table.slot_count == before + SLOTS_PER_PAGE);
    for (uint32_t n = 0; n < SLOTS; n++) {
        uint32_t i = SLOTS - 1 - n;
        if (i < before || i >= table.slot_count)
            continue;
        generations[i] = 1;
        if (i < table.slot_limit)
            note_free(i);
    }
}

static void note_emptied(uint32_t i)
{
    refs[held[i]]--;
    if (++generations[i] == 0)
        kinds[i] = RETIRED;
    else
        note_free(i);
}

/* ---- Steps ---- */

void proof_lookup(void)
{
    any_table();
    handle_t handle = nondet_u64();
    struct cap cap;
    status_t status = cspace_lookup(&table, handle, &cap);
    uint32_t i = (uint32_t)handle;
    bool is_full = i < table.slot_count && kinds[i] == FULL && generations[i] == handle >> 32;
    PROVE((status == OK) == (is_full && objects[held[i]].state == OBJECT_ALIVE));
    if (status == OK) {
        PROVE(cap.object == &objects[held[i]] && cap.rights == given_rights[i] && cap.slot == &slots[i] &&
              cap.generation == generations[i]);
        REACHED();
    } else {
        bool was_once = i < table.slot_count && handle >> 32 != 0 && handle >> 32 < generations[i];
        PROVE(status == (is_full || was_once ? ERROR_STALE_HANDLE : ERROR_BAD_HANDLE));
        REACHED();
    }
    prove_table();
}

void proof_insert(void)
{
    any_table();
    struct object *object = &objects[choose(OBJECTS)];
    uint32_t p = choose(SLOTS), rights = nondet_u32(), before = table.slot_count, free = 0;
    bool has_parent = nondet_bool(), is_closed = table.is_closed;
    struct cap parent = {.object = object, .slot = &slots[p], .generation = nondet_u32()};
    bool is_parent_there = p < before && kinds[p] == FULL && &objects[held[p]] == object && generations[p] == parent.generation;
    for (uint32_t i = 0; i < SLOTS; i++)
        free += kinds[i] == FREE;
    handle_t handle;
    status_t status = cspace_insert(&table, object, has_parent ? &parent : nullptr, rights, nullptr, &handle);
    bool is_possible = object->state == OBJECT_ALIVE && (!has_parent || is_parent_there) && !is_closed;
    note_growth(before);
    PROVE(free == 0 || table.slot_count == before);
    if (status == OK) {
        uint32_t i = (uint32_t)handle;
        PROVE(is_possible && i == first_free && i < table.slot_count && handle >> 32 == generations[i]);
        first_free = next_free[i];
        kinds[i] = FULL;
        held[i] = (uint8_t)(object - objects);
        given_rights[i] = rights;
        refs[held[i]]++;
        REACHED();
    } else {
        PROVE(status != ERROR_STALE_HANDLE || !is_possible);
        PROVE(status != ERROR_NO_HANDLES || (free == 0 && before >= table.slot_limit && !is_closed));
        PROVE(status != ERROR_NO_MEMORY || (free == 0 && before < table.slot_limit));
        PROVE(status == ERROR_STALE_HANDLE || status == ERROR_NO_HANDLES || status == ERROR_NO_MEMORY);
    }
    prove_table();
}

/* No slot is free: the table grows by a page, unless it is as large as it may be, memory is short or another CPU was faster. */
void proof_grow(void)
{
    any_table();
    uint32_t before = table.slot_count;
    table.cell = nondet_bool() ? &payer : nullptr;
    status_t status = slots_grow(&table);
    PROVE(charged == (table.cell != nullptr ? table.slot_count - before : 0));
    PROVE((status == ERROR_NO_HANDLES) == (before >= table.slot_limit));
    PROVE(status == OK || status == ERROR_NO_HANDLES || status == ERROR_NO_MEMORY || (status == ERROR_CELL_LIMIT && table.cell != nullptr));
    PROVE(status == OK ? table.slot_count == before + SLOTS_PER_PAGE : table.slot_count == before || status == ERROR_NO_MEMORY);
    note_growth(before);
    prove_table();
    REACHED();
}

void proof_remove(void)
{
    any_table();
    handle_t handle = nondet_u64();
    uint32_t i = (uint32_t)handle;
    struct cap cap;
    status_t expected = cspace_lookup(&table, handle, &cap);
    status_t status = cspace_remove(&table, handle);
    PROVE(status == expected);
    if (status == OK) {
        note_emptied(i);
        PROVE(unreferenced == (refs[held[i]] == 0));
        PROVE(cspace_lookup(&table, handle, &cap) == (generations[i] == 0 ? ERROR_BAD_HANDLE : ERROR_STALE_HANDLE));
        REACHED();
    }
    prove_table();
}

/* Its user ended: whatever it held goes, dead objects' handles too. */
void proof_close(void)
{
    any_table();
    bool is_more = cspace_close_step(&table);
    PROVE(!is_more && table.is_closed);
    for (uint32_t i = 0; i < SLOTS; i++)
        if (kinds[i] == FULL)
            note_emptied(i);
    prove_table();
    REACHED();
}
