/*
 * Ticket spinlock. The kernel runs with interrupts off, so a lock is never taken twice by one CPU. While waiting, a CPU serves
 * TLB shootdown requests (smp_poll), so that a holder which waits for its shootdown is never waited for in a circle.
 * Lock order: docs/locking.md.
 */
#pragma once
#include <kernel/types.h>
#include <stdatomic.h>

#if defined(__clang__)
#define CAPABILITY(x) __attribute__((capability(x)))
#define ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define GUARDED_BY(x) __attribute__((guarded_by(x)))
#define NO_THREAD_SAFETY __attribute__((no_thread_safety_analysis))
#else
#define CAPABILITY(x)
#define ACQUIRES(...)
#define RELEASES(...)
#define REQUIRES(...)
#define GUARDED_BY(x)
#define NO_THREAD_SAFETY
#endif

struct CAPABILITY("spinlock") spinlock {
    _Atomic uint16_t next;
    _Atomic uint16_t owner;
};

void spinlock_wait(struct spinlock *lock, uint16_t ticket);

static inline void spinlock_acquire(struct spinlock *lock) ACQUIRES(lock) NO_THREAD_SAFETY
{
    uint16_t ticket = atomic_fetch_add_explicit(&lock->next, 1, memory_order_relaxed);
    if (atomic_load_explicit(&lock->owner, memory_order_acquire) != ticket)
        spinlock_wait(lock, ticket);
}

static inline void spinlock_release(struct spinlock *lock) RELEASES(lock) NO_THREAD_SAFETY
{
    uint16_t owner = atomic_load_explicit(&lock->owner, memory_order_relaxed);
    atomic_store_explicit(&lock->owner, (uint16_t)(owner + 1), memory_order_release);
}
