/* Where lwIP asks us. */
#pragma once
#include "lwip/ip_addr.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"

/* RFC 6528: sequence numbers that cannot be guessed from outside (port.c). */
u32_t port_tcp_isn(const ip_addr_t *local_ip, u16_t local_port, const ip_addr_t *remote_ip, u16_t remote_port);
/* Looks at every packet before lwIP does (guard.c); never takes it. */
int guard_ip4_input(const struct pbuf *p);

#define LWIP_HOOK_TCP_ISN(local_ip, local_port, remote_ip, remote_port) port_tcp_isn(local_ip, local_port, remote_ip, remote_port)
#define LWIP_HOOK_IP4_INPUT(p, netif) guard_ip4_input(p)
