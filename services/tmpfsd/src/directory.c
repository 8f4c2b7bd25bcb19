/* Requests about names. The order: arguments, walk, permissions, then what may fail for want of memory, then the change. */
#include <tess/serve/directory.h>
#include <tmpfs/service.h>

static constexpr uint32_t PATH_INLINE = 80;
static constexpr uint32_t WALK_FLAGS = OPEN_NOFOLLOW | OPEN_EMPTY | OPEN_BENEATH | OPEN_IN_ROOT | OPEN_NO_SYMLINKS;
static constexpr uint32_t FILE_RIGHTS = DIRECTORY_RIGHT_USE;
static constexpr uint32_t ACCESS_FLAGS = OPEN_READ | OPEN_WRITE | OPEN_EXECUTE | OPEN_PATH;

struct path {
    const char *text;
    uint32_t size;
};

static struct path path_inline(const uint8_t *path)
{
    const char *text = (const char *)path;
    return (struct path){.text = text, .size = (uint32_t)strnlen(text, PATH_INLINE)};
}

/* From a client's buffer into ours; a zero in it would be a name that nobody can ask for. */
static status_t path_read(struct request *request, handle_t buffer, uint64_t offset, uint32_t size, char *to, struct path *out_path)
{
    if (size > PATH_MAX_BYTES) {
        return ERROR_NAME_TOO_LONG;
    }
    (void)request;
    status_t status = size == 0 ? OK : host_buffer_read(buffer, offset, to, size);
    *out_path = (struct path){.text = to, .size = size};
    return status == OK && strnlen(to, size) != size ? ERROR_BAD_ARGUMENT : status;
}

static status_t path_long(struct request *request, handle_t buffer, uint32_t size, struct path *out_path)
{
    return path_read(request, buffer, 0, size, request->service->names, out_path);
}

static status_t go(struct request *request, struct walk *to, const struct open_file *from, uint32_t flags, struct path path)
{
    to->cred = from->cred;
    to->root = from->root;
    (void)request;
    return walk(to, from->inode, flags, path.text, path.size);
}

/* ---- Opening ---- */

static uint32_t permissions_asked(uint32_t flags)
{
    return ((flags & OPEN_READ) != 0 ? MAY_READ : 0) | ((flags & OPEN_WRITE) != 0 ? MAY_WRITE : 0) |
           ((flags & OPEN_EXECUTE) != 0 ? MAY_EXECUTE : 0);
}

static status_t check_open(const struct request *request, const struct walk *at, uint32_t flags)
{
    const struct inode *inode = at->inode;
    constexpr uint32_t make = OPEN_CREATE | OPEN_EXCLUSIVE;
    if ((flags & make) == make) {
        return ERROR_ALREADY;
    }
    if ((flags & OPEN_DIRECTORY) != 0 && !inode_is(inode, MODE_DIRECTORY)) {
        return ERROR_NOT_DIRECTORY;
    }
    if ((flags & OPEN_PATH) != 0) {
        return OK;
    }
    if (inode_is(inode, MODE_SYMLINK)) {
        return ERROR_LINK_LOOP;
    }
    if (inode_is(inode, MODE_DIRECTORY) && (flags & (OPEN_WRITE | OPEN_CREATE | OPEN_EXECUTE | OPEN_TRUNCATE)) != 0) {
        return (flags & OPEN_EXECUTE) != 0 ? ERROR_NO_PERMISSION : ERROR_IS_DIRECTORY;
    }
    return permission_check(inode, request->file->cred, permissions_asked(flags)) ? OK : ERROR_NO_PERMISSION;
}

static status_t check_flags(uint32_t flags)
{
    constexpr uint32_t known = WALK_FLAGS | ACCESS_FLAGS | OPEN_CREATE | OPEN_EXCLUSIVE | OPEN_TRUNCATE | OPEN_DIRECTORY | OPEN_TEMPORARY;
    bool has_access = (flags & ACCESS_FLAGS) != 0;
    bool is_path_only =
        (flags & OPEN_PATH) != 0 && (flags & (OPEN_CREATE | OPEN_TRUNCATE | OPEN_TEMPORARY | (ACCESS_FLAGS & ~OPEN_PATH))) != 0;
    bool is_truncating = (flags & OPEN_TRUNCATE) != 0 && (flags & OPEN_WRITE) == 0;
    bool is_temporary = (flags & OPEN_TEMPORARY) != 0 && ((flags & OPEN_WRITE) == 0 || (flags & OPEN_CREATE) != 0);
    return (flags & ~known) != 0 || !has_access || is_path_only || is_truncating || is_temporary ? ERROR_BAD_ARGUMENT : OK;
}

