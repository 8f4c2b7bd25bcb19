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
