/*
 * Scheduling: per-CPU run queues in order of eligible virtual deadlines (kernel/run_queue.h), stealing by idle CPUs, wake-up on an idle
 * CPU. No timer interrupt unless somebody else waits for the CPU; one that is set and not needed any more may still come, once.
 */
#pragma once
#include <kernel/run_queue.h>

constexpr uint32_t SCHED_SLICE_NS = 4'000'000; /* of a thread of the middle latency class, while others wait */

void sched_leased(uint32_t cpu); /* sched_usable says so now: who is not bound leaves the CPU */
bool sched_may_run_on(const struct thread *thread, uint32_t cpu);
void sched_ready(struct thread *thread);     /* its wait ended: here when nobody else waits here, else on the best CPU */
void sched_spread(struct thread *thread);    /* it starts or resumes: on an idle CPU if there is one */
void sched_switch_to(struct thread *thread); /* ready it on this CPU, ahead of everything: direct switch */
/* Direct switch from a thread that has just published its wait, at counter value `now`, to one whose wait is over; ends the kernel
 * entry like sched_exit(). */
struct thread *sched_hand_over(struct thread *from, struct thread *to, uint64_t now);
/* At the end of every kernel entry: the thread to resume. Never returns nullptr; idles when there is nothing. `current` may have
 * blocked. */
struct thread *sched_exit(void);
void sched_yield(void);
void sched_kick(uint32_t cpu); /* it looks whether who runs there goes on; may be this one */
/* Its affinity was changed: takes it off a CPU or queue where it may not be any more. */
void sched_affinity_changed(struct thread *thread);
[[noreturn]] void sched_start(void); /* enters the scheduler from the boot or a secondary CPU */
void sched_slice_expired(void);
