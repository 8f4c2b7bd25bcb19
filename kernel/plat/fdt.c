/*
 * Fills struct boot_info from a flattened device tree: memory, reservations, CPUs and /chosen here, devices in
 * fdt_devices.c. Used by aarch64 and riscv64. The blob is outside data, read only through fdt_tree.h; what is damaged or does
 * not fit is dropped with a log line, and only a tree without RAM or without a CPU is refused.
 *
 * Sets bi->dtb_size; the caller knows where the blob lies in physical memory and sets bi->dtb and its reservation, and
 * bi->boot_cpu. Bindings: Devicetree Specification 0.4, chapter 3, and Linux Documentation/devicetree/bindings.
 */
#include "fdt_devices.h"

static void add_range(struct boot_info *bi, uint64_t base, uint64_t size, enum boot_range_kind kind)
{
    uint64_t end;

    if (size == 0)
        return;
    if (__builtin_add_overflow(base, size, &end) || !boot_info_add_range(bi, base, size, kind))
        kprintf("fdt: memory range 0x%lx + 0x%lx dropped\n", (unsigned long)base, (unsigned long)size);
}

static void add_reg_ranges(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *node, enum boot_range_kind kind)
{
    uint64_t base, size;

    for (uint32_t i = 0; fdt_reg(fdt, node, i, &base, &size); i++)
        add_range(bi, base, size, kind);
}

static void add_reservations(struct boot_info *bi, const struct fdt *fdt)
{
    uint64_t base, size;

    for (uint32_t i = 0; fdt_reservation(fdt, i, &base, &size); i++)
        add_range(bi, base, size, BOOT_RESERVED);
}

/* ---- CPUs ------------------------------------------------------------------------------------------------------- */

/* "riscv,isa" is one string ("rv64imac_zicsr_sstc"), "riscv,isa-extensions" a string list. */
static bool isa_has_sstc(const struct fdt *fdt, const struct fdt_cursor *cpu)
{
    static const char extension[] = "_sstc";
    constexpr uint32_t length = sizeof(extension) - 1;
    struct fdt_property isa;

    if (fdt_has_string(fdt, cpu, "riscv,isa-extensions", extension + 1))
        return true;
    if (!fdt_property(fdt, cpu, "riscv,isa", &isa))
        return false;
    for (uint32_t start = 0; start + length < isa.size; start++) {
        uint32_t i = 0;
        while (i < length && isa.data[start + i] == (uint8_t)extension[i])
            i++;
        if (i == length && (isa.data[start + i] == 0 || isa.data[start + i] == '_'))
            return true;
    }
    return false;
}

static void add_cpu(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *cpu)
{
    uint64_t hw_id, size;

    if (!fdt_has_string(fdt, cpu, "device_type", "cpu") || !fdt_is_available(fdt, cpu))
        return;
    if (!fdt_reg_raw(fdt, cpu, 0, &hw_id, &size)) {
        kprintf("fdt: CPU node %s without a usable reg\n", cpu->levels[cpu->depth].name);
        return;
    }
    if (bi->cpu_count == CPU_MAX) {
        kprintf("fdt: CPU 0x%lx dropped, at most %u are supported\n", (unsigned long)hw_id, CPU_MAX);
        return;
    }
    for (uint32_t i = 0; i < bi->cpu_count; i++) {
        if (bi->cpus[i].hw_id == hw_id) {
            kprintf("fdt: CPU 0x%lx listed twice\n", (unsigned long)hw_id);
            return;
        }
    }
    /* One hart without stimecmp would lose its timer, so all must have it. */
    bi->timer.has_sstc = isa_has_sstc(fdt, cpu) && (bi->cpu_count == 0 || bi->timer.has_sstc);
    bi->cpus[bi->cpu_count] = (struct boot_cpu){.hw_id = hw_id, .intc_index = bi->cpu_count};
    bi->cpu_count++;
}

/* /cpus/timebase-frequency (riscv64): one or two cells. */
static void read_timebase(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *cpus)
{
    struct fdt_property property;
    uint32_t at = 0;
    uint64_t frequency;

    if (fdt_property(fdt, cpus, "timebase-frequency", &property) && fdt_cells(&property, &at, property.size / 4, &frequency))
        bi->timer.frequency_hz = frequency;
}

/* ---- /chosen ---------------------------------------------------------------------------------------------------- */

static void read_command_line(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *chosen)
{
    struct fdt_property property;
    uint32_t length = 0;

    if (!fdt_property(fdt, chosen, "bootargs", &property))
        return;
    while (length < property.size && length < BOOT_CMDLINE_MAX - 1 && property.data[length] != 0) {
        bi->cmdline[length] = (char)property.data[length];
        length++;
    }
    bi->cmdline[length] = 0;
    if (length < property.size && property.data[length] != 0)
        kprintf("fdt: command line cut after %u bytes\n", length);
}

