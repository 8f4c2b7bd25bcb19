/*
 * The connection over real socket queues with a test playing the network side: the service end puts the client's bytes in and
 * takes the answers out, in chosen pieces.
 */
#include <check.h>
#include <httpd/http_response.h>
#include <httpd/site.h>
#include <stdlib.h>
#include <string.h>

static constexpr uint32_t RX = 4096, TX = 16384;

static struct {
    void *memory;
    struct socket_queue own, net;
    struct connection connection;
    struct http_counters counters;
    struct connection_host host;
    uint64_t now;
    char out[200000];
    size_t out_size;
    int held; /* documents not yet released */
} t;

static char big_body[60000];

static void respond(void *context, const char *path, struct http_response *out_response)
{
    (void)context;
    if (strcmp(path, "/big") == 0) {
        *out_response =
            (struct http_response){.status = 200, .content_type = "text/plain", .body = big_body, .size = sizeof big_body, .document = &t};
        t.held++;
    } else if (strcmp(path, "/") == 0) {
        *out_response = (struct http_response){.status = 200, .content_type = "text/plain", .etag = "\"e\"", .body = "hello", .size = 5};
    } else {
        out_response->status = 404;
    }
}

static void release(void *context, void *document)
{
    (void)context;
    (void)document;
    t.held--;
}

static const char *date(void *context)
{
    (void)context;
    return nullptr;
}

static void start(void)
{
    size_t size = socket_queue_memory_size(RX, TX);
    free(t.memory);
    t.memory = aligned_alloc(4096, size);
    CHECK(socket_queue_init(&t.own, t.memory, size, RX, TX));
    CHECK(socket_queue_attach(&t.net, t.memory, size, RX, TX, SOCKET_QUEUE_SERVICE));
    socket_queue_set_state(&t.net, SOCKET_QUEUE_OPEN, 0);
    t.host = (struct connection_host){.respond = respond, .release = release, .date = date, .counters = &t.counters};
    t.counters = (struct http_counters){};
    t.now = 1'000'000'000;
    t.out_size = 0;
    connection_init(&t.connection, t.now);
}

static void drain(void)
{
    t.out_size += socket_queue_read(&t.net, t.out + t.out_size, (uint32_t)(sizeof t.out - 1 - t.out_size));
    t.out[t.out_size] = '\0';
}

static enum connection_result run(void) { return connection_run(&t.connection, &t.own, &t.host, t.now); }

/* Sends the text in pieces, running and draining after each; the last result. */
static enum connection_result send_pieces(const char *text, size_t piece)
{
    enum connection_result result = CONNECTION_WAIT;
    size_t size = strlen(text);
    for (size_t at = 0; at < size && result == CONNECTION_WAIT;) {
        size_t left = size - at;
        at += socket_queue_write(&t.net, text + at, (uint32_t)(left < piece ? left : piece));
        result = run();
        drain();
    }
    return result;
}

static bool out_has(const char *text) { return strstr(t.out, text) != nullptr; }

static int out_count(const char *text)
{
    int count = 0;
    for (const char *at = t.out; (at = strstr(at, text)) != nullptr; at++) {
        count++;
    }
    return count;
}

