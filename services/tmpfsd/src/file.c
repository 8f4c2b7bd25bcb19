/* Requests about an open file: its bytes, attributes, locks. */
#include <tess/serve/directory.h>
#include <tess/serve/file.h>
#include <tmpfs/service.h>

static constexpr uint64_t EXTEND_MAX = 1 << 20;

static status_t check_bytes(const struct request *request, uint32_t flags)
{
    const struct inode *inode = request->file->inode;
    if (!inode_is(inode, MODE_REGULAR)) {
        return inode_is(inode, MODE_DIRECTORY) ? ERROR_IS_DIRECTORY : ERROR_BAD_ARGUMENT;
    }
    return (request->file->flags & flags) != 0 ? OK : ERROR_NO_PERMISSION;
}

static status_t memory_called(void *context, struct tess_call *call, uint32_t *out_data, uint32_t *out_inode, handle_t *out_memory)
{
    struct request *request = context;
    struct inode *inode = request->file->inode;
    uint32_t flags = request->file->flags;
    handle_t bytes;
    (void)call;
    status_t status = check_bytes(request, OPEN_READ | OPEN_WRITE | OPEN_EXECUTE);
    if (status == OK) {
        status = bytes_memory(inode, (flags & OPEN_WRITE) != 0, &bytes);
    }
    if (status != OK) {
        return status == ERROR_BAD_ARGUMENT ? ERROR_NOT_FOUND : status;
    }
    /* Who may only execute it must still be able to load it. */
    uint32_t rights = ((flags & (OPEN_READ | OPEN_EXECUTE)) != 0 ? MEMORY_RIGHT_READ | MEMORY_RIGHT_EXEC : 0) |
                      ((flags & OPEN_WRITE) != 0 ? MEMORY_RIGHT_WRITE : 0);
    *out_data = inode->record->data;
    *out_inode = inode->index;
    return host_bytes_share(bytes, rights, out_memory) == OK ? OK : ERROR_NO_SPACE;
}

/* What is written to does not keep set-id bits. */
static void drop_set_id(struct inode *inode, const struct credentials *cred)
{
    if (cred->uid != 0) {
        inode->mode &= ~(MODE_SETUID | ((inode->mode & 0010) != 0 ? MODE_SETGID : 0));
    }
}

static status_t extend_called(void *context, struct tess_call *call, uint32_t flags, uint64_t offset, uint64_t size, uint64_t *out_offset)
{
    struct request *request = context;
    (void)call;
    status_t status = (flags & ~EXTEND_APPEND) != 0 || size > EXTEND_MAX ? ERROR_BAD_ARGUMENT : check_bytes(request, OPEN_WRITE);
    if (status == OK) {
        drop_set_id(request->file->inode, request->file->cred);
        status = bytes_extend(request->file->inode, flags != 0, offset, size, out_offset);
    }
    return status;
}

static status_t truncate_called(void *context, struct tess_call *call, uint64_t size)
{
    struct request *request = context;
    (void)call;
    status_t status = check_bytes(request, OPEN_WRITE);
    if (status == OK) {
        drop_set_id(request->file->inode, request->file->cred);
        status = bytes_truncate(request->file->inode, size);
    }
    return status;
}

static status_t allocate_called(void *context, struct tess_call *call, uint32_t flags, uint64_t offset, uint64_t size)
{
    struct request *request = context;
    (void)call;
    status_t status = check_bytes(request, OPEN_WRITE);
    return status == OK ? bytes_allocate(request->file->inode, flags, offset, size) : status;
}

static status_t touch_called(void *context, struct tess_call *call)
{
    struct request *request = context;
    (void)call;
    if ((request->file->flags & OPEN_WRITE) == 0) {
        return ERROR_NO_PERMISSION;
    }
    drop_set_id(request->file->inode, request->file->cred);
    inode_modified(request->file->inode);
    return OK;
}

static status_t set_called(void *context, struct tess_call *call, uint32_t what, uint32_t mode, uint32_t uid, uint32_t gid,
                           int64_t atime_ns, int64_t mtime_ns)
{
    struct request *request = context;
    struct attributes attributes = {.what = what, .mode = mode, .uid = uid, .gid = gid, .atime_ns = atime_ns, .mtime_ns = mtime_ns};
    (void)call;
    return attributes_set(request->file->inode, request->file->cred, &attributes);
}

static status_t readlink_called(void *context, struct tess_call *call, uint32_t size, handle_t buffer, uint32_t *out_size)
{
    struct request *request = context;
    const struct inode *inode = request->file->inode;
    (void)call;
    if (!inode_is(inode, MODE_SYMLINK)) {
        return ERROR_BAD_ARGUMENT;
    }
    *out_size = min_u32(size, (uint32_t)inode->size);
    return *out_size == 0 ? OK : host_buffer_write(buffer, 0, inode->target, *out_size);
}

/* ---- Locks ---- */

static status_t check_lock(const struct request *request, const struct lock_request *lock)
{
    uint32_t kind = lock->flags & LOCK_KIND, flags = request->file->flags;
    status_t status = lock_check(lock);
    if (status != OK) {
        return status;
    }
    bool has_end = (request->badge & BADGE_OPEN) != 0; /* a handle of the manifest is never closed */
    if ((flags & (OPEN_READ | OPEN_WRITE)) == 0 || !has_end) {
        return ERROR_NO_PERMISSION;
    }
    bool needs_mode = (lock->flags & LOCK_WHOLE) == 0;
    bool is_allowed = kind == LOCK_UNLOCK || (flags & (kind == LOCK_EXCLUSIVE ? OPEN_WRITE : OPEN_READ)) != 0;
    return needs_mode && !is_allowed ? ERROR_NO_PERMISSION : OK;
}

