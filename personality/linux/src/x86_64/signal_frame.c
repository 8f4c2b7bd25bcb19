/*
 * A signal's frame on x86_64: return address, ucontext, siginfo; above it the FPU state in XSAVE or FXSAVE format, with the magic words that
 * say so (include/uapi/asm/sigcontext.h and arch/x86/include/uapi/asm/ucontext.h of Linux describe them; Intel SDM vol. 1, 13.4: XSAVE area).
 */
#include <linux/call.h>
#include <linux/signals.h>
#include <tess/string.h>
#include <tess/util.h>

int64_t linux_fpu_save_raw(uint64_t area, uint64_t is_extended);
int64_t linux_fpu_restore_raw(uint64_t area, uint64_t is_extended);

struct frame {
    uint64_t return_address;
    uint64_t flags, link, stack_address, stack_flags, stack_size;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    uint16_t cs, gs, fs, ss;
    uint64_t error, trap, old_mask, cr2, fpu, reserved[8];
    uint64_t mask;
    uint8_t siginfo[128];
};
static_assert(sizeof(struct frame) == 8 + 304 + 128);
constexpr uint64_t HAS_XSTATE = 1, HAS_SS = 2, STRICT_SS = 4;
constexpr uint32_t MAGIC1 = 0x46505853, MAGIC2 = 0x46505845;
constexpr uint64_t FXSAVE_SIZE = 512, SOFTWARE_BYTES = 464, HEADER_SIZE = 64;
constexpr uint64_t USER_FLAGS = 0x50DD5; /* CF PF AF ZF SF TF DF OF RF AC */
constexpr uint64_t RED_ZONE = 128;

static void cpuid(uint32_t leaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *a = leaf, *c = 0;
    __asm__("cpuid" : "+a"(*a), "=b"(*b), "+c"(*c), "=d"(*d));
}

/* Of the area as the kernel has enabled it: 512 without XSAVE. */
static uint64_t fpu_size(uint64_t *out_components)
{
    uint32_t a, b, c, d;
    cpuid(1, &a, &b, &c, &d);
    *out_components = 3;
    if ((c >> 27 & 1) == 0) { /* OSXSAVE */
        return FXSAVE_SIZE;
    }
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    *out_components = (uint64_t)high << 32 | low;
    cpuid(13, &a, &b, &c, &d);
    return b;
}

static bool save_fpu(uint64_t area, uint64_t size, uint64_t components)
{
    bool is_extended = size > FXSAVE_SIZE;
    /* XSAVE leaves the rest of its header as it is, and XRSTOR wants zeros there. */
    if ((is_extended && linux_zero_user(area + FXSAVE_SIZE, HEADER_SIZE) != 0) || !linux_is_user(area, size + 4) ||
        linux_fpu_save_raw(area, is_extended) != 0) {
        return false;
    }
    uint8_t software[48] = {};
    if (is_extended) {
        store_le32(software, MAGIC1);
        store_le32(software + 4, (uint32_t)size + 4);
        store_le64(software + 8, components);
        store_le32(software + 16, (uint32_t)size);
    }
    return linux_copy_to_user(area + SOFTWARE_BYTES, software, sizeof(software)) == 0 &&
           (!is_extended || linux_store_user_u32(area + size, MAGIC2) == 0);
}

