/*
 * Submissions: each is read once from the shared queue, checked as a system call is, and executed by the thread that entered. A method
 * is bounded and completes at once, or (blocking, and calls) it may have to wait: then an operation's record, taken before it begins,
 * waits instead of the thread. Those that act on the thread that makes them (receive, reply, enter) are refused.
 */
#include "ring.h"
#include <arch/arch.h>
#include <kernel/sched.h>

/* What a submission says, besides the words. */
struct request {
    uint64_t cookie, link_cookie, link_at_ns;
    bool is_linked, is_link_bad; /* the flag is set, but no timeout follows */
};

/* What was checked, until it is done or waits: each time it asks to be made again it did a part. */
static status_t run_checked(struct invocation *sub)
{
    status_t status;
    bool may_wait;
    while ((status = invocation_run(sub)) == ERROR_RESTART)
        if ((status = invocation_check(sub, &may_wait)) != OK)
            break;
    return status;
}

/* With a record: it may wait, or a timeout came with it. True when it waits, or its completion is on its way. */
static bool run_with_record(struct invocation *sub, struct ring *ring, const struct request *request, status_t *out_status)
{
    struct operation *operation = operation_take(ring);
    if (operation == nullptr) {
        *out_status = ERROR_NO_SPACE;
        return false;
    }
    operation->cookie = request->cookie;
    operation->link_cookie = request->link_cookie;
    operation->is_linked = request->is_linked;
    operation->is_link_due = request->is_linked && request->link_at_ns < sub->aux;
    if (operation->is_link_due)
        sub->aux = request->link_at_ns;
    operation->deadline_ns = sub->aux;
    operation->op = sub->op;
    operation->awaits = nullptr;
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        operation->words[i] = sub->words[i];
    sub->operation = operation;
    uint64_t sequence = (atomic_load(&operation->wait_word) >> 8) + 1;
    status_t status = run_checked(sub);
    sub->operation = nullptr;
    *out_status = status;
    if (status == STATUS_BLOCKED) {
        /* The ring's end looks at the operations after it has closed the ring: one of the two sees the other. */
        atomic_thread_fence(memory_order_seq_cst);
        if (peek(ring->is_closed))
            (void)operation_cancel(operation, sequence, ERROR_CANCELLED);
        return true;
    }
    operation->deadline_ns = DEADLINE_INFINITE; /* no timer runs */
    if (request->is_linked) {
        operation->op = (sub->op & 0xFFFF) | (uint64_t)sub->out_count << 16;
        for (uint32_t i = 0; i < sub->out_count; i++)
            operation->words[i] = sub->out[i];
        operation_finish(operation, status);
        return true;
    }
    spinlock_acquire(&ring->lock);
    operation_free(ring, operation);
    spinlock_release(&ring->lock);
    return false;
}

/* Executes one submission. True: its completion comes without us. */
static bool run(struct invocation *sub, struct ring *ring, const struct request *request, status_t *out_status)
{
    bool may_wait;
    status_t status = invocation_check(sub, &may_wait);
    if (status == OK && (may_wait || request->is_linked))
        return run_with_record(sub, ring, request, out_status);
    *out_status = status == OK ? run_checked(sub) : status;
    return false;
}

static const volatile uint64_t *entry_at(struct ring *ring, uint32_t index)
{
    return ring_at(ring, RING_SUBMISSIONS_OFFSET + RING_ENTRY_SIZE * (index & (ring->sq_entries - 1)));
}

/* Reads a submission, and the timeout linked to it; the number of entries taken. What is checked is what is executed: each of its words
 * is read once. Of the queue's user side only sq_tail is looked at, before. */
static uint32_t read_request(struct ring *ring, uint32_t index, uint32_t limit, uint64_t op, struct invocation *sub,
                             struct request *request)
{
    const volatile uint64_t *entry = entry_at(ring, index);
    request->cookie = entry[1];
    request->is_linked = request->is_link_bad = false;
    sub->op = op & ~(uint64_t)SUBMIT_LINK_TIMEOUT;
    sub->out_count = 0;
    sub->handle = entry[2];
    sub->aux = entry[3];
    uint32_t words = op_words(op);
    for (uint32_t i = 0; i < words && i < MESSAGE_WORDS; i++)
        sub->copied[i] = entry[4 + i];
    for (uint32_t i = 0; i < op_handles(op) && i < MESSAGE_HANDLES; i++)
        sub->copied[MESSAGE_HANDLE_WORD + i] = entry[4 + MESSAGE_HANDLE_WORD + i];
    if (!(op & SUBMIT_LINK_TIMEOUT))
        return 1;
    entry = entry_at(ring, index + 1);
    request->is_linked = limit > 1 && (entry[0] & 0xFFFFFFFF) == OP_RING_TIMEOUT;
    request->is_link_bad = !request->is_linked;
    if (!request->is_linked)
        return 1;
    request->link_at_ns = entry[4];
    request->link_cookie = entry[5];
    return 2;
}

