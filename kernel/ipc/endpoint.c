/*
 * Endpoints: synchronous messages. A message goes from the caller's registers and message page straight into the receiver's, or
 * into the bound ring's completion queue. Handles are transferred before either side is told, and all or none.
 *
 * States of a call: queued (caller on `callers`) -> taken (caller waits linked nowhere, the receiver's `caller` or a ring's call
 * slot names its wait) -> answered. A wait is always published before anybody who could answer it can see it.
 *
 * A wait in one of an endpoint's queues does not count the endpoint: the endpoint's end wakes all that are in its queues, under its
 * lock, and whoever claimed one of them before is in a kernel entry that began before the grace period.
 */
#include "message.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/ipc.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/sched_budget.h>
#include <kernel/trace_events.h>

constexpr uint64_t OP_MESSAGE_MASK = 0x0FFFFFFF; /* method, sizes, move mask; no flags */

/* A message without handles, or words in the message page: its op. */
static inline bool is_short(uint64_t op) { return (uint32_t)op < (MESSAGE_REGISTERS + 1) << 16; }

[[gnu::always_inline]] static inline void message_pass_short(const struct thread *from, struct thread *to, uint64_t op, uint64_t badge)
{
    uint32_t count = op_words(op);
    arch_frame_set_op(&to->frame, op);
    arch_frame_set_badge(&to->frame, badge);
    if (count == MESSAGE_REGISTERS) {
        for (uint32_t i = 0; i < MESSAGE_REGISTERS; i++)
            arch_frame_set_word(&to->frame, i, arch_frame_word(&from->frame, i));
        return;
    }
    for (uint32_t i = 0; i < MESSAGE_REGISTERS; i++)
        arch_frame_set_word(&to->frame, i, i < count ? arch_frame_word(&from->frame, i) : 0);
}

/* Copies the message of `from` (claimed or current) into `to` (claimed or current). */
static inline status_t message_pass(struct waiter *from, struct waiter *to, uint64_t op, uint64_t badge)
{
    if (!is_short(op) || from->is_operation || to->is_operation)
        return message_pass_long(from, to, op, badge);
    message_pass_short(waiter_thread(from), waiter_thread(to), op, badge);
    return OK;
}

/* Claims and unlinks the first of the queue that is still waiting. Those whose wait ends meanwhile unlink themselves. */
static struct waiter *claim_first(struct wait_queue *queue)
{
    list_for_each (node, &queue->waiters) {
        struct waiter *waiter = container_of(node, struct waiter, node);
        if (waiter_claim_any(waiter)) {
            wait_queue_remove(queue, node);
            return waiter;
        }
    }
    return nullptr;
}

/* ---- The common case: two threads, short messages, no deadlines ---- */

/* Each of these two does all or nothing: when something is unusual (a lock that is held included), the general way below does it.
 * Without a handle they call nothing but what is inlined or comes last, so that no registers have to be kept. */

/* One handle, moved, and no words in the message page. */
static inline bool is_moving(uint64_t op)
{
    constexpr uint32_t ONE_MOVED = 1u << 24 | 1u << 20;
    return (uint32_t)op - ONE_MOVED < (MESSAGE_REGISTERS + 1) << 16;
}

/* The handle that the message page of `from` names goes to `to`, who is not told yet. */
static inline bool move_handle(const struct thread *from, const struct thread *to)
{
    handle_t handle = __atomic_load_n(&from->message->words[MESSAGE_HANDLE_WORD], __ATOMIC_RELAXED), moved;
    if (!cspace_move_quick(from->process->cspace, handle, to->process->cspace, &moved))
        return false;
    to->message->words[MESSAGE_HANDLE_WORD] = moved;
    return true;
}

static inline bool must_go_long_way(const struct thread *thread)
{
    return atomic_load_explicit(&thread->long_way, memory_order_relaxed) != 0;
}
static inline bool is_without_deadline(const struct thread *thread) { return thread->wait_deadline_ns == DEADLINE_INFINITE; }

[[clang::noinline]] static struct thread *call_moving(struct invocation *inv, struct thread *thread);

