/*
 * Spinlock: whoever finds it free takes it, in no order (docs/decisions/0004 says why no queue). The kernel runs with interrupts
 * off, so a lock is never taken twice by one CPU. While waiting, a CPU serves TLB shootdown requests (smp_poll), so that a holder
 * which waits for its shootdown is never waited for in a circle. Lock order: docs/locking.md.
 */
#pragma once
#include <kernel/types.h>
#include <stdatomic.h>

#if defined(__clang__)
#define CAPABILITY(x) __attribute__((capability(x)))
#define ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define TRY_ACQUIRES(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define GUARDED_BY(x) __attribute__((guarded_by(x)))
#define NO_THREAD_SAFETY __attribute__((no_thread_safety_analysis))
#else
#define CAPABILITY(x)
#define ACQUIRES(...)
#define TRY_ACQUIRES(...)
#define RELEASES(...)
#define REQUIRES(...)
#define GUARDED_BY(x)
#define NO_THREAD_SAFETY
#endif

struct CAPABILITY("spinlock") spinlock {
    _Atomic uint32_t is_held;
};

/* Keeps the registers that others keep for themselves, where the compiler can: what calls it in the rarest case saves nothing for it. */
#if defined(__riscv)
void spinlock_wait(struct spinlock *lock);
#else
[[clang::preserve_most]] void spinlock_wait(struct spinlock *lock);
#endif

static inline void spinlock_acquire(struct spinlock *lock) ACQUIRES(lock) NO_THREAD_SAFETY
{
    if (atomic_exchange_explicit(&lock->is_held, 1, memory_order_acquire) != 0)
        spinlock_wait(lock);
}

/* True when it was free and now is the caller's. */
static inline bool spinlock_try_acquire(struct spinlock *lock) TRY_ACQUIRES(true, lock) NO_THREAD_SAFETY
{
    return atomic_exchange_explicit(&lock->is_held, 1, memory_order_acquire) == 0;
}

static inline void spinlock_release(struct spinlock *lock) RELEASES(lock) NO_THREAD_SAFETY
{
    atomic_store_explicit(&lock->is_held, 0, memory_order_release);
}

/* For a word that others look at without the lock of those who change it: they peek(), whoever changes it uses peekable_set(). Plain
 * loads and stores for the processor; what was seen may be old already, and must be right or harmless all the same. */
#define peek(word) __atomic_load_n(&(word), __ATOMIC_RELAXED)
#define peekable_set(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELAXED)
