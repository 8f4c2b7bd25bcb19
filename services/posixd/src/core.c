/* Records, life, wait. */
#include <posixd/core.h>
#include <tess/string.h>

static struct posix_process *child_of(struct list_node *node) { return list_entry(node, struct posix_process, siblings); }

void posix_core_init(struct posix_core *core, struct posix_process *processes, uint32_t count, const struct posix_operations *operations,
                     void *context)
{
    *core = (struct posix_core){.processes = processes, .count = count, .next_id = 2, .operations = operations, .context = context};
    for (uint32_t i = 0; i < count; i++)
        processes[i] = (struct posix_process){.state = POSIX_FREE};
    struct posix_process *first = &processes[0];
    *first = (struct posix_process){.state = POSIX_ALIVE, .pid = 1, .group = 1, .session = 1, .parent = first, .name = "posixd"};
    list_init(&first->children);
    list_node_init(&first->siblings);
    for (uint32_t i = 0; i < POSIX_LIMITS; i++)
        first->limits[i] = (struct posix_limit){UINT64_MAX, UINT64_MAX};
    core->used_count = 1;
}

struct posix_process *posix_find(struct posix_core *core, uint32_t pid)
{
    for (uint32_t i = 0; i < core->count; i++) {
        if (core->processes[i].state != POSIX_FREE && core->processes[i].pid == pid)
            return &core->processes[i];
    }
    return nullptr;
}

static bool is_id_used(struct posix_core *core, uint32_t id)
{
    for (uint32_t i = 0; i < core->count; i++) {
        const struct posix_process *process = &core->processes[i];
        if (process->state != POSIX_FREE && (process->pid == id || process->group == id || process->session == id))
            return true;
    }
    return core->operations->is_thread_id(core->context, id);
}

uint32_t posix_id_next(struct posix_core *core)
{
    for (;;) { /* there are more ids than records and threads */
        uint32_t id = core->next_id++;
        if (core->next_id == POSIX_ID_MAX) {
            core->next_id = 300; /* as Linux: the first ones are for who started the system */
            core->has_wrapped = true;
        }
        if (!core->has_wrapped || !is_id_used(core, id))
            return id;
    }
}

/* ---- Life ---- */

static void adopt(struct posix_process *parent, struct posix_process *child)
{
    child->parent = parent;
    list_push_back(&parent->children, &child->siblings);
}

static void release(struct posix_core *core, struct posix_process *process)
{
    core->operations->freed(core->context, process);
    list_remove(&process->siblings);
    process->state = POSIX_FREE;
    core->used_count--;
}

static uint32_t count_of_user(const struct posix_core *core, uint32_t uid)
{
    uint32_t count = 0;
    for (uint32_t i = 1; i < core->count; i++)
        count += core->processes[i].state != POSIX_FREE && core->processes[i].uid.real == uid;
    return count;
}

status_t posix_fork(struct posix_core *core, struct posix_process *maker, uint32_t exit_signal, uint32_t flags,
                    struct posix_process **out_child)
{
    if (exit_signal > SIGNAL_MAX || (flags & ~(uint32_t)POSIX_FORK_PARENT) != 0)
        return ERROR_BAD_ARGUMENT;
    uint64_t limit = maker->limits[POSIX_LIMIT_PROCESSES].soft;
    if (maker->uid.real != 0 && limit < core->count && count_of_user(core, maker->uid.real) >= limit)
        return ERROR_NO_SPACE;
    struct posix_process *child = nullptr;
    for (uint32_t i = 1; i < core->count && child == nullptr; i++)
        child = core->processes[i].state == POSIX_FREE ? &core->processes[i] : nullptr;
    if (child == nullptr)
        return ERROR_NO_SPACE;
    *child = (struct posix_process){.state = POSIX_STARTING,
                                    .pid = posix_id_next(core),
                                    .group = maker->group,
                                    .session = maker->session,
                                    .uid = maker->uid,
                                    .gid = maker->gid,
                                    .exit_signal = exit_signal,
                                    .generation = child->generation + 1};
    memcpy(child->limits, maker->limits, sizeof(child->limits));
    memcpy(child->name, maker->name, sizeof(child->name));
    list_init(&child->children);
    adopt((flags & POSIX_FORK_PARENT) != 0 ? maker->parent : maker, child);
    core->used_count++;
    *out_child = child;
    return OK;
}

void posix_started(struct posix_core *core, struct posix_process *child)
{
    child->state = POSIX_ALIVE;
    if (child->is_kill_due) {
        child->stop_signal = 0;
        core->operations->kill(core->context, child);
    } else if (child->stop_signal != 0) {
        child->state = POSIX_STOPPED;
        core->operations->stop(core->context, child);
    }
}

void posix_exec(struct posix_process *process, const uint8_t name[NAME_BYTES])
{
    process->has_execed = true;
    process->exit_signal = process->exit_signal != 0 ? SIGNAL_CHLD : 0;
    memcpy(process->name, name, sizeof(process->name));
}

/* Who takes the children of a process that ends. */
static struct posix_process *reaper_of(struct posix_core *core, const struct posix_process *process)
{
    struct posix_process *reaper = process->parent;
    while (!reaper->is_subreaper && reaper != &core->processes[0])
        reaper = reaper->parent;
    return reaper;
}

/* Nobody will ask for it: process 1 forgets at once, as does who said that it does not care. */
static bool leaves_zombie(struct posix_core *core, const struct posix_process *process)
{
    const struct posix_process *parent = process->parent;
    return parent != &core->processes[0] && (core->operations->child_flags(core->context, parent) & LINUX_SIGNAL_NO_CHILD_WAIT) == 0;
}

