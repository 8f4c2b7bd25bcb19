/*
 * Traps. sscratch tells where one came from: the thread's frame while user code runs, 0 while the kernel does. The kernel
 * never takes interrupts (arch_idle() waits with them off), so a trap from kernel mode is always a fault and never returns.
 * A system call saves what C functions preserve only if it does not end in its first step (arch/arch.h). The kernel's C code is
 * compiled without t3 to t6 (meson.build), so that it need not save those either.
 */
#include "asm.h"

/* Saves what C functions preserve, pc, and what they do not use (gp, t3 to t6), into the frame at a0. Clobbers t0. */
.macro SAVE_REST
    csrr t0, sepc
    sd gp, FRAME_GP(a0)
    sd s0, FRAME_S0(a0)
    sd s1, FRAME_S1(a0)
    sd s2, FRAME_S(2)(a0)
    sd s3, FRAME_S(3)(a0)
    sd s4, FRAME_S(4)(a0)
    sd s5, FRAME_S(5)(a0)
    sd s6, FRAME_S(6)(a0)
    sd s7, FRAME_S(7)(a0)
    sd s8, FRAME_S(8)(a0)
    sd s9, FRAME_S(9)(a0)
    sd s10, FRAME_S(10)(a0)
    sd s11, FRAME_S(11)(a0)
    sd t3, FRAME_T3(a0)
    sd t4, FRAME_T4(a0)
    sd t5, FRAME_T5(a0)
    sd t6, FRAME_T6(a0)
    sd t0, FRAME_PC(a0)
    li s0, 0                    /* ends the chain of frame pointers */
.endm

.text

.balign 4
.global rv_trap_entry
rv_trap_entry:
    csrrw tp, sscratch, tp
    beqz tp, kernel_trap

    sd t0, FRAME_T0(tp)
    mv t0, tp
    ld tp, FRAME_CPU(tp)
    sd t1, FRAME_T1(t0)
    sd t2, FRAME_T2(t0)
    csrr t1, sepc
    ld t2, THREAD_NATIVE_LIMIT(t0)
    bltu t1, t2, foreign_trap
native_trap:
    sd ra, FRAME_RA(t0)
    sd sp, FRAME_SP(t0)
    sd a1, FRAME_A(1)(t0)
    sd a2, FRAME_A(2)(t0)
    sd a3, FRAME_A(3)(t0)
    sd a4, FRAME_A(4)(t0)
    sd a5, FRAME_A(5)(t0)
    sd a6, FRAME_A(6)(t0)
    sd a7, FRAME_A(7)(t0)
    csrrw t2, sscratch, zero    /* the user's tp; from here on we are in the kernel */
    sd t2, FRAME_TP(t0)
    csrr t2, scause
    ld sp, CPU_STACK_TOP(tp)
    addi t2, t2, -CAUSE_ECALL_FROM_USER
    bnez t2, 4f
    addi t1, t1, SYSCALL_INSTRUCTION_SIZE
    csrw sepc, t1
    call kernel_syscall_quick
    bnez a0, 2f
    lw t1, CPU_EXIT_WORK(tp)
    bnez t1, 2f
    fence rw, w                 /* quiesce_leave() */
    sd zero, CPU_EPOCH(tp)
    /* The same thread goes on: s0 to s11, gp, t3 to t6 and sepc are still its own, and so is a reservation it may hold. */
1:  ld a1, CPU_CURRENT(tp)
    csrw sscratch, a1
    ld ra, FRAME_RA(a1)
    ld sp, FRAME_SP(a1)
    ld tp, FRAME_TP(a1)
    ld t0, FRAME_T0(a1)
    ld t1, FRAME_T1(a1)
    ld t2, FRAME_T2(a1)
    ld a2, FRAME_A(2)(a1)
    ld a3, FRAME_A(3)(a1)
    ld a4, FRAME_A(4)(a1)
    ld a5, FRAME_A(5)(a1)
    ld a6, FRAME_A(6)(a1)
    ld a7, FRAME_A(7)(a1)
    ld a1, FRAME_A(1)(a1)
    sret

2:  bgtz a0, 3f
    call kernel_syscall_end
    blez a0, 1b
3:  mv a1, a0
    ld a0, CPU_CURRENT(tp)
    SAVE_REST
    call kernel_syscall
    j arch_resume

4:  sd a0, FRAME_A(0)(t0)
    mv a0, t0
    SAVE_REST
    call rv_user_trap
    j arch_resume

/*
 * Not from the native range: a system call's registers go straight to the thread's upcall frame, and its upcall code goes on with all
 * but sp and t0 as they are. From the gate page: all come back from there. kernel_foreign_syscall() says the same in C, and does what
 * is unusual. Nothing in the frame is trusted, and no register can hold what user code must not choose. t0 = the thread, t1 = sepc.
 */
