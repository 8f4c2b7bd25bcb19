/*
 * struct arch_frame of aarch64: everything a thread has in user mode except FPU state. entry.S knows the offsets
 * (a64_asm.h; asserted in cpu.c). Lies at the start of struct thread.
 */
#pragma once
#include <kernel/types.h>
#include <tess/abi.h>
#include <tess/string.h>

struct arch_frame {
    uint64_t x[31];
    uint64_t sp;
    uint64_t pc;
    uint64_t pstate; /* SPSR_EL1 */
    uint64_t tls;    /* TPIDR_EL0 */
    uint64_t upcall; /* TPIDRRO_EL0: where the thread's upcall frame is mapped, or 0 */
};
static_assert(sizeof(struct tess_registers_aarch64) == offsetof(struct arch_frame, upcall));
static_assert(offsetof(struct tess_registers_aarch64, pc) == offsetof(struct arch_frame, pc));
constexpr uint32_t ARCH_REGISTERS = sizeof(struct tess_registers_aarch64) / 8;

/* A frame record (where the frame pointer points, plus this): the caller's frame pointer, then the return address. */
constexpr int64_t ARCH_FRAME_RECORD_OFFSET = 0;
/* Names of the first words of struct arch_frame, for panic reports. */
[[maybe_unused]] static const char *const arch_frame_names[] = {
    "x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",  "x8",  "x9",  "x10", "x11", "x12", "x13", "x14", "x15", "x16",
    "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp",  "pc",
};

/* Condition flags: the only bits of PSTATE that user code may choose. All others zero mean EL0, AArch64, interrupts on
 * (Arm ARM C5.2.19). */
constexpr uint64_t A64_PSTATE_USER_MASK = 0xF0000000;

static inline void arch_frame_init(struct arch_frame *f, uint64_t pc, uint64_t sp, uint64_t arg0, uint64_t arg1, uint64_t tls)
{
    *f = (struct arch_frame){.x = {arg0, arg1}, .sp = sp, .pc = pc, .tls = tls};
}

static inline uint64_t arch_frame_op(const struct arch_frame *f) { return f->x[0]; }
static inline uint64_t arch_frame_handle(const struct arch_frame *f) { return f->x[1]; }
static inline uint64_t arch_frame_deadline(const struct arch_frame *f) { return f->x[2]; }
static inline const uint64_t *arch_frame_words(const struct arch_frame *f) { return &f->x[3]; }
static inline uint64_t arch_frame_word(const struct arch_frame *f, uint32_t i) { return f->x[3 + i]; }

static inline int64_t arch_frame_status(const struct arch_frame *f) { return (int64_t)f->x[0]; }
static inline void arch_frame_set_status(struct arch_frame *f, int64_t status) { f->x[0] = (uint64_t)status; }
static inline void arch_frame_set_op(struct arch_frame *f, uint64_t value) { f->x[1] = value; }
static inline void arch_frame_set_badge(struct arch_frame *f, uint64_t value) { f->x[2] = value; }
static inline void arch_frame_set_word(struct arch_frame *f, uint32_t i, uint64_t value) { f->x[3 + i] = value; }

/* svc is four bytes, and ELR_EL1 points behind it. */
static inline void arch_frame_rewind_syscall(struct arch_frame *f, uint64_t op)
{
    f->pc -= 4;
    f->x[0] = op;
}

static inline uint64_t arch_frame_pc(const struct arch_frame *f) { return f->pc; }
static inline void arch_frame_set_pc(struct arch_frame *f, uint64_t pc) { f->pc = pc; }
static inline uint64_t arch_frame_sp(const struct arch_frame *f) { return f->sp; }
static inline uint64_t arch_frame_fp(const struct arch_frame *f) { return f->x[29]; }
static inline void arch_frame_set_tls(struct arch_frame *f, uint64_t value) { f->tls = value; }

static inline bool arch_frame_sanitize(struct arch_frame *f)
{
    f->pstate &= A64_PSTATE_USER_MASK;
    return f->pc < USER_TOP;
}

static inline void arch_frame_get_registers(const struct arch_frame *f, uint64_t registers[ARCH_REGISTERS])
{
    memcpy(registers, f, ARCH_REGISTERS * sizeof(uint64_t));
}

static inline bool arch_frame_set_registers(struct arch_frame *f, const uint64_t registers[ARCH_REGISTERS])
{
    struct arch_frame next = {.upcall = f->upcall};
    memcpy(&next, registers, ARCH_REGISTERS * sizeof(uint64_t));
    if (!arch_frame_sanitize(&next))
        return false;
    *f = next;
    return true;
}

static inline void arch_frame_enter_upcall(struct arch_frame *f, uint64_t pc, uint64_t sp, uint64_t)
{
    f->pc = pc;
    f->sp = sp;
    f->pstate = 0;
}

static inline void arch_frame_set_upcall_address(struct arch_frame *f, uint64_t address) { f->upcall = address; }
