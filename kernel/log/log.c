/*
 * The log: one ring of records in kernel data. Sequence numbers never repeat; the oldest records are overwritten. While there
 * is no reader, records are echoed to the early console. Works from zeroed memory, before anything else.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/log.h>
#include <kernel/machine.h>
#include <kernel/process.h>
#include <kernel/vspace.h>
#include <stdarg.h>
#include <tess/fmt.h>
#include <tess/string.h>

constexpr uint32_t LOG_BYTES = 32768;
constexpr uint32_t LOG_TEXT_MAX = 512;

struct log log_object;
static struct spinlock log_lock;
static uint8_t ring_bytes[LOG_BYTES];
static uint64_t tail_position, head_position; /* bytes since boot: [head, tail) is kept */
static uint64_t head_sequence, next_sequence; /* of the record at head; of the next one */
static struct event *reader;                  /* counted */
static uint64_t reader_bits;
static bool is_echo_off;

static void ring_copy_in(uint64_t position, const void *from, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        ring_bytes[(position + i) % LOG_BYTES] = ((const uint8_t *)from)[i];
}

static void ring_copy_out(uint64_t position, void *to, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        ((uint8_t *)to)[i] = ring_bytes[(position + i) % LOG_BYTES];
}

static uint32_t record_size(uint32_t text_size) { return (uint32_t)sizeof(struct tess_log_record) + ((text_size + 7) & ~7u); }

static void console_text(const char *text, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (text[i] == '\n')
            arch_console_putc('\r');
        arch_console_putc(text[i]);
    }
}

