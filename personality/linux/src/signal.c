/*
 * Signals: who gets them, and what becomes of them. Pending sets and the queue of siginfos are under signal_lock; the mask is its thread's.
 * A sender that finds a thread which does not block the signal marks its work and interrupts it: interrupts are sticky, so nothing falls
 * between the thread's look at its pending set and its wait.
 */
#include <linux/call.h>
#include <linux/posix.h>
#include <linux/signals.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/thread.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint32_t QUEUE_MAX = 1024;
constexpr uint64_t UNBLOCKABLE = 1ull << (LINUX_SIGKILL - 1) | 1ull << (LINUX_SIGSTOP - 1);
constexpr uint64_t IGNORED =
    1ull << (LINUX_SIGCHLD - 1) | 1ull << (LINUX_SIGURG - 1) | 1ull << (LINUX_SIGWINCH - 1) | 1ull << (LINUX_SIGCONT - 1);
constexpr uint64_t STOPPING =
    1ull << (LINUX_SIGSTOP - 1) | 1ull << (LINUX_SIGTSTP - 1) | 1ull << (LINUX_SIGTTIN - 1) | 1ull << (LINUX_SIGTTOU - 1);
constexpr uint64_t SYNCHRONOUS = 1ull << (LINUX_SIGSEGV - 1) | 1ull << (LINUX_SIGBUS - 1) | 1ull << (LINUX_SIGILL - 1) |
                                 1ull << (LINUX_SIGTRAP - 1) | 1ull << (LINUX_SIGFPE - 1) | 1ull << (LINUX_SIGSYS - 1);

struct linux_signal_queue {
    struct linux_signal_queue *next;
    struct linux_thread *thread; /* nullptr: to the process */
    struct linux_siginfo info;
};

static bool is_ignored(const struct linux_process *process, uint32_t signal)
{
    uint64_t handler = process->actions[signal - 1].handler;
    return handler == LINUX_SIG_IGN || (handler == LINUX_SIG_DFL && (IGNORED & linux_signal_bit(signal)) != 0);
}

static uint64_t mask_of(struct linux_thread *thread) { return __c11_atomic_load(&thread->mask, __ATOMIC_RELAXED); }
static uint64_t pending_of(struct linux_thread *thread)
{
    return __c11_atomic_load(&thread->pending, __ATOMIC_RELAXED) | __c11_atomic_load(&thread->process->pending, __ATOMIC_RELAXED);
}

static void store_mask(struct linux_thread *thread, uint64_t mask)
{
    __c11_atomic_store(&thread->mask, mask & ~UNBLOCKABLE, __ATOMIC_SEQ_CST);
    linux_posix_mask(thread, mask & ~UNBLOCKABLE);
}

void linux_signal_set_mask(struct linux_thread *thread, uint64_t mask)
{
    store_mask(thread, mask);
    if ((pending_of(thread) & ~mask) != 0 || linux_posix_is_pending(thread)) {
        linux_thread_work(thread, LINUX_WORK_SIGNAL);
    }
}

bool linux_signal_is_pending(struct linux_thread *thread)
{
    linux_signals_collect(thread);
    return (pending_of(thread) & ~mask_of(thread)) != 0;
}

void linux_signal_mask_for_call(struct linux_thread *thread, uint64_t mask)
{
    thread->saved_mask = mask_of(thread);
    linux_thread_work(thread, LINUX_WORK_RESTORE_MASK);
    linux_signal_set_mask(thread, mask);
}

/* ---- Sending ---- */

static bool wants(struct linux_thread *thread, uint64_t bit)
{
    return (mask_of(thread) & bit) == 0 || (__c11_atomic_load(&thread->wait_set, __ATOMIC_RELAXED) & bit) != 0;
}

static void kick(struct linux_thread *thread)
{
    linux_thread_work(thread, LINUX_WORK_SIGNAL);
    if (thread != linux_self()) {
        status_t status = tess_thread_interrupt(thread->handle);
        (void)status; /* it has just ended */
    }
}

/* signal_lock is held. */
static int64_t enqueue(struct linux_process *process, struct linux_thread *thread, const struct linux_siginfo *info)
{
    _Atomic uint64_t *pending = thread != nullptr ? &thread->pending : &process->pending;
    uint64_t bit = linux_signal_bit(info->signal);
    if (info->signal < LINUX_SIGRTMIN && (*pending & bit) != 0) {
        return 0;
    }
    struct linux_signal_queue *entry = process->queue_count < QUEUE_MAX ? linux_allocate(sizeof(*entry)) : nullptr;
    if (entry == nullptr && info->signal >= LINUX_SIGRTMIN) {
        return -LINUX_EAGAIN;
    }
    if (entry != nullptr) {
        *entry = (struct linux_signal_queue){.thread = thread, .info = *info};
        struct linux_signal_queue **link = &process->queue;
        while (*link != nullptr) {
            link = &(*link)->next;
        }
        *link = entry;
        process->queue_count++;
    }
    __c11_atomic_fetch_or(pending, bit, __ATOMIC_SEQ_CST);
    return 0;
}

