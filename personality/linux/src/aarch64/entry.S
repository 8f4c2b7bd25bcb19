/* How the program gets here and back (docs/upcalls.md). TPIDRRO_EL0 is the frame. C functions keep what they must and the gate gives back the rest. */
#include <linux/calls.h>

#define FRAME_CAUSE 288
#define FRAME_WORK 688

    .section .text.gate, "ax"
    .globl linux_gate
linux_gate:
    svc #0
    brk #1

    .section .text.start, "ax"
    .globl linux_start_entry
linux_start_entry:
    mov x29, xzr
    mov x30, xzr
    bl linux_start
    brk #1

    .text
/* The timers' thread (timer.c); its frame comes as the argument. */
    .globl linux_timer_entry
linux_timer_entry:
    mov x29, xzr
    mov x30, xzr
    bl linux_timer_main
    brk #1

    .globl linux_exec_entry
linux_exec_entry:
    mov x29, xzr
    mov x30, xzr
    bl linux_exec_start
    brk #1

    .globl linux_entry
    .balign 16
linux_entry:
    mrs x9, tpidrro_el0
    ldr w10, [x9, #FRAME_CAUSE]
    cmp w10, #16
    b.ne linux_entry_event
    cmp x8, #LINUX_CALL_LIMIT
    b.hs 2f
    adrp x10, linux_call_table
    add x10, x10, :lo12:linux_call_table
    ldr x10, [x10, x8, lsl #3]
    blr x10
1:  mrs x9, tpidrro_el0
    ldr x10, [x9, #FRAME_WORK]
    cbnz x10, 3f
    add x10, x0, #516
    cmp x10, #4
    b.ls 3f
    str x0, [x9]
    .globl linux_resume, linux_thread_entry
linux_resume:
linux_thread_entry:
    mov x0, #0
    b linux_gate
2:  bl linux_call_missing
    b 1b
3:  bl linux_call_exit
    b linux_resume

linux_entry_event:
    bl linux_event
    b linux_resume

    .globl linux_fault_entry
linux_fault_entry:
    mrs x0, tpidrro_el0
    bl linux_native_fault
    tbz w0, #0, 3f
    mov x0, #1
    b linux_gate
3:  brk #1

/* Nothing goes back without the kernel here. */
    .globl linux_restart_start, linux_restart_end, linux_restart_target
linux_restart_start:
linux_restart_end:
linux_restart_target:
    brk #1

    .globl linux_thread_end
linux_thread_end:
    mov w9, #2
    mov x10, x0
    mov x0, x1
    mov x1, x2
    stlr w9, [x10]
    svc #0
    brk #1

/* int64_t linux_copy_raw(to, from, size); linux_zero_raw(to, size): 0 or -EFAULT. */
    .globl linux_copy_raw
linux_copy_raw:
4:  subs x2, x2, #16
    b.lo 6f
5:  ldp x3, x4, [x1], #16
    stp x3, x4, [x0], #16
    subs x2, x2, #16
    b.hs 5b
6:  add x2, x2, #16
7:  cbz x2, 8f
    ldrb w3, [x1], #1
    strb w3, [x0], #1
    sub x2, x2, #1
    b 7b
8:  mov x0, #0
    ret
9:

    .globl linux_zero_raw
linux_zero_raw:
10: cbz x1, 8b
    strb wzr, [x0], #1
    sub x1, x1, #1
    b 10b
11:

/* int64_t linux_string_raw(to, from, size): copies up to and with the end; how many bytes before it, `size` = no end, or -EFAULT. */
    .globl linux_string_raw
linux_string_raw:
12: mov x3, #0
13: cmp x3, x2
    b.hs 14f
    ldrb w4, [x1, x3]
    strb w4, [x0, x3]
    cbz w4, 14f
    add x3, x3, #1
    b 13b
14: mov x0, x3
    ret
15:

/* int64_t linux_exchange_raw(address, expected *, desired) */
    .globl linux_exchange_raw
linux_exchange_raw:
    ldr w3, [x1]
16: ldaxr w4, [x0]
    cmp w4, w3
    b.ne 17f
    stlxr w5, w2, [x0]
    cbnz w5, 16b
17: str w4, [x1]
    mov x0, #0
    ret

linux_copy_failed:
    mov x0, #-14
    ret

/* int64_t linux_fpu_save_raw(area), linux_fpu_restore_raw(area): FPSR, FPCR, q0 to q31; 0 or -EFAULT. */
    .arch_extension fp
    .arch_extension simd
    .globl linux_fpu_save_raw
linux_fpu_save_raw:
19: mrs x3, fpsr
    mrs x4, fpcr
    stp w3, w4, [x0], #8
    stp q0, q1, [x0, #0]
    stp q2, q3, [x0, #32]
    stp q4, q5, [x0, #64]
    stp q6, q7, [x0, #96]
    stp q8, q9, [x0, #128]
    stp q10, q11, [x0, #160]
    stp q12, q13, [x0, #192]
    stp q14, q15, [x0, #224]
    stp q16, q17, [x0, #256]
    stp q18, q19, [x0, #288]
    stp q20, q21, [x0, #320]
    stp q22, q23, [x0, #352]
    stp q24, q25, [x0, #384]
    stp q26, q27, [x0, #416]
    stp q28, q29, [x0, #448]
    stp q30, q31, [x0, #480]
    mov x0, #0
    ret

    .globl linux_fpu_restore_raw
linux_fpu_restore_raw:
    ldp w3, w4, [x0], #8
    msr fpsr, x3
    msr fpcr, x4
    ldp q0, q1, [x0, #0]
    ldp q2, q3, [x0, #32]
    ldp q4, q5, [x0, #64]
    ldp q6, q7, [x0, #96]
    ldp q8, q9, [x0, #128]
    ldp q10, q11, [x0, #160]
    ldp q12, q13, [x0, #192]
    ldp q14, q15, [x0, #224]
    ldp q16, q17, [x0, #256]
    ldp q18, q19, [x0, #288]
    ldp q20, q21, [x0, #320]
    ldp q22, q23, [x0, #352]
    ldp q24, q25, [x0, #384]
    ldp q26, q27, [x0, #416]
    ldp q28, q29, [x0, #448]
    ldp q30, q31, [x0, #480]
    mov x0, #0
    ret
22:

    .section .fixups, "a"
    .quad 4b, 9b, linux_copy_failed
    .quad 10b, 11b, linux_copy_failed
    .quad 12b, 15b, linux_copy_failed
    .quad 16b, 17b, linux_copy_failed
    .quad 19b, 22b, linux_copy_failed

    .section .trampoline, "ax"
    mov x8, #139
    svc #0
    brk #1
