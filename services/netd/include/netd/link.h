/*
 * The network card as lwIP's interface: frames through a queue shared with the driver (lib/ring frame_queue.h).
 *
 * States: DETACHED (no driver answers; attaching is tried again with growing pauses) and ATTACHED. When the driver's doorbell
 * event dies, so has the driver: frames under way are lost, connections are not; the same memory is handed to the next driver
 * and unacknowledged data is sent again at once.
 */
#pragma once
#include <std/loop.h>
#include <tess/types.h>

struct link_counters {
    uint64_t rx_frames, tx_frames, rx_bytes, tx_bytes, dropped;
    uint32_t restarts; /* drivers that died under us */
    bool is_up;
};

/* Registers the interface with lwIP and makes a first attempt to attach. `changed` runs when the link comes or goes. */
[[nodiscard]] status_t link_init(struct loop *loop, handle_t netdev, void (*changed)(bool is_up));
/* Rings the driver when it has to be told of frames; after each round of work. */
void link_flush(void);
const struct link_counters *link_counters(void);
const uint8_t *link_mac(void);
