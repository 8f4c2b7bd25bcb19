/* The console's client: queues, doorbells, and attaching again when the driver was restarted. */
#include <console.h>
#include <std/log.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/stub/console.h>
#include <tess/stub/event.h>
#include <tess/stub/log.h>
#include <tess/stub/untyped.h>

constexpr uint32_t RX_BYTES = 1024;
constexpr uint32_t TX_BYTES = 4096;
constexpr uint32_t BIT_QUEUE = 0; /* of the event: the driver rings it */
constexpr uint32_t BIT_LOG = 1;   /* the kernel raises it */
constexpr uint32_t BUSY_TRIES = 20;
constexpr uint64_t BUSY_WAIT_NS = 50 * NS_PER_MS;

static void doorbell_gone(struct loop_watch *watch, uint64_t, status_t)
{
    struct console *console = watch->context;
    console->is_dead = true;
}

static void event_seen(struct loop_watch *watch, uint64_t bits, status_t)
{
    struct console *console = watch->context;
    if (bits >> BIT_LOG & 1) {
        console->news |= CONSOLE_LOG;
    }
}

/* ---- attaching ---- */

static status_t attach_once(struct console *console)
{
    uint32_t doorbell_bit;
    loop_unwatch(&console->loop, &console->doorbell_watch);
    std_handle_delete(console->doorbell);
    console->doorbell = HANDLE_NONE;
    socket_queue_init(&console->queue, console->mapping.address, console->mapping.size, RX_BYTES, TX_BYTES);
    status_t status = tess_console_attach(console->service, RX_BYTES, TX_BYTES, BIT_QUEUE, console->queue_given, console->event_given,
                                          &doorbell_bit, &console->doorbell, DEADLINE_INFINITE);
    if (status != OK) {
        return status;
    }
    if (doorbell_bit >= 64) {
        return ERROR_BAD_FORMAT;
    }
    console->doorbell_bits = 1ull << doorbell_bit;
    console->is_dead = false;
    console->input_count = console->input_at = 0;
    console->doorbell_watch = (struct loop_watch){.fn = doorbell_gone, .context = console};
    return loop_watch(&console->loop, &console->doorbell_watch, console->doorbell, 0, WATCH_DEATH);
}

/* A driver that dies while it answers is followed by another: the call ends with PEER_DIED, or what it gave is stale already. One
 * that still thinks of our predecessor as attached says BUSY until it has learnt of its end. */
static status_t attach(struct console *console)
{
    for (uint32_t tries = 0;;) {
        status_t status = attach_once(console);
        if (status == OK || status == ERROR_BAD_FORMAT || tries == BUSY_TRIES) {
            return status;
        }
        if (status != ERROR_PEER_DIED) {
            tries++;
            time_sleep_until(time_after_ns(BUSY_WAIT_NS));
        }
    }
}

/* A console that cannot be attached is of no use to anybody: the supervisor decides what to do about a shell without one. */
static void attach_again(struct console *console)
{
    status_t status = attach(console);
    if (status != OK) {
        log_error("tsh: console: %s", status_name(status));
        std_exit(1);
    }
    console->news |= CONSOLE_RESTARTED;
}

status_t console_open(struct console *console, handle_t service, handle_t log)
{
    *console = (struct console){.service = service};
    status_t status = loop_open(&console->loop, &(struct std_ring_sizes){.sq_entries = 4, .cq_entries = 16, .watch_slots = 8});
    if (status == OK) {
        status = std_mapping_create(socket_queue_memory_size(RX_BYTES, TX_BYTES), MEMORY_COMMITTED, &console->mapping);
    }
    if (status == OK) {
        status = std_handle_copy(console->mapping.memory, MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE | RIGHT_COPY | RIGHT_INSPECT,
                                 &console->queue_given);
    }
    if (status == OK) {
        status = tess_untyped_create_event(std_self.untyped, &console->event);
    }
    if (status == OK) {
        status = std_handle_copy(console->event, EVENT_RIGHT_SIGNAL | RIGHT_COPY | RIGHT_WATCH | RIGHT_INSPECT, &console->event_given);
    }
    if (status == OK) {
        console->event_watch = (struct loop_watch){.fn = event_seen, .context = console};
        status = loop_watch(&console->loop, &console->event_watch, console->event, 1u << BIT_QUEUE | 1u << BIT_LOG, WATCH_MULTI);
    }
    if (status == OK) {
        status = attach(console);
    }
    if (status == OK && log != HANDLE_NONE) {
        status = tess_log_attach(log, console->event, 1u << BIT_LOG);
    }
    return status;
}

/* ---- moving bytes ---- */

static void wake_driver(struct console *console)
{
    if (socket_queue_should_wake(&console->queue) && tess_event_set(console->doorbell, console->doorbell_bits) != OK) {
        console->is_dead = true;
    }
}

/* Sleeps until something happens to the queue, the log or the driver; OK also when there was nothing to wait for. */
static status_t sleep_for(struct console *console, uint32_t wants, uint64_t deadline_ns)
{
    if (socket_queue_state(&console->queue) >= SOCKET_QUEUE_PEER_CLOSED) {
        console->is_dead = true;
    }
    if (console->is_dead) {
        attach_again(console);
        return OK;
    }
    if (!socket_queue_prepare_wait(&console->queue, wants | SOCKET_QUEUE_WANT_STATE)) {
        return OK;
    }
    status_t status = loop_run_once(&console->loop, deadline_ns);
    socket_queue_cancel_wait(&console->queue);
    return status;
}

void console_write(struct console *console, const char *bytes, size_t count)
{
    while (count > 0) {
        uint32_t written = socket_queue_write(&console->queue, bytes, (uint32_t)count);
        wake_driver(console);
        bytes += written;
        count -= written;
        if (count > 0) {
            (void)sleep_for(console, SOCKET_QUEUE_WANT_WRITABLE, DEADLINE_INFINITE);
        }
    }
}

void console_drain(struct console *console, uint64_t deadline_ns)
{
    while (socket_queue_writable(&console->queue) < TX_BYTES && !console->is_dead && time_now_ns() < deadline_ns) {
        wake_driver(console);
        time_sleep_until(time_after_ns(NS_PER_MS));
    }
}

bool console_read(struct console *console, char *out_byte)
{
    if (console->input_at == console->input_count) {
        console->input_at = 0;
        console->input_count = socket_queue_read(&console->queue, console->input, sizeof(console->input));
        wake_driver(console);
    }
    if (console->input_at == console->input_count) {
        return false;
    }
    *out_byte = console->input[console->input_at++];
    return true;
}

uint32_t console_wait(struct console *console, uint64_t deadline_ns)
{
    while (true) {
        if (console->input_at < console->input_count || socket_queue_readable(&console->queue) > 0) {
            console->news |= CONSOLE_INPUT;
        }
        if (console->news != 0) {
            uint32_t news = console->news;
            console->news = 0;
            return news;
        }
        if (sleep_for(console, SOCKET_QUEUE_WANT_READABLE, deadline_ns) == ERROR_TIMED_OUT) {
            return 0;
        }
    }
}
