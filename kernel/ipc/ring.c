/*
 * Rings. The kernel keeps its own queue indices; of the shared header it reads only sq_tail and cq_head, once per use, and clamps
 * them. A watch or timeout with news is linked on `pending` until a completion entry is free, so nothing is ever lost: the record
 * that was reserved for the watch is the storage. Entries promised to calls and submissions under way are counted in `reserved`.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/ipc.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>

constexpr uint32_t SUBMISSIONS_OFFSET = 128;
constexpr uint32_t ENTRY_SIZE = 128;
constexpr uint32_t WATCHES_PER_PAGE = PAGE_SIZE / sizeof(struct watch);
constexpr uint32_t CALLS_PER_PAGE = PAGE_SIZE / sizeof(struct ring_call);
constexpr uint32_t WATCHES_MAX = 1024, CALLS_MAX = 256, SQ_MAX = 512, CQ_MAX = 1024;

static void *ring_at(struct ring *ring, uint32_t offset) { return ring->pages[offset >> PAGE_SHIFT] + (offset & (PAGE_SIZE - 1)); }

static struct tess_ring_header *header(struct ring *ring) { return (struct tess_ring_header *)ring->pages[0]; }

static struct watch *watch_at(struct ring *ring, uint32_t index)
{
    return &ring->watch_pages[index / WATCHES_PER_PAGE][index % WATCHES_PER_PAGE];
}

static struct ring_call *call_at(struct ring *ring, uint32_t index)
{
    return &ring->call_pages[index / CALLS_PER_PAGE][index % CALLS_PER_PAGE];
}

/* ---- Completions ---- */

static uint32_t completions_used(struct ring *ring)
{
    uint32_t head = __atomic_load_n(&header(ring)->cq_head, __ATOMIC_ACQUIRE);
    uint32_t used = ring->cq_tail - head;
    return used > ring->cq_entries ? ring->cq_entries : used; /* nonsense from the user: full */
}

static bool has_room(struct ring *ring) REQUIRES(&ring->lock) { return completions_used(ring) + ring->reserved < ring->cq_entries; }

static void push(struct ring *ring, const struct tess_completion *completion) REQUIRES(&ring->lock)
{
    uint32_t slot = ring->cq_tail & (ring->cq_entries - 1);
    struct tess_completion *entry = ring_at(ring, SUBMISSIONS_OFFSET + ENTRY_SIZE * (ring->sq_entries + slot));
    *entry = *completion;
    ring->cq_tail++;
    __atomic_store_n(&header(ring)->cq_tail, ring->cq_tail, __ATOMIC_RELEASE);
}

