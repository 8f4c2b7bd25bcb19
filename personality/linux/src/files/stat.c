/* What a file is: struct stat in each architecture's layout, statx, access, statfs. */
#include "files.h"
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/directory.h>
#include <tess/util.h>

enum : uint32_t {
    AT_SYMLINK_NOFOLLOW = 0x100,
    AT_EACCESS = 0x200,
    AT_NO_AUTOMOUNT = 0x800,
    AT_EMPTY_PATH = 0x1000,
    AT_STATX_SYNC = 0x6000
};
static constexpr int64_t NS_PER_SECOND = 1'000'000'000;

struct seconds {
    int64_t s, ns;
};

static struct seconds split(int64_t ns)
{
    int64_t rest = ns % NS_PER_SECOND;
    bool is_before = rest < 0;
    return (struct seconds){.s = ns / NS_PER_SECOND - is_before, .ns = rest + (is_before ? NS_PER_SECOND : 0)};
}

#if defined(__x86_64__)
struct user_stat {
    uint64_t device, inode, links;
    uint32_t mode, uid, gid, pad;
    uint64_t special;
    int64_t size, block_size, blocks;
    struct seconds access, modify, change;
    int64_t unused[3];
};
static_assert(sizeof(struct user_stat) == 144);
#else
struct user_stat { /* include/uapi/asm-generic/stat.h of Linux */
    uint64_t device, inode;
    uint32_t mode, links, uid, gid;
    uint64_t special, pad;
    int64_t size;
    int32_t block_size, pad2;
    int64_t blocks;
    struct seconds access, modify, change;
    uint32_t unused[2];
};
static_assert(sizeof(struct user_stat) == 128);
#endif

static int64_t give_stat(const struct linux_stat_values *values, uint64_t buffer)
{
    struct user_stat stat = {.device = values->device,
                             .inode = values->inode,
                             .mode = values->mode,
                             .links = values->links,
                             .uid = values->uid,
                             .gid = values->gid,
                             .special = values->special_device,
                             .size = (int64_t)values->size,
                             .block_size = (int32_t)values->block_size,
                             .blocks = (int64_t)values->blocks,
                             .access = split(values->access_ns),
                             .modify = split(values->modify_ns),
                             .change = split(values->change_ns)};
    return linux_copy_to_user(buffer, &stat, sizeof(stat));
}

static int64_t stat_file(uint64_t fd, struct linux_stat_values *values)
{
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    if (result == 0) {
        result = file->operations->stat == nullptr ? -LINUX_EBADF : file->operations->stat(file, values);
        linux_file_put(file);
    }
    return result;
}

static int64_t stat_at(uint64_t directory, uint64_t path, uint32_t flags, struct linux_stat_values *values)
{
    char room[PATH_SIZE];
    struct place place;
    struct tess_inode_record record;
    uint32_t inode;
    if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC)) != 0) {
        return -LINUX_EINVAL;
    }
    bool may_be_empty = (flags & AT_EMPTY_PATH) != 0;
    int64_t size = path == 0 && may_be_empty ? 0 : linux_string_from_user(room, path, sizeof(room));
    if (size < 0) {
        return size;
    }
    if (size == 0 && may_be_empty && (int32_t)directory != AT_FDCWD) {
        return stat_file(directory, values);
    }
    int64_t result = size == 0 && !may_be_empty ? -LINUX_ENOENT : place_of(&place, room, directory, size);
    if (result != 0) {
        return result;
    }
    result = service_stat(&place, ((flags & AT_SYMLINK_NOFOLLOW) != 0 ? OPEN_NOFOLLOW : 0) | (size == 0 ? OPEN_EMPTY : 0), &inode, &record);
    place_put(&place);
    if (result == 0) {
        node_stat(&record, inode, values);
    }
    return result;
}

int64_t linux_sys_newfstatat(uint64_t directory, uint64_t path, uint64_t buffer, uint64_t flags)
{
    struct linux_stat_values values;
    int64_t result = stat_at(directory, path, (uint32_t)flags, &values);
    return result == 0 ? give_stat(&values, buffer) : result;
}

int64_t linux_sys_stat(uint64_t path, uint64_t buffer) { return linux_sys_newfstatat((uint64_t)AT_FDCWD, path, buffer, 0); }
int64_t linux_sys_lstat(uint64_t path, uint64_t buffer)
{
    return linux_sys_newfstatat((uint64_t)AT_FDCWD, path, buffer, AT_SYMLINK_NOFOLLOW);
}

int64_t linux_sys_fstat(uint64_t fd, uint64_t buffer)
{
    struct linux_stat_values values;
    int64_t result = stat_file(fd, &values);
    return result == 0 ? give_stat(&values, buffer) : result;
}

struct statx_time {
    int64_t s;
    uint32_t ns;
    int32_t pad;
};
struct user_statx { /* include/uapi/linux/stat.h of Linux */
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode, pad;
    uint64_t inode, size, blocks, attributes_mask;
    struct statx_time access, birth, change, modify;
    uint32_t special_major, special_minor, device_major, device_minor;
    uint64_t mount, spare[13];
};
static_assert(sizeof(struct user_statx) == 256);

static struct statx_time statx_time(int64_t ns)
{
    struct seconds time = split(ns);
    return (struct statx_time){.s = time.s, .ns = (uint32_t)time.ns};
}

static uint32_t device_major(uint64_t device) { return (uint32_t)(device >> 8 & 0xFFF); }
static uint32_t device_minor(uint64_t device) { return (uint32_t)((device & 0xFF) | (device >> 12 & 0xFFF00)); }

