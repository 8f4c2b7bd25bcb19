/*
 * The file system: inodes, names, permissions, bytes. One thread, no locks, no system calls of its own (host.h).
 *
 * An inode lives while it has a name (record->links), an open file, a lock's owner, or is on the way to get one (users). Every function either does all
 * it says or nothing; what can fail is done first. Credentials are counted: each open file holds one.
 *
 * Bytes: a regular file has none (size 0 or a hole from end to end), those of the archive it came from (until it is written to), or
 * a memory object of its own with as many pages as its size needs. Behind the end of the file its last page is zero, unless who may write it wrote there.
 */
#pragma once
#include <alloc/allocator.h>
#include <stdbool.h>
#include <tess/abi.h>
#include <tess/list.h>
#include <tess/tree.h>
#include <tmpfs/host.h>

enum : uint32_t { /* st_mode (POSIX names the bits, everybody numbers them so) */
                  MODE_TYPE = 0170000,
                  MODE_SOCKET = 0140000,
                  MODE_SYMLINK = 0120000,
                  MODE_REGULAR = 0100000,
                  MODE_BLOCK = 0060000,
                  MODE_DIRECTORY = 0040000,
                  MODE_CHARACTER = 0020000,
                  MODE_FIFO = 0010000,
                  MODE_SETUID = 04000,
                  MODE_SETGID = 02000,
                  MODE_STICKY = 01000,
                  MODE_PERMISSIONS = 07777,
};
constexpr uint32_t NAME_MAX_BYTES = 255, PATH_MAX_BYTES = 4095, LINKS_MAX = 65000, LINKS_FOLLOWED_MAX = 40;

constexpr uint32_t GROUPS_MAX = 10;
struct credentials {
    uint32_t uid, gid;
    uint32_t group_count, groups[GROUPS_MAX];
    uint32_t users;
};

struct inode {
    uint32_t index;
    uint32_t users;
    struct tess_inode_record *record; /* in the shared table, of which nothing is ever read back but by others */
    uint64_t size;                    /* of a device node: the device */
    uint32_t mode, links, uid, gid;
    bool is_mount; /* a walk ends here: CROSS_MOUNT */
    bool may_link; /* of an inode without a name: it may get one */
    int64_t atime_ns, mtime_ns, ctime_ns;
    struct list xattrs;
    uint64_t xattr_bytes;
    struct list locks; /* lock.h */
    struct list waiters;
    union {
        struct { /* regular */
            handle_t bytes, slice;
            uint64_t pages;
            uint64_t archive_offset; /* 0: not the archive's */
        };
        struct { /* directory */
            struct tree names, positions;
            struct inode *parent; /* counted; itself in the root */
            uint64_t position_next;
        };
        char *target; /* symbolic link: size bytes and a zero */
    };
    struct inode *next_free;
};

/* A name in a directory. */
struct entry {
    struct tree_node by_name, by_position;
    uint64_t position;
    struct inode *directory, *inode;
    uint32_t hash;
    uint16_t name_size;
    char name[];
};

struct tmpfs {
    struct allocator *allocator;
    struct inode **inodes; /* by index; nullptr: free */
    struct tess_inode_record *table;
    uint32_t inode_max, inode_top, inode_count; /* indices below inode_top were in use once */
    uint32_t *free_indices;                     /* a stack of inode_max */
    uint32_t free_count;
    struct inode *root;
    struct list waiters; /* for locks, all of them */
    uint32_t lock_count, waiter_count;
};

struct tmpfs_place { /* of the memory that tmpfs_init needs */
    struct tess_inode_record *table;
    struct inode **inodes;
    uint32_t *free_indices;
    uint32_t inode_max;
};
/* An empty file system: a root directory (inode 1) of user 0, mode 0755. */
[[nodiscard]] status_t tmpfs_init(struct tmpfs *fs, struct allocator *allocator, const struct tmpfs_place *place);
/* Everything goes (tests: nothing may be open). */
void tmpfs_destroy(struct tmpfs *fs);

/* ---- Inodes (inode.c) ---- */
[[nodiscard]] status_t inode_create(struct tmpfs *fs, uint32_t mode, uint32_t uid, uint32_t gid, struct inode **out_inode);
void inode_hold(struct inode *inode);
/* Frees it when this was the last user and it has no name. */
void inode_release(struct tmpfs *fs, struct inode *inode);
/* The fields go to the shared record. */
void inode_publish(struct inode *inode);
void inode_changed(struct inode *inode);  /* ctime is now; published */
void inode_modified(struct inode *inode); /* mtime too */
static inline bool inode_is(const struct inode *inode, uint32_t type) { return (inode->mode & MODE_TYPE) == type; }

/* ---- Names (entry.c) ---- */
struct entry *entry_find(struct inode *directory, const char *name, uint32_t size);
/* Not in a directory yet; nullptr: no memory. */
struct entry *entry_create(struct tmpfs *fs, const char *name, uint32_t size);
void entry_destroy(struct tmpfs *fs, struct entry *entry);
/* Puts it in, takes it out. Counts of links and users are the caller's. */
void entry_insert(struct inode *directory, struct entry *entry, struct inode *inode);
void entry_remove(struct entry *entry);
struct entry *entry_at(struct inode *directory, uint64_t position); /* the first there or behind; nullptr */

