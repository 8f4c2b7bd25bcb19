/*
 * The static ACPI tables (ACPI 6.5, chapter 5.2): what the kernel needs to know about CPUs, interrupt controllers, the PM timer,
 * power and PCI, without interpreting AML. Runs once, before kernel_main(), on the early direct map of the first 4 GiB.
 * Lengths and addresses in the tables are data from outside: each table is mapped as a whole, checked against its
 * checksum, and read only within its length.
 */
#include <arch/arch.h>
#include <kernel/boot_info.h>
#include <tess/string.h>

constexpr uint64_t MAP_END = 1ull << 32;
constexpr uint32_t TABLE_SIZE_MAX = 4 << 20;
constexpr uint32_t ADDRESS_SPACE_IO = 1; /* 5.2.3.2, generic address structure */

struct [[gnu::packed]] acpi_rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length; /* from revision 2 on */
    uint64_t xsdt;
    uint8_t extended_checksum;
    uint8_t reserved[3];
};
static_assert(sizeof(struct acpi_rsdp) == 36);

struct [[gnu::packed]] acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision, creator, creator_revision;
};
static_assert(sizeof(struct acpi_header) == 36);

/* A table that passed its checks; bytes[0..length) may be read. */
struct table {
    const uint8_t *bytes;
    uint32_t length;
};

static const void *map(paddr_t base, uint64_t size)
{
    if (base == 0 || base >= MAP_END || size > MAP_END - base) {
        return nullptr;
    }
    return phys_to_virt(base);
}

static bool is_sum_zero(const uint8_t *bytes, uint32_t length)
{
    uint8_t sum = 0;
    for (uint32_t i = 0; i < length; i++) {
        sum += bytes[i];
    }
    return sum == 0;
}

/* Little-endian value of 1 to 8 bytes; zero beyond the end, which older revisions of a table leave off. */
static uint64_t field(const struct table *table, uint32_t offset, uint32_t size)
{
    uint64_t value = 0;
    if (size <= table->length && offset <= table->length - size) {
        memcpy(&value, table->bytes + offset, size);
    }
    return value;
}

/* `signature` nullptr: any. Logs what is wrong with it. */
static bool table_open(paddr_t base, const char *signature, struct table *out_table)
{
    const struct acpi_header *header = map(base, sizeof(*header));
    if (header == nullptr) {
        kprintf("acpi: %s at 0x%lx is out of reach\n", signature != nullptr ? signature : "table", base);
        return false;
    }
    if (signature != nullptr && memcmp(header->signature, signature, sizeof(header->signature)) != 0) {
        kprintf("acpi: expected %s at 0x%lx, found something else\n", signature, base);
        return false;
    }
    uint32_t length = header->length;
    if (length < sizeof(*header) || length > TABLE_SIZE_MAX || map(base, length) == nullptr ||
        !is_sum_zero((const uint8_t *)header, length)) {
        kprintf("acpi: table %.4s at 0x%lx is damaged\n", header->signature, base);
        return false;
    }
    *out_table = (struct table){.bytes = (const uint8_t *)header, .length = length};
    return true;
}

/* ---- Root tables ----------------------------------------------------------------------------------------------- */

struct root {
    struct table table;
    uint32_t entry_size; /* 8 in the XSDT, 4 in the RSDT */
};

static bool root_open(paddr_t rsdp_base, struct root *out_root)
{
    const struct acpi_rsdp *rsdp = map(rsdp_base, sizeof(*rsdp));
    constexpr uint32_t first_part = 20;
    if (rsdp == nullptr || memcmp(rsdp->signature, "RSD PTR ", 8) != 0 || !is_sum_zero((const uint8_t *)rsdp, first_part)) {
        kprintf("acpi: no RSDP at 0x%lx\n", rsdp_base);
        return false;
    }
    bool has_xsdt =
        rsdp->revision >= 2 && rsdp->length == sizeof(*rsdp) && rsdp->xsdt != 0 && is_sum_zero((const uint8_t *)rsdp, sizeof(*rsdp));
    if (has_xsdt && table_open(rsdp->xsdt, "XSDT", &out_root->table)) {
        out_root->entry_size = 8;
        return true;
    }
    out_root->entry_size = 4;
    return table_open(rsdp->rsdt, "RSDT", &out_root->table);
}

/* The first table with this signature. False without a log line when there is none. */
static bool root_find(const struct root *root, const char *signature, struct table *out_table)
{
    uint32_t end = root->table.length;
    for (uint32_t at = sizeof(struct acpi_header); at + root->entry_size <= end; at += root->entry_size) {
        paddr_t base = field(&root->table, at, root->entry_size);
        const struct acpi_header *header = map(base, sizeof(*header));
        if (header != nullptr && memcmp(header->signature, signature, sizeof(header->signature)) == 0) {
            return table_open(base, signature, out_table);
        }
    }
    return false;
}

