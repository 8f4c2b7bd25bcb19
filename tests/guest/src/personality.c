/* See personality.h. The code between code_start and code_end is copied to NATIVE_BASE: first the gate page, then the rest. */
#include <personality.h>
#include <std/program.h>
#include <tess/stub/memory.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

extern const char code_start[], code_end[], code_entry[], code_quick[], code_restart_start[], code_restart_end[], code_restart[],
    code_fault[], probe_failed[];
uint64_t probe_word(uint64_t address);

/* Offsets in struct tess_upcall_frame, for the code below. */
static_assert(offsetof(struct tess_upcall_frame, foreign.cause) == 288 && offsetof(struct tess_upcall_frame, foreign.address) == 296);
static_assert(offsetof(struct tess_upcall_frame, native.registers) == 320 && offsetof(struct tess_upcall_frame, native.address) == 616);
static_assert(offsetof(struct tess_upcall_frame, pending) == 640 && offsetof(struct tess_upcall_frame, user) == 680);
static_assert(UPCALL_SYSTEM_CALL == 16 && UPCALL_INTERRUPT == 17 && PERSONALITY_ADD == 0x1000 && PERSONALITY_LOAD == 0x1001);
static_assert(PERSONALITY_RECOVERY == 0 && PERSONALITY_INTERRUPTS == 1 && PERSONALITY_FAULTS == 2 && PERSONALITY_ADDRESS == 3);
static_assert(PERSONALITY_CAUSE == 4 && PERSONALITY_NATIVE_FAULTS == 5 && PERSONALITY_NATIVE_ADDRESS == 6);

#if defined(__x86_64__)
static_assert(offsetof(struct tess_registers_x86_64, rsi) == 24 && offsetof(struct tess_registers_x86_64, rdi) == 32);
static_assert(offsetof(struct tess_registers_x86_64, rdx) == 48 && offsetof(struct tess_registers_x86_64, r9) == 72);
__asm__(".section .text.personality, \"ax\"\n"
        "code_start:\n"
        "gate: syscall\n ud2\n"
        ".org code_start + 4096\n"
        "code_entry:\n"
        "mov %gs:288, %ecx\n cmp $16, %ecx\n jne 2f\n"
        "cmp $0x1000, %rax\n je 4f\n cmp $0x1001, %rax\n je 5f\n"
        "syscall\n"
        "mov %rdi, %gs:32\n mov %rsi, %gs:24\n mov %rdx, %gs:48\n mov %r10, %gs:56\n mov %r8, %gs:64\n mov %r9, %gs:72\n"
        "1: mov %rax, %gs:0\n"
        "9: xor %eax, %eax\n jmp gate\n"
        "2: cmp $17, %ecx\n jne 3f\n"
        "incq %gs:688\n jmp 9b\n"
        "3: incq %gs:696\n mov %gs:296, %rax\n mov %rax, %gs:704\n mov %gs:288, %rax\n mov %rax, %gs:712\n"
        "mov %gs:680, %rax\n mov %rax, %gs:120\n jmp 9b\n"
        "4: lea (%rdi, %rsi), %rax\n jmp 1b\n"
        "5: mov (%rdi), %rax\n jmp 1b\n"
        "6: xor %eax, %eax\n jmp 1b\n"
        "code_fault: incq %gs:720\n mov %gs:616, %rax\n mov %rax, %gs:728\n"
        "lea 6b(%rip), %rax\n mov %rax, %gs:440\n mov $1, %eax\n jmp gate\n"
        /* The way back without the kernel: rcx and r11 are the system call's to clobber. */
        "code_quick: cmp $0x1000, %rax\n jne code_entry\n cmpl $16, %gs:288\n jne code_entry\n lea (%rdi, %rsi), %rax\n"
        "code_restart_start: cmpl $0, %gs:640\n jne code_restart\n"
        "mov %gs:120, %rcx\n mov %gs:136, %rsp\n jmp *%rcx\n"
        "code_restart_end:\n"
        "code_restart: jmp 1b\n"
        "code_end:\n"
        ".text\n"
        "probe_word: mov (%rdi), %rax\n ret\n"
        "probe_failed: mov $-1, %rax\n ret\n");