/* The next completion, but for its words: there is room for it. */
static inline struct tess_completion *push_result(struct ring *ring, uint64_t op, uint64_t cookie, status_t status) REQUIRES(&ring->lock)
{
    uint32_t slot = ring->cq_tail & (ring->cq_entries - 1);
    struct tess_completion *entry = ring_at(ring, RING_SUBMISSIONS_OFFSET + RING_ENTRY_SIZE * (ring->sq_entries + slot));
    entry->kind = COMPLETION_RESULT;
    entry->status = status;
    entry->cookie = cookie;
    entry->badge = 0;
    entry->op = op;
    return entry;
}

static inline void result_pushed(struct ring *ring) REQUIRES(&ring->lock)
{
    ring->cq_tail++;
    __atomic_store_n(&ring_header(ring)->cq_tail, ring->cq_tail, __ATOMIC_RELEASE);
}

/* How many entries wait and have room for their completions. */
static uint32_t ready_count(struct ring *ring, uint32_t limit) REQUIRES(&ring->lock)
{
    uint32_t waiting = __atomic_load_n(&ring_header(ring)->sq_tail, __ATOMIC_ACQUIRE) - ring->sq_head;
    uint32_t taken = ring_completions_used(ring) + ring->reserved;
    if (waiting > ring->sq_entries || taken >= ring->cq_entries) /* nonsense from the user, or full */
        return 0;
    return min_u32(limit, min_u32(waiting, ring->cq_entries - taken));
}

static void head_set(struct ring *ring, uint32_t head) REQUIRES(&ring->lock)
{
    peekable_set(ring->sq_head, head);
    __atomic_store_n(&ring_header(ring)->sq_head, head, __ATOMIC_RELEASE);
}

/* One submission, whose completion has an entry; the number of entries taken. The lock is dropped meanwhile. */
static uint32_t submit_one(struct ring *ring, uint32_t head, uint32_t limit, uint64_t op, struct invocation *sub) REQUIRES(&ring->lock)
{
    struct request request;
    uint32_t taken = read_request(ring, head, limit, op, sub, &request);
    status_t status = ERROR_BAD_ARGUMENT;
    bool is_elsewhere = false;
    if (!request.is_link_bad) {
        head_set(ring, head + taken);
        spinlock_release(&ring->lock);
        is_elsewhere = run(sub, ring, &request, &status);
        arch_irq_poll();
        spinlock_acquire(&ring->lock);
    }
    ring->reserved -= taken;
    if (is_elsewhere) {
        (void)ring_flush(ring); /* it may have found the room that was only promised */
        return taken;
    }
    uint32_t count = status == OK ? sub->out_count : 0;
    struct tess_completion *entry = push_result(ring, (sub->op & 0xFFFF) | (uint64_t)count << 16, request.cookie, status);
    for (uint32_t i = 0; i < count; i++)
        entry->words[i] = sub->out[i];
    result_pushed(ring);
    return taken;
}

uint32_t ring_submit_all(struct invocation *inv, struct ring *ring, uint32_t limit)
{
    struct invocation sub = {.thread = inv->thread, .cspace = inv->cspace, .is_submitted = true, .words = sub.copied};
    uint32_t done = 0;
    spinlock_acquire(&ring->lock);
    for (uint32_t ready; (ready = ready_count(ring, limit - done)) != 0;) {
        ring->reserved += ready; /* an entry each, for those that complete at once */
        uint32_t head = ring->sq_head;
        for (uint32_t end = head + ready; head != end;) {
            const volatile uint64_t *entry = entry_at(ring, head);
            uint64_t op = entry[0];
            if (op != 0) {
                head += submit_one(ring, head, end - head, op, &sub);
                continue;
            }
            head++; /* nothing to do */
            ring->reserved--;
            (void)push_result(ring, 0, entry[1], OK);
            result_pushed(ring);
            if (head % 64 == 0)
                ring_pause(ring);
        }
        done += ready;
        head_set(ring, head);
    }
    ring_wake(ring); /* another thread may wait while this one submits */
    spinlock_release(&ring->lock);
    return done;
}
