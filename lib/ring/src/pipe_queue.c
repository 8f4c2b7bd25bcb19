/*
 * Ordering. A writer fills the bytes, then stores tail with release; a reader loads tail with acquire, copies, then moves head with
 * release; a writer loads head with acquire before it fills those bytes again. A reader that lost the race for head may have copied bytes
 * that were being overwritten: it throws them away. Sleeping is the store-buffer pattern: set the sleeper's bit, fence, look again; and
 * move the index, fence, look at the bit.
 */
#include <ring/pipe_queue.h>
#include <tess/string.h>

constexpr uint32_t SLEEPER = 1, WAKE_UP = 2; /* in readable and writable */

static uint32_t smaller(uint64_t a, uint32_t b) { return a < b ? (uint32_t)a : b; }

size_t pipe_queue_memory_size(uint32_t size)
{
    bool is_valid = size >= PIPE_QUEUE_BYTES_MIN && size <= PIPE_QUEUE_BYTES_MAX && (size & (size - 1)) == 0;
    return is_valid ? (size_t)PIPE_QUEUE_HEADER_BYTES + size : 0;
}

void pipe_queue_init(void *base, uint32_t size)
{
    struct pipe_queue_header *header = base;
    header->size = size;
}

bool pipe_queue_attach(struct pipe_queue *q, void *base, size_t memory_size)
{
    if (memory_size < PIPE_QUEUE_HEADER_BYTES || memory_size - PIPE_QUEUE_HEADER_BYTES > PIPE_QUEUE_BYTES_MAX ||
        pipe_queue_memory_size((uint32_t)(memory_size - PIPE_QUEUE_HEADER_BYTES)) == 0)
        return false;
    *q = (struct pipe_queue){
        .header = base, .data = (uint8_t *)base + PIPE_QUEUE_HEADER_BYTES, .size = (uint32_t)(memory_size - PIPE_QUEUE_HEADER_BYTES)};
    return true;
}

/* A head, and a tail loaded after it: tail - head <= size. A head that others have moved on meanwhile does no harm: a reader's compare-and-swap
 * tells, and a writer sees less room than there is. False: the header says what cannot be. */
static bool load_indices(const struct pipe_queue *q, uint64_t *out_head, uint64_t *out_tail)
{
    uint64_t head = atomic_load_explicit(&q->header->head, memory_order_acquire);
    for (uint32_t i = 0; i < 1u << 16; i++) { /* no honest crowd is faster so often in turn */
        *out_head = head;
        *out_tail = atomic_load_explicit(&q->header->tail, memory_order_acquire);
        if (*out_tail - head <= q->size)
            return true;
        head = atomic_load_explicit(&q->header->head, memory_order_acquire);
        if (head == *out_head)
            return false;
    }
    return false;
}

static void fill_spans(const struct pipe_queue *q, uint64_t index, uint32_t count, struct pipe_queue_span spans[2])
{
    uint32_t offset = (uint32_t)index & (q->size - 1), first = smaller(count, q->size - offset);
    spans[0] = (struct pipe_queue_span){.data = q->data + offset, .size = first};
    spans[1] = (struct pipe_queue_span){.data = q->data, .size = count - first};
}

/* ---- Reading ---- */

enum pipe_queue_result pipe_queue_read_begin(const struct pipe_queue *q, uint64_t wanted, struct pipe_queue_read *out_read)
{
    uint64_t tail;
    /* Before the indices: writers that are gone had written everything before. */
    uint32_t ends = pipe_queue_ends(q);
    if (!load_indices(q, &out_read->head, &tail))
        return PIPE_QUEUE_BROKEN;
    if (tail == out_read->head)
        return ends & PIPE_QUEUE_NO_WRITERS ? PIPE_QUEUE_ENDED : PIPE_QUEUE_EMPTY;
    out_read->size = smaller(wanted, (uint32_t)(tail - out_read->head));
    fill_spans(q, out_read->head, out_read->size, out_read->spans);
    return PIPE_QUEUE_OK;
}

