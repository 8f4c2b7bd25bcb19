/*
 * Interrupt controllers, timers, power and PCI host bridges of a device tree. Bindings: Linux
 * Documentation/devicetree/bindings/{interrupt-controller,timer,arm,pci}; PCI addresses: PCI Bus Binding to IEEE 1275, 2.2.
 */
#include "fdt_devices.h"

constexpr uint32_t RISCV_SUPERVISOR_EXTERNAL = 9; /* interrupt cause, RISC-V Privileged table 8 */
constexpr uint32_t VIRTUAL_TIMER_INDEX = 2;       /* "arm,armv8-timer": secure, physical, virtual, hypervisor */

/* ---- Console ---------------------------------------------------------------------------------------------------- */

bool fdt_visit_console(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *node)
{
    struct boot_console console = {.irq = UINT32_MAX};
    uint64_t size;

    if (fdt_is_compatible(fdt, node, "arm,pl011"))
        console.kind = BOOT_CONSOLE_PL011;
    else if (fdt_is_compatible(fdt, node, "ns16550a") || fdt_is_compatible(fdt, node, "ns16550"))
        console.kind = BOOT_CONSOLE_NS16550_MMIO;
    else
        return false;
    if (!fdt_reg(fdt, node, 0, &console.base, &size))
        return false;
    console.reg_shift = fdt_u32(fdt, node, "reg-shift", 0);
    if (console.reg_shift > 4)
        return false;
    if (!fdt_interrupt(fdt, node, 0, &console.irq))
        console.irq = UINT32_MAX;
    bi->console = console;
    return true;
}

/* ---- Interrupt controllers -------------------------------------------------------------------------------------- */

static void visit_gic(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *node, uint32_t version)
{
    struct boot_interrupt_controller *intc = &bi->intc;
    uint64_t distributor, distributor_size, second, second_size;

    if (intc->gic_version != 0)
        return;
    if (!fdt_reg(fdt, node, 0, &distributor, &distributor_size) || !fdt_reg(fdt, node, 1, &second, &second_size)) {
        kprintf("fdt: GIC node %s without usable registers\n", node->levels[node->depth].name);
        return;
    }
    intc->gic_version = version;
    intc->gicd_base = distributor;
    intc->gicd_size = distributor_size;
    if (version == 2) {
        intc->gicc_base = second;
    } else {
        intc->gicr_base = second;
        intc->gicr_size = second_size;
        if (fdt_u32(fdt, node, "#redistributor-regions", 1) > 1)
            kprintf("fdt: only the first region of GIC redistributors is used\n");
    }
}

static void set_plic_context(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *cpu_intc, uint32_t context)
{
    struct fdt_cursor cpu = *cpu_intc;
    uint64_t hart, size;

    if (--cpu.depth < 1 || !fdt_reg_raw(fdt, &cpu, 0, &hart, &size))
        return;
    for (uint32_t i = 0; i < bi->cpu_count; i++) {
        if (bi->cpus[i].hw_id == hart)
            bi->cpus[i].intc_index = context;
    }
}

/* Entry i of "interrupts-extended" belongs to context i: the hart's controller and the interrupt that is raised there. */
static void visit_plic(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *node)
{
    struct fdt_property contexts;
    struct fdt_cursor cpu_intc;
    uint64_t phandle, cause;
    uint32_t at = 0;

    if (bi->intc.plic_base != 0 || !fdt_property(fdt, node, "interrupts-extended", &contexts))
        return;
    if (!fdt_reg(fdt, node, 0, &bi->intc.plic_base, &bi->intc.plic_size))
        return;
    bi->intc.plic_source_count = fdt_u32(fdt, node, "riscv,ndev", 0);
    for (uint32_t i = 0; i < bi->cpu_count; i++)
        bi->cpus[i].intc_index = UINT32_MAX;
    /* Two contexts (M and S) for each hart at most, on any machine with as many harts as we support. */
    for (uint32_t context = 0; context < 4 * CPU_MAX; context++) {
        if (!fdt_cells(&contexts, &at, 1, &phandle) || !fdt_cells(&contexts, &at, 1, &cause))
            return;
        if (cause == RISCV_SUPERVISOR_EXTERNAL && fdt_find_phandle(fdt, (uint32_t)phandle, &cpu_intc))
            set_plic_context(bi, fdt, &cpu_intc, context);
    }
}

