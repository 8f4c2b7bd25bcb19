/*
 * All ways into the kernel after boot, and the one way back to user mode.
 *
 * GS base is the struct cpu in the kernel and the user's own value in user mode; the other one waits in KERNEL_GS_BASE.
 * Entry from user mode saves everything in the frame at the start of current (%gs:8) and runs on the CPU's stack from its top;
 * a system call saves what C functions preserve only if it does not end in its first step (arch/arch.h).
 * Entry from kernel mode is either an interrupt inside arch_idle(), which returns, or a fault, which does not.
 * NMI, double fault and machine check come on their own stack whatever was running, and are final.
 */
#include "asm.h"

    .text

/* Saves all general registers but %rdi, RIP, RFLAGS and RSP into the frame at \frame; no register is changed. */
.macro SAVE_REGISTERS frame
    mov %rax, X86_FRAME_RAX(\frame)
    mov %rbx, X86_FRAME_RBX(\frame)
    mov %rcx, X86_FRAME_RCX(\frame)
    mov %rdx, X86_FRAME_RDX(\frame)
    mov %rsi, X86_FRAME_RSI(\frame)
    mov %rbp, X86_FRAME_RBP(\frame)
    mov %r8, X86_FRAME_R8(\frame)
    mov %r9, X86_FRAME_R9(\frame)
    mov %r10, X86_FRAME_R10(\frame)
    mov %r11, X86_FRAME_R11(\frame)
    mov %r12, X86_FRAME_R12(\frame)
    mov %r13, X86_FRAME_R13(\frame)
    mov %r14, X86_FRAME_R14(\frame)
    mov %r15, X86_FRAME_R15(\frame)
.endm

/* Restores all general registers but RCX, R11, RDI and RSP. */
.macro RESTORE_REGISTERS frame
    mov X86_FRAME_RAX(\frame), %rax
    mov X86_FRAME_RBX(\frame), %rbx
    mov X86_FRAME_RDX(\frame), %rdx
    mov X86_FRAME_RSI(\frame), %rsi
    mov X86_FRAME_RBP(\frame), %rbp
    mov X86_FRAME_R8(\frame), %r8
    mov X86_FRAME_R9(\frame), %r9
    mov X86_FRAME_R10(\frame), %r10
    mov X86_FRAME_R12(\frame), %r12
    mov X86_FRAME_R13(\frame), %r13
    mov X86_FRAME_R14(\frame), %r14
    mov X86_FRAME_R15(\frame), %r15
.endm

/*
 * Saves the user's FS and GS bases into the frame at %rdi. Without FSGSBASE user code cannot change them, so the frame already
 * has them. Clobbers %rax. Between the two SWAPGS only an NMI can come, and that finds its CPU without GS.
 */
.macro SAVE_BASES
    cmpb $0, x86_has_fsgsbase(%rip)
    je .Lbases_saved\@
    rdfsbase %rax
    mov %rax, X86_FRAME_FS_BASE(%rdi)
    swapgs
    rdgsbase %rax
    swapgs
    mov %rax, X86_FRAME_GS_BASE(%rdi)
.Lbases_saved\@:
.endm

/* The rest of a frame in %rdi after a system call: what C functions preserve, and what SYSCALL left in RCX and R11. */
.macro SAVE_REST
    mov %rbx, X86_FRAME_RBX(%rdi)
    mov %rbp, X86_FRAME_RBP(%rdi)
    mov %r12, X86_FRAME_R12(%rdi)
    mov %r13, X86_FRAME_R13(%rdi)
    mov %r14, X86_FRAME_R14(%rdi)
    mov %r15, X86_FRAME_R15(%rdi)
    mov X86_FRAME_RIP(%rdi), %rcx
    mov X86_FRAME_RFLAGS(%rdi), %r11
    mov %rcx, X86_FRAME_RCX(%rdi)
    mov %r11, X86_FRAME_R11(%rdi)
    SAVE_BASES
.endm

/* ---- System call: RCX = user RIP, R11 = user RFLAGS, interrupts off and DF, TF, AC clear by SFMASK ---------------- */
    .globl x86_syscall_entry
    .balign 16
x86_syscall_entry:
    swapgs
    mov %rsp, %gs:X86_CPU_SCRATCH
    mov %gs:X86_CPU_CURRENT, %rsp
    cmp X86_THREAD_NATIVE_LIMIT(%rsp), %rcx
    jbe foreign_syscall
    mov %rcx, X86_FRAME_RIP(%rsp)
    mov %r11, X86_FRAME_RFLAGS(%rsp)
    mov %rdi, X86_FRAME_RDI(%rsp)
    mov %rsi, X86_FRAME_RSI(%rsp)
    mov %rdx, X86_FRAME_RDX(%rsp)
    mov %r8, X86_FRAME_R8(%rsp)
    mov %r9, X86_FRAME_R9(%rsp)
    mov %r10, X86_FRAME_R10(%rsp)
    mov %gs:X86_CPU_SCRATCH, %rdx
    mov %rdx, X86_FRAME_RSP(%rsp)
    mov %gs:X86_CPU_STACK_TOP, %rsp
    mov %rdi, %rsi
    mov %rax, %rdi
    call kernel_syscall_quick
    test %eax, %eax
    jnz 1f
    cmpl $0, %gs:X86_CPU_EXIT_WORK
    jne 1f
    movq $0, %gs:X86_CPU_EPOCH /* quiesce_leave() */
    xor %eax, %eax

    /* The same thread goes on: RBX, RBP, R12 to R15 and the bases are still its own. RIP came from SYSCALL and lies in user space. */
