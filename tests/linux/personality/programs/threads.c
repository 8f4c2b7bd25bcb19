/* Threads and futexes: clone, joins by CLONE_CHILD_CLEARTID, a mutex, wakes, requeues, times, signals to threads, robust lists. */
#include "program.h"

constexpr int THREADS = 4, ROUNDS = 2000;
constexpr long FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x100000 | 0x200000;
static char stacks[8][32768] __attribute__((aligned(16)));
static volatile unsigned tids[8];
static volatile unsigned mutex, counter, ready, gate, woken;

long spawn(long flags, void *stack, volatile unsigned *parent, volatile unsigned *child, void (*fn)(long), long argument);
#if defined(__x86_64__)
__asm__("spawn: mov %rcx, %r10\n mov %r8, -8(%rsi)\n mov %r9, -16(%rsi)\n sub $16, %rsi\n xor %r8, %r8\n mov $56, %eax\n syscall\n"
        "test %rax, %rax\n jz 1f\n ret\n1: pop %rdi\n pop %rax\n call *%rax\n ud2\n");
#elif defined(__aarch64__)
__asm__("spawn: stp x4, x5, [x1, #-16]!\n mov x4, x3\n mov x3, #0\n mov x8, #220\n svc #0\n cbz x0, 1f\n ret\n1: ldp x1, x0, [sp], #16\n "
        "blr x1\n brk #0\n");
#else
__asm__("spawn: addi a1, a1, -16\n sd a4, (a1)\n sd a5, 8(a1)\n mv a4, a3\n li a3, 0\n li a7, 220\n ecall\n beqz a0, 1f\n ret\n1: ld a1, "
        "(sp)\n ld a0, 8(sp)\n addi sp, sp, 16\n jalr a1\n unimp\n");
#endif

static long start(int i, void (*fn)(long), long argument)
{
    unsigned parent = 0;
    long tid = spawn(FLAGS, stacks[i] + sizeof(stacks[i]), &parent, &tids[i], fn, argument);
    CHECK(tid > 0);
    EQUAL(parent, tid);
    return tid;
}

static long wait_word(volatile unsigned *word, unsigned value, int64_t *time) { return CALL(FUTEX, word, 128, value, time); }

static void join(int i)
{
    for (unsigned value; (value = __atomic_load_n(&tids[i], __ATOMIC_SEQ_CST)) != 0;) {
        CALL(FUTEX, &tids[i], 0, value, 0);
    }
}