static void echo(uint64_t time_ns, const char *text, uint32_t size)
{
    char prefix[32];
    int length = fmt_print(prefix, sizeof(prefix), "[%5lu.%06lu] ", time_ns / 1'000'000'000, time_ns / 1000 % 1'000'000);
    console_text(prefix, (uint32_t)length);
    console_text(text, size);
    console_text("\n", 1);
}

void log_write(uint32_t level, uint64_t process_id, const char *text, uint32_t size)
{
    struct tess_log_record record = {
        .time_ns = arch_time_ns(),
        .process_id = process_id,
        .level = (uint16_t)level,
        .size = (uint16_t)size,
        .cpu = arch_cpu()->index,
    };
    static const uint64_t padding = 0;
    spinlock_acquire(&log_lock);
    while (tail_position + record_size(size) - head_position > LOG_BYTES) {
        struct tess_log_record oldest;
        ring_copy_out(head_position, &oldest, sizeof(oldest));
        head_position += record_size(oldest.size);
        head_sequence++;
    }
    record.sequence = next_sequence++;
    ring_copy_in(tail_position, &record, sizeof(record));
    ring_copy_in(tail_position + sizeof(record), text, size);
    ring_copy_in(tail_position + sizeof(record) + size, &padding, (8 - size % 8) % 8);
    tail_position += record_size(size);
    if (!is_echo_off)
        echo(record.time_ns, text, size);
    struct event *event = reader;
    if (event != nullptr)
        object_get(&event->object);
    uint64_t bits = reader_bits;
    spinlock_release(&log_lock);
    if (event != nullptr) {
        event_signal(event, bits);
        object_put(&event->object);
    }
}

void kprintf(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int length = fmt_vprint(text, sizeof(text), format, args);
    va_end(args);
    uint32_t size = length < (int)sizeof(text) ? (uint32_t)length : (uint32_t)sizeof(text) - 1;
    while (size != 0 && text[size - 1] == '\n')
        size--;
    log_write(LOG_INFO, 0, text, size);
}

void log_panic_mode(void) { is_echo_off = true; /* the panic report goes through log_console_line only: no lock is taken any more */ }

void log_console_line(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int length = fmt_vprint(text, sizeof(text), format, args);
    va_end(args);
    console_text(text, length < (int)sizeof(text) ? (uint32_t)length : (uint32_t)sizeof(text) - 1);
    console_text("\n", 1);
}

void log_console_last(uint32_t count)
{
    uint64_t position = head_position, sequence = head_sequence;
    while (position < tail_position) {
        struct tess_log_record record;
        ring_copy_out(position, &record, sizeof(record));
        if (record.size > LOG_TEXT_MAX || record_size(record.size) > LOG_BYTES)
            return;
        if (next_sequence - sequence <= count) {
            char text[LOG_TEXT_MAX];
            ring_copy_out(position + sizeof(record), text, record.size);
            log_console_line("  [%5lu.%06lu] #%lu %.*s", record.time_ns / 1'000'000'000, record.time_ns / 1000 % 1'000'000,
                             record.process_id, (int)(record.size < 200 ? record.size : 200), text);
        }
        position += record_size(record.size);
        sequence++;
    }
}

void log_init(void) { object_init_static(&log_object.object, OBJECT_LOG, sizeof(log_object)); }

status_t log_append(struct invocation *inv, struct log *self, uint64_t address, uint64_t size, uint32_t level)
{
    (void)self;
    if (level > LOG_ERROR || size == 0)
        return ERROR_BAD_ARGUMENT;
    /* Whose record it is stands in front, given by the kernel: a reader may come when the process is gone. */
    const struct process *process = inv->thread->process;
    char text[LOG_TEXT_MAX];
    uint32_t prefix = (uint32_t)fmt_print(text, sizeof(text), "%.16s: ", process->name);
    uint32_t length = size < sizeof(text) - prefix ? (uint32_t)size : (uint32_t)sizeof(text) - prefix;
    status_t status = user_copy_in(process->vspace, text + prefix, address, length);
    if (status != OK)
        return status;
    length += prefix;
    /* A reader's terminal must not be driven by whoever may write a log line. */
    for (uint32_t i = 0; i < length; i++)
        if ((uint8_t)text[i] < 32 || text[i] == 127)
            text[i] = ' ';
    log_write(level, process->object.id, text, length);
    return OK;
}

status_t log_drain(struct invocation *inv, struct log *self, uint64_t cursor, uint64_t address, uint64_t size, uint64_t *out_cursor,
                   uint64_t *out_size, uint64_t *out_lost)
{
    (void)self;
    struct vspace *vspace = inv->thread->process->vspace;
    if (size < sizeof(struct tess_log_record) + LOG_TEXT_MAX)
        return ERROR_BAD_ARGUMENT;
    uint64_t written = 0, lost = 0, next = cursor;
    uint8_t copy[sizeof(struct tess_log_record) + LOG_TEXT_MAX];
    uint64_t position = UINT64_MAX, sequence = 0; /* where the walk stands; restarted when the writer overtook it */
    for (;;) {
        spinlock_acquire(&log_lock);
        if (position == UINT64_MAX || position < head_position) {
            position = head_position;
            sequence = head_sequence;
        }
        if (next < head_sequence) {
            lost += cursor == 0 && lost == 0 && written == 0 ? 0 : head_sequence - next;
            next = head_sequence;
        }
        while (position < tail_position && sequence < next) {
            struct tess_log_record skipped;
            ring_copy_out(position, &skipped, sizeof(skipped));
            position += record_size(skipped.size);
            sequence++;
        }
        uint32_t bytes = 0;
        if (position < tail_position) {
            struct tess_log_record record;
            ring_copy_out(position, &record, sizeof(record));
            bytes = record_size(record.size);
            if (written + bytes <= size)
                ring_copy_out(position, copy, bytes);
            else
                bytes = 0;
        }
        spinlock_release(&log_lock);
        if (bytes == 0)
            break;
        status_t status = user_copy_out(vspace, address + written, copy, bytes);
        if (status != OK)
            return status;
        written += bytes;
        position += bytes;
        next = ++sequence;
    }
    *out_cursor = next;
    *out_size = written;
    *out_lost = lost;
    return OK;
}

void log_reader_gone(struct event *event)
{
    spinlock_acquire(&log_lock);
    bool was_reader = reader == event;
    if (was_reader) {
        reader = nullptr;
        is_echo_off = false; /* until the next reader: why there is none is for people to see */
    }
    spinlock_release(&log_lock);
    if (was_reader)
        object_put(&event->object);
}

status_t log_attach(struct invocation *inv, struct log *self, const struct cap *event, uint64_t bits)
{
    (void)inv, (void)self;
    struct object *old = nullptr;
    status_t status = OK;
    spinlock_acquire(&log_lock);
    /* The log's own reference does not keep a reader: nobody else has the event any more when it is the only one. */
    if (!object_is_alive(event->object)) {
        status = ERROR_STALE_HANDLE; /* its kill may have passed log_reader_gone() already */
    } else if (reader != nullptr && object_is_alive(&reader->object) && atomic_load(&reader->object.refs) > 1) {
        status = ERROR_BUSY;
    } else {
        old = reader != nullptr ? &reader->object : nullptr;
        object_get(event->object);
        reader = (struct event *)event->object;
        reader_bits = bits;
        is_echo_off = true;
    }
    spinlock_release(&log_lock);
    if (old != nullptr)
        object_put(old);
    return status;
}
