/* Processes: fork, exit, wait, signals between them, shared memory and futexes across a fork, groups. Needs posixd. */
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

static void act(int signal, void (*handler)(int, void *, void *), unsigned long flags)
{
    struct action action = {.handler = handler, .flags = flags};
#if defined(__x86_64__)
    action.flags |= 0x04000000;
    action.restorer = restore;
#endif
    EQUAL(CALL(RT_SIGACTION, signal, &action, 0, 8), 0);
}

static long fork(void)
{
#if defined(__x86_64__)
    return CALL(FORK);
#else
    return CALL(CLONE, 17, 0, 0, 0, 0);
#endif
}

static volatile long seen, seen_pid, seen_status, seen_code, seen_value;
static void note(int signal, void *info, void *context)
{
    (void)context;
    seen = signal;
    seen_code = ((int *)info)[2];
    seen_pid = ((int *)info)[4];
    seen_status = ((int *)info)[6];
    seen_value = ((long *)info)[3];
}

static int local = 1;

static void simple(void)
{
    int status = 0;
    long pid = fork();
    if (pid == 0) {
        local = 2;
        leave(CALL(GETPPID) == 0 ? 1 : 42);
    }
    CHECK(pid > 0);
    EQUAL(CALL(WAIT4, pid, &status, 0, 0), pid);
    EQUAL(status, 42 << 8);
    EQUAL(local, 1);
    EQUAL(CALL(WAIT4, -1, &status, 0, 0), -10);
    pid = fork();
    if (pid == 0) {
        for (;;) {
            CALL(NANOSLEEP, ((int64_t[2]){1, 0}), 0);
        }
    }
    EQUAL(CALL(WAIT4, pid, &status, 1, 0), 0);
    EQUAL(CALL(KILL, pid, 0), 0);
    EQUAL(CALL(KILL, pid, 9), 0);
    EQUAL(CALL(WAIT4, -1, &status, 0, 0), pid);
    EQUAL(status, 9);
    EQUAL(CALL(KILL, pid, 0), -3);
    pid = fork();
    if (pid == 0) {
        *(volatile int *)8 = 1;
    }
    EQUAL(CALL(WAIT4, pid, &status, 0, 0), pid);
    EQUAL(status & 0x7F, 11);
}

static void many(void)
{
    long pids[20];
    for (int i = 0; i < 20; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            leave(i);
        }
        CHECK(pids[i] > 0);
    }
    long sum = 0, pid;
    int status;
    for (int i = 0; i < 20; i++) {
        pid = CALL(WAIT4, -1, &status, 0, 0);
        CHECK(pid > 0);
        sum += status >> 8;
    }
    EQUAL(sum, 190);
}

static void signals(volatile unsigned *shared)
{
    int status;
    act(10, note, 4);
    act(17, note, 4);
    uint64_t set = 1ull << 9 | 1ull << 16, none = 0;
    EQUAL(CALL(RT_SIGPROCMASK, 0, &set, 0, 8), 0);
    long parent = CALL(GETPID), pid = fork();
    if (pid == 0) {
        EQUAL(CALL(KILL, parent, 10), 0);
        /* And back: the parent answers while this waits. */
        while (seen != 10) {
            CALL(RT_SIGSUSPEND, &none, 8);
        }
        leave(failures + 3);
    }
    while (seen != 10) {
        EQUAL(CALL(RT_SIGSUSPEND, &none, 8), -4);
    }
    EQUAL(seen_code, 0);
    EQUAL(seen_pid, pid);
    seen = 0;
    EQUAL(CALL(KILL, pid, 10), 0);
    while (seen != 17) {
        CALL(RT_SIGSUSPEND, &none, 8);
    }
    EQUAL(seen_code, 1);
    EQUAL(seen_pid, pid);
    EQUAL(seen_status, 3);
    EQUAL(CALL(WAIT4, pid, &status, 0, 0), pid);
    EQUAL(status, 3 << 8);
    EQUAL(CALL(RT_SIGPROCMASK, 1, &set, 0, 8), 0);
    act(17, nullptr, 0);
    /* A futex between processes; a stopped one. */
    *shared = 0;
    pid = fork();
    if (pid == 0) {
        while (*shared == 0) {
            CALL(FUTEX, shared, 0, 0, 0);
        }
        shared[1] = 5;
        CALL(KILL, CALL(GETPID), 19);
        while (shared[3] == 0) {
            CALL(FUTEX, shared + 3, 0, 0, 0);
        }
        leave(6);
    }
    CALL(NANOSLEEP, ((int64_t[2]){0, 10000000}), 0);
    *shared = 1;
    CALL(FUTEX, shared, 1, 1);
    EQUAL(CALL(WAIT4, pid, &status, 2, 0), pid);
    EQUAL(status, 19 << 8 | 0x7F);
    EQUAL(shared[1], 5);
    EQUAL(CALL(KILL, pid, 18), 0);
    EQUAL(CALL(WAIT4, pid, &status, 8, 0), pid);
    EQUAL(status, 0xFFFF);
    shared[3] = 1;
    CALL(FUTEX, shared + 3, 1, 1);
    EQUAL(CALL(WAIT4, pid, &status, 0, 0), pid);
    EQUAL(status, 6 << 8);
}

