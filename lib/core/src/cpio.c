/* "newc": a 110-byte header of ASCII hex fields, the name, padding to 4, the data, padding to 4 (cpio(5)). */
#include <tess/cpio.h>
#include <tess/string.h>
#include <tess/util.h>

constexpr uint64_t HEADER_SIZE = 110;
/* The 8-digit fields after the magic: inode, mode, uid, gid, links, mtime, file size, device (2), device that the node is (2), name size. */
constexpr uint32_t FIELD_FILE_SIZE = 6, FIELD_NAME_SIZE = 11, FIELDS = 12;
constexpr uint32_t MODE_TYPE = 0170000, MODE_REGULAR = 0100000;

static bool read_field(const char *header, uint32_t index, uint32_t *out_value)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < 8; i++) {
        char c = header[6 + 8 * index + i];
        if (c >= '0' && c <= '9') {
            value = value << 4 | (uint32_t)(c - '0');
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            value = value << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        } else {
            return false;
        }
    }
    *out_value = value;
    return true;
}

status_t cpio_next(const void *archive, uint64_t size, uint64_t *cursor, struct cpio_file *out_file)
{
    uint64_t at = *cursor;
    if (!is_range_within(at, HEADER_SIZE, size)) {
        return ERROR_BAD_FORMAT;
    }
    const char *header = (const char *)archive + at;
    if (memcmp(header, "070701", 6) != 0) {
        return ERROR_BAD_FORMAT;
    }
    uint32_t field[FIELDS];
    for (uint32_t i = 0; i < FIELDS; i++) {
        if (!read_field(header, i, &field[i])) {
            return ERROR_BAD_FORMAT;
        }
    }
    uint32_t file_size = field[FIELD_FILE_SIZE], name_size = field[FIELD_NAME_SIZE];
    if (name_size == 0 || !is_range_within(at + HEADER_SIZE, name_size, size)) {
        return ERROR_BAD_FORMAT;
    }
    const char *name = header + HEADER_SIZE;
    if (name[name_size - 1] != '\0') {
        return ERROR_BAD_FORMAT;
    }
    if (strcmp(name, "TRAILER!!!") == 0) {
        return ERROR_NOT_FOUND;
    }
    uint64_t data = align_up(at + HEADER_SIZE + name_size, 4);
    if (!is_range_within(data, file_size, size)) {
        return ERROR_BAD_FORMAT;
    }
    *out_file = (struct cpio_file){.name = name,
                                   .data = (const char *)archive + data,
                                   .offset = data,
                                   .size = file_size,
                                   .inode = field[0],
                                   .mode = field[1],
                                   .uid = field[2],
                                   .gid = field[3],
                                   .links = field[4],
                                   .mtime_s = field[5],
                                   .device_major = field[9],
                                   .device_minor = field[10]};
    *cursor = align_up(data + file_size, 4);
    return OK;
}

status_t cpio_find(const void *archive, uint64_t size, const char *name, struct cpio_file *out_file)
{
    uint64_t cursor = 0;
    for (;;) {
        struct cpio_file file;
        status_t status = cpio_next(archive, size, &cursor, &file);
        if (status != OK) {
            return status;
        }
        if ((file.mode & MODE_TYPE) == MODE_REGULAR && strcmp(file.name, name) == 0) {
            *out_file = file;
            return OK;
        }
    }
}
