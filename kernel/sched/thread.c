/* Threads: creation, waiting, ending. The waiting protocol is described in kernel/thread.h. */
#include "run_queue_short.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/audit.h>
#include <kernel/cell.h>
#include <kernel/clone.h>
#include <kernel/cpu_lease.h>
#include <kernel/handler.h>
#include <kernel/ipc.h>
#include <kernel/pager.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/sched_budget.h>
#include <kernel/trace_events.h>
#include <kernel/untyped.h>
#include <kernel/upcall.h>
#include <kernel/vspace.h>

static void thread_timeout(struct timer *timer, uint64_t sequence);

/* Nobody else sees the thread yet. */
static void park_new(struct thread *thread) NO_THREAD_SAFETY { thread->is_parked = true; }

status_t thread_create(struct untyped *untyped, struct process *process, struct memory *message, uint64_t offset, uint32_t flags,
                       struct thread **out_thread)
{
    status_t status = memory_pin(message, offset >> PAGE_SHIFT, 1);
    if (status != OK)
        return status;
    struct thread *thread;
    status = object_create(untyped, OBJECT_THREAD, sizeof(struct thread), (void **)&thread);
    if (status != OK) {
        memory_unpin(message, offset >> PAGE_SHIFT, 1);
        return status;
    }
    spinlock_acquire(&message->lock);
    paddr_t page = 0;
    status = memory_page_locked(message, offset >> PAGE_SHIFT, false, &page);
    spinlock_release(&message->lock);
    object_get(&message->object);
    thread->message_memory = message;
    if (!cell_charge(process->cell, CELL_LIMIT_CALLS, 1)) {
        status = ERROR_CELL_LIMIT;
    } else {
        object_get(&process->cell->object);
        thread->charged_to = process->cell;
    }
    thread->message_index = offset >> PAGE_SHIFT;
    thread->message = phys_to_virt(page);
    thread->affinity = UINT64_MAX;
    thread->weight = THREAD_WEIGHT_DEFAULT;
    thread->latency = SCHED_LATENCY_NORMAL;
    list_node_init(&thread->run_node);
    list_node_init(&thread->lease_node);
    list_node_init(&thread->sched_node);
    park_new(thread);
    atomic_store(&thread->pending, THREAD_PENDING_SUSPEND);
    thread->timer.fire = thread_timeout;
    thread->owed.lock = &thread->lock;
    if (status == OK && (flags & THREAD_FPU)) {
        thread->fpu = untyped_cell_alloc(untyped, OBJECT_THREAD, arch_fpu_size());
        if (thread->fpu == nullptr) {
            status = ERROR_NO_MEMORY;
        } else {
            arch_fpu_init(thread->fpu);
            atomic_store(&thread->long_way, THREAD_LONG_WAY_FPU);
        }
    }
    if (status == OK) {
        spinlock_acquire(&process->lock);
        if (process->state != PROCESS_ALIVE) {
            status = ERROR_PEER_DIED;
        } else if (process->exec_thread != nullptr) {
            status = ERROR_BUSY;
        } else {
            object_get(&process->object);
            thread->process = process;
            thread->native_limit = handler_native_limit(process);
            list_push_back(&process->threads, &thread->process_node);
            process->thread_count++;
            object_get(&thread->object); /* the life reference: dropped by thread_finish */
        }
        spinlock_release(&process->lock);
    }
    if (status != OK) {
        object_put(&thread->object);
        return status;
    }
    trace_thread(arch_cpu(), thread->object.id, (uint32_t)process->object.id);
    *out_thread = thread;
    return OK;
}

static void thread_class_kill(struct object *object)
{
    struct thread *thread = thread_from_object(object);
    if (thread->process != nullptr)
        thread_kill(thread);
}

