/* Groups, sessions, credentials, limits. */
#include <posixd/core.h>

/* POSIX 3.270: no member has a parent in another group of its session. */
bool posix_is_orphaned(struct posix_core *core, uint32_t group)
{
    for (uint32_t i = 1; i < core->count; i++) {
        const struct posix_process *member = &core->processes[i];
        if (member->state != POSIX_FREE && member->state != POSIX_ZOMBIE && member->group == group && member->parent->group != group &&
            member->parent->session == member->session)
            return false;
    }
    return true;
}

static bool is_group_in_session(struct posix_core *core, uint32_t group, uint32_t session)
{
    for (uint32_t i = 1; i < core->count; i++) {
        const struct posix_process *member = &core->processes[i];
        if (member->state != POSIX_FREE && member->group == group && member->session == session)
            return true;
    }
    return false;
}

status_t posix_set_group(struct posix_core *core, struct posix_process *caller, uint32_t pid, uint32_t group)
{
    struct posix_process *process = pid == 0 ? caller : posix_find(core, pid);
    if (process == nullptr || (process != caller && process->parent != caller))
        return ERROR_NOT_FOUND;
    if (group > INT32_MAX)
        return ERROR_BAD_ARGUMENT;
    if (process != caller && process->session != caller->session)
        return ERROR_NO_PERMISSION;
    if (process != caller && process->has_execed)
        return ERROR_REFUSED;
    if (process->session == process->pid)
        return ERROR_NO_PERMISSION; /* it leads a session */
    group = group == 0 ? process->pid : group;
    if (group != process->pid && !is_group_in_session(core, group, process->session))
        return ERROR_NO_PERMISSION;
    process->group = group;
    core->operations->news(core->context, process->parent); /* who waits for a group may wait for another set now */
    return OK;
}

status_t posix_new_session(struct posix_core *core, struct posix_process *process)
{
    for (uint32_t i = 1; i < core->count; i++) {
        if (core->processes[i].state != POSIX_FREE && core->processes[i].group == process->pid)
            return ERROR_NO_PERMISSION;
    }
    process->session = process->group = process->pid;
    core->operations->news(core->context, process->parent);
    return OK;
}

static bool may_become(const struct posix_ids *ids, uint32_t wanted, bool is_privileged)
{
    return is_privileged || wanted == POSIX_AS_IS || wanted == ids->real || wanted == ids->effective || wanted == ids->saved;
}

static void become(struct posix_ids *ids, const uint32_t wanted[3])
{
    uint32_t *const places[] = {&ids->real, &ids->effective, &ids->saved};
    for (uint32_t i = 0; i < 3; i++) {
        if (wanted[i] != POSIX_AS_IS)
            *places[i] = wanted[i];
    }
}

status_t posix_set_credentials(struct posix_process *process, const uint32_t uid[3], const uint32_t gid[3])
{
    bool is_privileged = process->uid.effective == 0;
    for (uint32_t i = 0; i < 3; i++) {
        if (!may_become(&process->uid, uid[i], is_privileged) || !may_become(&process->gid, gid[i], is_privileged))
            return ERROR_NO_PERMISSION;
    }
    become(&process->uid, uid);
    become(&process->gid, gid);
    return OK;
}

status_t posix_set_limit(struct posix_core *core, struct posix_process *caller, struct posix_process *process, uint32_t resource,
                         bool is_set, struct posix_limit limit, struct posix_limit *out_old)
{
    if (resource >= POSIX_LIMITS)
        return ERROR_BAD_ARGUMENT;
    bool is_privileged = caller->uid.effective == 0;
    const struct posix_ids *uid = &process->uid;
    bool is_same = caller->uid.real == uid->real && caller->uid.real == uid->effective && caller->uid.real == uid->saved;
    if ((caller != process && !is_privileged && !is_same) || process == &core->processes[0])
        return ERROR_NO_PERMISSION;
    struct posix_limit old = process->limits[resource];
    if (is_set) {
        if (limit.soft > limit.hard)
            return ERROR_BAD_ARGUMENT;
        if (limit.hard > old.hard && !is_privileged)
            return ERROR_NO_PERMISSION;
        process->limits[resource] = limit;
    }
    *out_old = old;
    return OK;
}
