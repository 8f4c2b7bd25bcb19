/* Events: 64 signal bits. Waiters and watches consume the bits they asked for, waiters first, in order. object.lock guards all.
 * Each look at the lists is bounded: anybody who may wait can make them long. */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/ipc.h>
#include <kernel/sched.h>

constexpr uint32_t AT_ONCE = 64;

/* Gives bits to waiters from `node` on, after a look at some of them: the next to look at, nullptr at the end. */
static inline struct list_node *give_waiters(struct event *event, struct list_node *node)
{
    for (uint32_t i = 0; node != nullptr && event->bits != 0 && i < AT_ONCE; i++) {
        struct list_node *next = list_next(&event->waiters.waiters, node);
        struct waiter *waiter = container_of(node, struct waiter, node);
        uint64_t got = event->bits & waiter_arg(waiter);
        if (got != 0 && waiter_claim_any(waiter)) {
            list_remove(node);
            event->bits &= ~got;
            waiter_end(waiter, OK, &got, 1);
        }
        node = next;
    }
    return event->bits != 0 ? node : nullptr;
}

/* The same for watches. */
static inline struct list_node *give_watches(struct event *event, struct list_node *node)
{
    for (uint32_t i = 0; node != nullptr && event->bits != 0 && i < AT_ONCE; i++) {
        struct list_node *next = list_next(&event->object.watches, node);
        struct watch *watch = container_of(node, struct watch, object_node);
        uint64_t got = event->bits & watch->mask;
        if (got != 0) {
            event->bits &= ~got;
            if (!watch->is_multi) {
                list_remove(node);
                watch->is_on_object = false;
            }
            ring_watch_signal(watch, got, false);
        }
        node = next;
    }
    return event->bits != 0 ? node : nullptr;
}

static void pause(struct event *event) NO_THREAD_SAFETY
{
    spinlock_release(&event->object.lock);
    arch_irq_poll();
    spinlock_acquire(&event->object.lock);
}

/* The rest. A record that asks for no bits keeps the place in the list in a pause. */
[[clang::noinline]] static void give_rest(struct event *event, struct list_node *waiter, struct list_node *watch, bool may_pause)
{
    struct operation waiter_place = {.waiter.is_operation = true};
    struct watch watch_place = {.is_on_object = true};
    for (; waiter != nullptr; waiter = give_waiters(event, waiter)) {
        if (!may_pause)
            continue;
        list_insert_before(waiter, &waiter_place.waiter.node);
        pause(event);
        waiter = list_next(&event->waiters.waiters, &waiter_place.waiter.node);
        list_remove(&waiter_place.waiter.node);
    }
    if (watch == nullptr)
        watch = give_watches(event, list_first(&event->object.watches));
    for (; watch != nullptr; watch = give_watches(event, watch)) {
        if (!may_pause)
            continue;
        list_insert_before(watch, &watch_place.object_node);
        pause(event);
        if (!watch_place.is_on_object)
            return; /* the event was destroyed */
        watch = list_next(&event->object.watches, &watch_place.object_node);
        list_remove(&watch_place.object_node);
    }
}

[[clang::noinline]] static void signal_locked(struct event *event, bool may_pause)
{
    struct list_node *watch = nullptr, *waiter = give_waiters(event, list_first(&event->waiters.waiters));
    if (waiter == nullptr)
        watch = give_watches(event, list_first(&event->object.watches));
    if (__builtin_expect(waiter != nullptr || watch != nullptr, 0))
        give_rest(event, waiter, watch, may_pause);
}

static inline void signal(struct event *event, uint64_t bits, bool may_pause)
{
    struct list *waiters = &event->waiters.waiters;
    spinlock_acquire(&event->object.lock);
    event->bits |= bits;
    /* The common case: one thread waits, and for all of them. */
    struct thread *thread = container_of(waiters->head.next, struct thread, wait_node);
    if (waiters->head.next != waiters->head.prev || list_is_empty(waiters) || thread->waiter.is_operation || event->bits == 0 ||
        (event->bits & ~thread->wait_arg) != 0 || !thread_wait_claim_any(thread)) {
        signal_locked(event, may_pause);
        spinlock_release(&event->object.lock);
        return;
    }
    list_remove(&thread->wait_node);
    arch_frame_set_word(&thread->frame, 0, event->bits);
    event->bits = 0;
    spinlock_release(&event->object.lock);
    thread_wait_finish(thread, OK);
    sched_ready(thread);
}

void event_signal(struct event *event, uint64_t bits) { signal(event, bits, true); }

void event_signal_at_once(struct event *event, uint64_t bits) { signal(event, bits, false); }

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
