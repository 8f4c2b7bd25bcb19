/*
 * Exception vectors (Arm ARM D1.4.1.5), the way back to user mode, and FPU state.
 *
 * From user mode: SP_EL1 is the CPU's stack top (a64_user_return finds it so); all registers go to the frame of
 * cpu->current, then C decides which thread to resume. A system call saves what C functions preserve, and the system registers,
 * only if it does not end in its first step (arch/arch.h). The kernel's C code is compiled without x12 to x15 and x18 (meson.build),
 * so that it need not save those either. From kernel mode: every exception is a fault, because interrupts are
 * masked throughout and arch_idle takes them by polling after wfi. SP_EL0 is free then (such a fault is the
 * end), so a kernel fault uses it as its first scratch register, and never touches the stack that may be what is broken.
 */
#include "a64_asm.h"

.macro vector label
    .balign 0x80
    b       \label
.endm

.macro vector_user label
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    b       \label
.endm

    .section .text.vectors, "ax"
    .balign 0x800
    .globl a64_vectors
a64_vectors:
    vector  kernel_sync             /* EL1 with SP_EL0: never used */
    vector  kernel_irq
    vector  kernel_irq
    vector  kernel_serror
    vector  kernel_sync             /* EL1 */
    vector  kernel_irq
    vector  kernel_irq
    vector  kernel_serror
    vector_user user_sync           /* EL0, AArch64 */
    vector_user user_irq
    vector_user user_irq
    vector_user user_serror
    vector  kernel_sync             /* EL0, AArch32: PSTATE in a frame never selects it */
    vector  kernel_irq
    vector  kernel_irq
    vector  kernel_serror

    .text

