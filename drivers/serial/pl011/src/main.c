/* Arm PL011 UART (DDI 0183, chapter 3). Line settings are left as firmware or the kernel made them. */
#include <std/log.h>
#include <std/program.h>
#include <uart/console.h>

enum : uint32_t { DATA = 0x00, FLAGS = 0x18, LINE_CONTROL = 0x2C, CONTROL = 0x30, LEVELS = 0x34, MASK = 0x38, CLEAR = 0x44 };
enum : uint32_t {
    FLAG_RECEIVE_EMPTY = 1 << 4,
    FLAG_TRANSMIT_FULL = 1 << 5,
    LINE_FIFO = 1 << 4,
    CONTROL_ENABLE = 1 << 0 | 1 << 8 | 1 << 9, /* UART, transmitter, receiver */
    INTERRUPT_RECEIVE = 1 << 4,
    INTERRUPT_TRANSMIT = 1 << 5,
    INTERRUPT_RECEIVE_TIMEOUT = 1 << 6,
};

static struct uart_place place;
static uint32_t mask;

static volatile uint32_t *reg(uint32_t offset) { return (volatile uint32_t *)(volatile void *)(place.base + offset); }

static bool receive(void *context, uint8_t *out_byte)
{
    (void)context;
    if (*reg(FLAGS) & FLAG_RECEIVE_EMPTY) {
        return false;
    }
    *out_byte = (uint8_t)*reg(DATA);
    /* When devmgr ends it takes the registers along, and an ordinary page is left in their place: never "empty", and its data is
     * what was last sent. The enable bits are not there. Looked at last: what was read before came from the UART. */
    return (*reg(CONTROL) & CONTROL_ENABLE) == CONTROL_ENABLE;
}

static uint32_t transmit_room(void *context)
{
    (void)context;
    return (*reg(FLAGS) & FLAG_TRANSMIT_FULL) ? 0 : 1;
}

static void transmit(void *context, uint8_t byte)
{
    (void)context;
    *reg(DATA) = byte;
}

static void transmit_interrupt(void *context, bool is_wanted)
{
    (void)context;
    uint32_t wanted = INTERRUPT_RECEIVE | INTERRUPT_RECEIVE_TIMEOUT | (is_wanted ? INTERRUPT_TRANSMIT : 0);
    if (wanted != mask) {
        mask = wanted;
        *reg(MASK) = wanted;
    }
}

static void interrupted(void *context)
{
    (void)context;
    /* Cleared before the FIFOs are looked at: what happens from here on raises it again. */
    *reg(CLEAR) = INTERRUPT_RECEIVE | INTERRUPT_RECEIVE_TIMEOUT | INTERRUPT_TRANSMIT;
}

int main(void)
{
    status_t status = uart_claim(std_handle_needed("device"), &place);
    if (status != OK || place.base == nullptr) {
        log_error("no console: %s", status_name(status));
        return status == ERROR_NOT_FOUND ? 0 : 1;
    }
    *reg(LINE_CONTROL) = *reg(LINE_CONTROL) | LINE_FIFO;
    *reg(LEVELS) = 0; /* receive at 1/8, transmit at 1/8; the receive time-out covers single bytes */
    *reg(CONTROL) = *reg(CONTROL) | CONTROL_ENABLE;
    transmit_interrupt(nullptr, false);
    static const struct uart_operations operations = {.receive = receive,
                                                      .transmit_room = transmit_room,
                                                      .transmit = transmit,
                                                      .transmit_interrupt = transmit_interrupt,
                                                      .interrupted = interrupted};
    return uart_serve(&operations, nullptr, &place);
}
