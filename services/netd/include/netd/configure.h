/* The interface's address: by DHCP, or the one given as argument when no server answers in time. */
#pragma once
#include <std/loop.h>

struct configure_state {
    bool is_configured, is_by_dhcp;
};

/* Reads the arguments "dhcp" (try it, the default) and "static=ADDRESS/BITS,GATEWAY,DNS" (fallback, or the address when dhcp is not given). */
void configure_init(struct loop *loop);
/* The link came up for the first time or again. */
void configure_link_changed(bool is_up);
struct configure_state configure_state(void);
