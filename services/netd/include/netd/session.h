/*
 * What clients hold: sessions, listeners and sockets, each a badge of one endpoint that netd makes for itself at its start, so
 * that every handle of an earlier netd is stale. A badge names kind, table slot and the slot's generation; a slot's generation
 * changes when it is given back, so a handle to something closed finds nothing.
 */
#pragma once
#include <std/loop.h>
#include <stdint.h>
#include <tess/call.h>

constexpr uint32_t SESSIONS = 16;
constexpr uint32_t SESSION_SOCKETS_MAX = 192;
constexpr uint32_t SESSION_LISTENERS_MAX = 8;

enum object_kind : uint8_t { OBJECT_KIND_SESSION = 1, OBJECT_KIND_LISTENER, OBJECT_KIND_SOCKET };

struct socket;
struct listener;

struct session {
    bool is_open;
    uint32_t generation;
    uint32_t listen_bit;
    uint32_t socket_count, listener_count;
    uint64_t ring_bits; /* to raise in client_event at the end of this round */
    handle_t client_event, doorbell;
    struct loop_watch doorbell_watch;
    struct socket *by_bit[64]; /* sockets by their doorbell bit */
};

[[nodiscard]] status_t sessions_init(struct loop *loop);
/* net.session */
status_t session_open(struct tess_call *call, uint32_t listen_bit, handle_t client_event, handle_t *out_session, handle_t *out_doorbell);
/* Raises what was gathered; after each round of work. */
void sessions_flush(void);

static inline uint64_t object_badge(enum object_kind kind, uint32_t index, uint32_t generation)
{
    return (uint64_t)kind << 56 | (uint64_t)index << 32 | generation;
}
/* A handle for a client: the object's badge with these rights, and those needed to pass it on and watch it. */
[[nodiscard]] status_t object_handle(uint64_t badge, uint32_t rights, handle_t *out_handle);
