/* Unit tests of ring/socket_queue.h: both roles in one thread. */
#include "check.h"
#include <ring/socket_queue.h>
#include <string.h>

static constexpr uint32_t RX = 1024, TX = 2048;
static alignas(4096) uint8_t memory[SOCKET_QUEUE_HEADER_BYTES + RX + TX];
static struct socket_queue client, service;

static void setup(void)
{
    CHECK(socket_queue_init(&client, memory, sizeof(memory), RX, TX));
    CHECK(socket_queue_attach(&service, memory, sizeof(memory), RX, TX, SOCKET_QUEUE_SERVICE));
}

static void test_sizes(void)
{
    struct socket_queue q;
    CHECK(socket_queue_memory_size(RX, TX) == sizeof(memory));
    CHECK(socket_queue_memory_size(1000, TX) == 0);
    CHECK(socket_queue_memory_size(512, TX) == 0);
    CHECK(socket_queue_memory_size(RX, 1u << 21) == 0);
    CHECK(!socket_queue_attach(&q, memory, sizeof(memory) - 1, RX, TX, SOCKET_QUEUE_SERVICE));
    CHECK(!socket_queue_attach(&q, memory + 1, sizeof(memory), RX, RX, SOCKET_QUEUE_SERVICE));
}

static void test_bytes_wrap(void)
{
    setup();
    uint8_t sent = 0, expected = 0;
    for (int round = 0; round < 500; round++) {
        uint8_t out[700], in[700];
        uint32_t want = 1 + (uint32_t)round % sizeof(out);
        for (uint32_t i = 0; i < want; i++) {
            out[i] = (uint8_t)(sent + i);
        }
        uint32_t count = socket_queue_write(&service, out, want);
        CHECK(count == want);
        sent = (uint8_t)(sent + count);
        CHECK(socket_queue_readable(&client) == count);
        CHECK(socket_queue_read(&client, in, sizeof(in)) == count);
        for (uint32_t i = 0; i < count; i++) {
            CHECK(in[i] == expected++);
        }
    }
}

static void test_full_and_spans(void)
{
    setup();
    static uint8_t block[4096];
    CHECK(socket_queue_write(&client, block, sizeof(block)) == TX);
    CHECK(socket_queue_writable(&client) == 0);
    CHECK(socket_queue_write(&client, block, 1) == 0);
    CHECK(socket_queue_consume(&service, 100) == 100);
    CHECK(socket_queue_writable(&client) == 100);
    struct socket_queue_span spans[2];
    CHECK(socket_queue_reserve(&client, spans) == 100 && spans[0].size == 100 && spans[1].size == 0);
    CHECK(socket_queue_commit(&client, 1000) == 100);
    CHECK(socket_queue_peek(&service, spans) == TX && spans[0].size == TX - 100 && spans[1].size == 100);
    CHECK(socket_queue_consume(&service, 5000) == TX);
    CHECK(socket_queue_readable(&service) == 0);
}

static void test_index_overflow(void)
{
    setup();
    /* Start both sides just below 2^32, as after 4 GiB of traffic. */
    client.in_head = service.out_tail = UINT32_MAX - 10;
    atomic_store(&client.header->rx_tail, UINT32_MAX - 10);
    atomic_store(&client.header->rx_head, UINT32_MAX - 10);
    uint8_t out[64], in[64];
    memset(out, 0x5a, sizeof(out));
    CHECK(socket_queue_write(&service, out, sizeof(out)) == sizeof(out));
    CHECK(socket_queue_read(&client, in, sizeof(in)) == sizeof(in));
    CHECK(memcmp(in, out, sizeof(in)) == 0);
    CHECK(socket_queue_writable(&service) == RX);
}

static void test_wakeups(void)
{
    setup();
    CHECK(!socket_queue_should_wake(&service));
    CHECK(socket_queue_write(&service, "a", 1) == 1);
    CHECK(!socket_queue_should_wake(&service));                             /* nobody sleeps */
    CHECK(!socket_queue_prepare_wait(&client, SOCKET_QUEUE_WANT_READABLE)); /* a byte is there */
    char byte;
    CHECK(socket_queue_read(&client, &byte, 1) == 1 && byte == 'a');
    CHECK(socket_queue_prepare_wait(&client, SOCKET_QUEUE_WANT_READABLE | SOCKET_QUEUE_WANT_STATE));
    CHECK(socket_queue_write(&service, "b", 1) == 1);
    CHECK(socket_queue_should_wake(&service));
    CHECK(socket_queue_write(&service, "c", 1) == 1);
    CHECK(!socket_queue_should_wake(&service)); /* once per wish */

    /* A sleeping writer is woken when half of the queue is free, not before. */
    static uint8_t block[TX];
    CHECK(socket_queue_write(&client, block, TX) == TX);
    CHECK(socket_queue_prepare_wait(&client, SOCKET_QUEUE_WANT_WRITABLE));
    CHECK(socket_queue_consume(&service, 10) == 10);
    CHECK(!socket_queue_should_wake(&service));
    CHECK(socket_queue_consume(&service, TX / 2) == TX / 2);
    CHECK(socket_queue_should_wake(&service));
}

static void test_states(void)
{
    setup();
    CHECK(socket_queue_state(&client) == SOCKET_QUEUE_CONNECTING);
    CHECK(socket_queue_prepare_wait(&client, SOCKET_QUEUE_WANT_STATE));
    socket_queue_set_state(&service, SOCKET_QUEUE_OPEN, 0);
    CHECK(socket_queue_should_wake(&service));
    CHECK(!socket_queue_prepare_wait(&client, SOCKET_QUEUE_WANT_STATE)); /* changed since it was read */
    CHECK(socket_queue_state(&client) == SOCKET_QUEUE_OPEN);
    socket_queue_set_state(&service, SOCKET_QUEUE_FAILED, -25);
    CHECK(socket_queue_state(&client) == SOCKET_QUEUE_FAILED && socket_queue_error(&client) == -25);
    atomic_store(&client.header->state, 77);
    CHECK(socket_queue_state(&client) == SOCKET_QUEUE_FAILED);
}

static void test_hostile_indices(void)
{
    setup();
    atomic_store(&client.header->rx_tail, RX + 1);
    CHECK(socket_queue_readable(&client) == 0);
    CHECK(client.is_broken && socket_queue_writable(&client) == 0);
    CHECK(socket_queue_state(&client) == SOCKET_QUEUE_FAILED);
    CHECK(!socket_queue_prepare_wait(&client, SOCKET_QUEUE_WANT_READABLE)); /* a broken queue never sleeps */
    setup();
    atomic_store(&client.header->rx_head, 1); /* consumed a byte that was never written */
    CHECK(socket_queue_writable(&service) == 0);
    CHECK(socket_queue_write(&service, "x", 1) == 0);
    setup();
    uint8_t in[8];
    CHECK(socket_queue_write(&service, "abcd", 4) == 4);
    atomic_store(&client.header->rx_head, 0x1234); /* our own shared copy: ignored by us */
    CHECK(socket_queue_read(&client, in, sizeof(in)) == 4 && memcmp(in, "abcd", 4) == 0);
}

int main(void)
{
    test_sizes();
    test_bytes_wrap();
    test_full_and_spans();
    test_index_overflow();
    test_wakeups();
    test_states();
    test_hostile_indices();
    puts("socket_queue: 7 tests passed");
    return 0;
}
