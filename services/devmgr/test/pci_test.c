/*
 * PCI logic on a made-up machine: configuration spaces with BARs that answer sizing, bridges that pass only their buses on, and
 * capability lists that end, loop and lie.
 */
#include "device_table.h"
#include "pci.h"
#include <check.h>
#include <stdlib.h>
#include <tess/util.h>

struct function {
    uint32_t device, function, depth; /* position below its bus */
    struct function *bridge;          /* it is behind, or nullptr */
    uint8_t config[256];
    uint32_t bar_masks[6]; /* address bits that can be changed, as the register reads after all ones */
    bool is_bridge;
};

static struct function functions[32];
static uint32_t function_count;

static struct function *add(struct function *bridge, uint32_t device, uint32_t function, uint16_t vendor, uint16_t id)
{
    struct function *f = &functions[function_count++];
    *f = (struct function){.bridge = bridge, .device = device, .function = function};
    store_le16(f->config + PCI_VENDOR, vendor);
    store_le16(f->config + 2, id);
    f->config[PCI_INTERRUPT_PIN] = 1;
    return f;
}

static struct function *add_bridge(struct function *bridge, uint32_t device)
{
    struct function *f = add(bridge, device, 0, 0x1b36, 0x000c);
    f->is_bridge = true;
    f->config[PCI_HEADER_TYPE] = 1;
    f->config[PCI_CLASS + 3] = 6;
    return f;
}

static void set_bar(struct function *f, uint32_t index, uint32_t size, uint32_t flags, uint32_t base)
{
    f->bar_masks[index] = ~(size - 1) | flags;
    store_le32(f->config + PCI_BAR0 + 4 * index, base | flags);
    if ((flags & 6) == 4) {
        f->bar_masks[index + 1] = UINT32_MAX;
    }
}

/* The bus a function is on, by the numbers in the bridge above; UINT32_MAX when the way is closed. */
static uint32_t bus_of(const struct function *f)
{
    if (f->bridge == nullptr) {
        return 0;
    }
    uint32_t above = bus_of(f->bridge);
    uint32_t buses = load_le32(f->bridge->config + PCI_BUSES);
    return above == UINT32_MAX || (buses >> 8 & 0xFF) == 0 ? UINT32_MAX : buses >> 8 & 0xFF;
}

static bool is_reachable(const struct function *f, uint32_t bus)
{
    for (const struct function *b = f->bridge; b != nullptr; b = b->bridge) {
        uint32_t buses = load_le32(b->config + PCI_BUSES);
        if (bus < (buses >> 8 & 0xFF) || bus > (buses >> 16 & 0xFF)) {
            return false;
        }
    }
    return true;
}

static struct function *find(uint32_t bdf)
{
    for (uint32_t i = 0; i < function_count; i++) {
        struct function *f = &functions[i];
        if (bus_of(f) == bdf >> 8 && f->device == (bdf >> 3 & 31) && f->function == (bdf & 7) && is_reachable(f, bdf >> 8)) {
            return f;
        }
    }
    return nullptr;
}

static uint32_t machine_read(void *context, uint32_t bdf, uint32_t offset, uint32_t width)
{
    (void)context;
    const struct function *f = find(bdf);
    CHECK(offset % width == 0 && offset + width <= 4096);
    uint32_t value = UINT32_MAX;
    if (f != nullptr) {
        value = offset + width > 256 ? 0 : load_le32(f->config + (offset & ~3u)) >> (8 * (offset & 3));
    }
    return width == 4 ? value : value & ((1u << (8 * width)) - 1);
}