static bool thread_class_destroy(struct object *object)
{
    struct thread *thread = thread_from_object(object);
    clone_work_end(thread);
    if (thread->fpu != nullptr)
        untyped_cell_free(object->untyped, OBJECT_THREAD, thread->fpu, arch_fpu_size());
    upcall_release(thread);
    handler_event_release(thread);
    memory_unpin(thread->message_memory, thread->message_index, 1);
    object_put(&thread->message_memory->object);
    if (thread->charged_to != nullptr) {
        cell_uncharge(thread->charged_to, CELL_LIMIT_CALLS, 1);
        object_put(&thread->charged_to->object);
    }
    if (thread->process != nullptr)
        object_put(&thread->process->object);
    return true;
}

const struct object_class thread_class = {.kill = thread_class_kill, .destroy = thread_class_destroy};

/* ---- Waiting ---- */

[[clang::noinline]] static uint64_t publish_generally(struct thread *thread, struct wait_queue *queue, struct object *object,
                                                      uint64_t deadline_ns)
{
    uint64_t sequence = (atomic_load_explicit(&thread->wait_word, memory_order_relaxed) >> 8) + 1;
    struct cpu *cpu = arch_cpu();
    thread->wait_queue = queue;
    thread->wait_object = object;
    if (object != nullptr)
        object_get(object);
    if (thread->fpu != nullptr)
        arch_fpu_save(thread->fpu);
    cpu->stopped_at = thread_stop_clock(thread);
    run_queue_leave(cpu->run_queue, thread, cpu->stopped_at);
    thread->wait_deadline_ns = deadline_ns;
    cpu->current = nullptr;
    atomic_store_explicit(&thread->is_running, false, memory_order_relaxed);
    if (deadline_ns != DEADLINE_INFINITE) {
        thread->timer.cookie = sequence;
        timer_arm(&thread->timer, deadline_ns);
    }
    /* Release: whoever claims the wait sees all of the above. */
    atomic_store_explicit(&thread->wait_word, sequence << 8 | WAIT_BLOCKED, memory_order_release);
    return sequence;
}

/* Calls nothing but what comes last, so that no registers have to be kept. */
uint64_t thread_wait_publish(struct thread *thread, struct wait_queue *queue, struct object *object, uint64_t deadline_ns)
{
    struct cpu *cpu = arch_cpu();
    uint64_t now = arch_counter(), sequence;
    if (thread->fpu != nullptr || deadline_ns != DEADLINE_INFINITE || !run_queue_leave_quick(cpu->run_queue, thread, now))
        return publish_generally(thread, queue, object, deadline_ns);
    cpu->stopped_at = now;
    cpu->current = nullptr;
    if (object != nullptr)
        object_get(object);
    thread_wait_publish_at(thread, queue, object, now, &sequence);
    return sequence;
}

void thread_wait_finish(struct thread *thread, status_t status)
{
    /* Always under the timer queue's lock: an expiry under way on another CPU must have taken the timer and its cookie before the
     * next wait arms it. */
    if (thread->wait_deadline_ns != DEADLINE_INFINITE)
        (void)timer_cancel(&thread->timer);
    struct object *object = thread->wait_object;
    thread->wait_object = nullptr;
    thread->wait_queue = nullptr;
    thread->awaits = nullptr;
    arch_frame_set_status(&thread->frame, status);
    if (object != nullptr)
        object_put(object);
}

static void unlink_and_finish(struct thread *thread, status_t status)
{
    for (struct wait_queue *queue; (queue = peek(thread->wait_queue)) != nullptr;) {
        spinlock_acquire(queue->lock);
        bool is_here = thread->wait_queue == queue; /* else it was moved to another futex meanwhile */
        if (is_here)
            wait_queue_remove(queue, &thread->wait_node);
        spinlock_release(queue->lock);
        if (is_here)
            break;
    }
    if (thread->awaits != nullptr)
        debt_cancel(thread->awaits, &thread->waiter);
    thread_wait_finish(thread, status);
    sched_ready(thread);
}

bool thread_wait_cancel(struct thread *thread, status_t status)
{
    if (!thread_wait_claim_any(thread))
        return false;
    unlink_and_finish(thread, status);
    return true;
}

