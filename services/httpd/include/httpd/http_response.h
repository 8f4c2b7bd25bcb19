/* The head of a response as text, and the small pages that explain an error. */
#pragma once
#include <httpd/connection.h>

const char *http_reason(uint16_t status);
/* Writes status line and headers into `out_head`; returns their size. `date` may be null. */
size_t http_response_head(const struct http_response *response, bool keeps_alive, const char *date, char out_head[CONNECTION_HEAD_BYTES]);
/* A complete response for an error status (its body is constant text). */
struct http_response http_error_response(uint16_t status);
