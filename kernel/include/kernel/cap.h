/*
 * Tables of handles and the derivation tree (cap/cspace.c, cap/derivation.c).
 *
 * Look-ups take no lock: a slot's generation is read before and after its contents, and slots, badges and objects stay readable
 * for the rest of the kernel entry (quiesce.h). A slot's contents change only under its object's lock; a table's lock guards its
 * free list and directory. Order: object->lock, then cspace->lock, then untyped->lock. Emptying a slot may be done with any lock
 * but its object's and its table's held: what follows from the last owner's or badge's end is left to reap_run().
 */
#pragma once
#include <kernel/object.h>

struct cspace;
struct endpoint;

/* A badge is a counted record: when its last handle goes, its endpoint hears BADGE_GONE. Guarded by the endpoint's object lock. */
struct badge {
    struct deferred deferred;
    uint64_t value;
    uint64_t handles;
    struct endpoint *endpoint;  /* counted */
    struct untyped *untyped;    /* charged; counted */
    struct list_node gone_node; /* endpoint's list of notices to deliver */
};

struct slot {
    struct object *_Atomic object; /* nullptr = free */
    _Atomic uint64_t name;         /* the handle; of an empty slot the next one, with the index of its neighbour (SLOT_EMPTY) */
    struct badge *_Atomic badge;
    _Atomic uint32_t rights;
    uint32_t inherit;            /* INHERIT_*, HANDLE_*; object->lock */
    struct derivation_node node; /* node.child links free slots */
    struct cspace *cspace;
};
static_assert(sizeof(struct slot) == 64);

/* Exclusive-or of an empty slot's name: whoever has a handle of that value looks in the neighbouring slot, and never matches. */
constexpr uint64_t SLOT_EMPTY = 1;

constexpr uint32_t SLOTS_PER_PAGE = PAGE_SIZE / sizeof(struct slot); /* 64 */
constexpr uint32_t CSPACE_PAGES_MAX = 512;
constexpr uint32_t CSPACE_SLOTS_MAX = CSPACE_PAGES_MAX * SLOTS_PER_PAGE; /* 32768 */

/* How many records of one kind a process made lately; log/audit.c. */
struct audit_rate {
    uint64_t since_ns;
    uint32_t used;
};

/* What the audit log has, or is still to get, of what was done with the table. */
struct audit_run {
    struct spinlock lock; /* guards the rest */
    struct tess_audit_record last;
    uint64_t since_ns;
    uint32_t repeated, left_out, denials_left_out;
    struct audit_rate rates[2]; /* denials are [1] */
};

struct cell;
struct cspace {
    struct object object;
    struct spinlock lock;
    uint32_t slot_limit;
    _Atomic uint32_t slot_count; /* slots that exist; grows by pages */
    uint32_t used_count;         /* changed under lock */
    struct cell *cell;           /* that its slots are charged to (CELL_LIMIT_HANDLES), nullptr: none yet; counted; lock, peek() */
    struct slot *free GUARDED_BY(&lock);
    struct slot *_Atomic *pages; /* one directory page */
    _Atomic bool has_user;       /* some process has set itself to write the two below, once for all */
    _Atomic uint64_t user_id;    /* of the first process that uses it; 0 = none yet, and its name is not to be read */
    char user_name[16];
    bool is_first; /* the first process's */
    struct audit_run audit;
    _Atomic uint32_t process_count; /* not ended, that use it: the last one closes it */
    _Atomic bool is_closed;         /* its process ended: nothing can be put in any more; set under the lock */
    _Atomic uint32_t clear_cursor;  /* cspace_close_step's progress; two CPUs may be at it */
};

/* What a handle resolved to. The object is not counted: valid for this kernel entry. */
struct cap {
    struct object *object;
    struct slot *slot;
    uint32_t rights;
    uint32_t generation;
    struct badge *badge; /* nullptr = none; as long as the object */
};

static inline uint64_t badge_number(const struct badge *badge) { return badge != nullptr ? badge->value : 0; }

extern const struct object_class cspace_class;

[[nodiscard]] status_t cspace_create(struct untyped *untyped, uint32_t slot_limit, struct cspace **out_cspace);
/* The room in it is the cell's from now on. CELL_LIMIT: it may not have so much more. */
[[nodiscard]] status_t cspace_charge_to(struct cspace *cspace, struct cell *cell);
/* Names the first process that uses the table; the next ones are not told. */
void cspace_set_user(struct cspace *cspace, uint64_t id, const char name[16]);
/* Its id and name; 0 and an empty name where there is none yet. */
uint64_t cspace_user(struct cspace *cspace, char out_name[16]);

static inline struct slot *cspace_slot(struct cspace *cspace, uint32_t index)
{
    return &cspace->pages[index / SLOTS_PER_PAGE][index % SLOTS_PER_PAGE];
}

/* Looks a handle up; false when it names nothing, and cspace_lookup() says why. A reader that sees the handle as the slot's name
 * before and after its other reads has seen this handle's contents. */
