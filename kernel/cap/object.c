/*
 * Creation, death and accounting common to all objects. An object whose references reach zero is queued on this CPU's reap list,
 * killed at kernel exit, and destroyed after a grace period: destruction never nests, whatever hangs on what.
 */
#include <arch/arch.h>
#include <kernel/audit.h>
#include <kernel/cell.h>
#include <kernel/cpu_lease.h>
#include <kernel/invocation.h>
#include <kernel/ipc.h>
#include <kernel/pager.h>
#include <kernel/process.h>
#include <kernel/sched_budget.h>
#include <kernel/trace_events.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>

static _Atomic uint64_t next_id = 2; /* 1 is the root untyped */
static _Atomic uint64_t reap_count;  /* objects between their last reference and their release */

const struct object_class *object_classes[32] = {
    [OBJECT_UNTYPED] = &untyped_class,   [OBJECT_CSPACE] = &cspace_class,
    [OBJECT_MEMORY] = &memory_class,     [OBJECT_VSPACE] = &vspace_class,
    [OBJECT_PROCESS] = &process_class,   [OBJECT_THREAD] = &thread_class,
    [OBJECT_ENDPOINT] = &endpoint_class, [OBJECT_RING] = &ring_class,
    [OBJECT_EVENT] = &event_class,       [OBJECT_INTERRUPT] = &interrupt_class,
    [OBJECT_DMA] = &dma_class,           [OBJECT_CELL] = &cell_class,
    [OBJECT_REPLY] = &reply_class,       [OBJECT_CPU_LEASE] = &cpu_lease_class,
    [OBJECT_SCHED] = &sched_class,       [OBJECT_PAGER] = &pager_class,
};

void object_count_add(enum object_type type, int64_t count)
{
    struct cpu *cpu = arch_cpu();
    peekable_set(cpu->object_counts[type], cpu->object_counts[type] + (uint64_t)count);
}

void object_pages_add(enum object_type type, int64_t count)
{
    struct cpu *cpu = arch_cpu();
    peekable_set(cpu->object_pages[type], cpu->object_pages[type] + (uint64_t)count);
}

uint64_t object_count(enum object_type type)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < cpu_count; i++)
        sum += peek(cpus[i]->object_counts[type]);
    return sum;
}

uint64_t object_pages(enum object_type type)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < cpu_count; i++)
        sum += peek(cpus[i]->object_pages[type]);
    return sum;
}

/* The allocation that holds the object: a thread keeps its register frame in front. */
void *object_self(struct object *object) { return object->type == OBJECT_THREAD ? (void *)thread_from_object(object) : (void *)object; }

status_t object_create(struct untyped *untyped, enum object_type type, uint32_t size, void **out_object)
{
    static_assert(sizeof(struct thread) <= 2048);
    void *cell = untyped_cell_alloc(untyped, type, size);
    if (cell == nullptr)
        return ERROR_NO_MEMORY;
    struct object *object = type == OBJECT_THREAD ? &((struct thread *)cell)->object : cell;
    atomic_store_explicit(&object->refs, 1, memory_order_relaxed);
    object->type = (uint8_t)type;
    object->id = atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
    object->size = size;
    object->untyped = untyped;
    derivation_init_root(&object->root);
    list_init(&object->watches);
    spinlock_acquire(&untyped->lock);
    untyped->object_count++;
    spinlock_release(&untyped->lock);
    object_get(&untyped->object);
    object_count_add(type, 1);
    trace_object_made(arch_cpu(), trace_thread_id(arch_cpu()), object->id, type, (uint32_t)untyped->object.id);
    *out_object = cell;
    return OK;
}

status_t object_publish(struct object *object)
{
    struct untyped *untyped = object->untyped;
    spinlock_acquire(&untyped->lock);
    bool is_alive = object_is_alive(&untyped->object) && !untyped->is_closing;
    if (is_alive) {
        list_push_back(&untyped->objects, &object->untyped_node);
        object->is_on_untyped_list = true;
    }
    spinlock_release(&untyped->lock);
    return is_alive ? OK : ERROR_STALE_HANDLE;
}

