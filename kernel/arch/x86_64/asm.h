/* Constants that C and assembly share. Offsets are asserted against the structs in trap.c. */
#pragma once

/* The image is linked at KERNEL_BASE and loaded at 2 MiB; physical = linked + X86_PHYS_DELTA (mod 2^64). kernel.ld agrees. */
#define X86_PHYS_DELTA 0x80200000

/* GDT selectors. SYSRET takes SS from STAR + 8 and CS from STAR + 16 (Intel SDM vol. 2, SYSRET): user data before user code. */
#define X86_SEL_KERNEL_CODE 0x08
#define X86_SEL_KERNEL_DATA 0x10
#define X86_SEL_USER_DATA 0x1b
#define X86_SEL_USER_CODE 0x23
#define X86_SEL_TSS 0x28

#define X86_MSR_EFER 0xC0000080
#define X86_MSR_FS_BASE 0xC0000100
#define X86_MSR_GS_BASE 0xC0000101
#define X86_MSR_KERNEL_GS_BASE 0xC0000102

/* CR0: paging, write protect, native FPU errors, extension type, monitor coprocessor, protected mode. */
#define X86_CR0_LONG_MODE 0x80010033
#define X86_CR4_PAE 0x20
#define X86_EFER_LONG_MODE 0x901 /* SCE | LME | NXE */

/* Where secondary CPUs start in real mode: a page below 1 MiB that boot.c reserves. The SIPI vector is its page number. */
#define X86_TRAMPOLINE 0x8000

#define X86_CPU_CURRENT 8
#define X86_CPU_STACK_TOP 16
#define X86_CPU_SCRATCH 24
#define X86_CPU_EXIT_WORK 64
#define X86_CPU_EPOCH 72
#define X86_CPU_HW_ID 80

#define X86_FRAME_RAX 0
#define X86_FRAME_RBX 8
#define X86_FRAME_RCX 16
#define X86_FRAME_RSI 24
#define X86_FRAME_RDI 32
#define X86_FRAME_RBP 40
#define X86_FRAME_RDX 48
#define X86_FRAME_R10 56
#define X86_FRAME_R8 64
#define X86_FRAME_R9 72
#define X86_FRAME_R11 80
#define X86_FRAME_R12 88
#define X86_FRAME_R13 96
#define X86_FRAME_R14 104
#define X86_FRAME_R15 112
#define X86_FRAME_RIP 120
#define X86_FRAME_RFLAGS 128
#define X86_FRAME_RSP 136
#define X86_FRAME_FS_BASE 144
#define X86_FRAME_GS_BASE 152
#define X86_FRAME_SIZE 160

/* struct thread (kernel/thread.h), behind its frame */
#define X86_THREAD_NATIVE_LIMIT 160
#define X86_THREAD_UPCALL 168
#define X86_THREAD_UPCALL_ENTRY 176

/* struct tess_upcall_frame: the registers of its first context lie as in struct arch_frame */
#define X86_UPCALL_CAUSE 288
#define X86_UPCALL_STACK 312
#define X86_UPCALL_SYSTEM_CALL 16
#define X86_FLAGS_UPCALL 0x202
#define X86_NATIVE_BASE 0x3FC0000000
