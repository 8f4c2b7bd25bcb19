/*
 * Flow: receive buffers with the device -> client's rx queue; client's tx queue -> transmit buffers -> device. A buffer that the client has no
 * room for stays here, and the device waits with it. Bytes leave the client's tx queue when the device has sent them, so an empty
 * queue means that all is out.
 *
 * Queue 0 receives, queue 1 transmits (5.3.2). Buffers belong to the device while in flight. What the device says of lengths is bounded.
 */
#include <ring/socket_queue.h>
#include <std/log.h>
#include <std/loop.h>
#include <std/program.h>
#include <tess/serve/console.h>
#include <tess/stub/cspace.h>
#include <tess/stub/dma.h>
#include <tess/stub/event.h>
#include <tess/stub/interrupt.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>
#include <tess/util.h>
#include <virtio/device.h>

enum : uint32_t { QUEUE_RECEIVE = 0, QUEUE_TRANSMIT = 1 };
enum : uint64_t { BIT_DOORBELL = 1, BIT_AGAIN = 2 };
static constexpr uint32_t BUFFERS = 8;
static constexpr uint32_t BUFFER_BYTES = 4096;
static constexpr uint32_t ROUNDS_MAX = 1000; /* more is no device that answers, but one that lies */

static struct loop loop;
static struct virtio_device dev;
static struct virtqueue receive_queue, transmit_queue;
static struct std_mapping buffers; /* BUFFERS to receive, then as many to transmit */
static uint64_t buffers_address;
static handle_t events; /* ours: BIT_* */

/* Received and not passed on yet, oldest first. */
static struct received {
    uint32_t buffer, at, size;
} received[BUFFERS];
static uint32_t received_count;
static uint32_t sent_sizes[BUFFERS]; /* of what is in flight, by buffer; the device sends in order */
static uint32_t free_buffers[BUFFERS], free_count;
static uint32_t in_flight_bytes;

static struct client {
    bool is_attached;
    uint64_t badge, event_bits;
    handle_t memory, event;
    void *address;
    uint64_t size;
    struct socket_queue queue;
    struct loop_watch death;
} client;

static uint8_t *buffer_data(uint32_t index) { return (uint8_t *)buffers.address + (uint64_t)index * BUFFER_BYTES; }

/* ---- Moving bytes ---- */

static void give_receive(uint32_t buffer)
{
    const struct virtqueue_piece piece = {
        .address = buffers_address + (uint64_t)buffer * BUFFER_BYTES, .length = BUFFER_BYTES, .is_written_by_device = true};
    (void)virtqueue_add(&receive_queue, &piece, 1, buffer); /* there is room for all of them */
}

static bool receive(void)
{
    uint32_t buffer, length;
    bool has_moved = false;
    while (received_count < BUFFERS && virtqueue_take(&receive_queue, &buffer, &length)) {
        received[received_count++] = (struct received){.buffer = buffer % BUFFERS, .size = min_u32(length, BUFFER_BYTES)};
        has_moved = true;
    }
    while (client.is_attached && received_count > 0) {
        struct received *first = &received[0];
        first->at += socket_queue_write(&client.queue, buffer_data(first->buffer) + first->at, first->size - first->at);
        if (first->at < first->size)
            break;
        give_receive(first->buffer);
        memmove(received, received + 1, --received_count * sizeof(received[0]));
        has_moved = true;
    }
    if (virtqueue_publish(&receive_queue))
        virtio_device_notify(&dev, QUEUE_RECEIVE);
    return has_moved;
}

static void sent(void)
{
    uint32_t buffer, length;
    while (virtqueue_take(&transmit_queue, &buffer, &length)) {
        uint32_t index = (buffer - BUFFERS) % BUFFERS;
        in_flight_bytes -= sent_sizes[index];
        if (client.is_attached)
            (void)socket_queue_consume(&client.queue, sent_sizes[index]);
        sent_sizes[index] = 0;
        free_buffers[free_count++] = index;
    }
}

