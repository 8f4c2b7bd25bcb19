/*
 * Scheduling: per-CPU first-in first-out run queues with time slices, stealing by idle CPUs, wake-up on an idle CPU. No timer
 * interrupt unless somebody else waits for the CPU.
 */
#pragma once
#include <kernel/thread.h>

struct run_queue {
    struct spinlock lock;
    struct list threads GUARDED_BY(&lock);
    uint32_t count;         /* changed under lock; peek(): an enqueue kicks whom an old value misled */
    struct thread *handoff; /* own CPU only: runs next, without the queue */
    bool must_give_way;     /* own CPU only: set by sched_yield and slice end, consumed by sched_exit */
    bool was_offered;       /* own CPU only: an idle CPU was told of the queue since the last pick */
};

constexpr uint64_t SCHED_SLICE_NS = 4'000'000;
constexpr uint64_t SCHED_OFFER_NS = 1'000'000; /* how long a thread waits here while another CPU idles */

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
/* Its affinity was changed: takes it off a CPU or queue where it may not be any more. */
void sched_affinity_changed(struct thread *thread);
[[noreturn]] void sched_start(void); /* enters the scheduler from the boot or a secondary CPU */
void sched_slice_expired(void);
