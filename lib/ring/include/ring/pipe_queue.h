/*
 * A pipe in memory shared by any number of readers and writers, each of which may be killed between any two instructions and none of which
 * trusts another with more than the pipe's bytes. A header page, then `size` bytes of data.
 *
 * head and tail count bytes from the beginning and only grow. Readers take no lock: they copy, then move head by compare-and-swap, and
 * copy again when another was faster; so a reader that dies has taken all of a read or nothing. Writers hold `lock` (its word names the
 * holder's thread id) while they copy behind tail; then one store of tail shows everything at once; so a writer that dies has written
 * all of a write or nothing. What another's death leaves is mended by pipe_queue_mend(), called by whoever sees the death (posixd).
 *
 * Nothing here believes a word of the header: one that cannot be true makes the operation BROKEN, and every access lies within `size`.
 * A hostile participant can make bytes appear, change, vanish, or hold the lock, as one that reads and writes the pipe could; no more.
 *
 * Sleeping is the caller's, on the words `readable` and `writable`: bit 0 says that somebody sleeps, the rest counts wake-ups. Who sees
 * nothing to do calls pipe_queue_prepare_wait(); a value comes back to sleep on until the word is another (futex_wait). Who has read or written asks
 * pipe_queue_should_wake_*(), and if told so wakes all sleepers (futex_wake, again while it woke FUTEX_BATCH).
 *
 * Nothing here blocks, allocates or calls the system.
 */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

constexpr uint32_t PIPE_QUEUE_HEADER_BYTES = 4096;
constexpr uint32_t PIPE_QUEUE_BYTES_MIN = 4096, PIPE_QUEUE_BYTES_MAX = 1u << 20, PIPE_QUEUE_BYTES_DEFAULT = 65536;
constexpr uint32_t PIPE_QUEUE_ATOMIC = 4096; /* a write of so many bytes is whole (PIPE_BUF) */

/* pipe_queue_header.lock, as vspace.futex_lock knows it. */
constexpr uint32_t PIPE_QUEUE_OWNER = 0x3FFFFFFF, PIPE_QUEUE_WAITERS = 0x80000000;

enum pipe_queue_ends : uint32_t {
    PIPE_QUEUE_NO_READERS = 1, /* writes fail: EPIPE */
    PIPE_QUEUE_NO_WRITERS = 2, /* what is in it can still be read; then it is at its end */
};

struct pipe_queue_header {
    _Atomic uint64_t head;
    _Atomic uint32_t writable; /* writers sleep on it */
    uint32_t reserved0[13];
    _Atomic uint64_t tail;
    _Atomic uint32_t readable; /* readers sleep on it */
    _Atomic uint32_t lock;     /* writers': 0 = free, or a thread id, with PIPE_QUEUE_WAITERS */
    uint32_t reserved1[12];
    _Atomic uint32_t ends; /* enum pipe_queue_ends; written by posixd */
    uint32_t size;         /* for whoever gets the memory; not looked at after attach */
    uint8_t reserved2[PIPE_QUEUE_HEADER_BYTES - 136];
};
static_assert(sizeof(struct pipe_queue_header) == PIPE_QUEUE_HEADER_BYTES);
static_assert(offsetof(struct pipe_queue_header, tail) == 64 && offsetof(struct pipe_queue_header, ends) == 128);

struct pipe_queue {
    struct pipe_queue_header *header;
    uint8_t *data;
    uint32_t size;
};
struct pipe_queue_span {
    uint8_t *data;
    uint32_t size;
};

enum pipe_queue_result : uint32_t {
    PIPE_QUEUE_OK,
    PIPE_QUEUE_EMPTY,  /* of a read */
    PIPE_QUEUE_FULL,   /* of a write: not as much room as it needs */
    PIPE_QUEUE_ENDED,  /* nothing in it, and no writers; or no readers */
    PIPE_QUEUE_AGAIN,  /* another reader was faster: once more */
    PIPE_QUEUE_LOCKED, /* another writer holds the lock: futex_lock, then pipe_queue_reserve */
    PIPE_QUEUE_BROKEN, /* the header says what cannot be */
};

