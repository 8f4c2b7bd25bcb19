/*
 * Threads. A block (thread.h) is given out for each; when its thread has ended it goes to process->gone, and to the next thread once its
 * last instruction is over (linux_thread_end writes the state with the stack no longer in use). The kernel's thread object is deleted then.
 */
#include <linux/call.h>
#include <linux/clone.h>
#include <linux/dispatch.h>
#include <linux/file.h>
#include <linux/posix.h>
#include <linux/registers.h>
#include <linux/signals.h>
#include <linux/threads.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

static void *block_of(struct linux_thread *thread) { return (uint8_t *)thread - LINUX_BLOCK_THREAD; }

/* A block whose thread is over, or a fresh one. */
static void *take_block(struct linux_process *process)
{
    struct linux_thread *found = nullptr;
    linux_lock(&process->thread_lock);
    for (struct linux_thread **link = &process->gone; *link != nullptr; link = &(*link)->next) {
        if (__c11_atomic_load(&(*link)->state, __ATOMIC_ACQUIRE) == LINUX_THREAD_GONE) {
            found = *link;
            *link = found->next;
            break;
        }
    }
    linux_unlock(&process->thread_lock);
    if (found == nullptr) {
        return linux_allocate_raw(LINUX_THREAD_BLOCK);
    }
    status_t status = tess_cspace_delete(process->cspace, found->handle);
    (void)status;
    return block_of(found);
}

static status_t create(struct linux_process *process, struct linux_thread *thread)
{
    status_t status = tess_untyped_create_thread(process->untyped, process->process, process->arena, linux_arena_offset(block_of(thread)),
                                                 THREAD_FPU, &thread->handle);
    if (status != OK) {
        return status;
    }
    status = tess_thread_set_upcall(thread->handle, process->arena, linux_arena_offset(thread->frame), (uint64_t)thread->frame,
                                    (uint64_t)linux_entry, (uint64_t)linux_fault_entry);
    if (status != OK) {
        status_t deleted = tess_cspace_destroy(process->cspace, thread->handle);
        (void)deleted;
    }
    return status;
}

int64_t linux_thread_make(struct linux_process *process, struct linux_thread **out_thread)
{
    void *block = take_block(process);
    if (block == nullptr) {
        return -LINUX_EAGAIN;
    }
    struct linux_thread *thread = linux_thread_prepare(process, block);
    status_t status = create(process, thread);
    if (status == ERROR_BUSY) { /* the kernel still has the page of the thread before: leave it */
        block = linux_allocate_raw(LINUX_THREAD_BLOCK);
        thread = block != nullptr ? linux_thread_prepare(process, block) : nullptr;
        status = thread != nullptr ? create(process, thread) : ERROR_NO_MEMORY;
    }
    if (status != OK) {
        linux_free(block, LINUX_THREAD_BLOCK);
        return -LINUX_EAGAIN;
    }
    *out_thread = thread;
    return 0;
}

static int64_t start_thread(const struct linux_clone *clone)
{
    struct linux_process *process = linux_process();
    struct linux_thread *self = linux_self();
    struct linux_thread *thread;
    int64_t result = linux_thread_make(process, &thread);
    if (result != 0) {
        return result;
    }
    thread->tid = linux_posix_thread(thread);
    thread->mask = self->mask;
    linux_posix_mask(thread, thread->mask);
    thread->affinity = self->affinity;
    memcpy(thread->name, self->name, sizeof(thread->name));
    linux_registers *registers = linux_registers_of(thread->frame);
    *registers = *linux_registers_of(self->frame);
    registers->LINUX_REGISTER_RESULT = 0;
    if (clone->stack != 0) {
        registers->LINUX_REGISTER_SP = clone->stack;
    }
    if ((clone->flags & LINUX_CLONE_SETTLS) != 0) {
        registers->LINUX_REGISTER_TLS = clone->tls;
    }
    thread->clear_child_tid = (clone->flags & LINUX_CLONE_CHILD_CLEARTID) != 0 ? clone->child_tid : 0;
    uint32_t tid = thread->tid;
    int64_t told = (clone->flags & LINUX_CLONE_PARENT_SETTID) != 0 ? linux_store_user_u32(clone->parent_tid, tid) : 0;
    told |= (clone->flags & LINUX_CLONE_CHILD_SETTID) != 0 ? linux_store_user_u32(clone->child_tid, tid) : 0;
    (void)told; /* Linux does not say either */

    linux_lock(&process->thread_lock);
    thread->next = process->threads;
    process->threads = thread;
    process->thread_count++;
    linux_unlock(&process->thread_lock);
    status_t status = tess_thread_start(thread->handle, (uint64_t)linux_thread_entry, thread->frame->foreign.stack, 0, 0, 0);
    (void)status; /* it cannot have been started */
    return tid;
}

