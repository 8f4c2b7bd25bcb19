/*
 * The client of posixd (abi/service/posix.toml): ids, waits, groups, and signals from outside. A process without one (process->posix is
 * HANDLE_NONE: the personality's first tests) is alone, and says so.
 */
#include <linux/call.h>
#include <linux/posix.h>
#include <linux/signals.h>
#include <linux/threads.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/posix.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

static handle_t posix(void) { return linux_process()->posix; }
static struct tess_linux_signal_page *page(void)
{
    return linux_process()->signal_page != HANDLE_NONE ? (struct tess_linux_signal_page *)LINUX_SIGNAL_BASE : nullptr;
}

/* A call that cannot wait for long and must not be made twice. */
struct masked {
    struct tess_upcall_frame *frame;
    uint32_t mask;
};
static struct masked masked_begin(void)
{
    struct masked masked = {linux_frame(), linux_frame()->mask};
    masked.frame->mask = 1;
    return masked;
}
static void masked_end(struct masked masked) { masked.frame->mask = masked.mask; }

static int64_t id_error(status_t status)
{
    return status == ERROR_NOT_FOUND ? -LINUX_ESRCH : status == ERROR_NO_PERMISSION ? -LINUX_EPERM : linux_error(status);
}

void linux_posix_adopt(void)
{
    struct linux_process *process = linux_process();
    uint64_t at;
    status_t status = OK;
    if (process->posix != HANDLE_NONE) {
        status = tess_cspace_set_inherit(process->cspace, process->posix, INHERIT_DROP);
    }
    if (status == OK && process->signal_page != HANDLE_NONE) {
        status = tess_cspace_set_inherit(process->cspace, process->signal_page, INHERIT_DROP);
        status = status != OK ? status
                              : tess_vspace_map(process->vspace, process->signal_page, 0, 4096, LINUX_SIGNAL_BASE,
                                                MAP_READ | MAP_WRITE | MAP_FIXED | MAP_INHERIT_DROP, &at);
    }
    if (status != OK) {
        linux_process_exit(LINUX_SIGKILL);
    }
}

/* ---- Threads ---- */

uint32_t linux_posix_thread(struct linux_thread *thread)
{
    uint32_t tid, index;
    thread->signal_index = UINT32_MAX;
    if (posix() != HANDLE_NONE) {
        struct masked masked = masked_begin();
        status_t status = tess_posix_thread(posix(), thread->handle, &tid, &index, DEADLINE_INFINITE);
        masked_end(masked);
        if (status == OK) {
            thread->signal_index = index;
            return tid;
        }
    }
    return __c11_atomic_fetch_add((_Atomic uint32_t *)&thread->process->next_tid, 1, __ATOMIC_RELAXED);
}

void linux_posix_thread_gone(struct linux_thread *thread)
{
    if (posix() != HANDLE_NONE) {
        struct masked masked = masked_begin();
        status_t status = tess_posix_thread_gone(posix(), thread->tid, DEADLINE_INFINITE);
        (void)status;
        masked_end(masked);
    }
}

/* ---- Signals from outside ---- */

static struct tess_linux_signal_thread *place(const struct linux_thread *thread)
{
    struct tess_linux_signal_page *shared = page();
    return shared != nullptr && thread->signal_index < LINUX_SIGNAL_THREADS ? &shared->threads[thread->signal_index] : nullptr;
}

void linux_posix_mask(struct linux_thread *thread, uint64_t mask)
{
    struct tess_linux_signal_thread *own = place(thread);
    if (own != nullptr) {
        /* Before the look at `pending`, as posixd sets that before it looks at the mask. */
        __atomic_store_n(&own->blocked, mask, __ATOMIC_SEQ_CST);
    }
}

void linux_posix_actions(uint64_t ignored, uint32_t flags)
{
    struct tess_linux_signal_page *shared = page();
    if (shared != nullptr) {
        __atomic_store_n(&shared->ignored, ignored, __ATOMIC_RELAXED);
        __atomic_store_n(&shared->flags, flags, __ATOMIC_RELAXED);
    }
}

