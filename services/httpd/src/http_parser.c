/*
 * One byte at a time through a small state machine. What is ambiguous is refused rather than guessed (two lengths, folded
 * lines, spaces before a colon, bare CR): guessing is how requests are smuggled past intermediaries (RFC 9112, 11.2).
 */
#include <httpd/http_parser.h>
#include <tess/string.h>

enum header : uint8_t { HEADER_OTHER, HEADER_HOST, HEADER_CONNECTION, HEADER_LENGTH, HEADER_CODING, HEADER_ETAGS, HEADER_EXPECT };

static constexpr uint16_t EMPTY_LINES_LIMIT = 8;

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c; }

/* RFC 9110, 5.6.2. */
static bool is_token_char(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
        return true;
    }
    switch (c) {
    case '!':
    case '#':
    case '$':
    case '%':
    case '&':
    case '\'':
    case '*':
    case '+':
    case '-':
    case '.':
    case '^':
    case '_':
    case '`':
    case '|':
    case '~': return true;
    default: return false;
    }
}

static bool is_text(const char *have, size_t size, const char *want)
{
    if (strlen(want) != size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (lower(have[i]) != want[i]) {
            return false;
        }
    }
    return true;
}

static void fail(struct http_parser *parser, uint16_t status)
{
    parser->state = HTTP_PARSER_FAILED;
    parser->status = status;
}

void http_parser_reset(struct http_parser *parser)
{
    /* The arrays are guarded by their sizes: a new request costs no clearing of them. */
    parser->state = HTTP_PARSER_START;
    parser->header = HEADER_OTHER;
    parser->token_size = 0;
    parser->is_token_cut = false;
    parser->has_host = parser->has_length = parser->has_chunked = false;
    parser->says_close = parser->says_keep_alive = false;
    parser->status = 0;
    parser->empty_lines = parser->header_count = parser->value_size = 0;
    parser->line_bytes = parser->headers_bytes = 0;
    struct http_request *request = &parser->request;
    request->method = HTTP_UNKNOWN;
    request->minor_version = 1;
    request->wants_keep_alive = request->is_target_cut = request->expects_continue = false;
    request->target_size = request->etags_size = 0;
    request->body_bytes = 0;
}

static void token_add(struct http_parser *parser, char c)
{
    if (parser->token_size < sizeof parser->token) {
        parser->token[parser->token_size++] = c;
    } else {
        parser->is_token_cut = true;
    }
}

static void token_clear(struct http_parser *parser)
{
    parser->token_size = 0;
    parser->is_token_cut = false;
}

static bool token_is(const struct http_parser *parser, const char *text)
{
    return !parser->is_token_cut && strlen(text) == parser->token_size && memcmp(parser->token, text, parser->token_size) == 0;
}

