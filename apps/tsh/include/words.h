/*
 * From the text of a command line to words, and from words to values. Pure; nothing here prints. Errors come back as a
 * sentence for the user, nullptr meaning success.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

constexpr size_t WORDS_MAX = 16;

struct words {
    size_t count;
    char *word[WORDS_MAX]; /* into the text that was split */
};

/* Splits in place at blanks; '...' and "..." group, \ takes the next character as it is (not inside '...'). */
const char *words_split(char *text, struct words *out_words);

/* Decimal, or hexadecimal after 0x; nothing may follow. False when it is no number or does not fit. */
bool words_number(const char *word, uint64_t *out_value);

/* A number from `low` to `high`. */
bool words_number_within(const char *word, uint64_t low, uint64_t high, uint64_t *out_value);

/* Dotted IPv4; the first number is the lowest byte, so the value lies in memory in network byte order. */
bool words_ipv4(const char *word, uint32_t *out_address);

/* Copies into a zero-padded field of `size` bytes; false when the word is empty or longer than the field. */
bool words_field(const char *word, char *field, size_t size);
