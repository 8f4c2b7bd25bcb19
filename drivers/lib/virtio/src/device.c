#include <std/program.h>
#include <std/time.h>
#include <tess/stub/device.h>
#include <tess/stub/dma.h>
#include <tess/util.h>
#include <virtio/barrier.h>
#include <virtio/device.h>

enum : uint32_t { CAPABILITY_COMMON = 1, CAPABILITY_NOTIFY = 2, CAPABILITY_ISR = 3, CAPABILITY_DEVICE = 4 };
/* VIRTIO 1.2, 2.1 */
enum : uint8_t {
    STATUS_ACKNOWLEDGE = 1,
    STATUS_DRIVER = 2,
    STATUS_DRIVER_OK = 4,
    STATUS_FEATURES_OK = 8,
    STATUS_NEEDS_RESET = 64,
    STATUS_FAILED = 128,
};
static constexpr uint16_t NO_VECTOR = 0xFFFF;
static constexpr uint64_t CALL_NS = 5 * NS_PER_S;
static constexpr uint64_t RESET_NS = NS_PER_S;
/* Long enough for devmgr's supervisor to back off a few times. */
static constexpr uint64_t ABANDON_NS = 60 * NS_PER_S;

/* The device's registers of one kind: `minimum` bytes or more, mapped. */
static status_t map_capability(struct virtio_device *dev, uint32_t kind, uint32_t minimum, uint8_t **out_address, uint32_t *out_size,
                               uint32_t *out_multiplier)
{
    uint32_t bar, offset, size;
    status_t status = tess_device_virtio_capability(dev->device, kind, &bar, &offset, &size, out_multiplier, time_after_ns(CALL_NS));
    if (status != OK) {
        return status;
    }
    if (bar >= ARRAY_LENGTH(dev->windows) || size < minimum) {
        return ERROR_UNSUPPORTED;
    }
    if (dev->windows[bar] == nullptr) {
        handle_t registers;
        status = tess_device_window(dev->device, bar, &dev->window_sizes[bar], &registers, time_after_ns(CALL_NS));
        if (status != OK) {
            return status;
        }
        status = std_map(registers, 0, dev->window_sizes[bar], MAP_READ | MAP_WRITE, &dev->windows[bar]);
        std_handle_delete(registers); /* the mapping keeps what it needs */
        if (status != OK) {
            return status;
        }
    }
    if (!is_range_within(offset, size, dev->window_sizes[bar])) {
        return ERROR_UNSUPPORTED;
    }
    *out_address = (uint8_t *)dev->windows[bar] + offset;
    *out_size = size;
    return OK;
}

status_t virtio_device_open(struct virtio_device *dev, handle_t device)
{
    *dev = (struct virtio_device){.device = device};
    status_t status =
        tess_device_claim(device, &dev->vendor, &dev->device_id, &dev->bdf, &dev->unit, &dev->interrupt, &dev->dma, time_after_ns(CALL_NS));
    uint8_t *address = nullptr;
    uint32_t size, ignored;
    if (status == OK) {
        status = map_capability(dev, CAPABILITY_COMMON, sizeof(struct virtio_common), &address, &size, &ignored);
        dev->common = (volatile struct virtio_common *)(void *)address;
    }
    if (status == OK) {
        status = map_capability(dev, CAPABILITY_NOTIFY, 2, &dev->notify, &dev->notify_size, &dev->notify_multiplier);
    }
    if (status == OK) {
        status = map_capability(dev, CAPABILITY_ISR, 1, &address, &size, &ignored);
        dev->isr = address;
    }
    if (status == OK && map_capability(dev, CAPABILITY_DEVICE, 1, &address, &size, &ignored) == OK) {
        dev->config = address; /* not every kind of device has one */
        dev->config_size = size;
    }
    /* The machine has the device: its driver does not end for good when a part is missing, which may be devmgr's end halfway. */
    return status == ERROR_NOT_FOUND && dev->interrupt != HANDLE_NONE ? ERROR_UNSUPPORTED : status;
}

bool virtio_device_reset(struct virtio_device *dev)
{
    dev->common->device_status = 0;
    /* 4.1.4.3.2: the reset is done when the register reads 0. */
    uint64_t deadline = time_after_ns(RESET_NS);
    while (dev->common->device_status != 0) {
        if (time_now_ns() > deadline) {
            return false;
        }
    }
    return true;
}

static uint64_t read_features(struct virtio_device *dev)
{
    dev->common->device_feature_select = 0;
    uint64_t features = dev->common->device_feature;
    dev->common->device_feature_select = 1;
    return features | (uint64_t)dev->common->device_feature << 32;
}

