/*
 * One HTTP connection over a socket queue: reads requests, writes responses, knows its deadlines. No system calls: whoever
 * runs it (the server, or a test) rings doorbells, watches the clock and closes the socket when told so.
 *
 * States:
 *   READING   the head of a request is expected or half there; deadline: idle, or slow client once it has begun
 *   BODY      the rest of a request body is thrown away before the answer
 *   WRITING   an answer is going out; deadline: no progress
 *   LINGER    the last answer is out and our direction shut; what still comes in is thrown away for a while, because closing
 *             with unread bytes would make the stack reset the connection and lose the answer on its way (RFC 9112, 9.6)
 */
#pragma once
#include <httpd/http_parser.h>
#include <httpd/http_path.h>
#include <ring/socket_queue.h>
#include <stdint.h>

constexpr uint64_t CONNECTION_IDLE_NS = 10'000'000'000;
constexpr uint64_t CONNECTION_HEAD_NS = 5'000'000'000;
constexpr uint64_t CONNECTION_STALL_NS = 10'000'000'000;
constexpr uint64_t CONNECTION_LINGER_NS = 2'000'000'000;
constexpr uint64_t CONNECTION_BODY_LIMIT = 65536;   /* of a request body worth skipping to keep the connection */
constexpr uint64_t CONNECTION_LINGER_LIMIT = 65536; /* bytes thrown away while lingering */
constexpr uint32_t CONNECTION_HEAD_BYTES = 512;     /* queue space needed before an answer begins */

struct http_counters {
    uint64_t requests, errors, timeouts, bytes_out, first_byte_ns;
};

struct http_response {
    uint16_t status;
    const char *content_type;
    const char *etag;          /* with its quotes; null: none */
    const char *cache_control; /* null: none */
    const void *body;          /* stays valid until released */
    size_t size;
    void *document; /* handed to release() when the body is out or given up; null: nothing to release */
};

/* What the server does for its connections. */
struct connection_host {
    void *context;
    /* Answers a GET or HEAD of a normalised path: 200 with a body, or 404. */
    void (*respond)(void *context, const char *path, struct http_response *out_response);
    void (*release)(void *context, void *document);
    const char *(*date)(void *context); /* IMF-fixdate, or null when the wall clock is not set */
    struct http_counters *counters;
};

enum connection_state : uint8_t { CONNECTION_READING, CONNECTION_BODY, CONNECTION_WRITING, CONNECTION_LINGER };

enum connection_result : uint8_t {
    CONNECTION_WAIT,     /* nothing to do until `wants` or `deadline_ns` */
    CONNECTION_SHUTDOWN, /* send what is queued and end our direction; then as WAIT */
    CONNECTION_CLOSE,    /* close in order */
    CONNECTION_ABORT,    /* reset */
};

struct connection {
    enum connection_state state;
    bool keeps_alive; /* after the answer being written */
    bool is_shut;
    uint32_t wants; /* SOCKET_QUEUE_WANT_* to wait for */
    uint64_t deadline_ns;
    uint64_t discard_left; /* BODY and LINGER */
    struct http_parser parser;
    struct http_response response;
    size_t body_sent;
};

void connection_init(struct connection *connection, uint64_t now_ns);
/* Does all that can be done now. Call when the doorbell rang or the deadline passed. */
enum connection_result connection_run(struct connection *connection, struct socket_queue *queue, const struct connection_host *host,
                                      uint64_t now_ns);
/* How long it has been waiting for the client to say something; 0 while an answer is under way. */
uint64_t connection_waited_ns(const struct connection *connection, uint64_t now_ns);
/* Gives back what an unfinished answer holds; before the connection is forgotten. */
void connection_drop(struct connection *connection, const struct connection_host *host);
