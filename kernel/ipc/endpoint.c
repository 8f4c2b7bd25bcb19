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
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/ipc.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/trace_events.h>

constexpr uint64_t OP_MESSAGE_MASK = 0x0FFFFFFF; /* method, sizes, move mask; no flags */
constexpr uint32_t MESSAGE_REGISTERS = 4;        /* words that travel in registers */

static bool op_is_valid(uint64_t op)
{
    uint32_t words = op_words(op), handles = op_handles(op);
    return words <= MESSAGE_WORDS && handles <= MESSAGE_HANDLES && (handles == 0 || words <= MESSAGE_HANDLE_WORD) &&
           (op_move_mask(op) >> handles) == 0;
}

status_t message_transfer_handles(uint64_t op, const uint64_t in[4], struct cspace *from, struct cspace *to, uint64_t out[4])
{
    uint32_t count = op_handles(op);
    struct cap caps[MESSAGE_HANDLES];
    handle_t sources[MESSAGE_HANDLES]; /* `in` and `out` may be the same array */
    for (uint32_t i = 0; i < count; i++) {
        sources[i] = in[i];
        status_t status = cspace_lookup(from, in[i], &caps[i]);
        if (status != OK)
            return status;
        bool is_move = (op_move_mask(op) >> i) & 1;
        if ((caps[i].rights & (is_move ? RIGHT_MOVE : RIGHT_COPY)) == 0)
            return ERROR_MISSING_RIGHT;
        for (uint32_t j = 0; j < i; j++)
            if (caps[j].slot == caps[i].slot && (is_move || ((op_move_mask(op) >> j) & 1)))
                return ERROR_BAD_ARGUMENT; /* the same handle twice, and moved */
    }
    /* First insert all as copies (each may fail), then delete the sources of the moved ones (cannot fail in a way that matters). */
    for (uint32_t i = 0; i < count; i++) {
        status_t status = cspace_insert(to, caps[i].object, &caps[i], caps[i].rights, nullptr, &out[i]);
        if (status != OK) {
            while (i-- > 0) {
                status_t undone = cspace_remove(to, out[i]);
                (void)undone; /* may be revoked already */
            }
            return status;
        }
    }
    for (uint32_t i = 0; i < count; i++)
        if ((op_move_mask(op) >> i) & 1) {
            status_t removed = cspace_remove(from, sources[i]);
            (void)removed; /* a revoke that came between took both */
        }
    return OK;
}

/* The caller's message as it stands in its registers and message page; shared words are read once. A register that is not part
 * of the message holds whatever the sender's program had there: the other side gets zero. */
static void message_read(struct thread *thread, uint64_t op, uint64_t words[12])
{
    uint32_t count = op_words(op);
    for (uint32_t i = 0; i < 4; i++)
        words[i] = i < count ? arch_frame_word(&thread->frame, i) : 0;
    for (uint32_t i = 4; i < count; i++)
        words[i] = __atomic_load_n(&thread->message->words[i], __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < op_handles(op); i++)
        words[MESSAGE_HANDLE_WORD + i] = __atomic_load_n(&thread->message->words[MESSAGE_HANDLE_WORD + i], __ATOMIC_RELAXED);
}

static void message_write(struct thread *thread, uint64_t op, uint64_t badge, const uint64_t words[12])
{
    arch_frame_set_op(&thread->frame, op);
    arch_frame_set_badge(&thread->frame, badge);
    for (uint32_t i = 0; i < 4; i++)
        arch_frame_set_word(&thread->frame, i, words[i]);
    uint32_t count = op_words(op);
    for (uint32_t i = 4; i < count; i++)
        thread->message->words[i] = words[i];
    for (uint32_t i = 0; i < op_handles(op); i++)
        thread->message->words[MESSAGE_HANDLE_WORD + i] = words[MESSAGE_HANDLE_WORD + i];
}

/* With words in the message page, or handles. */
[[clang::noinline]] static status_t message_pass_long(struct thread *from, struct thread *to, uint64_t op, uint64_t badge)
{
    uint64_t words[12];
    message_read(from, op, words);
    if (op_handles(op) != 0) {
        status_t status = message_transfer_handles(op, &words[MESSAGE_HANDLE_WORD], from->process->cspace, to->process->cspace,
                                                   &words[MESSAGE_HANDLE_WORD]);
        if (status != OK)
            return status;
    }
    message_write(to, op, badge, words);
    return OK;
}

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
static inline status_t message_pass(struct thread *from, struct thread *to, uint64_t op, uint64_t badge)
{
    if (!is_short(op))
        return message_pass_long(from, to, op, badge);
    message_pass_short(from, to, op, badge);
    return OK;
}