static void groups(void)
{
    int status;
    long pid = fork();
    if (pid == 0) {
        EQUAL(CALL(SETPGID, 0, 0), 0);
        EQUAL(CALL(GETPGID, 0), CALL(GETPID));
        CALL(KILL, 0, 15);
        leave(1);
    }
    EQUAL(CALL(WAIT4, pid, &status, 0, 0), pid);
    EQUAL(status, 15);
    pid = fork();
    if (pid == 0) {
        EQUAL(CALL(SETSID), CALL(GETPID));
        EQUAL(CALL(GETSID, 0), CALL(GETPID));
        leave(failures);
    }
    long info[16] = {};
    EQUAL(CALL(WAITID, 1, pid, info, 4 | 0x1000000, 0), 0);
    EQUAL(((int *)info)[3 + 1], pid);
    EQUAL(((int *)info)[2], 1);
    EQUAL(CALL(WAITID, 0, 0, info, 4, 0), 0);
    EQUAL(CALL(WAITID, 0, 0, info, 4, 0), -10);
}

/* Waited for while it is blocked, and by a process that sleeps: the sender must reach it all the same. */
static void waits_for_signal(void)
{
    int status;
    uint64_t set = 1ull << 11;
    long info[16] = {};
    EQUAL(CALL(RT_SIGPROCMASK, 0, &set, 0, 8), 0);
    long parent = CALL(GETPID), pid = fork();
    if (pid == 0) {
        CALL(NANOSLEEP, ((int64_t[2]){0, 20000000}), 0);
        EQUAL(CALL(KILL, parent, 12), 0);
        leave(failures);
    }
    EQUAL(CALL(RT_SIGTIMEDWAIT, &set, info, ((int64_t[2]){20, 0}), 8), 12);
    EQUAL(((int *)info)[4], pid);
    EQUAL(CALL(RT_SIGTIMEDWAIT, &set, info, ((int64_t[2]){0, 0}), 8), -11);
    EQUAL(CALL(RT_SIGPROCMASK, 1, &set, 0, 8), 0);
    EQUAL(CALL(WAIT4, pid, &status, 0, 0), pid);
    EQUAL(status, 0);
}

/* vfork: the parent goes on when the child has ended. */
static void waits_for_child(volatile unsigned *shared)
{
    int status;
    shared[2] = 0;
    long pid = CALL(CLONE, 0x4000 | 17, 0, 0, 0, 0);
    if (pid == 0) {
        CALL(NANOSLEEP, ((int64_t[2]){0, 20000000}), 0);
        shared[2] = 7;
        leave(0);
    }
    EQUAL(shared[2], 7);
    EQUAL(CALL(WAIT4, pid, &status, 0, 0), pid);
}

int program(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    volatile unsigned *shared = (volatile unsigned *)CALL(MMAP, 0, 4096, 3, 0x21, -1, 0);
    simple();
    many();
    signals(shared);
    groups();
    waits_for_child(shared);
    waits_for_signal();
    print("processes\n");
    return 4;
}
