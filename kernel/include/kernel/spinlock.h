/*
 * Spinlock: whoever finds it free takes it, in no order (docs/decisions/0004 says why no queue). The kernel runs with interrupts
 * off, so a lock is never taken twice by one CPU. While waiting, a CPU serves TLB shootdown requests (smp_poll), so that a holder
 * which waits for its shootdown is never waited for in a circle. Lock order: docs/locking.md.
 */
#pragma once
#include <arch/arch.h>
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

/* For a word that others look at without the lock of those who change it: they peek(), whoever changes it uses peekable_set(). Plain
 * loads and stores for the processor; what was seen may be old already, and must be right or harmless all the same. */
#define peek(word) __atomic_load_n(&(word), __ATOMIC_RELAXED)
#define peekable_set(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELAXED)

struct CAPABILITY("spinlock") spinlock {
    _Atomic uint32_t is_held;
};

/* Every place that takes a lock counts how often it found it held; each CPU for itself (cpu->lock_contended, system.lock). */
struct lock_site {
    const char *name; /* file, line and what is locked */
};
extern const struct lock_site lock_sites_start[] __asm__("__start_lock_sites"), lock_sites_end[] __asm__("__stop_lock_sites");
constexpr uint32_t LOCK_SITES_MAX = PAGE_SIZE / sizeof(uint64_t);
static inline uint32_t lock_site_count(void) { return (uint32_t)(lock_sites_end - lock_sites_start); }

#define LOCK_SITE_LINE(line) #line
#define LOCK_SITE_NAME(line, lock) __FILE_NAME__ ":" LOCK_SITE_LINE(line) " " #lock
#define LOCK_SITE(lock)                                                                                                                    \
    ({                                                                                                                                     \
        [[gnu::section("lock_sites"), gnu::used]] static const struct lock_site lock_site = {LOCK_SITE_NAME(__LINE__, lock)};              \
        &lock_site;                                                                                                                        \
    })

static inline void lock_site_count_up(const struct lock_site *site)
{
    uint64_t *count = &arch_cpu()->lock_contended[site - lock_sites_start];
    peekable_set(*count, *count + 1);
}

/* Keeps the registers that others keep for themselves, where the compiler can: what calls it in the rarest case saves nothing for it. */
#if defined(__riscv)
void spinlock_wait(struct spinlock *lock, const struct lock_site *site);
#else
[[clang::preserve_most]] void spinlock_wait(struct spinlock *lock, const struct lock_site *site);
#endif

#define spinlock_acquire(lock) spinlock_acquire_at(lock, LOCK_SITE(lock))
static inline void spinlock_acquire_at(struct spinlock *lock, const struct lock_site *site) ACQUIRES(lock) NO_THREAD_SAFETY
{
    if (atomic_exchange_explicit(&lock->is_held, 1, memory_order_acquire) != 0)
        spinlock_wait(lock, site);
}

/* True when it was free and now is the caller's. */
#define spinlock_try_acquire(lock) spinlock_try_acquire_at(lock, LOCK_SITE(lock))
static inline bool spinlock_try_acquire_at(struct spinlock *lock, const struct lock_site *site) TRY_ACQUIRES(true, lock) NO_THREAD_SAFETY
{
    bool is_taken = atomic_exchange_explicit(&lock->is_held, 1, memory_order_acquire) == 0;
    if (!is_taken)
        lock_site_count_up(site);
    return is_taken;
}

static inline void spinlock_release(struct spinlock *lock) RELEASES(lock) NO_THREAD_SAFETY
{
    atomic_store_explicit(&lock->is_held, 0, memory_order_release);
}
