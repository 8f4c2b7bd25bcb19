/*
 * The compiled manifest: file "manifest.bin" of the boot image, written by tools/image/compile.py, read by init. The image may
 * be damaged or hostile, so manifest_open() checks every offset, count, index and string once; afterwards the accessors need
 * no further checks. Little-endian, naturally aligned, in read-only memory that outlives struct manifest.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

constexpr uint32_t MANIFEST_MAGIC = 0x464D5354; /* "TSMF" */
constexpr uint32_t MANIFEST_VERSION = 2;
constexpr uint32_t MANIFEST_NONE = UINT32_MAX;

enum manifest_start : uint32_t { MANIFEST_START_MANUAL, MANIFEST_START_BOOT };
enum manifest_restart : uint32_t { MANIFEST_RESTART_NEVER, MANIFEST_RESTART_ON_FAILURE, MANIFEST_RESTART_ALWAYS };

enum manifest_source : uint32_t {
    MANIFEST_SOURCE_ENDPOINT, /* target = index of a provide; minted with `badge` */
    MANIFEST_SOURCE_KERNEL,   /* target = enum manifest_kernel */
    MANIFEST_SOURCE_IMAGE,    /* target = string: path of a file in the boot image; MANIFEST_NONE = the whole image */
    MANIFEST_SOURCE_INIT,     /* init's own endpoint "supervisor"; minted with `badge` */
};
enum manifest_kernel : uint32_t {
    MANIFEST_KERNEL_MACHINE,
    MANIFEST_KERNEL_SYSTEM,
    MANIFEST_KERNEL_LOG,
    MANIFEST_KERNEL_CLOCK,
    MANIFEST_KERNEL_UNTYPED,
    MANIFEST_KERNEL_TRACE,
    MANIFEST_KERNEL_AUDIT,
};

/* A run of records of one table. */
struct manifest_range {
    uint32_t first, count;
};

struct manifest_service {
    char name[16];         /* zero padded; a name of 16 characters has no zero */
    uint64_t memory_bytes; /* page multiple */
    uint32_t program;      /* string: path in the boot image */
    uint32_t slot_limit;
    uint32_t priority; /* 0..31 */
    enum manifest_start start;
    enum manifest_restart restart;
    uint32_t cpu_quota;                /* percent of one CPU that it may use at most; 0: no limit */
    uint32_t handle_limit, call_limit; /* of its cell (cell.set_limit); 0: none */
    struct manifest_range after;       /* in `indices`: services to be started before */
    struct manifest_range provides;    /* in `provides` */
    struct manifest_range handles;     /* in `handles` */
    struct manifest_range args;        /* in `indices`: strings */
};

/* An endpoint that init creates and hands to its service, with right owner, as "serve.<name>". */
struct manifest_provide {
    char name[24];      /* zero padded, terminated */
    uint32_t service;   /* index */
    uint32_t interface; /* id */
};

struct manifest_handle {
    char name[24]; /* zero padded, terminated */
    enum manifest_source source;
    uint32_t target;
    uint32_t rights;
    uint32_t reserved;
    uint64_t badge; /* endpoints: index of the client service + 1, or DEVICE_BADGE_BASE + device (device_table.h) */
};

/* Where a table lies: offset from the start of the file, 8-byte aligned. */
struct manifest_table {
    uint32_t offset, count;
};

struct manifest_header {
    uint32_t magic, version;
    uint64_t abi_hash;
    uint32_t size;                                     /* of the whole file */
    uint32_t checksum;                                 /* CRC-32 (IEEE 802.3) of the file with this field zero */
    char name[32], hostname[32];                       /* terminated */
    struct manifest_table services, provides, handles; /* of the records above; services in an order that honours `after` */
    struct manifest_table indices;                     /* uint32_t */
    struct manifest_table strings;                     /* count bytes; a string is an offset into it, ends with a zero byte */
};

static_assert(sizeof(struct manifest_service) == 88);
static_assert(sizeof(struct manifest_provide) == 32);
static_assert(sizeof(struct manifest_handle) == 48);
static_assert(sizeof(struct manifest_header) == 128);

struct manifest {
    const struct manifest_header *header;
    const struct manifest_service *services;
    const struct manifest_provide *provides;
    const struct manifest_handle *handles;
    const uint32_t *indices;
    const char *strings;
};

/* nullptr on success; else what is wrong, for people, and `out` is untouched. `data` must be 8-byte aligned. */
[[nodiscard]] const char *manifest_open(struct manifest *out, const void *data, size_t size_bytes, uint64_t abi_hash);

static inline const char *manifest_string(const struct manifest *m, uint32_t string) { return m->strings + string; }
/* The i-th entry of a service's `after` (a service's index) or `args` (a string). */
static inline uint32_t manifest_index(const struct manifest *m, struct manifest_range range, uint32_t i)
{
    return m->indices[range.first + i];
}
