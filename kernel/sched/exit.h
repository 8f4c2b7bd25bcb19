/* What leaving the kernel in general (exit.c) and by the short ways (exit_short.c) have in common. */
#pragma once
#include "place.h"
#include <kernel/invocation.h>
#include <kernel/process.h>
#include <kernel/vspace.h>

/* Ends or parks a thread whose pending flags say so, or interrupts it; true when it may run. */
bool sched_admit_pending(struct cpu *cpu, struct thread *thread, bool was_running, uint32_t pending);
/* The last steps of an entry that changed something: slice, timer, epoch. */
struct thread *sched_finish_exit(struct cpu *cpu, struct thread *thread);
struct thread *sched_exit_generally(struct cpu *cpu);

/* When the last thread stopped here, if nothing else ran since. */
static inline uint64_t moment(const struct cpu *cpu) { return cpu->stopped_at != 0 ? cpu->stopped_at : arch_counter(); }

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

/* False when the thread must not go on; it is ended or parked then. `was_running`: the CPU holds its state. is_running is set
 * already: whoever sets a pending flag then looks at is_running, so either the flag is seen here or a kick comes. */
static inline bool admit(struct cpu *cpu, struct thread *thread, bool was_running)
{
    uint32_t pending = atomic_load_explicit(&thread->pending, memory_order_relaxed);
    return __builtin_expect(pending == 0, true) || sched_admit_pending(cpu, thread, was_running, pending);
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
