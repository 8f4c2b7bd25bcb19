/* flock, and fcntl's locks: of the process (an owner that file.locker makes, and fork does not inherit) or of the open file description. */
#include "files.h"
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/file.h>

enum : uint32_t { F_GETLK = 5, F_SETLK = 6, F_SETLKW = 7, F_OFD_GETLK = 36, F_OFD_SETLKW = 38 };
enum : int16_t { F_RDLCK = 0, F_WRLCK = 1, F_UNLCK = 2 };

struct user_flock {
    int16_t type, whence;
    int32_t pad;
    int64_t start, size;
    int32_t pid, pad2;
};
static_assert(sizeof(struct user_flock) == 32);

/* Waiting for a lock is what a signal may end; the service forgets a caller that does not wait any more. */
static int64_t lock(handle_t handle, uint32_t flags, uint64_t start, uint64_t end)
{
    status_t status = tess_file_lock(handle, flags, start, end, DEADLINE_INFINITE);
    return status == ERROR_NO_SPACE ? -LINUX_ENOLCK : status == ERROR_NO_PERMISSION ? -LINUX_EBADF : linux_error(status);
}

int64_t linux_sys_flock(uint64_t fd, uint64_t operation)
{
    enum : uint32_t { SH = 1, EX = 2, NB = 4, UN = 8 };
    struct linux_file *file;
    uint32_t what = (uint32_t)operation & ~NB;
    int64_t result = linux_file_get(fd, &file);
    if (result != 0) {
        return result;
    }
    struct node *node = node_of(file);
    if (what != SH && what != EX && what != UN) {
        result = -LINUX_EINVAL;
    } else if (node == nullptr || files_is_path(file)) {
        result = -LINUX_EBADF;
    } else {
        uint32_t kind = what == SH ? LOCK_SHARED : what == EX ? LOCK_EXCLUSIVE : LOCK_UNLOCK;
        result = lock(node->handle, kind | LOCK_WHOLE | ((operation & NB) != 0 ? 0 : LOCK_WAIT), 0, UINT64_MAX);
    }
    linux_file_put(file);
    return result;
}

static int64_t range(struct linux_file *file, const struct user_flock *flock, uint64_t *out_start, uint64_t *out_end)
{
    struct linux_stat_values values = {};
    int64_t base = 0, start, end;
    if (flock->whence == 2) {
        int64_t result = file->operations->stat(file, &values);
        if (result != 0) {
            return result;
        }
        base = (int64_t)values.size;
    } else if (flock->whence == 1) {
        base = (int64_t)node_of(file)->record->offset;
    } else if (flock->whence != 0) {
        return -LINUX_EINVAL;
    }
    if (__builtin_add_overflow(base, flock->start, &start) || (flock->size > 0 && __builtin_add_overflow(start, flock->size - 1, &end))) {
        return -LINUX_EOVERFLOW;
    }
    end = flock->size == 0 ? INT64_MAX : start + flock->size;
    if (flock->size < 0) { /* in front of start */
        end = start;
        start += flock->size;
    }
    if (start < 0) {
        return -LINUX_EINVAL;
    }
    *out_start = (uint64_t)start;
    *out_end = flock->size == 0 ? UINT64_MAX : (uint64_t)end;
    return 0;
}

/* The process's own owner of locks on this file. */
static int64_t locker_of(struct node *node, handle_t *out_locker)
{
    struct linux_file_table *table = files_table();
    struct linux_process *process = linux_process();
    int64_t result = 0;
    linux_lock(&table->memory_lock);
    if (node->locker == HANDLE_NONE) {
        handle_t locker;
        calls_begin();
        status_t status = tess_file_locker(node->handle, process->pid, &locker, DEADLINE_INFINITE);
        calls_end();
        if (status == OK) {
            status = tess_cspace_set_inherit(process->cspace, locker, INHERIT_DROP);
        }
        result = status == OK ? 0 : -LINUX_ENOLCK;
        node->locker = status == OK ? locker : HANDLE_NONE;
    }
    *out_locker = node->locker;
    linux_unlock(&table->memory_lock);
    return result;
}

static int64_t query(handle_t owner, uint32_t kind, uint64_t start, uint64_t end, bool is_own, struct user_flock *flock)
{
    uint32_t flags, tag;
    uint64_t from, to;
    calls_begin();
    status_t status = tess_file_lock_query(owner, kind, start, end, &flags, &from, &to, &tag, DEADLINE_INFINITE);
    calls_end();
    if (status != OK || flags == 0) {
        flock->type = F_UNLCK;
        return linux_error(status);
    }
    *flock = (struct user_flock){.type = (flags & LOCK_KIND) == LOCK_EXCLUSIVE ? F_WRLCK : F_RDLCK,
                                 .start = (int64_t)from,
                                 .size = to == UINT64_MAX ? 0 : (int64_t)(to - from),
                                 .pid = tag != 0 && !is_own ? (int32_t)tag : -1};
    return 0;
}

int64_t files_lock(struct linux_file *file, uint32_t command, uint64_t argument)
{
    struct node *node = node_of(file);
    struct user_flock flock;
    uint64_t start, end;
    handle_t owner;
    bool is_description = command >= F_OFD_GETLK, is_query = command == F_GETLK || command == F_OFD_GETLK;
    if (node == nullptr) {
        return -LINUX_EINVAL;
    }
    int64_t result = linux_copy_from_user(&flock, argument, sizeof(flock));
    if (result == 0 &&
        ((is_description && flock.pid != 0) || flock.type < F_RDLCK || flock.type > F_UNLCK || (is_query && flock.type == F_UNLCK))) {
        result = -LINUX_EINVAL;
    }
    if (result == 0) {
        result = range(file, &flock, &start, &end);
    }
    if (result == 0 && !is_description) {
        result = locker_of(node, &owner);
    }
    if (result != 0) {
        return result;
    }
    owner = is_description ? node->handle : owner;
    uint32_t kind = flock.type == F_RDLCK ? LOCK_SHARED : flock.type == F_WRLCK ? LOCK_EXCLUSIVE : LOCK_UNLOCK;
    if (is_query) {
        result = query(owner, kind, start, end, false, &flock);
        return result == 0 ? linux_copy_to_user(argument, &flock, sizeof(flock)) : result;
    }
    bool is_waiting = command == F_SETLKW || command == F_OFD_SETLKW;
    return lock(owner, kind | (is_waiting ? LOCK_WAIT : 0), start, end);
}
