#include <netd/socket.h>
#include <netd/timers.h>
#include <std/time.h>

#include "lwip/dhcp.h"
#include "lwip/dns.h"
#include "lwip/etharp.h"
#include "lwip/ip4_frag.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/dhcp.h"

static constexpr uint64_t ARP_LASTS_NS = 8 * NS_PER_S; /* longer than the retries for a pending entry */
static constexpr uint64_t TCP_SLOW_NS = TCP_SLOW_INTERVAL * NS_PER_MS;
static constexpr uint64_t LOOKUP_LASTS_NS = 30 * NS_PER_S; /* longer than DNS's retries */

enum clock { CLOCK_TCP, CLOCK_ARP, CLOCK_REASSEMBLY, CLOCK_DNS, CLOCK_DHCP_FINE, CLOCK_DHCP_COARSE, CLOCKS };

static struct {
    struct loop *loop;
    struct loop_timer timers[CLOCKS];
    uint64_t due_ns[CLOCKS];     /* when the running timer was meant to fire */
    uint64_t until_ns[CLOCKS];   /* needed until then; ARP, reassembly, DNS */
    uint64_t aged_ns[CLOCKS];    /* entries have aged up to this time; ARP, DNS */
    uint64_t tcp_rests_since_ns; /* 0: it runs */
} timers;

/* Runs `age` once for every second since it ran last. Nothing was looked up in between, so it does not matter when. */
static void catch_up(enum clock clock, uint64_t now, uint64_t interval_ns, uint64_t limit, void (*age)(void))
{
    uint64_t missed = (now - timers.aged_ns[clock]) / interval_ns;
    timers.aged_ns[clock] += missed * interval_ns;
    for (uint64_t i = 0; i < missed && i < limit; i++) {
        age();
    }
}

static void start_at(enum clock clock, uint64_t at_ns)
{
    timers.due_ns[clock] = at_ns;
    loop_timer_start(timers.loop, &timers.timers[clock], at_ns);
}

static void start(enum clock clock, uint64_t now, uint64_t interval_ns)
{
    if (!timers.timers[clock].is_running) {
        start_at(clock, now + interval_ns);
    }
}

/* The next tick keeps the rhythm unless it is already late. */
static void restart(enum clock clock, uint64_t interval_ns)
{
    uint64_t now = time_now_ns(), next = timers.due_ns[clock] + interval_ns;
    start_at(clock, next > now ? next : now + interval_ns);
}

static struct dhcp *dhcp_state(void) { return netif_default != nullptr ? netif_dhcp_data(netif_default) : nullptr; }

/* Coarse ticks (a minute each) until the lease needs something; 0: none is held. */
static uint32_t lease_ticks(void)
{
    const struct dhcp *dhcp = dhcp_state();
    if (dhcp == nullptr || dhcp->state == DHCP_STATE_OFF || dhcp->t0_timeout == 0) {
        return 0;
    }
    uint32_t ticks = dhcp->t0_timeout > dhcp->lease_used ? (uint32_t)(dhcp->t0_timeout - dhcp->lease_used) : 1;
    if (dhcp->t1_renew_time > 0 && dhcp->t1_renew_time < ticks) {
        ticks = dhcp->t1_renew_time;
    }
    if (dhcp->t2_rebind_time > 0 && dhcp->t2_rebind_time < ticks) {
        ticks = dhcp->t2_rebind_time;
    }
    return ticks;
}

/*
 * The TCP clock counts half seconds in lwIP's tcp_ticks. While no connection has anything under way it rests; the only deadline
 * left may then be the end of a TIME_WAIT. What it missed is added when it goes on.
 */
static bool is_quiet(const struct tcp_pcb *pcb)
{
    return (pcb->state == ESTABLISHED || pcb->state == CLOSE_WAIT) && pcb->unsent == nullptr && pcb->unacked == nullptr &&
           pcb->ooseq == nullptr && pcb->refused_data == nullptr && pcb->persist_backoff == 0 &&
           (pcb->flags & (TF_ACK_DELAY | TF_ACK_NOW | TF_CLOSEPEND)) == 0;
}

