#include "world.h"

static struct world world;
static struct posix_core *const core = &world.core;

static status_t kill_process(struct posix_process *from, uint32_t pid, uint32_t signal)
{
    return posix_kill(core, from, POSIX_KILL_PROCESS, pid, 0, &(struct posix_signal){.signal = signal});
}

/* Code of the report, 0: none yet, -1: no child. */
static int wait_one(struct posix_process *parent, uint32_t kind, uint32_t id, uint32_t options, uint32_t *out_pid, int32_t *out_status)
{
    struct posix_report report = {};
    status_t status = posix_wait_find(core, parent, kind, id, options, &report);
    if (status != OK)
        return status == ERROR_WOULD_BLOCK ? 0 : status == ERROR_NOT_FOUND ? -1 : -2;
    *out_pid = report.child->pid;
    *out_status = report.status;
    posix_wait_take(core, &report, options);
    return (int)report.code;
}

static void test_life(void)
{
    struct posix_process *shell = world_fork(&world, world_init(&world));
    uint32_t pid;
    int32_t status;
    CHECK(shell->pid == 2 && shell->parent->pid == 1);
    CHECK(wait_one(shell, POSIX_WAIT_ANY, 0, POSIX_WAIT_EXITED, &pid, &status) == -1);
    struct posix_process *child = world_fork(&world, shell);
    CHECK(wait_one(shell, POSIX_WAIT_ANY, 0, POSIX_WAIT_EXITED, &pid, &status) == 0);
    posix_ended(core, child, POSIX_CHILD_EXITED, 7);
    CHECK(world_took(&world, shell, SIGNAL_CHLD) && seen_of(&world, shell)->last[SIGNAL_CHLD].value == 7);
    CHECK(seen_of(&world, shell)->last[SIGNAL_CHLD].pid == child->pid && seen_of(&world, shell)->news == 1);
    CHECK(child->state == POSIX_ZOMBIE && posix_find(core, 3) == child && kill_process(shell, 3, SIGNAL_KILL) == OK);
    CHECK(wait_one(shell, POSIX_WAIT_PROCESS, 4, POSIX_WAIT_EXITED, &pid, &status) == -1);
    CHECK(wait_one(shell, POSIX_WAIT_ANY, 0, POSIX_WAIT_STOPPED, &pid, &status) ==
          -1); /* no end is waited for, and nothing else can come */
    CHECK(wait_one(shell, POSIX_WAIT_ANY, 0, POSIX_WAIT_EXITED | POSIX_WAIT_NO_WAIT, &pid, &status) == POSIX_CHILD_EXITED);
    CHECK(wait_one(shell, POSIX_WAIT_GROUP, 0, POSIX_WAIT_EXITED, &pid, &status) == POSIX_CHILD_EXITED && pid == 3 && status == 7);
    CHECK(posix_find(core, 3) == nullptr && wait_one(shell, POSIX_WAIT_ANY, 0, POSIX_WAIT_EXITED, &pid, &status) == -1);
    CHECK(wait_one(shell, 3, 0, POSIX_WAIT_EXITED, &pid, &status) == -2 && wait_one(shell, 0, 0, 0, &pid, &status) == -2);
    CHECK(wait_one(shell, 0, 0, POSIX_WAIT_EXITED | 0x100, &pid, &status) == -2);
}

