/*
 * Fuzz entry: the input is what a hostile client sends, split at bytes the input itself chooses. Whole connections run over
 * real queues; every answer must begin with a status line and the parser must stay within its limits.
 */
#include <httpd/connection.h>
#include <httpd/http_response.h>
#include <stdlib.h>
#include <string.h>

static constexpr uint32_t RX = 1024, TX = 1024;
static _Alignas(4096) uint8_t memory[4096 + RX + TX];

static void respond(void *context, const char *path, struct http_response *out_response)
{
    (void)context;
    if (path[0] != '/' || strlen(path) >= HTTP_PATH_MAX || strstr(path, "/../") != nullptr) {
        abort();
    }
    if (strcmp(path, "/") == 0) {
        *out_response = (struct http_response){.status = 200, .content_type = "text/plain", .etag = "\"e\"", .body = "x", .size = 1};
    } else {
        out_response->status = 404;
    }
}

static void release(void *context, void *document)
{
    (void)context;
    (void)document;
}

static const char *date(void *context)
{
    (void)context;
    return nullptr;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct http_counters counters = {};
    struct connection_host host = {.respond = respond, .release = release, .date = date, .counters = &counters};
    struct socket_queue own, net;
    struct connection connection;
    if (!socket_queue_init(&own, memory, sizeof memory, RX, TX) ||
        !socket_queue_attach(&net, memory, sizeof memory, RX, TX, SOCKET_QUEUE_SERVICE)) {
        abort();
    }
    socket_queue_set_state(&net, SOCKET_QUEUE_OPEN, 0);
    size_t piece = (size_t)data[0] + 1;
    uint64_t now = 1;
    connection_init(&connection, now);
    uint64_t sent = 0;
    bool is_first = true;
    for (size_t at = 1; at < size;) {
        size_t left = size - at;
        at += socket_queue_write(&net, data + at, (uint32_t)(left < piece ? left : piece));
        enum connection_result result = connection_run(&connection, &own, &host, now);
        char answer[TX];
        uint32_t count = socket_queue_read(&net, answer, sizeof answer);
        if (is_first && count > 0) {
            if (count < 9 || memcmp(answer, "HTTP/1.1 ", 9) != 0) {
                abort();
            }
            is_first = false;
        }
        sent += count;
        now += 1'000'000;
        if (result == CONNECTION_CLOSE || result == CONNECTION_ABORT) {
            break;
        }
    }
    if (sent > counters.bytes_out || connection.parser.headers_bytes > HTTP_HEADERS_LIMIT + 1 ||
        connection.parser.line_bytes > HTTP_LINE_LIMIT + 1) {
        abort();
    }
    return 0;
}