/* ---- PCI host bridge -------------------------------------------------------------------------------------------- */

constexpr uint32_t PCI_ADDRESS_CELLS = 3;

static void add_pci_window(struct boot_ecam *ecam, uint32_t space, uint64_t bus, uint64_t cpu, uint64_t size)
{
    uint64_t end;

    if (__builtin_add_overflow(cpu, size, &end))
        return;
    if (space == 1 && ecam->io_size == 0 && bus == 0) {
        ecam->io_base = cpu;
        ecam->io_size = size;
    } else if (space == 2 && ecam->mmio32_size == 0 && bus == cpu) {
        ecam->mmio32_base = cpu;
        ecam->mmio32_size = size;
    } else if (space == 3 && ecam->mmio64_size == 0 && bus == cpu) {
        ecam->mmio64_base = cpu;
        ecam->mmio64_size = size;
    } else {
        kprintf("fdt: PCI window 0x%lx -> 0x%lx + 0x%lx not used\n", (unsigned long)cpu, (unsigned long)bus, (unsigned long)size);
    }
}

static void read_pci_windows(struct boot_ecam *ecam, const struct fdt *fdt, const struct fdt_cursor *node)
{
    struct fdt_property ranges;
    uint32_t at = 0, parent_cells = fdt_u32_at(fdt, node, node->depth - 1, "#address-cells", 2);
    uint64_t space, bus, cpu, size;

    if (!fdt_property(fdt, node, "ranges", &ranges))
        return;
    while (fdt_cells(&ranges, &at, 1, &space) && fdt_cells(&ranges, &at, 2, &bus) && fdt_cells(&ranges, &at, parent_cells, &cpu) &&
           fdt_cells(&ranges, &at, 2, &size))
        add_pci_window(ecam, (uint32_t)space >> 24 & 3, bus, cpu, size);
}

/* Records one entry of the interrupt map in the swizzled table; an entry that contradicts the swizzle is reported. */
static void set_intx(struct boot_ecam *ecam, uint64_t phys_hi, uint64_t pin, uint32_t source)
{
    uint32_t device = (uint32_t)phys_hi >> 11 & 31;

    if (pin < 1 || pin > 4)
        return;
    uint32_t *slot = &ecam->intx_source[(device + (uint32_t)pin - 1) % 4];
    if (*slot != UINT32_MAX && *slot != source)
        kprintf("fdt: PCI interrupt map is not the standard swizzle\n");
    else
        *slot = source;
}

static void read_interrupt_map(struct boot_ecam *ecam, const struct fdt *fdt, const struct fdt_cursor *node)
{
    struct fdt_property map, mask;
    struct fdt_cursor controller;
    uint32_t at = 0, mask_at = 0, source = 0, cells = 0, unit_cells = 0, last_phandle = 0;
    uint64_t hi_mask = UINT32_MAX, pin_mask = 7, phys_hi, pin, phandle, skipped;

    if (!fdt_property(fdt, node, "interrupt-map", &map) || fdt_u32(fdt, node, "#interrupt-cells", 1) != 1)
        return;
    if (fdt_property(fdt, node, "interrupt-map-mask", &mask)) {
        fdt_cells(&mask, &mask_at, 1, &hi_mask);
        mask_at = PCI_ADDRESS_CELLS;
        fdt_cells(&mask, &mask_at, 1, &pin_mask);
    }
    /* Entry: child unit address, child interrupt, phandle, parent unit address, parent interrupt (2.4.3.1). */
    while (fdt_cells(&map, &at, 1, &phys_hi) && fdt_cells(&map, &at, 2, &skipped) && fdt_cells(&map, &at, 1, &pin) &&
           fdt_cells(&map, &at, 1, &phandle)) {
        if (phandle != last_phandle) {
            if (!fdt_find_phandle(fdt, (uint32_t)phandle, &controller))
                return;
            cells = fdt_u32(fdt, &controller, "#interrupt-cells", 0);
            unit_cells = fdt_u32(fdt, &controller, "#address-cells", 0);
            last_phandle = (uint32_t)phandle;
        }
        if (!fdt_cells(&map, &at, unit_cells, &skipped) || !fdt_interrupt_specifier(&map, &at, cells, &source))
            return;
        set_intx(ecam, phys_hi & hi_mask, pin & pin_mask, source);
    }
}

