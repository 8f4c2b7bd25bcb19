/*
 * Tables of handles. See cap.h for the locking. A slot is free, reserved (taken off the free list) or full; only a full one has the
 * name that its handle is. Filling: contents first, the name last. Emptying: the name first (which makes the handle stale at once),
 * then the contents, then the free list. cspace_peek() relies on this order; the fence in slot_empty() keeps all later changes of
 * the contents behind that of the name.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/audit.h>
#include <kernel/cell.h>
#include <kernel/ipc.h>
#include <kernel/process.h>
#include <kernel/untyped.h>
#include <tess/string.h>

status_t cspace_refusal(struct cspace *cspace, handle_t handle)
{
    if ((uint32_t)handle >= atomic_load_explicit(&cspace->slot_count, memory_order_acquire))
        return ERROR_BAD_HANDLE;
    uint64_t name = atomic_load_explicit(&cspace_slot(cspace, (uint32_t)handle)->name, memory_order_acquire);
    if (handle == name)
        return ERROR_STALE_HANDLE; /* the object is dead */
    uint64_t generation = handle >> 32;
    return generation != 0 && generation < name >> 32 ? ERROR_STALE_HANDLE : ERROR_BAD_HANDLE;
}

status_t cspace_next(struct cspace *cspace, uint64_t *index, handle_t *out_handle, struct cap *out_cap)
{
    for (; *index < atomic_load_explicit(&cspace->slot_count, memory_order_acquire); (*index)++) {
        *out_handle = atomic_load_explicit(&cspace_slot(cspace, (uint32_t)*index)->name, memory_order_relaxed);
        if ((uint32_t)*out_handle == *index && cspace_lookup(cspace, *out_handle, out_cap) == OK)
            return OK;
    }
    return ERROR_NOT_FOUND;
}

/* ---- Slots ---- */

static void uncharge(struct cell *cell, uint64_t count)
{
    if (cell != nullptr)
        cell_uncharge(cell, CELL_LIMIT_HANDLES, count);
}

status_t cspace_charge_to(struct cspace *cspace, struct cell *cell)
{
    struct cell *old = nullptr;
    uint64_t count = 0;
    for (bool is_done = false; !is_done;) {
        count = atomic_load(&cspace->slot_count);
        if (!cell_charge(cell, CELL_LIMIT_HANDLES, count))
            return ERROR_CELL_LIMIT;
        spinlock_acquire(&cspace->lock);
        is_done = atomic_load(&cspace->slot_count) == count;
        if (is_done) {
            object_get(&cell->object);
            old = cspace->cell;
            peekable_set(cspace->cell, cell);
        }
        spinlock_release(&cspace->lock);
        if (!is_done)
            uncharge(cell, count);
    }
    uncharge(old, count);
    if (old != nullptr)
        object_put(&old->object);
    return OK;
}

static status_t slots_grow(struct cspace *cspace)
{
    uint32_t count = atomic_load(&cspace->slot_count);
    if (count >= cspace->slot_limit)
        return ERROR_NO_HANDLES;
    paddr_t page;
    struct cell *cell = peek(cspace->cell); /* stays readable for this kernel entry */
    if (cell != nullptr && !cell_charge(cell, CELL_LIMIT_HANDLES, SLOTS_PER_PAGE))
        return ERROR_CELL_LIMIT;
    status_t status = untyped_page_alloc(cspace->object.untyped, OBJECT_CSPACE, &page);
    if (status != OK) {
        uncharge(cell, SLOTS_PER_PAGE);
        return status;
    }
    spinlock_acquire(&cspace->lock);
    if (atomic_load(&cspace->slot_count) != count || peek(cspace->cell) != cell) {
        spinlock_release(&cspace->lock);
        uncharge(cell, SLOTS_PER_PAGE);
        untyped_page_free(cspace->object.untyped, OBJECT_CSPACE, page);
        return OK; /* another CPU grew it, or gave it to another cell: try the free list again */
    }
    struct slot *slots = phys_to_virt(page);
    for (uint32_t i = SLOTS_PER_PAGE; i-- > 0;) {
        struct slot *slot = &slots[i];
        slot->cspace = cspace;
        atomic_store_explicit(&slot->name, (1ull << 32 | (count + i)) ^ SLOT_EMPTY, memory_order_relaxed);
        if (count + i < cspace->slot_limit) {
            slot->node.child = (struct derivation_node *)cspace->free;
            cspace->free = slot;
        }
    }
    atomic_store_explicit(&cspace->pages[count / SLOTS_PER_PAGE], slots, memory_order_release);
    atomic_store_explicit(&cspace->slot_count, count + SLOTS_PER_PAGE, memory_order_release);
    spinlock_release(&cspace->lock);
    return OK;
}

