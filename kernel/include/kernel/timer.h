/* One-shot timers, one queue per CPU, programmed for the next real deadline only. */
#pragma once
#include <kernel/spinlock.h>
#include <tess/tree.h>

struct timer {
    struct tree_node node;
    uint64_t deadline_ns;
    uint64_t cookie;                                    /* for fire: detects that the timer was meant for an earlier use */
    void (*fire)(struct timer *timer, uint64_t cookie); /* interrupt context, no lock held; the timer is disarmed */
    uint32_t cpu;                                       /* whose queue */
    bool is_armed;                                      /* guarded by that queue's lock */
};

struct timer_queue {
    struct spinlock lock;
    struct tree timers GUARDED_BY(&lock);
    uint64_t programmed_ns; /* own CPU only */
    uint64_t slice_end_ns;  /* own CPU only; UINT64_MAX = none */
};

void timer_arm(struct timer *timer, uint64_t deadline_ns); /* on this CPU's queue; must not be armed */
/* True when it was armed and now is not; false: never armed, or fire() ran or is running. */
bool timer_cancel(struct timer *timer);
void timer_move_all(uint32_t from, uint32_t to); /* cpu_lease.c */
void timer_expire(void);                         /* irq_timer */
void timer_program(void);                        /* at kernel exit: next deadline or slice end */
/* It would change nothing. Peeks, as it does. */
static inline bool timer_is_programmed(const struct timer_queue *queue) NO_THREAD_SAFETY
{
    return peek(queue->timers.root) == nullptr && queue->slice_end_ns == queue->programmed_ns;
}
