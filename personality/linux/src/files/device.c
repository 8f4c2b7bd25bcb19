/* Character devices that need nobody: null, zero, full, random. And the log, where the first program's output goes when there is nothing better. */
#include "files.h"
#include <tess/invoke.h>
#include <tess/stub/log.h>
#include <tess/util.h>

enum : uint64_t { DEVICE_NULL = 0x103, DEVICE_ZERO = 0x105, DEVICE_FULL = 0x107, DEVICE_RANDOM = 0x108, DEVICE_URANDOM = 0x109 };

int64_t device_open(const struct node *node)
{
    bool is_known = (node->mode & MODE_TYPE) == MODE_CHARACTER &&
                    (node->device == DEVICE_NULL || node->device == DEVICE_ZERO || node->device == DEVICE_FULL ||
                     node->device == DEVICE_RANDOM || node->device == DEVICE_URANDOM);
    return is_known ? 0 : -LINUX_ENXIO;
}

static int64_t random_read(uint64_t buffer, uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        uint8_t bytes[256];
        uint64_t part = min_u64(size - done, sizeof(bytes));
        linux_random(bytes, part);
        int64_t result = linux_copy_to_user(buffer + done, bytes, part);
        if (result != 0) {
            return done > 0 ? (int64_t)done : result;
        }
        done += part;
    }
    return (int64_t)size;
}

static int64_t device_read(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    (void)offset;
    switch (node_of(file)->device) {
    case DEVICE_NULL: return 0;
    case DEVICE_ZERO:
    case DEVICE_FULL: {
        int64_t result = linux_zero_user(buffer, size);
        return result == 0 ? (int64_t)size : result;
    }
    default: return random_read(buffer, size);
    }
}

static int64_t device_write(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    (void)buffer, (void)offset;
    return node_of(file)->device == DEVICE_FULL ? -LINUX_ENOSPC : (int64_t)size;
}

static int64_t device_seek(struct linux_file *file, int64_t offset, uint32_t whence) { return (void)file, (void)offset, (void)whence, 0; }

const struct linux_file_operations device_operations = {
    .read = device_read, .write = device_write, .seek = device_seek, .stat = node_stat_file, .forked = node_forked, .close = node_close};

/* ---- The log ---- */

static int64_t log_read(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    return (void)file, (void)buffer, (void)size, (void)offset, 0;
}

static int64_t log_write(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    (void)file, (void)offset;
    char text[400];
    uint64_t part = min_u64(size, sizeof(text));
    int64_t result = linux_copy_from_user(text, buffer, part);
    if (result != 0) {
        return result;
    }
    uint64_t shown = part > 0 && text[part - 1] == '\n' ? part - 1 : part;
    if (shown > 0) {
        status_t status = tess_log_append(linux_process()->log, (uint64_t)text, shown, LOG_INFO);
        (void)status; /* a log that takes nothing takes nothing */
    }
    return (int64_t)part;
}

static int64_t log_stat(struct linux_file *file, struct linux_stat_values *out)
{
    (void)file;
    *out = (struct linux_stat_values){.mode = MODE_FIFO | 0600, .links = 1, .block_size = FILES_PAGE};
    return 0;
}

static void log_close(struct linux_file *file) { linux_free(file, sizeof(*file)); }

const struct linux_file_operations log_operations = {.read = log_read, .write = log_write, .stat = log_stat, .close = log_close};
