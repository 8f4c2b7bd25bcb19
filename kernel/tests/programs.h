/*
 * Hostile programs that run on the kernel as a library (host.h): what they do is drawn from the test's source of choices, through
 * the real system call entry. After each generation everything is destroyed, and every page, object and frame must be back.
 */
#pragma once
#include <kernel/thread.h>

/* Given by the test. `state` belongs to the thread that draws. */
uint64_t next_random(uint64_t *state);
uint64_t below(uint64_t *state, uint64_t limit);
extern uint64_t programs_seed; /* of the threads' states */

void programs_boot(uint32_t count_cpus);
/* In a kernel entry: makes a generation and starts its threads; takes it away. */
void programs_begin(void);
void programs_end(void);
bool programs_have_ended(void); /* after programs_end(), in a kernel entry; panics when something is missing */
/* For host_cpu_run(). */
vaddr_t programs_user(struct thread *thread);
void programs_report(void); /* prints what the calls said */

extern _Atomic uint64_t programs_calls; /* of this generation */
extern _Atomic bool programs_must_end;  /* set by the test: every thread ends at its next turn */
