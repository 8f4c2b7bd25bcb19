/*
 * Processes. ALIVE -> ENDING (a cause is recorded, every thread is told to end) -> ENDED (the last thread is gone: handles are
 * dropped, waiters and watches are told). process->lock guards state and the thread list; it comes before all waiting locks.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/audit.h>
#include <kernel/handler.h>
#include <kernel/ipc.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/trace_events.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>
#include <tess/string.h>

struct list process_all = LIST_INITIALIZER(process_all);
struct spinlock process_all_lock;

status_t process_create(struct untyped *untyped, struct cell *cell, struct vspace *vspace, struct cspace *cspace, const char name[16],
                        struct process **out_process)
{
    struct process *process;
    status_t status = object_create(untyped, OBJECT_PROCESS, sizeof(struct process), (void **)&process);
    if (status != OK)
        return status;
    object_get(&vspace->object);
    object_get(&cspace->object);
    process->vspace = vspace;
    process->cspace = cspace;
    atomic_fetch_add(&cspace->process_count, 1);
    memcpy(process->name, name, sizeof(process->name));
    process->name[sizeof(process->name) - 1] = 0;
    cspace_set_user(cspace, process->object.id, process->name);
    process->start_ns = arch_time_ns();
    list_init(&process->threads);
    process->waiters.lock = &process->lock;
    list_init(&process->waiters.waiters);
    spinlock_acquire(&process_all_lock);
    list_push_back(&process_all, &process->all_node);
    spinlock_release(&process_all_lock);
    status = cell_add_process(cell, process);
    if (status == OK && peek(cspace->cell) != cell)
        status = cspace_charge_to(cspace, cell);
    if (status != OK) {
        object_put(&process->object);
        return status;
    }
    trace_process(arch_cpu(), process->object.id, process->name);
    *out_process = process;
    return OK;
}

/* Nobody is left who could start anything, or say so. */
[[noreturn]] static void report_needed(const struct process *process)
{
    const struct tess_crash_record *crash = &process->crash;
    if (!process->has_crash)
        panic("the first process ended: cause %u, status %d", process->exit_cause, process->exit_status);
    for (uint32_t i = 0; i < crash->frame_count; i++)
        kprintf("init: #%u %lx", i, crash->frames[i]);
    panic("the first process crashed: fault %u%s at %lx, code %lx, pc %lx, sp %lx", crash->fault_kind, crash->is_write ? " (write)" : "",
          crash->address, crash->code, crash->pc, crash->sp);
}

/* The last thread is gone, or there never was one. */
static void finish(struct process *process)
{
    if (process->is_needed)
        report_needed(process);
    spinlock_acquire(&process->lock);
    peekable_set(process->state, PROCESS_ENDED);
    spinlock_release(&process->lock);
    trace_process_ended(arch_cpu(), process->object.id, process->exit_cause, process->exit_status);
    handler_release(process);
    audit_flush(process->cspace);
    if (atomic_fetch_sub(&process->cspace->process_count, 1) == 1)
        while (cspace_close_step(process->cspace))
            arch_irq_poll();
    /* Servers hear of its badges before anybody hears of its end: a successor may have the same badge. */
    reap_tell_endpoints();
    for (;;) {
        spinlock_acquire(&process->lock);
        struct waiter *waiter = nullptr;
        list_for_each (node, &process->waiters.waiters) {
            struct waiter *candidate = container_of(node, struct waiter, node);
            if (waiter_claim_any(candidate)) {
                waiter = candidate;
                list_remove(node);
                break;
            }
        }
        spinlock_release(&process->lock);
        if (waiter == nullptr)
            break;
        const uint64_t words[] = {process->exit_cause, (uint64_t)(int64_t)process->exit_status};
        waiter_end(waiter, OK, words, ARRAY_LENGTH(words));
    }
    object_watches_notify(&process->object);
}

bool object_has_ended(struct object *object)
{
    if (object->type == OBJECT_PROCESS)
        return peek(((struct process *)object)->state) == PROCESS_ENDED;
    if (object->type == OBJECT_THREAD)
        return peek(thread_from_object(object)->is_finished);
    if (object->type == OBJECT_REPLY)
        return peek(((struct reply *)object)->owed.caller) == &debt_nobody.waiter;
    return object->type == OBJECT_ENDPOINT && atomic_load(&((struct endpoint *)object)->owner_count) == 0;
}

