/*
 * Descriptors and what they name. A struct linux_file is one open file description as this process sees it: private memory, counted by the
 * descriptors and calls that use it. What all who inherited the description must agree on (offset, status flags) lies in a shared record
 * (src/files). The table, and everything named linux_files_*, is in src/files; kinds of files fill in struct linux_file_operations.
 */
#pragma once
#include <linux/lock.h>
#include <linux/start.h>
#include <stdint.h>
#include <tess/abi.h>

struct linux_file;
struct linux_process;
struct linux_poll_wait; /* queue.h */

/* fcntl.h: the same on the three architectures but for the four that say so. */
enum : uint32_t {
    LINUX_O_RDONLY = 0,
    LINUX_O_WRONLY = 1,
    LINUX_O_RDWR = 2,
    LINUX_O_ACCMODE = 3,
    LINUX_O_CREAT = 0100,
    LINUX_O_EXCL = 0200,
    LINUX_O_NOCTTY = 0400,
    LINUX_O_TRUNC = 01000,
    LINUX_O_APPEND = 02000,
    LINUX_O_NONBLOCK = 04000,
    LINUX_O_DSYNC = 010000,
    LINUX_O_ASYNC = 020000,
#if defined(__aarch64__)
    LINUX_O_DIRECTORY = 040000,
    LINUX_O_NOFOLLOW = 0100000,
    LINUX_O_DIRECT = 0200000,
    LINUX_O_LARGEFILE = 0400000,
#else
    LINUX_O_DIRECT = 040000,
    LINUX_O_LARGEFILE = 0100000,
    LINUX_O_DIRECTORY = 0200000,
    LINUX_O_NOFOLLOW = 0400000,
#endif
    LINUX_O_NOATIME = 01000000,
    LINUX_O_CLOEXEC = 02000000,
    LINUX_O_SYNC = 04010000,
    LINUX_O_PATH = 010000000,
    LINUX_O_TMPFILE = 020000000 | LINUX_O_DIRECTORY,
};

/* stat, before it is laid out as the architecture's struct stat or as statx. */
struct linux_stat_values {
    uint64_t device, inode, size, blocks, special_device;
    uint32_t mode, links, uid, gid, block_size;
    int64_t access_ns, modify_ns, change_ns, birth_ns;
};

/* What a mapping of a file is made of. */
struct linux_file_memory {
    handle_t
        memory; /* of the file: not to be deleted; rights as the descriptor was opened, and exec when the file may be run or mapped so */
    uint64_t offset;    /* in the memory, of the offset asked for */
    uint64_t size;      /* of the file now, from its beginning */
    uint32_t map_flags; /* MAP_MAY_FAULT if the memory needs it */
    bool is_constant;   /* nobody writes to it as long as it is open: a private mapping needs no snapshot */
};

/* Results: >= 0 or -LINUX_E*. A missing entry answers what Linux answers for a kind of file without it. `offset` -1: the description's own,
 * which moves on. Addresses are the program's. A call holds a reference and no lock. */
struct linux_file_operations {
    int64_t (*read)(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset);   /* else EINVAL */
    int64_t (*write)(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset);  /* else EINVAL */
    int64_t (*seek)(struct linux_file *file, int64_t offset, uint32_t whence);                  /* else ESPIPE, for pread too */
    int64_t (*ioctl)(struct linux_file *file, uint32_t request, uint64_t argument);             /* else ENOTTY */
    int64_t (*stat)(struct linux_file *file, struct linux_stat_values *out);                    /* else EBADF */
    int64_t (*truncate)(struct linux_file *file, uint64_t size);                                /* else EINVAL */
    int64_t (*sync)(struct linux_file *file);                                                   /* else EINVAL */
    int64_t (*directory)(struct linux_file *file, uint64_t buffer, uint64_t size);              /* getdents64; else ENOTDIR */
    int64_t (*memory)(struct linux_file *file, uint64_t offset, struct linux_file_memory *out); /* mmap, exec; else ENODEV */
    /* POLL* bits that hold now, of `wanted` or POLLERR, POLLHUP. wait, if not nullptr: gets the words (queue.h) that change when that may have changed,
     * taken before the bits are looked at, so that nothing is missed. */
    uint32_t (*poll)(struct linux_file *file, uint32_t wanted, struct linux_poll_wait *wait); /* else always ready */
    int64_t (*set_flags)(struct linux_file *file, uint32_t flags);                            /* fcntl(F_SETFL): else only the record's */
    /* fork made a copy of this process, and this runs in the copy (its handles are there already): else nothing. */
    void (*forked)(struct linux_file *file);
    /* exec: maps what the file needs above the program's range into the new space, at the same place. */
    int64_t (*map_into)(struct linux_file *file, handle_t vspace);
    void (*close)(struct linux_file *file); /* the last reference of this process: deletes handles, frees the file */
};

struct linux_file {
    const struct linux_file_operations *operations;
    _Atomic uint32_t references;
    _Atomic uint32_t *flags; /* LINUX_O_* status flags, in the shared record (or own_flags) */
    _Atomic uint32_t own_flags;
    uint32_t kind; /* of whoever fills it in */
    /* The kind's own follow: struct linux_file is its first member. */
};

/* Descriptors of the calling thread's process. */
int64_t linux_file_get(uint64_t fd, struct linux_file **out_file); /* a reference: 0 or -LINUX_EBADF */
void linux_file_get_again(struct linux_file *file);
void linux_file_put(struct linux_file *file);
/* The lowest free descriptor >= minimum; takes over the caller's reference (on failure too: the file is put). flags: 0 or LINUX_O_CLOEXEC. */
int64_t linux_file_install(struct linux_file *file, uint32_t flags, uint32_t minimum);

/* src/files, for the rest of the personality. */
void linux_files_start(const struct linux_start *start);     /* makes the table, with descriptors 0.. as start says */
[[nodiscard]] int64_t linux_files_fork(void);                /* before process.clone: takes the table's locks */
void linux_files_forked(bool is_child);                      /* after it, in both */
[[nodiscard]] int64_t linux_files_map_into(handle_t vspace); /* exec, may still fail */
void linux_files_exec(void);                                 /* exec, after: closes what LINUX_O_CLOEXEC marks */
void linux_files_exit(void);                                 /* the process ends in an orderly way */
/* Opens what exec is to run (follows links; checks that it is a regular file and may be executed): a file with operation `memory`. */
int64_t linux_file_open_program(int32_t directory, const char *path, uint32_t flags, struct linux_file **out_file);
/* Absolute path of what a descriptor names, for /proc and exec; a length or -LINUX_E*. */
int64_t linux_file_path(struct linux_file *file, char *to, uint64_t size);
