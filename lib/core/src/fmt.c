/*
 * printf formatting into a buffer. One pass over the format; the sink counts every character and stores those that fit, so
 * truncation is decided in one place.
 */
#include <stdint.h>
#include <tess/fmt.h>
#include <tess/string.h>

struct sink {
    char *buffer;
    size_t size;
    size_t length; /* of the whole text, stored or not */
};

enum length_modifier : uint8_t { LENGTH_INT, LENGTH_CHAR, LENGTH_SHORT, LENGTH_LONG };

struct spec {
    bool is_left, is_zero_padded, is_alternate;
    bool has_precision;
    int width, precision;
    enum length_modifier length;
};

static void sink_char(struct sink *sink, char c)
{
    if (sink->length + 1 < sink->size) {
        sink->buffer[sink->length] = c;
    }
    sink->length++;
}

static void sink_repeat(struct sink *sink, char c, int count)
{
    while (count-- > 0) {
        sink_char(sink, c);
    }
}

/* prefix (sign or 0x), then text, padded to the width; zeros go between the two, spaces outside. */
static void sink_field(struct sink *sink, const struct spec *spec, const char *prefix, const char *text, int count)
{
    int padding = spec->width - (int)strlen(prefix) - count;
    if (!spec->is_left && !spec->is_zero_padded) {
        sink_repeat(sink, ' ', padding);
    }
    while (*prefix != '\0') {
        sink_char(sink, *prefix++);
    }
    if (!spec->is_left && spec->is_zero_padded) {
        sink_repeat(sink, '0', padding);
    }
    for (int i = 0; i < count; i++) {
        sink_char(sink, text[i]);
    }
    if (spec->is_left) {
        sink_repeat(sink, ' ', padding);
    }
}

static void sink_number(struct sink *sink, const struct spec *spec, const char *prefix, uint64_t value, uint32_t base, const char *digits)
{
    char text[64];
    int start = sizeof text;
    int shortest = (int)sizeof text - 1;
    if (spec->has_precision) {
        int minimum = spec->precision < (int)sizeof text ? spec->precision : (int)sizeof text;
        shortest = (int)sizeof text - minimum;
    }
    while (value != 0 || start > shortest) {
        text[--start] = digits[value % base];
        value /= base;
    }
    struct spec field = *spec;
    field.is_zero_padded = spec->is_zero_padded && !spec->has_precision;
    sink_field(sink, &field, prefix, text + start, (int)sizeof text - start);
}

static int64_t signed_argument(enum length_modifier length, va_list *args)
{
    switch (length) {
    case LENGTH_LONG: return va_arg(*args, int64_t);
    case LENGTH_SHORT: return (int16_t)va_arg(*args, int);
    case LENGTH_CHAR: return (int8_t)va_arg(*args, int);
    default: return va_arg(*args, int);
    }
}

static uint64_t unsigned_argument(enum length_modifier length, va_list *args)
{
    switch (length) {
    case LENGTH_LONG: return va_arg(*args, uint64_t);
    case LENGTH_SHORT: return (uint16_t)va_arg(*args, unsigned int);
    case LENGTH_CHAR: return (uint8_t)va_arg(*args, unsigned int);
    default: return va_arg(*args, unsigned int);
    }
}

/* Decimal digits or '*'. Large widths are clamped: nobody wants a gigabyte of padding. */
static int parse_number(const char **format, va_list *args)
{
    constexpr int LIMIT = 4096;
    int value = 0;
    if (**format == '*') {
        (*format)++;
        value = va_arg(*args, int);
        return value > LIMIT ? LIMIT : value;
    }
    for (; **format >= '0' && **format <= '9'; (*format)++) {
        if (value < LIMIT) {
            value = value * 10 + (**format - '0');
        }
    }
    return value > LIMIT ? LIMIT : value;
}

