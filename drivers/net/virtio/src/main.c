/*
 * virtio-net as a `netdev` server: one client at a time, its memory and events, its death. The worst a client can do is to
 * damage its own frames: everything it writes goes through frame_queue, which checks it.
 *
 * A lost card or a lost devmgr ends the process: the supervisor starts a fresh one, and devmgr resets the card before it hands
 * it out again.
 */
#include "net_device.h"
#include <std/log.h>
#include <std/loop.h>
#include <std/program.h>
#include <tess/serve/netdev.h>
#include <tess/stub/cspace.h>
#include <tess/stub/dma.h>
#include <tess/stub/event.h>
#include <tess/stub/interrupt.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>

static constexpr uint64_t DOORBELL = 1;

static struct loop loop;
static struct net_device net;

static struct client {
    bool is_attached;
    uint64_t badge;
    handle_t memory, event, doorbell;
    uint64_t event_bits;
    void *address;
    uint64_t size;
    uint64_t device_address;
    struct loop_watch death, doorbell_watch;
} client;

static void pump(void)
{
    struct net_pump_result result = net_device_pump(&net);
    if (result.is_client_to_wake) {
        (void)tess_event_set(client.event, client.event_bits); /* an event that died is about to be reported */
    }
    if (result.is_more_to_do) {
        (void)tess_event_set(client.doorbell, DOORBELL); /* others in the loop have their turn first */
    }
}

static void release_client_memory(void)
{
    if (client.device_address != 0) {
        (void)tess_dma_unmap(net.dev.dma, client.device_address);
    }
    if (client.address != nullptr) {
        std_unmap(client.address, client.size);
    }
    if (client.doorbell != HANDLE_NONE) {
        (void)tess_cspace_destroy(std_self.cspace, client.doorbell); /* whoever still waits for us learns it */
    }
    client.address = nullptr;
    client.device_address = 0;
    client.doorbell = HANDLE_NONE;
}

static void detach(void)
{
    if (!client.is_attached) {
        return;
    }
    client.is_attached = false;
    loop_unwatch(&loop, &client.death);
    loop_unwatch(&loop, &client.doorbell_watch);
    if (net_device_detach(&net) != OK) {
        log_error("the card does not answer a reset");
        std_exit(1); /* its memory stays pinned until devmgr has switched it off */
    }
    release_client_memory();
    std_handle_delete(client.memory);
    std_handle_delete(client.event);
    log_info("client detached");
}

static void on_doorbell(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch, (void)bits, (void)status;
    pump();
}

static void on_client_event_death(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch, (void)bits;
    if (status == ERROR_PEER_DIED) {
        detach();
    }
}

/* Everything that can fail, in order; on failure the caller undoes what is in `client`. */
static status_t attach_memory(handle_t queue)
{
    uint64_t pages;
    uint32_t flags, is_device;
    if (tess_memory_info(queue, &client.size, &pages, &flags, &is_device) != OK || (flags & MEMORY_CONTIGUOUS) == 0 ||
        client.size > frame_queue_memory_size(FRAME_QUEUE_COUNT_MAX)) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = std_map(queue, 0, client.size, MAP_READ | MAP_WRITE, &client.address);
    if (status == OK) {
        status = tess_dma_map(net.dev.dma, queue, 0, client.size, &client.device_address);
    }
    if (status == OK) {
        status = net_device_attach(&net, client.address, client.size, client.device_address);
    }
    if (status != OK) {
        return status == ERROR_NO_MEMORY ? status : ERROR_BAD_ARGUMENT;
    }
    return OK;
}

static status_t attach_events(handle_t event, handle_t *out_doorbell)
{
    uint32_t type, rights;
    uint64_t badge, id;
    if (tess_cspace_inspect(std_self.cspace, event, &type, &rights, &badge, &id) != OK || type != OBJECT_EVENT ||
        (rights & EVENT_RIGHT_SIGNAL) == 0) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = tess_untyped_create_event(std_self.untyped, &client.doorbell);
    if (status == OK) {
        status =
            std_handle_mint(client.doorbell, EVENT_RIGHT_SIGNAL | RIGHT_COPY | RIGHT_MOVE | RIGHT_WATCH | RIGHT_INSPECT, 0, out_doorbell);
    }
    if (status != OK) {
        return ERROR_NO_MEMORY;
    }
    client.doorbell_watch = (struct loop_watch){.fn = on_doorbell};
    client.death = (struct loop_watch){.fn = on_client_event_death};
    if (loop_watch(&loop, &client.doorbell_watch, client.doorbell, DOORBELL, WATCH_MULTI) != OK) {
        std_handle_delete(*out_doorbell);
        return ERROR_NO_MEMORY;
    }
    /* Without right watch on the client's event its death is learnt from the badge alone. */
    if ((rights & RIGHT_WATCH) != 0 && loop_watch(&loop, &client.death, event, 0, WATCH_DEATH) != OK) {
        log_warning("the client's event cannot be watched");
    }
    return OK;
}

