#include <httpd/snapshot.h>
#include <httpd/text.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/string.h>
#include <tess/stub/log.h>
#include <tess/stub/trace.h>

struct snapshot {
    struct std_mapping mapping;
};

static struct snapshot snapshots[SNAPSHOTS]; /* in use: mapped */
static handle_t trace, audit;

void snapshot_open(void)
{
    trace = std_handle("trace");
    audit = std_handle("audit");
}

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

/* ---- /audit.json ---- */

constexpr size_t AUDIT_BYTES = 512 << 10; /* a record takes at most 600 bytes, and the log has room for 512 */

static const char *const whats[] = {"?", "give", "mint", "revoke", "destroy", "device", "denied", "kill", "process", "left out"};

static void audit_member(struct text *text, const struct tess_log_record *head, const struct tess_audit_record *record)
{
    text_format(text, "%s{\"sequence\":%llu,\"time_ns\":%llu,\"what\":\"%s\",\"count\":%u,\"from\":%llu,\"from_name\":",
                text->data[text->length - 1] == '[' ? "" : ",", (unsigned long long)head->sequence, (unsigned long long)head->time_ns,
                whats[record->what < sizeof whats / sizeof whats[0] ? record->what : 0], record->count, (unsigned long long)record->from);
    text_json(text, record->from_name, sizeof record->from_name);
    text_format(text, ",\"to\":%llu,\"to_name\":", (unsigned long long)record->to);
    text_json(text, record->to_name, sizeof record->to_name);
    text_format(text, ",\"type\":\"%s\",\"object\":%llu,\"rights\":%u,\"badge\":%llu,\"detail\":[%llu,%llu]}",
                object_type_name((enum object_type)record->type), (unsigned long long)record->object, record->rights,
                (unsigned long long)record->badge, (unsigned long long)record->detail[0], (unsigned long long)record->detail[1]);
}

static void audit_write(struct text *text)
{
    static uint8_t buffer[4096];
    uint64_t cursor = 0, size = 0, lost;
    text_string(text, "{\"records\":[");
    for (uint32_t i = 0; i < 64; i++) { /* more than the log keeps */
        if (tess_log_drain(audit, cursor, (uint64_t)buffer, sizeof buffer, &cursor, &size, &lost) != OK || size == 0) {
            break;
        }
        for (uint64_t at = 0; at < size;) {
            struct tess_log_record head;
            struct tess_audit_record record;
            memcpy(&head, buffer + at, sizeof head);
            memcpy(&record, buffer + at + sizeof head, sizeof record);
            audit_member(text, &head, &record);
            at += sizeof head + ((head.size + 7u) & ~7u);
        }
    }
    text_string(text, "]}\n");
}

static bool audit_copy(struct snapshot *snapshot, struct http_response *out_response)
{
    if (std_mapping_create(AUDIT_BYTES, 0, &snapshot->mapping) != OK) {
        out_response->status = 500;
        return true;
    }
    struct text text = {.data = snapshot->mapping.address, .size = AUDIT_BYTES};
    audit_write(&text);
    if (text.is_full) {
        std_mapping_destroy(&snapshot->mapping);
        out_response->status = 500;
        return true;
    }
    *out_response = (struct http_response){.status = 200,
                                           .content_type = "application/json",
                                           .cache_control = "no-store",
                                           .body = text.data,
                                           .size = text.length,
                                           .document = snapshot};
    return true;
}

bool snapshot_respond(const char *path, struct http_response *out_response)
{
    bool is_audit = strcmp(path, "/audit.json") == 0;
    if ((is_audit ? audit : trace) == HANDLE_NONE || (!is_audit && strcmp(path, "/trace.bin") != 0)) {
        return false;
    }
    for (uint32_t i = 0; i < SNAPSHOTS; i++) {
        if (snapshots[i].mapping.address == nullptr) {
            return is_audit ? audit_copy(&snapshots[i], out_response) : trace_copy(&snapshots[i], out_response);
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
