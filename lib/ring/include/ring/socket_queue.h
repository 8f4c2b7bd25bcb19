/*
 * Byte queues of one connection in memory shared by two processes that do not trust each other: the client (who made the
 * memory) and the service. rx carries bytes towards the client, tx bytes from the client.
 *
 * Layout: one header page, rx_bytes of rx data, tx_bytes of tx data. Indices count bytes, run freely and wrap at 2^32. Each
 * side writes only its own 64-byte line of indices, keeps private copies of what it wrote, and reads each of the peer's words
 * once per operation. A peer's index that makes no sense marks the queue broken: from then on it is empty, full and FAILED.
 * Bytes in a span may change under the reader when the peer is hostile; copy before you check twice.
 *
 * Doorbells: a side that wants to sleep calls socket_queue_prepare_wait(); the other side calls socket_queue_should_wake()
 * after a batch of work and rings the doorbell event only when told so.
 *
 * One thread per side. Nothing here blocks, allocates or calls the system.
 */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

constexpr uint32_t SOCKET_QUEUE_HEADER_BYTES = 4096;
constexpr uint32_t SOCKET_QUEUE_BYTES_MIN = 1024;
constexpr uint32_t SOCKET_QUEUE_BYTES_MAX = 1u << 20;

enum socket_queue_state : uint32_t {
    SOCKET_QUEUE_CONNECTING = 0,
    SOCKET_QUEUE_OPEN = 1,
    SOCKET_QUEUE_PEER_CLOSED = 2, /* nothing more will arrive once rx is empty; sending still works */
    SOCKET_QUEUE_RESET = 3,       /* the network peer reset the connection */
    SOCKET_QUEUE_CLOSED = 4,      /* both directions ended in order */
    SOCKET_QUEUE_FAILED = 5,      /* error word says why (a status_t) */
};

enum socket_queue_role : uint32_t { SOCKET_QUEUE_CLIENT, SOCKET_QUEUE_SERVICE };

enum socket_queue_want : uint32_t {
    SOCKET_QUEUE_WANT_READABLE = 1,
    SOCKET_QUEUE_WANT_WRITABLE = 2, /* rings when half of the queue is free, so that wake-ups come in batches */
    SOCKET_QUEUE_WANT_STATE = 4,    /* the client only: state changed */
};

struct socket_queue_header {
    /* Written by the service. */
    _Atomic uint32_t state;
    _Atomic int32_t error;
    uint32_t reserved0[14];
    _Atomic uint32_t rx_tail;
    _Atomic uint32_t tx_head;
    _Atomic uint32_t service_wants; /* the client clears a bit when it decides to ring for it */
    uint32_t reserved1[13];
    /* Written by the client. */
    _Atomic uint32_t rx_head;
    _Atomic uint32_t tx_tail;
    _Atomic uint32_t client_wants;
    uint32_t reserved2[13];
    uint8_t reserved3[SOCKET_QUEUE_HEADER_BYTES - 192];
};
static_assert(sizeof(struct socket_queue_header) == SOCKET_QUEUE_HEADER_BYTES);
static_assert(offsetof(struct socket_queue_header, rx_tail) == 64 && offsetof(struct socket_queue_header, rx_head) == 128);

/* One side's private view. `in` is the direction this side reads, `out` the one it writes. */
struct socket_queue {
    struct socket_queue_header *header;
    uint8_t *in_data, *out_data;
    uint32_t in_size, out_size;
    uint32_t in_head, out_tail; /* the truth about our own indices; the shared words are copies for the peer */
    _Atomic uint32_t *in_tail_shared, *in_head_shared, *out_tail_shared, *out_head_shared;
    _Atomic uint32_t *own_wants, *peer_wants;
    enum socket_queue_role role;
    uint32_t seen_state; /* what socket_queue_state() returned last */
    bool did_write, did_read, did_change_state;
    bool is_broken;
};

struct socket_queue_span {
    uint8_t *data;
    uint32_t size;
};

/* Bytes of memory the queue needs, or 0 when a size is not a power of two within the limits above. */
size_t socket_queue_memory_size(uint32_t rx_bytes, uint32_t tx_bytes);

/* Client, on memory nobody else uses yet: resets the header to CONNECTING, then attaches. False as attach. */
bool socket_queue_init(struct socket_queue *q, void *base, size_t memory_size, uint32_t rx_bytes, uint32_t tx_bytes);

/* Builds a side's view; own indices start at 0. False when the sizes do not fit the memory. */
bool socket_queue_attach(struct socket_queue *q, void *base, size_t memory_size, uint32_t rx_bytes, uint32_t tx_bytes,
                         enum socket_queue_role role);

uint32_t socket_queue_readable(struct socket_queue *q);
uint32_t socket_queue_writable(struct socket_queue *q);

/* Copy as much as there is (or as fits); return the number of bytes, 0 when none. */
uint32_t socket_queue_read(struct socket_queue *q, void *buffer, uint32_t size);
uint32_t socket_queue_write(struct socket_queue *q, const void *data, uint32_t size);

/* Zero copy. peek/reserve fill up to two spans (the second one has size 0 when the bytes do not wrap) and return the total;
 * consume/commit move the index by `size`, cut to what is really there, and return by how much. */
uint32_t socket_queue_peek(struct socket_queue *q, struct socket_queue_span out_spans[2]);
uint32_t socket_queue_consume(struct socket_queue *q, uint32_t size);
uint32_t socket_queue_reserve(struct socket_queue *q, struct socket_queue_span out_spans[2]);
uint32_t socket_queue_commit(struct socket_queue *q, uint32_t size);

/* Read the state before readable(): PEER_CLOSED with nothing readable afterwards is the end of the stream. Unknown values and
 * a broken queue read as FAILED. */
enum socket_queue_state socket_queue_state(struct socket_queue *q);
int32_t socket_queue_error(struct socket_queue *q);
/* Service only. Bytes written before are visible to whoever sees the new state. */
void socket_queue_set_state(struct socket_queue *q, enum socket_queue_state state, int32_t error);

/* Announces the wish to be woken for `wants` (a client always adds WANT_STATE) and looks again. True: nothing is ready, sleep on the doorbell. False: something
 * is ready already (or the queue is broken); do not sleep. */
bool socket_queue_prepare_wait(struct socket_queue *q, uint32_t wants);
void socket_queue_cancel_wait(struct socket_queue *q);

/* After reads, writes or a change of state: true when the peer sleeps and its doorbell must be rung. The wish is consumed. */
bool socket_queue_should_wake(struct socket_queue *q);
