/* Watches and timeouts of a ring: each is one record, on its object's list of watches or in a CPU's queue of timers. */
#include "ring.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/audit.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>

void watch_free(struct ring *ring, struct watch *watch)
{
    watch->state = WATCH_FREE;
    watch->generation++;
    watch->free_next = ring->watch_free;
    ring->watch_free = watch;
}

struct watch *watch_take(struct ring *ring, enum watch_state state, uint64_t cookie)
{
    struct watch *watch = ring->is_closed ? nullptr : ring->watch_free;
    if (watch == nullptr)
        return nullptr;
    ring->watch_free = watch->free_next;
    watch->state = state;
    watch->cookie = cookie;
    watch->pending_bits = 0;
    watch->is_multi = watch->is_pending = watch->is_dead = watch->is_on_object = false;
    watch->object = nullptr;
    return watch;
}

static void make_pending(struct ring *ring, struct watch *watch) REQUIRES(&ring->lock)
{
    if (!watch->is_pending) {
        watch->is_pending = true;
        list_push_back(&ring->pending, &watch->pending_node);
    }
    (void)ring_flush(ring);
    ring_wake(ring);
}

void ring_watch_signal(struct watch *watch, uint64_t bits, bool is_dead)
{
    struct ring *ring = watch->ring;
    spinlock_acquire(&ring->lock);
    if (watch->state == WATCH_ACTIVE) {
        watch->pending_bits |= bits;
        watch->is_dead |= is_dead;
        /* Off the object's list by now: the completion may wait for room longer than the object lives. */
        if (is_dead || !watch->is_multi)
            watch->object = nullptr;
        make_pending(ring, watch);
    }
    spinlock_release(&ring->lock);
}

/* Who was looked at goes to the end of the list: of more than can be told at once others come first next time. */
void object_watches_signal(struct object *object, uint64_t bits)
{
    constexpr uint32_t AT_ONCE = 64;
    const struct list_node *first_seen = nullptr;
    spinlock_acquire(&object->lock);
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        struct list_node *node = list_first(&object->watches);
        if (node == nullptr || node == first_seen)
            break;
        struct watch *watch = container_of(node, struct watch, object_node);
        list_remove(node);
        watch->is_on_object = (watch->mask & bits) == 0 || watch->is_multi;
        if (watch->is_on_object) {
            list_push_back(&object->watches, node);
            first_seen = first_seen == nullptr ? node : first_seen;
        }
        if ((watch->mask & bits) != 0)
            ring_watch_signal(watch, watch->mask & bits, false);
    }
    spinlock_release(&object->lock);
}

static void timeout_fire(struct timer *timer, uint64_t generation)
{
    struct watch *watch = container_of(timer, struct watch, timer);
    struct ring *ring = watch->ring;
    spinlock_acquire(&ring->lock);
    if (watch->state == WATCH_TIMER && watch->generation == (uint32_t)generation)
        make_pending(ring, watch);
    spinlock_release(&ring->lock);
}