[[gnu::always_inline]] static inline bool cspace_peek_at(struct cspace *cspace, handle_t handle, bool wants_badge, struct cap *out_cap)
{
    /* The directory index is masked, not compared: no speculation goes past its end, and a slot reached with bits cut off has
     * another name. The reads through a page come after the page's pointer because they depend on it. */
    struct slot *page = atomic_load_explicit(&cspace->pages[handle / SLOTS_PER_PAGE % CSPACE_PAGES_MAX], memory_order_relaxed);
    if (page == nullptr)
        return false;
    struct slot *slot = &page[handle % SLOTS_PER_PAGE];
    if (atomic_load_explicit(&slot->name, memory_order_acquire) != handle)
        return false;
    struct object *object = atomic_load_explicit(&slot->object, memory_order_relaxed);
    uint32_t rights = atomic_load_explicit(&slot->rights, memory_order_relaxed);
    struct badge *badge = wants_badge ? atomic_load_explicit(&slot->badge, memory_order_relaxed) : nullptr;
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&slot->name, memory_order_relaxed) != handle ||
        atomic_load_explicit(&object->state, memory_order_relaxed) != OBJECT_ALIVE)
        return false;
    *out_cap = (struct cap){.object = object, .slot = slot, .rights = rights, .generation = (uint32_t)(handle >> 32), .badge = badge};
    return true;
}
static inline bool cspace_peek(struct cspace *cspace, handle_t handle, struct cap *out_cap)
{
    return cspace_peek_at(cspace, handle, true, out_cap);
}
/* Why cspace_peek() found nothing: BAD_HANDLE or STALE_HANDLE. */
[[nodiscard]] status_t cspace_refusal(struct cspace *cspace, handle_t handle);
[[gnu::always_inline, nodiscard]] static inline status_t cspace_lookup_at(struct cspace *cspace, handle_t handle, bool wants_badge,
                                                                          struct cap *out_cap)
{
    if (__builtin_expect(cspace_peek_at(cspace, handle, wants_badge, out_cap), true))
        return OK;
    status_t status = cspace_refusal(cspace, handle);
    __builtin_assume(status != OK);
    return status;
}
[[nodiscard]] static inline status_t cspace_lookup(struct cspace *cspace, handle_t handle, struct cap *out_cap)
{
    return cspace_lookup_at(cspace, handle, true, out_cap);
}
/* For those who do not look at the badge. */
[[nodiscard]] static inline status_t cspace_lookup_plain(struct cspace *cspace, handle_t handle, struct cap *out_cap)
{
    return cspace_lookup_at(cspace, handle, false, out_cap);
}

/* The first handle in use at slot *index or above; moves *index to its slot. NOT_FOUND when there is none. */
[[nodiscard]] status_t cspace_next(struct cspace *cspace, uint64_t *index, handle_t *out_handle, struct cap *out_cap);

/* Puts a handle to `object` in the table: derived from `parent` (whose rights are already folded into the argument), or top-level
 * when parent is nullptr. It gets the parent's badge, or `badge` when that is not nullptr. STALE_HANDLE when the parent went away
 * meanwhile. Takes a reference to the object. */
[[nodiscard]] status_t cspace_insert(struct cspace *cspace, struct object *object, const struct cap *parent, uint32_t rights,
                                     struct badge *badge, handle_t *out_handle);
[[nodiscard]] status_t cspace_remove(struct cspace *cspace, handle_t handle);
/* Copies or moves a looked-up handle into another table (messages, cspace.copy/move). */
[[nodiscard]] status_t cspace_transfer(struct cspace *from, handle_t handle, struct cspace *to, bool is_move, handle_t *out_handle);
/* Moves a handle at once, when nothing is unusual: false, and nothing is changed, when cspace_transfer() is to do it, or to say why it
 * cannot be done. Audited. */
[[nodiscard]] bool cspace_move_quick(struct cspace *from, handle_t handle, struct cspace *to, handle_t *out_handle);
static inline uint32_t slot_generation(const struct slot *slot)
{
    return (uint32_t)(atomic_load_explicit(&slot->name, memory_order_relaxed) >> 32);
}
/* Exact under the object's lock. */
static inline bool slot_holds(const struct slot *slot, const struct object *object, uint32_t generation)
{
    return atomic_load_explicit(&slot->object, memory_order_relaxed) == object && slot_generation(slot) == generation;
}
/* An empty slot that was counted as used goes to its table's free list. */
void slot_give_back(struct slot *slot);
/* Empties the table; nothing can be inserted any more. A bounded number of slots; true when something is left. */
bool cspace_close_step(struct cspace *cspace);
/* Removes handles of the object: all derived from `slot`, or all when nullptr. Bounded; true when something is left. */
bool object_revoke_step(struct object *object, struct slot *slot, uint64_t generation);

/* Frees a badge record after a grace period; no handle carries it any more. */
void badge_release(struct badge *badge);

void derivation_init_root(struct derivation_node *root);
void derivation_insert(struct derivation_node *parent, struct derivation_node *node);
void derivation_insert_after(struct derivation_node *sibling, struct derivation_node *node); /* as a child of the same parent */
void derivation_remove(struct derivation_node *node);                                        /* its children become its parent's */
void derivation_replace(struct derivation_node *node, struct derivation_node *by);           /* one without children */
