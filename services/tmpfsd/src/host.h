/* host.h in a service: what main() has to give it. */
#pragma once
#include <tmpfs/host.h>

struct host_setup {
    handle_t endpoint; /* with right owner */
    handle_t bytes;    /* untyped that the files' bytes are charged to */
    handle_t table;    /* memory of the inode table */
    handle_t archive;  /* memory, mapped at archive_data; HANDLE_NONE: none */
    const void *archive_data;
    uint64_t archive_size;
    struct loop *loop;
};
void host_init(const struct host_setup *setup);
