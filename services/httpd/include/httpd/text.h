/*
 * A bounded text under construction. Whoever writes does not check: text that does not fit is left out and is_full tells in
 * the end, so a truncated document is never sent.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct text {
    char *data;
    size_t size, length;
    bool is_full;
};

void text_add(struct text *text, const char *data, size_t size);
void text_string(struct text *text, const char *string);
void text_number(struct text *text, uint64_t value);
[[gnu::format(printf, 2, 3)]] void text_format(struct text *text, const char *format, ...);
/* A byte field such as a name: up to `limit` bytes or its zero, with what HTML gives a meaning to escaped. */
void text_html(struct text *text, const char *string, size_t limit);
/* The same as a JSON string with its quotes; bytes that are not ASCII become '?'. */
void text_json(struct text *text, const char *string, size_t limit);
