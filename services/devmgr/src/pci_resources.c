/*
 * Placing memory windows. Everything goes into the 32-bit window (a 64-bit or prefetchable BAR may lie there, and one bridge
 * window then serves all that is behind a bridge); a 64-bit BAR on the root bus that finds no room goes into the 64-bit window.
 * Each BAR gets whole pages of its own, so that no driver sees a neighbour's registers. I/O windows are not placed: no driver
 * is given ports of a PCI device.
 */
#include "pci.h"
#include <tess/util.h>

static constexpr uint64_t BRIDGE_STEP = 1 << 20; /* granularity of a bridge's memory window */

static void config_write(const struct pci_host *host, uint32_t bdf, uint32_t offset, uint32_t width, uint32_t value)
{
    host->access.write(host->access.context, bdf, offset, width, value);
}

static uint32_t config_read(const struct pci_host *host, uint32_t bdf, uint32_t offset, uint32_t width)
{
    return host->access.read(host->access.context, bdf, offset, width);
}

static void write_bar(const struct pci_host *host, const struct pci_device *device, uint32_t index)
{
    const struct pci_bar *bar = &device->bars[index];
    uint32_t offset = PCI_BAR0 + 4 * index;
    config_write(host, device->bdf, offset, 4, (uint32_t)bar->base);
    if (bar->is_64) {
        config_write(host, device->bdf, offset + 4, 4, (uint32_t)(bar->base >> 32));
    }
}

void pci_restore_bars(const struct pci_host *host, const struct pci_device *device)
{
    for (uint32_t i = 0; i < PCI_BARS; i++) {
        if (device->bars[i].size != 0) {
            write_bar(host, device, i);
        }
    }
}

static uint64_t bar_span(const struct pci_bar *bar) { return bar->size < PCI_PAGE ? PCI_PAGE : bar->size; }

/* End of a BAR that is already placed and overlaps [base, base + size), or 0. */
static uint64_t overlap_end(const struct pci_table *table, uint64_t base, uint64_t size)
{
    for (uint32_t d = 0; d < table->count; d++) {
        for (uint32_t i = 0; i < PCI_BARS; i++) {
            const struct pci_bar *bar = &table->devices[d].bars[i];
            if (bar->size != 0 && bar->base != 0 && !bar->is_io && base < bar->base + bar_span(bar) && bar->base < base + size) {
                return bar->base + bar_span(bar);
            }
        }
    }
    return 0;
}

/* First free place in the window at or above *cursor; 0 when there is none. */
static uint64_t find_place(const struct pci_table *table, const struct pci_window *window, uint64_t *cursor, uint64_t size)
{
    uint64_t at = align_up(max_u64(*cursor, window->base), size);
    while (at != 0 && is_range_within(at - window->base, size, window->size)) {
        uint64_t end = overlap_end(table, at, size);
        if (end == 0) {
            *cursor = at + size;
            return at;
        }
        at = align_up(end, size);
    }
    return 0;
}

struct assign {
    struct pci_table *table;
    const struct pci_host *host;
    uint64_t cursor32, cursor64;
    uint32_t failed;
};

static void place_bars(struct assign *assign, struct pci_device *device)
{
    for (uint32_t i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &device->bars[i];
        if (bar->size == 0 || bar->is_io || bar->base != 0) {
            continue;
        }
        uint64_t base = find_place(assign->table, &assign->host->memory32, &assign->cursor32, bar_span(bar));
        if (base == 0 && bar->is_64 && device->parent == PCI_NO_PARENT) {
            base = find_place(assign->table, &assign->host->memory64, &assign->cursor64, bar_span(bar));
        }
        if (base == 0) {
            assign->failed++;
            continue;
        }
        bar->base = base;
        write_bar(assign->host, device, i);
    }
}

static void open_bridge(struct assign *assign, const struct pci_device *bridge, uint64_t start, uint64_t end)
{
    const struct pci_host *host = assign->host;
    /* base above limit = closed (PCI-to-PCI Bridge 1.2, 3.2.5.6). */
    uint32_t memory = end > start ? (uint32_t)(start >> 16 & 0xFFF0) | (uint32_t)((end - 1) & 0xFFF00000) : 0x0000FFF0;
    config_write(host, bridge->bdf, PCI_BRIDGE_MEMORY, 4, memory);
    config_write(host, bridge->bdf, PCI_BRIDGE_PREFETCH, 4, 0x0000FFF0);
    config_write(host, bridge->bdf, PCI_BRIDGE_IO, 2, 0x00F0);
    uint32_t command = config_read(host, bridge->bdf, PCI_COMMAND, 2);
    config_write(host, bridge->bdf, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* Places everything directly behind `parent`, bridges after plain functions. */
static void place_children(struct assign *assign, uint32_t parent)
{
    struct pci_table *table = assign->table;
    for (uint32_t d = 0; d < table->count; d++) {
        struct pci_device *device = &table->devices[d];
        if (device->host == assign->host->index && device->parent == parent) {
            place_bars(assign, device);
        }
    }
    for (uint32_t d = 0; d < table->count; d++) {
        struct pci_device *bridge = &table->devices[d];
        if (bridge->host != assign->host->index || bridge->parent != parent || !bridge->is_bridge || bridge->secondary == 0 ||
            bridge->is_window_fixed) {
            continue; /* behind a window that firmware opened we move nothing */
        }
        uint64_t start = align_up(max_u64(assign->cursor32, assign->host->memory32.base), BRIDGE_STEP);
        assign->cursor32 = start;
        place_children(assign, d);
        bool is_used = assign->cursor32 > start;
        assign->cursor32 = is_used ? align_up(assign->cursor32, BRIDGE_STEP) : start;
        open_bridge(assign, bridge, start, is_used ? assign->cursor32 : start);
    }
}

uint32_t pci_assign(struct pci_table *table, const struct pci_host *host)
{
    struct assign assign = {.table = table, .host = host};
    place_children(&assign, PCI_NO_PARENT);
    return assign.failed;
}

static bool is_page_shared(const struct pci_table *table, const struct pci_bar *own, uint64_t base, uint64_t size)
{
    for (uint32_t d = 0; d < table->count; d++) {
        for (uint32_t i = 0; i < PCI_BARS; i++) {
            const struct pci_bar *bar = &table->devices[d].bars[i];
            if (bar != own && bar->size != 0 && bar->base != 0 && !bar->is_io && base < bar->base + bar->size && bar->base < base + size) {
                return true;
            }
        }
    }
    return false;
}

bool pci_bar_grant(const struct pci_table *table, const struct pci_device *device, uint32_t index, uint64_t *out_base, uint64_t *out_size)
{
    if (index >= PCI_BARS) {
        return false;
    }
    const struct pci_bar *bar = &device->bars[index];
    if (bar->size == 0 || bar->base == 0 || bar->is_io || !is_aligned(bar->base, PCI_PAGE)) {
        return false;
    }
    uint64_t size = bar_span(bar);
    if (device->msix != 0 && device->msix_bar == index) {
        size = min_u64(size, align_down(device->msix_offset, PCI_PAGE));
    }
    if (size == 0 || is_page_shared(table, bar, bar->base, size)) {
        return false;
    }
    *out_base = bar->base;
    *out_size = size;
    return true;
}
