/* Boot on the first hart: from the device tree to struct boot_info. */
#include "rv.h"
#include <tess/string.h>

constexpr uint64_t DTB_SIZE_MAX = 1 << 20;
constexpr uint64_t IMAGE_ALIGNMENT = 2 << 20;

static struct boot_info boot_info;
static paddr_t kernel_physical;

paddr_t rv_phys(const void *address)
{
    vaddr_t va = (vaddr_t)address;
    return va >= KERNEL_BASE ? va - KERNEL_BASE + kernel_physical : virt_to_phys(va);
}

static void reserve(struct boot_info *bi, paddr_t base, uint64_t size)
{
    if (!boot_info_add_range(bi, base, size, BOOT_RESERVED)) {
        panic("too many memory ranges to reserve 0x%lx + 0x%lx", base, size);
    }
}

/* The firmware lives at the start of the RAM we were loaded into and says so in /reserved-memory; old ones forget. */
static void reserve_below_kernel(struct boot_info *bi)
{
    for (uint32_t i = 0; i < bi->range_count; i++) {
        const struct boot_range *range = &bi->ranges[i];
        bool holds_kernel = kernel_physical >= range->base && kernel_physical - range->base < range->size;
        if (range->kind == BOOT_RAM && holds_kernel && kernel_physical > range->base) {
            reserve(bi, range->base, kernel_physical - range->base);
            return;
        }
    }
}

static void find_boot_cpu(struct boot_info *bi, uint64_t hart_id)
{
    for (uint32_t i = 0; i < bi->cpu_count; i++) {
        if (bi->cpus[i].hw_id == hart_id) {
            bi->boot_cpu = i;
            return;
        }
    }
    panic("boot hart %lu is not in the device tree", hart_id);
}

[[noreturn]] void rv_boot(uint64_t hart_id, paddr_t dtb, paddr_t image);
[[noreturn]] void rv_boot(uint64_t hart_id, paddr_t dtb, paddr_t image)
{
    extern struct cpu rv_early_cpu;
    arch_cpu_set_self(&rv_early_cpu);
    kernel_physical = image;
    if (image % IMAGE_ALIGNMENT != 0 || image >= DIRECT_MAP_SIZE || dtb >= DIRECT_MAP_SIZE) {
        panic("image at 0x%lx, device tree at 0x%lx: not loadable there", image, dtb);
    }
    struct boot_info *bi = &boot_info;
    bi->version = BOOT_INFO_VERSION;
    bi->kernel_start = image;
    bi->kernel_end = image + (uint64_t)(kernel_image_end - kernel_image_start);
    bi->dtb = dtb;
    if (!fdt_parse(bi, phys_to_virt(dtb), DTB_SIZE_MAX)) {
        panic("no usable device tree at 0x%lx", dtb);
    }
    reserve(bi, dtb, bi->dtb_size);
    reserve_below_kernel(bi);
    find_boot_cpu(bi, hart_id);
    kernel_main(bi);
}
