/* Operations that are submitted through a ring. */
#include "ring.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>

/* Executes one submission; its completion entry is reserved. */
static void submit_one(struct invocation *inv, struct ring *ring, const struct tess_submission *submission)
{
    struct invocation sub = {.thread = inv->thread,
                             .cspace = inv->cspace,
                             .op = submission->op,
                             .aux = submission->aux,
                             .handle = submission->handle,
                             .is_submitted = true};
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        sub.words[i] = submission->words[i];
    status_t status;
    do
        status = invocation_run(&sub);
    while (status == ERROR_RESTART); /* each time did a part */
    struct tess_completion completion = {.kind = COMPLETION_RESULT, .status = status, .cookie = submission->cookie, .op = submission->op};
    for (uint32_t i = 0; i < sub.out_count && status == OK; i++)
        completion.words[i] = sub.out[i];
    spinlock_acquire(&ring->lock);
    ring->reserved--;
    ring_push(ring, &completion);
    ring_wake(ring); /* another thread may wait while this one submits */
    spinlock_release(&ring->lock);
}

uint32_t ring_submit_all(struct invocation *inv, struct ring *ring, uint32_t limit)
{
    uint32_t done = 0;
    while (done < limit) {
        spinlock_acquire(&ring->lock);
        uint32_t tail = __atomic_load_n(&ring_header(ring)->sq_tail, __ATOMIC_ACQUIRE);
        uint32_t waiting = tail - ring->sq_head;
        if (waiting == 0 || waiting > ring->sq_entries || !ring_has_room(ring)) {
            spinlock_release(&ring->lock);
            break;
        }
        /* One read of the shared entry: what is checked is what is executed. */
        struct tess_submission submission;
        const volatile uint64_t *from = ring_at(ring, RING_SUBMISSIONS_OFFSET + RING_ENTRY_SIZE * (ring->sq_head & (ring->sq_entries - 1)));
        uint64_t *to = (uint64_t *)&submission;
        for (uint32_t i = 0; i < sizeof(submission) / 8; i++)
            to[i] = from[i];
        ring->sq_head++;
        __atomic_store_n(&ring_header(ring)->sq_head, ring->sq_head, __ATOMIC_RELEASE);
        ring->reserved++;
        spinlock_release(&ring->lock);
        submit_one(inv, ring, &submission);
        done++;
    }
    return done;
}
