/*
 * Rings: queues, enter, creation and end. The kernel keeps its own queue indices; of the shared header it reads only sq_tail and
 * cq_head, once per use, and clamps them. A watch or timeout with news is linked on `pending` until a completion entry is free, so
 * nothing is ever lost: the record that was reserved for the watch is the storage. Entries promised to calls and submissions under way
 * are counted in `reserved`.
 */
#include "ring.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>

constexpr uint32_t WATCHES_MAX = 1024, CALLS_MAX = 256, SQ_MAX = 512, CQ_MAX = 1024;

/* ---- Completions ---- */

uint32_t ring_completions_used(struct ring *ring)
{
    uint32_t head = __atomic_load_n(&ring_header(ring)->cq_head, __ATOMIC_ACQUIRE);
    uint32_t used = ring->cq_tail - head;
    return used > ring->cq_entries ? ring->cq_entries : used; /* nonsense from the user: full */
}

void ring_push(struct ring *ring, const struct tess_completion *completion)
{
    uint32_t slot = ring->cq_tail & (ring->cq_entries - 1);
    struct tess_completion *entry = ring_at(ring, RING_SUBMISSIONS_OFFSET + RING_ENTRY_SIZE * (ring->sq_entries + slot));
    *entry = *completion;
    ring->cq_tail++;
    __atomic_store_n(&ring_header(ring)->cq_tail, ring->cq_tail, __ATOMIC_RELEASE);
}

void ring_wake(struct ring *ring)
{
    struct list_node *node = list_first(&ring->waiter.waiters);
    uint32_t available = ring_completions_used(ring);
    if (node == nullptr || available < ring->min_complete)
        return;
    struct thread *thread = container_of(node, struct thread, wait_node);
    if (!thread_wait_claim_any(thread))
        return;
    list_remove(node);
    arch_frame_set_word(&thread->frame, 0, ring->submitted);
    arch_frame_set_word(&thread->frame, 1, available);
    thread_wait_finish(thread, OK);
    sched_ready(thread);
}

/* Moves what waits for room into the completion queue. */
void ring_flush(struct ring *ring)
{
    struct list_node *node;
    while ((node = list_first(&ring->pending)) != nullptr && ring_has_room(ring)) {
        struct watch *watch = container_of(node, struct watch, pending_node);
        list_remove(node);
        watch->is_pending = false;
        bool is_timeout = watch->state == WATCH_TIMER;
        struct tess_completion completion = {
            .kind = is_timeout ? COMPLETION_TIMEOUT : COMPLETION_WATCH,
            .status = is_timeout       ? ERROR_TIMED_OUT
                      : watch->is_dead ? ERROR_PEER_DIED
                                       : OK,
            .cookie = watch->cookie,
            .words = {watch->pending_bits},
        };
        watch->pending_bits = 0;
        ring_push(ring, &completion);
        if (is_timeout || watch->is_dead || !watch->is_multi)
            watch_free(ring, watch);
    }
}

/* ---- Enter ---- */

status_t ring_enter(struct invocation *inv, struct ring *self, uint32_t submit, uint32_t min_complete, uint32_t *out_submitted,
                    uint32_t *out_available)
{
    if (submit > self->sq_entries || min_complete > self->cq_entries)
        return ERROR_BAD_ARGUMENT;
    struct thread *thread = inv->thread;
    *out_submitted = 0;
    if (submit != 0) {
        spinlock_acquire(&self->lock);
        bool is_busy = self->is_entering;
        self->is_entering = true;
        spinlock_release(&self->lock);
        if (is_busy)
            return ERROR_BUSY;
        *out_submitted = ring_submit_all(inv, self, submit);
    }
    spinlock_acquire(&self->lock);
    if (submit != 0)
        self->is_entering = false;
    /* Looked at under the lock: who finds no room after this has seen what the caller just consumed. */
    if (self->wants_pump) {
        spinlock_release(&self->lock);
        ring_pump(self);
        spinlock_acquire(&self->lock);
    }
    ring_flush(self);
    ring_wake(self);
    *out_available = ring_completions_used(self);
    status_t status = OK;
    if (*out_available < min_complete) {
        if (self->is_closed) {
            status = ERROR_PEER_DIED;
        } else if (!list_is_empty(&self->waiter.waiters)) {
            status = ERROR_BUSY;
        } else if (inv->aux == DEADLINE_NOW) {
            status = ERROR_TIMED_OUT;
        } else {
            self->min_complete = min_complete;
            self->submitted = *out_submitted;
            list_push_back(&self->waiter.waiters, &thread->wait_node);
            thread_wait_publish(thread, &self->waiter, &self->object, inv->aux);
            status = STATUS_BLOCKED;
        }
    }
    spinlock_release(&self->lock);
    return status;
}

