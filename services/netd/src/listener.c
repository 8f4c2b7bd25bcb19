#include <netd/socket.h>
#include <std/program.h>
#include <tess/serve/listener.h>

#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

static constexpr uint32_t BACKLOG_MAX = 255; /* lwIP counts in a byte */

static struct listener listeners[LISTENERS];
static struct socket_counters counters;
static u8_t window_hook;
static bool has_window_hook;

const struct socket_counters *socket_counters(void) { return &counters; }

struct listener *listener_at(uint32_t index) { return &listeners[index]; }

struct listener *listener_find(uint32_t index, uint32_t generation)
{
    return index < LISTENERS && listeners[index].is_open && listeners[index].generation == generation ? &listeners[index] : nullptr;
}

/* Until somebody accepts it a connection may send two segments, so that those waiting cannot fill the buffers. */
static err_t half_opened(u8_t id, struct tcp_pcb_listen *listening, struct tcp_pcb *pcb)
{
    (void)id;
    (void)listening;
    pcb->rcv_wnd = pcb->rcv_ann_wnd = SOCKET_WINDOW_MIN;
    return ERR_OK;
}

static void pcb_destroyed(u8_t id, void *data)
{
    (void)id;
    (void)data;
}

static const struct tcp_ext_arg_callbacks window_callbacks = {.destroy = pcb_destroyed, .passive_open = half_opened};

static err_t accepted(void *context, struct tcp_pcb *pcb, err_t error)
{
    struct listener *listener = context;
    if (error != ERR_OK || pcb == nullptr || listener == nullptr) {
        return ERR_VAL;
    }
    struct socket *socket = socket_new();
    if (socket == nullptr) {
        return ERR_MEM; /* lwIP resets it */
    }
    socket->state = SOCKET_WAITING;
    socket->listener = listener;
    tcp_adopt(socket, pcb);
    tcp_backlog_delayed(pcb); /* counts against the backlog until a client takes it */
    if (listener->last != nullptr) {
        listener->last->next = socket;
    } else {
        listener->first = socket;
    }
    listener->last = socket;
    counters.accepted++;
    listener->session->ring_bits |= UINT64_C(1) << listener->session->listen_bit;
    return ERR_OK;
}

static struct tcp_pcb *open_port(uint32_t port, uint32_t backlog, status_t *out_status)
{
    struct tcp_pcb *pcb = tcp_new();
    *out_status = ERROR_NO_SPACE;
    if (pcb == nullptr) {
        return nullptr;
    }
    if (!has_window_hook) {
        window_hook = tcp_ext_arg_alloc_id();
        has_window_hook = true;
    }
    tcp_ext_arg_set_callbacks(pcb, window_hook, &window_callbacks);
    ip_set_option(pcb, SOF_REUSEADDR);
    if (tcp_bind(pcb, IP_ADDR_ANY, (u16_t)port) != ERR_OK) {
        *out_status = ERROR_BUSY;
        tcp_close(pcb);
        return nullptr;
    }
    err_t error;
    struct tcp_pcb *listening = tcp_listen_with_backlog_and_err(pcb, (u8_t)(backlog < BACKLOG_MAX ? backlog : BACKLOG_MAX), &error);
    if (listening == nullptr) {
        *out_status = error == ERR_USE ? ERROR_BUSY : ERROR_NO_SPACE;
        tcp_close(pcb);
    }
    return listening;
}

status_t session_listen(struct session *session, uint32_t port, uint32_t backlog, handle_t *out_listener)
{
    if (port == 0 || port > UINT16_MAX || backlog == 0 || backlog > 256) {
        return ERROR_BAD_ARGUMENT;
    }
    uint32_t index = 0;
    while (index < LISTENERS && listeners[index].is_open) {
        index++;
    }
    if (index == LISTENERS || session->listener_count == SESSION_LISTENERS_MAX) {
        return ERROR_NO_SPACE;
    }
    struct listener *listener = &listeners[index];
    uint32_t generation = listener->generation + 1 != 0 ? listener->generation + 1 : 1;
    status_t status;
    struct tcp_pcb *pcb = open_port(port, backlog, &status);
    if (pcb == nullptr) {
        return status;
    }
    status = object_handle(object_badge(OBJECT_KIND_LISTENER, index, generation), LISTENER_RIGHT_ACCEPT, out_listener);
    if (status != OK) {
        tcp_close(pcb);
        return status;
    }
    *listener = (struct listener){.is_open = true, .generation = generation, .port = (uint16_t)port, .session = session, .pcb = pcb};
    session->listener_count++;
    tcp_arg(pcb, listener);
    tcp_accept(pcb, accepted);
    return OK;
}

status_t listener_accept(struct listener *listener, uint32_t rx_bytes, uint32_t tx_bytes, uint32_t client_bit, handle_t queue,
                         uint32_t *out_doorbell_bit, uint32_t *out_address, uint32_t *out_port, handle_t *out_socket)
{
    status_t status = socket_check_sizes(listener->session, rx_bytes, tx_bytes, client_bit);
    struct socket *socket = listener->first;
    if (status == OK && socket == nullptr) {
        status = ERROR_WOULD_BLOCK;
    }
    if (status == OK) {
        status = socket_attach(socket, listener->session, queue, rx_bytes, tx_bytes, client_bit);
    }
    if (status != OK) {
        return status;
    }
    status = socket_handle(socket, out_socket);
    if (status != OK) {
        socket_detach(socket);
        return status;
    }
    listener->first = socket->next;
    if (listener->first == nullptr) {
        listener->last = nullptr;
    }
    socket->listener = nullptr;
    socket->next = nullptr;
    socket->state = SOCKET_ACTIVE;
    socket->window = rx_bytes < SOCKET_WINDOW_MIN ? SOCKET_WINDOW_MIN : rx_bytes < TCP_WND ? rx_bytes : TCP_WND;
    /* Before the first byte: who finds bytes in a queue that is not open yet would be right to give it up. */
    socket_queue_set_state(&socket->queue, SOCKET_QUEUE_OPEN, OK);
    socket->told_state = SOCKET_QUEUE_OPEN;
    tcp_backlog_accepted(socket->pcb);
    *out_doorbell_bit = socket->doorbell_bit;
    *out_address = ip_2_ip4(&socket->pcb->remote_ip)->addr;
    *out_port = socket->pcb->remote_port;
    std_handle_delete(queue); /* the mapping keeps the memory */
    socket_mark(socket);
    return OK;
}

void listener_close(struct listener *listener)
{
    while (listener->first != nullptr) {
        struct socket *socket = listener->first;
        listener->first = socket->next;
        tcp_drop(socket);
    }
    tcp_arg(listener->pcb, nullptr);
    tcp_accept(listener->pcb, nullptr);
    tcp_close(listener->pcb);
    listener->session->listener_count--;
    listener->is_open = false;
}
