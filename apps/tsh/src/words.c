/* Splitting a command line, and reading numbers, addresses and names. */
#include <stdckdint.h>
#include <tess/string.h>
#include <words.h>

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* Copies one word down over its quotes; *source moves behind it. The result never outruns the source. */
static const char *take_word(char **source, char **target)
{
    char quote = '\0', *from = *source, *to = *target;
    for (; *from != '\0' && (quote != '\0' || !is_blank(*from)); from++) {
        if (quote != '\0' && *from == quote) {
            quote = '\0';
        } else if (quote == '\0' && (*from == '\'' || *from == '"')) {
            quote = *from;
        } else if (*from == '\\' && quote != '\'') {
            if (*++from == '\0') {
                return "a \\ ends the line";
            }
            *to++ = *from;
        } else {
            *to++ = *from;
        }
    }
    *source = from;
    *target = to;
    return quote == '\0' ? nullptr : quote == '"' ? "a \" is not closed" : "a ' is not closed";
}

const char *words_split(char *text, struct words *out_words)
{
    *out_words = (struct words){.count = 0};
    char *from = text;
    while (true) {
        while (is_blank(*from)) {
            from++;
        }
        if (*from == '\0') {
            return nullptr;
        }
        if (out_words->count == WORDS_MAX) {
            return "too many words";
        }
        char *start = from, *to = from;
        const char *error = take_word(&from, &to);
        if (error != nullptr) {
            return error;
        }
        bool is_last = *from == '\0';
        *to = '\0'; /* may overwrite the blank at *from, which is therefore stepped over now */
        out_words->word[out_words->count++] = start;
        from += !is_last;
        if (is_last) {
            return nullptr;
        }
    }
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

bool words_number(const char *word, uint64_t *out_value)
{
    uint64_t base = 10, value = 0;
    if (word[0] == '0' && word[1] == 'x') {
        base = 16;
        word += 2;
    }
    if (*word == '\0') {
        return false;
    }
    for (; *word != '\0'; word++) {
        uint64_t digit = (uint64_t)digit_value(*word);
        if (digit >= base || ckd_mul(&value, value, base) || ckd_add(&value, value, digit)) {
            return false;
        }
    }
    *out_value = value;
    return true;
}

bool words_number_within(const char *word, uint64_t low, uint64_t high, uint64_t *out_value)
{
    uint64_t value;
    if (!words_number(word, &value) || value < low || value > high) {
        return false;
    }
    *out_value = value;
    return true;
}

bool words_ipv4(const char *word, uint32_t *out_address)
{
    uint32_t address = 0;
    for (unsigned part = 0; part < 4; part++) {
        uint32_t value = 0;
        unsigned digits = 0;
        for (; *word >= '0' && *word <= '9' && digits < 4; word++, digits++) {
            value = value * 10 + (uint32_t)(*word - '0');
        }
        if (digits == 0 || digits > 3 || value > 255 || *word != (part < 3 ? '.' : '\0')) {
            return false;
        }
        word++;
        address |= value << (8 * part);
    }
    *out_address = address;
    return true;
}

bool words_field(const char *word, char *field, size_t size)
{
    size_t length = strlen(word);
    if (length == 0 || length > size) {
        return false;
    }
    memset(field, 0, size);
    memcpy(field, word, length);
    return true;
}