[[gnu::always_inline]] static inline struct thread *call_quick(struct invocation *inv, struct thread *thread, bool has_handle)
{
    struct endpoint *endpoint = (struct endpoint *)inv->object;
    if (!has_handle && !is_short(inv->op))
        return call_moving(inv, thread);
    if (inv->op >> 32 != 0 || (has_handle && !is_moving(inv->op)) || inv->aux != DEADLINE_INFINITE || must_go_long_way(thread) ||
        !spinlock_try_acquire(&endpoint->lock))
        return kernel_syscall_general(thread);
    /* Alive it was when the handle was looked up, and if it dies now, a receiver that can be claimed has not been told yet. */
    struct thread *receiver = container_of(endpoint->receivers.waiters.head.next, struct thread, wait_node);
    if (endpoint->ring != nullptr || list_is_empty(&endpoint->receivers.waiters) ||
        atomic_load_explicit(&endpoint->owner_count, memory_order_relaxed) == 0 || !is_without_deadline(receiver) ||
        !thread_wait_claim_any(receiver)) {
        spinlock_release(&endpoint->lock);
        return kernel_syscall_general(thread);
    }
    if (has_handle && !move_handle(thread, receiver)) {
        uint64_t sequence = thread_wait_restore_locked(receiver); /* it never left the queue */
        spinlock_release(&endpoint->lock);
        thread_wait_restored(receiver, sequence);
        return kernel_syscall_general(thread);
    }
    list_remove(&receiver->wait_node);
    receiver->wait_queue = nullptr;
    arch_frame_set_status(&receiver->frame, OK);
    message_pass_short(thread, receiver, inv->op | (uint64_t)inv->rights << 32, badge_number(inv->badge));
    peekable_set(receiver->owed.caller, &thread->waiter);
    thread->awaits = &receiver->owed;
    uint64_t now = thread_wait_publish_short(thread, nullptr, &receiver->owed.sequence);
    spinlock_release(&endpoint->lock);
    return sched_hand_over(thread, receiver, now);
}

static struct thread *call_moving(struct invocation *inv, struct thread *thread) { return call_quick(inv, thread, true); }
struct thread *endpoint_call_quick(struct invocation *inv, struct thread *thread) { return call_quick(inv, thread, false); }

[[clang::noinline]] static struct thread *reply_moving(struct invocation *inv, struct thread *thread);

[[gnu::always_inline]] static inline struct thread *reply_quick(struct invocation *inv, struct thread *thread, bool has_handle)
{
    struct endpoint *endpoint = (struct endpoint *)inv->object;
    struct waiter *caller = peek(thread->owed.caller);
    if (!has_handle && !is_short(inv->op))
        return reply_moving(inv, thread);
    if (caller == nullptr || caller->is_operation || !(inv->rights & RIGHT_OWNER) || (has_handle && !is_moving(inv->op)) ||
        inv->aux != DEADLINE_INFINITE || must_go_long_way(thread) || !spinlock_try_acquire(&endpoint->lock))
        return kernel_syscall_general(thread);
    struct thread *to = waiter_thread(caller);
    if (endpoint->ring != nullptr || !object_is_alive(&endpoint->object) || !list_is_empty(&endpoint->callers.waiters) ||
        !is_without_deadline(to) || !thread_wait_claim(to, thread->owed.sequence)) {
        spinlock_release(&endpoint->lock);
        return kernel_syscall_general(thread);
    }
    if (has_handle && !move_handle(thread, to)) {
        spinlock_release(&endpoint->lock);
        thread_wait_unclaim(to);
        return kernel_syscall_general(thread);
    }
    peekable_set(thread->owed.caller, nullptr); /* who claimed the caller need not ask: nobody else ends its wait */
    to->awaits = nullptr;
    arch_frame_set_status(&to->frame, op_status(inv->op));
    message_pass_short(thread, to, (uint32_t)inv->op, 0);
    uint64_t sequence;
    list_push_back(&endpoint->receivers.waiters, &thread->wait_node);
    uint64_t now = thread_wait_publish_short(thread, &endpoint->receivers, &sequence);
    spinlock_release(&endpoint->lock);
    return sched_hand_over(thread, to, now);
}

static struct thread *reply_moving(struct invocation *inv, struct thread *thread) { return reply_quick(inv, thread, true); }
struct thread *endpoint_reply_receive_quick(struct invocation *inv, struct thread *thread) { return reply_quick(inv, thread, false); }

/* ---- The general way ---- */

