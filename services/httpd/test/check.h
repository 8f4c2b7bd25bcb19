/* Checks for host tests: a failed one is printed with its place, and main() returns check_result(). */
#pragma once
#include <stdio.h>

static unsigned check_count, check_failed;

#define CHECK(condition)                                                                                                                   \
    do {                                                                                                                                   \
        check_count++;                                                                                                                     \
        if (!(condition)) {                                                                                                                \
            check_failed++;                                                                                                                \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                                                                 \
        }                                                                                                                                  \
    } while (0)

static int check_result(void)
{
    printf("%u checks, %u failed\n", check_count, check_failed);
    return check_failed == 0 ? 0 : 1;
}
