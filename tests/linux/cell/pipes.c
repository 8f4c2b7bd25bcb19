/* Pipes between processes, readiness, eventfd. Run on Linux first: what it prints must be the same. */
#include "../personality/programs/program.h"

enum { EAGAIN = 11, EPIPE = 32, EBADF = 9, EFAULT = 14, EINVAL = 22, NONBLOCK = 04000, IN = 1, OUT = 4, ERR = 8, HUP = 16, NVAL = 32 };
struct entry {
    int fd;
    unsigned short events, returned;
};
static int ends[2];
static char bytes[200000];

static int poll_one(int fd, int events, int timeout)
{
    struct entry entry = {fd, (unsigned short)events, 0};
    int64_t limit[2] = {timeout / 1000, timeout % 1000 * 1000000};
    long ready = CALL(PPOLL, &entry, 1, timeout < 0 ? nullptr : limit, 0, 8);
    return ready < 0 ? (int)ready : entry.returned;
}

static long fork(void) { return CALL(CLONE, 17, 0, 0, 0, 0); }

static int wait_for(long pid)
{
    int status = 0;
    EQUAL(CALL(WAIT4, pid, &status, 0, 0), pid);
    return status;
}

static void alone(void)
{
    EQUAL(CALL(PIPE2, ends, NONBLOCK), 0);
    EQUAL(CALL(PIPE2, ends, 1), -EINVAL);
    EQUAL(CALL(READ, ends[0], bytes, 10), -EAGAIN);
    EQUAL(poll_one(ends[0], IN, 0), 0);
    EQUAL(poll_one(ends[1], OUT, 0), OUT);
    EQUAL(CALL(WRITE, ends[0], bytes, 1), -EBADF);
    EQUAL(CALL(READ, ends[1], bytes, 1), -EBADF);
    EQUAL(CALL(WRITE, ends[1], bytes, sizeof(bytes)), 65536);
    EQUAL(CALL(WRITE, ends[1], bytes, 1), -EAGAIN);
    EQUAL(poll_one(ends[1], OUT, 20), 0);
    EQUAL(poll_one(ends[0], IN | OUT, 0), IN);
    EQUAL(CALL(READ, ends[0], bytes, 4096), 4096);
    EQUAL(CALL(WRITE, ends[1], bytes, 4096), 4096);
    EQUAL(CALL(READ, ends[0], bytes, sizeof(bytes)), 65536);
    EQUAL(CALL(LSEEK, ends[0], 0, 0), -29);
    EQUAL(CALL(CLOSE, ends[1]), 0);
    EQUAL(poll_one(ends[0], IN, -1), HUP);
    EQUAL(CALL(READ, ends[0], bytes, 1), 0);
    EQUAL(CALL(CLOSE, ends[0]), 0);
    EQUAL(poll_one(ends[0], IN, 0), NVAL);
    EQUAL(CALL(PIPE2, ends, 0), 0);
    EQUAL(CALL(WRITE, ends[1], 8, 1), -EFAULT); /* last: on Linux 6.1 it costs the pipe a page */
    EQUAL(CALL(CLOSE, ends[0]), 0);
    EQUAL(CALL(CLOSE, ends[1]), 0);
    print("alone\n");
}

static void with_child(void)
{
    int back[2];
    EQUAL(CALL(PIPE2, ends, 0), 0);
    EQUAL(CALL(PIPE2, back, 0), 0);
    long child = fork();
    if (child == 0) {
        CALL(CLOSE, ends[1]);
        CALL(CLOSE, back[0]);
        uint32_t sum = 0;
        for (long count; (count = CALL(READ, ends[0], bytes, 1000)) > 0;) {
            for (long i = 0; i < count; i++)
                sum = sum * 31 + (uint8_t)bytes[i];
        }
        CALL(WRITE, back[1], &sum, 4);
        leave(3);
    }
    CALL(CLOSE, ends[0]);
    CALL(CLOSE, back[1]);
    uint32_t sum = 0, got = 0;
    for (uint32_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)(i * 7);
        sum = sum * 31 + (uint8_t)bytes[i];
    }
    EQUAL(CALL(WRITE, ends[1], bytes, sizeof(bytes)), sizeof(bytes)); /* more than there is room for: in parts */
    EQUAL(CALL(CLOSE, ends[1]), 0);
    EQUAL(poll_one(back[0], IN, -1) & IN, IN);
    EQUAL(CALL(READ, back[0], &got, 4), 4);
    EQUAL(got, sum);
    EQUAL(CALL(READ, back[0], &got, 4), 0);
    EQUAL(wait_for(child), 3 << 8);
    CALL(CLOSE, back[0]);
    print("with a child: %x\n", (long)sum);
}