/* Some of them; true when more may be left. */
static bool end_some(struct wait_queue *queue, status_t status) REQUIRES(queue->lock)
{
    constexpr uint32_t AT_ONCE = 6;
    uint32_t count = 0;
    for (struct list_node *node = list_first(&queue->waiters), *next; node != nullptr && count < AT_ONCE; node = next) {
        next = list_next(&queue->waiters, node);
        struct waiter *waiter = container_of(node, struct waiter, node);
        if (!waiter_claim_any(waiter))
            continue; /* whoever ends its wait unlinks it */
        list_remove(node);
        waiter_end(waiter, status, nullptr, 0);
        count++;
    }
    return count == AT_ONCE;
}

void wait_queue_end(struct wait_queue *queue, status_t status)
{
    for (bool has_more = true; has_more;) {
        spinlock_acquire(queue->lock);
        has_more = end_some(queue, status);
        spinlock_release(queue->lock);
        if (has_more)
            arch_irq_poll();
    }
}

/* An interrupt is pending: ends the wait it finds; false when there is none, or one that masks interrupts. Whether it does is read
 * between the two looks at wait_word: a thread that waits cannot change it. */
[[clang::noinline]] static bool wait_interrupt(struct thread *thread)
{
    uint64_t word;
    do {
        word = atomic_load_explicit(&thread->wait_word, memory_order_acquire);
        if ((word & 0xFF) != WAIT_BLOCKED || thread->is_in_event || pager_wait_is_masked(thread) || upcall_is_masked(thread))
            return false;
    } while (!thread_wait_claim(thread, word >> 8));
    if (thread->upcall == nullptr) /* with a frame it stays pending until it is consumed */
        atomic_fetch_and(&thread->pending, ~(uint32_t)THREAD_PENDING_INTERRUPT);
    unlink_and_finish(thread, ERROR_INTERRUPTED);
    return true;
}

void thread_wait_recheck(struct thread *thread)
{
    /* A kill or interrupt may have come before the wait could be claimed. It set its flag first and then failed to claim; we
     * published first and then read the flag: one of the two sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t pending = atomic_load_explicit(&thread->pending, memory_order_relaxed);
    if (pending & THREAD_PENDING_KILL)
        (void)thread_wait_cancel(thread, ERROR_CANCELLED);
    else if (pending & THREAD_PENDING_INTERRUPT)
        (void)wait_interrupt(thread);
}

bool thread_take_interrupt(struct thread *thread)
{
    uint32_t pending = atomic_load_explicit(&thread->pending, memory_order_relaxed);
    if (!(pending & THREAD_PENDING_INTERRUPT))
        return false;
    if (thread->upcall != nullptr) /* as for a wait: with a frame it stays pending until it is consumed */
        return !upcall_is_masked(thread);
    atomic_fetch_and(&thread->pending, ~(uint32_t)THREAD_PENDING_INTERRUPT);
    return true;
}

uint64_t thread_wait_restore_locked(struct thread *thread)
{
    uint64_t sequence = thread_wait_sequence(thread);
    atomic_store_explicit(&thread->wait_word, sequence << 8 | WAIT_BLOCKED, memory_order_seq_cst);
    return sequence;
}

void thread_wait_restored(struct thread *thread, uint64_t sequence)
{
    /* A timeout that came while the wait was claimed found nothing to end. */
    if (thread->wait_deadline_ns <= arch_time_ns() && thread_wait_claim(thread, sequence))
        unlink_and_finish(thread, ERROR_TIMED_OUT);
    else
        thread_wait_recheck(thread);
}

void thread_wait_unclaim(struct thread *thread)
{
    thread->wait_queue = nullptr; /* and so the second step takes no lock */
    thread_wait_restored(thread, thread_wait_restore_locked(thread));
}

static void thread_timeout(struct timer *timer, uint64_t sequence)
{
    struct thread *thread = container_of(timer, struct thread, timer);
    if (thread_wait_claim(thread, sequence))
        unlink_and_finish(thread, ERROR_TIMED_OUT);
}

/* ---- Life ---- */

static void unpark(struct thread *thread)
{
    spinlock_acquire(&thread->lock);
    bool was_parked = thread->is_parked;
    thread->is_parked = false;
    spinlock_release(&thread->lock);
    if (was_parked)
        sched_spread(thread);
}

