/* Requests, whole and in pieces of every size, with the answer each must get. */
#include <check.h>
#include <httpd/http_date.h>
#include <httpd/http_path.h>
#include <stdlib.h>
#include <string.h>

static struct http_parser parser;

/* Feeds `text` in pieces of `piece` bytes; returns how many were taken. */
static size_t feed(const char *text, size_t size, size_t piece)
{
    http_parser_reset(&parser);
    size_t at = 0;
    while (at < size && parser.state < HTTP_PARSER_DONE) {
        size_t left = size - at;
        at += http_parser_feed(&parser, text + at, left < piece ? left : piece);
    }
    return at;
}

static const struct {
    const char *text;
    uint16_t status; /* 0: accepted */
    bool keeps_alive;
} cases[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, true},
    {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, true},
    {"GET / HTTP/1.1\nHost:a\n\n", 0, true},
    {"GET / HTTP/1.0\r\n\r\n", 0, false},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 0, true},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", 0, false},
    {"GET / HTTP/1.1\r\nHOST:  a  \r\ncontent-LENGTH: 12\r\n\r\n", 0, true},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 0, true},
    {"GET / HTTP/1.7\r\nHost: a\r\n\r\n", 0, true},
    {"POST / HTTP/1.1\r\nHost: a\r\n\r\n", 0, true},
    {"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", 0, true},
    {"GET / HTTP/1.1\r\n\r\n", 400, false},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, false},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, false},
    {"GET / HTTP/0.9\r\n\r\n", 505, false},
    {"GET / HTCPCP/1.0\r\n\r\n", 400, false},
    {"GET / http/1.1\r\nHost: a\r\n\r\n", 400, false},
    {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, false},
    {"GET /\r\n\r\n", 400, false},
    {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, false},
    {" GET / HTTP/1.1\r\n\r\n", 400, false},
    {"G\x01T / HTTP/1.1\r\n\r\n", 400, false},
    {"GET /\x80 HTTP/1.1\r\n\r\n", 400, false},
    {"GET / HTTP/1.1\rHost: a\r\n\r\n", 400, false},
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, false},
    {"GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400, false},
    {"GET / HTTP/1.1\r\nHost: a\r\n\r!\n", 400, false},
    {"GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n", 400, false},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, false},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400, false},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, false},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, false},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 501, false},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, false},
    {"\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET", 400, false},
    {"\x16\x03\x01\x02", 400, false},
};

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t piece = 1; piece < 40; piece++) {
            size_t size = strlen(cases[i].text);
            size_t taken = feed(cases[i].text, size, piece);
            bool is_right = cases[i].status != 0 ? parser.state == HTTP_PARSER_FAILED && parser.status == cases[i].status
                                                 : parser.state == HTTP_PARSER_DONE && taken == size &&
                                                       parser.request.wants_keep_alive == cases[i].keeps_alive;
            if (!is_right) {
                printf("case %zu, pieces of %zu: state %u status %u\n", i, piece, parser.state, parser.status);
            }
            CHECK(is_right);
        }
    }
}

static void test_facts(void)
{
    static const char text[] = "HEAD /a/b?c=d HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"1\", W/\"2\"  \r\nExpect: 100-Continue\r\n"
                               "Content-Length: 77\r\n\r\nrest";
    CHECK(feed(text, sizeof text - 1, 1000) == sizeof text - 1 - 4);
    CHECK(parser.request.method == HTTP_HEAD && parser.request.minor_version == 1 && parser.request.body_bytes == 77);
    CHECK(parser.request.target_size == 8 && memcmp(parser.request.target, "/a/b?c=d", 8) == 0);
    CHECK(parser.request.etags_size == 10 && memcmp(parser.request.etags, "\"1\", W/\"2\"", 10) == 0);
    CHECK(parser.request.expects_continue);
    feed("PUT / HTTP/1.1\r\nHost: a\r\n\r\n", 27, 3);
    CHECK(parser.request.method == HTTP_OTHER_KNOWN);
    feed("get / HTTP/1.1\r\nHost: a\r\n\r\n", 27, 3);
    CHECK(parser.request.method == HTTP_UNKNOWN);
}