int64_t linux_sys_statx(uint64_t directory, uint64_t path, uint64_t flags, uint64_t mask, uint64_t buffer)
{
    constexpr uint32_t basic_and_birth = 0xFFF;
    struct linux_stat_values values;
    if (((uint32_t)mask & 0x80000000) != 0 || ((uint32_t)flags & AT_STATX_SYNC) == AT_STATX_SYNC) {
        return -LINUX_EINVAL;
    }
    int64_t result = stat_at(directory, path, (uint32_t)flags, &values);
    if (result != 0) {
        return result;
    }
    struct user_statx statx = {.mask = basic_and_birth,
                               .block_size = (uint32_t)values.block_size,
                               .links = values.links,
                               .uid = values.uid,
                               .gid = values.gid,
                               .mode = (uint16_t)values.mode,
                               .inode = values.inode,
                               .size = values.size,
                               .blocks = values.blocks,
                               .access = statx_time(values.access_ns),
                               .birth = statx_time(values.birth_ns),
                               .change = statx_time(values.change_ns),
                               .modify = statx_time(values.modify_ns),
                               .special_major = device_major(values.special_device),
                               .special_minor = device_minor(values.special_device),
                               .device_major = device_major(values.device),
                               .device_minor = device_minor(values.device)};
    return linux_copy_to_user(buffer, &statx, sizeof(statx));
}

/* ---- access: with the real ids (AT_EACCESS: the effective ones, with which the walk is made in any case) ---- */

static bool has_group(const struct linux_process *process, uint32_t gid, uint32_t primary)
{
    for (uint32_t i = 0; i < process->group_count; i++) {
        if (process->groups[i] == gid) {
            return true;
        }
    }
    return gid == primary;
}

static int64_t access_at(uint64_t directory, uint64_t path, uint32_t mode, uint32_t flags)
{
    struct linux_stat_values values;
    if ((mode & ~7u) != 0 || (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) {
        return -LINUX_EINVAL;
    }
    int64_t result = stat_at(directory, path, flags & ~AT_EACCESS, &values);
    if (result != 0 || mode == 0) {
        return result;
    }
    const struct linux_process *process = linux_process();
    bool is_effective = (flags & AT_EACCESS) != 0;
    uint32_t uid = is_effective ? process->euid : process->uid, gid = is_effective ? process->egid : process->gid;
    if (uid == 0) {
        bool may = (mode & 1) == 0 || (values.mode & MODE_TYPE) == MODE_DIRECTORY || (values.mode & 0111) != 0;
        return may ? 0 : -LINUX_EACCES;
    }
    uint32_t shift = uid == values.uid ? 6 : has_group(process, values.gid, gid) ? 3 : 0;
    return (values.mode >> shift & mode) == mode ? 0 : -LINUX_EACCES;
}

int64_t linux_sys_faccessat2(uint64_t directory, uint64_t path, uint64_t mode, uint64_t flags)
{
    return access_at(directory, path, (uint32_t)mode, (uint32_t)flags);
}

int64_t linux_sys_faccessat(uint64_t directory, uint64_t path, uint64_t mode) { return access_at(directory, path, (uint32_t)mode, 0); }
int64_t linux_sys_access(uint64_t path, uint64_t mode) { return access_at((uint64_t)AT_FDCWD, path, (uint32_t)mode, 0); }

/* ---- statfs ---- */

struct user_statfs {
    int64_t type, block_size;
    uint64_t blocks, free, available, files, free_files;
    int32_t id[2];
    int64_t name_size, fragment_size, flags, spare[4];
};
static_assert(sizeof(struct user_statfs) == 120);

static int64_t usage(handle_t handle, uint64_t buffer)
{
    constexpr int64_t TMPFS_MAGIC = 0x01021994, ST_VALID = 0x20, ST_NOATIME = 0x400;
    uint64_t total, free, inodes, free_inodes;
    calls_begin();
    status_t status = tess_directory_usage(handle, &total, &free, &inodes, &free_inodes, DEADLINE_INFINITE);
    calls_end();
    if (status != OK) {
        return linux_error(status);
    }
    struct user_statfs statfs = {.type = TMPFS_MAGIC,
                                 .block_size = FILES_PAGE,
                                 .blocks = total / FILES_PAGE,
                                 .free = free / FILES_PAGE,
                                 .available = free / FILES_PAGE,
                                 .files = inodes,
                                 .free_files = free_inodes,
                                 .name_size = 255,
                                 .fragment_size = FILES_PAGE,
                                 .flags = ST_VALID | ST_NOATIME};
    return linux_copy_to_user(buffer, &statfs, sizeof(statfs));
}

int64_t linux_sys_statfs(uint64_t path, uint64_t buffer)
{
    char room[PATH_SIZE];
    struct place place;
    struct tess_inode_record record;
    uint32_t inode;
    int64_t result = place_get(&place, room, (uint64_t)AT_FDCWD, path, false);
    if (result != 0) {
        return result;
    }
    result = service_stat(&place, 0, &inode, &record);
    result = result == 0 ? usage(place.handle, buffer) : result;
    place_put(&place);
    return result;
}

int64_t linux_sys_fstatfs(uint64_t fd, uint64_t buffer)
{
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    if (result == 0) {
        result = node_of(file) != nullptr ? usage(node_of(file)->handle, buffer) : -LINUX_ENOSYS;
        linux_file_put(file);
    }
    return result;
}
