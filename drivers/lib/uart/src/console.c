/*
 * Flow: UART -> typed -> client's rx queue; client's tx queue and log records -> text -> UART. All of it moves in work(), which
 * runs after every interrupt, doorbell or log event and does a bounded amount before it lets others in the loop run.
 *
 * A log record is printed when the client's queue is empty (so not in the middle of what it is printing) or its last byte was a
 * newline.
 */
#include <ring/socket_queue.h>
#include <std/log.h>
#include <std/loop.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/serve/console.h>
#include <tess/stub/cspace.h>
#include <tess/stub/device.h>
#include <tess/stub/event.h>
#include <tess/stub/interrupt.h>
#include <tess/stub/log.h>
#include <tess/stub/memory.h>
#include <tess/stub/system.h>
#include <tess/stub/untyped.h>
#include <tess/util.h>
#include <uart/console.h>
#include <uart/console_text.h>

enum : uint64_t { BIT_DOORBELL = 1, BIT_LOG = 2, BIT_AGAIN = 4 };
static constexpr uint32_t DOORBELL_INDEX = 0;
static constexpr uint32_t TYPED_BYTES = 256; /* kept for a client that is not there yet, or is slow */
static constexpr uint32_t WORK_UNITS = 1024; /* done in one go: bytes sent, bytes received, passes */
static constexpr uint32_t NAMES = 16;

static struct loop loop;
static const struct uart_operations *uart;
static void *uart_context;
static const struct uart_place *place;
static struct console_text text;
static handle_t events; /* ours: BIT_* */

static uint8_t typed[TYPED_BYTES];
static uint32_t typed_head, typed_tail;

static struct client {
    bool is_attached;
    uint64_t badge, event_bits;
    handle_t memory, event;
    void *address;
    uint64_t size;
    struct socket_queue queue;
    struct loop_watch death;
} client;

static struct records {
    handle_t log, system;
    uint64_t cursor, since_ns; /* what is older was shown by the kernel itself */
    alignas(8) uint8_t buffer[2048];
    uint32_t at, size;
    struct {
        uint64_t id;
        char name[NAME_BYTES];
    } names[NAMES];
    uint32_t next_name;
} records;

/* ---- Log records ---- */

/* The name of a process, from the system's list; kept, because the process may be gone when its last words are printed. */
static const char *process_name(uint64_t id)
{
    if (id == 0) {
        return "kernel";
    }
    for (uint32_t i = 0; i < NAMES; i++) {
        if (records.names[i].id == id) {
            return records.names[i].name;
        }
    }
    struct tess_process_info info;
    if (records.system == HANDLE_NONE || tess_system_process_next(records.system, id - 1, (uint64_t)&info) != OK || info.id != id) {
        return nullptr;
    }
    uint32_t slot = records.next_name++ % NAMES;
    records.names[slot].id = id;
    memcpy(records.names[slot].name, info.name, NAME_BYTES);
    return records.names[slot].name;
}

/* Reads more records when the buffer is used up; true when there is one at records.at. */
static bool has_record(void)
{
    if (records.log == HANDLE_NONE) {
        return false;
    }
    if (records.at >= records.size) {
        uint64_t size, lost;
        records.at = records.size = 0;
        if (tess_log_drain(records.log, records.cursor, (uint64_t)records.buffer, sizeof(records.buffer), &records.cursor, &size, &lost) !=
            OK) {
            return false;
        }
        records.size = (uint32_t)min_u64(size, sizeof(records.buffer));
        if (lost > 0) {
            log_warning("%llu records were lost", (unsigned long long)lost);
        }
    }
    return records.size - records.at >= sizeof(struct tess_log_record);
}

static void print_record(void)
{
    const struct tess_log_record *record = (const void *)(records.buffer + records.at);
    uint32_t left = records.size - records.at - (uint32_t)sizeof(*record);
    records.at += (uint32_t)sizeof(*record) + (uint32_t)align_up(record->size, 8);
    if (record->time_ns < records.since_ns) {
        return;
    }
    uint32_t size = min_u32(record->size, left);
    const char *name = process_name(record->process_id);
    char padded[NAME_BYTES + 1] = {};
    if (name != nullptr) {
        memcpy(padded, name, strnlen(name, NAME_BYTES));
    }
    console_text_record(&text, &(struct console_record){
                                   .time_ns = record->time_ns,
                                   .name = name == nullptr ? nullptr : padded,
                                   .process_id = record->process_id,
                                   .message = (const char *)(record + 1),
                                   .size = size,
                               });
}

/* ---- Moving bytes ---- */

/* What is done is taken off the budget. */
static void spend(uint32_t *budget) { *budget -= *budget > 0; }