static int64_t clone_any(const struct linux_clone *clone)
{
    uint64_t flags = clone->flags;
    bool is_thread = (flags & LINUX_CLONE_THREAD) != 0;
    if ((is_thread && (flags & LINUX_CLONE_SIGHAND) == 0) || ((flags & LINUX_CLONE_SIGHAND) != 0 && (flags & LINUX_CLONE_VM) == 0) ||
        clone->exit_signal > LINUX_SIGNALS) {
        return -LINUX_EINVAL;
    }
    constexpr uint64_t known = LINUX_CLONE_VM | LINUX_CLONE_FS | LINUX_CLONE_FILES | LINUX_CLONE_SIGHAND | LINUX_CLONE_VFORK |
                               LINUX_CLONE_THREAD | LINUX_CLONE_SYSVSEM | LINUX_CLONE_SETTLS | LINUX_CLONE_PARENT_SETTID |
                               LINUX_CLONE_CHILD_CLEARTID | LINUX_CLONE_DETACHED | LINUX_CLONE_CHILD_SETTID | LINUX_CLONE_CLEAR_SIGHAND;
    if ((flags & ~known) != 0) {
        return (flags & (LINUX_CLONE_PIDFD | LINUX_CLONE_PARENT)) != 0 ? -LINUX_EINVAL : -LINUX_EPERM; /* namespaces */
    }
    return is_thread ? start_thread(clone) : linux_fork(clone);
}

int64_t linux_sys_clone(uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t a3, uint64_t a4)
{
    struct linux_clone clone = {.flags = flags & ~0xFFull, .stack = stack, .parent_tid = parent_tid, .exit_signal = flags & 0xFF};
#if defined(__x86_64__)
    clone.child_tid = a3;
    clone.tls = a4;
#else
    clone.tls = a3;
    clone.child_tid = a4;
#endif
    return clone_any(&clone);
}

int64_t linux_sys_clone3(uint64_t arguments, uint64_t size)
{
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
    } request = {};
    if (size < 64) {
        return -LINUX_EINVAL;
    }
    if (size > 4096) {
        return -LINUX_E2BIG;
    }
    if (linux_copy_from_user(&request, arguments, min_u64(size, sizeof(request))) != 0) {
        return -LINUX_EFAULT;
    }
    if (request.set_tid_size != 0 || (request.stack == 0) != (request.stack_size == 0) || (request.flags & 0xFF) != 0 ||
        request.exit_signal > 64) {
        return -LINUX_EINVAL;
    }
    const struct linux_clone clone = {.flags = request.flags,
                                      .stack = request.stack == 0 ? 0 : request.stack + request.stack_size,
                                      .parent_tid = request.parent_tid,
                                      .child_tid = request.child_tid,
                                      .tls = request.tls,
                                      .exit_signal = (uint32_t)request.exit_signal};
    return clone_any(&clone);
}

int64_t linux_sys_fork(void)
{
    const struct linux_clone clone = {.exit_signal = LINUX_SIGCHLD};
    return linux_fork(&clone);
}

int64_t linux_sys_vfork(void)
{
    const struct linux_clone clone = {.flags = LINUX_CLONE_VM | LINUX_CLONE_VFORK, .exit_signal = LINUX_SIGCHLD};
    return linux_fork(&clone);
}

/* ---- Ends ---- */

constexpr uint32_t ROBUST_MAX = 2048, TID_MASK = 0x3FFFFFFF, OWNER_DIED = 0x40000000, HAS_WAITERS = 0x80000000;

