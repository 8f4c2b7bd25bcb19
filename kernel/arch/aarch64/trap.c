/* Turns exceptions (ESR_EL1, Arm ARM D17.2.37) into the portable kernel's faults and interrupts. Called from entry.S. */
#include "a64.h"
#include <kernel/sched.h>

struct thread *a64_user_sync(struct thread *current, uint64_t esr, uint64_t far);
struct thread *a64_user_irq(struct thread *current);
struct thread *a64_user_serror(struct thread *current, uint64_t esr);
[[noreturn]] void a64_kernel_exception(const struct arch_frame *frame, uint64_t esr, uint64_t far, enum a64_exception what);

enum exception_class : uint32_t {
    CLASS_WAIT = 0x01, /* wfi, wfe and their forms with a timeout */
    CLASS_FPU_ACCESS = 0x07,
    CLASS_SVE_ACCESS = 0x19,
    CLASS_INSTRUCTION_ABORT_USER = 0x20,
    CLASS_INSTRUCTION_ABORT_KERNEL = 0x21,
    CLASS_PC_ALIGNMENT = 0x22,
    CLASS_DATA_ABORT_USER = 0x24,
    CLASS_DATA_ABORT_KERNEL = 0x25,
    CLASS_SP_ALIGNMENT = 0x26,
    CLASS_FPU_EXCEPTION = 0x2C,
    CLASS_SERROR = 0x2F,
    CLASS_DEBUG_FIRST = 0x30, /* hardware breakpoints, single step, watchpoints */
    CLASS_DEBUG_LAST = 0x35,
    CLASS_BRK = 0x3C,
};

enum abort_status : uint32_t { /* ISS.xFSC without the level in its low two bits */
                               STATUS_TRANSLATION = 0x04,
                               STATUS_ACCESS_FLAG = 0x08,
                               STATUS_PERMISSION = 0x0C,
                               STATUS_ALIGNMENT = 0x21, /* whole field */
};

constexpr uint64_t A64_INSTRUCTION_SIZE = 4;
constexpr uint64_t ISS_WRITE = 1 << 6;
constexpr uint64_t ISS_CACHE_MAINTENANCE = 1 << 8; /* reported as a write, needs only read permission */

static struct fault decode_abort(uint64_t esr, uint64_t far, bool is_execute)
{
    uint32_t status = esr & 0x3F, group = status & 0x3C;
    struct fault fault = {.kind = FAULT_GENERAL, .code = esr};

    if (status == STATUS_ALIGNMENT) {
        fault.kind = FAULT_ALIGNMENT;
    } else if (group == STATUS_TRANSLATION || group == STATUS_ACCESS_FLAG || group == STATUS_PERMISSION || group == 0) {
        /* group 0: address size, an address no table can map. */
        fault.kind = FAULT_PAGE;
        fault.is_execute = is_execute;
    } else {
        return fault; /* external aborts and the like: FAR may not be valid */
    }
    fault.is_write = !is_execute && (esr & ISS_WRITE) && !(esr & ISS_CACHE_MAINTENANCE);
    fault.address = far;
    return fault;
}

static uint32_t class_of(uint64_t esr) { return esr >> 26 & 0x3F; }

static struct fault decode(uint64_t esr, uint64_t far)
{
    struct fault fault = {.kind = FAULT_ILLEGAL, .code = esr};

    switch (class_of(esr)) {
    case CLASS_INSTRUCTION_ABORT_USER:
    case CLASS_INSTRUCTION_ABORT_KERNEL: return decode_abort(esr, far, true);
    case CLASS_DATA_ABORT_USER:
    case CLASS_DATA_ABORT_KERNEL: return decode_abort(esr, far, false);
    case CLASS_FPU_ACCESS:
    case CLASS_SVE_ACCESS: fault.kind = FAULT_FPU; break;
    case CLASS_PC_ALIGNMENT:
        fault.kind = FAULT_ALIGNMENT;
        fault.address = far;
        break;
    case CLASS_SP_ALIGNMENT: fault.kind = FAULT_ALIGNMENT; break;
    case CLASS_FPU_EXCEPTION: fault.kind = FAULT_ARITHMETIC; break;
    case CLASS_SERROR: fault.kind = FAULT_GENERAL; break;
    case CLASS_DEBUG_FIRST ... CLASS_DEBUG_LAST:
    case CLASS_BRK: fault.kind = FAULT_BREAKPOINT; break;
    default: /* undefined, trapped or privileged instruction, svc with a number other than 0 */ break;
    }
    return fault;
}

struct thread *a64_user_sync(struct thread *current, uint64_t esr, uint64_t far)
{
    if (class_of(esr) == CLASS_WAIT) {
        /* These may end at any time, so they give way to others and are over. Left alone they would hold a CPU without a tick
         * until something interrupts it. */
        current->frame.pc += A64_INSTRUCTION_SIZE;
        sched_yield();
        return kernel_user_irq(current);
    }
    struct fault fault = decode(esr, far);

    return kernel_user_fault(current, &fault);
}

struct thread *a64_user_irq(struct thread *current)
{
    a64_irq_handle();
    return kernel_user_irq(current);
}

struct thread *a64_user_serror(struct thread *current, uint64_t esr)
{
    struct fault fault = {.kind = FAULT_GENERAL, .code = esr};

    return kernel_user_fault(current, &fault);
}

void a64_kernel_exception(const struct arch_frame *frame, uint64_t esr, uint64_t far, enum a64_exception what)
{
    struct fault fault = {.kind = FAULT_GENERAL, .code = esr};

    /* An interrupt here means that somebody unmasked: as fatal as a fault. ESR and FAR are stale then. */
    if (what == A64_EXCEPTION_SYNC)
        fault = decode(esr, far);
    else if (what == A64_EXCEPTION_INTERRUPT)
        fault.code = 0;
    kernel_fault(frame, &fault);
}
