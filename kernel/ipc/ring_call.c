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

static void call_free(struct ring *ring, uint32_t index) REQUIRES(&ring->lock)
{
    struct ring_call *call = ring_call_at(ring, index);
    call->caller = nullptr;
    call->generation++;
    call->free_next = ring->call_free;
    ring->call_free = index + 1;
}

bool ring_unreserve_call(struct ring *ring, uint32_t index)
{
    spinlock_acquire(&ring->lock);
    ring->reserved--;
    if (index != UINT32_MAX)
        call_free(ring, index);
    /* What found no room because of this promise finds it now. */
    ring_flush(ring);
    ring_wake(ring);
    bool wants_pump = ring->wants_pump;
    spinlock_release(&ring->lock);
    return wants_pump;
}

void ring_commit_call(struct ring *ring, uint32_t index, struct thread *caller, uint64_t sequence, uint64_t cookie, uint64_t op,
                      uint64_t badge, const uint64_t words[12])
{
    struct tess_completion completion = {.kind = COMPLETION_CALL, .status = (int32_t)cookie, .badge = badge, .op = op};
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        completion.words[i] = i < op_words(op) || (i >= MESSAGE_HANDLE_WORD && i - MESSAGE_HANDLE_WORD < op_handles(op)) ? words[i] : 0;
    spinlock_acquire(&ring->lock);
    ring->reserved--;
    bool is_lost = ring->is_closed;
    if (!is_lost) {
        if (index != UINT32_MAX) {
            struct ring_call *call = ring_call_at(ring, index);
            object_get(&caller->object);
            call->caller = caller;
            call->sequence = sequence;
            completion.cookie = (uint64_t)call->generation << 32 | (index + 1);
        }
        ring_push(ring, &completion);
        ring_wake(ring);
    }
    spinlock_release(&ring->lock);
    if (is_lost && index != UINT32_MAX && thread_wait_claim(caller, sequence)) {
        thread_wait_finish(caller, ERROR_PEER_DIED);
        sched_ready(caller);
    }
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

status_t ring_reply(struct invocation *inv, struct ring *self)
{
    uint32_t index = (uint32_t)inv->aux - 1, generation = (uint32_t)(inv->aux >> 32);
    if (op_words(inv->op) > MESSAGE_WORDS || op_handles(inv->op) > MESSAGE_HANDLES ||
        (op_handles(inv->op) != 0 && op_words(inv->op) > MESSAGE_HANDLE_WORD))
        return ERROR_BAD_ARGUMENT;
    struct thread *caller = nullptr;
    uint64_t sequence = 0;
    spinlock_acquire(&self->lock);
    if (index < self->call_count) {
        struct ring_call *call = ring_call_at(self, index);
        if (call->generation == generation && call->caller != nullptr) {
            caller = call->caller;
            sequence = call->sequence;
            call_free(self, index);
        }
    }
    bool wants_pump = self->wants_pump;
    spinlock_release(&self->lock);
    if (caller == nullptr)
        return ERROR_NOT_FOUND;
    status_t status = endpoint_reply_to(inv, &caller->object, sequence, false);
    if (wants_pump)
        ring_pump(self); /* a call slot is free again */
    return status;
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
