/*
 * devmgr: finds the machine's devices and hands each driver exactly its own: registers, interrupt, dma. A driver is known by the
 * badge of its handle, which the manifest bound to an entry of the device table ("devices" in the boot image).
 *
 * Everything given out is charged to devmgr and lives as long as it: when devmgr ends, drivers find their interrupts dead. They
 * keep their memory until the next devmgr has reset their device (virtio_device_abandon), then end too.
 */
#include "claims.h"
#include <std/log.h>
#include <std/loop.h>
#include <std/program.h>
#include <tess/serve/device.h>
#include <tess/serve/devmgr.h>
#include <tess/stub/machine.h>
#include <tess/stub/memory.h>
#include <tess/util.h>

static struct tess_platform platform;
static struct bus bus;
static struct claims claims = {.bus = &bus, .platform = &platform};

static status_t claim(void *context, struct tess_call *call, uint32_t *out_vendor, uint32_t *out_device, uint32_t *out_bdf,
                      uint32_t *out_unit, handle_t *out_interrupt, handle_t *out_dma)
{
    (void)context;
    const struct pci_device *device;
    const struct device_match *match;
    status_t status = claim_device(&claims, call->badge, &device, &match, out_interrupt, out_dma);
    if (status != OK) {
        return status;
    }
    *out_vendor = device->vendor;
    *out_device = device->device;
    *out_bdf = device->bdf;
    *out_unit = match->unit;
    call->reply_move_mask = 3;
    return OK;
}

static status_t window(void *context, struct tess_call *call, uint32_t bar, uint64_t *out_size, handle_t *out_registers)
{
    (void)context;
    call->reply_move_mask = 1;
    return claim_window(&claims, call->badge, bar, out_size, out_registers);
}

static status_t virtio_capability(void *context, struct tess_call *call, uint32_t kind, uint32_t *out_bar, uint32_t *out_offset,
                                  uint32_t *out_size, uint32_t *out_multiplier)
{
    (void)context;
    const struct pci_device *device = claim_find_device(&claims, call->badge);
    if (device == nullptr || kind >= PCI_VIRTIO_KINDS || device->virtio[kind].size == 0) {
        return ERROR_NOT_FOUND;
    }
    *out_bar = device->virtio[kind].bar;
    *out_offset = device->virtio[kind].offset;
    *out_size = device->virtio[kind].size;
    *out_multiplier = device->virtio[kind].multiplier;
    return OK;
}

static status_t console(void *context, struct tess_call *call, uint32_t *out_kind, uint32_t *out_reg_shift, uint32_t *out_port_base,
                        handle_t *out_interrupt, handle_t *out_registers)
{
    (void)context;
    *out_kind = platform.console_kind;
    *out_reg_shift = platform.console_reg_shift;
    *out_port_base = (uint32_t)platform.console_base;
    call->reply_move_mask = 3;
    return claim_console(&claims, call->badge, out_interrupt, out_registers);
}

static const struct device_server device_server = {
    .claim = claim, .window = window, .virtio_capability = virtio_capability, .console = console};

static status_t device_call(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    return device_dispatch(&device_server, nullptr, call);
}

static void device_badge_gone(struct loop_service *service, uint64_t badge)
{
    (void)service;
    claim_take_back(&claims, badge);
}

static status_t next(void *context, struct tess_call *call, uint32_t index, uint32_t *out_bdf, uint32_t *out_vendor, uint32_t *out_device,
                     uint32_t *out_class, uint8_t out_holder[16])
{
    (void)context, (void)call;
    if (index >= bus.table.count) {
        return ERROR_NOT_FOUND;
    }
    const struct pci_device *device = &bus.table.devices[index];
    *out_bdf = device->bdf;
    *out_vendor = device->vendor;
    *out_device = device->device;
    *out_class = device->class_code;
    const struct device_match *holder = claim_holder(&claims, index);
    if (holder != nullptr) {
        memcpy(out_holder, holder->service, sizeof(holder->service));
    }
    return OK;
}

static const struct devmgr_server devmgr_server = {.next = next};

static status_t devmgr_call(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    return devmgr_dispatch(&devmgr_server, nullptr, call);
}

static const struct device_table *open_table(handle_t memory)
{
    uint64_t size, pages;
    uint32_t flags, is_device;
    void *address;
    if (tess_memory_info(memory, &size, &pages, &flags, &is_device) != OK ||
        std_map(memory, 0, align_up(size, STD_PAGE), MAP_READ, &address) != OK) {
        return nullptr;
    }
    return device_table_open(address, size);
}

static void report(void)
{
    for (uint32_t i = 0; i < bus.table.count; i++) {
        const struct pci_device *device = &bus.table.devices[i];
        log_info("%02x:%02x.%u %04x:%04x class %06x interrupt %d", device->bdf >> 8, device->bdf >> 3 & 31, device->bdf & 7, device->vendor,
                 device->device, device->class_code, (int)device->interrupt_source);
    }
}

int main(void)
{
    static struct loop loop;
    static struct loop_service device_service = {.dispatch = device_call, .badge_gone = device_badge_gone};
    static struct loop_service devmgr_service = {.dispatch = devmgr_call};
    handle_t machine = std_handle_needed("machine");
    status_t status = tess_machine_platform(machine, (uint64_t)&platform);
    if (status != OK) {
        log_error("machine.platform: %s", status_name(status));
        return 1;
    }
    claims.table = open_table(std_handle_needed("devices"));
    if (claims.table == nullptr) {
        log_error("the device table is damaged");
        return 1;
    }
    bus_open(&bus, machine, &platform);
    report();
    status = loop_open(&loop, nullptr);
    if (status == OK) {
        status = loop_serve(&loop, &device_service, std_handle_needed("serve.device"));
    }
    if (status == OK) {
        status = loop_serve(&loop, &devmgr_service, std_handle_needed("serve.devmgr"));
    }
    if (status != OK) {
        log_error("cannot serve: %s", status_name(status));
        return 1;
    }
    return loop_run(&loop);
}
