/*
 * The machine's PCI buses as devmgr holds them: configuration space mapped bus by bus, the table of devices found, and the
 * switching on, off and resetting of one device. Only devmgr reaches configuration space.
 */
#pragma once
#include "pci.h"
#include <tess/abi.h>

constexpr uint32_t BUS_HOSTS_MAX = 4;

struct ecam {
    handle_t machine;
    uint64_t base; /* of bus_start */
    uint32_t bus_start, bus_end;
    volatile uint8_t *buses[256]; /* mapped when first looked at */
};

struct bus {
    handle_t machine;
    struct pci_host hosts[BUS_HOSTS_MAX];
    struct ecam ecams[BUS_HOSTS_MAX];
    uint32_t host_count;
    struct pci_table table;
    volatile uint8_t *status_pages[PCI_DEVICES_MAX]; /* as in table: where a virtio device's status register is mapped; or nullptr */
};

/* Finds and places everything. */
void bus_open(struct bus *bus, handle_t machine, const struct tess_platform *platform);

/* Physical address of its configuration space. */
uint64_t bus_device_configuration(const struct bus *bus, const struct pci_device *device);
/* Decoding and bus mastering on, legacy interrupt on, MSI and MSI-X off; the bridges above pass it on. */
void bus_device_enable(struct bus *bus, const struct pci_device *device);
/* No more DMA and interrupts from it, whatever it was doing: bus mastering off, then a reset where the device has one. */
void bus_device_stop(struct bus *bus, const struct pci_device *device);
