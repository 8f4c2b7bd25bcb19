#include <httpd/http_date.h>
#include <httpd/server.h>
#include <httpd/snapshot.h>
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/string.h>
#include <tess/stub/event.h>
#include <tess/stub/listener.h>
#include <tess/stub/net.h>
#include <tess/stub/session.h>
#include <tess/stub/socket.h>
#include <tess/stub/untyped.h>

static constexpr uint32_t PORT = 80, BACKLOG = 200;
static constexpr uint32_t LISTEN_BIT = 63, SLOT_BITS = 63; /* slots share bits 0..62 of our event */
static constexpr uint64_t CALL_NS = NS_PER_S;              /* the network service answers at once, or is gone */
static constexpr uint64_t PAUSE_FIRST_NS = 20 * NS_PER_MS, PAUSE_LAST_NS = 5 * NS_PER_S;
static constexpr uint64_t IDLE_KEPT_NS = 3 * NS_PER_S;
static constexpr uint64_t EVICT_NS = 250 * NS_PER_MS;       /* that much patience when others wait for a slot */
static constexpr uint64_t WALL_PLAUSIBLE_S = 1'577'836'800; /* 2020: an earlier clock was never set */
static constexpr uint32_t TURNS = 4, ACCEPT_BATCH = 8;

/* ---- What connections ask of us ---- */

static void respond(void *context, const char *path, struct http_response *out_response)
{
    struct server *server = context;
    if (!snapshot_respond(path, out_response)) {
        site_respond(&server->site, path, time_now_ns(), out_response);
    }
}

static void release(void *context, void *document)
{
    (void)context;
    if (!snapshot_release(document)) {
        site_release(document);
    }
}

static const char *date(void *context)
{
    struct server *server = context;
    uint64_t second = time_wall_ns() / NS_PER_S;
    if (second < WALL_PLAUSIBLE_S) {
        return nullptr;
    }
    if (second != server->date_second) {
        static_assert(sizeof server->date >= HTTP_DATE_BYTES);
        http_date(second, server->date);
        server->date_second = second;
    }
    return server->date;
}

void server_facts(const struct server *server, struct status_http *out_facts)
{
    uint32_t made = server->busy_count + server->idle_count;
    *out_facts = (struct status_http){.counters = server->counters,
                                      .connections = server->busy_count,
                                      .connections_peak = server->busy_peak,
                                      .spare = made > SERVER_SLOTS_KEPT ? made - SERVER_SLOTS_KEPT : 0,
                                      .accepted = server->accepted,
                                      .refused = server->refused};
}

/* ---- Deadlines: one timer for the earliest; connections only ever move theirs, so it is looked for when it fires ---- */

static void check_at(struct server *server, uint64_t at_ns)
{
    if (!server->check_timer.is_running || at_ns < server->check_timer.at_ns) {
        loop_timer_start(server->loop, &server->check_timer, at_ns);
    }
}

/* ---- Slots ---- */

static bool slot_make(struct server *server, struct slot *slot)
{
    struct std_mapping mapping;
    if (std_mapping_create(socket_queue_memory_size(SERVER_RX_BYTES, SERVER_TX_BYTES), MEMORY_COMMITTED, &mapping) != OK) {
        return false;
    }
    if (std_handle_copy(mapping.memory, MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE | RIGHT_COPY | RIGHT_INSPECT, &slot->memory) != OK) {
        std_mapping_destroy(&mapping);
        return false;
    }
    std_handle_delete(mapping.memory);
    slot->base = mapping.address;
    slot->state = SLOT_IDLE;
    server->idle_count++;
    return true;
}

static void slot_unmake(struct server *server, struct slot *slot)
{
    std_unmap(slot->base, socket_queue_memory_size(SERVER_RX_BYTES, SERVER_TX_BYTES));
    std_handle_delete(slot->memory);
    slot->base = nullptr;
    slot->memory = HANDLE_NONE;
    slot->state = SLOT_EMPTY;
    server->idle_count--;
}

