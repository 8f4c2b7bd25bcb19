#include <tess/string.h>
#include <tess/util.h>
#include <virtio/virtqueue.h>

static constexpr uint16_t AVAIL_NO_INTERRUPT = 1;
static constexpr uint16_t USED_NO_NOTIFY = 1;

static size_t avail_offset(uint16_t size) { return (size_t)size * sizeof(struct virtqueue_desc); }

static size_t used_offset(uint16_t size)
{
    return align_up(avail_offset(size) + sizeof(struct virtqueue_avail) + ((size_t)size + 1) * sizeof(uint16_t), 4);
}

size_t virtqueue_memory_size(uint16_t size)
{
    size_t used = sizeof(struct virtqueue_used) + (size_t)size * sizeof(struct virtqueue_used_entry) + sizeof(uint16_t);
    return align_up(used_offset(size) + used, 16);
}

static _Atomic uint16_t *used_event(struct virtqueue *q) { return &q->avail->ring[q->size]; }

static _Atomic uint16_t *avail_event(struct virtqueue *q) { return (_Atomic uint16_t *)(void *)&q->used->ring[q->size]; }

void virtqueue_init(struct virtqueue *q, uint16_t size, void *memory, uint64_t device_address, bool has_event_index)
{
    memset(q, 0, sizeof(*q));
    memset(memory, 0, virtqueue_memory_size(size));
    q->size = size;
    q->has_event_index = has_event_index;
    q->desc = memory;
    q->avail = (void *)((uint8_t *)memory + avail_offset(size));
    q->used = (void *)((uint8_t *)memory + used_offset(size));
    q->desc_address = device_address;
    q->avail_address = device_address + avail_offset(size);
    q->used_address = device_address + used_offset(size);
    q->free_count = size;
    for (uint16_t i = 0; i < size; i++) {
        q->next[i] = i + 1 == size ? VIRTQUEUE_NONE : (uint16_t)(i + 1);
    }
}

bool virtqueue_add(struct virtqueue *q, const struct virtqueue_piece *pieces, uint16_t count, uint32_t cookie)
{
    if (count == 0 || count > q->free_count) {
        return false;
    }
    uint16_t head = q->free_head, last = head, at = head;
    for (uint16_t i = 0; i < count; i++) {
        uint16_t flags =
            (uint16_t)((pieces[i].is_written_by_device ? VIRTQUEUE_DESC_WRITE : 0) | (i + 1 < count ? VIRTQUEUE_DESC_NEXT : 0));
        q->desc[at] = (struct virtqueue_desc){
            .address = pieces[i].address, .length = pieces[i].length, .flags = flags, .next = i + 1 < count ? q->next[at] : (uint16_t)0};
        last = at;
        at = q->next[at];
    }
    q->free_head = q->next[last];
    q->next[last] = VIRTQUEUE_NONE;
    q->free_count = (uint16_t)(q->free_count - count);
    q->chain_length[head] = count;
    q->cookie[head] = cookie;
    atomic_store_explicit(&q->avail->ring[q->avail_index & (q->size - 1)], head, memory_order_relaxed);
    q->avail_index++;
    return true;
}

bool virtqueue_publish(struct virtqueue *q)
{
    uint16_t old = q->notified_index, new = q->avail_index;
    if (old == new) {
        return false;
    }
    /* Release: descriptors and ring entries before the index that covers them (2.7.13.3). */
    atomic_store_explicit(&q->avail->index, new, memory_order_release);
    q->notified_index = new;
    /* The index before our look at what the device wants; the device writes its wish, then looks at the index. Without the
     * full barrier both could miss each other and the request would lie there (2.7.13.3.1). */
    atomic_thread_fence(memory_order_seq_cst);
    if (!q->has_event_index) {
        return (atomic_load_explicit(&q->used->flags, memory_order_relaxed) & USED_NO_NOTIFY) == 0;
    }
    /* Notify when the device's event index lies in [old, new) (2.7.10.1). */
    uint16_t event = atomic_load_explicit(avail_event(q), memory_order_relaxed);
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* Puts a finished chain back on the free list; our own links, so the length is right. */
static void release_chain(struct virtqueue *q, uint16_t head)
{
    uint16_t last = head;
    for (uint16_t i = 1; i < q->chain_length[head]; i++) {
        last = q->next[last];
    }
    q->next[last] = q->free_head;
    q->free_head = head;
    q->free_count = (uint16_t)(q->free_count + q->chain_length[head]);
    q->chain_length[head] = 0;
}

bool virtqueue_take(struct virtqueue *q, uint32_t *out_cookie, uint32_t *out_length)
{
    /* Acquire: the index before the entry and the data it covers (2.7.14). */
    uint16_t ready = (uint16_t)(atomic_load_explicit(&q->used->index, memory_order_acquire) - q->used_index);
    if (ready > q->size) {
        q->violations++; /* more than were ever in flight: believe none of it */
        return false;
    }
    while (ready-- > 0) {
        const volatile struct virtqueue_used_entry *entry = &q->used->ring[q->used_index++ & (q->size - 1)];
        uint32_t id = entry->id, length = entry->length;
        if (id >= q->size || q->chain_length[id] == 0) {
            q->violations++;
            continue;
        }
        *out_cookie = q->cookie[id];
        *out_length = length;
        release_chain(q, (uint16_t)id);
        return true;
    }
    return false;
}

bool virtqueue_enable_interrupt(struct virtqueue *q, uint16_t after)
{
    uint16_t event = (uint16_t)(q->used_index + after - 1);
    if (q->has_event_index) {
        atomic_store_explicit(used_event(q), event, memory_order_relaxed);
    } else {
        atomic_store_explicit(&q->avail->flags, 0, memory_order_relaxed);
        after = 1;
    }
    /* The wish before our look at the index; the device does the reverse (2.7.7.1). */
    atomic_thread_fence(memory_order_seq_cst);
    return (uint16_t)(atomic_load_explicit(&q->used->index, memory_order_acquire) - q->used_index) < after;
}

void virtqueue_disable_interrupt(struct virtqueue *q)
{
    if (q->has_event_index) {
        /* An index that the device passed already: it interrupts only after wrapping round. */
        atomic_store_explicit(used_event(q), (uint16_t)(q->used_index - 1), memory_order_relaxed);
    } else {
        atomic_store_explicit(&q->avail->flags, AVAIL_NO_INTERRUPT, memory_order_relaxed);
    }
}
