/* Signals within a process: handlers, masks, siginfo, alternate stacks, faults, returns with all registers and floating point. */
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
constexpr unsigned long RESTORER = 0x04000000;
#else
constexpr unsigned long RESTORER = 0;
#endif

static void act(int signal, void (*handler)(int, void *, void *), unsigned long flags, unsigned long mask)
{
    struct action action = {.handler = handler, .flags = flags | RESTORER, .mask = mask};
#if defined(__x86_64__)
    action.restorer = restore;
#endif
    EQUAL(CALL(RT_SIGACTION, signal, &action, 0, 8), 0);
}

static volatile long count, last_signal, last_code, last_address, last_value, stack_seen;

static void note(int signal, void *info, void *context)
{
    (void)context;
    count++;
    last_signal = signal;
    last_code = ((int *)info)[2];
    last_address = ((long *)info)[2];
    last_value = ((long *)info)[3];
    stack_seen = (long)&signal;
}

static long send(int signal) { return CALL(TGKILL, CALL(GETPID), CALL(GETTID), signal); }

/* ---- Faults ---- */

static volatile long *fault_page;

/* Past the faulting instruction: it is marked by labels in the program. */
extern char bad_load[], after_load[], bad_store[], after_store[], bad_code[], after_code[], bad_break[], after_break[];
#if defined(__x86_64__)
constexpr int PC_OFFSET = 40 + 16 * 8;
#elif defined(__aarch64__)
constexpr int PC_OFFSET = 176 + 8 + 31 * 8 + 8;
#else
constexpr int PC_OFFSET = 176;
#endif

static void skip(int signal, void *info, void *context)
{
    char **pc = (char **)((char *)context + PC_OFFSET);
    note(signal, info, context);
    *pc = *pc == bad_load ? after_load : *pc == bad_store ? after_store : *pc == bad_code ? after_code : after_break;
}

#if defined(__x86_64__)
__asm__(".globl load, store, illegal, stop\n"
        "load: bad_load: mov (%rdi), %rax\nafter_load: ret\n"
        "store: bad_store: mov %rdi, (%rdi)\nafter_store: ret\n"
        "illegal: bad_code: ud2\nafter_code: ret\n"
        "stop: bad_break: int3\nafter_break: ret\n");
#elif defined(__aarch64__)
__asm__(".globl load, store, illegal, stop\n"
        "load: bad_load: ldr x0, [x0]\nafter_load: ret\n"
        "store: bad_store: str x0, [x0]\nafter_store: ret\n"
        "illegal: bad_code: udf #0\nafter_code: ret\n"
        "stop: bad_break: brk #0\nafter_break: ret\n");
#else
__asm__(".globl load, store, illegal, stop\n.option push\n.option norvc\n"
        "load: bad_load: ld a0, (a0)\nafter_load: ret\n"
        "store: bad_store: sd a0, (a0)\nafter_store: ret\n"
        "illegal: bad_code: unimp\nafter_code: ret\n"
        "stop: bad_break: ebreak\nafter_break: ret\n.option pop\n");
#endif
long load(volatile void *), store(volatile void *), illegal(void), stop(void);

static void faults(void)
{
    act(11, skip, 4, 0), act(7, skip, 4, 0), act(4, skip, 4, 0), act(5, skip, 4, 0);
    fault_page = (long *)CALL(MMAP, 0, 8192, 1, 0x22, -1, 0);
    EQUAL(CALL(MUNMAP, (char *)fault_page + 4096, 4096), 0);
    count = 0;
    load((char *)fault_page + 4096 + 16);
    EQUAL(count, 1);
    EQUAL(last_signal, 11);
    EQUAL(last_code, 1);
    EQUAL(last_address, (long)fault_page + 4096 + 16);
    store((char *)fault_page + 8);
    EQUAL(count, 2);
    EQUAL(last_signal, 11);
    EQUAL(last_code, 2);
    EQUAL(last_address, (long)fault_page + 8);
    EQUAL(CALL(MPROTECT, fault_page, 4096, 0), 0);
    load((char *)fault_page + 24);
    EQUAL(count, 3);
    EQUAL(last_code, 2);
    EQUAL(last_address, (long)fault_page + 24);
    illegal();
    EQUAL(count, 4);
    EQUAL(last_signal, 4);
    EQUAL(last_address, (long)bad_code);
    /* x86: the breakpoint's pc is behind it, and the handler above took that for nothing it knows: after_break, which is the same place. */
    stop();
    EQUAL(count, 5);
    EQUAL(last_signal, 5);
#if defined(__x86_64__)
    act(8, nullptr, 0, 0);
    EQUAL(last_code, 128);
#else
    EQUAL(last_code, 1);
    EQUAL(last_address, (long)bad_break);
#endif
}

/* ---- Registers and floating point ---- */

static void clobber(int signal, void *info, void *context)
{
    note(signal, info, context);
#if defined(__x86_64__)
    __asm__ volatile("pxor %%xmm5, %%xmm5\n mov $0, %%ebx" : : : "rbx", "xmm5");
#elif defined(__aarch64__)
    __asm__ volatile("movi v5.2d, #0\n mov x20, #0" : : : "x20", "v5");
#else
    __asm__ volatile("fmv.d.x ft5, zero\n li t3, 0" : : : "t3", "ft5");
#endif
}

