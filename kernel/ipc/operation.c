/* Operations that were submitted and wait, and what they have in common with waiting threads. See kernel/ipc.h. */
#include "ring.h"
#include <arch/arch.h>
#include <kernel/sched.h>
#include <kernel/sched_budget.h>

struct operation debt_nobody = {.waiter = {.is_operation = true}}; /* never waits: no claim succeeds */

/* ---- Operations ---- */

struct operation *operation_take(struct ring *ring)
{
    spinlock_acquire(&ring->lock);
    struct operation *operation = ring->is_closed ? nullptr : ring->operation_free;
    if (operation != nullptr) {
        ring->operation_free = operation->free_next;
        operation->is_in_use = true;
    }
    spinlock_release(&ring->lock);
    return operation;
}

void operation_free(struct ring *ring, struct operation *operation)
{
    operation->is_in_use = operation->is_linked = false;
    operation->free_next = ring->operation_free;
    ring->operation_free = operation;
}

uint64_t operation_publish(struct operation *operation, struct wait_queue *queue, struct object *object)
{
    uint64_t sequence = (atomic_load_explicit(&operation->wait_word, memory_order_relaxed) >> 8) + 1;
    if (queue != nullptr)
        list_push_back(&queue->waiters, &operation->waiter.node);
    peekable_set(operation->wait_queue, queue);
    operation->wait_object = object;
    if (object != nullptr)
        object_get(object);
    if (operation->deadline_ns != DEADLINE_INFINITE) {
        operation->timer.cookie = sequence;
        timer_arm(&operation->timer, operation->deadline_ns);
    }
    /* Release: whoever claims the wait sees all of the above. */
    atomic_store_explicit(&operation->wait_word, sequence << 8 | WAIT_BLOCKED, memory_order_release);
    return sequence;
}

void operation_finish(struct operation *operation, status_t status)
{
    struct ring *ring = operation->ring;
    struct object *object = operation->wait_object;
    if (operation->deadline_ns != DEADLINE_INFINITE)
        (void)timer_cancel(&operation->timer);
    operation->wait_object = nullptr;
    peekable_set(operation->wait_queue, nullptr);
    operation->awaits = nullptr;
    operation->status = status;
    spinlock_acquire(&ring->lock);
    if (ring->is_closed) {
        operation_free(ring, operation);
    } else {
        list_push_back(&ring->done, &operation->done_node);
        (void)ring_flush(ring);
        ring_wake(ring);
    }
    spinlock_release(&ring->lock);
    if (object != nullptr)
        object_put(object);
}

/* The wait is claimed. */
static void unlink_and_finish(struct operation *operation, status_t status)
{
    for (struct wait_queue *queue; (queue = peek(operation->wait_queue)) != nullptr;) {
        spinlock_acquire(queue->lock);
        bool is_here = operation->wait_queue == queue; /* else it was moved to another futex meanwhile */
        if (is_here)
            wait_queue_remove(queue, &operation->waiter.node);
        spinlock_release(queue->lock);
        if (is_here)
            break;
    }
    if (operation->awaits != nullptr)
        debt_cancel(operation->awaits, &operation->waiter);
    operation->op &= 0xFFFF; /* no results */
    operation_finish(operation, status);
}

bool operation_cancel(struct operation *operation, uint64_t sequence, status_t status)
{
    if (!operation_claim(operation, sequence))
        return false;
    unlink_and_finish(operation, status);
    return true;
}

void operation_timeout(struct timer *timer, uint64_t sequence)
{
    (void)operation_cancel(container_of(timer, struct operation, timer), sequence, ERROR_TIMED_OUT);
}

static void operation_restored(struct operation *operation, uint64_t sequence)
{
    /* A timeout, or the ring's end, that came while the wait was claimed found nothing to end. */
    atomic_thread_fence(memory_order_seq_cst);
    if (peek(operation->ring->is_closed))
        (void)operation_cancel(operation, sequence, ERROR_CANCELLED);
    else if (peek(operation->deadline_ns) <= arch_time_ns())
        (void)operation_cancel(operation, sequence, ERROR_TIMED_OUT);
}

/* ---- Either ---- */

void operation_end(struct operation *operation, status_t status, const uint64_t *words, uint32_t count)
{
    operation->op = (operation->op & 0xFFFF) | (uint64_t)count << 16;
    for (uint32_t i = 0; i < count; i++)
        operation->words[i] = words[i];
    operation_finish(operation, status);
}

uint64_t waiter_restore(struct waiter *waiter, struct wait_queue *queue)
{
    if (!waiter->is_operation) {
        waiter_thread(waiter)->wait_queue = queue;
        return thread_wait_restore_locked(waiter_thread(waiter));
    }
    struct operation *operation = waiter_operation(waiter);
    uint64_t sequence = atomic_load_explicit(&operation->wait_word, memory_order_relaxed) >> 8;
    peekable_set(operation->wait_queue, queue);
    atomic_store(&operation->wait_word, sequence << 8 | WAIT_BLOCKED);
    return sequence;
}

void waiter_restored(struct waiter *waiter, uint64_t sequence)
{
    if (waiter->is_operation)
        operation_restored(waiter_operation(waiter), sequence);
    else
        thread_wait_restored(waiter_thread(waiter), sequence);
}

/* ---- Debts ---- */

struct waiter *debt_take(struct debt *debt, uint64_t *out_sequence)
{
    spinlock_acquire(debt->lock);
    struct waiter *caller = debt->caller;
    *out_sequence = debt->sequence;
    peekable_set(debt->caller, nullptr);
    spinlock_release(debt->lock);
    if (debt->kind == DEBT_THREAD)
        sched_lend_end(container_of(debt, struct thread, owed));
    return caller;
}

void debt_cancel(struct debt *debt, struct waiter *caller)
{
    /* The holder may have taken the debt meanwhile: it finds the wait over. The caller cannot owe itself to the same holder again
     * before it is released from this wait, so the pointer tells. A thread that owes nothing takes its next debt without the lock. */
    spinlock_acquire(debt->lock);
    bool is_here = peek(debt->caller) == caller;
    if (is_here) {
        peekable_set(debt->caller, debt->kind == DEBT_CALL ? nullptr : &debt_nobody.waiter);
        if (debt->kind == DEBT_CALL)
            ring_call_cancelled_locked(container_of(debt, struct ring_call, owed));
    }
    spinlock_release(debt->lock);
    if (is_here && debt->kind == DEBT_THREAD)
        sched_lend_end(container_of(debt, struct thread, owed));
    if (is_here && debt->kind == DEBT_REPLY)
        object_watches_notify(&container_of(debt, struct reply, owed)->object);
}
