/* From a request target to the name of a file: pure functions. */
#pragma once
#include <httpd/http_parser.h>
#include <stddef.h>

constexpr size_t HTTP_PATH_MAX = 256;

enum http_path_result { HTTP_PATH_OK, HTTP_PATH_BAD, HTTP_PATH_TOO_LONG };

/*
 * Decodes and normalises the path of a target in origin form ("/a%20b/../c?x") or absolute form ("http://host/c"). The result
 * starts with '/', is terminated, has no query, no empty, "." or ".." segments. BAD: not such a form, a broken or forbidden
 * percent code (zero, control, slash, backslash), or ".." above the root. TOO_LONG: such a path can name no file.
 */
enum http_path_result http_path_normalise(const char *target, size_t size, char out_path[HTTP_PATH_MAX]);

/* By the extension. */
const char *http_content_type(const char *path);
/* Whether an If-None-Match list names this tag (weak comparison, RFC 9110, 13.1.2) or is "*". */
bool http_etag_matches(const char *list, size_t size, const char *etag);
