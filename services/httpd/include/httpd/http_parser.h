/*
 * Incremental parser for the head of one HTTP/1.x request (RFC 9112). Bytes go in as they come, in any pieces; nothing is
 * kept but the few facts the server needs, so the limits cost no memory. Pure: no system, no allocation.
 *
 * After HTTP_PARSER_DONE `request` is complete and the body (request.body_bytes of it) follows on the connection.
 * After HTTP_PARSER_FAILED `status` is what to answer; the connection must then be closed, for the byte position is lost.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

constexpr size_t HTTP_LINE_LIMIT = 4096;    /* request line, without its end: 414 beyond */
constexpr size_t HTTP_HEADERS_LIMIT = 8192; /* all header lines together: 431 beyond */
constexpr uint32_t HTTP_HEADER_COUNT_LIMIT = 64;
constexpr size_t HTTP_TARGET_KEPT = 512; /* of the target; a longer one names nothing we have, see is_target_cut */
constexpr size_t HTTP_VALUE_KEPT = 160;  /* of a header value that matters */

enum http_method : uint8_t { HTTP_GET, HTTP_HEAD, HTTP_OTHER_KNOWN, HTTP_UNKNOWN };

struct http_request {
    enum http_method method;
    uint8_t minor_version; /* 0 or 1 */
    bool wants_keep_alive;
    bool is_target_cut;
    bool expects_continue;
    uint16_t target_size;
    uint16_t etags_size;
    uint64_t body_bytes;
    char target[HTTP_TARGET_KEPT];
    char etags[HTTP_VALUE_KEPT]; /* If-None-Match, as sent */
};

enum http_parser_state : uint8_t {
    HTTP_PARSER_START, /* nothing of a request seen yet (empty lines before it do not count) */
    HTTP_PARSER_METHOD,
    HTTP_PARSER_TARGET,
    HTTP_PARSER_VERSION,
    HTTP_PARSER_LINE_END, /* CR seen, LF must follow */
    HTTP_PARSER_NAME_START,
    HTTP_PARSER_NAME,
    HTTP_PARSER_VALUE,
    HTTP_PARSER_FINAL_LF,
    HTTP_PARSER_DONE,
    HTTP_PARSER_FAILED,
};

struct http_parser {
    enum http_parser_state state;
    enum http_parser_state after_lf;
    uint8_t header;     /* which header the value belongs to, internal */
    uint8_t token_size; /* method, version or header name collected in token */
    bool is_token_cut;
    bool has_host, has_length, has_chunked;
    bool says_close, says_keep_alive;
    uint16_t status; /* with HTTP_PARSER_FAILED */
    uint16_t empty_lines;
    uint16_t header_count;
    uint16_t value_size;
    uint32_t line_bytes;
    uint32_t headers_bytes;
    char token[24];
    char value[HTTP_VALUE_KEPT];
    struct http_request request;
};

void http_parser_reset(struct http_parser *parser);
/* Takes bytes up to the end of the head; returns how many it took (all of them unless it is done or failed). */
size_t http_parser_feed(struct http_parser *parser, const void *data, size_t size);
/* Has any byte of a request been seen? (Decides between an idle and a slow client.) */
static inline bool http_parser_has_started(const struct http_parser *parser) { return parser->state != HTTP_PARSER_START; }
