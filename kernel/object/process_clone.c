/*
 * process.clone and process.exec: the mechanisms under fork and exec. A clone is made out of sight, in steps (clone.h): address space,
 * process, thread, table of handles; then the thread starts and the handle is given. What other threads of the process map, unmap or
 * delete meanwhile is in the clone or not.
 */
#include <kernel/abi_dispatch.h>
#include <kernel/clone.h>
#include <kernel/ipc.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>
#include <kernel/upcall.h>
#include <tess/string.h>

struct clone_context {
    struct clone_work *work;
    struct process *parent;
    struct thread *caller;
};

/* What a handle of the parent to `object` names in the clone, by default. */
static struct object *choose(void *opaque, struct object *object)
{
    const struct clone_context *context = opaque;
    const struct process *parent = context->parent, *clone = context->work->process;
    if (object == &parent->object)
        return &context->work->process->object;
    if (object == &parent->vspace->object)
        return &clone->vspace->object;
    if (object == &parent->cspace->object)
        return &clone->cspace->object;
    if (object == &context->caller->object)
        return &context->work->thread->object;
    if (object->type == OBJECT_THREAD && thread_from_object(object)->process == parent)
        return nullptr;
    if (object->type == OBJECT_RING && ((struct ring *)object)->cspace == parent->cspace)
        return nullptr;
    if (object->type == OBJECT_MEMORY && clone->vspace != parent->vspace) {
        struct memory *own = vspace_clone_counterpart(parent->vspace, clone->vspace, (struct memory *)object);
        return own != nullptr ? &own->object : object;
    }
    return object;
}

/* The page for the clone's messages. */
static status_t find_message(struct invocation *inv, const struct clone_work *work, uint64_t handle, uint64_t offset,
                             struct memory **out_memory, uint64_t *out_offset)
{
    struct thread *caller = inv->thread;
    if (handle != HANDLE_NONE) {
        struct cap cap;
        status_t status = invocation_handle(inv, handle, OBJECT_MEMORY, MEMORY_RIGHT_WRITE, &cap);
        if (status != OK)
            return status;
        *out_memory = (struct memory *)cap.object;
        *out_offset = offset;
        return (offset & (PAGE_SIZE - 1)) != 0 || offset >> PAGE_SHIFT >= peek((*out_memory)->size_pages) ? ERROR_BAD_ARGUMENT : OK;
    }
    *out_memory = caller->message_memory;
    *out_offset = caller->message_index << PAGE_SHIFT;
    if (work != nullptr && work->vspace != nullptr) {
        struct memory *own = vspace_clone_counterpart(caller->process->vspace, work->vspace, caller->message_memory);
        *out_memory = own != nullptr ? own : *out_memory;
    }
    return OK;
}

/* Process and thread, not started. */
static status_t make_process(struct invocation *inv, struct clone_work *work, struct process *parent, struct untyped *untyped,
                             uint32_t flags, uint64_t message, uint64_t message_offset)
{
    status_t status = OK;
    struct cspace *cspace = parent->cspace;
    if (!(flags & PROCESS_CLONE_CSPACE_SHARED)) {
        status = cspace_create(untyped, parent->cspace->slot_limit, &work->cspace);
        if (status == OK)
            status = object_publish(&work->cspace->object);
        cspace = work->cspace;
    }
    if (status == OK)
        status = process_create(untyped, parent->cell, work->vspace != nullptr ? work->vspace : parent->vspace, cspace, parent->name,
                                &work->process);
    if (status == OK)
        status = object_publish(&work->process->object);
    struct memory *memory;
    uint64_t offset;
    if (status == OK)
        status = find_message(inv, work, message, message_offset, &memory, &offset);
    if (status == OK)
        status = thread_create(untyped, work->process, memory, offset, inv->thread->fpu != nullptr ? THREAD_FPU : 0, &work->thread);
    if (status == OK)
        status = object_publish(&work->thread->object);
    /* In an address space of its own the thread has upcalls as the caller has; in the caller's it cannot have the same frame. */
    if (status == OK && inv->thread->upcall != nullptr && work->vspace != nullptr) {
        struct memory *frame = vspace_clone_counterpart(parent->vspace, work->vspace, inv->thread->upcall_memory);
        status = frame != nullptr ? upcall_clone(work->thread, inv->thread, frame) : OK;
    }
    return status;
}

