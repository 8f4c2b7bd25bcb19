/* What a trap means: interrupts to their handlers, exceptions to struct fault. Assembly in entry.S. */
#include "asm.h"
#include "rv.h"
#include <kernel/thread.h>

static_assert(offsetof(struct cpu, current) == CPU_CURRENT && CPU_OFFSET_CURRENT == CPU_CURRENT);
static_assert(offsetof(struct cpu, stack_top) == CPU_STACK_TOP && CPU_OFFSET_STACK_TOP == CPU_STACK_TOP);
static_assert(offsetof(struct cpu, exit_work) == CPU_EXIT_WORK && offsetof(struct cpu, epoch) == CPU_EPOCH);
static_assert(offsetof(struct cpu, arch_scratch) + 8 * RV_SCRATCH_T0 == CPU_SCRATCH_T0);
static_assert(offsetof(struct cpu, arch_scratch) + 8 * RV_SCRATCH_EMERGENCY_STACK == CPU_EMERGENCY_STACK);
static_assert(offsetof(struct cpu, arch_scratch) + 8 * RV_SCRATCH_T1 == CPU_SCRATCH_T1);
static_assert(offsetof(struct cpu, arch_scratch) + 8 * RV_SCRATCH_FAULT_DEPTH == CPU_FAULT_DEPTH);
static_assert(offsetof(struct arch_frame, pc) == FRAME_PC && offsetof(struct arch_frame, ra) == FRAME_RA);
static_assert(offsetof(struct arch_frame, tp) == FRAME_TP && offsetof(struct arch_frame, t2) == FRAME_T2);
static_assert(offsetof(struct arch_frame, s0) == FRAME_S0 && offsetof(struct arch_frame, s1) == FRAME_S1);
static_assert(offsetof(struct arch_frame, a) == FRAME_A0 && offsetof(struct arch_frame, s2) == FRAME_S2);
static_assert(offsetof(struct arch_frame, s11) == FRAME_S(11) && offsetof(struct arch_frame, t3) == FRAME_T3);
static_assert(offsetof(struct arch_frame, t6) == FRAME_T6 && offsetof(struct arch_frame, sstatus) == FRAME_SSTATUS);
static_assert(offsetof(struct arch_frame, cpu) == FRAME_CPU);
static_assert(offsetof(struct thread, native_limit) == THREAD_NATIVE_LIMIT && offsetof(struct thread, upcall) == THREAD_UPCALL);
static_assert(offsetof(struct thread, upcall_entry) == THREAD_UPCALL_ENTRY && offsetof(struct thread, pending) == THREAD_PENDING);
static_assert(offsetof(struct thread, upcall_address) == THREAD_UPCALL_ADDRESS);
static_assert(offsetof(struct tess_upcall_frame, foreign.registers) == 0);
static_assert(offsetof(struct tess_upcall_frame, foreign.cause) == UPCALL_CAUSE);
static_assert(offsetof(struct tess_upcall_frame, foreign.access) == UPCALL_CAUSE + 4);
static_assert(offsetof(struct tess_upcall_frame, foreign.stack) == UPCALL_STACK);
static_assert(UPCALL_SYSTEM_CALL == UPCALL_CAUSE_SYSTEM_CALL && NATIVE_BASE == NATIVE_BASE_ADDRESS);
static_assert(sizeof(struct arch_frame) == FRAME_SIZE && FRAME_SIZE <= FRAME_STACK_SIZE);
static_assert(RV_ECALL_SIZE == SYSCALL_INSTRUCTION_SIZE);
static_assert(ARCH_EXIT_FAILURE == POWER_EXIT_FAILURE);
static_assert(CAUSE_USER_ECALL == CAUSE_ECALL_FROM_USER);
static_assert(KERNEL_BASE == KERNEL_BASE_ADDRESS && DIRECT_MAP_SIZE >> 30 == DIRECT_MAP_GIGAPAGES);
static_assert((SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP | SSTATUS_VS | SSTATUS_FS | SSTATUS_SUM | SSTATUS_MXR) == SSTATUS_CLEARED);

struct thread *rv_user_trap(struct thread *current);
[[noreturn]] void rv_kernel_trap(const struct arch_frame *frame);

