/*
 * Looks at incoming SYNs before lwIP does, which knows neither of these rules:
 *  - a listener's backlog counts half-open connections; when three quarters of it are half-open, the oldest of them makes room,
 *    so a flood of SYNs that never complete (RFC 4987) delays others instead of shutting them out;
 *  - a SYN with a higher sequence number for a pair in TIME_WAIT starts a new connection (RFC 1122, 4.2.2.13).
 * The packet's checksum is not verified yet: whoever can forge a SYN can as well send one that counts.
 */
#include "lwip_hooks.h"
#include <netd/guard.h>
#include <netd/timers.h>
#include <tess/string.h>

#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/tcp.h"

static struct guard_counters counters;

const struct guard_counters *guard_counters(void) { return &counters; }

static const struct tcp_pcb_listen *listener_of(u16_t port)
{
    for (const struct tcp_pcb_listen *listener = tcp_listen_pcbs.listen_pcbs; listener != nullptr; listener = listener->next) {
        if (listener->local_port == port) {
            return listener;
        }
    }
    return nullptr;
}

static void reuse_time_wait(const struct ip_hdr *ip, u16_t local_port, u16_t remote_port, u32_t sequence)
{
    for (struct tcp_pcb *pcb = tcp_tw_pcbs; pcb != nullptr; pcb = pcb->next) {
        if (pcb->remote_port == remote_port && pcb->local_port == local_port && ip_2_ip4(&pcb->remote_ip)->addr == ip->src.addr &&
            ip_2_ip4(&pcb->local_ip)->addr == ip->dest.addr) {
            if (TCP_SEQ_GT(sequence, pcb->rcv_nxt)) {
                counters.time_wait_reused++;
                tcp_abandon(pcb, 0);
            }
            return;
        }
    }
}

static void drop_oldest_half_open(const struct tcp_pcb_listen *listener)
{
    u8_t limit = (u8_t)(listener->backlog - listener->backlog / 4);
    if (listener->accepts_pending < limit) {
        return;
    }
    struct tcp_pcb *oldest = nullptr;
    u32_t half_open = 0;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != nullptr; pcb = pcb->next) {
        if (pcb->state == SYN_RCVD && pcb->local_port == listener->local_port) {
            half_open++;
            /* New ones enter the list in front: of equally old ones the last is the oldest. */
            if (oldest == nullptr || tcp_ticks - pcb->tmr >= tcp_ticks - oldest->tmr) {
                oldest = pcb;
            }
        }
    }
    if (half_open >= limit) {
        counters.half_open_dropped++;
        tcp_abandon(oldest, 0);
    }
}

static void look_at_syn(const struct ip_hdr *ip, const struct tcp_hdr *tcp)
{
    u16_t local_port = lwip_ntohs(tcp->dest);
    const struct tcp_pcb_listen *listener = listener_of(local_port);
    if (listener != nullptr) {
        reuse_time_wait(ip, local_port, lwip_ntohs(tcp->src), lwip_ntohl(tcp->seqno));
        drop_oldest_half_open(listener);
    }
}

int guard_ip4_input(const struct pbuf *p)
{
    struct ip_hdr ip;
    struct tcp_hdr tcp;
    if (p->len < sizeof ip) {
        return 0;
    }
    memcpy(&ip, p->payload, sizeof ip);
    if ((IPH_OFFSET(&ip) & PP_HTONS(IP_OFFMASK | IP_MF)) != 0) {
        timers_note_fragment();
        return 0;
    }
    size_t ip_size = IPH_HL_BYTES(&ip);
    if (IPH_PROTO(&ip) != IP_PROTO_TCP || ip_size < sizeof ip || p->len < ip_size + sizeof tcp) {
        return 0;
    }
    memcpy(&tcp, (const uint8_t *)p->payload + ip_size, sizeof tcp);
    if ((TCPH_FLAGS(&tcp) & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) {
        look_at_syn(&ip, &tcp);
    }
    return 0;
}
