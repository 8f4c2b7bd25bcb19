/*
 * Timers that send signals: alarm, setitimer(ITIMER_REAL), timer_create. One thread of the personality's, made when the first timer is armed,
 * sleeps until the next of them is due; no program sees it (it is not in process->threads, and blocks every signal). A fork's child has no
 * timers; exec keeps ITIMER_REAL.
 *
 * timer_lock: process->timers. timer_word counts changes: the thread looks, and sleeps unless the count has gone on.
 */
#include <linux/call.h>
#include <linux/dispatch.h>
#include <linux/threads.h>
#include <linux/time.h>
#include <linux/timer.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/thread.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint64_t NS = 1000'000'000;
constexpr uint32_t REAL = 0; /* the place of ITIMER_REAL among process->timers; those of timer_create follow */
enum : uint32_t { TIMER_ABSTIME = 1 };
enum : uint32_t { SIGEV_SIGNAL = 0, SIGEV_NONE = 1, SIGEV_THREAD_ID = 4 };

/* ---- The thread ---- */

static bool is_pending(const struct linux_process *process, uint32_t signal) { return (process->pending & linux_signal_bit(signal)) != 0; }

static struct linux_thread *find_thread(struct linux_process *process, uint32_t tid)
{
    struct linux_thread *thread = process->threads;
    while (thread != nullptr && thread->tid != tid) {
        thread = thread->next;
    }
    return thread;
}

static void fire(struct linux_process *process, struct linux_timer *timer, uint64_t now)
{
    uint64_t periods = timer->interval != 0 ? (now - timer->deadline) / timer->interval : 0;
    timer->deadline = timer->interval != 0 ? timer->deadline + (periods + 1) * timer->interval : 0;
    const struct linux_siginfo info = {
        .signal = timer->signal, .code = timer == &process->timers[REAL] ? LINUX_SI_KERNEL : LINUX_SI_TIMER, .value = timer->value};
    if (timer->notify == SIGEV_NONE) {
        return;
    }
    timer->overrun = is_pending(process, timer->signal) ? timer->overrun + (uint32_t)periods + 1 : (uint32_t)periods;
    if (timer->notify == SIGEV_THREAD_ID) {
        linux_lock(&process->thread_lock);
        struct linux_thread *thread = find_thread(process, timer->tid);
        int64_t sent = thread != nullptr ? linux_signal_thread(thread, &info) : 0;
        (void)sent;
        linux_unlock(&process->thread_lock);
    } else if (!is_pending(process, timer->signal)) {
        int64_t sent = linux_signal_process(process, &info);
        (void)sent;
    }
}

static uint64_t fire_due(struct linux_process *process)
{
    uint64_t next = DEADLINE_INFINITE, now = linux_clock_monotonic();
    for (uint32_t i = 0; i < LINUX_TIMERS; i++) {
        struct linux_timer *timer = &process->timers[i];
        if (timer->deadline != 0 && timer->deadline <= now) {
            fire(process, timer, now);
        }
        if (timer->deadline != 0) {
            next = min_u64(next, timer->deadline);
        }
    }
    return next;
}

void linux_timer_main(void)
{
    struct linux_process *process = linux_process();
    for (;;) {
        uint32_t count = process->timer_word;
        linux_lock(&process->timer_lock);
        uint64_t next = fire_due(process);
        linux_unlock(&process->timer_lock);
        status_t status = tess_vspace_futex_wait(process->vspace, (uint64_t)&process->timer_word, count, UINT32_MAX, next);
        (void)status; /* time, or a change */
    }
}

/* timer_lock is held. */
static int64_t changed(struct linux_process *process)
{
    if (process->timer_thread == nullptr) {
        struct linux_thread *thread;
        int64_t result = linux_thread_make(process, &thread);
        if (result != 0) {
            return result;
        }
        thread->mask = UINT64_MAX;
        thread->signal_index = UINT32_MAX;
        process->timer_thread = thread;
        status_t status =
            tess_thread_start(thread->handle, (uint64_t)linux_timer_entry, thread->frame->foreign.stack, (uint64_t)thread->frame, 0, 0);
        (void)status; /* it cannot have been started */
    }
    process->timer_word++;
    linux_wake(&process->timer_word, 1);
    return 0;
}

