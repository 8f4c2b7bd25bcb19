#include "claims.h"
#include <std/log.h>
#include <std/program.h>
#include <tess/stub/cspace.h>
#include <tess/stub/dma.h>
#include <tess/stub/machine.h>
#include <tess/util.h>

/* enum boot_console_kind of the kernel, as machine.platform reports it. */
enum : uint32_t { CONSOLE_NONE, CONSOLE_NS16550_PORT, CONSOLE_NS16550_MEMORY, CONSOLE_PL011 };
static constexpr uint32_t UART_PORTS = 8;

static constexpr uint32_t GIVEN = RIGHT_MOVE | RIGHT_WATCH | RIGHT_INSPECT;

static struct claim *find_claim(struct claims *claims, uint64_t badge, const struct device_match **out_match)
{
    *out_match = device_table_find(claims->table, badge);
    if (*out_match == nullptr || badge - DEVICE_BADGE_BASE >= CLAIMS_MAX) {
        return nullptr;
    }
    return &claims->claims[badge - DEVICE_BADGE_BASE];
}

static bool is_match(const struct device_match *match, const struct pci_device *device)
{
    if (match->vendor != device->vendor || device->is_bridge) {
        return false;
    }
    for (uint32_t i = 0; i < match->device_count; i++) {
        if (match->devices[i] == device->device) {
            return true;
        }
    }
    return false;
}

static uint32_t find_device(const struct pci_table *table, const struct device_match *match)
{
    uint32_t unit = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        if (is_match(match, &table->devices[i]) && unit++ == match->unit) {
            return i;
        }
    }
    return CLAIM_NO_DEVICE;
}

const struct device_match *claim_holder(const struct claims *claims, uint32_t device)
{
    for (uint32_t i = 0; i < CLAIMS_MAX && i < claims->table->count; i++) {
        if (claims->claims[i].is_held && claims->claims[i].device == device) {
            return &claims->table->entries[i];
        }
    }
    return nullptr;
}

static void destroy(handle_t *object)
{
    if (*object != HANDLE_NONE) {
        (void)tess_cspace_destroy(std_self.cspace, *object);
        std_handle_delete(*object);
        *object = HANDLE_NONE;
    }
}

static void release(struct claims *claims, struct claim *claim)
{
    if (!claim->is_held) {
        return;
    }
    if (claim->device != CLAIM_NO_DEVICE) {
        /* The order matters: pages go back only when nothing can write to them any more. */
        bus_device_stop(claims->bus, &claims->bus->table.devices[claim->device]);
        uint64_t pages;
        (void)tess_dma_release(claim->dma, &pages);
    }
    destroy(&claim->dma);
    destroy(&claim->interrupt);
    destroy(&claim->registers);
    for (uint32_t i = 0; i < PCI_BARS; i++) {
        destroy(&claim->windows[i]);
    }
    claim->is_held = false;
}

void claim_take_back(struct claims *claims, uint64_t badge)
{
    const struct device_match *match;
    struct claim *claim = find_claim(claims, badge, &match);
    if (claim != nullptr && claim->is_held) {
        release(claims, claim);
        log_info("took the device of %.16s back", match->service);
    }
}

static status_t make_interrupt(struct claims *claims, uint32_t source, uint32_t flags, handle_t *out_own, handle_t *out_given)
{
    status_t status = tess_machine_interrupt(claims->bus->machine, std_self.untyped, source, flags, out_own);
    return status == OK ? std_handle_mint(*out_own, GIVEN | INTERRUPT_RIGHT_HANDLE, 0, out_given) : status;
}

static status_t make_objects(struct claims *claims, struct claim *claim, handle_t *out_interrupt, handle_t *out_dma)
{
    const struct pci_device *device = &claims->bus->table.devices[claim->device];
    if (device->interrupt_source == PCI_NO_SOURCE) {
        return ERROR_NOT_FOUND;
    }
    /* PCI INTx: level triggered, active low (PCI Local Bus 3.0, 2.2.6). */
    status_t status =
        make_interrupt(claims, device->interrupt_source, INTERRUPT_LEVEL | INTERRUPT_ACTIVE_LOW, &claim->interrupt, out_interrupt);
    if (status == OK) {
        status = tess_machine_dma(claims->bus->machine, std_self.untyped, bus_device_configuration(claims->bus, device), &claim->dma);
    }
    if (status == OK) {
        status = std_handle_mint(claim->dma, GIVEN | DMA_RIGHT_MAP, 0, out_dma);
    }
    return status;
}

