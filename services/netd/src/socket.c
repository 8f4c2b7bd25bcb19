/* The table of sockets, what they share, and the rounds of work. TCP is in tcp.c, UDP in udp.c, listeners in listener.c. */
#include <netd/socket.h>
#include <std/memory.h>
#include <std/program.h>
#include <tess/serve/socket.h>

static struct socket sockets[SOCKETS];
static struct socket *marked;
static uint32_t search_from; /* slots are used in turn, so that a stale badge stays stale for long */

void sockets_init(void)
{
    for (uint32_t i = 0; i < SOCKETS; i++) {
        sockets[i].generation = 1;
    }
}

static uint32_t index_of(const struct socket *socket) { return (uint32_t)(socket - sockets); }

struct socket *socket_new(void)
{
    for (uint32_t i = 0; i < SOCKETS; i++) {
        struct socket *socket = &sockets[(search_from + i) % SOCKETS];
        if (socket->state == SOCKET_FREE && !socket->is_marked) {
            search_from = (search_from + i + 1) % SOCKETS;
            uint32_t generation = socket->generation;
            *socket = (struct socket){.generation = generation, .state = SOCKET_WAITING};
            return socket;
        }
    }
    return nullptr;
}

void socket_free(struct socket *socket)
{
    socket->state = SOCKET_FREE;
    socket->generation = socket->generation + 1 != 0 ? socket->generation + 1 : 1;
}

struct socket *socket_find(uint32_t index, uint32_t generation)
{
    if (index >= SOCKETS || sockets[index].generation != generation ||
        (sockets[index].state != SOCKET_ACTIVE && sockets[index].state != SOCKET_UDP)) {
        return nullptr;
    }
    return &sockets[index];
}

void socket_mark(struct socket *socket)
{
    if (!socket->is_marked) {
        socket->is_marked = true;
        socket->next_marked = marked;
        marked = socket;
    }
}

void sockets_flush(void)
{
    while (marked != nullptr) {
        struct socket *socket = marked;
        marked = socket->next_marked;
        socket->is_marked = false;
        if (socket->state == SOCKET_ACTIVE || socket->state == SOCKET_CLOSING) {
            tcp_work(socket);
        } else if (socket->state == SOCKET_UDP) {
            udp_work(socket);
        }
    }
}

void sockets_retry(void)
{
    tcp_retry_begin();
    for (uint32_t i = 0; i < SOCKETS; i++) {
        if (sockets[i].state == SOCKET_ACTIVE || sockets[i].state == SOCKET_CLOSING) {
            socket_mark(&sockets[i]);
        }
    }
}

void sockets_rung(struct session *session, uint64_t bits)
{
    for (; bits != 0; bits &= bits - 1) {
        for (struct socket *socket = session->by_bit[__builtin_ctzll(bits)]; socket != nullptr; socket = socket->next_in_bit) {
            socket_mark(socket);
        }
    }
}

void socket_ring(struct socket *socket)
{
    if (socket->session != nullptr && socket_queue_should_wake(&socket->queue)) {
        socket->session->ring_bits |= UINT64_C(1) << socket->client_bit;
    }
}

status_t socket_check_sizes(const struct session *session, uint32_t rx_bytes, uint32_t tx_bytes, uint32_t client_bit)
{
    if (client_bit > 63 || socket_queue_memory_size(rx_bytes, tx_bytes) == 0) {
        return ERROR_BAD_ARGUMENT;
    }
    return session->socket_count < SESSION_SOCKETS_MAX ? OK : ERROR_NO_SPACE;
}

status_t socket_attach(struct socket *socket, struct session *session, handle_t memory, uint32_t rx_bytes, uint32_t tx_bytes,
                       uint32_t client_bit)
{
    size_t size = socket_queue_memory_size(rx_bytes, tx_bytes);
    void *base;
    status_t status = std_map(memory, 0, size, MAP_READ | MAP_WRITE, &base);
    if (status != OK) {
        /* What is wrong with the client's memory is the client's mistake; only a lack of memory is ours. */
        return status == ERROR_NO_MEMORY ? status : ERROR_BAD_ARGUMENT;
    }
    if (!socket_queue_attach(&socket->queue, base, size, rx_bytes, tx_bytes, SOCKET_QUEUE_SERVICE)) {
        std_unmap(base, size);
        return ERROR_BAD_ARGUMENT;
    }
    socket->base = base;
    socket->base_size = size;
    socket->session = session;
    socket->client_bit = (uint8_t)client_bit;
    socket->doorbell_bit = (uint8_t)(index_of(socket) % 64);
    socket->next_in_bit = session->by_bit[socket->doorbell_bit];
    session->by_bit[socket->doorbell_bit] = socket;
    session->socket_count++;
    return OK;
}

void socket_detach(struct socket *socket)
{
    if (socket->session != nullptr) {
        struct socket **link = &socket->session->by_bit[socket->doorbell_bit];
        while (*link != socket) {
            link = &(*link)->next_in_bit;
        }
        *link = socket->next_in_bit;
        socket->session->socket_count--;
        socket->session = nullptr;
    }
    if (socket->base != nullptr) {
        std_unmap(socket->base, socket->base_size);
        socket->base = nullptr;
    }
}

status_t socket_handle(struct socket *socket, handle_t *out_handle)
{
    return object_handle(object_badge(OBJECT_KIND_SOCKET, index_of(socket), socket->generation), SOCKET_RIGHT_USE, out_handle);
}

status_t socket_shutdown(struct socket *socket)
{
    if (socket->state == SOCKET_UDP) {
        return ERROR_UNKNOWN_METHOD;
    }
    socket->wants_fin = true;
    socket_mark(socket);
    return OK;
}

void socket_abort(struct socket *socket)
{
    if (socket->state == SOCKET_UDP) {
        udp_drop(socket);
    } else {
        tcp_drop(socket);
    }
}

void socket_close(struct socket *socket)
{
    if (socket->state == SOCKET_UDP) {
        udp_drop(socket);
    } else {
        tcp_let_go(socket);
    }
}

void sockets_close_session(struct session *session)
{
    for (uint32_t i = 0; i < SOCKETS; i++) {
        if (sockets[i].session == session && sockets[i].state != SOCKET_FREE) {
            socket_abort(&sockets[i]);
        }
    }
    for (uint32_t i = 0; i < LISTENERS; i++) {
        struct listener *listener = listener_at(i);
        if (listener->is_open && listener->session == session) {
            listener_close(listener);
        }
    }
}
