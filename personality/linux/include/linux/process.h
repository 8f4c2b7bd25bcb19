/*
 * What the threads of a Linux process share: the block at LINUX_ARENA_PROCESS (a vfork child's lies elsewhere in its parent's arena until it
 * execs, so it is always found through the thread). fork copies it, exec keeps it.
 */
#pragma once
#include <linux/arena.h>
#include <linux/lock.h>
#include <linux/signal.h>
#include <linux/start.h>
#include <linux/thread.h>
#include <linux/timer.h>
#include <stdint.h>
#include <tess/abi.h>

struct linux_file_table; /* file.h */
struct linux_mounts;     /* src/files */
struct linux_mapping;    /* memory.c */
struct exec;             /* exec.c */

enum : uint32_t {
    LINUX_RLIMIT_CPU = 0,
    LINUX_RLIMIT_FSIZE = 1,
    LINUX_RLIMIT_DATA = 2,
    LINUX_RLIMIT_STACK = 3,
    LINUX_RLIMIT_CORE = 4,
    LINUX_RLIMIT_NPROC = 6,
    LINUX_RLIMIT_NOFILE = 7,
    LINUX_RLIMIT_MEMLOCK = 8,
    LINUX_RLIMIT_AS = 9,
    LINUX_RLIMITS = 16,
};
struct linux_rlimit {
    uint64_t current, maximum;
};

struct linux_process {
    /* Set at the start, fork and exec. */
    handle_t process, vspace, cspace, untyped, log, image, arena, clock, signal_page, inodes, posix;
    uint32_t pid, parent;

    /* Identity: one process has one, whatever thread changes it. */
    uint32_t uid, euid, suid, fsuid, gid, egid, sgid, fsgid;
    uint32_t group_count;
    uint32_t groups[32];
    _Atomic uint32_t umask;
    char hostname[64];

    /* Threads: under thread_lock. */
    struct linux_lock thread_lock;
    struct linux_thread *threads; /* the living */
    struct linux_thread *gone;    /* blocks whose threads have ended, to be used again */
    _Atomic uint32_t thread_count;
    uint32_t next_tid;
    uint32_t cpu_count;
    int32_t nice;
    uint64_t children_cpu_ns;
    uint64_t gone_cpu_ns; /* of threads that have ended */

    /* Signals: under signal_lock, but for what signal.h says. */
    struct linux_lock signal_lock;
    struct linux_signal_action actions[LINUX_SIGNALS];
    _Atomic uint64_t pending;
    struct linux_signal_queue *queue; /* of process and threads, oldest first */
    uint32_t queue_count;

    /* Timers (timer.h): under timer_lock. */
    struct linux_lock timer_lock;
    _Atomic uint32_t timer_word;
    struct linux_thread *timer_thread;
    struct linux_timer timers[LINUX_TIMERS];

    /* Memory: under memory_lock. */
    struct linux_lock memory_lock;
    handle_t break_memory;
    struct linux_mapping *special;                /* memory.c */
    uint64_t break_start, break_end, break_limit; /* the heap of brk */
    uint64_t stack_start, stack_end, arguments_start, arguments_end, environment_start, environment_end, code_start, code_end, data_start,
        data_end;
    uint64_t auxv[48];
    struct linux_rlimit limits[LINUX_RLIMITS];
    uint32_t dumpable, no_new_privileges;

    /* Descriptors: src/files. Several processes share a table after clone(CLONE_FILES). */
    struct linux_file_table *files;
    struct linux_mounts *mounts;
    struct exec *exec;       /* while one is under way */
    char program_path[4096]; /* /proc/self/exe */

    /* The arena: under arena_lock. */
    struct linux_lock arena_lock;
    uint64_t arena_next;  /* offset; nothing was given out from here on */
    void *free_pages[16]; /* runs of 1 << n pages */
    void *free_small[8];  /* pieces of 16 << n bytes */
    uint64_t random[4];   /* state of getrandom, under arena_lock */

    uint64_t missing_calls[16]; /* bits: those that were reported as missing */
};
static_assert(LINUX_ARENA_PROCESS + sizeof(struct linux_process) <= LINUX_ARENA_MESSAGE);

[[noreturn]] void linux_process_exit(int32_t wait_status);
/* Writes a line to the log of the cell. */
[[gnu::format(printf, 2, 3)]] void linux_log(uint32_t level, const char *format, ...);
/* ns since boot, and since 1970: without a system call. */
uint64_t linux_clock_monotonic(void);
uint64_t linux_clock_wall(void);
/* Bytes that nobody can guess. */
void linux_random(void *to, uint64_t size);
