/* posix.*: the caller's word is checked here or in core; the caller is the badge. */
#include "posixd.h"
#include <posixd/page.h>
#include <std/program.h>
#include <tess/serve/posix.h>
#include <tess/stub/process.h>

constexpr uint32_t HANDLE_RIGHTS = POSIX_RIGHT_USE | RIGHT_COPY | RIGHT_MOVE | RIGHT_INSPECT;

static struct posix_process *named(struct posix_process *caller, uint32_t pid) { return pid == 0 ? caller : posix_find(&core, pid); }

static status_t info(void *context, struct tess_call *call, uint32_t pid, uint32_t *out_pid, uint32_t *out_parent, uint32_t *out_group,
                     uint32_t *out_session, uint32_t *out_uid, uint32_t *out_gid, uint32_t *out_state, uint32_t *out_thread_count,
                     uint64_t *out_cpu_ns, uint64_t *out_start_ns, uint8_t out_name[16])
{
    (void)call;
    const struct posix_process *process = named(context, pid);
    if (process == nullptr)
        return ERROR_NOT_FOUND;
    struct runtime *runtime = runtime_of(process);
    struct tess_process_info of_kernel;
    *out_pid = process->pid;
    *out_parent = process == core.processes ? 0 : process->parent->pid;
    *out_group = process->group;
    *out_session = process->session;
    *out_uid = process->uid.real;
    *out_gid = process->gid.real;
    *out_state = process->state - POSIX_STARTING + POSIX_STATE_STARTING;
    *out_thread_count = 1 + runtime->member_count;
    bool is_known = runtime->process != HANDLE_NONE && tess_process_info(runtime->process, (uint64_t)&of_kernel) == OK;
    *out_cpu_ns = is_known ? of_kernel.cpu_ns : process->cpu_ns;
    *out_start_ns = runtime->start_ns;
    memcpy(out_name, process->name, NAME_BYTES);
    return OK;
}

static status_t next(void *context, struct tess_call *call, uint32_t after, uint32_t *out_pid)
{
    (void)context, (void)call;
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < core.count; i++) {
        const struct posix_process *process = &core.processes[i];
        if (process->state != POSIX_FREE && process->pid > after && process->pid < best)
            best = process->pid;
    }
    *out_pid = best;
    return best == UINT32_MAX ? ERROR_NOT_FOUND : OK;
}

static status_t fork(void *context, struct tess_call *call, uint32_t exit_signal, uint32_t flags, uint32_t *out_pid, handle_t *out_posix,
                     handle_t *out_signals)
{
    struct posix_process *child;
    status_t status = posix_fork(&core, context, exit_signal, flags, &child);
    if (status != OK)
        return status;
    handle_t memory;
    status = process_open(child, &memory);
    if (status == OK) {
        status = std_handle_copy(memory, RIGHT_COPY | RIGHT_MOVE | RIGHT_INSPECT | MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE, out_signals);
        std_handle_delete(memory);
        if (status == OK) {
            status = std_handle_mint(endpoint, HANDLE_RIGHTS, badge_of(child->generation, index_of(child), BADGE_PROCESS), out_posix);
            if (status != OK)
                std_handle_delete(*out_signals);
        }
    }
    if (status != OK) {
        posix_fork_abort(&core, child);
        return ERROR_NO_MEMORY;
    }
    struct runtime *of = runtime_of(child), *from = runtime_of(context);
    of->group_count = from->group_count;
    memcpy(of->groups, from->groups, sizeof(of->groups));
    call->reply_move_mask = 3; /* a caller that cannot take them: the badge is gone, and so is the child */
    *out_pid = child->pid;
    return OK;
}

static status_t forked(void *context, struct tess_call *call, handle_t process)
{
    (void)call;
    return process_started(context, process);
}

static status_t fork_abort(void *context, struct tess_call *call)
{
    (void)call;
    struct posix_process *child = context;
    if (child->state != POSIX_STARTING)
        return ERROR_ALREADY;
    posix_fork_abort(&core, child);
    return OK;
}

static status_t exec(void *context, struct tess_call *call, const uint8_t name[16])
{
    (void)call;
    posix_exec(context, name);
    process_exec(context);
    return OK;
}

static status_t exec_wait(void *context, struct tess_call *call, uint32_t pid)
{
    const struct posix_process *child = posix_find(&core, pid);
    if (child == nullptr || child->parent != context)
        return ERROR_NOT_FOUND;
    if (child->state == POSIX_ZOMBIE || child->has_execed)
        return OK;
    return waiter_add(context, POSIX_WAIT_PROCESS, pid, 0, call);
}

