/* The system log, through the handle "log" (nothing happens without one). One call = one record, cut at 480 bytes; no newline. */
#pragma once
#include <tess/abi.h>

[[gnu::format(printf, 2, 3)]] void log_print(uint32_t level, const char *format, ...);
#define log_debug(...) log_print(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_print(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_print(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_print(LOG_ERROR, __VA_ARGS__)
