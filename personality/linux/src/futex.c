/* futex(2) on the kernel's: words are known by their memory, so private and shared ones are the same. */
#include <linux/call.h>
#include <linux/time.h>
#include <tess/invoke.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

enum : uint32_t {
    WAIT = 0,
    WAKE = 1,
    REQUEUE = 3,
    CMP_REQUEUE = 4,
    WAKE_OP = 5,
    LOCK_PI = 6,
    UNLOCK_PI = 7,
    TRYLOCK_PI = 8,
    WAIT_BITSET = 9,
    WAKE_BITSET = 10,
    LOCK_PI2 = 13,
    PRIVATE = 128,
    REALTIME = 256,
};

static int64_t wait_until(uint64_t address, uint32_t expected, uint32_t bits, uint64_t deadline)
{
    status_t status = tess_vspace_futex_wait(linux_process()->vspace, address, expected, bits, deadline);
    return status == ERROR_PEER_DIED ? -LINUX_EFAULT : linux_error(status);
}

/* Ended by a signal without a handler, it goes on to the same time. */
static int64_t restart(struct linux_thread *thread)
{
    int64_t result = wait_until(thread->restart_words[0], (uint32_t)thread->restart_words[1], (uint32_t)thread->restart_words[2],
                                thread->restart_deadline);
    return result == -LINUX_ERESTARTSYS ? -LINUX_ERESTART_RESTARTBLOCK : result;
}

static int64_t wait(uint64_t address, uint32_t expected, uint32_t bits, uint64_t timeout, bool is_absolute, bool is_wall)
{
    uint64_t deadline = DEADLINE_INFINITE, ns;
    if (bits == 0) {
        return -LINUX_EINVAL;
    }
    if (timeout != 0) {
        int64_t result = linux_time_from_user(timeout, &ns);
        if (result != 0) {
            return result;
        }
        deadline = !is_absolute ? linux_deadline_after(ns) : is_wall ? linux_deadline_at_wall(ns) : ns;
    }
    int64_t result = wait_until(address, expected, bits, deadline);
    if (result == -LINUX_ERESTARTSYS && timeout != 0) {
        struct linux_thread *thread = linux_self();
        thread->restart = restart;
        thread->restart_deadline = deadline;
        thread->restart_words[0] = address;
        thread->restart_words[1] = expected;
        thread->restart_words[2] = bits;
        return -LINUX_ERESTART_RESTARTBLOCK;
    }
    return result;
}

static int64_t wake(uint64_t address, uint32_t count, uint32_t bits)
{
    uint32_t woken, sum = 0;
    if (bits == 0) {
        return -LINUX_EINVAL;
    }
    count = max_u32(count, 1) > INT32_MAX ? INT32_MAX : max_u32(count, 1); /* Linux wakes one for 0, too */
    do {
        status_t status = tess_vspace_futex_wake(linux_process()->vspace, address, count - sum, bits, &woken);
        if (status != OK) {
            return linux_error(status);
        }
        sum += woken;
    } while (woken == FUTEX_BATCH && sum < count);
    return sum;
}

static int64_t requeue(uint64_t from, uint64_t to, uint64_t expected, uint32_t count_wake, uint32_t count_requeue, bool is_counted)
{
    uint64_t woken = 0, moved = 0;
    if ((int32_t)count_wake < 0 || (int32_t)count_requeue < 0) {
        return -LINUX_EINVAL;
    }
    for (;;) {
        uint32_t now_woken, now_moved;
        uint32_t part_wake = (uint32_t)min_u64(count_wake - woken, FUTEX_BATCH),
                 part = (uint32_t)min_u64(count_requeue - moved, FUTEX_BATCH);
        status_t status = tess_vspace_futex_requeue(linux_process()->vspace, from, expected, to, part_wake, part, &now_woken, &now_moved);
        if (status != OK) {
            return linux_error(status);
        }
        woken += now_woken;
        moved += now_moved;
        bool is_full = (now_woken == part_wake && part_wake == FUTEX_BATCH) || (now_moved == part && part == FUTEX_BATCH);
        if (!is_full || (woken == count_wake && moved == count_requeue)) {
            return (int64_t)(is_counted ? woken + moved : woken);
        }
        expected = FUTEX_ANY; /* the first step found it as it was to be */
    }
}