/* The present call waits for its reply, which `debt` will owe. */
static void wait_for_reply(struct invocation *inv, struct debt *debt)
{
    struct operation *operation = inv->operation;
    waiter_await(operation != nullptr ? &operation->waiter : &inv->thread->waiter, debt);
    /* The sequence of the wait that begins: nobody looks at it before the holder runs. */
    debt->sequence = (operation != nullptr ? atomic_load(&operation->wait_word) >> 8 : thread_wait_sequence(inv->thread)) + 1;
    peekable_set(debt->caller, operation != nullptr ? &operation->waiter : &inv->thread->waiter);
    if (operation == nullptr && debt->kind == DEBT_THREAD)
        sched_lend(inv->thread, container_of(debt, struct thread, owed));
    if (operation != nullptr)
        (void)operation_publish(operation, nullptr, nullptr);
    else
        thread_wait_publish(inv->thread, nullptr, nullptr, inv->aux);
}

/* Its maker's table is closed: messages wait for the next server. The ring's own end, which unbinds it, may still be due. */
static bool has_ended(const struct ring *ring) { return atomic_load_explicit(&ring->cspace->is_closed, memory_order_relaxed); }

/* To the bound ring, which has promised room. */
static status_t call_to_ring(struct invocation *inv, struct endpoint *endpoint, struct waiter *self, uint64_t op, bool wants_reply,
                             uint32_t index, bool *out_is_missed) REQUIRES(&endpoint->lock)
{
    struct ring *ring = endpoint->ring;
    uint64_t words[12], sequence;
    message_read(self, op, words);
    status_t status = message_handles(self, ring->cspace, op, words);
    if (status != OK) {
        *out_is_missed = ring_unreserve_call(ring, index);
        return status;
    }
    const struct ring_message message = {.caller = wants_reply ? self : nullptr,
                                         .cookie = endpoint->ring_cookie,
                                         .op = op,
                                         .badge = badge_number(inv->badge),
                                         .words = words};
    if (!ring_commit_call(ring, index, &message, inv, &sequence))
        return ERROR_PEER_DIED;
    return wants_reply ? STATUS_BLOCKED : OK;
}

/* To a thread that waits for it, claimed and unlinked. */
static status_t call_to_thread(struct invocation *inv, struct endpoint *endpoint, struct waiter *self, uint64_t op, bool wants_reply,
                               struct thread *receiver) RELEASES(&endpoint->lock)
{
    status_t status = message_pass(self, &receiver->waiter, op, badge_number(inv->badge));
    if (status != OK) {
        /* The message is refused; the receiver goes on waiting where it was, at the head of the queue. */
        list_push_front(&endpoint->receivers.waiters, &receiver->wait_node);
        uint64_t sequence = thread_wait_restore_locked(receiver);
        spinlock_release(&endpoint->lock);
        thread_wait_restored(receiver, sequence);
        return status;
    }
    thread_wait_finish(receiver, OK);
    if (wants_reply)
        wait_for_reply(inv, &receiver->owed);
    spinlock_release(&endpoint->lock);
    if (wants_reply && !self->is_operation)
        sched_switch_to(receiver);
    else
        sched_ready(receiver);
    return wants_reply ? STATUS_BLOCKED : OK;
}

/* Nobody can take it now: the caller waits in the queue. */
static status_t call_queued(struct invocation *inv, struct endpoint *endpoint, uint64_t op) REQUIRES(&endpoint->lock)
{
    struct operation *operation = inv->operation;
    if (inv->aux == DEADLINE_NOW)
        return ERROR_WOULD_BLOCK;
    if (endpoint->callers.count == ENDPOINT_QUEUE_MAX)
        return ERROR_QUEUE_FULL;
    endpoint->callers.count++;
    if (operation != nullptr) {
        operation->op = op;
        operation->badge = badge_number(inv->badge);
        operation->awaits = nullptr;
        (void)operation_publish(operation, &endpoint->callers, nullptr);
        return STATUS_BLOCKED;
    }
    struct thread *thread = inv->thread;
    thread->call_op = op;
    thread->call_badge = badge_number(inv->badge);
    list_push_back(&endpoint->callers.waiters, &thread->wait_node);
    thread_wait_publish(thread, &endpoint->callers, nullptr, inv->aux);
    return STATUS_BLOCKED;
}

