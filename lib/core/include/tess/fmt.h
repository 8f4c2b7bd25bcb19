/*
 * Formatting into a buffer: the subset %c %s %.*s %d %i %u %x %X %p %% with widths, '0', '-' and '#' flags, and l, ll, z, h modifiers.
 * No floating point. Always terminates when size > 0; returns the length the whole text would have had (like snprintf).
 */
#pragma once
#include <stdarg.h>
#include <stddef.h>

int fmt_vprint(char *buffer, size_t size, const char *format, va_list args);
[[gnu::format(printf, 3, 4)]] int fmt_print(char *buffer, size_t size, const char *format, ...);