/* ---- Life ---- */

static void ring_class_kill(struct object *object)
{
    struct ring *ring = (struct ring *)object;
    spinlock_acquire(&ring->lock);
    ring->is_closed = true;
    for (uint32_t i = 0; i < ring->watch_count; i++) {
        struct watch *watch = watch_at(ring, i);
        if (watch->state == WATCH_ACTIVE || watch->state == WATCH_TIMER)
            watch_end(ring, watch);
    }
    struct list_node *node;
    while ((node = list_pop_front(&ring->endpoints)) != nullptr) {
        struct endpoint *endpoint = container_of(node, struct endpoint, ring_node);
        endpoint->is_on_ring = false;
        /* Not counted, but readable for this entry; its own kill may run at the same time: its lock decides. */
        spinlock_release(&ring->lock);
        spinlock_acquire(&endpoint->lock);
        if (endpoint->ring == ring)
            endpoint_unbind_locked(endpoint);
        spinlock_release(&endpoint->lock);
        spinlock_acquire(&ring->lock);
    }
    struct list_node *waiter = list_first(&ring->waiter.waiters);
    struct thread *thread = waiter != nullptr ? container_of(waiter, struct thread, wait_node) : nullptr;
    if (thread != nullptr && thread_wait_claim_any(thread))
        list_remove(waiter);
    else
        thread = nullptr;
    spinlock_release(&ring->lock);
    if (thread != nullptr) {
        thread_wait_finish(thread, ERROR_PEER_DIED);
        sched_ready(thread);
    }
    for (uint32_t i = 0; i < ring->call_count; i++) {
        struct ring_call *call = ring_call_at(ring, i);
        spinlock_acquire(&ring->lock);
        struct thread *caller = call->caller;
        uint64_t sequence = call->sequence;
        call->caller = nullptr;
        spinlock_release(&ring->lock);
        if (caller == nullptr)
            continue;
        if (thread_wait_claim(caller, sequence)) {
            thread_wait_finish(caller, ERROR_PEER_DIED);
            sched_ready(caller);
        }
        object_put(&caller->object);
    }
}

static bool ring_class_destroy(struct object *object)
{
    struct ring *ring = (struct ring *)object;
    struct untyped *untyped = object->untyped;
    for (uint32_t i = 0; i < ring->watch_page_count; i++)
        untyped_page_free(untyped, OBJECT_RING, virt_to_phys(ring->watch_pages[i]));
    for (uint32_t i = 0; i < ring->call_page_count; i++)
        untyped_page_free(untyped, OBJECT_RING, virt_to_phys(ring->call_pages[i]));
    if (ring->table_page != 0)
        untyped_page_free(untyped, OBJECT_RING, ring->table_page);
    if (ring->memory != nullptr) {
        memory_unpin(ring->memory);
        object_put(&ring->memory->object);
    }
    if (ring->cspace != nullptr)
        object_put(&ring->cspace->object);
    return true;
}

const struct object_class ring_class = {.kill = ring_class_kill, .destroy = ring_class_destroy};

