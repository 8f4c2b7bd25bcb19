/*
 * Pagers: user programs that bring the pages of a memory (abi/kernel/pager.toml, docs/decisions/0011).
 *
 * Who touches a page that is not there waits in pager->faults; the waiting threads are the requests, so a request costs nothing that its
 * client does not pay. Of those that wait for one page one is told to the pager, all are marked told. The queue may be long: whoever goes
 * through it drops the lock now and then. Nothing waits inside a system call: that fails with NOT_PRESENT. The memory does not count its pager: the end of the pager takes it out of its memories.
 * Lock order: vspace->lock, memory->lock, pager->lock.
 */
#pragma once
#include <arch/arch.h>
#include <kernel/memory.h>
#include <kernel/thread.h>

struct pager {
    struct object object;
    struct spinlock lock;
    struct wait_queue faults;               /* threads; wait_arg: page, wait_bits: fault_key() */
    struct wait_queue takers;               /* pager.request */
    bool is_telling GUARDED_BY(&lock);      /* one at a time looks for what to tell, and drops the lock meanwhile */
    struct list memories GUARDED_BY(&lock); /* struct memory, pager_node */
};

extern const struct object_class pager_class;

/* The current thread's access to a page that is not there: STATUS_BLOCKED, and it waits; OK: the page may be there now, try again; else what
 * the access failed with: PEER_DIED, or what the pager said when the thread waited for this page just now. */
status_t pager_wait(struct thread *thread, vaddr_t address, uint32_t access);
/* The wait is over; the thread is about to run, or to be ended. */
void pager_wait_finish(struct thread *thread);
/* An interrupt does not end the wait: there is no upcall code that could take it before the access is made again. */
bool pager_wait_is_masked(const struct thread *thread);
/* These pages of the memory are there, or will never be: who waits for them looks again. No lock held. */
void pager_wake(struct memory *memory, uint64_t first, uint64_t count);
void pager_memory_gone(struct memory *memory);
/* How a page that is there may be mapped for this access; a write makes it dirty. */
void pager_page_used_locked(struct memory *memory, paddr_t page, uint32_t access, uint32_t *prot) REQUIRES(&memory->lock);
