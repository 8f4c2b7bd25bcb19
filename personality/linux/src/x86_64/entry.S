/*
 * How the program gets here and back (docs/upcalls.md). GS is the frame. A call comes with all of the program's registers but RCX, R11 and
 * RSP, which C functions keep or the frame gives back; without work to do it goes back without the kernel.
 */
#include <linux/calls.h>

#define FRAME_CAUSE 288
#define FRAME_STACK 312
#define FRAME_PENDING 640
#define FRAME_SELF 672
#define FRAME_WORK 688

    .section .text.gate, "ax"
    .globl linux_gate
linux_gate:
    syscall
    ud2

    .section .text.start, "ax"
    .globl linux_start_entry
linux_start_entry:
    xor %ebp, %ebp
    call linux_start
    ud2

    .text
/* The timers' thread (timer.c); its frame comes as the argument. */
    .globl linux_timer_entry
linux_timer_entry:
    xor %ebp, %ebp
    call linux_timer_main
    ud2

    .globl linux_exec_entry
linux_exec_entry:
    xor %ebp, %ebp
    call linux_exec_start
    ud2

    .globl linux_entry
    .balign 16
linux_entry:
    cmpl $16, %gs:FRAME_CAUSE
    jne linux_entry_event
    cmp $LINUX_CALL_LIMIT, %rax
    jae 2f
    lea linux_call_table(%rip), %r11
    mov %r10, %rcx
    call *(%r11, %rax, 8)
1:  cmpq $0, %gs:FRAME_WORK
    jne linux_restart_target
    lea 516(%rax), %rcx
    cmp $4, %rcx
    jbe linux_restart_target
    .globl linux_restart_start
linux_restart_start:
    cmpl $0, %gs:FRAME_PENDING
    jne linux_restart_target
    mov %gs:32, %rdi
    mov %gs:24, %rsi
    mov %gs:48, %rdx
    mov %gs:56, %r10
    mov %gs:64, %r8
    mov %gs:72, %r9
    pushq %gs:128
    popfq
    mov %gs:120, %rcx
    mov %gs:136, %rsp
    jmp *%rcx
    .globl linux_restart_end
linux_restart_end:
2:  call linux_call_missing
    jmp 1b

    .globl linux_restart_target
linux_restart_target:
    mov %gs:FRAME_STACK, %rsp
    mov %rax, %rdi
    call linux_call_exit
    xor %eax, %eax
    jmp linux_gate

linux_entry_event:
    call linux_event
    .globl linux_resume
linux_resume:
    xor %eax, %eax
    jmp linux_gate

    .globl linux_fault_entry
linux_fault_entry:
    mov %gs:FRAME_SELF, %rdi
    call linux_native_fault
    test %al, %al
    jz 3f
    mov $1, %eax
    jmp linux_gate
3:  ud2

    .globl linux_thread_entry
linux_thread_entry:
    xor %eax, %eax
    jmp linux_gate

    .globl linux_thread_end
linux_thread_end:
    mov %rsi, %rax
    mov %rdi, %rcx
    mov %rdx, %rdi
    movl $2, (%rcx)
    syscall
    ud2

/* int64_t linux_copy_raw(to, from, size); linux_zero_raw(to, size): 0 or -EFAULT. */
    .globl linux_copy_raw
linux_copy_raw:
4:  mov %rdx, %rcx
    shr $3, %rcx
    jz 6f
    cmp $16, %rcx
    jb 5f
    rep movsq
    jmp 6f
5:  mov (%rsi), %rax
    mov %rax, (%rdi)
    add $8, %rsi
    add $8, %rdi
    dec %rcx
    jnz 5b
6:  and $7, %edx
    jz 8f
7:  mov (%rsi), %al
    mov %al, (%rdi)
    inc %rsi
    inc %rdi
    dec %edx
    jnz 7b
8:  xor %eax, %eax
    ret
9:

    .globl linux_zero_raw
linux_zero_raw:
10: mov %rsi, %rcx
    xor %eax, %eax
    rep stosb
    ret
11:

/* int64_t linux_string_raw(to, from, size): copies up to and with the end; how many bytes before it, `size` = no end, or -EFAULT. */
    .globl linux_string_raw
linux_string_raw:
12: xor %eax, %eax
13: cmp %rdx, %rax
    jae 14f
    mov (%rsi, %rax), %cl
    mov %cl, (%rdi, %rax)
    test %cl, %cl
    jz 14f
    inc %rax
    jmp 13b
14: ret
15:

/* int64_t linux_exchange_raw(address, expected *, desired) */
    .globl linux_exchange_raw
linux_exchange_raw:
    mov (%rsi), %eax
16: lock cmpxchg %edx, (%rdi)
17: mov %eax, (%rsi)
    xor %eax, %eax
    ret

linux_copy_failed:
    mov $-14, %rax
    ret

/* int64_t linux_fpu_save_raw(area, is_extended), linux_fpu_restore_raw: 0 or -EFAULT, for damaged contents too. */
    .globl linux_fpu_save_raw
linux_fpu_save_raw:
19: test %rsi, %rsi
    mov $-1, %eax
    mov $-1, %edx
    jz 20f
    xsave64 (%rdi)
    xor %eax, %eax
    ret
20: fxsave64 (%rdi)
    xor %eax, %eax
    ret

    .globl linux_fpu_restore_raw
linux_fpu_restore_raw:
    test %rsi, %rsi
    mov $-1, %eax
    mov $-1, %edx
    jz 21f
    xrstor64 (%rdi)
    xor %eax, %eax
    ret
21: fxrstor64 (%rdi)
    xor %eax, %eax
    ret
22:

    .section .fixups, "a"
    .quad 4b, 9b, linux_copy_failed
    .quad 10b, 11b, linux_copy_failed
    .quad 12b, 15b, linux_copy_failed
    .quad 16b, 17b, linux_copy_failed
    .quad 19b, 22b, linux_copy_failed

/* A signal handler of a program without SA_RESTORER returns here. */
    .section .trampoline, "ax"
    mov $15, %eax
    syscall
    ud2