static bool read_chosen_address(const struct fdt *fdt, const struct fdt_cursor *chosen, const char *name, uint64_t *out)
{
    struct fdt_property property;
    uint32_t at = 0;

    /* Boot loaders write 32 or 64 bits as they like, whatever #address-cells says. */
    return fdt_property(fdt, chosen, name, &property) && property.size >= 4 && fdt_cells(&property, &at, property.size / 4, out);
}

static void read_initrd(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *chosen)
{
    uint64_t start, end;

    if (!read_chosen_address(fdt, chosen, "linux,initrd-start", &start) || !read_chosen_address(fdt, chosen, "linux,initrd-end", &end))
        return;
    if (end <= start) {
        kprintf("fdt: boot image ends before it starts\n");
        return;
    }
    bi->image_start = start;
    bi->image_size = end - start;
}

static void read_entropy(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *chosen, const char *name)
{
    struct fdt_property property;

    if (!fdt_property(fdt, chosen, name, &property))
        return;
    for (uint32_t i = 0; i < property.size && bi->entropy_size < sizeof(bi->entropy); i++)
        bi->entropy[bi->entropy_size++] = property.data[i];
}

/* "stdout-path" is a path or an alias, with options after ':' (3.6). */
static bool find_stdout(const struct fdt *fdt, const struct fdt_cursor *chosen, struct fdt_cursor *out_node)
{
    struct fdt_property path, target;
    struct fdt_cursor aliases;
    char alias[32];
    uint32_t length = 0;

    if (!fdt_property(fdt, chosen, "stdout-path", &path) || path.size == 0)
        return false;
    if (path.data[0] == '/')
        return fdt_find_path(fdt, (const char *)path.data, path.size, out_node);
    while (length < path.size && length < sizeof(alias) - 1 && path.data[length] != 0 && path.data[length] != ':') {
        alias[length] = (char)path.data[length];
        length++;
    }
    alias[length] = 0;
    return fdt_find_path(fdt, "/aliases", 8, &aliases) && fdt_property(fdt, &aliases, alias, &target) &&
           fdt_find_path(fdt, (const char *)target.data, target.size, out_node);
}

static void read_chosen(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *chosen)
{
    struct fdt_cursor console;

    read_command_line(bi, fdt, chosen);
    read_initrd(bi, fdt, chosen);
    read_entropy(bi, fdt, chosen, "rng-seed");
    read_entropy(bi, fdt, chosen, "kaslr-seed");
    if (find_stdout(fdt, chosen, &console))
        fdt_visit_console(bi, fdt, &console);
}

/* ---- The tree --------------------------------------------------------------------------------------------------- */

static void visit_system_node(struct boot_info *bi, const struct fdt *fdt, const struct fdt_cursor *node)
{
    if (node->depth == 1 && fdt_has_string(fdt, node, "device_type", "memory")) {
        if (fdt_is_available(fdt, node))
            add_reg_ranges(bi, fdt, node, BOOT_RAM);
    } else if (node->depth == 1 && fdt_name_is(node, 1, "cpus")) {
        read_timebase(bi, fdt, node);
    } else if (node->depth == 1 && fdt_name_is(node, 1, "chosen")) {
        read_chosen(bi, fdt, node);
    } else if (node->depth == 2 && fdt_name_is(node, 1, "cpus")) {
        add_cpu(bi, fdt, node);
    } else if (node->depth == 2 && fdt_name_is(node, 1, "reserved-memory")) {
        if (fdt_is_available(fdt, node))
            add_reg_ranges(bi, fdt, node, BOOT_RESERVED);
    }
}

bool fdt_parse(struct boot_info *bi, const void *dtb, uint64_t max_size)
{
    struct fdt fdt;
    struct fdt_cursor node;
    bool has_ram = false;

    if (!fdt_open(&fdt, dtb, max_size)) {
        kprintf("fdt: no device tree, or a damaged header\n");
        return false;
    }
    bi->dtb_size = fdt.total_size;
    add_reservations(bi, &fdt);
    node = fdt_start(&fdt);
    while (fdt_next(&fdt, &node))
        visit_system_node(bi, &fdt, &node);
    /* A second walk, because the interrupt controller speaks of CPUs, which may come after it. */
    node = fdt_start(&fdt);
    while (fdt_next(&fdt, &node)) {
        if (fdt_is_available(&fdt, &node))
            fdt_visit_device(bi, &fdt, &node);
    }
    for (uint32_t i = 0; i < bi->range_count; i++)
        has_ram |= bi->ranges[i].kind == BOOT_RAM;
    if (!has_ram || bi->cpu_count == 0) {
        kprintf("fdt: no memory or no CPU in the device tree\n");
        return false;
    }
    return true;
}
