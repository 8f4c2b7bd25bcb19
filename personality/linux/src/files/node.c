/* Files of tmpfsd: bytes without a message. Size and times are in the shared table; the memory object is asked for once, and again when the table says that the
 * bytes have moved. */
#include "files.h"
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/directory.h>
#include <tess/stub/file.h>
#include <tess/stub/memory.h>
#include <tess/util.h>

static constexpr uint64_t TRANSFER_MAX = 0x7FFFF000; /* Linux's MAX_RW_COUNT */
static constexpr uint64_t TOUCH_NS = 4'000'000;

static const struct linux_file_operations node_operations;

struct node *node_of(struct linux_file *file) { return file->kind == FILE_KIND_NODE ? (struct node *)file : nullptr; }

const struct tess_inode_record *node_record(const struct node *node)
{
    return &((const struct tess_inode_record *)LINUX_INODES_BASE)[node->inode];
}

static uint64_t size_now(const struct node *node) { return __atomic_load_n(&node_record(node)->size, __ATOMIC_ACQUIRE); }

int64_t node_create(handle_t handle, uint32_t inode, uint32_t mode, uint64_t device, uint32_t flags, struct node **out_node)
{
    struct linux_file_table *table = files_table();
    struct node *node = linux_allocate(sizeof(*node));
    struct linux_record *record = node != nullptr ? record_create(table, flags) : nullptr;
    if (record == nullptr) {
        linux_free(node, sizeof(*node));
        files_handle_delete(handle);
        return -LINUX_ENFILE;
    }
    uint32_t type = mode & MODE_TYPE;
    const struct linux_file_operations *operations = type == MODE_DIRECTORY                         ? &directory_operations
                                                     : type == MODE_REGULAR || type == MODE_SYMLINK ? &node_operations
                                                                                                    : &device_operations;
    *node = (struct node){.file = {.operations = operations, .references = 1, .flags = &record->flags, .kind = FILE_KIND_NODE},
                          .handle = handle,
                          .inode = inode,
                          .mode = mode,
                          .device = device,
                          .record = record};
    *out_node = node;
    return 0;
}

void node_close(struct linux_file *file)
{
    struct node *node = node_of(file);
    files_handle_delete(node->memory);
    files_handle_delete(node->locker);
    files_handle_delete(node->handle);
    record_release(node->record);
    linux_free(node, sizeof(*node));
}

/* fork made the handles; an owner of locks is not inherited. */
void node_forked(struct linux_file *file) { node_of(file)->locker = HANDLE_NONE; }

/* The memory that holds the bytes now. Handles of before may be in use by another thread's call, which then fails and looks again. */
static int64_t memory_of(struct node *node, handle_t *out_memory)
{
    uint32_t data = __atomic_load_n(&node_record(node)->data, __ATOMIC_ACQUIRE);
    handle_t memory = __atomic_load_n(&node->memory, __ATOMIC_ACQUIRE);
    if (memory != HANDLE_NONE && __atomic_load_n(&node->data, __ATOMIC_ACQUIRE) == data) {
        *out_memory = memory;
        return 0;
    }
    struct linux_file_table *table = files_table();
    linux_lock(&table->memory_lock);
    uint32_t inode;
    calls_begin();
    status_t status = tess_file_memory(node->handle, &data, &inode, &memory, DEADLINE_INFINITE);
    calls_end();
    if (status == OK) {
        handle_t before = node->memory;
        __atomic_store_n(&node->memory, memory, __ATOMIC_RELEASE);
        __atomic_store_n(&node->data, data, __ATOMIC_RELEASE);
        files_handle_delete(before);
        *out_memory = memory;
    }
    linux_unlock(&table->memory_lock);
    return status == ERROR_NOT_FOUND ? -LINUX_EINVAL : linux_error(status);
}

