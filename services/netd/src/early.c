#include <netd/early.h>
#include <tess/string.h>

#include "lwip/prot/dhcp.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/iana.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/udp.h"

static struct pbuf *kept[EARLY_FRAMES];
static uint32_t kept_count;

static bool is_for_dhcp(const struct pbuf *p, const struct ip_hdr *ip)
{
    struct udp_hdr udp;
    u16_t offset = (u16_t)(sizeof(struct eth_hdr) + IPH_HL_BYTES(ip));
    return IPH_PROTO(ip) == IP_PROTO_UDP && pbuf_copy_partial(p, &udp, sizeof udp, offset) == sizeof udp &&
           udp.dest == PP_HTONS(LWIP_IANA_PORT_DHCP_CLIENT);
}

bool early_keep(const struct netif *netif, struct pbuf *p)
{
    struct eth_hdr ethernet;
    struct ip_hdr ip;
    if (kept_count == EARLY_FRAMES || !ip4_addr_isany_val(*netif_ip4_addr(netif)) ||
        pbuf_copy_partial(p, &ethernet, sizeof ethernet, 0) != sizeof ethernet ||
        pbuf_copy_partial(p, &ip, sizeof ip, sizeof ethernet) != sizeof ip) {
        return false;
    }
    if (ethernet.type != PP_HTONS(ETHTYPE_IP) || memcmp(&ethernet.dest, netif->hwaddr, ETH_HWADDR_LEN) != 0 || is_for_dhcp(p, &ip)) {
        return false;
    }
    kept[kept_count++] = p;
    return true;
}

void early_deliver(struct netif *netif)
{
    if (kept_count == 0 || ip4_addr_isany_val(*netif_ip4_addr(netif))) {
        return;
    }
    uint32_t count = kept_count;
    kept_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (netif->input(kept[i], netif) != ERR_OK) {
            pbuf_free(kept[i]);
        }
    }
}