/* Method names are case-sensitive (RFC 9110, 9.1). */
static enum http_method method_of(const struct http_parser *parser)
{
    static const char *const known[] = {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"};
    if (token_is(parser, "GET")) {
        return HTTP_GET;
    }
    if (token_is(parser, "HEAD")) {
        return HTTP_HEAD;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (token_is(parser, known[i])) {
            return HTTP_OTHER_KNOWN;
        }
    }
    return HTTP_UNKNOWN;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void version_end(struct http_parser *parser)
{
    const char *token = parser->token;
    if (parser->is_token_cut || parser->token_size != 8 || memcmp(token, "HTTP/", 5) != 0 || !is_digit(token[5]) || token[6] != '.' ||
        !is_digit(token[7])) {
        fail(parser, 400);
    } else if (token[5] != '1') {
        fail(parser, 505);
    } else {
        parser->request.minor_version = token[7] == '0' ? 0 : 1;
    }
}

static enum header header_of(const struct http_parser *parser)
{
    static const struct {
        const char *name;
        enum header header;
    } known[] = {{"host", HEADER_HOST},     {"connection", HEADER_CONNECTION},    {"content-length", HEADER_LENGTH},
                 {"expect", HEADER_EXPECT}, {"transfer-encoding", HEADER_CODING}, {"if-none-match", HEADER_ETAGS}};
    for (size_t i = 0; i < sizeof known / sizeof known[0] && !parser->is_token_cut; i++) {
        if (is_text(parser->token, parser->token_size, known[i].name)) {
            return known[i].header;
        }
    }
    return HEADER_OTHER;
}

/* Comma-separated names in a Connection header. */
static void connection_value(struct http_parser *parser, const char *value, size_t size)
{
    size_t start = 0;
    for (size_t i = 0; i <= size; i++) {
        if (i < size && value[i] != ',') {
            continue;
        }
        size_t from = start, to = i;
        while (from < to && (value[from] == ' ' || value[from] == '\t')) {
            from++;
        }
        while (to > from && (value[to - 1] == ' ' || value[to - 1] == '\t')) {
            to--;
        }
        parser->says_close |= is_text(value + from, to - from, "close");
        parser->says_keep_alive |= is_text(value + from, to - from, "keep-alive");
        start = i + 1;
    }
}

static void length_value(struct http_parser *parser, const char *value, size_t size, bool is_cut)
{
    uint64_t bytes = 0;
    bool is_valid = size > 0 && !is_cut;
    for (size_t i = 0; i < size && is_valid; i++) {
        is_valid = is_digit(value[i]) && bytes <= (UINT64_MAX - 9) / 10;
        bytes = bytes * 10 + (uint64_t)(value[i] - '0');
    }
    if (!is_valid || (parser->has_length && parser->request.body_bytes != bytes)) {
        fail(parser, 400);
        return;
    }
    parser->has_length = true;
    parser->request.body_bytes = bytes;
}

static void value_end(struct http_parser *parser)
{
    bool is_cut = parser->value_size > HTTP_VALUE_KEPT;
    size_t size = is_cut ? HTTP_VALUE_KEPT : parser->value_size;
    while (size > 0 && (parser->value[size - 1] == ' ' || parser->value[size - 1] == '\t')) {
        size--;
    }
    switch ((enum header)parser->header) {
    case HEADER_HOST:
        if (parser->has_host) {
            fail(parser, 400);
        }
        parser->has_host = true;
        break;
    case HEADER_CONNECTION: connection_value(parser, parser->value, size); break;
    case HEADER_LENGTH: length_value(parser, parser->value, size, is_cut); break;
    case HEADER_CODING: parser->has_chunked = true; break;
    case HEADER_ETAGS:
        /* A cut list may miss a match: the answer is then the whole file, which is always right. */
        memcpy(parser->request.etags, parser->value, size);
        parser->request.etags_size = (uint16_t)size;
        break;
    case HEADER_EXPECT: parser->request.expects_continue |= is_text(parser->value, size, "100-continue"); break;
    case HEADER_OTHER: break;
    }
}

static void head_end(struct http_parser *parser)
{
    struct http_request *request = &parser->request;
    if (parser->has_chunked) {
        /* No method we serve has a use for a body; one of unknown length cannot be skipped without decoding it. */
        fail(parser, parser->has_length ? 400 : 501);
        return;
    }
    if (request->minor_version > 0 && !parser->has_host) {
        fail(parser, 400); /* RFC 9112, 3.2 */
        return;
    }
    request->wants_keep_alive = !parser->says_close && (request->minor_version > 0 || parser->says_keep_alive);
    parser->state = HTTP_PARSER_DONE;
}

static void start_byte(struct http_parser *parser, char c)
{
    if (c == '\r' || c == '\n') { /* RFC 9112, 2.2: an empty line before the request is ignored; not endlessly many */
        if (++parser->empty_lines > EMPTY_LINES_LIMIT) {
            fail(parser, 400);
        }
    } else if (is_token_char((unsigned char)c)) {
        parser->state = HTTP_PARSER_METHOD;
        parser->line_bytes = 1;
        token_add(parser, c);
    } else {
        fail(parser, 400);
    }
}

static void method_byte(struct http_parser *parser, char c)
{
    if (c == ' ') {
        parser->request.method = method_of(parser);
        token_clear(parser);
        parser->state = HTTP_PARSER_TARGET;
    } else if (is_token_char((unsigned char)c)) {
        token_add(parser, c);
    } else {
        fail(parser, 400);
    }
}

static void target_byte(struct http_parser *parser, char c)
{
    struct http_request *request = &parser->request;
    if (c == ' ') {
        if (request->target_size == 0) {
            fail(parser, 400);
        }
        parser->state = HTTP_PARSER_VERSION;
    } else if ((unsigned char)c <= ' ' || (unsigned char)c >= 0x7F) {
        fail(parser, 400); /* a line end here would be HTTP/0.9, which nobody speaks */
    } else if (request->target_size < HTTP_TARGET_KEPT) {
        request->target[request->target_size++] = c;
    } else {
        request->is_target_cut = true;
    }
}

static void line_end(struct http_parser *parser, char c, enum http_parser_state next)
{
    if (c == '\r') {
        parser->state = HTTP_PARSER_LINE_END;
        parser->after_lf = next;
    } else {
        parser->state = next;
    }
}

static void version_byte(struct http_parser *parser, char c)
{
    if (c != '\r' && c != '\n') {
        token_add(parser, c);
        return;
    }
    version_end(parser);
    token_clear(parser);
    if (parser->state != HTTP_PARSER_FAILED) {
        line_end(parser, c, HTTP_PARSER_NAME_START);
    }
}

static void name_start_byte(struct http_parser *parser, char c)
{
    if (c == '\r') {
        parser->state = HTTP_PARSER_FINAL_LF;
    } else if (c == '\n') {
        head_end(parser);
    } else if (!is_token_char((unsigned char)c)) {
        fail(parser, 400); /* also a folded line (RFC 9112, 5.2) */
    } else if (++parser->header_count > HTTP_HEADER_COUNT_LIMIT) {
        fail(parser, 431);
    } else {
        token_clear(parser);
        token_add(parser, c);
        parser->state = HTTP_PARSER_NAME;
    }
}

static void name_byte(struct http_parser *parser, char c)
{
    if (c == ':') {
        parser->header = header_of(parser);
        parser->value_size = 0;
        parser->state = HTTP_PARSER_VALUE;
    } else if (is_token_char((unsigned char)c)) {
        token_add(parser, c);
    } else {
        fail(parser, 400);
    }
}

static void value_byte(struct http_parser *parser, char c)
{
    if (c == '\r' || c == '\n') {
        value_end(parser);
        if (parser->state != HTTP_PARSER_FAILED) {
            line_end(parser, c, HTTP_PARSER_NAME_START);
        }
    } else if (((unsigned char)c < ' ' && c != '\t') || c == 0x7F) {
        fail(parser, 400);
    } else if (parser->value_size < HTTP_VALUE_KEPT) {
        bool is_leading_space = parser->value_size == 0 && (c == ' ' || c == '\t');
        if (!is_leading_space) {
            parser->value[parser->value_size++] = c;
        }
    } else if (c != ' ' && c != '\t') {
        parser->value_size = HTTP_VALUE_KEPT + 1; /* remembered as cut */
    }
}

static bool is_within_limits(struct http_parser *parser)
{
    switch (parser->state) {
    case HTTP_PARSER_START: return true;
    case HTTP_PARSER_METHOD:
    case HTTP_PARSER_TARGET:
    case HTTP_PARSER_VERSION:
        if (++parser->line_bytes > HTTP_LINE_LIMIT) {
            fail(parser, 414);
        }
        break;
    default:
        if (++parser->headers_bytes > HTTP_HEADERS_LIMIT) {
            fail(parser, 431);
        }
        break;
    }
    return parser->state != HTTP_PARSER_FAILED;
}

static void feed_byte(struct http_parser *parser, char c)
{
    switch (parser->state) {
    case HTTP_PARSER_START: start_byte(parser, c); break;
    case HTTP_PARSER_METHOD: method_byte(parser, c); break;
    case HTTP_PARSER_TARGET: target_byte(parser, c); break;
    case HTTP_PARSER_VERSION: version_byte(parser, c); break;
    case HTTP_PARSER_LINE_END:
        if (c == '\n') {
            parser->state = parser->after_lf;
        } else {
            fail(parser, 400);
        }
        break;
    case HTTP_PARSER_NAME_START: name_start_byte(parser, c); break;
    case HTTP_PARSER_NAME: name_byte(parser, c); break;
    case HTTP_PARSER_VALUE: value_byte(parser, c); break;
    case HTTP_PARSER_FINAL_LF:
        if (c == '\n') {
            head_end(parser);
        } else {
            fail(parser, 400);
        }
        break;
    case HTTP_PARSER_DONE:
    case HTTP_PARSER_FAILED: break;
    }
}

size_t http_parser_feed(struct http_parser *parser, const void *data, size_t size)
{
    const char *bytes = data;
    size_t taken = 0;
    while (taken < size && parser->state < HTTP_PARSER_DONE) {
        if (is_within_limits(parser)) {
            feed_byte(parser, bytes[taken]);
        }
        taken++;
    }
    return taken;
}