static struct thread *take_unkilled(struct process *process, const struct thread *but)
{
    struct thread *found = nullptr;
    spinlock_acquire(&process->lock);
    list_for_each (node, &process->threads) {
        struct thread *thread = container_of(node, struct thread, process_node);
        if (!thread->was_killed && thread != but) {
            thread->was_killed = true;
            object_get(&thread->object);
            found = thread;
            break;
        }
    }
    spinlock_release(&process->lock);
    return found;
}

void process_end(struct process *process, uint32_t cause, int32_t status)
{
    spinlock_acquire(&process->lock);
    bool is_first = process->state == PROCESS_ALIVE;
    bool has_threads = process->thread_count != 0;
    if (is_first) {
        peekable_set(process->state, PROCESS_ENDING);
        process->exit_cause = cause;
        process->exit_status = status;
        list_for_each (node, &process->threads)
            atomic_fetch_or(&container_of(node, struct thread, process_node)->pending, THREAD_PENDING_KILL);
    }
    spinlock_release(&process->lock);
    /* One by one without the lock: a thread may wait in this very process's queue. */
    for (struct thread *thread; is_first && (thread = take_unkilled(process, nullptr)) != nullptr;) {
        thread_kill(thread);
        object_put(&thread->object);
        arch_irq_poll();
    }
    if (is_first && !has_threads)
        finish(process);
}

void process_end_siblings(struct process *process, struct thread *but)
{
    for (struct thread *thread; (thread = take_unkilled(process, but)) != nullptr;) {
        thread_kill(thread);
        object_put(&thread->object);
    }
}

void process_thread_finished(struct process *process, struct thread *thread)
{
    spinlock_acquire(&process->lock);
    list_remove(&thread->process_node);
    if (process->exec_thread == thread)
        process->exec_thread = nullptr;
    process->thread_count--;
    process->cpu_ns += arch_counter_ns(thread->cpu_time);
    /* One that never ran (its creation failed) leaves a process without threads as it was. */
    bool is_last = process->thread_count == 0 && (process->state != PROCESS_ALIVE || thread->is_started);
    if (is_last && process->state == PROCESS_ALIVE) {
        peekable_set(process->state, PROCESS_ENDING);
        process->exit_cause = EXIT_NORMAL;
        process->exit_status = 0;
    }
    spinlock_release(&process->lock);
    if (is_last)
        finish(process);
}

/* Return addresses from the chain of frame records that -fno-omit-frame-pointer leaves on the user's stack. */
static uint32_t backtrace(struct vspace *vspace, const struct arch_frame *frame, uint64_t *frames, uint32_t limit)
{
    uint32_t count = 0;
    uint64_t fp = arch_frame_fp(frame);
    frames[count++] = arch_frame_pc(frame);
    while (count < limit && fp != 0 && (fp & 7) == 0) {
        uint64_t record[2];
        if (user_copy_in(vspace, record, fp + (uint64_t)ARCH_FRAME_RECORD_OFFSET, sizeof(record)) != OK)
            break;
        if (record[1] == 0)
            break;
        frames[count++] = record[1];
        if (record[0] <= fp)
            break;
        fp = record[0];
    }
    return count;
}

void process_crash(struct thread *thread, const struct fault *fault)
{
    struct process *process = thread->process;
    struct tess_crash_record crash = {
        .cause = EXIT_FAULT,
        .status = -1,
        .fault_kind = fault->kind,
        .is_write = fault->is_write,
        .address = fault->address,
        .code = fault->code,
        .pc = arch_frame_pc(&thread->frame),
        .sp = arch_frame_sp(&thread->frame),
        .thread_id = thread->object.id,
    };
    crash.frame_count = backtrace(process->vspace, &thread->frame, crash.frames, ARRAY_LENGTH(crash.frames));
    spinlock_acquire(&process->lock);
    if (process->state == PROCESS_ALIVE && !process->has_crash) {
        process->crash = crash;
        process->has_crash = true;
    }
    spinlock_release(&process->lock);
    process_end(process, EXIT_FAULT, -1);
}

