#include <netd/early.h>
#include <netd/link.h>
#include <netd/timers.h>
#include <ring/frame_queue.h>
#include <std/log.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/string.h>
#include <tess/stub/event.h>
#include <tess/stub/netdev.h>
#include <tess/stub/untyped.h>

#include "lwip/etharp.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "netif/ethernet.h"

static constexpr uint32_t BUFFERS = 256; /* in each direction */
static constexpr uint32_t RX_BATCH = 64; /* frames handled before others get their turn */
static constexpr uint64_t EVENT_BIT = 1;
static constexpr uint64_t ATTACH_WAIT_NS = 500 * NS_PER_MS;
static constexpr uint64_t PAUSE_FIRST_NS = 20 * NS_PER_MS, PAUSE_LAST_NS = 30 * NS_PER_S;
static constexpr uint32_t MTU = 1500, ETHERNET_HEADER = 14;

static struct {
    struct loop *loop;
    struct netif netif;
    handle_t netdev;
    handle_t event;        /* ours: the driver raises EVENT_BIT */
    handle_t event_signal; /* the same with right signal only, for the driver */
    handle_t memory_share; /* the queue's memory with what a driver needs */
    handle_t doorbell;     /* the driver's */
    uint64_t doorbell_bits;
    struct std_mapping memory;
    struct frame_queue queue;
    struct loop_watch event_watch, doorbell_watch;
    struct loop_timer retry;
    uint64_t pause_ns;
    void (*changed)(bool is_up);
    struct link_counters counters;
    bool is_attached, was_attached, has_more;
    bool is_resuming;
    bool is_wish_told; /* the driver knows that we wait for buffers */
    bool is_starved;   /* a frame found no free buffer: connections wait for one */
} card;

const struct link_counters *link_counters(void) { return &card.counters; }

const uint8_t *link_mac(void) { return card.netif.hwaddr; }

/* lwIP: one frame out. Without a free buffer TCP keeps its segment and tries again; everybody else loses a frame. */
static err_t send_frame(struct netif *netif, struct pbuf *p)
{
    (void)netif;
    struct frame frame;
    if (!card.is_attached || p->tot_len > ETHERNET_HEADER + MTU) {
        card.counters.dropped++;
        return ERR_OK; /* on the way, as far as lwIP is concerned; it is sent again when nothing comes back */
    }
    /* Those who already wait for a buffer come first. */
    if ((card.is_starved && !card.is_resuming) || !frame_queue_tx_alloc(&card.queue, &frame)) {
        card.is_starved = true;
        return ERR_MEM;
    }
    pbuf_copy_partial(p, frame.data, p->tot_len, 0);
    if (!frame_queue_tx_send(&card.queue, frame.buffer, p->tot_len)) {
        frame_queue_tx_cancel(&card.queue, frame.buffer);
        card.counters.dropped++;
        return ERR_MEM;
    }
    card.counters.tx_frames++;
    card.counters.tx_bytes += p->tot_len;
    if (frame.data[12] == 0x08 && frame.data[13] == 0x06) {
        timers_note_arp_request();
    }
    return ERR_OK;
}

static err_t netif_setup(struct netif *netif)
{
    netif->name[0] = 'e';
    netif->name[1] = 'n';
    netif->output = etharp_output;
    netif->linkoutput = send_frame;
    netif->mtu = MTU;
    netif->hwaddr_len = ETH_HWADDR_LEN;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
    return ERR_OK;
}

/* Copied before lwIP looks at it: the driver can still write to its buffer, and the buffer goes straight back. */
static void receive_frame(const struct frame *frame)
{
    card.counters.rx_frames++;
    card.counters.rx_bytes += frame->length;
    struct pbuf *p = frame->length >= ETHERNET_HEADER ? pbuf_alloc(PBUF_RAW, frame->length, PBUF_POOL) : nullptr;
    if (p == nullptr) {
        card.counters.dropped++;
        return;
    }
    pbuf_take(p, frame->data, frame->length);
    if (early_keep(&card.netif, p)) {
        return;
    }
    if (card.netif.input(p, &card.netif) != ERR_OK) {
        pbuf_free(p);
        card.counters.dropped++;
    }
}

static void receive(void)
{
    struct frame frame;
    uint32_t count = 0;
    while (count < RX_BATCH && frame_queue_rx_take(&card.queue, &frame)) {
        receive_frame(&frame);
        frame_queue_rx_give(&card.queue, frame.buffer);
        count++;
    }
    card.has_more = count == RX_BATCH;
    if (count > 0) {
        timers_note_traffic();
    }
}

static void attach(void);

static void detach(const char *why)
{
    log_warning("network driver lost (%s); connections are kept", why);
    loop_unwatch(card.loop, &card.doorbell_watch);
    std_handle_delete(card.doorbell);
    card.doorbell = HANDLE_NONE;
    card.is_attached = card.has_more = false;
    card.counters.is_up = false;
    card.counters.restarts++;
    card.pause_ns = PAUSE_FIRST_NS;
    loop_timer_start(card.loop, &card.retry, time_now_ns());
}

/* There are buffers again: whatever found none is sent now, not when a clock comes round. */
static void resume_sending(void)
{
    struct frame frame;
    if (!card.is_starved || !frame_queue_tx_alloc(&card.queue, &frame)) {
        return;
    }
    frame_queue_tx_cancel(&card.queue, frame.buffer);
    card.is_starved = false;
    card.is_resuming = true;
    /* lwIP keeps whoever was heard of last in front; those at the end have waited longest. */
    static struct tcp_pcb *waiting[MEMP_NUM_TCP_PCB];
    uint32_t count = 0;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != nullptr; pcb = pcb->next) {
        if (pcb->unsent != nullptr || (pcb->flags & TF_ACK_NOW) != 0) {
            waiting[count++] = pcb;
        }
    }
    while (count > 0 && !card.is_starved) {
        tcp_output(waiting[--count]); /* runs no callback, so the others stay */
    }
    card.is_resuming = false;
}

