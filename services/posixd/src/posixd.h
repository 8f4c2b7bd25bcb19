/*
 * What the parts of the service share. One thread serves (loop); two more move the first program's bytes (stdio.c) and touch nothing of this.
 *
 * Badges: generation << 16 | index << 2 | kind. A badge of an older generation is nobody's.
 */
#pragma once
#include <posixd/core.h>
#include <ring/pipe_queue.h>
#include <std/loop.h>

constexpr uint32_t PROCESSES_MAX = 512, THREADS_MAX = 2048, WAITERS_MAX = 512, PIPES_MAX = 512;
enum badge_kind : uint32_t { BADGE_PROCESS = 0, BADGE_READER = 1, BADGE_WRITER = 2 };

static inline uint64_t badge_of(uint64_t generation, uint32_t index, enum badge_kind kind) { return generation << 16 | index << 2 | kind; }
static inline enum badge_kind badge_kind(uint64_t badge) { return (enum badge_kind)(badge & 3); }
static inline uint32_t badge_index(uint64_t badge) { return (uint32_t)(badge >> 2) & 0x3FFF; }
static inline uint64_t badge_generation(uint64_t badge) { return badge >> 16; }

/* A thread beside the first of its process, or the first. */
struct member {
    struct list_node node; /* of its process, the first thread first */
    uint32_t tid, place;
    handle_t thread; /* HANDLE_NONE: not asked for yet (the first one) */
};

/* What belongs to posix_core's record of the same index. */
struct runtime {
    handle_t process; /* HANDLE_NONE while STARTING */
    struct loop_watch death;
    struct tess_linux_signal_page *page; /* ours; nullptr for process 1 and zombies */
    struct member main;
    struct list members;
    uint64_t places_used;
    uint32_t sequence, member_count;
    struct list waiters;
    bool has_news;
    uint32_t group_count, groups[POSIX_GROUPS_MAX];
    uint64_t start_ns;
};

extern struct loop loop;
extern struct posix_core core;
extern struct runtime runtimes[PROCESSES_MAX];
extern handle_t endpoint;     /* ours; every badge is minted from it */
extern handle_t cell_untyped; /* charged for what processes have */

static inline uint32_t index_of(const struct posix_process *process) { return (uint32_t)(process - core.processes); }
static inline struct runtime *runtime_of(const struct posix_process *process) { return &runtimes[index_of(process)]; }

/* ---- process.c ---- */
void processes_init(void);
/* The page of a child: ours mapped, the memory's handle for the child in *out_memory (the caller gives or deletes it). */
[[nodiscard]] status_t process_open(struct posix_process *process, handle_t *out_memory);
/* Which process it is; takes the handle on OK. Carries out what was due. */
[[nodiscard]] status_t process_started(struct posix_process *process, handle_t handle);
void process_exec(struct posix_process *process);
[[nodiscard]] status_t thread_add(struct posix_process *process, handle_t thread, uint32_t *out_tid, uint32_t *out_place);
[[nodiscard]] status_t thread_remove(struct posix_process *process, uint32_t tid);
/* nullptr: nobody's badge, or of one that has ended. */
struct posix_process *process_of_badge(uint64_t badge);
void process_badge_gone(uint64_t badge);
/* Of the first program: called when it has ended, with what wait would say. */
extern void (*first_ended)(uint32_t code, int32_t status);
extern struct posix_process *first_process;

/* ---- wait.c ---- */
void waiters_init(void);
/* Keeps the call open. options 0: until the child `id` has called exec or ended. */
[[nodiscard]] status_t waiter_add(struct posix_process *parent, uint32_t kind, uint32_t id, uint32_t options, struct tess_call *call);
/* Of a process that has ended. */
void waiters_drop(struct posix_process *parent);
void waiters_news(struct posix_process *parent);
/* Answers whom there is something to tell; after every event. */
void waiters_run(void);
void waiters_exec(struct posix_process *child);

/* ---- pipes.c ---- */
[[nodiscard]] status_t pipe_create(uint32_t size, handle_t *out_memory, handle_t *out_reader, handle_t *out_writer);
void pipe_badge_gone(uint64_t badge);
/* A process or some of its threads were killed: what they left half done in a pipe is mended. */
void pipes_mend(void);
bool is_thread_alive(uint32_t tid);

/* ---- calls.c ---- */
status_t posix_serve(struct loop_service *service, struct tess_call *call);

/* ---- first.c, stdio.c ---- */
[[nodiscard]] status_t first_start(void);
/* If the service was given the power to; a cell for one program ends with it. */
void first_switch_off(void);
/* Bytes that are left for the cell. */
uint64_t cell_memory(void);
