/* Who may what: mode bits and credentials, as POSIX.1-2017 (4.5 File Access Permissions) says. User 0 may everything but execute what nobody may. */
#include <tmpfs/tmpfs.h>

bool credentials_has_group(const struct credentials *cred, uint32_t gid)
{
    for (uint32_t i = 0; i < cred->group_count; i++) {
        if (cred->groups[i] == gid) {
            return true;
        }
    }
    return cred->gid == gid;
}

bool permission_check(const struct inode *inode, const struct credentials *cred, uint32_t may)
{
    if (cred->uid == 0) {
        return (may & MAY_EXECUTE) == 0 || inode_is(inode, MODE_DIRECTORY) || (inode->mode & 0111) != 0;
    }
    uint32_t shift = cred->uid == inode->uid ? 6 : credentials_has_group(cred, inode->gid) ? 3 : 0;
    return (inode->mode >> shift & may) == may;
}

status_t permission_remove(const struct entry *entry, const struct credentials *cred)
{
    if (!permission_check(entry->directory, cred, MAY_WRITE | MAY_EXECUTE)) {
        return ERROR_NO_PERMISSION;
    }
    bool is_sticky = (entry->directory->mode & MODE_STICKY) != 0;
    return is_sticky && !is_owner(entry->directory, cred) && !is_owner(entry->inode, cred) ? ERROR_NOT_OWNER : OK;
}

static status_t check_owner(const struct inode *inode, const struct credentials *cred, const struct attributes *a)
{
    if ((a->what & SET_UID) != 0 && cred->uid != 0 && (a->uid != inode->uid || cred->uid != inode->uid)) {
        return ERROR_NOT_OWNER;
    }
    if ((a->what & SET_GID) != 0 && cred->uid != 0 &&
        (cred->uid != inode->uid || (a->gid != inode->gid && !credentials_has_group(cred, a->gid)))) {
        return ERROR_NOT_OWNER;
    }
    return OK;
}

static status_t check(const struct inode *inode, const struct credentials *cred, const struct attributes *a)
{
    constexpr uint32_t now = SET_ATIME_NOW | SET_MTIME_NOW, known = SET_MODE | SET_UID | SET_GID | SET_ATIME | SET_MTIME | now;
    if ((a->what & ~known) != 0) {
        return ERROR_BAD_ARGUMENT;
    }
    if ((a->what & (SET_MODE | SET_ATIME | SET_MTIME)) != 0 && !is_owner(inode, cred)) {
        return ERROR_NOT_OWNER;
    }
    /* Both times to now: whoever may write it may do so. One of them: its owner only. */
    bool may_touch = (a->what & now) == now && permission_check(inode, cred, MAY_WRITE);
    if ((a->what & now) != 0 && !is_owner(inode, cred) && !may_touch) {
        return (a->what & now) == now ? ERROR_NO_PERMISSION : ERROR_NOT_OWNER;
    }
    return check_owner(inode, cred, a);
}

status_t attributes_set(struct inode *inode, const struct credentials *cred, const struct attributes *a)
{
    status_t status = check(inode, cred, a);
    if (status != OK) {
        return status;
    }
    if ((a->what & SET_UID) != 0) {
        inode->uid = a->uid;
    }
    if ((a->what & SET_GID) != 0) {
        inode->gid = a->gid;
    }
    if ((a->what & (SET_UID | SET_GID)) != 0 && !inode_is(inode, MODE_DIRECTORY)) {
        bool is_group_executable = (inode->mode & 0010) != 0; /* else the bit means mandatory locking, historically */
        inode->mode &= ~(MODE_SETUID | (is_group_executable ? MODE_SETGID : 0));
    }
    if ((a->what & SET_MODE) != 0) {
        uint32_t mode = a->mode & MODE_PERMISSIONS;
        if (cred->uid != 0 && !credentials_has_group(cred, inode->gid)) {
            mode &= ~MODE_SETGID;
        }
        inode->mode = (inode->mode & MODE_TYPE) | mode;
    }
    int64_t now = host_time_ns();
    if ((a->what & (SET_ATIME | SET_ATIME_NOW)) != 0) {
        inode->atime_ns = (a->what & SET_ATIME_NOW) != 0 ? now : a->atime_ns;
    }
    if ((a->what & (SET_MTIME | SET_MTIME_NOW)) != 0) {
        inode->mtime_ns = (a->what & SET_MTIME_NOW) != 0 ? now : a->mtime_ns;
    }
    inode->ctime_ns = now;
    inode_publish(inode);
    return OK;
}
