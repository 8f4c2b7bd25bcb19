/*
 * From boot.S to kernel_main(): the early direct map and boot_info. Runs on the boot CPU's early stack, before any console;
 * what the device-tree parser reports goes to the kernel's log.
 */
#include "a64.h"
#include <tess/string.h>

constexpr uint64_t GIB = 1ull << 30;
constexpr uint64_t DTB_SIZE_MAX = 2ull << 20; /* boot protocol */
constexpr uint32_t DIRECT_MAP_SLOT = (DIRECT_MAP_BASE >> 30) & 511;
constexpr uint32_t DEVICE_SLOT = (MMIO_BASE >> 30) & 511;
constexpr uint32_t SECTION_LEVEL = 2; /* 1 GiB */

uint64_t a64_kernel_physical;
static struct boot_info boot_info;

[[noreturn]] void a64_boot_main(paddr_t dtb, paddr_t kernel);

/* A new entry must reach memory before the table walker looks, and no later access may be made before that. */
static void publish_entry(void) { __asm__ volatile("dsb ishst\n\tisb" ::: "memory"); }

void a64_early_map_ram(paddr_t base, uint64_t size)
{
    if (base >= DIRECT_MAP_SIZE || size == 0)
        return;
    if (size > DIRECT_MAP_SIZE - base)
        size = DIRECT_MAP_SIZE - base;
    for (uint64_t gib = base / GIB; gib <= (base + size - 1) / GIB; gib++) {
        if (!arch_pte_is_present(early_root[DIRECT_MAP_SLOT + gib]))
            early_root[DIRECT_MAP_SLOT + gib] = arch_pte_leaf(gib * GIB, PROT_READ | PROT_WRITE, SECTION_LEVEL);
    }
    publish_entry();
}

void *a64_early_map_device(paddr_t pa)
{
    early_root[DEVICE_SLOT] = arch_pte_leaf(pa & ~(GIB - 1), PROT_READ | PROT_WRITE | PROT_DEVICE, SECTION_LEVEL);
    publish_entry();
    return (void *)(MMIO_BASE + (pa & (GIB - 1)));
}

static void find_boot_cpu(struct boot_info *bi)
{
    uint64_t affinity = A64_READ(mpidr_el1) & A64_MPIDR_AFFINITY;

    for (uint32_t i = 0; i < bi->cpu_count; i++) {
        if (bi->cpus[i].hw_id == affinity) {
            bi->boot_cpu = i;
            return;
        }
    }
    kprintf("boot: this CPU (MPIDR 0x%lx) is not in the device tree\n", (unsigned long)affinity);
    bi->cpus[0].hw_id = affinity;
    bi->boot_cpu = 0;
}

static void reserve_device_tree(struct boot_info *bi, paddr_t dtb)
{
    bi->dtb = dtb;
    if (!boot_info_add_range(bi, dtb, bi->dtb_size, BOOT_RESERVED))
        kprintf("boot: no room to reserve the device tree\n");
}

static void map_memory(const struct boot_info *bi)
{
    for (uint32_t i = 0; i < bi->range_count; i++) {
        if (bi->ranges[i].kind == BOOT_RAM)
            a64_early_map_ram(bi->ranges[i].base, bi->ranges[i].size);
    }
}

void a64_boot_main(paddr_t dtb, paddr_t kernel)
{
    struct boot_info *bi = &boot_info;

    a64_kernel_physical = kernel;
    bi->version = BOOT_INFO_VERSION;
    bi->kernel_start = kernel;
    bi->kernel_end = a64_image_physical(kernel_image_end);
    /* boot.S has mapped the GiB of the device tree, which by protocol does not cross a 2 MiB boundary. */
    uint64_t dtb_room = GIB - dtb % GIB;
    if (dtb_room > DTB_SIZE_MAX)
        dtb_room = DTB_SIZE_MAX;
    /* Without a device tree there is neither memory nor a console to complain on. */
    if (dtb == 0 || !fdt_parse(bi, phys_to_virt(dtb), dtb_room))
        arch_halt();
    reserve_device_tree(bi, dtb);
    find_boot_cpu(bi);
    if (bi->timer.frequency_hz == 0)
        bi->timer.frequency_hz = A64_READ(cntfrq_el0);
    map_memory(bi);
    a64_power_init(bi);
    kernel_main(bi);
}
