/* The files under www/ of the boot image, indexed once; their bytes stay in the mapped image. */
#pragma once
#include <stddef.h>
#include <stdint.h>

constexpr uint32_t STATIC_FILES_MAX = 64;

struct static_file {
    const char *path; /* inside the archive, from the '/' after www */
    const void *data;
    uint64_t size;
    char etag[20]; /* quoted hash of the content */
};

struct static_files {
    struct static_file files[STATIC_FILES_MAX];
    uint32_t count;
    bool is_cut; /* more than STATIC_FILES_MAX, or the archive is damaged */
};

void static_files_index(struct static_files *files, const void *archive, uint64_t size);
/* Null when there is no such file. `path` as http_path_normalise makes it. */
const struct static_file *static_files_find(const struct static_files *files, const char *path);
