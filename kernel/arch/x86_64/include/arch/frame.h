/*
 * struct arch_frame of x86_64: every user register the kernel switches, at offset 0 of struct thread. entry.S writes and reads
 * it by the offsets in asm.h (asserted in trap.c). Nothing here trusts a value: what user code may choose goes through
 * arch_frame_set_tls() and arch_frame_sanitize(), so that the exit path never faults on a frame.
 */
#pragma once
#include <kernel/types.h>
#include <tess/abi.h>
#include <tess/string.h>

struct arch_frame {
    uint64_t rax, rbx, rcx, rsi, rdi, rbp;
    union {
        struct {
            uint64_t rdx, r10, r8, r9;
        };
        uint64_t words[4]; /* of a message */
    };
    uint64_t r11, r12, r13, r14, r15;
    uint64_t rip, rflags, rsp;
    uint64_t fs_base; /* TLS pointer */
    uint64_t gs_base; /* zero until user code sets it with WRGSBASE; of a thread with an upcall frame: where that is mapped */
};
static_assert(sizeof(struct tess_registers_x86_64) == offsetof(struct arch_frame, gs_base));
static_assert(offsetof(struct tess_registers_x86_64, rip) == offsetof(struct arch_frame, rip));
static_assert(offsetof(struct tess_registers_x86_64, fs_base) == offsetof(struct arch_frame, fs_base));
constexpr uint32_t ARCH_REGISTERS = sizeof(struct tess_registers_x86_64) / 8;

/* A frame record (where the frame pointer points, plus this): the caller's frame pointer, then the return address. */
constexpr int64_t ARCH_FRAME_RECORD_OFFSET = 0;
/* Names of the first words of struct arch_frame, for panic reports. */
[[maybe_unused]] static const char *const arch_frame_names[] = {
    "rax", "rbx", "rcx", "rsi", "rdi", "rbp", "rdx", "r10", "r8", "r9", "r11", "r12", "r13", "r14", "r15", "rip", "rflags", "rsp",
};

/* RFLAGS (Intel SDM vol. 1, 3.4.3): CF PF AF ZF SF TF DF OF AC ID are user code's own; IF is always set there. */
constexpr uint64_t X86_FLAGS_USER = 0x240DD5;
constexpr uint64_t X86_FLAGS_FIXED = 0x2;
constexpr uint64_t X86_FLAGS_IF = 0x200;

/* The lower canonical half with 4-level paging (Intel SDM vol. 1, 3.3.7.1). */
static inline bool x86_is_user_canonical(uint64_t address) { return address >> 47 == 0; }

static inline void arch_frame_init(struct arch_frame *f, uint64_t pc, uint64_t sp, uint64_t arg0, uint64_t arg1, uint64_t tls)
{
    *f = (struct arch_frame){
        .rip = pc,
        .rsp = sp,
        .rdi = arg0,
        .rsi = arg1,
        .rflags = X86_FLAGS_FIXED | X86_FLAGS_IF,
        .fs_base = x86_is_user_canonical(tls) ? tls : 0,
    };
}

static inline uint64_t arch_frame_op(const struct arch_frame *f) { return f->rax; }

static inline uint64_t arch_frame_handle(const struct arch_frame *f) { return f->rdi; }

static inline uint64_t arch_frame_deadline(const struct arch_frame *f) { return f->rsi; }

static inline const uint64_t *arch_frame_words(const struct arch_frame *f) { return f->words; }
static inline uint64_t arch_frame_word(const struct arch_frame *f, uint32_t i) { return f->words[i]; }

static inline int64_t arch_frame_status(const struct arch_frame *f) { return (int64_t)f->rax; }

static inline void arch_frame_set_status(struct arch_frame *f, int64_t status) { f->rax = (uint64_t)status; }

static inline void arch_frame_set_op(struct arch_frame *f, uint64_t value) { f->rdi = value; }

static inline void arch_frame_set_badge(struct arch_frame *f, uint64_t value) { f->rsi = value; }

static inline void arch_frame_set_word(struct arch_frame *f, uint32_t i, uint64_t value) { f->words[i] = value; }

/* SYSCALL is two bytes long (0F 05). */
static inline void arch_frame_rewind_syscall(struct arch_frame *f, uint64_t op)
{
    f->rip -= 2;
    f->rax = op;
}

static inline uint64_t arch_frame_pc(const struct arch_frame *f) { return f->rip; }

static inline void arch_frame_set_pc(struct arch_frame *f, uint64_t pc) { f->rip = pc; }

static inline uint64_t arch_frame_sp(const struct arch_frame *f) { return f->rsp; }

static inline uint64_t arch_frame_fp(const struct arch_frame *f) { return f->rbp; }

/* A base outside the lower half would fault in WRFSBASE on the way out; it is of no use to user code, so it becomes zero. */
static inline void arch_frame_set_tls(struct arch_frame *f, uint64_t value) { f->fs_base = x86_is_user_canonical(value) ? value : 0; }

static inline bool arch_frame_sanitize(struct arch_frame *f)
{
    f->rflags = (f->rflags & X86_FLAGS_USER) | X86_FLAGS_FIXED | X86_FLAGS_IF;
    return x86_is_user_canonical(f->rip) && x86_is_user_canonical(f->fs_base) && x86_is_user_canonical(f->gs_base);
}

static inline void arch_frame_get_registers(const struct arch_frame *f, uint64_t registers[ARCH_REGISTERS])
{
    memcpy(registers, f, ARCH_REGISTERS * sizeof(uint64_t));
}

static inline bool arch_frame_set_registers(struct arch_frame *f, const uint64_t registers[ARCH_REGISTERS])
{
    struct arch_frame next = {.gs_base = f->gs_base};
    memcpy(&next, registers, ARCH_REGISTERS * sizeof(uint64_t));
    if (!arch_frame_sanitize(&next))
        return false;
    *f = next;
    return true;
}

/* RCX and R11 as SYSRET leaves them, so that the way out is the short one. */
static inline void arch_frame_enter_upcall(struct arch_frame *f, uint64_t pc, uint64_t sp, uint64_t)
{
    f->rip = f->rcx = pc;
    f->rsp = sp;
    f->rflags = f->r11 = X86_FLAGS_FIXED | X86_FLAGS_IF;
}

static inline void arch_frame_set_upcall_address(struct arch_frame *f, uint64_t address) { f->gs_base = address; }
