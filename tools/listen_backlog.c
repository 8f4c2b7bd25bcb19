/*
 * Loaded into QEMU (LD_PRELOAD, by tools/qemu.py): libslirp listens on forwarded ports with a backlog of 1. Where more than two
 * connections come at once the host's TCP drops the others' first packets, and they wait for its retransmissions, 1 to 30 s,
 * whatever the guest does.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

int listen(int fd, int backlog);

int listen(int fd, int backlog) { return (int)syscall(SYS_listen, fd, backlog < 1024 ? 1024 : backlog); }
