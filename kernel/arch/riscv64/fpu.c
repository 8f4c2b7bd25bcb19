/* Floating-point state (RISC-V Unprivileged, F and D). sstatus.FS is the switch: Off makes every use an illegal instruction. */
#include "rv.h"
#include <tess/string.h>

constexpr uint32_t FPU_AREA_SIZE = 320; /* 32 doubles and fcsr, rounded up to 64 bytes */

void rv_fpu_store(void *area);
void rv_fpu_load(const void *area);

/* Without F the field reads as zero whatever is written (RISC-V Privileged 3.1.6.6). */
static bool has_fpu(void)
{
    uint64_t before = csr_read(sstatus);
    csr_set(sstatus, SSTATUS_FS_INITIAL);
    bool has = (csr_read(sstatus) & SSTATUS_FS) != 0;
    if ((before & SSTATUS_FS) == 0) {
        csr_clear(sstatus, SSTATUS_FS);
    }
    return has;
}

uint32_t arch_fpu_size(void) { return has_fpu() ? FPU_AREA_SIZE : 0; }

void arch_fpu_init(void *area) { memset(area, 0, FPU_AREA_SIZE); /* all +0.0, round to nearest, no flags */ }

void arch_fpu_save(void *area) { rv_fpu_store(area); }

void arch_fpu_restore(const void *area)
{
    csr_set(sstatus, SSTATUS_FS_INITIAL);
    rv_fpu_load(area);
}

void arch_fpu_disable(void) { csr_clear(sstatus, SSTATUS_FS); }
