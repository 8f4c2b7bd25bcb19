/* The boot image: mapped once, read-only, checked from end to end. */
#include <init.h>
#include <std/log.h>
#include <std/program.h>
#include <tess/cpio.h>
#include <tess/stub/memory.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

const char *image_open(struct init *init)
{
    uint64_t size, committed, address;
    uint32_t flags, is_device;
    if (init->image == HANDLE_NONE) {
        return "there is no boot image";
    }
    if (tess_memory_info(init->image, &size, &committed, &flags, &is_device) != OK || size == 0) {
        return "the boot image cannot be read";
    }
    if (tess_vspace_map(std_self.vspace, init->image, 0, align_up(size, PAGE_BYTES), 0, MAP_READ, &address) != OK) {
        return "not enough memory to map the boot image";
    }
    init->image_base = (const uint8_t *)(uintptr_t)address;
    init->image_size = size;

    uint64_t cursor = 0;
    struct cpio_file file;
    status_t status;
    while ((status = cpio_next(init->image_base, init->image_size, &cursor, &file)) == OK) {
    }
    if (status != ERROR_NOT_FOUND) {
        log_print(LOG_ERROR, "boot image: damaged or cut off at byte %llu of %llu", (unsigned long long)cursor, (unsigned long long)size);
        return "the boot image is damaged";
    }
    return nullptr;
}

bool image_find(const struct init *init, const char *path, const void **out_data, uint64_t *out_offset, uint64_t *out_size)
{
    struct cpio_file file;
    if (cpio_find(init->image_base, init->image_size, path, &file) != OK) {
        return false;
    }
    *out_data = file.data;
    *out_offset = file.offset;
    *out_size = file.size;
    return true;
}