void linux_signal_enqueue(struct linux_thread *thread, const struct linux_siginfo *info)
{
    struct linux_process *process = linux_process();
    linux_lock(&process->signal_lock);
    int64_t result = enqueue(process, thread, info);
    (void)result; /* with no room it is lost, as its like are in posixd's page */
    linux_unlock(&process->signal_lock);
}

void linux_signals_forget_all(struct linux_process *process)
{
    for (struct linux_signal_queue *entry = process->queue, *next; entry != nullptr; entry = next) {
        next = entry->next;
        linux_free(entry, sizeof(*entry));
    }
    process->queue = nullptr;
    process->queue_count = 0;
}

void linux_signal_tell_actions(struct linux_process *process)
{
    uint64_t ignored = 0, child = process->actions[LINUX_SIGCHLD - 1].flags;
    for (uint32_t signal = 1; signal <= LINUX_SIGNALS; signal++) {
        ignored |= is_ignored(process, signal) && signal != LINUX_SIGCONT ? linux_signal_bit(signal) : 0;
    }
    bool is_child_ignored = process->actions[LINUX_SIGCHLD - 1].handler == LINUX_SIG_IGN;
    linux_posix_actions(ignored, ((child & LINUX_SA_NOCLDSTOP) != 0 ? LINUX_SIGNAL_NO_CHILD_STOP : 0) |
                                     (is_child_ignored || (child & LINUX_SA_NOCLDWAIT) != 0 ? LINUX_SIGNAL_NO_CHILD_WAIT : 0));
}

int64_t linux_signal_thread(struct linux_thread *thread, const struct linux_siginfo *info)
{
    struct linux_process *process = thread->process;
    uint64_t bit = linux_signal_bit(info->signal);
    int64_t result = 0;
    linux_lock(&process->signal_lock);
    if (!is_ignored(process, info->signal) || !wants(thread, bit) || (mask_of(thread) & bit) != 0) {
        result = enqueue(process, thread, info);
    }
    linux_unlock(&process->signal_lock);
    if (result == 0 && wants(thread, bit)) {
        kick(thread);
    }
    return result;
}

int64_t linux_signal_process(struct linux_process *process, const struct linux_siginfo *info)
{
    uint64_t bit = linux_signal_bit(info->signal);
    struct linux_thread *self = linux_self(), *target = nullptr;
    int64_t result = 0;
    linux_lock(&process->thread_lock);
    linux_lock(&process->signal_lock);
    if (self->process == process && wants(self, bit)) {
        target = self;
    }
    for (struct linux_thread *thread = process->threads; thread != nullptr && target == nullptr; thread = thread->next) {
        target = wants(thread, bit) ? thread : nullptr;
    }
    if (!is_ignored(process, info->signal) || target == nullptr || (mask_of(target) & bit) != 0) {
        result = enqueue(process, nullptr, info);
        if (result == 0 && target != nullptr) {
            kick(target);
        }
    }
    linux_unlock(&process->signal_lock);
    linux_unlock(&process->thread_lock);
    return result;
}

void linux_signal_forget(struct linux_thread *thread)
{
    struct linux_process *process = thread->process;
    linux_lock(&process->signal_lock);
    for (struct linux_signal_queue **link = &process->queue; *link != nullptr;) {
        struct linux_signal_queue *entry = *link;
        if (entry->thread != thread) {
            link = &entry->next;
            continue;
        }
        *link = entry->next;
        process->queue_count--;
        linux_free(entry, sizeof(*entry));
    }
    linux_unlock(&process->signal_lock);
}

/* ---- Taking ---- */

