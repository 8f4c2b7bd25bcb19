/* Clocks: the page shared with the kernel, as lib/std reads it (abi/types.toml, struct clock_page); waits for a time. */
#include <linux/call.h>
#include <tess/invoke.h>
#include <tess/stub/thread.h>
#include <tess/util.h>

constexpr uint64_t NS = 1000'000'000;
constexpr uint32_t RETRIES = 1000;

static inline uint64_t counter_read(void)
{
#if defined(__x86_64__)
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
#elif defined(__aarch64__)
    uint64_t value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    uint64_t value;
    __asm__ volatile("rdtime %0" : "=r"(value));
    return value;
#endif
}

static uint64_t read_clock(bool is_wall)
{
    const volatile struct tess_clock_page *page = (const volatile struct tess_clock_page *)LINUX_CLOCK_BASE;
    uint64_t result = 0;
    for (uint32_t i = 0; i < RETRIES; i++) {
        uint32_t before = page->sequence;
        /* The fences order our plain reads between the two of the sequence (a seqlock's read side). */
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        uint64_t base = page->counter_base, mult = page->mult, offset = page->wall_offset;
        uint32_t shift = page->shift;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        result = (uint64_t)((unsigned _BitInt(128))(counter_read() - base) * mult >> (shift & 127)) + (is_wall ? offset : 0);
        if ((before & 1) == 0 && page->sequence == before) {
            break;
        }
    }
    return result;
}

uint64_t linux_clock_monotonic(void) { return read_clock(false); }
uint64_t linux_clock_wall(void) { return read_clock(true); }

/* ---- Reading ---- */

enum : uint32_t {
    CLOCK_REALTIME = 0,
    CLOCK_MONOTONIC = 1,
    CLOCK_PROCESS_CPUTIME = 2,
    CLOCK_THREAD_CPUTIME = 3,
    CLOCK_MONOTONIC_RAW = 4,
    CLOCK_REALTIME_COARSE = 5,
    CLOCK_MONOTONIC_COARSE = 6,
    CLOCK_BOOTTIME = 7,
    CLOCK_REALTIME_ALARM = 8,
    CLOCK_BOOTTIME_ALARM = 9,
    CLOCK_TAI = 11,
    TIMER_ABSTIME = 1,
};
struct linux_timespec {
    int64_t seconds, ns;
};

static uint64_t thread_cpu_ns(const struct linux_thread *thread)
{
    uint64_t id, ns = 0;
    uint32_t state, cpu;
    return tess_thread_info(thread->handle, &id, &state, &cpu, &ns) == OK ? ns : 0;
}

uint64_t linux_clock_process_cpu(void)
{
    struct linux_process *process = linux_process();
    uint64_t sum = 0;
    linux_lock(&process->thread_lock);
    for (struct linux_thread *thread = process->threads; thread != nullptr; thread = thread->next) {
        sum += thread_cpu_ns(thread);
    }
    linux_unlock(&process->thread_lock);
    return sum + process->gone_cpu_ns;
}

static bool clock_ns(int32_t clock, uint64_t *out_ns)
{
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_TAI: *out_ns = linux_clock_wall(); return true;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM: *out_ns = linux_clock_monotonic(); return true;
    case CLOCK_PROCESS_CPUTIME: *out_ns = linux_clock_process_cpu(); return true;
    case CLOCK_THREAD_CPUTIME: *out_ns = thread_cpu_ns(linux_self()); return true;
    default: return false;
    }
}

int64_t linux_sys_clock_gettime(uint64_t clock, uint64_t time)
{
    uint64_t ns;
    if (!clock_ns((int32_t)clock, &ns)) {
        return -LINUX_EINVAL;
    }
    const struct linux_timespec value = {(int64_t)(ns / NS), (int64_t)(ns % NS)};
    return linux_copy_to_user(time, &value, sizeof(value));
}

