/*
 * Futexes. A waiter is found under (memory object, offset); it counts the memory while it waits, so a key is never another memory's.
 *
 * No wake-up is lost: a waiter compares the word and joins the queue under the queue's lock; a waker changes the word first and then
 * takes that lock. A waiter that is moved to another word (requeue) changes its queue under both locks; whoever unlinks a waiter
 * asks again which queue it is in once it has the lock (sched/thread.c).
 *
 * A thread or operation that waits keeps the memory in wait_object, the offset in wait_arg, and in wait_bits the mask of the wake-ups it wants, or,
 * when it waits to become a lock's owner, OWNER_WAIT and the value to put into the word.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/futex.h>
#include <kernel/ipc.h>
#include <kernel/process.h>
#include <kernel/sched.h>

constexpr uint32_t QUEUE_COUNT = 256; /* power of two */
constexpr uint64_t OWNER_WAIT = 1ull << 32;

struct futex_queue {
    alignas(64) struct spinlock lock;
    struct wait_queue queue;
};

static struct futex_queue queues[QUEUE_COUNT];

/* A word, as long as its vspace is locked, or (memory and offset) for this kernel entry. */
struct futex {
    struct memory *memory;
    uint64_t offset;
    uint32_t *word; /* in the direct map; nullptr: its page is not there, or not with the access wanted */
};

void futex_init(void)
{
    for (uint32_t i = 0; i < QUEUE_COUNT; i++) {
        queues[i].queue.lock = &queues[i].lock;
        list_init(&queues[i].queue.waiters);
    }
}

static struct futex_queue *queue_of(const struct futex *futex)
{
    uint64_t key = (futex->memory->object.id * 0x9E3779B97F4A7C15ull) ^ (futex->offset >> 2);
    return &queues[(key * 0x9E3779B97F4A7C15ull) >> 56];
}

static bool is_word(uint64_t address) { return (address & 3) == 0 && address < USER_TOP; }

static status_t locate(struct vspace *vspace, uint64_t address, uint32_t access, struct futex *out) REQUIRES(&vspace->lock)
{
    return vspace_word_locked(vspace, address, access, &out->memory, &out->offset, &out->word);
}

/* Where the word is, for those who need not look at it. */
static status_t find(struct vspace *vspace, uint64_t address, struct futex *out)
{
    if (!is_word(address))
        return ERROR_BAD_ARGUMENT;
    spinlock_acquire(&vspace->lock);
    status_t status = locate(vspace, address, PROT_READ, out);
    spinlock_release(&vspace->lock);
    return status;
}

/* Locks the vspace with the word's page present; when that cannot be, says why and locks nothing. */
static bool lock_present(struct vspace *vspace, uint64_t address, uint32_t access, struct futex *out, status_t *out_status)
    TRY_ACQUIRES(true, &vspace->lock) NO_THREAD_SAFETY
{
    *out_status = ERROR_BAD_ARGUMENT;
    for (uint32_t attempt = 0; is_word(address) && attempt < 4; attempt++) {
        spinlock_acquire(&vspace->lock);
        *out_status = locate(vspace, address, access, out);
        if (*out_status == OK && out->word != nullptr)
            return true;
        spinlock_release(&vspace->lock);
        if (*out_status == OK)
            *out_status = vspace_fault(vspace, address, access);
        if (*out_status != OK)
            return false;
        *out_status = ERROR_RESTART; /* if somebody takes it away as fast as it comes */
    }
    return false;
}

static struct object *object_of(struct waiter *waiter)
{
    return waiter->is_operation ? waiter_operation(waiter)->wait_object : waiter_thread(waiter)->wait_object;
}

static uint64_t bits_of(struct waiter *waiter)
{
    return waiter->is_operation ? waiter_operation(waiter)->wait_bits : waiter_thread(waiter)->wait_bits;
}

