/*
 * Packets for us that come before we have an address. A peer that learned the address together with us (QEMU's user network opens
 * forwarded connections as soon as its DHCP server has made the offer) would repeat them only after seconds, so up to EARLY_FRAMES
 * are kept and given to lwIP once an address is bound. DHCP's own answers are not among them: lwIP takes those without an address.
 */
#pragma once
#include "lwip/netif.h"

constexpr uint32_t EARLY_FRAMES = 16;

/* True: the frame is kept, and p belongs to this file. */
[[nodiscard]] bool early_keep(const struct netif *netif, struct pbuf *p);
/* Gives lwIP what was kept, if there is an address now; after each round of work, before sockets look at what they got. */
void early_deliver(struct netif *netif);
