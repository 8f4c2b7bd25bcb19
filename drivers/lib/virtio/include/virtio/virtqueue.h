/*
 * Split virtqueue (VIRTIO 1.2, 2.7), driver's side: index logic over memory that the device shares. Pure: no registers, no
 * system calls; the caller notifies the device when told to, and waits for interrupts.
 *
 * The device is trusted with memory (it has DMA), but not with our bookkeeping: a used entry that names a descriptor that is not
 * in flight is dropped and counted. One thread uses a queue.
 *
 * Notifications are suppressed in both directions with event indices when VIRTIO_F_EVENT_IDX was negotiated (2.7.7, 2.7.10),
 * else with the flags.
 */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

constexpr uint16_t VIRTQUEUE_SIZE_MAX = 256;
constexpr uint16_t VIRTQUEUE_DESC_NEXT = 1;
constexpr uint16_t VIRTQUEUE_DESC_WRITE = 2;
constexpr uint16_t VIRTQUEUE_NONE = 0xFFFF;

struct virtqueue_desc {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

struct virtqueue_used_entry {
    uint32_t id;
    uint32_t length;
};

struct virtqueue_avail {
    _Atomic uint16_t flags, index;
    _Atomic uint16_t ring[]; /* size entries, then used_event */
};

struct virtqueue_used {
    _Atomic uint16_t flags, index;
    struct virtqueue_used_entry ring[]; /* size entries, then avail_event (16 bits) */
};

/* One piece of a request: what the device reads comes before what it writes. */
struct virtqueue_piece {
    uint64_t address; /* as the device sees it */
    uint32_t length;
    bool is_written_by_device;
};

struct virtqueue {
    uint16_t size; /* power of two, at most VIRTQUEUE_SIZE_MAX */
    bool has_event_index;
    struct virtqueue_desc *desc;
    struct virtqueue_avail *avail;
    struct virtqueue_used *used;
    uint64_t desc_address, avail_address, used_address; /* as the device sees them */
    uint16_t free_head, free_count;
    uint16_t avail_index, notified_index; /* ours; at the last notification */
    uint16_t used_index;                  /* next entry to take */
    uint32_t violations;
    /* Our own copy of each chain: the shared descriptors are written, never believed. */
    uint16_t next[VIRTQUEUE_SIZE_MAX];
    uint16_t chain_length[VIRTQUEUE_SIZE_MAX]; /* of a head in flight; 0 = not in flight */
    uint32_t cookie[VIRTQUEUE_SIZE_MAX];
};

/* Bytes for a queue of `size` entries (2.7: descriptors 16-, available 2-, used 4-byte aligned), a multiple of 16. */
size_t virtqueue_memory_size(uint16_t size);
/* memory: zeroed here; 16-byte aligned; device_address is where the device sees it. size: power of two in range. */
void virtqueue_init(struct virtqueue *q, uint16_t size, void *memory, uint64_t device_address, bool has_event_index);

/* Queues one request (1..size pieces, none of length 0). False: not enough free descriptors. Not yet visible to the device. */
bool virtqueue_add(struct virtqueue *q, const struct virtqueue_piece *pieces, uint16_t count, uint32_t cookie);
/* Makes everything added visible. True: the device wants a notification. */
bool virtqueue_publish(struct virtqueue *q);

/* The next finished request: its cookie, and how many bytes the device wrote (as it says; the caller bounds it). */
bool virtqueue_take(struct virtqueue *q, uint32_t *out_cookie, uint32_t *out_length);
static inline uint16_t virtqueue_in_flight(const struct virtqueue *q) { return (uint16_t)(q->size - q->free_count); }

/* Asks for an interrupt when `after` more requests are finished (1 = the next one). False: that many are finished already, so
 * take them instead of waiting. Without event indices every finished request interrupts. */
bool virtqueue_enable_interrupt(struct virtqueue *q, uint16_t after);
/* A hint; interrupts may still come. */
void virtqueue_disable_interrupt(struct virtqueue *q);