static void start_thread(struct thread *thread, struct thread *caller, uint64_t pc, uint64_t sp, uint64_t arg0, uint64_t tls)
{
    peekable_set(thread->affinity, caller->affinity);
    if (thread->fpu != nullptr)
        arch_fpu_save(thread->fpu); /* the caller's, which this CPU holds */
    if (pc != 0) {
        (void)thread_start_at(thread, pc, sp, arg0, 0, tls);
        return;
    }
    struct arch_frame frame = caller->frame;
    arch_frame_set_status(&frame, OK);
    arch_frame_set_word(&frame, 0, HANDLE_NONE);
    (void)thread_start_with(thread, &frame, caller->tls);
}

static status_t clone_step(struct invocation *inv, struct clone_work *work, struct process *parent, struct untyped *untyped, uint32_t flags,
                           uint64_t message, uint64_t message_offset)
{
    status_t status = OK;
    if (!work->has_vspace && !(flags & PROCESS_CLONE_VSPACE_SHARED))
        status = vspace_clone_step(work, parent->vspace, untyped);
    if (status != OK)
        return status;
    work->has_vspace = true;
    if (work->thread == nullptr)
        status = make_process(inv, work, parent, untyped, flags, message, message_offset);
    if (status != OK || (flags & PROCESS_CLONE_CSPACE_SHARED))
        return status;
    struct clone_context context = {.work = work, .parent = parent, .caller = inv->thread};
    return cspace_clone_step(work, parent->cspace, untyped, choose, &context);
}

status_t process_clone(struct invocation *inv, struct process *self, const struct cap *untyped, uint32_t flags, uint64_t pc, uint64_t sp,
                       uint64_t arg0, uint64_t tls, uint64_t message, uint64_t message_offset, handle_t *out_process)
{
    struct thread *caller = inv->thread;
    if (inv->is_submitted)
        return ERROR_UNKNOWN_METHOD; /* no thread of the process makes it */
    if (self != caller->process || (flags & ~(uint32_t)(PROCESS_CLONE_VSPACE_SHARED | PROCESS_CLONE_CSPACE_SHARED)) != 0 ||
        pc >= USER_TOP || sp > USER_TOP || tls >= USER_TOP || ((flags & PROCESS_CLONE_VSPACE_SHARED) && message == HANDLE_NONE))
        return ERROR_BAD_ARGUMENT;
    struct memory *memory;
    uint64_t offset;
    status_t status = find_message(inv, nullptr, message, message_offset, &memory, &offset);
    struct clone_work *work;
    struct untyped *payer = (struct untyped *)untyped->object;
    if (status == OK)
        status = clone_work_get(inv, payer, &work);
    if (status == OK)
        status = clone_step(inv, work, self, payer, flags, message, message_offset);
    if (status == ERROR_RESTART)
        return status;
    if (status == OK)
        status = cspace_insert(inv->cspace, &work->process->object, nullptr, RIGHTS_ALL, nullptr, out_process);
    if (status == OK) {
        start_thread(work->thread, caller, pc, sp, arg0, tls);
        object_put(&work->thread->object);
        work->thread = nullptr; /* it is its own now */
    }
    clone_work_end(caller);
    return status;
}

/* ---- exec ---- */

struct image {
    struct vspace *vspace;
    struct memory *message;
    uint64_t message_index;
    handle_t handles[3]; /* that the call itself uses: they stay until its last step */
};

