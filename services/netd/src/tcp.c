/*
 * One TCP socket. Callbacks from lwIP note and mark; tcp_work() moves bytes both ways, tells the client how the connection is
 * doing, and decides whether to sleep on the doorbell.
 */
#include <netd/socket.h>
#include <std/memory.h>
#include <std/program.h>
#include <tess/string.h>

#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"
#include "lwip/tcp.h"

static constexpr uint32_t REST_TOTAL_MAX = 1 << 20; /* bytes kept for sockets that were closed with more queued than lwIP takes */
static constexpr u8_t ORPHAN_INTERVAL = 60;         /* half seconds that a closed connection may take to finish */

static uint32_t rest_total;
static bool wants_retry;

bool sockets_want_retry(void) { return wants_retry; }

void tcp_retry_begin(void) { wants_retry = false; /* whoever fails again says so again */ }

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* ---- lwIP's callbacks ---- */

/* lwIP finishes the connection by itself. No callback comes any more. */
static struct tcp_pcb *release_pcb(struct socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;
    socket->pcb = nullptr;
    if (pcb != nullptr) {
        tcp_arg(pcb, nullptr);
        tcp_recv(pcb, nullptr);
        tcp_sent(pcb, nullptr);
        tcp_err(pcb, nullptr);
        tcp_poll(pcb, nullptr, 0);
    }
    return pcb;
}

/* After both FINs lwIP keeps the pcb for TIME_WAIT and forgets it without a word, so we must forget it first. */
static void check_finished(struct socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;
    if (pcb != nullptr && socket->is_fin_sent && socket->has_peer_fin && (pcb->state == TIME_WAIT || pcb->state == CLOSING)) {
        release_pcb(socket);
        socket->has_ended = true;
        socket->end_state = SOCKET_QUEUE_CLOSED;
    }
}

static err_t received(void *context, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
    struct socket *socket = context;
    (void)pcb;
    (void)error;
    if (p == nullptr) {
        socket->has_peer_fin = true;
        check_finished(socket);
    } else if (socket->pending == nullptr) {
        socket->pending = p;
    } else {
        pbuf_cat(socket->pending, p);
    }
    socket_mark(socket);
    return ERR_OK;
}

static err_t was_sent(void *context, struct tcp_pcb *pcb, u16_t size)
{
    (void)pcb;
    (void)size;
    socket_mark(context);
    return ERR_OK;
}

static err_t connected(void *context, struct tcp_pcb *pcb, err_t error)
{
    struct socket *socket = context;
    (void)pcb;
    (void)error;
    socket->is_connecting = false;
    socket_mark(socket);
    return ERR_OK;
}

static void forget_waiting(struct socket *socket)
{
    struct listener *listener = socket->listener;
    struct socket **link = &listener->first, *before = nullptr;
    while (*link != socket) {
        before = *link;
        link = &before->next;
    }
    *link = socket->next;
    if (listener->last == socket) {
        listener->last = before;
    }
}

static void drop_pending(struct socket *socket)
{
    if (socket->pending != nullptr) {
        pbuf_free(socket->pending);
        socket->pending = nullptr;
    }
}

/* The pcb is already gone. */
static void ended(void *context, err_t error)
{
    struct socket *socket = context;
    socket->pcb = nullptr;
    socket->has_ended = true;
    if (socket->state == SOCKET_WAITING) {
        forget_waiting(socket);
        drop_pending(socket);
        socket_free(socket);
        return;
    }
    switch (error) {
    case ERR_CLSD: socket->end_state = SOCKET_QUEUE_CLOSED; break;
    case ERR_RST:
        socket->end_state = socket->is_connecting ? SOCKET_QUEUE_FAILED : SOCKET_QUEUE_RESET;
        socket->end_error = socket->is_connecting ? ERROR_REFUSED : ERROR_RESET;
        break;
    default: /* given up by the stack */
        socket->end_state = SOCKET_QUEUE_FAILED;
        socket->end_error = ERROR_TIMED_OUT;
        break;
    }
    socket_mark(socket);
}

static err_t orphan_polled(void *context, struct tcp_pcb *pcb)
{
    (void)context;
    tcp_abort(pcb);
    return ERR_ABRT;
}

void tcp_adopt(struct socket *socket, struct tcp_pcb *pcb)
{
    socket->pcb = pcb;
    tcp_arg(pcb, socket);
    tcp_recv(pcb, received);
    tcp_sent(pcb, was_sent);
    tcp_err(pcb, ended);
    tcp_nagle_disable(pcb); /* clients hand over whole messages at once */
}

static void finish_pcb(struct socket *socket)
{
    struct tcp_pcb *pcb = release_pcb(socket);
    if (pcb == nullptr) {
        return;
    }
    tcp_poll(pcb, orphan_polled, ORPHAN_INTERVAL);
    tcp_setprio(pcb, TCP_PRIO_MIN); /* first to go when connections run out */
    if (pcb->state == ESTABLISHED || pcb->state == CLOSE_WAIT) {
        /* Our windows are smaller than lwIP's; it would take that for unread data and reset instead of closing. */
        pcb->rcv_wnd = TCP_WND_MAX(pcb);
    }
    if (tcp_close(pcb) != ERR_OK) {
        tcp_abort(pcb);
    }
}