/* The next of `set` for this thread: synchronous ones first, then the lowest number; its own before the process's. */
static bool dequeue(struct linux_thread *thread, uint64_t set, struct linux_siginfo *out)
{
    struct linux_process *process = thread->process;
    linux_lock(&process->signal_lock);
    uint64_t candidates = pending_of(thread) & set;
    if (candidates == 0) {
        linux_unlock(&process->signal_lock);
        return false;
    }
    candidates = (candidates & SYNCHRONOUS) != 0 ? candidates & SYNCHRONOUS : candidates;
    uint32_t signal = bit_lowest(candidates) + 1;
    uint64_t bit = linux_signal_bit(signal);
    bool is_own = (thread->pending & bit) != 0, is_found = false, is_more = false;
    *out = (struct linux_siginfo){.signal = signal};
    for (struct linux_signal_queue **link = &process->queue; *link != nullptr;) {
        struct linux_signal_queue *entry = *link;
        if (entry->info.signal != signal || entry->thread != (is_own ? thread : nullptr)) {
            link = &entry->next;
        } else if (!is_found) {
            *out = entry->info;
            *link = entry->next;
            process->queue_count--;
            is_found = true;
            linux_free(entry, sizeof(*entry));
        } else {
            is_more = true;
            break;
        }
    }
    if (!is_more) {
        __c11_atomic_fetch_and(is_own ? &thread->pending : &process->pending, ~bit, __ATOMIC_SEQ_CST);
    }
    linux_unlock(&process->signal_lock);
    return true;
}

/* What a handler's program sees of the call that was cut short. */
static void end_call(struct linux_thread *thread, int32_t restart, uint64_t flags)
{
    linux_registers *registers = linux_registers_of(thread->frame);
    bool is_again = restart == LINUX_ERESTARTNOINTR || (restart == LINUX_ERESTARTSYS && (flags & LINUX_SA_RESTART) != 0);
    if (is_again) {
        registers->LINUX_REGISTER_PC -= LINUX_CALL_INSTRUCTION;
    } else if (restart != 0) {
        registers->LINUX_REGISTER_RESULT = (uint64_t)-LINUX_EINTR;
    }
}

static void make_again(struct linux_thread *thread, int32_t restart)
{
    linux_registers *registers = linux_registers_of(thread->frame);
    registers->LINUX_REGISTER_PC -= LINUX_CALL_INSTRUCTION;
    if (restart == LINUX_ERESTART_RESTARTBLOCK) {
        linux_call_set_number(registers, LINUX_CALL_RESTART_SYSCALL);
    }
}

/* A handler, or the end. False: nothing came of it. */
static bool deliver(struct linux_thread *thread, const struct linux_siginfo *info, int32_t restart, uint64_t old_mask)
{
    struct linux_process *process = thread->process;
    linux_lock(&process->signal_lock);
    struct linux_signal_action action = process->actions[info->signal - 1];
    if (action.handler > LINUX_SIG_IGN && (action.flags & LINUX_SA_RESETHAND) != 0) {
        process->actions[info->signal - 1].handler = LINUX_SIG_DFL;
    }
    linux_unlock(&process->signal_lock);
    uint64_t bit = linux_signal_bit(info->signal);
    if (action.handler == LINUX_SIG_IGN || (action.handler == LINUX_SIG_DFL && (IGNORED & bit) != 0)) {
        return false;
    }
    if (action.handler == LINUX_SIG_DFL && (STOPPING & bit) != 0) {
        linux_process_stop(info->signal);
        return false;
    }
    if (action.handler == LINUX_SIG_DFL) {
        if ((SYNCHRONOUS & bit) != 0 && info->code > 0) {
            linux_log(LOG_WARNING, "linux: process %u dies of signal %u, code %d, address %#llx, pc %#llx", process->pid, info->signal,
                      info->code, (unsigned long long)info->address,
                      (unsigned long long)linux_registers_of(thread->frame)->LINUX_REGISTER_PC);
        }
        linux_process_exit((int32_t)info->signal);
    }
    end_call(thread, restart, action.flags);
    if (!linux_signal_frame_push(thread, info, &action, old_mask)) {
        linux_process_exit(LINUX_SIGSEGV); /* there is no stack for its handler either */
    }
    uint64_t blocked = mask_of(thread) | action.mask | ((action.flags & LINUX_SA_NODEFER) != 0 ? 0 : bit);
    store_mask(thread, blocked);
    return true;
}

void linux_signals_take(struct linux_thread *thread, int32_t restart, bool restore_mask)
{
    struct linux_siginfo info;
    for (;;) {
        while (linux_signal_is_pending(thread) && dequeue(thread, ~mask_of(thread), &info)) {
            uint64_t old_mask = restore_mask ? thread->saved_mask : mask_of(thread);
            if (deliver(thread, &info, restart, old_mask)) {
                restart = 0;
                restore_mask = false;
            }
        }
        if (!restore_mask) {
            break;
        }
        restore_mask = false;
        store_mask(thread, thread->saved_mask);
    }
    if (restart != 0) {
        make_again(thread, restart);
    }
}

/* ---- Faults ---- */