static void test_requests(void)
{
    for (size_t piece = 1; piece < 200; piece += 13) {
        start();
        CHECK(send_pieces("GET / HTTP/1.1\r\nHost: a\r\n\r\n", piece) == CONNECTION_WAIT);
        CHECK(out_has("HTTP/1.1 200 OK\r\n") && out_has("Content-Length: 5\r\n") && out_has("\r\n\r\nhello"));
        CHECK(send_pieces("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", piece) == CONNECTION_WAIT);
        CHECK(out_count("Content-Length: 5\r\n") == 2 && out_count("hello") == 1);
        CHECK(send_pieces("GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"e\"\r\n\r\n", piece) == CONNECTION_WAIT);
        CHECK(out_has("304 Not Modified\r\n") && out_count("Content-Length") == 2 && out_count("hello") == 1);
        CHECK(send_pieces("GET /no HTTP/1.1\r\nHost: a\r\n\r\n", piece) == CONNECTION_WAIT);
        CHECK(out_has("404 Not Found\r\n"));
        CHECK(send_pieces("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", piece) == CONNECTION_WAIT);
        CHECK(out_has("405 Method Not Allowed\r\n") && out_has("Allow: GET, HEAD\r\n"));
        CHECK(send_pieces("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", piece) == CONNECTION_WAIT);
        CHECK(out_has("501 Not Implemented\r\n"));
        CHECK(send_pieces("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789", piece) == CONNECTION_WAIT);
        CHECK(out_count("hello") == 2);
        CHECK(send_pieces("GET / HTTP/1.0\r\n\r\n", piece) == CONNECTION_CLOSE);
        CHECK(out_count("hello") == 3 && out_has("Connection: close\r\n"));
        CHECK(t.counters.requests == 8 && t.counters.errors == 3 && t.counters.bytes_out == t.out_size);
    }
}