bool thread_start_at(struct thread *thread, uint64_t pc, uint64_t sp, uint64_t arg0, uint64_t arg1, uint64_t tls)
{
    struct arch_frame frame;
    arch_frame_init(&frame, pc, sp, arg0, arg1, tls);
    return thread_start_with(thread, &frame, tls);
}

bool thread_start_with(struct thread *thread, const struct arch_frame *frame, uint64_t tls)
{
    /* The frame is whole before is_started lets thread_resume() run it. */
    spinlock_acquire(&thread->lock);
    bool was_started = thread->is_started;
    if (!was_started) {
        thread->frame = *frame;
        if (thread->upcall_address != 0)
            arch_frame_set_upcall_address(&thread->frame, thread->upcall_address);
        thread->tls = tls;
        thread->is_started = true;
    }
    spinlock_release(&thread->lock);
    if (was_started)
        return false;
    atomic_fetch_and(&thread->pending, ~(uint32_t)THREAD_PENDING_SUSPEND);
    unpark(thread);
    return true;
}

/* A pending flag was set: the CPU that runs the thread passes through sched_exit() before it goes on. */
static void kick_if_running(struct thread *thread)
{
    uint32_t cpu = atomic_load(&thread->cpu);
    if (!atomic_load(&thread->is_running)) {
        if (throttle_release(thread)) /* it is not to wait for time before it ends or stops */
            sched_ready(thread);
        return;
    }
    if (cpus[cpu] == arch_cpu())
        arch_cpu()->exit_work |= EXIT_RESCHEDULE;
    else
        smp_kick(cpu);
}

/* Makes the thread look at its pending flags soon: it waits, is parked, is queued, or runs somewhere. */
static void thread_poke(struct thread *thread, status_t wait_status)
{
    if (thread_wait_cancel(thread, wait_status))
        return;
    kick_if_running(thread);
}

void thread_kill(struct thread *thread)
{
    atomic_fetch_or(&thread->pending, THREAD_PENDING_KILL);
    unpark(thread);
    thread_poke(thread, ERROR_CANCELLED);
}

void thread_finish(struct thread *thread)
{
    uint64_t sequence;
    struct waiter *caller = debt_take(&thread->owed, &sequence);
    if (caller != nullptr && waiter_claim(caller, sequence))
        waiter_end(caller, ERROR_PEER_DIED, nullptr, 0);
    trace_thread_ended(arch_cpu(), thread->object.id, (uint32_t)thread->process->object.id);
    peekable_set(thread->is_finished, true);
    atomic_thread_fence(memory_order_seq_cst); /* cpu_lease_bind() binds first and then looks whether it is finished */
    cpu_lease_thread_gone(thread);
    sched_thread_gone(thread);
    process_thread_finished(thread->process, thread);
    object_watches_notify(&thread->object);
    object_put(&thread->object); /* the life reference */
}

/* ---- Methods ---- */

status_t untyped_create_thread(struct invocation *inv, struct untyped *self, const struct cap *process, const struct cap *message,
                               uint64_t offset, uint32_t flags, handle_t *out_thread)
{
    struct memory *memory = (struct memory *)message->object;
    if ((offset & (PAGE_SIZE - 1)) != 0 || offset >> PAGE_SHIFT >= peek(memory->size_pages) || (flags & ~(uint32_t)THREAD_FPU) != 0)
        return ERROR_BAD_ARGUMENT;
    struct thread *thread;
    status_t status = thread_create(self, (struct process *)process->object, memory, offset, flags, &thread);
    if (status != OK)
        return status;
    status = object_publish(&thread->object);
    if (status == OK)
        status = cspace_insert(inv->cspace, &thread->object, nullptr, RIGHTS_ALL, nullptr, out_thread);
    if (status != OK)
        thread_kill(thread);
    object_put(&thread->object);
    return status;
}

status_t thread_start(struct invocation *inv, struct thread *self, uint64_t pc, uint64_t sp, uint64_t arg0, uint64_t arg1, uint64_t tls)
{
    (void)inv;
    if (pc >= USER_TOP || sp > USER_TOP || tls >= USER_TOP)
        return ERROR_BAD_ARGUMENT;
    return thread_start_at(self, pc, sp, arg0, arg1, tls) ? OK : ERROR_ALREADY;
}

