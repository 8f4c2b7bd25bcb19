/*
 * Delegation: what a thread cannot go on from is sent as a call to the handler of its process (interface `handler`).
 *
 * The thread makes this call itself, without knowing: its frame is put aside in thread->event and made that of a call, so that
 * endpoints, rings and replies need no second way. THREAD_PENDING_EVENT is set meanwhile: before the thread next goes to user mode,
 * handler_finish() takes the answer out of the frame and puts the thread's own back. thread.interrupt does not end this wait.
 */
#pragma once
#include <kernel/process.h>

struct thread_event {
    struct arch_frame frame;
    struct fault fault; /* that ends the process if nobody handles it */
    bool may_upcall;    /* its upcall code was not asked yet */
};

/* Asks the handler about the current thread, whose frame is whole; `cause` is UPCALL_*. True when the thread waits for the answer. */
bool handler_ask(struct thread *thread, const struct fault *fault, uint32_t cause, bool may_upcall);
/* The wait is over; the thread is about to run. It may be killed then. */
void handler_finish(struct thread *thread);
void handler_release(struct process *process);     /* the process ended */
void handler_event_release(struct thread *thread); /* the thread is destroyed */
/* native_limit of a thread of this process that has no upcall frame. process->lock is held. */
uint64_t handler_native_limit(const struct process *process);
/* The registers of a thread that is stopped; nullptr: it is not. thread->lock is held. */
static inline struct arch_frame *thread_stopped_frame(struct thread *thread) REQUIRES(&thread->lock)
{
    return thread->is_in_event ? &thread->event->frame : thread->is_parked ? &thread->frame : nullptr;
}
