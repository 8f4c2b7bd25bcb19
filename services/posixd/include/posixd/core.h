/*
 * Who is whose parent, group and session; who waits for whom; who may signal whom. Pure: the world is told through struct posix_operations,
 * so the host tests it. One thread. No allocation: the caller gives the records, and their number is the limit.
 *
 * Process 1 is the service itself: it adopts orphans and forgets them when they end.
 *
 *     FREE -> STARTING (fork) -> ALIVE <-> STOPPED -> ZOMBIE -> FREE        STARTING -> FREE (abort)
 *
 * Invariants: the parent of a record in use is in use and no zombie (process 1's is itself); it is in its parent's list; members of one group
 * are in one session; a zombie has a parent that may still ask, and no children.
 */
#pragma once
#include <stdint.h>
#include <tess/abi.h>
#include <tess/list.h>

constexpr uint32_t POSIX_ID_MAX = 4'194'304; /* as on Linux with 64 bits */
constexpr uint32_t POSIX_GROUPS_MAX = 32, POSIX_LIMITS = 16;
constexpr uint32_t POSIX_AS_IS = UINT32_MAX;

/* Numbers that every architecture of Linux shares here. */
enum : uint32_t {
    SIGNAL_HUP = 1,
    SIGNAL_KILL = 9,
    SIGNAL_SEGV = 11,
    SIGNAL_CHLD = 17,
    SIGNAL_CONT = 18,
    SIGNAL_STOP = 19,
    SIGNAL_TSTP = 20,
    SIGNAL_TTIN = 21,
    SIGNAL_TTOU = 22,
    SIGNAL_REALTIME = 32,
    SIGNAL_MAX = 64,
};

enum posix_state : uint32_t { POSIX_FREE, POSIX_STARTING, POSIX_ALIVE, POSIX_STOPPED, POSIX_ZOMBIE };

struct posix_ids {
    uint32_t real, effective, saved;
};
struct posix_limit {
    uint64_t soft, hard;
};

struct posix_process {
    enum posix_state state;
    uint32_t pid, group, session;
    struct posix_process *parent;
    struct list children;
    struct list_node siblings;
    struct posix_ids uid, gid;
    struct posix_limit limits[POSIX_LIMITS];
    uint32_t exit_signal;   /* to the parent at the end */
    uint32_t parent_signal; /* from the parent's end */
    bool is_subreaper, has_execed;
    bool is_kill_due; /* killed while STARTING */
    bool has_stop_news, has_continue_news;
    uint32_t stop_signal;
    uint32_t end_code; /* POSIX_CHILD_*, of a zombie */
    int32_t end_status;
    uint64_t cpu_ns;
    char name[NAME_BYTES];
    uint64_t generation; /* counts the uses of the record */
};

struct posix_signal {
    uint32_t signal;
    int32_t code;
    uint32_t pid, uid; /* of the sender; SIGCHLD: of the child */
    uint64_t value;
};

struct posix_report {
    struct posix_process *child;
    uint32_t code; /* POSIX_CHILD_* */
    int32_t status;
};

/* None of these calls back. */
struct posix_operations {
    /* Queues the signal and interrupts a thread. thread 0: any. NO_SPACE: a real-time signal for which there was no room. */
    status_t (*send)(void *context, struct posix_process *process, uint32_t thread, const struct posix_signal *signal);
    void (*kill)(void *context, struct posix_process *process);
    void (*stop)(void *context, struct posix_process *process);
    void (*resume)(void *context, struct posix_process *process);
    /* There may be something to report to the parent's waiters, or a waiter's last child has gone. */
    void (*news)(void *context, struct posix_process *parent);
    bool (*has_thread)(void *context, const struct posix_process *process, uint32_t thread);
    bool (*is_thread_id)(void *context, uint32_t id);
    uint32_t (*child_flags)(void *context, const struct posix_process *parent); /* LINUX_SIGNAL_NO_CHILD_* */
    void (*freed)(void *context, struct posix_process *process);                /* the record is about to be free */
};

struct posix_core {
    struct posix_process *processes; /* [0] is process 1 */
    uint32_t count, used_count;      /* records; in use, zombies too */
    uint32_t next_id;
    bool has_wrapped; /* ids come the second time: each is looked for */
    const struct posix_operations *operations;
    void *context;
};

void posix_core_init(struct posix_core *core, struct posix_process *processes, uint32_t count, const struct posix_operations *operations,
                     void *context);
/* nullptr: none with this id. Zombies are found. */
struct posix_process *posix_find(struct posix_core *core, uint32_t pid);
/* An id that names no process, thread, group or session. */
uint32_t posix_id_next(struct posix_core *core);

/* ---- Life ---- */
[[nodiscard]] status_t posix_fork(struct posix_core *core, struct posix_process *maker, uint32_t exit_signal, uint32_t flags,
                                  struct posix_process **out_child);
void posix_fork_abort(struct posix_core *core, struct posix_process *child);
/* STARTING -> ALIVE, or it is killed at once. */
void posix_started(struct posix_core *core, struct posix_process *child);
void posix_exec(struct posix_process *process, const uint8_t name[NAME_BYTES]);
/* Of a process that is not a zombie yet. The record is free afterwards or a zombie. */
void posix_ended(struct posix_core *core, struct posix_process *process, uint32_t code, int32_t status);

/* ---- wait ---- */
/* OK: a report, not taken yet. WOULD_BLOCK: none now. NOT_FOUND: there is no such child. */
[[nodiscard]] status_t posix_wait_find(struct posix_core *core, struct posix_process *parent, uint32_t kind, uint32_t id, uint32_t options,
                                       struct posix_report *out_report);
/* It was given. */
void posix_wait_take(struct posix_core *core, const struct posix_report *report, uint32_t options);

/* ---- Signals ---- */
[[nodiscard]] status_t posix_kill(struct posix_core *core, struct posix_process *sender, uint32_t kind, uint32_t id, uint32_t thread,
                                  const struct posix_signal *signal);
/* Without asking who sends. */
status_t posix_signal_send(struct posix_core *core, struct posix_process *process, uint32_t thread, const struct posix_signal *signal);
/* The default action of a stop signal. */
[[nodiscard]] status_t posix_stop(struct posix_core *core, struct posix_process *process, uint32_t signal);

/* ---- Groups, sessions, credentials, limits ---- */
[[nodiscard]] status_t posix_set_group(struct posix_core *core, struct posix_process *caller, uint32_t pid, uint32_t group);
[[nodiscard]] status_t posix_new_session(struct posix_core *core, struct posix_process *process);
bool posix_is_orphaned(struct posix_core *core, uint32_t group);
[[nodiscard]] status_t posix_set_credentials(struct posix_process *process, const uint32_t uid[3], const uint32_t gid[3]);
[[nodiscard]] status_t posix_set_limit(struct posix_core *core, struct posix_process *caller, struct posix_process *process,
                                       uint32_t resource, bool is_set, struct posix_limit limit, struct posix_limit *out_old);
