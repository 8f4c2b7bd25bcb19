/* Configuration space through ECAM (PCI Express Base 4.0, 7.2.2): 4 KiB per function, 1 MiB per bus. */
#include "bus.h"
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/stub/machine.h>
#include <tess/util.h>

static constexpr uint64_t BUS_BYTES = 1 << 20;
/* VIRTIO 1.2, 4.1.4.3: device_status in the common structure. */
static constexpr uint32_t VIRTIO_STATUS = 0x14;
static constexpr uint64_t VIRTIO_RESET_NS = 100 * NS_PER_MS;
/* PCI Express Base 4.0, 6.6.2 and 7.5.3: function level reset. */
static constexpr uint32_t EXPRESS_CAPABILITIES = 4, EXPRESS_CONTROL = 8;
static constexpr uint32_t EXPRESS_HAS_FLR = 1 << 28, EXPRESS_START_FLR = 1 << 15;
static constexpr uint64_t FLR_NS = 100 * NS_PER_MS;

static volatile uint8_t *map_registers(handle_t machine, uint64_t base, uint64_t size)
{
    handle_t memory;
    void *address = nullptr;
    if (tess_machine_device_memory(machine, std_self.untyped, base, size, &memory) != OK) {
        return nullptr;
    }
    if (std_map(memory, 0, size, MAP_READ | MAP_WRITE, &address) != OK) {
        address = nullptr;
    }
    std_handle_delete(memory); /* the mapping keeps the object */
    return address;
}

static uint64_t config_physical(const struct ecam *ecam, uint32_t bdf)
{
    return ecam->base + ((bdf >> 8) - ecam->bus_start) * BUS_BYTES + ((bdf & 0xFF) << 12);
}

uint64_t bus_device_configuration(const struct bus *bus, const struct pci_device *device)
{
    return config_physical(&bus->ecams[device->host], device->bdf);
}

static volatile uint8_t *config_address(struct ecam *ecam, uint32_t bdf, uint32_t offset)
{
    uint32_t number = bdf >> 8;
    if (number < ecam->bus_start || number > ecam->bus_end || offset >= 4096) {
        return nullptr;
    }
    if (ecam->buses[number] == nullptr) {
        ecam->buses[number] = map_registers(ecam->machine, config_physical(ecam, number << 8), BUS_BYTES);
        if (ecam->buses[number] == nullptr) {
            log_error("cannot map the configuration space of bus %u", number);
            return nullptr;
        }
    }
    return ecam->buses[number] + ((size_t)(bdf & 0xFF) << 12) + offset;
}

static uint32_t ecam_read(void *context, uint32_t bdf, uint32_t offset, uint32_t width)
{
    volatile uint8_t *address = config_address(context, bdf, offset);
    if (address == nullptr) {
        return UINT32_MAX;
    }
    volatile void *target = address;
    return width == 1 ? *address : width == 2 ? *(volatile uint16_t *)target : *(volatile uint32_t *)target;
}

static void ecam_write(void *context, uint32_t bdf, uint32_t offset, uint32_t width, uint32_t value)
{
    volatile uint8_t *address = config_address(context, bdf, offset);
    volatile void *target = address;
    if (address == nullptr) {
        return;
    }
    if (width == 1) {
        *address = (uint8_t)value;
    } else if (width == 2) {
        *(volatile uint16_t *)target = (uint16_t)value;
    } else {
        *(volatile uint32_t *)target = value;
    }
}

static void open_host(struct bus *bus, const struct tess_pci_host *from)
{
    uint32_t index = bus->host_count;
    if (index == BUS_HOSTS_MAX || from->bus_start > from->bus_end || from->bus_end > 255) {
        log_warning("a host bridge is ignored");
        return;
    }
    bus->ecams[index] =
        (struct ecam){.machine = bus->machine, .base = from->ecam_base, .bus_start = from->bus_start, .bus_end = from->bus_end};
    struct pci_host *host = &bus->hosts[index];
    *host = (struct pci_host){
        .access = {.read = ecam_read, .write = ecam_write, .context = &bus->ecams[index]},
        .index = index,
        .bus_start = from->bus_start,
        .bus_end = from->bus_end,
        .memory32 = {.base = from->mmio32_base, .size = from->mmio32_size},
        .memory64 = {.base = from->mmio64_base, .size = from->mmio64_size},
    };
    memcpy(host->intx_source, from->intx_source, sizeof(host->intx_source));
    bus->host_count++;
    pci_scan(&bus->table, host);
    uint32_t failed = pci_assign(&bus->table, host);
    if (failed > 0) {
        log_warning("no room for %u memory windows", failed);
    }
}

