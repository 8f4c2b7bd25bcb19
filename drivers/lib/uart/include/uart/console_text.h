/*
 * What a serial terminal shows when two sources share it: the client's bytes (a shell with its prompt) and lines of the system
 * log. A log line never lands inside what the user is typing: the driver remembers the client's unfinished line, clears it,
 * prints the log line, and prints the unfinished line again. Pure logic; output goes into a buffer that the driver drains.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

constexpr uint32_t CONSOLE_OUTPUT_BYTES = 2048; /* power of two */
constexpr uint32_t CONSOLE_LINE_BYTES = 256;
/* Room a log line may need: the remembered line twice over, controls, the text with time and name. */
constexpr uint32_t CONSOLE_RECORD_ROOM = 1024;
static_assert(CONSOLE_RECORD_ROOM <= CONSOLE_OUTPUT_BYTES);

struct console_text {
    uint8_t output[CONSOLE_OUTPUT_BYTES];
    uint32_t head, tail;
    uint8_t line[CONSOLE_LINE_BYTES]; /* what the client wrote since its last newline */
    uint32_t line_size;
    bool is_line_long; /* it did not fit: cannot be printed again */
};

static inline uint32_t console_text_pending(const struct console_text *text) { return text->tail - text->head; }
static inline uint32_t console_text_room(const struct console_text *text) { return CONSOLE_OUTPUT_BYTES - console_text_pending(text); }
/* The next byte for the UART; only when something is pending. */
static inline uint8_t console_text_next(struct console_text *text) { return text->output[text->head++ % CONSOLE_OUTPUT_BYTES]; }

/* Bytes of the client, as they are; at most console_text_room() of them. */
void console_text_client(struct console_text *text, const uint8_t *data, uint32_t size);
/* The client is gone: the next log line just starts on a new line. */
void console_text_client_gone(struct console_text *text);

struct console_record {
    uint64_t time_ns;
    const char *name; /* of the process; nullptr when unknown */
    uint64_t process_id;
    const char *message;
    uint32_t size;
};
/* "[   1.234567] name: text". Unprintable bytes become '?', newlines a space. Needs CONSOLE_RECORD_ROOM. */
void console_text_record(struct console_text *text, const struct console_record *record);
