/* Calls of tmpfsd that carry a path: in the message when it is short, else in a buffer. */
#include "files.h"
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/directory.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>

static constexpr uint64_t INLINE = 80;

int64_t buffer_create(const void *data, uint64_t size, uint64_t room, handle_t *out_buffer)
{
    status_t status = tess_untyped_create_memory(linux_process()->untyped, size > room ? size : room, 0, out_buffer);
    if (status == OK && size > 0) {
        status = tess_memory_write(*out_buffer, 0, (uint64_t)data, size);
        if (status != OK) {
            files_handle_delete(*out_buffer);
        }
    }
    return status == OK ? 0 : -LINUX_ENOMEM;
}

/* Root or working directory, as it is now. */
static struct linux_file *held(struct linux_file *const *which)
{
    struct linux_file_table *table = files_table();
    linux_lock(&table->lock);
    struct linux_file *file = *which;
    if (file != nullptr) {
        file->references++;
    }
    linux_unlock(&table->lock);
    return file;
}

int64_t place_of(struct place *place, char *room, uint64_t directory, int64_t size)
{
    struct linux_file_table *table = files_table();
    struct linux_file *file = nullptr;
    int64_t result = 0;
    if (size > 0 && room[0] == '/') {
        file = held(&table->root);
    } else if ((int32_t)directory == AT_FDCWD) {
        file = held(&table->working_directory);
    } else {
        result = linux_file_get(directory, &file);
    }
    if (result != 0) {
        return result;
    }
    struct node *node = file != nullptr ? node_of(file) : nullptr;
    if (node == nullptr) {
        if (file != nullptr) {
            linux_file_put(file);
        }
        return file != nullptr ? -LINUX_ENOTDIR : -LINUX_ENOENT;
    }
    *place = (struct place){.file = file, .handle = node->handle, .path = room, .size = (uint64_t)size};
    return 0;
}

int64_t place_get(struct place *place, char *room, uint64_t directory, uint64_t path, bool may_be_empty)
{
    int64_t size = linux_string_from_user(room, path, PATH_SIZE);
    if (size < 0) {
        return size;
    }
    return size == 0 && !may_be_empty ? -LINUX_ENOENT : place_of(place, room, directory, size);
}

void place_put(struct place *place) { linux_file_put(place->file); }

static void fill(uint8_t path[80], const struct place *place)
{
    memset(path, 0, INLINE);
    memcpy(path, place->path, place->size);
}

/* Nothing is mounted yet: behind a mount point there is nothing. EXDEV is what a walk that had to stay in a directory left it with. */
static int64_t walk_error(status_t status, uint32_t flags)
{
    return status == ERROR_CROSS_MOUNT && (flags & OPEN_BENEATH) == 0 ? -LINUX_ENOENT : linux_error(status);
}

int64_t service_open(const struct place *place, uint32_t flags, uint32_t mode, handle_t *out_handle, uint32_t *out_inode,
                     uint32_t *out_mode, uint64_t *out_device)
{
    uint32_t generation;
    status_t status;
    if (place->size <= INLINE) {
        uint8_t path[80];
        fill(path, place);
        calls_begin();
        status = tess_directory_open(place->handle, flags, mode, path, out_inode, &generation, out_mode, out_device, out_handle,
                                     DEADLINE_INFINITE);
        calls_end();
        return walk_error(status, flags);
    }
    handle_t buffer;
    int64_t result = buffer_create(place->path, place->size, 0, &buffer);
    if (result != 0) {
        return result;
    }
    calls_begin();
    status = tess_directory_open_long(place->handle, flags, mode, (uint32_t)place->size, buffer, out_inode, &generation, out_mode,
                                      out_device, out_handle, DEADLINE_INFINITE);
    calls_end();
    files_handle_delete(buffer); /* where the call failed before it went */
    return walk_error(status, flags);
}

int64_t service_stat(const struct place *place, uint32_t flags, uint32_t *out_inode, struct tess_inode_record *out_record)
{
    status_t status;
    if (place->size <= INLINE) {
        uint8_t path[80];
        fill(path, place);
        calls_begin();
        status = tess_directory_stat(place->handle, flags, 0, path, out_inode, (uint8_t *)out_record, DEADLINE_INFINITE);
        calls_end();
        return walk_error(status, flags);
    }
    handle_t buffer;
    int64_t result = buffer_create(place->path, place->size, 0, &buffer);
    if (result != 0) {
        return result;
    }
    calls_begin();
    status =
        tess_directory_stat_long(place->handle, flags, (uint32_t)place->size, buffer, out_inode, (uint8_t *)out_record, DEADLINE_INFINITE);
    calls_end();
    files_handle_delete(buffer);
    return walk_error(status, flags);
}

int64_t service_path(const struct place *place, uint32_t flags, handle_t *out_handle)
{
    uint32_t inode, mode;
    uint64_t device;
    return service_open(place, OPEN_PATH | flags, 0, out_handle, &inode, &mode, &device);
}
