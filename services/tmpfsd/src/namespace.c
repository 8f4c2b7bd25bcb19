/* Making, linking, removing and renaming. What can fail comes first: after the first change nothing fails any more. */
#include <tmpfs/tmpfs.h>

static status_t check_new_name(const struct walk *walk, bool is_directory)
{
    if (walk->last != LAST_NAME || walk->entry != nullptr) {
        return ERROR_ALREADY;
    }
    if (walk->parent->links == 0 || (walk->must_be_directory && !is_directory)) {
        return ERROR_NOT_FOUND;
    }
    if (!permission_check(walk->parent, walk->cred, MAY_WRITE | MAY_EXECUTE)) {
        return ERROR_NO_PERMISSION;
    }
    return is_directory && walk->parent->links >= LINKS_MAX ? ERROR_TOO_MANY_LINKS : OK;
}

static status_t fill_symlink(struct tmpfs *fs, struct inode *inode, const char *target, uint32_t size)
{
    inode->target = allocator_allocate(fs->allocator, size + 1);
    if (inode->target == nullptr) {
        return ERROR_NO_SPACE;
    }
    memcpy(inode->target, target, size);
    inode->target[size] = '\0';
    inode->size = size;
    return OK;
}

/* Owner and mode as the directory says (set-group-id directories hand their group on). */
static status_t create_in(struct tmpfs *fs, const struct inode *directory, const struct credentials *cred, uint32_t mode,
                          struct inode **out_inode)
{
    bool is_inherited = (directory->mode & MODE_SETGID) != 0;
    uint32_t gid = is_inherited ? directory->gid : cred->gid;
    if (is_inherited && (mode & MODE_TYPE) == MODE_DIRECTORY) {
        mode |= MODE_SETGID;
    }
    return inode_create(fs, mode, cred->uid, gid, out_inode);
}

status_t namespace_make(struct tmpfs *fs, struct walk *walk, uint32_t mode, uint64_t device, const char *target, uint32_t target_size,
                        struct inode **out_inode)
{
    uint32_t type = mode & MODE_TYPE;
    bool is_directory = type == MODE_DIRECTORY, is_device = type == MODE_CHARACTER || type == MODE_BLOCK;
    status_t status = check_new_name(walk, is_directory);
    if (status != OK) {
        return status;
    }
    if (is_device && walk->cred->uid != 0) {
        return ERROR_NOT_OWNER;
    }
    struct entry *entry = entry_create(fs, walk->name, walk->name_size);
    struct inode *inode = nullptr;
    status = entry == nullptr ? ERROR_NO_SPACE : create_in(fs, walk->parent, walk->cred, mode, &inode);
    if (status == OK && type == MODE_SYMLINK) {
        status = fill_symlink(fs, inode, target, target_size);
    }
    if (status != OK) {
        if (inode != nullptr) {
            inode_release(fs, inode);
        }
        if (entry != nullptr) {
            entry_destroy(fs, entry);
        }
        return status;
    }
    inode->size = is_device ? device : inode->size;
    inode->links = 1;
    if (is_directory) {
        inode->links = 2;
        inode->parent = walk->parent;
        inode_hold(walk->parent);
        walk->parent->links++;
    }
    entry_insert(walk->parent, entry, inode);
    inode_publish(inode);
    inode_modified(walk->parent);
    walk->entry = entry;
    walk->inode = inode;
    *out_inode = inode;
    inode_release(fs, inode); /* its name keeps it */
    return OK;
}

status_t namespace_make_temporary(struct tmpfs *fs, struct inode *directory, const struct credentials *cred, uint32_t mode, bool may_link,
                                  struct inode **out_inode)
{
    if (!inode_is(directory, MODE_DIRECTORY)) {
        return ERROR_NOT_DIRECTORY;
    }
    if (directory->links == 0) {
        return ERROR_NOT_FOUND;
    }
    if (!permission_check(directory, cred, MAY_WRITE | MAY_EXECUTE)) {
        return ERROR_NO_PERMISSION;
    }
    status_t status = create_in(fs, directory, cred, MODE_REGULAR | (mode & MODE_PERMISSIONS), out_inode);
    if (status == OK) {
        (*out_inode)->may_link = may_link;
    }
    return status;
}

