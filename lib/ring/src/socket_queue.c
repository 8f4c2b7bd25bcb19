/*
 * Ordering. Data bytes are written before the tail that covers them is stored with release, and read after it was loaded with
 * acquire; the same for heads, so that space is reused only after it was read. Sleeping is the store-buffer pattern (write my
 * word, then read yours): both sides put a sequentially consistent fence between the two, so at least one of them sees the
 * other's word and no wake-up is lost.
 */
#include <ring/socket_queue.h>
#include <tess/string.h>

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

static bool is_size_valid(uint32_t bytes)
{
    return bytes >= SOCKET_QUEUE_BYTES_MIN && bytes <= SOCKET_QUEUE_BYTES_MAX && (bytes & (bytes - 1)) == 0;
}

size_t socket_queue_memory_size(uint32_t rx_bytes, uint32_t tx_bytes)
{
    if (!is_size_valid(rx_bytes) || !is_size_valid(tx_bytes)) {
        return 0;
    }
    return (size_t)SOCKET_QUEUE_HEADER_BYTES + rx_bytes + tx_bytes;
}

bool socket_queue_attach(struct socket_queue *q, void *base, size_t memory_size, uint32_t rx_bytes, uint32_t tx_bytes,
                         enum socket_queue_role role)
{
    size_t needed = socket_queue_memory_size(rx_bytes, tx_bytes);
    if (needed == 0 || memory_size < needed || (uintptr_t)base % alignof(struct socket_queue_header) != 0) {
        return false;
    }
    struct socket_queue_header *header = base;
    uint8_t *rx = (uint8_t *)base + SOCKET_QUEUE_HEADER_BYTES;
    uint8_t *tx = rx + rx_bytes;
    bool is_client = role == SOCKET_QUEUE_CLIENT;
    *q = (struct socket_queue){
        .header = header,
        .in_data = is_client ? rx : tx,
        .out_data = is_client ? tx : rx,
        .in_size = is_client ? rx_bytes : tx_bytes,
        .out_size = is_client ? tx_bytes : rx_bytes,
        .in_tail_shared = is_client ? &header->rx_tail : &header->tx_tail,
        .in_head_shared = is_client ? &header->rx_head : &header->tx_head,
        .out_tail_shared = is_client ? &header->tx_tail : &header->rx_tail,
        .out_head_shared = is_client ? &header->tx_head : &header->rx_head,
        .own_wants = is_client ? &header->client_wants : &header->service_wants,
        .peer_wants = is_client ? &header->service_wants : &header->client_wants,
        .role = role,
    };
    return true;
}

bool socket_queue_init(struct socket_queue *q, void *base, size_t memory_size, uint32_t rx_bytes, uint32_t tx_bytes)
{
    if (!socket_queue_attach(q, base, memory_size, rx_bytes, tx_bytes, SOCKET_QUEUE_CLIENT)) {
        return false;
    }
    memset(base, 0, SOCKET_QUEUE_HEADER_BYTES);
    return true;
}

/* Bytes between two indices, or 0 with the queue marked broken when the peer's index cannot be true. */
static uint32_t checked_used(struct socket_queue *q, uint32_t tail, uint32_t head, uint32_t size)
{
    uint32_t used = tail - head;
    if (used > size) {
        q->is_broken = true;
        return 0;
    }
    return used;
}

uint32_t socket_queue_readable(struct socket_queue *q)
{
    if (q->is_broken) {
        return 0;
    }
    uint32_t tail = atomic_load_explicit(q->in_tail_shared, memory_order_acquire);
    return checked_used(q, tail, q->in_head, q->in_size);
}

uint32_t socket_queue_writable(struct socket_queue *q)
{
    if (q->is_broken) {
        return 0;
    }
    uint32_t head = atomic_load_explicit(q->out_head_shared, memory_order_acquire);
    uint32_t used = checked_used(q, q->out_tail, head, q->out_size);
    return q->is_broken ? 0 : q->out_size - used;
}

static void fill_spans(uint8_t *data, uint32_t size, uint32_t index, uint32_t count, struct socket_queue_span spans[2])
{
    uint32_t offset = index & (size - 1);
    uint32_t first = smaller(count, size - offset);
    spans[0] = (struct socket_queue_span){.data = data + offset, .size = first};
    spans[1] = (struct socket_queue_span){.data = data, .size = count - first};
}

uint32_t socket_queue_peek(struct socket_queue *q, struct socket_queue_span out_spans[2])
{
    uint32_t count = socket_queue_readable(q);
    fill_spans(q->in_data, q->in_size, q->in_head, count, out_spans);
    return count;
}

uint32_t socket_queue_reserve(struct socket_queue *q, struct socket_queue_span out_spans[2])
{
    uint32_t count = socket_queue_writable(q);
    fill_spans(q->out_data, q->out_size, q->out_tail, count, out_spans);
    return count;
}

