/* Offsets and constants that assembly and C share; cpu.c asserts that they are those of the structures. */
#pragma once

#define FRAME_X(n) ((n) * 8)
#define FRAME_SP 248
#define FRAME_PC 256
#define FRAME_PSTATE 264
#define FRAME_TLS 272
#define FRAME_UPCALL 280
#define FRAME_SIZE 288

/* struct thread (kernel/thread.h), behind its frame */
#define THREAD_NATIVE_LIMIT 288
#define THREAD_UPCALL 296
#define THREAD_UPCALL_ENTRY 304
#define THREAD_PENDING 320

/* struct tess_upcall_frame: the registers of its first context lie as in struct arch_frame */
#define UPCALL_CAUSE 288
#define UPCALL_STACK 312
#define UPCALL_CAUSE_SYSTEM_CALL 16
#define NATIVE_BASE_ADDRESS 0x3FC0000000

/* ESR_EL1 of svc #0 in AArch64 state: its exception class, and a 32-bit instruction (Arm ARM D17.2.37). */
#define ESR_SVC_0 0x56000000

#define CPU_CURRENT 8
#define CPU_STACK_TOP 16
#define CPU_EXIT_WORK 64
#define CPU_EPOCH 72
#define CPU_EMERGENCY_STACK 24 /* arch_scratch[0]: top, 0 before arch_cpu_init */
#define CPU_FAULT_DEPTH 32     /* arch_scratch[1]: faults in kernel mode so far */
#define CPU_SCRATCH 40         /* arch_scratch[2..3]: saved registers while a kernel fault changes stacks */

/* Early stack of the boot CPU, until the portable kernel has one for it. */
#define A64_BOOT_STACK_SIZE 16384

/* Memory attributes (MAIR_EL1): 0 = Device-nGnRnE, 1 = Normal write-back read/write-allocate (Arm ARM D17.2.97). */
#define A64_MAIR 0xFF00

/* TCR_EL1 (Arm ARM D17.2.131): 39-bit halves, 4 KiB granule, walks inner-shareable write-back; IPS is filled in. */
#define TCR_T0SZ(n) ((n) << 0)
#define TCR_IRGN0_WB (1 << 8)
#define TCR_ORGN0_WB (1 << 10)
#define TCR_SH0_IS (3 << 12)
#define TCR_T1SZ(n) ((n) << 16)
#define TCR_IRGN1_WB (1 << 24)
#define TCR_ORGN1_WB (1 << 26)
#define TCR_SH1_IS (3 << 28)
#define TCR_TG1_4K (2 << 30)
#define A64_TCR                                                                                                                            \
    (TCR_T0SZ(25) | TCR_IRGN0_WB | TCR_ORGN0_WB | TCR_SH0_IS | TCR_T1SZ(25) | TCR_IRGN1_WB | TCR_ORGN1_WB | TCR_SH1_IS | TCR_TG1_4K)

/* SCTLR_EL1 (Arm ARM D17.2.118). RES1 of Armv8.0; SPAN (23) and WXN (19) are changed per CPU in arch_cpu_init. nTWI (16) and
 * nTWE (18) stay 0: user code that waits for an interrupt or event traps. */
#define SCTLR_RES1 0x30D00800
#define SCTLR_M (1 << 0)
#define SCTLR_C (1 << 2)
#define SCTLR_SA (1 << 3)
#define SCTLR_SA0 (1 << 4)
#define SCTLR_I (1 << 12)
#define SCTLR_DZE (1 << 14)  /* user: DC ZVA */
#define SCTLR_UCT (1 << 15)  /* user: CTR_EL0 */
#define SCTLR_WXN (1 << 19)  /* writable is never executable */
#define SCTLR_SPAN (1 << 23) /* 0: PAN is set on every exception */
#define SCTLR_UCI (1 << 26)  /* user: cache maintenance by address */
#define A64_SCTLR (SCTLR_RES1 | SCTLR_M | SCTLR_C | SCTLR_SA | SCTLR_SA0 | SCTLR_I | SCTLR_DZE | SCTLR_UCT | SCTLR_UCI)

/* PSTATE of the kernel: EL1 with its own stack pointer, all interrupts masked. */
#define A64_SPSR_KERNEL 0x3C5