/* A handle first: making it may fail. Then the change; if that fails nobody has seen the handle. */
static status_t open_existing(struct request *request, struct inode *inode, uint32_t flags, handle_t *out_file)
{
    struct service *service = request->service;
    status_t status =
        open_file_create(service, inode, request->file->root, request->file->cred, flags & ACCESS_FLAGS, FILE_RIGHTS, out_file);
    if (status == OK && (flags & OPEN_TRUNCATE) != 0 && inode_is(inode, MODE_REGULAR)) {
        status = bytes_truncate(inode, 0);
        if (status != OK) {
            open_file_take_back(service, *out_file);
        }
    }
    return status;
}

static status_t open_temporary(struct request *request, uint32_t flags, uint32_t mode, struct inode **out_inode, handle_t *out_file)
{
    struct service *service = request->service;
    status_t status =
        namespace_make_temporary(&service->fs, service->walk.inode, request->file->cred, mode, (flags & OPEN_EXCLUSIVE) == 0, out_inode);
    if (status == OK) {
        status = open_existing(request, *out_inode, flags, out_file);
        inode_release(&service->fs, *out_inode); /* gone, if it was not opened */
    }
    return status;
}

static status_t open_new(struct request *request, uint32_t flags, uint32_t mode, struct inode **out_inode, handle_t *out_file)
{
    struct service *service = request->service;
    struct walk *at = &service->walk;
    if (at->must_be_directory) {
        return ERROR_IS_DIRECTORY;
    }
    if ((flags & OPEN_DIRECTORY) != 0) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = namespace_make(&service->fs, at, MODE_REGULAR | (mode & MODE_PERMISSIONS), 0, nullptr, 0, out_inode);
    if (status != OK) {
        return status;
    }
    status = open_existing(request, *out_inode, flags & ~OPEN_TRUNCATE, out_file);
    if (status != OK) {
        status_t undone = namespace_remove(&service->fs, at, false);
        (void)undone; /* who could make it in this directory may remove it */
    }
    return status;
}

static status_t open_path(struct request *request, uint32_t flags, uint32_t mode, struct path path, uint32_t *out_inode,
                          uint32_t *out_generation, uint32_t *out_mode, uint64_t *out_device, handle_t *out_file)
{
    struct walk *at = &request->service->walk;
    status_t status = check_flags(flags);
    if (status != OK) {
        return status;
    }
    bool is_exclusive = (flags & (OPEN_CREATE | OPEN_EXCLUSIVE)) == (OPEN_CREATE | OPEN_EXCLUSIVE);
    uint32_t create = is_exclusive ? WALK_PARENT : (flags & OPEN_CREATE) != 0 ? WALK_MAY_MISS : 0;
    status = go(request, at, request->file, (flags & WALK_FLAGS) | create, path);
    if (status != OK) {
        return status;
    }
    struct inode *inode = at->inode;
    if (inode == nullptr) {
        status = open_new(request, flags, mode, &inode, out_file);
    } else if ((flags & OPEN_TEMPORARY) != 0) {
        status = open_temporary(request, flags, mode, &inode, out_file);
    } else {
        status = check_open(request, at, flags);
        if (status == OK) {
            status = open_existing(request, inode, flags, out_file);
        }
    }
    if (status != OK) {
        return status;
    }
    *out_inode = inode->index;
    *out_generation = inode->record->generation;
    *out_mode = inode->mode;
    *out_device = inode_is(inode, MODE_CHARACTER) || inode_is(inode, MODE_BLOCK) ? inode->size : 0;
    return OK;
}

static status_t open_called(void *context, struct tess_call *call, uint32_t flags, uint32_t mode, const uint8_t path[80],
                            uint32_t *out_inode, uint32_t *out_generation, uint32_t *out_mode, uint64_t *out_device, handle_t *out_file)
{
    (void)call;
    return open_path(context, flags, mode, path_inline(path), out_inode, out_generation, out_mode, out_device, out_file);
}

static status_t open_long_called(void *context, struct tess_call *call, uint32_t flags, uint32_t mode, uint32_t path_size, handle_t buffer,
                                 uint32_t *out_inode, uint32_t *out_generation, uint32_t *out_mode, uint64_t *out_device,
                                 handle_t *out_file)
{
    struct path path;
    (void)call;
    status_t status = path_long(context, buffer, path_size, &path);
    return status == OK ? open_path(context, flags, mode, path, out_inode, out_generation, out_mode, out_device, out_file) : status;
}

