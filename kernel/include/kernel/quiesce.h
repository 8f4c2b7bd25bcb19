/*
 * Epoch-based reclamation: handle look-ups and other lock-free readers run inside a kernel entry; memory they may still see is
 * reused only after every CPU that was in the kernel at that time has left it. A CPU in user mode or idle is quiescent, so a
 * grace period is bounded by the longest kernel entry and needs no interrupt.
 */
#pragma once
#include <kernel/cpu.h>

struct deferred {
    struct deferred *next;
    uint64_t epoch;
    void (*release)(struct deferred *deferred);
};

extern _Atomic uint64_t quiesce_epoch; /* starts at 1 */

static inline void quiesce_enter(struct cpu *cpu)
{
    uint64_t epoch = atomic_load_explicit(&quiesce_epoch, memory_order_relaxed);
    /* Who sees this epoch may take it that the entry before is over: quiesce_leave()'s barrier is before this store too. */
    atomic_store_explicit(&cpu->epoch, epoch, memory_order_relaxed);
    /* Orders the store before every later look-up: pairs with the fence in quiesce_defer(). */
    atomic_thread_fence(memory_order_seq_cst);
}

/* The entry code of every architecture does the same after a quick system call. */
static inline void quiesce_leave(struct cpu *cpu) { atomic_store_explicit(&cpu->epoch, 0, memory_order_release); }

/* The object was unlinked from everything a new reader could find it through. */
void quiesce_defer(struct deferred *deferred, void (*release)(struct deferred *));
/* Releases what is due on this CPU; the caller itself holds no unprotected pointer. False when something is left. */
bool quiesce_run(void);
/* Releases what is due on all CPUs, as far as it was deferred before this kernel entry: before NO_MEMORY is reported. May be
 * called with locks held; what it releases goes to the reap list, or is a cell. */
void quiesce_drain(void);
bool quiesce_is_pending(void);
/* So much of what was deferred on this CPU waits that it must not go on before some has come back. */
bool quiesce_is_behind(void);
uint64_t quiesce_pending_count(void);
