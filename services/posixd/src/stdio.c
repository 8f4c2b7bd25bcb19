/*
 * The first program's standard files: pipes, whose other ends are held here. One thread feeds its input, one carries its output to the console,
 * byte for byte. The console's queue is drained before the end is told: what the program wrote is out by then.
 */
#include "first.h"
#include <ring/pipe_queue.h>
#include <ring/socket_queue.h>
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/thread.h>
#include <std/time.h>
#include <tess/string.h>
#include <tess/stub/console.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint32_t CONSOLE_BYTES = 65536, PIPE_MEMORY = PIPE_QUEUE_HEADER_BYTES + PIPE_QUEUE_BYTES_DEFAULT;
constexpr uint32_t OUR_THREAD = 1; /* process 1 holds a pipe's lock under this id, which no thread of a process has */
constexpr uint64_t CONSOLE_PATIENCE_NS = 10 * NS_PER_S;

static struct pipe_queue input, output;
static const uint8_t *input_data;
static uint64_t input_size;
static handle_t input_writer;
static struct socket_queue console;
static handle_t console_event, console_doorbell;
static uint32_t doorbell_bit;
static bool has_console;
static void (*_Atomic finished)(void);
static struct std_thread feeder, carrier;

static void sleep_on(_Atomic uint32_t *word, uint32_t value)
{
    (void)tess_vspace_futex_wait(std_self.vspace, (uint64_t)word, value, UINT32_MAX, DEADLINE_INFINITE);
}

static void wake(_Atomic uint32_t *word)
{
    uint32_t woken;
    do {
        if (tess_vspace_futex_wake(std_self.vspace, (uint64_t)word, FUTEX_BATCH, UINT32_MAX, &woken) != OK)
            return;
    } while (woken == FUTEX_BATCH);
}

/* ---- Input ---- */

static void feed(void *context)
{
    (void)context;
    for (uint64_t at = 0; at < input_size;) {
        uint32_t count, value, heir;
        bool wake_lock;
        enum pipe_queue_result result = pipe_queue_write(&input, OUR_THREAD, input_data + at, input_size - at, &count, &wake_lock);
        if (wake_lock)
            (void)tess_vspace_futex_unlock(std_self.vspace, (uint64_t)&input.header->lock, OUR_THREAD, &heir);
        at += count;
        if (count > 0 && pipe_queue_should_wake_readers(&input))
            wake(&input.header->readable);
        if (result == PIPE_QUEUE_LOCKED) {
            (void)tess_vspace_futex_lock(std_self.vspace, (uint64_t)&input.header->lock, OUR_THREAD, DEADLINE_INFINITE);
            (void)tess_vspace_futex_unlock(std_self.vspace, (uint64_t)&input.header->lock, OUR_THREAD, &heir);
        } else if (result == PIPE_QUEUE_ENDED || result == PIPE_QUEUE_BROKEN) {
            break;
        } else if (result == PIPE_QUEUE_FULL &&
                   pipe_queue_prepare_write_wait(&input, (uint32_t)min_u64(input_size - at, PIPE_QUEUE_ATOMIC), &value)) {
            sleep_on(&input.header->writable, value);
        }
    }
    std_handle_delete(input_writer); /* the end of the input */
}

/* ---- Output ---- */

static void ring_console(void)
{
    if (socket_queue_should_wake(&console))
        (void)tess_event_set(console_doorbell, UINT64_C(1) << doorbell_bit);
}

/* False: nobody takes it. */
static bool wait_console(void)
{
    uint64_t bits;
    return !socket_queue_prepare_wait(&console, SOCKET_QUEUE_WANT_WRITABLE) ||
           tess_event_wait(console_event, 1, &bits, time_after_ns(CONSOLE_PATIENCE_NS)) == OK;
}

static void show(const uint8_t *data, uint32_t size)
{
    while (size > 0 && has_console) {
        uint32_t written = socket_queue_write(&console, data, size);
        data += written;
        size -= written;
        ring_console();
        if (size > 0 && written == 0 && (!wait_console() || console.is_broken)) {
            log_error("the console takes no more");
            has_console = false;
        }
    }
}

