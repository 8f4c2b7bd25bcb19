/* Running tests and saying what they found. A test may fail from several threads: the first text is kept. */
#include <guest.h>
#include <stdarg.h>
#include <tess/fmt.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/machine.h>
#include <tess/stub/untyped.h>

uint64_t test_untyped_bytes = 16 << 20;
uint64_t test_seconds_max = 120;

static _Atomic bool has_failed;
static char failure[360];
static char note[120];
static uint32_t passed_count, failed_count;
static char only[64];
static const char *_Atomic running_name;
static _Atomic uint64_t running_until_ns;

void test_fail(const char *format, ...)
{
    if (atomic_exchange(&has_failed, true))
        return;
    va_list args;
    va_start(args, format);
    fmt_vprint(failure, sizeof(failure), format, args);
    va_end(args);
    if (std_arg(0) != nullptr)
        log_print(LOG_ERROR, "child %s: %s", std_arg(0), failure);
}

bool test_has_passed(void) { return !atomic_load(&has_failed); }

void test_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fmt_vprint(note, sizeof(note), format, args);
    va_end(args);
}

bool expect_at(bool is_true, const char *file, int line, const char *text)
{
    if (!is_true)
        test_fail("%s:%d: %s", file, line, text);
    return is_true;
}

bool expect_status_at(status_t got, status_t wanted, const char *file, int line, const char *text)
{
    if (got != wanted)
        test_fail("%s:%d: %.200s gave %s (%d), not %s", file, line, text, status_name(got), got, status_name(wanted));
    return got == wanted;
}

bool expect_equal_at(uint64_t got, uint64_t wanted, const char *file, int line, const char *text)
{
    if (got != wanted)
        test_fail("%s:%d: %.200s is %#lx, not %#lx", file, line, text, got, wanted);
    return got == wanted;
}

/* Ends the machine when a test hangs. It lives as long as the program. */
static void watchdog(void *)
{
    for (;;) {
        sleep_ns(NS_PER_S);
        uint64_t until = atomic_load(&running_until_ns);
        if (until != 0 && time_now_ns() > until) {
            log_error("TEST %s FAIL hung; before that: %s", atomic_load(&running_name), has_failed ? failure : "nothing");
            log_error("TESTS %u passed %u failed", passed_count, failed_count + 1);
            status_t status = tess_machine_power(guest.machine, POWER_FAIL);
            (void)status;
        }
    }
}

static void watchdog_start(void)
{
    static struct std_thread thread;
    static bool is_started;
    if (is_started)
        return;
    is_started = true;
    thread_start(&thread, watchdog, nullptr);
    if (!option_text("test.only", only, sizeof(only)))
        only[0] = 0;
    thread_wait_until_waiting(thread.thread); /* it has touched its stack before the first account */
    handle_t handles[256];                    /* the table has its pages by then, too: it keeps them */
    for (uint32_t i = 0; i < ARRAY_LENGTH(handles); i++)
        EXPECT_OK(std_handle_copy(std_self.untyped, RIGHTS_ALL, &handles[i]));
    for (uint32_t i = 0; i < ARRAY_LENGTH(handles); i++)
        std_handle_delete(handles[i]);
}

static void run_on_own_untyped(void (*fn)(void))
{
    handle_t untyped;
    if (!EXPECT_OK(tess_untyped_create_untyped(guest.root, test_untyped_bytes, &untyped)))
        return;
    std_self.untyped = untyped;
    fn();
    std_self.untyped = guest.root;
    handle_destroy(untyped);
}

void test_run(const char *name, void (*fn)(void))
{
    watchdog_start();
    if (strncmp(name, only, strlen(only)) != 0)
        return;
    struct account before;
    atomic_store(&has_failed, false);
    note[0] = 0;
    atomic_store(&running_name, name);
    atomic_store(&running_until_ns, time_after_ns(test_seconds_max * NS_PER_S));
    account_begin(&before);
    run_on_own_untyped(fn);
    account_settle(&before);
    atomic_store(&running_until_ns, 0);
    if (has_failed) {
        failed_count++;
        log_error("TEST %s FAIL %s", name, failure);
    } else {
        passed_count++;
        log_info("TEST %s ok%s%s", name, note[0] != 0 ? " " : "", note);
    }
}

void tests_run(const struct test *tests, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        test_run(tests[i].name, tests[i].fn);
}

void tests_finish(void)
{
    log_info("TESTS %u passed %u failed", passed_count, failed_count);
    status_t status = tess_machine_power(guest.machine, failed_count == 0 ? POWER_OFF : POWER_FAIL);
    std_abort("power off: %s", status_name(status));
}
