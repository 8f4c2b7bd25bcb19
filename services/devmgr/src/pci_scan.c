/*
 * Finding functions, depth first. Bus numbers: a bridge that firmware numbered keeps its numbers. One that it did not gets the
 * next free number if everything above it is ours (the root bus, or bridges numbered here); below a bridge of firmware's there
 * is no room, and it stays closed.
 */
#include "pci.h"
#include <tess/util.h>

static constexpr uint32_t DEPTH_MAX = 8;

struct scan {
    struct pci_table *table;
    const struct pci_host *host;
    uint32_t last_bus; /* highest number in use */
};

static uint32_t config_read(const struct pci_host *host, uint32_t bdf, uint32_t offset, uint32_t width)
{
    return host->access.read(host->access.context, bdf, offset, width);
}

static void config_write(const struct pci_host *host, uint32_t bdf, uint32_t offset, uint32_t width, uint32_t value)
{
    host->access.write(host->access.context, bdf, offset, width, value);
}

/* Which address bits of a BAR can be changed (PCI Local Bus 3.0, 6.2.5.1). Decoding is off while the register holds ones. */
static uint32_t probe_bar(const struct pci_host *host, uint32_t bdf, uint32_t offset)
{
    uint32_t old = config_read(host, bdf, offset, 4);
    config_write(host, bdf, offset, 4, UINT32_MAX);
    uint32_t mask = config_read(host, bdf, offset, 4);
    config_write(host, bdf, offset, 4, old);
    return mask;
}