0:  mov %gs:X86_CPU_CURRENT, %rdi
    mov X86_FRAME_RFLAGS(%rdi), %r11
    test $0x10100, %r11d
    jnz 3f
    swapgs
    mov X86_FRAME_RIP(%rdi), %rcx
    mov X86_FRAME_RDX(%rdi), %rdx
    mov X86_FRAME_RSI(%rdi), %rsi
    mov X86_FRAME_R8(%rdi), %r8
    mov X86_FRAME_R9(%rdi), %r9
    mov X86_FRAME_R10(%rdi), %r10
    mov X86_FRAME_RSP(%rdi), %rsp
    mov X86_FRAME_RDI(%rdi), %rdi
    sysretq

1:  test %eax, %eax
    jg 2f
    mov %eax, %edi
    call kernel_syscall_end
    test %rax, %rax
    jng 0b
2:  mov %gs:X86_CPU_CURRENT, %rdi
    mov %eax, %esi
    SAVE_REST
    xor %ebp, %ebp       /* ends a walk of the kernel's stack */
    call kernel_syscall
    mov %rax, %rdi
    jmp x86_return

3:  mov %rax, X86_FRAME_RAX(%rdi)
    SAVE_REST
    jmp x86_return

/*
 * Not from the native range: the registers go straight to the thread's upcall frame, and its upcall code goes on with all but RCX, R11
 * and RSP as they are (kernel_foreign_syscall() in C). What the frame holds reaches nothing but the user's RSP.
 */
foreign_syscall:
    cmpq $0, X86_THREAD_UPCALL(%rsp)
    je 2f
    cmp native_base(%rip), %rcx
    ja 2f
    mov X86_THREAD_UPCALL(%rsp), %rsp
    SAVE_REGISTERS %rsp
    mov %rdi, X86_FRAME_RDI(%rsp)
    mov %rcx, X86_FRAME_RIP(%rsp)
    mov %r11, X86_FRAME_RFLAGS(%rsp)
    mov %gs:X86_CPU_SCRATCH, %rcx
    mov %gs:X86_CPU_CURRENT, %r11
    mov %rcx, X86_FRAME_RSP(%rsp)
    cmpb $0, x86_has_fsgsbase(%rip)
    je 3f
    rdfsbase %rcx
1:  mov %rcx, X86_FRAME_FS_BASE(%rsp)
    movq $X86_UPCALL_SYSTEM_CALL, X86_UPCALL_CAUSE(%rsp)  /* and no access */
    mov X86_THREAD_UPCALL_ENTRY(%r11), %rcx
    mov X86_UPCALL_STACK(%rsp), %rsp
    mov $X86_FLAGS_UPCALL, %r11d
    swapgs
    sysretq

2:  mov %rdi, X86_FRAME_RDI(%rsp)
    SAVE_REGISTERS %rsp
    mov %rsp, %rdi
    mov %rcx, X86_FRAME_RIP(%rdi)
    mov %r11, X86_FRAME_RFLAGS(%rdi)
    mov %gs:X86_CPU_SCRATCH, %rax
    mov %rax, X86_FRAME_RSP(%rdi)
    mov %gs:X86_CPU_STACK_TOP, %rsp
    SAVE_BASES
    xor %ebp, %ebp
    call kernel_foreign_syscall
    mov %rax, %rdi
    jmp x86_return

3:  mov X86_FRAME_FS_BASE(%r11), %rcx
    jmp 1b

    .section .rodata
    .balign 8
native_base:
    .quad X86_NATIVE_BASE
    .text

/* [[noreturn]] void arch_resume(struct thread *thread) */
    .globl arch_resume
arch_resume:
    mov %gs:X86_CPU_STACK_TOP, %rsp

/* ---- Back to user mode with the thread in %rdi; the stack is empty ------------------------------------------------ */
x86_return:
    mov %rdi, %gs:X86_CPU_CURRENT
    mov X86_FRAME_FS_BASE(%rdi), %rax
    mov X86_FRAME_GS_BASE(%rdi), %rdx
    cmpb $0, x86_has_fsgsbase(%rip)
    je 3f
    wrfsbase %rax
    swapgs
    wrgsbase %rdx
1:  mov X86_FRAME_RIP(%rdi), %rcx
    mov X86_FRAME_RFLAGS(%rdi), %r11
    /*
     * SYSRET only where it gives the same as IRET: the frame agrees with what it does to RCX and R11, no trap or resume flag, and
     * RIP in the lower half (SYSRET to a non-canonical RIP faults in kernel mode on the user's stack on Intel CPUs).
     */
    mov %rcx, %rax
    shr $47, %rax
    jnz 4f
    cmp X86_FRAME_RCX(%rdi), %rcx
    jne 2f
    cmp X86_FRAME_R11(%rdi), %r11
    jne 2f
    test $0x10100, %r11d
    jnz 2f
    RESTORE_REGISTERS %rdi
    mov X86_FRAME_RSP(%rdi), %rsp
    mov X86_FRAME_RDI(%rdi), %rdi
    sysretq

