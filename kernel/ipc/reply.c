/*
 * Replies that are kept: an object takes over what a server's thread or a ring's slot owes. A debt moves like this: the object and its
 * handle are made first, which may fail; then the old holder gives the caller up; then the caller's wait is claimed, so that nobody
 * else ends it, named by the new holder, and goes on.
 */
#include "message.h"
#include "ring.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/process.h>

static void end_unanswered(struct reply *reply)
{
    uint64_t sequence;
    struct waiter *caller = debt_take(&reply->owed, &sequence);
    if (caller != nullptr && waiter_claim(caller, sequence))
        waiter_end(caller, ERROR_PEER_DIED, nullptr, 0);
}

static void reply_class_kill(struct object *object) { end_unanswered((struct reply *)object); }

const struct object_class reply_class = {.kill = reply_class_kill};

/* An object that nobody has a debt to yet, with a handle; the caller's reference besides. */
static status_t reply_make(struct invocation *inv, struct reply **out_reply, handle_t *out_handle)
{
    struct reply *reply;
    status_t status = object_create(inv->cspace->object.untyped, OBJECT_REPLY, sizeof(struct reply), (void **)&reply);
    if (status != OK)
        return status;
    reply->owed.lock = &reply->lock;
    reply->owed.kind = DEBT_REPLY;
    object_get(&reply->object);
    status = invocation_give(inv, &reply->object, RIGHTS_ALL, out_handle);
    if (status != OK)
        object_put(&reply->object);
    else
        *out_reply = reply;
    return status;
}

/* Consumes the reference. PEER_DIED: the caller has given up, the object is over. */
static status_t reply_take_over(struct reply *reply, struct waiter *caller, uint64_t sequence)
{
    bool is_waiting = caller != nullptr && waiter_claim(caller, sequence);
    if (is_waiting) {
        waiter_await(caller, &reply->owed);
        spinlock_acquire(&reply->lock);
        reply->owed.sequence = sequence;
        peekable_set(reply->owed.caller, caller);
        waiter_restore(caller, nullptr);
        spinlock_release(&reply->lock);
        waiter_restored(caller, sequence);
        /* The handle is out already: who destroyed the object before found no debt. */
        atomic_thread_fence(memory_order_seq_cst);
        if (!object_is_alive(&reply->object))
            end_unanswered(reply);
    } else {
        object_kill(&reply->object);
    }
    object_put(&reply->object);
    return is_waiting ? OK : ERROR_PEER_DIED;
}

/* ---- Methods ---- */

status_t endpoint_keep_reply(struct invocation *inv, struct endpoint *self, handle_t *out_reply)
{
    (void)self;
    struct debt *owed = &inv->thread->owed;
    struct reply *reply;
    uint64_t sequence;
    if (inv->is_submitted)
        return ERROR_UNKNOWN_METHOD; /* whose call it would be depends on who enters */
    if (peek(owed->caller) == nullptr)
        return ERROR_NOT_FOUND;
    status_t status = reply_make(inv, &reply, out_reply);
    if (status != OK)
        return status;
    struct waiter *caller = debt_take(owed, &sequence);
    return reply_take_over(reply, caller, sequence);
}

status_t ring_keep_reply(struct invocation *inv, struct ring *self, uint64_t token, handle_t *out_reply)
{
    struct reply *reply;
    struct waiter *caller;
    uint64_t sequence;
    if (!ring_call_is_taken(self, token))
        return ERROR_NOT_FOUND;
    status_t status = reply_make(inv, &reply, out_reply);
    if (status != OK)
        return status;
    (void)ring_call_take(self, token, &caller, &sequence); /* if it is over by now: nobody waits */
    return reply_take_over(reply, caller, sequence);
}

status_t reply_send(struct invocation *inv, struct reply *self)
{
    if (!message_is_valid(inv->op))
        return ERROR_BAD_ARGUMENT;
    uint64_t sequence;
    bool was_waiting = peek(self->owed.caller) != &debt_nobody.waiter;
    struct waiter *caller = debt_take(&self->owed, &sequence);
    status_t status = !was_waiting        ? ERROR_PEER_DIED
                      : caller == nullptr ? ERROR_NOT_FOUND
                                          : endpoint_reply_to(inv, caller, sequence, false);
    inv->is_committed = true;
    object_kill(&self->object);
    return status;
}

status_t reply_info(struct invocation *inv, struct reply *self, uint32_t *out_is_waiting)
{
    (void)inv;
    struct waiter *caller = peek(self->owed.caller);
    *out_is_waiting = caller != nullptr && caller != &debt_nobody.waiter;
    return OK;
}
