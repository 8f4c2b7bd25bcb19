#include "files.h"
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/directory.h>
#include <tess/util.h>

enum : uint32_t {
    KNOWN_FLAGS = LINUX_O_ACCMODE | LINUX_O_APPEND | LINUX_O_NONBLOCK | LINUX_O_DSYNC | LINUX_O_ASYNC | LINUX_O_DIRECTORY |
                  LINUX_O_NOFOLLOW | LINUX_O_DIRECT | LINUX_O_LARGEFILE | LINUX_O_NOATIME | LINUX_O_SYNC | LINUX_O_PATH
};

static int64_t service_flags(uint32_t flags, uint32_t *out_flags)
{
    static const uint32_t access[] = {OPEN_READ, OPEN_WRITE, OPEN_READ | OPEN_WRITE};
    bool is_temporary = (flags & LINUX_O_TMPFILE) == LINUX_O_TMPFILE;
    uint32_t common =
        ((flags & LINUX_O_DIRECTORY) != 0 && !is_temporary ? OPEN_DIRECTORY : 0) | ((flags & LINUX_O_NOFOLLOW) != 0 ? OPEN_NOFOLLOW : 0);
    if ((flags & LINUX_O_PATH) != 0) {
        *out_flags = OPEN_PATH | common;
        return 0;
    }
    uint32_t mode = flags & LINUX_O_ACCMODE;
    if (mode == LINUX_O_ACCMODE || (is_temporary && mode == LINUX_O_RDONLY) ||
        ((flags & LINUX_O_CREAT) != 0 && (common & OPEN_DIRECTORY) != 0)) {
        return -LINUX_EINVAL;
    }
    bool is_created = (flags & LINUX_O_CREAT) != 0;
    *out_flags = access[mode] | common | (is_created ? OPEN_CREATE : 0) | (is_temporary ? OPEN_TEMPORARY : 0) |
                 ((flags & LINUX_O_EXCL) != 0 && (is_created || is_temporary) ? OPEN_EXCLUSIVE : 0) |
                 ((flags & LINUX_O_TRUNC) != 0 && mode != LINUX_O_RDONLY ? OPEN_TRUNCATE : 0);
    return 0;
}

int64_t files_open(const struct place *place, uint32_t flags, uint32_t mode, uint32_t walk_flags, struct linux_file **out_file)
{
    uint32_t wanted, inode, found;
    uint64_t device;
    handle_t handle;
    struct node *node;
    int64_t result = service_flags(flags, &wanted);
    if (result == 0) {
        result = service_open(place, wanted | walk_flags, mode & 07777 & ~linux_process()->umask, &handle, &inode, &found, &device);
    }
    if (result == 0) {
        result = node_create(handle, inode, found, device, flags & KNOWN_FLAGS, &node);
    }
    if (result != 0) {
        return result;
    }
    if (node->file.operations == &device_operations && (flags & LINUX_O_PATH) == 0) {
        result = device_open(node);
        if (result != 0) {
            linux_file_put(&node->file);
            return result;
        }
    }
    *out_file = &node->file;
    return 0;
}

static bool starts_with(const char *text, const char *prefix, uint64_t *out_size)
{
    *out_size = strlen(prefix);
    return strncmp(text, prefix, *out_size) == 0;
}

/* A path that names a descriptor of the process: which, or -1. There is no file system behind these names. */
static int64_t descriptor_named(const char *path)
{
    static const char folders[][16] = {"/proc/self/fd/", "/dev/fd/"}, names[][16] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
    uint64_t size;
    for (uint32_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (strcmp(path, names[i]) == 0) {
            return i;
        }
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(folders); i++) {
        if (!starts_with(path, folders[i], &size) || path[size] == '\0') {
            continue;
        }
        int64_t fd = 0;
        for (; path[size] >= '0' && path[size] <= '9' && fd < FILES_MAX; size++) {
            fd = fd * 10 + path[size] - '0';
        }
        return path[size] == '\0' ? fd : -1;
    }
    return -1;
}

/* Opens again what the descriptor names; what only a descriptor can name (a pipe) is the same description. */
static int64_t open_descriptor(uint64_t fd, uint32_t flags)
{
    struct linux_file *file, *again;
    int64_t result = linux_file_get(fd, &file);
    if (result != 0) {
        return -LINUX_ENOENT;
    }
    struct node *node = node_of(file);
    if (node == nullptr) {
        return linux_file_install(file, flags & LINUX_O_CLOEXEC, 0);
    }
    struct place place = {.handle = node->handle, .path = nullptr, .size = 0};
    result = files_open(&place, flags & ~(LINUX_O_CREAT | LINUX_O_EXCL | LINUX_O_NOFOLLOW), 0, OPEN_EMPTY, &again);
    linux_file_put(file);
    return result == 0 ? linux_file_install(again, flags & LINUX_O_CLOEXEC, 0) : result;
}

static int64_t open_at(uint64_t directory, uint64_t path, uint32_t flags, uint32_t mode, uint32_t walk_flags)
{
    char room[PATH_SIZE];
    struct place place;
    struct linux_file *file;
    int64_t result = place_get(&place, room, directory, path, false);
    if (result != 0) {
        return result;
    }
    int64_t fd = room[0] == '/' ? descriptor_named(room) : -1;
    if (fd >= 0) {
        place_put(&place);
        return open_descriptor((uint64_t)fd, flags);
    }
    result = files_open(&place, flags, mode, walk_flags, &file);
    place_put(&place);
    return result == 0 ? linux_file_install(file, flags & LINUX_O_CLOEXEC, 0) : result;
}

int64_t linux_sys_openat(uint64_t directory, uint64_t path, uint64_t flags, uint64_t mode)
{
    return open_at(directory, path, (uint32_t)flags, (uint32_t)mode, 0);
}

