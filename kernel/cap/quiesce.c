/*
 * Grace periods. Every CPU keeps a list of what waits, oldest first; its lock lets another CPU drain it when memory is short.
 */
#include <arch/arch.h>
#include <kernel/quiesce.h>
#include <kernel/spinlock.h>

struct quiesce_list {
    struct spinlock lock;
    struct deferred *first, *last;
    uint32_t count; /* changed under lock; peeked at by its own CPU */
};

_Atomic uint64_t quiesce_epoch = 1;
static struct quiesce_list lists[CPU_MAX];
static _Atomic uint64_t pending_count;

void quiesce_defer(struct deferred *deferred, void (*release)(struct deferred *))
{
    deferred->next = nullptr;
    deferred->release = release;
    /* Entries that begin after this see the unlinking; entries with an older epoch may still hold the pointer. */
    deferred->epoch = atomic_fetch_add(&quiesce_epoch, 1) + 1;
    struct quiesce_list *list = &lists[arch_cpu()->index];
    spinlock_acquire(&list->lock);
    if (list->last != nullptr)
        list->last->next = deferred;
    else
        peekable_set(list->first, deferred);
    list->last = deferred;
    peekable_set(list->count, list->count + 1);
    spinlock_release(&list->lock);
    arch_cpu()->exit_work |= EXIT_QUIESCE;
    atomic_fetch_add_explicit(&pending_count, 1, memory_order_relaxed);
}

uint64_t quiesce_pending_count(void) { return atomic_load_explicit(&pending_count, memory_order_relaxed); }

bool quiesce_is_behind(void)
{
    constexpr uint32_t BACKLOG_MAX = 128;
    return peek(lists[arch_cpu()->index].count) > BACKLOG_MAX;
}

bool quiesce_is_pending(void) { return quiesce_pending_count() != 0; }

/* What was deferred up to this epoch is due: the oldest epoch in which another CPU (or this one, with_self) is in the kernel. Never
 * more than the present epoch: what another CPU defers after this look at the CPUs may be in somebody's hands. */
static uint64_t oldest_epoch(bool with_self)
{
    uint64_t oldest = atomic_load(&quiesce_epoch);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with quiesce_enter */
    for (uint32_t i = 0; i < cpu_count; i++) {
        if (cpus[i] == nullptr || (cpus[i] == arch_cpu() && !with_self))
            continue;
        uint64_t epoch = atomic_load_explicit(&cpus[i]->epoch, memory_order_acquire);
        if (epoch != 0 && epoch < oldest)
            oldest = epoch;
    }
    return oldest;
}

/* Releases the entries of one list that are due; false when some are left. */
static bool run_list(struct quiesce_list *list, bool with_self)
{
    if (peek(list->first) == nullptr)
        return true;
    uint64_t oldest = oldest_epoch(with_self);
    for (;;) {
        spinlock_acquire(&list->lock);
        struct deferred *item = list->first;
        if (item != nullptr && item->epoch <= oldest) {
            peekable_set(list->first, item->next);
            peekable_set(list->count, list->count - 1);
            if (list->first == nullptr)
                list->last = nullptr;
        } else {
            spinlock_release(&list->lock);
            return item == nullptr;
        }
        spinlock_release(&list->lock);
        item->release(item);
        atomic_fetch_sub_explicit(&pending_count, 1, memory_order_relaxed);
        if (!with_self)
            arch_irq_poll(); /* at the end of an entry no lock is held */
    }
}

bool quiesce_run(void) { return run_list(&lists[arch_cpu()->index], false); /* the end of an entry: this CPU holds nothing any more */ }

void quiesce_drain(void)
{
    /* In the middle of an entry: what this entry looked up (the very untyped that is charged) may have been given up by another
     * CPU since, so its own epoch counts too. One pass, no waiting: two CPUs that waited for each other here would never leave. */
    for (uint32_t i = 0; i < cpu_count; i++)
        (void)run_list(&lists[i], true);
}
