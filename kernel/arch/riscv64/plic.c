/*
 * The platform-level interrupt controller (RISC-V PLIC 1.0.0). A source is masked by priority 0, "never interrupt", rather
 * than by its enable bit: a completion is ignored while the source is not enabled for the context (chapter 9), and priority
 * registers are one word per source, so masking needs no lock. The enable bit says which CPU the source belongs to.
 */
#include "rv.h"
#include <stdatomic.h>

enum : uint32_t { PLIC_PRIORITY = 0, PLIC_ENABLE = 0x2000, PLIC_CONTEXT = 0x200000 };
enum : uint32_t { ENABLE_STRIDE = 0x80, CONTEXT_STRIDE = 0x1000, CONTEXT_THRESHOLD = 0, CONTEXT_CLAIM = 4 };
constexpr uint32_t SOURCES_MAX = 1024;
constexpr uint32_t PRIORITY_MASKED = 0, PRIORITY_ACTIVE = 1;
constexpr uint32_t CONTEXT_NONE = UINT32_MAX;

static struct {
    volatile uint8_t *base; /* nullptr = none */
    uint32_t source_count;  /* sources 1..count-1 exist; 0 is "no interrupt" */
    uint32_t cpu_count;
    uint32_t context[CPU_MAX];   /* by CPU index */
    atomic_flag is_configuring;  /* guards enable words, which 32 sources share, and `owner` */
    uint16_t owner[SOURCES_MAX]; /* CPU index + 1 that has the source enabled; 0 = none */
} plic = {.is_configuring = ATOMIC_FLAG_INIT};

static volatile uint32_t *plic_register(uint64_t offset) { return (volatile uint32_t *)(plic.base + offset); }

static volatile uint32_t *enable_word(uint32_t context, uint32_t source)
{
    return plic_register(PLIC_ENABLE + (uint64_t)context * ENABLE_STRIDE + source / 32 * 4);
}

static volatile uint32_t *context_register(uint32_t context, uint32_t which)
{
    return plic_register(PLIC_CONTEXT + (uint64_t)context * CONTEXT_STRIDE + which);
}

static void set_priority(uint32_t source, uint32_t priority) { *plic_register(PLIC_PRIORITY + source * 4) = priority; }

static bool source_exists(uint32_t source) { return plic.base != nullptr && source > 0 && source < plic.source_count; }

void arch_irq_init(const struct boot_info *bi)
{
    const struct boot_interrupt_controller *intc = &bi->intc;
    if (intc->plic_base == 0 || intc->plic_size < PLIC_CONTEXT + CONTEXT_STRIDE) {
        kprintf("irq: no PLIC, devices have no interrupts\n");
        return;
    }
    plic.base = mmio_map(intc->plic_base, intc->plic_size);
    uint32_t count = intc->plic_source_count + 1;
    plic.source_count = count < SOURCES_MAX ? count : SOURCES_MAX;
    plic.cpu_count = bi->cpu_count;
    for (uint32_t source = 1; source < plic.source_count; source++) {
        set_priority(source, PRIORITY_MASKED);
    }
    uint64_t context_limit = (intc->plic_size - PLIC_CONTEXT) / CONTEXT_STRIDE;
    for (uint32_t i = 0; i < bi->cpu_count; i++) {
        plic.context[i] = bi->cpus[i].intc_index < context_limit ? bi->cpus[i].intc_index : CONTEXT_NONE;
        if (plic.context[i] == CONTEXT_NONE) {
            kprintf("irq: CPU %u has no PLIC context\n", i);
        }
    }
}

uint32_t arch_irq_source_count(void) { return plic.source_count; }

static void configure_lock(void)
{
    while (atomic_flag_test_and_set_explicit(&plic.is_configuring, memory_order_acquire)) {
        arch_cpu_relax();
    }
}

static void configure_unlock(void) { atomic_flag_clear_explicit(&plic.is_configuring, memory_order_release); }

/* On each CPU itself and not in arch_irq_init(): the firmware closes a context (threshold 7, nothing enabled) when its hart
 * starts. */
static void context_init(uint32_t cpu_index)
{
    uint32_t context = plic.context[cpu_index];
    configure_lock();
    for (uint32_t first = 0; first < plic.source_count; first += 32) {
        uint32_t enabled = 0;
        for (uint32_t source = first; source < first + 32 && source < plic.source_count; source++) {
            enabled |= plic.owner[source] == cpu_index + 1 ? 1u << source % 32 : 0;
        }
        *enable_word(context, first) = enabled;
    }
    configure_unlock();
    *context_register(context, CONTEXT_THRESHOLD) = 0;
}

void arch_irq_cpu_init(void)
{
    uint32_t cpu_index = arch_cpu()->index;
    if (plic.base != nullptr && plic.context[cpu_index] != CONTEXT_NONE) {
        context_init(cpu_index);
        csr_set(sie, INTERRUPT_EXTERNAL);
    }
    csr_set(sie, INTERRUPT_SOFTWARE);
}

/* Trigger and polarity are the platform's: the PLIC has no registers for them. */
bool arch_irq_configure(uint32_t source, [[maybe_unused]] bool is_level, [[maybe_unused]] bool is_active_low, uint32_t cpu_index)
{
    if (!source_exists(source) || cpu_index >= plic.cpu_count || plic.context[cpu_index] == CONTEXT_NONE) {
        return false;
    }
    set_priority(source, PRIORITY_MASKED);
    uint32_t bit = 1u << source % 32;
    configure_lock();
    if (plic.owner[source] != 0) {
        *enable_word(plic.context[plic.owner[source] - 1], source) &= ~bit;
    }
    *enable_word(plic.context[cpu_index], source) |= bit;
    plic.owner[source] = (uint16_t)(cpu_index + 1);
    configure_unlock();
    return true;
}

/* The fences order device registers (memory-mapped both) with each other: a driver's acknowledgement before our unmask. */
void arch_irq_mask(uint32_t source)
{
    if (source_exists(source)) {
        set_priority(source, PRIORITY_MASKED);
        __asm__ volatile("fence iorw, iorw" ::: "memory");
    }
}

void arch_irq_unmask(uint32_t source)
{
    if (source_exists(source)) {
        __asm__ volatile("fence iorw, iorw" ::: "memory");
        set_priority(source, PRIORITY_ACTIVE);
    }
}

void rv_plic_dispatch(void)
{
    volatile uint32_t *claim = context_register(plic.context[arch_cpu()->index], CONTEXT_CLAIM);
    for (uint32_t source = *claim; source != 0; source = *claim) {
        set_priority(source, PRIORITY_MASKED);
        *claim = source; /* completes it */
        irq_device(source);
    }
}
