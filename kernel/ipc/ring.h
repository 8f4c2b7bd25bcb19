/*
 * What the files of the ring share: ring.c (queues, enter, life), ring_watch.c (watches and timeouts), ring_call.c (calls that arrive),
 * ring_submit.c (submissions), operation.c (those that wait). All of it is guarded by ring->lock.
 */
#pragma once
#include <kernel/ipc.h>

constexpr uint32_t RING_SUBMISSIONS_OFFSET = 128;
constexpr uint32_t RING_ENTRY_SIZE = 128;
constexpr uint32_t WATCHES_PER_PAGE = PAGE_SIZE / sizeof(struct watch);
constexpr uint32_t CALLS_PER_PAGE = PAGE_SIZE / sizeof(struct ring_call);

constexpr uint32_t OPERATIONS_PER_PAGE = PAGE_SIZE / sizeof(struct operation);

static inline void *ring_at(struct ring *ring, uint32_t offset) { return ring->pages[offset >> PAGE_SHIFT] + (offset & (PAGE_SIZE - 1)); }

static inline struct tess_ring_header *ring_header(struct ring *ring) { return (struct tess_ring_header *)ring->pages[0]; }

static inline struct watch *watch_at(struct ring *ring, uint32_t index)
{
    return &ring->watch_pages[index / WATCHES_PER_PAGE][index % WATCHES_PER_PAGE];
}

static inline struct ring_call *ring_call_at(struct ring *ring, uint32_t index)
{
    return &ring->call_pages[index / CALLS_PER_PAGE][index % CALLS_PER_PAGE];
}

static inline struct operation *operation_at(struct ring *ring, uint32_t index)
{
    return &ring->operation_pages[index / OPERATIONS_PER_PAGE][index % OPERATIONS_PER_PAGE];
}

/* Completions the user has not taken yet; nonsense in the shared index counts as a full queue. */
uint32_t ring_completions_used(struct ring *ring);
static inline bool ring_has_room(struct ring *ring) REQUIRES(&ring->lock)
{
    return ring_completions_used(ring) + ring->reserved < ring->cq_entries;
}
/* Writes a completion: there is room, or it was reserved. */
void ring_push(struct ring *ring, const struct tess_completion *completion) REQUIRES(&ring->lock);
/* Ends the waiter's wait when there are enough completions, or would be after another ring_flush(). */
void ring_wake(struct ring *ring) REQUIRES(&ring->lock);
/* Moves what waits for room into the completion queue, some of it: true when there is more, and room. Who is in nobody's way goes on
 * (ring_enter); else ring_wake() sends the waiter, who comes for the rest itself. */
bool ring_flush(struct ring *ring) REQUIRES(&ring->lock);

/* Lets interrupts in during long work. The lock is dropped and taken again. */
void ring_pause(struct ring *ring) REQUIRES(&ring->lock);

/* Takes a free record; nullptr when there is none. */
struct watch *watch_take(struct ring *ring, enum watch_state state, uint64_t cookie) REQUIRES(&ring->lock);
void watch_free(struct ring *ring, struct watch *watch) REQUIRES(&ring->lock);
/* Ends one watch or timeout that is active, without a completion. The lock is dropped and taken again. */
void watch_end(struct ring *ring, struct watch *watch) REQUIRES(&ring->lock);

/* A free record, from now on the caller's; nullptr: none, or the ring is closed. No lock held. */
struct operation *operation_take(struct ring *ring);
void operation_free(struct ring *ring, struct operation *operation) REQUIRES(&ring->lock);
void operation_timeout(struct timer *timer, uint64_t sequence);

/* The call's caller gave up: the server is told when there is room. The ring's lock is held. */
void ring_call_cancelled_locked(struct ring_call *call);
/* The call of this token, whose slot is free afterwards: false when there is none; else who waits for it, or nullptr: he gave up. */
bool ring_call_take(struct ring *ring, uint64_t token, struct waiter **out_caller, uint64_t *out_sequence);
bool ring_call_is_taken(struct ring *ring, uint64_t token); /* a look */
/* Gives the slot of a call back. */
void ring_call_free(struct ring *ring, struct ring_call *call) REQUIRES(&ring->lock);

/* An entry may wait to be taken: a look without the lock. */
static inline bool ring_has_submission(struct ring *ring)
{
    return __atomic_load_n(&ring_header(ring)->sq_tail, __ATOMIC_RELAXED) != peek(ring->sq_head);
}
/* Executes up to `limit` submissions; the number taken. The caller has set is_entering. */
uint32_t ring_submit_all(struct invocation *inv, struct ring *ring, uint32_t limit);
