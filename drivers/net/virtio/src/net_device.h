/*
 * The card (VIRTIO 1.2, 5.1) and the movement of frames between it and a client's frame_queue. Buffers go to the card as they
 * are, with the 12-byte virtio-net header in the space before the frame, so nothing is copied.
 *
 * Detached: the card owns no client memory. Attached: it may own any buffer of the queue. Going back needs a reset of the card,
 * because receive buffers can be taken back no other way (VIRTIO 1.2, 3.3).
 */
#pragma once
#include <ring/frame_queue.h>
#include <virtio/device.h>
#include <virtio/virtqueue.h>

struct net_counters {
    uint64_t rx_frames, tx_frames, rx_bytes, tx_bytes, dropped;
};

struct net_device {
    struct virtio_device dev;
    struct virtqueue rx, tx;
    struct frame_queue queue;
    uint64_t queue_address; /* of the client's memory, as the card sees it */
    bool is_attached;
    uint8_t mac[8]; /* 6 used */
    uint32_t mtu;
    bool is_link_up;
    struct net_counters counters;
};

[[nodiscard]] status_t net_device_open(struct net_device *net, handle_t device);
/* memory: the client's frame_queue, mapped here and for the card, whole. BAD_ARGUMENT: no valid queue in it. */
[[nodiscard]] status_t net_device_attach(struct net_device *net, void *memory, uint64_t size, uint64_t device_address);
/* Resets the card and makes it ready for the next client. IO_ERROR, UNSUPPORTED: the card is lost; its memory stays its own. */
[[nodiscard]] status_t net_device_detach(struct net_device *net);

struct net_pump_result {
    bool is_client_to_wake; /* ring the client's doorbell */
    bool is_more_to_do;     /* call again soon; else the next interrupt or doorbell tells */
};
/* Moves what there is in both directions, a bounded number of times, and arms interrupt and doorbell for the rest. */
struct net_pump_result net_device_pump(struct net_device *net);

/* Why the interrupt came; IO_ERROR: the card wants to be reset. Call before the pump and the interrupt's ack. */
[[nodiscard]] status_t net_device_interrupted(struct net_device *net);