void object_init_static(struct object *object, enum object_type type, uint32_t size)
{
    atomic_store(&object->refs, 1); /* the kernel's own */
    object->type = (uint8_t)type;
    object->id = atomic_fetch_add(&next_id, 1);
    object->size = size;
    object->untyped = untyped_root;
    derivation_init_root(&object->root);
    list_init(&object->watches);
    object_count_add(type, 1);
}

static void reap_push(struct object *object)
{
    struct cpu *cpu = arch_cpu();
    struct reap_list *list = cpu->reap_list;
    cpu->exit_work |= EXIT_REAP;
    object->reap_next = nullptr;
    if (list->last != nullptr)
        list->last->reap_next = object;
    else
        list->first = object;
    list->last = object;
}

void object_unreferenced(struct object *object)
{
    uint8_t expected = REAP_NONE;
    if (atomic_compare_exchange_strong(&object->reap, &expected, REAP_QUEUED)) {
        atomic_fetch_add_explicit(&reap_count, 1, memory_order_relaxed);
        reap_push(object);
    }
}

static void leave_untyped_list(struct object *object)
{
    struct untyped *untyped = object->untyped;
    spinlock_acquire(&untyped->lock);
    if (object->is_on_untyped_list) {
        list_remove(&object->untyped_node);
        object->is_on_untyped_list = false;
    }
    spinlock_release(&untyped->lock);
}

void object_watches_notify(struct object *object)
{
    constexpr uint32_t AT_ONCE = 16;
    bool is_done = false;
    while (!is_done) {
        spinlock_acquire(&object->lock);
        for (uint32_t i = 0; i < AT_ONCE && !is_done; i++) {
            struct list_node *node = list_pop_front(&object->watches);
            is_done = node == nullptr;
            if (node != nullptr) {
                struct watch *watch = container_of(node, struct watch, object_node);
                watch->is_on_object = false;
                if (watch->ring != nullptr) /* else it keeps somebody's place: ipc/event.c */
                    ring_watch_signal(watch, 0, true);
            }
        }
        spinlock_release(&object->lock);
        if (!is_done)
            arch_irq_poll();
    }
}

void object_kill(struct object *object)
{
    enum object_state expected = OBJECT_ALIVE;
    if (!atomic_compare_exchange_strong(&object->state, (uint8_t *)&expected, OBJECT_DEAD))
        return;
    trace_object_killed(arch_cpu(), trace_thread_id(arch_cpu()), object->id, object->type);
    leave_untyped_list(object);
    while (object_revoke_step(object, nullptr, 0))
        arch_irq_poll();
    const struct object_class *class = object_classes[object->type];
    if (class != nullptr && class->kill != nullptr)
        class->kill(object);
    /* An untyped's death is told when its memory is back: untyped_destroy. */
    if (object->type != OBJECT_UNTYPED)
        object_watches_notify(object);
}

static void object_release(struct object *object)
{
    struct untyped *untyped = object->untyped;
    enum object_type type = object->type;
    untyped_cell_free(untyped, type, object_self(object), object->size);
    spinlock_acquire(&untyped->lock);
    untyped->object_count--;
    spinlock_release(&untyped->lock);
    object_count_add(type, -1);
    object_put(&untyped->object);
}

static void grace_passed(struct deferred *deferred)
{
    struct object *object = container_of(deferred, struct object, deferred);
    atomic_store(&object->reap, REAP_DUE);
    reap_push(object);
}

/* True when an entry that had looked the object up counted it: whoever drops that reference queues it again. */
static bool was_revived(struct object *object)
{
    if (atomic_load(&object->refs) == 0)
        return false;
    atomic_store(&object->reap, REAP_NONE);
    /* The last reference may have been dropped before the store: then nobody queued it. */
    uint8_t expected = REAP_NONE;
    if (atomic_load(&object->refs) == 0 && atomic_compare_exchange_strong(&object->reap, &expected, REAP_QUEUED))
        reap_push(object);
    else
        atomic_fetch_sub_explicit(&reap_count, 1, memory_order_relaxed);
    return true;
}

