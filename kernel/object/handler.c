/* The handler of a process: see kernel/handler.h. */
#include <kernel/abi_dispatch.h>
#include <kernel/handler.h>
#include <kernel/ipc.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>
#include <kernel/upcall.h>

static_assert((OP_HANDLER_EVENT >> 16 & 0xF) == 4, "more would go through the message page, which is the user's");

/* The endpoint stays readable for this kernel entry. */
static struct endpoint *handler_of(struct process *process, uint32_t *out_rights)
{
    spinlock_acquire(&process->lock);
    struct endpoint *endpoint = process->handler;
    *out_rights = process->handler_rights;
    spinlock_release(&process->lock);
    return endpoint;
}

static void set_in_event(struct thread *thread, bool is_in_event)
{
    spinlock_acquire(&thread->lock);
    thread->is_in_event = is_in_event;
    if (is_in_event)
        atomic_fetch_or(&thread->pending, THREAD_PENDING_EVENT);
    else
        atomic_fetch_and(&thread->pending, ~(uint32_t)THREAD_PENDING_EVENT);
    spinlock_release(&thread->lock);
}

bool handler_ask(struct thread *thread, const struct fault *fault, uint32_t cause, bool may_upcall)
{
    uint32_t rights;
    struct endpoint *endpoint = handler_of(thread->process, &rights);
    if (endpoint == nullptr)
        return false;
    if (thread->event == nullptr)
        thread->event = untyped_cell_alloc(thread->object.untyped, OBJECT_THREAD, sizeof(struct thread_event));
    if (thread->event == nullptr)
        return false;
    *thread->event = (struct thread_event){.frame = thread->frame, .fault = *fault, .may_upcall = may_upcall};
    uint32_t access = (fault->is_write ? UPCALL_WRITE : 0) | (fault->is_execute ? UPCALL_EXECUTE : 0);
    uint64_t words[4] = {thread->object.id, cause | access << 8, fault->address, arch_frame_pc(&thread->frame)};
    for (uint32_t i = 0; i < ARRAY_LENGTH(words); i++)
        arch_frame_set_word(&thread->frame, i, words[i]);
    set_in_event(thread, true);
    struct invocation *inv = arch_cpu()->invocation;
    inv->object = &endpoint->object;
    inv->op = OP_HANDLER_EVENT;
    inv->rights = rights;
    inv->badge = &thread->process->handler_badge;
    inv->aux = DEADLINE_INFINITE;
    inv->is_committed = false;
    if (endpoint_call(inv, endpoint) == STATUS_BLOCKED) {
        thread_wait_recheck(thread);
        return true;
    }
    thread->frame = thread->event->frame;
    set_in_event(thread, false);
    return false;
}

void handler_finish(struct thread *thread)
{
    struct thread_event *event = thread->event;
    int64_t status = arch_frame_status(&thread->frame);
    uint64_t action = arch_frame_word(&thread->frame, 0), value = arch_frame_word(&thread->frame, 1);
    spinlock_acquire(&thread->lock);
    thread->frame = event->frame; /* with what thread.set_registers made of it */
    thread->is_in_event = false;
    atomic_fetch_and(&thread->pending, ~(uint32_t)THREAD_PENDING_EVENT);
    spinlock_release(&thread->lock);
    if (status == OK && action == HANDLER_RESULT)
        arch_frame_set_status(&thread->frame, (int64_t)value);
    else if (!(status == OK && action == HANDLER_RESUME) &&
             !(status == OK && action == HANDLER_PASS && event->may_upcall && upcall_fault(thread, &event->fault)))
        process_crash(thread, &event->fault);
}

void handler_event_release(struct thread *thread)
{
    if (thread->event != nullptr)
        untyped_cell_free(thread->object.untyped, OBJECT_THREAD, thread->event, sizeof(struct thread_event));
}

uint64_t handler_native_limit(const struct process *process)
{
    return process->handler != nullptr && (process->handler_flags & HANDLER_SYSTEM_CALLS) ? NATIVE_BASE + NATIVE_GATE_SIZE : 0;
}

/* Takes effect with each thread's next system call. The thread's lock: it may be getting an upcall frame. */
static void limits_set_locked(struct process *process) REQUIRES(&process->lock)
{
    list_for_each (node, &process->threads) {
        struct thread *thread = container_of(node, struct thread, process_node);
        spinlock_acquire(&thread->lock);
        if (thread->upcall == nullptr)
            __atomic_store_n(&thread->native_limit, handler_native_limit(process), __ATOMIC_RELAXED);
        spinlock_release(&thread->lock);
    }
}

static bool replace(struct process *process, struct endpoint *endpoint, uint32_t rights, uint64_t badge, uint32_t flags)
{
    if (endpoint != nullptr)
        object_get(&endpoint->object);
    spinlock_acquire(&process->lock);
    struct endpoint *old = process->handler;
    process->handler = endpoint;
    process->handler_rights = rights;
    process->handler_badge.value = badge;
    peekable_set(process->handler_flags, flags);
    limits_set_locked(process);
    spinlock_release(&process->lock);
    if (old != nullptr)
        object_put(&old->object);
    return old != nullptr;
}

void handler_release(struct process *process) { (void)replace(process, nullptr, 0, 0, 0); }

/* ---- Methods ---- */

status_t process_set_handler(struct invocation *inv, struct process *self, const struct cap *endpoint, uint32_t flags)
{
    (void)inv;
    if ((flags & ~(uint32_t)(HANDLER_FIRST | HANDLER_SYSTEM_CALLS)) != 0)
        return ERROR_BAD_ARGUMENT;
    (void)replace(self, (struct endpoint *)endpoint->object, endpoint->rights, badge_number(endpoint->badge), flags);
    if (peek(self->state) == PROCESS_ENDED) /* its end lets the handler go: before this, or now */
        handler_release(self);
    return OK;
}

status_t process_clear_handler(struct invocation *inv, struct process *self)
{
    (void)inv;
    return replace(self, nullptr, 0, 0, 0) ? OK : ERROR_NOT_FOUND;
}