void linux_timers_forget(struct linux_process *process, bool is_fork)
{
    for (uint32_t i = is_fork ? 0 : REAL + 1; i < LINUX_TIMERS; i++) {
        process->timers[i] = (struct linux_timer){};
    }
    process->timer_lock.state = 0;
    struct linux_thread *thread = process->timer_thread;
    process->timer_thread = nullptr;
    if (thread != nullptr) {
        if (!is_fork) {
            status_t status = tess_cspace_delete(process->cspace, thread->handle);
            (void)status;
        }
        linux_free((uint8_t *)thread - LINUX_BLOCK_THREAD, LINUX_THREAD_BLOCK);
    }
    if (!is_fork && process->timers[REAL].deadline != 0) {
        int64_t result = changed(process);
        (void)result; /* without memory for it there is no alarm */
    }
}

/* ---- ITIMER_REAL ---- */

static uint64_t left(const struct linux_timer *timer)
{
    uint64_t now = linux_clock_monotonic();
    return timer->deadline == 0 ? 0 : timer->deadline > now ? timer->deadline - now : 1;
}

struct times {
    int64_t interval_s, interval_fraction, value_s, value_fraction;
};

static struct times times_of(uint64_t interval, uint64_t value, uint64_t fraction)
{
    return (struct times){(int64_t)(interval / NS), (int64_t)(interval % NS / fraction), (int64_t)(value / NS),
                          (int64_t)(value % NS / fraction)};
}

static bool is_time(int64_t seconds, int64_t fraction, int64_t limit) { return seconds >= 0 && fraction >= 0 && fraction < limit; }

static uint64_t ns_of(int64_t seconds, int64_t fraction, uint64_t unit)
{
    return (uint64_t)min_u64((uint64_t)seconds, UINT64_MAX / 4 / NS) * NS + (uint64_t)fraction * unit;
}

int64_t linux_sys_getitimer(uint64_t which, uint64_t value)
{
    struct linux_process *process = linux_process();
    if ((uint32_t)which > 2) {
        return -LINUX_EINVAL;
    }
    linux_lock(&process->timer_lock);
    const struct linux_timer *timer = &process->timers[REAL];
    const struct times times = (uint32_t)which == REAL ? times_of(timer->interval, left(timer), 1000) : (struct times){};
    linux_unlock(&process->timer_lock);
    return linux_copy_to_user(value, &times, sizeof(times));
}

static int64_t set_real(uint64_t value, uint64_t interval, uint64_t *out_left, uint64_t *out_interval)
{
    struct linux_process *process = linux_process();
    linux_lock(&process->timer_lock);
    struct linux_timer *timer = &process->timers[REAL];
    *out_left = left(timer);
    *out_interval = timer->interval;
    *timer = (struct linux_timer){
        .deadline = value != 0 ? linux_deadline_after(value) : 0, .interval = value != 0 ? interval : 0, .signal = LINUX_SIGALRM};
    int64_t result = value != 0 ? changed(process) : 0;
    linux_unlock(&process->timer_lock);
    return result;
}

int64_t linux_sys_setitimer(uint64_t which, uint64_t value, uint64_t old_value)
{
    struct times times = {};
    uint64_t old_left, old_interval;
    if ((uint32_t)which > 2) {
        return -LINUX_EINVAL;
    }
    if (value != 0 && linux_copy_from_user(&times, value, sizeof(times)) != 0) {
        return -LINUX_EFAULT;
    }
    if (!is_time(times.interval_s, times.interval_fraction, 1000000) || !is_time(times.value_s, times.value_fraction, 1000000) ||
        (uint32_t)which != REAL) {
        return -LINUX_EINVAL;
    }
    int64_t result = set_real(ns_of(times.value_s, times.value_fraction, 1000), ns_of(times.interval_s, times.interval_fraction, 1000),
                              &old_left, &old_interval);
    const struct times old = times_of(old_interval, old_left, 1000);
    return result == 0 && old_value != 0 ? linux_copy_to_user(old_value, &old, sizeof(old)) : result;
}

int64_t linux_sys_alarm(uint64_t seconds)
{
    uint64_t old_left, old_interval;
    int64_t result = set_real((uint32_t)seconds * NS, 0, &old_left, &old_interval);
    return result == 0 ? (int64_t)((old_left + NS / 2) / NS + (old_left != 0 && old_left < NS / 2)) : result;
}

/* ---- timer_create ---- */

/* The timer of an id; timer_lock is held. */
static struct linux_timer *find(struct linux_process *process, uint64_t id)
{
    uint32_t index = (uint32_t)id + REAL + 1;
    return (uint32_t)id < LINUX_TIMERS - 1 && process->timers[index].is_used ? &process->timers[index] : nullptr;
}

