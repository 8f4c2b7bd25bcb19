/*
 * Test of the drivers on the real kernel, booted by tests/boot/drivers.py with a manifest of its own: entropy, the list of
 * devices, frames through the card (ARP with QEMU's user network), refusals, a hostile client, restarts.
 *
 * Prints "drivers_test: N checks, M failed" as its last line and stays.
 */
#include <ring/frame_queue.h>
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/stub/devmgr.h>
#include <tess/stub/entropy.h>
#include <tess/stub/event.h>
#include <tess/stub/netdev.h>
#include <tess/stub/supervisor.h>
#include <tess/stub/untyped.h>
#include <tess/util.h>

static constexpr uint32_t BUFFERS = 32;
static constexpr uint64_t CLIENT_BITS = 2;
static constexpr uint64_t CALL_NS = 10 * NS_PER_S;

static uint32_t check_count, check_failed;

#define CHECK(condition) check(condition, #condition, __LINE__)

static bool check(bool is_true, const char *text, uint32_t line)
{
    check_count++;
    if (!is_true) {
        check_failed++;
        log_error("drivers_test.c:%u: failed: %s", line, text);
    }
    return is_true;
}

static handle_t netdev, client_event;
static struct std_mapping memory;
static struct frame_queue queue;
static handle_t doorbell;
static uint64_t doorbell_bits;
static uint8_t mac[8];

/* ---- Entropy and devices ---- */

static status_t entropy_read(uint8_t data[64])
{
    handle_t entropy = std_handle_needed("entropy");
    status_t status = ERROR_BUSY;
    for (uint32_t tries = 0; tries < 100 && status == ERROR_BUSY; tries++) {
        status = tess_entropy_read(entropy, data, time_after_ns(CALL_NS));
        if (status == ERROR_BUSY) {
            time_sleep_until(time_after_ns(50 * NS_PER_MS));
        }
    }
    return status;
}

static void test_entropy(void)
{
    uint8_t first[64] = {}, second[64] = {};
    CHECK(entropy_read(first) == OK);
    CHECK(entropy_read(second) == OK);
    CHECK(memcmp(first, second, sizeof(first)) != 0);
    CHECK(memcmp(first, first + 32, 32) != 0);
}

static void test_devices(void)
{
    uint32_t bdf, vendor, device, class_code, held = 0, count = 0;
    uint8_t holder[16];
    handle_t devmgr = std_handle_needed("devmgr");
    while (tess_devmgr_next(devmgr, count, &bdf, &vendor, &device, &class_code, holder, time_after_ns(CALL_NS)) == OK) {
        held += holder[0] != 0;
        count++;
    }
    CHECK(count >= 3 && held == 2);
}

/* ---- Frames ---- */

static status_t attach(void)
{
    if (!frame_queue_init(&queue, memory.address, memory.size, BUFFERS)) {
        return ERROR_BAD_ARGUMENT;
    }
    std_handle_delete(doorbell);
    doorbell = HANDLE_NONE;
    uint32_t mtu;
    return tess_netdev_attach(netdev, CLIENT_BITS, memory.memory, client_event, mac, &mtu, &doorbell_bits, &doorbell,
                              time_after_ns(CALL_NS));
}

/* ARP request for 10.0.2.2, QEMU's router (RFC 826; Ethernet II). `number` goes out as our address's last byte. */
static uint16_t make_request(uint8_t *frame, uint8_t number)
{
    memset(frame, 0xFF, 6);
    memcpy(frame + 6, mac, 6);
    static const uint8_t head[10] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1};
    memcpy(frame + 12, head, sizeof(head));
    memcpy(frame + 22, mac, 6);
    memcpy(frame + 28, (const uint8_t[]){10, 0, 2, number}, 4);
    memset(frame + 32, 0, 6);
    memcpy(frame + 38, (const uint8_t[]){10, 0, 2, 2}, 4);
    return 42;
}

static bool is_reply(const struct frame *frame, uint8_t *out_number)
{
    static const uint8_t head[10] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2};
    if (frame->length < 42 || memcmp(frame->data, mac, 6) != 0 || memcmp(frame->data + 12, head, sizeof(head)) != 0 ||
        memcmp(frame->data + 28, (const uint8_t[]){10, 0, 2, 2}, 4) != 0) {
        return false;
    }
    *out_number = frame->data[41];
    return true;
}

/* `total` requests, up to `window` on their way; returns how many were answered. */
static uint32_t ping(uint32_t total, uint32_t window)
{
    uint32_t sent = 0, answered = 0;
    uint64_t give_up = time_after_ns(10 * NS_PER_S);
    while (answered < total && time_now_ns() < give_up) {
        struct frame frame;
        bool has_moved = false;
        while (sent < total && sent - answered < window && frame_queue_tx_alloc(&queue, &frame)) {
            if (!frame_queue_tx_send(&queue, frame.buffer, make_request(frame.data, (uint8_t)(100 + sent % 100)))) {
                frame_queue_tx_cancel(&queue, frame.buffer);
                break;
            }
            sent++;
            has_moved = true;
        }
        while (frame_queue_rx_take(&queue, &frame)) {
            uint8_t number;
            answered += is_reply(&frame, &number);
            (void)frame_queue_rx_give(&queue, frame.buffer);
            has_moved = true;
        }
        if (frame_queue_should_wake(&queue) && tess_event_set(doorbell, doorbell_bits) != OK) {
            break;
        }
        if (!has_moved && frame_queue_prepare_wait(&queue, FRAME_QUEUE_WANT_RX)) {
            uint64_t bits;
            if (tess_event_wait(client_event, CLIENT_BITS, &bits, time_after_ns(2 * NS_PER_S)) != OK) {
                break;
            }
        }
    }
    return answered;
}

