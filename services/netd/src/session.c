#include <netd/session.h>
#include <netd/socket.h>
#include <std/log.h>
#include <std/program.h>
#include <tess/serve/listener.h>
#include <tess/serve/session.h>
#include <tess/serve/socket.h>
#include <tess/stub/event.h>
#include <tess/stub/untyped.h>

static constexpr uint32_t CLIENT_RIGHTS = RIGHT_COPY | RIGHT_MOVE | RIGHT_WATCH | RIGHT_INSPECT;

static struct {
    struct loop *loop;
    struct loop_service service;
    struct session sessions[SESSIONS];
} net;

status_t object_handle(uint64_t badge, uint32_t rights, handle_t *out_handle)
{
    return std_handle_mint(net.service.endpoint, rights | CLIENT_RIGHTS, badge, out_handle);
}

static enum object_kind badge_kind(uint64_t badge) { return (enum object_kind)(badge >> 56); }

static uint32_t badge_index(uint64_t badge) { return badge >> 32 & 0xFFFFFF; }

static struct session *session_find(uint64_t badge)
{
    uint32_t index = badge_index(badge);
    if (badge_kind(badge) != OBJECT_KIND_SESSION || index >= SESSIONS || !net.sessions[index].is_open ||
        net.sessions[index].generation != (uint32_t)badge) {
        return nullptr;
    }
    return &net.sessions[index];
}

static void session_close(struct session *session)
{
    sockets_close_session(session);
    loop_unwatch(net.loop, &session->doorbell_watch);
    std_handle_delete(session->doorbell);
    std_handle_delete(session->client_event);
    session->is_open = false;
    session->generation++;
}

static void doorbell_fired(struct loop_watch *watch, uint64_t bits, status_t status)
{
    if (status == OK) {
        sockets_rung(watch->context, bits);
    }
}

/* The parts of a new session; what was made before an error is taken back by the caller. */
static status_t session_make(struct session *session, uint32_t rights, handle_t *out_session, handle_t *out_doorbell)
{
    status_t status = tess_untyped_create_event(std_self.untyped, &session->doorbell);
    if (status == OK) {
        status = loop_watch(net.loop, &session->doorbell_watch, session->doorbell, UINT64_MAX, WATCH_MULTI);
    }
    if (status == OK) {
        status = std_handle_copy(session->doorbell, EVENT_RIGHT_SIGNAL | CLIENT_RIGHTS, out_doorbell);
    }
    if (status == OK) {
        uint32_t index = (uint32_t)(session - net.sessions);
        status = object_handle(object_badge(OBJECT_KIND_SESSION, index, session->generation),
                               rights & (SESSION_RIGHT_LISTEN | SESSION_RIGHT_CONNECT), out_session);
    }
    return status;
}

status_t session_open(struct tess_call *call, uint32_t listen_bit, handle_t client_event, handle_t *out_session, handle_t *out_doorbell)
{
    struct session *session = nullptr;
    if (listen_bit > 63) {
        return ERROR_BAD_ARGUMENT;
    }
    for (uint32_t i = 0; i < SESSIONS && session == nullptr; i++) {
        session = net.sessions[i].is_open ? nullptr : &net.sessions[i];
    }
    if (session == nullptr) {
        return ERROR_NO_SPACE;
    }
    uint32_t generation = session->generation;
    *session = (struct session){.generation = generation,
                                .listen_bit = listen_bit,
                                .client_event = client_event,
                                .doorbell_watch = {.fn = doorbell_fired, .context = session}};
    status_t status = session_make(session, call->rights, out_session, out_doorbell);
    if (status != OK) {
        loop_unwatch(net.loop, &session->doorbell_watch);
        std_handle_delete(session->doorbell);
        std_handle_delete(*out_doorbell);
        return status;
    }
    session->is_open = true;
    call->reply_move_mask = 3; /* the dispatcher leaves this alone */
    return OK;
}

void sessions_flush(void)
{
    for (uint32_t i = 0; i < SESSIONS; i++) {
        struct session *session = &net.sessions[i];
        if (session->is_open && session->ring_bits != 0) {
            /* A client that is gone is noticed by its badge. */
            (void)tess_event_set(session->client_event, session->ring_bits);
            session->ring_bits = 0;
        }
    }
}

/* ---- The methods of the three interfaces: find the object, then do it ---- */

static status_t listen_called(void *context, struct tess_call *call, uint32_t port, uint32_t backlog, handle_t *out_listener)
{
    (void)context;
    struct session *session = session_find(call->badge);
    call->reply_move_mask = 1;
    return session != nullptr ? session_listen(session, port, backlog, out_listener) : ERROR_STALE_HANDLE;
}

