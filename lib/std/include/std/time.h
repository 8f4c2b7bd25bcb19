/* Time without a system call: the clock page and the CPU's counter. */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

constexpr uint64_t NS_PER_US = 1000, NS_PER_MS = 1000'000, NS_PER_S = 1000'000'000;

uint64_t time_now_ns(void);  /* monotonic, since boot */
uint64_t time_wall_ns(void); /* since 1970-01-01 UTC, as far as the system knows */
/* now + delta; DEADLINE_INFINITE on overflow. */
uint64_t time_after_ns(uint64_t delta_ns);
void time_sleep_until(uint64_t deadline_ns);
