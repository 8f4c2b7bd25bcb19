/* The split queue against a simulated device that follows VIRTIO 1.2, 2.7 from its own side, and against one that lies. */
#include <check.h>
#include <stdlib.h>
#include <virtio/virtqueue.h>

static constexpr uint16_t SIZE = 8;
static constexpr uint64_t BASE = 0x4000'0000;

struct device {
    struct virtqueue *q;
    uint16_t avail_index, used_index;
};

static _Atomic uint16_t *avail_event(struct virtqueue *q) { return (_Atomic uint16_t *)(void *)&q->used->ring[q->size]; }

/* Takes the next request; returns its head, or -1. */
static int device_take(struct device *d)
{
    if (atomic_load(&d->q->avail->index) == d->avail_index) {
        return -1;
    }
    return atomic_load(&d->q->avail->ring[d->avail_index++ % SIZE]);
}

static void device_finish(struct device *d, int head, uint32_t length)
{
    d->q->used->ring[d->used_index++ % SIZE] = (struct virtqueue_used_entry){.id = (uint32_t)head, .length = length};
    atomic_store(&d->q->used->index, d->used_index);
}

static struct virtqueue q;
static struct device device;

static void setup(bool has_event_index)
{
    static void *memory;
    free(memory);
    memory = aligned_alloc(4096, 4096);
    virtqueue_init(&q, SIZE, memory, BASE, has_event_index);
    device = (struct device){.q = &q};
}

static bool add(uint16_t pieces, uint32_t cookie)
{
    struct virtqueue_piece list[SIZE + 1];
    for (uint16_t i = 0; i < pieces; i++) {
        list[i] = (struct virtqueue_piece){.address = cookie * 16 + i, .length = 100u + i, .is_written_by_device = i > 0};
    }
    return virtqueue_add(&q, list, pieces, cookie);
}

static void test_layout(void)
{
    setup(false);
    CHECK(q.desc_address == BASE);
    CHECK(q.avail_address == BASE + SIZE * 16);
    CHECK(q.used_address % 4 == 0 && q.used_address >= q.avail_address + 4 + SIZE * 2 + 2);
    CHECK(virtqueue_memory_size(SIZE) >= q.used_address - BASE + 4 + SIZE * 8 + 2);
    CHECK(virtqueue_memory_size(256) <= 3 * 4096);
}

static void test_chains(void)
{
    setup(false);
    CHECK(add(3, 7));
    virtqueue_publish(&q);
    int head = device_take(&device);
    CHECK(head >= 0 && q.desc[head].address == 7 * 16 && q.desc[head].flags == VIRTQUEUE_DESC_NEXT);
    uint16_t second = q.desc[head].next;
    CHECK(q.desc[second].flags == (VIRTQUEUE_DESC_NEXT | VIRTQUEUE_DESC_WRITE) && q.desc[second].length == 101);
    uint16_t third = q.desc[second].next;
    CHECK(q.desc[third].flags == VIRTQUEUE_DESC_WRITE && q.desc[third].length == 102);
    CHECK(virtqueue_in_flight(&q) == 3);
    q.desc[head].next = 0xFFFF; /* the shared copy is not believed */
    device_finish(&device, head, 55);
    uint32_t cookie, length;
    CHECK(virtqueue_take(&q, &cookie, &length) && cookie == 7 && length == 55);
    CHECK(virtqueue_in_flight(&q) == 0 && !virtqueue_take(&q, &cookie, &length));
    for (int i = 0; i < 8; i++) {
        CHECK(add(1, (uint32_t)i)); /* all eight are free again */
    }
    CHECK(!add(1, 9) && !add(0, 9));
}

/* Many requests, finished out of order: each cookie comes back exactly once. */
static void test_out_of_order(bool has_event_index)
{
    setup(has_event_index);
    uint32_t next = 0, returned = 0, in_flight[SIZE], count = 0;
    uint64_t sum = 0;
    srand(1);
    while (returned < 100'000) {
        while (add((uint16_t)(1 + rand() % 3), next)) {
            next++;
            if (rand() % 2) {
                break;
            }
        }
        virtqueue_publish(&q);
        for (int head; (head = device_take(&device)) >= 0;) {
            in_flight[count++] = (uint32_t)head;
        }
        for (int n = rand() % 3; n > 0 && count > 0; n--) {
            uint32_t pick = (uint32_t)rand() % count;
            device_finish(&device, (int)in_flight[pick], in_flight[pick]);
            in_flight[pick] = in_flight[--count];
        }
        for (uint32_t cookie, length; virtqueue_take(&q, &cookie, &length);) {
            sum += cookie;
            returned++;
        }
    }
    uint64_t expected = 0;
    for (uint32_t head = 0; head < SIZE; head++) {
        expected += q.chain_length[head] != 0 ? q.cookie[head] : 0;
    }
    CHECK(sum + expected == (uint64_t)next * (next - 1) / 2);
    CHECK(q.violations == 0);
}

static void test_notification(void)
{
    setup(false);
    CHECK(!virtqueue_publish(&q)); /* nothing new */
    CHECK(add(1, 1) && virtqueue_publish(&q));
    atomic_store(&q.used->flags, 1);
    CHECK(add(1, 2) && !virtqueue_publish(&q));

    setup(true);
    atomic_store(avail_event(&q), 0);
    CHECK(add(1, 1) && virtqueue_publish(&q)); /* event 0: the first request passes it */
    CHECK(add(1, 2) && !virtqueue_publish(&q));
    atomic_store(avail_event(&q), 3);
    CHECK(add(1, 3) && !virtqueue_publish(&q));
    CHECK(add(1, 4) && add(1, 5) && virtqueue_publish(&q));
}

static void test_interrupt_wish(void)
{
    uint32_t cookie, length;
    for (int mode = 0; mode < 2; mode++) {
        setup(mode == 1);
        CHECK(add(1, 1) && add(1, 2));
        virtqueue_publish(&q);
        CHECK(virtqueue_enable_interrupt(&q, 1));
        device_finish(&device, device_take(&device), 0);
        CHECK(!virtqueue_enable_interrupt(&q, 1)); /* it came before the wish */
        CHECK(virtqueue_enable_interrupt(&q, 2) == (mode == 1));
        CHECK(virtqueue_take(&q, &cookie, &length));
        CHECK(virtqueue_enable_interrupt(&q, 1));
        virtqueue_disable_interrupt(&q);
        CHECK(mode == 1 || atomic_load(&q.avail->flags) == 1);
    }
}

static void test_lying_device(void)
{
    setup(false);
    uint32_t cookie, length;
    CHECK(add(2, 5));
    virtqueue_publish(&q);
    int head = device_take(&device);
    device_finish(&device, 1, 0);  /* second descriptor of the chain, no head */
    device_finish(&device, 77, 0); /* no such descriptor */
    device_finish(&device, head, 10);
    device_finish(&device, head, 10); /* twice */
    CHECK(virtqueue_take(&q, &cookie, &length) && cookie == 5);
    CHECK(!virtqueue_take(&q, &cookie, &length));
    CHECK(q.violations == 3 && virtqueue_in_flight(&q) == 0);
    atomic_store(&q.used->index, (uint16_t)(q.used_index + SIZE + 1));
    CHECK(!virtqueue_take(&q, &cookie, &length) && q.violations == 4);
}

int main(void)
{
    test_layout();
    test_chains();
    test_out_of_order(false);
    test_out_of_order(true);
    test_notification();
    test_interrupt_wish();
    test_lying_device();
    return check_result();
}
