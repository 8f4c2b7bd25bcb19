#include <httpd/static_files.h>
#include <tess/cpio.h>
#include <tess/fmt.h>
#include <tess/string.h>

static constexpr uint32_t MODE_TYPE = 0170000, MODE_REGULAR = 0100000;

/* FNV-1a, 64 bits: only has to differ when a file differs. */
static uint64_t hash(const uint8_t *data, uint64_t size)
{
    uint64_t value = 0xcbf29ce484222325;
    for (uint64_t i = 0; i < size; i++) {
        value = (value ^ data[i]) * 0x100000001b3;
    }
    return value;
}

void static_files_index(struct static_files *files, const void *archive, uint64_t size)
{
    static const char root[] = "www/";
    struct cpio_file found;
    uint64_t cursor = 0;
    status_t status;
    files->count = 0;
    while ((status = cpio_next(archive, size, &cursor, &found)) == OK) {
        if ((found.mode & MODE_TYPE) != MODE_REGULAR || strncmp(found.name, root, sizeof root - 1) != 0) {
            continue;
        }
        if (files->count == STATIC_FILES_MAX) {
            break;
        }
        struct static_file *file = &files->files[files->count++];
        *file = (struct static_file){.path = found.name + sizeof root - 2, .data = found.data, .size = found.size};
        fmt_print(file->etag, sizeof file->etag, "\"%016lx\"", hash(found.data, found.size));
    }
    files->is_cut = status != ERROR_NOT_FOUND;
}

const struct static_file *static_files_find(const struct static_files *files, const char *path)
{
    for (uint32_t i = 0; i < files->count; i++) {
        if (strcmp(files->files[i].path, path) == 0) {
            return &files->files[i];
        }
    }
    return nullptr;
}