static void test_orphans(void)
{
    struct posix_process *shell = world_fork(&world, world_init(&world));
    struct posix_process *middle = world_fork(&world, shell), *grandchild = world_fork(&world, middle);
    grandchild->parent_signal = 15;
    posix_ended(core, middle, POSIX_CHILD_EXITED, 0);
    CHECK(grandchild->parent == &world.processes[0] && world_took(&world, grandchild, 15));
    posix_ended(core, grandchild, POSIX_CHILD_EXITED, 0); /* process 1 forgets at once */
    CHECK(grandchild->state == POSIX_FREE && middle->state == POSIX_ZOMBIE);
    /* A subreaper takes them, and is told of zombies that it takes over. */
    struct posix_process *reaper = world_fork(&world, shell);
    reaper->is_subreaper = true;
    middle = world_fork(&world, reaper);
    grandchild = world_fork(&world, middle);
    posix_ended(core, grandchild, POSIX_CHILD_KILLED, 9);
    CHECK(grandchild->state == POSIX_ZOMBIE && world_took(&world, middle, SIGNAL_CHLD));
    posix_ended(core, middle, POSIX_CHILD_EXITED, 0);
    CHECK(grandchild->parent == reaper && world_took(&world, reaper, SIGNAL_CHLD));
    /* Who ignores SIGCHLD has no zombies. */
    struct posix_process *careless = world_fork(&world, shell), *child = world_fork(&world, careless);
    seen_of(&world, careless)->flags = LINUX_SIGNAL_NO_CHILD_WAIT;
    posix_ended(core, child, POSIX_CHILD_EXITED, 0);
    CHECK(child->state == POSIX_FREE && seen_of(&world, careless)->news == 1);
}

static void test_stop(void)
{
    struct posix_process *shell = world_fork(&world, world_init(&world));
    CHECK(posix_new_session(core, shell) == OK);
    struct posix_process *job = world_fork(&world, shell);
    uint32_t pid;
    int32_t status;
    CHECK(posix_set_group(core, shell, job->pid, 0) == OK && job->group == job->pid);
    CHECK(kill_process(shell, job->pid, SIGNAL_STOP) == OK && job->state == POSIX_STOPPED && seen_of(&world, job)->stops == 1);
    CHECK(world_took(&world, shell, SIGNAL_CHLD) && kill_process(shell, job->pid, SIGNAL_STOP) == OK && seen_of(&world, job)->stops == 1);
    CHECK(wait_one(shell, POSIX_WAIT_ANY, 0, POSIX_WAIT_EXITED, &pid, &status) == 0);
    CHECK(wait_one(shell, POSIX_WAIT_GROUP, job->pid, POSIX_WAIT_STOPPED, &pid, &status) == POSIX_CHILD_STOPPED && status == SIGNAL_STOP);
    CHECK(wait_one(shell, POSIX_WAIT_ANY, 0, POSIX_WAIT_STOPPED, &pid, &status) == 0);
    CHECK(kill_process(shell, job->pid, SIGNAL_CONT) == OK && job->state == POSIX_ALIVE && seen_of(&world, job)->resumes == 1);
    CHECK(world_took(&world, job, SIGNAL_CONT));
    CHECK(wait_one(shell, POSIX_WAIT_ANY, 0, POSIX_WAIT_CONTINUED, &pid, &status) == POSIX_CHILD_CONTINUED);
    CHECK(posix_stop(core, job, SIGNAL_TSTP) == OK && job->state == POSIX_STOPPED && posix_stop(core, job, 5) == ERROR_BAD_ARGUMENT);
    /* The shell goes: nobody could continue the job. */
    posix_ended(core, shell, POSIX_CHILD_EXITED, 0);
    CHECK(world_took(&world, job, SIGNAL_HUP) && world_took(&world, job, SIGNAL_CONT) && job->state == POSIX_ALIVE);
    CHECK(posix_stop(core, job, SIGNAL_TTIN) == ERROR_REFUSED && job->state == POSIX_ALIVE);
    CHECK(kill_process(job, job->pid, SIGNAL_KILL) == OK && seen_of(&world, job)->kills == 1);
}

