/* prctl, arch_prctl, limits, usage, scheduling: what a process may ask of itself. */
#include <linux/call.h>
#include <linux/posix.h>
#include <linux/registers.h>
#include <linux/time.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/util.h>

constexpr uint64_t NS = 1000'000'000;

/* ---- prctl ---- */

enum : uint32_t {
    PR_SET_PDEATHSIG = 1,
    PR_GET_DUMPABLE = 3,
    PR_SET_DUMPABLE = 4,
    PR_SET_NAME = 15,
    PR_GET_NAME = 16,
    PR_SET_TIMERSLACK = 29,
    PR_GET_TIMERSLACK = 30,
    PR_CAPBSET_READ = 23,
    PR_SET_CHILD_SUBREAPER = 36,
    PR_SET_NO_NEW_PRIVS = 38,
    PR_GET_NO_NEW_PRIVS = 39,
    PR_SET_THP_DISABLE = 41,
    PR_GET_THP_DISABLE = 42,
    PR_SET_VMA = 0x53564D41,
};

int64_t linux_sys_prctl(uint64_t option, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4)
{
    struct linux_process *process = linux_process();
    struct linux_thread *thread = linux_self();
    char name[16] = {};
    switch ((uint32_t)option) {
    case PR_SET_NAME: {
        int64_t result = linux_string_from_user(name, a1, sizeof(name));
        if (result == -LINUX_EFAULT) {
            return result;
        }
        name[15] = 0;
        memcpy(thread->name, name, sizeof(name));
        return 0;
    }
    case PR_GET_NAME: return linux_copy_to_user(a1, thread->name, sizeof(thread->name));
    case PR_GET_DUMPABLE: return process->dumpable == 0;
    case PR_SET_DUMPABLE:
        if (a1 > 1) {
            return -LINUX_EINVAL;
        }
        process->dumpable = a1 == 0;
        return 0;
    case PR_SET_NO_NEW_PRIVS:
        if (a1 != 1 || a2 != 0 || a3 != 0 || a4 != 0) {
            return -LINUX_EINVAL;
        }
        process->no_new_privileges = 1;
        return 0;
    case PR_GET_NO_NEW_PRIVS: return a1 != 0 || a2 != 0 || a3 != 0 || a4 != 0 ? -LINUX_EINVAL : process->no_new_privileges;
    case PR_SET_PDEATHSIG: return a1 > 64 ? -LINUX_EINVAL : linux_posix_option(POSIX_OPTION_PARENT_SIGNAL, a1);
    case PR_SET_CHILD_SUBREAPER: return linux_posix_option(POSIX_OPTION_SUBREAPER, a1 != 0);
    case PR_GET_TIMERSLACK: return 50000;
    case PR_SET_TIMERSLACK:
    case PR_GET_THP_DISABLE: return 0;
    case PR_CAPBSET_READ: return a1 > 40 ? -LINUX_EINVAL : 1;
    default: return -LINUX_EINVAL;
    }
}

int64_t linux_sys_arch_prctl(uint64_t code, uint64_t address)
{
    constexpr uint64_t SET_FS = 0x1002, GET_FS = 0x1003;
    [[maybe_unused]] linux_registers *registers = linux_registers_of(linux_frame());
    if (code == SET_FS) {
        if (address >= LINUX_USER_TOP) {
            return -LINUX_EPERM;
        }
        registers->LINUX_REGISTER_TLS = address;
        linux_thread_work(linux_self(), LINUX_WORK_REGISTERS);
        return 0;
    }
    return code == GET_FS ? linux_store_user_u64(address, registers->LINUX_REGISTER_TLS) : -LINUX_EINVAL;
}

int64_t linux_sys_riscv_flush_icache(uint64_t start, uint64_t end, uint64_t flags)
{
    (void)start, (void)end, (void)flags;
#if defined(__riscv)
    __asm__ volatile("fence.i" : : : "memory");
#endif
    return 0;
}

/* ---- Limits ---- */

static int64_t set_limit(struct linux_process *process, uint32_t resource, const struct linux_rlimit *wanted)
{
    struct linux_rlimit *limit = &process->limits[resource];
    if (wanted->current > wanted->maximum) {
        return -LINUX_EINVAL;
    }
    if (wanted->maximum > limit->maximum && process->euid != 0) {
        return -LINUX_EPERM;
    }
    if (resource == LINUX_RLIMIT_NOFILE && wanted->maximum > 1 << 20) {
        return -LINUX_EPERM;
    }
    *limit = *wanted;
    return 0;
}