static enum length_modifier parse_length(const char **format)
{
    enum length_modifier length = LENGTH_INT;
    for (;; (*format)++) {
        switch (**format) {
        case 'h': length = length == LENGTH_SHORT ? LENGTH_CHAR : LENGTH_SHORT; break;
        case 'l':
        case 'z':
            /* long, long long and size_t are all 64 bits on every target. */
            length = LENGTH_LONG;
            break;
        default: return length;
        }
    }
}

static_assert(sizeof(long) == 8 && sizeof(long long) == 8 && sizeof(size_t) == 8);

static struct spec parse_spec(const char **format, va_list *args)
{
    struct spec spec = {};
    for (;; (*format)++) {
        if (**format == '-') {
            spec.is_left = true;
        } else if (**format == '0') {
            spec.is_zero_padded = true;
        } else if (**format == '#') {
            spec.is_alternate = true;
        } else {
            break;
        }
    }
    spec.width = parse_number(format, args);
    if (spec.width < 0) {
        spec.is_left = true;
        spec.width = spec.width < -4096 ? 4096 : -spec.width;
    }
    if (**format == '.') {
        (*format)++;
        spec.precision = parse_number(format, args);
        spec.has_precision = spec.precision >= 0;
    }
    spec.length = parse_length(format);
    return spec;
}

static void format_text(struct sink *sink, struct spec *spec, const char *text)
{
    if (text == nullptr) {
        text = "(null)";
    }
    size_t limit = spec->has_precision ? (size_t)spec->precision : (size_t)INT32_MAX;
    spec->is_zero_padded = false;
    sink_field(sink, spec, "", text, (int)strnlen(text, limit));
}

static void format_signed(struct sink *sink, const struct spec *spec, int64_t value)
{
    uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;
    sink_number(sink, spec, value < 0 ? "-" : "", magnitude, 10, "0123456789");
}

static void format_hex(struct sink *sink, const struct spec *spec, const char *prefix, const char *digits, uint64_t value)
{
    sink_number(sink, spec, spec->is_alternate && value != 0 ? prefix : "", value, 16, digits);
}

static void format_conversion(struct sink *sink, struct spec *spec, char conversion, va_list *args)
{
    static const char lower[] = "0123456789abcdef";
    switch (conversion) {
    case 'c': {
        char c = (char)va_arg(*args, int);
        spec->is_zero_padded = false;
        sink_field(sink, spec, "", &c, 1);
        break;
    }
    case 's': format_text(sink, spec, va_arg(*args, const char *)); break;
    case 'd':
    case 'i': format_signed(sink, spec, signed_argument(spec->length, args)); break;
    case 'u': sink_number(sink, spec, "", unsigned_argument(spec->length, args), 10, lower); break;
    case 'x': format_hex(sink, spec, "0x", lower, unsigned_argument(spec->length, args)); break;
    case 'X': format_hex(sink, spec, "0X", "0123456789ABCDEF", unsigned_argument(spec->length, args)); break;
    case 'p': sink_number(sink, spec, "0x", (uintptr_t)va_arg(*args, void *), 16, lower); break;
    case '%': sink_char(sink, '%'); break;
    default: /* not in the contract: show it rather than hide it */
        sink_char(sink, '%');
        sink_char(sink, conversion);
        break;
    }
}

int fmt_vprint(char *buffer, size_t size, const char *format, va_list args)
{
    struct sink sink = {.buffer = buffer, .size = size};
    va_list rest;
    va_copy(rest, args);
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            sink_char(&sink, *format);
            continue;
        }
        format++;
        struct spec spec = parse_spec(&format, &rest);
        if (*format == '\0') {
            break;
        }
        format_conversion(&sink, &spec, *format, &rest);
    }
    va_end(rest);
    if (size > 0) {
        buffer[sink.length < size ? sink.length : size - 1] = '\0';
    }
    return (int)sink.length;
}

int fmt_print(char *buffer, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = fmt_vprint(buffer, size, format, args);
    va_end(args);
    return length;
}
