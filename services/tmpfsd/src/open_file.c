#include <tmpfs/service.h>

static uint64_t badge_of(const struct service *service, const struct open_file *file)
{
    return BADGE_OPEN | (uint64_t)(file->generation & INT32_MAX) << 32 | (uint64_t)(file - service->files);
}

struct open_file *open_file_find(struct service *service, uint64_t badge)
{
    if ((badge & BADGE_OPEN) == 0) {
        return &service->first;
    }
    uint32_t index = (uint32_t)badge;
    struct open_file *file = index < service->file_size ? &service->files[index] : nullptr;
    return file != nullptr && file->inode != nullptr && badge_of(service, file) == badge ? file : nullptr;
}

static bool grow(struct service *service)
{
    uint32_t size = service->file_size == 0 ? 64 : service->file_size * 2;
    struct allocator *allocator = service->fs.allocator;
    struct open_file *files =
        size > OPEN_FILES_MAX ? nullptr : allocator_allocate_zeroed(allocator, (size_t)size * sizeof(struct open_file));
    if (files == nullptr) {
        return false;
    }
    if (service->files != nullptr) {
        memcpy(files, service->files, (size_t)service->file_size * sizeof(struct open_file));
        allocator_release(allocator, service->files, (size_t)service->file_size * sizeof(struct open_file));
    }
    for (uint32_t i = size; i-- > service->file_size;) {
        files[i].next_free = service->first_free;
        service->first_free = i + 1;
    }
    service->files = files;
    service->file_size = size;
    return true;
}

status_t open_file_create(struct service *service, struct inode *inode, struct inode *root, struct credentials *cred, uint32_t flags,
                          uint32_t rights, handle_t *out_handle)
{
    if (service->first_free == 0 && !grow(service)) {
        return ERROR_NO_SPACE;
    }
    struct open_file *file = &service->files[service->first_free - 1];
    status_t status = host_badge_mint(badge_of(service, file), rights, out_handle);
    if (status != OK) {
        return ERROR_NO_SPACE;
    }
    service->first_free = file->next_free;
    file->inode = inode;
    file->root = root;
    file->cred = cred;
    file->flags = flags;
    file->tag = 0;
    inode_hold(inode);
    inode_hold(root);
    cred->users++;
    service->file_count++;
    return OK;
}

static void close(struct service *service, struct open_file *file, uint64_t badge)
{
    struct inode *inode = file->inode, *root = file->root;
    struct credentials *cred = file->cred;
    if (!list_is_empty(&inode->locks) || !list_is_empty(&inode->waiters)) {
        lock_drop(&service->fs, inode, badge);
    }
    file->inode = nullptr;
    file->generation++;
    file->next_free = service->first_free;
    service->first_free = (uint32_t)(file - service->files) + 1;
    service->file_count--;
    inode_release(&service->fs, inode);
    inode_release(&service->fs, root);
    if (--cred->users == 0) {
        allocator_release(service->fs.allocator, cred, sizeof(*cred));
    }
}

void open_file_close(struct service *service, uint64_t badge)
{
    struct open_file *file = open_file_find(service, badge);
    if (file != nullptr && file != &service->first) {
        close(service, file, badge);
    }
}

void open_file_take_back(struct service *service, handle_t handle)
{
    uint64_t badge;
    status_t status = host_badge_of(handle, &badge);
    host_handle_delete(handle);
    if (status == OK) {
        open_file_close(service, badge);
    }
}
