/* The calls about signals: actions, masks, stacks, waits, and sending. */
#include <linux/call.h>
#include <linux/posix.h>
#include <linux/signals.h>
#include <linux/time.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/thread.h>
#include <tess/util.h>

constexpr uint64_t SET_SIZE = 8;
constexpr uint64_t UNBLOCKABLE = 1ull << (LINUX_SIGKILL - 1) | 1ull << (LINUX_SIGSTOP - 1);
#if defined(__riscv)
constexpr uint64_t ACTION_SIZE = 24; /* no restorer */
constexpr uint64_t ACTION_MASK = 16;
#else
constexpr uint64_t ACTION_SIZE = 32;
constexpr uint64_t ACTION_MASK = 24;
#endif

/* ---- Actions ---- */

int64_t linux_sys_rt_sigaction(uint64_t signal, uint64_t action, uint64_t old_action, uint64_t size)
{
    struct linux_process *process = linux_process();
    uint32_t number = (uint32_t)signal;
    uint64_t words[4] = {}, old_words[4] = {};
    if (size != SET_SIZE || number < 1 || number > LINUX_SIGNALS || (action != 0 && (UNBLOCKABLE & linux_signal_bit(number)) != 0)) {
        return -LINUX_EINVAL;
    }
    if (action != 0 && linux_copy_from_user(words, action, ACTION_SIZE) != 0) {
        return -LINUX_EFAULT;
    }
    linux_lock(&process->signal_lock);
    struct linux_signal_action *entry = &process->actions[number - 1], old = *entry;
    if (action != 0) {
        *entry = (struct linux_signal_action){.handler = words[0],
                                              .flags = words[1],
                                              .restorer = ACTION_SIZE == 32 ? words[2] : 0,
                                              .mask = words[ACTION_MASK / 8] & ~UNBLOCKABLE};
    }
    if (action != 0) {
        linux_signal_tell_actions(process);
    }
    linux_unlock(&process->signal_lock);
    old_words[0] = old.handler;
    old_words[1] = old.flags;
    old_words[2] = old.restorer;
    old_words[ACTION_MASK / 8] = old.mask;
    return old_action == 0 ? 0 : linux_copy_to_user(old_action, old_words, ACTION_SIZE);
}

int64_t linux_sys_rt_sigprocmask(uint64_t how, uint64_t set, uint64_t old_set, uint64_t size)
{
    struct linux_thread *thread = linux_self();
    uint64_t old = __c11_atomic_load(&thread->mask, __ATOMIC_RELAXED), value;
    if (size != SET_SIZE) {
        return -LINUX_EINVAL;
    }
    if (set != 0) {
        if (linux_load_user_u64(&value, set) != 0) {
            return -LINUX_EFAULT;
        }
        uint32_t kind = (uint32_t)how;
        if (kind > 2) {
            return -LINUX_EINVAL;
        }
        linux_signal_set_mask(thread, kind == 0 ? old | value : kind == 1 ? old & ~value : value);
    }
    return old_set == 0 ? 0 : linux_store_user_u64(old_set, old);
}

int64_t linux_sys_rt_sigpending(uint64_t set, uint64_t size)
{
    struct linux_thread *thread = linux_self();
    if (size > SET_SIZE) {
        return -LINUX_EINVAL;
    }
    uint64_t pending = (thread->pending | thread->process->pending) & thread->mask;
    return linux_copy_to_user(set, &pending, size);
}

struct linux_stack {
    uint64_t address;
    uint32_t flags, reserved;
    uint64_t size;
};
enum : uint32_t { SS_ONSTACK = 1, SS_DISABLE = 2, SS_AUTODISARM = 1u << 31 };

int64_t linux_sys_sigaltstack(uint64_t stack, uint64_t old_stack)
{
    struct linux_thread *thread = linux_self();
    struct linux_stack wanted;
    uint64_t sp = linux_registers_of(thread->frame)->LINUX_REGISTER_SP;
    bool is_on = thread->alternate_size != 0 && sp - thread->alternate_stack <= thread->alternate_size && sp != thread->alternate_stack;
    const struct linux_stack old = {.address = thread->alternate_stack,
                                    .flags = thread->alternate_size == 0 ? SS_DISABLE
                                             : is_on                     ? SS_ONSTACK
                                                                         : 0,
                                    .size = thread->alternate_size};
    if (stack != 0) {
        if (linux_copy_from_user(&wanted, stack, sizeof(wanted)) != 0) {
            return -LINUX_EFAULT;
        }
        if (is_on) {
            return -LINUX_EPERM;
        }
        uint32_t mode = wanted.flags & ~(uint32_t)SS_AUTODISARM;
        if (mode > SS_DISABLE) {
            return -LINUX_EINVAL;
        }
        if (mode != SS_DISABLE && wanted.size < 2048) {
            return -LINUX_ENOMEM;
        }
        thread->alternate_stack = mode == SS_DISABLE ? 0 : wanted.address;
        thread->alternate_size = mode == SS_DISABLE ? 0 : wanted.size;
    }
    return old_stack == 0 ? 0 : linux_copy_to_user(old_stack, &old, sizeof(old));
}

