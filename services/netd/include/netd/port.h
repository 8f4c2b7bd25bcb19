/* What lwIP needs from the system: time, chance, and an end when it finds itself broken. */
#pragma once
#include <stdint.h>
#include <tess/types.h>

/* Before lwip_init(). `entropy` may be HANDLE_NONE or silent: then chance comes from the clock, and the log says so. */
void port_init(handle_t entropy);
uint32_t port_random(void);
