/* UDP sockets: datagrams in the queues, each behind a struct udp_header. What does not fit is dropped, as UDP may. */
#include <netd/socket.h>
#include <std/program.h>
#include <tess/string.h>
#include <tess/stub/event.h>

#include "lwip/udp.h"

static void datagram_arrived(void *context, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *address, u16_t port)
{
    struct socket *socket = context;
    (void)pcb;
    struct udp_header header = {.size = p->tot_len, .address = ip_2_ip4(address)->addr, .port = port};
    if (socket_queue_writable(&socket->queue) >= sizeof header + p->tot_len) {
        socket_queue_write(&socket->queue, &header, sizeof header);
        for (const struct pbuf *part = p; part != nullptr; part = part->next) {
            socket_queue_write(&socket->queue, part->payload, part->len);
        }
        socket_mark(socket);
    }
    pbuf_free(p);
}

/* False: no whole datagram is there. A size that cannot be breaks the queue: the position of the next header is lost. */
static bool send_one(struct socket *socket)
{
    struct socket_queue_span spans[2];
    struct udp_header header;
    uint32_t readable = socket_queue_peek(&socket->queue, spans);
    if (readable < sizeof header) {
        socket->queue.is_broken = readable > 0;
        return false;
    }
    uint32_t first = spans[0].size < sizeof header ? spans[0].size : (uint32_t)sizeof header;
    memcpy(&header, spans[0].data, first);
    memcpy((uint8_t *)&header + first, spans[1].data, sizeof header - first);
    if (header.size > UDP_PAYLOAD_MAX || header.size + sizeof header > socket->queue.in_size) {
        socket->queue.is_broken = true;
        return false;
    }
    if (readable < sizeof header + header.size) {
        socket->queue.is_broken = true; /* see struct udp_header */
        return false;
    }
    socket_queue_consume(&socket->queue, sizeof header);
    struct pbuf *p = pbuf_alloc(PBUF_TRANSPORT, (u16_t)header.size, PBUF_RAM);
    if (p == nullptr) {
        socket_queue_consume(&socket->queue, header.size);
        return true;
    }
    socket_queue_read(&socket->queue, p->payload, header.size);
    ip_addr_t remote = {};
    ip_2_ip4(&remote)->addr = header.address;
    udp_sendto(socket->udp, p, &remote, header.port);
    pbuf_free(p);
    return true;
}

void udp_work(struct socket *socket)
{
    constexpr uint32_t BATCH = 64;
    uint32_t count = 0;
    do {
        while (count < BATCH && send_one(socket)) {
            count++;
        }
        if (socket->queue.is_broken) {
            socket_queue_set_state(&socket->queue, SOCKET_QUEUE_FAILED, ERROR_BAD_FORMAT);
            break;
        }
        if (count >= BATCH) {
            /* Others first: the doorbell that is due again brings us back. */
            socket_queue_cancel_wait(&socket->queue);
            (void)tess_event_set(socket->session->doorbell, UINT64_C(1) << socket->doorbell_bit);
            break;
        }
    } while (!socket_queue_prepare_wait(&socket->queue, SOCKET_QUEUE_WANT_READABLE) && count < BATCH);
    socket_ring(socket);
}

void udp_drop(struct socket *socket)
{
    udp_remove(socket->udp);
    socket->udp = nullptr;
    socket_detach(socket);
    socket_free(socket);
}

status_t session_udp(struct session *session, uint32_t port, uint32_t client_bit, uint32_t rx_bytes, uint32_t tx_bytes, handle_t queue,
                     uint32_t *out_doorbell_bit, uint32_t *out_port, handle_t *out_socket)
{
    status_t status = socket_check_sizes(session, rx_bytes, tx_bytes, client_bit);
    if (status != OK || port > UINT16_MAX) {
        return status != OK ? status : ERROR_BAD_ARGUMENT;
    }
    struct udp_pcb *pcb = udp_new();
    struct socket *socket = pcb != nullptr ? socket_new() : nullptr;
    if (socket == nullptr) {
        if (pcb != nullptr) {
            udp_remove(pcb);
        }
        return ERROR_NO_SPACE;
    }
    socket->state = SOCKET_UDP;
    socket->udp = pcb;
    if (udp_bind(pcb, IP_ADDR_ANY, (u16_t)port) != ERR_OK) {
        status = ERROR_BUSY;
    }
    if (status == OK) {
        status = socket_attach(socket, session, queue, rx_bytes, tx_bytes, client_bit);
    }
    if (status == OK) {
        status = socket_handle(socket, out_socket);
    }
    if (status != OK) {
        udp_drop(socket);
        return status;
    }
    udp_recv(pcb, datagram_arrived, socket);
    std_handle_delete(queue);
    socket_queue_set_state(&socket->queue, SOCKET_QUEUE_OPEN, OK);
    *out_doorbell_bit = socket->doorbell_bit;
    *out_port = pcb->local_port;
    socket_mark(socket);
    return OK;
}
