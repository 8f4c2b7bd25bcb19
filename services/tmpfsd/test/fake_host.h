/* tmpfsd's world in ordinary memory: handles that are counted, bytes with a limit of pages, calls made as a client makes them. */
#pragma once
#include <tmpfs/service.h>

constexpr uint32_t FAKE_INODES = 512;

struct fake {
    struct allocator allocator; /* malloc, at most `allocations_max` alive */
    uint64_t allocations, allocations_max;
    uint64_t pages, pages_max; /* of all files */
    uint32_t handles;          /* alive */
    int64_t now_ns;
    const void *archive;
    uint64_t archive_size;
    uint64_t replies[8], reply_count; /* tokens answered, last ones */
    status_t reply_status[8];
    bool is_deaf; /* nobody waits for answers */
};
extern struct fake fake;

void fake_start(struct service *service);
void fake_end(struct service *service); /* everything is back: checked */

/* A client's side. Handles that an answer brings are the client's: fake_close tells the service when it was the last. */
handle_t fake_buffer(const void *data, uint64_t size, uint64_t room);
const uint8_t *fake_bytes(handle_t memory, uint64_t *out_pages);                    /* of a memory handle */
bool fake_store(handle_t memory, uint64_t offset, const void *data, uint64_t size); /* as memory.write with the handle's rights */
void fake_load(handle_t memory, uint64_t offset, void *data, uint64_t size);
uint32_t fake_rights(handle_t handle);
void fake_close(struct service *service, handle_t handle);
uint64_t fake_badge(handle_t handle);
/* Makes a call through `handle` (HANDLE_NONE: a handle of the manifest); `handles` are copied for it as the kernel does. */
status_t fake_call(struct service *service, handle_t handle, uint64_t op, const uint64_t *words, const handle_t *handles,
                   struct tess_call *call);
