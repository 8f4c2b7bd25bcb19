/*
 * Ethernet frames between a network service (the client, who made the memory) and a card's driver, who do not trust each
 * other. The memory is contiguous, so that the driver can hand the buffers to the card as they are.
 *
 * Layout: one header page; four descriptor rings of `count` entries; `count` receive buffers and `count` transmit buffers of
 * 2048 bytes. In a buffer the frame starts at byte 64; the bytes before it belong to the driver (virtio-net header).
 *   rx_free  client -> driver  empty receive buffers        rx_done  driver -> client  received frames
 *   tx_ready client -> driver  frames to send               tx_done  driver -> client  sent buffers
 *
 * Each side writes only its own 64-byte line of indices, believes only its private copies of them, reads each shared word
 * once, and keeps a bitmap of the buffers it holds: a buffer that the peer names twice, or that it does not own, is dropped and
 * counted in `violations`. Impossible indices mark the queue broken: from then on it is empty and nothing can be put in.
 * A hostile peer may change a frame while it is read; copy before checking twice.
 *
 * Doorbells work as in socket_queue.h. One thread per side. Nothing here blocks, allocates or calls the system.
 */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

constexpr uint32_t FRAME_QUEUE_MAGIC = 0x46515531; /* "1UQF" */
constexpr uint32_t FRAME_QUEUE_HEADER_BYTES = 4096;
constexpr uint32_t FRAME_QUEUE_BUFFER_BYTES = 2048;
constexpr uint32_t FRAME_QUEUE_FRAME_OFFSET = 64;
constexpr uint32_t FRAME_QUEUE_FRAME_MAX = FRAME_QUEUE_BUFFER_BYTES - FRAME_QUEUE_FRAME_OFFSET;
constexpr uint32_t FRAME_QUEUE_COUNT_MIN = 2;
constexpr uint32_t FRAME_QUEUE_COUNT_MAX = 512;

enum frame_queue_want : uint32_t {
    FRAME_QUEUE_WANT_RX = 1, /* client: rx_done has frames; driver: rx_free has buffers */
    FRAME_QUEUE_WANT_TX = 2, /* client: tx_done has buffers; driver: tx_ready has frames */
};

/* The descriptor: buffer number (0 .. count-1, receive and transmit numbered apart) and frame bytes. */
struct frame_descriptor {
    uint16_t buffer;
    uint16_t length;
};

struct frame_queue_line {
    /* Client's line: rx_free tail, rx_done head, tx_ready tail, tx_done head. Driver's line: the other end of each. */
    _Atomic uint32_t rx_free, rx_done, tx_ready, tx_done;
    _Atomic uint32_t wants; /* the peer takes a wish away when it decides to ring for it */
    uint32_t reserved[11];
};

struct frame_queue_header {
    _Atomic uint32_t magic;
    _Atomic uint32_t count;
    uint32_t reserved0[14];
    struct frame_queue_line client;
    struct frame_queue_line driver;
    uint8_t reserved1[FRAME_QUEUE_HEADER_BYTES - 192];
};
static_assert(sizeof(struct frame_queue_header) == FRAME_QUEUE_HEADER_BYTES);
static_assert(sizeof(struct frame_queue_line) == 64);

/* One side's view of one descriptor ring. */
struct frame_ring {
    _Atomic uint32_t *entries; /* a descriptor is read and written as one word, so it cannot tear */
    _Atomic uint32_t *own, *peer;
    uint32_t index; /* the truth about *own */
};

struct frame_queue {
    struct frame_queue_header *header;
    uint8_t *rx_buffers, *tx_buffers;
    uint32_t count;
    struct frame_ring rx_free, rx_done, tx_ready, tx_done;
    uint64_t rx_held[FRAME_QUEUE_COUNT_MAX / 64], tx_held[FRAME_QUEUE_COUNT_MAX / 64]; /* buffers on this side */
    _Atomic uint32_t *own_wants, *peer_wants;
    uint16_t tx_spare[FRAME_QUEUE_COUNT_MAX]; /* client: stack of transmit buffers that are free to fill */
    uint32_t tx_spare_count;
    uint64_t violations;
    uint32_t did_put; /* FRAME_QUEUE_WANT_* the peer may be waiting for */
    bool is_broken;
};

struct frame {
    uint8_t *data;
    uint16_t buffer;
    uint16_t length;
};

/* Bytes of memory for `count` buffers in each direction (page aligned), or 0 when count is not a power of two in range. */
size_t frame_queue_memory_size(uint32_t count);
/* Offset in the memory of a frame's first byte. */
size_t frame_queue_rx_offset(const struct frame_queue *q, uint16_t buffer);
size_t frame_queue_tx_offset(const struct frame_queue *q, uint16_t buffer);
static inline uint8_t *frame_queue_rx_data(const struct frame_queue *q, uint16_t buffer)
{
    return q->rx_buffers + (size_t)buffer * FRAME_QUEUE_BUFFER_BYTES + FRAME_QUEUE_FRAME_OFFSET;
}
static inline uint8_t *frame_queue_tx_data(const struct frame_queue *q, uint16_t buffer)
{
    return q->tx_buffers + (size_t)buffer * FRAME_QUEUE_BUFFER_BYTES + FRAME_QUEUE_FRAME_OFFSET;
}

/* Client. init on memory nobody else uses: writes the header and posts every receive buffer. The same memory may be
 * initialised again for the next driver once the old one is dead and its device was reset. */
bool frame_queue_init(struct frame_queue *q, void *base, size_t memory_size, uint32_t count);
/* Takes the next received frame; it stays the client's until given back. False: none. */
bool frame_queue_rx_take(struct frame_queue *q, struct frame *out_frame);
/* Gives a receive buffer back to the driver. False: the buffer is not the client's, or the queue is broken. */
bool frame_queue_rx_give(struct frame_queue *q, uint16_t buffer);
/* A free transmit buffer (collects sent ones first). False: all are on their way. */
bool frame_queue_tx_alloc(struct frame_queue *q, struct frame *out_frame);
/* Hands an allocated buffer to the driver. False (length 0 or too long, not the client's): the buffer stays allocated. */
bool frame_queue_tx_send(struct frame_queue *q, uint16_t buffer, uint16_t length);
/* Returns an allocated buffer unsent. */
void frame_queue_tx_cancel(struct frame_queue *q, uint16_t buffer);

/* Driver. attach checks the client's header against the size of the memory. False: it does not fit. */
bool frame_queue_attach(struct frame_queue *q, void *base, size_t memory_size);
/* Next empty receive buffer for the card. False: none. */
bool frame_queue_rx_get(struct frame_queue *q, uint16_t *out_buffer);
/* A held receive buffer now holds a frame (length 0 returns it unused). False: not held, too long, or no room. */
bool frame_queue_rx_complete(struct frame_queue *q, uint16_t buffer, uint16_t length);
/* Next frame to send, its length within 1..FRAME_QUEUE_FRAME_MAX. False: none. */
bool frame_queue_tx_get(struct frame_queue *q, struct frame *out_frame);
/* A held transmit buffer was sent (or refused). False: not held, or no room. */
bool frame_queue_tx_complete(struct frame_queue *q, uint16_t buffer);

/* Both sides; as in socket_queue.h. */
bool frame_queue_prepare_wait(struct frame_queue *q, uint32_t wants);
void frame_queue_cancel_wait(struct frame_queue *q);
bool frame_queue_should_wake(struct frame_queue *q);