static void wake_user(uint64_t address, uint32_t count)
{
    uint32_t woken;
    status_t status = tess_vspace_futex_wake(linux_process()->vspace, address, count, UINT32_MAX, &woken);
    (void)status; /* the program's word may be anything */
}

static void release_robust(struct linux_thread *thread, uint64_t lock)
{
    uint32_t value, found;
    if (linux_load_user_u32(&value, lock) != 0) {
        return;
    }
    while ((value & TID_MASK) == thread->tid) {
        found = value;
        if (linux_exchange_user_u32(lock, &found, (value & HAS_WAITERS) | OWNER_DIED) != 0) {
            return;
        }
        if (found == value) {
            if ((value & HAS_WAITERS) != 0) {
                wake_user(lock, 1);
            }
            return;
        }
        value = found;
    }
}

/* struct robust_list_head: the list (which ends where it began), the lock's offset from its entry, one that is being locked or unlocked. */
void linux_thread_release(struct linux_thread *thread)
{
    struct {
        uint64_t first, offset, pending;
    } head;
    if (thread->robust_list != 0 && linux_copy_from_user(&head, thread->robust_list, sizeof(head)) == 0) {
        uint64_t entry = head.first & ~1ull;
        for (uint32_t i = 0; i < ROBUST_MAX && entry != thread->robust_list; i++) {
            uint64_t next;
            bool is_readable = linux_load_user_u64(&next, entry) == 0;
            if (entry != (head.pending & ~1ull)) {
                release_robust(thread, entry + head.offset);
            }
            if (!is_readable) {
                break;
            }
            entry = next & ~1ull;
        }
        if ((head.pending & ~1ull) != 0) {
            release_robust(thread, (head.pending & ~1ull) + head.offset);
        }
    }
    if (thread->clear_child_tid != 0 && linux_store_user_u32(thread->clear_child_tid, 0) == 0) {
        wake_user(thread->clear_child_tid, 1);
    }
}

int64_t linux_sys_exit(uint64_t status)
{
    struct linux_process *process = linux_process();
    struct linux_thread *thread = linux_self();
    linux_thread_release(thread);
    linux_lock(&process->thread_lock);
    if (--process->thread_count == 0) {
        linux_unlock(&process->thread_lock);
        return linux_sys_exit_group(status);
    }
    for (struct linux_thread **link = &process->threads; *link != nullptr; link = &(*link)->next) {
        if (*link == thread) {
            *link = thread->next;
            break;
        }
    }
    linux_signal_forget(thread);
    linux_posix_thread_gone(thread);
    uint64_t id, ns;
    uint32_t state, cpu;
    if (tess_thread_info(thread->handle, &id, &state, &cpu, &ns) == OK) {
        process->gone_cpu_ns += ns;
    }
    thread->next = process->gone;
    process->gone = thread;
    linux_unlock(&process->thread_lock);
    linux_thread_end(&thread->state, OP_THREAD_EXIT, thread->handle);
}

int64_t linux_sys_exit_group(uint64_t status)
{
    linux_thread_release(linux_self());
    linux_files_exit();
    linux_process_exit((int32_t)(status & 0xFF) << 8);
}

/* ---- What threads are asked for ---- */

int64_t linux_sys_set_tid_address(uint64_t address)
{
    struct linux_thread *thread = linux_self();
    thread->clear_child_tid = address;
    return thread->tid;
}

int64_t linux_sys_set_robust_list(uint64_t head, uint64_t size)
{
    if (size != 24) {
        return -LINUX_EINVAL;
    }
    linux_self()->robust_list = head;
    return 0;
}

int64_t linux_sys_get_robust_list(uint64_t pid, uint64_t head, uint64_t size)
{
    struct linux_thread *thread = linux_self();
    if ((int32_t)pid != 0 && (uint32_t)pid != thread->tid) {
        return -LINUX_EPERM;
    }
    bool is_told = linux_store_user_u64(head, thread->robust_list) == 0 && linux_store_user_u64(size, 24) == 0;
    return is_told ? 0 : -LINUX_EFAULT;
}
