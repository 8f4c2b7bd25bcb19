/* Calls about names: making, removing, moving; working directory and root. */
#include "files.h"
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/directory.h>
#include <tess/stub/file.h>
#include <tess/stub/memory.h>

static int64_t make_at(uint64_t directory, uint64_t path, uint32_t mode, uint64_t device)
{
    char room[PATH_SIZE];
    struct place place;
    int64_t result = place_get(&place, room, directory, path, false);
    if (result != 0) {
        return result;
    }
    uint32_t inode;
    status_t status;
    mode &= ~(linux_process()->umask & 0777);
    if (place.size <= 80) {
        uint8_t text[80] = {};
        memcpy(text, room, place.size);
        calls_begin();
        status = tess_directory_make(place.handle, mode, (uint32_t)device, text, &inode, DEADLINE_INFINITE);
        calls_end();
        result = linux_error(status);
    } else {
        handle_t buffer;
        result = buffer_create(room, place.size, 0, &buffer);
        if (result == 0) {
            calls_begin();
            status =
                tess_directory_make_long(place.handle, mode, (uint32_t)device, (uint32_t)place.size, buffer, &inode, DEADLINE_INFINITE);
            calls_end();
            files_handle_delete(buffer);
            result = linux_error(status);
        }
    }
    place_put(&place);
    return result;
}

int64_t linux_sys_mkdirat(uint64_t directory, uint64_t path, uint64_t mode)
{
    return make_at(directory, path, MODE_DIRECTORY | ((uint32_t)mode & 01777), 0);
}

int64_t linux_sys_mkdir(uint64_t path, uint64_t mode) { return linux_sys_mkdirat((uint64_t)AT_FDCWD, path, mode); }

int64_t linux_sys_mknodat(uint64_t directory, uint64_t path, uint64_t mode, uint64_t device)
{
    uint32_t type = (uint32_t)mode & MODE_TYPE;
    if (type == MODE_DIRECTORY) {
        return -LINUX_EPERM;
    }
    return make_at(directory, path, (type == 0 ? MODE_REGULAR : type) | ((uint32_t)mode & 07777), device);
}

int64_t linux_sys_mknod(uint64_t path, uint64_t mode, uint64_t device) { return linux_sys_mknodat((uint64_t)AT_FDCWD, path, mode, device); }

int64_t linux_sys_unlinkat(uint64_t directory, uint64_t path, uint64_t flags)
{
    constexpr uint32_t REMOVEDIR = 0x200;
    char room[PATH_SIZE];
    struct place place;
    if (((uint32_t)flags & ~REMOVEDIR) != 0) {
        return -LINUX_EINVAL;
    }
    int64_t result = place_get(&place, room, directory, path, false);
    if (result != 0) {
        return result;
    }
    uint32_t how = flags != 0 ? REMOVE_DIRECTORY : 0;
    status_t status;
    if (place.size <= 80) {
        uint8_t text[80] = {};
        memcpy(text, room, place.size);
        calls_begin();
        status = tess_directory_remove(place.handle, how, 0, text, DEADLINE_INFINITE);
        calls_end();
        result = linux_error(status);
    } else {
        handle_t buffer;
        result = buffer_create(room, place.size, 0, &buffer);
        if (result == 0) {
            calls_begin();
            status = tess_directory_remove_long(place.handle, how, (uint32_t)place.size, buffer, DEADLINE_INFINITE);
            calls_end();
            files_handle_delete(buffer);
            result = linux_error(status);
        }
    }
    place_put(&place);
    return result == -LINUX_EXDEV ? -LINUX_EBUSY : result;
}

int64_t linux_sys_unlink(uint64_t path) { return linux_sys_unlinkat((uint64_t)AT_FDCWD, path, 0); }
int64_t linux_sys_rmdir(uint64_t path) { return linux_sys_unlinkat((uint64_t)AT_FDCWD, path, 0x200); }

/* Two texts in one buffer. */
static int64_t two_create(const char *first, uint64_t first_size, const char *second, uint64_t second_size, handle_t *out_buffer)
{
    int64_t result = buffer_create(first, first_size, first_size + second_size, out_buffer);
    if (result == 0 && tess_memory_write(*out_buffer, first_size, (uint64_t)second, second_size) != OK) {
        files_handle_delete(*out_buffer);
        result = -LINUX_ENOMEM;
    }
    return result;
}

int64_t linux_sys_renameat2(uint64_t old_directory, uint64_t old_path, uint64_t new_directory, uint64_t new_path, uint64_t flags)
{
    char old_room[PATH_SIZE], new_room[PATH_SIZE];
    struct place from, to;
    handle_t buffer;
    if ((uint32_t)flags > 2) {
        return -LINUX_EINVAL;
    }
    int64_t result = place_get(&from, old_room, old_directory, old_path, false);
    if (result != 0) {
        return result;
    }
    result = place_get(&to, new_room, new_directory, new_path, false);
    if (result == 0) {
        result = two_create(old_room, from.size, new_room, to.size, &buffer);
        if (result == 0) {
            calls_begin();
            status_t status = tess_directory_rename(from.handle, (uint32_t)flags, (uint32_t)from.size, (uint32_t)to.size, to.handle, buffer,
                                                    DEADLINE_INFINITE);
            calls_end();
            files_handle_delete(buffer);
            result = linux_error(status);
        }
        place_put(&to);
    }
    place_put(&from);
    return result;
}