int64_t linux_sys_prlimit64(uint64_t pid, uint64_t resource, uint64_t limit, uint64_t old_limit)
{
    struct linux_process *process = linux_process();
    struct linux_rlimit wanted = {};
    if ((uint32_t)resource >= LINUX_RLIMITS) {
        return -LINUX_EINVAL;
    }
    if ((uint32_t)pid != 0 && (uint32_t)pid != process->pid) {
        return -LINUX_ESRCH;
    }
    if (limit != 0 && linux_copy_from_user(&wanted, limit, sizeof(wanted)) != 0) {
        return -LINUX_EFAULT;
    }
    const struct linux_rlimit old = process->limits[(uint32_t)resource];
    int64_t result = limit != 0 ? set_limit(process, (uint32_t)resource, &wanted) : 0;
    return result == 0 && old_limit != 0 ? linux_copy_to_user(old_limit, &old, sizeof(old)) : result;
}

int64_t linux_sys_getrlimit(uint64_t resource, uint64_t limit)
{
    return limit == 0 ? -LINUX_EFAULT : linux_sys_prlimit64(0, resource, 0, limit);
}
int64_t linux_sys_setrlimit(uint64_t resource, uint64_t limit)
{
    return limit == 0 ? -LINUX_EFAULT : linux_sys_prlimit64(0, resource, limit, 0);
}

/* ---- Usage ---- */

int64_t linux_sys_getrusage(uint64_t who, uint64_t usage)
{
    int32_t kind = (int32_t)who;
    struct {
        int64_t user[2], system[2];
        int64_t others[14];
    } value = {};
    if (kind != 0 && kind != -1 && kind != 1) {
        return -LINUX_EINVAL;
    }
    uint64_t ns = kind == -1 ? linux_process()->children_cpu_ns : linux_clock_process_cpu();
    value.user[0] = (int64_t)(ns / NS);
    value.user[1] = (int64_t)(ns % NS / 1000);
    return linux_copy_to_user(usage, &value, sizeof(value));
}

int64_t linux_sys_times(uint64_t buffer)
{
    const uint64_t value[4] = {linux_clock_process_cpu() / 10000000, 0, linux_process()->children_cpu_ns / 10000000, 0};
    int64_t result = buffer == 0 ? 0 : linux_copy_to_user(buffer, value, sizeof(value));
    return result != 0 ? result : (int64_t)(linux_clock_monotonic() / 10000000);
}

int64_t linux_sys_sysinfo(uint64_t info)
{
    struct {
        int64_t uptime;
        uint64_t loads[3], total, available, shared, buffers, total_swap, free_swap;
        uint16_t processes, pad;
        uint32_t pad2;
        uint64_t total_high, free_high;
        uint32_t unit, pad3;
    } value = {.uptime = (int64_t)(linux_clock_monotonic() / NS), .processes = 1, .unit = 4096};
    static_assert(sizeof(value) == 112);
    uint64_t limit, used, objects;
    if (tess_untyped_info(linux_process()->untyped, &limit, &used, &objects) == OK) {
        value.total = limit;
        value.available = limit - min_u64(limit, used);
    }
    return linux_copy_to_user(info, &value, sizeof(value));
}

/* ---- Scheduling ---- */

static bool is_self(uint64_t pid)
{
    int32_t id = (int32_t)pid;
    return id == 0 || (uint32_t)id == linux_self()->tid || (uint32_t)id == linux_process()->pid;
}

static uint64_t all_cpus(void)
{
    uint32_t count = linux_process()->cpu_count;
    return count == 0 || count >= 64 ? UINT64_MAX : (1ull << count) - 1;
}

int64_t linux_sys_sched_getaffinity(uint64_t pid, uint64_t size, uint64_t mask)
{
    if (!is_self(pid)) {
        return -LINUX_ESRCH;
    }
    if (size < 8 || size % 8 != 0) {
        return -LINUX_EINVAL;
    }
    int64_t result = linux_store_user_u64(mask, linux_self()->affinity & all_cpus());
    return result == 0 ? 8 : result;
}

int64_t linux_sys_sched_setaffinity(uint64_t pid, uint64_t size, uint64_t mask)
{
    struct linux_thread *thread = linux_self();
    uint64_t wanted = 0;
    if (linux_copy_from_user(&wanted, mask, min_u64(size, 8)) != 0) {
        return -LINUX_EFAULT;
    }
    if (!is_self(pid)) {
        return -LINUX_ESRCH;
    }
    wanted &= all_cpus();
    if (wanted == 0) {
        return -LINUX_EINVAL;
    }
    status_t status = tess_thread_set_affinity(thread->handle, wanted);
    if (status == OK) {
        thread->affinity = wanted;
    }
    return linux_error(status);
}

int64_t linux_sys_getcpu(uint64_t cpu, uint64_t node)
{
    uint64_t id, ns;
    uint32_t state, now = 0;
    status_t status = tess_thread_info(linux_self()->handle, &id, &state, &now, &ns);
    int64_t result = status == OK && cpu != 0 ? linux_store_user_u32(cpu, now) : linux_error(status);
    return result == 0 && node != 0 ? linux_store_user_u32(node, 0) : result;
}

