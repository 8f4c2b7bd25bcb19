/* A signal's frame on aarch64: siginfo, ucontext with the FPSIMD record, and a frame record above (arch/arm64/include/uapi/asm/sigcontext.h of
 * Linux describes them). Scalable vectors are not offered to programs (AT_HWCAP), so there is no record of them. */
#include <linux/call.h>
#include <linux/signals.h>
#include <tess/string.h>
#include <tess/util.h>

int64_t linux_fpu_save_raw(uint64_t area); /* FPSR, FPCR, then q0 to q31 */
int64_t linux_fpu_restore_raw(uint64_t area);

struct frame {
    uint8_t siginfo[128];
    uint64_t flags, link, stack_address, stack_flags, stack_size, mask, unused[15], align;
    uint64_t fault_address, x[31], sp, pc, pstate, align2;
};
constexpr uint64_t RESERVED = 4096; /* behind it: records */
static_assert(sizeof(struct frame) + RESERVED == 4688 && offsetof(struct frame, fault_address) == 128 + 176 &&
              sizeof(struct frame) % 16 == 0);
constexpr uint32_t FPSIMD_MAGIC = 0x46508001, FPSIMD_SIZE = 528;
constexpr uint64_t CONDITIONS = 0xF0000000;

bool linux_signal_frame_push(struct linux_thread *thread, const struct linux_siginfo *info, const struct linux_signal_action *action,
                             uint64_t mask)
{
    linux_registers *r = linux_registers_of(thread->frame);
    uint64_t top = align_down(linux_signal_stack(thread, action, r->sp), 16), record = top - 16;
    uint64_t at = record - RESERVED - sizeof(struct frame), area = at + sizeof(struct frame);
    if (!linux_is_user(at, top - at)) {
        return false;
    }
    struct frame frame = {
        .stack_address = thread->alternate_stack,
        .stack_flags = thread->alternate_size == 0 ? 2 : 0,
        .stack_size = thread->alternate_size,
        .mask = mask,
        .fault_address = thread->fault_address,
        .sp = r->sp,
        .pc = r->pc,
        .pstate = r->pstate,
    };
    memcpy(frame.x, r->x, sizeof(frame.x));
    linux_siginfo_layout(info, frame.siginfo);
    const uint64_t links[2] = {r->x[29], r->x[30]};
    const uint32_t fpsimd[2] = {FPSIMD_MAGIC, FPSIMD_SIZE};
    bool is_written = linux_copy_to_user(at, &frame, sizeof(frame)) == 0 && linux_copy_to_user(record, links, sizeof(links)) == 0 &&
                      linux_copy_to_user(area, fpsimd, sizeof(fpsimd)) == 0 && linux_fpu_save_raw(area + 8) == 0 &&
                      linux_zero_user(area + FPSIMD_SIZE, 8) == 0;
    if (!is_written) {
        return false;
    }
    r->x[0] = info->signal;
    r->x[1] = at;
    r->x[2] = at + offsetof(struct frame, flags);
    r->x[29] = record;
    r->x[30] = (action->flags & LINUX_SA_RESTORER) != 0 ? action->restorer : LINUX_TRAMPOLINE;
    r->sp = at;
    r->pc = action->handler;
    return true;
}

bool linux_signal_frame_pop(struct linux_thread *thread, uint64_t *out_mask)
{
    linux_registers *r = linux_registers_of(thread->frame);
    uint64_t at = r->sp, area = at + sizeof(struct frame);
    struct frame frame;
    uint32_t fpsimd[2];
    if (at % 16 != 0 || !linux_is_user(at, sizeof(frame) + RESERVED) || linux_copy_from_user(&frame, at, sizeof(frame)) != 0 ||
        linux_copy_from_user(fpsimd, area, sizeof(fpsimd)) != 0 || fpsimd[0] != FPSIMD_MAGIC || fpsimd[1] != FPSIMD_SIZE ||
        linux_fpu_restore_raw(area + 8) != 0) {
        return false;
    }
    memcpy(r->x, frame.x, sizeof(frame.x));
    r->sp = frame.sp;
    r->pc = frame.pc;
    r->pstate = frame.pstate & CONDITIONS;
    *out_mask = frame.mask;
    return true;
}

int32_t linux_arithmetic_code(const struct tess_upcall_frame *) { return LINUX_FPE_FLTINV; }