int64_t linux_sys_clock_getres(uint64_t clock, uint64_t time)
{
    uint64_t ns;
    if (!clock_ns((int32_t)clock, &ns)) {
        return -LINUX_EINVAL;
    }
    bool is_coarse = (int32_t)clock == CLOCK_REALTIME_COARSE || (int32_t)clock == CLOCK_MONOTONIC_COARSE;
    const struct linux_timespec value = {0, is_coarse ? 4000'000 : 1};
    return time == 0 ? 0 : linux_copy_to_user(time, &value, sizeof(value));
}

int64_t linux_sys_clock_settime(uint64_t clock, uint64_t time)
{
    struct linux_timespec value;
    uint64_t ns;
    if (!clock_ns((int32_t)clock, &ns) || (int32_t)clock != CLOCK_REALTIME) {
        return -LINUX_EINVAL;
    }
    if (linux_copy_from_user(&value, time, sizeof(value)) != 0) {
        return -LINUX_EFAULT;
    }
    return -LINUX_EPERM; /* the clock is the system's, not the cell's */
}

int64_t linux_sys_gettimeofday(uint64_t time, uint64_t zone)
{
    uint64_t ns = linux_clock_wall();
    const int64_t value[2] = {(int64_t)(ns / NS), (int64_t)(ns % NS / 1000)};
    const uint64_t utc = 0;
    int64_t result = time == 0 ? 0 : linux_copy_to_user(time, value, sizeof(value));
    return result == 0 && zone != 0 ? linux_copy_to_user(zone, &utc, sizeof(utc)) : result;
}

int64_t linux_sys_time(uint64_t time)
{
    uint64_t seconds = linux_clock_wall() / NS;
    int64_t result = time == 0 ? 0 : linux_store_user_u64(time, seconds);
    return result == 0 ? (int64_t)seconds : result;
}

/* ---- Waiting ---- */

int64_t linux_time_from_user(uint64_t address, uint64_t *out_ns)
{
    struct linux_timespec value;
    if (linux_copy_from_user(&value, address, sizeof(value)) != 0) {
        return -LINUX_EFAULT;
    }
    if (value.seconds < 0 || value.ns < 0 || value.ns >= (int64_t)NS) {
        return -LINUX_EINVAL;
    }
    *out_ns = (uint64_t)value.seconds > UINT64_MAX / 2 / NS ? UINT64_MAX / 2 : (uint64_t)value.seconds * NS + (uint64_t)value.ns;
    return 0;
}

uint64_t linux_deadline_after(uint64_t ns)
{
    uint64_t now = linux_clock_monotonic();
    return ns > DEADLINE_INFINITE - 1 - now ? DEADLINE_INFINITE : now + ns;
}

uint64_t linux_deadline_at_wall(uint64_t ns)
{
    uint64_t now = linux_clock_wall();
    return linux_deadline_after(ns > now ? ns - now : 0);
}

static int64_t restart(struct linux_thread *thread);

static int64_t sleep_until(uint64_t deadline, uint64_t remaining, bool is_absolute)
{
    struct linux_thread *thread = linux_self();
    status_t status = tess_thread_sleep(thread->handle, deadline);
    if (status != ERROR_INTERRUPTED) {
        return status == ERROR_TIMED_OUT || status == OK ? 0 : linux_error(status);
    }
    if (is_absolute) {
        return -LINUX_ERESTARTNOHAND;
    }
    uint64_t now = linux_clock_monotonic(), left = deadline > now ? deadline - now : 0;
    if (remaining != 0) {
        const struct linux_timespec value = {(int64_t)(left / NS), (int64_t)(left % NS)};
        int64_t result = linux_copy_to_user(remaining, &value, sizeof(value));
        if (result != 0) {
            return result;
        }
    }
    thread->restart = restart;
    thread->restart_deadline = deadline;
    thread->restart_words[0] = remaining;
    return -LINUX_ERESTART_RESTARTBLOCK;
}

static int64_t restart(struct linux_thread *thread) { return sleep_until(thread->restart_deadline, thread->restart_words[0], false); }

int64_t linux_sys_nanosleep(uint64_t request, uint64_t remaining)
{
    uint64_t ns;
    int64_t result = linux_time_from_user(request, &ns);
    return result != 0 ? result : sleep_until(linux_deadline_after(ns), remaining, false);
}

int64_t linux_sys_clock_nanosleep(uint64_t clock, uint64_t flags, uint64_t request, uint64_t remaining)
{
    uint64_t ns, now;
    int32_t kind = (int32_t)clock;
    if (!clock_ns(kind, &now) || kind == CLOCK_THREAD_CPUTIME || kind == CLOCK_MONOTONIC_RAW || kind == CLOCK_REALTIME_COARSE ||
        kind == CLOCK_MONOTONIC_COARSE) {
        return kind == CLOCK_MONOTONIC_RAW || kind == CLOCK_REALTIME_COARSE || kind == CLOCK_MONOTONIC_COARSE ? -LINUX_EOPNOTSUPP
                                                                                                              : -LINUX_EINVAL;
    }
    if (kind == CLOCK_PROCESS_CPUTIME) {
        return -LINUX_EOPNOTSUPP;
    }
    int64_t result = linux_time_from_user(request, &ns);
    if (result != 0) {
        return result;
    }
    bool is_absolute = (flags & TIMER_ABSTIME) != 0;
    return sleep_until(linux_deadline_after(is_absolute ? (ns > now ? ns - now : 0) : ns), is_absolute ? 0 : remaining, is_absolute);
}

int64_t linux_sys_sched_yield(void)
{
    status_t status = tess_thread_yield(linux_self()->handle);
    (void)status;
    return 0;
}
