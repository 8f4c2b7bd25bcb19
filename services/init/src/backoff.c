/* Restart delays: 0, then BACKOFF_FIRST_NS doubled each time, at most BACKOFF_LIMIT_NS. */
#include <backoff.h>

bool backoff_ended(struct backoff *backoff, uint64_t ran_ns, uint64_t *out_delay_ns)
{
    if (ran_ns >= BACKOFF_STABLE_NS) {
        backoff->ends_in_a_row = 0;
    }
    backoff->ends_in_a_row++;
    if (backoff->ends_in_a_row >= BACKOFF_GIVE_UP) {
        return false;
    }
    uint64_t delay_ns = 0;
    for (uint32_t i = 1; i < backoff->ends_in_a_row && delay_ns < BACKOFF_LIMIT_NS; i++) {
        delay_ns = delay_ns == 0 ? BACKOFF_FIRST_NS : delay_ns * 2;
    }
    *out_delay_ns = delay_ns < BACKOFF_LIMIT_NS ? delay_ns : BACKOFF_LIMIT_NS;
    return true;
}

void backoff_reset(struct backoff *backoff) { backoff->ends_in_a_row = 0; }