static bool may_tcp_rest(void)
{
    for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb != nullptr; pcb = pcb->next) {
        if (!is_quiet(pcb)) {
            return false;
        }
    }
    return !sockets_want_retry();
}

static void tcp_rest(uint64_t now)
{
    u32_t first = UINT32_MAX;
    for (const struct tcp_pcb *pcb = tcp_tw_pcbs; pcb != nullptr; pcb = pcb->next) {
        u32_t waited = tcp_ticks - pcb->tmr, all = 2 * TCP_MSL / TCP_SLOW_INTERVAL + 1;
        u32_t left = waited < all ? all - waited : 1;
        first = left < first ? left : first;
    }
    timers.tcp_rests_since_ns = now;
    if (first != UINT32_MAX) {
        start_at(CLOCK_TCP, now + first * TCP_SLOW_NS);
    } else {
        loop_timer_stop(timers.loop, &timers.timers[CLOCK_TCP]);
    }
}

static void tcp_rest_end(uint64_t now)
{
    tcp_ticks += (u32_t)((now - timers.tcp_rests_since_ns) / TCP_SLOW_NS);
    timers.tcp_rests_since_ns = 0;
}

static void tcp_fired(struct loop_timer *timer)
{
    uint64_t now = time_now_ns();
    (void)timer;
    if (timers.tcp_rests_since_ns != 0) {
        tcp_rest_end(now);
        tcp_slowtmr();
    } else {
        tcp_tmr();
    }
    if (may_tcp_rest()) {
        tcp_rest(now);
    } else {
        if (sockets_want_retry()) {
            sockets_retry();
        }
        restart(CLOCK_TCP, TCP_TMR_INTERVAL * NS_PER_MS);
    }
}

/* lwIP calls this when a connection appears; timers_update() finds out whether the clock has to run. */
void tcp_timer_needed(void) {}

static void update_tcp(void)
{
    if (timers.tcp_rests_since_ns == 0 || (tcp_active_pcbs == nullptr && tcp_tw_pcbs == nullptr)) {
        return;
    }
    uint64_t now = time_now_ns();
    if (!may_tcp_rest()) {
        tcp_rest_end(now);
        start_at(CLOCK_TCP, now + TCP_TMR_INTERVAL * NS_PER_MS);
    } else if (tcp_tw_pcbs != nullptr && !timers.timers[CLOCK_TCP].is_running) {
        tcp_rest_end(now);
        tcp_rest(now);
    }
}

static void arp_fired(struct loop_timer *timer)
{
    (void)timer;
    catch_up(CLOCK_ARP, time_now_ns(), ARP_TMR_INTERVAL * NS_PER_MS, ARP_MAXAGE + 1, etharp_tmr);
    if (time_now_ns() < timers.until_ns[CLOCK_ARP]) {
        restart(CLOCK_ARP, ARP_TMR_INTERVAL * NS_PER_MS);
    }
}

static void reassembly_fired(struct loop_timer *timer)
{
    (void)timer;
    ip_reass_tmr();
    if (time_now_ns() < timers.until_ns[CLOCK_REASSEMBLY]) {
        restart(CLOCK_REASSEMBLY, IP_TMR_INTERVAL * NS_PER_MS);
    }
}

static void dns_fired(struct loop_timer *timer)
{
    (void)timer;
    catch_up(CLOCK_DNS, time_now_ns(), DNS_TMR_INTERVAL * NS_PER_MS, UINT64_MAX, dns_tmr);
    if (time_now_ns() < timers.until_ns[CLOCK_DNS]) {
        restart(CLOCK_DNS, DNS_TMR_INTERVAL * NS_PER_MS);
    }
}