static status_t wait(void *context, struct tess_call *call, uint32_t kind, uint32_t id, uint32_t options, uint32_t *out_pid,
                     uint32_t *out_code, int32_t *out_status, uint32_t *out_uid, uint64_t *out_cpu_ns)
{
    struct posix_report report;
    status_t status = posix_wait_find(&core, context, kind, id, options, &report);
    if (status == ERROR_WOULD_BLOCK && (options & POSIX_WAIT_NO_HANG) != 0)
        return OK; /* all zero */
    if (status == ERROR_WOULD_BLOCK)
        return waiter_add(context, kind, id, options, call);
    if (status != OK)
        return status;
    (void)out_pid, (void)out_code, (void)out_status, (void)out_uid, (void)out_cpu_ns;
    /* Answered here: it counts as given only when the caller still waits for it. */
    struct tess_call reply = {};
    posix_wait_reply(&reply, report.child->pid, report.code, report.status, report.child->uid.real, report.child->cpu_ns);
    call->is_deferred = true;
    if (loop_reply(&loop, call->token, OK, &reply) == OK) {
        posix_wait_take(&core, &report, options);
        waiters_news(context);
    }
    return OK;
}

static status_t kill(void *context, struct tess_call *call, uint32_t kind, uint32_t id, uint32_t thread, uint32_t signal, int32_t code,
                     uint64_t value)
{
    (void)call;
    struct posix_process *sender = context;
    const struct posix_signal what = {.signal = signal, .code = code, .pid = sender->pid, .uid = sender->uid.real, .value = value};
    return posix_kill(&core, sender, kind, id, thread, &what);
}

static status_t thread(void *context, struct tess_call *call, handle_t handle, uint32_t *out_tid, uint32_t *out_index)
{
    (void)call;
    return thread_add(context, handle, out_tid, out_index);
}

static status_t thread_gone(void *context, struct tess_call *call, uint32_t tid)
{
    (void)call;
    return thread_remove(context, tid);
}

static status_t stop(void *context, struct tess_call *call, uint32_t signal)
{
    (void)call;
    return posix_stop(&core, context, signal);
}

static status_t set_group(void *context, struct tess_call *call, uint32_t pid, uint32_t group)
{
    (void)call;
    return posix_set_group(&core, context, pid, group);
}

static status_t new_session(void *context, struct tess_call *call, uint32_t *out_session)
{
    (void)call;
    *out_session = ((struct posix_process *)context)->pid;
    return posix_new_session(&core, context);
}

static status_t credentials(void *context, struct tess_call *call, uint32_t pid, uint32_t *out_uid, uint32_t *out_euid, uint32_t *out_suid,
                            uint32_t *out_gid, uint32_t *out_egid, uint32_t *out_sgid)
{
    (void)call;
    const struct posix_process *process = named(context, pid);
    if (process == nullptr)
        return ERROR_NOT_FOUND;
    *out_uid = process->uid.real, *out_euid = process->uid.effective, *out_suid = process->uid.saved;
    *out_gid = process->gid.real, *out_egid = process->gid.effective, *out_sgid = process->gid.saved;
    return OK;
}

static status_t set_credentials(void *context, struct tess_call *call, uint32_t uid, uint32_t euid, uint32_t suid, uint32_t gid,
                                uint32_t egid, uint32_t sgid)
{
    (void)call;
    return posix_set_credentials(context, (uint32_t[]){uid, euid, suid}, (uint32_t[]){gid, egid, sgid});
}

static status_t limit(void *context, struct tess_call *call, uint32_t pid, uint32_t resource, bool is_set, uint64_t soft, uint64_t hard,
                      uint64_t *out_soft, uint64_t *out_hard)
{
    (void)call;
    struct posix_process *process = named(context, pid);
    struct posix_limit old = {};
    if (process == nullptr)
        return ERROR_NOT_FOUND;
    status_t status = posix_set_limit(&core, context, process, resource, is_set, (struct posix_limit){soft, hard}, &old);
    *out_soft = old.soft;
    *out_hard = old.hard;
    return status;
}

static status_t set_option(void *context, struct tess_call *call, uint32_t option, uint64_t value)
{
    (void)call;
    struct posix_process *process = context;
    if (option == POSIX_OPTION_SUBREAPER && value <= 1)
        process->is_subreaper = value != 0;
    else if (option == POSIX_OPTION_PARENT_SIGNAL && value <= SIGNAL_MAX)
        process->parent_signal = (uint32_t)value;
    else
        return ERROR_BAD_ARGUMENT;
    return OK;
}

static status_t pipe(void *context, struct tess_call *call, uint32_t size, handle_t *out_memory, handle_t *out_reader, handle_t *out_writer)
{
    (void)context;
    call->reply_move_mask = 7;
    return pipe_create(size, out_memory, out_reader, out_writer);
}

static const struct posix_server server = {.info = info,
                                           .next = next,
                                           .fork = fork,
                                           .forked = forked,
                                           .fork_abort = fork_abort,
                                           .exec = exec,
                                           .exec_wait = exec_wait,
                                           .wait = wait,
                                           .kill = kill,
                                           .thread = thread,
                                           .thread_gone = thread_gone,
                                           .stop = stop,
                                           .set_group = set_group,
                                           .new_session = new_session,
                                           .credentials = credentials,
                                           .set_credentials = set_credentials,
                                           .limit = limit,
                                           .set_option = set_option,
                                           .pipe = pipe};

status_t posix_serve(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    struct posix_process *caller = process_of_badge(call->badge);
    /* Handles to a pipe's end have no right to anything: dispatch says so. */
    if (caller == nullptr && badge_kind(call->badge) == BADGE_PROCESS)
        return ERROR_PEER_DIED;
    return posix_dispatch(&server, caller, call);
}