/* ---- Looking ---- */

static status_t stat_path(struct request *request, uint32_t flags, struct path path, uint32_t *out_inode, uint8_t *out_record)
{
    struct walk *at = &request->service->walk;
    if ((flags & ~WALK_FLAGS) != 0) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = go(request, at, request->file, flags, path);
    if (status == OK) {
        *out_inode = at->inode->index;
        memcpy(out_record, at->inode->record, sizeof(struct tess_inode_record));
    }
    return status;
}

static status_t stat_called(void *context, struct tess_call *call, uint32_t flags, uint32_t reserved, const uint8_t path[80],
                            uint32_t *out_inode, uint8_t out_record[64])
{
    (void)call;
    return reserved != 0 ? ERROR_BAD_ARGUMENT : stat_path(context, flags, path_inline(path), out_inode, out_record);
}

static status_t stat_long_called(void *context, struct tess_call *call, uint32_t flags, uint32_t path_size, handle_t buffer,
                                 uint32_t *out_inode, uint8_t out_record[64])
{
    struct path path;
    (void)call;
    status_t status = path_long(context, buffer, path_size, &path);
    return status == OK ? stat_path(context, flags, path, out_inode, out_record) : status;
}

static status_t resolve_called(void *context, struct tess_call *call, uint32_t flags, uint32_t reserved, const uint8_t path[80],
                               uint32_t *out_inode, uint32_t *out_size, uint8_t out_rest[80])
{
    struct request *request = context;
    struct walk *at = &request->service->walk;
    (void)call;
    if ((flags & ~WALK_FLAGS) != 0 || reserved != 0) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = go(request, at, request->file, flags, path_inline(path));
    if (status != ERROR_CROSS_MOUNT || at->inode == nullptr) {
        return status == OK || status == ERROR_CROSS_MOUNT ? ERROR_NOT_FOUND : status;
    }
    if (at->rest_size > PATH_INLINE) {
        return ERROR_NAME_TOO_LONG;
    }
    *out_inode = at->inode->index;
    *out_size = at->rest_size;
    memcpy(out_rest, &at->text[at->start], at->rest_size);
    return OK;
}

static uint32_t put_entry(uint8_t *to, const struct inode *inode, const char *name, uint32_t size, uint64_t next)
{
    struct tess_directory_entry head = {
        .inode = inode->index, .mode = (uint16_t)(inode->mode & MODE_TYPE), .name_size = (uint16_t)size, .position = next};
    uint32_t total = (uint32_t)align_up(sizeof(head) + size, 8);
    memset(to, 0, total);
    memcpy(to, &head, sizeof(head));
    memcpy(to + sizeof(head), name, size);
    return total;
}

/* As many entries as fit, from *position, which moves on. false: there was one, and it did not fit. */
static bool fill(struct inode *directory, uint8_t *buffer, uint32_t size, uint64_t *position, uint32_t *out_size)
{
    uint32_t at = 0;
    for (;;) {
        const struct inode *inode = directory;
        const char *name = "..";
        uint32_t name_size = *position == 0 ? 1 : 2;
        uint64_t next = *position + 1;
        if (*position == 1) {
            inode = directory->parent;
        } else if (*position > 1) {
            const struct entry *entry = entry_at(directory, *position);
            if (entry == nullptr) {
                break;
            }
            inode = entry->inode;
            name = entry->name;
            name_size = entry->name_size;
            next = entry->position + 1;
        }
        if (align_up(sizeof(struct tess_directory_entry) + name_size, 8) > size - at) {
            *out_size = at;
            return at > 0;
        }
        at += put_entry(buffer + at, inode, name, name_size, next);
        *position = next;
    }
    *out_size = at;
    return true;
}

static status_t list_called(void *context, struct tess_call *call, uint64_t position, uint32_t size, handle_t buffer, uint32_t *out_size,
                            uint64_t *out_position)
{
    struct request *request = context;
    struct inode *directory = request->file->inode;
    (void)call;
    if (!inode_is(directory, MODE_DIRECTORY)) {
        return ERROR_NOT_DIRECTORY;
    }
    if ((request->file->flags & OPEN_READ) == 0) {
        return ERROR_NO_PERMISSION;
    }
    if (directory->links == 0) {
        return ERROR_NOT_FOUND;
    }
    if (!fill(directory, request->service->buffer, min_u32(size, LIST_BYTES_MAX), &position, out_size)) {
        return ERROR_OVERFLOW;
    }
    *out_position = position;
    return *out_size == 0 ? OK : host_buffer_write(buffer, 0, request->service->buffer, *out_size);
}