foreign_trap:
    csrr t2, scause
    addi t2, t2, -CAUSE_ECALL_FROM_USER
    bnez t2, native_trap
    li t2, NATIVE_BASE_ADDRESS
    bgeu t1, t2, gate
    ld t2, THREAD_UPCALL(t0)
    beqz t2, foreign_slowly
    addi t1, t1, SYSCALL_INSTRUCTION_SIZE
    sd t1, FRAME_PC(t2)
    sd ra, FRAME_RA(t2)
    sd sp, FRAME_SP(t2)
    ld t1, FRAME_T0(t0)
    sd gp, FRAME_GP(t2)
    sd t1, FRAME_T0(t2)
    ld t1, FRAME_T1(t0)
    sd s0, FRAME_S0(t2)
    sd s1, FRAME_S1(t2)
    sd t1, FRAME_T1(t2)
    ld t1, FRAME_T2(t0)
    sd a0, FRAME_A(0)(t2)
    sd a1, FRAME_A(1)(t2)
    sd t1, FRAME_T2(t2)
    sd a2, FRAME_A(2)(t2)
    sd a3, FRAME_A(3)(t2)
    sd a4, FRAME_A(4)(t2)
    sd a5, FRAME_A(5)(t2)
    sd a6, FRAME_A(6)(t2)
    sd a7, FRAME_A(7)(t2)
    sd s2, FRAME_S(2)(t2)
    sd s3, FRAME_S(3)(t2)
    sd s4, FRAME_S(4)(t2)
    sd s5, FRAME_S(5)(t2)
    sd s6, FRAME_S(6)(t2)
    sd s7, FRAME_S(7)(t2)
    sd s8, FRAME_S(8)(t2)
    sd s9, FRAME_S(9)(t2)
    sd s10, FRAME_S(10)(t2)
    sd s11, FRAME_S(11)(t2)
    sd t3, FRAME_T3(t2)
    sd t4, FRAME_T4(t2)
    sd t5, FRAME_T5(t2)
    sd t6, FRAME_T6(t2)
    li t1, UPCALL_CAUSE_SYSTEM_CALL
    sd t1, UPCALL_CAUSE(t2)         /* and no access */
    ld t1, THREAD_UPCALL_ENTRY(t0)
    csrw sepc, t1
    ld sp, UPCALL_STACK(t2)
    csrrw tp, sscratch, t0          /* the user's tp was kept there */
    sd tp, FRAME_TP(t2)
    ld t1, FRAME_T1(t2)
    ld t2, FRAME_T2(t2)
    ld t0, THREAD_UPCALL_ADDRESS(t0)
    sret

gate:
    lw t2, THREAD_PENDING(t0)
    ld t1, THREAD_UPCALL(t0)
    or t2, t2, a0                   /* which context */
    bnez t2, foreign_slowly
    beqz t1, foreign_slowly
    csrw sscratch, t0
    ld t2, FRAME_PC(t1)
    mv a0, t1
    csrw sepc, t2
    sc.d zero, t2, (t0)             /* as below */
    j restore

foreign_slowly:
    sd ra, FRAME_RA(t0)
    sd sp, FRAME_SP(t0)
    sd a0, FRAME_A(0)(t0)
    sd a1, FRAME_A(1)(t0)
    sd a2, FRAME_A(2)(t0)
    sd a3, FRAME_A(3)(t0)
    sd a4, FRAME_A(4)(t0)
    sd a5, FRAME_A(5)(t0)
    sd a6, FRAME_A(6)(t0)
    sd a7, FRAME_A(7)(t0)
    csrr t1, sepc
    csrrw t2, sscratch, zero
    addi t1, t1, SYSCALL_INSTRUCTION_SIZE
    sd t2, FRAME_TP(t0)
    csrw sepc, t1
    ld sp, CPU_STACK_TOP(tp)
    mv a0, t0
    SAVE_REST
    call kernel_foreign_syscall

/* a0 = the thread to run. Nothing below may fault once sscratch is set: the frame is in mapped kernel memory. */
.global arch_resume
arch_resume:
    csrw sscratch, a0
    sd tp, FRAME_CPU(a0)
    ld t0, FRAME_PC(a0)
    csrw sepc, t0
    /* Ends any LR reservation, or the SC of another thread could succeed on it (RISC-V Unprivileged 13.2). If it stores, it
     * stores what is there. */
    sc.d zero, t0, (a0)
