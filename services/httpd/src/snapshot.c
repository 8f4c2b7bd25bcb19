#include <httpd/snapshot.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/string.h>
#include <tess/stub/trace.h>

struct snapshot {
    struct std_mapping mapping;
};

static struct snapshot snapshots[SNAPSHOTS]; /* in use: mapped */
static handle_t trace;

void snapshot_open(void) { trace = std_handle("trace"); }

/* One buffer's records behind `part`; at most `limit`, because a busy CPU may write faster than this reads. Returns where the next
 * part begins. */
static void *copy_buffer(struct tess_trace_part *part, uint32_t index, uint32_t limit)
{
    struct tess_trace_record *records = (struct tess_trace_record *)(part + 1);
    uint64_t cursor = 0, count = 0, lost;
    *part = (struct tess_trace_part){.index = index};
    while (part->count < limit) {
        uint64_t room = (limit - part->count) * sizeof(*records);
        if (tess_trace_read(trace, index, cursor, (uint64_t)(records + part->count), room, &cursor, &count, &lost) != OK || count == 0) {
            break;
        }
        part->count += (uint32_t)count;
    }
    part->lost = cursor - part->count;
    return records + part->count;
}

static bool trace_copy(struct snapshot *snapshot, struct http_response *out_response)
{
    uint32_t buffers, records, classes;
    uint64_t bytes, process, start_ns;
    if (tess_trace_info(trace, &buffers, &records, &bytes, &classes, &process, &start_ns) != OK || buffers == 0) {
        return false;
    }
    uint64_t part_bytes = sizeof(struct tess_trace_part) + (uint64_t)records * sizeof(struct tess_trace_record);
    if (std_mapping_create(sizeof(struct tess_trace_file) + buffers * part_bytes, 0, &snapshot->mapping) != OK) {
        out_response->status = 500;
        return true;
    }
    struct tess_trace_file *file = snapshot->mapping.address;
    void *end = file + 1;
    for (uint32_t i = 0; i < buffers; i++) {
        end = copy_buffer(end, i, records);
    }
    *file = (struct tess_trace_file){.magic = TRACE_MAGIC,
                                     .abi_hash = ABI_HASH,
                                     .start_ns = start_ns,
                                     .time_ns = time_now_ns(),
                                     .cpu_count = buffers - 1,
                                     .part_count = buffers};
    *out_response = (struct http_response){.status = 200,
                                           .content_type = "application/octet-stream",
                                           .cache_control = "no-store",
                                           .body = file,
                                           .size = (size_t)((uint8_t *)end - (uint8_t *)file),
                                           .document = snapshot};
    return true;
}

bool snapshot_respond(const char *path, struct http_response *out_response)
{
    if (strcmp(path, "/trace.bin") != 0 || trace == HANDLE_NONE) {
        return false;
    }
    for (uint32_t i = 0; i < SNAPSHOTS; i++) {
        if (snapshots[i].mapping.address == nullptr) {
            return trace_copy(&snapshots[i], out_response);
        }
    }
    out_response->status = 500;
    return true;
}

bool snapshot_release(const void *document)
{
    for (uint32_t i = 0; i < SNAPSHOTS; i++) {
        if (document == &snapshots[i]) {
            std_mapping_destroy(&snapshots[i].mapping);
            return true;
        }
    }
    return false;
}
