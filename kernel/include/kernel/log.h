/* The kernel side of the log (log/log.c). kprintf() is in <arch/arch.h>. */
#pragma once
#include <kernel/types.h>

struct log;

void log_init(void);
/* Any context with interrupts off and no object's lock held: a reader's event may be signalled. */
void log_put(struct log *log, uint32_t level, uint64_t process_id, const void *text, uint32_t size);
/* Panic: from here on nothing takes the log's lock; lines go straight to the early console. */
void log_panic_mode(void);
[[gnu::format(printf, 1, 2)]] void log_console_line(const char *format, ...);
void log_console_last(uint32_t count);
