/*
 * The scheduler. Each CPU's run queue has its own lock (run_queue.c); a thread is in at most one, and only the one who made it ready
 * (the winner of its wait, or unpark) puts it there. The end of every kernel entry passes through sched_exit().
 */
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

static _Atomic uint64_t idle_mask[CPU_MAX / 64];

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

static bool is_leased(uint32_t cpu) { return cpu < 63 && ((atomic_load_explicit(&sched_usable, memory_order_relaxed) >> cpu) & 1) == 0; }

void sched_leased(uint32_t cpu)
{
    atomic_thread_fence(memory_order_seq_cst); /* after sched_usable; idle() looks the other way round */
    atomic_fetch_and(&idle_mask[cpu / 64], ~(1ull << (cpu % 64)));
    smp_kick(cpu);
}

static bool is_idle(uint32_t cpu) { return (atomic_load_explicit(&idle_mask[cpu / 64], memory_order_relaxed) >> (cpu % 64)) & 1; }

/* Where it ran last if that CPU is idle or nobody is; else an idle CPU. */
static uint32_t choose_cpu(const struct thread *thread)
{
    uint32_t last = atomic_load_explicit(&thread->cpu, memory_order_relaxed);
    bool last_allowed = sched_may_run_on(thread, last) && atomic_load_explicit(&cpus[last]->is_online, memory_order_relaxed);
    if (last_allowed && is_idle(last))
        return last;
    for (uint32_t word = 0; word * 64 < cpu_count; word++) {
        uint64_t idle = atomic_load_explicit(&idle_mask[word], memory_order_relaxed);
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

static uint32_t first_idle(void)
{
    uint32_t word = 0;
    do {
        uint64_t idle = atomic_load_explicit(&idle_mask[word], memory_order_relaxed);
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
    uint32_t first = choose_cpu(thread);
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

static void notify(struct thread *thread, uint32_t cpu, bool is_urgent)
{
    if (cpus[cpu] == arch_cpu())
        notify_here(arch_cpu(), is_urgent);
    else if (is_urgent || peek(cpus[cpu]->run_queue->count) == 1)
        smp_kick(cpu); /* idle: it must wake; busy: it must give way or start a time slice */
    check_home(thread, cpu);
}

[[clang::noinline]] static void enqueue(struct thread *thread, uint32_t cpu)
{
    notify(thread, cpu, run_queue_join(cpus[cpu]->run_queue, thread));
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
    enqueue(thread, stays ? cpu->index : choose_cpu_budgeted(thread));
}

[[clang::noinline]] static void ready_generally(struct thread *thread)
{
    if (is_budgeted(thread)) [[clang::musttail]]
        return ready_budgeted(thread);
    struct cpu *cpu = arch_cpu();
    enqueue(thread, is_to_stay(cpu, thread) ? cpu->index : choose_cpu(thread));
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

void sched_spread(struct thread *thread) { enqueue(thread, choose_cpu(thread)); }

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
    atomic_thread_fence(memory_order_seq_cst); /* the mask was stored before; see enqueue() */
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

/* When the last thread stopped here, if nothing else ran since. */
static inline uint64_t moment(const struct cpu *cpu) { return cpu->stopped_at != 0 ? cpu->stopped_at : arch_counter(); }

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

static bool admit(struct cpu *cpu, struct thread *thread, bool was_running);

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
        enqueue(thread, cpu->index);
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

/* Ends or parks a thread whose pending flags say so, or interrupts it; true when it may run. */
[[clang::noinline]] static bool admit_pending(struct cpu *cpu, struct thread *thread, bool was_running, uint32_t pending)
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

/* False when the thread must not go on; it is ended or parked then. `was_running`: the CPU holds its state. is_running is set
 * already: whoever sets a pending flag then looks at is_running, so either the flag is seen here or a kick comes. */
static inline bool admit(struct cpu *cpu, struct thread *thread, bool was_running)
{
    uint32_t pending = atomic_load_explicit(&thread->pending, memory_order_relaxed);
    return __builtin_expect(pending == 0, true) || admit_pending(cpu, thread, was_running, pending);
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
    _Atomic uint64_t *mask = &idle_mask[cpu->index / 64];
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

/* What the entry code and the next system call look at. */
[[gnu::always_inline]] static inline void load_context(struct cpu *cpu, struct thread *thread)
{
    cpu->stats.switches++;
    struct process *process = thread->process;
    struct invocation *inv = cpu->invocation;
    inv->thread = thread;
    inv->cspace = process->cspace;
    if (cpu->active_vspace != process->vspace)
        vspace_switch(cpu, process->vspace);
}

static inline void load_fpu(struct cpu *cpu, struct thread *thread)
{
    if (thread->fpu != nullptr) {
        arch_fpu_restore(thread->fpu);
        cpu->fpu_thread = thread;
    } else if (cpu->fpu_thread != nullptr) {
        arch_fpu_disable();
        cpu->fpu_thread = nullptr;
    }
}

/* Before its pending flags and its affinity are looked at: who changes one of them does so first and then looks where the thread
 * runs (kick_if_running, sched_affinity_changed), so one of the two sees the other. */
static inline void set_current(struct cpu *cpu, struct thread *thread)
{
    atomic_store_explicit(&thread->cpu, cpu->index, memory_order_relaxed);
    cpu->current = thread;
    atomic_store_explicit(&thread->is_running, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

/* Makes the thread this CPU's current one; false when it ended or was parked instead. */
static inline bool start(struct cpu *cpu, struct thread *thread)
{
    set_current(cpu, thread);
    if (!admit(cpu, thread, false))
        return false;
    /* Stopping one thread and starting the next is one moment, unless the CPU was idle in between. */
    thread->run_start = cpu->stopped_at != 0 ? cpu->stopped_at : arch_counter();
    cpu->stopped_at = 0;
    load_context(cpu, thread);
    load_fpu(cpu, thread);
    return true;
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

/* The last steps of an entry that changed something: slice, timer, epoch. */
static struct thread *finish_exit(struct cpu *cpu, struct thread *thread)
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
    if (sched_may_run_on(thread, cpu->index)) {
        run_queue_put_back(queue, thread, queue->must_yield);
        notify(thread, cpu->index, false);
        return;
    }
    run_queue_leave(queue, thread, cpu->stopped_at);
    queue->left.weight = 0;
    enqueue(thread, choose_cpu(thread));
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
    bool must_leave = queue->must_regrant || !sched_may_run_on(thread, cpu->index) || run_queue_is_grant_over(queue);
    queue->must_regrant = false;
    if (must_leave || queue->handoff != nullptr)
        return true;
    /* Of the idle class, on a fair place: it changed its class, or was handed the place. */
    bool is_misplaced = peek(thread->policy) == SCHED_IDLE && peek(queue->fair.running.weight) != 0;
    return peek(queue->count) != 0 && (queue->must_give_way || peek(queue->is_used_up) || is_misplaced);
}

[[clang::noinline]] static struct thread *exit_generally(struct cpu *cpu)
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
        uint32_t home = sched_may_run_on(thread, cpu->index) ? cpu->index : choose_cpu(thread);
        if (home != cpu->index) {
            enqueue(thread, home); /* the place it was given here is dropped by the next pick */
            thread = nullptr;
        } else if (!start(cpu, thread)) {
            thread = nullptr;
            (void)clean_up(cpu);
            arch_irq_poll(); /* there may be many that end instead */
        }
    }
    return finish_exit(cpu, thread);
}

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
    return start(cpu, thread) ? finish_exit(cpu, thread) : exit_generally(cpu);
}

/* The current thread waits, and the one it hands over to runs. */
[[clang::noinline]] static struct thread *exit_handing_over(struct cpu *cpu)
{
    struct thread *thread = cpu->run_queue->handoff;
    if (!sched_may_run_on(thread, cpu->index) || run_queue_has_budgeted(cpu->run_queue))
        return exit_generally(cpu);
    cpu->run_queue->handoff = nullptr;
    return run_queue_begin(cpu->run_queue, thread, moment(cpu)) ? start_slowly(cpu, thread) : exit_generally(cpu);
}

[[clang::noinline]] static struct thread *exit_unused(struct cpu *cpu, struct thread *thread)
{
    enqueue(thread, choose_cpu(thread)); /* the place it was given here is dropped by the next pick */
    return exit_generally(cpu);
}

/* The short ways are for a current thread that waits, when nothing else is to be done. */
struct thread *sched_exit(void)
{
    struct cpu *cpu = arch_cpu();
    struct run_queue *queue = cpu->run_queue;
    if (cpu->current != nullptr || (cpu->exit_work & (EXIT_REAP | EXIT_QUIESCE)) != 0)
        return exit_generally(cpu);
    if (queue->handoff != nullptr)
        return exit_handing_over(cpu);
    struct thread *thread = cpu->stopped_at != 0 ? run_queue_pick_quick(queue, cpu->stopped_at) : nullptr;
    if (thread == nullptr)
        return exit_generally(cpu);
    queue->was_offered = false;
    if (!sched_may_run_on(thread, cpu->index))
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

static void start_here(void)
{
    quiesce_enter(arch_cpu());
    arch_resume(sched_exit());
}

void sched_start(void) { arch_stack_reset(start_here); }