/* One that cannot be blocked: with the signal blocked or ignored the process ends. */
static void force(struct linux_thread *thread, const struct linux_siginfo *info)
{
    struct linux_process *process = thread->process;
    uint64_t bit = linux_signal_bit(info->signal);
    linux_lock(&process->signal_lock);
    struct linux_signal_action *action = &process->actions[info->signal - 1];
    if ((mask_of(thread) & bit) != 0 || action->handler == LINUX_SIG_IGN) {
        action->handler = LINUX_SIG_DFL;
        store_mask(thread, mask_of(thread) & ~bit);
    }
    int64_t result = enqueue(process, thread, info);
    linux_unlock(&process->signal_lock);
    (void)result;
}

static void describe_page(uint64_t address, bool is_guard, struct linux_siginfo *info)
{
    struct linux_process *process = linux_process();
    uint64_t start, size, offset;
    uint32_t flags;
    bool is_mapped = address < LINUX_USER_TOP && tess_vspace_query(process->vspace, address, &start, &size, &flags, &offset) == OK &&
                     start <= address && !(address >= process->break_end && address < process->break_limit);
    *info = (struct linux_siginfo){.signal = LINUX_SIGSEGV, .code = is_mapped ? LINUX_SEGV_ACCERR : LINUX_SEGV_MAPERR, .address = address};
    if (is_guard && is_mapped && linux_memory_is_file(address)) { /* behind the file's end */
        info->signal = LINUX_SIGBUS;
        info->code = LINUX_BUS_ADRERR;
    }
}

void linux_signal_fault(struct linux_thread *thread)
{
    const struct tess_upcall_context *fault = &thread->frame->foreign;
    uint64_t pc = linux_registers_of(thread->frame)->LINUX_REGISTER_PC;
    struct linux_siginfo info = {.address = pc};
    thread->fault_address = fault->address;
    thread->fault_access = fault->access;
    thread->fault_cause = fault->cause;
    switch (fault->cause) {
    case UPCALL_PAGE: describe_page(fault->address, false, &info); break;
    case UPCALL_GUARD: describe_page(fault->address, true, &info); break;
    case UPCALL_PAGER: info = (struct linux_siginfo){.signal = LINUX_SIGBUS, .code = LINUX_BUS_ADRERR, .address = fault->address}; break;
    case UPCALL_ALIGNMENT:
        info = (struct linux_siginfo){.signal = LINUX_SIGBUS, .code = LINUX_BUS_ADRALN, .address = fault->address};
        break;
    case UPCALL_ILLEGAL:
        info.signal = LINUX_SIGILL;
        info.code = LINUX_ILL_CODE;
        break;
    case UPCALL_BREAKPOINT: info.signal = LINUX_SIGTRAP;
#if defined(__x86_64__)
        info.code = LINUX_SI_KERNEL;
        info.address = 0;
#else
        info.code = LINUX_TRAP_BRKPT;
#endif
        break;
    case UPCALL_ARITHMETIC:
        info.signal = LINUX_SIGFPE;
        info.code = linux_arithmetic_code(thread->frame);
        break;
    case UPCALL_NO_MEMORY:
        linux_log(LOG_ERROR, "linux: process %u is out of memory at %#llx", thread->process->pid, (unsigned long long)fault->address);
        linux_process_exit(LINUX_SIGKILL);
    default: info = (struct linux_siginfo){.signal = LINUX_SIGSEGV, .code = LINUX_SI_KERNEL}; break;
    }
    force(thread, &info);
}

/* ---- siginfo_t (include/uapi/asm-generic/siginfo.h of Linux) ---- */

void linux_siginfo_layout(const struct linux_siginfo *info, uint8_t to[128])
{
    memset(to, 0, 128);
    store_le32(to, info->signal);
    store_le32(to + 4, (uint32_t)info->error);
    store_le32(to + 8, (uint32_t)info->code);
    bool is_fault = (SYNCHRONOUS & linux_signal_bit(info->signal)) != 0 && info->code > 0;
    if (is_fault) {
        store_le64(to + 16, info->address);
        return;
    }
    store_le32(to + 16, info->pid);
    store_le32(to + 20, info->uid);
    if (info->signal == LINUX_SIGCHLD && info->code > 0) {
        store_le32(to + 24, (uint32_t)info->status);
    } else {
        store_le64(to + 24, info->value);
    }
}

uint64_t linux_signal_stack(struct linux_thread *thread, const struct linux_signal_action *action, uint64_t sp)
{
    bool is_on = sp - thread->alternate_stack <= thread->alternate_size && sp != thread->alternate_stack;
    bool is_wanted = (action->flags & LINUX_SA_ONSTACK) != 0 && thread->alternate_size != 0 && !is_on;
    return is_wanted ? thread->alternate_stack + thread->alternate_size : sp;
}

/* rt_sigtimedwait. */
bool linux_signal_dequeue(struct linux_thread *thread, uint64_t set, struct linux_siginfo *out) { return dequeue(thread, set, out); }