/* ---- Permissions (permission.c) ---- */
enum : uint32_t { MAY_EXECUTE = 1, MAY_WRITE = 2, MAY_READ = 4 };
bool credentials_has_group(const struct credentials *cred, uint32_t gid);
bool permission_check(const struct inode *inode, const struct credentials *cred, uint32_t may);
static inline bool is_owner(const struct inode *inode, const struct credentials *cred) { return cred->uid == 0 || cred->uid == inode->uid; }
/* May the entry be taken out of its directory? Sticky directories too. */
[[nodiscard]] status_t permission_remove(const struct entry *entry, const struct credentials *cred);
struct attributes {
    uint32_t what, mode, uid, gid;
    int64_t atime_ns, mtime_ns;
};
[[nodiscard]] status_t attributes_set(struct inode *inode, const struct credentials *cred, const struct attributes *attributes);

/* ---- Walking (walk.c) ---- */
enum : uint32_t {                           /* beside OPEN_* */
                  WALK_MAY_MISS = 1u << 31, /* the last name need not be there */
                  WALK_PARENT = WALK_MAY_MISS | 1u << 30
}; /* and is not followed if it is */
enum last_kind : uint32_t { LAST_NAME, LAST_DOT, LAST_DOT_DOT, LAST_ROOT };
struct walk {
    const struct credentials *cred;
    struct inode *root;
    /* Results */
    struct inode *parent; /* where the last name was looked for (LAST_NAME only) */
    struct entry *entry;
    struct inode *inode; /* nullptr: there is none, everything before the last name is there */
    const char *name;    /* in `text` */
    uint32_t name_size;
    enum last_kind last;
    bool must_be_directory; /* a slash came behind the last name */
    uint32_t rest_size;     /* CROSS_MOUNT: what is left of the path, at text[start] */
    uint32_t start;
    char text[PATH_MAX_BYTES + 1];
};
/* `path` is PATH_MAX_BYTES at most. Without WALK_MAY_MISS a missing last name is NOT_FOUND. Nothing is held: results count until the next change. */
[[nodiscard]] status_t walk(struct walk *walk, struct inode *from, uint32_t flags, const char *path, uint32_t size);
/* The path of a directory from `root`, ending at the end of the buffer; its size, or 0: not below root, or too long. */
uint32_t walk_back(const struct inode *directory, const struct inode *root, char *buffer, uint32_t size);

/* ---- Changing the tree (namespace.c). All of walks that ended OK, WALK_PARENT ---- */
/* A new inode under the walk's name (which is not there). For a symbolic link `target` has target_size bytes. The inode is not held. */
[[nodiscard]] status_t namespace_make(struct tmpfs *fs, struct walk *walk, uint32_t mode, uint64_t device, const char *target,
                                      uint32_t target_size, struct inode **out_inode);
/* One without a name in directory; held once for the caller. */
[[nodiscard]] status_t namespace_make_temporary(struct tmpfs *fs, struct inode *directory, const struct credentials *cred, uint32_t mode,
                                                bool may_link, struct inode **out_inode);
[[nodiscard]] status_t namespace_link(struct tmpfs *fs, struct walk *walk, struct inode *inode);
[[nodiscard]] status_t namespace_remove(struct tmpfs *fs, struct walk *walk, bool is_directory);
[[nodiscard]] status_t namespace_rename(struct tmpfs *fs, struct walk *from, struct walk *to, uint32_t flags);

/* ---- Bytes of regular files (bytes.c) ---- */
[[nodiscard]] status_t bytes_memory(struct inode *inode, bool for_writing, handle_t *out_bytes); /* still the inode's */
[[nodiscard]] status_t bytes_extend(struct inode *inode, bool is_append, uint64_t offset, uint64_t size, uint64_t *out_offset);
[[nodiscard]] status_t bytes_truncate(struct inode *inode, uint64_t size);
[[nodiscard]] status_t bytes_allocate(struct inode *inode, uint32_t flags, uint64_t offset, uint64_t size);
void bytes_drop_slice(struct inode *inode); /* nobody has it open: the handle can be had again */
void bytes_free(struct inode *inode);

/* ---- Extended attributes (xattr.c). Names of at most 255 bytes, with "user." in front (or "trusted.", "security.": user 0 only) ---- */
constexpr uint64_t XATTR_SIZE_MAX = 65536, XATTR_BYTES_MAX = 131072; /* of a value; of all of an inode, names included */
[[nodiscard]] status_t xattr_get(struct inode *inode, const struct credentials *cred, const char *name, uint32_t name_size,
                                 const uint8_t **out_value, uint32_t *out_size);
[[nodiscard]] status_t xattr_set(struct tmpfs *fs, struct inode *inode, const struct credentials *cred, uint32_t flags, const char *name,
                                 uint32_t name_size, const uint8_t *value, uint32_t size);
[[nodiscard]] status_t xattr_remove(struct tmpfs *fs, struct inode *inode, const struct credentials *cred, const char *name,
                                    uint32_t name_size);
/* Writes the names that the caller may see, each with a zero, as far as there is room; gives the size of all. */
uint32_t xattr_list(const struct inode *inode, const struct credentials *cred, char *buffer, uint32_t size);
void xattr_free(struct tmpfs *fs, struct inode *inode);

/* ---- What it holds at first (archive.c) ---- */
/* Fills an empty file system from a CPIO archive ("newc"), which stays where it is. BAD_FORMAT, NO_SPACE. */
[[nodiscard]] status_t archive_load(struct tmpfs *fs, const void *archive, uint64_t size);
