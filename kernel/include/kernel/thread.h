/*
 * Threads and how they wait.
 *
 * wait_word = sequence << 8 | state. A thread waits by publishing (sequence + 1, WAIT_BLOCKED); whoever wants to end the wait
 * (event, peer, timeout, kill, interrupt) first wins the compare-and-swap to WAIT_WOKEN, then alone owns the thread: it unlinks it from
 * its queue, disarms its timer, writes its result registers and makes it ready. (thread, sequence) names one wait for ever, so a
 * late reply or an old timer can never end a later wait. Because the kernel never blocks on a stack, a published thread may run
 * on another CPU at once: after publishing, its old CPU does not touch it.
 */
#pragma once
#include <arch/arch.h>
#include <kernel/eevdf.h>
#include <kernel/object.h>
#include <kernel/timer.h>

struct process;
struct cell;
struct memory;
struct ring;
struct clone_work;

enum wait_state : uint8_t { WAIT_NONE, WAIT_BLOCKED, WAIT_WOKEN };
enum : uint32_t {
    THREAD_PENDING_KILL = 1,
    THREAD_PENDING_SUSPEND = 2,
    THREAD_PENDING_INTERRUPT = 4,
    THREAD_PENDING_EVENT = 8,
    THREAD_PENDING_LEASED = 16, /* never a hand-over by the short way */
    THREAD_PENDING_BUDGET = 32, /* nor is it: runs_on is set */
    THREAD_PENDING_FAULT = 64   /* waits, or waited, for a page (kernel/pager.h) */
};

enum : uint32_t { THREAD_LONG_WAY_FPU = 1, THREAD_LONG_WAY_BUDGET = 2 /* as THREAD_PENDING_BUDGET */ };

constexpr uint32_t THREAD_WEIGHT_DEFAULT = 1024;

struct wait_queue {
    struct spinlock *lock; /* the owner's */
    struct list waiters;   /* struct waiter, node */
    uint32_t count;        /* of an endpoint's callers (others do not keep it); lock */
};

static inline void wait_queue_remove(struct wait_queue *queue, struct list_node *node)
{
    list_remove(node);
    queue->count--;
}

/* Who stands in a wait_queue: a thread, or an operation that a ring submitted (kernel/ipc.h). */
struct waiter {
    struct list_node node;
    bool is_operation;
};

/*
 * A reply that is owed, kept by whoever took the call: a server's thread, a ring's slot, or a reply object. Not counted: the caller waits as long as it
 * is named here, and whoever ends its wait in another way takes it out of here first (debt_cancel), having claimed the wait. The
 * caller's `awaits` points back here, changed only by who has claimed its wait, or before that is published.
 */
enum debt_kind : uint8_t { DEBT_THREAD, DEBT_CALL, DEBT_REPLY };
struct debt {
    struct waiter *caller; /* nullptr: none; debt_nobody's: it gave up. peek() */
    uint64_t sequence;     /* of the caller's wait */
    struct spinlock *lock; /* of the holder; the owner thread itself takes a short way without */
    enum debt_kind kind;
};

struct thread {
    struct arch_frame frame; /* must be first: the entry code saves user registers here */

    /* Upcalls (kernel/upcall.h). The entry code knows these five by their offsets. */
    uint64_t native_limit;            /* system calls made up to here are not native; 0 = all are */
    struct tess_upcall_frame *upcall; /* direct-map address of the pinned frame; nullptr = none. lock, and the thread itself */
    uint64_t upcall_entry;
    uint64_t upcall_address;  /* where user code sees the frame */
    _Atomic uint32_t pending; /* THREAD_PENDING_* */
    uint64_t upcall_fault_entry;
    struct memory *upcall_memory; /* counted; its page upcall_index is pinned */
    uint64_t upcall_index;
    struct thread_event *event; /* kernel/handler.h; kept from the first one on */
    bool is_in_event;           /* lock; the frame is a call's, its own is in `event` */

    struct object object;

