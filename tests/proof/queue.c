/*
 * lib/ring's queues against a hostile peer: whatever the shared words say, and however they change between two looks, nothing outside the
 * queue's memory is read, written or handed out. The views' own indices begin anywhere.
 */
#define atomic_load_explicit(word, order) peer_word(word)
#define atomic_store_explicit(word, value, order) own_word(word, value)
#include <stdint.h>
static uint32_t peer_word(const uint32_t *word);
static void own_word(uint32_t *word, uint32_t value);
#include <lib/ring/src/socket_queue.c>
#define is_something_ready frame_queue_is_something_ready
#include <lib/ring/src/frame_queue.c>
#include <proof.h>

enum { BYTES = 4096 };
static struct socket_queue_header socket_header;
static uint8_t in_data[BYTES], out_data[BYTES];
static struct socket_queue q;
static uint32_t own_words;

static uint32_t peer_word(const uint32_t *word)
{
    uint32_t value = *word; /* the access itself is checked */
    return nondet_u32();
}
static void own_word(uint32_t *word, uint32_t value)
{
    *word = value;
    own_words++;
}

static void begin_socket(void)
{
    q.header = &socket_header;
    q.in_data = in_data;
    q.out_data = out_data;
    q.in_size = q.out_size = BYTES;
    q.in_head = nondet_u32();
    q.out_tail = nondet_u32();
    q.in_tail_shared = &socket_header.rx_tail;
    q.in_head_shared = &socket_header.rx_head;
    q.out_tail_shared = &socket_header.tx_tail;
    q.out_head_shared = &socket_header.tx_head;
    q.own_wants = &socket_header.client_wants;
    q.peer_wants = &socket_header.service_wants;
}

static void prove_spans(const struct socket_queue_span spans[2], const uint8_t *data, uint32_t total)
{
    PROVE(total <= BYTES && spans[0].size + spans[1].size == total);
    for (uint32_t i = 0; i < 2; i++)
        PROVE(spans[i].size == 0 || (spans[i].data >= data && (uint64_t)(spans[i].data - data) <= BYTES &&
                                     spans[i].size <= BYTES - (uint64_t)(spans[i].data - data)));
}

void proof_socket_queue(void)
{
    begin_socket();
    struct socket_queue_span spans[2];
    uint32_t head = q.in_head, tail = q.out_tail;
    prove_spans(spans, in_data, socket_queue_peek(&q, spans));
    uint32_t consumed = socket_queue_consume(&q, nondet_u32());
    PROVE(consumed <= BYTES && q.in_head == head + consumed);
    prove_spans(spans, out_data, socket_queue_reserve(&q, spans));
    uint32_t committed = socket_queue_commit(&q, nondet_u32());
    PROVE(committed <= BYTES && q.out_tail == tail + committed);
    PROVE(!q.is_broken || (socket_queue_readable(&q) == 0 && socket_queue_writable(&q) == 0));
    (void)socket_queue_state(&q);
    (void)socket_queue_prepare_wait(&q, nondet_u32());
    REACHED();
}

/* ---- Frames ---- */

static struct frame_queue f;
static struct frame_queue_header frame_header;
static uint32_t entries[4 * FRAME_QUEUE_COUNT_MIN];

static uint32_t spare_and_held(void)
{
    uint32_t spare = 0;
    for (uint32_t i = 0; i < FRAME_QUEUE_COUNT_MIN; i++)
        spare += is_held(f.tx_held, i);
    return spare;
}

void proof_frame_queue(void)
{
    bool is_client = nondet_bool();
    static uint8_t buffers[1];
    f.header = &frame_header;
    f.count = FRAME_QUEUE_COUNT_MIN;
    struct frame_queue_line *own = is_client ? &frame_header.client : &frame_header.driver;
    struct frame_queue_line *peer = is_client ? &frame_header.driver : &frame_header.client;
    f.own_wants = &own->wants;
    f.peer_wants = &peer->wants;
    struct frame_ring *rings[] = {&f.rx_free, &f.rx_done, &f.tx_ready, &f.tx_done};
    for (uint32_t i = 0; i < 4; i++) {
        rings[i]->entries = entries + i * FRAME_QUEUE_COUNT_MIN;
        rings[i]->own = &own->rx_free;
        rings[i]->peer = &peer->rx_free;
        rings[i]->index = nondet_u32();
    }
    f.rx_held[0] = nondet_u64() & ((1ull << FRAME_QUEUE_COUNT_MIN) - 1);
    f.tx_held[0] = nondet_u64() & ((1ull << FRAME_QUEUE_COUNT_MIN) - 1);
    f.tx_spare_count = choose(FRAME_QUEUE_COUNT_MIN + 1);
    ASSUME(f.tx_spare_count <= spare_and_held()); /* every spare buffer is held */
    struct frame_descriptor d;
    uint64_t before = f.tx_held[0];
    if (ring_take(&f, &f.tx_done, f.tx_held, &d)) {
        PROVE(d.buffer < f.count && d.length <= FRAME_QUEUE_FRAME_MAX);
        PROVE(!((before >> d.buffer) & 1) && f.tx_held[0] == (before | 1ull << d.buffer)); /* it was not ours yet */
        REACHED();
    } else {
        PROVE(f.tx_held[0] == before);
    }
    uint16_t buffer = nondet_u16(), length = nondet_u16();
    before = f.tx_held[0];
    if (frame_queue_tx_send(&f, buffer, length))
        PROVE(buffer < f.count && ((before >> buffer) & 1) && f.tx_held[0] == (before & ~(1ull << buffer)));
    PROVE(f.tx_spare_count <= f.count);
}