/* ---- Towards the client ---- */

static void deliver(struct socket *socket)
{
    while (socket->pending != nullptr) {
        struct pbuf *p = socket->pending;
        uint32_t size = socket_queue_write(&socket->queue, p->payload, p->len);
        if (size < p->len) {
            pbuf_remove_header(p, size);
            /* remove_header keeps tot_len right for this pbuf, which is the first: nothing else counts it. */
            return;
        }
        socket->pending = p->next;
        if (p->next != nullptr) {
            pbuf_ref(p->next);
        }
        pbuf_free(p);
    }
}

static uint32_t held_bytes(struct socket *socket)
{
    uint32_t queued = socket->queue.out_size - socket_queue_writable(&socket->queue);
    return queued + (socket->pending != nullptr ? socket->pending->tot_len : 0);
}

/* Opens the window by what the client has read. */
static void credit(struct socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;
    if (pcb == nullptr || socket->is_connecting || socket->has_peer_fin) {
        return;
    }
    uint32_t held = held_bytes(socket) + pcb->rcv_wnd;
    if (held < socket->window) {
        tcp_recved(pcb, (u16_t)(socket->window - held));
    }
}

static void tell(struct socket *socket)
{
    enum socket_queue_state state;
    bool is_all_delivered = socket->pending == nullptr;
    if (socket->has_ended && (is_all_delivered || socket->end_state != SOCKET_QUEUE_CLOSED)) {
        state = socket->end_state;
    } else if (socket->has_peer_fin && is_all_delivered) {
        state = SOCKET_QUEUE_PEER_CLOSED;
    } else {
        state = socket->is_connecting ? SOCKET_QUEUE_CONNECTING : SOCKET_QUEUE_OPEN;
    }
    if (state != socket->told_state) {
        socket->told_state = state;
        socket_queue_set_state(&socket->queue, state, state == socket->end_state ? socket->end_error : OK);
    }
}

/* ---- From the client ---- */

/*
 * What may go into lwIP's send buffer now. When large buffers run low everybody gets one segment at a time: whoever does not
 * read cannot keep the others from sending.
 */
static uint32_t send_room(const struct tcp_pcb *pcb)
{
    const struct stats_mem *pool = lwip_stats.memp[MEMP_POOL_1616];
    if (pool->avail - pool->used < pool->avail / 4) {
        return pcb->unsent == nullptr && pcb->unacked == nullptr ? smaller(tcp_mss(pcb), tcp_sndbuf(pcb)) : 0;
    }
    return tcp_sndbuf(pcb);
}

static uint32_t send_some(struct tcp_pcb *pcb, const void *data, uint32_t size)
{
    uint32_t count = smaller(size, send_room(pcb));
    if (count > 0 && tcp_write(pcb, data, (u16_t)count, TCP_WRITE_FLAG_COPY) == ERR_OK) {
        return count;
    }
    wants_retry |= pcb->unsent == nullptr && pcb->unacked == nullptr;
    return 0;
}

static bool can_send(const struct socket *socket)
{
    return socket->pcb != nullptr && !socket->is_connecting && !socket->is_fin_sent &&
           (socket->pcb->state == ESTABLISHED || socket->pcb->state == CLOSE_WAIT);
}

/* Queue to lwIP; true when the queue is empty afterwards. */
static bool send_queue(struct socket *socket)
{
    for (;;) {
        struct socket_queue_span spans[2];
        if (socket_queue_peek(&socket->queue, spans) == 0) {
            return true;
        }
        uint32_t count = send_some(socket->pcb, spans[0].data, spans[0].size);
        if (count == 0) {
            return false;
        }
        socket_queue_consume(&socket->queue, count);
    }
}

static void send_fin(struct socket *socket)
{
    if (tcp_shutdown(socket->pcb, 0, 1) == ERR_OK) {
        socket->is_fin_sent = true;
    }
}

static void fail_broken(struct socket *socket)
{
    struct tcp_pcb *pcb = release_pcb(socket);
    if (pcb != nullptr) {
        tcp_abort(pcb);
    }
    drop_pending(socket);
    socket->has_ended = true;
    socket->end_state = SOCKET_QUEUE_FAILED;
    socket->end_error = ERROR_BAD_FORMAT;
    tell(socket);
}

static uint32_t wishes(struct socket *socket, bool is_queue_empty)
{
    uint32_t wants = 0;
    if (is_queue_empty && can_send(socket)) {
        wants |= SOCKET_QUEUE_WANT_READABLE;
    }
    if (socket_queue_writable(&socket->queue) < socket->queue.out_size / 2) {
        wants |= SOCKET_QUEUE_WANT_WRITABLE;
    }
    return wants;
}