/* ---- MADT, 5.2.12 ---------------------------------------------------------------------------------------------- */

enum madt_type : uint8_t {
    MADT_LAPIC = 0,
    MADT_IOAPIC = 1,
    MADT_OVERRIDE = 2,
    MADT_LAPIC_ADDRESS = 5,
    MADT_X2APIC = 9,
};
constexpr uint32_t MADT_CPU_ENABLED = 1;

static void cpu_add(struct boot_info *bi, uint64_t apic_id, uint32_t flags, bool is_broadcast_id)
{
    if (!(flags & MADT_CPU_ENABLED) || is_broadcast_id) {
        return;
    }
    for (uint32_t i = 0; i < bi->cpu_count; i++) {
        if (bi->cpus[i].hw_id == apic_id) {
            return; /* listed as LAPIC and x2APIC */
        }
    }
    if (bi->cpu_count == CPU_MAX) {
        kprintf("acpi: CPU with APIC id %lu left out: the kernel takes %u\n", apic_id, CPU_MAX);
        return;
    }
    bi->cpus[bi->cpu_count++].hw_id = apic_id;
}

static void ioapic_add(struct boot_interrupt_controller *intc, paddr_t base, uint32_t gsi_base)
{
    if (intc->ioapic_count == BOOT_IOAPICS_MAX) {
        kprintf("acpi: I/O APIC at 0x%lx left out: the kernel takes %u\n", base, BOOT_IOAPICS_MAX);
        return;
    }
    intc->ioapics[intc->ioapic_count].base = base;
    intc->ioapics[intc->ioapic_count].gsi_base = gsi_base;
    intc->ioapic_count++;
}

static void madt_entry(struct boot_info *bi, const struct table *entry)
{
    struct boot_interrupt_controller *intc = &bi->intc;
    switch (field(entry, 0, 1)) {
    case MADT_LAPIC: cpu_add(bi, field(entry, 3, 1), (uint32_t)field(entry, 4, 4), field(entry, 3, 1) == 0xFF); break;
    case MADT_X2APIC: cpu_add(bi, field(entry, 4, 4), (uint32_t)field(entry, 8, 4), field(entry, 4, 4) == UINT32_MAX); break;
    case MADT_IOAPIC: ioapic_add(intc, field(entry, 4, 4), (uint32_t)field(entry, 8, 4)); break;
    case MADT_OVERRIDE:
        if (field(entry, 3, 1) < 16) {
            intc->isa_override[field(entry, 3, 1)].gsi = (uint32_t)field(entry, 4, 4);
            intc->isa_override[field(entry, 3, 1)].flags = (uint16_t)field(entry, 8, 2);
        }
        break;
    case MADT_LAPIC_ADDRESS: intc->lapic_base = field(entry, 4, 8); break;
    default: break;
    }
}

static bool madt_parse(struct boot_info *bi, const struct root *root)
{
    struct table madt;
    if (!root_find(root, "APIC", &madt)) {
        kprintf("acpi: no usable MADT\n");
        return false;
    }
    bi->intc.lapic_base = field(&madt, 36, 4);
    uint32_t at = 44;
    while (at + 2 <= madt.length) {
        uint32_t length = madt.bytes[at + 1];
        if (length < 2 || length > madt.length - at) {
            kprintf("acpi: MADT entry at offset %u is damaged, the rest is left out\n", at);
            break;
        }
        struct table entry = {.bytes = madt.bytes + at, .length = length};
        madt_entry(bi, &entry);
        at += length;
    }
    if (bi->cpu_count == 0 || bi->intc.ioapic_count == 0) {
        kprintf("acpi: the MADT lists no CPU or no I/O APIC\n");
        return false;
    }
    return true;
}

/* ---- FADT, 5.2.9, and the sleep type of S5 ------------------------------------------------------------------------ */

constexpr uint32_t FADT_RESET_SUPPORTED = 1 << 10;

/* A port from a generic address structure, else from the older 32-bit field; 0 when neither is an I/O port. */
static uint32_t fadt_port(const struct table *fadt, uint32_t generic_offset, uint32_t old_offset)
{
    uint64_t address = field(fadt, generic_offset + 4, 8);
    if (address == 0 || field(fadt, generic_offset, 1) != ADDRESS_SPACE_IO) {
        address = field(fadt, old_offset, 4);
    }
    return address <= UINT16_MAX ? (uint32_t)address : 0;
}

/*
 * Finds Name (_S5_, Package { SLP_TYPa, ... }) in AML by its bytes (20.2.5.1 and 20.2.5.4): NameOp, the name, with a root
 * prefix or without, PackageOp, package length, element count, and as first element a constant.
 */