enum : uint32_t { OTHER = 0, FIFO = 1, ROUND_ROBIN = 2, BATCH = 3, IDLE = 5, RESET_ON_FORK = 0x40000000 };

int64_t linux_sys_sched_getscheduler(uint64_t pid) { return (int32_t)pid < 0 ? -LINUX_EINVAL : is_self(pid) ? OTHER : -LINUX_ESRCH; }

int64_t linux_sys_sched_getparam(uint64_t pid, uint64_t parameter)
{
    return (int32_t)pid < 0 || parameter == 0 ? -LINUX_EINVAL : !is_self(pid) ? -LINUX_ESRCH : linux_store_user_u32(parameter, 0);
}

int64_t linux_sys_sched_setscheduler(uint64_t pid, uint64_t policy, uint64_t parameter)
{
    uint32_t priority, kind = (uint32_t)policy & ~(uint32_t)RESET_ON_FORK;
    if ((int32_t)pid < 0 || parameter == 0 || (int32_t)policy < 0) {
        return -LINUX_EINVAL;
    }
    if (linux_load_user_u32(&priority, parameter) != 0) {
        return -LINUX_EFAULT;
    }
    if (!is_self(pid)) {
        return -LINUX_ESRCH;
    }
    if (kind == FIFO || kind == ROUND_ROBIN) {
        return priority < 1 || priority > 99 ? -LINUX_EINVAL : -LINUX_EPERM;
    }
    return (kind == OTHER || kind == BATCH || kind == IDLE) && priority == 0 ? 0 : -LINUX_EINVAL;
}

int64_t linux_sys_sched_setparam(uint64_t pid, uint64_t parameter) { return linux_sys_sched_setscheduler(pid, OTHER, parameter); }

int64_t linux_sys_sched_get_priority_max(uint64_t policy)
{
    uint32_t kind = (uint32_t)policy;
    return kind == FIFO || kind == ROUND_ROBIN ? 99 : kind == OTHER || kind == BATCH || kind == IDLE || kind == 6 ? 0 : -LINUX_EINVAL;
}

int64_t linux_sys_sched_get_priority_min(uint64_t policy)
{
    uint32_t kind = (uint32_t)policy;
    return kind == FIFO || kind == ROUND_ROBIN ? 1 : kind == OTHER || kind == BATCH || kind == IDLE || kind == 6 ? 0 : -LINUX_EINVAL;
}

int64_t linux_sys_sched_rr_get_interval(uint64_t pid, uint64_t interval)
{
    const int64_t value[2] = {0, 4000'000};
    return (int32_t)pid < 0 ? -LINUX_EINVAL : is_self(pid) ? linux_copy_to_user(interval, value, sizeof(value)) : -LINUX_ESRCH;
}

int64_t linux_sys_getpriority(uint64_t which, uint64_t who)
{
    return (uint32_t)which > 2 ? -LINUX_EINVAL : (uint32_t)which == 0 && !is_self(who) ? -LINUX_ESRCH : 20 - linux_process()->nice;
}

int64_t linux_sys_setpriority(uint64_t which, uint64_t who, uint64_t value)
{
    /* The weights that Linux gives to nice levels, by 1.25 a step, from 1024 at 0. */
    struct linux_process *process = linux_process();
    int32_t nice = (int32_t)value < -20 ? -20 : (int32_t)value > 19 ? 19 : (int32_t)value;
    if ((uint32_t)which > 2) {
        return -LINUX_EINVAL;
    }
    if ((uint32_t)which == 0 && !is_self(who)) {
        return -LINUX_ESRCH;
    }
    if (nice < process->nice && process->euid != 0) {
        return -LINUX_EACCES;
    }
    uint64_t weight = 1024;
    for (int32_t i = 0; i < (nice < 0 ? -nice : nice); i++) {
        weight = nice < 0 ? weight * 5 / 4 : weight * 4 / 5;
    }
    status_t status =
        tess_thread_set_sched(linux_self()->handle, SCHED_FAIR, (uint32_t)min_u64(max_u64(weight, 1), 65536), SCHED_LATENCY_NORMAL);
    (void)status; /* within its range */
    process->nice = nice;
    return 0;
}

int64_t linux_sys_rseq(uint64_t area, uint64_t size, uint64_t flags, uint64_t signature)
{
    (void)area, (void)size, (void)flags, (void)signature;
    return -LINUX_ENOSYS;
}

int64_t linux_sys_membarrier(uint64_t command, uint64_t flags, uint64_t cpu)
{
    (void)command, (void)flags, (void)cpu;
    return -LINUX_ENOSYS;
}
