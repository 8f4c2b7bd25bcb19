/*
 * The sched object: a budget of CPU time per period that threads run on, ahead of all fair ones (decision 0010).
 *
 * thread->runs_on is what a thread runs on now: the sched object it is bound to, or nullptr: it is scheduled as fair or idle. It is looked at
 * when the thread is about to run; whoever changes it then looks where the thread is (sched_budget_changed). Budgeted threads of one CPU
 * run in order of their deadlines: a period after they became ready, or after the last one passed.
 *
 * A binding counts nothing: when the object dies (destroyed, or its last handle gone) its threads are fair ones again. What a cell gives
 * out to sched objects is at most what it was given (cell->sched_limit), of which the root has 95 % of every CPU.
 */
#pragma once
#include <kernel/thread.h>
#include <kernel/throttle.h>

constexpr uint64_t SCHED_PPM = 1'000'000;    /* utilisation: parts of one CPU */
constexpr uint64_t SCHED_ROOT_PPM = 950'000; /* of each CPU: the rest stays with fair threads */

struct sched {
    struct object object;
    struct throttle throttle;
    struct cell *cell; /* pays, and admitted it; counted */
    uint64_t budget_ns, period_ns, period_ticks;
    uint64_t ppm;                /* admission_lock; 0: given back */
    struct list threads;         /* bind_lock: bound, sched_node; not counted: a thread that ends leaves */
    uint32_t thread_count, ways; /* bind_lock; ways: as many as threads were ever bound at a time, at most all CPUs */
};

extern const struct object_class sched_class;
void sched_thread_gone(struct thread *thread); /* it ended */
/* What runs_on said is looked at anew: who waits for its turn, is held up or runs. */
void sched_budget_changed(struct thread *thread);

/* ---- Lending (decision 0010) ----
 * While a thread answers a call that it received over an endpoint it runs on what its caller runs on, with the caller's deadline, through
 * at most SCHED_LOAN_DEPTH calls in each other. The loan ends with the debt: at the answer, when the reply is kept, when the caller
 * gives up or ends; with it what was lent on. It also ends when the budget is used up: the server then goes on on its own time. */
constexpr uint32_t SCHED_LOAN_DEPTH = 8;

void sched_lend_budgeted(struct thread *from, struct thread *to);
/* `to` owes `from` a reply (from->awaits and to->owed say so), and nobody can end that wait yet. to: claimed, or the current thread. */
static inline void sched_lend(struct thread *from, struct thread *to)
{
    if (__builtin_expect(peek(from->runs_on) != nullptr, false))
        sched_lend_budgeted(from, to);
}
void sched_lend_take_back(struct thread *thread);
/* It owes nothing any more. No lock is held but, maybe, an endpoint's. */
static inline void sched_lend_end(struct thread *thread)
{
    if (__builtin_expect(peek(thread->loan) != nullptr, false))
        sched_lend_take_back(thread);
}

/* The cell gives so much of its share away (or takes it back); false: it has not enough left. */
[[nodiscard]] bool cell_give_ppm(struct cell *cell, int64_t ppm);
