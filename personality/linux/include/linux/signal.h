/*
 * Signals. Those to the process itself or one of its threads never leave the process; those from outside come through the page shared
 * with posixd and an interrupt. A signal is taken on the way out of a call, or at an interrupt, when the thread's mask does not block it.
 */
#pragma once
#include <stdint.h>

constexpr uint32_t LINUX_SIGNALS = 64; /* 1..64; bit n - 1 of a set */
enum : uint32_t {
    LINUX_SIGHUP = 1,
    LINUX_SIGINT = 2,
    LINUX_SIGQUIT = 3,
    LINUX_SIGILL = 4,
    LINUX_SIGTRAP = 5,
    LINUX_SIGABRT = 6,
    LINUX_SIGBUS = 7,
    LINUX_SIGFPE = 8,
    LINUX_SIGKILL = 9,
    LINUX_SIGUSR1 = 10,
    LINUX_SIGSEGV = 11,
    LINUX_SIGUSR2 = 12,
    LINUX_SIGPIPE = 13,
    LINUX_SIGALRM = 14,
    LINUX_SIGTERM = 15,
    LINUX_SIGSTKFLT = 16,
    LINUX_SIGCHLD = 17,
    LINUX_SIGCONT = 18,
    LINUX_SIGSTOP = 19,
    LINUX_SIGTSTP = 20,
    LINUX_SIGTTIN = 21,
    LINUX_SIGTTOU = 22,
    LINUX_SIGURG = 23,
    LINUX_SIGXCPU = 24,
    LINUX_SIGXFSZ = 25,
    LINUX_SIGVTALRM = 26,
    LINUX_SIGPROF = 27,
    LINUX_SIGWINCH = 28,
    LINUX_SIGIO = 29,
    LINUX_SIGPWR = 30,
    LINUX_SIGSYS = 31,
    LINUX_SIGRTMIN = 32,
};
static inline uint64_t linux_signal_bit(uint32_t signal) { return 1ull << (signal - 1); }

constexpr uint64_t LINUX_SIG_DFL = 0, LINUX_SIG_IGN = 1;
enum : uint64_t {
    LINUX_SA_NOCLDSTOP = 1,
    LINUX_SA_NOCLDWAIT = 2,
    LINUX_SA_SIGINFO = 4,
    LINUX_SA_RESTORER = 0x04000000,
    LINUX_SA_ONSTACK = 0x08000000,
    LINUX_SA_RESTART = 0x10000000,
    LINUX_SA_NODEFER = 0x40000000,
    LINUX_SA_RESETHAND = 0x80000000,
};
struct linux_signal_action {
    uint64_t handler, flags, restorer, mask;
};

/* siginfo, the part that has a meaning; signal.c lays it out as Linux does. */
enum : int32_t {
    LINUX_SI_USER = 0,
    LINUX_SI_KERNEL = 128,
    LINUX_SI_QUEUE = -1,
    LINUX_SI_TIMER = -2,
    LINUX_SI_TKILL = -6,
    LINUX_SEGV_MAPERR = 1,
    LINUX_SEGV_ACCERR = 2,
    LINUX_BUS_ADRALN = 1,
    LINUX_BUS_ADRERR = 2,
    LINUX_FPE_INTDIV = 1,
    LINUX_FPE_FLTINV = 7,
    LINUX_ILL_ILLOPC = 1,
    LINUX_TRAP_BRKPT = 1,
};
struct linux_siginfo {
    uint32_t signal;
    int32_t code, error;
    uint32_t pid, uid;
    int32_t status;   /* SIGCHLD */
    uint64_t value;   /* sigqueue, timers */
    uint64_t address; /* faults */
};

struct linux_thread;
struct linux_process;
/* To one thread of this process, or to any of them that does not block it. 0, or -LINUX_EAGAIN for a real-time signal that there is no
 * room to queue. SIGPIPE of a write, say: linux_signal_thread(linux_self(), &info). */
int64_t linux_signal_thread(struct linux_thread *thread, const struct linux_siginfo *info);
int64_t linux_signal_process(struct linux_process *process, const struct linux_siginfo *info);
/* Whether a signal that this thread does not block waits for it (ppoll and the like, before they begin to wait). */
bool linux_signal_is_pending(struct linux_thread *thread);
/* ppoll, pselect, epoll_pwait, sigsuspend: another mask until the call has ended and its signals were taken; then the old one comes back. */
void linux_signal_mask_for_call(struct linux_thread *thread, uint64_t mask);
