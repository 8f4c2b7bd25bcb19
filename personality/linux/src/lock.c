/* Locks of our own. While a thread waits for one, an interrupt does not end the wait (frame->mask): whoever holds it gives it back soon. */
#include <linux/lock.h>
#include <linux/process.h>
#include <tess/invoke.h>
#include <tess/stub/vspace.h>

void linux_sleep(_Atomic uint32_t *word, uint32_t expected)
{
    struct tess_upcall_frame *frame = linux_frame();
    uint32_t mask = frame->mask;
    frame->mask = 1;
    status_t status = tess_vspace_futex_wait(linux_process()->vspace, (uint64_t)word, expected, UINT32_MAX, DEADLINE_INFINITE);
    (void)status; /* the caller looks at the word */
    frame->mask = mask;
}

void linux_wake(_Atomic uint32_t *word, uint32_t count)
{
    uint32_t woken;
    status_t status = tess_vspace_futex_wake(linux_process()->vspace, (uint64_t)word, count, UINT32_MAX, &woken);
    (void)status;
}

void linux_lock(struct linux_lock *lock)
{
    uint32_t found = 0;
    if (__c11_atomic_compare_exchange_strong(&lock->state, &found, 1, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        return;
    }
    while (__c11_atomic_exchange(&lock->state, 2, __ATOMIC_ACQUIRE) != 0) {
        linux_sleep(&lock->state, 2);
    }
}

void linux_unlock(struct linux_lock *lock)
{
    if (__c11_atomic_exchange(&lock->state, 0, __ATOMIC_RELEASE) == 2) {
        linux_wake(&lock->state, 1);
    }
}
