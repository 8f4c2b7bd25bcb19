/* Per-CPU timer queues. A timer belongs to the queue of the CPU that armed it; any CPU may cancel it. */
#include <arch/arch.h>
#include <kernel/sched.h>
#include <kernel/timer.h>
#include <kernel/vspace.h>

static struct timer *first_timer(struct timer_queue *queue)
{
    struct tree_node *node = tree_first(&queue->timers);
    return node != nullptr ? container_of(node, struct timer, node) : nullptr;
}

void timer_arm(struct timer *timer, uint64_t deadline_ns)
{
    struct cpu *cpu = arch_cpu();
    struct timer_queue *queue = cpu->timer_queue;
    spinlock_acquire(&queue->lock);
    timer->deadline_ns = deadline_ns;
    peekable_set(timer->cpu, cpu->index);
    timer->is_armed = true;
    tree_insert(&queue->timers, &timer->node);
    cpu->exit_work |= EXIT_TIMER;
    spinlock_release(&queue->lock);
}

bool timer_cancel(struct timer *timer)
{
    /* Whoever calls owns the timer's next arming; only a lease may move it to another CPU meanwhile. */
    struct timer_queue *queue;
    for (;;) {
        uint32_t cpu = peek(timer->cpu);
        queue = cpus[cpu]->timer_queue;
        spinlock_acquire(&queue->lock);
        if (__builtin_expect(timer->cpu == cpu, true))
            break;
        spinlock_release(&queue->lock);
    }
    bool was_armed = timer->is_armed;
    if (was_armed) {
        tree_remove(&queue->timers, &timer->node);
        timer->is_armed = false;
    }
    spinlock_release(&queue->lock);
    return was_armed;
}

/* Both queues at once, under the callers' one lock: nobody else holds two. A timer whose CPU is `to` is in its queue. */
void timer_move_all(uint32_t from, uint32_t to) NO_THREAD_SAFETY
{
    struct timer_queue *source = cpus[from]->timer_queue, *target = cpus[to]->timer_queue;
    spinlock_acquire(&source->lock);
    spinlock_acquire(&target->lock);
    for (struct timer *timer; (timer = first_timer(source)) != nullptr;) {
        tree_remove(&source->timers, &timer->node);
        peekable_set(timer->cpu, to);
        tree_insert(&target->timers, &timer->node);
    }
    spinlock_release(&target->lock);
    spinlock_release(&source->lock);
    if (cpus[to] == arch_cpu())
        arch_cpu()->exit_work |= EXIT_TIMER;
    else
        smp_kick(to); /* it looks at its timers on the way out */
}

void timer_expire(void)
{
    struct timer_queue *queue = arch_cpu()->timer_queue;
    queue->programmed_ns = UINT64_MAX;
    arch_cpu()->exit_work |= EXIT_TIMER;
    uint64_t now = arch_time_ns();
    for (;;) {
        spinlock_acquire(&queue->lock);
        struct timer *timer = first_timer(queue);
        if (timer == nullptr || timer->deadline_ns > now) {
            spinlock_release(&queue->lock);
            break;
        }
        tree_remove(&queue->timers, &timer->node);
        timer->is_armed = false;
        uint64_t cookie = timer->cookie;
        spinlock_release(&queue->lock);
        timer->fire(timer, cookie);
    }
    if (queue->slice_end_ns <= now) {
        queue->slice_end_ns = UINT64_MAX;
        sched_slice_expired();
    }
}

/* Peeks at the tree without the lock: only this CPU inserts, and a stale view at worst programs a deadline just cancelled. */
void timer_program(void) NO_THREAD_SAFETY
{
    struct timer_queue *queue = arch_cpu()->timer_queue;
    uint64_t next = queue->slice_end_ns;
    if (peek(queue->timers.root) != nullptr) {
        spinlock_acquire(&queue->lock);
        struct timer *timer = first_timer(queue);
        if (timer != nullptr && timer->deadline_ns < next)
            next = timer->deadline_ns;
        spinlock_release(&queue->lock);
    }
    if (next != queue->programmed_ns) {
        queue->programmed_ns = next;
        arch_timer_set(next);
    }
}
