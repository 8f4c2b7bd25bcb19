/*
 * Rings: queues, enter, creation and end. The kernel keeps its own queue indices; of the shared header it reads only sq_tail and
 * cq_head, once per use, and clamps them. A watch or timeout with news is linked on `pending` until a completion entry is free, so
 * nothing is ever lost: the record that was reserved for the watch is the storage. Entries promised to calls and submissions under way
 * are counted in `reserved`.
 */
#include "ring.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/cell.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>

constexpr uint32_t WATCHES_MAX = 1024, CALLS_MAX = 256, OPERATIONS_MAX = 1024, SQ_MAX = 512, CQ_MAX = 1024;

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

/* Something waits for room. */
static bool has_backlog(struct ring *ring) REQUIRES(&ring->lock)
{
    return !list_is_empty(&ring->pending) || !list_is_empty(&ring->done) || !list_is_empty(&ring->cancelled);
}

void ring_wake(struct ring *ring)
{
    struct list_node *node = list_first(&ring->waiter.waiters);
    if (node == nullptr)
        return;
    uint32_t available = ring_completions_used(ring);
    if (available < ring->min_complete && !(has_backlog(ring) && ring_has_room(ring)))
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

void ring_pause(struct ring *ring)
{
    spinlock_release(&ring->lock);
    arch_irq_poll();
    spinlock_acquire(&ring->lock);
}

static void push_watch(struct ring *ring, struct watch *watch) REQUIRES(&ring->lock)
{
    list_remove(&watch->pending_node);
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

/* First the timeout that came with it, if one did: each needs an entry. */
static void push_operation(struct ring *ring, struct operation *operation) REQUIRES(&ring->lock)
{
    struct tess_completion completion = {.kind = COMPLETION_RESULT, .status = operation->status, .cookie = operation->cookie};
    if (operation->is_linked) {
        bool is_due = operation->is_link_due && operation->status == ERROR_TIMED_OUT;
        completion = (struct tess_completion){
            .kind = COMPLETION_TIMEOUT, .status = is_due ? ERROR_TIMED_OUT : ERROR_CANCELLED, .cookie = operation->link_cookie};
        operation->is_linked = false;
    } else {
        uint64_t op = completion.op = operation->op;
        for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
            if (i < op_words(op) || (i >= MESSAGE_HANDLE_WORD && i - MESSAGE_HANDLE_WORD < op_handles(op)))
                completion.words[i] = operation->words[i];
        list_remove(&operation->done_node);
        operation_free(ring, operation);
    }
    ring_push(ring, &completion);
}

static void push_cancelled(struct ring *ring, struct ring_call *call) REQUIRES(&ring->lock)
{
    struct tess_completion completion = {.kind = COMPLETION_CANCELLED, .cookie = (uint64_t)call->generation << 32 | (call->index + 1)};
    ring_call_free(ring, call);
    ring_push(ring, &completion);
}

bool ring_flush(struct ring *ring)
{
    constexpr uint32_t AT_ONCE = 32; /* often a signal's work, for somebody else, with interrupts off */
    for (uint32_t i = 0; ring_has_room(ring); i++) {
        struct list_node *node;
        if (i == AT_ONCE)
            return has_backlog(ring);
        if ((node = list_first(&ring->pending)) != nullptr)
            push_watch(ring, container_of(node, struct watch, pending_node));
        else if ((node = list_first(&ring->done)) != nullptr)
            push_operation(ring, container_of(node, struct operation, done_node));
        else if ((node = list_first(&ring->cancelled)) != nullptr)
            push_cancelled(ring, container_of(node, struct ring_call, cancelled_node));
        else
            return false;
    }
    return false;
}

static void flush_all(struct ring *ring) REQUIRES(&ring->lock)
{
    while (ring_flush(ring))
        ring_pause(ring);
}

/* ---- Enter ---- */

/* One thread at a time takes submissions; the number taken. */
static status_t submit(struct invocation *inv, struct ring *ring, uint32_t limit, uint32_t *out_submitted)
{
    spinlock_acquire(&ring->lock);
    bool is_busy = ring->is_entering;
    ring->is_entering = true;
    spinlock_release(&ring->lock);
    if (is_busy)
        return ERROR_BUSY;
    *out_submitted = ring_submit_all(inv, ring, limit);
    spinlock_acquire(&ring->lock);
    ring->is_entering = false;
    spinlock_release(&ring->lock);
    return OK;
}

status_t ring_poll(struct invocation *inv, struct ring *self, uint32_t limit, uint32_t *out_submitted, uint32_t *out_available)
{
    constexpr uint64_t TURN_NS = 2'000; /* with interrupts off */
    if (inv->is_submitted)
        return ERROR_UNKNOWN_METHOD;
    if (limit == 0 || limit > self->sq_entries)
        return ERROR_BAD_ARGUMENT;
    uint64_t start = arch_time_ns();
    do {
        if (!object_is_alive(&self->object))
            return ERROR_PEER_DIED;
        if (ring_has_submission(self)) {
            status_t status = submit(inv, self, limit, out_submitted);
            spinlock_acquire(&self->lock);
            flush_all(self);
            ring_wake(self);
            *out_available = ring_completions_used(self);
            spinlock_release(&self->lock);
            if (status != OK || *out_submitted != 0)
                return status;
        }
        arch_cpu_relax();
        smp_poll();
    } while (arch_time_ns() < min_u64(inv->aux, start + TURN_NS));
    if (arch_time_ns() >= inv->aux)
        return ERROR_TIMED_OUT;
    return thread_take_interrupt(inv->thread) ? ERROR_INTERRUPTED : ERROR_RESTART;
}

status_t ring_enter(struct invocation *inv, struct ring *self, uint32_t count, uint32_t min_complete, uint32_t *out_submitted,
                    uint32_t *out_available)
{
    if (inv->is_submitted)
        return ERROR_UNKNOWN_METHOD;
    if (count > self->sq_entries || min_complete > self->cq_entries)
        return ERROR_BAD_ARGUMENT;
    struct thread *thread = inv->thread;
    *out_submitted = 0;
    if (count != 0) {
        status_t status = submit(inv, self, count, out_submitted);
        if (status != OK)
            return status;
    }
    spinlock_acquire(&self->lock);
    /* Looked at under the lock: who finds no room after this has seen what the caller just consumed. */
    if (self->wants_pump) {
        spinlock_release(&self->lock);
        ring_pump(self);
        spinlock_acquire(&self->lock);
    }
    flush_all(self);
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
    peekable_set(ring->is_closed, true);
    for (uint32_t i = 0; i < ring->watch_count; i++) {
        struct watch *watch = watch_at(ring, i);
        if (watch->state == WATCH_ACTIVE || watch->state == WATCH_TIMER)
            watch_end(ring, watch);
        if (i % 32 == 31)
            ring_pause(ring);
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
        uint64_t sequence;
        struct waiter *caller = debt_take(&call->owed, &sequence);
        if (caller != nullptr && waiter_claim(caller, sequence))
            waiter_end(caller, ERROR_PEER_DIED, nullptr, 0);
        arch_irq_poll();
    }
    /* One whose wait begins now finds the ring closed (ring_submit.c, waiter_restored): one of the two sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < ring->operation_count; i++) {
        struct operation *operation = operation_at(ring, i);
        (void)operation_cancel(operation, atomic_load(&operation->wait_word) >> 8, ERROR_CANCELLED);
        arch_irq_poll();
    }
}

static void pages_free(struct untyped *untyped, uint32_t count, void **table)
{
    for (uint32_t i = 0; i < count; i++) {
        untyped_page_free(untyped, OBJECT_RING, virt_to_phys(table[i]));
        arch_irq_poll();
    }
}

static bool ring_class_destroy(struct object *object)
{
    struct ring *ring = (struct ring *)object;
    struct untyped *untyped = object->untyped;
    pages_free(untyped, ring->watch_page_count, (void **)ring->watch_pages);
    pages_free(untyped, ring->call_page_count, (void **)ring->call_pages);
    pages_free(untyped, ring->operation_page_count, (void **)ring->operation_pages);
    if (ring->table_page != 0)
        untyped_page_free(untyped, OBJECT_RING, ring->table_page);
    if (ring->memory != nullptr) {
        memory_unpin(ring->memory, 0, ring->page_count);
        object_put(&ring->memory->object);
    }
    if (ring->cspace != nullptr)
        object_put(&ring->cspace->object);
    if (ring->cell != nullptr) {
        cell_uncharge(ring->cell, CELL_LIMIT_CALLS, ring->operation_count);
        object_put(&ring->cell->object);
    }
    return true;
}

const struct object_class ring_class = {.kill = ring_class_kill, .destroy = ring_class_destroy};

static status_t pages_alloc(struct untyped *untyped, uint32_t count, void **table, uint32_t *out_count)
{
    while (*out_count < count) {
        paddr_t page;
        status_t status = untyped_page_alloc(untyped, OBJECT_RING, &page);
        if (status != OK)
            return status;
        table[(*out_count)++] = phys_to_virt(page);
        arch_irq_poll();
    }
    return OK;
}

static void records_init(struct ring *ring) NO_THREAD_SAFETY /* nobody else knows the ring yet */
{
    for (uint32_t i = ring->watch_count; i-- > 0;) {
        struct watch *watch = watch_at(ring, i);
        watch->ring = ring;
        watch->free_next = ring->watch_free;
        ring->watch_free = watch;
        if (i % 128 == 0)
            arch_irq_poll();
    }
    for (uint32_t i = ring->call_count; i-- > 0;) {
        struct ring_call *call = ring_call_at(ring, i);
        call->ring = ring;
        call->index = i;
        call->owed.lock = &ring->lock;
        call->owed.kind = DEBT_CALL;
        ring_call_free(ring, call);
        if (i % 128 == 0)
            arch_irq_poll();
    }
    for (uint32_t i = ring->operation_count; i-- > 0;) {
        struct operation *operation = operation_at(ring, i);
        operation->ring = ring;
        operation->waiter.is_operation = true;
        operation->timer.fire = operation_timeout;
        operation_free(ring, operation);
        if (i % 128 == 0)
            arch_irq_poll();
    }
}

static status_t tables_make(struct ring *ring, struct untyped *untyped)
{
    status_t status = untyped_page_alloc(untyped, OBJECT_RING, &ring->table_page);
    if (status != OK) {
        ring->watch_count = ring->call_count = ring->operation_count = 0; /* its kill looks at none */
        return status;
    }
    uint32_t watch_pages = (ring->watch_count + WATCHES_PER_PAGE - 1) / WATCHES_PER_PAGE;
    uint32_t call_pages = (ring->call_count + CALLS_PER_PAGE - 1) / CALLS_PER_PAGE;
    uint32_t operation_pages = (ring->operation_count + OPERATIONS_PER_PAGE - 1) / OPERATIONS_PER_PAGE;
    void **table = phys_to_virt(ring->table_page);
    ring->pages = (uint8_t **)table;
    ring->watch_pages = (struct watch **)(table + ring->page_count);
    ring->call_pages = (struct ring_call **)(table + ring->page_count + watch_pages);
    ring->operation_pages = (struct operation **)(table + ring->page_count + watch_pages + call_pages);
    status = pages_alloc(untyped, watch_pages, (void **)ring->watch_pages, &ring->watch_page_count);
    if (status == OK)
        status = pages_alloc(untyped, call_pages, (void **)ring->call_pages, &ring->call_page_count);
    if (status == OK)
        status = pages_alloc(untyped, operation_pages, (void **)ring->operation_pages, &ring->operation_page_count);
    if (status == OK)
        records_init(ring);
    else
        ring->watch_count = ring->call_count = ring->operation_count = 0;
    return status;
}

status_t untyped_create_ring(struct invocation *inv, struct untyped *self, const struct cap *memory, uint32_t sq_entries,
                             uint32_t cq_entries, uint32_t call_slots, uint32_t watch_slots, uint32_t operation_slots, handle_t *out_ring)
{
    struct memory *object = (struct memory *)memory->object;
    uint64_t bytes = RING_SUBMISSIONS_OFFSET + (uint64_t)RING_ENTRY_SIZE * ((uint64_t)sq_entries + cq_entries);
    uint64_t pages = (bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;
    if (!is_power_of_two(sq_entries) || sq_entries > SQ_MAX || !is_power_of_two(cq_entries) || cq_entries < 2 || cq_entries > CQ_MAX ||
        call_slots > CALLS_MAX || watch_slots > WATCHES_MAX || operation_slots > OPERATIONS_MAX || pages > peek(object->size_pages))
        return ERROR_BAD_ARGUMENT;
    struct cell *cell = inv->thread->process->cell;
    if (!cell_charge(cell, CELL_LIMIT_CALLS, operation_slots))
        return ERROR_CELL_LIMIT;
    struct ring *ring;
    status_t status = memory_pin(object, 0, pages);
    if (status == OK && (status = object_create(self, OBJECT_RING, sizeof(struct ring), (void **)&ring)) != OK)
        memory_unpin(object, 0, pages);
    if (status != OK) {
        cell_uncharge(cell, CELL_LIMIT_CALLS, operation_slots);
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
    ring->operation_count = operation_slots;
    ring->waiter.lock = &ring->lock;
    list_init(&ring->waiter.waiters);
    list_init(&ring->pending);
    list_init(&ring->done);
    list_init(&ring->cancelled);
    list_init(&ring->endpoints);
    object_get(&cell->object);
    ring->cell = cell;
    status = tables_make(ring, self);
    spinlock_acquire(&object->lock);
    for (uint64_t i = 0; i < pages && status == OK; i++) {
        paddr_t page;
        status = memory_page_locked(object, i, false, &page);
        ring->pages[i] = phys_to_virt(page);
    }
    spinlock_release(&object->lock);
    if (status != OK) {
        object_put(&ring->object);
        return status;
    }
    *ring_header(ring) = (struct tess_ring_header){.sq_entries = sq_entries, .cq_entries = cq_entries};
    return invocation_give(inv, &ring->object, RIGHTS_ALL, out_ring);
}
