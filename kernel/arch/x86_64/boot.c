/*
 * From the PVH start information (Xen public arch-x86/hvm/start_info.h) and the ACPI tables to struct boot_info. All of it is
 * data from outside, given by physical address: whatever does not lie below 4 GiB, where the early direct map reaches, is
 * left out.
 */
#include "x86.h"
#include <tess/string.h>

constexpr uint32_t PVH_MAGIC = 0x336EC578;
constexpr uint64_t EARLY_MAP_END = 1ull << 32;
constexpr uint64_t LOW_MEMORY_END = 0x100000; /* real-mode data, the trampoline, video memory, firmware */
constexpr uint32_t MEMORY_MAP_MAX = 256;
constexpr uint32_t MEMORY_TYPE_RAM = 1;
constexpr uint16_t COM1_PORT = 0x3F8;
constexpr uint32_t COM1_ISA_IRQ = 4;

/* Packed: a loader need not align them. */
struct [[gnu::packed]] pvh_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp;
    uint64_t memory_map; /* from version 1 on */
    uint32_t memory_map_count, reserved;
};
static_assert(sizeof(struct pvh_start_info) == 56);

struct [[gnu::packed]] pvh_module {
    uint64_t base, size, cmdline, reserved;
};

struct [[gnu::packed]] pvh_memory {
    uint64_t base, size;
    uint32_t type, reserved;
};
static_assert(sizeof(struct pvh_memory) == 24);

struct boot_info x86_boot_info;
extern const char x86_trampoline_start[], x86_trampoline_end[];
[[noreturn]] void x86_boot(uint64_t start_info);

/* arch_cpu() before kernel_main() has its own. */
static struct cpu early_cpu;

/* nullptr when the early direct map does not cover all of it. */
static const void *early_map(paddr_t base, uint64_t size)
{
    if (base == 0 || base >= EARLY_MAP_END || size > EARLY_MAP_END - base) {
        return nullptr;
    }
    return phys_to_virt(base);
}

/* RAM is rounded inwards to whole pages, everything else outwards. */
static void range_add(struct boot_info *bi, uint64_t base, uint64_t size, enum boot_range_kind kind)
{
    uint64_t end;
    if (__builtin_add_overflow(base, size, &end) || end > UINT64_MAX - PAGE_SIZE) {
        kprintf("boot: memory range 0x%lx+0x%lx wraps, left out\n", base, size);
        return;
    }
    uint64_t up = PAGE_SIZE - 1;
    base = kind == BOOT_RAM ? (base + up) & ~up : base & ~up;
    end = kind == BOOT_RAM ? end & ~up : (end + up) & ~up;
    if (end > base && !boot_info_add_range(bi, base, end - base, kind)) {
        kprintf("boot: memory range 0x%lx+0x%lx does not fit, left out\n", base, size);
    }
}

static void memory_map_read(struct boot_info *bi, const struct pvh_start_info *start)
{
    uint32_t count = start->memory_map_count < MEMORY_MAP_MAX ? start->memory_map_count : MEMORY_MAP_MAX;
    const struct pvh_memory *map = start->version >= 1 ? early_map(start->memory_map, count * sizeof(*map)) : nullptr;
    if (map == nullptr || count == 0) {
        panic("boot: the PVH start information has no memory map");
    }
    for (uint32_t i = 0; i < count; i++) {
        range_add(bi, map[i].base, map[i].size, map[i].type == MEMORY_TYPE_RAM ? BOOT_RAM : BOOT_RESERVED);
    }
    range_add(bi, 0, LOW_MEMORY_END, BOOT_RESERVED);
}

static void cmdline_read(struct boot_info *bi, const struct pvh_start_info *start)
{
    const char *text = early_map(start->cmdline, BOOT_CMDLINE_MAX);
    if (text != nullptr) {
        size_t length = strnlen(text, BOOT_CMDLINE_MAX - 1);
        memcpy(bi->cmdline, text, length);
        bi->cmdline[length] = 0;
    }
}

static void image_read(struct boot_info *bi, const struct pvh_start_info *start)
{
    const struct pvh_module *module = start->module_count > 0 ? early_map(start->modules, sizeof(*module)) : nullptr;
    if (module == nullptr) {
        return;
    }
    uint64_t end;
    if (__builtin_add_overflow(module->base, module->size, &end)) {
        kprintf("boot: boot image at 0x%lx wraps, left out\n", module->base);
        return;
    }
    bi->image_start = module->base;
    bi->image_size = module->size;
}

static void entropy_read(struct boot_info *bi)
{
    uint64_t value;
    while (bi->entropy_size + sizeof(value) <= sizeof(bi->entropy) && arch_random(&value)) {
        memcpy(bi->entropy + bi->entropy_size, &value, sizeof(value));
        bi->entropy_size += sizeof(value);
    }
}

/* The MADT's list need not name this CPU, when it is damaged or missing. */
static void boot_cpu_find(struct boot_info *bi)
{
    uint32_t apic_id = x86_apic_id();
    for (uint32_t i = 0; i < bi->cpu_count; i++) {
        if (bi->cpus[i].hw_id == apic_id) {
            bi->boot_cpu = i;
            return;
        }
    }
    bi->cpu_count = 1;
    bi->boot_cpu = 0;
    bi->cpus[0] = (struct boot_cpu){.hw_id = apic_id};
    kprintf("boot: the ACPI tables do not list the boot CPU (APIC id %u); it runs alone\n", apic_id);
}

static void tables_read(struct boot_info *bi, const struct pvh_start_info *start)
{
    bi->acpi_rsdp = start->rsdp;
    if (!acpi_parse(bi)) {
        kprintf("boot: going on without what the ACPI tables did not give\n");
    }
    boot_cpu_find(bi);
    x86_pci_windows(bi);
    bi->console.irq = bi->intc.isa_override[COM1_ISA_IRQ].gsi;
}

/* On the early tables and stack, with the early GDT. */
void x86_boot(uint64_t start_info)
{
    struct boot_info *bi = &x86_boot_info;
    arch_cpu_set_self(&early_cpu);
    x86_idt_init();
    x86_features_probe();
    bi->version = BOOT_INFO_VERSION;
    bi->console = (struct boot_console){.kind = BOOT_CONSOLE_NS16550_PORT, .base = COM1_PORT, .irq = COM1_ISA_IRQ};
    bi->kernel_start = (uint64_t)kernel_image_start + X86_PHYS_DELTA;
    bi->kernel_end = (uint64_t)kernel_image_end + X86_PHYS_DELTA;

    const struct pvh_start_info *start = early_map(start_info, sizeof(*start));
    if (start == nullptr || start->magic != PVH_MAGIC) {
        arch_console_init(bi);
        panic("boot: no PVH start information");
    }
    memory_map_read(bi, start);
    cmdline_read(bi, start);
    image_read(bi, start);
    entropy_read(bi);
    tables_read(bi, start);
    /* After the last read of what the loader may have put into low memory. */
    memcpy(phys_to_virt(X86_TRAMPOLINE), x86_trampoline_start, (size_t)(x86_trampoline_end - x86_trampoline_start));
    kernel_main(bi);
}
