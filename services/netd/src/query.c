#include <netd/configure.h>
#include <netd/query.h>
#include <netd/timers.h>
#include <std/time.h>
#include <tess/serve/net.h>
#include <tess/string.h>

#include "lwip/dns.h"
#include "lwip/icmp.h"
#include "lwip/inet_chksum.h"
#include "lwip/netif.h"
#include "lwip/prot/ip4.h"
#include "lwip/raw.h"

static constexpr uint16_t PING_ID = 0x7e55;
static constexpr uint32_t PING_BYTES = 40; /* of ICMP, with its header */
static constexpr uint32_t NAME_BYTES_MAX = 96;
static constexpr uint64_t LOOKUP_SLOW_NS = 3 * NS_PER_S; /* a failure after that long is a server that does not answer */

struct ping {
    bool is_running;
    uint16_t sequence;
    uint32_t address;
    uint64_t token, sent_ns;
    struct loop_timer timer;
};

struct lookup {
    bool is_running;
    uint64_t token, started_ns;
};

static struct {
    struct loop *loop;
    struct raw_pcb *raw;
    uint16_t sequence;
    struct ping pings[PINGS];
    struct lookup lookups[LOOKUPS];
} query;

static void ping_end(struct ping *ping, status_t status, uint64_t rtt_ns)
{
    struct tess_call answer = {};
    loop_timer_stop(query.loop, &ping->timer);
    ping->is_running = false;
    net_ping_reply(&answer, rtt_ns);
    loop_reply(query.loop, ping->token, status, &answer);
}

static void ping_timed_out(struct loop_timer *timer) { ping_end(timer->context, ERROR_TIMED_OUT, 0); }

/* lwIP: every ICMP packet, with its IP header in front. 1: taken. */
static u8_t icmp_arrived(void *context, struct raw_pcb *pcb, struct pbuf *p, const ip_addr_t *address)
{
    struct icmp_echo_hdr echo;
    (void)context;
    (void)pcb;
    u16_t ip_bytes = p->len >= sizeof(struct ip_hdr) ? IPH_HL_BYTES((const struct ip_hdr *)p->payload) : 0;
    if (ip_bytes == 0 || pbuf_copy_partial(p, &echo, sizeof echo, ip_bytes) != sizeof echo || ICMPH_TYPE(&echo) != ICMP_ER ||
        echo.id != lwip_htons(PING_ID)) {
        return 0;
    }
    for (uint32_t i = 0; i < PINGS; i++) {
        struct ping *ping = &query.pings[i];
        if (ping->is_running && ping->sequence == lwip_ntohs(echo.seqno) && ping->address == ip_2_ip4(address)->addr) {
            ping_end(ping, OK, time_now_ns() - ping->sent_ns);
            pbuf_free(p);
            return 1;
        }
    }
    return 0;
}

static err_t ping_send(struct ping *ping)
{
    struct pbuf *p = pbuf_alloc(PBUF_IP, PING_BYTES, PBUF_RAM);
    if (p == nullptr) {
        return ERR_MEM;
    }
    struct icmp_echo_hdr *echo = p->payload;
    memset(p->payload, 0, PING_BYTES);
    ICMPH_TYPE_SET(echo, ICMP_ECHO);
    echo->id = lwip_htons(PING_ID);
    echo->seqno = lwip_htons(ping->sequence);
    echo->chksum = inet_chksum(echo, PING_BYTES);
    ip_addr_t remote = {};
    ip_2_ip4(&remote)->addr = ping->address;
    err_t error = raw_sendto(query.raw, p, &remote);
    pbuf_free(p);
    return error;
}

status_t ping_start(struct tess_call *call, uint32_t address, uint32_t timeout_ms)
{
    struct ping *ping = nullptr;
    if (timeout_ms == 0 || timeout_ms > 10'000) {
        return ERROR_BAD_ARGUMENT;
    }
    if (!configure_state().is_configured) {
        return ERROR_UNREACHABLE;
    }
    for (uint32_t i = 0; i < PINGS && ping == nullptr; i++) {
        ping = query.pings[i].is_running ? nullptr : &query.pings[i];
    }
    if (ping == nullptr) {
        return ERROR_NO_SPACE;
    }
    *ping = (struct ping){.is_running = true,
                          .sequence = query.sequence++,
                          .address = address,
                          .token = call->token,
                          .sent_ns = time_now_ns(),
                          .timer = {.fn = ping_timed_out, .context = ping}};
    err_t error = ping_send(ping);
    if (error != ERR_OK) {
        ping->is_running = false;
        return error == ERR_MEM || error == ERR_BUF ? ERROR_NO_SPACE : ERROR_UNREACHABLE;
    }
    loop_timer_start(query.loop, &ping->timer, ping->sent_ns + timeout_ms * NS_PER_MS);
    call->is_deferred = true;
    return OK;
}

static void found(const char *name, const ip_addr_t *address, void *context)
{
    struct lookup *lookup = context;
    struct tess_call answer = {};
    (void)name;
    bool was_slow = time_now_ns() - lookup->started_ns >= LOOKUP_SLOW_NS;
    lookup->is_running = false;
    net_resolve_reply(&answer, address != nullptr ? ip_2_ip4(address)->addr : 0);
    loop_reply(query.loop, lookup->token, address != nullptr ? OK : was_slow ? ERROR_TIMED_OUT : ERROR_NOT_FOUND, &answer);
}

/* Letters, digits, '-', '_' and '.'; ends with a zero within its bytes. */
static bool is_name(const char *name)
{
    size_t length = strnlen(name, NAME_BYTES_MAX);
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_') {
            return false;
        }
    }
    return length > 0 && length < NAME_BYTES_MAX;
}

status_t lookup_start(struct tess_call *call, const uint8_t name[96], uint32_t *out_address)
{
    char text[NAME_BYTES_MAX];
    struct lookup *lookup = nullptr;
    memcpy(text, name, sizeof text);
    if (!is_name(text)) {
        return ERROR_BAD_ARGUMENT;
    }
    for (uint32_t i = 0; i < LOOKUPS && lookup == nullptr; i++) {
        lookup = query.lookups[i].is_running ? nullptr : &query.lookups[i];
    }
    if (lookup == nullptr) {
        return ERROR_NO_SPACE;
    }
    ip_addr_t address = {};
    timers_note_lookup();
    *lookup = (struct lookup){.is_running = true, .token = call->token, .started_ns = time_now_ns()};
    err_t error = dns_gethostbyname(text, &address, found, lookup);
    if (error == ERR_INPROGRESS) {
        call->is_deferred = true;
        return OK;
    }
    lookup->is_running = false;
    *out_address = ip_2_ip4(&address)->addr;
    return error == ERR_OK ? OK : error == ERR_MEM ? ERROR_NO_SPACE : ERROR_NOT_FOUND;
}

status_t query_init(struct loop *loop)
{
    query.loop = loop;
    query.raw = raw_new(IP_PROTO_ICMP);
    if (query.raw == nullptr) {
        return ERROR_NO_MEMORY;
    }
    raw_recv(query.raw, icmp_arrived, nullptr);
    return raw_bind(query.raw, IP_ADDR_ANY) == ERR_OK ? OK : ERROR_BUSY;
}
