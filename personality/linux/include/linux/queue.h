/* Pipes and whatever else is a queue in shared memory (src/queues). */
#pragma once
#include <linux/file.h>

/* One end of a pipe. Takes the handles (deletes them on failure too): `memory` in pipe_queue layout, `end` (kept for its life only). */
[[nodiscard]] int64_t linux_pipe_open(handle_t memory, handle_t end, uint32_t flags, struct linux_file **out_file);
/* A descriptor of the start page with kind LINUX_START_QUEUE. handles: memory, reader or HANDLE_NONE, writer or HANDLE_NONE. */
[[nodiscard]] int64_t linux_queue_start(const struct linux_start_file *start, struct linux_file **out_file);

/* Maps memory above the program's range, shared by whoever inherits it, where there is room; 0 or -LINUX_ENOMEM. */
[[nodiscard]] int64_t linux_shared_map(handle_t memory, uint64_t size, void **out_address);
void linux_shared_unmap(void *address, uint64_t size);

/* What a poll of the file can sleep on: any of these words having another value (a futex each). */
constexpr uint32_t LINUX_POLL_WORDS = 2;
struct linux_poll_wait {
    uint32_t count;
    struct {
        _Atomic uint32_t *word;
        uint32_t value;
    } words[LINUX_POLL_WORDS];
};
static inline void linux_poll_add(struct linux_poll_wait *wait, _Atomic uint32_t *word, uint32_t value)
{
    if (wait != nullptr && wait->count < LINUX_POLL_WORDS) {
        wait->words[wait->count].word = word;
        wait->words[wait->count++].value = value;
    }
}

/* The same bits on the three architectures (poll.h). */
enum : uint32_t {
    LINUX_POLLIN = 1,
    LINUX_POLLPRI = 2,
    LINUX_POLLOUT = 4,
    LINUX_POLLERR = 8,
    LINUX_POLLHUP = 16,
    LINUX_POLLNVAL = 32,
    LINUX_POLLRDNORM = 64,
    LINUX_POLLWRNORM = 256,
    LINUX_POLLRDHUP = 0x2000,
};

/* Sleeping on a word until it has another value, and waking who does. 0, -LINUX_ERESTARTSYS, -LINUX_ETIMEDOUT. */
[[nodiscard]] int64_t linux_word_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t deadline);
void linux_word_wake(_Atomic uint32_t *word);

/* Two descriptors, written to `fds` of the program; takes over both references. */
[[nodiscard]] int64_t linux_file_install_two(struct linux_file *first, struct linux_file *second, uint32_t flags, uint64_t fds);
