/*
 * Floating-point and vector state (RISC-V Unprivileged, F and D; V 1.0). sstatus.FS and VS are the switches: Off makes every use an illegal
 * instruction. The save area holds 32 doubles and fcsr, and from VECTOR_OFFSET on, where the CPU has V with vectors that fit, vl, vtype,
 * vcsr, vstart and the 32 vectors.
 */
#include "rv.h"
#include <tess/string.h>

constexpr uint32_t VECTOR_OFFSET = 320, VECTORS_OFFSET = VECTOR_OFFSET + 64;
constexpr uint32_t VECTOR_MAX = 64; /* bytes; 512 bits */
static_assert(VECTORS_OFFSET + 32 * VECTOR_MAX <= PAGE_SIZE - 64);

static uint32_t fpu_size, vector_bytes; /* 0 = the CPU has none */

void rv_fpu_store(void *area);
void rv_fpu_load(const void *area);
uint64_t rv_vector_bytes(void);
void rv_vector_store(void *area); /* at VECTOR_OFFSET of the save area */
void rv_vector_load(const void *area);

/* Without F or V the field reads as zero whatever is written (RISC-V Privileged 3.1.6.6). */
static bool can_enable(uint64_t field, uint64_t value)
{
    csr_set(sstatus, value);
    return (csr_read(sstatus) & field) != 0;
}

void rv_fpu_cpu_init(void)
{
    if (can_enable(SSTATUS_FS, SSTATUS_FS_INITIAL)) {
        fpu_size = VECTOR_OFFSET;
        if (can_enable(SSTATUS_VS, SSTATUS_VS_INITIAL)) {
            uint64_t bytes = rv_vector_bytes();
            if (bytes != 0 && bytes <= VECTOR_MAX) {
                vector_bytes = (uint32_t)bytes;
                fpu_size = (VECTORS_OFFSET + 32 * vector_bytes + 63) & ~63u;
            }
        }
    }
    arch_fpu_disable();
}

uint32_t arch_vector_size(void) { return vector_bytes; }

uint32_t arch_fpu_size(void) { return fpu_size; }

void arch_fpu_init(void *area) { memset(area, 0, fpu_size); /* all +0.0, round to nearest, no flags; vl 0 */ }

void arch_fpu_save(void *area)
{
    rv_fpu_store(area);
    if (vector_bytes != 0) {
        rv_vector_store((char *)area + VECTOR_OFFSET);
    }
}

void arch_fpu_restore(const void *area)
{
    if (vector_bytes != 0) {
        csr_set(sstatus, SSTATUS_FS_INITIAL | SSTATUS_VS_INITIAL);
        rv_vector_load((const char *)area + VECTOR_OFFSET);
    } else {
        csr_set(sstatus, SSTATUS_FS_INITIAL);
    }
    rv_fpu_load(area);
}

/* User code can set every bit of it by itself; a vtype that is none makes vector instructions illegal. */
void arch_fpu_sanitize(void *) {}

void arch_fpu_disable(void) { csr_clear(sstatus, SSTATUS_FS | SSTATUS_VS); }