static void killed(void)
{
    EQUAL(CALL(PIPE2, ends, 0), 0);
    long child = fork();
    if (child == 0) { /* writes until it is killed */
        for (;;)
            CALL(WRITE, ends[1], bytes, 100);
    }
    CALL(CLOSE, ends[1]);
    EQUAL(CALL(READ, ends[0], bytes, 100), 100);
    EQUAL(CALL(KILL, child, 9), 0);
    EQUAL(wait_for(child), 9);
    long total = 0, count;
    while ((count = CALL(READ, ends[0], bytes, sizeof(bytes))) > 0)
        total += count;
    EQUAL(count, 0);
    EQUAL(total % 100, 0); /* each write whole or not at all */
    /* A reader that goes: SIGPIPE. */
    CALL(CLOSE, ends[0]);
    EQUAL(CALL(PIPE2, ends, 0), 0);
    child = fork();
    if (child == 0) {
        CALL(CLOSE, ends[0]);
        for (;;)
            CALL(WRITE, ends[1], bytes, 100);
    }
    CALL(CLOSE, ends[0]);
    CALL(CLOSE, ends[1]);
    EQUAL(wait_for(child), 13);
    print("killed\n");
}

static void events(void)
{
    uint64_t value = 5;
    int event = (int)CALL(EVENTFD2, 3, NONBLOCK), semaphore = (int)CALL(EVENTFD2, 2, NONBLOCK | 1);
    EQUAL(CALL(WRITE, event, &value, 8), 8);
    EQUAL(CALL(READ, event, &value, 8), 8);
    EQUAL(value, 8);
    EQUAL(CALL(READ, event, &value, 8), -EAGAIN);
    EQUAL(CALL(READ, event, &value, 4), -EINVAL);
    EQUAL(CALL(READ, semaphore, &value, 8), 8);
    EQUAL(value, 1);
    EQUAL(poll_one(semaphore, IN | OUT, 0), IN | OUT);
    struct entry two[2] = {{event, IN, 0}, {-1, IN, 0}};
    EQUAL(CALL(PIPE2, ends, 0), 0);
    two[1].fd = ends[0];
    long child = fork();
    if (child == 0) {
        const int64_t pause[2] = {0, 20000000};
        value = 1;
        CALL(NANOSLEEP, pause, 0);
        CALL(WRITE, event, &value, 8);
        leave(0);
    }
    EQUAL(CALL(PPOLL, two, 2, 0, 0, 8), 1); /* sleeps on several at once */
    EQUAL(two[0].returned, IN);
    EQUAL(two[1].returned, 0);
    EQUAL(wait_for(child), 0);
    uint64_t set[16] = {1ull << ends[0] | 1ull << event};
    EQUAL(CALL(PSELECT6, 64, set, 0, 0, 0, 0), 1);
    EQUAL(set[0], 1ull << event);
    CALL(CLOSE, event);
    CALL(CLOSE, semaphore);
    CALL(CLOSE, ends[0]);
    CALL(CLOSE, ends[1]);
    print("events\n");
}

struct action {
    void (*handler)(int);
    unsigned long flags;
#if !defined(__riscv)
    void (*restorer)(void);
#endif
    unsigned long mask;
};
void restore(void);
#if defined(__x86_64__)
__asm__("restore: mov $15, %eax\n syscall\n");
#else
void restore(void) {}
#endif
static volatile int heard;
static void on_child(int signal) { heard += signal == 17; }

/* A child ends at any moment while pipes are made: pipe is never cut short. */
static void interrupted(void)
{
    struct action action = {.handler = on_child};
#if !defined(__riscv)
    action.restorer = restore;
#endif
#if defined(__x86_64__)
    action.flags = 0x04000000;
#endif
    EQUAL(CALL(RT_SIGACTION, 17, &action, 0, 8), 0);
    for (int i = 0; i < 30; i++) {
        int status;
        long child = fork();
        if (child == 0)
            leave(0);
        while (heard == i) {
            EQUAL(CALL(PIPE2, ends, 0), 0);
            CALL(CLOSE, ends[0]);
            CALL(CLOSE, ends[1]);
        }
        while (CALL(WAIT4, child, &status, 0, 0) == -4)
            ;
    }
    CHECK(heard > 0);
    print("interrupted\n");
}

int program(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    alone();
    with_child();
    killed();
    events();
    interrupted();
    return 4;
}