restore:
    ld ra, FRAME_RA(a0)
    ld sp, FRAME_SP(a0)
    ld gp, FRAME_GP(a0)
    ld tp, FRAME_TP(a0)
    ld t0, FRAME_T0(a0)
    ld t1, FRAME_T1(a0)
    ld t2, FRAME_T2(a0)
    ld s0, FRAME_S0(a0)
    ld s1, FRAME_S1(a0)
    ld a1, FRAME_A(1)(a0)
    ld a2, FRAME_A(2)(a0)
    ld a3, FRAME_A(3)(a0)
    ld a4, FRAME_A(4)(a0)
    ld a5, FRAME_A(5)(a0)
    ld a6, FRAME_A(6)(a0)
    ld a7, FRAME_A(7)(a0)
    ld s2, FRAME_S(2)(a0)
    ld s3, FRAME_S(3)(a0)
    ld s4, FRAME_S(4)(a0)
    ld s5, FRAME_S(5)(a0)
    ld s6, FRAME_S(6)(a0)
    ld s7, FRAME_S(7)(a0)
    ld s8, FRAME_S(8)(a0)
    ld s9, FRAME_S(9)(a0)
    ld s10, FRAME_S(10)(a0)
    ld s11, FRAME_S(11)(a0)
    ld t3, FRAME_T3(a0)
    ld t4, FRAME_T4(a0)
    ld t5, FRAME_T5(a0)
    ld t6, FRAME_T6(a0)
    ld a0, FRAME_A(0)(a0)
    sret

/* A fault in kernel mode: tp and sscratch are swapped. */
kernel_trap:
    csrrw tp, sscratch, tp
    sd t0, CPU_SCRATCH_T0(tp)
    sd t1, CPU_SCRATCH_T1(tp)

    /* A report that itself faults again and again must end somewhere. */
    ld t0, CPU_FAULT_DEPTH(tp)
    addi t0, t0, 1
    sd t0, CPU_FAULT_DEPTH(tp)
    li t1, FAULT_DEPTH_MAX
    beq t0, t1, kernel_trap_give_up
    bgtu t0, t1, kernel_trap_hopeless

    /* An address close to sp did not translate: the stack has reached its guard page, or sp is garbage. Either way nothing
     * can be pushed there. */
    mv t1, sp
    csrr t0, stval
    sub t0, t0, sp
    addi t0, t0, 1024
    addi t0, t0, 1024
    srli t0, t0, 12
    bnez t0, 1f
    ld sp, CPU_EMERGENCY_STACK(tp)
1:  addi sp, sp, -FRAME_STACK_SIZE
    sd t1, FRAME_SP(sp)
    ld t0, CPU_SCRATCH_T0(tp)
    ld t1, CPU_SCRATCH_T1(tp)
    sd ra, FRAME_RA(sp)
    sd gp, FRAME_GP(sp)
    sd tp, FRAME_TP(sp)
    sd t0, FRAME_T0(sp)
    sd t1, FRAME_T1(sp)
    sd t2, FRAME_T2(sp)
    sd s0, FRAME_S0(sp)
    sd s1, FRAME_S1(sp)
    sd a0, FRAME_A(0)(sp)
    sd a1, FRAME_A(1)(sp)
    sd a2, FRAME_A(2)(sp)
    sd a3, FRAME_A(3)(sp)
    sd a4, FRAME_A(4)(sp)
    sd a5, FRAME_A(5)(sp)
    sd a6, FRAME_A(6)(sp)
    sd a7, FRAME_A(7)(sp)
    sd s2, FRAME_S(2)(sp)
    sd s3, FRAME_S(3)(sp)
    sd s4, FRAME_S(4)(sp)
    sd s5, FRAME_S(5)(sp)
    sd s6, FRAME_S(6)(sp)
    sd s7, FRAME_S(7)(sp)
    sd s8, FRAME_S(8)(sp)
    sd s9, FRAME_S(9)(sp)
    sd s10, FRAME_S(10)(sp)
    sd s11, FRAME_S(11)(sp)
    sd t3, FRAME_T3(sp)
    sd t4, FRAME_T4(sp)
    sd t5, FRAME_T5(sp)
    sd t6, FRAME_T6(sp)
    csrr t0, sepc
    csrr t1, sstatus
    sd t0, FRAME_PC(sp)
    sd t1, FRAME_SSTATUS(sp)
    mv a0, sp
    call rv_kernel_trap

kernel_trap_give_up:
    ld sp, CPU_EMERGENCY_STACK(tp)
    li a0, POWER_EXIT_FAILURE
    call arch_power

kernel_trap_hopeless:
    csrw sie, zero
1:  wfi
    j 1b

/* void arch_stack_reset(void (*fn)(void)) */
.global arch_stack_reset
arch_stack_reset:
    ld sp, CPU_STACK_TOP(tp)
    li s0, 0
    jalr a0
    unimp
