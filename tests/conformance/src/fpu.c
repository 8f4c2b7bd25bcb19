/*
 * Floating-point and vector registers: what a thread with THREAD_FPU has in them is there after whatever it waited for and wherever it
 * went on, all of it (AVX, SVE, V where the CPU has them), with rounding mode; a thread without is refused. The test program itself is
 * compiled without any of it.
 */
#include <conformance.h>
#include <stdatomic.h>
#include <tess/string.h>
#include <tess/stub/event.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

/* Registers to and from `area`: 512 bytes of those every CPU has, then one word of control, then from byte 576 on 32 registers of
 * vector_bytes each (none when 0) and, on aarch64, 16 predicates of an eighth of that. */
constexpr uint32_t CONTROL_OFFSET = 512, VECTORS_OFFSET = 576, AREA_BYTES = VECTORS_OFFSET + 32 * 64 + 16 * 8;
void fpu_load(const void *area, uint64_t vector_bytes);
void fpu_store(void *area, uint64_t vector_bytes);

#if defined(__x86_64__)
/* 16 registers of 32 bytes with AVX (vector_bytes 32), else the lower halves. The control word is MXCSR. */
constexpr uint32_t BASE_BYTES = 16;
static uint32_t control_of(uint32_t thread) { return 0x1F80 | thread % 4 << 13; }
__asm__(".text\n"
        "fpu_load: ldmxcsr 512(%rdi)\n test %rsi, %rsi\n jz 1f\n"
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n vmovdqu 32 * \\n(%rdi), %ymm\\n\n .endr\n ret\n"
        "1:\n .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movdqu 32 * \\n(%rdi), %xmm\\n\n .endr\n ret\n"
        "fpu_store: stmxcsr 512(%rdi)\n test %rsi, %rsi\n jz 1f\n"
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n vmovdqu %ymm\\n, 32 * \\n(%rdi)\n .endr\n ret\n"
        "1:\n .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movdqu %xmm\\n, 32 * \\n(%rdi)\n .endr\n ret\n");

