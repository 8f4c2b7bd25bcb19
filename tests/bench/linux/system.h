/*
 * Linux system calls without a C library: numbers and calling convention of x86_64 (arch/x86/entry/syscalls/syscall_64.tbl) and of the
 * generic table that aarch64 and riscv64 use (include/uapi/asm-generic/unistd.h); see syscall(2).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
enum {
    SYS_READ = 0,
    SYS_WRITE = 1,
    SYS_MMAP = 9,
    SYS_MUNMAP = 11,
    SYS_SCHED_YIELD = 24,
    SYS_MADVISE = 28,
    SYS_GETPPID = 110,
    SYS_CLONE = 56,
    SYS_EXIT = 60,
    SYS_WAIT4 = 61,
    SYS_KILL = 62,
    SYS_REBOOT = 169,
    SYS_FUTEX = 202,
    SYS_SCHED_SETAFFINITY = 203,
    SYS_CLOCK_GETTIME = 228,
    SYS_EVENTFD2 = 290,
    SYS_PIPE2 = 293,
    SYS_MEMFD_CREATE = 319,
    SYS_FTRUNCATE = 77
};
#else
enum {
    SYS_READ = 63,
    SYS_WRITE = 64,
    SYS_MMAP = 222,
    SYS_MUNMAP = 215,
    SYS_SCHED_YIELD = 124,
    SYS_MADVISE = 233,
    SYS_GETPPID = 173,
    SYS_CLONE = 220,
    SYS_EXIT = 93,
    SYS_WAIT4 = 260,
    SYS_KILL = 129,
    SYS_REBOOT = 142,
    SYS_FUTEX = 98,
    SYS_SCHED_SETAFFINITY = 122,
    SYS_CLOCK_GETTIME = 113,
    SYS_EVENTFD2 = 19,
    SYS_PIPE2 = 59,
    SYS_MEMFD_CREATE = 279,
    SYS_FTRUNCATE = 46
};
#endif

static inline long call6(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result = number;
    __asm__ volatile("syscall" : "+a"(result) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d,
                     x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#else
    register long a7 __asm__("a7") = number, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c, a3 __asm__("a3") = d,
                     a4 __asm__("a4") = e, a5 __asm__("a5") = f;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
    return a0;
#endif
}

static inline long call3(long number, long a, long b, long c) { return call6(number, a, b, c, 0, 0, 0); }

constexpr long CLONE_VM_FLAG = 0x100, CLONE_FS_FLAG = 0x200, CLONE_FILES_FLAG = 0x400, CLONE_SIGHAND_FLAG = 0x800,
               CLONE_THREAD_FLAG = 0x10000, CLONE_SYSVSEM_FLAG = 0x40000, CLONE_CHILD_CLEARTID_FLAG = 0x200000, SIGNAL_CHILD = 17,
               SIGNAL_KILL = 9;
constexpr long PROTECTION_READ_WRITE = 3, MAP_SHARED_FLAG = 1, MAP_PRIVATE_FLAG = 2, MAP_ANONYMOUS_FLAG = 0x20, ADVICE_NOHUGEPAGE = 15;
constexpr long FUTEX_WAIT_OP = 0, FUTEX_WAKE_OP = 1, FUTEX_PRIVATE_BIT = 128;
constexpr uint64_t PAGE = 4096;

/* Ends everything with a message unless `result` is what a system call gives that worked. Returns it. */
long must(long result, const char *what);
void say(const char *format, const char *name, uint64_t a, uint64_t b, uint64_t c); /* %s and %u, in this order */
uint64_t now_ns(void);
[[noreturn]] void leave(int status);
long process_fork(void);
/* A thread with everything shared; *word holds its id until it has ended, and is then zeroed and woken (CLONE_CHILD_CLEARTID). */
void thread_start(void (*fn)(void *), void *argument, void *stack_top, volatile uint32_t *word);
void thread_join(volatile uint32_t *word);
void *memory_map(uint64_t size, bool is_shared);
void cpu_pin(uint32_t cpu);
void process_reap(long process);

/* paths.c, scale.c */
void paths_run(void);
void scale_run(uint32_t cpus);
void echo_start(int to_server[2], int from_server[2], long *out_process);
void echo_call(const int to_server[2], const int from_server[2], uint64_t words[4]);
