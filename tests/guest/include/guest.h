/*
 * What the test programs share. Such a program is the boot image's bin/init: the first process, with a handle to everything the
 * kernel has to give. It starts itself again, with fewer handles, for the other processes that a test needs.
 *
 * On the log: one line "TEST name ok" or "TEST name FAIL why" for each test, at the end "TESTS n passed m failed"; then the
 * machine is switched off, with a failing exit code when a test failed.
 */
#pragma once
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/spawn.h>
#include <std/thread.h>
#include <std/time.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <tess/abi.h>
#include <tess/invoke.h>
#include <tess/util.h>

/* ---- What a test found. The first failure of a test is reported; the test goes on unless it looks at the result. ---- */
bool expect_at(bool is_true, const char *file, int line, const char *text);
bool expect_status_at(status_t got, status_t wanted, const char *file, int line, const char *text);
bool expect_equal_at(uint64_t got, uint64_t wanted, const char *file, int line, const char *text);
#define EXPECT(condition) expect_at((condition), __FILE_NAME__, __LINE__, #condition)
#define EXPECT_STATUS(call, wanted) expect_status_at((call), (wanted), __FILE_NAME__, __LINE__, #call)
#define EXPECT_OK(call) EXPECT_STATUS(call, OK)
#define EXPECT_EQUAL(got, wanted) expect_equal_at((got), (wanted), __FILE_NAME__, __LINE__, #got)
[[gnu::format(printf, 1, 2)]] void test_fail(const char *format, ...);
[[gnu::format(printf, 1, 2)]] void test_note(const char *format, ...); /* a figure, shown with the test's line */

bool test_has_passed(void); /* so far */

/* ---- Running tests ---- */
struct test {
    const char *name;
    void (*fn)(void);
};
/* Runs them one after the other, each on an untyped of its own (std_self.untyped, test_untyped_bytes), which is destroyed after it;
 * then all memory and all objects of the system must be what they were before the test. */
void tests_run(const struct test *tests, uint32_t count);
/* Runs one function in the same way. */
void test_run(const char *name, void (*fn)(void));
[[noreturn]] void tests_finish(void);
extern uint64_t test_untyped_bytes;
extern uint64_t test_seconds_max; /* one that takes longer is reported as hanging */

/* ---- The machine ---- */
struct guest {
    handle_t machine, system, cell, clock, image, clock_page, trace, audit; /* HANDLE_NONE in a child that was not given it */
    handle_t root;                                                          /* the untyped the program started with */
    uint32_t cpu_count;
    struct tess_platform platform;
};
extern struct guest guest;
/* Call first in main. False in a child process: its role has been run, return child_result. */
bool guest_init(void);
extern int32_t child_result;
/* The value of name=N in the kernel command line. */
uint64_t option_u64(const char *name, uint64_t otherwise);
/* name=text: copies the text, at most size - 1 bytes; false when it is not there. */
bool option_text(const char *name, char *text, uint32_t size);

/* ---- Accounting ---- */
struct account {
    uint64_t used_pages, object_count; /* of the root untyped */
    uint32_t handles;
    struct tess_system_info system;
};
void account_read(struct account *account);
/* The same, once nothing is dying any more: the figures to come back to. */
void account_begin(struct account *account);
/* Waits until memory, objects and handles are as in `before` (what dies is freed a moment later); else fails the test. */
void account_settle(const struct account *before);

/* ---- Other processes: this program again, in a role ---- */
struct role {
    const char *name;
    int32_t (*fn)(void);
};
extern const struct role roles[]; /* the program's own; ends with a null name */

struct child {
    struct spawned spawned;
    handle_t untyped;
};
struct child_args {
    const char *role;
    const char *argument;   /* std_arg(1); may be nullptr */
    uint64_t untyped_bytes; /* 0 = 1 MiB */
    uint32_t slot_limit;    /* 0 = 256 */
    bool is_suspended;
    handle_t cell; /* HANDLE_NONE: this program's own */
    struct spawn_handle handles[8];
    uint32_t handle_count;
};
/* The child gets self.*, the clock and the handles listed. False (and the test failed): nothing was made. */
bool child_start(struct child *child, const struct child_args *args);
/* Waits for its end; fails the test when it does not come in time, or ends otherwise than with `cause` and `status`. */
void child_expect(struct child *child, uint32_t cause, int32_t status);
/* Destroys what is left of it. */
void child_end(struct child *child);

/* ---- Small things ---- */
constexpr uint64_t PATIENCE_NS = 10 * NS_PER_S; /* the longest wait for something that must come */
static inline uint64_t patience(void) { return time_after_ns(PATIENCE_NS); }
void sleep_ns(uint64_t ns);
uint64_t random_next(uint64_t *state); /* xorshift64*; *state must not be 0 */
void handle_drop(handle_t handle);     /* deletes; must work */
void handle_destroy(handle_t handle);  /* destroys the object and deletes the handle */
/* Threads that a test waits for: fails the test when one does not end. */
void thread_start(struct std_thread *thread, void (*fn)(void *), void *context);
void thread_join(struct std_thread *thread);
/* A thread that is waiting in the kernel (so that what the test does next finds it there). */
bool thread_is_waiting(handle_t thread);
void thread_wait_until_waiting(handle_t thread);
