/* The kernel side of the log (log/log.c). kprintf() is in <arch/arch.h>. */
#pragma once
#include <kernel/types.h>

void log_init(void);
/* Panic: from here on nothing takes the log's lock; lines go straight to the early console. */
void log_panic_mode(void);
[[gnu::format(printf, 1, 2)]] void log_console_line(const char *format, ...);
void log_console_last(uint32_t count);
