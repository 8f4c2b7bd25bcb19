/* Slow path of the spinlock: reads until the lock looks free, and only then writes, so that waiters leave the holder its cache line. */
#include <arch/arch.h>
#include <kernel/spinlock.h>
#include <kernel/trace.h>
#include <kernel/vspace.h>

[[clang::noinline]] void spinlock_wait(struct spinlock *lock, const struct lock_site *site) NO_THREAD_SAFETY
{
    lock_site_count_up(site);
    do {
        while (atomic_load_explicit(&lock->is_held, memory_order_relaxed) != 0) {
            smp_poll_for(lock);
            arch_cpu_relax();
        }
    } while (atomic_exchange_explicit(&lock->is_held, 1, memory_order_acquire) != 0);
}
