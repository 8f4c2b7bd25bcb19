/* Power off and reset, I/O ports for their holders, and the CPU's random numbers. */
#include "x86.h"

constexpr uint16_t PORT_DEBUG_EXIT = 0xF4; /* QEMU's isa-debug-exit; the old coprocessor's range, so nothing else answers */
constexpr uint16_t PORT_RESET_CONTROL = 0xCF9;
constexpr uint16_t PORT_KEYBOARD = 0x64;
constexpr uint16_t PM1_SLEEP_ENABLE = 1 << 13; /* ACPI 6.5, 4.8.3.2.1 */

static void power_off(void)
{
    const struct boot_power *power = &x86_boot_info.power;
    if (power->pm1a_control_port != 0) {
        x86_out16((uint16_t)power->pm1a_control_port, (uint16_t)(power->sleep_type_s5 << 10) | PM1_SLEEP_ENABLE);
    }
}

/* From the gentlest to the surest; each is given a moment to work. */
static void reset(void)
{
    const struct boot_power *power = &x86_boot_info.power;
    if (power->reset_port != 0) {
        x86_out8((uint16_t)power->reset_port, power->reset_value);
        x86_delay_ns(10'000'000);
    }
    x86_out8(PORT_RESET_CONTROL, 0x02);
    x86_out8(PORT_RESET_CONTROL, 0x06);
    x86_delay_ns(10'000'000);
    x86_out8(PORT_KEYBOARD, 0xFE);
    x86_delay_ns(10'000'000);
    struct [[gnu::packed]] {
        uint16_t limit;
        uint64_t base;
    } no_table = {};
    __asm__ volatile("lidt %0\n\tint3" : : "m"(no_table) : "memory"); /* triple fault */
}

void arch_power(enum arch_poweroff how)
{
    if (how == ARCH_REBOOT) {
        reset();
    }
    if (how == ARCH_EXIT_FAILURE) {
        x86_out8(PORT_DEBUG_EXIT, 0x7F);
    }
    power_off();
    arch_halt();
}

bool arch_port_in(uint16_t port, uint32_t width_bytes, uint32_t *out_value)
{
    switch (width_bytes) {
    case 1: *out_value = x86_in8(port); return true;
    case 2: *out_value = x86_in16(port); return true;
    case 4: *out_value = x86_in32(port); return true;
    default: return false;
    }
}

bool arch_port_out(uint16_t port, uint32_t width_bytes, uint32_t value)
{
    switch (width_bytes) {
    case 1: x86_out8(port, (uint8_t)value); return true;
    case 2: x86_out16(port, (uint16_t)value); return true;
    case 4: x86_out32(port, value); return true;
    default: return false;
    }
}

/* Both instructions may have nothing at the moment; the SDM (vol. 1, 7.3.17) asks for ten tries. */
bool arch_random(uint64_t *out_value)
{
    bool is_valid = false;
    for (uint32_t i = 0; i < 10 && !is_valid && x86_features.has_rdseed; i++) {
        __asm__ volatile("rdseed %0" : "=r"(*out_value), "=@ccc"(is_valid));
    }
    for (uint32_t i = 0; i < 10 && !is_valid && x86_features.has_rdrand; i++) {
        __asm__ volatile("rdrand %0" : "=r"(*out_value), "=@ccc"(is_valid));
    }
    return is_valid;
}
