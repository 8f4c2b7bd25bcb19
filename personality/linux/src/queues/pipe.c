/* Pipes: bytes through pipe_queue (lib/ring), sleeping on its words with the kernel's futexes. The memory and the ends' handles come from posixd. */
#include <linux/arena.h>
#include <linux/call.h>
#include <linux/errno.h>
#include <linux/file.h>
#include <linux/queue.h>
#include <linux/signal.h>
#include <ring/pipe_queue.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/posix.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint32_t MODE_PIPE = 0010600;

struct pipe_file {
    struct linux_file file;
    struct pipe_queue queue;
    handle_t memory, end;
    bool is_writer;
};

static struct pipe_file *pipe_of(struct linux_file *file) { return (struct pipe_file *)file; }
static bool is_nonblocking(struct linux_file *file) { return (*file->flags & LINUX_O_NONBLOCK) != 0; }

/* ---- Reading ---- */

/* What there is now: bytes, 0 at the end, -EAGAIN. */
static int64_t read_now(const struct pipe_queue *queue, uint64_t buffer, uint64_t size)
{
    struct pipe_queue_read read;
    enum pipe_queue_result result;
    do {
        result = pipe_queue_read_begin(queue, size, &read);
        if (result != PIPE_QUEUE_OK)
            return result == PIPE_QUEUE_ENDED ? 0 : result == PIPE_QUEUE_EMPTY ? -LINUX_EAGAIN : -LINUX_EIO;
        int64_t copied = linux_copy_to_user(buffer, read.spans[0].data, read.spans[0].size);
        if (copied == 0 && read.spans[1].size > 0)
            copied = linux_copy_to_user(buffer + read.spans[0].size, read.spans[1].data, read.spans[1].size);
        if (copied != 0)
            return copied; /* nothing was taken */
        result = pipe_queue_read_finish(queue, &read, read.size);
    } while (result == PIPE_QUEUE_AGAIN);
    return read.size;
}

static int64_t pipe_read(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    struct pipe_file *pipe = pipe_of(file);
    if (offset != -1)
        return -LINUX_ESPIPE;
    if (size == 0)
        return 0;
    for (;;) {
        uint32_t value;
        int64_t result = read_now(&pipe->queue, buffer, size);
        if (result > 0 && pipe_queue_should_wake_writers(&pipe->queue))
            linux_word_wake(&pipe->queue.header->writable);
        if (result != -LINUX_EAGAIN || is_nonblocking(file))
            return result;
        result = pipe_queue_prepare_read_wait(&pipe->queue, &value)
                     ? linux_word_sleep(&pipe->queue.header->readable, value, DEADLINE_INFINITE)
                     : 0;
        if (result != 0)
            return result;
    }
}

/* ---- Writing ---- */

static int64_t lock(const struct pipe_queue *queue, uint32_t tid)
{
    if (pipe_queue_lock(queue, tid) == PIPE_QUEUE_OK)
        return 0;
    status_t status = tess_vspace_futex_lock(linux_process()->vspace, (uint64_t)&queue->header->lock, tid, DEADLINE_INFINITE);
    return status == OK ? 0 : status == ERROR_ALREADY ? -LINUX_EIO : linux_error(status);
}

static void unlock(const struct pipe_queue *queue, uint32_t tid)
{
    uint32_t heir;
    if (pipe_queue_unlock(queue, tid)) {
        status_t status = tess_vspace_futex_unlock(linux_process()->vspace, (uint64_t)&queue->header->lock, tid, &heir);
        (void)status; /* refused: somebody wrote over the word */
    }
}

/* With the lock. Bytes written, -EAGAIN: no room. Readers are woken before the lock goes: a death in between is seen by posixd. */
static int64_t write_locked(const struct pipe_queue *queue, uint64_t buffer, uint64_t size)
{
    struct pipe_queue_write write;
    enum pipe_queue_result result = pipe_queue_reserve(queue, size, &write);
    if (result != PIPE_QUEUE_OK)
        return result == PIPE_QUEUE_FULL ? -LINUX_EAGAIN : result == PIPE_QUEUE_ENDED ? -LINUX_EPIPE : -LINUX_EIO;
    int64_t copied = linux_copy_from_user(write.spans[0].data, buffer, write.spans[0].size);
    if (copied == 0 && write.spans[1].size > 0)
        copied = linux_copy_from_user(write.spans[1].data, buffer + write.spans[0].size, write.spans[1].size);
    if (copied != 0)
        return copied;
    pipe_queue_publish(queue, &write, write.size);
    if (pipe_queue_should_wake_readers(queue))
        linux_word_wake(&queue->header->readable);
    return write.size;
}

