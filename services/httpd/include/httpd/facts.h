/* Reads the status page's facts through the handles that httpd was given; what it was not given is left out. */
#pragma once
#include <httpd/status.h>
#include <tess/types.h>

struct facts_reader {
    handle_t system, net, supervisor, devmgr;
    /* A service that did not answer in time is not asked again before this. */
    uint64_t net_pause_ns, supervisor_pause_ns, devmgr_pause_ns;
    /* CPU times at the start of the running interval, and the load of the last complete one. */
    uint64_t interval_ns;
    struct {
        uint64_t busy_ns, idle_ns;
        uint32_t load_permille;
    } cpus[STATUS_CPUS];
};

void facts_open(struct facts_reader *reader);
/* Leaves facts->http alone: that is the server's. */
void facts_read(struct facts_reader *reader, struct status_facts *facts);
