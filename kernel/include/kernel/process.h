/* The process object: address space, handles, threads, and how it ended. */
#pragma once
#include <arch/arch.h>
#include <kernel/cap.h>
#include <kernel/cell.h>
#include <kernel/thread.h>

enum process_state : uint32_t { PROCESS_ALIVE, PROCESS_ENDING, PROCESS_ENDED };

struct process {
    struct object object;
    struct spinlock lock;
    struct vspace *vspace;      /* counted */
    struct cspace *cspace;      /* counted */
    struct cell *cell;          /* counted */
    struct list_node cell_node; /* cell->lock */
    bool was_told;              /* cell->lock: the end of its cell ended it */
    struct list threads GUARDED_BY(&lock);
    uint32_t thread_count GUARDED_BY(&lock);
    enum process_state state; /* changed under lock, only forwards; a stale read is an earlier state */
    uint32_t exit_cause;
    int32_t exit_status;
    struct wait_queue waiters;
    struct list_node all_node; /* process_all, process_all_lock */
    uint64_t start_ns, cpu_ns; /* cpu_ns: of ended threads */
    char name[16];
    struct tess_crash_record crash;
    bool has_crash;
    /* Who hears of faults (object/handler.c); changed under lock. */
    struct endpoint *handler; /* counted; nullptr = nobody */
    uint32_t handler_rights, handler_flags;
    struct badge handler_badge;                   /* its value only */
    struct thread *exec_thread GUARDED_BY(&lock); /* in process.exec: no new threads; nullptr = none */
    uint32_t exec_slot;                           /* exec_thread: slots below are done */
    bool is_needed;                               /* the first process: the system ends with it */
};

extern const struct object_class process_class;
extern struct list process_all;
extern struct spinlock process_all_lock;

[[nodiscard]] status_t process_create(struct untyped *untyped, struct cell *cell, struct vspace *vspace, struct cspace *cspace,
                                      const char name[16], struct process **out_process);
/* Ends it: the first cause counts. Its threads end when they next would run. */
void process_end(struct process *process, uint32_t cause, int32_t status);
/* process.exec: every thread but `but` is told to end. */
void process_end_siblings(struct process *process, struct thread *but);
void process_thread_finished(struct process *process, struct thread *thread);
/* The process with this id, or with the smallest above it, counted; nullptr when there is none. */
struct process *process_find(uint64_t id, bool is_exact);
void process_describe(struct process *process, struct tess_process_info *out_info);
void process_crash(struct thread *thread, const struct fault *fault);
