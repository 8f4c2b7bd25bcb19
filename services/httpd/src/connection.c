#include <httpd/connection.h>
#include <httpd/http_response.h>
#include <tess/string.h>

/* A step either made progress (run again) or says how the run ends. */
enum step : uint8_t { STEP_AGAIN, STEP_WAIT, STEP_SHUTDOWN, STEP_CLOSE, STEP_ABORT };

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

void connection_init(struct connection *connection, uint64_t now_ns)
{
    connection->state = CONNECTION_READING;
    connection->keeps_alive = true;
    connection->is_shut = false;
    connection->wants = SOCKET_QUEUE_WANT_READABLE;
    connection->deadline_ns = now_ns + CONNECTION_IDLE_NS;
    connection->discard_left = 0;
    connection->response = (struct http_response){};
    connection->body_sent = 0;
    http_parser_reset(&connection->parser);
}

uint64_t connection_waited_ns(const struct connection *connection, uint64_t now_ns)
{
    if (connection->state != CONNECTION_READING || connection->wants != SOCKET_QUEUE_WANT_READABLE) {
        return 0;
    }
    uint64_t patience_ns = http_parser_has_started(&connection->parser) ? CONNECTION_HEAD_NS : CONNECTION_IDLE_NS;
    return now_ns + patience_ns - connection->deadline_ns;
}

void connection_drop(struct connection *connection, const struct connection_host *host)
{
    if (connection->response.document != nullptr) {
        host->release(host->context, connection->response.document);
    }
    connection->response = (struct http_response){};
}

/* Queues the head; the caller made sure there is room for it. */
static void begin(struct connection *connection, struct socket_queue *queue, const struct connection_host *host,
                  const struct http_response *response, bool has_body, uint64_t now_ns)
{
    char head[CONNECTION_HEAD_BYTES];
    size_t size = http_response_head(response, connection->keeps_alive, host->date(host->context), head);
    host->counters->bytes_out += socket_queue_write(queue, head, (uint32_t)size);
    connection->response = *response;
    connection->body_sent = has_body ? 0 : response->size;
    connection->state = CONNECTION_WRITING;
    connection->deadline_ns = now_ns + CONNECTION_STALL_NS;
    if (host->counters->first_byte_ns == 0 && response->status == 200) {
        host->counters->first_byte_ns = now_ns;
    }
}

static void begin_error(struct connection *connection, struct socket_queue *queue, const struct connection_host *host, uint16_t status,
                        uint64_t now_ns)
{
    host->counters->errors++;
    struct http_response response = http_error_response(status);
    begin(connection, queue, host, &response, connection->parser.request.method != HTTP_HEAD, now_ns);
}

static void answer(struct connection *connection, struct socket_queue *queue, const struct connection_host *host, uint64_t now_ns)
{
    const struct http_request *request = &connection->parser.request;
    char path[HTTP_PATH_MAX];
    host->counters->requests++;
    if (request->method != HTTP_GET && request->method != HTTP_HEAD) {
        begin_error(connection, queue, host, request->method == HTTP_OTHER_KNOWN ? 405 : 501, now_ns);
        return;
    }
    enum http_path_result result =
        request->is_target_cut ? HTTP_PATH_TOO_LONG : http_path_normalise(request->target, request->target_size, path);
    if (result != HTTP_PATH_OK) {
        begin_error(connection, queue, host, result == HTTP_PATH_BAD ? 400 : 404, now_ns);
        return;
    }
    struct http_response response = {};
    host->respond(host->context, path, &response);
    if (response.status != 200) {
        begin_error(connection, queue, host, response.status, now_ns);
        return;
    }
    bool has_body = request->method == HTTP_GET;
    if (response.etag != nullptr && http_etag_matches(request->etags, request->etags_size, response.etag)) {
        response.status = 304;
        has_body = false;
    }
    begin(connection, queue, host, &response, has_body, now_ns);
}

static enum step wait_for(struct connection *connection, uint32_t wants)
{
    connection->wants = wants;
    return STEP_WAIT;
}

/* The client has no more to say and a request is not complete. */
static enum step input_ended(enum socket_queue_state state)
{
    return state == SOCKET_QUEUE_RESET || state == SOCKET_QUEUE_FAILED ? STEP_ABORT : STEP_CLOSE;
}

static bool is_input_over(enum socket_queue_state state) { return state != SOCKET_QUEUE_OPEN && state != SOCKET_QUEUE_CONNECTING; }

