/*
 * FPU and vector state: XSAVE where the CPU has it, else FXSAVE. The kernel itself uses none of it, so CR0.TS alone decides
 * whether user code may (Intel SDM vol. 1, 13.1 to 13.8).
 */
#include "x86.h"
#include <tess/string.h>

constexpr uint32_t FXSAVE_SIZE = 512;
constexpr uint32_t FPU_SIZE_MAX = PAGE_SIZE - 64;
constexpr uint64_t XCR0_X87_SSE = 0x3, XCR0_AVX = 0x4, XCR0_AVX512 = 0xE0;

static void xcr0_write(uint64_t value)
{
    __asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* Bytes of the standard-format area for these components: the end of the last one (CPUID leaf 0xD). */
static uint32_t area_size(uint64_t components)
{
    uint32_t size = FXSAVE_SIZE + 64;
    for (uint32_t i = 2; i < 63; i++) {
        if (components >> i & 1) {
            struct x86_cpuid component = x86_cpuid(0xD, i);
            uint32_t end = component.eax + component.ebx;
            size = end > size ? end : size;
        }
    }
    return (size + 63) & ~63u;
}

void x86_fpu_probe(void)
{
    x86_features.fpu_size = FXSAVE_SIZE;
    if (!x86_features.has_xsave) {
        return;
    }
    uint64_t supported = x86_cpuid(0xD, 0).eax;
    uint64_t components = XCR0_X87_SSE | (supported & XCR0_AVX);
    if ((components & XCR0_AVX) && (supported & XCR0_AVX512) == XCR0_AVX512 && area_size(components | XCR0_AVX512) <= FPU_SIZE_MAX) {
        components |= XCR0_AVX512;
    }
    x86_features.xcr0 = components;
    x86_features.fpu_size = area_size(components);
}

void x86_fpu_cpu_init(void)
{
    if (x86_features.has_xsave) {
        xcr0_write(x86_features.xcr0);
    }
    arch_fpu_disable();
}

uint32_t arch_vector_size(void) { return 0; }

uint32_t arch_fpu_size(void) { return x86_features.fpu_size; }

/* A zero XSTATE_BV makes XRSTOR initialise every component; MXCSR is read from the area even then. FXRSTOR reads all of it. */
void arch_fpu_init(void *area)
{
    constexpr uint16_t control_word = 0x37F; /* all exceptions masked, extended precision */
    constexpr uint32_t mxcsr = 0x1F80;       /* all exceptions masked */
    memset(area, 0, x86_features.fpu_size);
    memcpy(area, &control_word, sizeof(control_word));
    memcpy((char *)area + 24, &mxcsr, sizeof(mxcsr));
}

void arch_fpu_save(void *area)
{
    if (x86_features.has_xsave) {
        __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(UINT32_MAX), "d"(UINT32_MAX) : "memory");
    } else {
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
    }
}

void arch_fpu_restore(const void *area)
{
    __asm__ volatile("clts" : : : "memory");
    if (x86_features.has_xsave) {
        __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(UINT32_MAX), "d"(UINT32_MAX) : "memory");
    } else {
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
    }
}

/* What makes XRSTOR or FXRSTOR fault: reserved bits of MXCSR, components that are not enabled, a header of another form (Intel SDM
 * vol. 1, 13.8). Every CPU with long mode has all sixteen bits of MXCSR. */
void arch_fpu_sanitize(void *area)
{
    uint8_t *bytes = area;
    memset(bytes + 26, 0, 2); /* MXCSR, upper half */
    if (!x86_features.has_xsave) {
        return;
    }
    uint64_t components;
    memcpy(&components, bytes + FXSAVE_SIZE, sizeof(components));
    components &= x86_features.xcr0;
    memset(bytes + FXSAVE_SIZE, 0, 64);
    memcpy(bytes + FXSAVE_SIZE, &components, sizeof(components));
}

void arch_fpu_disable(void) { x86_write_cr0(x86_read_cr0() | X86_CR0_TS); }