static uint32_t wishes(void) { return card.is_starved ? FRAME_QUEUE_WANT_RX | FRAME_QUEUE_WANT_TX : FRAME_QUEUE_WANT_RX; }

/* Everything that can be ready, and the wish to be told of more. Sent buffers are collected when new ones are needed. */
static void work(void)
{
    do {
        resume_sending();
        receive();
        if (card.queue.is_broken) {
            detach("it broke the queue");
            return;
        }
        card.is_wish_told = card.is_starved;
    } while (!card.has_more && !frame_queue_prepare_wait(&card.queue, wishes()));
    if (card.has_more) {
        card.is_wish_told = false;
        /* The bit comes back to us through the ring, behind whatever else waits there. */
        (void)tess_event_set(card.event, EVENT_BIT);
    }
}

static void event_fired(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch;
    (void)bits;
    (void)status;
    if (card.is_attached) {
        work();
    }
}

static void doorbell_died(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)watch;
    (void)bits;
    if (status == ERROR_PEER_DIED && card.is_attached) {
        detach("it ended");
    }
}

/* What was on its way to the old driver is lost: send it again now instead of waiting for the clock. */
static void resend_unacknowledged(void)
{
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != nullptr; pcb = pcb->next) {
        if (pcb->unacked != nullptr) {
            tcp_rexmit_rto(pcb);
        }
    }
}

static status_t try_attach(void)
{
    uint8_t mac[8];
    uint32_t mtu;
    if (!frame_queue_init(&card.queue, card.memory.address, card.memory.size, BUFFERS)) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = tess_netdev_attach(card.netdev, EVENT_BIT, card.memory_share, card.event_signal, mac, &mtu, &card.doorbell_bits,
                                         &card.doorbell, time_after_ns(ATTACH_WAIT_NS));
    if (status != OK) {
        return status;
    }
    status = loop_watch(card.loop, &card.doorbell_watch, card.doorbell, 0, WATCH_DEATH);
    if (status != OK) {
        std_handle_delete(card.doorbell);
        card.doorbell = HANDLE_NONE;
        return status;
    }
    memcpy(card.netif.hwaddr, mac, ETH_HWADDR_LEN);
    card.netif.mtu = mtu >= 576 && mtu < MTU ? (u16_t)mtu : MTU;
    return OK;
}

static void attach(void)
{
    status_t status = try_attach();
    if (status != OK) {
        if (card.pause_ns == PAUSE_FIRST_NS) {
            log_warning("no network driver answers (%s); waiting for one", status_name(status));
        }
        loop_timer_start(card.loop, &card.retry, time_after_ns(card.pause_ns));
        card.pause_ns = card.pause_ns * 2 < PAUSE_LAST_NS ? card.pause_ns * 2 : PAUSE_LAST_NS;
        return;
    }
    card.is_attached = true;
    card.counters.is_up = true;
    card.pause_ns = PAUSE_FIRST_NS;
    netif_set_up(&card.netif);
    netif_set_link_up(&card.netif);
    if (card.was_attached) {
        log_info("network driver is back");
        resend_unacknowledged();
    }
    card.was_attached = true;
    card.changed(true);
    work();
}

static void retry_fired(struct loop_timer *timer)
{
    (void)timer;
    attach();
}

void link_flush(void)
{
    if (card.is_attached && card.is_starved && !card.is_wish_told) {
        /* It ran out after work(). If buffers came back meanwhile, our own bit makes another round. */
        card.is_wish_told = true;
        if (!frame_queue_prepare_wait(&card.queue, wishes())) {
            (void)tess_event_set(card.event, EVENT_BIT);
        }
    }
    if (card.is_attached && frame_queue_should_wake(&card.queue)) {
        /* A dead driver is noticed by the watch on its doorbell. */
        (void)tess_event_set(card.doorbell, card.doorbell_bits);
    }
}

status_t link_init(struct loop *loop, handle_t netdev, void (*changed)(bool is_up))
{
    card.loop = loop;
    card.netdev = netdev;
    card.changed = changed;
    card.pause_ns = PAUSE_FIRST_NS;
    card.event_watch.fn = event_fired;
    card.doorbell_watch.fn = doorbell_died;
    card.retry.fn = retry_fired;
    ip4_addr_t none = {};
    if (netif_add(&card.netif, &none, &none, &none, nullptr, netif_setup, ethernet_input) == nullptr) {
        return ERROR_NO_MEMORY;
    }
    netif_set_default(&card.netif);
    status_t status = std_mapping_create(frame_queue_memory_size(BUFFERS), MEMORY_CONTIGUOUS, &card.memory);
    if (status == OK) {
        status =
            std_handle_copy(card.memory.memory, MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE | RIGHT_COPY | RIGHT_INSPECT, &card.memory_share);
    }
    if (status == OK) {
        status = tess_untyped_create_event(std_self.untyped, &card.event);
    }
    if (status == OK) {
        status = std_handle_copy(card.event, EVENT_RIGHT_SIGNAL | RIGHT_COPY | RIGHT_WATCH | RIGHT_INSPECT, &card.event_signal);
    }
    if (status == OK) {
        status = loop_watch(loop, &card.event_watch, card.event, EVENT_BIT, WATCH_MULTI);
    }
    if (status == OK) {
        attach();
    }
    return status;
}
