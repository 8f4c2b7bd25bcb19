/*
 * The local APIC of each CPU: interrupts between CPUs, end of interrupt, and the one-shot timer. Through its page of registers
 * (xAPIC), or MSRs where the CPU has x2APIC (Intel SDM vol. 3, chapter 10). With interrupts off nothing can come between the
 * two halves of a command, so no locks.
 */
#include "x86.h"

/* Offsets in the xAPIC page; the MSR is 0x800 + offset / 16. */
enum lapic_register : uint32_t {
    LAPIC_TASK_PRIORITY = 0x80,
    LAPIC_EOI = 0xB0,
    LAPIC_SPURIOUS = 0xF0,
    LAPIC_COMMAND = 0x300,
    LAPIC_COMMAND_HIGH = 0x310,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_LVT_LINT0 = 0x350,
    LAPIC_LVT_LINT1 = 0x360,
    LAPIC_LVT_ERROR = 0x370,
    LAPIC_TIMER_INITIAL = 0x380,
    LAPIC_TIMER_CURRENT = 0x390,
    LAPIC_TIMER_DIVIDE = 0x3E0,
};

constexpr uint32_t LVT_MASKED = 1 << 16, LVT_TSC_DEADLINE = 2 << 17;
constexpr uint32_t SPURIOUS_ENABLE = 1 << 8;
constexpr uint32_t DIVIDE_BY_16 = 3; /* 32 bits last for a minute at 1 GHz */
constexpr uint32_t COMMAND_FIXED = 0x4000, COMMAND_INIT = 0x4500, COMMAND_STARTUP = 0x4600, COMMAND_PENDING = 1 << 12;

constexpr uint32_t MSR_APIC_BASE = 0x1B, MSR_X2APIC = 0x800, MSR_TSC_DEADLINE = 0x6E0;
constexpr uint64_t APIC_BASE_ENABLE = 1 << 11, APIC_BASE_X2APIC = 1 << 10;
constexpr uint64_t LAPIC_DEFAULT_BASE = 0xFEE00000;

constexpr uint32_t TICKS_SHIFT = 30; /* counts per nanosecond, below 16 GHz */

static volatile uint32_t *registers; /* xAPIC only */
static uint64_t timer_ticks_mult;    /* timer (or TSC) counts = ns * mult >> TICKS_SHIFT */

static uint32_t lapic_read(enum lapic_register reg)
{
    if (x86_features.has_x2apic) {
        return (uint32_t)x86_rdmsr(MSR_X2APIC + reg / 16);
    }
    return registers[reg / sizeof(*registers)];
}

static void lapic_write(enum lapic_register reg, uint32_t value)
{
    if (x86_features.has_x2apic) {
        x86_wrmsr(MSR_X2APIC + reg / 16, value);
    } else {
        registers[reg / sizeof(*registers)] = value;
    }
}

void x86_lapic_init(const struct boot_info *bi)
{
    if (!x86_features.has_x2apic && registers == nullptr) {
        registers = mmio_map(bi->intc.lapic_base != 0 ? bi->intc.lapic_base : LAPIC_DEFAULT_BASE, PAGE_SIZE);
    }
}

void x86_lapic_cpu_init(void)
{
    uint64_t enable = APIC_BASE_ENABLE | (x86_features.has_x2apic ? APIC_BASE_X2APIC : 0);
    uint64_t base = x86_rdmsr(MSR_APIC_BASE);
    if ((base & enable) != enable) {
        /* x2APIC is entered from the enabled xAPIC mode only (Intel SDM vol. 3, 10.12.5). */
        x86_wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
        x86_wrmsr(MSR_APIC_BASE, base | enable);
    }
    lapic_write(LAPIC_SPURIOUS, SPURIOUS_ENABLE | X86_VECTOR_SPURIOUS);
    lapic_write(LAPIC_TASK_PRIORITY, 0);
    lapic_write(LAPIC_LVT_LINT0, LVT_MASKED); /* the PICs */
    lapic_write(LAPIC_LVT_LINT1, LVT_MASKED);
    lapic_write(LAPIC_LVT_ERROR, LVT_MASKED);
}