int64_t linux_sys_rt_sigreturn(void)
{
    struct linux_thread *thread = linux_self();
    uint64_t mask;
    if (!linux_signal_frame_pop(thread, &mask)) {
        const struct linux_siginfo info = {.signal = LINUX_SIGSEGV, .code = LINUX_SI_KERNEL};
        thread->process->actions[LINUX_SIGSEGV - 1].handler = LINUX_SIG_DFL;
        return linux_signal_thread(thread, &info);
    }
    linux_signal_set_mask(thread, mask);
    linux_thread_work(thread, LINUX_WORK_REGISTERS);
    return (int64_t)linux_registers_of(thread->frame)->LINUX_REGISTER_RESULT;
}

/* ---- Waiting ---- */

static void wait_for_signal(struct linux_thread *thread, uint64_t deadline)
{
    status_t status = tess_thread_sleep(thread->handle, deadline);
    (void)status; /* the caller looks */
}

int64_t linux_sys_pause(void)
{
    wait_for_signal(linux_self(), DEADLINE_INFINITE);
    return -LINUX_ERESTARTNOHAND;
}

int64_t linux_sys_rt_sigsuspend(uint64_t set, uint64_t size)
{
    struct linux_thread *thread = linux_self();
    uint64_t mask;
    if (size != SET_SIZE) {
        return -LINUX_EINVAL;
    }
    if (linux_load_user_u64(&mask, set) != 0) {
        return -LINUX_EFAULT;
    }
    linux_signal_mask_for_call(thread, mask);
    if (!linux_signal_is_pending(thread)) {
        wait_for_signal(thread, DEADLINE_INFINITE);
    }
    return -LINUX_ERESTARTNOHAND;
}

int64_t linux_sys_rt_sigtimedwait(uint64_t set, uint64_t info, uint64_t timeout, uint64_t size)
{
    struct linux_thread *thread = linux_self();
    struct linux_siginfo found;
    uint64_t wanted, ns, deadline = DEADLINE_INFINITE;
    if (size != SET_SIZE) {
        return -LINUX_EINVAL;
    }
    if (linux_load_user_u64(&wanted, set) != 0) {
        return -LINUX_EFAULT;
    }
    if (timeout != 0) {
        int64_t result = linux_time_from_user(timeout, &ns);
        if (result != 0) {
            return result;
        }
        deadline = linux_deadline_after(ns);
    }
    wanted &= ~UNBLOCKABLE;
    __c11_atomic_store(&thread->wait_set, wanted, __ATOMIC_SEQ_CST);
    linux_posix_mask(thread, thread->mask & ~wanted); /* those outside shall interrupt it, too */
    linux_signals_collect(thread);
    bool is_found = linux_signal_dequeue(thread, wanted, &found);
    if (!is_found) {
        status_t status = tess_thread_sleep(thread->handle, deadline);
        linux_signals_collect(thread);
        is_found = linux_signal_dequeue(thread, wanted, &found);
        if (!is_found) {
            thread->wait_set = 0;
            linux_posix_mask(thread, thread->mask);
            return status == ERROR_INTERRUPTED ? -LINUX_EINTR : -LINUX_EAGAIN;
        }
    }
    thread->wait_set = 0;
    linux_posix_mask(thread, thread->mask);
    uint8_t layout[128];
    linux_siginfo_layout(&found, layout);
    int64_t result = info == 0 ? 0 : linux_copy_to_user(info, layout, sizeof(layout));
    return result == 0 ? found.signal : result;
}

int64_t linux_sys_restart_syscall(void)
{
    struct linux_thread *thread = linux_self();
    return thread->restart == nullptr ? -LINUX_EINTR : thread->restart(thread);
}

/* ---- Sending ---- */

static struct linux_siginfo from_self(uint32_t signal, int32_t code)
{
    const struct linux_process *process = linux_process();
    return (struct linux_siginfo){.signal = signal, .code = code, .pid = process->pid, .uid = process->uid};
}