static void work_active(struct socket *socket)
{
    bool is_queue_empty;
    do {
        if (!socket->is_connecting && socket->told_state == SOCKET_QUEUE_CONNECTING) {
            tell(socket); /* open, before bytes arrive in it */
        }
        deliver(socket);
        credit(socket);
        is_queue_empty = false;
        if (can_send(socket)) {
            is_queue_empty = send_queue(socket);
            if (is_queue_empty && socket->wants_fin) {
                send_fin(socket);
            }
            tcp_output(socket->pcb);
        }
        tell(socket);
        if (socket->queue.is_broken) {
            fail_broken(socket);
            break;
        }
    } while (!socket_queue_prepare_wait(&socket->queue, wishes(socket, is_queue_empty)));
    socket_ring(socket);
}

/* ---- The end ---- */

static void free_rest(struct socket *socket)
{
    if (socket->rest != nullptr) {
        std_pages_free(socket->rest, socket->rest_size);
        rest_total -= socket->rest_size;
        socket->rest = nullptr;
    }
}

static void work_closing(struct socket *socket)
{
    while (can_send(socket) && socket->rest_at < socket->rest_size) {
        uint32_t count = send_some(socket->pcb, (uint8_t *)socket->rest + socket->rest_at, socket->rest_size - socket->rest_at);
        if (count == 0) {
            tcp_output(socket->pcb);
            return;
        }
        socket->rest_at += count;
    }
    finish_pcb(socket);
    free_rest(socket);
    socket_free(socket);
}

void tcp_work(struct socket *socket)
{
    if (socket->state == SOCKET_ACTIVE) {
        work_active(socket);
    } else {
        drop_pending(socket);
        work_closing(socket);
    }
}

/* Takes what is left in the queue out of the client's memory. False: nothing is left, or nowhere to put it. */
static bool save_rest(struct socket *socket)
{
    uint32_t size = socket_queue_readable(&socket->queue);
    if (size == 0 || size > REST_TOTAL_MAX - rest_total || std_pages_alloc(size, &socket->rest) != OK) {
        return false;
    }
    socket->rest_size = socket_queue_read(&socket->queue, socket->rest, size);
    rest_total += socket->rest_size;
    return true;
}

static err_t closing_polled(void *context, struct tcp_pcb *pcb)
{
    struct socket *socket = context;
    release_pcb(socket);
    socket_mark(socket);
    tcp_abort(pcb);
    return ERR_ABRT;
}

void tcp_let_go(struct socket *socket)
{
    bool has_rest = can_send(socket) && !send_queue(socket) && save_rest(socket);
    drop_pending(socket);
    socket_detach(socket);
    if (!has_rest) {
        finish_pcb(socket);
        socket_free(socket);
        return;
    }
    socket->state = SOCKET_CLOSING;
    tcp_poll(socket->pcb, closing_polled, ORPHAN_INTERVAL);
    socket_mark(socket);
}

void tcp_drop(struct socket *socket)
{
    struct tcp_pcb *pcb = release_pcb(socket);
    if (pcb != nullptr) {
        tcp_abort(pcb);
    }
    drop_pending(socket);
    free_rest(socket);
    socket_detach(socket);
    socket_free(socket);
}

status_t session_connect(struct session *session, uint32_t address, uint32_t port, uint32_t rx_bytes, uint32_t tx_bytes,
                         uint32_t client_bit, handle_t queue, uint32_t *out_doorbell_bit, handle_t *out_socket)
{
    status_t status = socket_check_sizes(session, rx_bytes, tx_bytes, client_bit);
    if (status != OK || port == 0 || port > UINT16_MAX) {
        return status != OK ? status : ERROR_BAD_ARGUMENT;
    }
    struct socket *socket = socket_new();
    struct tcp_pcb *pcb = socket != nullptr ? tcp_new() : nullptr;
    if (pcb == nullptr) {
        if (socket != nullptr) {
            socket_free(socket);
        }
        return ERROR_NO_SPACE;
    }
    socket->state = SOCKET_ACTIVE;
    status = socket_attach(socket, session, queue, rx_bytes, tx_bytes, client_bit);
    if (status == OK) {
        status = socket_handle(socket, out_socket);
    }
    tcp_adopt(socket, pcb);
    socket->window = smaller(rx_bytes > SOCKET_WINDOW_MIN ? rx_bytes : SOCKET_WINDOW_MIN, TCP_WND);
    pcb->rcv_wnd = pcb->rcv_ann_wnd = (tcpwnd_size_t)socket->window;
    socket->is_connecting = true;
    ip_addr_t remote = {};
    ip_2_ip4(&remote)->addr = address;
    if (status == OK && tcp_connect(pcb, &remote, (u16_t)port, connected) != ERR_OK) {
        status = ERROR_UNREACHABLE;
        std_handle_delete(*out_socket);
    }
    if (status != OK) {
        tcp_drop(socket);
        return status;
    }
    std_handle_delete(queue); /* the mapping keeps the memory */
    *out_doorbell_bit = socket->doorbell_bit;
    socket_mark(socket);
    return OK;
}
