/* Timers that send signals. */
#include "program.h"

struct action {
    void (*handler)(int, void *, void *);
    unsigned long flags;
#if !defined(__riscv)
    void (*restorer)(void);
#endif
    unsigned long mask;
};
void restore(void);
#if defined(__x86_64__)
__asm__("restore: mov $15, %eax\n syscall\n");
#endif

static volatile long count, value, code;
static void note(int signal, void *info, void *context)
{
    (void)signal, (void)context;
    count++;
    code = ((int *)info)[2];
    value = ((long *)info)[3];
}

static void wait_count(long wanted)
{
    uint64_t none = 0;
    while (count < wanted) {
        CALL(RT_SIGSUSPEND, &none, 8);
    }
}

int program(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    uint64_t set = 1ull << 13 | 1ull << 9;
    EQUAL(CALL(RT_SIGPROCMASK, 0, &set, 0, 8), 0);
    for (int signal = 10; signal <= 14; signal += 4) {
        struct action action = {.handler = note, .flags = 4};
#if defined(__x86_64__)
        action.flags |= 0x04000000;
        action.restorer = restore;
#endif
        EQUAL(CALL(RT_SIGACTION, signal, &action, 0, 8), 0);
    }
    int64_t times[4] = {0, 0, 0, 10000}, old[4];
    EQUAL(CALL(SETITIMER, 0, times, 0), 0);
    wait_count(1);
    EQUAL(code, 128);
    EQUAL(CALL(GETITIMER, 0, old), 0);
    EQUAL(old[2] + old[3], 0);
    times[1] = 5000;
    EQUAL(CALL(SETITIMER, 0, times, 0), 0);
    wait_count(4);
    times[1] = times[3] = 0;
    EQUAL(CALL(SETITIMER, 0, times, old), 0);
    EQUAL(old[1], 5000);
    long done = count;
    struct {
        long value;
        int signal, notify;
        int pad[12];
    } event = {77, 10, 0, {}};
    int id = -1;
    EQUAL(CALL(TIMER_CREATE, 1, &event, &id), 0);
    int64_t spec[4] = {0, 0, 0, 10000000};
    EQUAL(CALL(TIMER_SETTIME, id, 0, spec, 0), 0);
    wait_count(done + 1);
    EQUAL(code, -2);
    EQUAL(value, 77);
    EQUAL(CALL(TIMER_GETTIME, id, spec), 0);
    EQUAL(spec[3], 0);
    EQUAL(CALL(TIMER_DELETE, id), 0);
    EQUAL(CALL(TIMER_DELETE, id), -22);
    print("timers\n");
    return 2;
}