enum pipe_queue_result pipe_queue_read_finish(const struct pipe_queue *q, const struct pipe_queue_read *read, uint32_t count)
{
    uint64_t head = read->head;
    bool is_taken = atomic_compare_exchange_strong_explicit(&q->header->head, &head, head + smaller(count, read->size),
                                                            memory_order_acq_rel, memory_order_relaxed);
    return is_taken ? PIPE_QUEUE_OK : PIPE_QUEUE_AGAIN;
}

/* Of bytes that a writer may be changing: see the top. ThreadSanitizer cannot know that they are thrown away then. */
#if __has_feature(thread_sanitizer)
[[clang::noinline, clang::no_sanitize("thread")]] static void copy_out(uint8_t *to, const volatile uint8_t *from, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        to[i] = from[i];
}
#else
static void copy_out(uint8_t *to, const uint8_t *from, uint32_t size) { memcpy(to, from, size); }
#endif

enum pipe_queue_result pipe_queue_read(const struct pipe_queue *q, void *to, uint64_t size, uint32_t *out_count)
{
    *out_count = 0;
    if (size == 0)
        return PIPE_QUEUE_OK;
    struct pipe_queue_read read;
    enum pipe_queue_result result;
    do {
        result = pipe_queue_read_begin(q, size, &read);
        if (result != PIPE_QUEUE_OK)
            return result;
        copy_out(to, read.spans[0].data, read.spans[0].size);
        copy_out((uint8_t *)to + read.spans[0].size, read.spans[1].data, read.spans[1].size);
        result = pipe_queue_read_finish(q, &read, read.size);
    } while (result == PIPE_QUEUE_AGAIN);
    *out_count = read.size;
    return result;
}

/* ---- Writing ---- */

enum pipe_queue_result pipe_queue_lock(const struct pipe_queue *q, uint32_t thread_id)
{
    uint32_t free = 0;
    bool is_mine = atomic_compare_exchange_strong_explicit(&q->header->lock, &free, thread_id & PIPE_QUEUE_OWNER, memory_order_acquire,
                                                           memory_order_relaxed);
    return is_mine ? PIPE_QUEUE_OK : PIPE_QUEUE_LOCKED;
}

bool pipe_queue_unlock(const struct pipe_queue *q, uint32_t thread_id)
{
    uint32_t mine = thread_id & PIPE_QUEUE_OWNER;
    /* Anything else than ours alone is the kernel's to decide: waiters, or a word that somebody wrote over (then it refuses). */
    return !atomic_compare_exchange_strong_explicit(&q->header->lock, &mine, 0, memory_order_release, memory_order_relaxed);
}

enum pipe_queue_result pipe_queue_reserve(const struct pipe_queue *q, uint64_t wanted, struct pipe_queue_write *out_write)
{
    if (pipe_queue_ends(q) & PIPE_QUEUE_NO_READERS)
        return PIPE_QUEUE_ENDED;
    uint64_t head;
    if (!load_indices(q, &head, &out_write->tail))
        return PIPE_QUEUE_BROKEN;
    uint64_t room = q->size - (out_write->tail - head);
    if (room == 0 || (wanted <= PIPE_QUEUE_ATOMIC && wanted > room))
        return PIPE_QUEUE_FULL;
    out_write->size = smaller(wanted, (uint32_t)room);
    fill_spans(q, out_write->tail, out_write->size, out_write->spans);
    return PIPE_QUEUE_OK;
}

void pipe_queue_publish(const struct pipe_queue *q, const struct pipe_queue_write *write, uint32_t count)
{
    atomic_store_explicit(&q->header->tail, write->tail + smaller(count, write->size), memory_order_release);
}

enum pipe_queue_result pipe_queue_write(const struct pipe_queue *q, uint32_t thread_id, const void *from, uint64_t size,
                                        uint32_t *out_count, bool *out_wake_lock)
{
    *out_count = 0;
    *out_wake_lock = false;
    if (size == 0)
        return PIPE_QUEUE_OK;
    enum pipe_queue_result result = pipe_queue_lock(q, thread_id);
    if (result != PIPE_QUEUE_OK)
        return result;
    struct pipe_queue_write write;
    result = pipe_queue_reserve(q, size, &write);
    if (result == PIPE_QUEUE_OK) {
        memcpy(write.spans[0].data, from, write.spans[0].size);
        memcpy(write.spans[1].data, (const uint8_t *)from + write.spans[0].size, write.spans[1].size);
        pipe_queue_publish(q, &write, write.size);
        *out_count = write.size;
    }
    *out_wake_lock = pipe_queue_unlock(q, thread_id);
    return result;
}

