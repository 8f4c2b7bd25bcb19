/*
 * What the files of the personality share. The table of descriptors is private memory (fork copies it); offset and status flags of an open file description
 * lie in a record in pages that all who inherited the description have mapped. Nobody holds a lock over a record: offsets are claimed by compare-and-swap.
 *
 * Locks: table->lock round descriptors, root and working directory, and records' pages; table->memory_lock round a node's handles, over a call to tmpfsd (fork takes
 * both, so that none is held in the child).
 */
#pragma once
#include <linux/arena.h>
#include <linux/call.h>
#include <linux/file.h>
#include <linux/lock.h>

constexpr uint64_t FILES_PAGE = 4096, FILES_COPY_MAX = 1 << 20; /* of one memory.read or memory.write */
constexpr uint32_t FILES_MAX = 4096, RECORD_PAGES = 32, PATH_SIZE = 4096;
constexpr int32_t AT_FDCWD = -100;
constexpr uint64_t RECORDS_SIZE = 16384;

enum : uint32_t { FILE_KIND_NODE = 1, FILE_KIND_LOG = 2 }; /* linux_file.kind; those of src/queues begin at 16 */
enum : uint32_t {
    MODE_TYPE = 0170000,
    MODE_SOCKET = 0140000,
    MODE_SYMLINK = 0120000,
    MODE_REGULAR = 0100000,
    MODE_BLOCK = 0060000,
    MODE_DIRECTORY = 0040000,
    MODE_CHARACTER = 0020000,
    MODE_FIFO = 0010000,
};

struct linux_record {
    _Atomic uint32_t users; /* descriptions in processes; 0: free. Who is killed does not give its share back. */
    _Atomic uint32_t flags; /* LINUX_O_* */
    _Atomic uint64_t offset;
};

struct records {
    handle_t memory;
    struct linux_record *records;
};

struct linux_file_table {
    struct linux_lock lock, memory_lock;
    struct linux_file *files[FILES_MAX];
    uint8_t marks[FILES_MAX / 8]; /* close on exec */
    uint32_t lowest, top;         /* none below lowest is free, none from top on was ever used */
    struct linux_file *root, *working_directory;
    uint32_t page_count;
    struct records pages[RECORD_PAGES];
    bool has_inodes;
};

/* A file of tmpfsd. */
struct node {
    struct linux_file file;
    handle_t handle;
    handle_t memory; /* of a regular file's bytes, once it was needed: as long as `data` is the inode's */
    handle_t locker; /* owner of POSIX locks: not inherited by fork */
    uint32_t data, inode, mode;
    uint64_t device;
    struct linux_record *record;
    uint64_t touched_ns; /* tmpfsd was told that bytes changed */
};

/* ---- table.c ---- */
static inline struct linux_file_table *files_table(void) { return linux_process()->files; }
static inline bool files_is_path(const struct linux_file *file) { return (*file->flags & LINUX_O_PATH) != 0; }
/* A descriptor that may be read (written): a reference, or -LINUX_EBADF. */
int64_t files_get_for(uint64_t fd, bool for_writing, struct linux_file **out_file);
void files_handle_delete(handle_t handle);

/* ---- record.c ---- */
struct linux_record *record_create(struct linux_file_table *table, uint32_t flags); /* nullptr: no memory */
static inline void record_release(struct linux_record *record) { record->users--; }
int64_t records_map_into(const struct linux_file_table *table, handle_t vspace);

/* ---- node.c ---- */
/* Takes the handle over, on failure too. flags: LINUX_O_*. */
int64_t node_create(handle_t handle, uint32_t inode, uint32_t mode, uint64_t device, uint32_t flags, struct node **out_node);
struct node *node_of(struct linux_file *file); /* nullptr: of another kind */
/* The inode as the shared table says now; false: there is no table. */
const struct tess_inode_record *node_record(const struct node *node);
void node_stat(const struct tess_inode_record *record, uint32_t inode, struct linux_stat_values *out);
extern const struct linux_file_operations device_operations, directory_operations, log_operations;
int64_t device_open(const struct node *node); /* 0, or why such a node cannot be opened here */
void node_close(struct linux_file *file);
int64_t node_stat_file(struct linux_file *file, struct linux_stat_values *out);
void node_forked(struct linux_file *file);

/* ---- path.c: where a path begins, and what carries it ---- */
struct place {
    struct linux_file *file; /* held */
    handle_t handle;
    char *path;
    uint64_t size;
};
/* Copies the path (PATH_SIZE bytes of room) and finds its directory. An empty path is -LINUX_ENOENT unless may_be_empty. */
int64_t place_get(struct place *place, char *room, uint64_t directory, uint64_t path, bool may_be_empty);
int64_t place_of(struct place *place, char *room, uint64_t directory, int64_t size); /* of a path that is in `room` already */
void place_put(struct place *place);
/* A memory object with these bytes, and room for as many. To be deleted. */
int64_t buffer_create(const void *data, uint64_t size, uint64_t room, handle_t *out_buffer);
/* Calls of the service must not be cut short by a signal: what they do would be done, or not, and nobody would know. */
static inline void calls_begin(void) { linux_frame()->mask++; }
static inline void calls_end(void) { linux_frame()->mask--; }

int64_t service_open(const struct place *place, uint32_t flags, uint32_t mode, handle_t *out_handle, uint32_t *out_inode,
                     uint32_t *out_mode, uint64_t *out_device);
int64_t service_stat(const struct place *place, uint32_t flags, uint32_t *out_inode, struct tess_inode_record *out_record);
/* Opened with OPEN_PATH, for a call on what the path names. */
int64_t service_path(const struct place *place, uint32_t flags, handle_t *out_handle);

/* ---- open.c ---- */
int64_t files_open(const struct place *place, uint32_t flags, uint32_t mode, uint32_t walk_flags, struct linux_file **out_file);
