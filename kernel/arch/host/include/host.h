/* What tests use to boot the kernel in a host process and to play its CPUs and programs. */
#pragma once
#include <kernel/process.h>

/* RAM of so many pages, page allocator only; all further ones need it first. May be called again: everything starts anew. */
void host_ram(uint64_t count_pages);
/* The whole object layer on `count` CPUs; the calling thread becomes CPU 0. */
void host_boot(uint64_t count_pages, uint32_t count_cpus);

/* Makes this host thread CPU `index` and runs kernel threads until host_stop(). `user` plays the program of the thread that has the
 * CPU: it puts a system call in its registers and returns 0, or returns an address that it reads and writes. `idle` is called when there is nothing to run, outside of any kernel entry. */
void host_cpu_run(uint32_t index, vaddr_t (*user)(struct thread *thread), void (*idle)(void));
void host_stop(void);
/* For a test that switches between the CPUs in one host thread, in place of host_cpu_run(). Entries to the kernel from the program of a thread,
 * which say whose program goes on; and what is pending on this CPU (false: nothing was). */
struct thread *host_call(struct thread *thread); /* the system call in its registers */
struct thread *host_touch(struct thread *thread, vaddr_t address);
bool host_take_interrupts(void);
/* Such a test's time passes only by looking at it. Set before host_boot(). */
extern bool host_time_is_virtual;
extern uint64_t host_virtual_ns;
uint64_t host_next_deadline(void);    /* of the timers of all CPUs; UINT64_MAX: none is programmed */
void host_interrupt(uint32_t source); /* a device asserts its line */
/* The state of nothing pending on this CPU: ends the present kernel entry, reaps all, and begins another. */
void host_settle(void);

constexpr uint32_t HOST_IRQ_COUNT = 8;