status_t endpoint_call(struct invocation *inv, struct endpoint *endpoint)
{
    uint64_t op = (inv->op & OP_MESSAGE_MASK) | (uint64_t)inv->rights << 32;
    bool wants_reply = !(inv->op & OP_SEND), is_missed = false;
    struct waiter *self = inv->operation != nullptr ? &inv->operation->waiter : &inv->thread->waiter;
    if (!message_is_valid(inv->op) || (uint32_t)inv->op >> 29 != 0 || inv->op >> 32 != 0)
        return ERROR_BAD_ARGUMENT;
    /* Handles that come and go through a ring are those of its maker's table. */
    if (inv->operation != nullptr && op_handles(op) != 0 && inv->operation->ring->cspace != inv->cspace)
        return ERROR_BAD_ARGUMENT;

    trace_call(arch_cpu(), inv->thread->object.id, endpoint->object.id, (uint32_t)op,
               wants_reply && inv->operation == nullptr ? (uint32_t)(thread_wait_sequence(inv->thread) + 1) : 0);
    spinlock_acquire(&endpoint->lock);
    if (!object_is_alive(&endpoint->object) || atomic_load(&endpoint->owner_count) == 0) {
        spinlock_release(&endpoint->lock);
        return ERROR_PEER_DIED;
    }
    struct ring *ring = endpoint->ring;
    uint32_t index;
    status_t status;
    struct waiter *receiver;
    bool is_served = ring != nullptr && !has_ended(ring) && list_is_empty(&endpoint->callers.waiters);
    if (is_served && ring_reserve_call(ring, wants_reply, &index)) {
        status = call_to_ring(inv, endpoint, self, op, wants_reply, index, &is_missed);
        if (status == ERROR_STALE_HANDLE && has_ended(ring)) /* only just */
            status = call_queued(inv, endpoint, op | (wants_reply ? 0 : OP_SEND));
    } else if (ring == nullptr && (receiver = claim_first(&endpoint->receivers)) != nullptr)
        return call_to_thread(inv, endpoint, self, op, wants_reply, waiter_thread(receiver));
    else
        status = call_queued(inv, endpoint, op | (wants_reply ? 0 : OP_SEND));
    spinlock_release(&endpoint->lock);
    if (is_missed)
        ring_pump(ring); /* stays readable for this kernel entry */
    return status;
}

static uint64_t call_op_of(struct waiter *caller)
{
    return caller->is_operation ? waiter_operation(caller)->op : waiter_thread(caller)->call_op;
}

static uint64_t call_badge_of(struct waiter *caller)
{
    return caller->is_operation ? waiter_operation(caller)->badge : waiter_thread(caller)->call_badge;
}

/* Takes the first message that waits; false when there is none. The caller that then waits for the reply is to be told
 * waiter_restored() once the lock is released. */
[[clang::noinline]] static bool receive_queued(struct thread *thread, struct endpoint *self, struct waiter **out_caller,
                                               uint64_t *out_sequence) REQUIRES(&self->lock)
{
    struct waiter *caller;
    while ((caller = claim_first(&self->callers)) != nullptr) {
        uint64_t call_op = call_op_of(caller), op = call_op & ~(uint64_t)OP_SEND;
        bool wants_reply = !(call_op & OP_SEND);
        status_t status = message_pass(caller, &thread->waiter, op, call_badge_of(caller));
        if (status != OK || !wants_reply) {
            waiter_end(caller, status, nullptr, 0);
            if (status != OK)
                continue;
        } else {
            waiter_await(caller, &thread->owed);
            peekable_set(thread->owed.caller, caller);
            if (!caller->is_operation)
                sched_lend(waiter_thread(caller), thread);
            thread->owed.sequence = *out_sequence = waiter_restore(caller, nullptr);
        }
        arch_frame_set_status(&thread->frame, OK);
        *out_caller = wants_reply ? caller : nullptr;
        return true;
    }
    return false;
}

status_t endpoint_receive(struct invocation *inv, struct endpoint *self)
{
    struct thread *thread = inv->thread;
    if (peek(thread->owed.caller) == &debt_nobody.waiter)
        peekable_set(thread->owed.caller, nullptr); /* he gave up: nobody waits for an answer */
    if (peek(thread->owed.caller) != nullptr)
        return ERROR_BUSY;
    spinlock_acquire(&self->lock);
    bool is_bound = self->ring != nullptr && endpoint_is_bound_locked(self);
    if (is_bound || !object_is_alive(&self->object)) {
        spinlock_release(&self->lock);
        return is_bound ? ERROR_BUSY : ERROR_PEER_DIED;
    }
    struct waiter *caller = nullptr;
    uint64_t sequence;
    if (!list_is_empty(&self->callers.waiters) && receive_queued(thread, self, &caller, &sequence)) {
        spinlock_release(&self->lock);
        if (caller != nullptr)
            waiter_restored(caller, sequence);
        return STATUS_NO_RESULT;
    }
    if (inv->aux == DEADLINE_NOW) {
        spinlock_release(&self->lock);
        return ERROR_TIMED_OUT;
    }
    list_push_back(&self->receivers.waiters, &thread->wait_node);
    thread_wait_publish(thread, &self->receivers, nullptr, inv->aux);
    spinlock_release(&self->lock);
    return STATUS_BLOCKED;
}

