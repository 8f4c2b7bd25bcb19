/*
 * Ordering is that of socket_queue.c: descriptors and frames before the tail (release/acquire), and a sequentially consistent
 * fence between "my index" and "your wish" on both sides.
 *
 * Every ring has as many entries as there are buffers, and each side holds a buffer at most once (the bitmaps), so between
 * honest peers no put can find its ring full; a full ring is a peer that does not consume, and the put is refused.
 */
#include <ring/frame_queue.h>
#include <tess/string.h>

static constexpr size_t PAGE = 4096;

static size_t rings_bytes(uint32_t count) { return ((size_t)count * 4 * sizeof(uint32_t) + PAGE - 1) & ~(PAGE - 1); }

size_t frame_queue_memory_size(uint32_t count)
{
    if (count < FRAME_QUEUE_COUNT_MIN || count > FRAME_QUEUE_COUNT_MAX || (count & (count - 1)) != 0) {
        return 0;
    }
    return FRAME_QUEUE_HEADER_BYTES + rings_bytes(count) + (size_t)count * 2 * FRAME_QUEUE_BUFFER_BYTES;
}

size_t frame_queue_rx_offset(const struct frame_queue *q, uint16_t buffer)
{
    return (size_t)(frame_queue_rx_data(q, buffer) - (uint8_t *)q->header);
}

size_t frame_queue_tx_offset(const struct frame_queue *q, uint16_t buffer)
{
    return (size_t)(frame_queue_tx_data(q, buffer) - (uint8_t *)q->header);
}

static bool is_held(const uint64_t *held, uint32_t buffer) { return (held[buffer / 64] >> (buffer % 64)) & 1; }

static void set_held(uint64_t *held, uint32_t buffer) { held[buffer / 64] |= UINT64_C(1) << (buffer % 64); }

static void clear_held(uint64_t *held, uint32_t buffer) { held[buffer / 64] &= ~(UINT64_C(1) << (buffer % 64)); }

/* Entries the peer has put and we have not taken; 0 with the queue marked broken when its tail cannot be true. */
static uint32_t ring_ready(struct frame_queue *q, const struct frame_ring *ring)
{
    if (q->is_broken) {
        return 0;
    }
    uint32_t ready = atomic_load_explicit(ring->peer, memory_order_acquire) - ring->index;
    if (ready > q->count) {
        q->is_broken = true;
        return 0;
    }
    return ready;
}

static bool ring_has_room(struct frame_queue *q, const struct frame_ring *ring)
{
    if (q->is_broken) {
        return false;
    }
    uint32_t used = ring->index - atomic_load_explicit(ring->peer, memory_order_acquire);
    if (used > q->count) {
        q->is_broken = true;
        return false;
    }
    return used < q->count;
}

static void ring_put(struct frame_queue *q, struct frame_ring *ring, uint16_t buffer, uint16_t length, uint32_t want)
{
    uint32_t word = buffer | (uint32_t)length << 16;
    atomic_store_explicit(&ring->entries[ring->index & (q->count - 1)], word, memory_order_relaxed);
    ring->index++;
    atomic_store_explicit(ring->own, ring->index, memory_order_release);
    q->did_put |= want;
}

/* Takes entries until one names a buffer that really changes hands: in range and not already held. */
static bool ring_take(struct frame_queue *q, struct frame_ring *ring, uint64_t *held, struct frame_descriptor *out)
{
    bool is_found = false;
    uint32_t first = ring->index;
    for (uint32_t ready = ring_ready(q, ring); ready > 0 && !is_found; ready--) {
        uint32_t word = atomic_load_explicit(&ring->entries[ring->index & (q->count - 1)], memory_order_relaxed);
        ring->index++;
        *out = (struct frame_descriptor){.buffer = (uint16_t)word, .length = (uint16_t)(word >> 16)};
        is_found = out->buffer < q->count && !is_held(held, out->buffer) && out->length <= FRAME_QUEUE_FRAME_MAX;
        q->violations += !is_found;
    }
    if (is_found) {
        set_held(held, out->buffer);
    }
    if (ring->index != first) {
        atomic_store_explicit(ring->own, ring->index, memory_order_release);
    }
    return is_found;
}

static void ring_setup(struct frame_ring *ring, _Atomic uint32_t *entries, _Atomic uint32_t *own, _Atomic uint32_t *peer)
{
    *ring = (struct frame_ring){.entries = entries, .own = own, .peer = peer};
}