bool linux_signal_frame_push(struct linux_thread *thread, const struct linux_siginfo *info, const struct linux_signal_action *action,
                             uint64_t mask)
{
    linux_registers *r = linux_registers_of(thread->frame);
    uint64_t components, size = fpu_size(&components);
    uint64_t sp = linux_signal_stack(thread, action, r->rsp);
    sp = sp == r->rsp ? sp - RED_ZONE : sp;
    uint64_t fpu = align_down(sp - size - 4, 64), at = align_down(fpu - sizeof(struct frame), 16) - 8;
    if ((action->flags & LINUX_SA_RESTORER) == 0 || !linux_is_user(at, sp - at)) {
        return false;
    }
    struct frame frame = {
        .return_address = action->restorer,
        .flags = (size > FXSAVE_SIZE ? HAS_XSTATE : 0) | HAS_SS | STRICT_SS,
        .stack_address = thread->alternate_stack,
        .stack_flags = thread->alternate_size == 0 ? 2 : 0,
        .stack_size = thread->alternate_size,
        .r8 = r->r8,
        .r9 = r->r9,
        .r10 = r->r10,
        .r11 = r->r11,
        .r12 = r->r12,
        .r13 = r->r13,
        .r14 = r->r14,
        .r15 = r->r15,
        .rdi = r->rdi,
        .rsi = r->rsi,
        .rbp = r->rbp,
        .rbx = r->rbx,
        .rdx = r->rdx,
        .rax = r->rax,
        .rcx = r->rcx,
        .rsp = r->rsp,
        .rip = r->rip,
        .rflags = r->rflags,
        .cs = 0x33,
        .ss = 0x2B,
        .cr2 = thread->fault_address,
        .fpu = fpu,
        .mask = mask,
    };
    if (thread->fault_cause == UPCALL_PAGE || thread->fault_cause == UPCALL_GUARD) {
        frame.trap = 14;
        frame.error = 4 | (thread->fault_access & UPCALL_WRITE ? 2 : 0) | (thread->fault_access & UPCALL_EXECUTE ? 16 : 0);
    }
    linux_siginfo_layout(info, frame.siginfo);
    if (!save_fpu(fpu, size, components) || linux_copy_to_user(at, &frame, sizeof(frame)) != 0) {
        return false;
    }
    r->rdi = info->signal;
    r->rsi = at + offsetof(struct frame, siginfo);
    r->rdx = at + offsetof(struct frame, flags);
    r->rax = 0;
    r->rip = action->handler;
    r->rsp = at;
    r->rflags &= ~(uint64_t)0x10500; /* DF, TF, RF */
    return true;
}

static bool restore_fpu(uint64_t area)
{
    uint64_t components, size = fpu_size(&components);
    uint8_t software[8];
    uint32_t magic2 = 0;
    if (area == 0) {
        return true;
    }
    if (area % 16 != 0 || !linux_is_user(area, size + 4) || linux_copy_from_user(software, area + SOFTWARE_BYTES, sizeof(software)) != 0) {
        return false;
    }
    bool is_extended = size > FXSAVE_SIZE && area % 64 == 0 && load_le32(software) == MAGIC1 && load_le32(software + 4) == size + 4 &&
                       linux_load_user_u32(&magic2, area + size) == 0 && magic2 == MAGIC2;
    return linux_fpu_restore_raw(area, is_extended) == 0;
}

bool linux_signal_frame_pop(struct linux_thread *thread, uint64_t *out_mask)
{
    linux_registers *r = linux_registers_of(thread->frame);
    struct frame frame;
    if (linux_copy_from_user(&frame, r->rsp - 8, sizeof(frame)) != 0 || frame.rip >> 47 != 0 || !restore_fpu(frame.fpu)) {
        return false;
    }
    r->r8 = frame.r8, r->r9 = frame.r9, r->r10 = frame.r10, r->r11 = frame.r11, r->r12 = frame.r12, r->r13 = frame.r13, r->r14 = frame.r14;
    r->r15 = frame.r15, r->rdi = frame.rdi, r->rsi = frame.rsi, r->rbp = frame.rbp, r->rbx = frame.rbx, r->rdx = frame.rdx,
    r->rax = frame.rax;
    r->rcx = frame.rcx, r->rsp = frame.rsp, r->rip = frame.rip;
    r->rflags = (r->rflags & ~USER_FLAGS) | (frame.rflags & USER_FLAGS);
    *out_mask = frame.mask;
    return true;
}

/* Which unit: SSE has an unmasked exception noted, or the division did it. Intel SDM vol. 1, 10.2.3: MXCSR. */
int32_t linux_arithmetic_code(const struct tess_upcall_frame *)
{
    uint32_t mxcsr;
    __asm__("stmxcsr %0" : "=m"(mxcsr));
    uint32_t raised = mxcsr & ~(mxcsr >> 7) & 0x3F;
    return raised & 1 ? LINUX_FPE_FLTINV : raised & 4 ? 3 : raised & 8 ? 4 : raised & 0x12 ? 5 : raised & 0x20 ? 6 : LINUX_FPE_INTDIV;
}
