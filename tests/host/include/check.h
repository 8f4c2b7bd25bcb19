/* Checks for host tests: a failed one is printed with its place, and main() returns check_result(). */
#pragma once
#include <stdio.h>
#include <string.h>

[[maybe_unused]] static unsigned check_count, check_failed;

#define CHECK(condition)                                                                                                                   \
    do {                                                                                                                                   \
        check_count++;                                                                                                                     \
        if (!(condition)) {                                                                                                                \
            check_failed++;                                                                                                                \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                                                                 \
        }                                                                                                                                  \
    } while (0)

#define CHECK_TEXT(got, wanted)                                                                                                            \
    do {                                                                                                                                   \
        check_count++;                                                                                                                     \
        const char *got_ = (got), *wanted_ = (wanted);                                                                                     \
        if (strcmp(got_, wanted_) != 0) {                                                                                                  \
            check_failed++;                                                                                                                \
            printf("%s:%d: got  \"%s\"\n  wanted \"%s\"\n", __FILE__, __LINE__, got_, wanted_);                                            \
        }                                                                                                                                  \
    } while (0)

static int check_result(void)
{
    printf("%u checks, %u failed\n", check_count, check_failed);
    return check_failed == 0 ? 0 : 1;
}
