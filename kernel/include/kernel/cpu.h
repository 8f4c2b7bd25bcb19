/*
 * Per-CPU data. One struct cpu per CPU, found through arch_cpu() (GS base, TPIDR_EL1, tp). Only its own CPU writes a field
 * unless the field's comment names a lock or says atomic.
 *
 * The kernel has one stack per CPU and never blocks on it (docs/decisions/0001): a trap from user mode saves the user's
 * registers in the current thread's frame, runs to completion with interrupts off, and resumes whatever thread is current then.
 */
#pragma once
#include <kernel/types.h>
#include <stdatomic.h>

struct thread;
struct invocation;

struct cpu_stats {
    uint64_t idle_ns, idle_since_ns, switches, syscalls, interrupts, timer_interrupts, ipis, faults;
};

struct tess_trace_buffer;

/* What is recorded here (kernel/trace.h). mask and buffer are written by whoever starts and stops. */
struct cpu_trace {
    uint32_t mask;                            /* TRACE_CLASS_*; atomic */
    uint32_t why;                             /* enum trace_why: of the next switch */
    struct tess_trace_buffer *_Atomic buffer; /* direct-map address; nullptr = none */
    const struct spinlock *waited_for;        /* last lock that was held when this CPU came, and when it was last tried */
    uint64_t waited_at_ns;
    uint64_t thread_id, process_id; /* that runs here; 0 = idle */
};

struct cpu {
    /* Known to assembly by offset; arch/<arch>/entry.S and the static_asserts in kernel/sched/cpu.c. */
    struct cpu *self;         /* 0 */
    struct thread *current;   /* 8: the thread whose frame a trap from user mode saves into; nullptr while idle */
    uint64_t stack_top;       /* 16: this CPU's kernel stack */
    uint64_t arch_scratch[5]; /* 24..63: for the architecture's entry code */

    uint32_t exit_work; /* 64; EXIT_*: what sched_exit must look at before going back to user mode */

    uint32_t index; /* 0..cpu_count-1 */

    /* Epoch-based reclamation (cap/quiesce.c). Atomic: read by others. */
    _Atomic uint64_t epoch; /* 72; 0 = not in the kernel, else the global epoch seen at entry */

    uint64_t hw_id; /* 80 */
    void *arch;     /* the architecture's own per-CPU block */
    atomic_bool is_online;
    bool is_idle_waiting; /* inside arch_idle(): an interrupt from kernel mode is expected */

    struct run_queue *run_queue;     /* sched/ */
    struct timer_queue *timer_queue; /* time/ */
    struct page_cache *page_cache;   /* mm/ */
    struct reap_list *reap_list;     /* cap/ */
    struct invocation *invocation;   /* of the current thread; its fixed fields are set when the thread is switched to */
    struct cpu_stats stats;
    struct cpu_trace trace;
    uint64_t *tlb_requests;       /* smp/: inbox, one word per sending CPU; atomic */
    atomic_bool is_tlb_idle;      /* uses no user translations until it leaves idle */
    atomic_bool is_tlb_stale;     /* must flush then */
    uint32_t tlb_pending;         /* something is in the inbox; atomic */
    struct thread *fpu_thread;    /* whose state the FPU holds; nullptr = disabled */
    struct vspace *active_vspace; /* whose page table is loaded, nullptr = kernel only; others read it (smp/tlb.c) */
    uint64_t stopped_at;          /* arch_counter() when the last thread stopped here, until the next one starts; 0 = idle since */

    /* Counters; others peek(). */
    uint64_t *lock_contended; /* by lock site (spinlock.h), one page */
    uint64_t object_counts[32], object_pages[32];
};

enum : uint32_t {
    EXIT_RESCHEDULE = 1,   /* slice over, yield, or somebody became ready here */
    EXIT_REAP = 2,         /* the reap list is not empty */
    EXIT_QUIESCE = 4,      /* memory waits for a grace period */
    EXIT_TIMER = 8,        /* the earliest deadline may have changed */
    EXIT_TRACE = 1u << 31, /* stands as long as anything is traced: kernel/trace.h */
};

constexpr uint32_t CPU_OFFSET_CURRENT = 8;
constexpr uint32_t CPU_OFFSET_STACK_TOP = 16;
constexpr uint32_t CPU_OFFSET_SCRATCH = 24;
constexpr uint32_t CPU_OFFSET_EXIT_WORK = 64;
constexpr uint32_t CPU_OFFSET_EPOCH = 72;

extern struct cpu *cpus[CPU_MAX];
extern uint32_t cpu_count;