/* Takes [offset, offset + count) of the description's own position; false: somebody moved it, look again. */
static bool claim(struct node *node, uint64_t from, uint64_t to)
{
    return __c11_atomic_compare_exchange_strong(&node->record->offset, &from, to, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void give_back(struct node *node, uint64_t claimed, uint64_t used)
{
    bool is_done = claimed == used || claim(node, claimed, used);
    (void)is_done; /* somebody moved on from there: nobody can tell */
}

static int64_t copy_out(struct node *node, uint64_t offset, uint64_t buffer, uint64_t count)
{
    uint64_t done = 0;
    bool is_second = false;
    while (done < count) {
        handle_t memory;
        int64_t result = memory_of(node, &memory);
        uint64_t part = min_u64(count - done, FILES_COPY_MAX);
        if (result == 0) {
            status_t status = tess_memory_read(memory, offset + done, buffer + done, part);
            if ((status == ERROR_STALE_HANDLE || status == ERROR_BAD_HANDLE || status == ERROR_BAD_ADDRESS) && !is_second) {
                is_second = true; /* the bytes moved, or the file was cut: once more with what is now */
                uint64_t size = size_now(node);
                count = min_u64(count, size > offset ? size - offset : 0);
                continue;
            }
            result = linux_error(status);
        }
        if (result != 0) {
            return done > 0 ? (int64_t)done : result;
        }
        done += part;
    }
    return (int64_t)done;
}

static int64_t node_read(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    struct node *node = node_of(file);
    bool is_own = offset == -1;
    size = min_u64(size, TRANSFER_MAX);
    if (!linux_is_user(buffer, size)) {
        return -LINUX_EFAULT;
    }
    uint64_t at, count, end;
    do {
        at = is_own ? node->record->offset : (uint64_t)offset;
        end = size_now(node);
        count = at < end ? min_u64(size, end - at) : 0;
        if (count == 0) {
            return 0;
        }
    } while (is_own && !claim(node, at, at + count));
    int64_t result = copy_out(node, at, buffer, count);
    if (is_own) {
        give_back(node, at + count, at + (result > 0 ? (uint64_t)result : 0));
    }
    return result;
}

/* Makes sure that the file reaches as far as the piece; says where it goes when it is appended. */
static int64_t make_room(struct node *node, bool is_append, uint64_t *at, uint64_t size, bool *out_is_extended)
{
    *out_is_extended = is_append || *at + size > size_now(node);
    if (!*out_is_extended) {
        return 0;
    }
    calls_begin();
    status_t status = tess_file_extend(node->handle, is_append ? EXTEND_APPEND : 0, *at, size, at, DEADLINE_INFINITE);
    calls_end();
    return status == ERROR_OVERFLOW ? -LINUX_EFBIG : linux_error(status);
}

static void touch(struct node *node)
{
    uint64_t now = linux_clock_monotonic();
    if (now - node->touched_ns >= TOUCH_NS) {
        node->touched_ns = now;
        calls_begin();
        status_t status = tess_file_touch(node->handle, DEADLINE_INFINITE);
        calls_end();
        (void)status; /* the bytes are written */
    }
}

/* A page of the program's buffer is not there: nothing may have been granted for it. */
static int64_t check_buffer(uint64_t buffer)
{
    uint8_t byte;
    return linux_copy_from_user(&byte, buffer, 1);
}

static int64_t copy_in(struct node *node, bool is_append, uint64_t *at, uint64_t buffer, uint64_t size)
{
    uint64_t done = 0;
    bool was_extended = false;
    while (done < size) {
        uint64_t part = min_u64(size - done, FILES_COPY_MAX), place = *at;
        handle_t memory;
        bool is_extended;
        int64_t result = check_buffer(buffer + done);
        if (result == 0) {
            result = make_room(node, is_append, &place, part, &is_extended);
        }
        if (result == 0) {
            result = memory_of(node, &memory);
        }
        if (result == 0) {
            status_t status = tess_memory_write(memory, place, buffer + done, part);
            result = status == ERROR_NO_MEMORY ? -LINUX_ENOSPC : linux_error(status);
        }
        if (result != 0) {
            return done > 0 ? (int64_t)done : result;
        }
        was_extended |= is_extended;
        done += part;
        *at = place + part;
    }
    if (!was_extended) {
        touch(node);
    }
    return (int64_t)done;
}

static int64_t node_write(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    struct node *node = node_of(file);
    bool is_own = offset == -1, is_append = (*file->flags & LINUX_O_APPEND) != 0;
    size = min_u64(size, TRANSFER_MAX);
    if (!linux_is_user(buffer, size)) {
        return -LINUX_EFAULT;
    }
    if (size == 0) {
        return 0;
    }
    uint64_t at;
    do {
        at = is_own ? node->record->offset : (uint64_t)offset;
        if (at > INT64_MAX - size) {
            return -LINUX_EFBIG;
        }
    } while (is_own && !is_append && !claim(node, at, at + size));
    uint64_t end = at;
    int64_t result = copy_in(node, is_append, &end, buffer, size);
    if (is_own && is_append && result > 0) {
        node->record->offset = end;
    } else if (is_own && !is_append) {
        give_back(node, at + size, at + (result > 0 ? (uint64_t)result : 0));
    }
    return result;
}

static int64_t node_seek(struct linux_file *file, int64_t offset, uint32_t whence)
{
    enum : uint32_t { SET, CURRENT, END, DATA, HOLE };
    struct node *node = node_of(file);
    uint64_t size = node->mode >> 12 == MODE_DIRECTORY >> 12 ? 0 : size_now(node), before, after;
    do {
        before = node->record->offset;
        int64_t base = whence == CURRENT ? (int64_t)before : whence == END ? (int64_t)size : 0;
        if (whence > HOLE) {
            return -LINUX_EINVAL;
        }
        if (whence >= DATA) { /* one run of data up to the end, as a file system may say */
            if (offset < 0 || (uint64_t)offset >= size) {
                return -LINUX_ENXIO;
            }
            base = whence == HOLE ? (int64_t)size - offset : 0;
        }
        if (__builtin_add_overflow(base, offset, (int64_t *)&after)) {
            return -LINUX_EOVERFLOW;
        }
        if ((int64_t)after < 0) {
            return -LINUX_EINVAL;
        }
    } while (!claim(node, before, after));
    return (int64_t)after;
}

void node_stat(const struct tess_inode_record *record, uint32_t inode, struct linux_stat_values *out)
{
    uint32_t type = record->mode & MODE_TYPE;
    bool is_device = type == MODE_CHARACTER || type == MODE_BLOCK;
    *out = (struct linux_stat_values){.device = 0x15,
                                      .inode = inode,
                                      .size = is_device ? 0 : record->size,
                                      .blocks = type == MODE_REGULAR ? align_up(record->size, FILES_PAGE) / 512 : 0,
                                      .special_device = is_device ? record->size : 0,
                                      .mode = record->mode,
                                      .links = record->links,
                                      .uid = record->uid,
                                      .gid = record->gid,
                                      .block_size = FILES_PAGE,
                                      .access_ns = record->atime_ns,
                                      .modify_ns = record->mtime_ns,
                                      .change_ns = record->ctime_ns,
                                      .birth_ns = record->btime_ns};
}

int64_t node_stat_file(struct linux_file *file, struct linux_stat_values *out)
{
    struct node *node = node_of(file);
    struct tess_inode_record record = *(const volatile struct tess_inode_record *)node_record(node);
    node_stat(&record, node->inode, out);
    return 0;
}

static int64_t node_truncate(struct linux_file *file, uint64_t size)
{
    calls_begin();
    status_t status = tess_file_truncate(node_of(file)->handle, size, DEADLINE_INFINITE);
    calls_end();
    return status == ERROR_OVERFLOW ? -LINUX_EFBIG : status == ERROR_NO_PERMISSION ? -LINUX_EINVAL : linux_error(status);
}

static int64_t node_sync(struct linux_file *file) { return (void)file, 0; }

static int64_t node_memory(struct linux_file *file, uint64_t offset, struct linux_file_memory *out)
{
    struct node *node = node_of(file);
    handle_t memory;
    uint64_t size, pages;
    uint32_t flags, is_device;
    int64_t result = memory_of(node, &memory);
    if (result == 0) {
        result = linux_error(tess_memory_info(memory, &size, &pages, &flags, &is_device));
    }
    if (result == 0) {
        bool is_slice = (flags & MEMORY_RESIZABLE) == 0;
        *out = (struct linux_file_memory){
            .memory = memory, .offset = offset, .size = size_now(node), .map_flags = is_slice ? 0 : MAP_MAY_FAULT, .is_constant = is_slice};
    }
    return result;
}

static const struct linux_file_operations node_operations = {.read = node_read,
                                                             .write = node_write,
                                                             .seek = node_seek,
                                                             .stat = node_stat_file,
                                                             .truncate = node_truncate,
                                                             .sync = node_sync,
                                                             .memory = node_memory,
                                                             .forked = node_forked,
                                                             .close = node_close};

/* ---- Directories ---- */

/* struct linux_dirent64: inode, position of the next, size, type, name. */
static uint64_t put_entry(uint8_t *to, const struct tess_directory_entry *entry, const char *name)
{
    uint64_t size = align_up(19u + entry->name_size + 1, 8);
    memset(to, 0, size);
    store_le64(to, entry->inode);
    store_le64(to + 8, entry->position);
    store_le16(to + 16, (uint16_t)size);
    to[18] = (uint8_t)(entry->mode >> 12);
    memcpy(to + 19, name, entry->name_size);
    return size;
}

/* Of what tmpfsd listed, what fits; -LINUX_EINVAL: not even the first. */
static int64_t give_entries(const uint8_t *list, uint32_t list_size, uint64_t buffer, uint64_t size, uint64_t *position)
{
    uint64_t done = 0;
    struct tess_directory_entry entry;
    for (uint32_t at = 0; at + sizeof(entry) <= list_size;) {
        uint8_t one[288];
        memcpy(&entry, list + at, sizeof(entry));
        if (entry.name_size > 255 || at + sizeof(entry) + entry.name_size > list_size) {
            return -LINUX_EIO;
        }
        uint64_t count = put_entry(one, &entry, (const char *)list + at + sizeof(entry));
        if (count > size - done) {
            return done > 0 ? (int64_t)done : -LINUX_EINVAL;
        }
        int64_t result = linux_copy_to_user(buffer + done, one, count);
        if (result != 0) {
            return done > 0 ? (int64_t)done : result;
        }
        done += count;
        *position = entry.position;
        at += (uint32_t)align_up(sizeof(entry) + entry.name_size, 8);
    }
    return (int64_t)done;
}

static int64_t directory_list(struct linux_file *file, uint64_t buffer, uint64_t size)
{
    struct node *node = node_of(file);
    uint64_t position = node->record->offset, done = 0;
    handle_t memory;
    int64_t result = buffer_create(nullptr, 0, FILES_PAGE, &memory);
    while (result == 0 && done < size) {
        uint8_t list[2048];
        uint32_t count;
        uint64_t next;
        calls_begin();
        status_t status = tess_directory_list(node->handle, position, sizeof(list), memory, &count, &next, DEADLINE_INFINITE);
        calls_end();
        if (status == OK && count > 0) {
            status = count > sizeof(list) ? ERROR_BAD_FORMAT : tess_memory_read(memory, 0, (uint64_t)list, count);
        }
        result = linux_error(status);
        if (result != 0 || count == 0) {
            break;
        }
        int64_t given = give_entries(list, count, buffer + done, size - done, &position);
        if (given < 0) {
            result = done > 0 ? 0 : given;
            break;
        }
        done += (uint64_t)given;
        if (position != next) {
            break; /* the program's buffer is full */
        }
    }
    files_handle_delete(memory);
    node->record->offset = position;
    return done > 0 ? (int64_t)done : result;
}

static int64_t directory_read(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    return (void)file, (void)buffer, (void)size, (void)offset, -LINUX_EISDIR;
}

const struct linux_file_operations directory_operations = {.read = directory_read,
                                                           .seek = node_seek,
                                                           .stat = node_stat_file,
                                                           .sync = node_sync,
                                                           .directory = directory_list,
                                                           .forked = node_forked,
                                                           .close = node_close};
