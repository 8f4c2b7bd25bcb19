/*
 * Entry of the boot CPU (Linux arm64 boot protocol, Documentation/arch/arm64/booting.rst: MMU off, x0 = device tree,
 * EL1 or EL2) and of secondary CPUs (PSCI CPU_ON, x0 = context id). Everything before mmu_enable returns runs at physical
 * addresses with the MMU off, in the first page of the image, and reaches data only relative to the program counter.
 *
 * Early tables, 39-bit: identity map of the 1 GiB that holds the image in TTBR0 (read-only, so that it stays executable
 * under WXN; secondaries use it again), and in TTBR1 the image at KERNEL_BASE by 2 MiB blocks and the direct map of the
 * GiB of the image and of the device tree. a64_boot_main adds the RAM it finds. Device memory is never mapped as normal.
 */
#include "a64_asm.h"

#define BLOCK_NORMAL    0x701        /* valid, block, attribute 0 | AF | inner shareable; attribute index added below */
#define BLOCK_RW        (BLOCK_NORMAL | 1 << 2)
#define BLOCK_RO        (BLOCK_RW | 1 << 7)
#define TABLE           3
#define DIRECT_MAP_SLOT 256          /* of DIRECT_MAP_BASE in a TTBR1 root */
#define DIRECT_MAP_GIB  176
#define KERNEL_SLOT     510          /* of KERNEL_BASE */
#define EARLY_TABLES    4            /* pages from early_root on */

    .section .head, "ax"
    .globl kernel_head
kernel_head:
    b       boot_entry
    .long   0
    .quad   0                        /* text_offset */
    .quad   a64_image_size
    .quad   0xA                      /* little-endian, 4 KiB pages, anywhere in memory */
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