/* Bytes of memory for a queue of `size`; 0 when that is no power of two within the limits. */
size_t pipe_queue_memory_size(uint32_t size);
/* On zeroed memory that nobody else uses yet; its header page is enough. */
void pipe_queue_init(void *base, uint32_t size);
/* `size` comes from whoever vouches for the memory (its length), not from the header. data may be nullptr for who only mends. */
bool pipe_queue_attach(struct pipe_queue *q, void *base, size_t memory_size);

/* ---- Reading. In one step, or: begin, copy out of the spans, finish. ---- */
struct pipe_queue_read {
    uint64_t head;
    uint32_t size; /* what there is, at most what was wanted */
    struct pipe_queue_span spans[2];
};
/* OK, EMPTY, ENDED, BROKEN. */
enum pipe_queue_result pipe_queue_read_begin(const struct pipe_queue *q, uint64_t wanted, struct pipe_queue_read *out_read);
/* Takes `count` of the bytes, at most read->size; OK, or AGAIN: what was copied is nothing, begin again. */
enum pipe_queue_result pipe_queue_read_finish(const struct pipe_queue *q, const struct pipe_queue_read *read, uint32_t count);
enum pipe_queue_result pipe_queue_read(const struct pipe_queue *q, void *to, uint64_t size, uint32_t *out_count);

/* ---- Writing: lock, reserve, copy into the spans, publish, unlock. ---- */
struct pipe_queue_write {
    uint64_t tail;
    uint32_t size;
    struct pipe_queue_span spans[2];
};
/* OK or LOCKED. */
enum pipe_queue_result pipe_queue_lock(const struct pipe_queue *q, uint32_t thread_id);
/* True: others wait for the lock: futex_unlock(&header->lock, thread_id) frees it. */
bool pipe_queue_unlock(const struct pipe_queue *q, uint32_t thread_id);
/* With the lock. Room for `wanted` bytes: all of them up to PIPE_QUEUE_ATOMIC, else at least one. OK, FULL, ENDED, BROKEN. */
enum pipe_queue_result pipe_queue_reserve(const struct pipe_queue *q, uint64_t wanted, struct pipe_queue_write *out_write);
/* Shows the first `count` bytes of what was reserved. */
void pipe_queue_publish(const struct pipe_queue *q, const struct pipe_queue_write *write, uint32_t count);
/* All of these but the lock's sleep. LOCKED when another holds it. *out_wake_lock: see pipe_queue_unlock. */
enum pipe_queue_result pipe_queue_write(const struct pipe_queue *q, uint32_t thread_id, const void *from, uint64_t size,
                                        uint32_t *out_count, bool *out_wake_lock);

/* ---- Readiness (poll), and sleeping ---- */
uint32_t pipe_queue_readable(const struct pipe_queue *q); /* bytes now; 0 when broken */
bool pipe_queue_is_readable(const struct pipe_queue *q);  /* a read would not wait: bytes, the end, or broken */
bool pipe_queue_is_writable(const struct pipe_queue *q);  /* a write of PIPE_QUEUE_ATOMIC bytes would not wait */
uint32_t pipe_queue_ends(const struct pipe_queue *q);

/* False: it is readable (or writable) already. True: sleep while the word has the value. `room`: of how many bytes a write needs. */
bool pipe_queue_prepare_read_wait(const struct pipe_queue *q, uint32_t *out_value);
bool pipe_queue_prepare_write_wait(const struct pipe_queue *q, uint32_t room, uint32_t *out_value);
/* After a write, before the lock is given back (so that a death in between shows): true: wake who sleeps on `readable`. */
bool pipe_queue_should_wake_readers(const struct pipe_queue *q);
/* After a read: true: wake who sleeps on `writable`. */
bool pipe_queue_should_wake_writers(const struct pipe_queue *q);

/* ---- For posixd ---- */
void pipe_queue_end(const struct pipe_queue *q, uint32_t ends); /* then wake both words, whatever they are */
/* Somebody was killed. Which thread holds the lock (0: nobody): when it is gone, futex_unlock in its name. Both words are to be woken
 * when true comes back: somebody slept here at some time, and the wake may have died with its sender. */
bool pipe_queue_mend(const struct pipe_queue *q, uint32_t *out_holder);
