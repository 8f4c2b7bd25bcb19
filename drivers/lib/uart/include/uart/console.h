/*
 * The `console` server of every serial driver: one client with a socket_queue of bytes, the system log on the same terminal
 * (handle "records", with right read, when the manifest gives it), interrupts. The driver supplies the UART's few operations.
 */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

/* What devmgr says of the boot console, with its registers. */
struct uart_place {
    uint32_t kind, reg_shift;
    handle_t registers;     /* memory, or ioports */
    volatile uint8_t *base; /* mapped registers; nullptr with ports */
    handle_t interrupt;
    bool is_edge; /* the interrupt */
};

/* None of these blocks. */
struct uart_operations {
    /* Takes a received byte. False: none. */
    bool (*receive)(void *context, uint8_t *out_byte);
    /* How many bytes can be sent at once now; 0: the transmitter is busy. */
    uint32_t (*transmit_room)(void *context);
    void (*transmit)(void *context, uint8_t byte);
    /* Whether an empty transmitter shall interrupt. */
    void (*transmit_interrupt)(void *context, bool is_wanted);
    /* Reads the cause, so that the line goes quiet; called before receive. */
    void (*interrupted)(void *context);
};

/* Asks devmgr for the console's UART and maps it. NOT_FOUND: this machine has none. */
[[nodiscard]] status_t uart_claim(handle_t device, struct uart_place *out_place);
/* Serves "serve.console" until the end of the process. The UART is set up, with receive interrupts on. */
int uart_serve(const struct uart_operations *uart, void *context, const struct uart_place *place);