status_t claim_device(struct claims *claims, uint64_t badge, const struct pci_device **out_device, const struct device_match **out_match,
                      handle_t *out_interrupt, handle_t *out_dma)
{
    struct claim *claim = find_claim(claims, badge, out_match);
    if (claim == nullptr || ((*out_match)->flags & DEVICE_CONSOLE) != 0) {
        return ERROR_NOT_FOUND;
    }
    release(claims, claim);
    uint32_t index = find_device(&claims->bus->table, *out_match);
    if (index == CLAIM_NO_DEVICE) {
        return ERROR_NOT_FOUND;
    }
    if (claim_holder(claims, index) != nullptr) {
        return ERROR_BUSY;
    }
    const struct pci_device *device = &claims->bus->table.devices[index];
    *claim = (struct claim){.is_held = true, .device = index};
    bus_device_stop(claims->bus, device);
    *out_interrupt = *out_dma = HANDLE_NONE;
    status_t status = make_objects(claims, claim, out_interrupt, out_dma);
    if (status != OK) {
        std_handle_delete(*out_interrupt);
        std_handle_delete(*out_dma);
        release(claims, claim);
        return status == ERROR_NOT_FOUND ? status : ERROR_NO_MEMORY;
    }
    bus_device_enable(claims->bus, device);
    *out_device = device;
    return OK;
}

const struct pci_device *claim_find_device(struct claims *claims, uint64_t badge)
{
    const struct device_match *match;
    struct claim *claim = find_claim(claims, badge, &match);
    if (claim == nullptr || !claim->is_held || claim->device == CLAIM_NO_DEVICE) {
        return nullptr;
    }
    return &claims->bus->table.devices[claim->device];
}

status_t claim_window(struct claims *claims, uint64_t badge, uint32_t bar, uint64_t *out_size, handle_t *out_memory)
{
    const struct device_match *match;
    struct claim *claim = find_claim(claims, badge, &match);
    const struct pci_device *device = claim_find_device(claims, badge);
    uint64_t base;
    if (device == nullptr || !pci_bar_grant(&claims->bus->table, device, bar, &base, out_size)) {
        return ERROR_NOT_FOUND;
    }
    if (claim->windows[bar] == HANDLE_NONE &&
        tess_machine_device_memory(claims->bus->machine, std_self.untyped, base, *out_size, &claim->windows[bar]) != OK) {
        claim->windows[bar] = HANDLE_NONE;
        return ERROR_NO_MEMORY;
    }
    return std_handle_mint(claim->windows[bar], GIVEN | MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE, 0, out_memory) == OK ? OK : ERROR_NO_MEMORY;
}

/* The UART's registers: ports, or the page they lie in. */
static status_t make_console_registers(struct claims *claims, struct claim *claim, handle_t *out_registers)
{
    const struct tess_platform *platform = claims->platform;
    handle_t machine = claims->bus->machine;
    bool is_port = platform->console_kind == CONSOLE_NS16550_PORT;
    status_t status;
    if (is_port) {
        status = tess_machine_ioports(machine, std_self.untyped, (uint32_t)platform->console_base, UART_PORTS, &claim->registers);
    } else {
        status = tess_machine_device_memory(machine, std_self.untyped, align_down(platform->console_base, PCI_PAGE), PCI_PAGE,
                                            &claim->registers);
    }
    if (status == OK) {
        uint32_t rights = GIVEN | (is_port ? IOPORTS_RIGHT_ACCESS : MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE);
        status = std_handle_mint(claim->registers, rights, 0, out_registers);
    }
    return status;
}

status_t claim_console(struct claims *claims, uint64_t badge, handle_t *out_interrupt, handle_t *out_registers)
{
    const struct device_match *match;
    struct claim *claim = find_claim(claims, badge, &match);
    const struct tess_platform *platform = claims->platform;
    if (claim == nullptr || (match->flags & DEVICE_CONSOLE) == 0 || platform->console_kind == CONSOLE_NONE ||
        platform->console_kind > CONSOLE_PL011 || platform->console_irq == UINT32_MAX) {
        return ERROR_NOT_FOUND;
    }
    release(claims, claim);
    *claim = (struct claim){.is_held = true, .device = CLAIM_NO_DEVICE};
    *out_interrupt = *out_registers = HANDLE_NONE;
    /* A PC's serial port is an ISA interrupt: edge, active high. Elsewhere level. */
    uint32_t flags = platform->console_kind == CONSOLE_NS16550_PORT ? 0 : INTERRUPT_LEVEL;
    status_t status = make_interrupt(claims, platform->console_irq, flags, &claim->interrupt, out_interrupt);
    if (status == OK) {
        status = make_console_registers(claims, claim, out_registers);
    }
    if (status != OK) {
        log_error("the console's objects: %s", status_name(status));
        std_handle_delete(*out_interrupt);
        release(claims, claim);
        return ERROR_NO_MEMORY; /* not NOT_FOUND, which ends the driver for good */
    }
    return OK;
}
