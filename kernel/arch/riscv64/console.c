/*
 * The boot and panic console, polled: the firmware's until the device tree named a UART (NS16550, 8250 registers), and again
 * while page tables change. The caller serialises.
 */
#include "rv.h"

enum : uint32_t { UART_TRANSMIT = 0, UART_LINE_STATUS = 5 };
constexpr uint8_t LINE_STATUS_TRANSMIT_EMPTY = 1 << 5;
constexpr uint32_t WAIT_LIMIT = 100'000;

static struct {
    volatile uint8_t *base; /* nullptr = the firmware's console */
    paddr_t physical;
    uint32_t reg_shift;
} uart;

void arch_console_init(const struct boot_info *bi)
{
    rv_power_init(bi);
    if (bi->console.kind != BOOT_CONSOLE_NS16550_MMIO || bi->console.base >= DIRECT_MAP_SIZE || bi->console.reg_shift > 3) {
        return;
    }
    uart.physical = bi->console.base;
    uart.reg_shift = bi->console.reg_shift;
    uart.base = phys_to_virt(uart.physical);
}

void rv_console_suspend(void) { uart.base = nullptr; }

void arch_console_remap(void)
{
    if (uart.physical != 0) {
        uart.base = mmio_map(uart.physical, (uint64_t)8 << uart.reg_shift);
    }
    rv_power_remap();
}

/* Registers 4 bytes apart belong to the DesignWare UART, which wants 32-bit accesses. */
static uint8_t uart_read(uint32_t index)
{
    volatile uint8_t *address = uart.base + ((uint64_t)index << uart.reg_shift);
    return uart.reg_shift == 2 ? (uint8_t)*(volatile uint32_t *)address : *address;
}

static void uart_write(uint32_t index, uint8_t value)
{
    volatile uint8_t *address = uart.base + ((uint64_t)index << uart.reg_shift);
    if (uart.reg_shift == 2) {
        *(volatile uint32_t *)address = value;
    } else {
        *address = value;
    }
}

void arch_console_putc(char c)
{
    if (uart.base == nullptr) {
        rv_sbi_putc(c);
        return;
    }
    for (uint32_t i = 0; i < WAIT_LIMIT && (uart_read(UART_LINE_STATUS) & LINE_STATUS_TRANSMIT_EMPTY) == 0; i++) {
        arch_cpu_relax();
    }
    uart_write(UART_TRANSMIT, (uint8_t)c);
}
