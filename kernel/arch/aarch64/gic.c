/*
 * The generic interrupt controller: distributor of GICv2 (IHI 0048) and GICv3 (IHI 0069), CPU interface of GICv2; the rest
 * of GICv3 is in gic_v3.c. One SGI serves as the inter-processor interrupt, one PPI as the timer, SPIs are the devices.
 * All interrupts have one priority; a device interrupt is masked, then ended, then given to the portable kernel.
 *
 * Registers that mask by writing ones need no lock; `config_lock` guards the read-modify-write of GICD_ICFGR.
 */
#include "a64.h"
#include <stdatomic.h>

constexpr uint32_t GICD_CTLR = 0x000;
constexpr uint32_t GICD_TYPER = 0x004;
constexpr uint32_t GICD_IGROUPR = 0x080;
constexpr uint32_t GICD_ISENABLER = 0x100;
constexpr uint32_t GICD_ICENABLER = 0x180;
constexpr uint32_t GICD_ICPENDR = 0x280;
constexpr uint32_t GICD_IPRIORITYR = 0x400;
constexpr uint32_t GICD_ITARGETSR = 0x800;
constexpr uint32_t GICD_ICFGR = 0xC00;
constexpr uint32_t GICD_SGIR = 0xF00;
constexpr uint32_t GICD_IROUTER = 0x6000;

constexpr uint32_t GICD_CTLR_ENABLE = 1;       /* v2 */
constexpr uint32_t GICD_CTLR_ENABLE_V3 = 0x13; /* ARE_NS, EnableGrp1A, EnableGrp1 */
constexpr uint32_t GICD_CTLR_RWP = 1u << 31;   /* v3: a write is still on its way */
constexpr uint32_t GICD_WAIT_READS = 1'000'000;

constexpr uint32_t GICC_CTLR = 0x00;
constexpr uint32_t GICC_PMR = 0x04;
constexpr uint32_t GICC_IAR = 0x0C;
constexpr uint32_t GICC_EOIR = 0x10;
constexpr uint64_t GICC_SIZE = 0x1000;

constexpr uint32_t SPI_FIRST = 32;
constexpr uint32_t INTID_SPECIAL = 1020;  /* and up: spurious */
constexpr uint32_t INTID_MASK_V2 = 0x3FF; /* GICC_IAR also names the sender of an SGI */
constexpr uint32_t SGI_IPI = 0;
constexpr uint32_t PRIORITY_ALL = 0xA0A0A0A0;
constexpr uint32_t PRIORITY_MASK = 0xF0;
constexpr uint32_t V2_CPUS = 8;

static uint32_t version;
static uintptr_t gicd, gicc;
static uint32_t source_count;
static uint8_t v2_cpu_mask[V2_CPUS]; /* by CPU index: what GICD_ITARGETSR and GICD_SGIR call it; each CPU writes its own */
static atomic_flag config_lock = ATOMIC_FLAG_INIT;

static bool is_device_source(uint32_t source) { return source >= SPI_FIRST && source < source_count; }
static uintptr_t bit_register(uint32_t base, uint32_t source) { return gicd + base + source / 32 * 4; }

/* GICv3: enables and disables take effect when RWP falls. */
static void wait_for_writes(void)
{
    if (version != 3)
        return;
    for (uint32_t i = 0; i < GICD_WAIT_READS && (a64_mmio_read32(gicd + GICD_CTLR) & GICD_CTLR_RWP); i++)
        arch_cpu_relax();
}

static void distributor_init(void)
{
    uint32_t lines = ((a64_mmio_read32(gicd + GICD_TYPER) & 31) + 1) * 32;

    source_count = lines < INTID_SPECIAL ? lines : INTID_SPECIAL;
    a64_mmio_write32(gicd + GICD_CTLR, 0);
    wait_for_writes();
    for (uint32_t source = SPI_FIRST; source < source_count; source += 32) {
        a64_mmio_write32(bit_register(GICD_ICENABLER, source), UINT32_MAX);
        a64_mmio_write32(bit_register(GICD_ICPENDR, source), UINT32_MAX);
        if (version == 3)
            a64_mmio_write32(bit_register(GICD_IGROUPR, source), UINT32_MAX);
    }
    for (uint32_t source = SPI_FIRST; source < source_count; source += 4)
        a64_mmio_write32(gicd + GICD_IPRIORITYR + source, PRIORITY_ALL);
    wait_for_writes();
    a64_mmio_write32(gicd + GICD_CTLR, version == 3 ? GICD_CTLR_ENABLE_V3 : GICD_CTLR_ENABLE);
    wait_for_writes();
}

void arch_irq_init(const struct boot_info *bi)
{
    const struct boot_interrupt_controller *intc = &bi->intc;

    version = intc->gic_version;
    a64_timer_intid = bi->timer.irq; /* checked by arch_time_init(), which runs after arch_irq_cpu_init() has enabled it */
    if (version != 2 && version != 3)
        panic("gic: the device tree names no GICv2 or GICv3");
    gicd = (uintptr_t)mmio_map(intc->gicd_base, version == 3 ? 0x10000 : 0x1000);
    if (version == 3)
        gic_v3_init((uintptr_t)mmio_map(intc->gicr_base, intc->gicr_size), intc->gicr_size);
    else
        gicc = (uintptr_t)mmio_map(intc->gicc_base, GICC_SIZE);
    distributor_init();
}