status_t thread_suspend(struct invocation *inv, struct thread *self)
{
    (void)inv;
    uint32_t old = atomic_fetch_or(&self->pending, THREAD_PENDING_SUSPEND);
    if (old & THREAD_PENDING_SUSPEND)
        return ERROR_ALREADY;
    kick_if_running(self);
    return OK;
}

status_t thread_resume(struct invocation *inv, struct thread *self)
{
    (void)inv;
    spinlock_acquire(&self->lock);
    bool is_started = self->is_started;
    spinlock_release(&self->lock);
    if (!is_started)
        return ERROR_BAD_ARGUMENT;
    uint32_t old = atomic_fetch_and(&self->pending, ~(uint32_t)THREAD_PENDING_SUSPEND);
    if (!(old & THREAD_PENDING_SUSPEND))
        return ERROR_ALREADY;
    unpark(self);
    return OK;
}

status_t thread_interrupt(struct invocation *inv, struct thread *self)
{
    (void)inv;
    bool is_sticky = upcall_mark_interrupt(self);
    atomic_thread_fence(memory_order_seq_cst); /* as in thread_wait_recheck() */
    if (!wait_interrupt(self) && is_sticky)
        kick_if_running(self);
    return OK;
}

status_t thread_exit(struct invocation *inv, struct thread *self)
{
    if (self->process->cspace != inv->cspace)
        audit_process(AUDIT_KILL, inv->cspace, self->process, 0);
    thread_kill(self);
    return OK;
}

status_t thread_yield(struct invocation *inv, struct thread *self)
{
    if (self != inv->thread)
        return ERROR_BAD_ARGUMENT;
    sched_yield();
    return OK;
}

status_t thread_sleep(struct invocation *inv, struct thread *self)
{
    if (self != inv->thread)
        return ERROR_BAD_ARGUMENT;
    return inv->aux <= arch_time_ns() ? ERROR_TIMED_OUT : wait_begin(inv, nullptr, nullptr, 0, 0);
}

status_t thread_set_affinity(struct invocation *inv, struct thread *self, uint64_t mask)
{
    (void)inv;
    if ((mask & sched_online_mask()) == 0)
        return ERROR_BAD_ARGUMENT;
    peekable_set(self->affinity, mask); /* two setters: the last one counts */
    sched_affinity_changed(self);
    return OK;
}

status_t thread_info(struct invocation *inv, struct thread *self, uint64_t *out_id, uint32_t *out_state, uint32_t *out_cpu,
                     uint64_t *out_cpu_ns)
{
    (void)inv;
    *out_id = self->object.id;
    *out_state = peek(self->is_finished)                                       ? 4
                 : atomic_load(&self->is_running)                              ? 1
                 : (uint8_t)atomic_load(&self->wait_word) == WAIT_BLOCKED      ? 2
                 : (atomic_load(&self->pending) & THREAD_PENDING_SUSPEND) != 0 ? 3
                                                                               : 0;
    *out_cpu = atomic_load(&self->cpu);
    uint64_t ticks = self->cpu_time, start = self->run_start, now = arch_counter();
    if (atomic_load(&self->is_running) && start != 0 && start < now)
        ticks += now - start;
    *out_cpu_ns = arch_counter_ns(ticks);
    return OK;
}

status_t thread_set_sched(struct invocation *inv, struct thread *self, uint32_t policy, uint32_t weight, uint32_t latency)
{
    (void)inv;
    if (policy > SCHED_IDLE || weight == 0 || weight > WEIGHT_MAX || latency > SCHED_LATENCY_LONG)
        return ERROR_BAD_ARGUMENT;
    peekable_set(self->policy, (uint8_t)policy); /* two setters: the last one counts, value by value */
    peekable_set(self->weight, weight);
    peekable_set(self->latency, (uint8_t)latency);
    kick_if_running(self); /* it may have left the fair class */
    return OK;
}
