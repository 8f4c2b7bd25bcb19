/*
 * What the TSC and the local APIC timer count: from CPUID where it says so, else measured against the ACPI PM timer
 * (ACPI 6.5, 4.8.3.3), which runs at 3.579545 MHz everywhere.
 */
#include "x86.h"

constexpr uint64_t PM_TIMER_HZ = 3'579'545;
constexpr uint32_t PM_TIMER_MASK = 0xFFFFFF;            /* 24 bits always count; 32 need not */
constexpr uint32_t CALIBRATION_PM_TICKS = 6'800;        /* 1.9 ms */
constexpr uint32_t HYPERVISOR_TIMING_LEAF = 0x40000010; /* EAX TSC kHz, EBX local APIC kHz */

struct clock_sample {
    uint64_t counter;
    uint32_t pm, lapic;
};

/* The emulator may be interrupted between two readings: the tightest of a few tries counts. */
static struct clock_sample clock_sample(uint16_t pm_port)
{
    struct clock_sample best = {};
    uint64_t best_width = UINT64_MAX;
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t before = arch_counter();
        uint32_t pm = x86_in32(pm_port) & PM_TIMER_MASK;
        uint32_t lapic = x86_lapic_timer_count();
        uint64_t width = arch_counter() - before;
        if (width < best_width) {
            best_width = width;
            best = (struct clock_sample){.counter = before + width / 2, .pm = pm, .lapic = lapic};
        }
    }
    return best;
}

static void calibrate(uint16_t pm_port, uint64_t *out_tsc_hz, uint64_t *out_lapic_hz)
{
    x86_lapic_timer_start_free();
    struct clock_sample start = clock_sample(pm_port);
    /* A dead PM timer must not hang the boot: a port read takes long enough that this many rounds last for seconds. */
    for (uint32_t i = 0; i < 10'000'000; i++) {
        if (((x86_in32(pm_port) - start.pm) & PM_TIMER_MASK) >= CALIBRATION_PM_TICKS) {
            break;
        }
    }
    struct clock_sample end = clock_sample(pm_port);
    uint32_t pm_ticks = (end.pm - start.pm) & PM_TIMER_MASK;
    if (pm_ticks == 0) {
        return;
    }
    *out_tsc_hz = (end.counter - start.counter) * PM_TIMER_HZ / pm_ticks;
    *out_lapic_hz = (uint64_t)(start.lapic - end.lapic) * PM_TIMER_HZ / pm_ticks;
}

/* Intel SDM vol. 2, CPUID leaf 0x15; the hypervisor's timing leaf as VMware defined it and others took it over. */
static uint64_t tsc_hz_from_cpuid(void)
{
    if (x86_cpuid(0, 0).eax >= 0x15) {
        struct x86_cpuid ratio = x86_cpuid(0x15, 0);
        if (ratio.eax != 0 && ratio.ebx != 0 && ratio.ecx != 0) {
            return (uint64_t)ratio.ecx * ratio.ebx / ratio.eax;
        }
    }
    bool is_virtual = x86_cpuid(1, 0).ecx >> 31;
    if (is_virtual && x86_cpuid(0x40000000, 0).eax >= HYPERVISOR_TIMING_LEAF) {
        return (uint64_t)x86_cpuid(HYPERVISOR_TIMING_LEAF, 0).eax * 1000;
    }
    return 0;
}

void arch_time_init(const struct boot_info *bi)
{
    uint64_t tsc_hz = tsc_hz_from_cpuid();
    bool is_enough = tsc_hz != 0 && x86_features.has_tsc_deadline;
    uint64_t timer_hz = tsc_hz;
    x86_lapic_init(bi);
    x86_lapic_cpu_init();
    if (!is_enough && bi->timer.pm_timer_port != 0) {
        uint64_t measured_hz = 0;
        calibrate((uint16_t)bi->timer.pm_timer_port, &measured_hz, &timer_hz);
        tsc_hz = tsc_hz != 0 ? tsc_hz : measured_hz;
        timer_hz = x86_features.has_tsc_deadline ? tsc_hz : timer_hz;
        is_enough = tsc_hz != 0 && timer_hz != 0;
    }
    if (!is_enough) {
        panic("no clock: CPUID does not give the TSC's frequency and there is no working ACPI PM timer");
    }
    time_mult = (1'000'000'000ull << TIME_SHIFT) / tsc_hz;
    x86_lapic_timer_configure(timer_hz);
}

/* Before the clock runs, a write to the POST code port takes about a microsecond. */
void x86_delay_ns(uint64_t ns)
{
    if (time_mult == 0) {
        for (uint64_t i = 0; i < ns / 1000; i++) {
            x86_out8(0x80, 0);
        }
        return;
    }
    uint64_t end_ns = arch_time_ns() + ns;
    while (arch_time_ns() < end_ns) {
        arch_cpu_relax();
    }
}