status_t endpoint_reply_to(struct invocation *inv, struct waiter *caller, uint64_t sequence, bool is_handoff)
{
    inv->is_committed = true;
    if (!waiter_claim(caller, sequence))
        return ERROR_PEER_DIED;
    status_t status = message_pass(&inv->thread->waiter, caller, inv->op & OP_MESSAGE_MASK, 0);
    status_t told = status == OK ? op_status(inv->op) : ERROR_NO_HANDLES;
    if (caller->is_operation) {
        if (status != OK)
            waiter_operation(caller)->op = 0;
        operation_finish(waiter_operation(caller), told);
        return status;
    }
    struct thread *to = waiter_thread(caller);
    trace_reply(arch_cpu(), inv->thread->object.id, (uint32_t)to->object.id, (uint32_t)sequence, op_status(inv->op));
    thread_wait_finish(to, told);
    if (is_handoff)
        sched_switch_to(to);
    else
        sched_ready(to);
    return status;
}

static status_t reply(struct invocation *inv, bool is_handoff)
{
    if (!message_is_valid(inv->op))
        return ERROR_BAD_ARGUMENT;
    uint64_t sequence;
    struct waiter *caller = debt_take(&inv->thread->owed, &sequence);
    return caller == nullptr ? ERROR_NOT_FOUND : endpoint_reply_to(inv, caller, sequence, is_handoff);
}

status_t endpoint_reply(struct invocation *inv, struct endpoint *self)
{
    (void)self;
    return reply(inv, false);
}

status_t endpoint_reply_receive(struct invocation *inv, struct endpoint *self)
{
    status_t status = reply(inv, true);
    if (status == ERROR_BAD_ARGUMENT)
        return status;
    return endpoint_receive(inv, self);
}

bool endpoint_pump(struct endpoint *endpoint)
{
    bool is_missed = false;
    for (;;) {
        spinlock_acquire(&endpoint->lock);
        struct ring *ring = endpoint->ring;
        if (ring == nullptr || has_ended(ring)) {
            spinlock_release(&endpoint->lock);
            return is_missed;
        }
        struct list_node *gone;
        while ((gone = list_first(&endpoint->badges_gone)) != nullptr) {
            struct badge *badge = container_of(gone, struct badge, gone_node);
            if (!ring_deliver_badge_gone(ring, endpoint->ring_cookie, badge->value))
                break;
            list_remove(gone);
            badge_release(badge);
        }
        struct list_node *first = list_first(&endpoint->callers.waiters);
        bool first_wants_reply = first != nullptr && !(call_op_of(container_of(first, struct waiter, node)) & OP_SEND);
        uint32_t index;
        if (first == nullptr || !ring_reserve_call(ring, first_wants_reply, &index)) {
            spinlock_release(&endpoint->lock);
            return is_missed;
        }
        struct waiter *caller = claim_first(&endpoint->callers);
        uint64_t call_op = caller != nullptr ? call_op_of(caller) : 0, op = call_op & ~(uint64_t)OP_SEND, sequence = 0;
        bool wants_reply = caller != nullptr && !(call_op & OP_SEND);
        if (caller == nullptr || wants_reply != (index != UINT32_MAX)) {
            /* The first one ended its wait meanwhile. */
            is_missed |= ring_unreserve_call(ring, index);
            if (caller != nullptr) {
                list_push_front(&endpoint->callers.waiters, &caller->node);
                endpoint->callers.count++;
                sequence = waiter_restore(caller, &endpoint->callers);
            }
            spinlock_release(&endpoint->lock);
            if (caller == nullptr)
                return is_missed;
            waiter_restored(caller, sequence);
            continue;
        }
        uint64_t words[12];
        message_read(caller, op, words);
        status_t status = message_handles(caller, ring->cspace, op, words);
        if (status != OK) {
            is_missed |= ring_unreserve_call(ring, index);
        } else {
            const struct ring_message message = {.caller = wants_reply ? caller : nullptr,
                                                 .cookie = endpoint->ring_cookie,
                                                 .op = op,
                                                 .badge = call_badge_of(caller),
                                                 .words = words};
            if (!ring_commit_call(ring, index, &message, nullptr, &sequence))
                status = ERROR_PEER_DIED;
        }
        bool must_wait = status == ERROR_STALE_HANDLE && has_ended(ring);
        if (must_wait) {
            list_push_front(&endpoint->callers.waiters, &caller->node);
            endpoint->callers.count++;
            sequence = waiter_restore(caller, &endpoint->callers);
        }
        spinlock_release(&endpoint->lock);
        if (!must_wait && (status != OK || !wants_reply))
            waiter_end(caller, status, nullptr, 0);
        else
            waiter_restored(caller, sequence);
    }
}

