/*
 * CPU leases. One word says which CPUs are for everybody (sched_usable, as an affinity mask); whoever puts a thread into a queue looks at
 * it after that, and whoever changes it kicks the CPU concerned after that, so a thread that came too late is moved on. lease_lock guards
 * the word, which lease a thread is bound to, and the lists of bound threads.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/cell.h>
#include <kernel/cpu_lease.h>
#include <kernel/ipc.h>
#include <kernel/sched.h>
#include <kernel/vspace.h>

_Atomic uint64_t sched_usable = UINT64_MAX;
static struct spinlock lease_lock;

struct cpu_lease {
    struct object object;
    uint32_t cpu;
    bool is_held;                                /* lease_lock: not over yet */
    uint32_t thread_count;                       /* lease_lock */
    struct list threads GUARDED_BY(&lease_lock); /* lease_node; not counted: a thread that ends leaves */
};

static void bind_locked(struct cpu_lease *lease, struct thread *thread) REQUIRES(&lease_lock)
{
    thread->lease = lease;
    list_push_back(&lease->threads, &thread->lease_node);
    lease->thread_count++;
    peekable_set(thread->lease_cpu, lease->cpu + 1);
    atomic_fetch_or(&thread->pending, THREAD_PENDING_LEASED);
}

static void unbind_locked(struct thread *thread) REQUIRES(&lease_lock)
{
    thread->lease->thread_count--;
    thread->lease = nullptr;
    list_remove(&thread->lease_node);
    peekable_set(thread->lease_cpu, 0);
    atomic_fetch_and(&thread->pending, ~(uint32_t)THREAD_PENDING_LEASED);
}

void cpu_lease_thread_gone(struct thread *thread)
{
    if (peek(thread->lease_cpu) == 0)
        return;
    spinlock_acquire(&lease_lock);
    if (thread->lease != nullptr)
        unbind_locked(thread);
    spinlock_release(&lease_lock);
}

static void cpu_lease_class_kill(struct object *object)
{
    struct cpu_lease *lease = (struct cpu_lease *)object;
    spinlock_acquire(&lease_lock);
    struct list_node *node;
    while ((node = list_first(&lease->threads)) != nullptr)
        unbind_locked(container_of(node, struct thread, lease_node));
    if (lease->is_held)
        atomic_fetch_or(&sched_usable, 1ull << lease->cpu);
    lease->is_held = false;
    spinlock_release(&lease_lock);
    /* It counts as idle again; and those that would have nothing but this CPU go back to it. */
    uint64_t usable = atomic_load(&sched_usable);
    for (uint32_t i = 0; i < cpu_count; i++)
        if (cpus[i] == arch_cpu())
            arch_cpu()->exit_work |= EXIT_RESCHEDULE;
        else if (atomic_load(&cpus[i]->is_online) && (usable >> (i < 63 ? i : 63) & 1) != 0)
            smp_kick(i);
}

const struct object_class cpu_lease_class = {.kill = cpu_lease_class_kill};

uint64_t sched_online_mask(void)
{
    uint64_t online = 0;
    for (uint32_t i = 0; i < cpu_count; i++)
        if (atomic_load(&cpus[i]->is_online))
            online |= 1ull << (i < 63 ? i : 63);
    return online;
}

status_t untyped_create_cpu_lease(struct invocation *inv, struct untyped *self, const struct cap *cell, uint32_t cpu, handle_t *out_lease)
{
    constexpr uint32_t LEASABLE_MAX = 63; /* bit 63 of an affinity mask stands for several */
    if (cpu >= cpu_count || !atomic_load(&cpus[cpu]->is_online))
        return ERROR_BAD_ARGUMENT;
    if (cell->object != &cell_root.object)
        return ERROR_REFUSED;
    if (cpu >= LEASABLE_MAX)
        return ERROR_UNSUPPORTED;
    struct cpu_lease *lease;
    status_t status = object_create(self, OBJECT_CPU_LEASE, sizeof(struct cpu_lease), (void **)&lease);
    if (status != OK)
        return status;
    lease->cpu = cpu;
    list_init(&lease->threads);
    uint64_t bit = 1ull << cpu;
    spinlock_acquire(&lease_lock);
    uint64_t usable = atomic_load(&sched_usable) & sched_online_mask();
    bool is_free = (usable & bit) != 0 && (usable & ~bit) != 0;
    if (is_free) {
        lease->is_held = true;
        atomic_store(&sched_usable, usable & ~bit);
        uint32_t other = (uint32_t)__builtin_ctzll(usable & ~bit);
        timer_move_all(cpu, other);
        interrupt_move_all(cpu, other);
    }
    spinlock_release(&lease_lock);
    if (!is_free) {
        object_put(&lease->object);
        return ERROR_BUSY;
    }
    sched_leased(cpu);
    return invocation_give(inv, &lease->object, RIGHTS_ALL, out_lease);
}

status_t cpu_lease_bind(struct invocation *inv, struct cpu_lease *self, const struct cap *thread_cap)
{
    (void)inv;
    struct thread *thread = thread_from_object(thread_cap->object);
    status_t status = OK;
    spinlock_acquire(&lease_lock);
    if (thread->lease != nullptr)
        status = ERROR_BUSY;
    else if (!self->is_held)
        status = ERROR_PEER_DIED;
    else
        bind_locked(self, thread);
    atomic_thread_fence(memory_order_seq_cst); /* thread_finish() looks the other way round */
    if (status == OK && peek(thread->is_finished)) {
        unbind_locked(thread);
        status = ERROR_PEER_DIED;
    }
    spinlock_release(&lease_lock);
    if (status == OK)
        sched_affinity_changed(thread);
    return status;
}

status_t cpu_lease_unbind(struct invocation *inv, struct cpu_lease *self, const struct cap *thread_cap)
{
    (void)inv;
    struct thread *thread = thread_from_object(thread_cap->object);
    spinlock_acquire(&lease_lock);
    bool is_bound = thread->lease == self;
    if (is_bound)
        unbind_locked(thread);
    spinlock_release(&lease_lock);
    if (is_bound)
        sched_affinity_changed(thread);
    return is_bound ? OK : ERROR_NOT_FOUND;
}

status_t cpu_lease_info(struct invocation *inv, struct cpu_lease *self, uint32_t *out_cpu, uint32_t *out_thread_count)
{
    (void)inv;
    spinlock_acquire(&lease_lock);
    *out_cpu = self->cpu;
    *out_thread_count = self->thread_count;
    spinlock_release(&lease_lock);
    return OK;
}
