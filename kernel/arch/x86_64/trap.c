/* The interrupt descriptor table, and the C side of entry.S: what kind of event it was and who in the kernel gets it. */
#include "x86.h"
#include <kernel/thread.h>

static_assert(offsetof(struct cpu, current) == X86_CPU_CURRENT);
static_assert(offsetof(struct cpu, stack_top) == X86_CPU_STACK_TOP);
static_assert(offsetof(struct cpu, arch_scratch) == X86_CPU_SCRATCH);
static_assert(offsetof(struct cpu, exit_work) == X86_CPU_EXIT_WORK && offsetof(struct cpu, epoch) == X86_CPU_EPOCH);
static_assert(offsetof(struct cpu, hw_id) == X86_CPU_HW_ID);
static_assert(offsetof(struct arch_frame, rax) == X86_FRAME_RAX);
static_assert(offsetof(struct arch_frame, rbx) == X86_FRAME_RBX);
static_assert(offsetof(struct arch_frame, rcx) == X86_FRAME_RCX);
static_assert(offsetof(struct arch_frame, rdx) == X86_FRAME_RDX);
static_assert(offsetof(struct arch_frame, rsi) == X86_FRAME_RSI);
static_assert(offsetof(struct arch_frame, rdi) == X86_FRAME_RDI);
static_assert(offsetof(struct arch_frame, rbp) == X86_FRAME_RBP);
static_assert(offsetof(struct arch_frame, r8) == X86_FRAME_R8);
static_assert(offsetof(struct arch_frame, r9) == X86_FRAME_R9);
static_assert(offsetof(struct arch_frame, r10) == X86_FRAME_R10);
static_assert(offsetof(struct arch_frame, r11) == X86_FRAME_R11);
static_assert(offsetof(struct arch_frame, r12) == X86_FRAME_R12);
static_assert(offsetof(struct arch_frame, r13) == X86_FRAME_R13);
static_assert(offsetof(struct arch_frame, r14) == X86_FRAME_R14);
static_assert(offsetof(struct arch_frame, r15) == X86_FRAME_R15);
static_assert(offsetof(struct arch_frame, rip) == X86_FRAME_RIP);
static_assert(offsetof(struct arch_frame, rflags) == X86_FRAME_RFLAGS);
static_assert(offsetof(struct arch_frame, rsp) == X86_FRAME_RSP);
static_assert(offsetof(struct arch_frame, fs_base) == X86_FRAME_FS_BASE);
static_assert(offsetof(struct arch_frame, gs_base) == X86_FRAME_GS_BASE);
static_assert(sizeof(struct arch_frame) == X86_FRAME_SIZE);
static_assert(offsetof(struct thread, native_limit) == X86_THREAD_NATIVE_LIMIT);
static_assert(offsetof(struct thread, upcall) == X86_THREAD_UPCALL);
static_assert(offsetof(struct thread, upcall_entry) == X86_THREAD_UPCALL_ENTRY);
static_assert(offsetof(struct tess_upcall_frame, foreign.registers) == 0);
static_assert(offsetof(struct tess_upcall_frame, foreign.cause) == X86_UPCALL_CAUSE);
static_assert(offsetof(struct tess_upcall_frame, foreign.access) == X86_UPCALL_CAUSE + 4);
static_assert(offsetof(struct tess_upcall_frame, foreign.stack) == X86_UPCALL_STACK);
static_assert(UPCALL_SYSTEM_CALL == X86_UPCALL_SYSTEM_CALL && NATIVE_BASE == X86_NATIVE_BASE);
static_assert((X86_FLAGS_FIXED | X86_FLAGS_IF) == X86_FLAGS_UPCALL);
static_assert(offsetof(struct x86_cpu_block, cpu) == 0);
static_assert(CPU_MAX == 256, "boot.S has it as a number");

/* Exception vectors, Intel SDM vol. 3, 6.15. */
enum : uint32_t {
    VECTOR_DIVIDE = 0,
    VECTOR_DEBUG = 1,
    VECTOR_NMI = 2,
    VECTOR_BREAKPOINT = 3,
    VECTOR_OVERFLOW = 4,
    VECTOR_UNDEFINED = 6,
    VECTOR_NO_FPU = 7,
    VECTOR_DOUBLE_FAULT = 8,
    VECTOR_PAGE = 14,
    VECTOR_FPU_ERROR = 16,
    VECTOR_ALIGNMENT = 17,
    VECTOR_MACHINE_CHECK = 18,
    VECTOR_SIMD_ERROR = 19,
    VECTOR_FIRST_INTERRUPT = 32,
};

constexpr uint64_t PAGE_ERROR_WRITE = 2, PAGE_ERROR_USER = 4, PAGE_ERROR_FETCH = 16;

