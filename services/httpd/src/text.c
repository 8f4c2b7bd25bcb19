#include <httpd/text.h>
#include <stdarg.h>
#include <tess/fmt.h>
#include <tess/string.h>

void text_add(struct text *text, const char *data, size_t size)
{
    if (text->is_full || size > text->size - text->length) {
        text->is_full = true;
        return;
    }
    memcpy(text->data + text->length, data, size);
    text->length += size;
}

void text_string(struct text *text, const char *string) { text_add(text, string, strlen(string)); }

void text_number(struct text *text, uint64_t value)
{
    char digits[20];
    size_t start = sizeof digits;
    do {
        digits[--start] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    text_add(text, digits + start, sizeof digits - start);
}

void text_format(struct text *text, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int length = fmt_vprint(line, sizeof line, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof line) {
        text->is_full = true;
        return;
    }
    text_add(text, line, (size_t)length);
}

void text_html(struct text *text, const char *string, size_t limit)
{
    for (size_t i = 0; i < limit && string[i] != '\0'; i++) {
        unsigned char c = (unsigned char)string[i];
        switch (c) {
        case '<': text_string(text, "&lt;"); break;
        case '>': text_string(text, "&gt;"); break;
        case '&': text_string(text, "&amp;"); break;
        case '"': text_string(text, "&quot;"); break;
        case '\'': text_string(text, "&#39;"); break;
        default: text_add(text, c < ' ' || c >= 0x7F ? "?" : &string[i], 1); break;
        }
    }
}

void text_json(struct text *text, const char *string, size_t limit)
{
    text_add(text, "\"", 1);
    for (size_t i = 0; i < limit && string[i] != '\0'; i++) {
        unsigned char c = (unsigned char)string[i];
        if (c == '"' || c == '\\') {
            text_add(text, "\\", 1);
        }
        text_add(text, c < ' ' || c >= 0x7F ? "?" : &string[i], 1);
    }
    text_add(text, "\"", 1);
}
