/* The early console: a 16550 at an I/O port, polled (TI PC16550D data sheet). Final tables change nothing for ports. */
#include "x86.h"

enum : uint16_t { UART_DATA = 0, UART_INTERRUPT_ENABLE = 1, UART_FIFO = 2, UART_LINE = 3, UART_MODEM = 4, UART_STATUS = 5 };
constexpr uint8_t STATUS_TRANSMIT_EMPTY = 0x20;
constexpr uint32_t WAIT_ROUNDS = 100'000; /* each reads a port, about a microsecond: far longer than a character takes */

static uint16_t uart_port;

void arch_console_init(const struct boot_info *bi)
{
    if (bi->console.kind != BOOT_CONSOLE_NS16550_PORT) {
        return;
    }
    uint16_t port = (uint16_t)bi->console.base;
    if (x86_in8(port + UART_STATUS) == 0xFF) {
        return; /* nothing answers */
    }
    x86_out8(port + UART_INTERRUPT_ENABLE, 0);
    x86_out8(port + UART_LINE, 0x80); /* divisor latch: 115200 baud */
    x86_out8(port + UART_DATA, 1);
    x86_out8(port + UART_INTERRUPT_ENABLE, 0);
    x86_out8(port + UART_LINE, 0x03);  /* 8 bits, no parity, 1 stop bit */
    x86_out8(port + UART_FIFO, 0x07);  /* enabled and cleared */
    x86_out8(port + UART_MODEM, 0x0B); /* DTR, RTS, and OUT2, which lets its interrupt through */
    uart_port = port;
}

void arch_console_remap(void) {}

void arch_console_putc(char c)
{
    if (uart_port == 0) {
        return;
    }
    for (uint32_t i = 0; i < WAIT_ROUNDS && !(x86_in8(uart_port + UART_STATUS) & STATUS_TRANSMIT_EMPTY); i++) {
    }
    x86_out8(uart_port + UART_DATA, (uint8_t)c);
}