int64_t linux_sys_open(uint64_t path, uint64_t flags, uint64_t mode) { return linux_sys_openat((uint64_t)AT_FDCWD, path, flags, mode); }

int64_t linux_sys_creat(uint64_t path, uint64_t mode)
{
    return linux_sys_openat((uint64_t)AT_FDCWD, path, LINUX_O_CREAT | LINUX_O_WRONLY | LINUX_O_TRUNC, mode);
}

/* struct open_how: flags, mode, resolve. */
int64_t linux_sys_openat2(uint64_t directory, uint64_t path, uint64_t how, uint64_t size)
{
    enum : uint64_t { NO_XDEV = 1, NO_MAGICLINKS = 2, NO_SYMLINKS = 4, BENEATH = 8, IN_ROOT = 16, CACHED = 32 };
    uint64_t words[3];
    if (size < sizeof(words)) {
        return -LINUX_EINVAL;
    }
    int64_t result = linux_copy_from_user(words, how, sizeof(words));
    for (uint64_t at = sizeof(words); result == 0 && at < size && at < FILES_PAGE; at += 8) {
        uint64_t more;
        result = linux_copy_from_user(&more, how + at, 8);
        result = result == 0 && more != 0 ? -LINUX_E2BIG : result;
    }
    if (result != 0) {
        return result;
    }
    bool makes = (words[0] & LINUX_O_CREAT) != 0 || (words[0] & LINUX_O_TMPFILE) == LINUX_O_TMPFILE;
    uint64_t resolve = words[2];
    if (words[0] > UINT32_MAX || (words[1] != 0 && !makes) || words[1] > 07777 || (resolve & ~63ull) != 0 ||
        (resolve & (BENEATH | IN_ROOT)) == (BENEATH | IN_ROOT)) {
        return -LINUX_EINVAL;
    }
    if ((resolve & CACHED) != 0) {
        return -LINUX_EAGAIN;
    }
    uint32_t walk = ((resolve & NO_SYMLINKS) != 0 ? OPEN_NO_SYMLINKS : 0) | ((resolve & BENEATH) != 0 ? OPEN_BENEATH : 0) |
                    ((resolve & IN_ROOT) != 0 ? OPEN_IN_ROOT : 0);
    char room[PATH_SIZE];
    struct place place;
    struct linux_file *file;
    result = linux_string_from_user(room, path, sizeof(room));
    if (result <= 0) {
        return result < 0 ? result : -LINUX_ENOENT;
    }
    /* From the directory given, even when the path begins with '/'. */
    bool is_inside = walk & (OPEN_BENEATH | OPEN_IN_ROOT);
    int64_t length = result;
    result = place_of(&place, room, directory, is_inside ? 0 : length);
    if (result != 0) {
        return result;
    }
    place.size = (uint64_t)length;
    result = files_open(&place, (uint32_t)words[0], (uint32_t)words[1], walk, &file);
    place_put(&place);
    return result == 0 ? linux_file_install(file, words[0] & LINUX_O_CLOEXEC, 0) : result;
}

int64_t linux_sys_memfd_create(uint64_t name, uint64_t flags)
{
    enum : uint32_t { CLOEXEC = 1, ALLOW_SEALING = 2, NOEXEC_SEAL = 8, EXEC = 16 };
    static const char places[][9] = {"/", "/tmp", "/dev/shm"};
    char text[250];
    int64_t result = linux_string_from_user(text, name, sizeof(text));
    if (result < 0) {
        return result == -LINUX_ENAMETOOLONG ? -LINUX_EINVAL : result;
    }
    if (((uint32_t)flags & ~(CLOEXEC | ALLOW_SEALING | NOEXEC_SEAL | EXEC)) != 0) {
        return -LINUX_EINVAL;
    }
    struct linux_file *file;
    result = -LINUX_EACCES;
    for (uint32_t i = 0; i < 3 && result != 0; i++) {
        struct place place;
        uint64_t size = strlen(places[i]);
        memcpy(text, places[i], size);
        result = place_of(&place, text, (uint64_t)AT_FDCWD, (int64_t)size);
        if (result == 0) {
            result = files_open(&place, LINUX_O_TMPFILE | LINUX_O_RDWR | LINUX_O_EXCL, 0777, 0, &file);
            place_put(&place);
        }
    }
    return result == 0 ? linux_file_install(file, (flags & CLOEXEC) != 0 ? LINUX_O_CLOEXEC : 0, 0) : result;
}

int64_t linux_file_open_program(int32_t directory, const char *path, uint32_t flags, struct linux_file **out_file)
{
    enum : uint32_t { SYMLINK_NOFOLLOW = 0x100, EMPTY_PATH = 0x1000 };
    struct place place;
    uint64_t device;
    uint32_t inode, mode;
    handle_t handle;
    struct node *node;
    int64_t result = place_of(&place, (char *)path, (uint64_t)directory, (int64_t)strlen(path));
    if (result != 0) {
        return result;
    }
    uint32_t wanted = OPEN_EXECUTE | ((flags & SYMLINK_NOFOLLOW) != 0 ? OPEN_NOFOLLOW : 0) | ((flags & EMPTY_PATH) != 0 ? OPEN_EMPTY : 0);
    result = service_open(&place, wanted, 0, &handle, &inode, &mode, &device);
    place_put(&place);
    if (result == 0 && (mode & MODE_TYPE) != MODE_REGULAR) {
        files_handle_delete(handle);
        return -LINUX_EACCES;
    }
    if (result == 0) {
        result = node_create(handle, inode, mode, device, LINUX_O_RDONLY, &node);
    }
    if (result == 0) {
        *out_file = &node->file;
    }
    return result;
}
