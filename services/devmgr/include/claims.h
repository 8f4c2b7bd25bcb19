/*
 * Who holds which device. One claim per entry of the device table (one driver service). Objects given to a driver are kept here
 * with all rights, the driver gets handles with fewer: taking a claim back destroys them, whoever has copies.
 */
#pragma once
#include "bus.h"
#include "device_table.h"
#include <tess/abi.h>

constexpr uint32_t CLAIMS_MAX = 32;
constexpr uint32_t CLAIM_NO_DEVICE = UINT32_MAX;

struct claim {
    bool is_held;
    uint32_t device; /* index in the bus's table; CLAIM_NO_DEVICE: the console */
    handle_t interrupt, dma;
    handle_t windows[PCI_BARS];
    handle_t registers; /* the console's */
};

struct claims {
    struct bus *bus;
    const struct tess_platform *platform;
    const struct device_table *table;
    struct claim claims[CLAIMS_MAX];
};

/* Handles that go out are new, with reduced rights, for the caller to move. */
[[nodiscard]] status_t claim_device(struct claims *claims, uint64_t badge, const struct pci_device **out_device,
                                    const struct device_match **out_match, handle_t *out_interrupt, handle_t *out_dma);
[[nodiscard]] status_t claim_window(struct claims *claims, uint64_t badge, uint32_t bar, uint64_t *out_size, handle_t *out_memory);
/* The device of a held claim, or nullptr. */
const struct pci_device *claim_find_device(struct claims *claims, uint64_t badge);
[[nodiscard]] status_t claim_console(struct claims *claims, uint64_t badge, handle_t *out_interrupt, handle_t *out_registers);
/* Stops the device and destroys everything given out for it. Harmless when nothing is held. */
void claim_take_back(struct claims *claims, uint64_t badge);
/* The service that holds a device, or nullptr. */
const struct device_match *claim_holder(const struct claims *claims, uint32_t device);