static void dhcp_fine_fired(struct loop_timer *timer)
{
    (void)timer;
    dhcp_fine_tmr();
    const struct dhcp *dhcp = dhcp_state();
    if (dhcp != nullptr && dhcp->request_timeout > 0) {
        restart(CLOCK_DHCP_FINE, DHCP_FINE_TIMER_MSECS * NS_PER_MS);
    }
}

static void dhcp_coarse_fired(struct loop_timer *timer)
{
    (void)timer;
    uint64_t now = time_now_ns(), interval = DHCP_COARSE_TIMER_MSECS * NS_PER_MS;
    catch_up(CLOCK_DHCP_COARSE, now, interval, UINT64_MAX, dhcp_coarse_tmr);
    uint32_t ticks = lease_ticks();
    if (ticks > 0) {
        start_at(CLOCK_DHCP_COARSE, timers.aged_ns[CLOCK_DHCP_COARSE] + ticks * interval);
    }
}

void timers_note_traffic(void)
{
    if (!timers.timers[CLOCK_ARP].is_running) {
        catch_up(CLOCK_ARP, time_now_ns(), ARP_TMR_INTERVAL * NS_PER_MS, ARP_MAXAGE + 1, etharp_tmr);
    }
}

void timers_note_arp_request(void)
{
    uint64_t now = time_now_ns();
    timers.until_ns[CLOCK_ARP] = now + ARP_LASTS_NS;
    start(CLOCK_ARP, now, ARP_TMR_INTERVAL * NS_PER_MS);
}

void timers_note_fragment(void)
{
    uint64_t now = time_now_ns();
    timers.until_ns[CLOCK_REASSEMBLY] = now + (IP_REASS_MAXAGE + 2) * NS_PER_S;
    start(CLOCK_REASSEMBLY, now, IP_TMR_INTERVAL * NS_PER_MS);
}

void timers_note_lookup(void)
{
    uint64_t now = time_now_ns();
    timers.until_ns[CLOCK_DNS] = now + LOOKUP_LASTS_NS;
    if (!timers.timers[CLOCK_DNS].is_running) {
        catch_up(CLOCK_DNS, now, DNS_TMR_INTERVAL * NS_PER_MS, UINT64_MAX, dns_tmr);
        start(CLOCK_DNS, now, DNS_TMR_INTERVAL * NS_PER_MS);
    }
}

void timers_update(void)
{
    update_tcp();
    const struct dhcp *dhcp = dhcp_state();
    if (dhcp == nullptr) {
        return;
    }
    if (dhcp->request_timeout > 0 && !timers.timers[CLOCK_DHCP_FINE].is_running) {
        start(CLOCK_DHCP_FINE, time_now_ns(), DHCP_FINE_TIMER_MSECS * NS_PER_MS);
    }
    uint32_t ticks = lease_ticks();
    if (ticks > 0 && !timers.timers[CLOCK_DHCP_COARSE].is_running) {
        timers.aged_ns[CLOCK_DHCP_COARSE] = time_now_ns();
        start_at(CLOCK_DHCP_COARSE, timers.aged_ns[CLOCK_DHCP_COARSE] + ticks * (DHCP_COARSE_TIMER_MSECS * NS_PER_MS));
    }
}

void timers_init(struct loop *loop)
{
    static void (*const fired[CLOCKS])(struct loop_timer *) = {
        [CLOCK_TCP] = tcp_fired,
        [CLOCK_ARP] = arp_fired,
        [CLOCK_REASSEMBLY] = reassembly_fired,
        [CLOCK_DNS] = dns_fired,
        [CLOCK_DHCP_FINE] = dhcp_fine_fired,
        [CLOCK_DHCP_COARSE] = dhcp_coarse_fired,
    };
    timers.loop = loop;
    uint64_t now = time_now_ns();
    for (uint32_t i = 0; i < CLOCKS; i++) {
        timers.timers[i].fn = fired[i];
        timers.aged_ns[i] = now;
    }
    timers.tcp_rests_since_ns = now;
}