2:  pushq $X86_SEL_USER_DATA
    pushq X86_FRAME_RSP(%rdi)
    push %r11
    pushq $X86_SEL_USER_CODE
    push %rcx
    mov X86_FRAME_RCX(%rdi), %rcx
    mov X86_FRAME_R11(%rdi), %r11
    RESTORE_REGISTERS %rdi
    mov X86_FRAME_RDI(%rdi), %rdi
    iretq

3:  mov %rdx, %rsi
    mov %rax, %rdx
    shr $32, %rdx
    mov $X86_MSR_FS_BASE, %ecx
    wrmsr
    mov %rsi, %rax
    mov %rsi, %rdx
    shr $32, %rdx
    mov $X86_MSR_KERNEL_GS_BASE, %ecx
    wrmsr
    swapgs
    jmp 1b

    /* Some CPUs push the target of a wild jump, not canonical, as RIP. IRET to it would fault here; 0 faults in user mode. */
4:  xor %ecx, %ecx
    jmp 2b

/* [[noreturn]] void arch_stack_reset(void (*fn)(void)) */
    .globl arch_stack_reset
arch_stack_reset:
    mov %gs:X86_CPU_STACK_TOP, %rsp
    xor %ebp, %ebp
    call *%rdi
    ud2

/* ---- Exceptions and interrupts: one stub of 16 bytes per vector, so that trap.c can compute their addresses -------- */
    .globl x86_vector_stubs
    .balign 16
x86_vector_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    .else
    pushq $0             /* the error code that this vector does not have */
    .endif
    pushq $vector
    .if vector == 2 || vector == 8 || vector == 18
    jmp final_entry
    .else
    jmp trap_entry
    .endif
    .set vector, vector + 1
    .endr

/* On the stack: vector, error code, RIP, CS, RFLAGS, RSP, SS. */
    .balign 16
trap_entry:
    testb $3, 24(%rsp)
    jz kernel_trap_entry
    swapgs
    push %rdi
    mov %gs:X86_CPU_CURRENT, %rdi
    SAVE_REGISTERS %rdi
    popq X86_FRAME_RDI(%rdi)
    pop %rsi             /* vector */
    pop %rdx             /* error code */
    popq X86_FRAME_RIP(%rdi)
    pop %rax             /* CS */
    popq X86_FRAME_RFLAGS(%rdi)
    popq X86_FRAME_RSP(%rdi)
    mov %gs:X86_CPU_STACK_TOP, %rsp
    pushq $2             /* interrupt gates leave AC, DF and IOPL as the user had them */
    popfq
    SAVE_BASES
    xor %ebp, %ebp
    call x86_user_trap
    mov %rax, %rdi
    jmp x86_return

/* A frame on the current stack; 8 more bytes keep it 16-byte aligned for the call. */
.macro KERNEL_FRAME
    sub $X86_FRAME_SIZE + 8, %rsp
    SAVE_REGISTERS %rsp
    mov %rdi, X86_FRAME_RDI(%rsp)
    mov X86_FRAME_SIZE + 24(%rsp), %rax
    mov %rax, X86_FRAME_RIP(%rsp)
    mov X86_FRAME_SIZE + 40(%rsp), %rax
    mov %rax, X86_FRAME_RFLAGS(%rsp)
    mov X86_FRAME_SIZE + 48(%rsp), %rax
    mov %rax, X86_FRAME_RSP(%rsp)
    movq $0, X86_FRAME_FS_BASE(%rsp)
    movq $0, X86_FRAME_GS_BASE(%rsp)
    mov %rsp, %rdi
    mov X86_FRAME_SIZE + 8(%rsp), %rsi
    mov X86_FRAME_SIZE + 16(%rsp), %rdx
    cld
.endm

kernel_trap_entry:
    KERNEL_FRAME
    call x86_kernel_trap
    mov %rsp, %rdi
    mov X86_FRAME_RCX(%rdi), %rcx
    mov X86_FRAME_R11(%rdi), %r11
    RESTORE_REGISTERS %rdi
    mov X86_FRAME_RDI(%rdi), %rdi
    add $X86_FRAME_SIZE + 24, %rsp
    iretq

/*
 * The stack is the upper part of the CPU's block (struct x86_cpu_block), one page, so the block and the CPU are found even if
 * the event came between two SWAPGS. User code can set its GS base freely, so its sign says nothing.
 */
final_entry:
    KERNEL_FRAME
    mov %rdx, %r12
    mov %rsp, %rax
    and $~0xFFF, %rax
    mov (%rax), %rax
    mov %rax, %rdx
    shr $32, %rdx
    mov $X86_MSR_GS_BASE, %ecx
    wrmsr
    mov %r12, %rdx
    call x86_final_trap
    ud2

    .section .note.GNU-stack, "", @progbits