/* ---- Life ---- */

static void fail_all(struct endpoint *endpoint, struct wait_queue *queue)
{
    for (;;) {
        spinlock_acquire(&endpoint->lock);
        struct waiter *waiter = claim_first(queue);
        spinlock_release(&endpoint->lock);
        if (waiter == nullptr)
            return;
        waiter_end(waiter, ERROR_PEER_DIED, nullptr, 0);
        arch_irq_poll();
    }
}

void endpoint_owner_gone(struct endpoint *endpoint)
{
    fail_all(endpoint, &endpoint->callers);
    object_watches_notify(&endpoint->object);
}

void endpoint_badge_gone(struct badge *badge)
{
    struct endpoint *endpoint = badge->endpoint;
    spinlock_acquire(&endpoint->lock);
    struct ring *ring = endpoint->ring;
    /* Without a server there is nobody whose records of this client would have to be closed. */
    bool is_done =
        ring == nullptr || (list_is_empty(&endpoint->badges_gone) && ring_deliver_badge_gone(ring, endpoint->ring_cookie, badge->value));
    if (!is_done)
        list_push_back(&endpoint->badges_gone, &badge->gone_node);
    spinlock_release(&endpoint->lock);
    if (is_done)
        badge_release(badge);
}

void endpoint_unbind_locked(struct endpoint *endpoint)
{
    struct ring *ring = endpoint->ring;
    endpoint->ring = nullptr;
    if (ring != nullptr) {
        spinlock_acquire(&ring->lock);
        if (endpoint->is_on_ring) {
            list_remove(&endpoint->ring_node);
            endpoint->is_on_ring = false;
        }
        spinlock_release(&ring->lock);
    }
    struct list_node *gone;
    while ((gone = list_pop_front(&endpoint->badges_gone)) != nullptr)
        badge_release(container_of(gone, struct badge, gone_node));
}

bool endpoint_is_bound_locked(struct endpoint *endpoint)
{
    struct ring *ring = endpoint->ring; /* not counted: its kill unbinds it before it is freed */
    if (ring != nullptr && (!object_is_alive(&ring->object) || atomic_load(&ring->object.refs) == 0))
        endpoint_unbind_locked(endpoint);
    return endpoint->ring != nullptr;
}

static void endpoint_class_kill(struct object *object)
{
    struct endpoint *endpoint = (struct endpoint *)object;
    spinlock_acquire(&endpoint->lock);
    endpoint_unbind_locked(endpoint);
    spinlock_release(&endpoint->lock);
    fail_all(endpoint, &endpoint->callers);
    fail_all(endpoint, &endpoint->receivers);
}

const struct object_class endpoint_class = {.kill = endpoint_class_kill};

status_t untyped_create_endpoint(struct invocation *inv, struct untyped *self, handle_t *out_endpoint)
{
    struct endpoint *endpoint;
    status_t status = object_create(self, OBJECT_ENDPOINT, sizeof(struct endpoint), (void **)&endpoint);
    if (status != OK)
        return status;
    endpoint->callers.lock = endpoint->receivers.lock = &endpoint->lock;
    list_init(&endpoint->callers.waiters);
    list_init(&endpoint->receivers.waiters);
    list_init(&endpoint->badges_gone);
    return invocation_give(inv, &endpoint->object, RIGHTS_ALL, out_endpoint);
}
