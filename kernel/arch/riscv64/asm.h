/* Constants of the assembly files. trap.c asserts that those shared with C agree. */
#pragma once

/* struct cpu (kernel/cpu.h) */
#define CPU_CURRENT 8
#define CPU_STACK_TOP 16
#define CPU_SCRATCH_T0 24
#define CPU_EMERGENCY_STACK 32
#define CPU_SCRATCH_T1 40
#define CPU_FAULT_DEPTH 48
#define CPU_EXIT_WORK 64
#define CPU_EPOCH 72

/* struct arch_frame (arch/frame.h) */
#define FRAME_PC 0
#define FRAME_RA 8
#define FRAME_SP 16
#define FRAME_GP 24
#define FRAME_TP 32
#define FRAME_T0 40
#define FRAME_T1 48
#define FRAME_T2 56
#define FRAME_S0 64
#define FRAME_S1 72
#define FRAME_A0 80
#define FRAME_A(n) (FRAME_A0 + 8 * (n))
#define FRAME_S2 144
#define FRAME_S(n) (FRAME_S2 + 8 * ((n) - 2)) /* n = 2..11 */
#define FRAME_T3 224
#define FRAME_T4 232
#define FRAME_T5 240
#define FRAME_T6 248
#define FRAME_SSTATUS 256
#define FRAME_CPU 264
#define FRAME_SIZE 272
#define FRAME_STACK_SIZE 272 /* on a stack: 16-byte aligned */

/* struct thread (kernel/thread.h), behind its frame */
#define THREAD_NATIVE_LIMIT 272
#define THREAD_UPCALL 280
#define THREAD_UPCALL_ENTRY 288
#define THREAD_UPCALL_ADDRESS 296
#define THREAD_PENDING 304

/* struct tess_upcall_frame: the registers of its first context lie as in struct arch_frame */
#define UPCALL_CAUSE 288
#define UPCALL_STACK 312
#define UPCALL_CAUSE_SYSTEM_CALL 16
#define NATIVE_BASE_ADDRESS 0x3FC0000000

#define CAUSE_ECALL_FROM_USER 8
#define FAULT_DEPTH_MAX 4
#define POWER_EXIT_FAILURE 2
#define SYSCALL_INSTRUCTION_SIZE 4

/* SIE | SPIE | SPP | VS | FS | SUM | MXR */
#define SSTATUS_CLEARED 0xC6722

#define KERNEL_BASE_ADDRESS 0xFFFFFFFF80000000
#define DIRECT_MAP_GIGAPAGES 176
#define SATP_SV39 (8 << 60)
#define CSR_STIMECMP 0x14D

/* V R W G A D, and X */
#define PTE_V 1
#define PTE_KERNEL_RW 0xE7
#define PTE_KERNEL_RWX 0xEF
