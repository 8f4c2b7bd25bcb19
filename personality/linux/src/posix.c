/* The client of posixd. Until it is there, the process is alone. */
#include <linux/call.h>
#include <linux/clone.h>
#include <linux/posix.h>
#include <linux/signals.h>
#include <linux/threads.h>

uint32_t linux_posix_thread(struct linux_thread *thread)
{
    return __c11_atomic_fetch_add((_Atomic uint32_t *)&thread->process->next_tid, 1, __ATOMIC_RELAXED);
}
void linux_posix_thread_gone(struct linux_thread *thread) { (void)thread; }
int64_t linux_posix_kill(int32_t pid, const struct linux_siginfo *info) { return (void)pid, (void)info, -LINUX_ESRCH; }
void linux_signals_collect(struct linux_thread *thread) { (void)thread; }
void linux_process_stop(uint32_t signal) { (void)signal; }
int64_t linux_fork(const struct linux_clone *clone) { return (void)clone, -LINUX_ENOSYS; }
