/* Per-CPU timer queues. A timer belongs to the queue of the CPU that armed it; any CPU may cancel it. */
#include <arch/arch.h>
#include <kernel/sched.h>
#include <kernel/timer.h>

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
    timer->cpu = cpu->index;
    timer->is_armed = true;
    tree_insert(&queue->timers, &timer->node);
    cpu->exit_work |= EXIT_TIMER;
    spinlock_release(&queue->lock);
}

bool timer_cancel(struct timer *timer)
{
    /* Whoever calls owns the timer's next arming, so timer->cpu is stable. */
    struct timer_queue *queue = cpus[timer->cpu]->timer_queue;
    spinlock_acquire(&queue->lock);
    bool was_armed = timer->is_armed;
    if (was_armed) {
        tree_remove(&queue->timers, &timer->node);
        timer->is_armed = false;
    }
    spinlock_release(&queue->lock);
    return was_armed;
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
    if (queue->timers.root != nullptr) {
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