static void test_pipelining(void)
{
    start();
    char text[RX] = "";
    for (int i = 0; i < 100; i++) {
        strcat(text, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    /* All at once: the answers do not fit the queue, so the connection must pause and go on. */
    CHECK(socket_queue_write(&t.net, text, (uint32_t)strlen(text)) == strlen(text));
    for (int i = 0; i < 200 && out_count("hello") < 100; i++) {
        CHECK(run() == CONNECTION_WAIT);
        drain();
    }
    CHECK(out_count("hello") == 100 && t.counters.requests == 100);
}

static void test_big(void)
{
    memset(big_body, 'b', sizeof big_body);
    start();
    CHECK(socket_queue_write(&t.net, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n", 30) == 30);
    CHECK(run() == CONNECTION_WAIT && t.held == 1 && t.connection.wants == SOCKET_QUEUE_WANT_WRITABLE);
    for (int i = 0; i < 1000 && t.held > 0; i++) {
        t.out_size += socket_queue_read(&t.net, t.out + t.out_size, 777);
        CHECK(run() == CONNECTION_WAIT);
    }
    drain();
    CHECK(t.held == 0);
    t.out[t.out_size] = '\0';
    const char *body = strstr(t.out, "\r\n\r\n");
    CHECK(body != nullptr && (size_t)(t.out + t.out_size - (body + 4)) == sizeof big_body);
    /* A client that stops reading is dropped and the document released. */
    start();
    socket_queue_write(&t.net, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n", 30);
    CHECK(run() == CONNECTION_WAIT && t.held == 1);
    t.now = t.connection.deadline_ns - 1;
    CHECK(run() == CONNECTION_WAIT);
    t.now++;
    CHECK(run() == CONNECTION_ABORT && t.counters.timeouts == 1);
    connection_drop(&t.connection, &t.host);
    CHECK(t.held == 0);
}

/* The service marks the queue open a little later than it puts the first bytes in. */
static void test_open_late(void)
{
    start();
    socket_queue_set_state(&t.net, SOCKET_QUEUE_CONNECTING, 0);
    CHECK(send_pieces("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 100) == CONNECTION_WAIT && out_has("hello"));
}

static void test_deadlines(void)
{
    start();
    CHECK(run() == CONNECTION_WAIT && t.connection.deadline_ns == t.now + CONNECTION_IDLE_NS);
    t.now = t.connection.deadline_ns;
    CHECK(run() == CONNECTION_CLOSE && t.counters.timeouts == 0);
    /* A byte now and then does not help. */
    start();
    enum connection_result result = CONNECTION_WAIT;
    uint64_t began = t.now;
    for (int i = 0; i < 100 && result == CONNECTION_WAIT; i++) {
        socket_queue_write(&t.net, i == 0 ? "G" : i == 1 ? "E" : i == 2 ? "T" : i == 3 ? " " : "/", 1);
        result = run();
        t.now += 300'000'000;
    }
    drain();
    CHECK(result == CONNECTION_SHUTDOWN && out_has("408 Request Timeout\r\n"));
    CHECK(t.now - began < CONNECTION_HEAD_NS + 1'000'000'000);
    t.now = t.connection.deadline_ns;
    CHECK(run() == CONNECTION_CLOSE);
    /* A body that never comes. */
    start();
    CHECK(send_pieces("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12", 100) == CONNECTION_WAIT);
    t.now = t.connection.deadline_ns;
    CHECK(run() == CONNECTION_SHUTDOWN);
    drain();
    CHECK(out_has("408 "));
}

static void test_garbage(void)
{
    start();
    CHECK(send_pieces("\x16\x03\x01 garbage", 100) == CONNECTION_SHUTDOWN);
    CHECK(out_has("400 Bad Request\r\n") && out_has("Connection: close\r\n"));
    /* What still comes is thrown away, up to a limit. */
    char junk[RX];
    memset(junk, 'j', sizeof junk);
    enum connection_result result = CONNECTION_WAIT;
    int rounds = 0;
    for (; rounds < 100 && result == CONNECTION_WAIT; rounds++) {
        socket_queue_write(&t.net, junk, sizeof junk);
        result = run();
    }
    CHECK(result == CONNECTION_ABORT && rounds == (int)(CONNECTION_LINGER_LIMIT / RX));
    /* The client hangs up at any point. */
    start();
    CHECK(send_pieces("GET / HT", 100) == CONNECTION_WAIT);
    socket_queue_set_state(&t.net, SOCKET_QUEUE_PEER_CLOSED, 0);
    CHECK(run() == CONNECTION_CLOSE);
    start();
    CHECK(send_pieces("GET / HT", 100) == CONNECTION_WAIT);
    socket_queue_set_state(&t.net, SOCKET_QUEUE_RESET, 0);
    CHECK(run() == CONNECTION_ABORT);
    start();
    socket_queue_write(&t.net, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
    socket_queue_set_state(&t.net, SOCKET_QUEUE_PEER_CLOSED, 0);
    CHECK(run() == CONNECTION_CLOSE);
    drain();
    CHECK(out_has("hello"));
    /* A service that writes nonsense into the queue loses that connection and nothing else. */
    start();
    atomic_store(&((struct socket_queue_header *)t.memory)->rx_tail, 0x12345678);
    CHECK(run() == CONNECTION_WAIT && !socket_queue_prepare_wait(&t.own, t.connection.wants) && run() == CONNECTION_ABORT);
    start();
    CHECK(send_pieces("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n", 100) == CONNECTION_SHUTDOWN);
    CHECK(out_has("hello") && out_has("Connection: close"));
}

static void test_heads(void)
{
    char head[CONNECTION_HEAD_BYTES];
    struct http_response response = {.status = 431,
                                     .content_type = "text/html; charset=utf-8",
                                     .etag = "\"0123456789abcdef\"",
                                     .cache_control = "no-store, max-age=1234",
                                     .size = UINT64_MAX};
    size_t size = http_response_head(&response, true, "Sun, 06 Nov 1994 08:49:37 GMT", head);
    CHECK(size > 200 && size < sizeof head && memcmp(head + size - 4, "\r\n\r\n", 4) == 0);
    static const uint16_t statuses[] = {400, 404, 405, 408, 414, 431, 500, 501, 505};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        CHECK(http_error_response(statuses[i]).status == statuses[i] && http_error_response(statuses[i]).size > 0);
    }
    CHECK(http_error_response(299).status == 500);
}

int main(void)
{
    test_requests();
    test_pipelining();
    test_big();
    test_open_late();
    test_deadlines();
    test_garbage();
    test_heads();
    free(t.memory);
    return check_result();
}