static int64_t broken_pipe(int64_t done)
{
    const struct linux_process *process = linux_process();
    const struct linux_siginfo info = {.signal = LINUX_SIGPIPE, .code = LINUX_SI_USER, .pid = process->pid, .uid = process->uid};
    int64_t result = linux_signal_thread(linux_self(), &info);
    (void)result; /* it is no real-time signal: there is room */
    return done > 0 ? done : -LINUX_EPIPE;
}

static int64_t pipe_write(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    struct pipe_file *pipe = pipe_of(file);
    uint32_t tid = linux_self()->tid, value;
    int64_t done = 0;
    if (offset != -1)
        return -LINUX_ESPIPE;
    while ((uint64_t)done < size) {
        int64_t result = lock(&pipe->queue, tid);
        if (result == 0) {
            result = write_locked(&pipe->queue, buffer + (uint64_t)done, size - (uint64_t)done);
            unlock(&pipe->queue, tid);
        }
        if (result == -LINUX_EPIPE)
            return broken_pipe(done);
        if (result == -LINUX_EAGAIN && !is_nonblocking(file)) {
            uint32_t room = (uint32_t)min_u64(size - (uint64_t)done, PIPE_QUEUE_ATOMIC);
            result = pipe_queue_prepare_write_wait(&pipe->queue, room, &value)
                         ? linux_word_sleep(&pipe->queue.header->writable, value, DEADLINE_INFINITE)
                         : 0;
        }
        if (result < 0)
            return done > 0 ? done : result;
        done += result;
    }
    return done;
}

/* ---- The rest ---- */

static int64_t pipe_ioctl(struct linux_file *file, uint32_t request, uint64_t argument)
{
    constexpr uint32_t FIONREAD = 0x541B;
    return request == FIONREAD ? linux_store_user_u32(argument, pipe_queue_readable(&pipe_of(file)->queue)) : -LINUX_ENOTTY;
}

static int64_t pipe_stat(struct linux_file *file, struct linux_stat_values *out)
{
    const struct linux_process *process = linux_process();
    int64_t now = (int64_t)linux_clock_wall();
    *out = (struct linux_stat_values){.device = 13, /* as Linux's pipefs: a number that no file system has */
                                      .inode = (uint64_t)pipe_of(file)->queue.header >> 12,
                                      .mode = MODE_PIPE,
                                      .links = 1,
                                      .uid = process->euid,
                                      .gid = process->egid,
                                      .block_size = 4096,
                                      .access_ns = now,
                                      .modify_ns = now,
                                      .change_ns = now};
    return 0;
}

static void drop_handles(handle_t memory, handle_t end)
{
    handle_t cspace = linux_process()->cspace;
    if (memory != HANDLE_NONE && tess_cspace_delete(cspace, memory) != OK)
        return;
    if (end != HANDLE_NONE && tess_cspace_delete(cspace, end) != OK)
        return;
}

static void pipe_close(struct linux_file *file)
{
    struct pipe_file *pipe = pipe_of(file);
    linux_shared_unmap(pipe->queue.header, PIPE_QUEUE_HEADER_BYTES + pipe->queue.size);
    drop_handles(pipe->memory, pipe->end);
    linux_free(pipe, sizeof(*pipe));
}

static int64_t pipe_map_into(struct linux_file *file, handle_t vspace)
{
    struct pipe_file *pipe = pipe_of(file);
    uint64_t at;
    return linux_error(tess_vspace_map(vspace, pipe->memory, 0, PIPE_QUEUE_HEADER_BYTES + pipe->queue.size, (uint64_t)pipe->queue.header,
                                       MAP_READ | MAP_WRITE | MAP_FIXED | MAP_INHERIT_SHARE, &at));
}

static uint32_t poll_reader(struct linux_file *file, uint32_t wanted, struct linux_poll_wait *wait)
{
    const struct pipe_queue *queue = &pipe_of(file)->queue;
    uint32_t value;
    bool has_something = !pipe_queue_prepare_read_wait(queue, &value);
    linux_poll_add(wait, &queue->header->readable, value);
    uint32_t ends = pipe_queue_ends(queue);
    return (has_something && pipe_queue_readable(queue) > 0 ? wanted & (LINUX_POLLIN | LINUX_POLLRDNORM) : 0) |
           ((ends & PIPE_QUEUE_NO_WRITERS) != 0 ? LINUX_POLLHUP : 0);
}

