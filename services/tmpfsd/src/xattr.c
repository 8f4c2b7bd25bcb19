#include <tmpfs/tmpfs.h>

struct xattr {
    struct list_node node;
    uint32_t name_size, size;
    char bytes[]; /* name, then value */
};

static uint64_t xattr_total(uint32_t name_size, uint32_t size) { return (uint64_t)name_size + size; }

static bool has_prefix(const char *name, uint32_t size, const char *prefix)
{
    uint32_t length = (uint32_t)strlen(prefix);
    return size > length && memcmp(name, prefix, length) == 0;
}

static status_t check(const struct inode *inode, const struct credentials *cred, const char *name, uint32_t size, bool is_write)
{
    if (size == 0 || size > NAME_MAX_BYTES) {
        return ERROR_BAD_ARGUMENT;
    }
    if (has_prefix(name, size, "user.")) {
        bool may_have = inode_is(inode, MODE_REGULAR) || inode_is(inode, MODE_DIRECTORY);
        if (!may_have) {
            return is_write ? ERROR_NOT_OWNER : ERROR_NOT_FOUND;
        }
        return permission_check(inode, cred, is_write ? MAY_WRITE : MAY_READ) ? OK : ERROR_NO_PERMISSION;
    }
    if (has_prefix(name, size, "trusted.")) {
        return cred->uid == 0 ? OK : is_write ? ERROR_NOT_OWNER : ERROR_NOT_FOUND;
    }
    if (has_prefix(name, size, "security.")) {
        return !is_write || cred->uid == 0 ? OK : ERROR_NOT_OWNER;
    }
    return ERROR_UNSUPPORTED;
}

static struct xattr *find(const struct inode *inode, const char *name, uint32_t size)
{
    list_for_each (node, &inode->xattrs) {
        struct xattr *xattr = list_entry(node, struct xattr, node);
        if (xattr->name_size == size && memcmp(xattr->bytes, name, size) == 0) {
            return xattr;
        }
    }
    return nullptr;
}

static void destroy(struct tmpfs *fs, struct inode *inode, struct xattr *xattr)
{
    list_remove(&xattr->node);
    inode->xattr_bytes -= xattr_total(xattr->name_size, xattr->size);
    allocator_release(fs->allocator, xattr, sizeof(*xattr) + xattr_total(xattr->name_size, xattr->size));
}

status_t xattr_get(struct inode *inode, const struct credentials *cred, const char *name, uint32_t name_size, const uint8_t **out_value,
                   uint32_t *out_size)
{
    status_t status = check(inode, cred, name, name_size, false);
    const struct xattr *xattr = status == OK ? find(inode, name, name_size) : nullptr;
    if (xattr == nullptr) {
        return status != OK ? status : ERROR_NOT_FOUND;
    }
    *out_value = (const uint8_t *)&xattr->bytes[name_size];
    *out_size = xattr->size;
    return OK;
}

status_t xattr_set(struct tmpfs *fs, struct inode *inode, const struct credentials *cred, uint32_t flags, const char *name,
                   uint32_t name_size, const uint8_t *value, uint32_t size)
{
    status_t status = check(inode, cred, name, name_size, true);
    if (status != OK) {
        return status;
    }
    if (size > XATTR_SIZE_MAX || (flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0) {
        return ERROR_BAD_ARGUMENT;
    }
    struct xattr *old = find(inode, name, name_size);
    if (old == nullptr ? (flags & XATTR_REPLACE) != 0 : (flags & XATTR_CREATE) != 0) {
        return old == nullptr ? ERROR_NOT_FOUND : ERROR_ALREADY;
    }
    uint64_t total = xattr_total(name_size, size), kept = inode->xattr_bytes - (old != nullptr ? xattr_total(name_size, old->size) : 0);
    if (kept + total > XATTR_BYTES_MAX) {
        return ERROR_NO_SPACE;
    }
    struct xattr *xattr = allocator_allocate(fs->allocator, sizeof(*xattr) + total);
    if (xattr == nullptr) {
        return ERROR_NO_SPACE;
    }
    xattr->name_size = name_size;
    xattr->size = size;
    memcpy(xattr->bytes, name, name_size);
    memcpy(&xattr->bytes[name_size], value, size);
    if (old != nullptr) {
        destroy(fs, inode, old);
    }
    list_push_back(&inode->xattrs, &xattr->node);
    inode->xattr_bytes += total;
    inode_changed(inode);
    return OK;
}

status_t xattr_remove(struct tmpfs *fs, struct inode *inode, const struct credentials *cred, const char *name, uint32_t name_size)
{
    status_t status = check(inode, cred, name, name_size, true);
    struct xattr *xattr = status == OK ? find(inode, name, name_size) : nullptr;
    if (xattr == nullptr) {
        return status != OK ? status : ERROR_NOT_FOUND;
    }
    destroy(fs, inode, xattr);
    inode_changed(inode);
    return OK;
}

uint32_t xattr_list(const struct inode *inode, const struct credentials *cred, char *buffer, uint32_t size)
{
    uint32_t total = 0;
    list_for_each (node, &inode->xattrs) {
        const struct xattr *xattr = list_entry(node, struct xattr, node);
        if (has_prefix(xattr->bytes, xattr->name_size, "trusted.") && cred->uid != 0) {
            continue;
        }
        if (is_range_within(total, xattr->name_size + 1u, size)) {
            memcpy(&buffer[total], xattr->bytes, xattr->name_size);
            buffer[total + xattr->name_size] = '\0';
        }
        total += xattr->name_size + 1;
    }
    return total;
}

void xattr_free(struct tmpfs *fs, struct inode *inode)
{
    list_for_each_safe (node, &inode->xattrs) {
        destroy(fs, inode, list_entry(node, struct xattr, node));
    }
}
