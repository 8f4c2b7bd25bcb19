/* What placing a thread (sched.c) and leaving the kernel (exit.c, exit_short.c) have in common. */
#pragma once
#include <arch/arch.h>
#include <kernel/cpu_lease.h>
#include <kernel/sched.h>

extern _Atomic uint64_t sched_idle_mask[CPU_MAX / 64];

uint32_t sched_choose_cpu(const struct thread *thread);
void sched_enqueue(struct thread *thread, uint32_t cpu);
/* The thread was put into the queue of this CPU. */
void sched_notify(struct thread *thread, uint32_t cpu, bool is_urgent);

static inline bool is_leased(uint32_t cpu)
{
    return cpu < 63 && ((atomic_load_explicit(&sched_usable, memory_order_relaxed) >> cpu) & 1) == 0;
}

/* sched_may_run_on(), quick for who may everywhere. */
static inline bool may_run_on(const struct thread *thread, uint32_t cpu)
{
    uint64_t usable = atomic_load_explicit(&sched_usable, memory_order_relaxed);
    return (peek(thread->lease_cpu) == 0 && (peek(thread->affinity) & usable) == UINT64_MAX) || sched_may_run_on(thread, cpu);
}

/* UINT32_MAX: none. */
static inline uint32_t first_idle(void)
{
    uint32_t word = 0;
    do {
        uint64_t idle = atomic_load_explicit(&sched_idle_mask[word], memory_order_relaxed);
        if (idle != 0)
            return word * 64 + (uint32_t)__builtin_ctzll(idle);
    } while (++word * 64 < cpu_count);
    return UINT32_MAX;
}

/* For how long who runs may go on while others wait. The shortest slice is also how long they wait while another CPU idles. */
static inline uint64_t slice_ticks(const struct run_queue *queue, const struct thread *thread)
{
    return run_queue_request_ticks[queue->was_offered || first_idle() == UINT32_MAX ? peek(thread->latency) : 0];
}

/* The timer comes early enough already: threads that wake each other in turn would set it anew each time. */
static inline bool is_armed(const struct cpu *cpu, const struct thread *thread)
{
    const struct run_queue *queue = cpu->run_queue;
    if (cpu->timer_queue->slice_end_ns == UINT64_MAX)
        return false;
    return queue->armed_ticks <= run_queue_request_ticks[0] || queue->armed_ticks <= slice_ticks(queue, thread);
}
