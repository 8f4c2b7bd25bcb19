/*
 * struct arch_frame: the registers of a thread, first member of struct thread. entry.S knows every offset.
 * sstatus is filled for reports only and never loaded: returns to user mode always happen with SPP = 0, and FS belongs to
 * arch_fpu_*().
 */
#pragma once
#include <kernel/types.h>
#include <tess/abi.h>
#include <tess/string.h>

struct cpu;

struct arch_frame {
    uint64_t pc;
    uint64_t ra, sp, gp, tp; /* tp: the thread's TLS pointer */
    uint64_t t0, t1, t2;
    uint64_t s0, s1; /* s0: frame pointer */
    uint64_t a[8];
    uint64_t s2, s3, s4, s5, s6, s7, s8, s9, s10, s11;
    uint64_t t3, t4, t5, t6;
    uint64_t sstatus;
    struct cpu *cpu; /* where the thread runs: the first thing a trap from user mode needs */
};

/* A frame record (where the frame pointer points, plus this): the caller's frame pointer, then the return address. */
constexpr int64_t ARCH_FRAME_RECORD_OFFSET = -16;
/* Names of the first words of struct arch_frame, for panic reports. */
[[maybe_unused]] static const char *const arch_frame_names[] = {
    "pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0",  "a1",  "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
};
static_assert(sizeof(struct arch_frame) == 34 * 8);
static_assert(sizeof(struct tess_registers_riscv64) == offsetof(struct arch_frame, sstatus));
static_assert(offsetof(struct tess_registers_riscv64, s2) == offsetof(struct arch_frame, s2));
constexpr uint32_t ARCH_REGISTERS = sizeof(struct tess_registers_riscv64) / 8;

constexpr uint64_t RV_ECALL_SIZE = 4; /* there is no compressed form */

static inline void arch_frame_init(struct arch_frame *f, uint64_t pc, uint64_t sp, uint64_t arg0, uint64_t arg1, uint64_t tls)
{
    *f = (struct arch_frame){.pc = pc, .sp = sp, .tp = tls, .a = {arg0, arg1}};
}

static inline uint64_t arch_frame_op(const struct arch_frame *f) { return f->a[0]; }

static inline uint64_t arch_frame_handle(const struct arch_frame *f) { return f->a[1]; }

static inline uint64_t arch_frame_deadline(const struct arch_frame *f) { return f->a[2]; }

static inline const uint64_t *arch_frame_words(const struct arch_frame *f) { return &f->a[3]; }
static inline uint64_t arch_frame_word(const struct arch_frame *f, uint32_t i) { return f->a[3 + i]; }

static inline int64_t arch_frame_status(const struct arch_frame *f) { return (int64_t)f->a[0]; }

static inline void arch_frame_set_status(struct arch_frame *f, int64_t status) { f->a[0] = (uint64_t)status; }

static inline void arch_frame_set_op(struct arch_frame *f, uint64_t value) { f->a[1] = value; }

static inline void arch_frame_set_badge(struct arch_frame *f, uint64_t value) { f->a[2] = value; }

static inline void arch_frame_set_word(struct arch_frame *f, uint32_t i, uint64_t value) { f->a[3 + i] = value; }

static inline void arch_frame_rewind_syscall(struct arch_frame *f, uint64_t op)
{
    f->pc -= RV_ECALL_SIZE;
    f->a[0] = op;
}

static inline uint64_t arch_frame_pc(const struct arch_frame *f) { return f->pc; }

static inline void arch_frame_set_pc(struct arch_frame *f, uint64_t pc) { f->pc = pc & ~1ull; }

static inline uint64_t arch_frame_sp(const struct arch_frame *f) { return f->sp; }

static inline uint64_t arch_frame_fp(const struct arch_frame *f) { return f->s0; }

static inline void arch_frame_set_tls(struct arch_frame *f, uint64_t value) { f->tp = value; }

/* Nothing in the frame but pc reaches a control register. */
static inline bool arch_frame_sanitize(struct arch_frame *f)
{
    f->sstatus = 0;
    return f->pc < USER_TOP && f->pc % 2 == 0;
}

static inline void arch_frame_get_registers(const struct arch_frame *f, uint64_t registers[ARCH_REGISTERS])
{
    memcpy(registers, f, ARCH_REGISTERS * sizeof(uint64_t));
}

static inline bool arch_frame_set_registers(struct arch_frame *f, const uint64_t registers[ARCH_REGISTERS])
{
    struct arch_frame next = {.cpu = f->cpu};
    memcpy(&next, registers, ARCH_REGISTERS * sizeof(uint64_t));
    if (!arch_frame_sanitize(&next))
        return false;
    *f = next;
    return true;
}

/* There is no register that user code cannot change and the kernel could keep the address in. */
static inline void arch_frame_enter_upcall(struct arch_frame *f, uint64_t pc, uint64_t sp, uint64_t address)
{
    f->pc = pc;
    f->sp = sp;
    f->t0 = address;
}

static inline void arch_frame_set_upcall_address(struct arch_frame *, uint64_t) {}
