/* What posixd does for the process (posix.c): everything that concerns others. Without one (process->posix is HANDLE_NONE) a process is alone. */
#pragma once
#include <linux/signal.h>
#include <stdint.h>

/* kill(2) of somebody else: pid as there. */
int64_t linux_posix_kill(int32_t pid, const struct linux_siginfo *info);

struct linux_thread;
/* An id for a thread that is about to start, and its place in the signal page. */
uint32_t linux_posix_thread(struct linux_thread *thread);
void linux_posix_thread_gone(struct linux_thread *thread);
/* The thread's mask, for those who send from outside; and what the process ignores (signals.h). */
void linux_posix_mask(struct linux_thread *thread, uint64_t mask);
void linux_posix_actions(uint64_t ignored, uint32_t flags);
/* Whether something from outside waits to be collected. */
bool linux_posix_is_pending(struct linux_thread *thread);
int64_t linux_posix_kill_thread(int32_t pid, int32_t tid, const struct linux_siginfo *info);
/* setuid and its like: 0 or -LINUX_EPERM. */
int64_t linux_posix_credentials(uint32_t uid, uint32_t euid, uint32_t suid, uint32_t gid, uint32_t egid, uint32_t sgid);
int64_t linux_posix_option(uint32_t option, uint64_t value); /* POSIX_OPTION_* */
/* At the start and in a fork's child: the handle of posixd is no clone's, and the page is mapped. */
void linux_posix_adopt(void);