static status_t tables_make(struct ring *ring, struct untyped *untyped)
{
    status_t status = untyped_page_alloc(untyped, OBJECT_RING, &ring->table_page);
    if (status != OK)
        return status;
    uint64_t *table = phys_to_virt(ring->table_page);
    ring->pages = (uint8_t **)table;
    ring->watch_pages = (struct watch **)(table + ring->page_count);
    uint32_t watch_pages = (ring->watch_count + WATCHES_PER_PAGE - 1) / WATCHES_PER_PAGE;
    ring->call_pages = (struct ring_call **)(table + ring->page_count + watch_pages);
    uint32_t call_pages = (ring->call_count + CALLS_PER_PAGE - 1) / CALLS_PER_PAGE;
    paddr_t page;
    while (ring->watch_page_count < watch_pages) {
        status = untyped_page_alloc(untyped, OBJECT_RING, &page);
        if (status != OK)
            return status;
        ring->watch_pages[ring->watch_page_count++] = phys_to_virt(page);
    }
    while (ring->call_page_count < call_pages) {
        status = untyped_page_alloc(untyped, OBJECT_RING, &page);
        if (status != OK)
            return status;
        ring->call_pages[ring->call_page_count++] = phys_to_virt(page);
    }
    for (uint32_t i = ring->watch_count; i-- > 0;) {
        struct watch *watch = watch_at(ring, i);
        watch->ring = ring;
        watch->free_next = ring->watch_free;
        ring->watch_free = watch;
    }
    for (uint32_t i = ring->call_count; i-- > 0;) {
        struct ring_call *call = ring_call_at(ring, i);
        call->generation = 1;
        call->free_next = ring->call_free;
        ring->call_free = i + 1;
    }
    return OK;
}

status_t untyped_create_ring(struct invocation *inv, struct untyped *self, const struct cap *memory, uint32_t sq_entries,
                             uint32_t cq_entries, uint32_t call_slots, uint32_t watch_slots, handle_t *out_ring)
{
    struct memory *object = (struct memory *)memory->object;
    uint64_t bytes = RING_SUBMISSIONS_OFFSET + (uint64_t)RING_ENTRY_SIZE * ((uint64_t)sq_entries + cq_entries);
    uint64_t pages = (bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;
    if (!is_power_of_two(sq_entries) || sq_entries > SQ_MAX || !is_power_of_two(cq_entries) || cq_entries < 2 || cq_entries > CQ_MAX ||
        call_slots > CALLS_MAX || watch_slots > WATCHES_MAX || pages > object->size_pages)
        return ERROR_BAD_ARGUMENT;
    status_t status = memory_pin(object, 0, pages);
    if (status != OK)
        return status;
    struct ring *ring;
    status = object_create(self, OBJECT_RING, sizeof(struct ring), (void **)&ring);
    if (status != OK) {
        memory_unpin(object);
        return status;
    }
    object_get(&object->object);
    object_get(&inv->cspace->object);
    ring->memory = object;
    ring->cspace = inv->cspace;
    ring->sq_entries = sq_entries;
    ring->cq_entries = cq_entries;
    ring->page_count = (uint32_t)pages;
    ring->call_count = call_slots;
    ring->watch_count = watch_slots;
    ring->waiter.lock = &ring->lock;
    list_init(&ring->waiter.waiters);
    list_init(&ring->pending);
    list_init(&ring->endpoints);
    status = tables_make(ring, self);
    spinlock_acquire(&object->lock);
    for (uint64_t i = 0; i < pages && status == OK; i++) {
        paddr_t page;
        status = memory_page_locked(object, i, false, &page);
        ring->pages[i] = phys_to_virt(page);
    }
    spinlock_release(&object->lock);
    if (status != OK) {
        ring->watch_count = ring->watch_page_count * WATCHES_PER_PAGE < ring->watch_count ? 0 : ring->watch_count;
        ring->call_count = ring->call_page_count * CALLS_PER_PAGE < ring->call_count ? 0 : ring->call_count;
        object_put(&ring->object);
        return status;
    }
    *ring_header(ring) = (struct tess_ring_header){.sq_entries = sq_entries, .cq_entries = cq_entries};
    return invocation_give(inv, &ring->object, RIGHTS_ALL, out_ring);
}