/* True: the receiver may hold more. */
static bool receive(uint32_t *budget)
{
    uint8_t byte;
    uint32_t count = 0;
    for (; count < TYPED_BYTES && *budget > 0 && uart->receive(uart_context, &byte); count++, spend(budget)) {
        if (typed_tail - typed_head < TYPED_BYTES) { /* else nobody reads: the byte is lost, as on any terminal */
            typed[typed_tail++ % TYPED_BYTES] = byte;
        }
    }
    while (client.is_attached && typed_head != typed_tail) {
        uint32_t offset = typed_head % TYPED_BYTES;
        uint32_t run = min_u32(typed_tail - typed_head, TYPED_BYTES - offset);
        uint32_t written = socket_queue_write(&client.queue, typed + offset, run);
        typed_head += written;
        if (written < run) {
            break;
        }
    }
    return count == TYPED_BYTES || *budget == 0;
}

/* Fills `text` from the client and the log; false when neither has anything that may be printed now. */
static bool fill_text(void)
{
    bool has_moved = false;
    uint8_t block[256];
    uint32_t room = min_u32(console_text_room(&text), sizeof(block));
    uint32_t size = client.is_attached ? socket_queue_read(&client.queue, block, room) : 0;
    if (size > 0) {
        console_text_client(&text, block, size);
        has_moved = true;
    }
    bool is_client_quiet = !client.is_attached || text.line_size == 0 || socket_queue_readable(&client.queue) == 0;
    while (is_client_quiet && console_text_room(&text) >= CONSOLE_RECORD_ROOM && has_record()) {
        print_record();
        has_moved = true;
    }
    return has_moved;
}

/* True: the transmitter is busy, and will interrupt. */
static bool transmit(uint32_t *budget)
{
    while (console_text_pending(&text) > 0) {
        uint32_t room = uart->transmit_room(uart_context);
        if (room == 0) {
            return true;
        }
        for (; room > 0 && console_text_pending(&text) > 0; room--) {
            uart->transmit(uart_context, console_text_next(&text));
            spend(budget);
        }
        if (*budget == 0) {
            return false;
        }
    }
    return false;
}

/* Whatever the UART and the client do, this ends: nothing else is heard meanwhile, not even that the UART is gone. */
static void work(void)
{
    uint32_t budget = WORK_UNITS;
    bool is_busy = false, has_more = true;
    for (; has_more && !is_busy && budget > 0; spend(&budget)) {
        has_more = receive(&budget);
        has_more |= fill_text() || console_text_pending(&text) > 0;
        is_busy = transmit(&budget);
        if (client.is_attached && socket_queue_should_wake(&client.queue)) {
            (void)tess_event_set(client.event, client.event_bits);
        }
        if (!has_more && client.is_attached) {
            uint32_t wants = SOCKET_QUEUE_WANT_READABLE | (typed_head != typed_tail ? SOCKET_QUEUE_WANT_WRITABLE : 0u);
            has_more = !socket_queue_prepare_wait(&client.queue, wants) && !client.queue.is_broken;
        }
    }
    uart->transmit_interrupt(uart_context, is_busy);
    if (has_more && !is_busy) {
        (void)tess_event_set(events, BIT_AGAIN); /* others in the loop have their turn first */
    }
}

/* ---- The client ---- */

static void detach(void)
{
    if (!client.is_attached) {
        return;
    }
    client.is_attached = false;
    loop_unwatch(&loop, &client.death);
    std_unmap(client.address, client.size);
    std_handle_delete(client.memory);
    std_handle_delete(client.event);
    console_text_client_gone(&text);
    work();
}

static void on_client_event_death(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch, (void)bits;
    if (status == ERROR_PEER_DIED) {
        detach();
    }
}

