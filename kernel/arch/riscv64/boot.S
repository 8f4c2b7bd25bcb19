/*
 * From firmware to C. Both entries arrive in S-mode with translation off, interrupts off and the hart id in a0
 * (RISC-V SBI 1.0, 9.1 and the Linux boot protocol, Documentation/arch/riscv/boot.rst). Any hart may be the boot hart.
 *
 * Turning translation on: the tables hold no identity mapping. The fetch after `csrw satp` faults, and the trap vector, set
 * to the virtual address of the next step, takes over (the vector's page is mapped; nothing else of the trap is used).
 */
#include "asm.h"

.data
.balign 8
.global rv_starting
rv_starting:                    /* hart id + 1, physical address of its struct rv_cpu_page */
    .dword 0, 0
boot_lottery:                   /* not zeroed by the boot hart: it was taken before */
    .word 0

.section .head, "ax"
.global rv_image_header
rv_image_header:
    .option push
    .option norvc
    j boot_entry
    nop
    .option pop
    .dword 0x200000             /* load offset from the start of RAM */
    .dword rv_image_size
    .dword 0                    /* little-endian */
    .word 2                     /* header version 0.2 */
    .word 0
    .dword 0
    .ascii "RISCV\0\0\0"
    .ascii "RSC\x05"
    .word 0

.text

/* a0 = hart id, a1 = physical address of the device tree */
boot_entry:
    rdtime s4                   /* the clock starts here */
    /* OpenSBI 1.1 marks a hart as starting before it stores where to: one that looks in between comes here, too. */
    lla t0, boot_lottery
    li t1, 1
    amoswap.w t1, t1, (t0)
    bnez t1, rv_secondary_entry
    csrw sie, zero
    li t0, SSTATUS_CLEARED
    csrc sstatus, t0
    mv s0, a0
    mv s1, a1
    lla s2, kernel_image_start  /* physical: nothing is translated yet */

    lla t0, kernel_data_end
    lla t1, kernel_image_end
1:  sd zero, 0(t0)
    addi t0, t0, 8
    bltu t0, t1, 1b
    lla t0, time_counter_base
    sd s4, 0(t0)

    /* The direct map: gigapages from DIRECT_MAP_BASE, root entries 256.. */
    lla t0, early_root
    li t1, 256 * 8
    add t1, t0, t1
    li t2, PTE_KERNEL_RW
    li t3, DIRECT_MAP_GIGAPAGES
    li t4, 1 << 28              /* one gigabyte in the PPN field: 2^30 >> 12 << 10 */
2:  sd t2, 0(t1)
    addi t1, t1, 8
    add t2, t2, t4
    addi t3, t3, -1
    bnez t3, 2b

    /* The image: one 2 MiB page (asserted in kernel.ld) at KERNEL_BASE, root entry 510, middle entry 0. */
    lla t1, early_middle
    srli t2, t1, 2
    ori t2, t2, PTE_V
    li t3, 510 * 8
    add t3, t0, t3
    sd t2, 0(t3)
    srli t2, s2, 2
    ori t2, t2, PTE_KERNEL_RWX
    sd t2, 0(t1)

    li s3, KERNEL_BASE_ADDRESS
    sub s3, s3, s2              /* virtual minus physical */
    lla t1, boot_virtual
    add t1, t1, s3
    csrw stvec, t1
    srli t0, t0, 12
    li t1, SATP_SV39
    or t0, t0, t1
    sfence.vma
    csrw satp, t0
    nop

.balign 4
boot_virtual:
    sfence.vma
    lla t0, rv_trap_entry
    csrw stvec, t0
    csrw sscratch, zero
    lla sp, boot_stack_top
    lla tp, rv_early_cpu
    mv a0, s0
    mv a1, s1
    mv a2, s2
    li s0, 0                    /* ends the chain of frame pointers */
    call rv_boot
    unimp

/* a0 = hart id. What it starts with is in rv_starting: for the reason given at boot_entry, a1 may be an old one. */
.balign 4
.global rv_secondary_entry
rv_secondary_entry:
    lla t0, rv_starting
    addi t1, a0, 1
1:  ld t2, 0(t0)
    bne t1, t2, 1b              /* for ever, if nobody starts it */
    fence r, r
    ld a1, 8(t0)
    csrw sie, zero
    li t0, SSTATUS_CLEARED
    csrc sstatus, t0
    ld t0, 0(a1)                /* satp */
    ld tp, 8(a1)                /* struct cpu, virtual */
    li t1, KERNEL_BASE_ADDRESS
    lla t2, kernel_image_start
    sub t1, t1, t2
    lla t2, secondary_virtual
    add t1, t1, t2
    csrw stvec, t1
    sfence.vma
    csrw satp, t0
    nop

.balign 4
secondary_virtual:
    sfence.vma
    lla t0, rv_trap_entry
    csrw stvec, t0
    csrw sscratch, zero
    ld sp, CPU_STACK_TOP(tp)
    li s0, 0
    mv a0, tp
    call rv_secondary
    unimp

/*
 * bool rv_probe_stimecmp(void): the device tree may promise Sstc while firmware left menvcfg.STCE clear; a write then traps
 * (RISC-V Sstc 1.0, 2.2). All ones is the value that never fires.
 */
.global rv_probe_stimecmp
rv_probe_stimecmp:
    lla t0, 1f
    csrrw t1, stvec, t0
    li a0, 0
    li t0, -1
    csrw CSR_STIMECMP, t0
    li a0, 1
.balign 4
1:  csrw stvec, t1
    ret

.bss
.balign 4096
early_root:
    .space 4096
early_middle:
    .space 4096
.balign 16
    .space 16384
boot_stack_top:
