/*
 * Calls that arrive at a ring's endpoints: completion entry and call slot are reserved before the message is taken from its caller, who
 * then waits for the reply by token. A message that finds no room stays in its endpoint's queue; ring_pump() looks there again.
 */
#include "ring.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>

bool ring_reserve_call(struct ring *ring, bool wants_reply, uint32_t *out_index)
{
    spinlock_acquire(&ring->lock);
    bool is_ok = !ring->is_closed && ring_has_room(ring) && (!wants_reply || ring->call_free != 0);
    if (is_ok) {
        ring->reserved++;
        *out_index = UINT32_MAX;
        if (wants_reply) {
            *out_index = ring->call_free - 1;
            ring->call_free = ring_call_at(ring, *out_index)->free_next;
        }
    } else {
        ring->wants_pump = true;
    }
    spinlock_release(&ring->lock);
    return is_ok;
}

void ring_call_free(struct ring *ring, struct ring_call *call)
{
    if (call->is_cancelled)
        list_remove(&call->cancelled_node);
    call->is_taken = call->is_cancelled = false;
    call->generation++;
    call->free_next = ring->call_free;
    ring->call_free = call->index + 1;
}

void ring_call_cancelled_locked(struct ring_call *call) NO_THREAD_SAFETY /* the lock held is that of the debt, which is the ring's */
{
    struct ring *ring = call->ring;
    call->is_cancelled = true;
    list_push_back(&ring->cancelled, &call->cancelled_node);
    if (!ring->is_closed) {
        (void)ring_flush(ring);
        ring_wake(ring);
    }
}

bool ring_unreserve_call(struct ring *ring, uint32_t index)
{
    spinlock_acquire(&ring->lock);
    ring->reserved--;
    if (index != UINT32_MAX)
        ring_call_free(ring, ring_call_at(ring, index));
    /* What found no room because of this promise finds it now. */
    (void)ring_flush(ring);
    ring_wake(ring);
    bool wants_pump = ring->wants_pump;
    spinlock_release(&ring->lock);
    return wants_pump;
}

/* The caller of a message waits for the reply that the slot owes; the wait's sequence. */
static uint64_t caller_wait(struct ring_call *call, struct waiter *caller, struct invocation *inv)
{
    struct debt *debt = &call->owed;
    uint64_t last;
    call->is_taken = true;
    peekable_set(debt->caller, caller);
    waiter_await(caller, debt);
    if (caller->is_operation)
        last = atomic_load_explicit(&waiter_operation(caller)->wait_word, memory_order_relaxed) >> 8;
    else
        last = thread_wait_sequence(waiter_thread(caller));
    /* Whoever answers or ends the wait from here on needs the ring's lock to find the debt. */
    debt->sequence = inv != nullptr ? last + 1 : last;
    if (inv == nullptr)
        return waiter_restore(caller, nullptr);
    if (caller->is_operation)
        return operation_publish(waiter_operation(caller), nullptr, nullptr);
    return thread_wait_publish(waiter_thread(caller), nullptr, nullptr, inv->aux);
}

bool ring_commit_call(struct ring *ring, uint32_t index, const struct ring_message *message, struct invocation *inv, uint64_t *out_sequence)
{
    uint64_t op = message->op;
    struct tess_completion completion = {.kind = COMPLETION_CALL, .status = (int32_t)message->cookie, .badge = message->badge, .op = op};
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        completion.words[i] =
            i < op_words(op) || (i >= MESSAGE_HANDLE_WORD && i - MESSAGE_HANDLE_WORD < op_handles(op)) ? message->words[i] : 0;
    spinlock_acquire(&ring->lock);
    ring->reserved--;
    bool is_ok = !ring->is_closed;
    if (is_ok) {
        if (message->caller != nullptr) {
            struct ring_call *call = ring_call_at(ring, index);
            completion.cookie = (uint64_t)call->generation << 32 | (index + 1);
            *out_sequence = caller_wait(call, message->caller, inv);
        }
        ring_push(ring, &completion);
        ring_wake(ring);
    }
    spinlock_release(&ring->lock);
    return is_ok;
}

bool ring_deliver_badge_gone(struct ring *ring, uint64_t cookie, uint64_t badge)
{
    spinlock_acquire(&ring->lock);
    bool is_ok = !ring->is_closed && ring_has_room(ring);
    if (is_ok) {
        struct tess_completion completion = {.kind = COMPLETION_BADGE_GONE, .cookie = cookie, .badge = badge, .words = {badge}};
        ring_push(ring, &completion);
        ring_wake(ring);
    } else {
        ring->wants_pump = true;
    }
    spinlock_release(&ring->lock);
    return is_ok;
}