static void visit_ecam(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *node)
{
    struct boot_ecam ecam = {.intx_source = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}};
    struct fdt_property bus_range;
    uint64_t size, first = 0, last = 255;
    uint32_t at = 0;

    if (fdt_u32(fdt, node, "#address-cells", 0) != PCI_ADDRESS_CELLS || !fdt_reg(fdt, node, 0, &ecam.base, &size)) {
        kprintf("fdt: PCI host bridge %s not usable\n", node->levels[node->depth].name);
        return;
    }
    if (bi->ecam_count == BOOT_ECAMS_MAX) {
        kprintf("fdt: PCI host bridge %s dropped\n", node->levels[node->depth].name);
        return;
    }
    if (fdt_property(fdt, node, "bus-range", &bus_range) &&
        (!fdt_cells(&bus_range, &at, 1, &first) || !fdt_cells(&bus_range, &at, 1, &last)))
        return;
    /* 1 MiB of configuration space for each bus (PCI Express 4.0, 7.2.2); no bus beyond the window. */
    uint64_t buses = size >> 20;
    if (first > 255 || last < first || buses == 0)
        return;
    if (last > 255)
        last = 255;
    if (last - first >= buses)
        last = first + buses - 1;
    ecam.bus_start = (uint8_t)first;
    ecam.bus_end = (uint8_t)last;
    ecam.segment = (uint16_t)fdt_u32(fdt, node, "linux,pci-domain", bi->ecam_count);
    read_pci_windows(&ecam, fdt, node);
    read_interrupt_map(&ecam, fdt, node);
    bi->ecams[bi->ecam_count++] = ecam;
}

/* ---- Dispatch --------------------------------------------------------------------------------------------------- */

static void visit_timer(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *node)
{
    uint32_t frequency = fdt_u32(fdt, node, "clock-frequency", 0);

    if (!fdt_interrupt(fdt, node, VIRTUAL_TIMER_INDEX, &bi->timer.irq))
        kprintf("fdt: timer node without a virtual timer interrupt\n");
    if (frequency != 0)
        bi->timer.frequency_hz = frequency;
}

void fdt_visit_device(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *node)
{
    struct fdt_property compatible;
    uint64_t size;

    if (!fdt_property(fdt, node, "compatible", &compatible))
        return;
    if (fdt_is_compatible(fdt, node, "arm,gic-v3"))
        visit_gic(bi, fdt, node, 3);
    else if (fdt_is_compatible(fdt, node, "arm,cortex-a15-gic") || fdt_is_compatible(fdt, node, "arm,gic-400"))
        visit_gic(bi, fdt, node, 2);
    else if (fdt_is_compatible(fdt, node, "riscv,plic0") || fdt_is_compatible(fdt, node, "sifive,plic-1.0.0"))
        visit_plic(bi, fdt, node);
    else if (fdt_is_compatible(fdt, node, "arm,armv8-timer"))
        visit_timer(bi, fdt, node);
    else if (fdt_is_compatible(fdt, node, "arm,psci-1.0") || fdt_is_compatible(fdt, node, "arm,psci-0.2"))
        bi->power.psci_is_hvc = fdt_has_string(fdt, node, "method", "hvc");
    else if (fdt_is_compatible(fdt, node, "sifive,test0"))
        bi->power.sifive_test = fdt_reg(fdt, node, 0, &bi->power.sifive_test, &size) ? bi->power.sifive_test : 0;
    else if (fdt_is_compatible(fdt, node, "pci-host-ecam-generic"))
        visit_ecam(bi, fdt, node);
    else if (bi->console.kind == BOOT_CONSOLE_NONE)
        fdt_visit_console(bi, fdt, node); /* no stdout-path: the first UART in the tree */
}