static void machine_write(void *context, uint32_t bdf, uint32_t offset, uint32_t width, uint32_t value)
{
    (void)context;
    struct function *f = find(bdf);
    CHECK(offset % width == 0 && offset + width <= 256);
    if (f == nullptr) {
        return;
    }
    uint32_t bars = f->is_bridge ? 2 : 6;
    if (offset >= PCI_BAR0 && offset < PCI_BAR0 + 4 * bars) {
        uint32_t index = (offset - PCI_BAR0) / 4;
        uint32_t mask = f->bar_masks[index];
        bool is_upper = index > 0 && mask == UINT32_MAX;
        uint32_t flags = is_upper ? 0 : mask & (mask & 1 ? 3 : 15);
        store_le32(f->config + offset, (value & mask & ~(is_upper ? 0u : 15u)) | flags);
        return;
    }
    for (uint32_t i = 0; i < width; i++) {
        f->config[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

static struct pci_table table;
static struct pci_host host;

static void setup(void)
{
    function_count = 0;
    memset(&table, 0, sizeof(table));
    host = (struct pci_host){
        .access = {.read = machine_read, .write = machine_write},
        .bus_end = 15,
        .memory32 = {.base = 0x10000000, .size = 0x2eff0000},
        .memory64 = {.base = 0x8000000000, .size = 0x8000000000},
        .intx_source = {35, 36, 37, 38},
    };
}

/* What a virtio network card of QEMU looks like. */
static struct function *add_virtio(struct function *bridge, uint32_t device)
{
    struct function *f = add(bridge, device, 0, PCI_VENDOR_VIRTIO, 0x1041);
    set_bar(f, 1, 4096, 0, 0);
    set_bar(f, 4, 16384, 4 | 8, 0);
    f->config[PCI_STATUS] = PCI_STATUS_CAPABILITIES;
    f->config[PCI_CAPABILITIES] = 0x98;
    static const uint8_t msix[12] = {PCI_CAPABILITY_MSIX, 0x84, 3, 0, 1, 0, 0, 0};
    memcpy(f->config + 0x98, msix, sizeof(msix));
    for (uint8_t kind = 1, at = 0x84; kind <= 4; kind++, at -= 0x14) {
        uint8_t capability[20] = {PCI_CAPABILITY_VENDOR, kind < 4 ? at - 0x14 : 0, 20, kind, 4};
        store_le32(capability + 8, (kind - 1) * 0x1000u);
        store_le32(capability + 12, 0x1000);
        store_le32(capability + 16, 4);
        memcpy(f->config + at, capability, kind == 2 ? 20 : 16);
    }
    return f;
}

static void test_plain_machine(void)
{
    setup();
    add(nullptr, 0, 0, 0x1b36, 0x0008);
    add_virtio(nullptr, 1);
    struct function *f = add(nullptr, 2, 0, 0x8086, 1);
    f->config[PCI_HEADER_TYPE] = 0x80;
    set_bar(f, 0, 32, 1, 0);
    set_bar(f, 2, 256, 0, 0);
    add(nullptr, 2, 3, 0x8086, 2)->config[PCI_INTERRUPT_PIN] = 4;
    add(nullptr, 3, 1, 0x8086, 3); /* a function without a function 0 is not there */
    pci_scan(&table, &host);
    CHECK(table.count == 4);
    CHECK(pci_assign(&table, &host) == 0);
    const struct pci_device *card = &table.devices[1];
    CHECK(card->bdf == pci_bdf(0, 1, 0) && card->interrupt_source == 36);
    CHECK(table.devices[3].bdf == pci_bdf(0, 2, 3) && table.devices[3].interrupt_source == 35 + (2 + 4 - 1) % 4);
    CHECK(card->bars[1].size == 4096 && card->bars[4].size == 16384 && card->bars[4].is_64 && card->bars[5].size == 0);
    CHECK(card->bars[4].base % 16384 == 0 && card->bars[4].base >= host.memory32.base);
    CHECK(load_le32(functions[1].config + PCI_BAR0 + 16) == (card->bars[4].base | 12));
    CHECK(card->virtio[PCI_VIRTIO_COMMON].size == 0x1000 && card->virtio[PCI_VIRTIO_NOTIFY].multiplier == 4);
    CHECK(card->virtio[PCI_VIRTIO_DEVICE].offset == 0x3000 && card->virtio[PCI_VIRTIO_DEVICE].bar == 4);
    CHECK(card->msix != 0 && card->msix_bar == 1 && card->msix_size == 64);
    uint64_t base, size;
    CHECK(!pci_bar_grant(&table, card, 1, &base, &size)); /* the MSI-X table and nothing else */
    CHECK(pci_bar_grant(&table, card, 4, &base, &size) && base == card->bars[4].base && size == 16384);
    CHECK(!pci_bar_grant(&table, card, 0, &base, &size) && !pci_bar_grant(&table, card, 6, &base, &size));
    const struct pci_device *other = &table.devices[2];
    CHECK(other->bars[0].is_io && other->bars[0].size == 32 && !pci_bar_grant(&table, other, 0, &base, &size));
    CHECK(other->bars[2].size == 256 && other->bars[2].base % 4096 == 0);
    CHECK(pci_bar_grant(&table, other, 2, &base, &size) && size == 4096); /* a page of its own */
}

static void test_bridges(void)
{
    setup();
    struct function *first = add_bridge(nullptr, 1);
    struct function *inner = add_bridge(first, 0);
    add_virtio(inner, 3);
    add_bridge(nullptr, 2); /* nothing behind it */
    add_virtio(nullptr, 4);
    pci_scan(&table, &host);
    CHECK(table.count == 5 && table.dropped == 0);
    CHECK(load_le32(first->config + PCI_BUSES) == (0u | 1u << 8 | 2u << 16));
    CHECK(load_le32(inner->config + PCI_BUSES) == (1u | 2u << 8 | 2u << 16));
    const struct pci_device *card = &table.devices[2];
    CHECK(card->bdf == pci_bdf(2, 3, 0) && card->parent == 1);
    /* pin A of device 3 leaves the inner bridge as pin D, device 0 of the outer: D again, device 1 on the root. */
    CHECK(card->interrupt_source == 35 + (1 + 4 - 1) % 4);
    CHECK(pci_assign(&table, &host) == 0);
    uint32_t window = load_le32(inner->config + PCI_BRIDGE_MEMORY);
    uint64_t base = (uint64_t)(window & 0xFFF0) << 16, limit = (window & 0xFFF00000) | 0xFFFFF;
    CHECK(base <= card->bars[4].base && card->bars[4].base + 16384 - 1 <= limit);
    uint32_t outer = load_le32(first->config + PCI_BRIDGE_MEMORY);
    CHECK((uint64_t)(outer & 0xFFF0) << 16 <= base && ((outer & 0xFFF00000) | 0xFFFFF) >= limit);
    uint32_t empty = load_le32(functions[3].config + PCI_BRIDGE_MEMORY);
    CHECK((empty & 0xFFF0) > (empty >> 16));
    CHECK((first->config[PCI_COMMAND] & (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)) == 6);
    /* What lies on the root bus does not lie in a bridge's window. */
    uint64_t root = table.devices[4].bars[4].base;
    CHECK(root + 16384 <= base || root > limit);
}

static void test_firmware_is_kept(void)
{
    setup();
    struct function *bridge = add_bridge(nullptr, 1);
    store_le32(bridge->config + PCI_BUSES, 0u | 5u << 8 | 6u << 16);
    store_le32(bridge->config + PCI_BRIDGE_MEMORY, 0x1200u | 0x12000000u);
    struct function *card = add_virtio(bridge, 0);
    store_le32(card->config + PCI_BAR0 + 16, 0x12004000 | 12);
    store_le32(card->config + PCI_BAR0 + 4, 0x12000000);
    struct function *loose = add(nullptr, 2, 0, 0x8086, 1);
    set_bar(loose, 0, 1 << 20, 0, 0x10000000);
    set_bar(loose, 1, 1 << 20, 0, 0);
    add_bridge(nullptr, 3); /* unnumbered: gets the next number */
    pci_scan(&table, &host);
    CHECK(table.count == 4 && table.devices[1].bdf == pci_bdf(5, 0, 0));
    CHECK(table.devices[3].secondary == 7);
    CHECK(pci_assign(&table, &host) == 0);
    CHECK(table.devices[1].bars[4].base == 0x12004000);
    CHECK(load_le32(bridge->config + PCI_BRIDGE_MEMORY) == (0x1200u | 0x12000000u));
    CHECK(table.devices[2].bars[0].base == 0x10000000);
    CHECK(table.devices[2].bars[1].base == 0x10100000); /* beside the one that was there */
}

static void test_no_room(void)
{
    setup();
    host.memory32.size = 1 << 20;
    struct function *f = add(nullptr, 1, 0, 0x8086, 1);
    set_bar(f, 0, 16 << 20, 0, 0);
    set_bar(f, 2, 16 << 20, 4, 0); /* 64 bits wide: goes above */
    set_bar(f, 4, 4096, 0, 0);
    pci_scan(&table, &host);
    CHECK(pci_assign(&table, &host) == 1);
    CHECK(table.devices[0].bars[0].base == 0 && table.devices[0].bars[2].base >= host.memory64.base);
    CHECK(table.devices[0].bars[4].base == host.memory32.base);
    uint64_t base, size;
    CHECK(!pci_bar_grant(&table, &table.devices[0], 0, &base, &size));
}

static void test_sharing_and_msix(void)
{
    setup();
    struct function *f = add(nullptr, 1, 0, 0x8086, 1);
    set_bar(f, 0, 256, 0, 0x10000000);
    set_bar(f, 1, 256, 0, 0x10000100); /* firmware put both in one page */
    set_bar(f, 2, 65536, 0, 0x10010000);
    f->config[PCI_STATUS] = PCI_STATUS_CAPABILITIES;
    f->config[PCI_CAPABILITIES] = 0x40;
    static const uint8_t msix[8] = {PCI_CAPABILITY_MSIX, 0x40, 0xFF, 7, 0x02, 0x80, 0, 0}; /* and the list loops */
    memcpy(f->config + 0x40, msix, sizeof(msix));
    pci_scan(&table, &host);
    pci_assign(&table, &host);
    uint64_t base, size;
    CHECK(!pci_bar_grant(&table, &table.devices[0], 0, &base, &size));
    CHECK(!pci_bar_grant(&table, &table.devices[0], 1, &base, &size));
    CHECK(pci_bar_grant(&table, &table.devices[0], 2, &base, &size) && size == 0x8000);
}

/* Whatever configuration space holds, everything ends and stays in bounds. */
static void test_garbage(void)
{
    srand(3);
    for (int round = 0; round < 300; round++) {
        setup();
        for (uint32_t i = 0; i < 12; i++) {
            struct function *bridge = i > 3 && rand() % 2 ? &functions[rand() % 3] : nullptr;
            struct function *f = i < 3 ? add_bridge(nullptr, i) : add(bridge, (uint32_t)rand() % 32, 0, PCI_VENDOR_VIRTIO, 1);
            for (uint32_t at = i < 3 ? 0x10 : 4; at < 256; at++) {
                f->config[at] = (uint8_t)rand();
            }
            f->config[PCI_HEADER_TYPE] = f->is_bridge;
            for (uint32_t b = 0; b < 6; b++) {
                f->bar_masks[b] = rand() % 3 ? (uint32_t)rand() : UINT32_MAX << rand() % 32;
            }
        }
        pci_scan(&table, &host);
        pci_assign(&table, &host);
        for (uint32_t i = 0; i < table.count; i++) {
            for (uint32_t bar = 0; bar < PCI_BARS; bar++) {
                uint64_t base, size;
                if (pci_bar_grant(&table, &table.devices[i], bar, &base, &size)) {
                    CHECK(base % 4096 == 0 && size % 4096 == 0 && size > 0 && base + size > base);
                }
            }
        }
    }
}

static void test_device_table(void)
{
    constexpr uint32_t SIZE = sizeof(struct device_table) + 2 * sizeof(struct device_match);
    static alignas(8) uint8_t file[SIZE];
    struct device_table *table_file = (void *)file;
    *table_file = (struct device_table){DEVICE_TABLE_MAGIC, DEVICE_TABLE_VERSION, 2, SIZE};
    table_file->entries[0] = (struct device_match){.service = "net", .vendor = 0x1AF4, .device_count = 1, .devices = {0x1041}};
    table_file->entries[1] = (struct device_match){.service = "serial", .flags = DEVICE_CONSOLE};
    const struct device_table *open = device_table_open(file, SIZE);
    CHECK(open != nullptr);
    CHECK(device_table_find(open, DEVICE_BADGE_BASE) == &open->entries[0]);
    CHECK(device_table_find(open, DEVICE_BADGE_BASE + 1) == &open->entries[1]);
    CHECK(device_table_find(open, DEVICE_BADGE_BASE + 2) == nullptr && device_table_find(open, 0) == nullptr);
    CHECK(device_table_open(file, SIZE - 1) == nullptr);
    table_file->count = 3;
    CHECK(device_table_open(file, SIZE) == nullptr);
}

int main(void)
{
    test_plain_machine();
    test_bridges();
    test_firmware_is_kept();
    test_no_room();
    test_sharing_and_msix();
    test_garbage();
    test_device_table();
    return check_result();
}
