#include <netd/configure.h>
#include <std/log.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/string.h>

#include "lwip/dhcp.h"
#include "lwip/dns.h"
#include "lwip/etharp.h"
#include "lwip/netif.h"

static constexpr uint64_t DHCP_PATIENCE_NS = 3 * NS_PER_S;

static struct {
    struct loop *loop;
    struct loop_timer patience;
    ip4_addr_t address, mask, gateway, dns;
    bool has_static, wants_dhcp, is_by_dhcp, is_started, was_told;
} config;

/* Cuts the next field off at the separator; null when the text is used up. */
static const char *next_field(const char **text, char separator, char *field, size_t size)
{
    size_t length = 0;
    if (**text == '\0') {
        return nullptr;
    }
    while (**text != '\0' && **text != separator) {
        if (length + 1 < size) {
            field[length++] = **text;
        }
        (*text)++;
    }
    if (**text == separator) {
        (*text)++;
    }
    field[length] = '\0';
    return field;
}

static bool read_address(const char **text, char separator, ip4_addr_t *out_address)
{
    char field[20];
    const char *found = next_field(text, separator, field, sizeof field);
    return found != nullptr && ip4addr_aton(found, out_address) != 0;
}

static bool read_static(const char *text)
{
    char field[4];
    if (!read_address(&text, '/', &config.address)) {
        return false;
    }
    uint32_t bits = 0;
    const char *digits = next_field(&text, ',', field, sizeof field);
    for (; digits != nullptr && *digits >= '0' && *digits <= '9'; digits++) {
        bits = bits * 10 + (uint32_t)(*digits - '0');
    }
    if (digits == nullptr || *digits != '\0' || bits == 0 || bits > 32) {
        return false;
    }
    config.mask.addr = lwip_htonl(UINT32_MAX << (32 - bits));
    return read_address(&text, ',', &config.gateway) && read_address(&text, ',', &config.dns) && *text == '\0';
}

/* The address is set: whoever talks to us first will most likely do it through the gateway. */
static void announce(const char *how)
{
    (void)etharp_request(netif_default, netif_ip4_gw(netif_default));
    char address[16], gateway[16];
    ip4addr_ntoa_r(netif_ip4_addr(netif_default), address, sizeof address);
    ip4addr_ntoa_r(netif_ip4_gw(netif_default), gateway, sizeof gateway);
    log_info("address %s %s, gateway %s", address, how, gateway);
}

static void use_static(void)
{
    config.is_by_dhcp = false;
    netif_set_addr(netif_default, &config.address, &config.mask, &config.gateway);
    ip_addr_t server = {};
    ip_addr_copy_from_ip4(server, config.dns);
    dns_setserver(0, &server);
    announce("(fixed)");
}

static void status_changed(struct netif *netif)
{
    if (config.wants_dhcp && dhcp_supplied_address(netif) && !config.was_told) {
        config.is_by_dhcp = config.was_told = true;
        loop_timer_stop(config.loop, &config.patience);
        announce("by DHCP");
    }
}

static void patience_ended(struct loop_timer *timer)
{
    (void)timer;
    if (dhcp_supplied_address(netif_default)) {
        return;
    }
    if (!config.has_static) {
        log_warning("no DHCP server has answered yet; still asking");
        return;
    }
    log_warning("no DHCP server answers");
    dhcp_release_and_stop(netif_default);
    config.wants_dhcp = false;
    use_static();
}

void configure_link_changed(bool is_up)
{
    if (!is_up || config.is_started) {
        return;
    }
    config.is_started = true;
    netif_set_status_callback(netif_default, status_changed);
    if (!config.wants_dhcp) {
        use_static();
    } else if (dhcp_start(netif_default) == ERR_OK) {
        loop_timer_start(config.loop, &config.patience, time_after_ns(DHCP_PATIENCE_NS));
    } else {
        patience_ended(&config.patience);
    }
}

struct configure_state configure_state(void)
{
    return (struct configure_state){
        .is_configured = netif_default != nullptr && !ip4_addr_isany(netif_ip4_addr(netif_default)),
        .is_by_dhcp = config.is_by_dhcp,
    };
}

void configure_init(struct loop *loop)
{
    static const char prefix[] = "static=";
    config.loop = loop;
    config.patience.fn = patience_ended;
    for (uint32_t i = 0; i < std_arg_count(); i++) {
        const char *arg = std_arg(i);
        if (strcmp(arg, "dhcp") == 0) {
            config.wants_dhcp = true;
        } else if (strncmp(arg, prefix, sizeof prefix - 1) == 0 && read_static(arg + sizeof prefix - 1)) {
            config.has_static = true;
        } else {
            log_error("argument \"%s\" is neither \"dhcp\" nor \"static=ADDRESS/BITS,GATEWAY,DNS\"", arg);
        }
    }
    config.wants_dhcp |= !config.has_static;
}