static void read_bars(const struct pci_host *host, struct pci_device *device)
{
    uint32_t count = device->is_bridge ? 2 : PCI_BARS;
    uint32_t command = config_read(host, device->bdf, PCI_COMMAND, 2);
    if (!device->is_bridge) { /* nobody holds it yet: firmware, or a devmgr that died, may have left it writing to memory */
        command &= ~(uint32_t)PCI_COMMAND_MASTER;
    }
    config_write(host, device->bdf, PCI_COMMAND, 2, command & ~(uint32_t)(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
    for (uint32_t i = 0; i < count; i++) {
        struct pci_bar *bar = &device->bars[i];
        uint32_t offset = PCI_BAR0 + 4 * i;
        uint32_t low = config_read(host, device->bdf, offset, 4);
        uint32_t mask = probe_bar(host, device->bdf, offset);
        if (low & 1) {
            /* Devices may leave the upper half of an I/O BAR without bits. */
            uint32_t size_mask = (mask & ~3u) | ((mask & 0xFFFF0000) == 0 ? 0xFFFF0000 : 0);
            *bar = (struct pci_bar){.base = low & ~3u, .size = (mask & ~3u) == 0 ? 0 : (uint64_t)(~size_mask + 1), .is_io = true};
            continue;
        }
        bar->is_prefetch = (low & 8) != 0;
        bar->is_64 = (low & 6) == 4 && i + 1 < count;
        uint64_t base = low & ~15u;
        uint64_t full_mask = (mask & ~15u) | 0xFFFFFFFF00000000;
        if (bar->is_64) {
            base |= (uint64_t)config_read(host, device->bdf, offset + 4, 4) << 32;
            full_mask = (mask & ~15u) | (uint64_t)probe_bar(host, device->bdf, offset + 4) << 32;
            i++;
        } else if ((mask & ~15u) == 0) {
            full_mask = 0;
        }
        bar->size = full_mask == 0 ? 0 : ~full_mask + 1;
        /* Not a power of two: the register is broken, and no address can be derived from it. */
        bar->size = is_power_of_two(bar->size) ? bar->size : 0;
        /* Aligned to its size, so that base + size overflows only for the very last range, which nobody may have. */
        bar->base = bar->size == 0 ? 0 : align_down(base, bar->size);
        bar->base = bar->base + bar->size == 0 ? 0 : bar->base;
    }
    config_write(host, device->bdf, PCI_COMMAND, 2, command);
}

uint32_t pci_route_interrupt(const struct pci_table *table, const struct pci_host *host, const struct pci_device *device)
{
    uint32_t pin = device->interrupt_pin;
    if (pin == 0 || pin > 4) {
        return PCI_NO_SOURCE;
    }
    while (device->parent != PCI_NO_PARENT) {
        pin = (pin - 1 + (device->bdf >> 3 & 31)) % 4 + 1;
        device = &table->devices[device->parent]; /* a bridge is in the table before what is behind it: this ends */
    }
    return host->intx_source[((device->bdf >> 3 & 31) + pin - 1) % 4];
}

/* Fills a table entry; nullptr when there is no function at the address or no room in the table. */
static struct pci_device *add_function(struct scan *scan, uint32_t bdf, uint32_t parent)
{
    const struct pci_host *host = scan->host;
    uint32_t id = config_read(host, bdf, PCI_VENDOR, 4);
    if ((id & 0xFFFF) == 0xFFFF || (id & 0xFFFF) == 0) {
        return nullptr;
    }
    if (scan->table->count == PCI_DEVICES_MAX) {
        scan->table->dropped++;
        return nullptr;
    }
    struct pci_device *device = &scan->table->devices[scan->table->count++];
    *device = (struct pci_device){
        .host = host->index,
        .bdf = bdf,
        .vendor = (uint16_t)id,
        .device = (uint16_t)(id >> 16),
        .class_code = config_read(host, bdf, PCI_CLASS, 4) >> 8,
        .parent = parent,
        .is_bridge = (config_read(host, bdf, PCI_HEADER_TYPE, 1) & 0x7F) == 1,
        .interrupt_pin = config_read(host, bdf, PCI_INTERRUPT_PIN, 1),
        .interrupt_source = PCI_NO_SOURCE,
    };
    read_bars(host, device);
    pci_read_capabilities(host, device);
    device->interrupt_source = pci_route_interrupt(scan->table, host, device);
    return device;
}

static void read_bridge(struct scan *scan, struct pci_device *bridge)
{
    uint32_t buses = config_read(scan->host, bridge->bdf, PCI_BUSES, 4);
    uint32_t bus = bridge->bdf >> 8;
    uint32_t secondary = buses >> 8 & 0xFF, subordinate = buses >> 16 & 0xFF;
    if (secondary > bus && subordinate >= secondary && subordinate <= scan->host->bus_end) {
        bridge->secondary = (uint8_t)secondary;
        bridge->subordinate = (uint8_t)subordinate;
    }
    uint32_t memory = config_read(scan->host, bridge->bdf, PCI_BRIDGE_MEMORY, 4);
    uint32_t base = memory & 0xFFF0, limit = memory >> 16 & 0xFFF0;
    bridge->is_window_fixed = bridge->secondary != 0 && base != 0 && base <= limit;
}

/* The highest bus number that firmware gave away on the root bus: new numbers start above it. */
static uint32_t last_firmware_bus(const struct pci_host *host)
{
    uint32_t last = host->bus_start;
    for (uint32_t slot = 0; slot < 32 * 8; slot++) {
        uint32_t bdf = host->bus_start << 8 | slot;
        if ((slot & 7) != 0 && (config_read(host, bdf & ~7u, PCI_HEADER_TYPE, 1) & 0x80) == 0) {
            continue;
        }
        if ((config_read(host, bdf, PCI_VENDOR, 4) & 0xFFFF) == 0xFFFF) {
            slot |= (slot & 7) == 0 ? 7 : 0; /* no function 0, no device */
            continue;
        }
        if ((config_read(host, bdf, PCI_HEADER_TYPE, 1) & 0x7F) == 1) {
            uint32_t subordinate = config_read(host, bdf, PCI_BUSES, 4) >> 16 & 0xFF;
            last = subordinate > last && subordinate <= host->bus_end ? subordinate : last;
        }
    }
    return last;
}

static void scan_bus(struct scan *scan, uint32_t bus, uint32_t parent, uint32_t depth, bool is_ours);

static void enter_bridge(struct scan *scan, uint32_t index, uint32_t depth, bool is_ours)
{
    struct pci_device *bridge = &scan->table->devices[index];
    read_bridge(scan, bridge);
    if (depth == DEPTH_MAX) {
        scan->table->dropped++;
        return;
    }
    if (bridge->secondary != 0) {
        scan_bus(scan, bridge->secondary, index, depth + 1, false);
        return;
    }
    if (!is_ours || scan->last_bus >= scan->host->bus_end) {
        scan->table->dropped++;
        return;
    }
    /* While we look behind the bridge it passes everything above its number on; then it is closed to what was found. */
    uint32_t secondary = ++scan->last_bus;
    uint32_t primary = bridge->bdf >> 8;
    config_write(scan->host, bridge->bdf, PCI_BUSES, 4, primary | secondary << 8 | scan->host->bus_end << 16);
    bridge->secondary = (uint8_t)secondary;
    scan_bus(scan, secondary, index, depth + 1, true);
    bridge->subordinate = (uint8_t)scan->last_bus;
    config_write(scan->host, bridge->bdf, PCI_BUSES, 4, primary | secondary << 8 | scan->last_bus << 16);
}

static void scan_bus(struct scan *scan, uint32_t bus, uint32_t parent, uint32_t depth, bool is_ours)
{
    for (uint32_t slot = 0; slot < 32; slot++) {
        uint32_t functions = 1;
        for (uint32_t function = 0; function < functions; function++) {
            uint32_t bdf = pci_bdf(bus, slot, function);
            uint32_t index = scan->table->count;
            struct pci_device *device = add_function(scan, bdf, parent);
            if (device == nullptr) {
                continue; /* without a function 0 the loop ends here: functions is 1 */
            }
            if (function == 0 && (config_read(scan->host, bdf, PCI_HEADER_TYPE, 1) & 0x80)) {
                functions = 8;
            }
            if (device->is_bridge) {
                enter_bridge(scan, index, depth, is_ours);
            }
        }
    }
}

void pci_scan(struct pci_table *table, const struct pci_host *host)
{
    struct scan scan = {.table = table, .host = host, .last_bus = last_firmware_bus(host)};
    scan_bus(&scan, host->bus_start, PCI_NO_PARENT, 0, true);
}
