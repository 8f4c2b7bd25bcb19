/* Slow path of the ticket lock. */
#include <arch/arch.h>
#include <kernel/spinlock.h>
#include <kernel/vspace.h>

void spinlock_wait(struct spinlock *lock, uint16_t ticket) NO_THREAD_SAFETY
{
    while (atomic_load_explicit(&lock->owner, memory_order_acquire) != ticket) {
        smp_poll();
        arch_cpu_relax();
    }
}