static void wake(struct ring *ring) REQUIRES(&ring->lock)
{
    struct list_node *node = list_first(&ring->waiter.waiters);
    uint32_t available = completions_used(ring);
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

static void watch_free(struct ring *ring, struct watch *watch) REQUIRES(&ring->lock)
{
    watch->state = WATCH_FREE;
    watch->generation++;
    watch->free_next = ring->watch_free;
    ring->watch_free = watch;
}

/* Moves what waits for room into the completion queue. */
static void flush(struct ring *ring) REQUIRES(&ring->lock)
{
    struct list_node *node;
    while ((node = list_first(&ring->pending)) != nullptr && has_room(ring)) {
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
        push(ring, &completion);
        if (is_timeout || watch->is_dead || !watch->is_multi)
            watch_free(ring, watch);
    }
}

static void make_pending(struct ring *ring, struct watch *watch) REQUIRES(&ring->lock)
{
    if (!watch->is_pending) {
        watch->is_pending = true;
        list_push_back(&ring->pending, &watch->pending_node);
    }
    flush(ring);
    wake(ring);
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

static void timeout_fire(struct timer *timer, uint64_t generation)
{
    struct watch *watch = container_of(timer, struct watch, timer);
    struct ring *ring = watch->ring;
    spinlock_acquire(&ring->lock);
    if (watch->state == WATCH_TIMER && watch->generation == (uint32_t)generation)
        make_pending(ring, watch);
    spinlock_release(&ring->lock);
}

/* ---- Calls ---- */

bool ring_reserve_call(struct ring *ring, bool wants_reply, uint32_t *out_index)
{
    spinlock_acquire(&ring->lock);
    bool is_ok = !ring->is_closed && has_room(ring) && (!wants_reply || ring->call_free != 0);
    if (is_ok) {
        ring->reserved++;
        *out_index = UINT32_MAX;
        if (wants_reply) {
            *out_index = ring->call_free - 1;
            ring->call_free = call_at(ring, *out_index)->free_next;
        }
    } else {
        ring->wants_pump = true;
    }
    spinlock_release(&ring->lock);
    return is_ok;
}

static void call_free(struct ring *ring, uint32_t index) REQUIRES(&ring->lock)
{
    struct ring_call *call = call_at(ring, index);
    call->caller = nullptr;
    call->generation++;
    call->free_next = ring->call_free;
    ring->call_free = index + 1;
}

void ring_unreserve_call(struct ring *ring, uint32_t index)
{
    spinlock_acquire(&ring->lock);
    ring->reserved--;
    if (index != UINT32_MAX)
        call_free(ring, index);
    spinlock_release(&ring->lock);
}

void ring_commit_call(struct ring *ring, uint32_t index, struct thread *caller, uint64_t sequence, uint64_t cookie, uint64_t op,
                      uint64_t badge, const uint64_t words[12])
{
    struct tess_completion completion = {.kind = COMPLETION_CALL, .status = (int32_t)cookie, .badge = badge, .op = op};
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        completion.words[i] = i < op_words(op) || (i >= MESSAGE_HANDLE_WORD && i - MESSAGE_HANDLE_WORD < op_handles(op)) ? words[i] : 0;
    spinlock_acquire(&ring->lock);
    ring->reserved--;
    bool is_lost = ring->is_closed;
    if (!is_lost) {
        if (index != UINT32_MAX) {
            struct ring_call *call = call_at(ring, index);
            object_get(&caller->object);
            call->caller = caller;
            call->sequence = sequence;
            completion.cookie = (uint64_t)call->generation << 32 | (index + 1);
        }
        push(ring, &completion);
        wake(ring);
    }
    spinlock_release(&ring->lock);
    if (is_lost && index != UINT32_MAX && thread_wait_claim(caller, sequence)) {
        thread_wait_finish(caller, ERROR_PEER_DIED);
        sched_ready(caller);
    }
}

bool ring_deliver_badge_gone(struct ring *ring, uint64_t cookie, uint64_t badge)
{
    spinlock_acquire(&ring->lock);
    bool is_ok = !ring->is_closed && has_room(ring);
    if (is_ok) {
        struct tess_completion completion = {.kind = COMPLETION_BADGE_GONE, .cookie = cookie, .badge = badge, .words = {badge}};
        push(ring, &completion);
        wake(ring);
    } else {
        ring->wants_pump = true;
    }
    spinlock_release(&ring->lock);
    return is_ok;
}

status_t ring_reply(struct invocation *inv, struct ring *self)
{
    uint32_t index = (uint32_t)inv->aux - 1, generation = (uint32_t)(inv->aux >> 32);
    if (op_words(inv->op) > MESSAGE_WORDS || op_handles(inv->op) > MESSAGE_HANDLES ||
        (op_handles(inv->op) != 0 && op_words(inv->op) > MESSAGE_HANDLE_WORD))
        return ERROR_BAD_ARGUMENT;
    struct thread *caller = nullptr;
    uint64_t sequence = 0;
    spinlock_acquire(&self->lock);
    if (index < self->call_count) {
        struct ring_call *call = call_at(self, index);
        if (call->generation == generation && call->caller != nullptr) {
            caller = call->caller;
            sequence = call->sequence;
            call_free(self, index);
        }
    }
    bool wants_pump = self->wants_pump;
    spinlock_release(&self->lock);
    if (caller == nullptr)
        return ERROR_NOT_FOUND;
    status_t status = endpoint_reply_to(inv, &caller->object, sequence, false);
    if (wants_pump)
        ring_pump(self); /* a call slot is free again */
    return status;
}

/* Gives messages that found no room another chance. No lock held. */
void ring_pump(struct ring *ring)
{
    uint32_t count = 0;
    spinlock_acquire(&ring->lock);
    ring->wants_pump = false;
    list_for_each (node, &ring->endpoints)
        count++;
    spinlock_release(&ring->lock);
    for (uint32_t i = 0; i < count; i++) {
        spinlock_acquire(&ring->lock);
        struct list_node *node = list_pop_front(&ring->endpoints);
        struct endpoint *endpoint = nullptr;
        if (node != nullptr) {
            list_push_back(&ring->endpoints, node);
            endpoint = container_of(node, struct endpoint, ring_node);
            if (!object_try_get(&endpoint->object))
                endpoint = nullptr;
        }
        spinlock_release(&ring->lock);
        if (endpoint != nullptr) {
            endpoint_pump(endpoint);
            object_put(&endpoint->object);
        }
    }
}

/* ---- Methods ---- */

/* Executes one submission; its completion entry is reserved. */
static void submit_one(struct invocation *inv, struct ring *ring, const struct tess_submission *submission)
{
    struct invocation sub = {.thread = inv->thread,
                             .cspace = inv->cspace,
                             .op = submission->op,
                             .aux = submission->aux,
                             .handle = submission->handle,
                             .is_submitted = true};
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        sub.words[i] = submission->words[i];
    status_t status;
    do
        status = invocation_run(&sub);
    while (status == ERROR_RESTART); /* each time did a part */
    struct tess_completion completion = {.kind = COMPLETION_RESULT, .status = status, .cookie = submission->cookie, .op = submission->op};
    for (uint32_t i = 0; i < sub.out_count && status == OK; i++)
        completion.words[i] = sub.out[i];
    spinlock_acquire(&ring->lock);
    ring->reserved--;
    push(ring, &completion);
    wake(ring); /* another thread may wait while this one submits */
    spinlock_release(&ring->lock);
}

static uint32_t submit_all(struct invocation *inv, struct ring *ring, uint32_t limit)
{
    uint32_t done = 0;
    while (done < limit) {
        spinlock_acquire(&ring->lock);
        uint32_t tail = __atomic_load_n(&header(ring)->sq_tail, __ATOMIC_ACQUIRE);
        uint32_t waiting = tail - ring->sq_head;
        if (waiting == 0 || waiting > ring->sq_entries || !has_room(ring)) {
            spinlock_release(&ring->lock);
            break;
        }
        /* One read of the shared entry: what is checked is what is executed. */
        struct tess_submission submission;
        const volatile uint64_t *from = ring_at(ring, SUBMISSIONS_OFFSET + ENTRY_SIZE * (ring->sq_head & (ring->sq_entries - 1)));
        uint64_t *to = (uint64_t *)&submission;
        for (uint32_t i = 0; i < sizeof(submission) / 8; i++)
            to[i] = from[i];
        ring->sq_head++;
        __atomic_store_n(&header(ring)->sq_head, ring->sq_head, __ATOMIC_RELEASE);
        ring->reserved++;
        spinlock_release(&ring->lock);
        submit_one(inv, ring, &submission);
        done++;
    }
    return done;
}

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
        *out_submitted = submit_all(inv, self, submit);
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
    flush(self);
    wake(self);
    *out_available = completions_used(self);
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

status_t ring_bind(struct invocation *inv, struct ring *self, const struct cap *endpoint, uint64_t cookie)
{
    (void)inv;
    struct endpoint *target = (struct endpoint *)endpoint->object;
    status_t status = OK;
    spinlock_acquire(&target->lock);
    if (!object_is_alive(&target->object)) {
        status = ERROR_STALE_HANDLE; /* its kill has unbound it, or will find it here */
    } else if (endpoint_is_bound_locked(target) || !list_is_empty(&target->receivers.waiters)) {
        status = ERROR_BUSY;
    } else {
        spinlock_acquire(&self->lock);
        if (self->is_closed) {
            status = ERROR_STALE_HANDLE;
        } else {
            list_push_back(&self->endpoints, &target->ring_node);
            target->is_on_ring = true;
            target->ring = self;
            target->ring_cookie = cookie;
        }
        spinlock_release(&self->lock);
    }
    spinlock_release(&target->lock);
    if (status == OK)
        endpoint_pump(target);
    return status;
}

status_t ring_unbind(struct invocation *inv, struct ring *self, const struct cap *endpoint)
{
    (void)inv;
    struct endpoint *target = (struct endpoint *)endpoint->object;
    status_t status = ERROR_NOT_FOUND;
    spinlock_acquire(&target->lock);
    if (target->ring == self) {
        endpoint_unbind_locked(target);
        status = OK;
    }
    spinlock_release(&target->lock);
    return status;
}

static struct watch *watch_take(struct ring *ring, enum watch_state state, uint64_t cookie) REQUIRES(&ring->lock)
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

status_t ring_watch(struct invocation *inv, struct ring *self, uint64_t object, uint64_t mask, uint64_t cookie, uint32_t flags)
{
    struct cap cap;
    if ((flags & ~(uint32_t)(WATCH_MULTI | WATCH_DEATH)) != 0)
        return ERROR_BAD_ARGUMENT;
    status_t status = cspace_lookup(inv->cspace, object, &cap);
    if (status != OK)
        return status;
    if (mask != 0 && cap.object->type != OBJECT_EVENT && cap.object->type != OBJECT_INTERRUPT)
        return ERROR_WRONG_TYPE;
    uint32_t right = mask == 0                          ? RIGHT_WATCH
                     : cap.object->type == OBJECT_EVENT ? RIGHT_WATCH | EVENT_RIGHT_WAIT
                                                        : RIGHT_WATCH | INTERRUPT_RIGHT_HANDLE;
    if ((cap.rights & right) != right)
        return ERROR_MISSING_RIGHT;

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
static void watch_end(struct ring *ring, struct watch *watch) REQUIRES(&ring->lock)
{
    bool is_timer = watch->state == WATCH_TIMER;
    struct object *object = watch->object;
    watch->state = WATCH_CANCELLING;
    /* Before the lock is dropped: flush() frees what it finds on the list. */
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
    spinlock_release(&self->lock);
    return *out_count != 0 ? OK : ERROR_NOT_FOUND;
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
        struct ring_call *call = call_at(ring, i);
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
        struct ring_call *call = call_at(ring, i);
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
    uint64_t bytes = SUBMISSIONS_OFFSET + (uint64_t)ENTRY_SIZE * ((uint64_t)sq_entries + cq_entries);
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
    *header(ring) = (struct tess_ring_header){.sq_entries = sq_entries, .cq_entries = cq_entries};
    return invocation_give(inv, &ring->object, RIGHTS_ALL, out_ring);
}
