/* How the program gets here and back (docs/upcalls.md). The frame comes in t0 and stays in tp, which C code leaves alone. */
#include <linux/calls.h>

#define FRAME_CAUSE 288
#define FRAME_WORK 688
#define FRAME_A0 80

    .option norelax
    .section .text.gate, "ax"
    .globl linux_gate
linux_gate:
    ecall
    unimp

    .section .text.start, "ax"
    .globl linux_start_entry
linux_start_entry:
    li s0, 0
    li ra, 0
    call linux_start
    unimp

    .text
/* The timers' thread (timer.c); its frame comes as the argument. */
    .globl linux_timer_entry
linux_timer_entry:
    mv tp, a0
    li s0, 0
    li ra, 0
    call linux_timer_main
    unimp

    .globl linux_exec_entry
linux_exec_entry:
    li s0, 0
    li ra, 0
    call linux_exec_start
    unimp

    .globl linux_entry
    .balign 16
linux_entry:
    mv tp, t0
    lw t1, FRAME_CAUSE(t0)
    li t2, 16
    bne t1, t2, linux_entry_event
    li t2, LINUX_CALL_LIMIT
    bgeu a7, t2, 2f
    lla t2, linux_call_table
    slli t1, a7, 3
    add t2, t2, t1
    ld t2, (t2)
    jalr t2
1:  ld t1, FRAME_WORK(tp)
    bnez t1, 3f
    addi t1, a0, 516
    sltiu t1, t1, 5
    bnez t1, 3f
    sd a0, FRAME_A0(tp)
    .globl linux_resume, linux_thread_entry
linux_resume:
linux_thread_entry:
    li a0, 0
    tail linux_gate
2:  call linux_call_missing
    j 1b
3:  call linux_call_exit
    j linux_resume

linux_entry_event:
    call linux_event
    j linux_resume

    .globl linux_fault_entry
linux_fault_entry:
    mv a0, t0
    call linux_native_fault
    beqz a0, 3f
    li a0, 1
    tail linux_gate
3:  unimp

/* Nothing goes back without the kernel here. */
    .globl linux_restart_start, linux_restart_end, linux_restart_target
linux_restart_start:
linux_restart_end:
linux_restart_target:
    unimp

    .globl linux_thread_end
linux_thread_end:
    mv t1, a0
    mv a0, a1
    mv a1, a2
    li t2, 2
    fence rw, w
    sw t2, (t1)
    ecall
    unimp

/* int64_t linux_copy_raw(to, from, size); linux_zero_raw(to, size): 0 or -EFAULT. */
    .globl linux_copy_raw
linux_copy_raw:
4:  or a3, a0, a1
    andi a3, a3, 7
    bnez a3, 7f
5:  sltiu a3, a2, 8
    bnez a3, 7f
    ld a4, (a1)
    sd a4, (a0)
    addi a1, a1, 8
    addi a0, a0, 8
    addi a2, a2, -8
    j 5b
7:  beqz a2, 8f
    lbu a4, (a1)
    sb a4, (a0)
    addi a1, a1, 1
    addi a0, a0, 1
    addi a2, a2, -1
    j 7b
8:  li a0, 0
    ret
9:

    .globl linux_zero_raw
linux_zero_raw:
10: beqz a1, 8b
    sb zero, (a0)
    addi a0, a0, 1
    addi a1, a1, -1
    j 10b
11:

/* int64_t linux_string_raw(to, from, size): copies up to and with the end; how many bytes before it, `size` = no end, or -EFAULT. */
    .globl linux_string_raw
linux_string_raw:
12: li a3, 0
13: bgeu a3, a2, 14f
    add a4, a1, a3
    lbu a4, (a4)
    add a5, a0, a3
    sb a4, (a5)
    beqz a4, 14f
    addi a3, a3, 1
    j 13b
14: mv a0, a3
    ret
15:

/* int64_t linux_exchange_raw(address, expected *, desired) */
    .globl linux_exchange_raw
linux_exchange_raw:
    lw a3, (a1)
16: lr.w.aqrl a4, (a0)
    bne a4, a3, 17f
    sc.w.rl a5, a2, (a0)
    bnez a5, 16b
17: sw a4, (a1)
    li a0, 0
    ret

linux_copy_failed:
    li a0, -14
    ret

/* int64_t linux_fpu_save_raw(area), linux_fpu_restore_raw(area): f0 to f31, FCSR; 0 or -EFAULT. */
    .option arch, +d
    .globl linux_fpu_save_raw
linux_fpu_save_raw:
19: frcsr a3
    fsd f0, 0(a0)
    fsd f1, 8(a0)
    fsd f2, 16(a0)
    fsd f3, 24(a0)
    fsd f4, 32(a0)
    fsd f5, 40(a0)
    fsd f6, 48(a0)
    fsd f7, 56(a0)
    fsd f8, 64(a0)
    fsd f9, 72(a0)
    fsd f10, 80(a0)
    fsd f11, 88(a0)
    fsd f12, 96(a0)
    fsd f13, 104(a0)
    fsd f14, 112(a0)
    fsd f15, 120(a0)
    fsd f16, 128(a0)
    fsd f17, 136(a0)
    fsd f18, 144(a0)
    fsd f19, 152(a0)
    fsd f20, 160(a0)
    fsd f21, 168(a0)
    fsd f22, 176(a0)
    fsd f23, 184(a0)
    fsd f24, 192(a0)
    fsd f25, 200(a0)
    fsd f26, 208(a0)
    fsd f27, 216(a0)
    fsd f28, 224(a0)
    fsd f29, 232(a0)
    fsd f30, 240(a0)
    fsd f31, 248(a0)
    sw a3, 256(a0)
    li a0, 0
    ret

    .globl linux_fpu_restore_raw
linux_fpu_restore_raw:
    lw a3, 256(a0)
    fscsr a3
    fld f0, 0(a0)
    fld f1, 8(a0)
    fld f2, 16(a0)
    fld f3, 24(a0)
    fld f4, 32(a0)
    fld f5, 40(a0)
    fld f6, 48(a0)
    fld f7, 56(a0)
    fld f8, 64(a0)
    fld f9, 72(a0)
    fld f10, 80(a0)
    fld f11, 88(a0)
    fld f12, 96(a0)
    fld f13, 104(a0)
    fld f14, 112(a0)
    fld f15, 120(a0)
    fld f16, 128(a0)
    fld f17, 136(a0)
    fld f18, 144(a0)
    fld f19, 152(a0)
    fld f20, 160(a0)
    fld f21, 168(a0)
    fld f22, 176(a0)
    fld f23, 184(a0)
    fld f24, 192(a0)
    fld f25, 200(a0)
    fld f26, 208(a0)
    fld f27, 216(a0)
    fld f28, 224(a0)
    fld f29, 232(a0)
    fld f30, 240(a0)
    fld f31, 248(a0)
    li a0, 0
    ret
22:

    .section .fixups, "a"
    .quad 4b, 9b, linux_copy_failed
    .quad 10b, 11b, linux_copy_failed
    .quad 12b, 15b, linux_copy_failed
    .quad 16b, 17b, linux_copy_failed
    .quad 19b, 22b, linux_copy_failed

    .section .trampoline, "ax"
    li a7, 139
    ecall
    unimp
