#include <tmpfs/tmpfs.h>

static bool name_less(const struct tree_node *a, const struct tree_node *b)
{
    const struct entry *x = tree_entry(a, struct entry, by_name), *y = tree_entry(b, struct entry, by_name);
    if (x->hash != y->hash) {
        return x->hash < y->hash;
    }
    uint32_t common = min_u32(x->name_size, y->name_size);
    int order = memcmp(x->name, y->name, common);
    return order != 0 ? order < 0 : x->name_size < y->name_size;
}

static bool position_less(const struct tree_node *a, const struct tree_node *b)
{
    return tree_entry(a, struct entry, by_position)->position < tree_entry(b, struct entry, by_position)->position;
}

static void store_u64(uint64_t *to, uint64_t value) { __atomic_store_n(to, value, __ATOMIC_RELAXED); }
static void store_i64(int64_t *to, int64_t value) { __atomic_store_n(to, value, __ATOMIC_RELAXED); }
static void store_u32(uint32_t *to, uint32_t value) { __atomic_store_n(to, value, __ATOMIC_RELAXED); }

void inode_publish(struct inode *inode)
{
    struct tess_inode_record *record = inode->record;
    store_u64(&record->size, inode->size);
    store_i64(&record->atime_ns, inode->atime_ns);
    store_i64(&record->mtime_ns, inode->mtime_ns);
    store_i64(&record->ctime_ns, inode->ctime_ns);
    store_u32(&record->mode, inode->mode);
    store_u32(&record->links, inode->links);
    store_u32(&record->uid, inode->uid);
    store_u32(&record->gid, inode->gid);
}

void inode_changed(struct inode *inode)
{
    inode->ctime_ns = host_time_ns();
    inode_publish(inode);
}

void inode_modified(struct inode *inode)
{
    inode->mtime_ns = host_time_ns();
    inode->ctime_ns = inode->mtime_ns;
    inode_publish(inode);
}

/* A number that is free, whose record can be written. It is taken by whoever goes on. */
static status_t index_find(struct tmpfs *fs, uint32_t *out_index)
{
    if (fs->free_count > 0) {
        *out_index = fs->free_indices[fs->free_count - 1];
        return OK;
    }
    if (fs->inode_top == fs->inode_max) {
        return ERROR_NO_SPACE;
    }
    *out_index = fs->inode_top;
    return host_table_commit(fs->inode_top);
}

static void index_take(struct tmpfs *fs, uint32_t index)
{
    if (fs->free_count > 0) {
        fs->free_count--;
    } else {
        fs->inode_top = index + 1;
    }
    fs->inode_count++;
}

status_t inode_create(struct tmpfs *fs, uint32_t mode, uint32_t uid, uint32_t gid, struct inode **out_inode)
{
    uint32_t index;
    status_t status = index_find(fs, &index);
    struct inode *inode = status == OK ? allocator_allocate_zeroed(fs->allocator, sizeof(*inode)) : nullptr;
    if (inode == nullptr) {
        return ERROR_NO_SPACE;
    }
    index_take(fs, index);
    fs->inodes[index] = inode;
    int64_t now = host_time_ns();
    *inode = (struct inode){.index = index,
                            .users = 1,
                            .record = &fs->table[index],
                            .mode = mode,
                            .uid = uid,
                            .gid = gid,
                            .atime_ns = now,
                            .mtime_ns = now,
                            .ctime_ns = now};
    list_init(&inode->xattrs);
    list_init(&inode->locks);
    list_init(&inode->waiters);
    if (inode_is(inode, MODE_DIRECTORY)) {
        tree_init(&inode->names, name_less);
        tree_init(&inode->positions, position_less);
        inode->position_next = 3; /* 1 and 2: behind "." and ".." */
    }
    store_u32(&inode->record->generation, inode->record->generation + 1);
    store_i64(&inode->record->btime_ns, now);
    inode_publish(inode);
    *out_inode = inode;
    return OK;
}

void inode_hold(struct inode *inode) { inode->users++; }

static void inode_free(struct tmpfs *fs, struct inode *inode)
{
    if (inode_is(inode, MODE_REGULAR)) {
        bytes_free(inode);
    } else if (inode_is(inode, MODE_SYMLINK) && inode->target != nullptr) {
        allocator_release(fs->allocator, inode->target, inode->size + 1);
    }
    xattr_free(fs, inode);
    fs->inodes[inode->index] = nullptr;
    fs->free_indices[fs->free_count++] = inode->index;
    fs->inode_count--;
    allocator_release(fs->allocator, inode, sizeof(*inode));
}

void inode_release(struct tmpfs *fs, struct inode *inode)
{
    /* A directory holds its parent, which may go with it, and so on up. */
    while (--inode->users == 0) {
        if (inode->links != 0) {
            if (inode_is(inode, MODE_REGULAR)) {
                bytes_drop_slice(inode);
            }
            return;
        }
        struct inode *parent = inode_is(inode, MODE_DIRECTORY) ? inode->parent : nullptr;
        inode_free(fs, inode);
        if (parent == nullptr) {
            return;
        }
        inode = parent;
    }
}

status_t tmpfs_init(struct tmpfs *fs, struct allocator *allocator, const struct tmpfs_place *place)
{
    *fs = (struct tmpfs){.allocator = allocator,
                         .inodes = place->inodes,
                         .table = place->table,
                         .inode_max = place->inode_max,
                         .inode_top = 1,
                         .free_indices = place->free_indices};
    list_init(&fs->waiters);
    status_t status = inode_create(fs, MODE_DIRECTORY | 0755, 0, 0, &fs->root);
    if (status == OK) {
        fs->root->links = 2;
        fs->root->parent = fs->root;
        inode_publish(fs->root);
    }
    return status;
}

void tmpfs_destroy(struct tmpfs *fs)
{
    /* Names first: then no directory is anybody's parent by name, and inodes go in any order. */
    for (uint32_t i = 1; i < fs->inode_top; i++) {
        struct inode *inode = fs->inodes[i];
        while (inode != nullptr && inode_is(inode, MODE_DIRECTORY) && !tree_is_empty(&inode->names)) {
            struct entry *entry = tree_entry(inode->names.root, struct entry, by_name);
            entry_remove(entry);
            entry_destroy(fs, entry);
        }
    }
    for (uint32_t i = 1; i < fs->inode_top; i++) {
        if (fs->inodes[i] != nullptr) {
            inode_free(fs, fs->inodes[i]);
        }
    }
    fs->root = nullptr;
}
