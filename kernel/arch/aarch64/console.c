/* The early console: an Arm PL011 (DDI 0183), polled, as the firmware or QEMU left it configured. */
#include "a64.h"

constexpr uint32_t PL011_DATA = 0x00;
constexpr uint32_t PL011_FLAGS = 0x18;
constexpr uint32_t PL011_FLAG_TRANSMIT_FULL = 1 << 5;
constexpr uint64_t PL011_SIZE = 0x1000;
constexpr uint32_t TRANSMIT_WAIT_READS = 1'000'000; /* a FIFO that stays full must not hang the kernel */

static paddr_t console_physical; /* 0 = none */
static uintptr_t console_base;   /* 0 = not mapped */

void arch_console_init(const struct boot_info *bi)
{
    if (bi->console.kind != BOOT_CONSOLE_PL011)
        return;
    console_physical = bi->console.base;
    console_base = (uintptr_t)a64_early_map_device(console_physical);
}

void a64_console_unmap(void) { console_base = 0; }

void arch_console_remap(void)
{
    if (console_physical != 0)
        console_base = (uintptr_t)mmio_map(console_physical, PL011_SIZE);
}

void arch_console_putc(char c)
{
    uint32_t reads = 0;

    if (console_base == 0)
        return;
    while (a64_mmio_read32(console_base + PL011_FLAGS) & PL011_FLAG_TRANSMIT_FULL) {
        if (++reads == TRANSMIT_WAIT_READS)
            return;
    }
    a64_mmio_write32(console_base + PL011_DATA, (uint8_t)c);
}
