#include <tmpfs/lock.h>

struct lock {
    struct list_node node;
    struct lock_request r; /* flags: kind and LOCK_WHOLE */
};
struct waiter {
    struct list_node node, all;
    struct lock_request r;
    uint64_t token;
};

static struct lock *lock_of(struct list_node *node) { return list_entry(node, struct lock, node); }
static uint32_t kind_of(const struct lock_request *r) { return r->flags & LOCK_KIND; }
static bool is_same_space(const struct lock_request *a, const struct lock_request *b) { return ((a->flags ^ b->flags) & LOCK_WHOLE) == 0; }
static bool overlaps(const struct lock_request *a, const struct lock_request *b) { return a->start < b->end && b->start < a->end; }
static bool is_mine(const struct lock_request *a, const struct lock_request *b) { return a->owner == b->owner && is_same_space(a, b); }

status_t lock_check(const struct lock_request *r)
{
    bool is_known = (r->flags & ~(LOCK_KIND | LOCK_WAIT | LOCK_WHOLE)) == 0 && kind_of(r) != 0;
    return is_known && r->start < r->end ? OK : ERROR_BAD_ARGUMENT;
}

static const struct lock *conflict(const struct inode *inode, const struct lock_request *r)
{
    if (kind_of(r) == LOCK_UNLOCK) {
        return nullptr;
    }
    list_for_each (node, &inode->locks) {
        const struct lock *lock = lock_of(node);
        bool is_in_way = is_same_space(&lock->r, r) && lock->r.owner != r->owner && overlaps(&lock->r, r);
        if (is_in_way && (kind_of(&lock->r) == LOCK_EXCLUSIVE || kind_of(r) == LOCK_EXCLUSIVE)) {
            return lock;
        }
    }
    return nullptr;
}

static struct lock *lock_create(struct tmpfs *fs)
{
    struct lock *lock = fs->lock_count < LOCKS_MAX ? allocator_allocate_zeroed(fs->allocator, sizeof(*lock)) : nullptr;
    fs->lock_count += lock != nullptr;
    return lock;
}

static void lock_destroy(struct tmpfs *fs, struct lock *lock)
{
    if (lock != nullptr) {
        fs->lock_count--;
        allocator_release(fs->allocator, lock, sizeof(*lock));
    }
}

/* The owner's locks give way to [r->start, r->end); one that reaches beyond both ends becomes two, with `*spare`. */
static void cut(struct tmpfs *fs, struct inode *inode, const struct lock_request *r, struct lock **spare)
{
    list_for_each_safe (node, &inode->locks) {
        struct lock *lock = lock_of(node);
        if (!is_mine(&lock->r, r) || !overlaps(&lock->r, r)) {
            continue;
        }
        bool keeps_start = lock->r.start<r->start, keeps_end = lock->r.end> r->end;
        if (keeps_start && keeps_end && *spare != nullptr) { /* there is one: lock_set made it for any range with two ends */
            struct lock *other = *spare;
            *spare = nullptr;
            other->r = lock->r;
            other->r.start = r->end;
            lock->r.end = r->start;
            list_push_back(&inode->locks, &other->node);
        } else if (keeps_start) {
            lock->r.end = r->start;
        } else if (keeps_end) {
            lock->r.start = r->end;
        } else {
            list_remove(&lock->node);
            lock_destroy(fs, lock);
        }
    }
}

/* Takes in what touches it and is of its kind. */
static void join(struct tmpfs *fs, struct inode *inode, struct lock *lock)
{
    list_for_each_safe (node, &inode->locks) {
        struct lock *other = lock_of(node);
        bool touches = other->r.end == lock->r.start || other->r.start == lock->r.end;
        if (is_mine(&other->r, &lock->r) && kind_of(&other->r) == kind_of(&lock->r) && touches) {
            lock->r.start = min_u64(lock->r.start, other->r.start);
            lock->r.end = max_u64(lock->r.end, other->r.end);
            list_remove(&other->node);
            lock_destroy(fs, other);
        }
    }
}