static struct thread *first_waiter(struct wait_queue *queue)
{
    struct list_node *node = list_first(&queue->waiters);
    return node != nullptr ? container_of(node, struct thread, wait_node) : nullptr;
}

/* Claims and unlinks the first thread of the queue that is still waiting. Those whose wait ends meanwhile unlink themselves. */
static struct thread *claim_first(struct wait_queue *queue)
{
    list_for_each (node, &queue->waiters) {
        struct thread *thread = container_of(node, struct thread, wait_node);
        if (thread_wait_claim_any(thread)) {
            list_remove(node);
            return thread;
        }
    }
    return nullptr;
}

/* ---- The common case: two threads, short messages, no deadlines ---- */

/* Each of these two does all or nothing: when something is unusual (a lock that is held included), the general way below does it.
 * They call nothing but what is inlined or comes last, so that no registers have to be kept. */

static inline bool is_without_deadline(const struct thread *thread) { return thread->wait_deadline_ns == DEADLINE_INFINITE; }

struct thread *endpoint_call_quick(struct invocation *inv, struct thread *thread)
{
    struct endpoint *endpoint = (struct endpoint *)inv->object;
    if (inv->op >> 32 != 0 || !is_short(inv->op) || inv->aux != DEADLINE_INFINITE || thread->fpu != nullptr ||
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
    list_remove(&receiver->wait_node);
    receiver->wait_queue = nullptr;
    arch_frame_set_status(&receiver->frame, OK);
    message_pass_short(thread, receiver, inv->op | (uint64_t)inv->rights << 32, badge_number(inv->badge));
    object_get(&thread->object);
    receiver->caller = &thread->object;
    uint64_t now = thread_wait_publish_short(thread, nullptr, &receiver->caller_sequence);
    spinlock_release(&endpoint->lock);
    return sched_hand_over(thread, receiver, now);
}

struct thread *endpoint_reply_receive_quick(struct invocation *inv, struct thread *thread)
{
    struct endpoint *endpoint = (struct endpoint *)inv->object;
    struct object *caller = thread->caller;
    if (caller == nullptr || !(inv->rights & RIGHT_OWNER) || !is_short(inv->op) || inv->aux != DEADLINE_INFINITE ||
        thread->fpu != nullptr || !spinlock_try_acquire(&endpoint->lock))
        return kernel_syscall_general(thread);
    struct thread *to = thread_from_object(caller);
    if (endpoint->ring != nullptr || !object_is_alive(&endpoint->object) || !list_is_empty(&endpoint->callers.waiters) ||
        !is_without_deadline(to) || !thread_wait_claim(to, thread->caller_sequence)) {
        spinlock_release(&endpoint->lock);
        return kernel_syscall_general(thread);
    }
    thread->caller = nullptr;
    arch_frame_set_status(&to->frame, op_status(inv->op));
    message_pass_short(thread, to, (uint32_t)inv->op, 0);
    uint64_t sequence;
    list_push_back(&endpoint->receivers.waiters, &thread->wait_node);
    uint64_t now = thread_wait_publish_short(thread, &endpoint->receivers, &sequence);
    spinlock_release(&endpoint->lock);
    /* Not the last reference: a thread that waited and has not run again has not been finished. */
    atomic_fetch_sub_explicit(&caller->refs, 1, memory_order_release);
    return sched_hand_over(thread, to, now);
}

/* ---- The general way ---- */

status_t endpoint_call(struct invocation *inv, struct endpoint *endpoint)
{
    struct thread *thread = inv->thread;
    uint64_t op = (inv->op & OP_MESSAGE_MASK) | (uint64_t)inv->rights << 32;
    bool wants_reply = !(inv->op & OP_SEND);
    if (!op_is_valid(inv->op) || inv->op >> 29 != 0 || inv->is_submitted)
        return inv->is_submitted ? ERROR_UNKNOWN_METHOD : ERROR_BAD_ARGUMENT;

    trace_call(arch_cpu(), thread->object.id, endpoint->object.id, (uint32_t)op,
               wants_reply ? (uint32_t)(thread_wait_sequence(thread) + 1) : 0);
    spinlock_acquire(&endpoint->lock);
    if (!object_is_alive(&endpoint->object) || atomic_load(&endpoint->owner_count) == 0) {
        spinlock_release(&endpoint->lock);
        return ERROR_PEER_DIED;
    }
    struct ring *ring = endpoint->ring;
    uint32_t index;
    if (ring != nullptr && list_is_empty(&endpoint->callers.waiters) && ring_reserve_call(ring, wants_reply, &index)) {
        uint64_t words[12];
        message_read(thread, op, words);
        status_t status = op_handles(op) == 0 ? OK
                                              : message_transfer_handles(op, &words[MESSAGE_HANDLE_WORD], inv->cspace, ring->cspace,
                                                                         &words[MESSAGE_HANDLE_WORD]);
        if (status != OK) {
            bool is_missed = ring_unreserve_call(ring, index);
            spinlock_release(&endpoint->lock);
            if (is_missed)
                ring_pump(ring); /* stays readable for this kernel entry */
            return status;
        }
        uint64_t sequence = wants_reply ? thread_wait_publish(thread, nullptr, &endpoint->object, inv->aux) : 0;
        ring_commit_call(ring, index, thread, sequence, endpoint->ring_cookie, op, badge_number(inv->badge), words);
        spinlock_release(&endpoint->lock);
        return wants_reply ? STATUS_BLOCKED : OK;
    }
    struct thread *receiver = ring == nullptr ? claim_first(&endpoint->receivers) : nullptr;
    if (receiver != nullptr) {
        status_t status = message_pass(thread, receiver, op, badge_number(inv->badge));
        if (status != OK) {
            /* The message is refused; the receiver goes on waiting where it was, at the head of the queue. */
            list_push_front(&endpoint->receivers.waiters, &receiver->wait_node);
            uint64_t sequence = thread_wait_restore_locked(receiver);
            spinlock_release(&endpoint->lock);
            thread_wait_restored(receiver, sequence);
            return status;
        }
        thread_wait_finish(receiver, OK);
        if (!wants_reply) {
            spinlock_release(&endpoint->lock);
            sched_ready(receiver);
            return OK;
        }
        object_get(&thread->object);
        receiver->caller = &thread->object;
        receiver->caller_sequence = thread_wait_publish(thread, nullptr, nullptr, inv->aux);
        spinlock_release(&endpoint->lock);
        sched_switch_to(receiver);
        return STATUS_BLOCKED;
    }
    if (inv->aux == DEADLINE_NOW) {
        spinlock_release(&endpoint->lock);
        return ERROR_WOULD_BLOCK;
    }
    thread->call_op = op | (wants_reply ? 0 : OP_SEND);
    thread->call_badge = badge_number(inv->badge);
    list_push_back(&endpoint->callers.waiters, &thread->wait_node);
    thread_wait_publish(thread, &endpoint->callers, nullptr, inv->aux);
    spinlock_release(&endpoint->lock);
    return STATUS_BLOCKED;
}

/* Ends the wait of a claimed and unlinked caller. */
static void caller_end(struct thread *caller, status_t status)
{
    thread_wait_finish(caller, status);
    sched_ready(caller);
}

/* Takes the first message that waits; false when there is none. The caller that then waits for the reply is to be unclaimed once the
 * lock is released. */
[[clang::noinline]] static bool receive_queued(struct thread *thread, struct endpoint *self, struct thread **out_unclaim)
    REQUIRES(&self->lock)
{
    struct thread *caller;
    while ((caller = claim_first(&self->callers)) != nullptr) {
        uint64_t op = caller->call_op & ~(uint64_t)OP_SEND;
        bool wants_reply = !(caller->call_op & OP_SEND);
        status_t status = message_pass(caller, thread, op, caller->call_badge);
        if (status != OK || !wants_reply) {
            caller_end(caller, status);
            if (status != OK)
                continue;
        } else {
            object_get(&caller->object);
            thread->caller = &caller->object;
            thread->caller_sequence = thread_wait_sequence(caller);
        }
        arch_frame_set_status(&thread->frame, OK);
        *out_unclaim = wants_reply ? caller : nullptr;
        return true;
    }
    return false;
}

status_t endpoint_receive(struct invocation *inv, struct endpoint *self)
{
    struct thread *thread = inv->thread;
    if (thread->caller != nullptr)
        return ERROR_BUSY;
    spinlock_acquire(&self->lock);
    bool is_bound = self->ring != nullptr && endpoint_is_bound_locked(self);
    if (is_bound || !object_is_alive(&self->object)) {
        spinlock_release(&self->lock);
        return is_bound ? ERROR_BUSY : ERROR_PEER_DIED;
    }
    struct thread *caller = nullptr;
    if (!list_is_empty(&self->callers.waiters) && receive_queued(thread, self, &caller)) {
        spinlock_release(&self->lock);
        if (caller != nullptr)
            thread_wait_unclaim(caller);
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

status_t endpoint_reply_to(struct invocation *inv, struct object *caller, uint64_t sequence, bool is_handoff)
{
    struct thread *to = thread_from_object(caller);
    status_t status = ERROR_PEER_DIED;
    inv->is_committed = true;
    if (thread_wait_claim(to, sequence)) {
        uint64_t op = inv->op & OP_MESSAGE_MASK;
        status = message_pass(inv->thread, to, op, 0);
        trace_reply(arch_cpu(), inv->thread->object.id, (uint32_t)to->object.id, (uint32_t)sequence, op_status(inv->op));
        thread_wait_finish(to, status == OK ? (status_t)(inv->op >> 32) : ERROR_NO_HANDLES);
        if (is_handoff)
            sched_switch_to(to);
        else
            sched_ready(to);
    }
    object_put(caller);
    return status;
}

static status_t reply(struct invocation *inv, bool is_handoff)
{
    struct thread *thread = inv->thread;
    struct object *caller = thread->caller;
    if (!op_is_valid(inv->op))
        return ERROR_BAD_ARGUMENT;
    if (caller == nullptr)
        return ERROR_NOT_FOUND;
    thread->caller = nullptr;
    return endpoint_reply_to(inv, caller, thread->caller_sequence, is_handoff);
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
        if (ring == nullptr) {
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
        struct thread *first = first_waiter(&endpoint->callers);
        uint32_t index;
        if (first == nullptr || !ring_reserve_call(ring, !(first->call_op & OP_SEND), &index)) {
            spinlock_release(&endpoint->lock);
            return is_missed;
        }
        struct thread *caller = claim_first(&endpoint->callers);
        bool wants_reply = caller != nullptr && !(caller->call_op & OP_SEND);
        if (caller == nullptr || wants_reply != (index != UINT32_MAX)) {
            /* The first one ended its wait meanwhile. */
            is_missed |= ring_unreserve_call(ring, index);
            uint64_t sequence = 0;
            if (caller != nullptr) {
                list_push_front(&endpoint->callers.waiters, &caller->wait_node);
                sequence = thread_wait_restore_locked(caller);
            }
            spinlock_release(&endpoint->lock);
            if (caller == nullptr)
                return is_missed;
            thread_wait_restored(caller, sequence);
            continue;
        }
        uint64_t op = caller->call_op & ~(uint64_t)OP_SEND;
        uint64_t words[12];
        message_read(caller, op, words);
        status_t status =
            message_transfer_handles(op, &words[MESSAGE_HANDLE_WORD], caller->process->cspace, ring->cspace, &words[MESSAGE_HANDLE_WORD]);
        if (status != OK) {
            is_missed |= ring_unreserve_call(ring, index);
            spinlock_release(&endpoint->lock);
            caller_end(caller, status);
            continue;
        }
        uint64_t badge = caller->call_badge, sequence = thread_wait_sequence(caller);
        if (wants_reply) {
            object_get(&caller->object);
            thread_wait_unclaim(caller); /* may be woken and wait for something else at once: the sequence was read before */
        } else {
            caller_end(caller, OK);
        }
        ring_commit_call(ring, index, caller, sequence, endpoint->ring_cookie, op, badge, words);
        spinlock_release(&endpoint->lock);
        if (wants_reply)
            object_put(&caller->object);
    }
}

/* ---- Life ---- */

static void fail_all(struct endpoint *endpoint, struct wait_queue *queue)
{
    for (;;) {
        spinlock_acquire(&endpoint->lock);
        struct thread *thread = claim_first(queue);
        spinlock_release(&endpoint->lock);
        if (thread == nullptr)
            return;
        caller_end(thread, ERROR_PEER_DIED);
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
