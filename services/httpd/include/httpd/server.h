/*
 * Connections of the web server: a session with the network service, a listener, and a slot per connection whose queue memory is
 * made when first needed, used again, and given back when idle for a while. When the network service dies its connections go
 * with it; the session is opened anew as soon as it is back.
 */
#pragma once
#include <httpd/connection.h>
#include <httpd/site.h>
#include <std/loop.h>

constexpr uint32_t SERVER_SLOTS = 128;
constexpr uint32_t SERVER_SLOTS_KEPT = 4; /* their memory stays */
constexpr uint32_t SERVER_RX_BYTES = 4096;
constexpr uint32_t SERVER_TX_BYTES = 16384;

enum slot_state : uint8_t { SLOT_EMPTY, SLOT_IDLE, SLOT_BUSY };

struct slot {
    enum slot_state state;
    uint32_t doorbell_bit;
    handle_t memory; /* what the network service gets a copy of; mapped here at base */
    void *base;
    handle_t socket;
    uint64_t idle_since_ns;
    struct socket_queue queue;
    struct connection connection;
};

struct server {
    struct loop *loop;
    handle_t net, event, event_signal;
    handle_t session, listener, doorbell; /* HANDLE_NONE: no session */
    bool has_session, has_waiting;        /* waiting: the listener may have connections nobody took */
    uint64_t ready_bits;                  /* of our event, not yet looked after */
    uint64_t doorbell_ring;               /* bits to raise at the end of the round */
    uint64_t pause_ns;
    struct loop_watch event_watch, doorbell_watch;
    struct loop_timer open_timer, check_timer;
    struct connection_host host;
    struct http_counters counters;
    uint64_t accepted, refused;
    uint32_t busy_count, busy_peak, idle_count;
    uint64_t date_second;
    char date[32];
    struct site site;
    struct slot slots[SERVER_SLOTS];
};

/* `site` is set up already. Opens the session as soon as the network service answers. */
[[nodiscard]] status_t server_init(struct server *server, struct loop *loop, handle_t net);
/* Runs the connections that have news, takes new ones, rings doorbells; after each round of the loop. */
void server_work(struct server *server);
void server_facts(const struct server *server, struct status_http *out_facts);
