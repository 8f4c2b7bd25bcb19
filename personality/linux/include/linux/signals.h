/* Taking signals (signal.c), and laying out their frames on the program's stack (src/ARCH/signal_frame.c). */
#pragma once
#include <linux/registers.h>
#include <linux/signal.h>
#include <linux/thread.h>

/* Before the program goes on: everything that is pending and not blocked. restart: 0, or the LINUX_ERESTART* that the call ended with; then the
 * registers are made such that it is made again or answers EINTR. restore_mask: saved_mask comes back, under the handler if one runs. */
void linux_signals_take(struct linux_thread *thread, int32_t restart, bool restore_mask);
/* The fault in the frame becomes a signal to the thread. */
void linux_signal_fault(struct linux_thread *thread);

/* Where a handler's frame goes: false when the stack cannot be written. Leaves the program's registers at the handler. */
bool linux_signal_frame_push(struct linux_thread *thread, const struct linux_siginfo *info, const struct linux_signal_action *action,
                             uint64_t mask);
/* rt_sigreturn: registers and FPU from the frame at the stack pointer; out_mask: the mask there. */
bool linux_signal_frame_pop(struct linux_thread *thread, uint64_t *out_mask);
/* siginfo_t, 128 bytes. */
void linux_siginfo_layout(const struct linux_siginfo *info, uint8_t to[128]);
/* The stack that a handler gets. */
uint64_t linux_signal_stack(struct linux_thread *thread, const struct linux_signal_action *action, uint64_t sp);

void linux_signal_set_mask(struct linux_thread *thread, uint64_t mask);
/* The next signal of the set for this thread, blocked or not. */
bool linux_signal_dequeue(struct linux_thread *thread, uint64_t set, struct linux_siginfo *out);
/* Takes what posixd left in the page that it shares with the process into the pending set (posix.c). */
void linux_signals_collect(struct linux_thread *thread);
/* SIGFPE's si_code for the fault in the frame (src/ARCH). */
int32_t linux_arithmetic_code(const struct tess_upcall_frame *frame);
#if defined(__x86_64__)
constexpr int32_t LINUX_ILL_CODE = 2; /* ILL_ILLOPN */
#else
constexpr int32_t LINUX_ILL_CODE = 1; /* ILL_ILLOPC */
#endif
/* Whether the address lies in a mapping of a file or of shared memory (memory.c). */
bool linux_memory_is_file(uint64_t address);
/* SIGSTOP and its like, by default. */
void linux_process_stop(uint32_t signal);
/* A thread ends: what was sent to it alone is forgotten. */
void linux_signal_forget(struct linux_thread *thread);
void linux_signals_forget_all(struct linux_process *process);
/* For linux_signals_collect: into the pending set of a thread, or (nullptr) of the process. */
void linux_signal_enqueue(struct linux_thread *thread, const struct linux_siginfo *info);
/* Writes what the process ignores into the page that it shares with posixd. */
void linux_signal_tell_actions(struct linux_process *process);