static status_t lock_called(void *context, struct tess_call *call, uint32_t flags, uint64_t start, uint64_t end)
{
    struct request *request = context;
    struct tmpfs *fs = &request->service->fs;
    struct inode *inode = request->file->inode;
    struct lock_request lock = {.owner = request->badge, .tag = request->file->tag, .flags = flags, .start = start, .end = end};
    status_t status = check_lock(request, &lock);
    if (status != OK) {
        return status;
    }
    status = lock_set(fs, inode, &lock);
    if (status == ERROR_WOULD_BLOCK && (flags & LOCK_WAIT) != 0 && call->token != 0) {
        status = lock_wait(fs, inode, &lock, call->token);
        call->is_deferred = status == OK;
    } else if (status == OK && (flags & LOCK_KIND) != LOCK_EXCLUSIVE) {
        lock_wake(fs, inode); /* unlocked, or no longer exclusive */
    }
    return status;
}

static status_t lock_query_called(void *context, struct tess_call *call, uint32_t flags, uint64_t start, uint64_t end, uint32_t *out_flags,
                                  uint64_t *out_start, uint64_t *out_end, uint32_t *out_tag)
{
    struct request *request = context;
    struct lock_request lock = {.owner = request->badge, .flags = flags, .start = start, .end = end}, found;
    (void)call;
    status_t status = lock_check(&lock);
    if (status == OK) {
        lock_query(request->file->inode, &lock, &found);
        *out_flags = found.flags;
        *out_start = found.start;
        *out_end = found.end;
        *out_tag = found.tag;
    }
    return status;
}

static status_t locker_called(void *context, struct tess_call *call, uint32_t tag, handle_t *out_locker)
{
    struct request *request = context;
    struct open_file *file = request->file;
    (void)call;
    status_t status = open_file_create(request->service, file->inode, file->root, file->cred, file->flags, FILE_RIGHT_USE, out_locker);
    uint64_t badge;
    if (status == OK && host_badge_of(*out_locker, &badge) == OK) {
        open_file_find(request->service, badge)->tag = tag;
    }
    return status;
}

/* ---- Extended attributes ---- */

static status_t name_read(struct request *request, handle_t buffer, uint32_t size, const char **out_name)
{
    char *names = request->service->names;
    *out_name = names;
    return size == 0 || size > NAME_MAX_BYTES ? ERROR_BAD_ARGUMENT : host_buffer_read(buffer, 0, names, size);
}

static status_t xattr_get_called(void *context, struct tess_call *call, uint32_t name_size, uint32_t size, handle_t buffer,
                                 uint32_t *out_size)
{
    struct request *request = context;
    const char *name;
    const uint8_t *value = nullptr;
    (void)call;
    status_t status = name_read(request, buffer, name_size, &name);
    if (status == OK) {
        status = xattr_get(request->file->inode, request->file->cred, name, name_size, &value, out_size);
    }
    if (status != OK || size == 0 || *out_size == 0) {
        return status;
    }
    return *out_size > size ? ERROR_OVERFLOW : host_buffer_write(buffer, 0, value, *out_size);
}

static status_t xattr_set_called(void *context, struct tess_call *call, uint32_t flags, uint32_t name_size, uint32_t size, handle_t buffer)
{
    struct request *request = context;
    struct service *service = request->service;
    const char *name;
    (void)call;
    status_t status = size > XATTR_SIZE_MAX ? ERROR_BAD_ARGUMENT : name_read(request, buffer, name_size, &name);
    if (status == OK && size > 0) {
        status = host_buffer_read(buffer, name_size, service->buffer, size);
    }
    return status == OK ? xattr_set(&service->fs, request->file->inode, request->file->cred, flags, name, name_size, service->buffer, size)
                        : status;
}

static status_t xattr_list_called(void *context, struct tess_call *call, uint32_t size, handle_t buffer, uint32_t *out_size)
{
    struct request *request = context;
    struct service *service = request->service;
    (void)call;
    *out_size = xattr_list(request->file->inode, request->file->cred, (char *)service->buffer, sizeof(service->buffer));
    if (size == 0 || *out_size == 0) {
        return OK;
    }
    return *out_size > size || *out_size > sizeof(service->buffer) ? ERROR_OVERFLOW
                                                                   : host_buffer_write(buffer, 0, service->buffer, *out_size);
}

static status_t xattr_remove_called(void *context, struct tess_call *call, uint32_t name_size, handle_t buffer)
{
    struct request *request = context;
    const char *name;
    (void)call;
    status_t status = name_read(request, buffer, name_size, &name);
    return status == OK ? xattr_remove(&request->service->fs, request->file->inode, request->file->cred, name, name_size) : status;
}

const struct file_server file_methods = {
    .memory = memory_called,
    .extend = extend_called,
    .truncate = truncate_called,
    .allocate = allocate_called,
    .touch = touch_called,
    .set = set_called,
    .readlink = readlink_called,
    .lock = lock_called,
    .lock_query = lock_query_called,
    .locker = locker_called,
    .xattr_get = xattr_get_called,
    .xattr_set = xattr_set_called,
    .xattr_list = xattr_list_called,
    .xattr_remove = xattr_remove_called,
};
