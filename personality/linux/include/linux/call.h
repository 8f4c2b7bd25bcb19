/*
 * What a Linux call is here. Each has a function `int64_t linux_sys_NAME(uint64_t ...)` with the arguments as the program's registers hold
 * them (an int argument: (int32_t)fd; upper halves are the program's), declared in the generated <linux/calls.h> from calls.toml. It answers
 * a result or -LINUX_E*. It runs on the thread's native stack (24 KiB) with no lock held; others of the process's threads run beside it.
 *
 * Waiting: kernel calls that wait answer ERROR_INTERRUPTED when a signal may have come, and go on answering it at once until the call has
 * ended. So the call undoes what it began (or answers what it got done) and returns -LINUX_ERESTARTSYS or its like; the way out
 * delivers the signal and restarts the call, with its first arguments, or makes it EINTR.
 * A lock is taken and given back within a call (lock.h), never over a wait that a signal should end.
 */
#pragma once
#include <linux/calls.h>
#include <linux/errno.h>
#include <linux/process.h>
#include <linux/thread.h>
#include <linux/user.h>
