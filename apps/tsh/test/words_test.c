/* Splitting, numbers, addresses, and figures as text. */
#include <check.h>
#include <format.h>
#include <words.h>

static struct words words;
static char text[256];

static const char *split(const char *source)
{
    strcpy(text, source);
    return words_split(text, &words);
}

static void test_split(void)
{
    CHECK(split("") == nullptr && words.count == 0);
    CHECK(split(" \t ") == nullptr && words.count == 0);
    CHECK(split("  kill   12 ") == nullptr && words.count == 2);
    CHECK_TEXT(words.word[0], "kill");
    CHECK_TEXT(words.word[1], "12");
    CHECK(split("a 'b c' \"d e\"f \\'g\\ h \"\" i") == nullptr && words.count == 6);
    CHECK_TEXT(words.word[1], "b c");
    CHECK_TEXT(words.word[2], "d ef");
    CHECK_TEXT(words.word[3], "'g h");
    CHECK_TEXT(words.word[4], "");
    CHECK_TEXT(words.word[5], "i");
    CHECK_TEXT(split("echo 'x"), "a ' is not closed");
    CHECK_TEXT(split("echo \"x\\\""), "a \" is not closed");
    CHECK_TEXT(split("echo x\\"), "a \\ ends the line");
    CHECK(split("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16") == nullptr && words.count == 16);
    CHECK_TEXT(split("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17"), "too many words");
    CHECK(split("'a\\b' \"c\\\"d\"") == nullptr);
    CHECK_TEXT(words.word[0], "a\\b");
    CHECK_TEXT(words.word[1], "c\"d");
}

static void test_values(void)
{
    uint64_t value = 7;
    CHECK(words_number("0", &value) && value == 0);
    CHECK(words_number("18446744073709551615", &value) && value == UINT64_MAX);
    CHECK(words_number("0xFFFFffffFFFFffff", &value) && value == UINT64_MAX);
    value = 7;
    CHECK(!words_number("18446744073709551616", &value) && !words_number("0x10000000000000000", &value));
    CHECK(!words_number("", &value) && !words_number("0x", &value) && !words_number("-1", &value));
    CHECK(!words_number("1a", &value) && !words_number(" 1", &value) && value == 7);
    CHECK(words_number_within("10", 1, 10, &value) && !words_number_within("11", 1, 10, &value));
    uint32_t address;
    CHECK(words_ipv4("10.0.2.15", &address) && address == 0x0F02000A);
    CHECK(words_ipv4("255.255.255.255", &address) && address == UINT32_MAX);
    CHECK(!words_ipv4("256.0.0.1", &address) && !words_ipv4("1.2.3", &address) && !words_ipv4("1.2.3.4.", &address));
    CHECK(!words_ipv4("1..2.3", &address) && !words_ipv4("", &address) && !words_ipv4("0001.2.3.4", &address));
    CHECK(!words_ipv4("1.2.3.4.5", &address) && !words_ipv4("a.b.c.d", &address));
    char field[4];
    CHECK(words_field("abcd", field, 4) && memcmp(field, "abcd", 4) == 0);
    CHECK(words_field("a", field, 4) && memcmp(field, "a\0\0\0", 4) == 0);
    CHECK(!words_field("abcde", field, 4) && !words_field("", field, 4));
}

#define FORMAT(function, wanted, ...)                                                                                                      \
    do {                                                                                                                                   \
        char buffer_[64];                                                                                                                  \
        function(buffer_, sizeof(buffer_), __VA_ARGS__);                                                                                   \
        CHECK_TEXT(buffer_, wanted);                                                                                                       \
    } while (0)

static void test_format(void)
{
    FORMAT(format_size, "0 B", 0);
    FORMAT(format_size, "1023 B", 1023);
    FORMAT(format_size, "16 KiB", 16384);
    FORMAT(format_size, "1.5 MiB", 1536 * 1024);
    FORMAT(format_size, "128 MiB", (128ull << 20) + 300000);
    FORMAT(format_size, "15.9 EiB", UINT64_MAX);
    FORMAT(format_duration, "0 us", 999);
    FORMAT(format_duration, "12.3 ms", 12345678);
    FORMAT(format_duration, "4.567 s", 4567890123);
    FORMAT(format_duration, "2 min 05 s", 125000000000);
    FORMAT(format_duration, "3 h 07 min", 187ull * 60 * 1000000000);
    FORMAT(format_duration, "2 d 04 h", 52ull * 3600 * 1000000000);
    FORMAT(format_stamp, "[    4.567890]", 4567890123);
    FORMAT(format_ipv4, "10.0.2.15", 0x0F02000A);
    FORMAT(format_mac, "52:54:00:12:34:56", (const uint8_t[]){0x52, 0x54, 0, 0x12, 0x34, 0x56});
    FORMAT(format_percent, "12.5%", 1, 8);
    FORMAT(format_percent, "-", 1, 0);
    FORMAT(format_percent, "100.0%", UINT64_MAX, UINT64_MAX);
    FORMAT(format_name, "abcdefghijklmnop", "abcdefghijklmnopq", 16);
    FORMAT(format_name, "a?b", "a\033b\0c", 5);
}

int main(void)
{
    test_split();
    test_values();
    test_format();
    return check_result();
}
