/* Unit tests of ring/frame_queue.h: both roles in one thread. */
#include "check.h"
#include <ring/frame_queue.h>
#include <string.h>

static constexpr uint32_t COUNT = 8;
static alignas(4096) uint8_t memory[4096 + 4096 + COUNT * 2 * 2048];
static struct frame_queue client, driver;

static void setup(void)
{
    CHECK(frame_queue_init(&client, memory, sizeof(memory), COUNT));
    CHECK(frame_queue_attach(&driver, memory, sizeof(memory)));
}

static void test_attach(void)
{
    struct frame_queue q;
    CHECK(frame_queue_memory_size(COUNT) == sizeof(memory));
    CHECK(frame_queue_memory_size(3) == 0 && frame_queue_memory_size(1) == 0 && frame_queue_memory_size(1024) == 0);
    setup();
    CHECK(!frame_queue_attach(&q, memory, sizeof(memory) - 1));
    CHECK(!frame_queue_attach(&q, memory, 100));
    atomic_store(&client.header->count, 512);
    CHECK(!frame_queue_attach(&q, memory, sizeof(memory)));
    atomic_store(&client.header->count, COUNT);
    atomic_store(&client.header->magic, 1);
    CHECK(!frame_queue_attach(&q, memory, sizeof(memory)));
    CHECK(frame_queue_rx_offset(&client, 1) == 8192 + 2048 + 64);
    CHECK(frame_queue_tx_offset(&client, 0) == 8192 + COUNT * 2048 + 64);
}

static void test_receive(void)
{
    setup();
    for (int round = 0; round < 100; round++) {
        uint16_t buffer;
        uint32_t held = 0;
        while (frame_queue_rx_get(&driver, &buffer)) {
            memset(frame_queue_rx_data(&driver, buffer), round, 60);
            CHECK(frame_queue_rx_complete(&driver, buffer, 60));
            CHECK(!frame_queue_rx_complete(&driver, buffer, 60)); /* no longer ours */
            held++;
        }
        CHECK(held == COUNT);
        struct frame frame;
        while (frame_queue_rx_take(&client, &frame)) {
            CHECK(frame.length == 60 && frame.data[0] == round && frame.data[59] == round);
            CHECK(frame_queue_rx_give(&client, frame.buffer));
            CHECK(!frame_queue_rx_give(&client, frame.buffer));
            held--;
        }
        CHECK(held == 0);
    }
    uint16_t buffer;
    struct frame frame;
    CHECK(frame_queue_rx_get(&driver, &buffer));
    CHECK(frame_queue_rx_complete(&driver, buffer, 0)); /* unused: silently posted again */
    CHECK(!frame_queue_rx_take(&client, &frame));
    CHECK(client.violations == 0 && driver.violations == 0);
}

static void test_transmit(void)
{
    setup();
    for (int round = 0; round < 100; round++) {
        struct frame frame;
        uint32_t sent = 0;
        while (frame_queue_tx_alloc(&client, &frame)) {
            memset(frame.data, round, 100);
            CHECK(!frame_queue_tx_send(&client, frame.buffer, 0));
            CHECK(!frame_queue_tx_send(&client, frame.buffer, FRAME_QUEUE_FRAME_MAX + 1));
            CHECK(frame_queue_tx_send(&client, frame.buffer, (uint16_t)(60 + sent)));
            sent++;
        }
        CHECK(sent == COUNT);
        for (uint32_t i = 0; frame_queue_tx_get(&driver, &frame); i++) {
            CHECK(frame.length == 60 + i && frame.data[0] == round);
            CHECK(frame_queue_tx_complete(&driver, frame.buffer));
            sent--;
        }
        CHECK(sent == 0);
    }
    struct frame frame, again;
    CHECK(frame_queue_tx_alloc(&client, &frame));
    frame_queue_tx_cancel(&client, frame.buffer);
    CHECK(frame_queue_tx_alloc(&client, &again) && again.buffer == frame.buffer);
}

