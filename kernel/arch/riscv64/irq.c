/*
 * Dispatch of the three S-mode interrupts, timer, and interprocessor interrupts. The kernel never enables interrupts for
 * itself: user mode takes them through entry.S, and arch_idle() waits for a pending one with WFI, which resumes whatever
 * sstatus.SIE says (RISC-V Privileged 3.3.3), and dispatches it by call.
 */
#include "rv.h"

static uint64_t timer_frequency_hz;
static bool has_sstc;

constexpr uint64_t NS_PER_SECOND = 1'000'000'000;

void arch_time_init(const struct boot_info *bi)
{
    timer_frequency_hz = bi->timer.frequency_hz;
    if (timer_frequency_hz == 0 || timer_frequency_hz > UINT32_MAX) {
        panic("device tree gives no usable timebase-frequency (%lu)", timer_frequency_hz);
    }
    has_sstc = bi->timer.has_sstc && rv_probe_stimecmp();
    time_mult = (NS_PER_SECOND << TIME_SHIFT) / timer_frequency_hz;
}

void arch_timer_cpu_init(void) { arch_timer_set(UINT64_MAX); }

/* Rounded up by a tick, so that arch_time_ns() has reached the deadline when the interrupt arrives. */
static uint64_t counter_at(uint64_t deadline_ns)
{
    uint64_t seconds = deadline_ns / NS_PER_SECOND, rest_ns = deadline_ns % NS_PER_SECOND;
    return time_counter_base + seconds * timer_frequency_hz + rest_ns * timer_frequency_hz / NS_PER_SECOND + 1;
}

void arch_timer_set(uint64_t deadline_ns)
{
    if (deadline_ns == UINT64_MAX) {
        csr_clear(sie, INTERRUPT_TIMER);
        return;
    }
    if (has_sstc) {
        csr_write(0x14D, counter_at(deadline_ns)); /* stimecmp */
    } else {
        rv_sbi_set_timer(counter_at(deadline_ns));
    }
    csr_set(sie, INTERRUPT_TIMER);
}

void arch_ipi_send(uint32_t cpu_index) { rv_sbi_send_ipi(cpus[cpu_index]->hw_id); }

void rv_irq_dispatch(void)
{
    uint64_t pending = csr_read(sip) & csr_read(sie);
    if ((pending & INTERRUPT_SOFTWARE) != 0) {
        /* Cleared first: a sender that comes after this raises it again. */
        csr_clear(sip, INTERRUPT_SOFTWARE);
        irq_ipi();
    }
    if ((pending & INTERRUPT_TIMER) != 0) {
        /* Stays pending until the next deadline is set; masked, so that not setting one is not an endless loop. */
        csr_clear(sie, INTERRUPT_TIMER);
        irq_timer();
    }
    if ((pending & INTERRUPT_EXTERNAL) != 0) {
        rv_plic_dispatch();
    }
}

/* Not inlined: tools/latency looks for it. */
[[gnu::noinline]] void arch_irq_poll(void) { rv_irq_dispatch(); }

void arch_idle(void)
{
    __asm__ volatile("wfi" ::: "memory");
    rv_irq_dispatch();
}