static bool waits_for(struct waiter *waiter, const struct futex *futex)
{
    return object_of(waiter) == &futex->memory->object && waiter_arg(waiter) == futex->offset;
}

/* The current thread joins the queue. The memory's end tells all who are queued (futex_memory_gone), so it must not be over: it looks
 * at has_futexes after the state has changed, and we look at the state after has_futexes was set. */
static status_t join(struct invocation *inv, struct futex_queue *queue, const struct futex *futex, uint64_t bits) REQUIRES(&queue->lock)
{
    if (!peek(futex->memory->has_futexes)) {
        peekable_set(futex->memory->has_futexes, true);
        atomic_thread_fence(memory_order_seq_cst);
    }
    if (!object_is_alive(&futex->memory->object))
        return ERROR_PEER_DIED;
    if (inv->aux == DEADLINE_NOW)
        return ERROR_TIMED_OUT;
    return wait_begin(inv, &queue->queue, &futex->memory->object, futex->offset, bits);
}

/* Claims and unlinks a waiter of the queue; false when its wait ends in another way. */
static bool take(struct waiter *waiter)
{
    if (!waiter_claim_any(waiter))
        return false;
    list_remove(&waiter->node);
    return true;
}

static uint32_t wake_some(struct futex_queue *queue, const struct futex *futex, uint32_t count, uint32_t bits) REQUIRES(&queue->lock)
{
    uint32_t woken = 0;
    struct list *waiters = &queue->queue.waiters;
    for (struct list_node *node = list_first(waiters), *next; node != nullptr && woken < count; node = next) {
        next = list_next(waiters, node);
        struct waiter *waiter = container_of(node, struct waiter, node);
        if (!waits_for(waiter, futex) || (bits_of(waiter) & OWNER_WAIT) != 0 || (bits_of(waiter) & bits) == 0 || !take(waiter))
            continue;
        waiter_end(waiter, OK, nullptr, 0);
        woken++;
    }
    return woken;
}

void futex_memory_gone(struct memory *memory)
{
    if (!peek(memory->has_futexes))
        return;
    for (uint32_t i = 0; i < QUEUE_COUNT; i++) {
        struct list *waiters = &queues[i].queue.waiters;
        spinlock_acquire(&queues[i].lock);
        for (struct list_node *node = list_first(waiters), *next; node != nullptr; node = next) {
            next = list_next(waiters, node);
            struct waiter *waiter = container_of(node, struct waiter, node);
            if (object_of(waiter) == &memory->object && take(waiter))
                waiter_end(waiter, ERROR_PEER_DIED, nullptr, 0);
        }
        spinlock_release(&queues[i].lock);
    }
}

/* ---- Methods ---- */

status_t vspace_futex_wait(struct invocation *inv, struct vspace *self, uint64_t address, uint32_t expected, uint32_t bits)
{
    if (bits == 0)
        return ERROR_BAD_ARGUMENT;
    struct futex futex;
    status_t status;
    if (!lock_present(self, address, PROT_READ, &futex, &status))
        return status;
    struct futex_queue *queue = queue_of(&futex);
    spinlock_acquire(&queue->lock);
    if (__atomic_load_n(futex.word, __ATOMIC_RELAXED) != expected)
        status = ERROR_WOULD_BLOCK;
    else
        status = join(inv, queue, &futex, bits);
    spinlock_release(&queue->lock);
    spinlock_release(&self->lock);
    return status;
}

status_t vspace_futex_wake(struct invocation *inv, struct vspace *self, uint64_t address, uint32_t count, uint32_t bits,
                           uint32_t *out_woken)
{
    (void)inv;
    if (bits == 0)
        return ERROR_BAD_ARGUMENT;
    struct futex futex;
    status_t status = find(self, address, &futex);
    if (status != OK)
        return status;
    struct futex_queue *queue = queue_of(&futex);
    spinlock_acquire(&queue->lock);
    *out_woken = wake_some(queue, &futex, min_u32(count, FUTEX_BATCH), bits);
    spinlock_release(&queue->lock);
    return OK;
}

