/* What a system call leaves in the registers: all that are no results keep their value, whether the call ends in the kernel's first
 * step, fails, lets others run, or waits. */
#include <conformance.h>
#include <tess/stub/untyped.h>

constexpr uint32_t REGISTERS = 32;

/* Loads the general registers from in[] (by number), makes a system call, and stores them in out[]. Neither the stack pointer and
 * what the platform reserves, nor what the system call instruction itself clobbers. */
void registers_call(const uint64_t in[REGISTERS], uint64_t out[REGISTERS]);

#if defined(__x86_64__)
/* In the order of instruction encodings: rax rcx rdx rbx rsp rbp rsi rdi r8 to r15. */
enum : uint32_t { OP = 0, HANDLE = 7, AUX = 6, WORD0 = 2, TESTED = 0xFFFF & ~(1u << 1 | 1u << 4 | 1u << 11) };
__asm__(".text\n"
        "registers_call:\n"
        "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n push %rsi\n"
        "mov (%rdi), %rax\n mov 16(%rdi), %rdx\n mov 24(%rdi), %rbx\n mov 40(%rdi), %rbp\n mov 48(%rdi), %rsi\n"
        "mov 64(%rdi), %r8\n mov 72(%rdi), %r9\n mov 80(%rdi), %r10\n mov 96(%rdi), %r12\n mov 104(%rdi), %r13\n"
        "mov 112(%rdi), %r14\n mov 120(%rdi), %r15\n mov 56(%rdi), %rdi\n"
        "syscall\n"
        "mov (%rsp), %rcx\n"
        "mov %rax, (%rcx)\n mov %rdx, 16(%rcx)\n mov %rbx, 24(%rcx)\n mov %rbp, 40(%rcx)\n mov %rsi, 48(%rcx)\n mov %rdi, 56(%rcx)\n"
        "mov %r8, 64(%rcx)\n mov %r9, 72(%rcx)\n mov %r10, 80(%rcx)\n mov %r12, 96(%rcx)\n mov %r13, 104(%rcx)\n"
        "mov %r14, 112(%rcx)\n mov %r15, 120(%rcx)\n"
        "pop %rsi\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");
#elif defined(__aarch64__)
enum : uint32_t { OP = 0, HANDLE = 1, AUX = 2, WORD0 = 3, TESTED = 0x7FFFFFFF };
__asm__(".text\n"
        "registers_call:\n"
        "sub sp, sp, #368\n str x1, [sp, #256]\n stp x19, x20, [sp, #272]\n stp x21, x22, [sp, #288]\n stp x23, x24, [sp, #304]\n"
        "stp x25, x26, [sp, #320]\n stp x27, x28, [sp, #336]\n stp x29, x30, [sp, #352]\n"
        ".irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30\n ldr x\\n, [x0, #8 * \\n]\n .endr\n"
        "ldr x0, [x0]\n"
        "svc #0\n"
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30\n str x\\n, [sp, #8 * \\n]\n .endr\n"
        "ldr x0, [sp, #256]\n mov x1, #0\n"
        "1: ldr x2, [sp, x1]\n str x2, [x0, x1]\n add x1, x1, #8\n cmp x1, #248\n b.ne 1b\n"
        "ldp x19, x20, [sp, #272]\n ldp x21, x22, [sp, #288]\n ldp x23, x24, [sp, #304]\n"
        "ldp x25, x26, [sp, #320]\n ldp x27, x28, [sp, #336]\n ldp x29, x30, [sp, #352]\n"
        "add sp, sp, #368\n ret\n");
#else
/* x2 to x4 are the stack, gp and tp. */
enum : uint32_t { OP = 10, HANDLE = 11, AUX = 12, WORD0 = 13, TESTED = ~(1u << 0 | 1u << 2 | 1u << 3 | 1u << 4) };
__asm__(".text\n"
        "registers_call:\n"
        "addi sp, sp, -384\n sd a1, 256(sp)\n sd ra, 264(sp)\n sd s0, 272(sp)\n sd s1, 280(sp)\n sd s2, 288(sp)\n sd s3, 296(sp)\n"
        "sd s4, 304(sp)\n sd s5, 312(sp)\n sd s6, 320(sp)\n sd s7, 328(sp)\n sd s8, 336(sp)\n sd s9, 344(sp)\n sd s10, 352(sp)\n"
        "sd s11, 360(sp)\n"
        ".irp n, 1,5,6,7,8,9,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n ld x\\n, 8 * \\n(x10)\n .endr\n"
        "ld x10, 80(x10)\n"
        "ecall\n"
        ".irp n, 1,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n sd x\\n, 8 * \\n(sp)\n .endr\n"
        "ld t0, 256(sp)\n addi t1, sp, 256\n mv t2, sp\n"
        "1: ld t3, 0(t2)\n sd t3, 0(t0)\n addi t0, t0, 8\n addi t2, t2, 8\n bne t2, t1, 1b\n"
        "ld ra, 264(sp)\n ld s0, 272(sp)\n ld s1, 280(sp)\n ld s2, 288(sp)\n ld s3, 296(sp)\n"
        "ld s4, 304(sp)\n ld s5, 312(sp)\n ld s6, 320(sp)\n ld s7, 328(sp)\n ld s8, 336(sp)\n ld s9, 344(sp)\n ld s10, 352(sp)\n"
        "ld s11, 360(sp)\n"
        "addi sp, sp, 384\n ret\n");
#endif

static void expect_kept(uint64_t op, handle_t handle, uint64_t deadline, uint64_t word, status_t status)
{
    uint64_t in[REGISTERS], out[REGISTERS] = {};
    for (uint32_t i = 0; i < REGISTERS; i++)
        in[i] = 0x5A5A000000000000 + i * 0x0101010101;
    in[OP] = op;
    in[HANDLE] = handle;
    in[AUX] = deadline;
    in[WORD0] = word;
    registers_call(in, out);
    EXPECT_EQUAL(out[OP], (uint64_t)(int64_t)status);
    for (uint32_t i = 0; i < REGISTERS; i++)
        if (i != OP && (TESTED >> i & 1))
            EXPECT_EQUAL(out[i], in[i]);
}

void registers_kept(void)
{
    handle_t event;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    for (uint32_t round = 0; round < 20; round++) {
        expect_kept(OP_EVENT_CLEAR, event, 0, 1, OK);
        expect_kept(OP_EVENT_CLEAR, 0, 0, 1, ERROR_BAD_HANDLE);
        expect_kept(0, event, 0, 0, ERROR_WRONG_TYPE);
        expect_kept(OP_THREAD_YIELD, tess_thread_block()->thread, 0, 0, OK);
        expect_kept(OP_EVENT_WAIT, event, DEADLINE_NOW, 1, ERROR_TIMED_OUT);
        expect_kept(OP_EVENT_WAIT, event, time_now_ns() + NS_PER_MS, 1, ERROR_TIMED_OUT);
    }
    handle_drop(event);
}

void registers_tests(void)
{
    static const struct test tests[] = {{"registers.kept", registers_kept}};
    tests_run(tests, ARRAY_LENGTH(tests));
}
