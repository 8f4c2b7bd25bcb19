/*
 * The explorer: runs the kernel's own object layer on pretended CPUs, one step at a time, through every interleaving of its atomic
 * operations with up to a number of preemptions (switches away from a CPU that could go on); waiting and idling switch for free.
 * Interleavings are sequentially consistent: what weaker orderings add is not looked at here.
 *
 * A scenario sets up objects and threads once; its scripts are the system calls of each thread. Every schedule begins with the same
 * memory. When no CPU has anything to do any more, all threads must have come to the end of their scripts (a lost wake-up is a thread
 * that did not), and the scenario's own check must hold.
 */
#pragma once
#include <host.h>
#include <kernel/ipc.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>

constexpr uint32_t EXPLORE_STEPS_MAX = 6, EXPLORE_THREADS_MAX = 3;

/* One system call, or an access to an address. */
struct explore_step {
    handle_t handle;
    uint64_t op, deadline, words[6];
    uint32_t handle_of; /* 1 + number of the step whose first result is the handle; 0: `handle` is */
    vaddr_t touch;      /* instead of a call */
};

struct explore_thread {
    struct thread *thread;
    handle_t handle; /* to itself */
    struct explore_step steps[EXPLORE_STEPS_MAX];
    uint32_t count;
    bool may_end; /* before its script does */
    /* What came of them. */
    uint32_t done;
    bool is_sleeping;
    int64_t status[EXPLORE_STEPS_MAX];
    uint64_t out[EXPLORE_STEPS_MAX][4];
};

struct explore_scenario {
    const char *name;
    uint32_t cpus;
    bool is_large;        /* one preemption fewer, but in the soak */
    uint32_t clock_ticks; /* how often time may pass a deadline while others could go on */
    void (*setup)(void);
    void (*check)(void);
    void (*task)(uint32_t index); /* instead of threads: what each CPU does */
};

extern struct explore_thread explore_threads[EXPLORE_THREADS_MAX];
extern uint32_t explore_thread_count;
extern struct process *explore_process;
extern struct cspace *explore_handles;
extern struct vspace *explore_space;

/* For setup. */
extern void (*explore_returned)(const struct explore_thread *thread); /* a call of this thread's came back: looks at what must hold then */
struct explore_thread *explore_add_thread(void);
struct explore_step *explore_add_call(struct explore_thread *thread, handle_t handle, uint64_t op, uint64_t deadline, uint64_t word0,
                                      uint64_t word1);
void explore_add_touch(struct explore_thread *thread, vaddr_t address);
handle_t explore_give(struct object *object, uint32_t rights);
constexpr uint32_t EXPLORE_SUBMISSIONS = 2, EXPLORE_COMPLETIONS = 4;
struct ring *explore_make_ring(handle_t *out_handle); /* of so many entries, in one page */

#define EXPECT(condition)                                                                                                                  \
    do {                                                                                                                                   \
        if (!(condition))                                                                                                                  \
            explore_fail(__FILE__, __LINE__, #condition);                                                                                  \
    } while (0)
[[noreturn]] void explore_fail(const char *file, int line, const char *text);

extern const struct explore_scenario explore_futex, explore_futex_death, explore_link, explore_reply, explore_clone, explore_cell;
extern const struct explore_scenario explore_lend_death, explore_lend_leave, explore_lend_nested, explore_lend_late, explore_lend_spent,
    explore_lend_revoke;
extern const struct explore_scenario *const explore_scenarios[];