static void v2_cpu_init(void)
{
    uint32_t index = arch_cpu()->index;

    /* The first 32 fields are banked and read as the reader's own mask; a GIC of one CPU reads as zero (4.3.12). */
    uint8_t mask = (uint8_t)a64_mmio_read32(gicd + GICD_ITARGETSR);
    if (index < V2_CPUS)
        v2_cpu_mask[index] = mask != 0 ? mask : 1;
    a64_mmio_write32(gicd + GICD_ICENABLER, UINT32_MAX);
    for (uint32_t source = 0; source < SPI_FIRST; source += 4)
        a64_mmio_write32(gicd + GICD_IPRIORITYR + source, PRIORITY_ALL);
    a64_mmio_write32(gicd + GICD_ISENABLER, 1u << SGI_IPI | 1u << a64_timer_intid);
    a64_mmio_write32(gicc + GICC_PMR, PRIORITY_MASK);
    a64_mmio_write32(gicc + GICC_CTLR, 1);
}

void arch_irq_cpu_init(void)
{
    if (version == 3)
        gic_v3_cpu_init(1u << SGI_IPI | 1u << a64_timer_intid);
    else
        v2_cpu_init();
}

uint32_t arch_irq_source_count(void) { return source_count; }

static void set_trigger(uint32_t source, bool is_level)
{
    uintptr_t address = gicd + GICD_ICFGR + source / 16 * 4;
    uint32_t edge = 2u << source % 16 * 2;

    while (atomic_flag_test_and_set_explicit(&config_lock, memory_order_acquire))
        arch_cpu_relax();
    uint32_t value = a64_mmio_read32(address);
    a64_mmio_write32(address, is_level ? value & ~edge : value | edge);
    atomic_flag_clear_explicit(&config_lock, memory_order_release);
}

static void set_target(uint32_t source, uint32_t cpu_index)
{
    if (version == 3) {
        *(volatile uint64_t *)(gicd + GICD_IROUTER + 8ull * source) = cpus[cpu_index]->hw_id;
        return;
    }
    uint8_t mask = cpu_index < V2_CPUS ? v2_cpu_mask[cpu_index] : 0;
    /* A CPU that never came up has no mask; this one has. */
    *(volatile uint8_t *)(gicd + GICD_ITARGETSR + source) = mask != 0 ? mask : v2_cpu_mask[arch_cpu()->index % V2_CPUS];
}

bool arch_irq_configure(uint32_t source, bool is_level, bool is_active_low, uint32_t cpu_index)
{
    /* The GIC knows no polarity: boards invert lines outside it. */
    (void)is_active_low;
    if (!is_device_source(source) || cpu_index >= cpu_count)
        return false;
    arch_irq_mask(source);
    set_trigger(source, is_level);
    set_target(source, cpu_index);
    return true;
}

void arch_irq_mask(uint32_t source)
{
    if (!is_device_source(source))
        return;
    a64_mmio_write32(bit_register(GICD_ICENABLER, source), 1u << source % 32);
    wait_for_writes();
}

void arch_irq_unmask(uint32_t source)
{
    if (is_device_source(source))
        a64_mmio_write32(bit_register(GICD_ISENABLER, source), 1u << source % 32);
}

void arch_ipi_send(uint32_t cpu_index)
{
    /* What the message is about must be visible before the interrupt is. */
    __asm__ volatile("dsb ishst" ::: "memory");
    if (version == 3)
        gic_v3_send_sgi(cpus[cpu_index]->hw_id, SGI_IPI);
    else if (cpu_index < V2_CPUS)
        a64_mmio_write32(gicd + GICD_SGIR, (uint32_t)v2_cpu_mask[cpu_index] << 16 | SGI_IPI);
}

static void end_interrupt(uint32_t iar)
{
    if (version == 3)
        gic_v3_end(iar);
    else
        a64_mmio_write32(gicc + GICC_EOIR, iar);
}

void a64_irq_handle(void)
{
    uint32_t iar = version == 3 ? gic_v3_acknowledge() : a64_mmio_read32(gicc + GICC_IAR);
    uint32_t intid = version == 3 ? iar : iar & INTID_MASK_V2;

    if (intid >= INTID_SPECIAL)
        return;
    if (intid == a64_timer_intid) {
        a64_timer_quiet();
        end_interrupt(iar);
        irq_timer();
    } else if (intid == SGI_IPI) {
        end_interrupt(iar);
        irq_ipi();
    } else if (is_device_source(intid)) {
        arch_irq_mask(intid);
        end_interrupt(iar);
        irq_device(intid);
    } else {
        end_interrupt(iar);
    }
}