static void test_starting(void)
{
    struct posix_process *shell = world_fork(&world, world_init(&world)), *child;
    uint32_t pid;
    int32_t status;
    CHECK(posix_fork(core, shell, SIGNAL_CHLD, 0, &child) == OK && child->state == POSIX_STARTING);
    CHECK(kill_process(shell, child->pid, SIGNAL_KILL) == OK && seen_of(&world, child)->kills == 0);
    posix_started(core, child);
    CHECK(seen_of(&world, child)->kills == 1);
    CHECK(posix_fork(core, shell, SIGNAL_CHLD, 0, &child) == OK);
    CHECK(kill_process(shell, child->pid, SIGNAL_STOP) == OK && seen_of(&world, child)->stops == 0);
    posix_started(core, child);
    CHECK(seen_of(&world, child)->stops == 1 && child->state == POSIX_STOPPED);
    CHECK(posix_fork(core, shell, 65, 0, &child) == ERROR_BAD_ARGUMENT && posix_fork(core, shell, 17, 2, &child) == ERROR_BAD_ARGUMENT);
    CHECK(posix_fork(core, shell, SIGNAL_CHLD, POSIX_FORK_PARENT, &child) == OK && child->parent->pid == 1);
    posix_fork_abort(core, child);
    CHECK(child->state == POSIX_FREE);
    (void)wait_one(shell, POSIX_WAIT_ANY, 0, POSIX_WAIT_EXITED, &pid, &status);
    /* Full, then room again. */
    uint32_t count = 0;
    while (posix_fork(core, shell, SIGNAL_CHLD, 0, &child) == OK)
        count++;
    CHECK(count == WORLD_PROCESSES - 4);
    posix_fork_abort(core, &world.processes[WORLD_PROCESSES - 1]);
    CHECK(posix_fork(core, shell, SIGNAL_CHLD, 0, &child) == OK);
}

static void test_permission(void)
{
    struct posix_process *root = world_fork(&world, world_init(&world)), *a = world_fork(&world, root), *b = world_fork(&world, root);
    const uint32_t keep[3] = {POSIX_AS_IS, POSIX_AS_IS, POSIX_AS_IS};
    CHECK(posix_set_credentials(a, (uint32_t[]){1000, 1000, 1000}, (uint32_t[]){100, 100, 100}) == OK);
    CHECK(posix_set_credentials(b, (uint32_t[]){1001, 1001, 1001}, keep) == OK && b->gid.real == 0);
    CHECK(kill_process(a, b->pid, 15) == ERROR_NO_PERMISSION && kill_process(a, root->pid, 0) == ERROR_NO_PERMISSION);
    CHECK(kill_process(a, a->pid, 15) == OK && kill_process(root, a->pid, 15) == OK && kill_process(a, 999, 15) == ERROR_NOT_FOUND);
    CHECK(kill_process(a, b->pid, SIGNAL_CONT) == OK); /* the same session */
    CHECK(posix_set_credentials(a, (uint32_t[]){POSIX_AS_IS, 0, POSIX_AS_IS}, keep) == ERROR_NO_PERMISSION && a->uid.effective == 1000);
    CHECK(posix_set_credentials(a, keep, (uint32_t[]){0, 0, 0}) == ERROR_NO_PERMISSION);
    CHECK(posix_kill(core, a, POSIX_KILL_GROUP, 0, 0, &(struct posix_signal){.signal = 15}) == OK); /* it reaches itself */
    CHECK(!world_took(&world, b, 15) && world_took(&world, a, 15));
    CHECK(posix_kill(core, a, POSIX_KILL_ALL, 0, 0, &(struct posix_signal){.signal = 15}) == ERROR_NO_PERMISSION);
    CHECK(posix_kill(core, root, POSIX_KILL_ALL, 0, 0, &(struct posix_signal){.signal = 15}) == OK && world_took(&world, b, 15));
    CHECK(!world_took(&world, root, 15));
    CHECK(kill_process(root, 1, SIGNAL_KILL) == OK && seen_of(&world, &world.processes[0])->kills == 0);
    CHECK(kill_process(root, a->pid, 65) == ERROR_BAD_ARGUMENT);
    CHECK(posix_kill(core, root, POSIX_KILL_PROCESS, a->pid, 0, &(struct posix_signal){.signal = 15, .code = 1}) == ERROR_BAD_ARGUMENT);
    seen_of(&world, a)->has_no_room = true;
    CHECK(kill_process(root, a->pid, 40) == ERROR_NO_SPACE);
    seen_of(&world, a)->thread = 77;
    CHECK(posix_kill(core, root, POSIX_KILL_THREAD, a->pid, 77, &(struct posix_signal){.signal = 15}) == OK);
    CHECK(posix_kill(core, root, POSIX_KILL_THREAD, 0, 77, &(struct posix_signal){.signal = 15}) == OK);
    CHECK(posix_kill(core, root, POSIX_KILL_THREAD, b->pid, 77, &(struct posix_signal){.signal = 15}) == ERROR_NOT_FOUND);
    CHECK(posix_kill(core, root, POSIX_KILL_THREAD, b->pid, b->pid, &(struct posix_signal){.signal = 15}) == OK);
    CHECK(posix_kill(core, root, POSIX_KILL_THREAD, b->pid, 0, &(struct posix_signal){.signal = 15}) == ERROR_BAD_ARGUMENT);
    CHECK(posix_kill(core, root, 4, b->pid, 0, &(struct posix_signal){.signal = 15}) == ERROR_BAD_ARGUMENT);
    struct posix_limit old;
    CHECK(posix_set_limit(core, a, b, 7, false, (struct posix_limit){}, &old) == ERROR_NO_PERMISSION);
    CHECK(posix_set_limit(core, root, a, POSIX_LIMIT_PROCESSES, true, (struct posix_limit){2, 3}, &old) == OK && old.soft == UINT64_MAX);
    CHECK(posix_set_limit(core, a, a, POSIX_LIMIT_PROCESSES, true, (struct posix_limit){2, 4}, &old) == ERROR_NO_PERMISSION);
    CHECK(posix_set_limit(core, a, a, 16, false, (struct posix_limit){}, &old) == ERROR_BAD_ARGUMENT);
    CHECK(posix_set_limit(core, a, a, 1, true, (struct posix_limit){2, 1}, &old) == ERROR_BAD_ARGUMENT);
    struct posix_process *child;
    CHECK(posix_fork(core, a, 17, 0, &child) == OK && posix_fork(core, a, 17, 0, &child) == ERROR_NO_SPACE);
}