/* The parent hears of the end: of one that has just ended, or of a zombie that it takes over. */
static void tell_end(struct posix_core *core, struct posix_process *process)
{
    struct posix_process *parent = process->parent;
    if (parent != &core->processes[0] && process->exit_signal != 0) {
        struct posix_signal signal = {.signal = process->exit_signal,
                                      .code = (int32_t)process->end_code,
                                      .pid = process->pid,
                                      .uid = process->uid.real,
                                      .value = (uint64_t)(int64_t)process->end_status};
        (void)posix_signal_send(core, parent, 0, &signal); /* one that finds no room is lost, as on Linux */
    }
    if (!leaves_zombie(core, process))
        release(core, process);
    core->operations->news(core->context, parent);
}

/* A group that has lost its last link to its session, and has stopped members: nobody could ever continue them. */
static void look_for_orphans(struct posix_core *core, uint32_t group, bool was_orphaned)
{
    if (was_orphaned || !posix_is_orphaned(core, group))
        return;
    bool has_stopped = false;
    for (uint32_t i = 1; i < core->count; i++)
        has_stopped |= core->processes[i].state == POSIX_STOPPED && core->processes[i].group == group;
    for (uint32_t i = 1; i < core->count && has_stopped; i++) {
        struct posix_process *member = &core->processes[i];
        if (member->state != POSIX_FREE && member->state != POSIX_ZOMBIE && member->group == group) {
            (void)posix_signal_send(core, member, 0, &(struct posix_signal){.signal = SIGNAL_HUP, .code = 128});
            (void)posix_signal_send(core, member, 0, &(struct posix_signal){.signal = SIGNAL_CONT, .code = 128});
        }
    }
}

static void give_away_children(struct posix_core *core, struct posix_process *process)
{
    struct posix_process *reaper = reaper_of(core, process);
    struct list_node *node;
    while ((node = list_first(&process->children)) != nullptr) {
        struct posix_process *child = child_of(node);
        bool was_orphaned = posix_is_orphaned(core, child->group);
        list_remove(node);
        adopt(reaper, child);
        if (child->state == POSIX_ZOMBIE) {
            tell_end(core, child);
            continue;
        }
        if (child->parent_signal != 0)
            (void)posix_signal_send(core, child, 0,
                                    &(struct posix_signal){.signal = child->parent_signal, .pid = process->pid, .uid = process->uid.real});
        look_for_orphans(core, child->group, was_orphaned);
    }
}

void posix_fork_abort(struct posix_core *core, struct posix_process *child)
{
    struct posix_process *parent = child->parent;
    child->state = POSIX_ZOMBIE;
    give_away_children(core, child); /* whoever has its handle may have forked with it */
    release(core, child);
    core->operations->news(core->context, parent); /* it may have been the last child that somebody waits for */
}

void posix_ended(struct posix_core *core, struct posix_process *process, uint32_t code, int32_t status)
{
    uint32_t group = process->group;
    bool was_orphaned = posix_is_orphaned(core, group);
    process->state = POSIX_ZOMBIE;
    process->end_code = code;
    process->end_status = status;
    process->has_stop_news = process->has_continue_news = false;
    give_away_children(core, process);
    look_for_orphans(core, group, was_orphaned);
    tell_end(core, process);
}

/* ---- wait ---- */

static bool is_meant(const struct posix_process *child, const struct posix_process *parent, uint32_t kind, uint32_t id)
{
    switch (kind) {
    case POSIX_WAIT_ANY: return true;
    case POSIX_WAIT_PROCESS: return child->pid == id;
    default: return child->group == (id == 0 ? parent->group : id);
    }
}

status_t posix_wait_find(struct posix_core *core, struct posix_process *parent, uint32_t kind, uint32_t id, uint32_t options,
                         struct posix_report *out_report)
{
    (void)core;
    constexpr uint32_t what = POSIX_WAIT_EXITED | POSIX_WAIT_STOPPED | POSIX_WAIT_CONTINUED;
    if (kind > POSIX_WAIT_GROUP || (options & what) == 0 || (options & ~(what | POSIX_WAIT_NO_HANG | POSIX_WAIT_NO_WAIT)) != 0)
        return ERROR_BAD_ARGUMENT;
    bool has_child = false;
    list_for_each (node, &parent->children) {
        struct posix_process *child = child_of(node);
        if (!is_meant(child, parent, kind, id))
            continue;
        if (child->state == POSIX_ZOMBIE && (options & POSIX_WAIT_EXITED) != 0) {
            *out_report = (struct posix_report){child, child->end_code, child->end_status};
            return OK;
        }
        if (child->has_stop_news && (options & POSIX_WAIT_STOPPED) != 0) {
            *out_report = (struct posix_report){child, POSIX_CHILD_STOPPED, (int32_t)child->stop_signal};
            return OK;
        }
        if (child->has_continue_news && (options & POSIX_WAIT_CONTINUED) != 0) {
            *out_report = (struct posix_report){child, POSIX_CHILD_CONTINUED, SIGNAL_CONT};
            return OK;
        }
        has_child |= child->state != POSIX_ZOMBIE || (options & POSIX_WAIT_EXITED) != 0;
    }
    return has_child ? ERROR_WOULD_BLOCK : ERROR_NOT_FOUND;
}

void posix_wait_take(struct posix_core *core, const struct posix_report *report, uint32_t options)
{
    struct posix_process *child = report->child;
    if ((options & POSIX_WAIT_NO_WAIT) != 0)
        return;
    if (report->code == POSIX_CHILD_STOPPED)
        child->has_stop_news = false;
    else if (report->code == POSIX_CHILD_CONTINUED)
        child->has_continue_news = false;
    else
        release(core, child);
}