/* One byte below and above every limit. */
static void test_limits(void)
{
    char *text = malloc(20000);
    for (int extra = 0; extra < 2; extra++) {
        size_t target = HTTP_LINE_LIMIT - 14 + (size_t)extra; /* "GET " + target + " HTTP/1.1" and CR */
        size_t at = (size_t)sprintf(text, "GET /");
        memset(text + at, 'a', target - 1);
        at += target - 1;
        at += (size_t)sprintf(text + at, " HTTP/1.1\r\nHost: a\r\n\r\n");
        feed(text, at, 7);
        CHECK(extra == 0 ? parser.state == HTTP_PARSER_DONE && parser.request.is_target_cut
                         : parser.state == HTTP_PARSER_FAILED && parser.status == 414);
    }
    for (uint32_t count = HTTP_HEADER_COUNT_LIMIT; count <= HTTP_HEADER_COUNT_LIMIT + 1; count++) {
        size_t at = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (uint32_t i = 1; i < count; i++) {
            at += (size_t)sprintf(text + at, "X: y\r\n");
        }
        at += (size_t)sprintf(text + at, "\r\n");
        feed(text, at, 11);
        CHECK(count == HTTP_HEADER_COUNT_LIMIT ? parser.state == HTTP_PARSER_DONE
                                               : parser.state == HTTP_PARSER_FAILED && parser.status == 431);
    }
    size_t at = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    memset(text + at, 'b', 9000);
    feed(text, at + 9000, 100);
    CHECK(parser.state == HTTP_PARSER_FAILED && parser.status == 431);
    at = (size_t)sprintf(text, "GET / HTTP/1.1\r\n");
    memset(text + at, 'n', 9000);
    feed(text, at + 9000, 100);
    CHECK(parser.state == HTTP_PARSER_FAILED && parser.status == 431);
    memset(text, 'M', 9000);
    feed(text, 9000, 100);
    CHECK(parser.state == HTTP_PARSER_FAILED && parser.status == 414);
    free(text);
}

static void check_path(const char *target, enum http_path_result result, const char *path)
{
    char out[HTTP_PATH_MAX];
    enum http_path_result got = http_path_normalise(target, strlen(target), out);
    bool is_right = got == result && (result != HTTP_PATH_OK || strcmp(out, path) == 0);
    if (!is_right) {
        printf("path %s: result %d, %s\n", target, got, got == HTTP_PATH_OK ? out : "");
    }
    CHECK(is_right);
}

static void test_paths(void)
{
    check_path("/", HTTP_PATH_OK, "/");
    check_path("/style.css?v=1", HTTP_PATH_OK, "/style.css");
    check_path("/a%20b%2Ec", HTTP_PATH_OK, "/a b.c");
    check_path("//a///b/./c/", HTTP_PATH_OK, "/a/b/c/");
    check_path("/a/b/../c", HTTP_PATH_OK, "/a/c");
    check_path("/a/b/../../..", HTTP_PATH_BAD, nullptr);
    check_path("/..", HTTP_PATH_BAD, nullptr);
    check_path("/a/%2e%2E/%2e%2e/x", HTTP_PATH_BAD, nullptr);
    check_path("/a/%2e./x", HTTP_PATH_OK, "/x");
    check_path("/a%2fb", HTTP_PATH_BAD, nullptr);
    check_path("/a%00", HTTP_PATH_BAD, nullptr);
    check_path("/a%0", HTTP_PATH_BAD, nullptr);
    check_path("/a%zz", HTTP_PATH_BAD, nullptr);
    check_path("/a\\b", HTTP_PATH_BAD, nullptr);
    check_path("a", HTTP_PATH_BAD, nullptr);
    check_path("*", HTTP_PATH_BAD, nullptr);
    check_path("http://host", HTTP_PATH_OK, "/");
    check_path("HTTP://host:80/x", HTTP_PATH_OK, "/x");
    check_path("http://host?q", HTTP_PATH_OK, "/");
    check_path("http://", HTTP_PATH_BAD, nullptr);
    check_path("/...", HTTP_PATH_OK, "/...");
    check_path("/.a/..b", HTTP_PATH_OK, "/.a/..b");
    char longest[400];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[HTTP_PATH_MAX - 1] = '\0';
    check_path(longest, HTTP_PATH_OK, longest);
    longest[HTTP_PATH_MAX - 1] = 'x';
    longest[HTTP_PATH_MAX] = '\0';
    check_path(longest, HTTP_PATH_TOO_LONG, nullptr);
}

static void test_rest(void)
{
    char date[HTTP_DATE_BYTES];
    http_date(784111777, date);
    CHECK(strcmp(date, "Sun, 06 Nov 1994 08:49:37 GMT") == 0);
    http_date(0, date);
    CHECK(strcmp(date, "Thu, 01 Jan 1970 00:00:00 GMT") == 0);
    http_date(951782400, date);
    CHECK(strcmp(date, "Tue, 29 Feb 2000 00:00:00 GMT") == 0);
    http_date(4107542399, date);
    CHECK(strcmp(date, "Sun, 28 Feb 2100 23:59:59 GMT") == 0);
    http_date(4107542400, date);
    CHECK(strcmp(date, "Mon, 01 Mar 2100 00:00:00 GMT") == 0);
    CHECK(http_etag_matches("\"a\", W/\"b\"", 10, "\"b\"") && !http_etag_matches("\"a\"", 3, "\"b\""));
    CHECK(http_etag_matches("*", 1, "\"b\"") && !http_etag_matches("\"b", 2, "\"b\"") && !http_etag_matches("", 0, "\"b\""));
    CHECK(strcmp(http_content_type("/a.css"), "text/css; charset=utf-8") == 0);
    CHECK(strcmp(http_content_type("/.css"), "text/css; charset=utf-8") == 0);
    CHECK(strcmp(http_content_type("/css"), "application/octet-stream") == 0);
}

int main(void)
{
    test_cases();
    test_facts();
    test_limits();
    test_paths();
    test_rest();
    return check_result();
}
