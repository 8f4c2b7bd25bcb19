/*
 * Trace events (trace/trace.c; abi/trace.toml says which). An event whose class is off costs one test of a bit in struct cpu; what
 * lies on the shortest ways (null call, call and reply) costs nothing: while anything is traced EXIT_TRACE stands in exit_work, those
 * ways see that something is to be done, and the longer way records the event.
 *
 * A buffer is written by its own CPU only, inside a kernel entry: its memory, once killed, is freed after every CPU has left the
 * kernel. Any context with interrupts off; takes no lock, except events of the class `life`.
 */
#pragma once
#include <kernel/object.h>
#include <kernel/spinlock.h>

struct memory;
struct thread;

struct trace {
    struct object object;
};

extern struct trace trace_object;
void trace_init(void);

static inline bool trace_is_on(const struct cpu *cpu, uint32_t class) { return __builtin_expect(peek(cpu->trace.mask) & class, 0) != 0; }
/* Behind the test above. thread: an id, of which the low half is kept. */
[[gnu::cold]] void trace_write(struct cpu *cpu, uint16_t event, uint64_t thread, uint64_t first, uint64_t second);
[[gnu::cold]] void trace_write_life(struct cpu *cpu, uint16_t event, uint64_t thread, uint64_t first, uint64_t second);

/* What an event's thread is when the place does not know better: who was switched to last; 0 = idle. */
static inline uint64_t trace_thread_id(const struct cpu *cpu) { return cpu->trace.thread_id; }

/* irq_ipi: takes over what trace.start, change or stop wanted of this CPU. */
void trace_update(struct cpu *cpu);
/* The CPU runs `thread` from now on; nullptr = idle. */
[[gnu::cold]] void trace_switched(struct cpu *cpu, const struct thread *thread);
static inline void trace_running(struct cpu *cpu, const struct thread *thread)
{
    if (__builtin_expect(peek(cpu->trace.mask), 0) != 0)
        trace_switched(cpu, thread);
}
/* Why the next switch happens, when it is not because the thread waits. */
enum trace_why : uint32_t { TRACE_WHY_WAITS, TRACE_WHY_GIVES_WAY, TRACE_WHY_HANDS_OVER, TRACE_WHY_ENDED, TRACE_WHY_SUSPENDED };
static inline void trace_why(struct cpu *cpu, enum trace_why why) { cpu->trace.why = why; }
/* The short way of a call or reply became the long one: `from` handed over to `to`. */
[[gnu::cold]] void trace_handed_over(struct cpu *cpu, const struct thread *from, const struct thread *to);
/* A system call ended at once with `status`, or (STATUS_BLOCKED) begins that may wait. */
[[gnu::cold]] void trace_call_made(struct cpu *cpu, status_t status);
/* smp_poll() of a CPU that waits for the lock: each wait is recorded once. One function, because the loop it is called from is part of
 * every place that takes a lock. */
void smp_poll_for(const struct spinlock *lock);

/* memory_kill: if it is the recording's, nothing more is recorded. */
void trace_memory_gone(struct memory *memory);