static status_t attach(void *context, struct tess_call *call, uint32_t rx_bytes, uint32_t tx_bytes, uint32_t client_bit, handle_t memory,
                       handle_t event, uint32_t *out_doorbell_bit, handle_t *out_doorbell)
{
    (void)context;
    uint64_t size = socket_queue_memory_size(rx_bytes, tx_bytes), memory_size, pages, badge, id;
    uint32_t flags, is_device, type, rights;
    if (size == 0 || client_bit > 63 || tess_memory_info(memory, &memory_size, &pages, &flags, &is_device) != OK || memory_size < size ||
        is_device || tess_cspace_inspect(std_self.cspace, event, &type, &rights, &badge, &id) != OK || type != OBJECT_EVENT ||
        (rights & EVENT_RIGHT_SIGNAL) == 0) {
        return ERROR_BAD_ARGUMENT;
    }
    if (client.is_attached && client.badge != call->badge) {
        return ERROR_BUSY;
    }
    detach();
    client = (struct client){.badge = call->badge,
                             .event_bits = UINT64_C(1) << client_bit,
                             .memory = memory,
                             .event = event,
                             .size = align_up(size, STD_PAGE),
                             .death = {.fn = on_client_event_death}};
    status_t status = std_map(memory, 0, client.size, MAP_READ | MAP_WRITE, &client.address);
    if (status != OK) {
        return status == ERROR_NO_MEMORY ? status : ERROR_BAD_ARGUMENT;
    }
    status = std_handle_mint(events, EVENT_RIGHT_SIGNAL | RIGHT_COPY | RIGHT_MOVE | RIGHT_WATCH | RIGHT_INSPECT, 0, out_doorbell);
    if (status != OK) {
        std_unmap(client.address, client.size);
        return ERROR_NO_MEMORY;
    }
    (void)socket_queue_attach(&client.queue, client.address, client.size, rx_bytes, tx_bytes, SOCKET_QUEUE_SERVICE);
    socket_queue_set_state(&client.queue, SOCKET_QUEUE_OPEN, 0);
    client.is_attached = true;
    if ((rights & RIGHT_WATCH) != 0 && loop_watch(&loop, &client.death, event, 0, WATCH_DEATH) != OK) {
        log_warning("the client's event cannot be watched");
    }
    call->reply_move_mask = 1;
    *out_doorbell_bit = DOORBELL_INDEX;
    (void)tess_event_set(events, BIT_AGAIN); /* after the reply */
    return OK;
}

static const struct console_server server = {.attach = attach};

static status_t dispatch(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    return console_dispatch(&server, nullptr, call);
}

static void badge_gone(struct loop_service *service, uint64_t badge)
{
    (void)service;
    if (client.is_attached && client.badge == badge) {
        detach();
    }
}

/* ---- Start ---- */

static void on_events(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch, (void)bits, (void)status;
    work();
}

static void on_interrupt(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch, (void)bits;
    if (status != OK) {
        log_error("the interrupt is gone");
        std_exit(1);
    }
    /* An edge that comes while the source is masked is lost, so an edge source is unmasked before the receiver is emptied; a
     * level source only afterwards, or it would fire again at once. */
    if (place->is_edge) {
        (void)tess_interrupt_ack(place->interrupt);
    }
    uart->interrupted(uart_context);
    work();
    if (!place->is_edge) {
        (void)tess_interrupt_ack(place->interrupt);
    }
}

status_t uart_claim(handle_t device, struct uart_place *out_place)
{
    uint32_t port_base;
    *out_place = (struct uart_place){};
    status_t status = tess_device_console(device, &out_place->kind, &out_place->reg_shift, &port_base, &out_place->interrupt,
                                          &out_place->registers, time_after_ns(5 * NS_PER_S));
    uint64_t size, pages;
    uint32_t flags, is_device;
    if (status != OK || tess_memory_info(out_place->registers, &size, &pages, &flags, &is_device) != OK) {
        out_place->is_edge = true;
        return status; /* ports (an ISA interrupt) need no mapping */
    }
    void *address;
    status = std_map(out_place->registers, 0, size, MAP_READ | MAP_WRITE, &address);
    if (status == OK) {
        out_place->base = (volatile uint8_t *)address + port_base % STD_PAGE;
    }
    return status;
}

/* Without the log the terminal still works; say so and go on. */
static void attach_log(void)
{
    records.log = std_handle("records");
    records.system = std_handle("system");
    /* Until the attach the kernel prints every record itself; one that falls between the two lines is printed twice. */
    records.since_ns = time_now_ns();
    if (records.log != HANDLE_NONE && tess_log_attach(records.log, events, BIT_LOG) != OK) {
        log_warning("the log has another reader");
        records.log = HANDLE_NONE;
    }
}

int uart_serve(const struct uart_operations *operations, void *context, const struct uart_place *where)
{
    uart = operations;
    uart_context = context;
    place = where;
    static struct loop_service service = {.dispatch = dispatch, .badge_gone = badge_gone};
    static struct loop_watch interrupt_watch = {.fn = on_interrupt}, events_watch = {.fn = on_events};
    status_t status = loop_open(&loop, nullptr);
    if (status == OK) {
        status = tess_untyped_create_event(std_self.untyped, &events);
    }
    if (status == OK) {
        status = loop_watch(&loop, &events_watch, events, BIT_DOORBELL | BIT_LOG | BIT_AGAIN, WATCH_MULTI);
    }
    if (status == OK) {
        status = loop_watch(&loop, &interrupt_watch, place->interrupt, 1, WATCH_MULTI | WATCH_DEATH);
    }
    if (status == OK) {
        status = loop_serve(&loop, &service, std_handle_needed("serve.console"));
    }
    if (status != OK) {
        log_error("cannot serve: %s", status_name(status));
        return 1;
    }
    attach_log();
    (void)tess_interrupt_ack(place->interrupt);
    uart->interrupted(uart_context);
    work();
    return loop_run(&loop);
}
