/* The web server: a status page made of what its handles let it see, its JSON, and the files of the archive "files". */
#include <httpd/facts.h>
#include <httpd/server.h>
#include <httpd/snapshot.h>
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <tess/serve/http.h>
#include <tess/stub/memory.h>

static struct loop loop;
static struct server server;
static struct facts_reader facts;

static void read_facts(void *context, struct status_facts *out_facts)
{
    (void)context;
    facts_read(&facts, out_facts);
    server_facts(&server, &out_facts->http);
}

static status_t counters(void *context, struct tess_call *call, uint64_t *out_requests, uint64_t *out_errors, uint32_t *out_connections,
                         uint32_t *out_connections_peak, uint64_t *out_accepted, uint64_t *out_refused, uint64_t *out_timeouts,
                         uint64_t *out_bytes_out, uint64_t *out_first_byte_ns)
{
    struct status_http own;
    (void)context;
    (void)call;
    server_facts(&server, &own);
    *out_requests = own.counters.requests;
    *out_errors = own.counters.errors;
    *out_connections = own.connections;
    *out_connections_peak = own.connections_peak;
    *out_accepted = own.accepted;
    *out_refused = own.refused;
    *out_timeouts = own.counters.timeouts;
    *out_bytes_out = own.counters.bytes_out;
    *out_first_byte_ns = own.counters.first_byte_ns;
    return OK;
}

static const struct http_server http_methods = {.counters = counters};

static status_t dispatch(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    return http_dispatch(&http_methods, nullptr, call);
}

/* Without its files the server still has the status page. */
static void index_files(void)
{
    handle_t archive = std_handle("files");
    uint64_t size, pages;
    uint32_t flags, is_device;
    void *base;
    if (archive == HANDLE_NONE || tess_memory_info(archive, &size, &pages, &flags, &is_device) != OK ||
        std_map(archive, 0, size, MAP_READ, &base) != OK) {
        log_warning("no files to serve beside the status page");
        return;
    }
    static_files_index(&server.site.files, base, size);
    if (server.site.files.is_cut) {
        log_warning("the archive of files is damaged or too large; serving the first %u", server.site.files.count);
    }
}

static status_t start(void)
{
    static struct loop_service service = {.dispatch = dispatch};
    status_t status = loop_open(&loop, nullptr);
    if (status != OK) {
        return status;
    }
    index_files();
    facts_open(&facts);
    snapshot_open();
    server.site.read_facts = read_facts;
    site_init(&server.site);
    handle_t endpoint = std_handle("serve.http");
    if (endpoint != HANDLE_NONE) {
        status = loop_serve(&loop, &service, endpoint);
    }
    return status == OK ? server_init(&server, &loop, std_handle_needed("net")) : status;
}

int main(void)
{
    status_t status = start();
    while (status == OK || status == ERROR_TIMED_OUT || status == ERROR_INTERRUPTED) {
        server_work(&server);
        status = loop_run_once(&loop, DEADLINE_INFINITE);
    }
    log_error("%s", status_name(status));
    return status;
}
