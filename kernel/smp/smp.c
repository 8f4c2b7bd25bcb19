/*
 * CPUs talking to each other: kicks (reschedule) and TLB shootdown. A shootdown request lies on the sender's stack; the sender puts
 * its address in its own word of every target's inbox, interrupts them and waits, serving its own inbox meanwhile. The handler
 * takes no lock, so a target that spins on a lock the sender holds still answers (spinlock_wait calls smp_poll).
 */
#include <arch/arch.h>
#include <kernel/ipc.h>
#include <kernel/sched.h>
#include <kernel/trace_events.h>
#include <kernel/vspace.h>

struct shootdown {
    vaddr_t start;
    uint64_t count_pages;
    _Atomic uint32_t waiting;
};

constexpr uint64_t FLUSH_ALL_ABOVE_PAGES = 32;

static void flush_local(vaddr_t start, uint64_t count_pages)
{
    if (count_pages > FLUSH_ALL_ABOVE_PAGES) {
        arch_tlb_flush_all_local();
        return;
    }
    for (uint64_t i = 0; i < count_pages; i++)
        arch_tlb_flush_page_local(start + (i << PAGE_SHIFT));
}

void smp_poll(void)
{
    struct cpu *cpu = arch_cpu();
    if (!atomic_exchange_explicit((_Atomic uint32_t *)&cpu->tlb_pending, 0, memory_order_acquire))
        return;
    for (uint32_t i = 0; i < cpu_count; i++) {
        _Atomic uint64_t *word = (_Atomic uint64_t *)&cpu->tlb_requests[i];
        if (atomic_load_explicit(word, memory_order_relaxed) == 0)
            continue;
        struct shootdown *request = (struct shootdown *)atomic_exchange_explicit(word, 0, memory_order_acquire);
        if (request == nullptr)
            continue;
        flush_local(request->start, request->count_pages);
        /* Release: the flush is done before the sender goes on; the request is not touched afterwards. */
        atomic_fetch_sub_explicit(&request->waiting, 1, memory_order_release);
    }
}

/* An idle CPU uses no user translation before it leaves idle: it is told to flush then, and not woken. Freed page tables are another
 * matter (SHOOTDOWN_ALL): hardware may walk them on its own. */
static bool leave_to_idle(struct cpu *cpu)
{
    if (!atomic_load(&cpu->is_tlb_idle))
        return false;
    atomic_store(&cpu->is_tlb_stale, true);
    /* Sequentially consistent, as in smp_tlb_idle_end(): it sees the flag, or we see that it left. */
    return atomic_load(&cpu->is_tlb_idle);
}

void smp_tlb_idle_begin(void) { atomic_store(&arch_cpu()->is_tlb_idle, true); }

void smp_tlb_idle_end(void)
{
    struct cpu *cpu = arch_cpu();
    atomic_store(&cpu->is_tlb_idle, false);
    if (atomic_exchange(&cpu->is_tlb_stale, false))
        arch_tlb_flush_all_local();
}

void tlb_shootdown(struct vspace *vspace, vaddr_t start, uint64_t count_pages)
{
    struct cpu *self = arch_cpu();
    if (arch_tlb_flush_broadcast(start, count_pages))
        return;
    /* The entries were changed before the mask is read; a CPU sets its bit before it loads the table. */
    atomic_thread_fence(memory_order_seq_cst);
    struct shootdown request = {.start = start, .count_pages = count_pages};
    uint32_t targets[CPU_MAX];
    uint32_t count = 0;
    for (uint32_t word = 0; word * 64 < cpu_count; word++) {
        uint64_t mask = atomic_load(&vspace->cpu_mask[word]);
        while (mask != 0) {
            uint32_t cpu = word * 64 + (uint32_t)__builtin_ctzll(mask);
            mask &= mask - 1;
            if (cpus[cpu] == self)
                flush_local(start, count_pages);
            else if (count_pages == SHOOTDOWN_ALL || !leave_to_idle(cpus[cpu]))
                targets[count++] = cpu;
        }
    }
    if (count == 0)
        return;
    trace_shootdown(self, trace_thread_id(self), start, count_pages);
    atomic_store_explicit(&request.waiting, count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        struct cpu *target = cpus[targets[i]];
        atomic_store_explicit((_Atomic uint64_t *)&target->tlb_requests[self->index], (uint64_t)&request, memory_order_release);
        atomic_store_explicit((_Atomic uint32_t *)&target->tlb_pending, 1, memory_order_release);
        arch_ipi_send(targets[i]);
    }
    while (atomic_load_explicit(&request.waiting, memory_order_acquire) != 0) {
        smp_poll();
        arch_cpu_relax();
    }
}

bool vspace_is_loaded_elsewhere(struct vspace *vspace)
{
    bool is_loaded = false;
    for (uint32_t word = 0; word * 64 < cpu_count; word++) {
        uint64_t mask = atomic_load(&vspace->cpu_mask[word]);
        while (mask != 0) {
            uint32_t cpu = word * 64 + (uint32_t)__builtin_ctzll(mask);
            mask &= mask - 1;
            if (cpus[cpu] != arch_cpu()) {
                is_loaded = true;
                smp_kick(cpu);
            }
        }
    }
    return is_loaded;
}

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
