/* Making threads (thread.c, clone.c) and what the first one shares with the others. */
#pragma once
#include <linux/thread.h>

/* Fills in thread and frame of a zeroed block. */
struct linux_thread *linux_thread_prepare(struct linux_process *process, void *block);
/* The running thread gets its frame from the kernel (after exec, at the first start). */
void linux_start_upcalls(struct linux_thread *thread);
/* Maps the clock and the trampoline into a fresh address space. */
void linux_start_map_pages(void);
/* A thread of this process that is not started, with its frame: 0 or -LINUX_EAGAIN. */
[[nodiscard]] int64_t linux_thread_make(struct linux_process *process, struct linux_thread **out_thread);
