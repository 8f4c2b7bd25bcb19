/* A signal's frame on riscv64: siginfo, ucontext with general and floating-point registers (arch/riscv/include/uapi/asm/{ucontext,ptrace}.h of Linux
 * describe them). The program returns through our trampoline: the architecture has no SA_RESTORER. */
#include <linux/call.h>
#include <linux/signals.h>
#include <tess/string.h>
#include <tess/util.h>

int64_t linux_fpu_save_raw(uint64_t area); /* f0 to f31, FCSR */
int64_t linux_fpu_restore_raw(uint64_t area);

struct frame {
    uint8_t siginfo[128];
    uint64_t flags, link, stack_address, stack_flags, stack_size, mask, unused[15], align;
    struct tess_registers_riscv64 registers;
    uint64_t fpu[66]; /* of which the D registers and FCSR take the first 33 */
};
static_assert(sizeof(struct frame) == 1088 && offsetof(struct frame, registers) == 128 + 176 && offsetof(struct frame, fpu) % 16 == 0);

bool linux_signal_frame_push(struct linux_thread *thread, const struct linux_siginfo *info, const struct linux_signal_action *action,
                             uint64_t mask)
{
    linux_registers *r = linux_registers_of(thread->frame);
    uint64_t top = align_down(linux_signal_stack(thread, action, r->sp), 16), at = top - sizeof(struct frame);
    if (!linux_is_user(at, top - at)) {
        return false;
    }
    struct frame frame = {
        .stack_address = thread->alternate_stack,
        .stack_flags = thread->alternate_size == 0 ? 2 : 0,
        .stack_size = thread->alternate_size,
        .mask = mask,
        .registers = *r,
    };
    linux_siginfo_layout(info, frame.siginfo);
    if (linux_copy_to_user(at, &frame, sizeof(frame)) != 0 || linux_fpu_save_raw(at + offsetof(struct frame, fpu)) != 0) {
        return false;
    }
    r->ra = LINUX_TRAMPOLINE;
    r->a[0] = info->signal;
    r->a[1] = at;
    r->a[2] = at + offsetof(struct frame, flags);
    r->sp = at;
    r->pc = action->handler;
    return true;
}

bool linux_signal_frame_pop(struct linux_thread *thread, uint64_t *out_mask)
{
    linux_registers *r = linux_registers_of(thread->frame);
    uint64_t at = r->sp;
    struct frame frame;
    if (at % 16 != 0 || linux_copy_from_user(&frame, at, sizeof(frame)) != 0 ||
        linux_fpu_restore_raw(at + offsetof(struct frame, fpu)) != 0) {
        return false;
    }
    *r = frame.registers;
    *out_mask = frame.mask;
    return true;
}

int32_t linux_arithmetic_code(const struct tess_upcall_frame *) { return LINUX_FPE_FLTINV; }
