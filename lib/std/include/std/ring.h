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
    uint32_t sq_entries;  /* power of two, 1..512 */
    uint32_t cq_entries;  /* power of two, 2..1024 */
    uint32_t call_slots;  /* calls that may wait for their reply at once, 0..256 */
    uint32_t watch_slots; /* 0..1024 */
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