/* FUTEX_WAKE_OP: op (4), comparison (4), two arguments of 12 bits. */
static int64_t wake_op(uint64_t address, uint64_t address2, uint32_t count, uint32_t count2, uint32_t operation)
{
    uint32_t kind = operation >> 28 & 7, comparison = operation >> 24 & 15, old, found, next;
    uint32_t argument = (uint32_t)((int32_t)(operation << 8) >> 20), against = (uint32_t)((int32_t)(operation << 20) >> 20);
    argument = operation >> 31 ? 1u << (argument & 31) : argument;
    if (kind > 4 || comparison > 5) {
        return -LINUX_ENOSYS;
    }
    if (linux_load_user_u32(&old, address2) != 0) {
        return -LINUX_EFAULT;
    }
    for (;; old = found) {
        next = kind == 0   ? argument
               : kind == 1 ? old + argument
               : kind == 2 ? old | argument
               : kind == 3 ? old & ~argument
                           : old ^ argument;
        found = old;
        if (linux_exchange_user_u32(address2, &found, next) != 0) {
            return -LINUX_EFAULT;
        }
        if (found == old) {
            break;
        }
    }
    int32_t a = (int32_t)old, b = (int32_t)against;
    bool holds = comparison == 0   ? a == b
                 : comparison == 1 ? a != b
                 : comparison == 2 ? a < b
                 : comparison == 3 ? a <= b
                 : comparison == 4 ? a > b
                                   : a >= b;
    int64_t result = wake(address, count, UINT32_MAX);
    if (result >= 0 && holds) {
        int64_t second = wake(address2, count2, UINT32_MAX);
        result = second < 0 ? second : result + second;
    }
    return result;
}

static int64_t lock(uint64_t address, uint64_t deadline)
{
    status_t status = tess_vspace_futex_lock(linux_process()->vspace, address, linux_self()->tid, deadline);
    return status == ERROR_ALREADY ? -LINUX_EDEADLK : status == ERROR_INTERRUPTED ? -LINUX_ERESTARTNOINTR : linux_error(status);
}

static int64_t lock_timed(uint64_t address, uint64_t timeout, bool is_wall)
{
    uint64_t ns, deadline = DEADLINE_INFINITE;
    if (timeout != 0) {
        int64_t result = linux_time_from_user(timeout, &ns);
        if (result != 0) {
            return result;
        }
        deadline = is_wall ? linux_deadline_at_wall(ns) : ns;
    }
    return lock(address, deadline);
}

static int64_t unlock(uint64_t address)
{
    uint32_t heir;
    status_t status = tess_vspace_futex_unlock(linux_process()->vspace, address, linux_self()->tid, &heir);
    return status == ERROR_REFUSED ? -LINUX_EPERM : linux_error(status);
}

int64_t linux_sys_futex(uint64_t address, uint64_t operation, uint64_t value, uint64_t timeout, uint64_t address2, uint64_t value3)
{
    uint32_t kind = (uint32_t)operation & ~(uint32_t)(PRIVATE | REALTIME), number = (uint32_t)value, bits = (uint32_t)value3;
    bool is_wall = (operation & REALTIME) != 0;
    if (address % 4 != 0) {
        return -LINUX_EINVAL;
    }
    if (!linux_is_user(address, 4)) {
        return -LINUX_EFAULT;
    }
    if (is_wall && kind != WAIT && kind != WAIT_BITSET && kind != LOCK_PI2) {
        return -LINUX_ENOSYS;
    }
    switch (kind) {
    case WAIT: return wait(address, number, UINT32_MAX, timeout, false, false);
    case WAIT_BITSET: return wait(address, number, bits, timeout, true, is_wall);
    case WAKE: return wake(address, number, UINT32_MAX);
    case WAKE_BITSET: return wake(address, number, bits);
    case REQUEUE: return requeue(address, address2, FUTEX_ANY, number, (uint32_t)timeout, false);
    case CMP_REQUEUE: return requeue(address, address2, bits, number, (uint32_t)timeout, true);
    case WAKE_OP: return wake_op(address, address2, number, (uint32_t)timeout, bits);
    case LOCK_PI: return lock_timed(address, timeout, true);
    case LOCK_PI2: return lock_timed(address, timeout, is_wall);
    case TRYLOCK_PI: {
        int64_t result = lock(address, DEADLINE_NOW);
        return result == -LINUX_ETIMEDOUT ? -LINUX_EAGAIN : result;
    }
    case UNLOCK_PI: return unlock(address);
    default: return -LINUX_ENOSYS;
    }
}
