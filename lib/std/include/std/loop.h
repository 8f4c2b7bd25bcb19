/*
 * An event loop over a ring: serves endpoints, watches objects, runs timers. Everything runs in the thread that calls
 * loop_run(), one function at a time, so no locks. Registration structures belong to the caller and stay in place while
 * registered; a completion that was already queued when its registration ended is dropped, never delivered to a stranger.
 *
 *     struct loop loop;
 *     loop_open(&loop, nullptr);
 *     static struct loop_service service = {.dispatch = dispatch};     // calls rng_dispatch(&rng_server, ...)
 *     loop_serve(&loop, &service, std_handle_needed("rng.owner"));
 *     return loop_run(&loop);
 */
#pragma once
#include <std/ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <tess/call.h>
#include <tess/tree.h>

struct loop;

/* ---- Endpoints ---- */
struct loop_service {
    /* Usually `return x_dispatch(&x_server, service->context, call);`. The loop replies with its result unless call->is_deferred. */
    status_t (*dispatch)(struct loop_service *service, struct tess_call *call);
    /* The last handle with this badge is gone. May be nullptr. */
    void (*badge_gone)(struct loop_service *service, uint64_t badge);
    void *context;
    uint32_t slot; /* the loop's */
    handle_t endpoint;
};

/* ---- Watches ---- */
struct loop_watch {
    /* bits: the event bits seen (interrupt: 1); status PEER_DIED: the object is gone and the watch has ended. */
    void (*fn)(struct loop_watch *watch, uint64_t bits, status_t status);
    void *context;
    uint32_t slot;
    bool is_once;
};

/* ---- Timers: kept in user space, any number, no system call to start or stop one ---- */
struct loop_timer {
    void (*fn)(struct loop_timer *timer);
    void *context;
    uint64_t at_ns;
    struct tree_node node;
    bool is_running;
};

struct loop_source {
    void *what;          /* struct loop_service or struct loop_watch; nullptr = free */
    uint32_t generation; /* in the cookie's upper half: tells a late completion */
    bool is_service;
};

constexpr uint32_t LOOP_SOURCES_DEFAULT = 64;

struct loop {
    /* The caller behind the token of a deferred call does not wait any more; nullptr: nobody wants to know. Set after loop_open. */
    void (*cancelled)(struct loop *loop, uint64_t token);
    struct std_ring ring;
    struct tree timers;
    struct loop_source *sources;
    uint32_t source_count;
    bool is_stopped;
    int32_t stop_result;
};

/* nullptr: 16 submissions, 64 completions, 32 calls in progress, 64 watches. */
[[nodiscard]] status_t loop_open(struct loop *loop, const struct std_ring_sizes *sizes);
void loop_close(struct loop *loop);

[[nodiscard]] status_t loop_serve(struct loop *loop, struct loop_service *service, handle_t endpoint);
void loop_unserve(struct loop *loop, struct loop_service *service);
/* Answers a deferred call. `call` holds results (see <interface>_<method>_reply), or nullptr. PEER_DIED: the caller is gone; reply
 * handles that should have been moved are then still ours, and are deleted. */
status_t loop_reply(struct loop *loop, uint64_t token, status_t status, struct tess_call *call);

/* mask and flags as in ring.watch. With WATCH_ONCE the watch ends before fn runs. */
[[nodiscard]] status_t loop_watch(struct loop *loop, struct loop_watch *watch, handle_t object, uint64_t mask, uint32_t flags);
/* No fn call comes any more. Harmless when the watch has ended. */
void loop_unwatch(struct loop *loop, struct loop_watch *watch);

/* Starts, or moves a running one. fn runs once, at or after at_ns. */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t at_ns);
void loop_timer_stop(struct loop *loop, struct loop_timer *timer);

/* Runs until loop_stop(); returns its result, or a negative error of the ring itself. */
int32_t loop_run(struct loop *loop);
/* Handles what is there, waiting at most until the deadline for something to come: OK, TIMED_OUT, or an error of the ring. */
status_t loop_run_once(struct loop *loop, uint64_t deadline_ns);
void loop_stop(struct loop *loop, int32_t result);
