/*
 * A virtio device over PCI, modern interface (VIRTIO 1.2, 4.1), as devmgr hands it out: claims it, maps its registers,
 * negotiates features, sets up queues. One interrupt (INTx) for everything; virtio_device_interrupted() says why it came.
 *
 *     virtio_device_open -> virtio_device_negotiate -> virtio_device_queue ... -> virtio_device_start
 *
 * virtio_device_reset takes the queues away from the device again, after which their memory and all buffers are ours; go on with
 * negotiate. Calls devmgr, so it blocks: at start-up only. One thread.
 */
#pragma once
#include <std/memory.h>
#include <stdint.h>
#include <tess/abi.h>
#include <virtio/virtqueue.h>

constexpr uint64_t VIRTIO_F_EVENT_IDX = UINT64_C(1) << 29;
constexpr uint64_t VIRTIO_F_VERSION_1 = UINT64_C(1) << 32;

constexpr uint32_t VIRTIO_ISR_QUEUE = 1;
constexpr uint32_t VIRTIO_ISR_CONFIG = 2;

constexpr uint32_t VIRTIO_QUEUES_MAX = 4;

/* VIRTIO 1.2, 4.1.4.3 */
struct virtio_common {
    uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
    uint16_t config_msix_vector, queue_count;
    uint8_t device_status, config_generation;
    uint16_t queue_select, queue_size, queue_msix_vector, queue_enable, queue_notify_off;
    uint32_t queue_desc_low, queue_desc_high, queue_driver_low, queue_driver_high, queue_device_low, queue_device_high;
};
static_assert(offsetof(struct virtio_common, queue_desc_low) == 0x20 && sizeof(struct virtio_common) == 0x38);

struct virtio_device {
    handle_t device; /* to devmgr */
    handle_t interrupt, dma;
    uint32_t vendor, device_id, bdf, unit;
    volatile struct virtio_common *common;
    volatile uint8_t *isr;
    volatile uint8_t *config; /* device specific, config_size bytes */
    uint32_t config_size;
    uint8_t *notify;
    uint32_t notify_size, notify_multiplier;
    uint64_t features;
    volatile uint16_t *queue_notify[VIRTIO_QUEUES_MAX];
    struct std_mapping queue_memory[VIRTIO_QUEUES_MAX]; /* kept over a reset */
    uint64_t queue_address[VIRTIO_QUEUES_MAX];
    void *windows[6]; /* mapped BARs */
    uint64_t window_sizes[6];
};

/* NOT_FOUND: no such device in this machine. UNSUPPORTED: no modern interface. */
[[nodiscard]] status_t virtio_device_open(struct virtio_device *dev, handle_t device);
/* Resets, offers `wanted` of what the device has (VERSION_1 always). UNSUPPORTED: the device refuses. */
[[nodiscard]] status_t virtio_device_negotiate(struct virtio_device *dev, uint64_t wanted);
/* Queue `index` with at most `size` entries. NOT_FOUND: the device has no such queue. */
[[nodiscard]] status_t virtio_device_queue(struct virtio_device *dev, uint32_t index, uint16_t size, struct virtqueue *q);
void virtio_device_start(struct virtio_device *dev);
/* False: the device did not answer in time; its memory must not be reused. */
bool virtio_device_reset(struct virtio_device *dev);

/* devmgr is gone, and with it our registers and the pins on memory that the device may still write to. Waits for the next devmgr
 * to reset the device (a claim does that), so that our pages are not given to anybody else before. Then the process must end. */
void virtio_device_abandon(struct virtio_device *dev);

/* Tells the device that queue `index` has new requests. */
void virtio_device_notify(struct virtio_device *dev, uint32_t index);
/* Reads and clears the cause (VIRTIO_ISR_*); releases the interrupt line at the device. */
uint32_t virtio_device_interrupted(struct virtio_device *dev);
/* Copies `size` bytes of the device's configuration, consistently; false when there are not that many, or it never settles. */
bool virtio_device_config(struct virtio_device *dev, uint32_t offset, void *buffer, uint32_t size);
/* The device asks to be reset (DEVICE_NEEDS_RESET). */
bool virtio_device_is_broken(const struct virtio_device *dev);