status_t namespace_link(struct tmpfs *fs, struct walk *walk, struct inode *inode)
{
    if (inode_is(inode, MODE_DIRECTORY)) {
        return ERROR_NOT_OWNER;
    }
    status_t status = check_new_name(walk, false);
    if (status != OK) {
        return status;
    }
    if (inode->links == 0 && !inode->may_link) {
        return ERROR_NOT_FOUND;
    }
    if (inode->links >= LINKS_MAX) {
        return ERROR_TOO_MANY_LINKS;
    }
    struct entry *entry = entry_create(fs, walk->name, walk->name_size);
    if (entry == nullptr) {
        return ERROR_NO_SPACE;
    }
    entry_insert(walk->parent, entry, inode);
    inode->links++;
    inode_changed(inode);
    inode_modified(walk->parent);
    return OK;
}

/* The inode has lost a name in `directory`. It may be gone afterwards. */
static void drop_name(struct tmpfs *fs, struct inode *directory, struct inode *inode)
{
    if (inode_is(inode, MODE_DIRECTORY)) {
        directory->links--;
        inode->links = 0;
    } else {
        inode->links--;
    }
    inode_hold(inode);
    inode_changed(inode);
    inode_release(fs, inode);
}

status_t namespace_remove(struct tmpfs *fs, struct walk *walk, bool is_directory)
{
    switch (walk->last) {
    case LAST_NAME: break;
    case LAST_DOT: return is_directory ? ERROR_BAD_ARGUMENT : ERROR_IS_DIRECTORY;
    case LAST_DOT_DOT: return is_directory ? ERROR_NOT_EMPTY : ERROR_IS_DIRECTORY;
    case LAST_ROOT: return is_directory ? ERROR_BUSY : ERROR_IS_DIRECTORY;
    }
    struct entry *entry = walk->entry;
    if (entry == nullptr) {
        return ERROR_NOT_FOUND;
    }
    status_t status = permission_remove(entry, walk->cred);
    if (status != OK) {
        return status;
    }
    struct inode *directory = entry->directory, *inode = entry->inode;
    if (is_directory != inode_is(inode, MODE_DIRECTORY)) {
        return is_directory ? ERROR_NOT_DIRECTORY : ERROR_IS_DIRECTORY;
    }
    if (is_directory && !tree_is_empty(&inode->names)) {
        return ERROR_NOT_EMPTY;
    }
    entry_remove(entry);
    entry_destroy(fs, entry);
    drop_name(fs, directory, inode);
    inode_modified(directory);
    return OK;
}

static bool is_inside(const struct inode *inode, const struct inode *directory)
{
    while (inode != directory && inode->parent != inode) {
        inode = inode->parent;
    }
    return inode == directory;
}

static status_t check_target(const struct walk *from, const struct walk *to, uint32_t flags)
{
    const struct inode *inode = from->entry->inode;
    bool is_directory = inode_is(inode, MODE_DIRECTORY), is_exchange = (flags & RENAME_SWAP) != 0;
    if (to->entry == nullptr) {
        return is_exchange ? ERROR_NOT_FOUND : to->must_be_directory && !is_directory ? ERROR_NOT_DIRECTORY : OK;
    }
    if ((flags & RENAME_KEEP) != 0) {
        return ERROR_ALREADY;
    }
    const struct inode *other = to->entry->inode;
    if (other == inode) {
        return OK; /* nothing will happen */
    }
    if (is_exchange) {
        return inode_is(other, MODE_DIRECTORY) && is_inside(from->parent, other) ? ERROR_BAD_ARGUMENT : OK;
    }
    if (inode_is(other, MODE_DIRECTORY)) {
        if (!is_directory) {
            return ERROR_IS_DIRECTORY;
        }
        return tree_is_empty(&other->names) ? OK : ERROR_NOT_EMPTY;
    }
    return is_directory ? ERROR_NOT_DIRECTORY : OK;
}