int64_t linux_sys_kill(uint64_t pid, uint64_t signal)
{
    struct linux_process *process = linux_process();
    int32_t target = (int32_t)pid;
    uint32_t number = (uint32_t)signal;
    if (number > LINUX_SIGNALS) {
        return -LINUX_EINVAL;
    }
    if (target != (int32_t)process->pid) {
        const struct linux_siginfo info = from_self(number, LINUX_SI_USER);
        return linux_posix_kill(target, &info);
    }
    if (number == 0) {
        return 0;
    }
    if (number == LINUX_SIGKILL) {
        linux_process_exit(LINUX_SIGKILL);
    }
    const struct linux_siginfo info = from_self(number, LINUX_SI_USER);
    return linux_signal_process(process, &info);
}

/* A thread of this process; threads of others cannot be named. */
static int64_t send_to_thread(uint32_t tid, const struct linux_siginfo *info)
{
    struct linux_process *process = linux_process();
    int64_t result = -LINUX_ESRCH;
    linux_lock(&process->thread_lock);
    for (struct linux_thread *thread = process->threads; thread != nullptr; thread = thread->next) {
        if (thread->tid == tid) {
            result = info->signal == 0 ? 0 : linux_signal_thread(thread, info);
            break;
        }
    }
    linux_unlock(&process->thread_lock);
    return result;
}

static int64_t send_checked(int32_t pid, int32_t tid, const struct linux_siginfo *info)
{
    if (tid <= 0 || pid == 0 || info->signal > LINUX_SIGNALS) {
        return -LINUX_EINVAL;
    }
    if (pid > 0 && (uint32_t)pid != linux_process()->pid) {
        return linux_posix_kill_thread(pid, tid, info);
    }
    if (info->signal == LINUX_SIGKILL) {
        linux_process_exit(LINUX_SIGKILL);
    }
    int64_t result = send_to_thread((uint32_t)tid, info);
    return result == -LINUX_ESRCH && pid < 0 ? linux_posix_kill_thread(0, tid, info) : result;
}

int64_t linux_sys_tgkill(uint64_t pid, uint64_t tid, uint64_t signal)
{
    const struct linux_siginfo info = from_self((uint32_t)signal, LINUX_SI_TKILL);
    return (int32_t)pid <= 0 ? -LINUX_EINVAL : send_checked((int32_t)pid, (int32_t)tid, &info);
}

int64_t linux_sys_tkill(uint64_t tid, uint64_t signal)
{
    const struct linux_siginfo info = from_self((uint32_t)signal, LINUX_SI_TKILL);
    return send_checked(-1, (int32_t)tid, &info);
}

static int64_t siginfo_from_user(uint64_t address, uint32_t signal, struct linux_siginfo *out)
{
    uint8_t layout[48];
    if (linux_copy_from_user(layout, address, sizeof(layout)) != 0) {
        return -LINUX_EFAULT;
    }
    *out = (struct linux_siginfo){.signal = signal,
                                  .error = (int32_t)load_le32(layout + 4),
                                  .code = (int32_t)load_le32(layout + 8),
                                  .pid = load_le32(layout + 16),
                                  .uid = load_le32(layout + 20),
                                  .value = load_le64(layout + 24)};
    return 0;
}

int64_t linux_sys_rt_sigqueueinfo(uint64_t pid, uint64_t signal, uint64_t address)
{
    struct linux_siginfo info;
    int64_t result = siginfo_from_user(address, (uint32_t)signal, &info);
    if (result != 0) {
        return result;
    }
    bool is_own = (int32_t)pid == (int32_t)linux_process()->pid;
    if (info.signal > LINUX_SIGNALS) {
        return -LINUX_EINVAL;
    }
    if (!is_own && (info.code >= 0 || info.code == LINUX_SI_TKILL)) {
        return -LINUX_EPERM;
    }
    return !is_own ? linux_posix_kill((int32_t)pid, &info) : info.signal == 0 ? 0 : linux_signal_process(linux_process(), &info);
}

int64_t linux_sys_rt_tgsigqueueinfo(uint64_t pid, uint64_t tid, uint64_t signal, uint64_t address)
{
    struct linux_siginfo info;
    int64_t result = siginfo_from_user(address, (uint32_t)signal, &info);
    return result != 0 ? result : (int32_t)pid <= 0 ? -LINUX_EINVAL : send_checked((int32_t)pid, (int32_t)tid, &info);
}