status_t virtio_device_negotiate(struct virtio_device *dev, uint64_t wanted)
{
    if (!virtio_device_reset(dev)) {
        return ERROR_IO_ERROR;
    }
    volatile struct virtio_common *common = dev->common;
    common->device_status = STATUS_ACKNOWLEDGE;
    common->device_status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
    uint64_t offered = read_features(dev);
    dev->features = offered & (wanted | VIRTIO_F_VERSION_1);
    common->driver_feature_select = 0;
    common->driver_feature = (uint32_t)dev->features;
    common->driver_feature_select = 1;
    common->driver_feature = (uint32_t)(dev->features >> 32);
    common->device_status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
    if ((dev->features & VIRTIO_F_VERSION_1) == 0 || (common->device_status & STATUS_FEATURES_OK) == 0) {
        common->device_status = STATUS_FAILED;
        return ERROR_UNSUPPORTED;
    }
    common->config_msix_vector = NO_VECTOR;
    return OK;
}

/* Memory of a queue is made once and used again after a reset. */
static status_t queue_memory(struct virtio_device *dev, uint32_t index, uint16_t size)
{
    struct std_mapping *mapping = &dev->queue_memory[index];
    size_t needed = align_up(virtqueue_memory_size(size), STD_PAGE);
    if (mapping->address != nullptr) {
        return mapping->size >= needed ? OK : ERROR_UNSUPPORTED;
    }
    status_t status = std_mapping_create(needed, MEMORY_CONTIGUOUS, mapping);
    if (status == OK) {
        status = tess_dma_map(dev->dma, mapping->memory, 0, mapping->size, &dev->queue_address[index]);
        if (status != OK) {
            std_mapping_destroy(mapping);
        }
    }
    return status;
}

status_t virtio_device_queue(struct virtio_device *dev, uint32_t index, uint16_t size, struct virtqueue *q)
{
    volatile struct virtio_common *common = dev->common;
    if (index >= VIRTIO_QUEUES_MAX || index >= common->queue_count) {
        return ERROR_UNSUPPORTED;
    }
    common->queue_select = (uint16_t)index;
    uint16_t device_size = common->queue_size;
    if (device_size == 0) {
        return ERROR_UNSUPPORTED;
    }
    size = (uint16_t)min_u32(min_u32(size, VIRTQUEUE_SIZE_MAX), device_size);
    if (!is_power_of_two(size)) {
        return ERROR_UNSUPPORTED;
    }
    uint32_t notify_offset = common->queue_notify_off * dev->notify_multiplier;
    if (!is_range_within(notify_offset, 2, dev->notify_size)) {
        return ERROR_UNSUPPORTED;
    }
    status_t status = queue_memory(dev, index, size);
    if (status != OK) {
        return status;
    }
    virtqueue_init(q, size, dev->queue_memory[index].address, dev->queue_address[index], dev->features & VIRTIO_F_EVENT_IDX);
    dev->queue_notify[index] = (volatile uint16_t *)(void *)(dev->notify + notify_offset);
    common->queue_size = size;
    common->queue_msix_vector = NO_VECTOR;
    common->queue_desc_low = (uint32_t)q->desc_address;
    common->queue_desc_high = (uint32_t)(q->desc_address >> 32);
    common->queue_driver_low = (uint32_t)q->avail_address;
    common->queue_driver_high = (uint32_t)(q->avail_address >> 32);
    common->queue_device_low = (uint32_t)q->used_address;
    common->queue_device_high = (uint32_t)(q->used_address >> 32);
    virtio_barrier_register(); /* the zeroed queue before the device may look at it */
    common->queue_enable = 1;
    return OK;
}

void virtio_device_start(struct virtio_device *dev)
{
    dev->common->device_status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK;
}

void virtio_device_abandon(struct virtio_device *dev)
{
    (void)tess_device_claim(dev->device, &dev->vendor, &dev->device_id, &dev->bdf, &dev->unit, &dev->interrupt, &dev->dma,
                            time_after_ns(ABANDON_NS));
}

void virtio_device_notify(struct virtio_device *dev, uint32_t index)
{
    virtio_barrier_register();
    *dev->queue_notify[index] = (uint16_t)index;
}

uint32_t virtio_device_interrupted(struct virtio_device *dev)
{
    uint32_t cause = *dev->isr;
    virtio_barrier_memory(); /* used rings are read after the cause, so nothing announced before is missed */
    return cause;
}

bool virtio_device_config(struct virtio_device *dev, uint32_t offset, void *buffer, uint32_t size)
{
    if (!is_range_within(offset, size, dev->config_size)) {
        return false;
    }
    for (uint32_t attempt = 0; attempt < 100; attempt++) {
        uint8_t generation = dev->common->config_generation;
        for (uint32_t i = 0; i < size; i++) {
            ((uint8_t *)buffer)[i] = dev->config[offset + i];
        }
        if (generation == dev->common->config_generation) {
            return true;
        }
    }
    return false;
}

bool virtio_device_is_broken(const struct virtio_device *dev) { return (dev->common->device_status & STATUS_NEEDS_RESET) != 0; }
