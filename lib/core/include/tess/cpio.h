/*
 * Reader for the boot image: a CPIO archive in the "newc" format (magic 070701). Pure and bounds-checked: a damaged or truncated
 * archive gives ERROR_BAD_FORMAT at the record that shows it. Our images pad names with zero bytes so that file data is page
 * aligned; the reader does not rely on it, who maps data does.
 */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

struct cpio_file {
    const char *name; /* terminated inside the archive */
    const void *data;
    uint64_t offset; /* of data in the archive */
    uint64_t size;
    uint32_t mode; /* POSIX st_mode */
    uint32_t inode, uid, gid, links, mtime_s;
    uint32_t device_major, device_minor; /* of a device node */
};

/* The record at *cursor (0 = first), which then moves on. ERROR_NOT_FOUND: the trailer was reached. */
[[nodiscard]] status_t cpio_next(const void *archive, uint64_t size, uint64_t *cursor, struct cpio_file *out_file);
/* The regular file of exactly this name. ERROR_NOT_FOUND; ERROR_BAD_FORMAT when damage comes before it. */
[[nodiscard]] status_t cpio_find(const void *archive, uint64_t size, const char *name, struct cpio_file *out_file);