static void test_frames(void)
{
    CHECK(attach() == OK);
    CHECK(ping(1, 1) == 1);
    uint64_t start = time_now_ns();
    CHECK(ping(500, 1) == 500);
    uint64_t single = time_now_ns() - start;
    start = time_now_ns();
    CHECK(ping(2000, 16) == 2000);
    uint64_t many = time_now_ns() - start;
    CHECK(queue.violations == 0);
    uint64_t rx, tx, rx_bytes, tx_bytes, dropped;
    uint32_t mtu, is_up;
    CHECK(tess_netdev_info(netdev, mac, &mtu, &is_up, &rx, &tx, &rx_bytes, &tx_bytes, &dropped, time_after_ns(CALL_NS)) == OK);
    CHECK(rx >= 2501 && tx >= 2501 && mtu == 1500 && is_up == 1);
    log_info("one at a time %llu us, sixteen at a time %llu us, a frame there and back", (unsigned long long)(single / 500 / 1000),
             (unsigned long long)(many / 2000 / 1000));
}

static void test_refusals(void)
{
    uint8_t ignored[8];
    uint32_t mtu;
    uint64_t bits;
    handle_t bell;
    struct std_mapping loose;
    CHECK(std_mapping_create(memory.size, 0, &loose) == OK);
    CHECK(tess_netdev_attach(netdev, 1, loose.memory, client_event, ignored, &mtu, &bits, &bell, time_after_ns(CALL_NS)) ==
          ERROR_BAD_ARGUMENT);
    CHECK(tess_netdev_attach(netdev, 1, client_event, client_event, ignored, &mtu, &bits, &bell, time_after_ns(CALL_NS)) ==
          ERROR_BAD_ARGUMENT);
    CHECK(tess_netdev_attach(netdev, 1, memory.memory, memory.memory, ignored, &mtu, &bits, &bell, time_after_ns(CALL_NS)) ==
          ERROR_BAD_ARGUMENT);
    CHECK(tess_netdev_attach(netdev, 0, memory.memory, client_event, ignored, &mtu, &bits, &bell, time_after_ns(CALL_NS)) ==
          ERROR_BAD_ARGUMENT);
    std_mapping_destroy(&loose);
    memset(memory.address, 0, 64); /* no queue in it */
    CHECK(tess_netdev_attach(netdev, 1, memory.memory, client_event, ignored, &mtu, &bits, &bell, time_after_ns(CALL_NS)) ==
          ERROR_BAD_ARGUMENT);
}

/* Whatever the client writes into the queue, the driver answers and the next attach works. */
static void test_hostile_client(void)
{
    uint64_t random = 12345;
    for (uint32_t round = 0; round < 30; round++) {
        if (!CHECK(attach() == OK)) {
            return;
        }
        (void)ping(4, 4);
        uint32_t *words = memory.address;
        for (uint32_t i = 0; i < 64; i++) {
            random = hash_u64(random + i);
            size_t at = random % 3 == 0 ? random / 8 % (8192 / 4) : 16 + random / 8 % 32;
            words[at] = round % 2 ? (uint32_t)(random >> 32) : words[at] + (uint32_t)(random >> 60);
            (void)tess_event_set(doorbell, doorbell_bits);
        }
    }
    CHECK(attach() == OK);
    CHECK(ping(100, 8) == 100);
}

static status_t restart(const char *name)
{
    uint8_t padded[16] = {};
    memcpy(padded, name, strlen(name));
    return tess_supervisor_restart(std_handle_needed("supervisor"), padded, time_after_ns(CALL_NS));
}

/* The old doorbell is dead, the next attach goes to the next driver, and frames flow again. */
static void test_restarts(void)
{
    static const char *const names[] = {"virtio-net", "virtio-net", "devmgr"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(names); i++) {
        handle_t old = doorbell;
        doorbell = HANDLE_NONE;
        CHECK(restart(names[i]) == OK);
        status_t status = OK;
        for (uint32_t tries = 0; tries < 100 && (status = tess_event_set(old, doorbell_bits)) == OK; tries++) {
            time_sleep_until(time_after_ns(20 * NS_PER_MS));
        }
        CHECK(status == ERROR_STALE_HANDLE);
        std_handle_delete(old);
        status = ERROR_PEER_DIED;
        for (uint32_t tries = 0; tries < 20 && status != OK; tries++) {
            status = attach();
        }
        CHECK(status == OK);
        CHECK(ping(50, 4) == 50);
    }
    uint8_t data[64];
    CHECK(restart("virtio-rng") == OK);
    CHECK(restart("entropyd") == OK);
    CHECK(entropy_read(data) == OK);
}

int main(void)
{
    netdev = std_handle_needed("netdev");
    CHECK(tess_untyped_create_event(std_self.untyped, &client_event) == OK);
    CHECK(std_mapping_create(frame_queue_memory_size(BUFFERS), MEMORY_CONTIGUOUS, &memory) == OK);
    test_entropy();
    test_frames();
    test_devices();
    test_refusals();
    test_hostile_client();
    test_restarts();
    log_info("drivers_test: %u checks, %u failed", check_count, check_failed);
    time_sleep_until(DEADLINE_INFINITE);
    return 0;
}
