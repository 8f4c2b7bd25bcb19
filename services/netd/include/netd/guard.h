/* Keeps a flood of half-open connections from shutting others out, and lets an address pair be used again soon. */
#pragma once
#include <stdint.h>

struct guard_counters {
    uint64_t half_open_dropped, time_wait_reused;
};
const struct guard_counters *guard_counters(void);
