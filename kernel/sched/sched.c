/*
 * The scheduler's first half: on which CPU a thread that becomes ready waits, and who is told of it. Each CPU's run queue has its own lock
 * (run_queue.c); a thread is in at most one, and only the one who made it ready (the winner of its wait, or unpark) puts it there. The second
 * half is the end of every kernel entry: exit.c.
 */
#include "place.h"
#include "run_queue_short.h"
#include <arch/arch.h>
#include <kernel/cpu_lease.h>
#include <kernel/handler.h>
#include <kernel/invocation.h>
#include <kernel/pager.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/sched_budget.h>
#include <kernel/trace_events.h>
#include <kernel/upcall.h>
#include <kernel/vspace.h>

_Atomic uint64_t sched_idle_mask[CPU_MAX / 64];

bool sched_may_run_on(const struct thread *thread, uint32_t cpu)
{
    uint32_t leased = peek(thread->lease_cpu);
    if (leased != 0)
        return leased == cpu + 1;
    uint64_t affinity = peek(thread->affinity), usable = atomic_load_explicit(&sched_usable, memory_order_relaxed);
    if ((affinity & usable) == UINT64_MAX)
        return true;
    uint64_t bit = 1ull << (cpu < 63 ? cpu : 63);
    /* Who may run on leased CPUs only runs where everybody may, until one comes back. */
    return (usable & bit) != 0 && ((affinity & bit) != 0 || (affinity & usable) == 0);
}

void sched_leased(uint32_t cpu)
{
    atomic_thread_fence(memory_order_seq_cst); /* after sched_usable; idle() looks the other way round */
    atomic_fetch_and(&sched_idle_mask[cpu / 64], ~(1ull << (cpu % 64)));
    smp_kick(cpu);
}

static bool is_idle(uint32_t cpu) { return (atomic_load_explicit(&sched_idle_mask[cpu / 64], memory_order_relaxed) >> (cpu % 64)) & 1; }

/* Where it ran last if that CPU is idle or nobody is; else an idle CPU. */
uint32_t sched_choose_cpu(const struct thread *thread)
{
    uint32_t last = atomic_load_explicit(&thread->cpu, memory_order_relaxed);
    bool last_allowed = sched_may_run_on(thread, last) && atomic_load_explicit(&cpus[last]->is_online, memory_order_relaxed);
    if (last_allowed && is_idle(last))
        return last;
    for (uint32_t word = 0; word * 64 < cpu_count; word++) {
        uint64_t idle = atomic_load_explicit(&sched_idle_mask[word], memory_order_relaxed);
        while (idle != 0) {
            uint32_t cpu = word * 64 + (uint32_t)__builtin_ctzll(idle);
            idle &= idle - 1;
            if (sched_may_run_on(thread, cpu))
                return cpu;
        }
    }
    if (last_allowed) {
        /* Nobody is idle: the shorter queue of two, so that long ones do not stay so until somebody has nothing to do. */
        uint32_t other = (last + 1 + (uint32_t)thread->object.id) % max_u32(cpu_count, 1);
        uint32_t here = peek(cpus[last]->run_queue->count);
        bool is_shorter = here > 1 && peek(cpus[other]->run_queue->count) + 1 < here;
        return is_shorter && sched_may_run_on(thread, other) && atomic_load(&cpus[other]->is_online) ? other : last;
    }
    for (uint32_t cpu = 0; cpu < cpu_count; cpu++)
        if (sched_may_run_on(thread, cpu) && atomic_load(&cpus[cpu]->is_online))
            return cpu;
    return last;
}

/* A thread in the queue of a CPU it may not run on would never run. thread_set_affinity stores the mask and then looks where the
 * thread is; here it is the other way round: one of the two sees the other. */
static inline void check_home(struct thread *thread, uint32_t cpu)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (!sched_may_run_on(thread, cpu))
        sched_affinity_changed(thread);
}

static inline bool is_budgeted(const struct thread *thread) { return __builtin_expect(peek(thread->runs_on) != nullptr, false); }

/* Of those where it may run: the last one, unless somebody on a budget runs or waits there and nobody does elsewhere. */
[[clang::noinline]] static uint32_t choose_cpu_budgeted(const struct thread *thread)
{
    uint32_t first = sched_choose_cpu(thread);
    for (uint32_t i = 0; i < cpu_count; i++) {
        uint32_t cpu = (first + i) % cpu_count;
        if (atomic_load_explicit(&cpus[cpu]->is_online, memory_order_relaxed) && sched_may_run_on(thread, cpu) &&
            !run_queue_is_budgeted(cpus[cpu]->run_queue))
            return cpu;
    }
    return first;
}

/* The thread was put into the queue of this CPU: it must look there. */
static inline void notify_here(struct cpu *self, bool is_urgent)
{
    self->run_queue->must_give_way |= is_urgent;
    if (is_urgent || self->current == nullptr || !is_armed(self, self->current))
        self->exit_work |= EXIT_RESCHEDULE;
}