/* x0 = the current thread; x2 and x3 are saved in its frame. x0 and x1 are on the stack. */
.macro save_first
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #CPU_CURRENT]
    stp     x2, x3, [x0, #FRAME_X(2)]
.endm

/* Saves the others that C functions clobber; x3 = the thread, x0 and x1 the user's values. */
.macro save_clobbered
    stp     x4, x5, [x0, #FRAME_X(4)]
    stp     x6, x7, [x0, #FRAME_X(6)]
    stp     x8, x9, [x0, #FRAME_X(8)]
    stp     x10, x11, [x0, #FRAME_X(10)]
    stp     x16, x17, [x0, #FRAME_X(16)]
    str     x30, [x0, #FRAME_X(30)]
    mov     x3, x0
    ldp     x0, x1, [sp], #16
    stp     x0, x1, [x3, #FRAME_X(0)]
.endm

/* Saves the rest, C functions use none of it or preserve it, into the frame of the thread in x0. Clobbers x4 to x7. */
.macro save_rest
    mrs     x4, sp_el0
    mrs     x5, elr_el1
    mrs     x6, spsr_el1
    mrs     x7, tpidr_el0
    stp     x12, x13, [x0, #FRAME_X(12)]
    stp     x14, x15, [x0, #FRAME_X(14)]
    str     x18, [x0, #FRAME_X(18)]
    stp     x19, x20, [x0, #FRAME_X(19)]
    stp     x21, x22, [x0, #FRAME_X(21)]
    stp     x23, x24, [x0, #FRAME_X(23)]
    stp     x25, x26, [x0, #FRAME_X(25)]
    stp     x27, x28, [x0, #FRAME_X(27)]
    str     x29, [x0, #FRAME_X(29)]
    str     x4, [x0, #FRAME_SP]
    stp     x5, x6, [x0, #FRAME_PC]
    str     x7, [x0, #FRAME_TLS]
    mov     x29, xzr                /* end of the kernel's chain of frames */
    mov     x30, xzr
.endm

user_sync:
    save_first
    mrs     x2, elr_el1
    ldr     x3, [x0, #THREAD_NATIVE_LIMIT]
    cmp     x2, x3
    b.ls    5f
    mrs     x2, esr_el1
    mov     w3, #ESR_SVC_0
    cmp     x2, x3
    b.ne    4f
    save_clobbered
    bl      kernel_syscall_quick
    mrs     x2, tpidr_el1
    cbnz    w0, 2f
    ldr     w1, [x2, #CPU_EXIT_WORK]
    cbnz    w1, 2f
    mov     x0, xzr
    add     x3, x2, #CPU_EPOCH
    stlr    xzr, [x3]               /* quiesce_leave() */
    /* The same thread goes on: x12 to x15, x18 to x29, ELR, SPSR, SP_EL0 and TPIDR_EL0 are still its own, and SP is at the top. */
1:  ldr     x1, [x2, #CPU_CURRENT]
    ldp     x10, x11, [x1, #FRAME_X(10)]
    ldp     x16, x17, [x1, #FRAME_X(16)]
    ldr     x30, [x1, #FRAME_X(30)]
    ldp     x8, x9, [x1, #FRAME_X(8)]
    ldp     x6, x7, [x1, #FRAME_X(6)]
    ldp     x4, x5, [x1, #FRAME_X(4)]
    ldp     x2, x3, [x1, #FRAME_X(2)]
    ldr     x1, [x1, #FRAME_X(1)]
    eret
    dsb     nsh
    isb
2:  cmp     w0, #0
    b.gt    3f
    bl      kernel_syscall_end
    mrs     x2, tpidr_el1
    cmp     x0, #0
    b.le    1b
3:  mov     w1, w0
    ldr     x0, [x2, #CPU_CURRENT]
    save_rest
    bl      kernel_syscall
    b       a64_user_return

5:  mrs     x1, esr_el1
    mov     w3, #ESR_SVC_0
    cmp     x1, x3
    b.eq    foreign_syscall
4:  save_clobbered
    mov     x0, x3
    save_rest
    mrs     x1, esr_el1
    mrs     x2, far_el1
    bl      a64_user_sync
    b       a64_user_return

/*
 * Not from the native range: the registers go straight to the thread's upcall frame, and its upcall code goes on with all but SP as
 * they are. From the gate page: all come back from there. kernel_foreign_syscall() says the same in C, and does what is unusual.
 * Nothing in the frame is trusted: ELR, SP_EL0 and TPIDR_EL0 may hold anything, PSTATE is cut to its flags.
 */
foreign_syscall:
    ldr     x3, [x0, #THREAD_UPCALL]
    mov     x1, #NATIVE_BASE_ADDRESS
    cbz     x3, foreign_slowly
    cmp     x2, x1
    b.hi    gate
    stp     x4, x5, [x3, #FRAME_X(4)]
    stp     x6, x7, [x3, #FRAME_X(6)]
    stp     x8, x9, [x3, #FRAME_X(8)]
    stp     x10, x11, [x3, #FRAME_X(10)]
    stp     x12, x13, [x3, #FRAME_X(12)]
    stp     x14, x15, [x3, #FRAME_X(14)]
    stp     x16, x17, [x3, #FRAME_X(16)]
    stp     x18, x19, [x3, #FRAME_X(18)]
    stp     x20, x21, [x3, #FRAME_X(20)]
    stp     x22, x23, [x3, #FRAME_X(22)]
    stp     x24, x25, [x3, #FRAME_X(24)]
    stp     x26, x27, [x3, #FRAME_X(26)]
    stp     x28, x29, [x3, #FRAME_X(28)]
    mrs     x1, sp_el0
    stp     x30, x1, [x3, #FRAME_X(30)]
    mrs     x1, spsr_el1
    stp     x2, x1, [x3, #FRAME_PC]
    mrs     x1, tpidr_el0
    str     x1, [x3, #FRAME_TLS]
    mov     x1, #UPCALL_CAUSE_SYSTEM_CALL
    str     x1, [x3, #UPCALL_CAUSE]         /* and no access */
    ldr     x1, [x0, #THREAD_UPCALL_ENTRY]
    ldr     x2, [x3, #UPCALL_STACK]
    msr     elr_el1, x1
    msr     sp_el0, x2
    msr     spsr_el1, xzr
    ldp     x1, x2, [x0, #FRAME_X(2)]
    stp     x1, x2, [x3, #FRAME_X(2)]
    ldp     x0, x1, [sp], #16
    stp     x0, x1, [x3, #FRAME_X(0)]
    ldp     x2, x3, [x3, #FRAME_X(2)]
    eret
    dsb     nsh
    isb

gate:
    ldr     w1, [x0, #THREAD_PENDING]
    ldr     x2, [sp], #16                   /* which context */
    orr     x1, x1, x2
    cbnz    x1, gate_slowly
    ldp     x4, x5, [x3, #FRAME_PC]
    ldr     x6, [x3, #FRAME_TLS]
    ldp     x30, x7, [x3, #FRAME_X(30)]
    and     x5, x5, #0xF0000000             /* A64_PSTATE_USER_MASK */
    msr     elr_el1, x4
    msr     spsr_el1, x5
    msr     tpidr_el0, x6
    msr     sp_el0, x7
    ldp     x4, x5, [x3, #FRAME_X(4)]
    ldp     x6, x7, [x3, #FRAME_X(6)]
    ldp     x8, x9, [x3, #FRAME_X(8)]
    ldp     x10, x11, [x3, #FRAME_X(10)]
    ldp     x12, x13, [x3, #FRAME_X(12)]
    ldp     x14, x15, [x3, #FRAME_X(14)]
    ldp     x16, x17, [x3, #FRAME_X(16)]
    ldp     x18, x19, [x3, #FRAME_X(18)]
    ldp     x20, x21, [x3, #FRAME_X(20)]
    ldp     x22, x23, [x3, #FRAME_X(22)]
    ldp     x24, x25, [x3, #FRAME_X(24)]
    ldp     x26, x27, [x3, #FRAME_X(26)]
    ldp     x28, x29, [x3, #FRAME_X(28)]
    ldp     x0, x1, [x3, #FRAME_X(0)]
    ldp     x2, x3, [x3, #FRAME_X(2)]
    eret
    dsb     nsh
    isb

gate_slowly:
    sub     sp, sp, #16                     /* they are still there: nothing interrupts the kernel */
foreign_slowly:
    save_clobbered
    mov     x0, x3
    save_rest
    bl      kernel_foreign_syscall
    b       a64_user_return

user_irq:
    save_first
    save_clobbered
    mov     x0, x3
    save_rest
    bl      a64_user_irq
    b       a64_user_return

user_serror:
    save_first
    save_clobbered
    mov     x0, x3
    save_rest
    mrs     x1, esr_el1
    bl      a64_user_serror
    b       a64_user_return

    .globl arch_resume
arch_resume:
    mrs     x1, tpidr_el1
    ldr     x1, [x1, #CPU_STACK_TOP]
    mov     sp, x1
    /* fall through */

/* x0 = the thread to resume; the stack is empty. */
a64_user_return:
    ldp     x2, x3, [x0, #FRAME_PC]
    ldp     x4, x6, [x0, #FRAME_TLS]
    ldp     x30, x5, [x0, #FRAME_X(30)]
    msr     elr_el1, x2
    msr     spsr_el1, x3
    msr     tpidr_el0, x4
    msr     tpidrro_el0, x6
    msr     sp_el0, x5
    ldp     x28, x29, [x0, #FRAME_X(28)]
    ldp     x26, x27, [x0, #FRAME_X(26)]
    ldp     x24, x25, [x0, #FRAME_X(24)]
    ldp     x22, x23, [x0, #FRAME_X(22)]
    ldp     x20, x21, [x0, #FRAME_X(20)]
    ldp     x18, x19, [x0, #FRAME_X(18)]
    ldp     x16, x17, [x0, #FRAME_X(16)]
    ldp     x14, x15, [x0, #FRAME_X(14)]
    ldp     x12, x13, [x0, #FRAME_X(12)]
    ldp     x10, x11, [x0, #FRAME_X(10)]
    ldp     x8, x9, [x0, #FRAME_X(8)]
    ldp     x6, x7, [x0, #FRAME_X(6)]
    ldp     x4, x5, [x0, #FRAME_X(4)]
    ldp     x2, x3, [x0, #FRAME_X(2)]
    ldp     x0, x1, [x0, #FRAME_X(0)]
    eret
    dsb     nsh                     /* no speculation past eret with user registers loaded */
    isb

/* x0 = function, which never returns. */
    .globl arch_stack_reset
arch_stack_reset:
    mrs     x1, tpidr_el1
    ldr     x1, [x1, #CPU_STACK_TOP]
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    mov     x16, x0                 /* from there it counts as a call (BTI) */
    br      x16

/* ---- Faults in kernel mode ---- */

.macro kernel_exception label, kind
\label:
    msr     sp_el0, x0
    mov     x0, #\kind
    b       kernel_exception_common
.endm

    kernel_exception kernel_sync, 0
    kernel_exception kernel_irq, 1
    kernel_exception kernel_serror, 2

/*
 * sp_el0 = the interrupted x0, x0 = what happened. The stack may be what faulted, so the frame goes to the emergency stack;
 * a fault while a fault is handled starts that stack again, and the third one stops the CPU.
 */
kernel_exception_common:
    msr     tpidr_el0, x1           /* the user's is in its frame, and is not needed any more */
    mrs     x1, tpidr_el1
    cbz     x1, 2f
    stp     x2, x3, [x1, #CPU_SCRATCH]
    ldr     x2, [x1, #CPU_FAULT_DEPTH]
    add     x2, x2, #1
    str     x2, [x1, #CPU_FAULT_DEPTH]
    cmp     x2, #3
    b.hs    4f
    mov     x3, sp
    ldr     x2, [x1, #CPU_EMERGENCY_STACK]
    cbz     x2, 1f
    mov     sp, x2
1:  sub     sp, sp, #FRAME_SIZE
    str     x3, [sp, #FRAME_SP]
    ldp     x2, x3, [x1, #CPU_SCRATCH]
    b       3f
2:  sub     sp, sp, #FRAME_SIZE     /* before arch_cpu_set_self: the boot stack */
    add     x1, sp, #FRAME_SIZE
    str     x1, [sp, #FRAME_SP]
3:  stp     x2, x3, [sp, #FRAME_X(2)]
    stp     x4, x5, [sp, #FRAME_X(4)]
    stp     x6, x7, [sp, #FRAME_X(6)]
    stp     x8, x9, [sp, #FRAME_X(8)]
    stp     x10, x11, [sp, #FRAME_X(10)]
    stp     x12, x13, [sp, #FRAME_X(12)]
    stp     x14, x15, [sp, #FRAME_X(14)]
    stp     x16, x17, [sp, #FRAME_X(16)]
    stp     x18, x19, [sp, #FRAME_X(18)]
    stp     x20, x21, [sp, #FRAME_X(20)]
    stp     x22, x23, [sp, #FRAME_X(22)]
    stp     x24, x25, [sp, #FRAME_X(24)]
    stp     x26, x27, [sp, #FRAME_X(26)]
    stp     x28, x29, [sp, #FRAME_X(28)]
    str     x30, [sp, #FRAME_X(30)]
    mov     x3, x0
    mrs     x4, sp_el0
    mrs     x5, tpidr_el0
    stp     x4, x5, [sp, #FRAME_X(0)]
    mrs     x4, elr_el1
    mrs     x5, spsr_el1
    stp     x4, x5, [sp, #FRAME_PC]
    stp     xzr, xzr, [sp, #FRAME_TLS]
    mov     x0, sp
    mrs     x1, esr_el1
    mrs     x2, far_el1
    mov     x29, xzr
    bl      a64_kernel_exception
4:  msr     daifset, #15
    wfi
    b       4b