void arch_irq_cpu_init(void) { x86_lapic_cpu_init(); }

void x86_lapic_eoi(void) { lapic_write(LAPIC_EOI, 0); }

static void lapic_command(uint32_t apic_id, uint32_t command)
{
    if (x86_features.has_x2apic) {
        /* WRMSR to x2APIC registers does not wait for earlier stores; the receiver must see them (Intel SDM vol. 3, 10.12.3). */
        __asm__ volatile("mfence\n\tlfence" : : : "memory");
        x86_wrmsr(MSR_X2APIC + LAPIC_COMMAND / 16, (uint64_t)apic_id << 32 | command);
        return;
    }
    for (uint32_t i = 0; i < 100'000 && (lapic_read(LAPIC_COMMAND) & COMMAND_PENDING); i++) {
        arch_cpu_relax();
    }
    lapic_write(LAPIC_COMMAND_HIGH, apic_id << 24);
    lapic_write(LAPIC_COMMAND, command);
}

void x86_lapic_send_init(uint32_t apic_id) { lapic_command(apic_id, COMMAND_INIT); }

void x86_lapic_send_startup(uint32_t apic_id, uint32_t page) { lapic_command(apic_id, COMMAND_STARTUP | page); }

void arch_ipi_send(uint32_t cpu_index) { lapic_command((uint32_t)cpus[cpu_index]->hw_id, COMMAND_FIXED | X86_VECTOR_IPI); }

/* ---- Timer ----------------------------------------------------------------------------------------------------- */

uint32_t x86_lapic_timer_count(void) { return lapic_read(LAPIC_TIMER_CURRENT); }

void x86_lapic_timer_start_free(void)
{
    lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | X86_VECTOR_TIMER);
    lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_16);
    lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
}

/* Of the TSC in deadline mode, else of the timer behind its divider. */
void x86_lapic_timer_configure(uint64_t ticks_per_s) { timer_ticks_mult = (ticks_per_s << TICKS_SHIFT) / 1'000'000'000; }

void arch_timer_cpu_init(void)
{
    x86_lapic_cpu_init(); /* a disabled local APIC would keep its timer masked */
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_16);
    lapic_write(LAPIC_LVT_TIMER, X86_VECTOR_TIMER | (x86_features.has_tsc_deadline ? LVT_TSC_DEADLINE : 0));
    /* The mode must be set before the first deadline is written (Intel SDM vol. 3, 10.5.4.1). */
    __asm__ volatile("mfence" : : : "memory");
    arch_timer_set(UINT64_MAX);
}

static void timer_program(uint64_t deadline_ns)
{
    if (deadline_ns == UINT64_MAX) {
        if (x86_features.has_tsc_deadline) {
            x86_wrmsr(MSR_TSC_DEADLINE, 0);
        } else {
            lapic_write(LAPIC_TIMER_INITIAL, 0);
        }
        return;
    }
    uint64_t counter = arch_counter();
    uint64_t now_ns = (uint64_t)(((unsigned __int128)(counter - time_counter_base) * time_mult) >> TIME_SHIFT);
    uint64_t delta_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    unsigned __int128 ticks = (((unsigned __int128)delta_ns * timer_ticks_mult) >> TICKS_SHIFT) + 1;
    if (x86_features.has_tsc_deadline) {
        unsigned __int128 target = counter + ticks;
        x86_wrmsr(MSR_TSC_DEADLINE, target > UINT64_MAX ? UINT64_MAX : (uint64_t)target);
    } else {
        lapic_write(LAPIC_TIMER_INITIAL, ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks);
    }
}

void arch_timer_set(uint64_t deadline_ns)
{
    x86_block()->timer_deadline_ns = deadline_ns;
    timer_program(deadline_ns);
}

/* A deadline beyond the counter's range, or rounding, brings the interrupt too early: then the rest is programmed. */
void x86_lapic_timer_interrupt(void)
{
    struct x86_cpu_block *block = x86_block();
    x86_lapic_eoi();
    if (arch_time_ns() < block->timer_deadline_ns) {
        timer_program(block->timer_deadline_ns);
        return;
    }
    block->timer_deadline_ns = UINT64_MAX;
    irq_timer();
}