uint64_t personality_call(uint64_t number, uint64_t a, uint64_t b)
{
    __asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b) : "rcx", "r11", "memory");
    return number;
}
#elif defined(__aarch64__)
__asm__(".section .text.personality, \"ax\"\n"
        "code_start:\n"
        "gate: svc #0\n brk #0\n"
        ".org code_start + 4096\n"
        "code_entry: code_quick:\n"
        "mrs x9, tpidrro_el0\n ldr w10, [x9, #288]\n cmp w10, #16\n b.ne 2f\n"
        "cmp x0, #1, lsl #12\n b.ne 4f\n"
        "add x0, x1, x2\n"
        "1: str x0, [x9]\n"
        "9: mov x0, #0\n b gate\n"
        "2: cmp w10, #17\n b.ne 3f\n"
        "ldr x10, [x9, #688]\n add x10, x10, #1\n str x10, [x9, #688]\n b 9b\n"
        "3: ldr x10, [x9, #696]\n add x10, x10, #1\n str x10, [x9, #696]\n ldr x10, [x9, #296]\n str x10, [x9, #704]\n"
        "ldr x10, [x9, #288]\n str x10, [x9, #712]\n ldr x10, [x9, #680]\n str x10, [x9, #256]\n b 9b\n"
        "4: mov x10, #0x1001\n cmp x0, x10\n b.eq 5f\n"
        "svc #0\n"
        "stp x1, x2, [x9, #8]\n stp x3, x4, [x9, #24]\n stp x5, x6, [x9, #40]\n b 1b\n"
        "5: ldr x0, [x1]\n b 1b\n"
        "6: mov x0, #0\n b 1b\n"
        "code_fault: mrs x9, tpidrro_el0\n ldr x10, [x9, #720]\n add x10, x10, #1\n str x10, [x9, #720]\n"
        "ldr x10, [x9, #616]\n str x10, [x9, #728]\n adr x10, 6b\n str x10, [x9, #576]\n mov x0, #1\n b gate\n"
        "code_restart_start: code_restart_end: code_restart:\n"
        "code_end:\n"
        ".text\n"
        "probe_word: ldr x0, [x0]\n ret\n"
        "probe_failed: mov x0, #-1\n ret\n");

uint64_t personality_call(uint64_t number, uint64_t a, uint64_t b)
{
    register uint64_t x0 __asm__("x0") = number;
    register uint64_t x1 __asm__("x1") = a;
    register uint64_t x2 __asm__("x2") = b;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2) : "memory");
    return x0;
}
#else
__asm__(".section .text.personality, \"ax\"\n.option push\n.option norvc\n"
        "code_start:\n"
        "gate: ecall\n unimp\n"
        ".org code_start + 4096\n"
        "code_entry: code_quick:\n"
        "lw t1, 288(t0)\n li t2, 16\n bne t1, t2, 2f\n"
        "li t2, 0x1000\n beq a0, t2, 4f\n li t2, 0x1001\n beq a0, t2, 5f\n"
        "ecall\n"
        "sd a1, 88(t0)\n sd a2, 96(t0)\n sd a3, 104(t0)\n sd a4, 112(t0)\n sd a5, 120(t0)\n sd a6, 128(t0)\n"
        "1: sd a0, 80(t0)\n"
        "9: li a0, 0\n j gate\n"
        "2: li t2, 17\n bne t1, t2, 3f\n"
        "ld t1, 688(t0)\n addi t1, t1, 1\n sd t1, 688(t0)\n j 9b\n"
        "3: ld t1, 696(t0)\n addi t1, t1, 1\n sd t1, 696(t0)\n ld t1, 296(t0)\n sd t1, 704(t0)\n"
        "ld t1, 288(t0)\n sd t1, 712(t0)\n ld t1, 680(t0)\n sd t1, 0(t0)\n j 9b\n"
        "4: add a0, a1, a2\n j 1b\n"
        "5: ld a0, 0(a1)\n j 1b\n"
        "6: li a0, 0\n j 1b\n"
        "code_fault: ld t1, 720(t0)\n addi t1, t1, 1\n sd t1, 720(t0)\n"
        "ld t1, 616(t0)\n sd t1, 728(t0)\n lla t1, 6b\n sd t1, 320(t0)\n li a0, 1\n j gate\n"
        "code_restart_start: code_restart_end: code_restart:\n"
        "code_end:\n"
        ".option pop\n"
        ".text\n"
        "probe_word: ld a0, 0(a0)\n ret\n"
        "probe_failed: li a0, -1\n ret\n");