status_t ring_watch(struct invocation *inv, struct ring *self, uint64_t object, uint64_t mask, uint64_t cookie, uint32_t flags)
{
    struct cap cap = {};
    if ((flags & ~(uint32_t)(WATCH_MULTI | WATCH_DEATH)) != 0)
        return ERROR_BAD_ARGUMENT;
    status_t status = cspace_lookup(inv->cspace, object, &cap);
    if (status != OK)
        return status;
    if (mask != 0 && cap.object->type != OBJECT_EVENT && cap.object->type != OBJECT_INTERRUPT && cap.object->type != OBJECT_SCHED)
        return ERROR_WRONG_TYPE;
    uint32_t right = mask == 0                          ? RIGHT_WATCH
                     : cap.object->type == OBJECT_SCHED ? RIGHT_WATCH | RIGHT_INSPECT
                     : cap.object->type == OBJECT_EVENT ? RIGHT_WATCH | EVENT_RIGHT_WAIT
                                                        : RIGHT_WATCH | INTERRUPT_RIGHT_HANDLE;
    if ((cap.rights & right) != right)
        return audit_denied(inv->cspace, cap.object, inv->op, cap.rights);

    spinlock_acquire(&cap.object->lock);
    bool is_gone = !object_is_alive(cap.object) || object_has_ended(cap.object);
    spinlock_acquire(&self->lock);
    struct watch *watch = watch_take(self, WATCH_ACTIVE, cookie);
    if (watch != nullptr) {
        watch->mask = mask;
        watch->is_multi = (flags & WATCH_MULTI) != 0;
        watch->object = is_gone ? nullptr : cap.object;
        if (is_gone) {
            watch->is_dead = true;
            make_pending(self, watch);
        }
    }
    spinlock_release(&self->lock);
    if (watch != nullptr && !is_gone) {
        list_push_back(&cap.object->watches, &watch->object_node);
        watch->is_on_object = true;
    }
    spinlock_release(&cap.object->lock);
    if (watch == nullptr)
        return ERROR_NO_SPACE;
    if (mask != 0 && !is_gone && cap.object->type == OBJECT_EVENT)
        event_signal((struct event *)cap.object, 0); /* bits that are set already */
    if (mask != 0 && !is_gone && cap.object->type == OBJECT_INTERRUPT)
        interrupt_recheck((struct interrupt *)cap.object);
    return OK;
}

status_t ring_timeout(struct invocation *inv, struct ring *self, uint64_t at_ns, uint64_t cookie)
{
    (void)inv;
    status_t status = ERROR_NO_SPACE;
    spinlock_acquire(&self->lock);
    struct watch *watch = watch_take(self, WATCH_TIMER, cookie);
    if (watch != nullptr) {
        watch->timer.fire = timeout_fire;
        watch->timer.cookie = watch->generation;
        timer_arm(&watch->timer, at_ns);
        status = OK;
    }
    spinlock_release(&self->lock);
    return status;
}

/* Ends one watch or timeout that is active. Called with the ring's lock, which is dropped and taken again. */
void watch_end(struct ring *ring, struct watch *watch)
{
    bool is_timer = watch->state == WATCH_TIMER;
    struct object *object = watch->object;
    watch->state = WATCH_CANCELLING;
    /* Before the lock is dropped: ring_flush() frees what it finds on the list. */
    if (watch->is_pending) {
        list_remove(&watch->pending_node);
        watch->is_pending = false;
    }
    if (is_timer) {
        (void)timer_cancel(&watch->timer); /* a fire() under way finds the state changed */
    } else if (object != nullptr) {
        spinlock_release(&ring->lock);
        /* The object's memory stays for this kernel entry: its kill sets watch->object to nullptr when it passes here. */
        spinlock_acquire(&object->lock);
        if (watch->is_on_object) {
            list_remove(&watch->object_node);
            watch->is_on_object = false;
        }
        spinlock_release(&object->lock);
        spinlock_acquire(&ring->lock);
    }
    watch_free(ring, watch);
}

status_t ring_cancel(struct invocation *inv, struct ring *self, uint64_t cookie, uint32_t *out_count)
{
    (void)inv;
    *out_count = 0;
    spinlock_acquire(&self->lock);
    for (uint32_t i = 0; i < self->watch_count; i++) {
        struct watch *watch = watch_at(self, i);
        if ((watch->state == WATCH_ACTIVE || watch->state == WATCH_TIMER) && watch->cookie == cookie) {
            watch_end(self, watch);
            (*out_count)++;
        }
    }
    for (uint32_t i = 0; i < self->operation_count; i++) {
        struct operation *operation = operation_at(self, i);
        uint64_t sequence = atomic_load(&operation->wait_word) >> 8;
        if (!operation->is_in_use || operation->cookie != cookie)
            continue;
        spinlock_release(&self->lock);
        if (operation_cancel(operation, sequence, ERROR_CANCELLED))
            (*out_count)++;
        spinlock_acquire(&self->lock);
    }
    spinlock_release(&self->lock);
    return *out_count != 0 ? OK : ERROR_NOT_FOUND;
}
