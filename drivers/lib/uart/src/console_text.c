#include <tess/fmt.h>
#include <tess/string.h>
#include <uart/console_text.h>

static constexpr uint32_t MESSAGE_BYTES = 512;

static void put(struct console_text *text, const void *data, uint32_t size)
{
    const uint8_t *bytes = data;
    for (uint32_t i = 0; i < size && console_text_room(text) > 0; i++) {
        text->output[text->tail++ % CONSOLE_OUTPUT_BYTES] = bytes[i];
    }
}

static void put_text(struct console_text *text, const char *string) { put(text, string, (uint32_t)strlen(string)); }

void console_text_client(struct console_text *text, const uint8_t *data, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (data[i] == '\n') {
            text->line_size = 0;
            text->is_line_long = false;
        } else if (text->line_size < CONSOLE_LINE_BYTES) {
            /* A carriage return rewinds the terminal's line, so what came before need not be kept. */
            text->line_size = data[i] == '\r' ? 0 : text->line_size;
            text->is_line_long = data[i] == '\r' ? false : text->is_line_long;
            text->line[text->line_size++] = data[i];
        } else {
            text->line_size = data[i] == '\r' ? 0 : text->line_size;
            text->is_line_long = data[i] != '\r';
        }
    }
    put(text, data, size);
}

void console_text_client_gone(struct console_text *text)
{
    if (text->line_size > 0) {
        put_text(text, "\r\n");
    }
    text->line_size = 0;
    text->is_line_long = false;
}

static bool is_line_visible(const struct console_text *text)
{
    return text->line_size > 1 || (text->line_size == 1 && text->line[0] != '\r') || text->is_line_long;
}

void console_text_record(struct console_text *text, const struct console_record *record)
{
    bool is_visible = is_line_visible(text);
    if (is_visible) {
        put_text(text, text->is_line_long ? "\r\n" : "\r\033[K"); /* ECMA-48 EL: clear to the end of the line */
    }
    char prefix[64];
    uint64_t us = record->time_ns / 1000;
    if (record->name != nullptr) {
        fmt_print(prefix, sizeof(prefix), "[%4llu.%06llu] %.16s: ", (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000),
                  record->name);
    } else {
        fmt_print(prefix, sizeof(prefix), "[%4llu.%06llu] ", (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000));
    }
    put_text(text, prefix);
    for (uint32_t i = 0; i < record->size && i < MESSAGE_BYTES; i++) {
        uint8_t byte = (uint8_t)record->message[i];
        if (byte == '\n' && i + 1 == record->size) {
            break;
        }
        byte = byte == '\n' || byte == '\t' ? ' ' : byte;
        byte = byte < 0x20 || byte == 0x7F ? '?' : byte; /* no control sequences from the log to the terminal */
        put(text, &byte, 1);
    }
    put_text(text, "\r\n");
    if (is_visible && !text->is_line_long) {
        put(text, text->line, text->line_size);
    }
}