/* An idle slot, the lowest first, so that the upper ones can be given back; null when memory or slots have run out. */
static struct slot *slot_take(struct server *server)
{
    struct slot *empty = nullptr;
    for (uint32_t i = 0; i < SERVER_SLOTS; i++) {
        struct slot *slot = &server->slots[i];
        if (slot->state == SLOT_IDLE) {
            return slot;
        }
        if (slot->state == SLOT_EMPTY && empty == nullptr) {
            empty = slot;
        }
    }
    return empty != nullptr && slot_make(server, empty) ? empty : nullptr;
}

/* Always the same ones, made at the start: which objects stay does not depend on who came and went. */
static bool slot_is_kept(const struct server *server, const struct slot *slot) { return slot - server->slots < SERVER_SLOTS_KEPT; }

/* The network service may still write to the slot's queue: that memory is not used again. */
static void slot_renew(struct server *server, struct slot *slot)
{
    slot_unmake(server, slot);
    if (slot_is_kept(server, slot)) {
        (void)slot_make(server, slot); /* without memory now: made when it is needed */
    }
}

/* `is_quiet`: the network service does not touch the queue any more. */
static void slot_end(struct server *server, struct slot *slot, bool is_quiet)
{
    connection_drop(&slot->connection, &server->host);
    std_handle_delete(slot->socket);
    slot->socket = HANDLE_NONE;
    slot->state = SLOT_IDLE;
    slot->idle_since_ns = time_now_ns();
    server->busy_count--;
    server->idle_count++;
    if (!is_quiet) {
        slot_renew(server, slot);
    } else if (!slot_is_kept(server, slot)) {
        check_at(server, slot->idle_since_ns + IDLE_KEPT_NS);
    }
}

/* All slots are taken and somebody waits: the client that has kept us waiting longest goes, unless all are active. */
static struct slot *slot_evict(struct server *server)
{
    struct slot *longest = nullptr;
    uint64_t now = time_now_ns(), waited = EVICT_NS;
    for (uint32_t i = 0; i < SERVER_SLOTS; i++) {
        struct slot *slot = &server->slots[i];
        if (slot->state == SLOT_BUSY && connection_waited_ns(&slot->connection, now) > waited) {
            longest = slot;
            waited = connection_waited_ns(&slot->connection, now);
        }
    }
    if (longest == nullptr) {
        check_at(server, now + EVICT_NS); /* nobody has waited long enough yet */
        return nullptr;
    }
    server->counters.timeouts++;
    slot_end(server, longest, tess_socket_close(longest->socket, time_after_ns(CALL_NS)) == OK);
    return longest->state == SLOT_IDLE ? longest : nullptr;
}

static uint64_t slot_bit(const struct server *server, const struct slot *slot)
{
    return UINT64_C(1) << ((uint32_t)(slot - server->slots) % SLOT_BITS);
}

static void slot_run(struct server *server, struct slot *slot)
{
    for (uint32_t turn = 0;; turn++) {
        enum connection_result result = connection_run(&slot->connection, &slot->queue, &server->host, time_now_ns());
        if (socket_queue_should_wake(&slot->queue)) {
            server->doorbell_ring |= UINT64_C(1) << slot->doorbell_bit;
        }
        switch (result) {
        case CONNECTION_CLOSE: slot_end(server, slot, tess_socket_close(slot->socket, time_after_ns(CALL_NS)) == OK); return;
        case CONNECTION_ABORT: slot_end(server, slot, tess_socket_abort(slot->socket, time_after_ns(CALL_NS)) == OK); return;
        case CONNECTION_SHUTDOWN:
            /* Its failure shows in the queue's state. */
            (void)tess_socket_shutdown(slot->socket, time_after_ns(CALL_NS));
            break;
        case CONNECTION_WAIT: break;
        }
        if (socket_queue_prepare_wait(&slot->queue, slot->connection.wants)) {
            check_at(server, slot->connection.deadline_ns);
            return;
        }
        if (turn == TURNS) {
            /* Others first; our own bit brings us back. */
            (void)tess_event_set(server->event, slot_bit(server, slot));
            return;
        }
    }
}

static void slot_begin(struct server *server, struct slot *slot)
{
    server->idle_count--;
    server->busy_count++;
    server->accepted++;
    if (server->busy_count > server->busy_peak) {
        server->busy_peak = server->busy_count;
    }
    slot->state = SLOT_BUSY;
    connection_init(&slot->connection, time_now_ns());
    slot_run(server, slot);
}