/* ---- Readiness, sleeping ---- */

uint32_t pipe_queue_ends(const struct pipe_queue *q) { return atomic_load_explicit(&q->header->ends, memory_order_acquire); }

uint32_t pipe_queue_readable(const struct pipe_queue *q)
{
    uint64_t head, tail;
    return load_indices(q, &head, &tail) ? (uint32_t)(tail - head) : 0;
}

bool pipe_queue_is_readable(const struct pipe_queue *q)
{
    uint32_t ends = pipe_queue_ends(q);
    uint64_t head, tail;
    return !load_indices(q, &head, &tail) || tail != head || (ends & PIPE_QUEUE_NO_WRITERS) != 0;
}

static bool has_room(const struct pipe_queue *q, uint32_t room)
{
    uint64_t head, tail;
    return (pipe_queue_ends(q) & PIPE_QUEUE_NO_READERS) != 0 || !load_indices(q, &head, &tail) || q->size - (tail - head) >= room;
}

bool pipe_queue_is_writable(const struct pipe_queue *q) { return has_room(q, PIPE_QUEUE_ATOMIC); }

/* Says that somebody sleeps: gives the word's value to sleep on. */
static uint32_t announce(_Atomic uint32_t *word)
{
    uint32_t value = atomic_fetch_or_explicit(word, SLEEPER, memory_order_relaxed) | SLEEPER;
    atomic_thread_fence(memory_order_seq_cst);
    return value;
}

bool pipe_queue_prepare_read_wait(const struct pipe_queue *q, uint32_t *out_value)
{
    *out_value = announce(&q->header->readable);
    return !pipe_queue_is_readable(q); /* the bit may stay: one wake too many */
}

bool pipe_queue_prepare_write_wait(const struct pipe_queue *q, uint32_t room, uint32_t *out_value)
{
    *out_value = announce(&q->header->writable);
    /* No more than what a wake waits for, else it might never come. */
    return !has_room(q, smaller(room == 0 ? 1 : room, PIPE_QUEUE_ATOMIC));
}

static bool should_wake(_Atomic uint32_t *word)
{
    atomic_thread_fence(memory_order_seq_cst); /* the index before the bit; see the top */
    uint32_t value = atomic_load_explicit(word, memory_order_relaxed);
    /* When it changes under us another one wakes, for this too: the value it saw was set before. */
    return (value & SLEEPER) != 0 &&
           atomic_compare_exchange_strong_explicit(word, &value, (value & ~SLEEPER) + WAKE_UP, memory_order_relaxed, memory_order_relaxed);
}

bool pipe_queue_should_wake_readers(const struct pipe_queue *q) { return should_wake(&q->header->readable); }

bool pipe_queue_should_wake_writers(const struct pipe_queue *q)
{
    return has_room(q, PIPE_QUEUE_ATOMIC) && should_wake(&q->header->writable);
}

/* ---- For posixd ---- */

static bool count_wake(_Atomic uint32_t *word)
{
    /* The bit stays: who just set it may not sleep yet, and then finds another value. */
    return atomic_fetch_add_explicit(word, WAKE_UP, memory_order_seq_cst) != 0;
}

void pipe_queue_end(const struct pipe_queue *q, uint32_t ends)
{
    atomic_fetch_or_explicit(&q->header->ends, ends, memory_order_seq_cst);
    count_wake(&q->header->readable);
    count_wake(&q->header->writable);
}

bool pipe_queue_mend(const struct pipe_queue *q, uint32_t *out_holder)
{
    *out_holder = atomic_load_explicit(&q->header->lock, memory_order_relaxed) & PIPE_QUEUE_OWNER;
    bool has_slept = atomic_load_explicit(&q->header->readable, memory_order_relaxed) != 0 ||
                     atomic_load_explicit(&q->header->writable, memory_order_relaxed) != 0;
    if (has_slept) {
        count_wake(&q->header->readable);
        count_wake(&q->header->writable);
    }
    return has_slept;
}
