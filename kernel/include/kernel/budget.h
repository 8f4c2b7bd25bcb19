/*
 * A budget of CPU time per period: pure arithmetic, no clock, no locks, no threads, so that the host tests it against a model.
 *
 * Rule (a sporadic server): what was used comes back one period after it was used. So in every window of a period's length, wherever it
 * begins, at most `capacity` ticks are used. Time is used under grants, which several CPUs may hold at once; a grant is taken off before it is
 * used and what was not used of it comes back at once, so together they never promise more than there is. What somebody uses beyond its
 * grant (the interrupt that ends it comes late) is the only overrun: it counts, and so much comes back a period later than it would, so in the
 * long run nothing is gained by it.
 *
 * Use is kept in few chunks. What began within an eighth of a period is one chunk and comes back together, when the last of it may: at
 * end + period - ticks / ways. (`ways`: how many CPUs at most use it at once. After a moment s in the chunk at most ways * (end - s) of it
 * was used, and within a period from s at most ways * (s + period - back) of what came back: together no more than the chunk.) So time
 * comes back at most an eighth of a period late, for one thread that runs in one piece exactly in time.
 */
#pragma once
#include <kernel/types.h>

constexpr uint32_t BUDGET_CHUNKS = 16;
constexpr uint32_t BUDGET_PIECES = 8; /* a chunk's use began within period / BUDGET_PIECES */

struct budget_chunk {
    uint64_t begin, end; /* counter */
    uint64_t ticks;
};

struct budget {
    uint64_t capacity, period; /* ticks */
    uint64_t least;            /* what is left is granted from this much on */
    uint32_t ways;
    uint32_t first, count; /* of chunks, a ring in order of `back` */
    uint64_t granted;      /* to those who run */
    uint64_t used;         /* in chunks: not back yet */
    uint64_t debt;         /* of that, what is to stay a period longer: overruns */
    uint64_t total;        /* used ever, without present grants */
    struct budget_chunk chunks[BUDGET_CHUNKS];
};

/* 1 <= least <= capacity <= ways * period < 2^56. */
void budget_init(struct budget *budget, uint64_t capacity, uint64_t period, uint64_t least, uint32_t ways);
/* The same with the use so far; one granted before stays granted. */
void budget_change(struct budget *budget, uint64_t capacity, uint64_t period, uint64_t least, uint32_t ways);
/* What may be granted now. */
uint64_t budget_left(struct budget *budget, uint64_t now);
/* A grant from now on, at most `most`; 0: there is not enough. */
uint64_t budget_grant(struct budget *budget, uint64_t now, uint64_t most);
/* The holder of a grant used so many ticks of it, or more, in one piece that ended at `end`. */
void budget_settle(struct budget *budget, uint64_t granted, uint64_t end, uint64_t ticks);
/* When enough will be back if nobody uses any more: `now` = there is enough; UINT64_MAX: only when a grant is settled. */
uint64_t budget_ready_at(struct budget *budget, uint64_t now);