/* Both queues' locks are held, or the one. */
static uint32_t move_some(struct futex_queue *from_queue, const struct futex *from, struct futex_queue *to_queue, const struct futex *to,
                          uint32_t count) NO_THREAD_SAFETY
{
    uint32_t moved = 0;
    struct list *waiters = &from_queue->queue.waiters;
    for (struct list_node *node = list_first(waiters), *next; node != nullptr && moved < count; node = next) {
        next = list_next(waiters, node);
        struct waiter *waiter = container_of(node, struct waiter, node);
        /* One whose wait is just being ended moves as well: whoever ends it unlinks it where it is then, and lets go of what it waits
         * for afterwards. */
        if (!waits_for(waiter, from) || (bits_of(waiter) & OWNER_WAIT) != 0)
            continue;
        list_remove(node);
        list_push_back(&to_queue->queue.waiters, node);
        if (from->memory != to->memory)
            object_get(&to->memory->object);
        if (waiter->is_operation) {
            waiter_operation(waiter)->wait_arg = to->offset;
            waiter_operation(waiter)->wait_object = &to->memory->object;
            peekable_set(waiter_operation(waiter)->wait_queue, &to_queue->queue);
        } else {
            waiter_thread(waiter)->wait_arg = to->offset;
            waiter_thread(waiter)->wait_object = &to->memory->object;
            peekable_set(waiter_thread(waiter)->wait_queue, &to_queue->queue);
        }
        if (from->memory != to->memory)
            object_put(&from->memory->object);
        moved++;
    }
    return moved;
}

static void acquire_both(struct futex_queue *a, struct futex_queue *b) NO_THREAD_SAFETY
{
    spinlock_acquire(a < b ? &a->lock : &b->lock);
    if (a != b)
        spinlock_acquire(a < b ? &b->lock : &a->lock);
}

static void release_both(struct futex_queue *a, struct futex_queue *b) NO_THREAD_SAFETY
{
    spinlock_release(&a->lock);
    if (a != b)
        spinlock_release(&b->lock);
}

/* The words are found, with vspace->lock held and the locks of both queues. */
static status_t requeue_locked(const struct futex *from, const struct futex *to, uint64_t expected, uint32_t count_wake,
                               uint32_t count_requeue, uint32_t *out_woken, uint32_t *out_moved) NO_THREAD_SAFETY
{
    if (expected <= UINT32_MAX && __atomic_load_n(from->word, __ATOMIC_RELAXED) != expected)
        return ERROR_WOULD_BLOCK;
    peekable_set(to->memory->has_futexes, true);
    atomic_thread_fence(memory_order_seq_cst); /* as in join() */
    if (!object_is_alive(&to->memory->object))
        return ERROR_PEER_DIED;
    *out_woken = wake_some(queue_of(from), from, min_u32(count_wake, FUTEX_BATCH), UINT32_MAX);
    *out_moved = from->memory == to->memory && from->offset == to->offset
                     ? 0
                     : move_some(queue_of(from), from, queue_of(to), to, min_u32(count_requeue, FUTEX_BATCH));
    return OK;
}

status_t vspace_futex_requeue(struct invocation *inv, struct vspace *self, uint64_t from, uint64_t expected, uint64_t to,
                              uint32_t count_wake, uint32_t count_requeue, uint32_t *out_woken, uint32_t *out_requeued)
{
    (void)inv;
    if (!is_word(to) || (expected > UINT32_MAX && expected != FUTEX_ANY))
        return ERROR_BAD_ARGUMENT;
    struct futex source, target;
    status_t status;
    if (!lock_present(self, from, PROT_READ, &source, &status))
        return status;
    status = locate(self, to, PROT_READ, &target);
    if (status == OK) {
        struct futex_queue *a = queue_of(&source), *b = queue_of(&target);
        acquire_both(a, b);
        status = requeue_locked(&source, &target, expected, count_wake, count_requeue, out_woken, out_requeued);
        release_both(a, b);
    }
    spinlock_release(&self->lock);
    return status;
}

