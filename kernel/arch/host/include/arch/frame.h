/* The registers of a pretended user thread: what a system call brings and takes, and the state of the test that plays it. */
#pragma once
#include <kernel/types.h>
#include <tess/abi.h>

struct arch_frame {
    uint64_t op, handle, deadline, words[4];
    int64_t status;
    uint64_t out_op, badge;
    uint64_t pc, sp, fp, tls, args[2];
    uint64_t restarts; /* the same call again: arch_frame_rewind_syscall */
    uint64_t random;   /* the test's */
};

constexpr int64_t ARCH_FRAME_RECORD_OFFSET = 0;
constexpr uint32_t ARCH_REGISTERS = 3;

static inline void arch_frame_init(struct arch_frame *f, uint64_t pc, uint64_t sp, uint64_t arg0, uint64_t arg1, uint64_t tls)
{
    *f = (struct arch_frame){.pc = pc, .sp = sp, .args = {arg0, arg1}, .tls = tls};
}

static inline uint64_t arch_frame_op(const struct arch_frame *f) { return f->op; }
static inline uint64_t arch_frame_handle(const struct arch_frame *f) { return f->handle; }
static inline uint64_t arch_frame_deadline(const struct arch_frame *f) { return f->deadline; }
static inline const uint64_t *arch_frame_words(const struct arch_frame *f) { return f->words; }
static inline uint64_t arch_frame_word(const struct arch_frame *f, uint32_t i) { return f->words[i]; }
static inline int64_t arch_frame_status(const struct arch_frame *f) { return f->status; }
static inline void arch_frame_set_status(struct arch_frame *f, int64_t status) { f->status = status; }
static inline void arch_frame_set_op(struct arch_frame *f, uint64_t value) { f->out_op = value; }
static inline void arch_frame_set_badge(struct arch_frame *f, uint64_t value) { f->badge = value; }
static inline void arch_frame_set_word(struct arch_frame *f, uint32_t i, uint64_t value) { f->words[i] = value; }
static inline void arch_frame_rewind_syscall(struct arch_frame *f, uint64_t) { f->restarts++; }
static inline uint64_t arch_frame_pc(const struct arch_frame *f) { return f->pc; }
static inline void arch_frame_set_pc(struct arch_frame *f, uint64_t pc) { f->pc = pc; }
static inline uint64_t arch_frame_sp(const struct arch_frame *f) { return f->sp; }
static inline uint64_t arch_frame_fp(const struct arch_frame *f) { return f->fp; }
static inline void arch_frame_set_tls(struct arch_frame *f, uint64_t value) { f->tls = value; }

static inline void arch_frame_get_registers(const struct arch_frame *f, uint64_t registers[ARCH_REGISTERS])
{
    registers[0] = f->pc;
    registers[1] = f->sp;
    registers[2] = f->tls;
}

static inline bool arch_frame_set_registers(struct arch_frame *f, const uint64_t registers[ARCH_REGISTERS])
{
    if (registers[0] >= USER_TOP)
        return false;
    f->pc = registers[0];
    f->sp = registers[1];
    f->tls = registers[2];
    return true;
}

static inline void arch_frame_enter_upcall(struct arch_frame *f, uint64_t pc, uint64_t sp, uint64_t)
{
    f->pc = pc;
    f->sp = sp;
}

static inline void arch_frame_set_upcall_address(struct arch_frame *, uint64_t) {}