static uint64_t vector_bytes(void)
{
    uint32_t eax = 1, ebx, ecx = 0, edx, low, high;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    if ((ecx >> 27 & 3) != 3) /* OSXSAVE, AVX */
        return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6 ? 32 : 0;
}
static bool differs(const uint8_t *a, const uint8_t *b, uint64_t vector)
{
    for (uint32_t n = 0; n < 16; n++)
        if (memcmp(a + 32 * n, b + 32 * n, vector != 0 ? 32 : BASE_BYTES) != 0)
            return true;
    return false;
}
#define FPU_INSTRUCTION "movaps %xmm0, %xmm1"
#elif defined(__aarch64__)
/* q0 to q31 are the lower parts of z0 to z31; the control word is FPCR. */
static uint32_t control_of(uint32_t thread) { return thread % 4 << 22; }
__asm__(
    ".text\n.arch_extension fp\n.arch_extension simd\n.arch_extension sve\n"
    "fpu_load: ldr w2, [x0, #512]\n msr fpcr, x2\n cbnz x1, 1f\n"
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n ldr q\\n, [x0, #16 * \\n]\n .endr\n"
    "ret\n1: add x0, x0, #576\n addvl x1, x0, #16\n addvl x1, x1, #16\n"
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n ldr z\\n, [x0, #\\n, mul vl]\n .endr\n"
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n ldr p\\n, [x1, #\\n, mul vl]\n .endr\n ret\n"
    "fpu_store: mrs x2, fpcr\n str w2, [x0, #512]\n cbnz x1, 1f\n"
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n str q\\n, [x0, #16 * \\n]\n .endr\n"
    "ret\n1: add x0, x0, #576\n addvl x1, x0, #16\n addvl x1, x1, #16\n"
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n str z\\n, [x0, #\\n, mul vl]\n .endr\n"
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n str p\\n, [x1, #\\n, mul vl]\n .endr\n ret\n");
static bool differs(const uint8_t *a, const uint8_t *b, uint64_t vector)
{
    return memcmp(a, b, vector != 0 ? 0 : 512) != 0 || memcmp(a + VECTORS_OFFSET, b + VECTORS_OFFSET, 32 * vector + 2 * vector) != 0;
}
#define FPU_INSTRUCTION ".arch_extension fp\nfmov d0, d1"
#else
/* The control word is fcsr; with V, also vl 3 of 8-bit elements and vxrm (vcsr) are set and looked at. */
static uint32_t control_of(uint32_t thread) { return thread % 4 << 5; }
__asm__(".text\n.option push\n.option arch, +d, +v\n"
        "fpu_load: lw t0, 512(a0)\n fscsr t0\n"
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n fld f\\n, 8 * \\n(a0)\n .endr\n"
        "beqz a1, 1f\n addi t1, a0, 576\n slli t2, a1, 3\n"
        ".irp n, 0,8,16,24\n vl8re8.v v\\n, (t1)\n add t1, t1, t2\n .endr\n"
        "srli t0, t0, 5\n addi t0, t0, 1\n vsetvli zero, t0, e8, m1, ta, ma\n addi t0, t0, -1\n csrw vxrm, t0\n1: ret\n"
        "fpu_store: frcsr t0\n sw t0, 512(a0)\n"
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n fsd f\\n, 8 * \\n(a0)\n .endr\n"
        "beqz a1, 1f\n addi t1, a0, 576\n slli t2, a1, 3\n"
        ".irp n, 0,8,16,24\n vs8r.v v\\n, (t1)\n add t1, t1, t2\n .endr\n"
        /* vl - 1 and vxrm must both be the rounding mode: else spoil the control word. */
        "srli t0, t0, 5\n csrr t1, vl\n addi t1, t1, -1\n csrr t2, vxrm\n xor t1, t1, t0\n xor t2, t2, t0\n or t1, t1, t2\n beqz t1, 1f\n"
        "sw t1, 516(a0)\n1: ret\n.option pop\n");
static bool differs(const uint8_t *a, const uint8_t *b, uint64_t vector)
{
    return memcmp(a, b, 256) != 0 || memcmp(a + VECTORS_OFFSET, b + VECTORS_OFFSET, 32 * vector) != 0;
}
#define FPU_INSTRUCTION ".option push\n.option arch, +d\nfmv.d f0, f1\n.option pop"
#endif

#if !defined(__x86_64__)
static uint64_t vector_bytes(void) { return ((const struct tess_clock_page *)std_bootstrap()->clock_page)->vector_bytes; }
#endif

constexpr uint32_t THREADS = 6;
constexpr uint64_t THREAD_MEMORY = 4 * STD_PAGE; /* message page, two pages for the areas, stack */

struct worker {
    struct std_mapping memory;
    handle_t thread;
    uint32_t index, rounds;
    _Atomic uint32_t wrong, done;
};

[[noreturn]] static void worker_main(struct worker *worker)
{
    uint8_t *wanted = (uint8_t *)worker->memory.address + STD_PAGE, *found = wanted + STD_PAGE / 2 + 1024;
    uint64_t vector = vector_bytes(), seed = worker->index + 1;
    for (uint32_t round = 0; round < worker->rounds; round++) {
        for (uint32_t i = 0; i < AREA_BYTES / 8; i++)
            ((uint64_t *)wanted)[i] = random_next(&seed);
        uint32_t control = control_of(worker->index + round);
        memset(wanted + CONTROL_OFFSET, 0, 8);
        memcpy(wanted + CONTROL_OFFSET, &control, 4);
        memset(found, 0, AREA_BYTES);
        fpu_load(wanted, vector);
        /* Waits, gives way, or only computes: comes back on any CPU. */
        if (round % 3 == 0)
            (void)tess_thread_sleep(worker->thread, time_after_ns(100'000 * (1 + worker->index))); /* TIMED_OUT is its normal end */
        else if (round % 3 == 1)
            (void)tess_thread_yield(worker->thread);
        else
            for (volatile uint32_t i = 0; i < 2000; i++)
                ;
        fpu_store(found, vector);
        if (differs(wanted, found, vector) || memcmp(wanted + CONTROL_OFFSET, found + CONTROL_OFFSET, 8) != 0)
            atomic_fetch_add(&worker->wrong, 1);
    }
    atomic_store(&worker->done, 1);
    for (;;)
        (void)tess_thread_exit(worker->thread);
}

static void state_is_kept(void)
{
    static struct worker workers[THREADS];
    memset(workers, 0, sizeof(workers));
    for (uint32_t i = 0; i < THREADS; i++) {
        struct worker *worker = &workers[i];
        worker->index = i;
        worker->rounds = 150;
        if (!EXPECT_OK(std_mapping_create(THREAD_MEMORY, MEMORY_COMMITTED, &worker->memory)))
            return;
        if (!EXPECT_OK(
                tess_untyped_create_thread(std_self.untyped, std_self.process, worker->memory.memory, 0, THREAD_FPU, &worker->thread)))
            return;
        uint64_t sp = (uint64_t)worker->memory.address + THREAD_MEMORY;
#if defined(__x86_64__)
        sp -= 8; /* as after a call (System V ABI, AMD64 supplement, 3.2.2) */
#endif
        EXPECT_OK(tess_thread_start(worker->thread, (uint64_t)worker_main, sp, (uint64_t)worker, 0, 0));
    }
    uint64_t deadline = patience();
    for (uint32_t i = 0; i < THREADS; i++) {
        while (!atomic_load(&workers[i].done) && time_now_ns() < deadline)
            sleep_ns(1'000'000);
        EXPECT(atomic_load(&workers[i].done) == 1);
        EXPECT_EQUAL(atomic_load(&workers[i].wrong), 0);
        handle_destroy(workers[i].thread);
        std_mapping_destroy(&workers[i].memory);
    }
    test_note("%lu bytes in a vector register", (unsigned long)vector_bytes());
}

int32_t role_fpu(void)
{
    __asm__ volatile(FPU_INSTRUCTION);
    return 0;
}

static void without_is_refused(void)
{
    struct child child;
    if (!child_start(&child, &(struct child_args){.role = "fpu"}))
        return;
    child_expect(&child, EXIT_FAULT, -1);
    child_end(&child);
}

void fpu_tests(void)
{
    static const struct test tests[] = {
        {"fpu.state_is_kept", state_is_kept},
        {"fpu.without_is_refused", without_is_refused},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
