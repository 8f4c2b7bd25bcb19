/*
 * Locks on ranges of a file's bytes: advisory, of an owner (an open file, or what file.locker made; a number here). Those with LOCK_WHOLE (flock) are of no
 * concern to the others. One owner's locks never overlap: a new one takes the place of what it had there.
 */
#pragma once
#include <tmpfs/tmpfs.h>

constexpr uint32_t LOCKS_MAX = 4096;  /* in all */
constexpr uint32_t WAITERS_MAX = 128; /* in all: fewer than calls that the service's ring holds */

struct lock_request {
    uint64_t owner;
    uint32_t tag;
    uint32_t flags; /* LOCK_* */
    uint64_t start, end;
};
/* BAD_ARGUMENT: no such kind, or an empty range. */
[[nodiscard]] status_t lock_check(const struct lock_request *request);
/* Sets, changes or (LOCK_UNLOCK) gives up; never waits: WOULD_BLOCK. NO_SPACE. */
[[nodiscard]] status_t lock_set(struct tmpfs *fs, struct inode *inode, const struct lock_request *request);
/* Puts it in the queue of the inode: the call `token` is answered (host_reply) when the lock is there. */
[[nodiscard]] status_t lock_wait(struct tmpfs *fs, struct inode *inode, const struct lock_request *request, uint64_t token);
/* A lock that is in the way; flags 0: none. */
void lock_query(const struct inode *inode, const struct lock_request *request, struct lock_request *out_lock);
/* Everything the owner has and waits for here. Those who wait then get what they can. */
void lock_drop(struct tmpfs *fs, struct inode *inode, uint64_t owner);
/* Who waits gets what is free. */
void lock_wake(struct tmpfs *fs, struct inode *inode);
/* The caller behind the token does not wait any more. */
void lock_cancel(struct tmpfs *fs, uint64_t token);
