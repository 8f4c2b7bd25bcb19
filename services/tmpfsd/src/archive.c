/* What user 0 would make of the archive, name by name. A directory that is missing on the way is made; a name that comes twice is the later one's. */
#include <tess/cpio.h>
#include <tmpfs/tmpfs.h>

/* Names of one file: the archive says so by its inode number, and its bytes come with one of them, usually the last. */
struct twin {
    struct list_node node;
    uint32_t number;
    struct inode *inode;
};

struct loader {
    struct tmpfs *fs;
    struct credentials cred;
    struct walk walk;
    struct list twins;
};

static const char *strip(const char *name)
{
    while (name[0] == '/' || (name[0] == '.' && (name[1] == '/' || name[1] == '\0'))) {
        name++;
    }
    return name;
}

/* Walks to the name, making directories on the way. */
static status_t place(struct loader *loader, const char *name)
{
    struct inode *made;
    uint32_t size = (uint32_t)strlen(name);
    for (uint32_t i = 0; i <= size; i++) {
        if (i < size && (name[i] != '/' || i == 0)) {
            continue;
        }
        status_t status = walk(&loader->walk, loader->fs->root, WALK_PARENT, name, i);
        if (status != OK || i == size) {
            return status;
        }
        if (loader->walk.inode == nullptr) {
            status = namespace_make(loader->fs, &loader->walk, MODE_DIRECTORY | 0755, 0, nullptr, 0, &made);
            if (status != OK) {
                return status;
            }
        }
    }
    return ERROR_BAD_FORMAT;
}

static void set_attributes(struct inode *inode, const struct cpio_file *file)
{
    inode->mode = (inode->mode & MODE_TYPE) | (file->mode & MODE_PERMISSIONS);
    inode->uid = file->uid;
    inode->gid = file->gid;
    inode->mtime_ns = (int64_t)file->mtime_s * 1'000'000'000;
    inode->atime_ns = inode->ctime_ns = inode->mtime_ns;
    inode_publish(inode);
}

static status_t set_bytes(struct inode *inode, const struct cpio_file *file)
{
    if (file->size == 0) {
        return OK;
    }
    inode->archive_offset = file->offset;
    inode->size = file->size;
    inode_publish(inode);
    return OK;
}

static struct twin *twin_find(struct loader *loader, uint32_t number)
{
    list_for_each (node, &loader->twins) {
        struct twin *twin = list_entry(node, struct twin, node);
        if (twin->number == number) {
            return twin;
        }
    }
    return nullptr;
}

static status_t twin_remember(struct loader *loader, uint32_t number, struct inode *inode)
{
    struct twin *twin = allocator_allocate(loader->fs->allocator, sizeof(*twin));
    if (twin == nullptr) {
        return ERROR_NO_SPACE;
    }
    *twin = (struct twin){.number = number, .inode = inode};
    inode_hold(inode);
    list_push_back(&loader->twins, &twin->node);
    return OK;
}

static void twins_forget(struct loader *loader)
{
    for (struct list_node *node; (node = list_pop_front(&loader->twins)) != nullptr;) {
        struct twin *twin = list_entry(node, struct twin, node);
        inode_release(loader->fs, twin->inode);
        allocator_release(loader->fs->allocator, twin, sizeof(*twin));
    }
}

static bool has_zero(const char *text, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++) {
        if (text[i] == '\0') {
            return true;
        }
    }
    return false;
}

static status_t make(struct loader *loader, const struct cpio_file *file, struct inode **out_inode)
{
    uint32_t type = file->mode & MODE_TYPE;
    uint64_t device = (uint64_t)file->device_major << 8 | (file->device_minor & 0xFF) | (uint64_t)(file->device_minor & ~0xFFu) << 12;
    const char *target = nullptr;
    uint32_t target_size = 0;
    if (type == MODE_SYMLINK) {
        target = file->data;
        target_size = (uint32_t)file->size;
        if (file->size == 0 || file->size > PATH_MAX_BYTES || has_zero(target, file->size)) {
            return ERROR_BAD_FORMAT;
        }
    }
    return namespace_make(loader->fs, &loader->walk, file->mode & (MODE_TYPE | MODE_PERMISSIONS), device, target, target_size, out_inode);
}

static status_t load_one(struct loader *loader, const struct cpio_file *file)
{
    const char *name = strip(file->name);
    if (name[0] == '\0') {
        set_attributes(loader->fs->root, file);
        return OK;
    }
    status_t status = place(loader, name);
    struct inode *inode = loader->walk.inode;
    uint32_t type = file->mode & MODE_TYPE;
    if (status != OK) {
        return status;
    }
    if (inode != nullptr && !(type == MODE_DIRECTORY && inode_is(inode, MODE_DIRECTORY))) {
        status = namespace_remove(loader->fs, &loader->walk, inode_is(inode, MODE_DIRECTORY));
        if (status == OK) {
            status = place(loader, name);
        }
        if (status != OK) {
            return status;
        }
        inode = nullptr;
    }
    struct twin *twin = file->links > 1 && type == MODE_REGULAR ? twin_find(loader, file->inode) : nullptr;
    if (twin != nullptr) {
        status = namespace_link(loader->fs, &loader->walk, twin->inode);
        return status == OK ? set_bytes(twin->inode, file) : status;
    }
    if (inode == nullptr) {
        status = make(loader, file, &inode);
    }
    if (status == OK) {
        set_attributes(inode, file);
        status = type == MODE_REGULAR ? set_bytes(inode, file) : OK;
    }
    return status == OK && type == MODE_REGULAR && file->links > 1 ? twin_remember(loader, file->inode, inode) : status;
}

status_t archive_load(struct tmpfs *fs, const void *archive, uint64_t size)
{
    struct loader *loader = allocator_allocate_zeroed(fs->allocator, sizeof(*loader));
    if (loader == nullptr) {
        return ERROR_NO_SPACE;
    }
    loader->fs = fs;
    loader->walk.cred = &loader->cred;
    loader->walk.root = fs->root;
    list_init(&loader->twins);
    uint64_t cursor = 0;
    status_t status = OK;
    while (status == OK) {
        struct cpio_file file;
        status = cpio_next(archive, size, &cursor, &file);
        if (status == OK) {
            status = load_one(loader, &file);
        }
    }
    twins_forget(loader);
    allocator_release(fs->allocator, loader, sizeof(*loader));
    return status == ERROR_NOT_FOUND ? OK : status;
}