static enum step head_complete(struct connection *connection, struct socket_queue *queue, const struct connection_host *host,
                               uint64_t now_ns)
{
    const struct http_request *request = &connection->parser.request;
    if (connection->parser.state == HTTP_PARSER_FAILED) {
        host->counters->requests++;
        connection->keeps_alive = false;
        begin_error(connection, queue, host, connection->parser.status, now_ns);
        return STEP_AGAIN;
    }
    connection->keeps_alive = request->wants_keep_alive;
    if (request->body_bytes > 0 && (request->body_bytes > CONNECTION_BODY_LIMIT || request->expects_continue)) {
        /* Not worth skipping, or the client waits for a word before it sends: answer now, then close. */
        connection->keeps_alive = false;
    } else if (request->body_bytes > 0) {
        connection->discard_left = request->body_bytes;
        connection->state = CONNECTION_BODY;
        connection->deadline_ns = now_ns + CONNECTION_HEAD_NS;
        return STEP_AGAIN;
    }
    answer(connection, queue, host, now_ns);
    return STEP_AGAIN;
}

static enum step read_step(struct connection *connection, struct socket_queue *queue, const struct connection_host *host, uint64_t now_ns)
{
    enum socket_queue_state state = socket_queue_state(queue);
    if (state >= SOCKET_QUEUE_RESET) {
        return input_ended(state); /* nobody is there to read an answer */
    }
    if (socket_queue_writable(queue) < CONNECTION_HEAD_BYTES) {
        /* A client that pipelines and does not read: no new answer before the old ones move. */
        return wait_for(connection, SOCKET_QUEUE_WANT_WRITABLE);
    }
    struct socket_queue_span spans[2];
    if (socket_queue_peek(queue, spans) == 0) {
        return is_input_over(state) ? input_ended(state) : wait_for(connection, SOCKET_QUEUE_WANT_READABLE);
    }
    bool had_started = http_parser_has_started(&connection->parser);
    for (uint32_t i = 0; i < 2 && connection->parser.state < HTTP_PARSER_DONE; i++) {
        size_t taken = http_parser_feed(&connection->parser, spans[i].data, spans[i].size);
        socket_queue_consume(queue, (uint32_t)taken);
    }
    if (connection->parser.state >= HTTP_PARSER_DONE) {
        return head_complete(connection, queue, host, now_ns);
    }
    if (!had_started && http_parser_has_started(&connection->parser)) {
        connection->deadline_ns = now_ns + CONNECTION_HEAD_NS;
    }
    return STEP_AGAIN;
}

static uint32_t discard(struct connection *connection, struct socket_queue *queue)
{
    uint32_t size = socket_queue_consume(queue, (uint32_t)smaller(connection->discard_left, SOCKET_QUEUE_BYTES_MAX));
    connection->discard_left -= size;
    return size;
}

static enum step body_step(struct connection *connection, struct socket_queue *queue, const struct connection_host *host, uint64_t now_ns)
{
    enum socket_queue_state state = socket_queue_state(queue);
    uint32_t size = discard(connection, queue);
    if (connection->discard_left > 0) {
        if (size > 0) {
            return STEP_AGAIN;
        }
        return is_input_over(state) ? input_ended(state) : wait_for(connection, SOCKET_QUEUE_WANT_READABLE);
    }
    answer(connection, queue, host, now_ns);
    return STEP_AGAIN;
}

/* The answer is wholly in the queue: next request, or the end. */
static enum step answered(struct connection *connection, struct socket_queue *queue, const struct connection_host *host, uint64_t now_ns)
{
    bool lost_position = connection->parser.state == HTTP_PARSER_FAILED || connection->parser.request.expects_continue ||
                         connection->parser.request.body_bytes > CONNECTION_BODY_LIMIT;
    connection_drop(connection, host);
    if (connection->keeps_alive) {
        http_parser_reset(&connection->parser);
        connection->state = CONNECTION_READING;
        connection->deadline_ns = now_ns + CONNECTION_IDLE_NS;
        return STEP_AGAIN;
    }
    if (!lost_position && socket_queue_readable(queue) == 0) {
        return STEP_CLOSE;
    }
    connection->state = CONNECTION_LINGER;
    connection->discard_left = CONNECTION_LINGER_LIMIT;
    connection->deadline_ns = now_ns + CONNECTION_LINGER_NS;
    return STEP_SHUTDOWN;
}

