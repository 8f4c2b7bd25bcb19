/*
 * Floating-point and vector state: Advanced SIMD, or SVE where the CPU has it, whose registers contain those of Advanced SIMD. The kernel
 * uses neither; CPACR_EL1 says whether user code may. SVE vectors are limited to what a thread's save area can hold (ZCR_EL1.LEN).
 */
#include "a64.h"
#include <tess/string.h>

enum : uint64_t {
    CPACR_FPU = 3 << 20, /* no traps from EL0 or EL1 (Arm ARM D17.2.33) */
    CPACR_SVE = 3 << 16,
    ID_PFR0_SVE = 15ull << 32,
};

constexpr uint32_t SIMD_AREA_SIZE = 576; /* 32 * 16, FPSR, FPCR, rounded up to 64 */
constexpr uint32_t SVE_VECTOR_MAX = 64;  /* bytes; 512 bits */

static uint32_t vector_bytes; /* of an SVE register, the same on every CPU; 0 = no SVE */

/* FPSR and FPCR in the first 64 bytes, 32 vectors, 16 predicates and FFR (an eighth of a vector each). */
static uint32_t sve_area_size(uint32_t vector) { return (64 + 32 * vector + 17 * vector / 8 + 63) & ~63u; }
static_assert(64 + 32 * SVE_VECTOR_MAX + 17 * SVE_VECTOR_MAX / 8 <= PAGE_SIZE - 64 - 63);

static void access_set(uint64_t value)
{
    A64_WRITE(cpacr_el1, value);
    a64_isb();
}

void a64_fpu_cpu_init(void)
{
    if (A64_READ(id_aa64pfr0_el1) & ID_PFR0_SVE) {
        access_set(CPACR_FPU | CPACR_SVE);
        __asm__ volatile("msr S3_0_C1_C2_0, %0\n\tisb" ::"r"((uint64_t)SVE_VECTOR_MAX / 16 - 1) : "memory"); /* ZCR_EL1 */
        uint64_t bytes;
        __asm__ volatile(".arch_extension sve\n\trdvl %0, #1" : "=r"(bytes));
        vector_bytes = (uint32_t)bytes; /* at most that; less where the CPU has no longer ones */
    }
    access_set(0);
}

uint32_t arch_vector_size(void) { return vector_bytes; }

uint32_t arch_fpu_size(void) { return vector_bytes != 0 ? sve_area_size(vector_bytes) : SIMD_AREA_SIZE; }

/* All zero: FPCR rounds to nearest with exceptions untrapped. */
void arch_fpu_init(void *area) { memset(area, 0, arch_fpu_size()); }

void arch_fpu_save(void *area)
{
    if (vector_bytes != 0)
        a64_sve_save(area);
    else
        a64_simd_save(area);
}

void arch_fpu_restore(const void *area)
{
    if (vector_bytes != 0) {
        access_set(CPACR_FPU | CPACR_SVE);
        a64_sve_restore(area);
    } else {
        access_set(CPACR_FPU);
        a64_simd_restore(area);
    }
}

/* User code can set every bit of it by itself. */
void arch_fpu_sanitize(void *) {}

void arch_fpu_disable(void) { access_set(0); }
