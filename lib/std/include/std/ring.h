/*
 * A ring: where a thread waits for everything at once. Thin: queues in memory, one system call to wait. <std/loop.h> is the
 * comfortable way. One thread uses a ring at a time.
 */
#pragma once
#include <std/memory.h>
#include <stdbool.h>
#include <stdint.h>
#include <tess/abi.h>
#include <tess/call.h>

struct std_ring_sizes {
    uint32_t sq_entries;      /* power of two, 1..512 */
    uint32_t cq_entries;      /* power of two, 2..1024 */
    uint32_t call_slots;      /* calls that may wait for their reply at once, 0..256 */
    uint32_t watch_slots;     /* 0..1024 */
    uint32_t operation_slots; /* submitted operations that may wait at once, 0..1024 */
};
struct std_ring {
    handle_t handle;
    struct std_mapping mapping;
    struct tess_ring_header *header;
    struct tess_submission *submissions;
    struct tess_completion *completions;
    uint32_t sq_entries, cq_entries;
    uint32_t sq_tail, cq_head; /* our own: the shared copies are written, never believed */
    uint32_t sq_unsent;
};

[[nodiscard]] status_t std_ring_open(struct std_ring *ring, const struct std_ring_sizes *sizes);
void std_ring_close(struct std_ring *ring);
/* The next completion if one is there; never enters the kernel. */
bool std_ring_take(struct std_ring *ring, struct tess_completion *out_completion);
/* Sends what was queued, waits for a completion. TIMED_OUT, INTERRUPTED. */
[[nodiscard]] status_t std_ring_wait(struct std_ring *ring, struct tess_completion *out_completion, uint64_t deadline_ns);
/* Queues an operation for the next std_ring_wait; NO_SPACE when the queue is full. */
[[nodiscard]] status_t std_ring_submit(struct std_ring *ring, const struct tess_submission *submission);
/* Answers a COMPLETION_CALL with call->words, reply_words, reply_handles, reply_move_mask (`call` may be nullptr: just the status). */
status_t std_ring_reply(struct std_ring *ring, uint64_t token, status_t status, const struct tess_call *call);

/* In place, for many at a time. The next free entry (nullptr: the queue is full), which std_ring_push() then queues; the next
 * completion (nullptr: none there), which std_ring_seen() then gives back. */
static inline struct tess_submission *std_ring_next(struct std_ring *ring)
{
    return ring->sq_unsent == ring->sq_entries ? nullptr : &ring->submissions[ring->sq_tail & (ring->sq_entries - 1)];
}
static inline void std_ring_push(struct std_ring *ring)
{
    ring->sq_unsent++;
    __atomic_store_n(&ring->header->sq_tail, ++ring->sq_tail, __ATOMIC_RELEASE);
}
static inline const struct tess_completion *std_ring_peek(const struct std_ring *ring)
{
    bool is_empty = __atomic_load_n(&ring->header->cq_tail, __ATOMIC_ACQUIRE) == ring->cq_head;
    return is_empty ? nullptr : &ring->completions[ring->cq_head & (ring->cq_entries - 1)];
}
static inline void std_ring_seen(struct std_ring *ring) { __atomic_store_n(&ring->header->cq_head, ++ring->cq_head, __ATOMIC_RELEASE); }
/* Sends what was queued and waits for `min_complete` completions. TIMED_OUT, INTERRUPTED. */
[[nodiscard]] status_t std_ring_enter(struct std_ring *ring, uint32_t min_complete, uint64_t deadline_ns);
