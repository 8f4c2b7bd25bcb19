/* Who may signal whom, to whom a signal goes, what SIGKILL, SIGSTOP and SIGCONT do. */
#include <posixd/core.h>

static bool is_running(const struct posix_process *process)
{
    return process->state == POSIX_STARTING || process->state == POSIX_ALIVE || process->state == POSIX_STOPPED;
}

static bool may_signal(const struct posix_process *sender, const struct posix_process *target, uint32_t signal)
{
    if (sender->uid.effective == 0 || sender == target)
        return true;
    const struct posix_ids *from = &sender->uid, *to = &target->uid;
    if (from->real == to->real || from->real == to->saved || from->effective == to->real || from->effective == to->saved)
        return true;
    return signal == SIGNAL_CONT && sender->session == target->session;
}

static void tell_parent(struct posix_core *core, struct posix_process *process, uint32_t code, uint32_t status)
{
    struct posix_process *parent = process->parent;
    if (parent == &core->processes[0])
        return;
    if ((core->operations->child_flags(core->context, parent) & LINUX_SIGNAL_NO_CHILD_STOP) == 0)
        (void)posix_signal_send(
            core, parent, 0,
            &(struct posix_signal){
                .signal = SIGNAL_CHLD, .code = (int32_t)code, .pid = process->pid, .uid = process->uid.real, .value = status});
    core->operations->news(core->context, parent);
}

static void stop(struct posix_core *core, struct posix_process *process, uint32_t signal)
{
    if (process->state == POSIX_STOPPED || process->is_kill_due)
        return;
    process->stop_signal = signal;
    process->has_stop_news = true;
    process->has_continue_news = false;
    if (process->state == POSIX_ALIVE) { /* of one that starts: when it is there */
        process->state = POSIX_STOPPED;
        core->operations->stop(core->context, process);
    }
    tell_parent(core, process, POSIX_CHILD_STOPPED, signal);
}

static void resume(struct posix_core *core, struct posix_process *process)
{
    if (process->stop_signal == 0)
        return;
    process->stop_signal = 0;
    process->has_stop_news = false;
    process->has_continue_news = true;
    if (process->state == POSIX_STOPPED) {
        process->state = POSIX_ALIVE;
        core->operations->resume(core->context, process);
    }
    tell_parent(core, process, POSIX_CHILD_CONTINUED, SIGNAL_CONT);
}

status_t posix_signal_send(struct posix_core *core, struct posix_process *process, uint32_t thread, const struct posix_signal *signal)
{
    if (!is_running(process) || process == &core->processes[0])
        return OK; /* a zombie hears nothing; process 1 has a handler for none */
    switch (signal->signal) {
    case 0: return OK;
    case SIGNAL_KILL:
        process->is_kill_due = true;
        if (process->state != POSIX_STARTING)
            core->operations->kill(core->context, process);
        return OK;
    case SIGNAL_STOP: stop(core, process, SIGNAL_STOP); return OK;
    case SIGNAL_CONT: resume(core, process); break; /* and it may have a handler */
    default: break;
    }
    return core->operations->send(core->context, process, thread, signal);
}

/* One of several: OK, or why not. */
static status_t kill_one(struct posix_core *core, struct posix_process *sender, struct posix_process *target, uint32_t thread,
                         const struct posix_signal *signal)
{
    return may_signal(sender, target, signal->signal) ? posix_signal_send(core, target, thread, signal) : ERROR_NO_PERMISSION;
}

static status_t kill_many(struct posix_core *core, struct posix_process *sender, uint32_t group, const struct posix_signal *signal)
{
    status_t result = ERROR_NOT_FOUND;
    bool has_reached = false;
    for (uint32_t i = 1; i < core->count; i++) {
        struct posix_process *target = &core->processes[i];
        bool is_meant = group != 0 ? target->group == group : target != sender;
        if (target->state == POSIX_FREE || !is_meant)
            continue;
        status_t status = kill_one(core, sender, target, 0, signal);
        has_reached |= status == OK;
        if (result == ERROR_NOT_FOUND || status == ERROR_NO_SPACE)
            result = status;
    }
    return has_reached ? OK : result;
}

static status_t kill_thread(struct posix_core *core, struct posix_process *sender, uint32_t id, uint32_t thread,
                            const struct posix_signal *signal)
{
    for (uint32_t i = 1; i < core->count; i++) {
        struct posix_process *target = &core->processes[i];
        if (target->state != POSIX_FREE && (id == 0 || target->pid == id) &&
            (target->pid == thread || core->operations->has_thread(core->context, target, thread)))
            return kill_one(core, sender, target, thread, signal);
    }
    return ERROR_NOT_FOUND;
}

status_t posix_kill(struct posix_core *core, struct posix_process *sender, uint32_t kind, uint32_t id, uint32_t thread,
                    const struct posix_signal *signal)
{
    if (signal->signal > SIGNAL_MAX || signal->code > 0)
        return ERROR_BAD_ARGUMENT;
    struct posix_process *target;
    switch (kind) {
    case POSIX_KILL_PROCESS:
        target = id == 0 ? sender : posix_find(core, id);
        return target == nullptr ? ERROR_NOT_FOUND : kill_one(core, sender, target, 0, signal);
    case POSIX_KILL_GROUP: return kill_many(core, sender, id == 0 ? sender->group : id, signal);
    case POSIX_KILL_ALL: return kill_many(core, sender, 0, signal);
    case POSIX_KILL_THREAD: return thread == 0 ? ERROR_BAD_ARGUMENT : kill_thread(core, sender, id, thread, signal);
    default: return ERROR_BAD_ARGUMENT;
    }
}

status_t posix_stop(struct posix_core *core, struct posix_process *process, uint32_t signal)
{
    if (signal == SIGNAL_TSTP || signal == SIGNAL_TTIN || signal == SIGNAL_TTOU) {
        if (posix_is_orphaned(core, process->group))
            return ERROR_REFUSED;
    } else if (signal != SIGNAL_STOP)
        return ERROR_BAD_ARGUMENT;
    stop(core, process, signal);
    return OK;
}
