/*
 * NS16550A-compatible UART (PC16550D data sheet, section 8), behind I/O ports (x86_64) or memory with registers 1 << reg_shift
 * bytes apart. Line settings are left as firmware or the kernel made them; FIFOs are on, 16 bytes deep.
 *
 * With ports the interrupt is edge triggered on PCs, so every handler must leave no cause standing: interrupted() reads IIR until
 * it says "none", and the shared part then empties the receiver.
 */
#include <std/log.h>
#include <std/program.h>
#include <tess/stub/ioports.h>
#include <uart/console.h>

enum : uint32_t { DATA = 0, INTERRUPT_ENABLE = 1, INTERRUPT_ID = 2, FIFO_CONTROL = 2, MODEM_CONTROL = 4, LINE_STATUS = 5 };
enum : uint8_t {
    ENABLE_RECEIVED = 1,
    ENABLE_TRANSMIT_EMPTY = 2,
    ID_NONE = 1,
    FIFO_ENABLE = 1,
    MODEM_DTR_RTS_OUT2 = 0x0B, /* OUT2 gates the interrupt on PCs */
    STATUS_RECEIVED = 1,
    STATUS_TRANSMIT_EMPTY = 0x20,
};
static constexpr uint32_t FIFO_BYTES = 16;

static struct uart_place place;
static uint8_t enabled;

static uint8_t get(uint32_t index)
{
    if (place.base != nullptr) {
        return place.base[index << place.reg_shift];
    }
    uint32_t value = 0xFF;
    (void)tess_ioports_in(place.registers, index, 1, &value);
    return (uint8_t)value;
}

static void set(uint32_t index, uint8_t value)
{
    if (place.base != nullptr) {
        place.base[index << place.reg_shift] = value;
    } else {
        (void)tess_ioports_out(place.registers, index, 1, value);
    }
}

static bool receive(void *context, uint8_t *out_byte)
{
    (void)context;
    uint8_t status = get(LINE_STATUS);
    if ((status & STATUS_RECEIVED) == 0 || status == 0xFF) { /* all ones: no chip there */
        return false;
    }
    *out_byte = get(DATA);
    return true;
}

static uint32_t transmit_room(void *context)
{
    (void)context;
    return (get(LINE_STATUS) & STATUS_TRANSMIT_EMPTY) ? FIFO_BYTES : 0;
}

static void transmit(void *context, uint8_t byte)
{
    (void)context;
    set(DATA, byte);
}

static void transmit_interrupt(void *context, bool is_wanted)
{
    (void)context;
    uint8_t wanted = ENABLE_RECEIVED | (is_wanted ? ENABLE_TRANSMIT_EMPTY : 0);
    if (wanted != enabled) {
        enabled = wanted;
        set(INTERRUPT_ENABLE, wanted);
    }
}

static void interrupted(void *context)
{
    (void)context;
    /* Reading IIR clears "transmitter empty"; "received" stands until the shared part has read the bytes. */
    (void)get(INTERRUPT_ID);
}

int main(void)
{
    status_t status = uart_claim(std_handle_needed("device"), &place);
    if (status != OK) {
        log_error("no console: %s", status_name(status));
        return status == ERROR_NOT_FOUND ? 0 : 1;
    }
    set(FIFO_CONTROL, FIFO_ENABLE);
    set(MODEM_CONTROL, MODEM_DTR_RTS_OUT2);
    transmit_interrupt(nullptr, false);
    static const struct uart_operations operations = {.receive = receive,
                                                      .transmit_room = transmit_room,
                                                      .transmit = transmit,
                                                      .transmit_interrupt = transmit_interrupt,
                                                      .interrupted = interrupted};
    return uart_serve(&operations, nullptr, &place);
}