static status_t connect_called(void *context, struct tess_call *call, uint32_t address, uint32_t port, uint32_t rx_bytes, uint32_t tx_bytes,
                               uint32_t client_bit, handle_t queue, uint32_t *out_doorbell_bit, handle_t *out_socket)
{
    (void)context;
    struct session *session = session_find(call->badge);
    call->reply_move_mask = 1;
    return session != nullptr ? session_connect(session, address, port, rx_bytes, tx_bytes, client_bit, queue, out_doorbell_bit, out_socket)
                              : ERROR_STALE_HANDLE;
}

static status_t udp_called(void *context, struct tess_call *call, uint32_t port, uint32_t client_bit, uint32_t rx_bytes, uint32_t tx_bytes,
                           handle_t queue, uint32_t *out_doorbell_bit, uint32_t *out_port, handle_t *out_socket)
{
    (void)context;
    struct session *session = session_find(call->badge);
    call->reply_move_mask = 1;
    return session != nullptr ? session_udp(session, port, client_bit, rx_bytes, tx_bytes, queue, out_doorbell_bit, out_port, out_socket)
                              : ERROR_STALE_HANDLE;
}

static status_t accept_called(void *context, struct tess_call *call, uint32_t rx_bytes, uint32_t tx_bytes, uint32_t client_bit,
                              handle_t queue, uint32_t *out_doorbell_bit, uint32_t *out_address, uint32_t *out_port, handle_t *out_socket)
{
    struct listener *listener = context;
    call->reply_move_mask = 1;
    return listener_accept(listener, rx_bytes, tx_bytes, client_bit, queue, out_doorbell_bit, out_address, out_port, out_socket);
}

static status_t shutdown_called(void *context, struct tess_call *call)
{
    (void)call;
    return socket_shutdown(context);
}

static status_t close_called(void *context, struct tess_call *call)
{
    (void)call;
    socket_close(context);
    return OK;
}

static status_t abort_called(void *context, struct tess_call *call)
{
    (void)call;
    socket_abort(context);
    return OK;
}

static const struct session_server session_methods = {.listen = listen_called, .connect = connect_called, .udp = udp_called};
static const struct listener_server listener_methods = {.accept = accept_called};
static const struct socket_server socket_methods = {.shutdown = shutdown_called, .close = close_called, .abort = abort_called};

/* The interface must be that of the badge's kind: a socket's handle is no listener. */
static status_t dispatch(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    switch (badge_kind(call->badge)) {
    case OBJECT_KIND_SESSION: return session_dispatch(&session_methods, nullptr, call);
    case OBJECT_KIND_LISTENER: {
        struct listener *listener = listener_find(badge_index(call->badge), (uint32_t)call->badge);
        return listener != nullptr ? listener_dispatch(&listener_methods, listener, call) : ERROR_STALE_HANDLE;
    }
    case OBJECT_KIND_SOCKET: {
        struct socket *socket = socket_find(badge_index(call->badge), (uint32_t)call->badge);
        return socket != nullptr ? socket_dispatch(&socket_methods, socket, call) : ERROR_STALE_HANDLE;
    }
    }
    return ERROR_UNKNOWN_METHOD;
}

static void badge_gone(struct loop_service *service, uint64_t badge)
{
    (void)service;
    switch (badge_kind(badge)) {
    case OBJECT_KIND_SESSION: {
        struct session *session = session_find(badge);
        if (session != nullptr) {
            session_close(session);
        }
        break;
    }
    case OBJECT_KIND_LISTENER: {
        struct listener *listener = listener_find(badge_index(badge), (uint32_t)badge);
        if (listener != nullptr) {
            listener_close(listener);
        }
        break;
    }
    case OBJECT_KIND_SOCKET: {
        struct socket *socket = socket_find(badge_index(badge), (uint32_t)badge);
        if (socket != nullptr) {
            socket_abort(socket);
        }
        break;
    }
    }
}

status_t sessions_init(struct loop *loop)
{
    net.loop = loop;
    net.service = (struct loop_service){.dispatch = dispatch, .badge_gone = badge_gone};
    for (uint32_t i = 0; i < SESSIONS; i++) {
        net.sessions[i].generation = 1;
    }
    handle_t endpoint;
    status_t status = tess_untyped_create_endpoint(std_self.untyped, &endpoint);
    return status == OK ? loop_serve(loop, &net.service, endpoint) : status;
}
