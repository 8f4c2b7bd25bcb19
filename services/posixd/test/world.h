/* What posixd's core sees of the world, recorded. */
#pragma once
#include <check.h>
#include <posixd/core.h>

static constexpr uint32_t WORLD_PROCESSES = 24;

struct world {
    struct posix_core core;
    struct posix_process processes[WORLD_PROCESSES];
    struct seen {
        uint64_t pending;             /* signals since it was last looked at */
        struct posix_signal last[65]; /* of each number */
        uint32_t kills, stops, resumes, news, freed;
        uint32_t flags;  /* what child_flags answers */
        uint32_t thread; /* that it has beside the first */
        bool has_no_room;
    } seen[WORLD_PROCESSES];
};

static struct seen *seen_of(void *context, const struct posix_process *process)
{
    struct world *world = context;
    return &world->seen[process - world->processes];
}

static status_t world_send(void *context, struct posix_process *process, uint32_t thread, const struct posix_signal *signal)
{
    (void)thread;
    struct seen *seen = seen_of(context, process);
    if (signal->signal >= SIGNAL_REALTIME && seen->has_no_room)
        return ERROR_NO_SPACE;
    seen->pending |= UINT64_C(1) << (signal->signal - 1);
    seen->last[signal->signal] = *signal;
    return OK;
}
static void world_kill(void *context, struct posix_process *process) { seen_of(context, process)->kills++; }
static void world_stop(void *context, struct posix_process *process) { seen_of(context, process)->stops++; }
static void world_resume(void *context, struct posix_process *process) { seen_of(context, process)->resumes++; }
static void world_news(void *context, struct posix_process *parent) { seen_of(context, parent)->news++; }
static bool world_has_thread(void *context, const struct posix_process *process, uint32_t thread)
{
    return seen_of(context, process)->thread == thread && thread != 0;
}
static bool world_is_thread_id(void *context, uint32_t id)
{
    struct world *world = context;
    for (uint32_t i = 0; i < WORLD_PROCESSES; i++) {
        if (world->processes[i].state != POSIX_FREE && world->seen[i].thread == id)
            return true;
    }
    return false;
}
static uint32_t world_child_flags(void *context, const struct posix_process *parent) { return seen_of(context, parent)->flags; }
static void world_freed(void *context, struct posix_process *process)
{
    struct seen *seen = seen_of(context, process);
    *seen = (struct seen){.freed = seen->freed + 1};
}

static const struct posix_operations world_operations = {.send = world_send,
                                                         .kill = world_kill,
                                                         .stop = world_stop,
                                                         .resume = world_resume,
                                                         .news = world_news,
                                                         .has_thread = world_has_thread,
                                                         .is_thread_id = world_is_thread_id,
                                                         .child_flags = world_child_flags,
                                                         .freed = world_freed};

static struct posix_process *world_init(struct world *world)
{
    *world = (struct world){};
    posix_core_init(&world->core, world->processes, WORLD_PROCESSES, &world_operations, world);
    return &world->processes[0];
}

static inline struct posix_process *world_fork(struct world *world, struct posix_process *parent)
{
    struct posix_process *child = nullptr;
    CHECK(posix_fork(&world->core, parent, SIGNAL_CHLD, 0, &child) == OK && child != nullptr);
    if (child != nullptr)
        posix_started(&world->core, child);
    return child;
}

static inline bool world_took(struct world *world, struct posix_process *process, uint32_t signal)
{
    struct seen *seen = seen_of(world, process);
    uint64_t bit = UINT64_C(1) << (signal - 1);
    bool has = (seen->pending & bit) != 0;
    seen->pending &= ~bit;
    return has;
}
