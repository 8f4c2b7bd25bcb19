/*
 * A thread of a Linux process. Its block in the arena (LINUX_THREAD_BLOCK bytes): page 0 holds message page, this structure, the stack of
 * fault_entry and the upcall frame, so that one page is pinned for each thread; pages 2.. are the native stack.
 * A thread finds itself through its frame: GS on x86_64, TPIDRRO_EL0 on aarch64, tp on riscv64 (set by the entry code, native code only).
 */
#pragma once
#include <linux/lock.h>
#include <stddef.h>
#include <stdint.h>
#include <tess/abi.h>

struct linux_process;

/* Words of upcall_frame.user, for the entry code. */
enum : uint32_t {
    LINUX_FRAME_THREAD = 0, /* struct linux_thread */
    LINUX_FRAME_WORK = 1,   /* not 0: the way out must look (LINUX_WORK_*) */
};
enum : uint64_t {
    LINUX_WORK_SIGNAL = 1,      /* there may be a signal to take */
    LINUX_WORK_REGISTERS = 2,   /* the frame holds what the registers are to be: no short way back */
    LINUX_WORK_RESTORE_MASK = 4 /* sigsuspend, ppoll, pselect: saved_mask is to come back */
};

struct linux_thread {
    struct linux_process *process;
    struct tess_upcall_frame *frame;
    struct linux_thread *next; /* of the process: process->thread_lock */
    handle_t handle;
    uint32_t tid;
    _Atomic uint32_t state; /* LINUX_THREAD_* */

    /* Signals (signal.h). mask: written by the thread itself only; pending: also by who sends to it, under process->signal_lock. */
    _Atomic uint64_t mask, pending;
    uint64_t saved_mask;
    _Atomic uint64_t wait_set; /* rt_sigtimedwait waits for these */
    uint64_t fault_address;    /* of the fault that a handler is told of */
    uint32_t fault_access, fault_cause;
    uint64_t alternate_stack, alternate_size;
    uint32_t alternate_flags;

    uint64_t clear_child_tid;                  /* set_tid_address, CLONE_CHILD_CLEARTID */
    uint64_t robust_list;                      /* set_robust_list */
    int64_t (*restart)(struct linux_thread *); /* restart_syscall: what LINUX_ERESTART_RESTARTBLOCK goes on with */
    uint64_t restart_deadline;
    uint64_t restart_words[4];
    char name[16];
    uint32_t signal_index; /* place in the page shared with posixd; LINUX_SIGNAL_THREADS or more: none */
    uint32_t exit_signal;  /* what the parent gets when a process made by clone ends */
    uint64_t affinity;
};
enum : uint32_t { LINUX_THREAD_FREE = 0, LINUX_THREAD_ALIVE = 1, LINUX_THREAD_GONE = 2 };

/* Page 0 of a block. */
constexpr uint64_t LINUX_BLOCK_THREAD = 128, LINUX_BLOCK_FAULT_STACK = 3072, LINUX_BLOCK_FRAME = 3072;
static_assert(sizeof(struct tess_message_page) <= LINUX_BLOCK_THREAD && LINUX_BLOCK_THREAD + sizeof(struct linux_thread) <= 1024);
static_assert(LINUX_BLOCK_FRAME % UPCALL_FRAME_SIZE == 0 && sizeof(struct tess_upcall_frame) <= UPCALL_FRAME_SIZE);

static inline struct tess_upcall_frame *linux_frame(void)
{
    struct tess_upcall_frame *frame;
#if defined(__x86_64__)
    __asm__("movq %%gs:%c1, %0" : "=r"(frame) : "i"(offsetof(struct tess_upcall_frame, self)));
#elif defined(__aarch64__)
    __asm__("mrs %0, tpidrro_el0" : "=r"(frame));
#elif defined(__riscv)
    __asm__("mv %0, tp" : "=r"(frame));
#endif
    return frame;
}

static inline struct linux_thread *linux_self(void)
{
#if defined(__x86_64__)
    struct linux_thread *thread;
    __asm__("movq %%gs:%c1, %0" : "=r"(thread) : "i"(offsetof(struct tess_upcall_frame, user[LINUX_FRAME_THREAD])));
    return thread;
#else
    return (struct linux_thread *)linux_frame()->user[LINUX_FRAME_THREAD];
#endif
}

static inline struct linux_process *linux_process(void) { return linux_self()->process; }

/* The way out of this call looks: at signals, or takes all registers from the frame. */
static inline void linux_thread_work(struct linux_thread *thread, uint64_t work)
{
    __atomic_fetch_or(&thread->frame->user[LINUX_FRAME_WORK], work, __ATOMIC_RELAXED);
}
/* Whether waiting now would end at once. For calls that spin or wait in several steps. */
static inline bool linux_is_interrupted(void) { return __atomic_load_n(&linux_frame()->pending, __ATOMIC_RELAXED) != 0; }