static void registers(void)
{
    act(10, clobber, 4, 0);
    uint64_t before = 0x123456789ABCDEF0, after = 0, kept = 0x5555;
    long pid = CALL(GETPID), tid = CALL(GETTID);
#if defined(__x86_64__)
    long result = LINUX_CALL_TGKILL;
    register long r12 __asm__("r12") = 0x77;
    __asm__ volatile("movq %2, %%xmm5\n syscall\n movq %%xmm5, %1"
                     : "+a"(result), "=r"(after), "+r"(before), "+r"(r12)
                     : "D"(pid), "S"(tid), "d"(10L)
                     : "rcx", "r11", "xmm5", "memory");
    EQUAL(result, 0);
    EQUAL(r12, 0x77);
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = LINUX_CALL_TGKILL, x0 __asm__("x0") = pid, x1 __asm__("x1") = tid, x2 __asm__("x2") = 10;
    __asm__ volatile("fmov d5, %2\n svc #0\n fmov %1, d5"
                     : "+r"(x0), "=r"(after)
                     : "r"(before), "r"(x8), "r"(x1), "r"(x2)
                     : "v5", "memory");
    EQUAL(x0, 0);
#else
    register long a7 __asm__("a7") = LINUX_CALL_TGKILL, a0 __asm__("a0") = pid, a1 __asm__("a1") = tid, a2 __asm__("a2") = 10;
    __asm__ volatile("fmv.d.x ft5, %2\n ecall\n fmv.x.d %1, ft5"
                     : "+r"(a0), "=r"(after)
                     : "r"(before), "r"(a7), "r"(a1), "r"(a2)
                     : "ft5", "memory");
    EQUAL(a0, 0);
#endif
    EQUAL(after, before);
    EQUAL(kept, 0x5555);
}

static char alternate[16384] __attribute__((aligned(16)));

int program(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    act(10, note, 4, 0);
    EQUAL(send(10), 0);
    EQUAL(count, 1);
    EQUAL(last_signal, 10);
    EQUAL(last_code, -6);
    EQUAL((int)last_address, CALL(GETPID));
    EQUAL(CALL(KILL, CALL(GETPID), 10), 0);
    EQUAL(count, 2);
    EQUAL(last_code, 0);
    /* Blocked, pending once; real-time ones queue, with values, in order. */
    uint64_t set = 1ull << 9 | 1ull << 39, old = 7, pending = 0;
    act(40, note, 4, 0);
    EQUAL(CALL(RT_SIGPROCMASK, 0, &set, &old, 8), 0);
    EQUAL(old, 0);
    send(10), send(10);
    long info[16] = {40};
    for (int i = 1; i <= 3; i++) {
        ((int *)info)[2] = -1;
        info[2] = CALL(GETPID), info[3] = i;
        EQUAL(CALL(RT_TGSIGQUEUEINFO, CALL(GETPID), CALL(GETTID), 40, info), 0);
    }
    EQUAL(count, 2);
    EQUAL(CALL(RT_SIGPENDING, &pending, 8), 0);
    EQUAL(pending, set);
    set = 1ull << 39;
    long got[16] = {};
    EQUAL(CALL(RT_SIGTIMEDWAIT, &set, got, 0, 8), 40);
    EQUAL(got[3], 1);
    set = 1ull << 9 | 1ull << 39;
    EQUAL(CALL(RT_SIGPROCMASK, 1, &set, 0, 8), 0);
    EQUAL(count, 5);
    int64_t no_time[2] = {};
    EQUAL(CALL(RT_SIGTIMEDWAIT, &set, got, no_time, 8), -11);
    /* Ignored. */
    act(12, (void (*)(int, void *, void *))1, 0, 0);
    EQUAL(send(12), 0);
    EQUAL(count, 5);
    EQUAL(send(17), 0);
    /* One shot; an alternate stack. */
    struct {
        void *address;
        long flags;
        unsigned long size;
    } stack = {alternate, 0, sizeof(alternate)}, old_stack;
    EQUAL(CALL(SIGALTSTACK, &stack, 0), 0);
    EQUAL(CALL(SIGALTSTACK, 0, &old_stack), 0);
    EQUAL(old_stack.address, alternate);
    act(10, note, 4 | 0x08000000 | 0x80000000, 0);
    send(10);
    EQUAL(count, 6);
    CHECK(stack_seen >= (long)alternate && stack_seen < (long)alternate + 16384);
    struct action now;
    EQUAL(CALL(RT_SIGACTION, 10, 0, &now, 8), 0);
    EQUAL(now.handler, 0);
    EQUAL(CALL(RT_SIGACTION, 9, &now, 0, 8), -22);
    EQUAL(CALL(RT_SIGACTION, 65, 0, &now, 8), -22);
    /* sigsuspend takes it, and the mask comes back. */
    act(10, note, 4, 0);
    set = 1ull << 9;
    EQUAL(CALL(RT_SIGPROCMASK, 2, &set, 0, 8), 0);
    send(10);
    EQUAL(count, 6);
    uint64_t none = 0;
    EQUAL(CALL(RT_SIGSUSPEND, &none, 8), -4);
    EQUAL(count, 7);
    EQUAL(CALL(RT_SIGPROCMASK, 2, &none, &old, 8), 0);
    EQUAL(old, set);
    registers();
    faults();
    print("signals\n");
    send(15);
    return 1;
}