/* From the free list; nullptr when there is none or the table is closed. */
static inline struct slot *slot_pop(struct cspace *cspace) REQUIRES(&cspace->lock)
{
    struct slot *slot = atomic_load_explicit(&cspace->is_closed, memory_order_relaxed) ? nullptr : cspace->free;
    if (slot != nullptr) {
        cspace->free = (struct slot *)slot->node.child;
        cspace->used_count++;
    }
    return slot;
}

static status_t slot_take(struct cspace *cspace, struct slot **out_slot)
{
    for (;;) {
        spinlock_acquire(&cspace->lock);
        *out_slot = slot_pop(cspace);
        bool is_closed = cspace->is_closed;
        spinlock_release(&cspace->lock);
        if (*out_slot != nullptr)
            return OK;
        status_t status = is_closed ? ERROR_STALE_HANDLE : slots_grow(cspace);
        if (status != OK)
            return status;
    }
}

static inline void slot_push(struct cspace *cspace, struct slot *slot) REQUIRES(&cspace->lock)
{
    cspace->used_count--;
    if (slot_generation(slot) != 0) { /* 0: wrapped, the slot retires */
        slot->node.child = (struct derivation_node *)cspace->free;
        cspace->free = slot;
    }
}

void slot_give_back(struct slot *slot)
{
    struct cspace *cspace = slot->cspace;
    spinlock_acquire(&cspace->lock);
    slot_push(cspace, slot);
    spinlock_release(&cspace->lock);
}

/* What emptying a slot leaves to do once no lock is held. */
struct dropped {
    struct object *object;
    struct badge *badge;
    bool was_owner;
};

static void drop(struct dropped dropped)
{
    if (dropped.badge != nullptr)
        reap_badge(dropped.badge);
    if (dropped.was_owner && atomic_fetch_sub(&((struct endpoint *)dropped.object)->owner_count, 1) == 1)
        reap_owner_gone((struct endpoint *)dropped.object); /* takes the reference */
    else
        object_put(dropped.object);
}

