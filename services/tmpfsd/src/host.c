#include "host.h"
#include <std/loop.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>
#include <tess/util.h>

static constexpr uint32_t CLIENT_RIGHTS = RIGHT_COPY | RIGHT_MOVE | RIGHT_WATCH | RIGHT_INSPECT;
static constexpr uint64_t COPY_MAX = 1 << 20; /* memory.read and memory.write */

static struct host_setup host;

void host_init(const struct host_setup *setup) { host = *setup; }

/* Whatever ran out, for the client it is the file system that is full. */
static status_t space(status_t status)
{
    return status == ERROR_NO_MEMORY || status == ERROR_NO_HANDLES || status == ERROR_CELL_LIMIT ? ERROR_NO_SPACE : status;
}

status_t host_bytes_create(uint64_t pages, handle_t *out_bytes)
{
    return space(tess_untyped_create_memory(host.bytes, pages * HOST_PAGE, MEMORY_RESIZABLE, out_bytes));
}

status_t host_bytes_resize(handle_t bytes, uint64_t pages) { return space(tess_memory_resize(bytes, pages * HOST_PAGE)); }

status_t host_bytes_commit(handle_t bytes, uint64_t offset, uint64_t size) { return space(tess_memory_commit(bytes, offset, size)); }

status_t host_bytes_decommit(handle_t bytes, uint64_t offset, uint64_t size) { return tess_memory_decommit(bytes, offset, size); }

static bool is_zero(const uint8_t *data, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++) {
        if (data[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Looks first: a page that is not there reads as zeros and stays away. */
status_t host_bytes_zero(handle_t bytes, uint64_t offset, uint64_t size)
{
    static const uint8_t zeros[512];
    uint8_t data[sizeof(zeros)];
    status_t status = OK;
    while (size > 0 && status == OK) {
        uint64_t count = min_u64(size, sizeof(data));
        status = tess_memory_read(bytes, offset, (uint64_t)data, count);
        if (status == OK && !is_zero(data, count)) {
            status = space(tess_memory_write(bytes, offset, (uint64_t)zeros, count));
        }
        offset += count;
        size -= count;
    }
    return status;
}

status_t host_bytes_fill(handle_t bytes, uint64_t archive_offset, uint64_t size)
{
    status_t status = OK;
    for (uint64_t at = 0; at < size && status == OK; at += COPY_MAX) {
        uint64_t from = (uint64_t)host.archive_data + archive_offset + at;
        status = space(tess_memory_write(bytes, at, from, min_u64(size - at, COPY_MAX)));
    }
    return status;
}

status_t host_slice(uint64_t archive_offset, uint64_t size, handle_t *out_bytes)
{
    return space(tess_memory_slice(host.archive, archive_offset, size, out_bytes));
}

status_t host_bytes_share(handle_t bytes, uint32_t rights, handle_t *out_handle)
{
    return space(std_handle_copy(bytes, rights | CLIENT_RIGHTS, out_handle));
}

status_t host_table_share(handle_t *out_handle)
{
    return space(std_handle_copy(host.table, MEMORY_RIGHT_READ | CLIENT_RIGHTS, out_handle));
}

status_t host_badge_mint(uint64_t badge, uint32_t rights, handle_t *out_handle)
{
    return space(std_handle_mint(host.endpoint, rights | CLIENT_RIGHTS, badge, out_handle));
}

status_t host_badge_of(handle_t handle, uint64_t *out_badge)
{
    uint32_t rights;
    return tess_cspace_verify(std_self.cspace, handle, host.endpoint, &rights, out_badge);
}

void host_handle_delete(handle_t handle) { std_handle_delete(handle); }

static status_t buffer_status(status_t status) { return status == OK || status == ERROR_MISSING_RIGHT ? status : ERROR_BAD_ADDRESS; }

status_t host_buffer_read(handle_t buffer, uint64_t offset, void *data, uint64_t size)
{
    return buffer_status(tess_memory_read(buffer, offset, (uint64_t)data, size));
}

status_t host_buffer_write(handle_t buffer, uint64_t offset, const void *data, uint64_t size)
{
    return buffer_status(tess_memory_write(buffer, offset, (uint64_t)data, size));
}

status_t host_reply(uint64_t token, status_t status) { return loop_reply(host.loop, token, status, nullptr); }

status_t host_table_commit(uint32_t index)
{
    uint64_t offset = index * sizeof(struct tess_inode_record);
    return offset % HOST_PAGE == 0 || index == 1 ? space(tess_memory_commit(host.table, align_down(offset, HOST_PAGE), HOST_PAGE)) : OK;
}

int64_t host_time_ns(void) { return (int64_t)time_wall_ns(); }

void host_usage(uint64_t *out_total_bytes, uint64_t *out_free_bytes)
{
    uint64_t limit = 0, used = 0, objects;
    if (tess_untyped_info(host.bytes, &limit, &used, &objects) != OK) {
        limit = used = 0;
    }
    *out_total_bytes = limit * HOST_PAGE;
    *out_free_bytes = (limit - used) * HOST_PAGE;
}
