/* Restart policy, symbol tables good and damaged, and the report made with them. */
#include <backoff.h>
#include <check.h>
#include <report.h>
#include <stdlib.h>
#include <symbols.h>

static void test_backoff(void)
{
    struct backoff backoff = {};
    uint64_t delay = 1, sum = 0, before = 0;
    CHECK(backoff_ended(&backoff, 1000, &delay) && delay == 0);
    CHECK(backoff_ended(&backoff, 1000, &delay) && delay == BACKOFF_FIRST_NS);
    CHECK(backoff_ended(&backoff, 1000, &delay) && delay == 2 * BACKOFF_FIRST_NS);
    uint32_t ends = 3;
    while (backoff_ended(&backoff, 1000, &delay)) {
        CHECK(delay >= before && delay <= BACKOFF_LIMIT_NS);
        before = delay;
        sum += delay;
        ends++;
    }
    CHECK(ends == BACKOFF_GIVE_UP - 1);
    CHECK(before == BACKOFF_LIMIT_NS && sum < 30'000'000'000);
    /* stable for a while, or started by hand: forgiven */
    CHECK(backoff_ended(&backoff, BACKOFF_STABLE_NS, &delay) && delay == 0);
    CHECK(backoff_ended(&backoff, 0, &delay) && delay != 0);
    backoff_reset(&backoff);
    CHECK(backoff_ended(&backoff, 0, &delay) && delay == 0);
}

/* Three functions at 0x10, 0x20, 0x100. */
static const unsigned char table[] = {
    3, 0, 0, 0, 0x10, 0, 0, 0, 28, 0, 0, 0, 0x20, 0, 0, 0, 32, 0, 0, 0, 0, 1, 0, 0, 30, 0, 0, 0, 'o', 'n', 'e', 0, 't', 'w', 'o', 0,
};

static const char *find(uint64_t offset)
{
    static char text[32];
    const char *name;
    uint64_t distance;
    if (!symbols_find(table, sizeof(table), offset, &name, &distance)) {
        return "none";
    }
    snprintf(text, sizeof(text), "%s+%lu", name, (unsigned long)distance);
    return text;
}

static void test_symbols(void)
{
    CHECK_TEXT(find(0), "none");
    CHECK_TEXT(find(0xf), "none");
    CHECK_TEXT(find(0x10), "one+0");
    CHECK_TEXT(find(0x1f), "one+15");
    CHECK_TEXT(find(0x20), "two+0");
    CHECK_TEXT(find(0x123), "e+35");
    const char *name;
    uint64_t distance;
    /* every truncation, and random damage: no read outside (the sanitizer watches), no unterminated name */
    for (size_t size = 0; size < sizeof(table); size++) {
        unsigned char *copy = malloc(size + 1);
        memcpy(copy, table, size);
        for (uint64_t offset = 0; offset < 0x120; offset += 7) {
            if (symbols_find(copy, size, offset, &name, &distance)) {
                CHECK(strlen(name) < size);
            }
        }
        free(copy);
    }
    srand(1);
    for (int i = 0; i < 100000; i++) {
        unsigned char *copy = malloc(sizeof(table));
        memcpy(copy, table, sizeof(table));
        for (int j = 0; j < 4; j++) {
            copy[(size_t)rand() % sizeof(table)] = (unsigned char)rand();
        }
        if (symbols_find(copy, sizeof(table), (uint64_t)rand(), &name, &distance)) {
            check_count += strlen(name) < sizeof(table);
        }
        free(copy);
    }
}

static char report[1024];

static void report_line(void *, uint32_t level, const char *text)
{
    snprintf(report + strlen(report), sizeof(report) - strlen(report), "%u %s\n", level, text);
}

static void test_report(void)
{
    struct report_program program = {"httpd", 7, 0x400000, table, sizeof(table)};
    struct tess_crash_record crash = {.fault_kind = 1,
                                      .is_write = 1,
                                      .address = 0x10,
                                      .code = 2,
                                      .pc = 0x400014,
                                      .sp = 0x7000,
                                      .thread_id = 9,
                                      .frame_count = 3,
                                      .frames = {0x400014, 0x400020, 0x1}};
    report_end(&program, EXIT_FAULT, 0, &crash, "restarting now", report_line, nullptr);
    CHECK_TEXT(report, "2 httpd (process 7) crashed, status 0; restarting now\n"
                       "3   page fault writing 0x10, code 0x2, pc 0x400014, sp 0x7000, thread 9\n"
                       "3   #0 one+0x4 (httpd+0x14)\n"
                       "3   #1 one+0x10 (httpd+0x20)\n"
                       "3   #2 0x1\n");
    report[0] = '\0';
    report_end(&program, EXIT_NORMAL, 0, nullptr, "not restarted", report_line, nullptr);
    CHECK_TEXT(report, "1 httpd (process 7) exited, status 0; not restarted\n");
    report[0] = '\0';
    crash.frame_count = UINT64_MAX; /* a lie must not be believed */
    program.symbols = nullptr;
    report_end(&program, EXIT_FAULT, 0, &crash, "x", report_line, nullptr);
    CHECK(strlen(report) > 0);
}

int main(void)
{
    test_backoff();
    test_symbols();
    test_report();
    return check_result();
}
