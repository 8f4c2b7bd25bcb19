/*
 * Two threads, one per side, with real sleeping: a lost wake-up shows as a time-out, a missing barrier as damaged bytes (or as
 * a report of ThreadSanitizer, under which tools/test runs it too).
 */
#include "check.h"
#include <pthread.h>
#include <ring/frame_queue.h>
#include <ring/socket_queue.h>
#include <semaphore.h>
#include <time.h>

static sem_t to_client, to_service;

static void sleep_on(sem_t *doorbell)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 20;
    CHECK(sem_timedwait(doorbell, &deadline) == 0); /* a time-out is a lost wake-up */
}

static constexpr uint32_t BYTES = 1024, TOTAL = 2'000'000;
static alignas(4096) uint8_t socket_memory[SOCKET_QUEUE_HEADER_BYTES + 2 * BYTES];

static void *socket_service(void *argument)
{
    (void)argument;
    struct socket_queue q;
    CHECK(socket_queue_attach(&q, socket_memory, sizeof(socket_memory), BYTES, BYTES, SOCKET_QUEUE_SERVICE));
    for (uint32_t sent = 0; sent < TOTAL;) { /* echo what the client sends */
        uint8_t block[300];
        uint32_t limit = socket_queue_writable(&q);
        uint32_t count = socket_queue_read(&q, block, limit < sizeof(block) ? limit : sizeof(block));
        CHECK(socket_queue_write(&q, block, count) == count);
        sent += count;
        if (socket_queue_should_wake(&q)) {
            sem_post(&to_client);
        }
        if (count == 0 && socket_queue_prepare_wait(&q, limit == 0 ? SOCKET_QUEUE_WANT_WRITABLE : SOCKET_QUEUE_WANT_READABLE)) {
            sleep_on(&to_service);
        }
    }
    socket_queue_set_state(&q, SOCKET_QUEUE_CLOSED, 0);
    if (socket_queue_should_wake(&q)) {
        sem_post(&to_client);
    }
    return nullptr;
}

static void socket_client(struct socket_queue *q)
{
    uint32_t sent = 0, received = 0;
    while (true) {
        enum socket_queue_state state = socket_queue_state(q);
        uint8_t block[257];
        uint32_t want = TOTAL - sent < sizeof(block) ? TOTAL - sent : (uint32_t)sizeof(block);
        for (uint32_t i = 0; i < want; i++) {
            block[i] = (uint8_t)((sent + i) * 7);
        }
        uint32_t out = socket_queue_write(q, block, want);
        sent += out;
        uint32_t in = socket_queue_read(q, block, sizeof(block));
        for (uint32_t i = 0; i < in; i++) {
            CHECK(block[i] == (uint8_t)(received++ * 7));
        }
        if (socket_queue_should_wake(q)) {
            sem_post(&to_service);
        }
        if (state == SOCKET_QUEUE_CLOSED && in == 0) {
            break;
        }
        uint32_t wants = SOCKET_QUEUE_WANT_READABLE | SOCKET_QUEUE_WANT_STATE | (sent < TOTAL ? SOCKET_QUEUE_WANT_WRITABLE : 0);
        if (in == 0 && out == 0 && socket_queue_prepare_wait(q, wants)) {
            sleep_on(&to_client);
        }
    }
    CHECK(sent == TOTAL && received == TOTAL);
}

static constexpr uint32_t COUNT = 16, FRAMES = 100'000;
static alignas(4096) uint8_t frame_memory[8192 + COUNT * 2 * 2048];

/* A card that loops every sent frame back. */
static void *frame_driver(void *argument)
{
    (void)argument;
    static struct frame_queue q;
    CHECK(frame_queue_attach(&q, frame_memory, sizeof(frame_memory)));
    uint32_t looped = 0;
    bool has_buffer = false;
    uint16_t buffer = 0;
    while (looped < FRAMES) {
        struct frame frame;
        has_buffer = has_buffer || frame_queue_rx_get(&q, &buffer);
        bool is_looped = has_buffer && frame_queue_tx_get(&q, &frame);
        if (is_looped) {
            for (uint32_t i = 0; i < frame.length; i++) {
                frame_queue_rx_data(&q, buffer)[i] = frame.data[i];
            }
            CHECK(frame_queue_rx_complete(&q, buffer, frame.length));
            CHECK(frame_queue_tx_complete(&q, frame.buffer));
            has_buffer = false;
            looped++;
        }
        if (frame_queue_should_wake(&q)) {
            sem_post(&to_client);
        }
        if (!is_looped && frame_queue_prepare_wait(&q, has_buffer ? FRAME_QUEUE_WANT_TX : FRAME_QUEUE_WANT_RX)) {
            sleep_on(&to_service);
        }
    }
    return nullptr;
}

static void frame_client(struct frame_queue *q)
{
    uint32_t sent = 0, received = 0;
    while (received < FRAMES) {
        bool has_moved = false;
        struct frame frame;
        if (sent < FRAMES && frame_queue_tx_alloc(q, &frame)) {
            uint16_t length = (uint16_t)(4 + sent % 60);
            for (uint32_t i = 0; i < length; i++) {
                frame.data[i] = (uint8_t)(sent + i);
            }
            CHECK(frame_queue_tx_send(q, frame.buffer, length));
            sent++;
            has_moved = true;
        }
        if (frame_queue_rx_take(q, &frame)) {
            CHECK(frame.length == 4 + received % 60);
            for (uint32_t i = 0; i < frame.length; i++) {
                CHECK(frame.data[i] == (uint8_t)(received + i));
            }
            CHECK(frame_queue_rx_give(q, frame.buffer));
            received++;
            has_moved = true;
        }
        if (frame_queue_should_wake(q)) {
            sem_post(&to_service);
        }
        if (!has_moved && frame_queue_prepare_wait(q, FRAME_QUEUE_WANT_RX | FRAME_QUEUE_WANT_TX)) {
            sleep_on(&to_client);
        }
    }
    CHECK(q->violations == 0);
}

static void run_pair(void *(*other)(void *), void (*own)(void *), void *view)
{
    pthread_t thread;
    sem_init(&to_client, 0, 0);
    sem_init(&to_service, 0, 0);
    CHECK(pthread_create(&thread, nullptr, other, nullptr) == 0);
    own(view);
    CHECK(pthread_join(thread, nullptr) == 0);
}

static void run_socket(void *view) { socket_client(view); }

static void run_frame(void *view) { frame_client(view); }

int main(void)
{
    struct socket_queue socket;
    static struct frame_queue frames;
    CHECK(socket_queue_init(&socket, socket_memory, sizeof(socket_memory), BYTES, BYTES));
    run_pair(socket_service, run_socket, &socket);
    CHECK(frame_queue_init(&frames, frame_memory, sizeof(frame_memory), COUNT));
    run_pair(frame_driver, run_frame, &frames);
    puts("ring threads: 2 tests passed");
    return 0;
}
