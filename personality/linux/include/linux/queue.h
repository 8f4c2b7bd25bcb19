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