void process_describe(struct process *process, struct tess_process_info *out_info)
{
    *out_info = (struct tess_process_info){.id = process->object.id, .start_ns = process->start_ns};
    memcpy(out_info->name, process->name, sizeof(out_info->name));
    uint64_t now = arch_counter();
    spinlock_acquire(&process->lock);
    out_info->state = process->state;
    out_info->thread_count = process->thread_count;
    out_info->cpu_ns = process->cpu_ns;
    list_for_each (node, &process->threads) {
        struct thread *thread = container_of(node, struct thread, process_node);
        uint64_t start = thread->run_start, ticks = thread->cpu_time;
        if (atomic_load(&thread->is_running) && start != 0 && start < now)
            ticks += now - start;
        out_info->cpu_ns += arch_counter_ns(ticks);
    }
    spinlock_release(&process->lock);
    out_info->handle_count = process->cspace->used_count;
    struct untyped *untyped = process->object.untyped;
    out_info->memory_pages = untyped_used_pages(untyped);
}

static void process_class_kill(struct object *object) { process_end((struct process *)object, EXIT_DESTROYED, 0); }

static bool process_class_destroy(struct object *object)
{
    struct process *process = (struct process *)object;
    spinlock_acquire(&process_all_lock);
    list_remove(&process->all_node);
    spinlock_release(&process_all_lock);
    if (process->cell != nullptr)
        cell_remove_process(process->cell, process);
    handler_release(process);
    object_put(&process->vspace->object);
    object_put(&process->cspace->object);
    return true;
}

const struct object_class process_class = {.kill = process_class_kill, .destroy = process_class_destroy};

/* ---- Methods ---- */

status_t untyped_create_process(struct invocation *inv, struct untyped *self, const struct cap *vspace, const struct cap *cspace,
                                const uint8_t name[16], handle_t *out_process)
{
    struct process *process;
    status_t status = process_create(self, inv->thread->process->cell, (struct vspace *)vspace->object, (struct cspace *)cspace->object,
                                     (const char *)name, &process);
    if (status != OK)
        return status;
    audit_process(AUDIT_PROCESS, inv->cspace, process, 0);
    return invocation_give(inv, &process->object, RIGHTS_ALL, out_process);
}

status_t process_exit(struct invocation *inv, struct process *self, int32_t status)
{
    (void)inv;
    process_end(self, EXIT_NORMAL, status);
    return OK;
}

status_t process_kill(struct invocation *inv, struct process *self, int32_t status)
{
    if (self->state != PROCESS_ALIVE)
        return ERROR_ALREADY;
    audit_process(AUDIT_KILL, inv->cspace, self, (uint64_t)(int64_t)status);
    process_end(self, EXIT_KILLED, status);
    return OK;
}

status_t process_wait(struct invocation *inv, struct process *self, uint32_t *out_cause, int32_t *out_status)
{
    status_t status = OK;
    spinlock_acquire(&self->lock);
    if (self->state == PROCESS_ENDED) {
        *out_cause = self->exit_cause;
        *out_status = self->exit_status;
    } else if (inv->aux == DEADLINE_NOW) {
        status = ERROR_TIMED_OUT;
    } else {
        status = wait_begin(inv, &self->waiters, &self->object, 0, 0);
    }
    spinlock_release(&self->lock);
    return status;
}

status_t process_info(struct invocation *inv, struct process *self, uint64_t address)
{
    struct tess_process_info info;
    process_describe(self, &info);
    return user_copy_out(inv->thread->process->vspace, address, &info, sizeof(info));
}

status_t process_crash_info(struct invocation *inv, struct process *self, uint64_t address)
{
    spinlock_acquire(&self->lock);
    bool has_crash = self->has_crash;
    struct tess_crash_record crash = self->crash;
    spinlock_release(&self->lock);
    return has_crash ? user_copy_out(inv->thread->process->vspace, address, &crash, sizeof(crash)) : ERROR_NOT_FOUND;
}
