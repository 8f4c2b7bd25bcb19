/*
 * From the PVH entry (32-bit protected mode, no paging, EBX = physical address of struct hvm_start_info; Xen public
 * arch-x86/hvm/start_info.h) to x86_boot() in long mode, on early page tables that stay for the start of secondary CPUs:
 * the first 4 GiB at 0 and at DIRECT_MAP_BASE, and 8 MiB of the image at KERNEL_BASE, all writable and executable.
 */
#include "asm.h"

#define PHYS(symbol) ((symbol) + X86_PHYS_DELTA)

    .section .note.xen, "a", @note
    .balign 4
    .long 4              /* name size */
    .long 8              /* descriptor size */
    .long 18             /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .balign 4
    .quad x86_pvh_start_physical

    .section .text.boot, "ax"
    .code32
    .globl x86_pvh_start
x86_pvh_start:
    cli
    cld
    rdtsc                /* the clock starts here */
    mov %eax, %ebp
    mov $PHYS(kernel_data_end), %edi
    mov $PHYS(kernel_image_end), %ecx
    sub %edi, %ecx
    shr $2, %ecx
    xor %eax, %eax
    rep stosl
    mov %ebp, PHYS(time_counter_base)
    mov %edx, PHYS(time_counter_base) + 4

    /* 2048 entries of 2 MiB in four adjacent page directories; their upper halves stay zero below 4 GiB. */
    mov $PHYS(early_directories), %edi
    mov $0x83, %eax      /* present, writable, large */
    mov $2048, %ecx
1:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    dec %ecx
    jnz 1b

    mov $PHYS(early_directories) + 3, %eax
    mov $PHYS(early_pdpt_low), %edi
    mov $PHYS(early_pdpt_high) + 256 * 8, %esi /* DIRECT_MAP_BASE: bits 38..30 = 256 */
    mov $4, %ecx
2:  mov %eax, (%edi)
    mov %eax, (%esi)
    add $8, %edi
    add $8, %esi
    add $0x1000, %eax
    dec %ecx
    jnz 2b

    movl $PHYS(early_directory_kernel) + 3, PHYS(early_pdpt_high) + 510 * 8 /* KERNEL_BASE */
    movl $0x200083, PHYS(early_directory_kernel)
    movl $0x400083, PHYS(early_directory_kernel) + 8
    movl $0x600083, PHYS(early_directory_kernel) + 16
    movl $0x800083, PHYS(early_directory_kernel) + 24
    movl $PHYS(early_pdpt_low) + 3, PHYS(early_pml4)
    movl $PHYS(early_pdpt_high) + 3, PHYS(early_pml4) + 511 * 8

    mov $X86_CR4_PAE, %eax
    mov %eax, %cr4
    mov $PHYS(early_pml4), %eax
    mov %eax, %cr3
    mov $X86_MSR_EFER, %ecx
    xor %edx, %edx
    mov $X86_EFER_LONG_MODE, %eax
    wrmsr
    mov $X86_CR0_LONG_MODE, %eax
    mov %eax, %cr0
    lgdt PHYS(early_gdt_pointer_low)
    ljmp $X86_SEL_KERNEL_CODE, $PHYS(3f)

    .code64
3:  movabs $4f, %rax
    jmp *%rax
4:  lgdt early_gdt_pointer(%rip)
    mov $X86_SEL_KERNEL_DATA, %eax
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    lea early_stack_top(%rip), %rsp
    xor %ebp, %ebp
    mov %ebx, %edi
    call x86_boot
    ud2

/*
 * A secondary CPU, from the trampoline, on the early tables and without a stack. It takes the final tables first (struct cpu
 * may lie where the early ones do not reach), then finds its struct cpu by its APIC id, so that CPUs that start late, after
 * the boot CPU gave up waiting, still find their own.
 */
    .globl x86_ap_entry
x86_ap_entry:
    lgdt early_gdt_pointer(%rip)
    mov $X86_SEL_KERNEL_DATA, %eax
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    mov x86_ap_root(%rip), %rax
    mov %rax, %cr3

    xor %eax, %eax
    cpuid
    cmp $0xB, %eax
    jb 5f
    mov $0xB, %eax       /* x2APIC id in EDX where the leaf exists: EBX is then not zero (Intel SDM vol. 3, 8.9.1) */
    xor %ecx, %ecx
    cpuid
    mov %edx, %r8d
    test %ebx, %ebx
    jnz 6f
5:  mov $1, %eax
    cpuid
    shr $24, %ebx
    mov %ebx, %r8d
6:  lea cpus(%rip), %rsi
    mov $256, %ecx       /* CPU_MAX */
7:  mov (%rsi), %rdi
    test %rdi, %rdi
    jz 8f
    cmp %r8, X86_CPU_HW_ID(%rdi)
    je 9f
8:  add $8, %rsi
    dec %ecx
    jnz 7b
10: hlt
    jmp 10b
9:  mov X86_CPU_STACK_TOP(%rdi), %rsp
    xor %ebp, %ebp
    call x86_ap_main
    ud2

/* The real-mode trampoline, copied to X86_TRAMPOLINE by boot.c. CR0 after INIT has the caches off: both writes set all of it. */
#define LOW(label) (X86_TRAMPOLINE + (label) - x86_trampoline_start)
    .section .rodata.trampoline, "a"
    .balign 16
    .globl x86_trampoline_start, x86_trampoline_end
    .code16
x86_trampoline_start:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ds
    lgdtl LOW(trampoline_gdt_pointer)
    mov $0x11, %eax
    mov %eax, %cr0
    ljmpl $0x18, $LOW(11f)
    .code32
11: mov $X86_SEL_KERNEL_DATA, %eax
    mov %eax, %ds
    mov $X86_CR4_PAE, %eax
    mov %eax, %cr4
    mov $PHYS(early_pml4), %eax
    mov %eax, %cr3
    mov $X86_MSR_EFER, %ecx
    xor %edx, %edx
    mov $X86_EFER_LONG_MODE, %eax
    wrmsr
    mov $X86_CR0_LONG_MODE, %eax
    mov %eax, %cr0
    ljmp $X86_SEL_KERNEL_CODE, $LOW(12f)
    .code64
12: movabs $x86_ap_entry, %rax
    jmp *%rax
    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF /* 0x08: 64-bit code, accessed */
    .quad 0x00CF93000000FFFF /* 0x10: data, accessed */
    .quad 0x00CF9B000000FFFF /* 0x18: 32-bit code, accessed */
trampoline_gdt_pointer:
    .word 31
    .long LOW(trampoline_gdt)
x86_trampoline_end:

    .section .rodata
    .balign 8
early_gdt:               /* the accessed bits are set, so the CPU never writes here */
    .quad 0
    .quad 0x00AF9B000000FFFF
    .quad 0x00CF93000000FFFF
early_gdt_pointer:
    .word 23
    .quad early_gdt
early_gdt_pointer_low:
    .word 23
    .long PHYS(early_gdt)

    .bss
    .balign 4096
early_pml4:
    .skip 4096
early_pdpt_low:
    .skip 4096
early_pdpt_high:
    .skip 4096
early_directory_kernel:
    .skip 4096
early_directories:
    .skip 4 * 4096
early_stack:
    .skip 16384
early_stack_top:

    .section .note.GNU-stack, "", @progbits