struct idt_gate { /* Intel SDM vol. 3, 6.14.1 */
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};
static_assert(sizeof(struct idt_gate) == 16);

struct [[gnu::packed]] table_pointer {
    uint16_t limit;
    uint64_t base;
};

extern const char x86_vector_stubs[]; /* 16 bytes each */
struct thread *x86_user_trap(struct arch_frame *frame, uint64_t vector, uint64_t error);
void x86_kernel_trap(const struct arch_frame *frame, uint64_t vector, uint64_t error);
[[noreturn]] void x86_final_trap(const struct arch_frame *frame, uint64_t vector, uint64_t error);

static struct idt_gate idt[256];

void x86_idt_init(void)
{
    for (uint32_t vector = 0; vector < 256; vector++) {
        uint64_t address = (uint64_t)x86_vector_stubs + vector * 16;
        bool is_final = vector == VECTOR_NMI || vector == VECTOR_DOUBLE_FAULT || vector == VECTOR_MACHINE_CHECK;
        bool is_for_user = vector == VECTOR_BREAKPOINT; /* INT3; any other INT n of user code is a general fault */
        idt[vector] = (struct idt_gate){
            .offset_low = (uint16_t)address,
            .selector = X86_SEL_KERNEL_CODE,
            .ist = is_final ? 1 : 0,
            .type = is_for_user ? 0xEE : 0x8E, /* present interrupt gate of privilege level 3 or 0 */
            .offset_middle = (uint16_t)(address >> 16),
            .offset_high = (uint32_t)(address >> 32),
        };
    }
    x86_idt_load();
}

void x86_idt_load(void)
{
    struct table_pointer pointer = {.limit = sizeof(idt) - 1, .base = (uint64_t)idt};
    __asm__ volatile("lidt %0" : : "m"(pointer) : "memory");
}

static enum fault_kind fault_kind_of(uint64_t vector)
{
    switch (vector) {
    case VECTOR_PAGE: return FAULT_PAGE;
    case VECTOR_UNDEFINED: return FAULT_ILLEGAL;
    case VECTOR_DEBUG:
    case VECTOR_BREAKPOINT: return FAULT_BREAKPOINT;
    case VECTOR_ALIGNMENT: return FAULT_ALIGNMENT;
    case VECTOR_DIVIDE:
    case VECTOR_OVERFLOW:
    case VECTOR_FPU_ERROR:
    case VECTOR_SIMD_ERROR: return FAULT_ARITHMETIC;
    case VECTOR_NO_FPU: return FAULT_FPU;
    default: return FAULT_GENERAL;
    }
}

/* First of all after an entry: CR2 holds the address only until the next page fault. */
static struct fault fault_describe(uint64_t vector, uint64_t error)
{
    struct fault fault = {.kind = fault_kind_of(vector), .code = vector << 32 | (uint32_t)error};
    if (vector == VECTOR_PAGE) {
        fault.address = x86_read_cr2();
        fault.is_write = error & PAGE_ERROR_WRITE;
        fault.is_execute = error & PAGE_ERROR_FETCH;
    }
    return fault;
}

struct thread *x86_user_trap(struct arch_frame *frame, uint64_t vector, uint64_t error)
{
    struct thread *current = (struct thread *)frame;
    if (vector >= VECTOR_FIRST_INTERRUPT) {
        x86_irq_dispatch((uint32_t)vector);
        return kernel_user_irq(current);
    }
    struct fault fault = fault_describe(vector, error);
    /* An access that the CPU made as supervisor for a user instruction (far return, segment load): no page to bring in. */
    if (fault.kind == FAULT_PAGE && !(error & PAGE_ERROR_USER))
        fault.kind = FAULT_GENERAL;
    return kernel_user_fault(current, &fault);
}

void x86_kernel_trap(const struct arch_frame *frame, uint64_t vector, uint64_t error)
{
    if (vector >= VECTOR_FIRST_INTERRUPT) {
        x86_irq_dispatch((uint32_t)vector);
        return;
    }
    struct fault fault = fault_describe(vector, error);
    kernel_fault(frame, &fault);
}

void x86_final_trap(const struct arch_frame *frame, uint64_t vector, uint64_t error)
{
    struct fault fault = {.kind = FAULT_GENERAL, .code = vector << 32 | (uint32_t)error};
    kernel_fault(frame, &fault);
}

/* STI holds interrupts back until after the next instruction, so none slips in between it and HLT (Intel SDM vol. 2, STI). */
void arch_idle(void) { __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory"); }

/* Not inlined: tools/latency looks for it. */
[[gnu::noinline]] void arch_irq_poll(void) { __asm__ volatile("sti\n\tnop\n\tcli" : : : "memory"); }

void arch_halt(void)
{
    for (;;) {
        __asm__ volatile("cli\n\thlt" : : : "memory");
    }
}
