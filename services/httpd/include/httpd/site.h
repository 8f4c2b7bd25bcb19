/*
 * What is at which address: the status page and its JSON, made at most every SITE_FRESH_NS, and the static files.
 *
 * Documents are filled up with spaces to a length that hardly ever changes: load generators take a change for a damaged answer.
 *
 * A made document is shared by all answers that began while it was fresh and stays until the last of them is out. When slow
 * clients hold all documents of a kind, the newest one is served a little longer instead of failing.
 */
#pragma once
#include <httpd/connection.h>
#include <httpd/static_files.h>
#include <httpd/status.h>

constexpr uint64_t SITE_FRESH_NS = 250'000'000;
constexpr uint32_t SITE_DOCUMENTS = 3; /* of each kind */

enum document_kind : uint8_t { DOCUMENT_HTML, DOCUMENT_JSON, DOCUMENT_KINDS };

struct document {
    uint32_t users;
    uint64_t made_ns; /* 0: never */
    size_t size;
    char data[STATUS_TEXT_BYTES];
};

struct site {
    struct static_files files;
    struct document documents[DOCUMENT_KINDS][SITE_DOCUMENTS];
    size_t lengths[DOCUMENT_KINDS]; /* of the last document of the kind, with its spaces */
    struct status_facts facts;
    /* Fills in the facts; the site sets nothing of them itself. */
    void (*read_facts)(void *context, struct status_facts *facts);
    void *context;
};

/* Touches the memory that documents will need, so that serving takes no more. */
void site_init(struct site *site);
/* connection_host.respond and .release, with now. */
void site_respond(struct site *site, const char *path, uint64_t now_ns, struct http_response *out_response);
void site_release(struct document *document);
