/*
 * virtio-rng (VIRTIO 1.2, 5.4) as an `rng` server. Several requests are always with the device, so that a read is answered from
 * bytes that are there already; a read that finds too few waits (deferred) until they come.
 *
 * Buffers in `memory` belong to the device while in flight; what was read goes into `pool` and is wiped when handed out.
 */
#include <std/log.h>
#include <std/loop.h>
#include <std/program.h>
#include <tess/serve/rng.h>
#include <tess/stub/dma.h>
#include <tess/stub/interrupt.h>
#include <virtio/device.h>

static constexpr uint32_t REQUESTS = 4;
static constexpr uint32_t REQUEST_BYTES = 64;
static constexpr uint32_t READ_BYTES = 32;
static constexpr uint32_t POOL_BYTES = REQUESTS * REQUEST_BYTES;
static constexpr uint32_t WAITERS_MAX = 16;
static constexpr uint32_t ROUNDS_MAX = 1000; /* more is no device that answers, but one that lies */

static struct loop loop;
static struct virtio_device dev;
static struct virtqueue queue;
static struct std_mapping memory;
static uint64_t memory_address;
static uint8_t pool[POOL_BYTES];
static uint32_t pool_count;
static uint32_t idle_requests[REQUESTS], idle_count; /* not with the device: the pool has no room for what they would bring */
static uint64_t waiters[WAITERS_MAX];                /* tokens, oldest first */
static uint32_t waiter_count;

/* Keeps the device busy with as much as the pool can take. */
static void request_more(void)
{
    while (idle_count > 0 && pool_count + (REQUESTS - idle_count + 1) * REQUEST_BYTES <= POOL_BYTES) {
        uint32_t request = idle_requests[--idle_count];
        struct virtqueue_piece piece = {
            .address = memory_address + request * REQUEST_BYTES, .length = REQUEST_BYTES, .is_written_by_device = true};
        (void)virtqueue_add(&queue, &piece, 1, request);
    }
    if (virtqueue_publish(&queue)) {
        virtio_device_notify(&dev, 0);
    }
}

static void pool_take(uint8_t out[READ_BYTES])
{
    pool_count -= READ_BYTES;
    memcpy(out, pool + pool_count, READ_BYTES);
    memset(pool + pool_count, 0, READ_BYTES);
}

static void collect(void)
{
    uint32_t request, length, rounds = 0;
    do {
        if (rounds++ == ROUNDS_MAX) {
            log_error("the device's queue is damaged");
            std_exit(1);
        }
        while (virtqueue_take(&queue, &request, &length)) {
            uint8_t *data = (uint8_t *)memory.address + request * REQUEST_BYTES;
            length = length < REQUEST_BYTES ? length : REQUEST_BYTES;
            /* There is room: request_more() counted every request in flight. */
            memcpy(pool + pool_count, data, length);
            pool_count += length;
            memset(data, 0, REQUEST_BYTES);
            idle_requests[idle_count++] = request;
        }
        uint32_t served = 0;
        for (; served < waiter_count && pool_count >= READ_BYTES; served++) {
            struct tess_call reply = {};
            uint8_t data[READ_BYTES];
            pool_take(data);
            rng_read_reply(&reply, data);
            (void)loop_reply(&loop, waiters[served], OK, &reply);
        }
        waiter_count -= served;
        memmove(waiters, waiters + served, waiter_count * sizeof(waiters[0]));
        request_more();
    } while (!virtqueue_enable_interrupt(&queue, 1));
}

static status_t read(void *context, struct tess_call *call, uint8_t out_data[32])
{
    (void)context;
    if (pool_count >= READ_BYTES && waiter_count == 0) {
        pool_take(out_data);
        collect();
        return OK;
    }
    if (waiter_count == WAITERS_MAX) {
        return ERROR_IO_ERROR; /* the device does not keep up */
    }
    if (call->token != 0) {
        waiters[waiter_count++] = call->token;
    }
    call->is_deferred = true;
    collect();
    return OK;
}

static const struct rng_server server = {.read = read};

static status_t dispatch(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    return rng_dispatch(&server, nullptr, call);
}

static void on_interrupt(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch, (void)bits;
    if (status != OK) {
        log_error("devmgr is gone");
        virtio_device_abandon(&dev);
        std_exit(1);
    }
    if ((virtio_device_interrupted(&dev) & VIRTIO_ISR_CONFIG) && virtio_device_is_broken(&dev)) {
        log_error("the device asks for a reset");
        std_exit(1);
    }
    collect();
    (void)tess_interrupt_ack(dev.interrupt);
}

static status_t start(void)
{
    status_t status = virtio_device_open(&dev, std_handle_needed("device"));
    if (status == OK) {
        status = virtio_device_negotiate(&dev, VIRTIO_F_EVENT_IDX);
    }
    if (status == OK) {
        status = virtio_device_queue(&dev, 0, REQUESTS * 2, &queue);
    }
    if (status == OK) {
        status = std_mapping_create(REQUESTS * REQUEST_BYTES, MEMORY_CONTIGUOUS, &memory);
    }
    if (status == OK) {
        status = tess_dma_map(dev.dma, memory.memory, 0, memory.size, &memory_address);
    }
    return status;
}

int main(void)
{
    status_t status = start();
    if (status == ERROR_NOT_FOUND) {
        log_warning("no random number device");
        return 0;
    }
    if (status != OK) {
        log_error("cannot start the device: %s", status_name(status));
        return 1;
    }
    virtio_device_start(&dev);
    for (idle_count = 0; idle_count < REQUESTS; idle_count++) {
        idle_requests[idle_count] = idle_count;
    }
    static struct loop_service service = {.dispatch = dispatch};
    static struct loop_watch interrupt = {.fn = on_interrupt};
    status = loop_open(&loop, nullptr);
    if (status == OK) {
        status = loop_watch(&loop, &interrupt, dev.interrupt, 1, WATCH_MULTI | WATCH_DEATH);
    }
    if (status == OK) {
        status = tess_interrupt_ack(dev.interrupt);
    }
    if (status == OK) {
        status = loop_serve(&loop, &service, std_handle_needed("serve.rng"));
    }
    if (status != OK) {
        log_error("cannot serve: %s", status_name(status));
        return 1;
    }
    collect();
    return loop_run(&loop);
}
