/*
 * The shell's side of the serial console: byte queues shared with the driver (protocol `console`, lib/ring socket_queue.h), and
 * one loop in which the shell waits for everything: input, room for output, new log records, and the driver's death. When the
 * driver dies its doorbell dies with it; the console then attaches to the next incarnation by itself. What was in the queues is
 * lost, and whoever waits is told once, to draw its line again.
 */
#pragma once
#include <ring/socket_queue.h>
#include <std/loop.h>
#include <std/memory.h>
#include <tess/types.h>

enum console_news : uint32_t {
    CONSOLE_INPUT = 1,     /* console_read() has a byte */
    CONSOLE_LOG = 2,       /* records were appended to the log */
    CONSOLE_RESTARTED = 4, /* attached anew: nothing printed before can be relied on */
};

constexpr size_t CONSOLE_INPUT_BYTES = 64;

struct console {
    struct loop loop;
    handle_t service;     /* the endpoint: outlives the driver's incarnations */
    handle_t event;       /* bits CONSOLE_BIT_* of console.c */
    handle_t event_given; /* the same with fewer rights, for the driver */
    handle_t queue_given;
    struct std_mapping mapping;
    struct loop_watch event_watch;

    /* Of this incarnation of the driver. */
    struct socket_queue queue;
    handle_t doorbell;
    uint64_t doorbell_bits;
    struct loop_watch doorbell_watch;
    bool is_dead;

    uint32_t news; /* seen, not handed out yet */
    char input[CONSOLE_INPUT_BYTES];
    size_t input_count, input_at;
};

/* Makes event, queue and loop, and attaches: waits until there is a driver. With a log handle (may be HANDLE_NONE), new records
 * count as news from now on, and the kernel no longer prints them itself. */
status_t console_open(struct console *console, handle_t service, handle_t log);

/* Waits until all of it is in the queue, however slow the line is. */
void console_write(struct console *console, const char *bytes, size_t count);

/* Waits until the driver has taken everything, at most until the deadline. */
void console_drain(struct console *console, uint64_t deadline_ns);

/* One byte if there is any; never waits. */
bool console_read(struct console *console, char *out_byte);

/* Waits for news (bits of enum console_news); 0 = the deadline passed. */
uint32_t console_wait(struct console *console, uint64_t deadline_ns);