static void test_wakeups(void)
{
    setup();
    uint16_t buffer;
    struct frame frame;
    CHECK(!frame_queue_prepare_wait(&driver, FRAME_QUEUE_WANT_RX | FRAME_QUEUE_WANT_TX)); /* posted buffers are there */
    while (frame_queue_rx_get(&driver, &buffer)) {
    }
    CHECK(frame_queue_prepare_wait(&driver, FRAME_QUEUE_WANT_RX | FRAME_QUEUE_WANT_TX));
    CHECK(frame_queue_tx_alloc(&client, &frame) && frame_queue_tx_send(&client, frame.buffer, 60));
    CHECK(frame_queue_should_wake(&client));
    CHECK(!frame_queue_should_wake(&client));
    CHECK(frame_queue_prepare_wait(&client, FRAME_QUEUE_WANT_RX));
    CHECK(frame_queue_tx_get(&driver, &frame) && frame_queue_tx_complete(&driver, frame.buffer));
    CHECK(!frame_queue_should_wake(&driver)); /* the client waits for frames, not for sent buffers */
    CHECK(frame_queue_rx_complete(&driver, 0, 60));
    CHECK(frame_queue_should_wake(&driver));
}

static void put_raw(struct frame_ring *ring, uint32_t word)
{
    atomic_store(&ring->entries[ring->index & (COUNT - 1)], word);
    atomic_store(ring->own, ++ring->index);
}

static void test_hostile_client(void)
{
    setup();
    uint16_t buffer;
    struct frame frame;
    for (uint32_t i = 0; i < COUNT; i++) {
        CHECK(frame_queue_rx_get(&driver, &buffer) && buffer == i);
    }
    put_raw(&client.rx_free, 3);     /* posted twice */
    put_raw(&client.rx_free, COUNT); /* no such buffer */
    put_raw(&client.rx_free, 0xffff);
    CHECK(!frame_queue_rx_get(&driver, &buffer) && driver.violations == 3);
    put_raw(&client.tx_ready, 1 | (uint32_t)(FRAME_QUEUE_FRAME_MAX + 1) << 16);
    put_raw(&client.tx_ready, 2); /* length 0 is given back */
    CHECK(!frame_queue_tx_get(&driver, &frame) && driver.violations == 5);
    put_raw(&client.tx_ready, 1 | 60u << 16);
    put_raw(&client.tx_ready, 1 | 61u << 16);
    CHECK(frame_queue_tx_get(&driver, &frame) && frame.buffer == 1 && frame.length == 60);
    CHECK(!frame_queue_tx_get(&driver, &frame));
    CHECK(!driver.is_broken);
    atomic_fetch_add(client.tx_ready.own, COUNT + 1);
    CHECK(!frame_queue_tx_get(&driver, &frame) && driver.is_broken);
    CHECK(!frame_queue_rx_complete(&driver, 0, 60));
    CHECK(!frame_queue_prepare_wait(&driver, FRAME_QUEUE_WANT_TX));
}

static void test_hostile_driver(void)
{
    setup();
    struct frame frame, other;
    put_raw(&driver.rx_done, 5 | 60u << 16); /* the client gave it away: accepted, as if received */
    put_raw(&driver.rx_done, 5 | 60u << 16);
    CHECK(frame_queue_rx_take(&client, &frame) && frame.buffer == 5);
    CHECK(!frame_queue_rx_take(&client, &other) && client.violations == 1);
    put_raw(&driver.tx_done, 0); /* never sent */
    CHECK(frame_queue_tx_alloc(&client, &frame) && client.violations == 2);
    uint32_t count = 1;
    while (frame_queue_tx_alloc(&client, &other)) {
        CHECK(other.buffer != frame.buffer);
        count++;
    }
    CHECK(count == COUNT);
    atomic_store(driver.rx_free.own, 1000); /* consumed more than was posted */
    CHECK(!frame_queue_rx_give(&client, 5) && client.is_broken);
}

int main(void)
{
    test_attach();
    test_receive();
    test_transmit();
    test_wakeups();
    test_hostile_client();
    test_hostile_driver();
    puts("frame_queue: 6 tests passed");
    return 0;
}