static uint32_t poll_writer(struct linux_file *file, uint32_t wanted, struct linux_poll_wait *wait)
{
    const struct pipe_queue *queue = &pipe_of(file)->queue;
    uint32_t value;
    bool has_room = !pipe_queue_prepare_write_wait(queue, PIPE_QUEUE_ATOMIC, &value);
    linux_poll_add(wait, &queue->header->writable, value);
    return (has_room ? wanted & (LINUX_POLLOUT | LINUX_POLLWRNORM) : 0) |
           ((pipe_queue_ends(queue) & PIPE_QUEUE_NO_READERS) != 0 ? LINUX_POLLERR : 0);
}

static const struct linux_file_operations read_operations = {
    .read = pipe_read, .poll = poll_reader, .ioctl = pipe_ioctl, .stat = pipe_stat, .map_into = pipe_map_into, .close = pipe_close};
static const struct linux_file_operations write_operations = {
    .write = pipe_write, .poll = poll_writer, .ioctl = pipe_ioctl, .stat = pipe_stat, .map_into = pipe_map_into, .close = pipe_close};

int64_t linux_pipe_open(handle_t memory, handle_t end, uint32_t flags, struct linux_file **out_file)
{
    uint64_t size, committed;
    uint32_t memory_flags, is_device;
    void *address = nullptr;
    struct pipe_file *pipe = linux_allocate(sizeof(*pipe));
    int64_t result = pipe == nullptr ? -LINUX_ENOMEM : linux_error(tess_memory_info(memory, &size, &committed, &memory_flags, &is_device));
    if (result == 0)
        result = linux_shared_map(memory, size, &address);
    if (result == 0 && !pipe_queue_attach(&pipe->queue, address, size)) {
        linux_shared_unmap(address, size);
        result = -LINUX_EIO;
    }
    if (result != 0) {
        linux_free(pipe, sizeof(*pipe));
        drop_handles(memory, end);
        return result;
    }
    pipe->memory = memory;
    pipe->end = end;
    pipe->is_writer = (flags & LINUX_O_ACCMODE) == LINUX_O_WRONLY;
    pipe->file =
        (struct linux_file){.operations = pipe->is_writer ? &write_operations : &read_operations, .references = 1, .own_flags = flags};
    pipe->file.flags = &pipe->file.own_flags;
    *out_file = &pipe->file;
    return 0;
}

int64_t linux_queue_start(const struct linux_start_file *start, struct linux_file **out_file)
{
    handle_t end = start->handles[1] != HANDLE_NONE ? start->handles[1] : start->handles[2];
    return linux_pipe_open(start->handles[0], end, start->flags, out_file);
}

int64_t linux_sys_pipe2(uint64_t fds, uint64_t flags)
{
    const struct linux_process *process = linux_process();
    struct linux_file *reader, *writer;
    handle_t memory, again = HANDLE_NONE, read_end, write_end;
    if (((uint32_t)flags & ~(LINUX_O_CLOEXEC | LINUX_O_NONBLOCK)) != 0)
        return -LINUX_EINVAL;
    if (process->posix == HANDLE_NONE)
        return -LINUX_ENOSYS;
    /* A signal that comes now waits: pipe is never EINTR. */
    linux_frame()->mask++;
    status_t status = tess_posix_pipe(process->posix, PIPE_QUEUE_BYTES_DEFAULT, &memory, &read_end, &write_end, DEADLINE_INFINITE);
    linux_frame()->mask--;
    if (status != OK)
        return status == ERROR_NO_SPACE ? -LINUX_ENFILE : linux_error(status);
    int64_t result = linux_error(tess_cspace_copy(process->cspace, memory, RIGHTS_ALL, &again));
    if (result != 0) {
        drop_handles(memory, read_end);
        drop_handles(HANDLE_NONE, write_end);
        return result;
    }
    result = linux_pipe_open(memory, read_end, LINUX_O_RDONLY | ((uint32_t)flags & LINUX_O_NONBLOCK), &reader);
    if (result != 0) {
        drop_handles(again, write_end);
        return result;
    }
    result = linux_pipe_open(again, write_end, LINUX_O_WRONLY | ((uint32_t)flags & LINUX_O_NONBLOCK), &writer);
    if (result != 0) {
        linux_file_put(reader);
        return result;
    }
    return linux_file_install_two(reader, writer, (uint32_t)flags & LINUX_O_CLOEXEC, fds);
}

int64_t linux_sys_pipe(uint64_t fds) { return linux_sys_pipe2(fds, 0); }
