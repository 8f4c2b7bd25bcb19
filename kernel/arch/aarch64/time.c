/*
 * The virtual counter and its timer (Arm ARM D12.2): CNTVCT_EL0 is readable by user code, CNTV_CVAL is the one-shot timer of
 * each CPU. The virtual one is used because every hypervisor gives it and it needs no EL2.
 */
#include "a64.h"

constexpr uint64_t NS_PER_S = 1'000'000'000;

enum : uint64_t {
    TIMER_ENABLE = 1,
    CNTKCTL_EL0_VIRTUAL_COUNTER = 2,
};

uint32_t a64_timer_intid;
static uint64_t counter_hz;

void arch_time_init(const struct boot_info *bi)
{
    counter_hz = bi->timer.frequency_hz;
    /* NS_PER_S << 32 fits 64 bits; a counter beyond 4 GHz would make time_mult too coarse. */
    if (counter_hz == 0 || counter_hz >> 32 != 0)
        panic("time: counter frequency %lu Hz", (unsigned long)counter_hz);
    if (bi->timer.irq < 16 || bi->timer.irq > 31)
        panic("time: the device tree names no virtual timer interrupt");
    /* Rounded up, so that when the timer fires arch_time_ns() has reached the deadline. */
    time_mult = ((NS_PER_S << TIME_SHIFT) + counter_hz - 1) / counter_hz;
}

void a64_timer_quiet(void)
{
    A64_WRITE(cntv_ctl_el0, 0);
    a64_isb();
}

void arch_timer_cpu_init(void)
{
    A64_WRITE(cntkctl_el1, CNTKCTL_EL0_VIRTUAL_COUNTER);
    a64_timer_quiet();
}

void arch_timer_set(uint64_t deadline_ns)
{
    uint64_t whole, rest, ticks;

    if (deadline_ns == UINT64_MAX) {
        a64_timer_quiet();
        return;
    }
    /* Exact and rounded up; counter_hz < 2^32 keeps the rest within 64 bits. A deadline beyond the counter never comes. */
    rest = (deadline_ns % NS_PER_S * counter_hz + NS_PER_S - 1) / NS_PER_S;
    if (__builtin_mul_overflow(deadline_ns / NS_PER_S, counter_hz, &whole) || __builtin_add_overflow(whole, rest, &ticks) ||
        __builtin_add_overflow(ticks, time_counter_base, &ticks)) {
        a64_timer_quiet();
        return;
    }
    A64_WRITE(cntv_cval_el0, ticks);
    A64_WRITE(cntv_ctl_el0, TIMER_ENABLE);
    /* The timer must be armed before a wfi that waits for it. */
    a64_isb();
}
