/* CPUs talking to each other: kicks (reschedule), and where interrupts enter the portable kernel. TLB shootdown: tlb.c. */
#include <arch/arch.h>
#include <kernel/ipc.h>
#include <kernel/sched.h>
#include <kernel/trace_events.h>
#include <kernel/vspace.h>

void smp_kick(uint32_t cpu_index) { arch_ipi_send(cpu_index); }

/* Interrupt entry points. They may come from idle, where the CPU is quiescent. */
static bool enter_if_quiescent(struct cpu *cpu)
{
    if (atomic_load_explicit(&cpu->epoch, memory_order_relaxed) != 0)
        return false;
    quiesce_enter(cpu);
    return true;
}

/* Nothing else in irq_ipi() needs an epoch. */
[[clang::noinline]] static void trace_kick(struct cpu *cpu)
{
    bool entered = enter_if_quiescent(cpu);
    trace_ipi(cpu, trace_thread_id(cpu));
    if (entered)
        quiesce_leave(cpu);
}

void irq_ipi(void)
{
    struct cpu *cpu = arch_cpu();
    cpu->stats.interrupts++;
    cpu->stats.ipis++;
    if (trace_is_on(cpu, TRACE_CLASS_INTERRUPT))
        trace_kick(cpu);
    smp_poll();
    cpu->exit_work |= EXIT_RESCHEDULE;
    trace_update(cpu);
}

void irq_timer(void)
{
    struct cpu *cpu = arch_cpu();
    bool entered = enter_if_quiescent(cpu);
    cpu->stats.interrupts++;
    cpu->stats.timer_interrupts++;
    trace_timer(cpu, trace_thread_id(cpu));
    timer_expire();
    if (entered)
        quiesce_leave(cpu);
}

void irq_device(uint32_t source)
{
    struct cpu *cpu = arch_cpu();
    bool entered = enter_if_quiescent(cpu);
    cpu->stats.interrupts++;
    trace_interrupt(cpu, trace_thread_id(cpu), source);
    interrupt_fire(source);
    if (entered)
        quiesce_leave(cpu);
}
