/* Events: 64 signal bits. Waiters and watches consume the bits they asked for, waiters first, in order. object.lock guards all. */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/ipc.h>
#include <kernel/sched.h>

static void deliver_locked(struct event *event)
{
    for (struct list_node *node = list_first(&event->waiters.waiters), *next; node != nullptr && event->bits != 0; node = next) {
        next = list_next(&event->waiters.waiters, node);
        struct waiter *waiter = container_of(node, struct waiter, node);
        uint64_t got = event->bits & waiter_arg(waiter);
        if (got == 0 || !waiter_claim_any(waiter))
            continue;
        list_remove(node);
        event->bits &= ~got;
        waiter_end(waiter, OK, &got, 1);
    }
    for (struct list_node *node = list_first(&event->object.watches), *next; node != nullptr && event->bits != 0; node = next) {
        next = list_next(&event->object.watches, node);
        struct watch *watch = container_of(node, struct watch, object_node);
        uint64_t got = event->bits & watch->mask;
        if (got == 0)
            continue;
        event->bits &= ~got;
        if (!watch->is_multi) {
            list_remove(node);
            watch->is_on_object = false;
        }
        ring_watch_signal(watch, got, false);
    }
}

void event_signal(struct event *event, uint64_t bits)
{
    spinlock_acquire(&event->object.lock);
    event->bits |= bits;
    deliver_locked(event);
    spinlock_release(&event->object.lock);
}

static void event_class_kill(struct object *object)
{
    struct event *event = (struct event *)object;
    wait_queue_end(&event->waiters, ERROR_PEER_DIED);
    log_reader_gone(event);
}

const struct object_class event_class = {.kill = event_class_kill};

status_t untyped_create_event(struct invocation *inv, struct untyped *self, handle_t *out_event)
{
    struct event *event;
    status_t status = object_create(self, OBJECT_EVENT, sizeof(struct event), (void **)&event);
    if (status != OK)
        return status;
    event->waiters.lock = &event->object.lock;
    list_init(&event->waiters.waiters);
    return invocation_give(inv, &event->object, RIGHTS_ALL, out_event);
}

status_t event_set(struct invocation *inv, struct event *self, uint64_t bits)
{
    (void)inv;
    event_signal(self, bits);
    return OK;
}

status_t event_clear(struct invocation *inv, struct event *self, uint64_t bits)
{
    (void)inv;
    spinlock_acquire(&self->object.lock);
    self->bits &= ~bits;
    spinlock_release(&self->object.lock);
    return OK;
}

status_t event_wait(struct invocation *inv, struct event *self, uint64_t mask, uint64_t *out_bits)
{
    if (mask == 0)
        return ERROR_BAD_ARGUMENT;
    spinlock_acquire(&self->object.lock);
    uint64_t got = self->bits & mask;
    if (got != 0 || inv->aux == DEADLINE_NOW || !object_is_alive(&self->object)) {
        self->bits &= ~got;
        spinlock_release(&self->object.lock);
        *out_bits = got;
        return got != 0 ? OK : object_is_alive(&self->object) ? ERROR_TIMED_OUT : ERROR_PEER_DIED;
    }
    status_t status = wait_begin(inv, &self->waiters, &self->object, mask, 0);
    spinlock_release(&self->object.lock);
    return status;
}

status_t event_read(struct invocation *inv, struct event *self, uint64_t *out_bits)
{
    (void)inv;
    spinlock_acquire(&self->object.lock);
    *out_bits = self->bits;
    spinlock_release(&self->object.lock);
    return OK;
}
