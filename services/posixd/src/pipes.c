/* Pipes: made here, because somebody must know when the last reader or writer has gone, and mend what a killed one left. */
#include "posixd.h"
#include <std/memory.h>
#include <std/program.h>
#include <tess/serve/posix.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

static struct pipe {
    struct pipe_queue queue; /* header only; header nullptr: free */
    uint64_t generation;
    uint32_t ends; /* PIPE_QUEUE_NO_*: those that are gone */
} pipes[PIPES_MAX];

static void wake(_Atomic uint32_t *word)
{
    uint32_t woken;
    do {
        if (tess_vspace_futex_wake(std_self.vspace, (uint64_t)word, FUTEX_BATCH, UINT32_MAX, &woken) != OK)
            return;
    } while (woken == FUTEX_BATCH);
}

static void wake_both(const struct pipe *pipe)
{
    wake(&pipe->queue.header->readable);
    wake(&pipe->queue.header->writable);
}

static void pipe_close(struct pipe *pipe)
{
    std_unmap(pipe->queue.header, PIPE_QUEUE_HEADER_BYTES);
    pipe->queue = (struct pipe_queue){};
}

static status_t map_header(struct pipe *pipe, handle_t memory, uint32_t size)
{
    void *header;
    /* Ours to look at whatever the cell has left. */
    status_t status = tess_memory_commit(memory, 0, PIPE_QUEUE_HEADER_BYTES);
    if (status == OK)
        status = std_map(memory, 0, PIPE_QUEUE_HEADER_BYTES, MAP_READ | MAP_WRITE, &header);
    if (status != OK)
        return ERROR_NO_MEMORY;
    pipe_queue_init(header, size);
    pipe->queue = (struct pipe_queue){.header = header, .size = size};
    pipe->ends = 0;
    pipe->generation++;
    return OK;
}

static status_t make_handles(struct pipe *pipe, handle_t memory, handle_t *out_memory, handle_t *out_reader, handle_t *out_writer)
{
    constexpr uint32_t give = RIGHT_COPY | RIGHT_MOVE | RIGHT_INSPECT;
    uint32_t index = (uint32_t)(pipe - pipes);
    *out_memory = *out_reader = *out_writer = HANDLE_NONE;
    status_t status = std_handle_copy(memory, give | MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE, out_memory);
    if (status == OK)
        status = std_handle_mint(endpoint, give, badge_of(pipe->generation, index, BADGE_READER), out_reader);
    if (status == OK)
        status = std_handle_mint(endpoint, give, badge_of(pipe->generation, index, BADGE_WRITER), out_writer);
    if (status == OK)
        return OK;
    std_handle_delete(*out_memory);
    std_handle_delete(*out_reader);
    std_handle_delete(*out_writer);
    return ERROR_NO_MEMORY;
}

status_t pipe_create(uint32_t size, handle_t *out_memory, handle_t *out_reader, handle_t *out_writer)
{
    struct pipe *pipe = nullptr;
    for (uint32_t i = 0; i < PIPES_MAX && pipe == nullptr; i++)
        pipe = pipes[i].queue.header == nullptr ? &pipes[i] : nullptr;
    uint64_t bytes = pipe_queue_memory_size(size);
    if (bytes == 0)
        return ERROR_BAD_ARGUMENT;
    if (pipe == nullptr)
        return ERROR_NO_SPACE;
    handle_t memory;
    if (tess_untyped_create_memory(cell_untyped, bytes, 0, &memory) != OK)
        return ERROR_NO_MEMORY;
    status_t status = map_header(pipe, memory, size);
    if (status == OK) {
        status = make_handles(pipe, memory, out_memory, out_reader, out_writer);
        if (status != OK)
            pipe_close(pipe); /* ends that were made and deleted again are of a generation that is over */
    }
    std_handle_delete(memory);
    return status;
}

void pipe_badge_gone(uint64_t badge)
{
    uint32_t index = badge_index(badge), end = badge_kind(badge) == BADGE_READER ? PIPE_QUEUE_NO_READERS : PIPE_QUEUE_NO_WRITERS;
    if (index >= PIPES_MAX || pipes[index].queue.header == nullptr || pipes[index].generation != badge_generation(badge))
        return;
    struct pipe *pipe = &pipes[index];
    pipe->ends |= end;
    pipe_queue_end(&pipe->queue, end);
    wake_both(pipe);
    if (pipe->ends == (PIPE_QUEUE_NO_READERS | PIPE_QUEUE_NO_WRITERS))
        pipe_close(pipe);
}

void pipes_mend(void)
{
    for (uint32_t i = 0; i < PIPES_MAX; i++) {
        uint32_t holder, heir;
        if (pipes[i].queue.header == nullptr)
            continue;
        bool is_wake_due = pipe_queue_mend(&pipes[i].queue, &holder);
        if (holder != 0 && !is_thread_alive(holder))
            (void)tess_vspace_futex_unlock(std_self.vspace, (uint64_t)&pipes[i].queue.header->lock, holder, &heir);
        if (is_wake_due)
            wake_both(&pipes[i]);
    }
}
