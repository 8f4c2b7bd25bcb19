/*
 * Logs: rings of records in kernel data. Sequence numbers never repeat; the oldest records are overwritten. `log` has what programs
 * and the kernel say; until a reader attaches, its records are echoed to the early console; in a panic they always are. `audit` has
 * what was done with authority (audit.c). Work from zeroed memory, before anything else.
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

constexpr uint32_t LOG_TEXT_MAX = 512;

static uint8_t log_bytes[32768], audit_bytes[65536];
struct log log_object = {.bytes = log_bytes, .size = sizeof(log_bytes), .has_echo = true};
struct log audit_object = {.bytes = audit_bytes, .size = sizeof(audit_bytes)};

static void ring_copy_in(struct log *log, uint64_t position, const void *from, uint32_t size)
{
    uint32_t at = (uint32_t)(position % log->size), first = (uint32_t)min_u64(size, log->size - at);
    memcpy(&log->bytes[at], from, first);
    memcpy(log->bytes, (const uint8_t *)from + first, size - first);
}

static void ring_copy_out(struct log *log, uint64_t position, void *to, uint32_t size)
{
    uint32_t at = (uint32_t)(position % log->size), first = (uint32_t)min_u64(size, log->size - at);
    memcpy(to, &log->bytes[at], first);
    memcpy((uint8_t *)to + first, log->bytes, size - first);
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

void log_put(struct log *log, uint32_t level, uint64_t process_id, const void *text, uint32_t size)
{
    struct tess_log_record record = {
        .time_ns = arch_time_ns(),
        .process_id = process_id,
        .level = (uint16_t)level,
        .size = (uint16_t)size,
        .cpu = arch_cpu()->index,
    };
    static const uint64_t padding = 0;
    spinlock_acquire(&log->lock);
    while (log->tail_position + record_size(size) - log->head_position > log->size) {
        struct tess_log_record oldest;
        ring_copy_out(log, log->head_position, &oldest, sizeof(oldest));
        log->head_position += record_size(oldest.size);
        log->head_sequence++;
    }
    record.sequence = log->next_sequence++;
    ring_copy_in(log, log->tail_position, &record, sizeof(record));
    ring_copy_in(log, log->tail_position + sizeof(record), text, size);
    ring_copy_in(log, log->tail_position + sizeof(record) + size, &padding, (8 - size % 8) % 8);
    log->tail_position += record_size(size);
    if (log->has_echo)
        echo(record.time_ns, text, size);
    struct event *event = log->reader;
    if (event != nullptr)
        object_get(&event->object);
    uint64_t bits = log->reader_bits;
    spinlock_release(&log->lock);
    if (event != nullptr) {
        event_signal_at_once(event, bits);
        object_put(&event->object);
    }
}

void log_write(uint32_t level, uint64_t process_id, const char *text, uint32_t size)
{
    log_put(&log_object, level, process_id, text, size);
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

void log_panic_mode(void) NO_THREAD_SAFETY
{
    log_object.has_echo = false; /* the panic report goes through log_console_line only: no lock is taken any more */
}

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

void log_console_last(uint32_t count) NO_THREAD_SAFETY
{
    struct log *log = &log_object;
    uint64_t position = log->head_position, sequence = log->head_sequence;
    while (position < log->tail_position) {
        struct tess_log_record record;
        ring_copy_out(log, position, &record, sizeof(record));
        if (record.size > LOG_TEXT_MAX || record_size(record.size) > log->size)
            return;
        if (log->next_sequence - sequence <= count) {
            char text[LOG_TEXT_MAX];
            ring_copy_out(log, position + sizeof(record), text, record.size);
            log_console_line("  [%5lu.%06lu] #%lu %.*s", record.time_ns / 1'000'000'000, record.time_ns / 1000 % 1'000'000,
                             record.process_id, (int)(record.size < 200 ? record.size : 200), text);
        }
        position += record_size(record.size);
        sequence++;
    }
}

void log_init(void)
{
    object_init_static(&log_object.object, OBJECT_LOG, sizeof(log_object));
    object_init_static(&audit_object.object, OBJECT_LOG, sizeof(audit_object));
}

status_t log_append(struct invocation *inv, struct log *self, uint64_t address, uint64_t size, uint32_t level)
{
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
    log_put(self, level, process->object.id, text, length);
    return OK;
}

status_t log_drain(struct invocation *inv, struct log *self, uint64_t cursor, uint64_t address, uint64_t size, uint64_t *out_cursor,
                   uint64_t *out_size, uint64_t *out_lost)
{
    struct vspace *vspace = inv->thread->process->vspace;
    if (size < sizeof(struct tess_log_record) + LOG_TEXT_MAX)
        return ERROR_BAD_ARGUMENT;
    constexpr uint32_t AT_ONCE = 8; /* records passed over before interrupts are let in */
    uint64_t written = 0, lost = 0, next = cursor;
    uint8_t copy[sizeof(struct tess_log_record) + LOG_TEXT_MAX];
    uint64_t position = UINT64_MAX, sequence = 0; /* where the walk stands; restarted when the writer overtook it */
    for (;;) {
        spinlock_acquire(&self->lock);
        if (position == UINT64_MAX || position < self->head_position) {
            position = self->head_position;
            sequence = self->head_sequence;
        }
        if (next < self->head_sequence) {
            lost += cursor == 0 && lost == 0 && written == 0 ? 0 : self->head_sequence - next;
            next = self->head_sequence;
        }
        for (uint32_t i = 0; i < AT_ONCE && position < self->tail_position && sequence < next; i++) {
            struct tess_log_record skipped;
            ring_copy_out(self, position, &skipped, sizeof(skipped));
            position += record_size(skipped.size);
            sequence++;
        }
        uint32_t bytes = 0;
        bool is_there = sequence >= next;
        if (is_there && position < self->tail_position) {
            struct tess_log_record record;
            ring_copy_out(self, position, &record, sizeof(record));
            bytes = record_size(record.size);
            if (written + bytes <= size)
                ring_copy_out(self, position, copy, bytes);
            else
                bytes = 0;
        }
        bool is_end = position >= self->tail_position;
        spinlock_release(&self->lock);
        arch_irq_poll();
        if (!is_there && !is_end)
            continue;
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
    struct log *logs[] = {&log_object, &audit_object};
    for (uint32_t i = 0; i < ARRAY_LENGTH(logs); i++) {
        spinlock_acquire(&logs[i]->lock);
        bool was_reader = logs[i]->reader == event;
        if (was_reader)
            logs[i]->reader = nullptr;
        spinlock_release(&logs[i]->lock);
        if (was_reader)
            object_put(&event->object);
    }
}

status_t log_attach(struct invocation *inv, struct log *self, const struct cap *event, uint64_t bits)
{
    (void)inv;
    struct object *old = nullptr;
    status_t status = OK;
    spinlock_acquire(&self->lock);
    /* The log's own reference does not keep a reader: nobody else has the event any more when it is the only one. */
    if (!object_is_alive(event->object)) {
        status = ERROR_STALE_HANDLE; /* its kill may have passed log_reader_gone() already */
    } else if (self->reader != nullptr && object_is_alive(&self->reader->object) && atomic_load(&self->reader->object.refs) > 1) {
        status = ERROR_BUSY;
    } else {
        old = self->reader != nullptr ? &self->reader->object : nullptr;
        object_get(event->object);
        self->reader = (struct event *)event->object;
        self->reader_bits = bits;
        self->has_echo = false;
    }
    spinlock_release(&self->lock);
    if (old != nullptr)
        object_put(old);
    return status;
}