static struct fault fault_decode(uint64_t cause)
{
    struct fault fault = {.kind = FAULT_GENERAL, .code = cause};
    switch (cause) {
    case CAUSE_FETCH_PAGE:
    case CAUSE_LOAD_PAGE:
    case CAUSE_STORE_PAGE:
        fault.kind = FAULT_PAGE;
        fault.is_execute = cause == CAUSE_FETCH_PAGE;
        fault.is_write = cause == CAUSE_STORE_PAGE;
        fault.address = csr_read(stval);
        break;
    case CAUSE_ILLEGAL: fault.kind = FAULT_ILLEGAL; break;
    case CAUSE_BREAKPOINT: fault.kind = FAULT_BREAKPOINT; break;
    case CAUSE_FETCH_MISALIGNED:
    case CAUSE_LOAD_MISALIGNED:
    case CAUSE_STORE_MISALIGNED:
        fault.kind = FAULT_ALIGNMENT;
        fault.is_write = cause == CAUSE_STORE_MISALIGNED;
        fault.address = csr_read(stval);
        break;
    default: break;
    }
    return fault;
}

/* Little-endian halfword of user code, read through the direct map: user pages themselves are closed to us (SUM). */
static uint32_t user_code_halfword(vaddr_t va)
{
    uint32_t level = 0;
    uint64_t e = va < USER_TOP ? rv_walk_active(va, &level) : 0;
    if ((e & (RV_PTE_U | RV_PTE_X)) != (RV_PTE_U | RV_PTE_X)) {
        return 0;
    }
    paddr_t pa = arch_pte_address(e) + (va & ((PAGE_SIZE << 9 * level) - 1));
    return pa < DIRECT_MAP_SIZE ? *(const uint16_t *)phys_to_virt(pa) : 0;
}

/* stval holds the instruction where the hardware gives it, else 0 (RISC-V Privileged 4.1.9). */
static uint32_t illegal_instruction(vaddr_t pc)
{
    uint64_t value = csr_read(stval);
    if (value != 0) {
        return (uint32_t)value;
    }
    uint32_t low = user_code_halfword(pc);
    return (low & 3) == 3 ? low | user_code_halfword(pc + 2) << 16 : low;
}

/* RISC-V Unprivileged, chapter 24 (opcode map) and 16.8 (compressed), and V 1.0, 5: everything that needs FS or VS. */
static bool is_fpu_instruction(uint32_t instruction)
{
    uint32_t funct3 = instruction >> 12 & 7;
    if ((instruction & 3) != 3) {
        uint32_t compressed_funct3 = instruction >> 13 & 7;
        return (instruction & 1) == 0 && (compressed_funct3 == 1 || compressed_funct3 == 5); /* c.fld[sp], c.fsd[sp] */
    }
    switch (instruction & 0x7F) {
    case 0x07: /* LOAD-FP and STORE-FP, vector loads and stores */
    case 0x27:
    case 0x43: /* FMADD FMSUB FNMSUB FNMADD OP-FP OP-V */
    case 0x47:
    case 0x4B:
    case 0x4F:
    case 0x53:
    case 0x57: return true;
    case 0x73: { /* fflags, frm, fcsr; vstart, vxsat, vxrm, vcsr; vl, vtype, vlenb */
        uint32_t csr = instruction >> 20;
        return funct3 % 4 != 0 && ((csr >= 1 && csr <= 3) || (csr >= 8 && csr <= 15) || (csr >= 0xC20 && csr <= 0xC22));
    }
    default: return false;
    }
}

void arch_upcall_address_load(const struct arch_frame *) {}

struct thread *rv_user_trap(struct thread *current)
{
    uint64_t cause = csr_read(scause);
    if ((cause & CAUSE_INTERRUPT) != 0) {
        rv_irq_dispatch();
        return kernel_user_irq(current);
    }
    struct arch_frame *frame = (struct arch_frame *)current;
    frame->sstatus = csr_read(sstatus);
    /* Also when the CPU only remembered that there was no mapping, as it may (RISC-V Privileged 4.2.1): it is there then, and the
     * page is flushed. */
    struct fault fault = fault_decode(cause);
    if (fault.kind == FAULT_ILLEGAL && (frame->sstatus & SSTATUS_FS) == 0 && is_fpu_instruction(illegal_instruction(frame->pc))) {
        fault.kind = FAULT_FPU;
    }
    return kernel_user_fault(current, &fault);
}

[[noreturn]] void rv_kernel_trap(const struct arch_frame *frame)
{
    struct fault fault = fault_decode(csr_read(scause));
    kernel_fault(frame, &fault);
}
