/* CPUs that are kept for the threads of a lease (sched/cpu_lease.c). */
#pragma once
#include <kernel/thread.h>

/* CPUs that are for everybody, as an affinity mask: all bits set until there is a first lease. */
extern _Atomic uint64_t sched_usable;
uint64_t sched_online_mask(void); /* as such a mask */
extern const struct object_class cpu_lease_class;
void cpu_lease_thread_gone(struct thread *thread); /* it ended: its lease lets go of it */
