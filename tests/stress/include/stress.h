/* What the files of the stress program share. */
#pragma once
#include <guest.h>

/* One worker: repeats `step` until the time is over. Steps have bounded waits only. */
struct worker {
    struct std_thread thread;
    void (*step)(struct worker *worker);
    const char *name;
    uint64_t seed;
    _Atomic uint64_t steps;
    _Atomic uint64_t step_began_ns; /* for the keeper: a step that takes too long is a hang */
};

struct job {
    const char *name;
    void (*step)(struct worker *worker);
};
extern const struct job jobs[];
extern const uint32_t job_count;

static inline uint64_t any(struct worker *worker, uint64_t limit) { return random_next(&worker->seed) % limit; }

/* waits.c */
void step_pairs(struct worker *worker);
void step_events(struct worker *worker);
void step_interrupts(struct worker *worker);

/* The keeper's echo server: a ring with late answers (churn.c). */
void server_open(void);
void server_close(void);

int32_t role_idle(void);
int32_t role_busy(void);
int32_t role_caller(void);
int32_t role_threads(void);
int32_t role_crash(void);