static enum step write_step(struct connection *connection, struct socket_queue *queue, const struct connection_host *host, uint64_t now_ns)
{
    enum socket_queue_state state = socket_queue_state(queue);
    if (state >= SOCKET_QUEUE_RESET) {
        return STEP_ABORT;
    }
    const struct http_response *response = &connection->response;
    size_t left = response->size - connection->body_sent;
    if (left > 0) {
        const uint8_t *body = response->body;
        uint32_t size = socket_queue_write(queue, body + connection->body_sent, (uint32_t)smaller(left, UINT32_MAX));
        if (size == 0) {
            return wait_for(connection, SOCKET_QUEUE_WANT_WRITABLE);
        }
        connection->body_sent += size;
        connection->deadline_ns = now_ns + CONNECTION_STALL_NS;
        host->counters->bytes_out += size;
        return STEP_AGAIN;
    }
    return answered(connection, queue, host, now_ns);
}

static enum step linger_step(struct connection *connection, struct socket_queue *queue)
{
    enum socket_queue_state state = socket_queue_state(queue);
    uint32_t size = discard(connection, queue);
    if (connection->discard_left == 0) {
        return STEP_ABORT;
    }
    if (size > 0) {
        return STEP_AGAIN;
    }
    return is_input_over(state) ? STEP_CLOSE : wait_for(connection, SOCKET_QUEUE_WANT_READABLE);
}

static enum step deadline_passed(struct connection *connection, struct socket_queue *queue, const struct connection_host *host,
                                 uint64_t now_ns)
{
    switch (connection->state) {
    case CONNECTION_READING:
    case CONNECTION_BODY:
        if (connection->state == CONNECTION_READING && !http_parser_has_started(&connection->parser)) {
            return socket_queue_writable(queue) < CONNECTION_HEAD_BYTES ? STEP_ABORT : STEP_CLOSE;
        }
        host->counters->timeouts++;
        if (socket_queue_writable(queue) < CONNECTION_HEAD_BYTES) {
            return STEP_ABORT;
        }
        connection->parser.state = HTTP_PARSER_FAILED;
        connection->keeps_alive = false;
        begin_error(connection, queue, host, 408, now_ns);
        return STEP_AGAIN;
    case CONNECTION_WRITING: host->counters->timeouts++; return STEP_ABORT;
    case CONNECTION_LINGER: return STEP_CLOSE;
    }
    return STEP_ABORT;
}

static enum step step(struct connection *connection, struct socket_queue *queue, const struct connection_host *host, uint64_t now_ns)
{
    switch (connection->state) {
    case CONNECTION_READING: return read_step(connection, queue, host, now_ns);
    case CONNECTION_BODY: return body_step(connection, queue, host, now_ns);
    case CONNECTION_WRITING: return write_step(connection, queue, host, now_ns);
    case CONNECTION_LINGER: return linger_step(connection, queue);
    }
    return STEP_ABORT;
}

enum connection_result connection_run(struct connection *connection, struct socket_queue *queue, const struct connection_host *host,
                                      uint64_t now_ns)
{
    /* A client that pipelines must not keep the others waiting: after some steps the caller goes round them all. The wish is
     * then still true, so nobody sleeps on it. */
    constexpr uint32_t STEPS_LIMIT = 32;
    bool wants_shutdown = false;
    for (uint32_t steps = 0;; steps++) {
        if (steps == STEPS_LIMIT) {
            connection->wants = connection->state == CONNECTION_WRITING ? SOCKET_QUEUE_WANT_WRITABLE : SOCKET_QUEUE_WANT_READABLE;
            return wants_shutdown ? CONNECTION_SHUTDOWN : CONNECTION_WAIT;
        }
        enum step next = step(connection, queue, host, now_ns);
        if (next == STEP_WAIT && now_ns >= connection->deadline_ns) {
            next = deadline_passed(connection, queue, host, now_ns);
        }
        switch (next) {
        case STEP_AGAIN: continue;
        case STEP_SHUTDOWN:
            wants_shutdown = !connection->is_shut;
            connection->is_shut = true;
            continue;
        case STEP_WAIT: return wants_shutdown ? CONNECTION_SHUTDOWN : CONNECTION_WAIT;
        case STEP_CLOSE: return CONNECTION_CLOSE;
        case STEP_ABORT: return CONNECTION_ABORT;
        }
    }
}
