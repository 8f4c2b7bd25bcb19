/* Making threads and processes (clone.c, fork.c). */
#pragma once
#include <stdint.h>

enum : uint64_t {
    LINUX_CLONE_VM = 0x100,
    LINUX_CLONE_FS = 0x200,
    LINUX_CLONE_FILES = 0x400,
    LINUX_CLONE_SIGHAND = 0x800,
    LINUX_CLONE_PIDFD = 0x1000,
    LINUX_CLONE_VFORK = 0x4000,
    LINUX_CLONE_PARENT = 0x8000,
    LINUX_CLONE_THREAD = 0x10000,
    LINUX_CLONE_SYSVSEM = 0x40000,
    LINUX_CLONE_SETTLS = 0x80000,
    LINUX_CLONE_PARENT_SETTID = 0x100000,
    LINUX_CLONE_CHILD_CLEARTID = 0x200000,
    LINUX_CLONE_DETACHED = 0x400000,
    LINUX_CLONE_CHILD_SETTID = 0x1000000,
    LINUX_CLONE_CLEAR_SIGHAND = 0x100000000,
};
struct linux_clone {
    uint64_t flags, stack, parent_tid, child_tid, tls;
    uint32_t exit_signal;
};
/* A process of its own: the child's id, and 0 in the child. */
int64_t linux_fork(const struct linux_clone *clone);