void sched_notify(struct thread *thread, uint32_t cpu, bool is_urgent)
{
    if (cpus[cpu] == arch_cpu())
        notify_here(arch_cpu(), is_urgent);
    else if (is_urgent || peek(cpus[cpu]->run_queue->count) == 1)
        smp_kick(cpu); /* idle: it must wake; busy: it must give way or start a time slice */
    check_home(thread, cpu);
}

[[clang::noinline]] void sched_enqueue(struct thread *thread, uint32_t cpu)
{
    sched_notify(thread, cpu, run_queue_join(cpus[cpu]->run_queue, thread));
}

/* Who wakes somebody is mostly about to wait itself (doorbells, replies, interrupts): staying here saves an interrupt to another CPU and
 * a cold cache. If it goes on instead, an idle CPU is offered the thread soon. */
static inline bool is_to_stay(const struct cpu *cpu, const struct thread *thread)
{
    return peek(cpu->run_queue->count) == 0 && cpu->run_queue->handoff == nullptr && sched_may_run_on(thread, cpu->index);
}

[[clang::noinline]] static void ready_budgeted(struct thread *thread)
{
    struct cpu *cpu = arch_cpu();
    bool stays = cpu->run_queue->handoff == nullptr && !run_queue_is_budgeted(cpu->run_queue) && sched_may_run_on(thread, cpu->index);
    sched_enqueue(thread, stays ? cpu->index : choose_cpu_budgeted(thread));
}

[[clang::noinline]] static void ready_generally(struct thread *thread)
{
    if (is_budgeted(thread)) [[clang::musttail]]
        return ready_budgeted(thread);
    struct cpu *cpu = arch_cpu();
    sched_enqueue(thread, is_to_stay(cpu, thread) ? cpu->index : sched_choose_cpu(thread));
}

void sched_ready(struct thread *thread)
{
    struct cpu *cpu = arch_cpu();
    if (!is_to_stay(cpu, thread) || !run_queue_join_quick(cpu->run_queue, thread)) {
        ready_generally(thread);
        return;
    }
    notify_here(cpu, false);
    check_home(thread, cpu->index);
}

void sched_spread(struct thread *thread) { sched_enqueue(thread, sched_choose_cpu(thread)); }

void sched_switch_to(struct thread *thread)
{
    struct cpu *cpu = arch_cpu();
    if (cpu->run_queue->handoff != nullptr || is_budgeted(thread) || !sched_may_run_on(thread, cpu->index)) {
        sched_ready(thread);
        return;
    }
    cpu->run_queue->handoff = thread;
    cpu->exit_work |= EXIT_RESCHEDULE;
}

void sched_kick(uint32_t cpu)
{
    if (cpus[cpu] == arch_cpu())
        arch_cpu()->exit_work |= EXIT_RESCHEDULE;
    else
        smp_kick(cpu);
}

void sched_yield(void)
{
    struct cpu *cpu = arch_cpu();
    cpu->run_queue->must_give_way = cpu->run_queue->must_yield = true;
    cpu->exit_work |= EXIT_RESCHEDULE;
}

void sched_slice_expired(void)
{
    struct cpu *cpu = arch_cpu();
    struct run_queue *queue = cpu->run_queue;
    cpu->exit_work |= EXIT_RESCHEDULE; /* the timer is set anew, when somebody waits; a grant that is over is seen on the way out */
    if (peek(queue->count) == 0)
        return;
    uint32_t idle = queue->was_offered ? UINT32_MAX : first_idle();
    if (idle != UINT32_MAX) {
        queue->was_offered = true;
        smp_kick(idle); /* it wakes and steals */
    } else if (run_queue_ticks_left(queue) == 0) {
        queue->must_give_way = true;
    }
}

void sched_affinity_changed(struct thread *thread)
{
    atomic_thread_fence(memory_order_seq_cst); /* the mask was stored before; see sched_enqueue() */
    uint32_t cpu = atomic_load(&thread->cpu);
    if (sched_may_run_on(thread, cpu))
        return;
    bool was_queued = run_queue_remove(cpus[cpu]->run_queue, thread);
    if (was_queued)
        sched_ready(thread);
    else if (cpus[cpu] == arch_cpu())
        arch_cpu()->exit_work |= EXIT_RESCHEDULE;
    else
        smp_kick(cpu); /* it runs there, or is about to: sched_exit() looks at the mask */
}

void sched_budget_changed(struct thread *thread)
{
    atomic_thread_fence(memory_order_seq_cst); /* runs_on was stored before; see set_current() and admit_budgeted() */
    uint32_t cpu = atomic_load(&thread->cpu);
    if (throttle_release(thread) || run_queue_remove(cpus[cpu]->run_queue, thread))
        sched_ready(thread);
    else if (cpus[cpu] == arch_cpu())
        arch_cpu()->exit_work |= EXIT_RESCHEDULE;
    else if (atomic_load(&thread->is_running))
        smp_kick(cpu);
}