int64_t linux_sys_timer_create(uint64_t clock, uint64_t event, uint64_t timer)
{
    struct linux_process *process = linux_process();
    struct {
        uint64_t value;
        uint32_t signal, notify, tid, reserved;
    } wanted = {.signal = LINUX_SIGALRM};
    int32_t kind = (int32_t)clock;
    if (kind != 0 && kind != 1 && kind != 7) { /* CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME */
        return kind == 2 || kind == 3 ? -LINUX_EOPNOTSUPP : -LINUX_EINVAL;
    }
    if (event != 0 && linux_copy_from_user(&wanted, event, sizeof(wanted)) != 0) {
        return -LINUX_EFAULT;
    }
    if ((wanted.notify != SIGEV_SIGNAL && wanted.notify != SIGEV_NONE && wanted.notify != SIGEV_THREAD_ID) ||
        (wanted.notify != SIGEV_NONE && (wanted.signal < 1 || wanted.signal > LINUX_SIGNALS))) {
        return -LINUX_EINVAL;
    }
    int64_t result = -LINUX_EAGAIN;
    linux_lock(&process->timer_lock);
    for (uint32_t id = 0; id < LINUX_TIMERS - 1; id++) {
        struct linux_timer *entry = &process->timers[id + REAL + 1];
        if (!entry->is_used) {
            *entry = (struct linux_timer){.is_used = true,
                                          .is_wall = kind == 0,
                                          .signal = wanted.signal,
                                          .notify = wanted.notify,
                                          .tid = wanted.tid,
                                          .value = event != 0 ? wanted.value : id};
            result = linux_store_user_u32(timer, id);
            entry->is_used = result == 0;
            break;
        }
    }
    linux_unlock(&process->timer_lock);
    return result;
}

int64_t linux_sys_timer_settime(uint64_t timer, uint64_t flags, uint64_t value, uint64_t old_value)
{
    struct linux_process *process = linux_process();
    struct times times, old = {};
    if (linux_copy_from_user(&times, value, sizeof(times)) != 0) {
        return value == 0 ? -LINUX_EINVAL : -LINUX_EFAULT;
    }
    if (!is_time(times.interval_s, times.interval_fraction, NS) || !is_time(times.value_s, times.value_fraction, NS)) {
        return -LINUX_EINVAL;
    }
    int64_t result = -LINUX_EINVAL;
    linux_lock(&process->timer_lock);
    struct linux_timer *entry = find(process, timer);
    if (entry != nullptr) {
        uint64_t ns = ns_of(times.value_s, times.value_fraction, 1);
        bool is_absolute = (flags & TIMER_ABSTIME) != 0;
        old = times_of(entry->interval, left(entry), 1);
        entry->interval = ns_of(times.interval_s, times.interval_fraction, 1);
        entry->deadline = ns == 0 ? 0 : !is_absolute ? linux_deadline_after(ns) : entry->is_wall ? linux_deadline_at_wall(ns) : ns;
        result = ns == 0 ? 0 : changed(process);
    }
    linux_unlock(&process->timer_lock);
    return result == 0 && old_value != 0 ? linux_copy_to_user(old_value, &old, sizeof(old)) : result;
}

int64_t linux_sys_timer_gettime(uint64_t timer, uint64_t value)
{
    struct linux_process *process = linux_process();
    linux_lock(&process->timer_lock);
    const struct linux_timer *entry = find(process, timer);
    const struct times times = entry != nullptr ? times_of(entry->interval, left(entry), 1) : (struct times){};
    linux_unlock(&process->timer_lock);
    return entry == nullptr ? -LINUX_EINVAL : linux_copy_to_user(value, &times, sizeof(times));
}

int64_t linux_sys_timer_getoverrun(uint64_t timer)
{
    struct linux_process *process = linux_process();
    linux_lock(&process->timer_lock);
    const struct linux_timer *entry = find(process, timer);
    int64_t result = entry == nullptr ? -LINUX_EINVAL : (int64_t)entry->overrun;
    linux_unlock(&process->timer_lock);
    return result;
}

int64_t linux_sys_timer_delete(uint64_t timer)
{
    struct linux_process *process = linux_process();
    linux_lock(&process->timer_lock);
    struct linux_timer *entry = find(process, timer);
    if (entry != nullptr) {
        *entry = (struct linux_timer){};
    }
    linux_unlock(&process->timer_lock);
    return entry == nullptr ? -LINUX_EINVAL : 0;
}
