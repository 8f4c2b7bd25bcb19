/* Sleeping on a queue's words with Linux's futexes, for the host tests: what a process of a cell does with vspace.futex_*. */
#pragma once
#include "check.h"
#include <errno.h>
#include <linux/futex.h>
#include <ring/pipe_queue.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void futex_sleep(_Atomic uint32_t *word, uint32_t value)
{
    struct timespec limit = {.tv_sec = 30};
    long result = syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, nullptr, 0);
    CHECK(result == 0 || errno != ETIMEDOUT); /* a wake-up was lost */
}

static void futex_wake_all(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0); }

/* Returns 0 at the end. */
static uint32_t blocking_read(const struct pipe_queue *q, void *to, uint32_t size)
{
    uint32_t count, value;
    while (true) {
        enum pipe_queue_result result = pipe_queue_read(q, to, size, &count);
        CHECK(result != PIPE_QUEUE_BROKEN);
        if (result == PIPE_QUEUE_OK && pipe_queue_should_wake_writers(q))
            futex_wake_all(&q->header->writable);
        if (result != PIPE_QUEUE_EMPTY)
            return count;
        if (pipe_queue_prepare_read_wait(q, &value))
            futex_sleep(&q->header->readable, value);
    }
}

/* All of it, in one piece when it is small; false: nobody reads. */
static bool blocking_write(const struct pipe_queue *q, uint32_t thread_id, const void *from, uint32_t size)
{
    while (size > 0) {
        uint32_t value;
        struct pipe_queue_write write;
        while (pipe_queue_lock(q, thread_id) == PIPE_QUEUE_LOCKED)
            sched_yield();
        enum pipe_queue_result result = pipe_queue_reserve(q, size, &write);
        CHECK(result != PIPE_QUEUE_BROKEN);
        if (result == PIPE_QUEUE_OK) {
            memcpy(write.spans[0].data, from, write.spans[0].size);
            memcpy(write.spans[1].data, (const uint8_t *)from + write.spans[0].size, write.spans[1].size);
            pipe_queue_publish(q, &write, write.size);
            from = (const uint8_t *)from + write.size;
            size -= write.size;
            if (pipe_queue_should_wake_readers(q))
                futex_wake_all(&q->header->readable);
        }
        CHECK(!pipe_queue_unlock(q, thread_id)); /* nobody sleeps for the lock here */
        if (result == PIPE_QUEUE_ENDED)
            return false;
        if (result == PIPE_QUEUE_FULL && pipe_queue_prepare_write_wait(q, size, &value))
            futex_sleep(&q->header->writable, value);
    }
    return true;
}