static void drain_console(void)
{
    uint64_t deadline = time_after_ns(CONSOLE_PATIENCE_NS), bits;
    while (has_console && socket_queue_writable(&console) < CONSOLE_BYTES && !console.is_broken && time_now_ns() < deadline) {
        ring_console();
        (void)tess_event_wait(console_event, 1, &bits, time_after_ns(NS_PER_MS)); /* it says nothing of the last bytes */
    }
}

static void carry(void *context)
{
    (void)context;
    static uint8_t block[8192];
    for (bool is_over = false; !is_over;) {
        /* Looked at before the queue: all that the program wrote was written before. */
        void (*then)(void) = finished;
        uint32_t count, value;
        enum pipe_queue_result result = pipe_queue_read(&output, block, sizeof(block), &count);
        if (result == PIPE_QUEUE_OK) {
            if (pipe_queue_should_wake_writers(&output))
                wake(&output.header->writable);
            show(block, count);
        } else if (then != nullptr) {
            drain_console();
            then();
            is_over = true;
        } else if (result == PIPE_QUEUE_EMPTY && pipe_queue_prepare_read_wait(&output, &value)) {
            if (finished == nullptr)
                sleep_on(&output.header->readable, value);
        } else if (result != PIPE_QUEUE_EMPTY) {
            time_sleep_until(time_after_ns(NS_PER_MS)); /* ended or damaged: the program's end is still to come */
        }
    }
}

void stdio_finish(void (*then)(void))
{
    finished = then;
    atomic_fetch_add(&output.header->readable, 2); /* whoever is about to sleep on the old value does not */
    wake(&output.header->readable);
}

/* ---- Start ---- */

static status_t open_console(handle_t handle)
{
    struct std_mapping mapping;
    if (handle == HANDLE_NONE)
        return OK;
    status_t status = std_mapping_create(socket_queue_memory_size(CONSOLE_BYTES, CONSOLE_BYTES), 0, &mapping);
    if (status == OK)
        status = tess_untyped_create_event(std_self.untyped, &console_event);
    if (status != OK)
        return status;
    (void)socket_queue_init(&console, mapping.address, mapping.size, CONSOLE_BYTES, CONSOLE_BYTES);
    status = tess_console_attach(handle, CONSOLE_BYTES, CONSOLE_BYTES, 0, mapping.memory, console_event, &doorbell_bit, &console_doorbell,
                                 time_after_ns(CONSOLE_PATIENCE_NS));
    has_console = status == OK;
    if (!has_console)
        log_warning("no console: %s; the program's output is lost", status_name(status));
    return OK;
}

static status_t open_pipe(const struct stdio_pipe *pipe, struct pipe_queue *out)
{
    void *address;
    status_t status = std_map(pipe->memory, 0, PIPE_MEMORY, MAP_READ | MAP_WRITE, &address);
    if (status == OK && !pipe_queue_attach(out, address, PIPE_MEMORY))
        status = ERROR_BAD_FORMAT;
    return status;
}

status_t stdio_start(const struct stdio_pipe *in, const struct stdio_pipe *out, handle_t file, uint64_t size, handle_t console_handle)
{
    void *address = nullptr;
    status_t status = open_pipe(in, &input);
    if (status == OK)
        status = open_pipe(out, &output);
    if (status == OK && file != HANDLE_NONE && size > 0)
        status = std_map(file, 0, align_up(size, STD_PAGE), MAP_READ, &address);
    if (status == OK)
        status = open_console(console_handle);
    input_data = address;
    input_size = address != nullptr ? size : 0;
    input_writer = in->writer;
    if (status == OK)
        status = std_thread_start(&carrier, carry, nullptr, 0);
    if (status == OK)
        status = std_thread_start(&feeder, feed, nullptr, 0);
    return status;
}
