/* The end of a kernel entry: who runs next on this CPU, what died is cleaned up, and when there is nothing to run, waiting. */
#include "exit.h"
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

static struct thread *steal(struct cpu *cpu)
{
    for (uint32_t i = 1; i < cpu_count; i++) {
        uint32_t victim = (cpu->index + i) % cpu_count;
        if (cpus[victim] == nullptr || cpus[victim]->run_queue == nullptr)
            continue;
        struct thread *thread = run_queue_steal(cpus[victim]->run_queue, cpu->index);
        if (thread != nullptr)
            return thread;
    }
    return nullptr;
}

static struct thread *pick(struct cpu *cpu)
{
    struct run_queue *queue = cpu->run_queue;
    struct thread *thread = queue->handoff;
    if (thread != nullptr) {
        queue->handoff = nullptr;
        if (__builtin_expect(!run_queue_has_budgeted(queue), true))
            return run_queue_begin(queue, thread, moment(cpu)) ? thread : nullptr;
        (void)run_queue_join(queue, thread);
    }
    queue->was_offered = false;
    thread = run_queue_pick(queue, moment(cpu));
    if (thread != nullptr || cpu_count == 1 || queue->was_refused)
        return thread;
    thread = steal(cpu);
    return thread != nullptr && run_queue_begin(queue, thread, moment(cpu)) ? thread : nullptr;
}

/* Before another CPU may run the thread that ran here. */
static void state_save(struct thread *thread)
{
    if (thread->fpu != nullptr)
        arch_fpu_save(thread->fpu);
    arch_cpu()->stopped_at = thread_stop_clock(thread);
}

/* It is, or was, on a budget: false when its place is not the one it should have now, and it went back into the queue. */
static bool admit_budgeted(struct cpu *cpu, struct thread *thread, bool was_running)
{
    struct run_queue *queue = cpu->run_queue;
    if (run_queue_is_misplaced(queue, thread)) {
        queue->must_regrant = was_running;
        if (was_running)
            return true;
        cpu->current = nullptr;
        atomic_store(&thread->is_running, false);
        sched_enqueue(thread, cpu->index);
        return false;
    }
    if (peek(thread->runs_on) == nullptr) {
        atomic_fetch_and(&thread->pending, ~(uint32_t)THREAD_PENDING_BUDGET);
        atomic_fetch_and(&thread->long_way, ~(uint32_t)THREAD_LONG_WAY_BUDGET);
        if (peek(thread->runs_on) != nullptr) { /* just now */
            atomic_fetch_or(&thread->long_way, THREAD_LONG_WAY_BUDGET);
            atomic_fetch_or(&thread->pending, THREAD_PENDING_BUDGET);
        }
    }
    return true;
}

[[clang::noinline]] bool sched_admit_pending(struct cpu *cpu, struct thread *thread, bool was_running, uint32_t pending)
{
    if ((pending & THREAD_PENDING_BUDGET) && !admit_budgeted(cpu, thread, was_running))
        return false;
    if ((pending & (THREAD_PENDING_EVENT | THREAD_PENDING_KILL)) == THREAD_PENDING_EVENT) {
        handler_finish(thread);
        return admit(cpu, thread, was_running);
    }
    if ((pending & (THREAD_PENDING_FAULT | THREAD_PENDING_KILL)) == THREAD_PENDING_FAULT) {
        pager_wait_finish(thread);
        return admit(cpu, thread, was_running);
    }
    if (!(pending & (THREAD_PENDING_KILL | THREAD_PENDING_SUSPEND))) {
        if (pending & THREAD_PENDING_INTERRUPT)
            upcall_interrupt(thread);
        return true;
    }
    if (pending & THREAD_PENDING_KILL) {
        if (was_running)
            state_save(thread);
        trace_why(cpu, TRACE_WHY_ENDED);
        cpu->current = nullptr;
        atomic_store(&thread->is_running, false);
        thread_finish(thread);
        return false;
    }
    spinlock_acquire(&thread->lock);
    bool must_park = (atomic_load(&thread->pending) & (THREAD_PENDING_SUSPEND | THREAD_PENDING_KILL)) == THREAD_PENDING_SUSPEND;
    if (must_park) {
        if (was_running) {
            state_save(thread);
            run_queue_leave(cpu->run_queue, thread, cpu->stopped_at);
        }
        trace_why(cpu, TRACE_WHY_SUSPENDED);
        cpu->current = nullptr;
        atomic_store(&thread->is_running, false);
        thread->is_parked = true;
    }
    spinlock_release(&thread->lock);
    return must_park ? false : admit(cpu, thread, was_running);
}

