#include "net_device.h"
#include <tess/string.h>
#include <tess/util.h>

/* VIRTIO 1.2, 5.1.3 and 5.1.4 */
static constexpr uint64_t NET_F_MTU = UINT64_C(1) << 3;
static constexpr uint64_t NET_F_MAC = UINT64_C(1) << 5;
static constexpr uint64_t NET_F_STATUS = UINT64_C(1) << 16;
enum : uint32_t { CONFIG_MAC = 0, CONFIG_STATUS = 6, CONFIG_MTU = 10 };
static constexpr uint16_t STATUS_LINK_UP = 1;
/* 5.1.6: with VERSION_1 the header always has num_buffers, so 12 bytes. */
static constexpr uint32_t HEADER = 12;
static_assert(HEADER <= FRAME_QUEUE_FRAME_OFFSET);

static constexpr uint32_t QUEUE_RX = 0, QUEUE_TX = 1;
static constexpr uint32_t MTU_DEFAULT = 1500;
static constexpr uint32_t PUMP_ROUNDS = 8;

static void read_config(struct net_device *net)
{
    uint16_t status = STATUS_LINK_UP, mtu = MTU_DEFAULT;
    if (net->dev.features & NET_F_STATUS) {
        (void)virtio_device_config(&net->dev, CONFIG_STATUS, &status, sizeof(status));
    }
    if (net->dev.features & NET_F_MTU) {
        (void)virtio_device_config(&net->dev, CONFIG_MTU, &mtu, sizeof(mtu));
    }
    net->is_link_up = (status & STATUS_LINK_UP) != 0;
    net->mtu = mtu >= 68 && mtu <= MTU_DEFAULT ? mtu : MTU_DEFAULT; /* frames must fit the queue's buffers */
}

/* Features, queues, running: the state after opening and after every reset. */
static status_t start(struct net_device *net)
{
    status_t status = virtio_device_negotiate(&net->dev, NET_F_MTU | NET_F_MAC | NET_F_STATUS | VIRTIO_F_EVENT_IDX);
    if (status == OK) {
        status = virtio_device_queue(&net->dev, QUEUE_RX, VIRTQUEUE_SIZE_MAX, &net->rx);
    }
    if (status == OK) {
        status = virtio_device_queue(&net->dev, QUEUE_TX, VIRTQUEUE_SIZE_MAX, &net->tx);
    }
    if (status == OK) {
        virtio_device_start(&net->dev);
        read_config(net);
    }
    return status;
}

status_t net_device_open(struct net_device *net, handle_t device)
{
    memset(net, 0, sizeof(*net));
    status_t status = virtio_device_open(&net->dev, device);
    if (status == OK) {
        status = start(net);
    }
    if (status == OK && ((net->dev.features & NET_F_MAC) == 0 || !virtio_device_config(&net->dev, CONFIG_MAC, net->mac, 6))) {
        /* Locally administered, and different for each card of the machine. */
        memcpy(net->mac, (const uint8_t[]){0x02, 'T', 'e', 's', (uint8_t)(net->dev.bdf >> 8), (uint8_t)net->dev.bdf}, 6);
    }
    return status;
}

status_t net_device_attach(struct net_device *net, void *memory, uint64_t size, uint64_t device_address)
{
    if (!frame_queue_attach(&net->queue, memory, size)) {
        return ERROR_BAD_ARGUMENT;
    }
    net->queue_address = device_address;
    net->is_attached = true;
    return OK;
}

status_t net_device_detach(struct net_device *net)
{
    net->is_attached = false;
    return start(net);
}

static bool take_received(struct net_device *net)
{
    uint32_t buffer, length;
    bool has_moved = false;
    while (virtqueue_take(&net->rx, &buffer, &length)) {
        uint32_t frame = length > HEADER && length <= HEADER + FRAME_QUEUE_FRAME_MAX ? length - HEADER : 0;
        if (frame > 0 && frame_queue_rx_complete(&net->queue, (uint16_t)buffer, (uint16_t)frame)) {
            net->counters.rx_frames++;
            net->counters.rx_bytes += frame;
        } else {
            net->counters.dropped++;
            (void)frame_queue_rx_complete(&net->queue, (uint16_t)buffer, 0);
        }
        has_moved = true;
    }
    return has_moved;
}

