/* lwIP as netd uses it: raw interface, one thread, IPv4, bounded pools, timers of our own (src/timers.c). */
#pragma once

#define NO_SYS 1
#define LWIP_TIMERS 0
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_SOCKET 0
#define LWIP_NETCONN 0

/* Memory: everything static, sized for 512 connections (see lwippools.h for mem_malloc). */
#define MEM_ALIGNMENT 8
#define MEM_USE_POOLS 1
#define MEMP_USE_CUSTOM_POOLS 1
#define MEMP_NUM_TCP_PCB 512
#define MEMP_NUM_TCP_PCB_LISTEN 32
#define MEMP_NUM_TCP_SEG 2048
#define MEMP_NUM_UDP_PCB 40
#define MEMP_NUM_RAW_PCB 2
#define MEMP_NUM_PBUF 256
#define MEMP_NUM_REASSDATA 4
#define MEMP_NUM_ARP_QUEUE 256
#define PBUF_POOL_SIZE 192
#define PBUF_POOL_BUFSIZE 1536

/* Protocols. */
#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 1
#define ARP_TABLE_SIZE 32
#define ARP_QUEUEING 1
#define ARP_QUEUE_LEN 128 /* answers to a burst of first packets wait for one ARP exchange */
#define IP_REASSEMBLY 1
#define IP_REASS_MAX_PBUFS 16
#define IP_FRAG 0
#define LWIP_ICMP 1
#define LWIP_RAW 1
#define LWIP_UDP 1
#define LWIP_DNS 1
#define DNS_TABLE_SIZE 8
#define LWIP_DNS_SECURE (LWIP_DNS_SECURE_RAND_XID | LWIP_DNS_SECURE_RAND_SRC_PORT)
#define LWIP_DHCP 1
#define DHCP_DOES_ARP_CHECK 0 /* a probe costs a second before the first page; the server has just checked the address */
#define LWIP_NETIF_STATUS_CALLBACK 1
#define LWIP_NETIF_TX_SINGLE_PBUF 0

/* TCP. */
#define LWIP_TCP 1
#define TCP_MSS 1460
#define TCP_WND (22 * TCP_MSS)
#define TCP_SND_BUF (16 * TCP_MSS)
#define TCP_SND_QUEUELEN 64
#define TCP_WND_UPDATE_THRESHOLD TCP_MSS
#define TCP_LISTEN_BACKLOG 1
#define SO_REUSE 1 /* a port can be listened on again while connections of the listener before are in TIME_WAIT */
#define TCP_QUEUE_OOSEQ 1
#define TCP_OOSEQ_MAX_PBUFS 8
#define TCP_MAXRTX 8
#define TCP_SYNMAXRTX 4
#define TCP_MSL 15000UL /* TIME_WAIT lasts twice this; a new connection of the same pair may cut it short (src/guard.c) */
#define LWIP_TCP_PCB_NUM_EXT_ARGS 1

/* Checksums are always made and always checked: whoever can put frames on the wire is not trusted. */
#define CHECKSUM_GEN_IP 1
#define CHECKSUM_GEN_UDP 1
#define CHECKSUM_GEN_TCP 1
#define CHECKSUM_GEN_ICMP 1
#define CHECKSUM_CHECK_IP 1
#define CHECKSUM_CHECK_UDP 1
#define CHECKSUM_CHECK_TCP 1
#define CHECKSUM_CHECK_ICMP 1

#define LWIP_STATS 1
#define MEM_STATS 0
#define MEMP_STATS 1

#define LWIP_HOOK_FILENAME "lwip_hooks.h"
