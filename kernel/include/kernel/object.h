/*
 * What every kernel object begins with, and its life.
 *
 * An object is made from an untyped (object_create, then object_publish), is reached through slots (handles) and internal
 * references, both counted in `refs`, and dies in two steps:
 *   killed     no handle works any more, everything that hung on it is told (object_kill: destroy through a handle, end of its
 *              untyped, or refs reaching zero);
 *   destroyed  refs is zero and a grace period has passed (quiesce.h): a kernel entry that looked it up without counting it may
 *              use its pages and tables until then, or even count it again. Then its resources and its memory go back.
 * `lock` guards the derivation tree and the list of death watches, and the contents of every slot that names the object.
 */
#pragma once
#include <kernel/quiesce.h>
#include <kernel/spinlock.h>
#include <tess/abi.h>
#include <tess/list.h>
#include <tess/util.h>

struct untyped;

/* A node of a derivation tree (cap/derivation.c). All links are guarded by the object's lock. */
struct derivation_node {
    struct derivation_node *child; /* first child */
    struct derivation_node *prev;  /* previous sibling; of the first: the last */
    struct derivation_node *next;  /* next sibling; of the last: the parent with bit 0 set */
};

enum object_state : uint8_t { OBJECT_ALIVE, OBJECT_DEAD };
/* QUEUED: on a reap list or waiting for the grace period, whoever drops the last reference meanwhile leaves it alone. DUE: the
 * grace period has passed. */
enum reap_state : uint8_t { REAP_NONE, REAP_QUEUED, REAP_DUE };

struct object {
    _Atomic uint32_t refs;
    uint8_t type;            /* enum object_type */
    _Atomic uint8_t state;   /* enum object_state */
    bool is_on_untyped_list; /* guarded by untyped->lock */
    _Atomic uint8_t reap;    /* enum reap_state */
    uint64_t id;             /* unique since boot */
    struct spinlock lock;
    struct derivation_node root GUARDED_BY(&lock);
    struct list watches GUARDED_BY(&lock); /* struct watch, object_node */
    struct untyped *untyped;               /* charged for it; counted */
    uint32_t size;                         /* of the whole struct, as allocated */
    uint32_t count_extra_pages;            /* pages charged beside it, for accounting by type */
    struct list_node untyped_node;         /* guarded by untyped->lock */
    struct deferred deferred;
    struct object *reap_next; /* this CPU's reap list */
};

struct object_class {
    /* Severs what hangs on the object: wakes waiters, unmaps, stops. Called once, no lock held. May be nullptr. */
    void (*kill)(struct object *object);
    /* refs is zero and no new ones can appear: gives resources back. False = did a bounded part, call again. May be nullptr. */
    bool (*destroy)(struct object *object);
};

extern const struct object_class *object_classes[32];
/* What exists, by type. Every CPU counts what it made and what it took away, so that no cache line is fought for; the sums are exact
 * when nothing changes meanwhile. Pages: memory's data, tables; untyped: what is cut into cells. */
uint64_t object_count(enum object_type type);
uint64_t object_pages(enum object_type type);
void object_count_add(enum object_type type, int64_t count);
void object_pages_add(enum object_type type, int64_t count);

/* Allocates and zeroes `size` bytes (<= PAGE_SIZE) charged to the untyped, sets the header, refs = 1 (the caller's). */
[[nodiscard]] status_t object_create(struct untyped *untyped, enum object_type type, uint32_t size, void **out_object);

/* Makes a finished object known to its untyped, whose end is then its own. STALE_HANDLE when the untyped is being destroyed. */
[[nodiscard]] status_t object_publish(struct object *object);

/* For the few objects that exist once and for ever (clock, log, machine, system): in kernel data, never destroyed. */
void object_init_static(struct object *object, enum object_type type, uint32_t size);

void object_kill(struct object *object);
void object_watches_notify(struct object *object); /* all death watches complete; also called when a process ends */

static inline void object_get(struct object *object) { atomic_fetch_add_explicit(&object->refs, 1, memory_order_relaxed); }

/* For objects found without a counted reference (under a lock or inside an epoch): fails once refs reached zero. */
static inline bool object_try_get(struct object *object)
{
    uint32_t refs = atomic_load_explicit(&object->refs, memory_order_relaxed);
    while (refs != 0)
        if (atomic_compare_exchange_weak_explicit(&object->refs, &refs, refs + 1, memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

void object_unreferenced(struct object *object); /* queues it for reap_run() */
static inline void object_put(struct object *object)
{
    if (atomic_fetch_sub(&object->refs, 1) == 1)
        object_unreferenced(object);
}

static inline bool object_is_alive(const struct object *object)
{
    return atomic_load_explicit(&object->state, memory_order_acquire) == OBJECT_ALIVE;
}

/* Destroys what this CPU's reap list holds, a bounded number; true when something is left. Called at kernel exit and when idle. */
bool reap_run(void);
/* Something given up anywhere has not come back yet. */
bool reap_is_pending(void);
uint64_t reap_pending_count(void); /* of steps still to be done; 0 = none */
/* Waits, at most until `limit_ns`, for all that was given up on any CPU to come back; true when it did. No lock is held, and the
 * caller keeps no pointer that it did not count: it leaves its epoch. */
bool reap_all(uint64_t limit_ns);

struct endpoint;
struct badge;

/* What a CPU has to do at its next kernel exit, when it holds no lock. */
struct reap_list {
    struct object *first, *last; /* objects without references */
    struct endpoint *ownerless;  /* endpoints whose last owner handle went, counted */
    struct deferred *badges;     /* badges whose last handle went */
};
void reap_owner_gone(struct endpoint *endpoint); /* takes a reference */
void reap_badge(struct badge *badge);
/* Tells the endpoints now what this CPU's list has for them. No lock is held. */
void reap_tell_endpoints(void);