static struct ring_call *call_of_token(struct ring *ring, uint64_t token) REQUIRES(&ring->lock)
{
    uint32_t index = (uint32_t)token - 1, generation = (uint32_t)(token >> 32);
    struct ring_call *call = index < ring->call_count ? ring_call_at(ring, index) : nullptr;
    return call != nullptr && call->generation == generation && call->is_taken ? call : nullptr;
}

bool ring_call_is_taken(struct ring *ring, uint64_t token)
{
    spinlock_acquire(&ring->lock);
    bool is_taken = call_of_token(ring, token) != nullptr;
    spinlock_release(&ring->lock);
    return is_taken;
}

bool ring_call_take(struct ring *ring, uint64_t token, struct waiter **out_caller, uint64_t *out_sequence)
{
    *out_caller = nullptr;
    *out_sequence = 0;
    spinlock_acquire(&ring->lock);
    struct ring_call *call = call_of_token(ring, token);
    if (call != nullptr) {
        *out_caller = call->owed.caller;
        *out_sequence = call->owed.sequence;
        peekable_set(call->owed.caller, nullptr);
        ring_call_free(ring, call);
    }
    bool wants_pump = call != nullptr && ring->wants_pump;
    spinlock_release(&ring->lock);
    if (wants_pump)
        ring_pump(ring); /* a call slot is free again */
    return call != nullptr;
}

status_t ring_reply(struct invocation *inv, struct ring *self)
{
    if (!message_is_valid(inv->op))
        return ERROR_BAD_ARGUMENT;
    struct waiter *caller;
    uint64_t sequence;
    if (!ring_call_take(self, inv->aux, &caller, &sequence))
        return ERROR_NOT_FOUND;
    return caller != nullptr ? endpoint_reply_to(inv, caller, sequence, false) : ERROR_PEER_DIED;
}

/* One round over the ring's endpoints; true when one of them gave back a promise that another may have missed. */
static bool pump_round(struct ring *ring)
{
    uint32_t count = 0;
    bool is_missed = false;
    spinlock_acquire(&ring->lock);
    ring->wants_pump = false;
    list_for_each (node, &ring->endpoints)
        count++;
    spinlock_release(&ring->lock);
    for (uint32_t i = 0; i < count; i++) {
        spinlock_acquire(&ring->lock);
        struct list_node *node = list_pop_front(&ring->endpoints);
        struct endpoint *endpoint = nullptr;
        if (node != nullptr) {
            list_push_back(&ring->endpoints, node);
            endpoint = container_of(node, struct endpoint, ring_node);
            if (!object_try_get(&endpoint->object))
                endpoint = nullptr;
        }
        spinlock_release(&ring->lock);
        if (endpoint != nullptr) {
            is_missed |= endpoint_pump(endpoint);
            object_put(&endpoint->object);
        }
    }
    return is_missed;
}

void ring_pump(struct ring *ring)
{
    /* Each further round was brought about by a message that is gone. */
    while (pump_round(ring))
        ;
}

status_t ring_bind(struct invocation *inv, struct ring *self, const struct cap *endpoint, uint64_t cookie)
{
    (void)inv;
    struct endpoint *target = (struct endpoint *)endpoint->object;
    status_t status = OK;
    spinlock_acquire(&target->lock);
    if (!object_is_alive(&target->object)) {
        status = ERROR_STALE_HANDLE; /* its kill has unbound it, or will find it here */
    } else if (endpoint_is_bound_locked(target) || !list_is_empty(&target->receivers.waiters)) {
        status = ERROR_BUSY;
    } else {
        spinlock_acquire(&self->lock);
        if (self->is_closed) {
            status = ERROR_STALE_HANDLE;
        } else {
            list_push_back(&self->endpoints, &target->ring_node);
            target->is_on_ring = true;
            target->ring = self;
            target->ring_cookie = cookie;
        }
        spinlock_release(&self->lock);
    }
    spinlock_release(&target->lock);
    if (status == OK && endpoint_pump(target))
        ring_pump(self);
    return status;
}

status_t ring_unbind(struct invocation *inv, struct ring *self, const struct cap *endpoint)
{
    (void)inv;
    struct endpoint *target = (struct endpoint *)endpoint->object;
    status_t status = ERROR_NOT_FOUND;
    spinlock_acquire(&target->lock);
    if (target->ring == self) {
        endpoint_unbind_locked(target);
        status = OK;
    }
    spinlock_release(&target->lock);
    return status;
}
