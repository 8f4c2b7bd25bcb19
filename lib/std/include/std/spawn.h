/*
 * Starting a program from an ELF file that lies page aligned in a memory object (the boot image). Text and constants are mapped
 * straight from there; only writable segments are copied. Everything is charged to args->untyped, which the child gets as
 * "self.untyped": destroying it takes the whole process back.
 *
 * Child's address space, from SPAWN_BASE: message page, bootstrap page, clock page, guard, stack, guard, image.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <tess/abi.h>

struct spawn_handle {
    const char *name; /* at most 23 bytes */
    handle_t handle;  /* of ours */
    uint32_t rights;  /* the child's handle keeps ours AND these; RIGHTS_ALL = all we have */
    bool is_moved;    /* moved instead of copied (then rights is not looked at), after everything else is made */
};
struct spawn_args {
    const char *name; /* of the process, at most 16 bytes */
    const void *file; /* the ELF file, mapped here */
    uint64_t file_size;
    handle_t file_memory;  /* and where the same bytes lie: memory with rights read and exec, */
    uint64_t file_offset;  /* page aligned, whole pages up to the end */
    handle_t untyped;      /* rights create, copy */
    handle_t cell;         /* rights create; HANDLE_NONE = the parent's own */
    handle_t clock_memory; /* clock.page; HANDLE_NONE = the child has no clock */
    uint64_t stack_bytes;  /* 0 = 64 KiB; the upper 8 KiB of it are committed, as is all that the image writes to */
    uint32_t slot_limit;   /* of its table of handles; 0 = 256 */
    const char *const *args;
    uint32_t arg_count;
    const struct spawn_handle *handles; /* beside self.*; give "log" here */
    uint32_t handle_count;
    bool is_suspended; /* the caller starts it with process_start() */
};
/* The parent's handles to the child, with all rights; process_drop() deletes them without harming the child. */
struct spawned {
    handle_t process, thread, cspace, vspace;
    uint64_t image_base, entry, stack_top, bootstrap;
    const char *failed_step; /* for the log when process_spawn fails: what was being done */
    const char *failed_name; /* the handle or nullptr */
};

/* All or nothing: after an error no object of the child is left. Handles are moved last, after their rights and the room in the
 * bootstrap page were checked; one that was moved before the child had no room for the next (slot_limit, NO_HANDLES) is gone. */
[[nodiscard]] status_t process_spawn(const struct spawn_args *args, struct spawned *out_spawned);
[[nodiscard]] status_t process_start(const struct spawned *spawned);
void process_drop(struct spawned *spawned);
