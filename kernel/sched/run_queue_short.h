/*
 * The short forms of joining, leaving and picking, inlined where threads wake each other: for the one that is woken by the only one that
 * runs here, which then waits itself, when nobody holds the lock. They call nothing, so that no registers have to be kept. And what they
 * have in common with the general forms (run_queue.c).
 */
#pragma once
#include <arch/arch.h>
#include <kernel/process.h>
#include <kernel/run_queue.h>
#include <kernel/sched_budget.h>

static inline struct thread *thread_of(struct eevdf_entity *entity) { return container_of(entity, struct thread, fair); }

[[gnu::always_inline]] static inline void charge(struct run_queue *queue, uint64_t now) REQUIRES(&queue->lock)
{
    uint64_t since = queue->since;
    if (queue->payer == nullptr || (int64_t)(now - since) <= 0) /* another CPU's counter may be a little ahead */
        return;
    queue->since = now;
    cell_share(queue->payer, queue->cpu)->ticks += now - since;
    if (queue->fair.running.weight != 0 && eevdf_charge(&queue->fair, now - since) && eevdf_has_waiting(&queue->fair))
        peekable_set(queue->is_used_up, true);
}

static inline bool is_idle_class(const struct thread *thread) { return peek(thread->policy) == SCHED_IDLE; }

/* The thread becomes ready on this CPU, or is about to run: it counts in its cell, and its entity weighs what its share is. */
[[gnu::always_inline]] static inline void count_load(struct run_queue *queue, struct thread *thread) REQUIRES(&queue->lock)
{
    struct cell *cell = thread->process->cell;
    uint32_t weight = thread->counted = peek(thread->weight);
    cell_load_add(cell, queue->cpu, weight);
    thread->fair.weight = cell_effective_weight(cell, queue->cpu, weight);
    thread->fair.request = run_queue_request_ticks[peek(thread->latency)];
}

static inline void uncount_load(struct run_queue *queue, struct thread *thread) REQUIRES(&queue->lock)
{
    cell_load_subtract(thread->process->cell, queue->cpu, thread->counted);
}

/* The thread, which counts already, runs now. */
static inline void pay(struct run_queue *queue, const struct thread *thread, uint32_t weight) REQUIRES(&queue->lock)
{
    queue->payer = thread->process->cell;
    queue->payer_weight = weight;
}

/* Nobody runs any more, and the running place counts no more. */
[[gnu::always_inline]] static inline void stop_paying(struct run_queue *queue) REQUIRES(&queue->lock)
{
    if (queue->payer_weight != 0)
        cell_load_subtract(queue->payer, queue->cpu, queue->payer_weight);
    queue->payer = nullptr;
    queue->payer_weight = 0;
    if (__builtin_expect(queue->grant.is_held, false))
        grant_settle(&queue->grant, queue->since);
}

[[gnu::always_inline]] static inline void count_in(struct run_queue *queue, struct thread *thread) REQUIRES(&queue->lock)
{
    atomic_store_explicit(&thread->cpu, queue->cpu, memory_order_relaxed);
    peekable_set(thread->queued_on, queue->cpu + 1);
    peekable_set(queue->count, queue->count + 1);
}

[[gnu::always_inline]] static inline struct thread *count_out(struct run_queue *queue, struct thread *thread) REQUIRES(&queue->lock)
{
    peekable_set(thread->queued_on, 0);
    peekable_set(queue->count, queue->count - 1);
    return thread;
}

static inline bool has_limits(const struct thread *thread)
{
    return __builtin_expect(peek(thread->runs_on) != nullptr || peek(thread->process->cell->quota) != nullptr, false);
}

/* As run_queue_join(), who is not urgent then; false, and nothing is changed: do it generally. So the others. */
[[gnu::always_inline]] static inline bool run_queue_join_quick(struct run_queue *queue, struct thread *thread)
{
    if (!spinlock_try_acquire(&queue->lock))
        return false;
    bool is_quick = peek(thread->runs_on) == nullptr && !is_idle_class(thread) && eevdf_runs_alone(&queue->fair) &&
                    run_queue_request_ticks[peek(thread->latency)] >= queue->fair.running.request;
    if (is_quick) {
        int64_t uncharged = (int64_t)(arch_counter() - queue->since);
        count_load(queue, thread);
        eevdf_join_alone(&queue->fair, &thread->fair, uncharged > 0 ? (uint64_t)uncharged : 0);
        count_in(queue, thread);
    }
    spinlock_release(&queue->lock);
    return is_quick;
}

[[gnu::always_inline]] static inline void keep_place(struct run_queue *queue) REQUIRES(&queue->lock)
{
    queue->left = queue->fair.running;
    queue->left_payer = queue->payer;
    queue->left_weight = queue->payer_weight;
}

[[gnu::always_inline]] static inline bool run_queue_leave_quick(struct run_queue *queue, struct thread *thread, uint64_t now)
{
    if (!spinlock_try_acquire(&queue->lock))
        return false;
    bool is_quick = queue->fair.is_unplaced && queue->fair.running.weight != 0 && !queue->grant.is_held;
    if (is_quick) {
        charge(queue, now);
        keep_place(queue);
        thread->fair.lag = eevdf_leave_to_unplaced(&queue->fair);
        stop_paying(queue);
    }
    spinlock_release(&queue->lock);
    return is_quick;
}

[[gnu::always_inline]] static inline struct thread *run_queue_pick_quick(struct run_queue *queue, uint64_t now)
{
    struct thread *thread = nullptr;
    if (!spinlock_try_acquire(&queue->lock))
        return nullptr;
    if (queue->payer == nullptr && queue->fair.is_unplaced && queue->budgeted.root == nullptr && !has_limits(thread_of(queue->fair.only))) {
        queue->left.weight = 0;
        peekable_set(queue->is_used_up, false);
        queue->since = queue->started = now;
        thread = count_out(queue, thread_of(eevdf_pick_unplaced(&queue->fair)));
        pay(queue, thread, thread->counted);
    }
    spinlock_release(&queue->lock);
    return thread;
}