/* Releases what died. True when something must wait for later. What one round destroys gives the next one its work. */
static bool clean_up(struct cpu *cpu)
{
    constexpr uint32_t ROUNDS_MAX = 16; /* bounds the time with interrupts off */
    for (uint32_t round = 0; round < ROUNDS_MAX && (cpu->exit_work & (EXIT_REAP | EXIT_QUIESCE)) != 0; round++) {
        bool has_reaped = (cpu->exit_work & EXIT_REAP) != 0;
        cpu->exit_work &= ~(uint32_t)EXIT_REAP;
        if (has_reaped && reap_run())
            cpu->exit_work |= EXIT_REAP;
        bool has_deferred = (cpu->exit_work & EXIT_QUIESCE) != 0;
        cpu->exit_work &= ~(uint32_t)EXIT_QUIESCE;
        if (has_deferred && !quiesce_run())
            cpu->exit_work |= EXIT_QUIESCE;
        if (!(cpu->exit_work & EXIT_REAP))
            break;
    }
    return (cpu->exit_work & (EXIT_REAP | EXIT_QUIESCE)) != 0;
}

/* Out of the epoch and back: CPUs that wait for each other's present entry to end all get on. Nothing looked up is held. */
static void step_out(struct cpu *cpu)
{
    quiesce_leave(cpu);
    arch_cpu_relax();
    quiesce_enter(cpu);
    smp_poll();
}

/* At the end of an entry. Whoever gives up faster than memory comes back waits here: otherwise a CPU that its host stops inside the
 * kernel would let the others fill all memory with what only waits for it. */
static void clean_up_and_keep_up(struct cpu *cpu)
{
    while (clean_up(cpu) && quiesce_is_behind())
        step_out(cpu);
}

[[clang::noinline]] static void idle(struct cpu *cpu)
{
    struct cpu_stats *stats = &cpu->stats;
    uint64_t bit = 1ull << (cpu->index % 64);
    _Atomic uint64_t *mask = &sched_idle_mask[cpu->index / 64];
    stats->idle_since_ns = arch_time_ns();
    atomic_fetch_or(mask, bit); /* sequentially consistent: then look at the queues once more */
    if (is_leased(cpu->index))
        atomic_fetch_and(mask, ~bit);
    smp_tlb_idle_begin();
    trace_running(cpu, nullptr);
    while (peek(cpu->run_queue->count) == 0 && cpu->run_queue->handoff == nullptr) {
        if (cpu->active_vspace != nullptr && peek(cpu->active_vspace->is_destroyed))
            vspace_leave(cpu);
        bool is_left = clean_up(cpu);
        if (peek(cpu->run_queue->count) != 0 || cpu->run_queue->handoff != nullptr)
            break;
        /* Left-overs wait for another CPU to leave the kernel, which takes no longer than its present entry: look again. */
        if (is_left) {
            step_out(cpu);
            continue;
        }
        timer_program();
        quiesce_leave(cpu);
        cpu->is_idle_waiting = true;
        arch_idle();
        cpu->is_idle_waiting = false;
        quiesce_enter(cpu);
        if (cpu_count > 1) {
            struct thread *stolen = peek(cpu->run_queue->count) == 0 ? steal(cpu) : nullptr;
            if (stolen != nullptr) {
                cpu->run_queue->handoff = stolen;
                break;
            }
        }
    }
    atomic_fetch_and(mask, ~bit);
    smp_tlb_idle_end();
    stats->idle_ns += arch_time_ns() - stats->idle_since_ns;
    stats->idle_since_ns = 0;
    cpu->stopped_at = 0;
}

/* Somebody waits: when who runs must give way at the latest, or when an idle CPU is to be offered who waits. */
[[clang::noinline]] static void arm_slice(struct cpu *cpu, uint64_t ticks)
{
    struct run_queue *queue = cpu->run_queue;
    uint64_t left = run_queue_ticks_left(queue);
    queue->armed_ticks = left = left < ticks ? left : ticks;
    cpu->timer_queue->slice_end_ns = arch_time_ns() + arch_counter_ns(left) + 1;
}

/* And when who runs has had what it was granted. */
[[clang::noinline]] static void arm_grant(struct cpu *cpu, const struct thread *thread)
{
    struct run_queue *queue = cpu->run_queue;
    bool is_alone = peek(queue->count) == 0 && (cpu->exit_work & (EXIT_REAP | EXIT_QUIESCE)) == 0;
    arm_slice(cpu, is_alone ? GRANT_FOREVER / 2 : slice_ticks(queue, thread));
    if (queue->armed_ticks >= GRANT_FOREVER / 2)
        cpu->timer_queue->slice_end_ns = UINT64_MAX;
}

