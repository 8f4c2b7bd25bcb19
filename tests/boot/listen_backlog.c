/*
 * Loaded into QEMU (LD_PRELOAD) by scenarios that open many connections at once: libslirp listens on forwarded ports with a backlog
 * of 1, and whoever comes third is delayed by the host's TCP for seconds, whatever the guest does.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

int listen(int fd, int backlog);

int listen(int fd, int backlog) { return (int)syscall(SYS_listen, fd, backlog < 1024 ? 1024 : backlog); }