static void accept_waiting(struct server *server)
{
    for (uint32_t count = 0; server->has_session && server->has_waiting; count++) {
        if (count == ACCEPT_BATCH) {
            /* Those accepted before come first, or a stream of new connections would keep them waiting for ever. */
            (void)tess_event_set(server->event, UINT64_C(1) << LISTEN_BIT);
            return;
        }
        struct slot *slot = slot_take(server);
        if (slot == nullptr) {
            slot = slot_evict(server);
        }
        if (slot == nullptr) {
            return; /* tried again when the timer fires or a slot is free */
        }
        uint32_t address, port;
        uint64_t bit = slot_bit(server, slot);
        socket_queue_init(&slot->queue, slot->base, socket_queue_memory_size(SERVER_RX_BYTES, SERVER_TX_BYTES), SERVER_RX_BYTES,
                          SERVER_TX_BYTES);
        status_t status = tess_listener_accept(server->listener, SERVER_RX_BYTES, SERVER_TX_BYTES, (uint32_t)__builtin_ctzll(bit),
                                               slot->memory, &slot->doorbell_bit, &address, &port, &slot->socket, time_after_ns(CALL_NS));
        if (status == OK) {
            slot->doorbell_bit &= 63;
            slot_begin(server, slot);
            continue;
        }
        if (status == ERROR_TIMED_OUT) {
            slot_renew(server, slot);
        }
        if (status == ERROR_WOULD_BLOCK) {
            server->has_waiting = false;
        } else {
            server->refused++;
            check_at(server, time_after_ns(PAUSE_FIRST_NS));
        }
        return;
    }
}

static void check_fired(struct loop_timer *timer)
{
    struct server *server = timer->context;
    uint64_t now = time_now_ns(), next = UINT64_MAX;
    for (uint32_t i = SERVER_SLOTS; i-- > 0;) {
        struct slot *slot = &server->slots[i];
        if (slot->state == SLOT_BUSY && now >= slot->connection.deadline_ns) {
            slot_run(server, slot);
        }
        if (slot->state == SLOT_BUSY && slot->connection.deadline_ns < next) {
            next = slot->connection.deadline_ns;
        }
        if (slot->state == SLOT_IDLE && !slot_is_kept(server, slot)) {
            if (now >= slot->idle_since_ns + IDLE_KEPT_NS) {
                slot_unmake(server, slot);
            } else if (slot->idle_since_ns + IDLE_KEPT_NS < next) {
                next = slot->idle_since_ns + IDLE_KEPT_NS;
            }
        }
    }
    accept_waiting(server);
    if (next != UINT64_MAX) {
        check_at(server, next);
    }
}

/* Only noted: many may have come at once, and going round once for all of them treats connections alike. */
static void event_fired(struct loop_watch *watch, uint64_t bits, status_t status)
{
    struct server *server = watch->context;
    (void)status;
    server->ready_bits |= bits;
}

static void run_ready(struct server *server)
{
    uint64_t bits = server->ready_bits;
    server->ready_bits = 0;
    for (uint32_t i = 0; i < SERVER_SLOTS; i++) {
        struct slot *slot = &server->slots[i];
        if (slot->state == SLOT_BUSY && (bits & slot_bit(server, slot)) != 0) {
            slot_run(server, slot);
        }
    }
    server->has_waiting |= (bits >> LISTEN_BIT & 1) != 0;
    accept_waiting(server);
}

void server_work(struct server *server)
{
    if (server->ready_bits != 0) {
        run_ready(server);
    }
    if (server->doorbell_ring != 0 && server->has_session) {
        /* The service's death is noticed by the watch on the doorbell. */
        (void)tess_event_set(server->doorbell, server->doorbell_ring);
    }
    server->doorbell_ring = 0;
}

/* ---- The session ---- */

