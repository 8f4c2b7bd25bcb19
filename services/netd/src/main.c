/*
 * The TCP/IP service: lwIP between a network driver and clients, in one thread. Each round of the loop handles what came in;
 * then sockets move bytes, clients and the driver are told, and the clocks that are needed are started.
 */
#include <netd/configure.h>
#include <netd/early.h>
#include <netd/guard.h>
#include <netd/link.h>
#include <netd/port.h>
#include <netd/query.h>
#include <netd/session.h>
#include <netd/socket.h>
#include <netd/timers.h>
#include <std/log.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/serve/net.h>
#include <tess/string.h>

#include "lwip/dns.h"
#include "lwip/init.h"
#include "lwip/memp.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/ethernet.h"
#include "lwip/stats.h"

enum : uint32_t { INFO_LINK_UP = 1, INFO_CONFIGURED = 2, INFO_BY_DHCP = 4 };

static struct loop loop;

static status_t info(void *context, struct tess_call *call, uint32_t *out_flags, uint32_t *out_address, uint32_t *out_mask,
                     uint32_t *out_gateway, uint32_t *out_dns, uint8_t out_mac[8])
{
    (void)context;
    (void)call;
    struct configure_state state = configure_state();
    *out_flags =
        (link_counters()->is_up ? INFO_LINK_UP : 0) | (state.is_configured ? INFO_CONFIGURED : 0) | (state.is_by_dhcp ? INFO_BY_DHCP : 0);
    *out_address = netif_ip4_addr(netif_default)->addr;
    *out_mask = netif_ip4_netmask(netif_default)->addr;
    *out_gateway = netif_ip4_gw(netif_default)->addr;
    *out_dns = ip_2_ip4(dns_getserver(0))->addr;
    memcpy(out_mac, link_mac(), ETH_HWADDR_LEN);
    return OK;
}

static uint64_t pools_used(void)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < MEMP_MAX; i++) {
        bytes += (uint64_t)lwip_stats.memp[i]->used * memp_pools[i]->size;
    }
    return bytes;
}

static uint32_t count_pcbs(const struct tcp_pcb *pcb)
{
    uint32_t count = 0;
    for (; pcb != nullptr; pcb = pcb->next) {
        count++;
    }
    return count;
}

static status_t counters(void *context, struct tess_call *call, uint64_t *out_rx_frames, uint64_t *out_tx_frames, uint64_t *out_rx_bytes,
                         uint64_t *out_tx_bytes, uint64_t *out_dropped, uint32_t *out_tcp_open, uint32_t *out_tcp_time_wait,
                         uint32_t *out_tcp_listening, uint64_t *out_tcp_accepted, uint32_t *out_restarts, uint64_t *out_memory_used)
{
    (void)context;
    (void)call;
    const struct link_counters *link = link_counters();
    *out_rx_frames = link->rx_frames;
    *out_tx_frames = link->tx_frames;
    *out_rx_bytes = link->rx_bytes;
    *out_tx_bytes = link->tx_bytes;
    *out_dropped = link->dropped;
    *out_tcp_open = count_pcbs(tcp_active_pcbs);
    *out_tcp_time_wait = count_pcbs(tcp_tw_pcbs);
    *out_tcp_listening = count_pcbs(tcp_listen_pcbs.pcbs);
    *out_tcp_accepted = socket_counters()->accepted;
    *out_restarts = link->restarts;
    *out_memory_used = pools_used();
    return OK;
}

static status_t session(void *context, struct tess_call *call, uint32_t listen_bit, handle_t client_event, uint32_t *out_reserved,
                        handle_t *out_session, handle_t *out_doorbell)
{
    (void)context;
    *out_reserved = 0;
    return session_open(call, listen_bit, client_event, out_session, out_doorbell);
}

static status_t ping(void *context, struct tess_call *call, uint32_t address, uint32_t timeout_ms, uint64_t *out_rtt_ns)
{
    (void)context;
    *out_rtt_ns = 0;
    return ping_start(call, address, timeout_ms);
}

static status_t resolve(void *context, struct tess_call *call, const uint8_t name[96], uint32_t *out_address)
{
    (void)context;
    return lookup_start(call, name, out_address);
}

static const struct net_server net_methods = {.info = info, .counters = counters, .session = session, .ping = ping, .resolve = resolve};

static status_t dispatch(struct loop_service *service, struct tess_call *call)
{
    (void)service;
    return net_dispatch(&net_methods, nullptr, call);
}

static status_t start(void)
{
    static struct loop_service service = {.dispatch = dispatch};
    constexpr struct std_ring_sizes sizes = {.sq_entries = 2, .cq_entries = 128, .call_slots = 64, .watch_slots = 32};
    status_t status = loop_open(&loop, &sizes);
    if (status != OK) {
        return status;
    }
    port_init(std_handle("entropy"));
    timers_init(&loop);
    lwip_init();
    sockets_init();
    configure_init(&loop);
    status = sessions_init(&loop);
    if (status == OK) {
        status = query_init(&loop);
    }
    if (status == OK) {
        status = loop_serve(&loop, &service, std_handle_needed("serve.net"));
    }
    return status == OK ? link_init(&loop, std_handle_needed("netdev"), configure_link_changed) : status;
}

int main(void)
{
    status_t status = start();
    while (status == OK || status == ERROR_TIMED_OUT || status == ERROR_INTERRUPTED) {
        early_deliver(netif_default);
        sockets_flush();
        sessions_flush();
        timers_update();
        link_flush();
        status = loop_run_once(&loop, DEADLINE_INFINITE);
    }
    log_error("%s", status_name(status));
    return status;
}