/* Copies what lies behind `skip` bytes of the client's queue. */
static uint32_t copy_behind(uint32_t skip, uint8_t *to, uint32_t limit)
{
    struct socket_queue_span spans[2];
    uint32_t copied = 0;
    socket_queue_peek(&client.queue, spans);
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t passed = min_u32(skip, spans[i].size), part = min_u32(spans[i].size - passed, limit - copied);
        skip -= passed;
        memcpy(to + copied, spans[i].data + passed, part);
        copied += part;
    }
    return copied;
}

static bool transmit(void)
{
    bool has_moved = false;
    while (client.is_attached && free_count > 0) {
        uint32_t index = free_buffers[free_count - 1];
        uint32_t size = copy_behind(in_flight_bytes, buffer_data(BUFFERS + index), BUFFER_BYTES);
        if (size == 0)
            break;
        const struct virtqueue_piece piece = {.address = buffers_address + (uint64_t)(BUFFERS + index) * BUFFER_BYTES, .length = size};
        if (!virtqueue_add(&transmit_queue, &piece, 1, BUFFERS + index))
            break;
        free_count--;
        sent_sizes[index] = size;
        in_flight_bytes += size;
        has_moved = true;
    }
    if (virtqueue_publish(&transmit_queue))
        virtio_device_notify(&dev, QUEUE_TRANSMIT);
    return has_moved;
}

static bool is_nothing_new(void)
{
    if (client.is_attached) {
        uint32_t wants = (free_count > 0 && in_flight_bytes == 0 ? SOCKET_QUEUE_WANT_READABLE : 0u) |
                         (received_count > 0 ? SOCKET_QUEUE_WANT_WRITABLE : 0u);
        if (!socket_queue_prepare_wait(&client.queue, wants) && !client.queue.is_broken)
            return false;
    }
    return virtqueue_enable_interrupt(&receive_queue, 1) && virtqueue_enable_interrupt(&transmit_queue, 1);
}

static void work(void)
{
    for (uint32_t rounds = 0; rounds < ROUNDS_MAX; rounds++) {
        sent();
        bool has_moved = receive();
        has_moved |= transmit();
        if (client.is_attached && socket_queue_should_wake(&client.queue))
            (void)tess_event_set(client.event, client.event_bits);
        if (!has_moved && is_nothing_new())
            return;
    }
    (void)tess_event_set(events, BIT_AGAIN); /* others in the loop have their turn first */
}

/* ---- The client ---- */

static void detach(void)
{
    if (!client.is_attached)
        return;
    client.is_attached = false;
    loop_unwatch(&loop, &client.death);
    std_unmap(client.address, client.size);
    std_handle_delete(client.memory);
    std_handle_delete(client.event);
}

static void on_client_event_death(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch, (void)bits;
    if (status == ERROR_PEER_DIED)
        detach();
}

static status_t attach(void *context, struct tess_call *call, uint32_t rx_bytes, uint32_t tx_bytes, uint32_t client_bit, handle_t memory,
                       handle_t event, uint32_t *out_doorbell_bit, handle_t *out_doorbell)
{
    (void)context;
    uint64_t size = socket_queue_memory_size(rx_bytes, tx_bytes), memory_size, pages, badge, id;
    uint32_t flags, is_device, type, rights;
    if (size == 0 || client_bit > 63 || tess_memory_info(memory, &memory_size, &pages, &flags, &is_device) != OK || memory_size < size ||
        is_device || tess_cspace_inspect(std_self.cspace, event, &type, &rights, &badge, &id) != OK || type != OBJECT_EVENT ||
        (rights & EVENT_RIGHT_SIGNAL) == 0)
        return ERROR_BAD_ARGUMENT;
    if ((client.is_attached && client.badge != call->badge) || in_flight_bytes > 0)
        return ERROR_BUSY;
    detach();
    client = (struct client){.badge = call->badge,
                             .event_bits = UINT64_C(1) << client_bit,
                             .memory = memory,
                             .event = event,
                             .size = align_up(size, STD_PAGE),
                             .death = {.fn = on_client_event_death}};
    status_t status = std_map(memory, 0, client.size, MAP_READ | MAP_WRITE, &client.address);
    if (status != OK)
        return status == ERROR_NO_MEMORY ? status : ERROR_BAD_ARGUMENT;
    status = std_handle_mint(events, EVENT_RIGHT_SIGNAL | RIGHT_COPY | RIGHT_MOVE | RIGHT_WATCH | RIGHT_INSPECT, 0, out_doorbell);
    if (status != OK) {
        std_unmap(client.address, client.size);
        return ERROR_NO_MEMORY;
    }
    (void)socket_queue_attach(&client.queue, client.address, client.size, rx_bytes, tx_bytes, SOCKET_QUEUE_SERVICE);
    socket_queue_set_state(&client.queue, SOCKET_QUEUE_OPEN, 0);
    client.is_attached = true;
    if ((rights & RIGHT_WATCH) != 0 && loop_watch(&loop, &client.death, event, 0, WATCH_DEATH) != OK)
        log_warning("the client's event cannot be watched");
    call->reply_move_mask = 1;
    *out_doorbell_bit = 0;
    (void)tess_event_set(events, BIT_AGAIN); /* after the reply */
    return OK;
}

