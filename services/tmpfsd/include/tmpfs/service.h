/*
 * Requests of clients: who calls (the badge names an open file and so its credentials), what they ask, what they may. All of it is hostile: a client
 * has nothing but its handles, and what it says is checked here.
 *
 * An open file's badge: BADGE_OPEN | generation << 32 | index. A handle with any other badge (those of the manifest) is the root directory of user 0.
 */
#pragma once
#include <tmpfs/lock.h>
#include <tmpfs/tmpfs.h>

constexpr uint64_t BADGE_OPEN = UINT64_C(1) << 63;
constexpr uint32_t OPEN_FILES_MAX = 1u << 16, LIST_BYTES_MAX = 65536;

struct open_file {
    struct inode *inode, *root; /* held; inode nullptr: free */
    struct credentials *cred;
    uint32_t flags; /* OPEN_READ, OPEN_WRITE, OPEN_EXECUTE, OPEN_PATH */
    uint32_t generation, tag;
    uint32_t next_free;
};

struct service {
    struct tmpfs fs;
    struct open_file *files;
    uint32_t file_size, file_count, first_free; /* first_free: index + 1 */
    struct credentials superuser;
    struct open_file first; /* what a handle of the manifest is */
    struct walk walk, walk_to;
    char names[2 * PATH_MAX_BYTES]; /* paths from a client's buffer */
    uint8_t buffer[XATTR_SIZE_MAX + NAME_MAX_BYTES];
};
static_assert(LIST_BYTES_MAX <= sizeof(((struct service *)nullptr)->buffer));

/* What one call works on. */
struct request {
    struct service *service;
    struct open_file *file;
    uint64_t badge;
};

[[nodiscard]] status_t service_init(struct service *service, struct allocator *allocator, const struct tmpfs_place *place);
void service_destroy(struct service *service);
/* The answer to a call, as struct loop_service wants it: handles that came are deleted by now if call->handles_taken says so. */
[[nodiscard]] status_t service_call(struct service *service, struct tess_call *call);
void service_badge_gone(struct service *service, uint64_t badge);
void service_cancelled(struct service *service, uint64_t token);

/* ---- Open files (open_file.c) ---- */
struct open_file *open_file_find(struct service *service, uint64_t badge); /* nullptr: stale */
/* A new one, with a handle that its client is to get; it holds inode, root and credentials. */
[[nodiscard]] status_t open_file_create(struct service *service, struct inode *inode, struct inode *root, struct credentials *cred,
                                        uint32_t flags, uint32_t rights, handle_t *out_handle);
/* Undoes it before the client knew. */
void open_file_take_back(struct service *service, handle_t handle);
void open_file_close(struct service *service, uint64_t badge);

/* Methods (directory.c, file.c). */
struct directory_server;
struct file_server;
extern const struct directory_server directory_methods;
extern const struct file_server file_methods;