static void view_setup(struct frame_queue *q, void *base, uint32_t count, bool is_client)
{
    memset(q, 0, sizeof(*q));
    struct frame_queue_header *header = base;
    struct frame_queue_line *own = is_client ? &header->client : &header->driver;
    struct frame_queue_line *peer = is_client ? &header->driver : &header->client;
    _Atomic uint32_t *entries = (void *)((uint8_t *)base + FRAME_QUEUE_HEADER_BYTES);
    q->header = header;
    q->count = count;
    q->rx_buffers = (uint8_t *)base + FRAME_QUEUE_HEADER_BYTES + rings_bytes(count);
    q->tx_buffers = q->rx_buffers + (size_t)count * FRAME_QUEUE_BUFFER_BYTES;
    q->own_wants = &own->wants;
    q->peer_wants = &peer->wants;
    ring_setup(&q->rx_free, entries, &own->rx_free, &peer->rx_free);
    ring_setup(&q->rx_done, entries + count, &own->rx_done, &peer->rx_done);
    ring_setup(&q->tx_ready, entries + 2 * (size_t)count, &own->tx_ready, &peer->tx_ready);
    ring_setup(&q->tx_done, entries + 3 * (size_t)count, &own->tx_done, &peer->tx_done);
}

bool frame_queue_init(struct frame_queue *q, void *base, size_t memory_size, uint32_t count)
{
    size_t needed = frame_queue_memory_size(count);
    if (needed == 0 || memory_size < needed || (uintptr_t)base % alignof(struct frame_queue_header) != 0) {
        return false;
    }
    memset(base, 0, FRAME_QUEUE_HEADER_BYTES);
    view_setup(q, base, count, true);
    atomic_store_explicit(&q->header->count, count, memory_order_relaxed);
    atomic_store_explicit(&q->header->magic, FRAME_QUEUE_MAGIC, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        set_held(q->rx_held, i);
        set_held(q->tx_held, i);
        frame_queue_rx_give(q, (uint16_t)i);
        q->tx_spare[i] = (uint16_t)(count - 1 - i); /* a stack: buffer 0 first */
    }
    q->tx_spare_count = count;
    return true;
}

bool frame_queue_attach(struct frame_queue *q, void *base, size_t memory_size)
{
    struct frame_queue_header *header = base;
    if (memory_size < FRAME_QUEUE_HEADER_BYTES || (uintptr_t)base % alignof(struct frame_queue_header) != 0) {
        return false;
    }
    uint32_t count = atomic_load_explicit(&header->count, memory_order_relaxed);
    size_t needed = frame_queue_memory_size(count);
    if (atomic_load_explicit(&header->magic, memory_order_relaxed) != FRAME_QUEUE_MAGIC || needed == 0 || memory_size < needed) {
        return false;
    }
    view_setup(q, base, count, false);
    return true;
}

bool frame_queue_rx_take(struct frame_queue *q, struct frame *out_frame)
{
    struct frame_descriptor d;
    /* Bounded: a hostile driver on another CPU could go on for ever returning buffers unused. */
    for (uint32_t i = 0; i < q->count && ring_take(q, &q->rx_done, q->rx_held, &d); i++) {
        if (d.length > 0) {
            *out_frame = (struct frame){.data = frame_queue_rx_data(q, d.buffer), .buffer = d.buffer, .length = d.length};
            return true;
        }
        if (!frame_queue_rx_give(q, d.buffer)) { /* unused: straight back */
            return false;
        }
    }
    return false;
}

bool frame_queue_rx_give(struct frame_queue *q, uint16_t buffer)
{
    if (buffer >= q->count || !is_held(q->rx_held, buffer) || !ring_has_room(q, &q->rx_free)) {
        return false;
    }
    clear_held(q->rx_held, buffer);
    ring_put(q, &q->rx_free, buffer, 0, FRAME_QUEUE_WANT_RX);
    return true;
}

static void tx_collect(struct frame_queue *q)
{
    struct frame_descriptor d;
    while (ring_take(q, &q->tx_done, q->tx_held, &d)) {
        q->tx_spare[q->tx_spare_count++] = d.buffer; /* cannot overflow: a buffer enters only when it was not held */
    }
}

bool frame_queue_tx_alloc(struct frame_queue *q, struct frame *out_frame)
{
    tx_collect(q);
    if (q->tx_spare_count == 0 || q->is_broken) {
        return false;
    }
    uint16_t buffer = q->tx_spare[--q->tx_spare_count];
    *out_frame = (struct frame){.data = frame_queue_tx_data(q, buffer), .buffer = buffer, .length = FRAME_QUEUE_FRAME_MAX};
    return true;
}