/* The slot's memory is a free slot afterwards, but on no list: slot_give_back(). */
static inline void slot_name_next(struct slot *slot)
{
    uint64_t name = atomic_load_explicit(&slot->name, memory_order_relaxed);
    atomic_store_explicit(&slot->name, (name + (1ull << 32)) ^ SLOT_EMPTY, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* pairs with cspace_peek's */
    atomic_store_explicit(&slot->object, nullptr, memory_order_relaxed);
}

/* The same, taken out of the tree. */
static inline struct dropped slot_empty(struct slot *slot, struct object *object) REQUIRES(&object->lock)
{
    struct dropped dropped = {.object = object};
    derivation_remove(&slot->node);
    struct badge *badge = atomic_load_explicit(&slot->badge, memory_order_relaxed);
    if (badge != nullptr && --badge->handles == 0)
        dropped.badge = badge;
    dropped.was_owner = object->type == OBJECT_ENDPOINT && (slot->rights & RIGHT_OWNER) != 0;
    slot_name_next(slot);
    return dropped;
}

/*
 * Filling and emptying a slot come in two forms: a short one for when no lock is held by another and nothing unusual is to be done,
 * which calls nothing but what comes last, so that no registers have to be kept; and the general one.
 */

/* The compiler is not to know: the caller of a function with a known result would give it itself, after a call that is not the last
 * thing then. */
static inline status_t unforeseen(status_t status)
{
    __asm__("" : "+r"(status));
    return status;
}

[[clang::noinline]] static status_t slot_drop_generally(struct slot *slot, struct object *object, uint32_t generation)
{
    spinlock_acquire(&object->lock);
    bool is_same = slot_holds(slot, object, generation);
    struct dropped dropped = {};
    if (is_same)
        dropped = slot_empty(slot, object);
    spinlock_release(&object->lock);
    if (!is_same)
        return ERROR_STALE_HANDLE;
    slot_give_back(slot);
    drop(dropped);
    return OK;
}

[[clang::noinline]] static status_t finish_drop(struct slot *slot, struct object *object, struct badge *badge, bool was_owner)
{
    if (slot != nullptr)
        slot_give_back(slot);
    drop((struct dropped){.object = object, .badge = badge, .was_owner = was_owner});
    return unforeseen(OK);
}

/* Empties the slot if it still holds (object, generation); else STALE_HANDLE. */
static status_t slot_drop(struct slot *slot, struct object *object, uint32_t generation)
{
    if (!spinlock_try_acquire(&object->lock))
        return slot_drop_generally(slot, object, generation);
    if (!slot_holds(slot, object, generation)) {
        spinlock_release(&object->lock);
        return ERROR_STALE_HANDLE;
    }
    struct dropped dropped = slot_empty(slot, object);
    spinlock_release(&object->lock);
    struct cspace *cspace = slot->cspace;
    if (!spinlock_try_acquire(&cspace->lock))
        return finish_drop(slot, object, dropped.badge, dropped.was_owner);
    slot_push(cspace, slot);
    spinlock_release(&cspace->lock);
    /* Not the last reference: nothing is to be done. Nobody drops one but as here, so it cannot become the last before it is gone. */
    uint32_t refs = atomic_load_explicit(&object->refs, memory_order_relaxed);
    if (dropped.badge != nullptr || dropped.was_owner || refs == 1 ||
        !atomic_compare_exchange_strong_explicit(&object->refs, &refs, refs - 1, memory_order_release, memory_order_relaxed))
        return finish_drop(nullptr, object, dropped.badge, dropped.was_owner);
    return OK;
}

/* Puts the object in a slot that was taken; false when the object or the parent's handle is gone. */
[[gnu::always_inline]] static inline bool slot_fill(struct slot *slot, struct object *object, struct slot *parent,
                                                    uint32_t parent_generation, uint32_t rights, struct badge *badge, uint64_t name)
    REQUIRES(&object->lock)
{
    if (!object_is_alive(object) || (parent != nullptr && !slot_holds(parent, object, parent_generation)))
        return false;
    object_get(object);
    if (badge == nullptr && parent != nullptr)
        badge = atomic_load_explicit(&parent->badge, memory_order_relaxed);
    atomic_store_explicit(&slot->rights, rights, memory_order_relaxed);
    atomic_store_explicit(&slot->badge, badge, memory_order_relaxed);
    slot->inherit = INHERIT_DEFAULT;
    if (badge != nullptr)
        badge->handles++;
    if (object->type == OBJECT_ENDPOINT && (rights & RIGHT_OWNER) != 0)
        atomic_fetch_add(&((struct endpoint *)object)->owner_count, 1);
    derivation_insert(parent != nullptr ? &parent->node : &object->root, &slot->node);
    atomic_store_explicit(&slot->object, object, memory_order_relaxed);
    atomic_store_explicit(&slot->name, name, memory_order_release);
    return true;
}

[[clang::noinline]] static status_t insert_failed(struct slot *slot, struct object *object, bool was_filled, uint64_t name)
{
    if (was_filled)
        (void)slot_drop(slot, object, (uint32_t)(name >> 32));
    else
        slot_give_back(slot);
    return unforeseen(ERROR_STALE_HANDLE);
}

[[gnu::always_inline]] static inline status_t insert_locked(struct slot *slot, struct object *object, struct slot *parent,
                                                            uint32_t parent_generation, uint32_t rights, struct badge *badge,
                                                            handle_t *out_handle) RELEASES(&object->lock)
{
    uint64_t name = atomic_load_explicit(&slot->name, memory_order_relaxed) ^ SLOT_EMPTY;
    bool is_ok = slot_fill(slot, object, parent, parent_generation, rights, badge, name);
    spinlock_release(&object->lock);
    /* The table may have been closed since the slot was taken, and the closer be past it: it closed first and then looks at the
     * slots, we filled first and then look. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!is_ok || atomic_load_explicit(&slot->cspace->is_closed, memory_order_relaxed))
        return insert_failed(slot, object, is_ok, name);
    *out_handle = name;
    return OK;
}

[[clang::noinline]] static status_t insert_into(struct slot *slot, struct object *object, struct slot *parent, uint32_t parent_generation,
                                                uint32_t rights, struct badge *badge, handle_t *out_handle)
{
    spinlock_acquire(&object->lock);
    return insert_locked(slot, object, parent, parent_generation, rights, badge, out_handle);
}

[[clang::noinline]] static status_t insert_generally(struct cspace *cspace, struct object *object, struct slot *parent,
                                                     uint32_t parent_generation, uint32_t rights, struct badge *badge, handle_t *out_handle)
{
    struct slot *slot;
    status_t status = slot_take(cspace, &slot);
    return status == OK ? insert_into(slot, object, parent, parent_generation, rights, badge, out_handle) : status;
}

[[gnu::always_inline]] static inline status_t insert(struct cspace *cspace, struct object *object, struct slot *parent,
                                                     uint32_t parent_generation, uint32_t rights, struct badge *badge, handle_t *out_handle)
{
    if (!spinlock_try_acquire(&cspace->lock))
        return insert_generally(cspace, object, parent, parent_generation, rights, badge, out_handle);
    struct slot *slot = slot_pop(cspace);
    spinlock_release(&cspace->lock);
    if (slot == nullptr)
        return insert_generally(cspace, object, parent, parent_generation, rights, badge, out_handle);
    if (!spinlock_try_acquire(&object->lock))
        return insert_into(slot, object, parent, parent_generation, rights, badge, out_handle);
    return insert_locked(slot, object, parent, parent_generation, rights, badge, out_handle);
}

status_t cspace_insert(struct cspace *cspace, struct object *object, const struct cap *parent, uint32_t rights, struct badge *badge,
                       handle_t *out_handle)
{
    return insert(cspace, object, parent != nullptr ? parent->slot : nullptr, parent != nullptr ? parent->generation : 0, rights, badge,
                  out_handle);
}

status_t cspace_remove(struct cspace *cspace, handle_t handle)
{
    struct cap cap;
    status_t status = cspace_lookup_plain(cspace, handle, &cap);
    if (status != OK)
        return status;
    return slot_drop(cap.slot, cap.object, cap.generation);
}

status_t cspace_transfer(struct cspace *from, handle_t handle, struct cspace *to, bool is_move, handle_t *out_handle)
{
    struct cap cap;
    status_t status = cspace_lookup(from, handle, &cap);
    if (status != OK)
        return status;
    uint32_t right = is_move ? RIGHT_MOVE : RIGHT_COPY;
    if ((cap.rights & right) == 0)
        return audit_denied(from, cap.object, is_move ? OP_CSPACE_MOVE : OP_CSPACE_COPY, cap.rights);
    status = cspace_insert(to, cap.object, &cap, cap.rights, nullptr, out_handle);
    if (status != OK)
        return status;
    /* Moving: the copy was derived from the source; deleting the source makes the copy take its place in the tree. */
    if (is_move && slot_drop(cap.slot, cap.object, cap.generation) != OK) {
        status_t undone = cspace_remove(to, *out_handle);
        (void)undone; /* it may be revoked already: the same result */
        return ERROR_STALE_HANDLE;
    }
    audit_gave(AUDIT_GIVE, from, to, cap.object, cap.rights, badge_number(cap.badge));
    return OK;
}

/* The same as a copy whose source is then removed: it takes the source's place in the tree, badge and all. The table's lock is held from
 * the look whether it is closed until the slot is full: who closes it finds it. */
static bool slot_move(struct slot *slot, struct object *object, uint32_t rights, struct cspace *to, handle_t *out_handle)
    REQUIRES(&object->lock)
{
    if (!spinlock_try_acquire(&to->lock))
        return false;
    struct slot *taken = slot_pop(to);
    if (taken != nullptr) {
        uint64_t name = atomic_load_explicit(&taken->name, memory_order_relaxed) ^ SLOT_EMPTY;
        atomic_store_explicit(&taken->rights, rights, memory_order_relaxed);
        atomic_store_explicit(&taken->badge, atomic_load_explicit(&slot->badge, memory_order_relaxed), memory_order_relaxed);
        taken->inherit = INHERIT_DEFAULT;
        derivation_replace(&slot->node, &taken->node);
        atomic_store_explicit(&taken->object, object, memory_order_relaxed);
        atomic_store_explicit(&taken->name, name, memory_order_release);
        *out_handle = name;
    }
    spinlock_release(&to->lock);
    return taken != nullptr;
}

bool cspace_move_quick(struct cspace *from, handle_t handle, struct cspace *to, handle_t *out_handle)
{
    struct cap cap;
    if (!cspace_peek(from, handle, &cap) || (cap.rights & RIGHT_MOVE) == 0)
        return false;
    struct object *object = cap.object;
    struct slot *slot = cap.slot;
    if (!spinlock_try_acquire(&object->lock))
        return false;
    bool is_moved = object_is_alive(object) && slot_holds(slot, object, cap.generation) && slot->node.child == nullptr &&
                    slot_move(slot, object, cap.rights, to, out_handle);
    if (is_moved)
        slot_name_next(slot);
    spinlock_release(&object->lock);
    if (!is_moved)
        return false;
    slot_give_back(slot);
    audit_gave(AUDIT_GIVE, from, to, object, cap.rights, badge_number(cap.badge));
    return true;
}

bool object_revoke_step(struct object *object, struct slot *slot, uint64_t generation)
{
    for (uint32_t done = 0; done < 64; done++) {
        spinlock_acquire(&object->lock);
        struct derivation_node *root = &object->root;
        if (slot != nullptr) {
            if (!slot_holds(slot, object, (uint32_t)generation)) {
                spinlock_release(&object->lock);
                return false;
            }
            root = &slot->node;
        }
        struct derivation_node *first = root->child;
        if (first == nullptr) {
            spinlock_release(&object->lock);
            return false;
        }
        struct slot *victim = container_of(first, struct slot, node);
        struct dropped dropped = slot_empty(victim, object);
        spinlock_release(&object->lock);
        slot_give_back(victim);
        drop(dropped);
    }
    return true;
}

bool cspace_close_step(struct cspace *cspace)
{
    spinlock_acquire(&cspace->lock);
    atomic_store(&cspace->is_closed, true);
    spinlock_release(&cspace->lock);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with insert_locked()'s */
    uint32_t count = atomic_load(&cspace->slot_count), index = atomic_load(&cspace->clear_cursor);
    constexpr uint32_t WORK = 256, WORK_FULL = 5; /* an empty slot is 1 */
    for (uint32_t done = 0; done < WORK && index < count; done++, index++) {
        struct slot *slot = cspace_slot(cspace, index);
        uint64_t name =
            atomic_load_explicit(&slot->name, memory_order_acquire); /* before the object: whose it then is not, slot_drop() finds out */
        if ((uint32_t)name != index)
            continue;
        struct object *object = atomic_load_explicit(&slot->object, memory_order_relaxed);
        if (object != nullptr)
            (void)slot_drop(slot, object, (uint32_t)(name >> 32));
        done += WORK_FULL - 1;
    }
    /* Two CPUs at once do some of it twice, perhaps; neither passes what is not done. */
    atomic_store(&cspace->clear_cursor, index);
    return index < count;
}

static void cspace_class_kill(struct object *object)
{
    while (cspace_close_step((struct cspace *)object))
        arch_irq_poll();
}

static bool cspace_class_destroy(struct object *object)
{
    struct cspace *cspace = (struct cspace *)object;
    if (cspace->cell != nullptr) {
        uncharge(cspace->cell, cspace->slot_count);
        object_put(&cspace->cell->object);
    }
    if (cspace->pages == nullptr)
        return true;
    for (uint32_t i = 0; i < cspace->slot_count / SLOTS_PER_PAGE; i++) {
        untyped_page_free(object->untyped, OBJECT_CSPACE, virt_to_phys(cspace->pages[i]));
        cspace->pages[i] = nullptr;
        if (i % 16 == 15)
            arch_irq_poll();
    }
    untyped_page_free_zeroed(object->untyped, OBJECT_CSPACE, virt_to_phys(cspace->pages));
    return true;
}

const struct object_class cspace_class = {.kill = cspace_class_kill, .destroy = cspace_class_destroy};

/* ---- Methods ---- */

status_t cspace_create(struct untyped *untyped, uint32_t slot_limit, struct cspace **out_cspace)
{
    struct cspace *cspace;
    status_t status = object_create(untyped, OBJECT_CSPACE, sizeof(struct cspace), (void **)&cspace);
    if (status != OK)
        return status;
    cspace->slot_limit = slot_limit;
    paddr_t page;
    status = untyped_page_alloc(untyped, OBJECT_CSPACE, &page);
    if (status != OK) {
        object_put(&cspace->object);
        return status;
    }
    cspace->pages = phys_to_virt(page);
    *out_cspace = cspace;
    return OK;
}

void cspace_set_user(struct cspace *cspace, uint64_t id, const char name[16])
{
    if (atomic_exchange_explicit(&cspace->has_user, true, memory_order_relaxed))
        return;
    memcpy(cspace->user_name, name, sizeof(cspace->user_name));
    atomic_store_explicit(&cspace->user_id, id, memory_order_release);
}

uint64_t cspace_user(struct cspace *cspace, char out_name[16])
{
    uint64_t id = atomic_load_explicit(&cspace->user_id, memory_order_acquire);
    if (id == 0)
        memset(out_name, 0, sizeof(cspace->user_name));
    else
        memcpy(out_name, cspace->user_name, sizeof(cspace->user_name));
    return id;
}

status_t untyped_create_cspace(struct invocation *inv, struct untyped *self, uint32_t slot_limit, handle_t *out_cspace)
{
    if (slot_limit == 0 || slot_limit > CSPACE_SLOTS_MAX)
        return ERROR_BAD_ARGUMENT;
    struct cspace *cspace;
    status_t status = cspace_create(self, slot_limit, &cspace);
    if (status == OK && (status = cspace_charge_to(cspace, inv->thread->process->cell)) != OK)
        object_put(&cspace->object);
    return status == OK ? invocation_give(inv, &cspace->object, RIGHTS_ALL, out_cspace) : status;
}

/* As copy and mint without a badge, to another table than the caller's. */
[[clang::noinline]] static status_t insert_elsewhere(struct invocation *inv, struct cspace *self, uint64_t source, uint32_t rights,
                                                     uint32_t right, uint64_t *out_handle)
{
    struct cap cap;
    status_t status = cspace_lookup(inv->cspace, source, &cap);
    if (status != OK)
        return status;
    if ((cap.rights & right) == 0)
        return audit_denied(inv->cspace, cap.object, inv->op, cap.rights);
    status = cspace_insert(self, cap.object, &cap, cap.rights & rights, nullptr, out_handle);
    if (status == OK)
        audit_gave(right == RIGHT_MINT ? AUDIT_MINT : AUDIT_GIVE, inv->cspace, self, cap.object, cap.rights & rights,
                   badge_number(cap.badge));
    return status;
}

/* `right`: what is needed for it. */
[[gnu::always_inline]] static inline status_t insert_derived(struct invocation *inv, struct cspace *self, uint64_t source, uint32_t rights,
                                                             uint32_t right, uint64_t *out_handle)
{
    if (self != inv->cspace)
        return insert_elsewhere(inv, self, source, rights, right, out_handle);
    struct cap cap;
    status_t status = cspace_lookup_plain(inv->cspace, source, &cap);
    if (status != OK)
        return status;
    if ((cap.rights & right) == 0)
        return audit_denied(inv->cspace, cap.object, inv->op, cap.rights);
    return insert(self, cap.object, cap.slot, cap.generation, cap.rights & rights, nullptr, out_handle);
}

status_t cspace_copy(struct invocation *inv, struct cspace *self, uint64_t source, uint32_t rights, uint64_t *out_handle)
{
    return insert_derived(inv, self, source, rights, RIGHT_COPY, out_handle);
}

static void badge_free(struct deferred *deferred)
{
    struct badge *badge = container_of(deferred, struct badge, deferred);
    struct untyped *untyped = badge->untyped;
    struct endpoint *endpoint = badge->endpoint;
    untyped_cell_free(untyped, OBJECT_ENDPOINT, badge, sizeof(struct badge));
    object_put(&untyped->object);
    object_put(&endpoint->object);
}

void badge_release(struct badge *badge) { quiesce_defer(&badge->deferred, badge_free); }

[[clang::noinline]] static status_t mint_badge(struct invocation *inv, struct cspace *self, uint64_t source, uint32_t rights,
                                               uint64_t badge_value, uint64_t *out_handle)
{
    struct cap cap;
    status_t status = cspace_lookup(inv->cspace, source, &cap);
    if (status != OK)
        return status;
    if ((cap.rights & RIGHT_MINT) == 0)
        return audit_denied(inv->cspace, cap.object, inv->op, cap.rights);
    if (cap.object->type != OBJECT_ENDPOINT)
        return ERROR_WRONG_TYPE;
    if (cap.badge != nullptr)
        return ERROR_ALREADY;
    if ((cap.rights & RIGHT_OWNER) == 0)
        return audit_denied(inv->cspace, cap.object, inv->op, cap.rights);
    struct untyped *untyped = inv->cspace->object.untyped; /* the minter pays */
    struct badge *badge = untyped_cell_alloc(untyped, OBJECT_ENDPOINT, sizeof(struct badge));
    if (badge == nullptr)
        return ERROR_NO_MEMORY;
    badge->value = badge_value;
    badge->handles = 1; /* ours, until the handle is made or refused */
    badge->endpoint = (struct endpoint *)cap.object;
    badge->untyped = untyped;
    object_get(&untyped->object);
    object_get(cap.object);
    status = cspace_insert(self, cap.object, &cap, cap.rights & rights & ~(uint32_t)RIGHT_OWNER, badge, out_handle);
    spinlock_acquire(&cap.object->lock);
    bool is_last = --badge->handles == 0;
    spinlock_release(&cap.object->lock);
    if (status == OK)
        audit_gave(AUDIT_MINT, inv->cspace, self, cap.object, cap.rights & rights, badge_value);
    if (is_last && status == OK)
        reap_badge(badge); /* somebody was quick to delete it */
    else if (is_last)
        badge_release(badge);
    return status;
}

status_t cspace_mint(struct invocation *inv, struct cspace *self, uint64_t source, uint32_t rights, uint64_t badge_value,
                     uint64_t *out_handle)
{
    if (badge_value != 0)
        return mint_badge(inv, self, source, rights, badge_value, out_handle);
    return insert_derived(inv, self, source, rights, RIGHT_MINT, out_handle);
}

status_t cspace_move(struct invocation *inv, struct cspace *self, uint64_t source, uint64_t *out_handle)
{
    return cspace_transfer(inv->cspace, source, self, true, out_handle);
}

status_t cspace_revoke(struct invocation *inv, struct cspace *self, uint64_t target)
{
    struct cap cap;
    status_t status = cspace_lookup_plain(self, target, &cap);
    if (status != OK)
        return status;
    if ((cap.rights & RIGHT_REVOKE) == 0)
        return audit_denied(inv->cspace, cap.object, inv->op, cap.rights);
    if (object_revoke_step(cap.object, cap.slot, target >> 32))
        return ERROR_RESTART;
    audit_did(AUDIT_REVOKE, inv->cspace, cap.object, 0, 0);
    return OK;
}

status_t cspace_delete(struct invocation *inv, struct cspace *self, uint64_t target)
{
    (void)inv;
    return cspace_remove(self, target);
}

/* What others depend on, or what stands for hardware. */
static bool is_audited(const struct object *object)
{
    constexpr uint32_t types = 1u << OBJECT_UNTYPED | 1u << OBJECT_PROCESS | 1u << OBJECT_THREAD | 1u << OBJECT_ENDPOINT |
                               1u << OBJECT_INTERRUPT | 1u << OBJECT_DMA | 1u << OBJECT_IOPORTS;
    return (types >> object->type & 1) != 0;
}

status_t cspace_destroy(struct invocation *inv, struct cspace *self, uint64_t target)
{
    struct cap cap;
    status_t status = cspace_lookup_plain(self, target, &cap);
    if (status != OK)
        return status;
    if ((cap.rights & RIGHT_DESTROY) == 0)
        return audit_denied(inv->cspace, cap.object, inv->op, cap.rights);
    if (cap.object == &untyped_root->object)
        return ERROR_BUSY;
    if (cap.object->type == OBJECT_UNTYPED && untyped_kill_step((struct untyped *)cap.object))
        return ERROR_RESTART;
    if (is_audited(cap.object))
        audit_did(AUDIT_DESTROY, inv->cspace, cap.object, 0, 0);
    object_kill(cap.object);
    return OK;
}

status_t cspace_inspect(struct invocation *inv, struct cspace *self, uint64_t target, uint32_t *out_type, uint32_t *out_rights,
                        uint64_t *out_badge, uint64_t *out_object_id)
{
    (void)inv;
    struct cap cap;
    status_t status = cspace_lookup(self, target, &cap);
    if (status != OK)
        return status;
    *out_type = cap.object->type;
    *out_rights = cap.rights;
    *out_badge = badge_number(cap.badge);
    *out_object_id = cap.object->id;
    return OK;
}

status_t cspace_verify(struct invocation *inv, struct cspace *self, uint64_t target, uint64_t mine, uint32_t *out_rights,
                       uint64_t *out_badge)
{
    struct cap cap, own;
    status_t status = cspace_lookup(self, target, &cap);
    if (status == OK)
        status = cspace_lookup(inv->cspace, mine, &own);
    if (status != OK)
        return status;
    if (own.object->type == OBJECT_ENDPOINT && (own.rights & RIGHT_OWNER) == 0)
        return ERROR_MISSING_RIGHT;
    if (cap.object != own.object)
        return ERROR_NOT_FOUND;
    *out_rights = cap.rights;
    *out_badge = badge_number(cap.badge);
    return OK;
}

status_t cspace_info(struct invocation *inv, struct cspace *self, uint32_t *out_used, uint32_t *out_limit)
{
    (void)inv;
    spinlock_acquire(&self->lock);
    *out_used = self->used_count;
    *out_limit = self->slot_limit;
    spinlock_release(&self->lock);
    return OK;
}