uint64_t personality_call(uint64_t number, uint64_t a, uint64_t b)
{
    register uint64_t a0 __asm__("a0") = number;
    register uint64_t a1 __asm__("a1") = a;
    register uint64_t a2 __asm__("a2") = b;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2) : "memory");
    return a0;
}
#endif

static uint64_t native(const char *label) { return NATIVE_BASE + (uint64_t)(label - code_start); }
uint64_t personality_entry(void) { return native(code_entry); }
uint64_t personality_fault_entry(void) { return native(code_fault); }
uint64_t personality_quick_entry(void) { return native(code_quick); }

status_t personality_map(void)
{
    uint64_t size = 2 * STD_PAGE, address;
    handle_t code;
    if ((uint64_t)(code_end - code_start) > size)
        return ERROR_NO_SPACE;
    status_t status = tess_untyped_create_memory(std_self.untyped, size, 0, &code);
    if (status != OK)
        return status;
    status = tess_memory_write(code, 0, (uint64_t)code_start, (uint64_t)(code_end - code_start));
    if (status == OK)
        status = tess_vspace_map(std_self.vspace, code, 0, size, NATIVE_BASE, MAP_READ | MAP_EXEC | MAP_FIXED, &address);
    std_handle_delete(code);
    return status;
}

void personality_unmap(void)
{
    status_t status = tess_vspace_unmap(std_self.vspace, NATIVE_BASE, 2 * STD_PAGE);
    (void)status; /* there was nothing */
}

status_t personality_create(struct personality *personality, uint32_t count)
{
    *personality = (struct personality){};
    status_t status =
        std_mapping_create(((uint64_t)count * UPCALL_FRAME_SIZE + STD_PAGE - 1) & ~(uint64_t)(STD_PAGE - 1), 0, &personality->frames);
    personality->frame = personality->frames.address;
    return status;
}

void personality_destroy(struct personality *personality) { std_mapping_destroy(&personality->frames); }

struct tess_upcall_frame *personality_frame(const struct personality *personality, uint32_t index)
{
    return (struct tess_upcall_frame *)((uint8_t *)personality->frames.address + index * UPCALL_FRAME_SIZE);
}

status_t personality_take(const struct personality *personality, uint32_t index, handle_t thread)
{
    struct tess_upcall_frame *frame = personality_frame(personality, index);
    frame->self = (uint64_t)frame;
    frame->restart_start = native(code_restart_start);
    frame->restart_end = native(code_restart_end);
    frame->restart_target = native(code_restart);
    return tess_thread_set_upcall(thread, personality->frames.memory, index * UPCALL_FRAME_SIZE, (uint64_t)frame, personality_entry(),
                                  personality_fault_entry());
}

uint64_t personality_probe(struct tess_upcall_frame *frame, uint64_t address)
{
    frame->user[PERSONALITY_RECOVERY] = (uint64_t)probe_failed;
    return probe_word(address);
}
