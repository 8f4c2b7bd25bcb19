/*
 * The end: power off and reboot through the firmware; failure through QEMU's test device ("sifive,test0", QEMU
 * hw/misc/sifive_test.c) where the machine has one, because it makes the emulator exit with a code.
 */
#include "rv.h"

constexpr uint32_t TEST_FAIL = 0x3333, TEST_PASS = 0x5555, TEST_RESET = 0x7777;
constexpr uint32_t FAILURE_CODE = 1;

static paddr_t test_physical;
static volatile uint32_t *test_device; /* nullptr = none */

void rv_power_init(const struct boot_info *bi)
{
    if (bi->power.sifive_test != 0 && bi->power.sifive_test < DIRECT_MAP_SIZE) {
        test_physical = bi->power.sifive_test;
        test_device = phys_to_virt(test_physical);
    }
}

void rv_power_remap(void)
{
    if (test_physical != 0) {
        test_device = mmio_map(test_physical, sizeof *test_device);
    }
}

static uint32_t test_command(enum arch_poweroff how)
{
    switch (how) {
    case ARCH_EXIT_FAILURE: return TEST_FAIL | FAILURE_CODE << 16;
    case ARCH_REBOOT: return TEST_RESET;
    default: return TEST_PASS;
    }
}

[[noreturn]] void arch_power(enum arch_poweroff how)
{
    if (how != ARCH_EXIT_FAILURE) {
        rv_sbi_system_reset(how == ARCH_REBOOT, false);
    }
    if (test_device != nullptr) {
        *test_device = test_command(how);
    }
    rv_sbi_system_reset(how == ARCH_REBOOT, how == ARCH_EXIT_FAILURE);
    arch_halt();
}

[[noreturn]] void arch_halt(void)
{
    csr_write(sie, 0);
    for (;;) {
        __asm__ volatile("wfi" ::: "memory");
    }
}
