/*
 * What the kernel recorded: /trace.bin (abi/types.toml, trace_file) and /audit.json. A request copies what is there into memory of its own, which goes when the
 * answer is out; so many answers at once as SNAPSHOTS, and then 500.
 */
#pragma once
#include <httpd/connection.h>
#include <tess/types.h>

constexpr uint32_t SNAPSHOTS = 2;

/* With the handles "trace" and "audit", as far as there are any. */
void snapshot_open(void);
/* False: the path is none of ours. */
bool snapshot_respond(const char *path, struct http_response *out_response);
/* False: the document is none of ours. */
bool snapshot_release(const void *document);
