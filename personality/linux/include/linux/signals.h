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
bool linux_signal_frame_push(struct linux_thread *thread, const struct linux_siginfo *info, const struct linux_signal_action *action, uint64_t mask);
/* rt_sigreturn: registers and FPU from the frame at the stack pointer; out_mask: the mask there. */
bool linux_signal_frame_pop(struct linux_thread *thread, uint64_t *out_mask);
/* siginfo_t, 128 bytes. */
void linux_siginfo_layout(const struct linux_siginfo *info, uint8_t to[128]);
/* The stack that a handler gets. */
uint64_t linux_signal_stack(struct linux_thread *thread, const struct linux_signal_action *action, uint64_t sp);
