/*
 * Capability lists (PCI Local Bus 3.0, 6.7). The list is the device's: at most 48 entries fit behind the header, so a longer
 * walk is a loop. A virtio structure that does not lie within its BAR is ignored (VIRTIO 1.2, 4.1.4: the first good one of a
 * kind is used).
 */
#include "pci.h"
#include <tess/util.h>

static uint32_t config_read(const struct pci_host *host, const struct pci_device *device, uint32_t offset, uint32_t width)
{
    return host->access.read(host->access.context, device->bdf, offset, width);
}

static void read_msix(const struct pci_host *host, struct pci_device *device, uint32_t at)
{
    uint32_t control = config_read(host, device, at + 2, 2);
    uint32_t table = config_read(host, device, at + 4, 4);
    if ((table & 7) >= PCI_BARS) {
        return;
    }
    device->msix = (uint16_t)at;
    device->msix_bar = table & 7;
    device->msix_offset = table & ~7u;
    device->msix_size = ((control & 0x7FF) + 1) * 16;
}

static void read_virtio(const struct pci_host *host, struct pci_device *device, uint32_t at)
{
    uint32_t length = config_read(host, device, at + 2, 1);
    uint32_t kind = config_read(host, device, at + 3, 1);
    uint32_t bar = config_read(host, device, at + 4, 1);
    if (device->vendor != PCI_VENDOR_VIRTIO || kind == 0 || kind >= PCI_VIRTIO_KINDS || bar >= PCI_BARS || length < 16) {
        return;
    }
    struct pci_virtio_capability found = {
        .bar = bar,
        .offset = config_read(host, device, at + 8, 4),
        .size = config_read(host, device, at + 12, 4),
    };
    bool is_placed = found.size > 0 && !device->bars[bar].is_io && is_range_within(found.offset, found.size, device->bars[bar].size);
    if (kind == PCI_VIRTIO_NOTIFY) {
        if (length < 20 || at > 0x100 - 20) {
            return;
        }
        found.multiplier = config_read(host, device, at + 16, 4);
    }
    if (is_placed && device->virtio[kind].size == 0) {
        device->virtio[kind] = found;
    }
}

void pci_read_capabilities(const struct pci_host *host, struct pci_device *device)
{
    if ((config_read(host, device, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES) == 0) {
        return;
    }
    uint32_t at = config_read(host, device, PCI_CAPABILITIES, 1) & ~3u;
    for (uint32_t step = 0; step < 48 && at >= 0x40 && at <= 0xF0; step++) {
        uint32_t id = config_read(host, device, at, 1);
        if (id == PCI_CAPABILITY_EXPRESS && device->express == 0) {
            device->express = (uint16_t)at;
        } else if (id == PCI_CAPABILITY_MSI && device->msi == 0) {
            device->msi = (uint16_t)at;
        } else if (id == PCI_CAPABILITY_MSIX && device->msix == 0) {
            read_msix(host, device, at);
        } else if (id == PCI_CAPABILITY_VENDOR) {
            read_virtio(host, device, at);
        }
        at = config_read(host, device, at + 1, 1) & ~3u;
    }
}