static void session_drop(struct server *server)
{
    server->has_session = server->has_waiting = false;
    for (uint32_t i = 0; i < SERVER_SLOTS; i++) {
        if (server->slots[i].state == SLOT_BUSY) {
            slot_end(server, &server->slots[i], true);
        }
    }
    loop_unwatch(server->loop, &server->doorbell_watch);
    std_handle_delete(server->listener);
    std_handle_delete(server->session);
    std_handle_delete(server->doorbell);
    server->listener = server->session = server->doorbell = HANDLE_NONE;
}

static status_t session_try(struct server *server)
{
    uint32_t reserved;
    status_t status = tess_net_session(server->net, LISTEN_BIT, server->event_signal, &reserved, &server->session, &server->doorbell,
                                       time_after_ns(CALL_NS));
    if (status != OK) {
        return status;
    }
    status = loop_watch(server->loop, &server->doorbell_watch, server->doorbell, 0, WATCH_DEATH);
    if (status == OK) {
        status = tess_session_listen(server->session, PORT, BACKLOG, &server->listener, time_after_ns(CALL_NS));
    }
    return status;
}

static void session_open(struct server *server)
{
    status_t status = session_try(server);
    if (status != OK) {
        session_drop(server);
        if (server->pause_ns == PAUSE_FIRST_NS) {
            log_warning("the network service gives no session (%s); trying again", status_name(status));
        }
        loop_timer_start(server->loop, &server->open_timer, time_after_ns(server->pause_ns));
        server->pause_ns = server->pause_ns * 2 < PAUSE_LAST_NS ? server->pause_ns * 2 : PAUSE_LAST_NS;
        return;
    }
    server->has_session = server->has_waiting = true;
    server->pause_ns = PAUSE_FIRST_NS;
    log_info("listening on port %u", PORT);
    accept_waiting(server);
}

static void open_fired(struct loop_timer *timer) { session_open(timer->context); }

static void doorbell_died(struct loop_watch *watch, uint64_t bits, status_t status)
{
    struct server *server = watch->context;
    (void)bits;
    if (status == ERROR_PEER_DIED && server->has_session) {
        log_warning("the network service ended; %u connections lost", server->busy_count);
        session_drop(server);
        loop_timer_start(server->loop, &server->open_timer, time_now_ns());
    }
}

/*
 * The kernel grows a table of handles when it fills and keeps it so. Filling it once at the start makes the memory of a server
 * that was under load equal to that of one that was not, which is how a leak would show.
 */
static status_t table_fill_once(handle_t any)
{
    static handle_t copies[2 * SERVER_SLOTS];
    status_t status = OK;
    uint32_t count = 0;
    while (count < sizeof copies / sizeof copies[0] && status == OK) {
        status = std_handle_copy(any, RIGHT_INSPECT, &copies[count]);
        count += status == OK;
    }
    while (count > 0) {
        std_handle_delete(copies[--count]);
    }
    return status;
}

status_t server_init(struct server *server, struct loop *loop, handle_t net)
{
    server->loop = loop;
    server->net = net;
    server->pause_ns = PAUSE_FIRST_NS;
    server->host =
        (struct connection_host){.context = server, .respond = respond, .release = release, .date = date, .counters = &server->counters};
    server->event_watch = (struct loop_watch){.fn = event_fired, .context = server};
    server->doorbell_watch = (struct loop_watch){.fn = doorbell_died, .context = server};
    server->open_timer = (struct loop_timer){.fn = open_fired, .context = server};
    server->check_timer = (struct loop_timer){.fn = check_fired, .context = server};
    status_t status = tess_untyped_create_event(std_self.untyped, &server->event);
    if (status == OK) {
        status = std_handle_copy(server->event, EVENT_RIGHT_SIGNAL | RIGHT_COPY | RIGHT_INSPECT, &server->event_signal);
    }
    if (status == OK) {
        status = loop_watch(loop, &server->event_watch, server->event, UINT64_MAX, WATCH_MULTI);
    }
    if (status == OK) {
        status = table_fill_once(server->event);
    }
    for (uint32_t i = 0; i < SERVER_SLOTS_KEPT && status == OK; i++) {
        status = slot_make(server, &server->slots[i]) ? OK : ERROR_NO_MEMORY;
    }
    if (status == OK) {
        session_open(server);
    }
    return status;
}
