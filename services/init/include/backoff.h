/*
 * When a service that ended starts again. Pure. The first restart comes at once, so that one crash is hardly noticed; further ones
 * wait ever longer; a service that ran stably is forgiven; one that keeps dying is given up.
 */
#pragma once
#include <stdint.h>

constexpr uint64_t BACKOFF_FIRST_NS = 100'000'000; /* before the second restart in a row; doubles from there */
constexpr uint64_t BACKOFF_LIMIT_NS = 5'000'000'000;
constexpr uint64_t BACKOFF_STABLE_NS = 10'000'000'000; /* having run this long forgives everything before */
constexpr uint32_t BACKOFF_GIVE_UP = 10;               /* ends in a row after which no further restart is tried */

struct backoff {
    uint32_t ends_in_a_row;
};

/* Records an end after `ran_ns`. False: give up. Else *out_delay_ns is how long to wait before the restart, 0 = none. */
bool backoff_ended(struct backoff *backoff, uint64_t ran_ns, uint64_t *out_delay_ns);

/* Somebody asked for a start: what was before does not count. */
void backoff_reset(struct backoff *backoff);