int64_t linux_sys_renameat(uint64_t old_directory, uint64_t old_path, uint64_t new_directory, uint64_t new_path)
{
    return linux_sys_renameat2(old_directory, old_path, new_directory, new_path, 0);
}

int64_t linux_sys_rename(uint64_t old_path, uint64_t new_path)
{
    return linux_sys_renameat2((uint64_t)AT_FDCWD, old_path, (uint64_t)AT_FDCWD, new_path, 0);
}

int64_t linux_sys_linkat(uint64_t old_directory, uint64_t old_path, uint64_t new_directory, uint64_t new_path, uint64_t flags)
{
    enum : uint32_t { SYMLINK_FOLLOW = 0x400, EMPTY_PATH = 0x1000 };
    char room[PATH_SIZE];
    struct place from, to;
    handle_t source, buffer;
    if (((uint32_t)flags & ~(SYMLINK_FOLLOW | EMPTY_PATH)) != 0) {
        return -LINUX_EINVAL;
    }
    int64_t result = place_get(&from, room, old_directory, old_path, (flags & EMPTY_PATH) != 0);
    if (result != 0) {
        return result;
    }
    uint32_t walk = ((flags & SYMLINK_FOLLOW) != 0 ? 0 : OPEN_NOFOLLOW) | ((flags & EMPTY_PATH) != 0 ? OPEN_EMPTY : 0);
    result = service_path(&from, walk, &source);
    place_put(&from);
    if (result != 0) {
        return result;
    }
    result = place_get(&to, room, new_directory, new_path, false);
    if (result == 0) {
        result = buffer_create(room, to.size, 0, &buffer);
        if (result == 0) {
            calls_begin();
            status_t status = tess_directory_link(to.handle, 0, (uint32_t)to.size, source, buffer, DEADLINE_INFINITE);
            calls_end();
            files_handle_delete(buffer);
            result = linux_error(status);
        }
        place_put(&to);
    }
    files_handle_delete(source);
    return result;
}

int64_t linux_sys_link(uint64_t old_path, uint64_t new_path)
{
    return linux_sys_linkat((uint64_t)AT_FDCWD, old_path, (uint64_t)AT_FDCWD, new_path, 0);
}

int64_t linux_sys_symlinkat(uint64_t target, uint64_t directory, uint64_t path)
{
    char room[PATH_SIZE], text[PATH_SIZE];
    struct place place;
    handle_t buffer;
    int64_t size = linux_string_from_user(text, target, sizeof(text));
    if (size <= 0) {
        return size < 0 ? size : -LINUX_ENOENT;
    }
    int64_t result = place_get(&place, room, directory, path, false);
    if (result != 0) {
        return result;
    }
    result = two_create(text, (uint64_t)size, room, place.size, &buffer);
    if (result == 0) {
        calls_begin();
        status_t status = tess_directory_symlink(place.handle, (uint32_t)size, (uint32_t)place.size, buffer, DEADLINE_INFINITE);
        calls_end();
        files_handle_delete(buffer);
        result = linux_error(status);
    }
    place_put(&place);
    return result;
}

int64_t linux_sys_symlink(uint64_t target, uint64_t path) { return linux_sys_symlinkat(target, (uint64_t)AT_FDCWD, path); }

int64_t linux_sys_readlinkat(uint64_t directory, uint64_t path, uint64_t buffer, uint64_t size)
{
    char room[PATH_SIZE];
    struct place place;
    handle_t link, memory;
    if ((int32_t)size <= 0) {
        return -LINUX_EINVAL;
    }
    int64_t result = place_get(&place, room, directory, path, true);
    if (result != 0) {
        return result;
    }
    /* What everybody asks for, without a file system to hold it. */
    struct linux_process *process = linux_process();
    if (place.size == 14 && memcmp(room, "/proc/self/exe", 14) == 0) {
        place_put(&place);
        uint64_t length = strlen(process->program_path);
        length = length < size ? length : size;
        result = linux_copy_to_user(buffer, process->program_path, length);
        return result == 0 ? (int64_t)length : result;
    }
    result = service_path(&place, OPEN_NOFOLLOW | (place.size == 0 ? OPEN_EMPTY : 0), &link);
    place_put(&place);
    if (result != 0) {
        return result;
    }
    result = buffer_create(nullptr, 0, FILES_PAGE, &memory);
    if (result == 0) {
        uint32_t count;
        calls_begin();
        status_t status =
            tess_file_readlink(link, size < FILES_PAGE ? (uint32_t)size : (uint32_t)FILES_PAGE, memory, &count, DEADLINE_INFINITE);
        calls_end();
        if (status == OK && count > 0) {
            status = count <= size && linux_is_user(buffer, count) ? tess_memory_read(memory, 0, buffer, count) : ERROR_BAD_ADDRESS;
        }
        result = status == OK ? count : linux_error(status);
        files_handle_delete(memory);
    }
    files_handle_delete(link);
    return result;
}

