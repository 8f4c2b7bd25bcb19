/* Mode, owner, times, extended attributes. What a path names is opened with OPEN_PATH first; tmpfsd looks at credentials, not at how it was opened. */
#include "files.h"
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/file.h>
#include <tess/stub/memory.h>
#include <tess/util.h>

enum : uint32_t { AT_SYMLINK_NOFOLLOW = 0x100, AT_EMPTY_PATH = 0x1000 };
static constexpr int64_t NS_PER_SECOND = 1'000'000'000;

/* What a call is about: a descriptor's handle (held by `file`), or one of our own. */
struct subject {
    struct linux_file *file;
    handle_t handle;
};

static int64_t subject_of(struct subject *subject, uint64_t fd, bool may_be_path)
{
    int64_t result = linux_file_get(fd, &subject->file);
    if (result != 0) {
        return result;
    }
    struct node *node = node_of(subject->file);
    if (node == nullptr || (files_is_path(subject->file) && !may_be_path)) {
        result = node == nullptr ? -LINUX_EINVAL : -LINUX_EBADF;
        linux_file_put(subject->file);
        return result;
    }
    subject->handle = node->handle;
    return 0;
}

static int64_t subject_at(struct subject *subject, uint64_t directory, uint64_t path, uint32_t flags)
{
    char room[PATH_SIZE];
    struct place place;
    if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) {
        return -LINUX_EINVAL;
    }
    int64_t result = place_get(&place, room, directory, path, (flags & AT_EMPTY_PATH) != 0);
    if (result != 0) {
        return result;
    }
    subject->file = nullptr;
    result = service_path(&place, ((flags & AT_SYMLINK_NOFOLLOW) != 0 ? OPEN_NOFOLLOW : 0) | (place.size == 0 ? OPEN_EMPTY : 0),
                          &subject->handle);
    place_put(&place);
    return result;
}

static void subject_put(struct subject *subject)
{
    if (subject->file != nullptr) {
        linux_file_put(subject->file);
    } else {
        files_handle_delete(subject->handle);
    }
}

static int64_t set(struct subject *subject, uint32_t what, uint32_t mode, uint32_t uid, uint32_t gid, int64_t atime_ns, int64_t mtime_ns)
{
    calls_begin();
    status_t status = tess_file_set(subject->handle, what, mode, uid, gid, atime_ns, mtime_ns, DEADLINE_INFINITE);
    calls_end();
    subject_put(subject);
    return linux_error(status);
}

int64_t linux_sys_fchmod(uint64_t fd, uint64_t mode)
{
    struct subject subject;
    int64_t result = subject_of(&subject, fd, false);
    return result == 0 ? set(&subject, SET_MODE, (uint32_t)mode & 07777, 0, 0, 0, 0) : result;
}

int64_t linux_sys_fchmodat(uint64_t directory, uint64_t path, uint64_t mode)
{
    struct subject subject;
    int64_t result = subject_at(&subject, directory, path, 0);
    return result == 0 ? set(&subject, SET_MODE, (uint32_t)mode & 07777, 0, 0, 0, 0) : result;
}

int64_t linux_sys_chmod(uint64_t path, uint64_t mode) { return linux_sys_fchmodat((uint64_t)AT_FDCWD, path, mode); }

static uint32_t owners(uint32_t uid, uint32_t gid) { return (uid != UINT32_MAX ? SET_UID : 0) | (gid != UINT32_MAX ? SET_GID : 0); }

int64_t linux_sys_fchownat(uint64_t directory, uint64_t path, uint64_t uid, uint64_t gid, uint64_t flags)
{
    struct subject subject;
    int64_t result = subject_at(&subject, directory, path, (uint32_t)flags);
    return result == 0 ? set(&subject, owners((uint32_t)uid, (uint32_t)gid), 0, (uint32_t)uid, (uint32_t)gid, 0, 0) : result;
}

int64_t linux_sys_chown(uint64_t path, uint64_t uid, uint64_t gid) { return linux_sys_fchownat((uint64_t)AT_FDCWD, path, uid, gid, 0); }
int64_t linux_sys_lchown(uint64_t path, uint64_t uid, uint64_t gid)
{
    return linux_sys_fchownat((uint64_t)AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

int64_t linux_sys_fchown(uint64_t fd, uint64_t uid, uint64_t gid)
{
    struct subject subject;
    int64_t result = subject_of(&subject, fd, false);
    return result == 0 ? set(&subject, owners((uint32_t)uid, (uint32_t)gid), 0, (uint32_t)uid, (uint32_t)gid, 0, 0) : result;
}

/* ---- Times ---- */

struct times {
    uint32_t what;
    int64_t access_ns, modify_ns;
};

static int64_t one_time(int64_t s, int64_t part, int64_t parts, int64_t *out_ns)
{
    constexpr int64_t most = INT64_MAX / NS_PER_SECOND;
    if (part < 0 || part >= parts) {
        return -LINUX_EINVAL;
    }
    s = s > most - 1 ? most - 1 : s < -most ? -most : s; /* what a file system can hold: Linux cuts, too */
    *out_ns = s * NS_PER_SECOND + part * (NS_PER_SECOND / parts);
    return 0;
}

static int64_t set_times(uint64_t directory, uint64_t path, const struct times *times, uint32_t flags)
{
    struct subject subject;
    int64_t result = path == 0 ? subject_of(&subject, directory, false) : subject_at(&subject, directory, path, flags);
    return result == 0 ? set(&subject, times->what, 0, 0, 0, times->access_ns, times->modify_ns) : result;
}

int64_t linux_sys_utimensat(uint64_t directory, uint64_t path, uint64_t address, uint64_t flags)
{
    constexpr int64_t NOW = 0x3FFFFFFF, OMIT = 0x3FFFFFFE;
    struct times times = {.what = SET_ATIME_NOW | SET_MTIME_NOW};
    if (path == 0 && (int32_t)directory == AT_FDCWD) {
        return -LINUX_EFAULT;
    }
    if (address != 0) {
        int64_t words[4];
        int64_t result = linux_copy_from_user(words, address, sizeof(words));
        times.what = (words[1] == NOW    ? SET_ATIME_NOW
                      : words[1] == OMIT ? 0
                                         : SET_ATIME) |
                     (words[3] == NOW    ? SET_MTIME_NOW
                      : words[3] == OMIT ? 0
                                         : SET_MTIME);
        if (result == 0 && (times.what & SET_ATIME) != 0) {
            result = one_time(words[0], words[1], NS_PER_SECOND, &times.access_ns);
        }
        if (result == 0 && (times.what & SET_MTIME) != 0) {
            result = one_time(words[2], words[3], NS_PER_SECOND, &times.modify_ns);
        }
        if (result != 0 || times.what == 0) {
            return result;
        }
    }
    return set_times(directory, path, &times, (uint32_t)flags);
}

int64_t linux_sys_futimesat(uint64_t directory, uint64_t path, uint64_t address)
{
    struct times times = {.what = SET_ATIME_NOW | SET_MTIME_NOW};
    if (address != 0) {
        int64_t words[4];
        int64_t result = linux_copy_from_user(words, address, sizeof(words));
        times.what = SET_ATIME | SET_MTIME;
        if (result == 0) {
            result = one_time(words[0], words[1], 1'000'000, &times.access_ns);
        }
        if (result == 0) {
            result = one_time(words[2], words[3], 1'000'000, &times.modify_ns);
        }
        if (result != 0) {
            return result;
        }
    }
    return set_times(directory, path, &times, 0);
}

int64_t linux_sys_utimes(uint64_t path, uint64_t address)
{
    return path == 0 ? -LINUX_EFAULT : linux_sys_futimesat((uint64_t)AT_FDCWD, path, address);
}

int64_t linux_sys_utime(uint64_t path, uint64_t address)
{
    struct times times = {.what = SET_ATIME_NOW | SET_MTIME_NOW};
    if (address != 0) {
        int64_t words[2];
        int64_t result = linux_copy_from_user(words, address, sizeof(words));
        times.what = SET_ATIME | SET_MTIME;
        if (result == 0) {
            result = one_time(words[0], 0, 1, &times.access_ns);
        }
        if (result == 0) {
            result = one_time(words[1], 0, 1, &times.modify_ns);
        }
        if (result != 0) {
            return result;
        }
    }
    return path == 0 ? -LINUX_EFAULT : set_times((uint64_t)AT_FDCWD, path, &times, 0);
}

/* ---- Extended attributes ---- */

static constexpr uint64_t XATTR_MAX = 65536;

static int64_t xattr_error(status_t status)
{
    return status == ERROR_NOT_FOUND ? -LINUX_ENODATA : status == ERROR_OVERFLOW ? -LINUX_ERANGE : linux_error(status);
}

static int64_t name_get(char name[256], uint64_t address)
{
    int64_t size = linux_string_from_user(name, address, 256);
    return size == 0 || size == -LINUX_ENAMETOOLONG ? -LINUX_ERANGE : size;
}

static int64_t xattr_set(struct subject *subject, uint64_t name_address, uint64_t value, uint64_t size, uint64_t flags)
{
    char name[256];
    handle_t buffer;
    int64_t length = name_get(name, name_address), result = length;
    if (length > 0) {
        result = (uint32_t)flags > 2 ? -LINUX_EINVAL : size > XATTR_MAX ? -LINUX_E2BIG : !linux_is_user(value, size) ? -LINUX_EFAULT : 0;
    }
    result = result == 0 ? buffer_create(name, (uint64_t)length, (uint64_t)length + size, &buffer) : result;
    if (result == 0) {
        status_t status = size > 0 ? tess_memory_write(buffer, (uint64_t)length, value, size) : OK;
        if (status == OK) {
            calls_begin();
            status = tess_file_xattr_set(subject->handle, (uint32_t)flags, (uint32_t)length, (uint32_t)size, buffer, DEADLINE_INFINITE);
            calls_end();
        }
        files_handle_delete(buffer);
        result = xattr_error(status);
    }
    subject_put(subject);
    return result;
}

/* get with a name, list without. */
static int64_t xattr_get(struct subject *subject, uint64_t name_address, uint64_t to, uint64_t size, bool is_list)
{
    char name[256];
    handle_t buffer;
    int64_t length = is_list ? 0 : name_get(name, name_address), result = length < 0 ? length : 0;
    uint64_t room = min_u64(size, XATTR_MAX);
    result = result == 0 ? buffer_create(name, (uint64_t)length, max_u64(room, FILES_PAGE), &buffer) : result;
    if (result == 0) {
        uint32_t count;
        calls_begin();
        status_t status = is_list
                              ? tess_file_xattr_list(subject->handle, (uint32_t)room, buffer, &count, DEADLINE_INFINITE)
                              : tess_file_xattr_get(subject->handle, (uint32_t)length, (uint32_t)room, buffer, &count, DEADLINE_INFINITE);
        calls_end();
        if (status == OK && size > 0 && count > 0) {
            status = linux_is_user(to, count) ? tess_memory_read(buffer, 0, to, count) : ERROR_BAD_ADDRESS;
        }
        files_handle_delete(buffer);
        result = status == OK ? count : xattr_error(status);
    }
    subject_put(subject);
    return result;
}

static int64_t xattr_remove(struct subject *subject, uint64_t name_address)
{
    char name[256];
    handle_t buffer;
    int64_t length = name_get(name, name_address), result = length < 0 ? length : 0;
    result = result == 0 ? buffer_create(name, (uint64_t)length, 0, &buffer) : result;
    if (result == 0) {
        calls_begin();
        status_t status = tess_file_xattr_remove(subject->handle, (uint32_t)length, buffer, DEADLINE_INFINITE);
        calls_end();
        files_handle_delete(buffer);
        result = xattr_error(status);
    }
    subject_put(subject);
    return result;
}

static int64_t by_path(struct subject *subject, uint64_t path, uint32_t flags)
{
    return subject_at(subject, (uint64_t)AT_FDCWD, path, flags);
}

int64_t linux_sys_setxattr(uint64_t path, uint64_t name, uint64_t value, uint64_t size, uint64_t flags)
{
    struct subject s;
    int64_t result = by_path(&s, path, 0);
    return result == 0 ? xattr_set(&s, name, value, size, flags) : result;
}
int64_t linux_sys_lsetxattr(uint64_t path, uint64_t name, uint64_t value, uint64_t size, uint64_t flags)
{
    struct subject s;
    int64_t result = by_path(&s, path, AT_SYMLINK_NOFOLLOW);
    return result == 0 ? xattr_set(&s, name, value, size, flags) : result;
}
int64_t linux_sys_fsetxattr(uint64_t fd, uint64_t name, uint64_t value, uint64_t size, uint64_t flags)
{
    struct subject s;
    int64_t result = subject_of(&s, fd, false);
    return result == 0 ? xattr_set(&s, name, value, size, flags) : result;
}
int64_t linux_sys_getxattr(uint64_t path, uint64_t name, uint64_t value, uint64_t size)
{
    struct subject s;
    int64_t result = by_path(&s, path, 0);
    return result == 0 ? xattr_get(&s, name, value, size, false) : result;
}
int64_t linux_sys_lgetxattr(uint64_t path, uint64_t name, uint64_t value, uint64_t size)
{
    struct subject s;
    int64_t result = by_path(&s, path, AT_SYMLINK_NOFOLLOW);
    return result == 0 ? xattr_get(&s, name, value, size, false) : result;
}
int64_t linux_sys_fgetxattr(uint64_t fd, uint64_t name, uint64_t value, uint64_t size)
{
    struct subject s;
    int64_t result = subject_of(&s, fd, false);
    return result == 0 ? xattr_get(&s, name, value, size, false) : result;
}
int64_t linux_sys_listxattr(uint64_t path, uint64_t list, uint64_t size)
{
    struct subject s;
    int64_t result = by_path(&s, path, 0);
    return result == 0 ? xattr_get(&s, 0, list, size, true) : result;
}
int64_t linux_sys_llistxattr(uint64_t path, uint64_t list, uint64_t size)
{
    struct subject s;
    int64_t result = by_path(&s, path, AT_SYMLINK_NOFOLLOW);
    return result == 0 ? xattr_get(&s, 0, list, size, true) : result;
}
int64_t linux_sys_flistxattr(uint64_t fd, uint64_t list, uint64_t size)
{
    struct subject s;
    int64_t result = subject_of(&s, fd, false);
    return result == 0 ? xattr_get(&s, 0, list, size, true) : result;
}
int64_t linux_sys_removexattr(uint64_t path, uint64_t name)
{
    struct subject s;
    int64_t result = by_path(&s, path, 0);
    return result == 0 ? xattr_remove(&s, name) : result;
}
int64_t linux_sys_lremovexattr(uint64_t path, uint64_t name)
{
    struct subject s;
    int64_t result = by_path(&s, path, AT_SYMLINK_NOFOLLOW);
    return result == 0 ? xattr_remove(&s, name) : result;
}
int64_t linux_sys_fremovexattr(uint64_t fd, uint64_t name)
{
    struct subject s;
    int64_t result = subject_of(&s, fd, false);
    return result == 0 ? xattr_remove(&s, name) : result;
}

int64_t linux_sys_truncate(uint64_t path, uint64_t size)
{
    char room[PATH_SIZE];
    struct place place;
    struct linux_file *file;
    if ((int64_t)size < 0) {
        return -LINUX_EINVAL;
    }
    int64_t result = place_get(&place, room, (uint64_t)AT_FDCWD, path, false);
    if (result != 0) {
        return result;
    }
    result = files_open(&place, LINUX_O_WRONLY, 0, 0, &file);
    place_put(&place);
    if (result == 0) {
        result = file->operations->truncate == nullptr ? -LINUX_EINVAL : file->operations->truncate(file, size);
        linux_file_put(file);
    }
    return result;
}