status_t lock_set(struct tmpfs *fs, struct inode *inode, const struct lock_request *r)
{
    if (conflict(inode, r) != nullptr) {
        return ERROR_WOULD_BLOCK;
    }
    bool is_unlock = kind_of(r) == LOCK_UNLOCK;
    struct lock *lock = is_unlock ? nullptr : lock_create(fs);
    struct lock *spare = r->start == 0 && r->end == UINT64_MAX ? nullptr : lock_create(fs);
    bool has_spare = spare != nullptr || (r->start == 0 && r->end == UINT64_MAX);
    if (!has_spare || (lock == nullptr && !is_unlock)) {
        lock_destroy(fs, lock);
        lock_destroy(fs, spare);
        return ERROR_NO_SPACE;
    }
    cut(fs, inode, r, &spare);
    lock_destroy(fs, spare);
    if (lock != nullptr) {
        lock->r = *r;
        lock->r.flags &= LOCK_KIND | LOCK_WHOLE;
        join(fs, inode, lock);
        list_push_back(&inode->locks, &lock->node);
    }
    return OK;
}

void lock_query(const struct inode *inode, const struct lock_request *r, struct lock_request *out_lock)
{
    const struct lock *lock = conflict(inode, r);
    *out_lock = lock != nullptr ? lock->r : (struct lock_request){};
}

status_t lock_wait(struct tmpfs *fs, struct inode *inode, const struct lock_request *r, uint64_t token)
{
    struct waiter *waiter = fs->waiter_count < WAITERS_MAX ? allocator_allocate_zeroed(fs->allocator, sizeof(*waiter)) : nullptr;
    if (waiter == nullptr) {
        return ERROR_NO_SPACE;
    }
    fs->waiter_count++;
    *waiter = (struct waiter){.r = *r, .token = token};
    list_push_back(&inode->waiters, &waiter->node);
    list_push_back(&fs->waiters, &waiter->all);
    return OK;
}

static void waiter_end(struct tmpfs *fs, struct waiter *waiter)
{
    list_remove(&waiter->node);
    list_remove(&waiter->all);
    fs->waiter_count--;
    allocator_release(fs->allocator, waiter, sizeof(*waiter));
}

void lock_wake(struct tmpfs *fs, struct inode *inode)
{
    list_for_each_safe (node, &inode->waiters) {
        struct waiter *waiter = list_entry(node, struct waiter, node);
        status_t status = lock_set(fs, inode, &waiter->r);
        if (status == ERROR_WOULD_BLOCK) {
            continue;
        }
        struct lock_request back = waiter->r;
        bool is_heard = host_reply(waiter->token, status) == OK;
        waiter_end(fs, waiter);
        if (!is_heard && status == OK) {
            /* Who asked does not wait any more; what the range was before is not known, so it is free. */
            back.flags = (back.flags & LOCK_WHOLE) | LOCK_UNLOCK;
            status = lock_set(fs, inode, &back);
            (void)status; /* no memory to make two of one: the owner keeps more than it asked for, until it ends */
        }
    }
}

void lock_drop(struct tmpfs *fs, struct inode *inode, uint64_t owner)
{
    list_for_each_safe (node, &inode->locks) {
        struct lock *lock = lock_of(node);
        if (lock->r.owner == owner) {
            list_remove(&lock->node);
            lock_destroy(fs, lock);
        }
    }
    list_for_each_safe (node, &inode->waiters) {
        struct waiter *waiter = list_entry(node, struct waiter, node);
        if (waiter->r.owner == owner) {
            status_t status = host_reply(waiter->token, ERROR_CANCELLED);
            (void)status; /* nobody waits: good too */
            waiter_end(fs, waiter);
        }
    }
    lock_wake(fs, inode);
}

void lock_cancel(struct tmpfs *fs, uint64_t token)
{
    list_for_each (node, &fs->waiters) {
        struct waiter *waiter = list_entry(node, struct waiter, all);
        if (waiter->token == token) {
            waiter_end(fs, waiter);
            return;
        }
    }
}
