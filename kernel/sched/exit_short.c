/*
 * The short ways out of the kernel: for a current thread that waits, when nothing else is to be done. Everything called comes last, so that no
 * registers have to be kept.
 */
#include "exit.h"
#include "run_queue_short.h"
#include <kernel/trace_events.h>

/* Something else is to be done as well: with the thread that hands over, with the other one, or by this CPU. */
[[clang::noinline]] static struct thread *hand_over_slowly(struct cpu *cpu, struct thread *from, struct thread *to, uint64_t now)
{
    if (cpu->exit_work & EXIT_TRACE)
        trace_handed_over(cpu, from, to);
    atomic_store(&to->is_running, false);
    cpu->current = nullptr;
    cpu->stopped_at = now;
    sched_switch_to(to);
    thread_wait_recheck(from);
    return sched_exit();
}

/* Of the form of its caller, which so needs no stack frame. */
[[clang::noinline]] static struct thread *leave_with_fpu([[maybe_unused]] struct thread *from, struct thread *to,
                                                         [[maybe_unused]] uint64_t now)
{
    struct cpu *cpu = arch_cpu();
    load_fpu(cpu, to);
    quiesce_leave(cpu);
    return to;
}

/* The time slice goes on, and what the timer is programmed for stays as it is: who changes that leaves a note in exit_work. */
struct thread *sched_hand_over(struct thread *from, struct thread *to, uint64_t now)
{
    struct cpu *cpu = arch_cpu();
    set_current(cpu, to); /* with its fence also what thread_wait_recheck() needs for `from` */
    uint32_t pending =
        atomic_load_explicit(&from->pending, memory_order_relaxed) | atomic_load_explicit(&to->pending, memory_order_relaxed);
    if ((pending | cpu->exit_work) != 0 || to->affinity != UINT64_MAX)
        return hand_over_slowly(cpu, from, to, now);
    to->run_start = now;
    load_context(cpu, to);
    if (to->fpu != nullptr || cpu->fpu_thread != nullptr) [[clang::musttail]]
        return leave_with_fpu(from, to, now);
    quiesce_leave(cpu);
    return to;
}

/* More than that is to be done. */
[[clang::noinline]] static struct thread *start_slowly(struct cpu *cpu, struct thread *thread)
{
    return start(cpu, thread) ? sched_finish_exit(cpu, thread) : sched_exit_generally(cpu);
}

/* The current thread waits, and the one it hands over to runs. */
[[clang::noinline]] static struct thread *exit_handing_over(struct cpu *cpu)
{
    struct thread *thread = cpu->run_queue->handoff;
    if (!may_run_on(thread, cpu->index) || run_queue_has_budgeted(cpu->run_queue))
        return sched_exit_generally(cpu);
    cpu->run_queue->handoff = nullptr;
    return run_queue_begin(cpu->run_queue, thread, moment(cpu)) ? start_slowly(cpu, thread) : sched_exit_generally(cpu);
}

[[clang::noinline]] static struct thread *exit_unused(struct cpu *cpu, struct thread *thread)
{
    sched_enqueue(thread, sched_choose_cpu(thread)); /* the place it was given here is dropped by the next pick */
    return sched_exit_generally(cpu);
}

/* The short ways are for a current thread that waits, when nothing else is to be done. */
struct thread *sched_exit(void)
{
    struct cpu *cpu = arch_cpu();
    struct run_queue *queue = cpu->run_queue;
    if (cpu->current != nullptr || (cpu->exit_work & (EXIT_REAP | EXIT_QUIESCE)) != 0)
        return sched_exit_generally(cpu);
    if (queue->handoff != nullptr)
        return exit_handing_over(cpu);
    struct thread *thread = cpu->stopped_at != 0 ? run_queue_pick_quick(queue, cpu->stopped_at) : nullptr;
    if (thread == nullptr)
        return sched_exit_generally(cpu);
    queue->was_offered = false;
    if (!may_run_on(thread, cpu->index))
        return exit_unused(cpu, thread);
    /* With its fence before the pending flags are looked at; set_current() says why. */
    set_current(cpu, thread);
    uint32_t pending = atomic_load_explicit(&thread->pending, memory_order_relaxed);
    if (((cpu->exit_work & ~(uint32_t)EXIT_RESCHEDULE) | pending | peek(queue->count)) != 0 || thread->fpu != nullptr ||
        cpu->fpu_thread != nullptr || is_leased(cpu->index) || !timer_is_programmed(cpu->timer_queue))
        return start_slowly(cpu, thread);
    thread->run_start = cpu->stopped_at;
    cpu->stopped_at = 0;
    load_context(cpu, thread);
    queue->must_give_way = queue->must_yield = false;
    cpu->exit_work = 0;
    quiesce_leave(cpu);
    return thread;
}