static status_t check_rename(const struct walk *from, const struct walk *to, uint32_t flags)
{
    if ((flags & ~(RENAME_KEEP | RENAME_SWAP)) != 0 || flags == (RENAME_KEEP | RENAME_SWAP)) {
        return ERROR_BAD_ARGUMENT;
    }
    if (from->last != LAST_NAME || to->last != LAST_NAME) {
        return ERROR_BUSY;
    }
    if (from->entry == nullptr || to->parent->links == 0) {
        return ERROR_NOT_FOUND;
    }
    const struct inode *inode = from->entry->inode;
    if (inode_is(inode, MODE_DIRECTORY) && is_inside(to->parent, inode)) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = check_target(from, to, flags);
    if (status == OK) {
        status = permission_remove(from->entry, from->cred);
    }
    if (status == OK) {
        status = to->entry != nullptr                                              ? permission_remove(to->entry, to->cred)
                 : permission_check(to->parent, to->cred, MAY_WRITE | MAY_EXECUTE) ? OK
                                                                                   : ERROR_NO_PERMISSION;
    }
    bool is_moved = from->parent != to->parent;
    if (status == OK && is_moved && inode_is(inode, MODE_DIRECTORY)) {
        /* Its ".." changes. */
        status = !permission_check(inode, from->cred, MAY_WRITE) ? ERROR_NO_PERMISSION
                 : to->parent->links >= LINKS_MAX                ? ERROR_TOO_MANY_LINKS
                                                                 : OK;
    }
    return status;
}

static void change_parent(struct tmpfs *fs, struct inode *directory, struct inode *parent)
{
    struct inode *old = directory->parent;
    if (inode_is(directory, MODE_DIRECTORY) && old != parent) {
        inode_hold(parent);
        parent->links++;
        directory->parent = parent;
        old->links--;
        inode_release(fs, old);
    }
}

static void exchange(struct tmpfs *fs, struct walk *from, struct walk *to)
{
    struct inode *inode = from->entry->inode, *other = to->entry->inode;
    from->entry->inode = other;
    to->entry->inode = inode;
    if (inode_is(inode, MODE_DIRECTORY)) {
        change_parent(fs, inode, to->parent);
    }
    if (inode_is(other, MODE_DIRECTORY)) {
        change_parent(fs, other, from->parent);
    }
    inode_changed(inode);
    inode_changed(other);
}

static status_t move(struct tmpfs *fs, struct walk *from, struct walk *to)
{
    struct inode *inode = from->entry->inode;
    struct entry *entry = to->entry;
    if (entry == nullptr) {
        entry = entry_create(fs, to->name, to->name_size);
        if (entry == nullptr) {
            return ERROR_NO_SPACE;
        }
        entry_insert(to->parent, entry, inode);
    } else {
        struct inode *replaced = entry->inode;
        entry->inode = inode;
        drop_name(fs, to->parent, replaced);
    }
    entry_remove(from->entry);
    entry_destroy(fs, from->entry);
    if (inode_is(inode, MODE_DIRECTORY)) {
        change_parent(fs, inode, to->parent);
    }
    inode_changed(inode);
    return OK;
}

status_t namespace_rename(struct tmpfs *fs, struct walk *from, struct walk *to, uint32_t flags)
{
    status_t status = check_rename(from, to, flags);
    if (status != OK) {
        return status;
    }
    if (to->entry != nullptr && to->entry->inode == from->entry->inode) {
        return OK; /* two names of one file: nothing happens (POSIX) */
    }
    struct inode *from_parent = from->parent, *to_parent = to->parent;
    if ((flags & RENAME_SWAP) != 0) {
        exchange(fs, from, to);
    } else {
        status = move(fs, from, to);
        if (status != OK) {
            return status;
        }
    }
    inode_modified(from_parent);
    if (to_parent != from_parent) {
        inode_modified(to_parent);
    }
    return OK;
}