static void test_groups(void)
{
    struct posix_process *shell = world_fork(&world, world_init(&world));
    CHECK(posix_new_session(core, shell) == OK && shell->session == 2 && posix_new_session(core, shell) == ERROR_NO_PERMISSION);
    struct posix_process *a = world_fork(&world, shell), *b = world_fork(&world, shell);
    CHECK(a->group == 2 && a->session == 2);
    CHECK(posix_set_group(core, shell, shell->pid, 0) == ERROR_NO_PERMISSION); /* it leads the session */
    CHECK(posix_set_group(core, shell, a->pid, a->pid) == OK && posix_set_group(core, shell, b->pid, a->pid) == OK && b->group == a->pid);
    CHECK(posix_set_group(core, a, b->pid, 0) == ERROR_NOT_FOUND && posix_set_group(core, a, 99, 0) == ERROR_NOT_FOUND);
    CHECK(posix_set_group(core, a, 0, 99) == ERROR_NO_PERMISSION && posix_set_group(core, a, 0, UINT32_MAX) == ERROR_BAD_ARGUMENT);
    CHECK(posix_new_session(core, a) == ERROR_NO_PERMISSION);
    CHECK(posix_new_session(core, b) == OK && posix_set_group(core, shell, b->pid, 2) == ERROR_NO_PERMISSION); /* another session */
    struct posix_process *c = world_fork(&world, shell);
    posix_exec(c, (const uint8_t[NAME_BYTES]){"cat"});
    CHECK(posix_set_group(core, shell, c->pid, 0) == ERROR_REFUSED && posix_set_group(core, c, 0, 0) == OK);
    CHECK(!posix_is_orphaned(core, c->group) && posix_is_orphaned(core, shell->group));
    CHECK(posix_is_orphaned(core, b->group)); /* it leads a session of its own */
}

static void test_ids(void)
{
    struct posix_process *shell = world_fork(&world, world_init(&world)), *child = world_fork(&world, shell);
    core->next_id = POSIX_ID_MAX - 1;
    CHECK(posix_id_next(core) == POSIX_ID_MAX - 1 && posix_id_next(core) == 300);
    child->group = 301, child->session = 302;
    seen_of(&world, child)->thread = 303;
    core->next_id = 300;
    child->pid = 300;
    CHECK(posix_id_next(core) == 304);
}

int main(void)
{
    test_life();
    test_orphans();
    test_stop();
    test_starting();
    test_permission();
    test_groups();
    test_ids();
    return check_result();
}