static status_t attach(void *context, struct tess_call *call, uint64_t bits, handle_t queue, handle_t event, uint8_t out_mac[8],
                       uint32_t *out_mtu, uint64_t *out_doorbell_bits, handle_t *out_doorbell)
{
    (void)context;
    if (bits == 0) {
        return ERROR_BAD_ARGUMENT;
    }
    if (client.is_attached && client.badge != call->badge) {
        return ERROR_BUSY;
    }
    detach(); /* the same client again: it starts over */
    client = (struct client){.badge = call->badge, .event_bits = bits};
    status_t status = attach_memory(queue);
    if (status == OK) {
        status = attach_events(event, out_doorbell);
    }
    if (status != OK) {
        net.is_attached = false;
        release_client_memory();
        return status;
    }
    client.memory = queue;
    client.event = event;
    client.is_attached = true;
    memcpy(out_mac, net.mac, sizeof(net.mac));
    *out_mtu = net.mtu;
    *out_doorbell_bits = DOORBELL;
    call->reply_move_mask = 1;
    log_info("client attached, %u buffers each way", net.queue.count);
    pump();
    return OK;
}

static status_t info(void *context, struct tess_call *call, uint8_t out_mac[8], uint32_t *out_mtu, uint32_t *out_is_link_up,
                     uint64_t *out_rx_frames, uint64_t *out_tx_frames, uint64_t *out_rx_bytes, uint64_t *out_tx_bytes,
                     uint64_t *out_dropped)
{
    (void)context, (void)call;
    memcpy(out_mac, net.mac, sizeof(net.mac));
    *out_mtu = net.mtu;
    *out_is_link_up = net.is_link_up;
    *out_rx_frames = net.counters.rx_frames;
    *out_tx_frames = net.counters.tx_frames;
    *out_rx_bytes = net.counters.rx_bytes;
    *out_tx_bytes = net.counters.tx_bytes;
    *out_dropped = net.counters.dropped;
    return OK;
}

static const struct netdev_server server = {.attach = attach, .info = info};

static status_t dispatch(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    return netdev_dispatch(&server, nullptr, call);
}

static void badge_gone(struct loop_service *service, uint64_t badge)
{
    (void)service;
    if (client.is_attached && client.badge == badge) {
        detach();
    }
}

static void on_interrupt(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch, (void)bits;
    if (status != OK) {
        log_error("devmgr is gone");
        virtio_device_abandon(&net.dev);
        std_exit(1);
    }
    if (net_device_interrupted(&net) != OK) {
        log_error("the card asks for a reset");
        std_exit(1);
    }
    pump();
    (void)tess_interrupt_ack(net.dev.interrupt);
}

int main(void)
{
    status_t status = net_device_open(&net, std_handle_needed("device"));
    if (status == ERROR_NOT_FOUND) {
        log_warning("no network card");
        return 0;
    }
    if (status != OK) {
        log_error("cannot start the card: %s", status_name(status));
        return 1;
    }
    log_info("card %02x:%02x.%u, %02x:%02x:%02x:%02x:%02x:%02x, mtu %u, link %s", net.dev.bdf >> 8, net.dev.bdf >> 3 & 31, net.dev.bdf & 7,
             net.mac[0], net.mac[1], net.mac[2], net.mac[3], net.mac[4], net.mac[5], net.mtu, net.is_link_up ? "up" : "down");
    static struct loop_service service = {.dispatch = dispatch, .badge_gone = badge_gone};
    static struct loop_watch interrupt = {.fn = on_interrupt};
    status = loop_open(&loop, nullptr);
    if (status == OK) {
        status = loop_watch(&loop, &interrupt, net.dev.interrupt, 1, WATCH_MULTI | WATCH_DEATH);
    }
    if (status == OK) {
        status = tess_interrupt_ack(net.dev.interrupt); /* masked until now */
    }
    if (status == OK) {
        status = loop_serve(&loop, &service, std_handle_needed("serve.netdev"));
    }
    if (status != OK) {
        log_error("cannot serve: %s", status_name(status));
        return 1;
    }
    return loop_run(&loop);
}
