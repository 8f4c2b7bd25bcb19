#include <httpd/http_response.h>
#include <httpd/text.h>
#include <tess/string.h>

#define PAGE(number, reason, hint)                                                                                                         \
    "<!doctype html><meta charset=utf-8><title>" number " " reason "</title><link rel=stylesheet href=/style.css>"                         \
    "<body class=plain><h1>" number "</h1><p>" reason ". " hint "</p>"                                                                     \
    "<p><a href=/>Back to the status page</a></p>\n"

static const struct {
    uint16_t status;
    const char *reason, *page;
} table[] = {
    {200, "OK", nullptr},
    {304, "Not Modified", nullptr},
    {400, "Bad Request", PAGE("400", "Bad request", "This server did not understand what it was sent.")},
    {404, "Not Found", PAGE("404", "Not found", "There is nothing at this address.")},
    {405, "Method Not Allowed", PAGE("405", "Method not allowed", "Pages here can only be read: GET and HEAD.")},
    {408, "Request Timeout", PAGE("408", "Request timeout", "The request took too long to arrive.")},
    {414, "URI Too Long", PAGE("414", "Address too long", "The first line of a request may have 4096 bytes.")},
    {431, "Request Header Fields Too Large", PAGE("431", "Headers too large", "At most 64 header lines, 8192 bytes in all.")},
    {500, "Internal Server Error", PAGE("500", "Internal error", "The page could not be made.")},
    {501, "Not Implemented", PAGE("501", "Not implemented", "This method or transfer coding is unknown here.")},
    {505, "HTTP Version Not Supported", PAGE("505", "Version not supported", "This server speaks HTTP/1.1 and HTTP/1.0.")},
};

static size_t find(uint16_t status)
{
    constexpr size_t internal_error = 8;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].status == status) {
            return i;
        }
    }
    return internal_error;
}

const char *http_reason(uint16_t status) { return table[find(status)].reason; }

struct http_response http_error_response(uint16_t status)
{
    size_t entry = find(status);
    const char *page = table[entry].page != nullptr ? table[entry].page : "";
    return (struct http_response){
        .status = table[entry].status, .content_type = "text/html; charset=utf-8", .body = page, .size = strlen(page)};
}

size_t http_response_head(const struct http_response *response, bool keeps_alive, const char *date, char out_head[CONNECTION_HEAD_BYTES])
{
    struct text text = {.data = out_head, .size = CONNECTION_HEAD_BYTES};
    text_string(&text, "HTTP/1.1 ");
    text_number(&text, response->status);
    text_string(&text, " ");
    text_string(&text, http_reason(response->status));
    text_string(&text, "\r\nServer: Tessera\r\n");
    if (date != nullptr) {
        text_string(&text, "Date: ");
        text_string(&text, date);
        text_string(&text, "\r\n");
    }
    if (response->status != 304) {
        text_string(&text, "Content-Type: ");
        text_string(&text, response->content_type);
        text_string(&text, "\r\nContent-Length: ");
        text_number(&text, response->size);
        text_string(&text, "\r\n");
    }
    if (response->etag != nullptr) {
        text_string(&text, "ETag: ");
        text_string(&text, response->etag);
        text_string(&text, "\r\n");
    }
    if (response->cache_control != nullptr) {
        text_string(&text, "Cache-Control: ");
        text_string(&text, response->cache_control);
        text_string(&text, "\r\n");
    }
    if (response->status == 405) {
        text_string(&text, "Allow: GET, HEAD\r\n");
    }
    text_string(&text, "X-Content-Type-Options: nosniff\r\n");
    /* Said in both cases: HTTP/1.0 clients that asked for it need to be told. */
    text_string(&text, keeps_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n");
    return text.length;
}