static bool take_entry(struct tess_linux_signal *entry, struct linux_siginfo *info, uint32_t *out_tid)
{
    uint32_t state = LINUX_SIGNAL_FULL;
    if (!__atomic_compare_exchange_n(&entry->state, &state, LINUX_SIGNAL_TAKEN, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        return false;
    }
    *info = (struct linux_siginfo){.signal = entry->signal,
                                   .code = entry->code,
                                   .pid = entry->pid,
                                   .uid = entry->uid,
                                   .value = entry->value,
                                   .status = (int32_t)entry->value};
    *out_tid = entry->tid;
    __atomic_store_n(&entry->state, LINUX_SIGNAL_FREE, __ATOMIC_RELEASE);
    return info->signal >= 1 && info->signal <= LINUX_SIGNALS;
}

/* The oldest entry of a signal, for the process (tid 0) or a thread. */
static struct tess_linux_signal *oldest(struct tess_linux_signal_page *shared, uint32_t signal, uint32_t tid)
{
    struct tess_linux_signal *found = nullptr;
    for (uint32_t i = 0; i < LINUX_SIGNAL_QUEUE; i++) {
        struct tess_linux_signal *entry = &shared->queue[i];
        if (__atomic_load_n(&entry->state, __ATOMIC_ACQUIRE) == LINUX_SIGNAL_FULL && entry->signal == signal && entry->tid == tid &&
            (found == nullptr || (int32_t)(entry->sequence - found->sequence) < 0)) {
            found = entry;
        }
    }
    return found;
}

/* All that is pending in `bits` goes to our own queue, for the thread or (nullptr) the process. Entries first, then the bit, then a look
 * whether one has come meanwhile. */
static void collect(struct tess_linux_signal_page *shared, uint64_t *bits, struct linux_thread *thread)
{
    for (uint64_t now; (now = __atomic_load_n(bits, __ATOMIC_SEQ_CST)) != 0;) {
        uint32_t signal = bit_lowest(now) + 1, tid = thread != nullptr ? thread->tid : 0, count = 0, entry_tid;
        uint64_t bit = linux_signal_bit(signal);
        struct linux_siginfo info = {.signal = signal};
        struct tess_linux_signal *entry;
        while (count < LINUX_SIGNAL_QUEUE && (entry = oldest(shared, signal, tid)) != nullptr) {
            if (take_entry(entry, &info, &entry_tid)) {
                linux_signal_enqueue(thread, &info);
            }
            count++;
        }
        if (count == 0) {
            linux_signal_enqueue(thread, &info);
        }
        __atomic_fetch_and(bits, ~bit, __ATOMIC_SEQ_CST);
        if (oldest(shared, signal, tid) != nullptr) {
            __atomic_fetch_or(bits, bit, __ATOMIC_SEQ_CST);
        }
    }
}

void linux_signals_collect(struct linux_thread *thread)
{
    struct tess_linux_signal_page *shared = page();
    struct tess_linux_signal_thread *own = place(thread);
    if (shared == nullptr) {
        return;
    }
    if (__atomic_load_n(&shared->pending, __ATOMIC_SEQ_CST) != 0) {
        collect(shared, &shared->pending, nullptr);
    }
    if (own != nullptr && __atomic_load_n(&own->pending, __ATOMIC_SEQ_CST) != 0) {
        collect(shared, &own->pending, thread);
    }
}

bool linux_posix_is_pending(struct linux_thread *thread)
{
    struct tess_linux_signal_page *shared = page();
    struct tess_linux_signal_thread *own = place(thread);
    return shared != nullptr && (__atomic_load_n(&shared->pending, __ATOMIC_SEQ_CST) != 0 ||
                                 (own != nullptr && __atomic_load_n(&own->pending, __ATOMIC_SEQ_CST) != 0));
}

/* ---- Sending, stopping ---- */

/* What was sent may be for the sender, whom posixd cannot interrupt before it knows it (fork.c): it looks itself, before it goes on. */
static int64_t sent(status_t status)
{
    struct linux_thread *thread = linux_self();
    if (linux_posix_is_pending(thread)) {
        linux_thread_work(thread, LINUX_WORK_SIGNAL);
    }
    return status == ERROR_NO_SPACE ? -LINUX_EAGAIN : id_error(status);
}

int64_t linux_posix_kill(int32_t pid, const struct linux_siginfo *info)
{
    uint32_t kind = pid > 0 ? POSIX_KILL_PROCESS : pid == -1 ? POSIX_KILL_ALL : POSIX_KILL_GROUP;
    uint32_t id = pid > 0 ? (uint32_t)pid : pid == -1 ? 0 : (uint32_t)-pid;
    if (posix() == HANDLE_NONE || pid == INT32_MIN) {
        return pid == 0 && info->signal != 0 ? linux_signal_process(linux_process(), info) : pid == 0 ? 0 : -LINUX_ESRCH;
    }
    struct masked masked = masked_begin();
    status_t status = tess_posix_kill(posix(), kind, id, 0, info->signal, info->code, info->value, DEADLINE_INFINITE);
    masked_end(masked);
    return sent(status);
}

int64_t linux_posix_kill_thread(int32_t pid, int32_t tid, const struct linux_siginfo *info)
{
    if (posix() == HANDLE_NONE) {
        return -LINUX_ESRCH;
    }
    struct masked masked = masked_begin();
    status_t status = tess_posix_kill(posix(), POSIX_KILL_THREAD, pid > 0 ? (uint32_t)pid : 0, (uint32_t)tid, info->signal, info->code,
                                      info->value, DEADLINE_INFINITE);
    masked_end(masked);
    return sent(status);
}

void linux_process_stop(uint32_t signal)
{
    if (posix() != HANDLE_NONE) {
        struct masked masked = masked_begin();
        status_t status = tess_posix_stop(posix(), signal, DEADLINE_INFINITE);
        (void)status; /* an orphaned group does not stop */
        masked_end(masked);
    }
}

/* ---- Waiting for children ---- */

enum : uint32_t { W_NOHANG = 1, W_STOPPED = 2, W_EXITED = 4, W_CONTINUED = 8, W_NOWAIT = 0x1000000, W_MASK = 0xE0000000 };
constexpr uint64_t NS = 1000'000'000;

struct report {
    uint32_t pid, code, uid;
    int32_t status;
    uint64_t cpu_ns;
};

static int64_t wait_for(uint32_t kind, uint32_t id, uint32_t options, struct report *out)
{
    if (posix() == HANDLE_NONE) {
        return -LINUX_ECHILD;
    }
    status_t status =
        tess_posix_wait(posix(), kind, id, options, &out->pid, &out->code, &out->status, &out->uid, &out->cpu_ns, DEADLINE_INFINITE);
    if (status == OK && out->pid != 0 && (options & W_NOWAIT) == 0 && out->code <= POSIX_CHILD_DUMPED) {
        linux_process()->children_cpu_ns += out->cpu_ns;
    }
    return status == ERROR_NOT_FOUND ? -LINUX_ECHILD : linux_error(status);
}

static uint32_t wait_status(const struct report *report)
{
    switch (report->code) {
    case POSIX_CHILD_EXITED: return (uint32_t)(report->status & 0xFF) << 8;
    case POSIX_CHILD_KILLED: return (uint32_t)report->status;
    case POSIX_CHILD_DUMPED: return (uint32_t)report->status | 0x80;
    case POSIX_CHILD_STOPPED: return (uint32_t)report->status << 8 | 0x7F;
    default: return 0xFFFF;
    }
}

static int64_t put_usage(uint64_t address, uint64_t cpu_ns)
{
    const uint64_t usage[18] = {cpu_ns / NS, cpu_ns % NS / 1000};
    return address == 0 ? 0 : linux_copy_to_user(address, usage, sizeof(usage));
}

int64_t linux_sys_wait4(uint64_t pid, uint64_t status, uint64_t options, uint64_t usage)
{
    struct report report = {};
    int32_t id = (int32_t)pid;
    if (((uint32_t)options & ~(W_NOHANG | W_STOPPED | W_CONTINUED | W_MASK)) != 0) {
        return -LINUX_EINVAL;
    }
    if (id == INT32_MIN) {
        return -LINUX_ESRCH;
    }
    uint32_t kind = id == -1 ? POSIX_WAIT_ANY : id > 0 ? POSIX_WAIT_PROCESS : POSIX_WAIT_GROUP;
    int64_t result = wait_for(kind, id > 0 ? (uint32_t)id : id == -1 ? 0 : (uint32_t)-id, ((uint32_t)options & 11) | W_EXITED, &report);
    if (result != 0 || report.pid == 0) {
        return result;
    }
    if ((status != 0 && linux_store_user_u32(status, wait_status(&report)) != 0) || put_usage(usage, report.cpu_ns) != 0) {
        return -LINUX_EFAULT;
    }
    return report.pid;
}

int64_t linux_sys_waitid(uint64_t type, uint64_t id, uint64_t info, uint64_t options, uint64_t usage)
{
    struct report report = {};
    uint32_t wanted = (uint32_t)options, kind = (uint32_t)type;
    if ((wanted & ~(W_NOHANG | W_STOPPED | W_EXITED | W_CONTINUED | W_NOWAIT | W_MASK)) != 0 ||
        (wanted & (W_STOPPED | W_EXITED | W_CONTINUED)) == 0 || kind > 2 || (kind != 0 && (int32_t)id < (kind == 1 ? 1 : 0))) {
        return -LINUX_EINVAL;
    }
    static const uint32_t kinds[] = {POSIX_WAIT_ANY, POSIX_WAIT_PROCESS, POSIX_WAIT_GROUP};
    int64_t result = wait_for(kinds[kind], kind == 0 ? 0 : (uint32_t)id, wanted & ~W_MASK, &report);
    if (result != 0) {
        return result;
    }
    uint8_t layout[128] = {};
    if (report.pid != 0) {
        const struct linux_siginfo told = {
            .signal = LINUX_SIGCHLD, .code = (int32_t)report.code, .pid = report.pid, .uid = report.uid, .status = report.status};
        linux_siginfo_layout(&told, layout);
    }
    if ((info != 0 && linux_copy_to_user(info, layout, sizeof(layout)) != 0) || put_usage(usage, report.cpu_ns) != 0) {
        return -LINUX_EFAULT;
    }
    return 0;
}

/* ---- Groups and sessions ---- */

struct about {
    uint32_t group, session;
};

static int64_t ask(uint64_t pid, struct about *out)
{
    uint32_t id, parent, uid, gid, state, threads;
    uint64_t cpu, start;
    uint8_t name[16];
    if (posix() == HANDLE_NONE) {
        *out = (struct about){1, 1};
        return (uint32_t)pid == 0 || (uint32_t)pid == linux_process()->pid ? 0 : -LINUX_ESRCH;
    }
    if ((int32_t)pid < 0) {
        return -LINUX_ESRCH;
    }
    struct masked masked = masked_begin();
    status_t status = tess_posix_info(posix(), (uint32_t)pid, &id, &parent, &out->group, &out->session, &uid, &gid, &state, &threads, &cpu,
                                      &start, name, DEADLINE_INFINITE);
    masked_end(masked);
    return id_error(status);
}

int64_t linux_sys_getpgid(uint64_t pid)
{
    struct about about = {};
    int64_t result = ask(pid, &about);
    return result == 0 ? about.group : result;
}

int64_t linux_sys_getpgrp(void) { return linux_sys_getpgid(0); }

int64_t linux_sys_getsid(uint64_t pid)
{
    struct about about = {};
    int64_t result = ask(pid, &about);
    return result == 0 ? about.session : result;
}

int64_t linux_sys_setpgid(uint64_t pid, uint64_t group)
{
    if ((int32_t)pid < 0 || (int32_t)group < 0) {
        return (int32_t)group < 0 ? -LINUX_EINVAL : -LINUX_ESRCH;
    }
    struct masked masked = masked_begin();
    status_t status = tess_posix_set_group(posix(), (uint32_t)pid, (uint32_t)group, DEADLINE_INFINITE);
    masked_end(masked);
    return status == ERROR_REFUSED ? -LINUX_EACCES : id_error(status);
}

int64_t linux_sys_setsid(void)
{
    uint32_t session;
    struct masked masked = masked_begin();
    status_t status = tess_posix_new_session(posix(), &session, DEADLINE_INFINITE);
    masked_end(masked);
    return status == OK ? session : id_error(status);
}

/* The process's own word counts for itself only; posixd's, for others (kill). */
int64_t linux_posix_credentials(uint32_t uid, uint32_t euid, uint32_t suid, uint32_t gid, uint32_t egid, uint32_t sgid)
{
    if (posix() == HANDLE_NONE) {
        return 0;
    }
    struct masked masked = masked_begin();
    status_t status = tess_posix_set_credentials(posix(), uid, euid, suid, gid, egid, sgid, DEADLINE_INFINITE);
    masked_end(masked);
    return id_error(status);
}

int64_t linux_posix_option(uint32_t option, uint64_t value)
{
    struct masked masked = masked_begin();
    status_t status = posix() == HANDLE_NONE ? OK : tess_posix_set_option(posix(), option, value, DEADLINE_INFINITE);
    masked_end(masked);
    return linux_error(status);
}
