/*
 * Where things are in the native range of a Linux process, and what it finds at its start: read by whoever makes the first process of a cell.
 *
 * To start one: an address space with the personality's image (readable and executable, the whole file, at NATIVE_BASE) and the arena (memory
 * of LINUX_ARENA_SIZE, readable and writable, at LINUX_ARENA_BASE, struct linux_start written to its first page, argument strings to
 * LINUX_ARENA_STRINGS); a table of handles; a thread with the arena's page LINUX_ARENA_MESSAGE as message page and THREAD_FPU; started at
 * LINUX_START with the stack LINUX_START_STACK and LINUX_ARENA_BASE as first argument.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <tess/abi.h>

constexpr uint64_t LINUX_START = NATIVE_BASE + NATIVE_GATE_SIZE;
constexpr uint64_t LINUX_INODES_BASE = NATIVE_BASE + (16ull << 20);
constexpr uint64_t LINUX_CLOCK_BASE = NATIVE_BASE + (15ull << 20); /* the clock page */
constexpr uint64_t LINUX_SIGNAL_BASE = LINUX_CLOCK_BASE + 4096;    /* the page shared with posixd */
constexpr uint64_t LINUX_ARENA_BASE = NATIVE_BASE + (128ull << 20);
constexpr uint64_t LINUX_ARENA_SIZE = 128ull << 20;
constexpr uint64_t LINUX_SHARED_BASE = NATIVE_BASE + (512ull << 20); /* queues and records, to the end of the range */
constexpr uint64_t LINUX_USER_TOP = NATIVE_BASE - (1ull << 20);      /* the program's end: a page of ours and guards lie above */
constexpr uint64_t LINUX_TRAMPOLINE = NATIVE_BASE - (512ull << 10);  /* rt_sigreturn, for programs that bring none */

/* Offsets in the arena. The first thread's block is a thread block like any other (thread.h). */
constexpr uint64_t LINUX_ARENA_PROCESS = 4096;
constexpr uint64_t LINUX_ARENA_MESSAGE = 64ull << 10;
constexpr uint64_t LINUX_THREAD_BLOCK = 32ull << 10;
constexpr uint64_t LINUX_START_STACK = LINUX_ARENA_BASE + LINUX_ARENA_MESSAGE + LINUX_THREAD_BLOCK;
constexpr uint64_t LINUX_ARENA_STRINGS = 128ull << 10;
constexpr uint64_t LINUX_STRINGS_MAX = 2ull << 20; /* arguments and environment, with their ends */
constexpr uint64_t LINUX_ARENA_HEAP = LINUX_ARENA_STRINGS + LINUX_STRINGS_MAX;

constexpr uint32_t LINUX_START_VERSION = 1;
constexpr uint32_t LINUX_START_FILES = 16;

/* A descriptor that is open from the start. */
enum linux_start_kind : uint32_t {
    LINUX_START_NONE = 0,
    LINUX_START_LOG = 1,   /* what is written goes to the log, a line a record; reads find the end */
    LINUX_START_FILE = 2,  /* handles: the open file of tmpfsd, its bytes (memory) or HANDLE_NONE */
    LINUX_START_QUEUE = 3, /* handles: as src/queues defines */
};
struct linux_start_file {
    uint32_t kind;
    uint32_t flags; /* LINUX_O_* */
    handle_t handles[5];
};

/* All of it is checked by nobody: whoever wrote it made the process. A handle that there is none for is HANDLE_NONE, and the calls that
 * need it answer ENOSYS or the like. Rights: as docs/linux.md says. */
struct linux_start {
    uint32_t version;
    uint32_t argument_count, environment_count; /* strings at LINUX_ARENA_STRINGS: the program's path, arguments, environment */
    uint32_t file_count;
    handle_t process, vspace, cspace, thread, untyped, log;
    handle_t image;       /* memory of the personality: read, exec */
    handle_t arena;       /* memory at LINUX_ARENA_BASE: read, write */
    handle_t clock;       /* clock.page */
    handle_t signal_page; /* memory of struct linux_signal_page: read, write */
    handle_t inodes;      /* memory of the inode table: read */
    handle_t posix;       /* endpoint of posixd, badged */
    handle_t root, working_directory;
    handle_t program; /* memory that holds the first program, for a system without files; else its path is opened */
    uint64_t program_offset, program_size;
    uint32_t pid, parent, group, session;
    uint32_t uid, gid;
    uint32_t cpu_count; /* of the machine */
    uint32_t reserved;
    uint64_t seed[4]; /* random */
    char hostname[64];
    struct linux_start_file files[LINUX_START_FILES]; /* descriptors 0.. */
};
static_assert(sizeof(struct linux_start) <= 4096);
