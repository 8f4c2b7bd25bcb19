/*
 * Interrupt objects. Several may share a level-triggered source: it is unmasked when none of them is pending any more. The list of
 * all interrupt objects is short (one per driver) and has one lock. Order: irq_lock, then object->lock, then ring->lock.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/cpu_lease.h>
#include <kernel/ipc.h>
#include <kernel/sched.h>

static struct spinlock irq_lock;
static struct list interrupts = LIST_INITIALIZER(interrupts);

static bool source_is_pending(uint32_t source) REQUIRES(&irq_lock)
{
    list_for_each (node, &interrupts) {
        struct interrupt *interrupt = container_of(node, struct interrupt, source_node);
        if (interrupt->source == source && interrupt->is_pending)
            return true;
    }
    return false;
}

static bool source_is_used(uint32_t source) REQUIRES(&irq_lock)
{
    list_for_each (node, &interrupts)
        if (container_of(node, struct interrupt, source_node)->source == source)
            return true;
    return false;
}

/* Gives the signal to a waiter or watch, if there is one. */
static void deliver_locked(struct interrupt *interrupt)
{
    if (!interrupt->is_signalled)
        return;
    for (struct list_node *node = list_first(&interrupt->waiters.waiters); node != nullptr;
         node = list_next(&interrupt->waiters.waiters, node)) {
        struct waiter *waiter = container_of(node, struct waiter, node);
        if (!waiter_claim_any(waiter))
            continue;
        list_remove(node);
        interrupt->is_signalled = false;
        waiter_end(waiter, OK, nullptr, 0);
        return;
    }
    for (struct list_node *node = list_first(&interrupt->object.watches), *next; node != nullptr; node = next) {
        next = list_next(&interrupt->object.watches, node);
        struct watch *watch = container_of(node, struct watch, object_node);
        if (watch->mask == 0)
            continue;
        interrupt->is_signalled = false;
        if (!watch->is_multi) {
            list_remove(node);
            watch->is_on_object = false;
        }
        ring_watch_signal(watch, 1, false);
    }
}

void interrupt_recheck(struct interrupt *interrupt)
{
    spinlock_acquire(&interrupt->object.lock);
    deliver_locked(interrupt);
    spinlock_release(&interrupt->object.lock);
}

static void fire_locked(uint32_t source) REQUIRES(&irq_lock)
{
    list_for_each (node, &interrupts) {
        struct interrupt *interrupt = container_of(node, struct interrupt, source_node);
        if (interrupt->source != source)
            continue;
        interrupt->is_pending = true;
        spinlock_acquire(&interrupt->object.lock);
        interrupt->is_signalled = true;
        deliver_locked(interrupt);
        spinlock_release(&interrupt->object.lock);
    }
}

void interrupt_fire(uint32_t source)
{
    spinlock_acquire(&irq_lock);
    fire_locked(source);
    spinlock_release(&irq_lock);
}

static void acknowledge(struct interrupt *interrupt) REQUIRES(&irq_lock)
{
    interrupt->is_pending = false;
    if (!source_is_pending(interrupt->source))
        arch_irq_unmask(interrupt->source);
}

static void interrupt_class_kill(struct object *object)
{
    struct interrupt *interrupt = (struct interrupt *)object;
    spinlock_acquire(&irq_lock);
    if (interrupt->is_linked) {
        list_remove(&interrupt->source_node);
        interrupt->is_linked = false;
        if (!source_is_used(interrupt->source))
            arch_irq_mask(interrupt->source);
        else if (interrupt->is_pending && !source_is_pending(interrupt->source))
            arch_irq_unmask(interrupt->source); /* death counts as the acknowledgement */
    }
    spinlock_release(&irq_lock);
    wait_queue_end(&interrupt->waiters, ERROR_PEER_DIED);
}

const struct object_class interrupt_class = {.kill = interrupt_class_kill};

/* Where a device's interrupts go: here, unless the CPU is leased. */
static uint32_t target_cpu(void)
{
    uint32_t here = arch_cpu()->index;
    uint64_t usable = atomic_load(&sched_usable);
    return here >= 63 || (usable >> here & 1) != 0 ? here : (uint32_t)__builtin_ctzll(usable);
}

static bool configure(const struct interrupt *interrupt)
{
    return arch_irq_configure(interrupt->source, (interrupt->flags & INTERRUPT_LEVEL) != 0, (interrupt->flags & INTERRUPT_ACTIVE_LOW) != 0,
                              interrupt->cpu);
}

/* One that comes while it is moved could get lost: each counts as fired, and its driver looks at the device and acknowledges. */
void interrupt_move_all(uint32_t from, uint32_t to)
{
    spinlock_acquire(&irq_lock);
    list_for_each (node, &interrupts) {
        struct interrupt *interrupt = container_of(node, struct interrupt, source_node);
        if (!interrupt->is_router || interrupt->cpu != from)
            continue;
        interrupt->cpu = to;
        (void)configure(interrupt); /* masked now */
        fire_locked(interrupt->source);
    }
    spinlock_release(&irq_lock);
}

status_t interrupt_create(struct untyped *untyped, uint32_t source, uint32_t flags, struct interrupt **out_interrupt)
{
    if (source >= arch_irq_source_count())
        return ERROR_NOT_FOUND;
    struct interrupt *interrupt;
    status_t status = object_create(untyped, OBJECT_INTERRUPT, sizeof(struct interrupt), (void **)&interrupt);
    if (status != OK)
        return status;
    interrupt->source = source;
    interrupt->waiters.lock = &interrupt->object.lock;
    list_init(&interrupt->waiters.waiters);
    spinlock_acquire(&irq_lock);
    if (!source_is_used(source)) {
        interrupt->is_pending = true; /* masked until the first ack */
        interrupt->is_router = true;
        interrupt->flags = flags;
        interrupt->cpu = target_cpu();
        if (!configure(interrupt))
            status = ERROR_NOT_FOUND;
    }
    if (status == OK) {
        list_push_back(&interrupts, &interrupt->source_node);
        interrupt->is_linked = true;
    }
    spinlock_release(&irq_lock);
    if (status != OK) {
        object_put(&interrupt->object);
        return status;
    }
    *out_interrupt = interrupt;
    return OK;
}

status_t interrupt_ack(struct invocation *inv, struct interrupt *self)
{
    (void)inv;
    spinlock_acquire(&irq_lock);
    acknowledge(self);
    spinlock_release(&irq_lock);
    return OK;
}

status_t interrupt_mask(struct invocation *inv, struct interrupt *self)
{
    (void)inv;
    spinlock_acquire(&irq_lock);
    self->is_pending = true;
    arch_irq_mask(self->source);
    spinlock_release(&irq_lock);
    return OK;
}

status_t interrupt_wait(struct invocation *inv, struct interrupt *self)
{
    status_t status = OK;
    spinlock_acquire(&self->object.lock);
    if (self->is_signalled) {
        self->is_signalled = false;
    } else if (!object_is_alive(&self->object)) {
        status = ERROR_PEER_DIED;
    } else if (inv->aux == DEADLINE_NOW) {
        status = ERROR_TIMED_OUT;
    } else {
        status = wait_begin(inv, &self->waiters, &self->object, 0, 0);
    }
    spinlock_release(&self->object.lock);
    return status;
}