static status_t path_called(void *context, struct tess_call *call, uint32_t size, handle_t buffer, uint32_t *out_size)
{
    struct request *request = context;
    const struct open_file *file = request->file;
    char *text = request->service->names;
    (void)call;
    if (!inode_is(file->inode, MODE_DIRECTORY)) {
        return ERROR_NOT_DIRECTORY;
    }
    uint32_t length = file->inode->links == 0 ? 0 : walk_back(file->inode, file->root, text, PATH_MAX_BYTES);
    if (length == 0) {
        return ERROR_NOT_FOUND;
    }
    *out_size = length;
    return length > size ? ERROR_OVERFLOW : host_buffer_write(buffer, 0, &text[PATH_MAX_BYTES - length], length);
}

/* ---- Changing ---- */

static status_t make_path(struct request *request, uint32_t mode, uint32_t device, struct path path, uint32_t *out_inode)
{
    struct walk *at = &request->service->walk;
    uint32_t type = mode & MODE_TYPE;
    bool is_known = type == MODE_DIRECTORY || type == MODE_REGULAR || type == MODE_FIFO || type == MODE_SOCKET || type == MODE_CHARACTER ||
                    type == MODE_BLOCK;
    if (!is_known || (mode & ~(MODE_TYPE | MODE_PERMISSIONS)) != 0) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = go(request, at, request->file, WALK_PARENT, path);
    struct inode *inode = nullptr;
    if (status == OK) {
        status = namespace_make(&request->service->fs, at, mode, device, nullptr, 0, &inode);
    }
    if (status == OK) {
        *out_inode = inode->index;
    }
    return status;
}

static status_t make_called(void *context, struct tess_call *call, uint32_t mode, uint32_t device, const uint8_t path[80],
                            uint32_t *out_inode)
{
    (void)call;
    return make_path(context, mode, device, path_inline(path), out_inode);
}

static status_t make_long_called(void *context, struct tess_call *call, uint32_t mode, uint32_t device, uint32_t path_size, handle_t buffer,
                                 uint32_t *out_inode)
{
    struct path path;
    (void)call;
    status_t status = path_long(context, buffer, path_size, &path);
    return status == OK ? make_path(context, mode, device, path, out_inode) : status;
}

static status_t remove_path(struct request *request, uint32_t flags, struct path path)
{
    struct walk *at = &request->service->walk;
    if ((flags & ~REMOVE_DIRECTORY) != 0) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = go(request, at, request->file, WALK_PARENT, path);
    return status == OK ? namespace_remove(&request->service->fs, at, flags != 0) : status;
}

static status_t remove_called(void *context, struct tess_call *call, uint32_t flags, uint32_t reserved, const uint8_t path[80])
{
    (void)call;
    return reserved != 0 ? ERROR_BAD_ARGUMENT : remove_path(context, flags, path_inline(path));
}

static status_t remove_long_called(void *context, struct tess_call *call, uint32_t flags, uint32_t path_size, handle_t buffer)
{
    struct path path;
    (void)call;
    status_t status = path_long(context, buffer, path_size, &path);
    return status == OK ? remove_path(context, flags, path) : status;
}

/* The open file behind a handle that came with a call. */
static status_t file_sent(struct request *request, handle_t handle, struct open_file **out_file)
{
    uint64_t badge;
    status_t status = host_badge_of(handle, &badge);
    *out_file = status == OK ? open_file_find(request->service, badge) : nullptr;
    return *out_file != nullptr ? OK : ERROR_BAD_ARGUMENT;
}

/* Two texts, one behind the other. */
static status_t two_read(struct request *request, handle_t buffer, uint32_t first_size, uint32_t second_size, struct path *first,
                         struct path *second)
{
    char *names = request->service->names;
    status_t status = path_read(request, buffer, 0, first_size, names, first);
    return status == OK ? path_read(request, buffer, first_size, second_size, names + PATH_MAX_BYTES, second) : status;
}

static status_t rename_called(void *context, struct tess_call *call, uint32_t flags, uint32_t from_size, uint32_t to_size,
                              handle_t to_directory, handle_t buffer)
{
    struct request *request = context;
    struct service *service = request->service;
    struct open_file *to;
    struct path from_path, to_path;
    (void)call;
    status_t status = file_sent(request, to_directory, &to);
    if (status == OK) {
        status = two_read(request, buffer, from_size, to_size, &from_path, &to_path);
    }
    if (status == OK) {
        status = go(request, &service->walk, request->file, WALK_PARENT, from_path);
    }
    if (status == OK) {
        status = go(request, &service->walk_to, to, WALK_PARENT, to_path);
    }
    if (status != OK) {
        return status;
    }
    /* What is done is done with the credentials of the handle that is called. */
    service->walk_to.cred = request->file->cred;
    return namespace_rename(&service->fs, &service->walk, &service->walk_to, flags);
}