int64_t linux_sys_readlink(uint64_t path, uint64_t buffer, uint64_t size)
{
    return linux_sys_readlinkat((uint64_t)AT_FDCWD, path, buffer, size);
}

/* ---- Working directory and root ---- */

/* Takes the reference over. */
static void replace(struct linux_file **which, struct linux_file *file)
{
    struct linux_file_table *table = files_table();
    linux_lock(&table->lock);
    struct linux_file *before = *which;
    *which = file;
    linux_unlock(&table->lock);
    if (before != nullptr) {
        linux_file_put(before);
    }
}

static int64_t check_searchable(const struct node *node)
{
    struct place here = {.handle = node->handle, .path = (char[]){"."}, .size = 1};
    struct tess_inode_record record;
    uint32_t inode;
    return service_stat(&here, 0, &inode, &record);
}

static int64_t directory_open(uint64_t path, struct linux_file **out_file)
{
    char room[PATH_SIZE];
    struct place place;
    int64_t result = place_get(&place, room, (uint64_t)AT_FDCWD, path, false);
    if (result != 0) {
        return result;
    }
    result = files_open(&place, LINUX_O_PATH | LINUX_O_DIRECTORY, 0, 0, out_file);
    place_put(&place);
    if (result == 0) {
        result = check_searchable(node_of(*out_file));
        if (result != 0) {
            linux_file_put(*out_file);
        }
    }
    return result;
}

int64_t linux_sys_chdir(uint64_t path)
{
    struct linux_file *file;
    int64_t result = directory_open(path, &file);
    if (result == 0) {
        replace(&files_table()->working_directory, file);
    }
    return result;
}

int64_t linux_sys_fchdir(uint64_t fd)
{
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    if (result != 0) {
        return result;
    }
    struct node *node = node_of(file);
    result = node == nullptr || (node->mode & MODE_TYPE) != MODE_DIRECTORY ? -LINUX_ENOTDIR : check_searchable(node);
    if (result != 0) {
        linux_file_put(file);
        return result;
    }
    replace(&files_table()->working_directory, file);
    return 0;
}

/* The root that the service gives the new handle is what its absolute paths begin at; those of the working directory keep theirs. */
int64_t linux_sys_chroot(uint64_t path)
{
    struct linux_file *file;
    handle_t handle;
    struct node *node;
    int64_t result = directory_open(path, &file);
    if (result != 0) {
        return result;
    }
    calls_begin();
    status_t status = tess_directory_change_root(node_of(file)->handle, &handle, DEADLINE_INFINITE);
    calls_end();
    result = linux_error(status);
    if (result == 0) {
        result = node_create(handle, node_of(file)->inode, node_of(file)->mode, 0, LINUX_O_PATH, &node);
    }
    if (result == 0) {
        replace(&files_table()->root, &node->file);
    }
    linux_file_put(file);
    return result;
}

int64_t linux_file_path(struct linux_file *file, char *to, uint64_t size)
{
    struct node *node = node_of(file);
    handle_t memory;
    uint32_t count;
    if (node == nullptr || (node->mode & MODE_TYPE) != MODE_DIRECTORY) {
        return -LINUX_ENOENT;
    }
    int64_t result = buffer_create(nullptr, 0, FILES_PAGE, &memory);
    if (result != 0) {
        return result;
    }
    calls_begin();
    status_t status = tess_directory_path(node->handle, (uint32_t)FILES_PAGE, memory, &count, DEADLINE_INFINITE);
    calls_end();
    if (status == OK) {
        status = count < size ? tess_memory_read(memory, 0, (uint64_t)to, count) : ERROR_OVERFLOW;
    }
    files_handle_delete(memory);
    if (status != OK) {
        return status == ERROR_OVERFLOW ? -LINUX_ERANGE : linux_error(status);
    }
    to[count] = '\0';
    return count;
}

int64_t linux_sys_getcwd(uint64_t buffer, uint64_t size)
{
    char text[PATH_SIZE];
    struct linux_file_table *table = files_table();
    struct linux_file *file;
    linux_lock(&table->lock);
    file = table->working_directory;
    if (file != nullptr) {
        linux_file_get_again(file);
    }
    linux_unlock(&table->lock);
    if (file == nullptr) {
        return -LINUX_ENOENT;
    }
    int64_t result = linux_file_path(file, text, sizeof(text));
    linux_file_put(file);
    if (result < 0) {
        return result;
    }
    uint64_t count = (uint64_t)result + 1;
    if (count > size) {
        return -LINUX_ERANGE;
    }
    result = linux_copy_to_user(buffer, text, count);
    return result == 0 ? (int64_t)count : result;
}
