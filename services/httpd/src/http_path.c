#include <httpd/http_path.h>
#include <tess/string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Steps over "http://authority" (any case of the scheme); an absolute form without a path means "/". */
static bool skip_authority(const char **target, size_t *size)
{
    static const char scheme[] = "http://";
    constexpr size_t scheme_size = sizeof scheme - 1;
    if (*size <= scheme_size) {
        return false;
    }
    for (size_t i = 0; i < scheme_size; i++) {
        if (((*target)[i] | (scheme[i] >= 'a' ? 0x20 : 0)) != scheme[i]) {
            return false;
        }
    }
    size_t at = scheme_size;
    while (at < *size && (*target)[at] != '/' && (*target)[at] != '?') {
        at++;
    }
    if (at == scheme_size) {
        return false;
    }
    *target += at;
    *size -= at;
    return true;
}

/* One character of the path, percent codes resolved; -1 when it is not allowed. */
static int decode(const char *target, size_t size, size_t *at)
{
    char c = target[(*at)++];
    if (c != '%') {
        return c == '\\' ? -1 : (unsigned char)c;
    }
    if (size - *at < 2) {
        return -1;
    }
    int high = hex_value(target[*at]), low = hex_value(target[*at + 1]);
    *at += 2;
    int value = high * 16 + low;
    /* An encoded slash is not a separator and no file name has one. */
    return high < 0 || low < 0 || value < ' ' || value == 0x7F || value == '/' || value == '\\' ? -1 : value;
}

/* Ends the segment that starts at `start`: drops "" and ".", lets ".." take its parent along. Returns the new length or -1. */
static int segment_end(char *path, size_t start, size_t length)
{
    size_t size = length - start;
    if (size == 1 && path[start] == '.') {
        return (int)start;
    }
    if (size == 2 && path[start] == '.' && path[start + 1] == '.') {
        if (start < 2) {
            return -1;
        }
        size_t parent = start - 1; /* on the slash before ".." */
        while (path[parent - 1] != '/') {
            parent--;
        }
        return (int)parent;
    }
    return (int)length;
}

enum http_path_result http_path_normalise(const char *target, size_t size, char out_path[HTTP_PATH_MAX])
{
    if (size == 0 || (target[0] != '/' && !skip_authority(&target, &size))) {
        return HTTP_PATH_BAD;
    }
    size_t length = 0, start = 1;
    out_path[length++] = '/';
    size_t at = size > 0 && target[0] == '/' ? 1 : 0;
    for (;;) {
        bool is_end = at >= size || target[at] == '?' || target[at] == '#';
        if (is_end || target[at] == '/') {
            int kept = segment_end(out_path, start, length);
            if (kept < 0) {
                return HTTP_PATH_BAD;
            }
            length = (size_t)kept;
            if (is_end) {
                break;
            }
            at++;
            if (out_path[length - 1] != '/') {
                if (length + 1 >= HTTP_PATH_MAX) {
                    return HTTP_PATH_TOO_LONG;
                }
                out_path[length++] = '/';
            }
            start = length;
            continue;
        }
        int c = decode(target, size, &at);
        if (c < 0) {
            return HTTP_PATH_BAD;
        }
        if (length + 1 >= HTTP_PATH_MAX) {
            return HTTP_PATH_TOO_LONG;
        }
        out_path[length++] = (char)c;
    }
    out_path[length] = '\0';
    return HTTP_PATH_OK;
}

const char *http_content_type(const char *path)
{
    static const struct {
        const char *extension, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".json", "application/json"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".txt", "text/plain; charset=utf-8"},
    };
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t size = strlen(types[i].extension);
        if (length > size && strcmp(path + length - size, types[i].extension) == 0) {
            return types[i].type;
        }
    }
    return "application/octet-stream";
}

bool http_etag_matches(const char *list, size_t size, const char *etag)
{
    size_t etag_size = strlen(etag);
    for (size_t at = 0; at < size;) {
        if (list[at] == '*') {
            return true;
        }
        if (list[at] != '"') { /* separators and the W/ of weak tags */
            at++;
            continue;
        }
        size_t end = at + 1;
        while (end < size && list[end] != '"') {
            end++;
        }
        if (end < size && end + 1 - at == etag_size && memcmp(list + at, etag, etag_size) == 0) {
            return true;
        }
        at = end + 1;
    }
    return false;
}