    /* Waiting. wait_queue, wait_object, wait_arg and awaits are written before publishing, read by the winner of the swap. */
    _Atomic uint64_t wait_word;
    struct wait_queue *wait_queue; /* nullptr: linked nowhere (waits for a reply, sleeps); of a futex: changes under its lock, peek() */
    struct object *wait_object;    /* counted: keeps the queue's memory; nullptr if the object's end wakes its waiters */
    union {
        struct list_node wait_node;
        struct waiter waiter;
    };
    uint64_t wait_arg;
    uint64_t wait_bits; /* ipc/futex.c */
    uint64_t wait_deadline_ns;
    struct timer timer;

    /* Of the last wait for a page: what its result went over, and what came of it (kernel/pager.h). */
    uint64_t fault_saved, fault_sequence, fault_key;
    vaddr_t fault_address;
    uint32_t fault_access;
    status_t fault_status;

    /* Messages. */
    struct tess_message_page *message; /* direct-map address of the pinned page */
    struct memory *message_memory;     /* counted; its page message_index is pinned */
    uint64_t message_index;
    struct debt owed;             /* the call this thread is to answer; its lock: `lock` */
    struct debt *awaits;          /* where the reply is owed that this thread waits for; nullptr: none, or nobody took the call */
    uint64_t call_op, call_badge; /* of the message it waits to have taken: op with rights << 32 */

    /* Scheduling. */
    struct spinlock lock; /* is_parked, against resume and kill; owed */
    bool is_parked GUARDED_BY(&lock);
    bool is_started;      /* set once, under lock */
    bool is_finished;     /* set once; peek() */
    bool was_killed;      /* process->lock: process_end told it */
    _Atomic uint32_t cpu; /* runs or last ran on */
    _Atomic bool is_running;
    struct eevdf_entity fair;  /* its place in a run queue, or its lag; that queue's lock, or who is about to enqueue it */
    struct list_node run_node; /* run queue, idle class; its lock */
    uint32_t queued_on;        /* CPU + 1, 0: in no run queue; that queue's lock, peek() */
    uint32_t counted;          /* with which weight it counts in its cell's load while it waits; 0: idle class; that lock */
    uint32_t weight;           /* these three: peek(), counted when it next joins a queue */
    uint8_t policy;            /* SCHED_* */
    uint8_t latency;           /* class */
    struct cpu_lease *lease;   /* bound to; this and its node: sched/cpu_lease.c's lock */
    struct list_node lease_node;
    uint32_t lease_cpu;           /* that CPU + 1; 0: none; peek() */
    uint64_t affinity;            /* CPUs 0..63 (bit 63 stands for the rest); peek() */
    uint64_t run_start, cpu_time; /* counter ticks */
    struct sched *runs_on;        /* kernel/sched_budget.h; under lock, peek() */
    struct sched *sched;          /* bound to; bind_lock, and its node */
    struct list_node sched_node;
    struct sched *loan;            /* of whom it answers (sched_lend), or nullptr; counted; lock, peek() */
    uint32_t loan_depth;           /* lock, peek() */
    _Atomic uint32_t long_way;     /* THREAD_LONG_WAY_*: why it does not call and answer by the short way */
    struct throttle *throttled_by; /* waits there for time; under that lock, peek() */
    uint64_t due;                  /* counter: its deadline while runs_on is set; as fair */
    bool is_budgeted;              /* waits in the run queue's tree `budgeted`; that lock */
    void *fpu;                     /* save area, or nullptr: no FPU */

    struct process *process;       /* counted */
    struct cell *charged_to;       /* CELL_LIMIT_CALLS; counted */
    struct clone_work *clone_work; /* a clone that its call has not finished (clone.h); nullptr = none */
    struct list_node process_node;
    uint64_t tls;
    uint64_t memory_wait_until_ns; /* how long it may wait for memory on its way back; syscall/syscall.c */
};

extern const struct object_class thread_class;

static inline struct thread *thread_from_object(struct object *object) { return container_of(object, struct thread, object); }

/* It stops running on this CPU: its time is added up. Returns the counter. */
static inline uint64_t thread_stop_clock(struct thread *thread)
{
    uint64_t now = arch_counter();
    thread->cpu_time += now - thread->run_start;
    return now;
}

/* Begins a wait of the current thread: the queue's lock (if any) is held, the caller links the thread and then calls this.
 * From here on the thread may run elsewhere, and even wait for something else: return STATUS_BLOCKED. Returns the wait's sequence. */