/* Makes the caller the only thread; RESTART: others are not gone yet. */
static status_t end_siblings(struct process *process, struct thread *caller)
{
    status_t status = OK;
    spinlock_acquire(&process->lock);
    if (process->state != PROCESS_ALIVE)
        status = ERROR_PEER_DIED; /* it ends itself */
    else if (process->exec_thread != nullptr && process->exec_thread != caller)
        status = ERROR_BUSY;
    else
        process->exec_thread = caller;
    spinlock_release(&process->lock);
    if (status != OK)
        return status;
    process_end_siblings(process, caller);
    spinlock_acquire(&process->lock);
    status = process->thread_count > 1 ? ERROR_RESTART : OK;
    spinlock_release(&process->lock);
    return status;
}

static void exec_end(struct process *process, const struct thread *caller)
{
    spinlock_acquire(&process->lock);
    if (process->exec_thread == caller) {
        process->exec_thread = nullptr;
        process->exec_slot = 0;
    }
    spinlock_release(&process->lock);
}

/* The image's references and its pin become the process's. From here on nothing fails. */
static void switch_image(struct process *process, struct thread *caller, const struct image *image, paddr_t page)
{
    struct vspace *old = process->vspace;
    memory_unpin(caller->message_memory, caller->message_index, 1);
    object_put(&caller->message_memory->object);
    caller->message_memory = image->message;
    caller->message_index = image->message_index;
    caller->message = phys_to_virt(page);
    upcall_reset(caller);
    peekable_set(process->vspace, image->vspace);
    if (image->vspace != old)
        vspace_switch(arch_cpu(), image->vspace);
    object_put(&old->object);
    if (caller->fpu != nullptr) {
        arch_fpu_init(caller->fpu);
        arch_fpu_restore(caller->fpu);
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(image->handles); i++)
        cspace_exec_drop(process->cspace, image->handles[i]);
    exec_end(process, caller);
}

static status_t exec(struct process *process, struct thread *caller, const struct image *image)
{
    status_t status = memory_pin(image->message, image->message_index, 1);
    if (status != OK)
        return status;
    status = end_siblings(process, caller);
    if (status == OK)
        status = cspace_exec_step(process->cspace, &process->exec_slot, image->handles, ARRAY_LENGTH(image->handles));
    paddr_t page = 0;
    if (status == OK) {
        spinlock_acquire(&image->message->lock);
        status = memory_page_locked(image->message, image->message_index, false, &page); /* there: it is pinned */
        spinlock_release(&image->message->lock);
    }
    if (status != OK) {
        memory_unpin(image->message, image->message_index, 1);
        return status;
    }
    switch_image(process, caller, image, page);
    return OK;
}

status_t process_exec(struct invocation *inv, struct process *self, const struct cap *vspace, uint64_t pc, uint64_t sp, uint64_t arg0,
                      uint64_t arg1, uint64_t tls, const struct cap *message, uint64_t message_offset)
{
    struct thread *caller = inv->thread;
    struct image image = {.vspace = (struct vspace *)vspace->object,
                          .message = (struct memory *)message->object,
                          .message_index = message_offset >> PAGE_SHIFT,
                          .handles = {arch_frame_handle(&caller->frame), inv->words[0], inv->words[6]}};
    if (inv->is_submitted)
        return ERROR_UNKNOWN_METHOD;
    if (self != caller->process || pc >= USER_TOP || sp > USER_TOP || tls >= USER_TOP || (message_offset & (PAGE_SIZE - 1)) != 0 ||
        image.message_index >= peek(image.message->size_pages))
        return ERROR_BAD_ARGUMENT;
    /* Another holder of the table may delete the handles meanwhile. */
    if (!object_try_get(&image.vspace->object))
        return ERROR_STALE_HANDLE;
    if (!object_try_get(&image.message->object)) {
        object_put(&image.vspace->object);
        return ERROR_STALE_HANDLE;
    }
    status_t status = exec(self, caller, &image);
    if (status == OK) {
        caller->tls = tls;
        arch_frame_init(&caller->frame, pc, sp, arg0, arg1, tls);
        arch_upcall_address_load(&caller->frame);
        return STATUS_NO_RESULT;
    }
    object_put(&image.vspace->object);
    object_put(&image.message->object);
    if (status != ERROR_RESTART)
        exec_end(self, caller);
    return status;
}