void bus_open(struct bus *bus, handle_t machine, const struct tess_platform *platform)
{
    bus->machine = machine;
    for (uint32_t i = 0; i < platform->pci_host_count && i < ARRAY_LENGTH(platform->pci_hosts); i++) {
        open_host(bus, &platform->pci_hosts[i]);
    }
    if (bus->table.dropped > 0) {
        log_warning("%u PCI functions or buses were left out", bus->table.dropped);
    }
}

static uint32_t config_read(struct bus *bus, const struct pci_device *device, uint32_t offset, uint32_t width)
{
    return ecam_read(&bus->ecams[device->host], device->bdf, offset, width);
}

static void config_write(struct bus *bus, const struct pci_device *device, uint32_t offset, uint32_t width, uint32_t value)
{
    ecam_write(&bus->ecams[device->host], device->bdf, offset, width, value);
}

void bus_device_enable(struct bus *bus, const struct pci_device *device)
{
    /* MSI and MSI-X enable bits (PCI Local Bus 3.0, 6.8.1.3 and 6.8.2.3): with either on, INTx stays silent. */
    if (device->msi != 0) {
        config_write(bus, device, device->msi + 2u, 2, config_read(bus, device, device->msi + 2u, 2) & ~1u);
    }
    if (device->msix != 0) {
        config_write(bus, device, device->msix + 2u, 2, config_read(bus, device, device->msix + 2u, 2) & ~(1u << 15));
    }
    uint32_t command = config_read(bus, device, PCI_COMMAND, 2) | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    config_write(bus, device, PCI_COMMAND, 2, command & ~(uint32_t)PCI_COMMAND_INTX_OFF);
    while (device->parent != PCI_NO_PARENT) {
        device = &bus->table.devices[device->parent];
        command = config_read(bus, device, PCI_COMMAND, 2) | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
        config_write(bus, device, PCI_COMMAND, 2, command);
    }
}

/* The device's status register. Mapped once and kept: stopping a device whose driver died must not need memory. */
static volatile uint8_t *virtio_status(struct bus *bus, const struct pci_device *device)
{
    const struct pci_virtio_capability *common = &device->virtio[PCI_VIRTIO_COMMON];
    if (common->size <= VIRTIO_STATUS || device->bars[common->bar].base == 0) {
        return nullptr;
    }
    uint64_t at = device->bars[common->bar].base + common->offset + VIRTIO_STATUS;
    volatile uint8_t **page = &bus->status_pages[device - bus->table.devices];
    if (*page == nullptr) {
        *page = map_registers(bus->machine, align_down(at, STD_PAGE), STD_PAGE);
    }
    return *page == nullptr ? nullptr : *page + at % STD_PAGE;
}

/* VIRTIO 1.2, 2.1.2: status 0 stops all queues; done when it reads 0. */
static bool reset_virtio(struct bus *bus, const struct pci_device *device)
{
    volatile uint8_t *status = virtio_status(bus, device);
    if (status == nullptr) {
        return false;
    }
    *status = 0;
    uint64_t deadline = time_after_ns(VIRTIO_RESET_NS);
    while (*status != 0 && time_now_ns() < deadline) {
    }
    return *status == 0;
}

static bool reset_function(struct bus *bus, const struct pci_device *device)
{
    if (device->express == 0 || (config_read(bus, device, device->express + EXPRESS_CAPABILITIES, 4) & EXPRESS_HAS_FLR) == 0) {
        return false;
    }
    uint32_t control = config_read(bus, device, device->express + EXPRESS_CONTROL, 2);
    config_write(bus, device, device->express + EXPRESS_CONTROL, 2, control | EXPRESS_START_FLR);
    time_sleep_until(time_after_ns(FLR_NS));
    pci_restore_bars(&bus->hosts[device->host], device);
    return true;
}

void bus_device_stop(struct bus *bus, const struct pci_device *device)
{
    uint32_t command = config_read(bus, device, PCI_COMMAND, 2) & ~(uint32_t)PCI_COMMAND_MASTER;
    /* Decoding stays on for the reset through the registers. */
    config_write(bus, device, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_OFF);
    if (!reset_virtio(bus, device) && !reset_function(bus, device)) {
        log_warning("device %02x:%02x.%u cannot be reset; it stays off the bus", device->bdf >> 8, device->bdf >> 3 & 31, device->bdf & 7);
    }
}