static bool give_receive_buffers(struct net_device *net)
{
    uint16_t buffer;
    bool has_moved = false;
    while (net->rx.free_count > 0 && frame_queue_rx_get(&net->queue, &buffer)) {
        struct virtqueue_piece piece = {
            .address = net->queue_address + frame_queue_rx_offset(&net->queue, buffer) - HEADER,
            .length = HEADER + FRAME_QUEUE_FRAME_MAX,
            .is_written_by_device = true,
        };
        (void)virtqueue_add(&net->rx, &piece, 1, buffer);
        has_moved = true;
    }
    return has_moved;
}

static bool take_sent(struct net_device *net)
{
    uint32_t buffer, length;
    bool has_moved = false;
    while (virtqueue_take(&net->tx, &buffer, &length)) {
        (void)frame_queue_tx_complete(&net->queue, (uint16_t)buffer); /* refused: the client broke the queue */
        has_moved = true;
    }
    return has_moved;
}

static bool send_frames(struct net_device *net)
{
    struct frame frame;
    bool has_moved = false;
    while (net->tx.free_count > 0 && frame_queue_tx_get(&net->queue, &frame)) {
        memset(frame.data - HEADER, 0, HEADER); /* no offload is used */
        struct virtqueue_piece piece = {
            .address = net->queue_address + frame_queue_tx_offset(&net->queue, frame.buffer) - HEADER,
            .length = HEADER + frame.length,
        };
        (void)virtqueue_add(&net->tx, &piece, 1, frame.buffer);
        net->counters.tx_frames++;
        net->counters.tx_bytes += frame.length;
        has_moved = true;
    }
    return has_moved;
}

/*
 * True: nothing is waiting anywhere, and the next news come with an interrupt or a doorbell. Sent buffers are not worth an
 * interrupt each: they are collected with the next movement, and an interrupt is wanted only when half of them are away. A
 * client that ran out of buffers has them all away, so it never waits in vain.
 */
static bool arm(struct net_device *net)
{
    bool is_idle = virtqueue_enable_interrupt(&net->rx, 1);
    uint16_t in_flight = virtqueue_in_flight(&net->tx);
    if (in_flight > 0 && in_flight >= min_u32(net->queue.count, net->tx.size) / 2) {
        is_idle &= virtqueue_enable_interrupt(&net->tx, (uint16_t)max_u32(1, in_flight / 2));
    } else {
        virtqueue_disable_interrupt(&net->tx);
    }
    uint32_t wants = (net->rx.free_count > 0 ? FRAME_QUEUE_WANT_RX : 0u) | (net->tx.free_count > 0 ? FRAME_QUEUE_WANT_TX : 0u);
    return (frame_queue_prepare_wait(&net->queue, wants) || net->queue.is_broken) && is_idle;
}

struct net_pump_result net_device_pump(struct net_device *net)
{
    struct net_pump_result result = {};
    if (!net->is_attached) {
        return result;
    }
    for (uint32_t round = 0; round < PUMP_ROUNDS; round++) {
        bool has_moved = take_received(net);
        has_moved |= give_receive_buffers(net);
        has_moved |= take_sent(net);
        has_moved |= send_frames(net);
        if (virtqueue_publish(&net->rx)) {
            virtio_device_notify(&net->dev, QUEUE_RX);
        }
        if (virtqueue_publish(&net->tx)) {
            virtio_device_notify(&net->dev, QUEUE_TX);
        }
        result.is_client_to_wake |= frame_queue_should_wake(&net->queue);
        if (!has_moved && arm(net)) {
            return result;
        }
    }
    result.is_more_to_do = true;
    return result;
}

status_t net_device_interrupted(struct net_device *net)
{
    if (virtio_device_interrupted(&net->dev) & VIRTIO_ISR_CONFIG) {
        if (virtio_device_is_broken(&net->dev)) {
            return ERROR_IO_ERROR;
        }
        read_config(net);
    }
    return OK;
}
