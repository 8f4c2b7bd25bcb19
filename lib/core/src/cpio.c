/* "newc": a 110-byte header of ASCII hex fields, the name, padding to 4, the data, padding to 4 (cpio(5)). */
#include <tess/cpio.h>
#include <tess/string.h>
#include <tess/util.h>

constexpr uint64_t HEADER_SIZE = 110;
constexpr uint32_t FIELD_MODE = 1, FIELD_FILE_SIZE = 6, FIELD_NAME_SIZE = 11; /* index of 8-digit fields after the magic */
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
    uint32_t mode, file_size, name_size;
    if (memcmp(header, "070701", 6) != 0 || !read_field(header, FIELD_MODE, &mode) || !read_field(header, FIELD_FILE_SIZE, &file_size) ||
        !read_field(header, FIELD_NAME_SIZE, &name_size)) {
        return ERROR_BAD_FORMAT;
    }
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
    *out_file = (struct cpio_file){.name = name, .data = (const char *)archive + data, .offset = data, .size = file_size, .mode = mode};
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