uint32_t socket_queue_consume(struct socket_queue *q, uint32_t size)
{
    uint32_t count = smaller(size, socket_queue_readable(q));
    if (count > 0) {
        q->in_head += count;
        q->did_read = true;
        atomic_store_explicit(q->in_head_shared, q->in_head, memory_order_release);
    }
    return count;
}

uint32_t socket_queue_commit(struct socket_queue *q, uint32_t size)
{
    uint32_t count = smaller(size, socket_queue_writable(q));
    if (count > 0) {
        q->out_tail += count;
        q->did_write = true;
        atomic_store_explicit(q->out_tail_shared, q->out_tail, memory_order_release);
    }
    return count;
}

uint32_t socket_queue_read(struct socket_queue *q, void *buffer, uint32_t size)
{
    struct socket_queue_span spans[2];
    socket_queue_peek(q, spans);
    uint32_t first = smaller(size, spans[0].size);
    uint32_t second = smaller(size - first, spans[1].size);
    memcpy(buffer, spans[0].data, first);
    memcpy((uint8_t *)buffer + first, spans[1].data, second);
    return socket_queue_consume(q, first + second);
}

uint32_t socket_queue_write(struct socket_queue *q, const void *data, uint32_t size)
{
    struct socket_queue_span spans[2];
    socket_queue_reserve(q, spans);
    uint32_t first = smaller(size, spans[0].size);
    uint32_t second = smaller(size - first, spans[1].size);
    memcpy(spans[0].data, data, first);
    memcpy(spans[1].data, (const uint8_t *)data + first, second);
    return socket_queue_commit(q, first + second);
}

static uint32_t load_state(const struct socket_queue *q)
{
    uint32_t state = atomic_load_explicit(&q->header->state, memory_order_acquire);
    return q->is_broken || state > SOCKET_QUEUE_FAILED ? SOCKET_QUEUE_FAILED : state;
}

enum socket_queue_state socket_queue_state(struct socket_queue *q)
{
    q->seen_state = load_state(q);
    return q->seen_state;
}

int32_t socket_queue_error(struct socket_queue *q) { return atomic_load_explicit(&q->header->error, memory_order_relaxed); }

void socket_queue_set_state(struct socket_queue *q, enum socket_queue_state state, int32_t error)
{
    atomic_store_explicit(&q->header->error, error, memory_order_relaxed);
    /* Release: the error word, and through the release store of rx_tail before it all bytes, come first. */
    atomic_store_explicit(&q->header->state, state, memory_order_release);
    q->did_change_state = true;
}

static bool is_something_ready(struct socket_queue *q, uint32_t wants)
{
    if (q->is_broken) {
        return true;
    }
    bool is_ready = ((wants & SOCKET_QUEUE_WANT_READABLE) && socket_queue_readable(q) > 0) ||
                    ((wants & SOCKET_QUEUE_WANT_WRITABLE) && socket_queue_writable(q) >= q->out_size / 2) ||
                    ((wants & SOCKET_QUEUE_WANT_STATE) && load_state(q) != q->seen_state);
    return is_ready || q->is_broken;
}

bool socket_queue_prepare_wait(struct socket_queue *q, uint32_t wants)
{
    atomic_store_explicit(q->own_wants, wants, memory_order_relaxed);
    /* The peer writes its index, then reads our wish; we write the wish, then read its index. See the top of the file. */
    atomic_thread_fence(memory_order_seq_cst);
    if (is_something_ready(q, wants)) {
        socket_queue_cancel_wait(q);
        return false;
    }
    return true;
}

void socket_queue_cancel_wait(struct socket_queue *q) { atomic_store_explicit(q->own_wants, 0, memory_order_relaxed); }

bool socket_queue_should_wake(struct socket_queue *q)
{
    if (!q->did_write && !q->did_read && !q->did_change_state) {
        return false;
    }
    atomic_thread_fence(memory_order_seq_cst); /* indices before the wish; see the top of the file */
    uint32_t hit = 0;
    if (q->did_write) {
        hit |= SOCKET_QUEUE_WANT_READABLE;
        q->did_write = false;
    }
    if (q->did_change_state) {
        hit |= SOCKET_QUEUE_WANT_STATE | SOCKET_QUEUE_WANT_READABLE | SOCKET_QUEUE_WANT_WRITABLE;
        q->did_change_state = false;
    }
    if (q->did_read && socket_queue_readable(q) <= q->in_size / 2) {
        hit |= SOCKET_QUEUE_WANT_WRITABLE;
        q->did_read = false;
    }
    uint32_t wanted = atomic_load_explicit(q->peer_wants, memory_order_relaxed);
    if ((wanted & hit) == 0) {
        return false;
    }
    /* One doorbell serves all wishes, and taking them away keeps us from ringing again while the peer wakes up. The peer may
     * have changed its wish since the load above: whatever was taken away is paid for with a ring. */
    return atomic_exchange_explicit(q->peer_wants, 0, memory_order_relaxed) != 0;
}
