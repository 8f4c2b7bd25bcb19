/*
 * What the ACPI tables say about PCI only in AML, derived instead from the memory map, for the machines we know: QEMU's q35
 * and everything shaped like it. The windows are what no memory, firmware or fixed device claims.
 */
#include "x86.h"

constexpr uint64_t FIXED_DEVICES_BASE = 0xFEC00000; /* I/O APIC, HPET, local APIC, flash: up to 4 GiB */
constexpr uint64_t FOUR_GIB = 1ull << 32, ONE_GIB = 1ull << 30;
constexpr uint64_t WINDOW64_SIZE = 32 * ONE_GIB;
constexpr uint64_t IO_PORTS = 0x10000;
constexpr uint32_t PIRQ_E_GSI = 20; /* ICH9 7.1.4: PIRQ A to H are GSI 16 to 23; QEMU routes bus 0, devices 0 to 24, to E to H */

static uint64_t align_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }

/* Highest end of anything that begins in [from, limit). */
static uint64_t claimed_end(const struct boot_info *bi, uint64_t from, uint64_t limit)
{
    uint64_t end = from;
    for (uint32_t i = 0; i < bi->range_count; i++) {
        const struct boot_range *range = &bi->ranges[i];
        if (range->base >= from && range->base < limit && range->base + range->size > end) {
            end = range->base + range->size;
        }
    }
    for (uint32_t i = 0; i < bi->ecam_count; i++) {
        const struct boot_ecam *ecam = &bi->ecams[i];
        uint64_t ecam_end = ecam->base + ((uint64_t)(ecam->bus_end - ecam->bus_start + 1) << 20);
        if (ecam->base >= from && ecam->base < limit && ecam_end > end) {
            end = ecam_end;
        }
    }
    return end;
}

void x86_pci_windows(struct boot_info *bi)
{
    if (bi->ecam_count == 0) {
        return;
    }
    struct boot_ecam *ecam = &bi->ecams[0]; /* one set of windows: the first bridge gets it */
    uint64_t low = align_up(claimed_end(bi, 0, FIXED_DEVICES_BASE), 1 << 20);
    if (low < FIXED_DEVICES_BASE) {
        ecam->mmio32_base = low;
        ecam->mmio32_size = FIXED_DEVICES_BASE - low;
    }
    /* What begins high up, like AMD's HyperTransport range below 1 TiB, must not push the window out of reach. */
    uint64_t limit = 1ull << x86_features.physical_bits;
    uint64_t high_limit = limit / 2 > FOUR_GIB ? limit / 2 : FOUR_GIB;
    uint64_t high = align_up(claimed_end(bi, FOUR_GIB, high_limit), ONE_GIB);
    if (high < limit) {
        ecam->mmio64_base = high;
        ecam->mmio64_size = limit - high < WINDOW64_SIZE ? limit - high : WINDOW64_SIZE;
    }
    ecam->io_base = 0;
    ecam->io_size = IO_PORTS;
    for (uint32_t i = 0; i < 4; i++) {
        ecam->intx_source[i] = PIRQ_E_GSI + i;
    }
}