struct thread *sched_finish_exit(struct cpu *cpu, struct thread *thread)
{
    struct run_queue *queue = cpu->run_queue;
    if (__builtin_expect(cpu->exit_work & EXIT_TRACE, 0))
        trace_switched(cpu, thread);
    queue->must_give_way = queue->must_yield = false;
    uint32_t left = cpu->exit_work & (EXIT_REAP | EXIT_QUIESCE); /* looked at again when the slice ends, at the latest */
    if (__builtin_expect(run_queue_has_limits(queue), false)) {
        arm_grant(cpu, thread);
    } else if (peek(queue->count) != 0 || left != 0) {
        if (!is_armed(cpu, thread))
            arm_slice(cpu, slice_ticks(queue, thread));
    } else if (is_leased(cpu->index)) {
        cpu->timer_queue->slice_end_ns = UINT64_MAX; /* not even the one that nobody needs */
    }
    if (!timer_is_programmed(cpu->timer_queue))
        timer_program();
    cpu->exit_work = left | (cpu->exit_work & EXIT_TRACE);
    quiesce_leave(cpu);
    return thread;
}

/* The running thread stops, ready as it is. */
static void put_back(struct cpu *cpu, struct thread *thread)
{
    struct run_queue *queue = cpu->run_queue;
    state_save(thread);
    cpu->current = nullptr;
    atomic_store(&thread->is_running, false);
    if (may_run_on(thread, cpu->index)) {
        run_queue_put_back(queue, thread, queue->must_yield);
        sched_notify(thread, cpu->index, false);
        return;
    }
    run_queue_leave(queue, thread, cpu->stopped_at);
    queue->left.weight = 0;
    sched_enqueue(thread, sched_choose_cpu(thread));
}

/* Who was to run is held up; or, having run on what was lent, goes on on its own time. */
static void refused(struct run_queue *queue)
{
    struct thread *thread = queue->loan_spent;
    queue->was_refused = false;
    queue->loan_spent = nullptr;
    if (thread != nullptr) {
        sched_lend_end(thread);
        sched_ready(thread);
    }
    arch_irq_poll(); /* there may be many */
}

/* Whether who runs goes back into the queue. */
static bool must_give_way(struct cpu *cpu, const struct thread *thread)
{
    struct run_queue *queue = cpu->run_queue;
    bool must_leave = queue->must_regrant || !may_run_on(thread, cpu->index) || run_queue_is_grant_over(queue);
    queue->must_regrant = false;
    if (must_leave || queue->handoff != nullptr)
        return true;
    /* Of the idle class, on a fair place: it changed its class, or was handed the place. */
    bool is_misplaced = peek(thread->policy) == SCHED_IDLE && peek(queue->fair.running.weight) != 0;
    return peek(queue->count) != 0 && (queue->must_give_way || peek(queue->is_used_up) || is_misplaced);
}

[[clang::noinline]] struct thread *sched_exit_generally(struct cpu *cpu)
{
    struct thread *thread = cpu->current;
    struct run_queue *queue = cpu->run_queue;
again:
    /* What is asked from here on, by an interrupt that the cleaning up lets in, is looked at once more. */
    cpu->exit_work &= ~(uint32_t)EXIT_RESCHEDULE;
    if (thread != nullptr && !admit(cpu, thread, true))
        thread = nullptr;
    if (thread != nullptr && must_give_way(cpu, thread)) {
        trace_why(cpu, TRACE_WHY_GIVES_WAY);
        put_back(cpu, thread);
        thread = nullptr;
    }
    if (cpu->exit_work & (EXIT_REAP | EXIT_QUIESCE))
        clean_up_and_keep_up(cpu);
    if (thread != nullptr && (cpu->exit_work & EXIT_RESCHEDULE))
        goto again;
    while (thread == nullptr) {
        if (__builtin_expect(queue->was_refused, false))
            refused(queue);
        thread = pick(cpu);
        if (thread == nullptr) {
            if (!queue->was_refused)
                idle(cpu);
            continue;
        }
        uint32_t home = may_run_on(thread, cpu->index) ? cpu->index : sched_choose_cpu(thread);
        if (home != cpu->index) {
            sched_enqueue(thread, home); /* the place it was given here is dropped by the next pick */
            thread = nullptr;
        } else if (!start(cpu, thread)) {
            thread = nullptr;
            (void)clean_up(cpu);
            arch_irq_poll(); /* there may be many that end instead */
        }
    }
    return sched_finish_exit(cpu, thread);
}

static void start_here(void)
{
    quiesce_enter(arch_cpu());
    arch_resume(sched_exit());
}

void sched_start(void) { arch_stack_reset(start_here); }
