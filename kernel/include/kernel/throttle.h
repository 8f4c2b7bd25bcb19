/*
 * Throttles: a budget (kernel/budget.h) that threads run under on any CPU, of a sched object or of a cell with a quota.
 *
 * Who runs on a CPU (its run queue's running place) holds a grant of every level it is under: of its sched object if it has one, and of
 * each cell with a quota round whoever pays. The timer is set to the end of the shortest, so nobody runs longer than was granted but for the
 * time that the interrupt takes; when the place ends, what was used is settled and the rest comes back. Who gets no grant is taken out of
 * the run queue and waits in `waiting` (thread->throttled_by says where) until the timer finds time back. Nobody ticks.
 *
 * Somebody who is told to end or to stop passes without a grant: it does not reach user mode.
 */
#pragma once
#include <kernel/budget.h>
#include <kernel/object.h>
#include <kernel/timer.h>

struct thread;
struct sched;
struct cell;

struct throttle {
    struct spinlock lock; /* after a run queue's, before a timer queue's */
    struct budget budget GUARDED_BY(&lock);
    struct list waiting GUARDED_BY(&lock); /* threads, run_node */
    uint64_t depletions GUARDED_BY(&lock);
    bool is_depleted GUARDED_BY(&lock);
    bool is_notice_due GUARDED_BY(&lock); /* who watches the object is to be told, by the timer */
    bool is_open;                         /* nobody is held up any more; under lock, peek() */
    struct timer timer;                   /* armed and cancelled under lock */
    struct object *object;                /* that it is part of */
};

constexpr uint64_t GRANT_FOREVER = 1ull << 62; /* ticks: none of the levels held it to anything */
constexpr uint32_t GRANT_LEVELS = 1 + 8;       /* a sched object, and CELL_DEPTH_MAX cells */
struct grant {
    bool is_held;                          /* by a place with a sched object or quotas */
    uint32_t count;                        /* of levels */
    struct throttle *levels[GRANT_LEVELS]; /* not counted: see grant_forget() */
    uint64_t ticks[GRANT_LEVELS];
    uint64_t begin, end;       /* counter */
    const struct sched *sched; /* peek() */
};

uint64_t throttle_ticks(uint64_t ns);
/* Before anybody else sees it, or (change) with the use so far. capacity_ns <= ways * period_ns. */
void throttle_init(struct throttle *throttle, struct object *object);
void throttle_change(struct throttle *throttle, uint64_t capacity_ns, uint64_t period_ns, uint32_t ways);
/* Whoever waits goes on, and nobody is held up from now on. Before the grace period that precedes its object's end. No lock is held. */
void throttle_open(struct throttle *throttle);
/* The thread, if it is held up, is so no longer: the caller readies it. */
[[nodiscard]] bool throttle_release(struct thread *thread);

void throttle_describe(struct throttle *throttle, uint64_t *out_left_ns, uint64_t *out_used_ns, uint64_t *out_depletions);

/* With the run queue's lock: grants of all levels from `now` on. False: the thread (if any) is held up now, and is not the caller's. */
[[nodiscard]] bool grant_take(struct grant *grant, struct sched *sched, struct cell *payer, struct thread *thread, uint64_t now);
/* The place ended at `now`. */
void grant_settle(struct grant *grant, uint64_t now);
/* The level's object goes: the running place goes on without limits until it is put back. */
void grant_forget(struct grant *grant, const struct throttle *throttle, uint64_t now);
