#include "program.h"
#include <stdarg.h>

int failures;

#if defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n ud2\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start: mov x0, sp\n bl begin\n brk #1\n");
#else
__asm__(".globl _start\n_start: mv a0, sp\n call begin\n unimp\n");
#endif

void leave(int status)
{
    CALL(EXIT_GROUP, status);
    __builtin_trap();
}

void begin(long *stack);
void begin(long *stack)
{
    char **argv = (char **)(stack + 1);
    int status = program((int)stack[0], argv, argv + stack[0] + 1);
    if (failures != 0) {
        print("%d failed\n", (long)failures);
    }
    leave(failures != 0 ? 99 : status);
}

static char *put_number(char *end, uint64_t value, uint64_t base)
{
    do {
        *--end = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    return end;
}

void print(const char *format, ...)
{
    char text[400], number[24];
    size_t size = 0;
    va_list args;
    va_start(args, format);
    for (; *format != 0 && size < sizeof(text); format++) {
        if (*format != '%') {
            text[size++] = *format;
            continue;
        }
        const char *part;
        number[23] = 0;
        char kind = *++format;
        if (kind == 's') {
            part = va_arg(args, const char *);
        } else {
            int64_t value = va_arg(args, long);
            bool is_negative = kind == 'd' && value < 0;
            char *at = put_number(number + 23, is_negative ? -(uint64_t)value : (uint64_t)value, kind == 'x' ? 16 : 10);
            if (is_negative) {
                *--at = '-';
            }
            part = at;
        }
        while (*part != 0 && size < sizeof(text)) {
            text[size++] = *part++;
        }
    }
    va_end(args);
    CALL(WRITE, 1, text, size);
}

void *memset(void *to, int value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((volatile char *)to)[i] = (char)value;
    }
    return to;
}
void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((volatile char *)to)[i] = ((const char *)from)[i];
    }
    return to;
}