boot_entry:
    msr     daifset, #15
    mov     x20, x0
    bl      drop_to_el1
    mrs     x24, cntvct_el0          /* the clock starts here */
    adrp    x19, kernel_image_start

    /* Zero the early tables; with the MMU off the stores go to memory, so drop stale lines over them afterwards. */
    adrp    x21, early_root
    adrp    x22, early_l2
    adrp    x23, early_identity
    mov     x0, x21
    add     x1, x21, #(EARLY_TABLES * 4096)
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    lsr     x0, x19, #30             /* GiB of the image */
    lsl     x1, x0, #30
    mov     x2, #BLOCK_RO
    orr     x2, x1, x2
    str     x2, [x23, x0, lsl #3]
    mov     x2, #BLOCK_RW
    orr     x2, x1, x2
    add     x3, x21, #(DIRECT_MAP_SLOT * 8)
    str     x2, [x3, x0, lsl #3]

    lsr     x0, x20, #30             /* GiB of the device tree; one out of reach counts as none */
    cmp     x0, #DIRECT_MAP_GIB
    csel    x20, x20, xzr, lo
    csel    x0, x0, xzr, lo
    cbz     x20, 2f
    lsl     x1, x0, #30
    mov     x2, #BLOCK_RW
    orr     x2, x1, x2
    str     x2, [x3, x0, lsl #3]

2:  mov     x0, #TABLE
    orr     x0, x22, x0
    str     x0, [x21, #(KERNEL_SLOT * 8)]
    ldr     x1, =a64_image_size
    add     x1, x19, x1
    mov     x0, x19
    mov     x3, x22
    mov     x2, #BLOCK_RW
3:  orr     x4, x0, x2
    str     x4, [x3], #8
    add     x0, x0, #0x200000
    cmp     x0, x1
    b.lo    3b

    /* The smallest possible cache line is 16 bytes. */
    dsb     sy
    mov     x0, x21
    add     x1, x21, #(EARLY_TABLES * 4096)
4:  dc      ivac, x0
    add     x0, x0, #16
    cmp     x0, x1
    b.lo    4b
    dsb     sy

    mov     x0, x23
    mov     x1, x21
    bl      mmu_enable
    ldr     x8, =boot_virtual
    br      x8

/* Leaves EL2 for EL1, keeping x20 and up; returns to the caller in EL1 with the MMU off. Clobbers x0, x1. */
drop_to_el1:
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.ne    1f
    mov     x0, #(1 << 31)           /* HCR_EL2.RW: EL1 is AArch64; nothing is trapped */
    msr     hcr_el2, x0
    mov     x0, #3                   /* EL1 may use the physical counter and timer */
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    msr     vttbr_el2, xzr
    msr     hstr_el2, xzr
    mov     x0, #0x33FF              /* CPTR_EL2: RES1 bits, FPU accesses do not trap */
    mrs     x1, id_aa64pfr0_el1      /* SVE neither, with vectors as long as they come: TZ, ZCR_EL2 */
    ubfx    x1, x1, #32, #4
    cbz     x1, 3f
    bic     x0, x0, #(1 << 8)
    msr     cptr_el2, x0
    isb
    mov     x1, #15
    msr     S3_4_C1_C2_0, x1
3:  msr     cptr_el2, x0
    mrs     x0, pmcr_el0             /* MDCR_EL2: no traps, HPMN = all event counters */
    ubfx    x0, x0, #11, #5
    msr     mdcr_el2, x0
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    mrs     x0, id_aa64pfr0_el1      /* GIC system registers: let EL1 use them */
    ubfx    x0, x0, #24, #4
    cbz     x0, 2f
    mrs     x0, S3_4_C12_C9_5        /* ICC_SRE_EL2 */
    mov     x1, #9                   /* SRE, Enable */
    orr     x0, x0, x1
    msr     S3_4_C12_C9_5, x0
    isb
    msr     S3_4_C12_C11_0, xzr      /* ICH_HCR_EL2 */
2:  ldr     x0, =SCTLR_RES1
    msr     sctlr_el1, x0
    mov     x0, #A64_SPSR_KERNEL
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret
1:  ret

/* x0 = TTBR0, x1 = TTBR1. Returns at the same physical address, which TTBR0 maps. Clobbers x2, x3. */
mmu_enable:
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, x1
    ldr     x2, =A64_MAIR
    msr     mair_el1, x2
    ldr     x2, =A64_TCR
    mrs     x3, id_aa64mmfr0_el1
    ubfx    x1, x3, #5, #1           /* ASIDBits: 0 or 2 */
    bfi     x2, x1, #36, #1          /* AS */
    and     x3, x3, #15              /* PARange, at most 48 bits, which is all that 4 KiB entries hold */
    cmp     x3, #5
    mov     x1, #5
    csel    x3, x3, x1, ls
    bfi     x2, x3, #32, #3
    msr     tcr_el1, x2
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x2, =A64_SCTLR
    msr     sctlr_el1, x2
    isb
    ret

/* PSCI CPU_ON enters here; x0 = virtual address of the struct cpu. */
    .globl a64_secondary_entry
a64_secondary_entry:
    msr     daifset, #15
    mov     x20, x0
    bl      drop_to_el1
    adrp    x0, early_identity
    adrp    x1, a64_kernel_root
    ldr     x1, [x1, #:lo12:a64_kernel_root]
    bl      mmu_enable
    ldr     x8, =secondary_virtual
    br      x8

/*
 * Replaces the kernel's tables, through the identity map: while both map the same addresses with other block sizes, no walk
 * may see a mixture (Arm ARM D8.14.1, break-before-make). x0 = new TTBR1, x1 = an empty root. Called at its physical address.
 */
    .globl a64_switch_tables
a64_switch_tables:
    msr     ttbr1_el1, x1
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    msr     ttbr1_el1, x0
    isb
    ret

    .ltorg

    .text
boot_virtual:
    msr     spsel, #1
    ldr     x0, =boot_stack_top
    mov     sp, x0
    msr     tpidr_el1, xzr
    ldr     x0, =a64_vectors
    msr     vbar_el1, x0
    isb
    ldr     x0, =a64_bss_start
    ldr     x1, =a64_bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b
2:  ldr     x0, =time_counter_base
    str     x24, [x0]
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    mov     x1, x19
    bl      a64_boot_main
    b       .

secondary_virtual:
    hint    #34                     /* bti c */
    msr     spsel, #1
    msr     tpidr_el1, x20
    ldr     x0, =a64_vectors
    msr     vbar_el1, x0
    isb
    ldr     x0, [x20, #CPU_STACK_TOP]
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    bl      a64_secondary_main
    b       .

    .section .boot_bss, "aw", @nobits
    .balign 4096
    .globl early_root, early_identity
early_root:
    .skip   4096
early_l2:
    .skip   4096
early_identity:
    .skip   4096
    .globl a64_empty_root
a64_empty_root:
    .skip   4096
boot_stack:
    .skip   A64_BOOT_STACK_SIZE
boot_stack_top:
