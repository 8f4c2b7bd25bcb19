/*
 * A table with the same handle values as another one (process.clone), and what exec does to a table. Slots are gone through from the
 * highest index down, so that the clone's free list begins with the lowest. The clone's handles to the same object are siblings of the
 * ones they were made from: whoever may revoke those revokes these too, but the first owner of the table cannot.
 */
#include <kernel/abi_dispatch.h>
#include <kernel/clone.h>
#include <kernel/ipc.h>
#include <kernel/untyped.h>

/* A page of slots that hold nothing and are on no list. */
static status_t page_add(struct cspace *clone, struct untyped *untyped)
{
    paddr_t page;
    status_t status = untyped_page_take(untyped, OBJECT_CSPACE, &page); /* an empty slot's other fields mean nothing */
    if (status != OK)
        return status;
    uint32_t count = atomic_load_explicit(&clone->slot_count, memory_order_relaxed);
    struct slot *slots = phys_to_virt(page);
    for (uint32_t i = 0; i < SLOTS_PER_PAGE; i++) {
        slots[i].cspace = clone;
        atomic_store_explicit(&slots[i].object, nullptr, memory_order_relaxed);
        atomic_store_explicit(&slots[i].name, (1ull << 32 | (count + i)) ^ SLOT_EMPTY, memory_order_relaxed);
    }
    atomic_store_explicit(&clone->pages[count / SLOTS_PER_PAGE], slots, memory_order_release);
    atomic_store_explicit(&clone->slot_count, count + SLOTS_PER_PAGE, memory_order_release);
    return OK;
}

/* The object's lock is held. */
static void fill(struct slot *to, const struct slot *from, struct object *object, bool is_same)
{
    struct badge *badge = is_same ? atomic_load_explicit(&from->badge, memory_order_relaxed) : nullptr;
    uint32_t rights = atomic_load_explicit(&from->rights, memory_order_relaxed);
    object_get(object);
    atomic_store_explicit(&to->rights, rights, memory_order_relaxed);
    atomic_store_explicit(&to->badge, badge, memory_order_relaxed);
    to->inherit = from->inherit;
    if (badge != nullptr)
        badge->handles++;
    if (object->type == OBJECT_ENDPOINT && (rights & RIGHT_OWNER) != 0)
        atomic_fetch_add(&((struct endpoint *)object)->owner_count, 1);
}

/* True when `to` holds now what `from` held under `name`, or what is in its place. */
static bool slot_clone(struct slot *to, struct slot *from, uint64_t name, cspace_clone_fn choose, void *context)
{
    struct object *object = atomic_load(&from->object);
    if (object == nullptr || !object_is_alive(object) || (from->inherit & INHERIT_DROP) == INHERIT_DROP)
        return false;
    struct object *chosen = (from->inherit & INHERIT_DROP) == INHERIT_SHARE ? object : choose(context, object);
    if (chosen == nullptr)
        return false;
    spinlock_acquire(&chosen->lock);
    bool is_ok = object_is_alive(chosen) && slot_holds(from, object, (uint32_t)(name >> 32));
    if (is_ok) {
        fill(to, from, chosen, chosen == object);
        if (chosen == object)
            derivation_insert_after(&from->node, &to->node);
        else
            derivation_insert(&chosen->root, &to->node);
        atomic_store_explicit(&to->object, chosen, memory_order_relaxed);
        atomic_store_explicit(&to->name, name, memory_order_release);
    }
    spinlock_release(&chosen->lock);
    return is_ok;
}

/* False: the clone's slot stays empty. */
static bool slot_step(struct slot *to, uint32_t index, struct slot *from, cspace_clone_fn choose, void *context)
{
    uint64_t name = atomic_load(&from->name);
    bool is_full = (uint32_t)name == index;
    /* What is empty here is stale here, if it was ever a handle there. */
    uint64_t empty = is_full ? (name + (1ull << 32)) ^ SLOT_EMPTY : name;
    atomic_store_explicit(&to->name, empty, memory_order_relaxed);
    if (!is_full || !slot_clone(to, from, name, choose, context))
        return false;
    atomic_thread_fence(memory_order_seq_cst); /* as in cspace.c, insert_locked() */
    if (atomic_load_explicit(&to->cspace->is_closed, memory_order_relaxed) && cspace_remove(to->cspace, name) != OK)
        return true; /* the closer was quicker */
    return true;
}

/* `count` slots from work->slots_left down. All count as used before anybody can empty one; then those that stay empty go to the free
 * list, as emptied ones do. */
static void slots_step(struct clone_work *work, struct cspace *source, uint32_t count, cspace_clone_fn choose, void *context)
{
    struct cspace *clone = work->cspace;
    struct slot *first = nullptr, *last = nullptr;
    uint32_t empty_count = 0;
    spinlock_acquire(&clone->lock);
    clone->used_count += count;
    spinlock_release(&clone->lock);
    for (uint32_t left = count; left > 0; left--) {
        uint32_t index = --work->slots_left;
        struct slot *slot = cspace_slot(clone, index);
        if (slot_step(slot, index, cspace_slot(source, index), choose, context))
            continue;
        empty_count++;
        if (slot_generation(slot) == 0)
            continue;
        slot->node.child = (struct derivation_node *)first;
        first = slot;
        last = last != nullptr ? last : slot;
    }
    spinlock_acquire(&clone->lock);
    clone->used_count -= empty_count;
    if (first != nullptr) {
        last->node.child = (struct derivation_node *)clone->free;
        clone->free = first;
    }
    spinlock_release(&clone->lock);
}

status_t cspace_clone_step(struct clone_work *work, struct cspace *source, struct untyped *untyped, cspace_clone_fn choose, void *context)
{
    struct cspace *clone = work->cspace;
    uint32_t count = atomic_load_explicit(&clone->slot_count, memory_order_relaxed);
    if (!work->has_slots) {
        /* Slots that the source gets from now on are not in the clone. */
        if (count == 0)
            work->slots_left = atomic_load_explicit(&source->slot_count, memory_order_acquire);
        constexpr uint32_t STEP_PAGES = 8;
        for (uint32_t i = 0; i < STEP_PAGES && count < work->slots_left; i++, count += SLOTS_PER_PAGE) {
            status_t status = page_add(clone, untyped);
            if (status != OK)
                return status;
        }
        work->has_slots = count == work->slots_left;
        if (!work->has_slots)
            return ERROR_RESTART;
        work->slots_left = min_u32(work->slots_left, clone->slot_limit);
    }
    slots_step(work, source, min_u32(work->slots_left, SLOTS_PER_PAGE), choose, context);
    return work->slots_left != 0 ? ERROR_RESTART : OK;
}

static bool is_one_of(handle_t handle, const handle_t *handles, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (handles[i] == handle)
            return true;
    return false;
}

status_t cspace_exec_step(struct cspace *cspace, uint32_t *index, const handle_t *keep, uint32_t keep_count)
{
    uint32_t count = atomic_load_explicit(&cspace->slot_count, memory_order_acquire);
    for (uint32_t done = 0; done < 256 && *index < count; done++, (*index)++) {
        handle_t handle = atomic_load_explicit(&cspace_slot(cspace, *index)->name, memory_order_relaxed);
        if ((uint32_t)handle == *index && !is_one_of(handle, keep, keep_count))
            cspace_exec_drop(cspace, handle);
    }
    return *index < count ? ERROR_RESTART : OK;
}

void cspace_exec_drop(struct cspace *cspace, handle_t handle)
{
    struct cap cap;
    if (cspace_lookup(cspace, handle, &cap) == OK && (cap.slot->inherit & HANDLE_DROP_ON_EXEC) && cspace_remove(cspace, handle) != OK)
        return; /* another holder of the table was quicker */
}

status_t cspace_set_inherit(struct invocation *inv, struct cspace *self, uint64_t target, uint32_t inherit)
{
    (void)inv;
    if ((inherit & ~(uint32_t)(INHERIT_DROP | HANDLE_DROP_ON_EXEC)) != 0 || (inherit & INHERIT_DROP) == INHERIT_COPY)
        return ERROR_BAD_ARGUMENT;
    struct cap cap;
    status_t status = cspace_lookup(self, target, &cap);
    if (status != OK)
        return status;
    spinlock_acquire(&cap.object->lock);
    if (slot_holds(cap.slot, cap.object, cap.generation))
        cap.slot->inherit = inherit;
    else
        status = ERROR_STALE_HANDLE;
    spinlock_release(&cap.object->lock);
    return status;
}