static void lock(void)
{
    unsigned found = 0;
    if (__atomic_compare_exchange_n(&mutex, &found, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        return;
    }
    while (__atomic_exchange_n(&mutex, 2, __ATOMIC_SEQ_CST) != 0) {
        wait_word(&mutex, 2, nullptr);
    }
}

static void unlock(void)
{
    if (__atomic_exchange_n(&mutex, 0, __ATOMIC_SEQ_CST) == 2) {
        CALL(FUTEX, &mutex, 129, 1);
    }
}

static void count(long rounds)
{
    for (long i = 0; i < rounds; i++) {
        lock();
        counter = counter + 1;
        unlock();
        if (i % 64 == 0) {
            CALL(SCHED_YIELD);
        }
    }
    CALL(EXIT, 0);
}

static void waiter(long bits)
{
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    while (CALL(FUTEX, &gate, 128 | 9, 0, 0, 0, bits) == -4) {
    }
    __atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
    CALL(EXIT, 0);
}

/* How many it woke: those who are on their way to wait are waited for. */
static void wake_all(long want, long bits)
{
    for (long sum = 0; sum < want;) {
        sum += CALL(FUTEX, &gate, 128 | 10, 100, 0, 0, bits);
        CALL(SCHED_YIELD);
    }
}

static struct {
    void *first;
    long offset;
    void *pending;
} robust;
static struct {
    void *next;
    unsigned lock;
} robust_lock;

static void die_locked(long unused)
{
    (void)unused;
    robust.first = &robust_lock, robust.offset = (char *)&robust_lock.lock - (char *)&robust_lock, robust.pending = nullptr;
    robust_lock.next = &robust;
    robust_lock.lock = (unsigned)CALL(GETTID);
    EQUAL(CALL(SET_ROBUST_LIST, &robust, sizeof(robust)), 0);
    CALL(EXIT, 0);
}

static volatile long handled;
static void handler(int signal, void *info, void *context)
{
    (void)info, (void)context;
    handled = signal * 100000 + CALL(GETTID);
}
static volatile long pause_result;
static void pauser(long unused)
{
    (void)unused;
    __atomic_store_n(&ready, 1, __ATOMIC_SEQ_CST);
    int64_t long_time[2] = {60, 0};
    pause_result = CALL(NANOSLEEP, long_time, 0);
    CALL(EXIT, 0);
}
#if defined(__x86_64__)
void restore(void);
__asm__("restore: mov $15, %eax\n syscall\n");
#endif

static void signals(void)
{
#if defined(__x86_64__)
    struct {
        void (*handler)(int, void *, void *);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask;
    } action = {handler, 0x04000004, restore, 0};
#else
    struct {
        void (*handler)(int, void *, void *);
        unsigned long flags, a, b;
    } action = {handler, 4, 0, 0};
#endif
    EQUAL(CALL(RT_SIGACTION, 10, &action, 0, 8), 0);
    ready = 0;
    long tid = start(0, pauser, 0);
    while (!__atomic_load_n(&ready, __ATOMIC_SEQ_CST)) {
        CALL(SCHED_YIELD);
    }
    int64_t short_time[2] = {0, 20000000};
    CALL(NANOSLEEP, short_time, 0);
    EQUAL(CALL(TGKILL, CALL(GETPID), tid, 10), 0);
    join(0);
    EQUAL(handled, 1000000 + tid);
    EQUAL(pause_result, -4);
    EQUAL(CALL(TGKILL, CALL(GETPID), tid, 10), -3);
}

int program(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    for (int round = 0; round < 5; round++) {
        counter = 0;
        for (int i = 0; i < THREADS; i++) {
            tids[i] = 1;
            start(i, count, ROUNDS);
        }
        for (int i = 0; i < THREADS; i++) {
            join(i);
        }
        EQUAL(counter, THREADS * ROUNDS);
    }
    int64_t time[2] = {0, 2000000};
    EQUAL(wait_word(&gate, 1, nullptr), -11);
    EQUAL(wait_word(&gate, 0, time), -110);
    EQUAL(CALL(FUTEX, 8, 0, 0, 0), -14);
    EQUAL(CALL(FUTEX, (char *)&gate + 1, 0, 0, 0), -22);
    EQUAL(CALL(FUTEX, &gate, 1, 1), 0);
    tids[0] = tids[1] = 1;
    start(0, waiter, 1), start(1, waiter, 2);
    wake_all(1, 2);
    join(1);
    EQUAL(woken, 1);
    wake_all(1, 1);
    join(0);
    /* Requeue: both wait at gate, one wakes, the other goes to `mutex`. */
    woken = 0, tids[0] = tids[1] = 1;
    start(0, waiter, 1), start(1, waiter, 1);
    long moved = 0;
    while (moved < 1) {
        int64_t pause[2] = {0, 5000000};
        CALL(NANOSLEEP, pause, 0);
        moved += CALL(FUTEX, &gate, 128 | 4, 0, 1, &mutex, 0);
    }
    EQUAL(CALL(FUTEX, &mutex, 129, 1), 1);
    wake_all(1, 1);
    join(0), join(1);
    EQUAL(woken, 2);
    tids[0] = 1;
    start(0, die_locked, 0);
    join(0);
    EQUAL(robust_lock.lock, 0x40000000);
    tids[0] = 1;
    signals();
    print("threads\n");
    return 3;
}
