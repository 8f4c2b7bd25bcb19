/* What the files of this port share. Nothing outside kernel/arch/riscv64 includes it. */
#pragma once
#include <arch/arch.h>
#include <arch/csr.h>

/* cpu->arch: one zeroed page per CPU. The start block is read by entry code with translation off; the rest of the page is the
 * stack for faults that the ordinary stack cannot take. */
struct rv_cpu_page {
    uint64_t satp;
    struct cpu *cpu;
    uint64_t emergency_stack[(PAGE_SIZE - 16) / 8];
};
static_assert(sizeof(struct rv_cpu_page) == PAGE_SIZE);

/* cpu->arch_scratch, as entry.S uses it. */
enum : uint32_t {
    RV_SCRATCH_T0 = 0,              /* 24 */
    RV_SCRATCH_EMERGENCY_STACK = 1, /* 32: its top */
    RV_SCRATCH_T1 = 2,              /* 40 */
    RV_SCRATCH_FAULT_DEPTH = 3,     /* 48: faults in kernel mode so far */
};

/* boot.S, entry.S */
extern char rv_secondary_entry[], rv_trap_entry[];
/* boot.S: the one hart that is being started, and what it starts with. */
extern struct {
    _Atomic uint64_t hart_id_plus_1;
    paddr_t page;
} rv_starting;
bool rv_probe_stimecmp(void); /* false when the register does not exist or firmware keeps it from us */

/* boot.c: of an address in the kernel image or the direct map */
paddr_t rv_phys(const void *address);

/* paging.c: leaf entry for `va` in the active table, 0 = none */
uint64_t rv_walk_active(vaddr_t va, uint32_t *out_level);

/* irq.c: runs everything that is pending and enabled */
void rv_irq_dispatch(void);

/* plic.c */
void rv_plic_dispatch(void);

/* console.c: back to the firmware's console until arch_console_remap() */
void rv_console_suspend(void);

/* power.c */
void rv_power_init(const struct boot_info *bi);
void rv_power_remap(void);

/* fpu.c: finds out what the CPU has, and leaves it disabled */
void rv_fpu_cpu_init(void);

/* sbi.c: RISC-V SBI specification 1.0 (and 2.0 for the debug console). */
struct sbi_result {
    int64_t error;
    uint64_t value;
};
void rv_sbi_putc(char c);
void rv_sbi_set_timer(uint64_t deadline);
void rv_sbi_send_ipi(uint64_t hart_id);
void rv_sbi_remote_fence_i_all(void);
bool rv_sbi_hart_start(uint64_t hart_id, paddr_t entry, uint64_t opaque);
void rv_sbi_system_reset(bool is_reboot, bool is_failure); /* returns when there is no such service */
