/*
 * One CPU's run queue: the fair threads in order of eligible virtual deadlines (kernel/eevdf.h), then those of the idle class in turn.
 * What runs is not among the waiting; its place in virtual time is (fair.running), and belongs to the CPU: a call and its reply pass it
 * on from thread to thread without touching the queue. So a server works on its caller's place, at least until its slice ends or it waits
 * for something else.
 */
#pragma once
#include <kernel/cell.h>
#include <kernel/eevdf.h>
#include <kernel/thread.h>
#include <kernel/throttle.h>

struct run_queue {
    struct spinlock lock;
    uint32_t cpu;
    struct eevdf_queue fair GUARDED_BY(&lock);
    struct list idle GUARDED_BY(&lock);      /* idle class */
    struct tree budgeted GUARDED_BY(&lock);  /* threads on a budget, fair.node, by `due`; ahead of all others. Its root: peek() */
    struct grant grant GUARDED_BY(&lock);    /* of who runs; count and end are its own CPU's to look at */
    uint64_t running_due GUARDED_BY(&lock);  /* of who runs on a sched object */
    struct cell *payer GUARDED_BY(&lock);    /* whose the running place is, nullptr: nobody runs; not counted, see run_queue_disown() */
    uint32_t payer_weight GUARDED_BY(&lock); /* with which it counts in the payer's load; 0: idle class */
    uint64_t since GUARDED_BY(&lock);        /* the counter up to which the running place was charged */
    uint64_t started GUARDED_BY(&lock);      /* the counter when who runs began; for turns of the idle class */
    bool is_used_up;                         /* who runs has had its request, or somebody more urgent came; under lock, peek() */
    uint32_t count; /* waiting, of all classes; changed under lock; peek(): an enqueue kicks whom an old value misled */

    /* Own CPU only. */
    struct thread *handoff;  /* runs next, without the queue */
    struct cell *left_payer; /* and whose it was */
    uint32_t left_weight;
    struct eevdf_running left; /* the place of the thread that just began to wait: for whom it hands over to; weight 0: none */
    bool must_give_way;        /* the slice is over or somebody more urgent came; consumed by sched_exit */
    bool must_yield;           /* it gives the rest of its time away */
    struct thread *loan_spent; /* who was refused, in no queue now: its loan is over */
    bool must_regrant;         /* who runs goes back into the queue, whoever waits */
    bool was_refused;          /* who was to run is held up for want of time */
    bool was_offered;          /* an idle CPU was told of the queue since the last pick */
    uint64_t armed_ticks;      /* for how long a slice the timer was set */
};

/* How long a thread runs at a time while others wait, by latency class. */
constexpr uint32_t LATENCY_CLASSES = 3;
extern uint64_t run_queue_request_ticks[LATENCY_CLASSES];

void run_queue_init(struct run_queue *queue, uint32_t cpu);
void run_queue_init_clock(void); /* the counter's rate is known; before any thread is made */

/* The thread becomes ready on this queue's CPU. True when it should run before what runs there. */
bool run_queue_join(struct run_queue *queue, struct thread *thread);
/* The running place is `thread`'s, which begins to wait: it keeps its lag. */
void run_queue_leave(struct run_queue *queue, struct thread *thread, uint64_t now);
/* The running thread was stopped and goes on waiting here. */
void run_queue_put_back(struct run_queue *queue, struct thread *thread, bool gives_up);
/* Nobody runs, or one who will not run again: the thread to run, its place the running one; nullptr when none waits, or (was_refused) the
 * one whose turn it was is held up now. */
struct thread *run_queue_pick(struct run_queue *queue, uint64_t now);
/* The handed-over `thread` runs: on the place that was left to it, or on its own. False (was_refused): it is held up instead. */
[[nodiscard]] bool run_queue_begin(struct run_queue *queue, struct thread *thread, uint64_t now);
/* Takes out one that may run on the CPU, or this one if it waits there; nullptr: none. */
struct thread *run_queue_steal(struct run_queue *queue, uint32_t for_cpu);
bool run_queue_remove(struct run_queue *queue, struct thread *thread);
/* The cell is going: whatever runs on a place that was its own runs on the root's from now on. */
void run_queue_disown(struct run_queue *queue, struct cell *cell);
/* So is the throttle. */
void run_queue_forget(struct run_queue *queue, const struct throttle *throttle);
/* Who runs on a place of the cell's is to get a new one soon; the CPU is to be kicked then. */
[[nodiscard]] bool run_queue_regrant(struct run_queue *queue, const struct cell *payer);
/* Ticks used here of a present grant. */
uint64_t run_queue_grant_used(struct run_queue *queue, const struct throttle *throttle);
uint64_t run_queue_cell_ticks(struct run_queue *queue, struct cell *cell);
/* These are for the own CPU. Who runs has had all that it was granted. */
static inline bool run_queue_is_grant_over(const struct run_queue *queue) NO_THREAD_SAFETY
{
    return __builtin_expect(queue->grant.is_held, false) && (int64_t)(arch_counter() - queue->grant.end) >= 0;
}
/* Its place is of another sched object than it runs on now. */
bool run_queue_is_misplaced(const struct run_queue *queue, const struct thread *thread);
static inline bool run_queue_has_limits(const struct run_queue *queue) NO_THREAD_SAFETY { return queue->grant.is_held; }
static inline bool run_queue_is_budgeted(const struct run_queue *queue) NO_THREAD_SAFETY /* runs or waits */
{
    return peek(queue->grant.sched) != nullptr || peek(queue->budgeted.root) != nullptr;
}
static inline bool run_queue_has_budgeted(const struct run_queue *queue) NO_THREAD_SAFETY { return peek(queue->budgeted.root) != nullptr; }
/* Ticks until who runs has had its request, or its grant; 0: it has. */
uint64_t run_queue_ticks_left(struct run_queue *queue);
