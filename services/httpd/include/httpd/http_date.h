/* Calendar time for the Date header. */
#pragma once
#include <stddef.h>
#include <stdint.h>

constexpr size_t HTTP_DATE_BYTES = 30; /* "Sun, 06 Nov 1994 08:49:37 GMT" and its zero */

/* IMF-fixdate (RFC 9110, 5.6.7) of a Unix time before the year 10000. */
void http_date(uint64_t unix_seconds, char out_text[HTTP_DATE_BYTES]);
