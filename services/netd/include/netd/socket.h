/*
 * TCP and UDP sockets between lwIP and the clients' queues (lib/ring socket_queue.h).
 *
 * TCP socket: WAITING in a listener's list, without a queue; then ACTIVE with one; then gone for its client, but the slot may
 * stay until bytes that were still queued at close are with lwIP (CLOSING). `pcb` is null once the connection has ended.
 *
 * Receive window: lwIP is told of what the client's queue can take, no more than TCP_WND. Bytes beyond the queue (before accept,
 * or with a queue smaller than two segments) wait in `pending`, at most SOCKET_WINDOW_MIN of them.
 *
 * lwIP's callbacks only note what happened and mark the socket; the work is done in sockets_flush(), outside lwIP, where a
 * connection may be aborted without care.
 *
 * A UDP socket's queues carry datagrams, each behind a struct udp_header.
 */
#pragma once
#include <netd/session.h>
#include <ring/socket_queue.h>
#include <stdint.h>
#include <tess/call.h>

constexpr uint32_t SOCKETS = 384;
constexpr uint32_t LISTENERS = 24;
constexpr uint32_t SOCKET_WINDOW_MIN = 2920;
constexpr uint32_t UDP_PAYLOAD_MAX = 1472;

enum socket_state : uint8_t { SOCKET_FREE, SOCKET_WAITING, SOCKET_ACTIVE, SOCKET_CLOSING, SOCKET_UDP };

/* Header and datagram are put into the queue in one step (one write, or reserve and commit): half a datagram breaks the queue. */
struct udp_header {
    uint32_t size;    /* of the datagram that follows */
    uint32_t address; /* IPv4, network byte order in memory; the other side's */
    uint16_t port;    /* host byte order */
    uint16_t reserved0;
    uint32_t reserved1;
};
static_assert(sizeof(struct udp_header) == 16);

struct tcp_pcb;
struct udp_pcb;
struct pbuf;

struct socket {
    enum socket_state state;
    uint8_t client_bit, doorbell_bit;
    bool is_marked; /* in the list of sockets_flush() */
    bool is_connecting;
    bool has_peer_fin; /* lwIP told; the client learns it when everything before is in its queue */
    bool wants_fin, is_fin_sent;
    bool has_ended; /* the connection is gone; end_state and end_error say how */
    enum socket_queue_state end_state, told_state;
    status_t end_error;
    uint32_t generation;
    struct session *session;
    struct listener *listener; /* WAITING */
    struct socket *next;       /* in the listener's list */
    struct socket *next_marked;
    struct socket *next_in_bit;
    struct tcp_pcb *pcb;
    struct udp_pcb *udp;
    struct pbuf *pending;
    struct socket_queue queue;
    void *base; /* of the queue's mapping; null: no queue */
    size_t base_size;
    uint32_t window; /* most that may be on its way to the client's queue */
    void *rest;      /* CLOSING: bytes the client had queued */
    uint32_t rest_size, rest_at;
};

struct listener {
    bool is_open;
    uint32_t generation;
    uint16_t port;
    struct session *session;
    struct tcp_pcb *pcb;
    struct socket *first, *last; /* WAITING sockets */
};

void sockets_init(void);
/* Does the work that lwIP's callbacks left; after each round, before sessions_flush(). */
void sockets_flush(void);
/* Somebody's bytes found no memory and nothing of theirs is under way that would call us back: try again by the clock. */
bool sockets_want_retry(void);
void sockets_retry(void);
/* The client rang: all sockets of these bits. */
void sockets_rung(struct session *session, uint64_t bits);
/* The session is over: closes whatever hangs below it. */
void sockets_close_session(struct session *session);

/* Methods of what a badge was found to name. */
status_t session_listen(struct session *session, uint32_t port, uint32_t backlog, handle_t *out_listener);
status_t session_connect(struct session *session, uint32_t address, uint32_t port, uint32_t rx_bytes, uint32_t tx_bytes,
                         uint32_t client_bit, handle_t queue, uint32_t *out_doorbell_bit, handle_t *out_socket);
status_t session_udp(struct session *session, uint32_t port, uint32_t client_bit, uint32_t rx_bytes, uint32_t tx_bytes, handle_t queue,
                     uint32_t *out_doorbell_bit, uint32_t *out_port, handle_t *out_socket);
status_t listener_accept(struct listener *listener, uint32_t rx_bytes, uint32_t tx_bytes, uint32_t client_bit, handle_t queue,
                         uint32_t *out_doorbell_bit, uint32_t *out_address, uint32_t *out_port, handle_t *out_socket);
void listener_close(struct listener *listener);
status_t socket_shutdown(struct socket *socket);
void socket_close(struct socket *socket);
void socket_abort(struct socket *socket);

/* Null when the badge's slot or generation is not (or no longer) that of something a client holds. */
struct listener *listener_find(uint32_t index, uint32_t generation);
struct listener *listener_at(uint32_t index);
struct socket *socket_find(uint32_t index, uint32_t generation);

struct socket_counters {
    uint64_t accepted;
};
const struct socket_counters *socket_counters(void);

/* Between the source files of sockets. */
struct socket *socket_new(void);
void socket_free(struct socket *socket);
void socket_mark(struct socket *socket);
/* Maps the client's memory and puts the socket into its session. Nothing has changed after an error. */
status_t socket_attach(struct socket *socket, struct session *session, handle_t memory, uint32_t rx_bytes, uint32_t tx_bytes,
                       uint32_t client_bit);
status_t socket_check_sizes(const struct session *session, uint32_t rx_bytes, uint32_t tx_bytes, uint32_t client_bit);
void socket_detach(struct socket *socket);
status_t socket_handle(struct socket *socket, handle_t *out_handle);
void socket_ring(struct socket *socket);
void tcp_work(struct socket *socket);
void tcp_retry_begin(void);
void tcp_adopt(struct socket *socket, struct tcp_pcb *pcb);
void tcp_let_go(struct socket *socket);
void tcp_drop(struct socket *socket);
void udp_work(struct socket *socket);
void udp_drop(struct socket *socket);