static bool s5_find(const struct table *aml, uint16_t *out_type)
{
    constexpr uint8_t name_op = 0x08, package_op = 0x12, zero_op = 0x00, one_op = 0x01, byte_prefix = 0x0A;
    for (uint32_t at = sizeof(struct acpi_header) + 2; at + 4 <= aml->length; at++) {
        const uint8_t *name = aml->bytes + at;
        if (memcmp(name, "_S5_", 4) != 0 || !(name[-1] == name_op || (name[-1] == '\\' && name[-2] == name_op)) ||
            field(aml, at + 4, 1) != package_op) {
            continue;
        }
        /* The two upper bits of the first length byte count the bytes that follow it. */
        uint32_t element = at + 5 + 1 + (uint32_t)(field(aml, at + 5, 1) >> 6) + 1;
        uint64_t value = field(aml, element, 1);
        if (value == byte_prefix) {
            value = field(aml, element + 1, 1);
        } else if (value != zero_op && value != one_op) {
            continue;
        }
        *out_type = value & 7;
        return true;
    }
    return false;
}

static void s5_parse(struct boot_info *bi, const struct table *fadt)
{
    paddr_t base = field(fadt, 140, 8);
    struct table dsdt;
    if (!table_open(base != 0 ? base : field(fadt, 40, 4), "DSDT", &dsdt) || !s5_find(&dsdt, &bi->power.sleep_type_s5)) {
        kprintf("acpi: the DSDT gives no \\_S5, power off will not work\n");
        bi->power.pm1a_control_port = 0;
    }
}

static bool fadt_parse(struct boot_info *bi, const struct root *root)
{
    struct table fadt;
    if (!root_find(root, "FACP", &fadt)) {
        kprintf("acpi: no usable FADT\n");
        return false;
    }
    bi->timer.pm_timer_port = fadt_port(&fadt, 208, 76);
    bi->power.pm1a_control_port = fadt_port(&fadt, 172, 64);
    if ((field(&fadt, 112, 4) & FADT_RESET_SUPPORTED) && field(&fadt, 116, 1) == ADDRESS_SPACE_IO && field(&fadt, 120, 8) <= UINT16_MAX) {
        bi->power.reset_port = (uint32_t)field(&fadt, 120, 8);
        bi->power.reset_value = (uint8_t)field(&fadt, 128, 1);
    }
    s5_parse(bi, &fadt);
    return true;
}

/* ---- MCFG (PCI Firmware 3.2, 4.1.2) ---------------------------------------------------------------------------- */

static void mcfg_parse(struct boot_info *bi, const struct root *root)
{
    constexpr uint32_t entries_offset = 44, entry_size = 16;
    struct table mcfg;
    if (!root_find(root, "MCFG", &mcfg)) {
        kprintf("acpi: no usable MCFG, so no PCI Express\n");
        return;
    }
    for (uint32_t at = entries_offset; at + entry_size <= mcfg.length; at += entry_size) {
        struct boot_ecam ecam = {
            .base = field(&mcfg, at, 8),
            .segment = (uint16_t)field(&mcfg, at + 8, 2),
            .bus_start = (uint8_t)field(&mcfg, at + 10, 1),
            .bus_end = (uint8_t)field(&mcfg, at + 11, 1),
        };
        /* The table has the address of bus 0, struct boot_ecam that of the first bus. */
        uint64_t base;
        if (ecam.bus_end < ecam.bus_start || ecam.base == 0 || (ecam.base & (PAGE_SIZE - 1)) != 0 ||
            __builtin_add_overflow(ecam.base, (uint64_t)ecam.bus_start << 20, &base) || base > UINT64_MAX - (256ull << 20)) {
            kprintf("acpi: MCFG entry at offset %u is damaged, left out\n", at);
            continue;
        }
        ecam.base = base;
        if (bi->ecam_count == BOOT_ECAMS_MAX) {
            kprintf("acpi: PCI segment %u left out: the kernel takes %u\n", ecam.segment, BOOT_ECAMS_MAX);
            break;
        }
        bi->ecams[bi->ecam_count++] = ecam;
    }
}

bool acpi_parse(struct boot_info *bi)
{
    for (uint32_t i = 0; i < 16; i++) {
        bi->intc.isa_override[i].gsi = i;
        bi->intc.isa_override[i].flags = 0;
    }
    struct root root;
    if (!root_open(bi->acpi_rsdp, &root)) {
        return false;
    }
    bool has_madt = madt_parse(bi, &root);
    bool has_fadt = fadt_parse(bi, &root);
    mcfg_parse(bi, &root);
    return has_madt && has_fadt;
}
