/*
 * What is left of the path lies in text[start..PATH_MAX_BYTES), so that a symbolic link's target is put in front of it without moving anything.
 * A path, with the links on its way, never gets longer than PATH_MAX_BYTES.
 */
#include <tmpfs/tmpfs.h>

struct step {
    const char *name;
    uint32_t size;
    bool is_last, has_slash;
};

static bool path_prepend(struct walk *walk, const char *text, uint32_t size)
{
    if (size > walk->start) {
        return false;
    }
    walk->start -= size;
    memcpy(&walk->text[walk->start], text, size);
    return true;
}

/* The next name; false: there is none. */
static bool path_step(struct walk *walk, struct step *step)
{
    uint32_t at = walk->start;
    while (at < PATH_MAX_BYTES && walk->text[at] == '/') {
        at++;
    }
    uint32_t end = at;
    while (end < PATH_MAX_BYTES && walk->text[end] != '/') {
        end++;
    }
    uint32_t next = end;
    while (next < PATH_MAX_BYTES && walk->text[next] == '/') {
        next++;
    }
    *step = (struct step){.name = &walk->text[at], .size = end - at, .is_last = next == PATH_MAX_BYTES, .has_slash = next > end};
    walk->start = end;
    return end > at;
}

static enum last_kind step_kind(const struct step *step)
{
    return step->size == 1 && step->name[0] == '.'                           ? LAST_DOT
           : step->size == 2 && step->name[0] == '.' && step->name[1] == '.' ? LAST_DOT_DOT
                                                                             : LAST_NAME;
}

/* Puts the link's target in front of the rest. */
static status_t follow(struct walk *walk, const struct inode *link, uint32_t flags, struct inode *from, struct inode **at)
{
    if ((flags & OPEN_NO_SYMLINKS) != 0) {
        return ERROR_LINK_LOOP;
    }
    if (!path_prepend(walk, link->target, (uint32_t)link->size)) {
        return ERROR_NAME_TOO_LONG;
    }
    if (link->target[0] == '/') {
        if ((flags & OPEN_BENEATH) != 0) {
            return ERROR_CROSS_MOUNT;
        }
        *at = (flags & OPEN_IN_ROOT) != 0 ? from : walk->root;
    }
    return OK;
}

static status_t climb(const struct walk *walk, uint32_t flags, struct inode *from, struct inode **at)
{
    struct inode *root = (flags & OPEN_IN_ROOT) != 0 ? from : walk->root;
    if ((flags & OPEN_BENEATH) != 0 && *at == from) {
        return ERROR_CROSS_MOUNT;
    }
    if (*at != root) {
        *at = (*at)->parent;
    }
    return OK;
}

static status_t arrive(struct walk *walk, struct inode *inode)
{
    walk->inode = inode;
    if (inode->is_mount) {
        walk->rest_size = PATH_MAX_BYTES - walk->start;
        return ERROR_CROSS_MOUNT;
    }
    return walk->must_be_directory && !inode_is(inode, MODE_DIRECTORY) ? ERROR_NOT_DIRECTORY : OK;
}

static status_t steps(struct walk *walk, struct inode *from, struct inode *at, uint32_t flags)
{
    struct step step;
    uint32_t links = 0;
    while (path_step(walk, &step)) {
        if (step.size > NAME_MAX_BYTES) {
            return ERROR_NAME_TOO_LONG;
        }
        if (!inode_is(at, MODE_DIRECTORY)) {
            return ERROR_NOT_DIRECTORY;
        }
        if (at->is_mount) {
            walk->start -= step.size;
            return arrive(walk, at);
        }
        if (!permission_check(at, walk->cred, MAY_EXECUTE)) {
            return ERROR_NO_PERMISSION;
        }
        walk->last = step_kind(&step);
        walk->must_be_directory = step.has_slash;
        if (walk->last != LAST_NAME) {
            status_t status = walk->last == LAST_DOT_DOT ? climb(walk, flags, from, &at) : OK;
            if (status != OK) {
                return status;
            }
            walk->entry = nullptr;
            continue;
        }
        struct entry *entry = entry_find(at, step.name, step.size);
        walk->parent = at;
        walk->entry = entry;
        walk->name = step.name;
        walk->name_size = step.size;
        if (entry == nullptr) {
            walk->inode = nullptr;
            return step.is_last && (flags & WALK_MAY_MISS) != 0 ? OK : ERROR_NOT_FOUND;
        }
        bool is_followed = !step.is_last || ((flags & WALK_PARENT) != WALK_PARENT && ((flags & OPEN_NOFOLLOW) == 0 || step.has_slash));
        if (inode_is(entry->inode, MODE_SYMLINK) && is_followed) {
            if (++links > LINKS_FOLLOWED_MAX) {
                return ERROR_LINK_LOOP;
            }
            status_t status = follow(walk, entry->inode, flags, from, &at);
            if (status != OK) {
                return status;
            }
            walk->last = LAST_ROOT; /* of a link to "/" */
            continue;
        }
        at = entry->inode;
    }
    return arrive(walk, at);
}

status_t walk(struct walk *walk, struct inode *from, uint32_t flags, const char *path, uint32_t size)
{
    walk->parent = nullptr;
    walk->entry = nullptr;
    walk->inode = nullptr;
    walk->must_be_directory = false;
    walk->last = LAST_ROOT;
    walk->rest_size = 0;
    walk->start = PATH_MAX_BYTES;
    if (size == 0) {
        walk->inode = from;
        walk->last = LAST_DOT;
        return (flags & OPEN_EMPTY) != 0 ? OK : ERROR_NOT_FOUND;
    }
    if (size > PATH_MAX_BYTES) {
        return ERROR_NAME_TOO_LONG;
    }
    if (!path_prepend(walk, path, size)) {
        return ERROR_NAME_TOO_LONG;
    }
    struct inode *at = from;
    if (path[0] == '/') {
        if ((flags & OPEN_BENEATH) != 0) {
            return ERROR_CROSS_MOUNT;
        }
        at = (flags & OPEN_IN_ROOT) != 0 ? from : walk->root;
    }
    return steps(walk, from, at, flags);
}

/* The name of a directory that is not the root: it has exactly one. */
static const struct entry *name_of(const struct inode *directory)
{
    for (struct tree_node *node = tree_first(&directory->parent->positions); node != nullptr; node = tree_next(node)) {
        const struct entry *entry = tree_entry(node, struct entry, by_position);
        if (entry->inode == directory) {
            return entry;
        }
    }
    return nullptr;
}

uint32_t walk_back(const struct inode *directory, const struct inode *root, char *buffer, uint32_t size)
{
    uint32_t at = size;
    for (; directory != root; directory = directory->parent) {
        const struct entry *entry = directory->parent != directory ? name_of(directory) : nullptr;
        if (entry == nullptr || at < entry->name_size + 1u) {
            return 0;
        }
        at -= entry->name_size;
        memcpy(&buffer[at], entry->name, entry->name_size);
        buffer[--at] = '/';
    }
    if (at == size && size > 0) {
        buffer[--at] = '/';
    }
    return size - at;
}
