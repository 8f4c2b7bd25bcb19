/*
 * mm/untyped.c. Charging: for any 64-bit limit, use and amount. Creation of a child for any size.
 */
#include <kernel/mm/untyped.c>
#include <proof.h>

void object_count_add(enum object_type type, int64_t count) {}
void object_pages_add(enum object_type type, int64_t count) {}
struct page *page_array;
uint64_t page_array_first = 1, page_array_count = 1;

void *proof_ram_at(paddr_t address) { return nullptr; }
paddr_t proof_ram_address(const void *at) { return 0; }

static struct cpu this_cpu; /* whose trace is off or on */
struct cpu *host_cpu = &this_cpu;
void trace_write(struct cpu *cpu, uint16_t event, uint64_t thread, uint64_t first, uint64_t second) {}
void spinlock_wait(struct spinlock *lock, const struct lock_site *site) { PROVE(!"taken twice"); }
void panic(const char *format, ...) { ASSUME(false); }
bool quiesce_is_pending(void) { return nondet_bool(); }
static struct untyped *drained;
void quiesce_drain(void)
{
    /* Others give back, under the lock that nobody holds now. */
    if (drained != nullptr) {
        PROVE(drained->lock.is_held == 0);
        uint64_t less = nondet_u64();
        ASSUME(less <= drained->used_pages);
        drained->used_pages -= less;
    }
}
/* What CPUs have charged ahead comes back. */
bool page_cache_discharge(struct untyped *untyped)
{
    bool has_any = drained != nullptr && nondet_bool();
    if (has_any)
        quiesce_drain();
    return has_any;
}
void page_zero(void *page) {}
paddr_t page_alloc(uint32_t order) { return 0; }
void page_free(paddr_t address, uint32_t order) {}

static struct untyped parent, child;
status_t object_create(struct untyped *untyped, enum object_type type, uint32_t size, void **out_object)
{
    if (nondet_bool())
        return ERROR_NO_MEMORY;
    child.object.untyped = untyped;
    *out_object = &child;
    return OK;
}
static uint32_t given;
status_t invocation_give(struct invocation *inv, struct object *object, uint32_t rights, handle_t *out_handle)
{
    given++;
    return OK;
}
void object_watches_notify(struct object *object) {}
void object_put(struct object *object) {}

static void any_untyped(struct untyped *untyped)
{
    untyped->limit_pages = nondet_u64();
    untyped->used_pages = nondet_u64();
    ASSUME(untyped->used_pages <= untyped->limit_pages);
}

void proof_charge(void)
{
    any_untyped(&parent);
    drained = &parent;
    uint64_t before = parent.used_pages, count = nondet_u64();
    status_t status = untyped_charge(&parent, count);
    PROVE(parent.used_pages <= parent.limit_pages && parent.lock.is_held == 0);
    if (status == OK) {
        PROVE(count <= parent.used_pages); /* no wrap */
        PROVE(parent.used_pages - count <= before);
        untyped_uncharge(&parent, count);
        PROVE(parent.used_pages <= before);
    } else {
        PROVE(status == ERROR_NO_MEMORY && count > parent.limit_pages - parent.used_pages && parent.used_pages <= before);
        REACHED();
    }
}

void proof_charge_exact(void)
{
    any_untyped(&parent);
    uint64_t before = parent.used_pages, count = nondet_u64();
    bool fits = count <= parent.limit_pages - before;
    status_t status = untyped_charge(&parent, count);
    PROVE((status == OK) == fits && parent.used_pages == (fits ? before + count : before));
    REACHED();
}

void proof_child(void)
{
    any_untyped(&parent);
    uint64_t before = parent.used_pages, size = nondet_u64();
    handle_t handle;
    struct invocation inv;
    status_t status = untyped_create_untyped(&inv, &parent, size, &handle);
    PROVE(parent.used_pages <= parent.limit_pages && given == (status == OK));
    if (status != OK) {
        PROVE(parent.used_pages == before && (status == ERROR_BAD_ARGUMENT) == (size == 0));
        return;
    }
    REACHED();
    PROVE(child.limit_pages == parent.used_pages - before && child.used_pages == 0 && child.parent == &parent);
    /* Enough pages for the size, and not one too many; in 128 bits, where nothing wraps. */
    unsigned __int128 bytes = (unsigned __int128)child.limit_pages * PAGE_SIZE;
    PROVE(bytes >= size && bytes - size < PAGE_SIZE);
    PROVE(untyped_destroy(&child.object) && parent.used_pages == before);
}