/* ---- Words that name the owner of a lock ---- */

/* The word is free, or becomes the owner's, or says that somebody waits: OK, ALREADY (the owner's own), or WOULD_BLOCK. */
static status_t take_word(uint32_t *word, uint32_t owner)
{
    uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
    for (;;) {
        uint32_t holder = old & FUTEX_OWNER_MASK;
        if (holder == owner)
            return ERROR_ALREADY;
        uint32_t fresh = holder == 0 ? old | owner : old | FUTEX_WAITERS;
        if (__atomic_compare_exchange_n(word, &old, fresh, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return holder == 0 ? OK : ERROR_WOULD_BLOCK;
    }
}

status_t vspace_futex_lock(struct invocation *inv, struct vspace *self, uint64_t address, uint32_t owner)
{
    if (owner == 0 || (owner & ~FUTEX_OWNER_MASK) != 0)
        return ERROR_BAD_ARGUMENT;
    struct futex futex;
    status_t status;
    if (!lock_present(self, address, PROT_WRITE, &futex, &status))
        return status;
    struct futex_queue *queue = queue_of(&futex);
    spinlock_acquire(&queue->lock);
    status = take_word(futex.word, owner);
    if (status == ERROR_WOULD_BLOCK)
        status = join(inv, queue, &futex, OWNER_WAIT | owner);
    spinlock_release(&queue->lock);
    spinlock_release(&self->lock);
    return status;
}

/* The first that waits to become owner, claimed and unlinked; whether there are more of them. */
static struct waiter *take_heir(struct futex_queue *queue, const struct futex *futex, bool *out_has_more) REQUIRES(&queue->lock)
{
    struct waiter *heir = nullptr;
    *out_has_more = false;
    struct list *waiters = &queue->queue.waiters;
    for (struct list_node *node = list_first(waiters), *next; node != nullptr && !*out_has_more; node = next) {
        next = list_next(waiters, node);
        struct waiter *waiter = container_of(node, struct waiter, node);
        if (!waits_for(waiter, futex) || (bits_of(waiter) & OWNER_WAIT) == 0)
            continue;
        if (heir != nullptr)
            *out_has_more = true;
        else if (take(waiter))
            heir = waiter;
    }
    return heir;
}

status_t vspace_futex_unlock(struct invocation *inv, struct vspace *self, uint64_t address, uint32_t owner, uint32_t *out_heir)
{
    (void)inv;
    if (owner == 0 || (owner & ~FUTEX_OWNER_MASK) != 0)
        return ERROR_BAD_ARGUMENT;
    struct futex futex;
    status_t status;
    if (!lock_present(self, address, PROT_WRITE, &futex, &status))
        return status;
    struct futex_queue *queue = queue_of(&futex);
    spinlock_acquire(&queue->lock);
    uint32_t old = __atomic_load_n(futex.word, __ATOMIC_RELAXED);
    if ((old & FUTEX_OWNER_MASK) != owner) {
        status = ERROR_REFUSED;
    } else {
        bool has_more;
        struct waiter *heir = take_heir(queue, &futex, &has_more);
        *out_heir = heir != nullptr ? (uint32_t)bits_of(heir) : 0;
        /* Nobody but its owner changes such a word, except for the bit that is set under this lock. */
        __atomic_store_n(futex.word, *out_heir | (has_more ? FUTEX_WAITERS : 0) | (old & FUTEX_OWNER_DIED), __ATOMIC_RELEASE);
        if (heir != nullptr)
            waiter_end(heir, OK, nullptr, 0);
    }
    spinlock_release(&queue->lock);
    spinlock_release(&self->lock);
    return status;
}