static status_t link_called(void *context, struct tess_call *call, uint32_t reserved, uint32_t path_size, handle_t file, handle_t buffer)
{
    struct request *request = context;
    struct service *service = request->service;
    struct open_file *source;
    struct path path;
    (void)call;
    if (reserved != 0) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = file_sent(request, file, &source);
    if (status == OK) {
        status = path_long(request, buffer, path_size, &path);
    }
    if (status == OK) {
        status = go(request, &service->walk, request->file, WALK_PARENT, path);
    }
    return status == OK ? namespace_link(&service->fs, &service->walk, source->inode) : status;
}

static status_t symlink_called(void *context, struct tess_call *call, uint32_t target_size, uint32_t path_size, handle_t texts)
{
    struct request *request = context;
    struct service *service = request->service;
    struct path target, path;
    struct inode *inode;
    (void)call;
    status_t status = two_read(request, texts, target_size, path_size, &target, &path);
    if (status == OK) {
        status = target_size == 0 ? ERROR_NOT_FOUND : go(request, &service->walk, request->file, WALK_PARENT, path);
    }
    return status == OK ? namespace_make(&service->fs, &service->walk, MODE_SYMLINK | 0777, 0, target.text, target.size, &inode) : status;
}

/* ---- Handles ---- */

static status_t identify_called(void *context, struct tess_call *call, uint32_t uid, uint32_t gid, uint32_t count, const uint8_t groups[40],
                                handle_t directory, handle_t *out_directory)
{
    struct request *request = context;
    struct service *service = request->service;
    struct open_file *file;
    (void)call;
    status_t status = count > GROUPS_MAX ? ERROR_BAD_ARGUMENT : file_sent(request, directory, &file);
    if (status != OK) {
        return status;
    }
    struct credentials *cred = allocator_allocate_zeroed(service->fs.allocator, sizeof(*cred));
    if (cred == nullptr) {
        return ERROR_NO_SPACE;
    }
    *cred = (struct credentials){.uid = uid, .gid = gid, .group_count = count};
    memcpy(cred->groups, groups, count * sizeof(uint32_t));
    struct inode *inode = file->inode, *root = file->root; /* the table of open files may move */
    status = open_file_create(service, inode, root, cred, file->flags, FILE_RIGHTS, out_directory);
    if (status != OK) {
        allocator_release(service->fs.allocator, cred, sizeof(*cred));
    }
    return status;
}

static status_t change_root_called(void *context, struct tess_call *call, handle_t *out_directory)
{
    struct request *request = context;
    struct open_file *file = request->file;
    (void)call;
    if (file->cred->uid != 0) {
        return ERROR_NOT_OWNER;
    }
    return inode_is(file->inode, MODE_DIRECTORY)
               ? open_file_create(request->service, file->inode, file->inode, file->cred, file->flags, FILE_RIGHTS, out_directory)
               : ERROR_NOT_DIRECTORY;
}

static status_t table_called(void *context, struct tess_call *call, uint32_t *out_count, handle_t *out_table)
{
    const struct request *request = context;
    (void)call;
    *out_count = request->service->fs.inode_max;
    return host_table_share(out_table);
}

static status_t usage_called(void *context, struct tess_call *call, uint64_t *out_total_bytes, uint64_t *out_free_bytes,
                             uint64_t *out_inodes, uint64_t *out_free_inodes)
{
    const struct request *request = context;
    const struct tmpfs *fs = &request->service->fs;
    (void)call;
    host_usage(out_total_bytes, out_free_bytes);
    *out_inodes = fs->inode_max - 1;
    *out_free_inodes = fs->inode_max - 1 - fs->inode_count;
    return OK;
}

const struct directory_server directory_methods = {
    .open = open_called,
    .open_long = open_long_called,
    .stat = stat_called,
    .stat_long = stat_long_called,
    .make = make_called,
    .make_long = make_long_called,
    .remove = remove_called,
    .remove_long = remove_long_called,
    .rename = rename_called,
    .link = link_called,
    .symlink = symlink_called,
    .list = list_called,
    .resolve = resolve_called,
    .path = path_called,
    .identify = identify_called,
    .table = table_called,
    .change_root = change_root_called,
    .usage = usage_called,
};