bool frame_queue_tx_send(struct frame_queue *q, uint16_t buffer, uint16_t length)
{
    if (buffer >= q->count || !is_held(q->tx_held, buffer) || length == 0 || length > FRAME_QUEUE_FRAME_MAX ||
        !ring_has_room(q, &q->tx_ready)) {
        return false;
    }
    clear_held(q->tx_held, buffer);
    ring_put(q, &q->tx_ready, buffer, length, FRAME_QUEUE_WANT_TX);
    return true;
}

void frame_queue_tx_cancel(struct frame_queue *q, uint16_t buffer)
{
    if (buffer < q->count && is_held(q->tx_held, buffer) && q->tx_spare_count < q->count) {
        q->tx_spare[q->tx_spare_count++] = buffer;
    }
}

bool frame_queue_rx_get(struct frame_queue *q, uint16_t *out_buffer)
{
    struct frame_descriptor d;
    if (!ring_take(q, &q->rx_free, q->rx_held, &d)) {
        return false;
    }
    *out_buffer = d.buffer;
    return true;
}

bool frame_queue_rx_complete(struct frame_queue *q, uint16_t buffer, uint16_t length)
{
    if (buffer >= q->count || !is_held(q->rx_held, buffer) || length > FRAME_QUEUE_FRAME_MAX || !ring_has_room(q, &q->rx_done)) {
        return false;
    }
    clear_held(q->rx_held, buffer);
    ring_put(q, &q->rx_done, buffer, length, FRAME_QUEUE_WANT_RX);
    return true;
}

bool frame_queue_tx_get(struct frame_queue *q, struct frame *out_frame)
{
    struct frame_descriptor d;
    for (uint32_t i = 0; i < q->count && ring_take(q, &q->tx_ready, q->tx_held, &d); i++) { /* bounded as in rx_take */
        if (d.length > 0) {
            *out_frame = (struct frame){.data = frame_queue_tx_data(q, d.buffer), .buffer = d.buffer, .length = d.length};
            return true;
        }
        q->violations++;
        if (!frame_queue_tx_complete(q, d.buffer)) {
            return false;
        }
    }
    return false;
}

bool frame_queue_tx_complete(struct frame_queue *q, uint16_t buffer)
{
    if (buffer >= q->count || !is_held(q->tx_held, buffer) || !ring_has_room(q, &q->tx_done)) {
        return false;
    }
    clear_held(q->tx_held, buffer);
    ring_put(q, &q->tx_done, buffer, 0, FRAME_QUEUE_WANT_TX);
    return true;
}

/* Which ring wakes us depends on the side: the client takes from the done rings, the driver from the others. */
static bool is_something_ready(struct frame_queue *q, uint32_t wants)
{
    bool is_client = q->own_wants == &q->header->client.wants;
    bool has_rx = ring_ready(q, is_client ? &q->rx_done : &q->rx_free) > 0;
    bool has_tx = ring_ready(q, is_client ? &q->tx_done : &q->tx_ready) > 0;
    return ((wants & FRAME_QUEUE_WANT_RX) && has_rx) || ((wants & FRAME_QUEUE_WANT_TX) && has_tx) || q->is_broken;
}

bool frame_queue_prepare_wait(struct frame_queue *q, uint32_t wants)
{
    atomic_store_explicit(q->own_wants, wants, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* the wish before the peer's indices; the peer does the reverse */
    if (is_something_ready(q, wants)) {
        frame_queue_cancel_wait(q);
        return false;
    }
    return true;
}

void frame_queue_cancel_wait(struct frame_queue *q) { atomic_store_explicit(q->own_wants, 0, memory_order_relaxed); }

bool frame_queue_should_wake(struct frame_queue *q)
{
    if (q->did_put == 0) {
        return false;
    }
    uint32_t hit = q->did_put;
    q->did_put = 0;
    atomic_thread_fence(memory_order_seq_cst); /* our indices before the peer's wish */
    if ((atomic_load_explicit(q->peer_wants, memory_order_relaxed) & hit) == 0) {
        return false;
    }
    /* The wish may have changed since the load: whatever is taken away is paid for with a ring. */
    return atomic_exchange_explicit(q->peer_wants, 0, memory_order_relaxed) != 0;
}
