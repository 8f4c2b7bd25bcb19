/*
 * Upcalls: how code that is not written for this kernel runs (docs/decisions/0005). A thread with an upcall frame makes native calls
 * only from the native range. What happens outside it (system calls, faults, interrupts) is saved in the frame's first context and
 * entered at upcall_entry; a fault inside it uses the second one.
 *
 * The frame is pinned and reached through the direct map, so nothing here can fail for want of memory. Everything in it can be changed
 * by other threads of the process at any moment: each word is read once, and what reaches a register passes arch_frame_sanitize().
 *
 * thread->upcall, upcall_memory and frame->pending change under thread->lock; the thread itself reads them without.
 */
#pragma once
#include <kernel/thread.h>

static_assert(sizeof(struct tess_upcall_frame) <= UPCALL_FRAME_SIZE);

/* Whether code at this address is foreign for a thread with a limit. */
static inline bool is_foreign_code(const struct thread *thread, uint64_t pc) { return thread->native_limit != 0 && pc < NATIVE_BASE; }

/* A fault of the current thread that the kernel cannot resolve: false when it has no upcall code for it either. */
bool upcall_fault(struct thread *thread, const struct fault *fault);
/* An interrupt is pending for the current thread, which is about to go back to user mode: enters its upcall code if it can now. */
void upcall_interrupt(struct thread *thread);
/* Marks an interrupt as pending. True when it stays so until it is consumed. */
bool upcall_mark_interrupt(struct thread *thread);
/* The thread's native code waits for something that an interrupt shall not end. */
bool upcall_is_masked(struct thread *thread);
/* process.clone: a thread that was not started gets the upcall set-up of another, with the frame at the same place of `memory`. */
[[nodiscard]] status_t upcall_clone(struct thread *thread, const struct thread *from, struct memory *memory);
/* process.exec: the current thread has none any more. */
void upcall_reset(struct thread *thread);
void upcall_release(struct thread *thread); /* the thread is destroyed */
