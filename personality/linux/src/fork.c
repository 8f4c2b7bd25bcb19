/*
 * fork: posixd reserves the child, process.clone makes it (its address space, the arena with this very stack, its handles), posixd learns
 * its handle. The child returns from process.clone like its parent. While the clone is made no other thread is inside one of the locks that
 * protect what the child gets a copy of: they are taken before, and are simply free in the child.
 */
#include <linux/call.h>
#include <linux/clone.h>
#include <linux/file.h>
#include <linux/posix.h>
#include <linux/signals.h>
#include <linux/threads.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/posix.h>
#include <tess/stub/process.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

struct birth {
    uint32_t pid;
    handle_t posix, signals, process;
};

static void drop(handle_t handle)
{
    status_t status = tess_cspace_delete(linux_process()->cspace, handle);
    (void)status;
}

static void lock_all(struct linux_process *process)
{
    linux_lock(&process->thread_lock);
    linux_lock(&process->signal_lock);
    linux_lock(&process->memory_lock);
    linux_lock(&process->arena_lock);
}

static void unlock_all(struct linux_process *process)
{
    linux_unlock(&process->arena_lock);
    linux_unlock(&process->memory_lock);
    linux_unlock(&process->signal_lock);
    linux_unlock(&process->thread_lock);
}

/* Only this thread is in the copy. Its siblings' blocks are free, and nothing is pending. */
static void forget_others(struct linux_process *process, struct linux_thread *self)
{
    struct linux_thread *lists[] = {process->threads, process->gone};
    process->threads = self;
    process->gone = nullptr;
    process->thread_count = 1;
    for (uint32_t i = 0; i < ARRAY_LENGTH(lists); i++) {
        for (struct linux_thread *thread = lists[i], *next; thread != nullptr; thread = next) {
            next = thread->next;
            if (thread != self) {
                linux_free((uint8_t *)thread - LINUX_BLOCK_THREAD, LINUX_THREAD_BLOCK);
            }
        }
    }
    self->next = nullptr;
    self->pending = 0;
    process->pending = 0;
    linux_signals_forget_all(process);
}

static void become_child(const struct linux_clone *clone, const struct birth *birth)
{
    struct linux_process *process = linux_process();
    struct linux_thread *self = linux_self();
    unlock_all(process);
    process->parent = process->pid;
    process->pid = self->tid = birth->pid;
    process->posix = birth->posix;
    process->signal_page = birth->signals;
    process->children_cpu_ns = process->gone_cpu_ns = 0;
    forget_others(process, self);
    linux_timers_forget(process, true);
    linux_posix_adopt();
    self->signal_index = 0;
    self->exit_signal = clone->exit_signal;
    self->robust_list = 0;
    self->clear_child_tid = (clone->flags & LINUX_CLONE_CHILD_CLEARTID) != 0 ? clone->child_tid : 0;
    linux_registers *registers = linux_registers_of(self->frame);
    if (clone->stack != 0) {
        registers->LINUX_REGISTER_SP = clone->stack;
    }
    if ((clone->flags & LINUX_CLONE_SETTLS) != 0) {
        registers->LINUX_REGISTER_TLS = clone->tls;
    }
    if ((clone->flags & LINUX_CLONE_CHILD_SETTID) != 0) {
        int64_t told = linux_store_user_u32(clone->child_tid, birth->pid);
        (void)told;
    }
    self->frame->user[LINUX_FRAME_WORK] = LINUX_WORK_REGISTERS;
    linux_signal_set_mask(self, self->mask);
    linux_signal_tell_actions(process);
    linux_files_forked(true);
}

static int64_t tell_parent(const struct linux_clone *clone, const struct birth *birth)
{
    struct linux_process *process = linux_process();
    status_t status = tess_posix_forked(birth->posix, birth->process, DEADLINE_INFINITE);
    (void)status; /* the child says it itself, or has ended already */
    drop(birth->posix);
    drop(birth->signals);
    drop(birth->process);
    if ((clone->flags & LINUX_CLONE_PARENT_SETTID) != 0) {
        int64_t told = linux_store_user_u32(clone->parent_tid, birth->pid);
        (void)told;
    }
    if ((clone->flags & LINUX_CLONE_VFORK) != 0) {
        status = tess_posix_exec_wait(process->posix, birth->pid, DEADLINE_INFINITE);
        (void)status; /* it may have ended, and been waited for */
    }
    return birth->pid;
}

int64_t linux_fork(const struct linux_clone *clone)
{
    struct linux_process *process = linux_process();
    struct tess_upcall_frame *frame = linux_frame();
    struct birth birth;
    if (process->posix == HANDLE_NONE) {
        return -LINUX_ENOSYS;
    }
    uint32_t mask = frame->mask;
    frame->mask = 1; /* nothing here is to be done twice */
    status_t status = tess_posix_fork(process->posix, clone->exit_signal, 0, &birth.pid, &birth.posix, &birth.signals, DEADLINE_INFINITE);
    if (status != OK) {
        frame->mask = mask;
        return status == ERROR_NO_SPACE ? -LINUX_EAGAIN : linux_error(status);
    }
    int64_t result = linux_files_fork();
    if (result == 0) {
        lock_all(process);
        status = tess_process_clone(process->process, process->untyped, 0, 0, 0, 0, 0, HANDLE_NONE, 0, &birth.process, DEADLINE_INFINITE);
        if (status == OK && birth.process == HANDLE_NONE) {
            become_child(clone, &birth);
            linux_self()->frame->mask = mask;
            return 0;
        }
        unlock_all(process);
        linux_files_forked(false);
        result = status == ERROR_NO_MEMORY || status == ERROR_NO_HANDLES ? -LINUX_ENOMEM
                 : status == ERROR_CELL_LIMIT                            ? -LINUX_EAGAIN
                                                                         : linux_error(status);
    }
    if (result == 0) {
        result = tell_parent(clone, &birth);
    } else {
        status = tess_posix_fork_abort(birth.posix, DEADLINE_INFINITE);
        (void)status;
        drop(birth.posix);
        drop(birth.signals);
    }
    frame->mask = mask;
    return result;
}