/* An endpoint's owner count reaches zero once: only an owner's handle makes another. */
void reap_owner_gone(struct endpoint *endpoint)
{
    struct cpu *cpu = arch_cpu();
    endpoint->ownerless_next = cpu->reap_list->ownerless;
    cpu->reap_list->ownerless = endpoint;
    cpu->exit_work |= EXIT_REAP;
}

void reap_badge(struct badge *badge)
{
    struct cpu *cpu = arch_cpu();
    badge->deferred.next = cpu->reap_list->badges;
    cpu->reap_list->badges = &badge->deferred;
    cpu->exit_work |= EXIT_REAP;
}

void reap_tell_endpoints(void)
{
    struct reap_list *list = arch_cpu()->reap_list;
    while (list->badges != nullptr) {
        struct badge *badge = container_of(list->badges, struct badge, deferred);
        list->badges = badge->deferred.next;
        endpoint_badge_gone(badge);
        arch_irq_poll();
    }
    while (list->ownerless != nullptr) {
        struct endpoint *endpoint = list->ownerless;
        list->ownerless = endpoint->ownerless_next;
        endpoint_owner_gone(endpoint);
        object_put(&endpoint->object);
    }
}

bool reap_run(void)
{
    struct reap_list *list = arch_cpu()->reap_list;
    reap_tell_endpoints();
    for (uint32_t done = 0; done < 64 && list->first != nullptr; done++) {
        arch_irq_poll();
        struct object *object = list->first;
        list->first = object->reap_next;
        if (list->first == nullptr)
            list->last = nullptr;
        if (atomic_load(&object->reap) == REAP_QUEUED) {
            object_kill(object);
            quiesce_defer(&object->deferred, grace_passed);
            continue;
        }
        if (was_revived(object))
            continue;
        const struct object_class *class = object_classes[object->type];
        if (class != nullptr && class->destroy != nullptr && !class->destroy(object)) {
            reap_push(object); /* unfinished: goes to the end of the list, so that others are not held up */
            return true;
        }
        object_release(object);
        atomic_fetch_sub_explicit(&reap_count, 1, memory_order_relaxed);
    }
    return list->first != nullptr;
}

uint64_t reap_pending_count(void) { return atomic_load_explicit(&reap_count, memory_order_relaxed) + quiesce_pending_count(); }

bool reap_is_pending(void) { return reap_pending_count() != 0; }

bool reap_all(uint64_t limit_ns)
{
    struct cpu *cpu = arch_cpu();
    while (reap_is_pending()) {
        if (arch_time_ns() > limit_ns)
            return false;
        quiesce_leave(cpu);
        arch_cpu_relax();
        quiesce_enter(cpu);
        smp_poll();
        (void)reap_run();
        quiesce_drain();
    }
    return true;
}

status_t invocation_give(struct invocation *inv, struct object *object, uint32_t rights, handle_t *out_handle)
{
    status_t status = object_publish(object);
    if (status == OK)
        status = cspace_insert(inv->cspace, object, nullptr, rights, nullptr, out_handle);
    object_put(object); /* the handle keeps it; without one it dies */
    return status;
}

status_t invocation_handle(struct invocation *inv, uint64_t value, enum object_type type, uint32_t rights, struct cap *out_cap)
{
    status_t status = cspace_lookup(inv->cspace, value, out_cap);
    if (status != OK)
        return status;
    if (out_cap->object->type != type)
        return ERROR_WRONG_TYPE;
    if ((out_cap->rights & rights) != rights)
        return audit_denied(inv->cspace, out_cap->object, inv->op, out_cap->rights);
    return OK;
}
