/* For small Linux programs without a C library: calls by the numbers of personality/linux/calls.toml, text on descriptor 1, checks that print a line
 * when they fail. main() is entered with the stack that the system gave. The same binary runs on Linux. */
#pragma once
#include <linux/calls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
#define CALL_(name, a, b, c, d, e, f, ...) call6(LINUX_CALL_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define CALL(name, ...) CALL_(name __VA_OPT__(, ) __VA_ARGS__, 0, 0, 0, 0, 0, 0)

int program(int argc, char **argv, char **envp);
void print(const char *format, ...); /* %s %d %u %x (all 64 bits) */
[[noreturn]] void leave(int status);
extern int failures;
#define CHECK(condition) ((condition) ? (void)0 : (failures++, print("failed: line %d: %s\n", (long)__LINE__, #condition)))
#define EQUAL(expression, wanted)                                                                                                          \
    do {                                                                                                                                   \
        long got_ = (long)(expression), wanted_ = (long)(wanted);                                                                          \
        if (got_ != wanted_) {                                                                                                             \
            failures++;                                                                                                                    \
            print("failed: line %d: %s is %d, not %d\n", (long)__LINE__, #expression, got_, wanted_);                                      \
        }                                                                                                                                  \
    } while (0)
