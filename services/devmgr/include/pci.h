/*
 * PCI Express configuration: finding functions behind one host bridge, sizing and placing their memory windows, routing of
 * legacy interrupts, capability lists. Pure logic over struct pci_access, so that the host tests run it on a made-up machine.
 *
 * Firmware's work is kept: bus numbers and windows that make sense stay. What firmware left empty is numbered and placed here
 * (aarch64 and riscv64 without firmware: everything). A device is data from outside: lists are walked a bounded number of
 * steps, and windows that overlap or leave the bridge's ranges are not handed out.
 */
#pragma once
#include <stdint.h>

constexpr uint32_t PCI_DEVICES_MAX = 64;
constexpr uint32_t PCI_BARS = 6;
constexpr uint32_t PCI_NO_PARENT = UINT32_MAX;
constexpr uint32_t PCI_NO_SOURCE = UINT32_MAX;
constexpr uint64_t PCI_PAGE = 4096;

/* Offsets and bits in configuration space (PCI Local Bus 3.0, chapter 6; PCI-to-PCI Bridge 1.2, chapter 3). */
enum : uint32_t {
    PCI_VENDOR = 0x00,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_CLASS = 0x08, /* 32 bits: revision in the lowest byte */
    PCI_HEADER_TYPE = 0x0E,
    PCI_BAR0 = 0x10,
    PCI_BUSES = 0x18, /* bridge: primary, secondary, subordinate */
    PCI_BRIDGE_IO = 0x1C,
    PCI_BRIDGE_MEMORY = 0x20,
    PCI_BRIDGE_PREFETCH = 0x24,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_PIN = 0x3D,

    PCI_COMMAND_IO = 1 << 0,
    PCI_COMMAND_MEMORY = 1 << 1,
    PCI_COMMAND_MASTER = 1 << 2,
    PCI_COMMAND_INTX_OFF = 1 << 10,
    PCI_STATUS_CAPABILITIES = 1 << 4,

    PCI_CAPABILITY_MSI = 0x05,
    PCI_CAPABILITY_VENDOR = 0x09,
    PCI_CAPABILITY_EXPRESS = 0x10,
    PCI_CAPABILITY_MSIX = 0x11,
};

constexpr uint16_t PCI_VENDOR_VIRTIO = 0x1AF4;

/* VIRTIO 1.2, 4.1.4: kinds of virtio structures. */
enum : uint32_t {
    PCI_VIRTIO_COMMON = 1,
    PCI_VIRTIO_NOTIFY = 2,
    PCI_VIRTIO_ISR = 3,
    PCI_VIRTIO_DEVICE = 4,
    PCI_VIRTIO_KINDS = 5,
};

/* How configuration space is reached. `width` is 1, 2 or 4; offset is aligned to it and below 4096. */
struct pci_access {
    uint32_t (*read)(void *context, uint32_t bdf, uint32_t offset, uint32_t width);
    void (*write)(void *context, uint32_t bdf, uint32_t offset, uint32_t width, uint32_t value);
    void *context;
};

/* bdf = bus << 8 | device << 3 | function */
static inline uint32_t pci_bdf(uint32_t bus, uint32_t device, uint32_t function) { return bus << 8 | device << 3 | function; }

struct pci_bar {
    uint64_t base, size; /* size 0: no window; base 0: not placed */
    bool is_io, is_64, is_prefetch;
};

struct pci_virtio_capability {
    uint32_t bar, offset, size, multiplier; /* size 0: none */
};

struct pci_device {
    uint32_t host; /* index of the host bridge it is behind */
    uint32_t bdf;
    uint16_t vendor, device;
    uint32_t class_code;             /* class << 16 | subclass << 8 | interface */
    uint32_t parent;                 /* bridge it is behind: index in the table, or PCI_NO_PARENT */
    bool is_bridge, is_window_fixed; /* bridge: firmware opened its memory window */
    uint8_t secondary, subordinate;
    uint32_t interrupt_pin;                    /* 0 = none, 1..4 = INTA..INTD */
    uint32_t interrupt_source;                 /* PCI_NO_SOURCE: none */
    uint16_t express, msi, msix;               /* offsets of capabilities, 0 = none */
    uint32_t msix_bar, msix_offset, msix_size; /* the MSI-X table: its place is kept free for when MSI-X is used */
    struct pci_bar bars[PCI_BARS];
    struct pci_virtio_capability virtio[PCI_VIRTIO_KINDS];
};

struct pci_window {
    uint64_t base, size;
};

struct pci_host {
    struct pci_access access;
    uint32_t index;
    uint32_t bus_start, bus_end;
    struct pci_window memory32, memory64;
    uint32_t intx_source[4];
};

struct pci_table {
    struct pci_device devices[PCI_DEVICES_MAX];
    uint32_t count;
    uint32_t dropped; /* functions or buses for which there was no room */
};

/* pci_scan.c: appends every function behind the host, bridges included, in depth-first order (a bridge before what is behind
 * it), with sizes of windows, capabilities and interrupt routes; numbers buses that firmware left unnumbered; switches bus
 * mastering of everything but bridges off. */
void pci_scan(struct pci_table *table, const struct pci_host *host);
/* The host bridge's interrupt source for a pin of a function, by the swizzle of PCI-to-PCI Bridge 1.2, 9.1. */
uint32_t pci_route_interrupt(const struct pci_table *table, const struct pci_host *host, const struct pci_device *device);

/* pci_resources.c: places windows that have none and opens the bridges above them; returns how many could not be placed. */
uint32_t pci_assign(struct pci_table *table, const struct pci_host *host);
/* What of a BAR a driver may have: whole pages from its start, up to the MSI-X table. False: nothing (no such BAR, an I/O BAR,
 * not placed, or a page of it is shared with another BAR). */
bool pci_bar_grant(const struct pci_table *table, const struct pci_device *device, uint32_t bar, uint64_t *out_base, uint64_t *out_size);
/* Writes the BARs again as the table says (after a reset that cleared them). */
void pci_restore_bars(const struct pci_host *host, const struct pci_device *device);

/* pci_capability.c: fills express, msi, msix* and virtio[]. Needs the sizes of the BARs. */
void pci_read_capabilities(const struct pci_host *host, struct pci_device *device);
