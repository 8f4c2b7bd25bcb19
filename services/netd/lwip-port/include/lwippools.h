/*
 * lwIP's mem_malloc as pools: constant time, no fragmentation, and each size its own reserve, so that data waiting in send
 * buffers (the large pool) can never keep acknowledgements and handshakes (the small ones) from being sent.
 * A pbuf header (24 bytes), protocol headers (54) and mem's own header come on top of the payload.
 */
LWIP_MALLOC_MEMPOOL_START
LWIP_MALLOC_MEMPOOL(1024, 128)
LWIP_MALLOC_MEMPOOL(256, 640)
LWIP_MALLOC_MEMPOOL(640, 1616)
LWIP_MALLOC_MEMPOOL_END