uint64_t thread_wait_publish(struct thread *thread, struct wait_queue *queue, struct object *object, uint64_t deadline_ns);
/* The last step, without a deadline, for a thread without FPU that stops at counter value `now`. */
[[gnu::always_inline]] static inline void thread_wait_publish_at(struct thread *thread, struct wait_queue *queue, struct object *object,
                                                                 uint64_t now, uint64_t *out_sequence)
{
    uint64_t sequence = (atomic_load_explicit(&thread->wait_word, memory_order_relaxed) >> 8) + 1;
    thread->wait_queue = queue;
    thread->wait_object = object;
    thread->wait_deadline_ns = DEADLINE_INFINITE;
    thread->cpu_time += now - thread->run_start;
    atomic_store_explicit(&thread->is_running, false, memory_order_relaxed);
    *out_sequence = sequence;
    atomic_store_explicit(&thread->wait_word, sequence << 8 | WAIT_BLOCKED, memory_order_release);
}
/* The same for one that hands over at once (sched_hand_over). Returns the counter. */
[[gnu::always_inline]] static inline uint64_t thread_wait_publish_short(struct thread *thread, struct wait_queue *queue,
                                                                        uint64_t *out_sequence)
{
    uint64_t now = arch_counter();
    thread_wait_publish_at(thread, queue, nullptr, now, out_sequence);
    return now;
}
/* After publishing, with no lock held: notices a kill or interrupt that came just before. */
void thread_wait_recheck(struct thread *thread);
/* Tries to become the one who ends the wait (thread, sequence); `any` takes the present wait whatever its sequence. */
static inline bool thread_wait_claim(struct thread *thread, uint64_t sequence)
{
    uint64_t expected = sequence << 8 | WAIT_BLOCKED;
    return atomic_compare_exchange_strong_explicit(&thread->wait_word, &expected, sequence << 8 | WAIT_WOKEN, memory_order_acq_rel,
                                                   memory_order_relaxed);
}
static inline bool thread_wait_claim_any(struct thread *thread)
{
    uint64_t word = atomic_load_explicit(&thread->wait_word, memory_order_relaxed);
    return (word & 0xFF) == WAIT_BLOCKED && thread_wait_claim(thread, word >> 8);
}
static inline uint64_t thread_wait_sequence(struct thread *thread)
{
    return atomic_load_explicit(&thread->wait_word, memory_order_acquire) >> 8;
}
/* After a successful claim and after unlinking: disarms the timer, drops wait_object, sets the status. The thread is then the
 * caller's: sched_ready() or a direct switch. */
void thread_wait_finish(struct thread *thread, status_t status);
/* Undoes a claim: the wait goes on, now linked nowhere (its message was taken, it waits for the reply). */
void thread_wait_unclaim(struct thread *thread);
/* Undoes a claim with the thread back on its queue, exactly as it was, in two steps: the first with the queue's lock held, so that
 * nobody finds the thread queued but not waiting; the second (with the first's result) with no lock held. */
uint64_t thread_wait_restore_locked(struct thread *thread);
void thread_wait_restored(struct thread *thread, uint64_t sequence);
/* Ends whatever the thread waits for with `status` (timeout, kill, interrupt); false when it does not wait. */
bool thread_wait_cancel(struct thread *thread, status_t status);
/* The current thread was interrupted while it did not wait: consumes that. */
bool thread_take_interrupt(struct thread *thread);
/* Ends the wait of all who are in the queue, which nobody joins any more, with `status`. No lock is held. */
void wait_queue_end(struct wait_queue *queue, status_t status);

[[nodiscard]] status_t thread_create(struct untyped *untyped, struct process *process, struct memory *message, uint64_t offset,
                                     uint32_t flags, struct thread **out_thread);
/* False when it was started before: nothing changed. */
bool thread_start_at(struct thread *thread, uint64_t pc, uint64_t sp, uint64_t arg0, uint64_t arg1, uint64_t tls);
/* The same with all registers. */
bool thread_start_with(struct thread *thread, const struct arch_frame *frame, uint64_t tls);
void thread_kill(struct thread *thread);   /* asynchronous: it ends when it next would run */
void thread_finish(struct thread *thread); /* by the scheduler: the thread will never run again */
