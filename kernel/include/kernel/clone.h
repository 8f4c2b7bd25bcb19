/*
 * Copies of memories, address spaces and processes. They may be large, so they are made in steps of bounded length: the call is
 * made again (RESTART) until it is done, and what is made so far hangs on the calling thread. A call that fails, or whose thread
 * ends in the middle, leaves nothing.
 */
#pragma once
#include <kernel/invocation.h>
#include <kernel/vspace.h>

struct process;
struct thread;

struct clone_work {
    struct untyped *untyped; /* pays for this record; counted */
    struct object *target;   /* what is cloned; counted */
    uint64_t op, words[8];   /* the call this belongs to */

    /* The memory in hand: `copy` gets pages [first, first + count) of `source`. */
    struct memory *source, *copy; /* counted; nullptr = none */
    uint64_t first, count, cursor;
    struct region region;   /* where the copy goes: a description, linked nowhere; its inherit is what that comes to */
    uint8_t region_inherit; /* as it was set */

    struct vspace *vspace;   /* counted; the clone */
    vaddr_t at;              /* regions below it are done */
    struct cspace *cspace;   /* counted; the clone */
    uint32_t slots_left;     /* from the highest index down */
    struct process *process; /* counted; not published */
    struct thread *thread;   /* counted; not started */
    bool has_vspace;         /* complete, or shared */
    bool has_slots;          /* the clone's table has its pages */
};

/* The record of this call of the current thread, new or from its earlier steps. */
[[nodiscard]] status_t clone_work_get(struct invocation *inv, struct untyped *untyped, struct clone_work **out_work);
/* Gives up the thread's record and what hangs on it. */
void clone_work_end(struct thread *thread);

/* One step; RESTART: more to do. The clone is work->vspace. */
[[nodiscard]] status_t vspace_clone_step(struct clone_work *work, struct vspace *source, struct untyped *untyped);
/* The clone's own memory that a clone's vspace shows where the source shows `memory`; nullptr when it has none of its own. */
struct memory *vspace_clone_counterpart(struct vspace *source, struct vspace *clone, struct memory *memory);

/* Which object a handle of the clone's table names: the same, another one, or nullptr for none. */
typedef struct object *(*cspace_clone_fn)(void *context, struct object *object);
/* One step of filling work->cspace, with equal handle values; RESTART: more to do. */
[[nodiscard]] status_t cspace_clone_step(struct clone_work *work, struct cspace *source, struct untyped *untyped, cspace_clone_fn choose,
                                         void *context);
/* Deletes handles marked HANDLE_DROP_ON_EXEC at slot *index and above but those to keep, a bounded number; RESTART: more to do. */
[[nodiscard]] status_t cspace_exec_step(struct cspace *cspace, uint32_t *index, const handle_t *keep, uint32_t keep_count);
void cspace_exec_drop(struct cspace *cspace, handle_t handle); /* one, if it is marked */