static const struct console_server server = {.attach = attach};

static status_t dispatch(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    return console_dispatch(&server, nullptr, call);
}

static void badge_gone(struct loop_service *service, uint64_t badge)
{
    (void)service;
    if (client.is_attached && client.badge == badge)
        detach();
}

/* ---- Start ---- */

static void on_events(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch, (void)bits, (void)status;
    work();
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
    work();
    (void)tess_interrupt_ack(dev.interrupt);
}

static status_t start_device(void)
{
    status_t status = virtio_device_open(&dev, std_handle_needed("device"));
    if (status == OK)
        status = virtio_device_negotiate(&dev, VIRTIO_F_EVENT_IDX);
    if (status == OK)
        status = virtio_device_queue(&dev, QUEUE_RECEIVE, BUFFERS, &receive_queue);
    if (status == OK)
        status = virtio_device_queue(&dev, QUEUE_TRANSMIT, BUFFERS, &transmit_queue);
    if (status == OK && (receive_queue.size < BUFFERS || transmit_queue.size < BUFFERS))
        status = ERROR_UNSUPPORTED;
    if (status == OK)
        status = std_mapping_create(2ull * BUFFERS * BUFFER_BYTES, MEMORY_CONTIGUOUS, &buffers);
    if (status == OK)
        status = tess_dma_map(dev.dma, buffers.memory, 0, buffers.size, &buffers_address);
    return status;
}

int main(void)
{
    status_t status = start_device();
    if (status == ERROR_NOT_FOUND) {
        log_warning("no console device");
        return 0;
    }
    if (status != OK) {
        log_error("cannot start the device: %s", status_name(status));
        return 1;
    }
    virtio_device_start(&dev);
    for (free_count = 0; free_count < BUFFERS; free_count++) {
        free_buffers[free_count] = free_count;
        give_receive(free_count);
    }
    static struct loop_service service = {.dispatch = dispatch, .badge_gone = badge_gone};
    static struct loop_watch interrupt = {.fn = on_interrupt}, events_watch = {.fn = on_events};
    status = loop_open(&loop, nullptr);
    if (status == OK)
        status = tess_untyped_create_event(std_self.untyped, &events);
    if (status == OK)
        status = loop_watch(&loop, &events_watch, events, BIT_DOORBELL | BIT_AGAIN, WATCH_MULTI);
    if (status == OK)
        status = loop_watch(&loop, &interrupt, dev.interrupt, 1, WATCH_MULTI | WATCH_DEATH);
    if (status == OK)
        status = tess_interrupt_ack(dev.interrupt);
    if (status == OK)
        status = loop_serve(&loop, &service, std_handle_needed("serve.console"));
    if (status != OK) {
        log_error("cannot serve: %s", status_name(status));
        return 1;
    }
    work();
    return loop_run(&loop);
}
