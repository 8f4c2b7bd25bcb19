/* The arithmetic of kernel/budget.h. */
#include <kernel/budget.h>

static struct budget_chunk *chunk_at(struct budget *budget, uint32_t i) { return &budget->chunks[(budget->first + i) % BUDGET_CHUNKS]; }

static uint64_t back_at(const struct budget *budget, const struct budget_chunk *chunk)
{
    return chunk->end + budget->period - chunk->ticks / budget->ways;
}

void budget_init(struct budget *budget, uint64_t capacity, uint64_t period, uint64_t least, uint32_t ways)
{
    *budget = (struct budget){};
    budget_change(budget, capacity, period, least, ways);
}

void budget_change(struct budget *budget, uint64_t capacity, uint64_t period, uint64_t least, uint32_t ways)
{
    budget->capacity = capacity;
    budget->period = period;
    budget->least = least;
    budget->ways = ways;
}

/* Used in one piece up to `end`. */
static void record(struct budget *budget, uint64_t end, uint64_t ticks)
{
    uint64_t begin = end - ticks;
    budget->used += ticks;
    if (budget->count != 0) {
        struct budget_chunk *last = chunk_at(budget, budget->count - 1);
        /* In one piece with it, or within its part of the period: another CPU's may have begun before. */
        bool is_one_piece = begin == last->end && last->end - last->begin == last->ticks && budget->ways == 1;
        if (is_one_piece || (int64_t)(begin - last->begin) <= (int64_t)(budget->period / BUDGET_PIECES) || budget->count == BUDGET_CHUNKS) {
            last->end = end > last->end ? end : last->end;
            last->ticks += ticks;
            return;
        }
    }
    *chunk_at(budget, budget->count++) = (struct budget_chunk){.begin = begin, .end = end, .ticks = ticks};
}

/* The first chunk is back, but for what is owed: that is as if it was used now. */
static void take_back(struct budget *budget, uint64_t back)
{
    uint64_t ticks = chunk_at(budget, 0)->ticks, kept = budget->debt < ticks ? budget->debt : ticks;
    budget->used -= ticks;
    budget->first = (budget->first + 1) % BUDGET_CHUNKS;
    budget->count--;
    if (kept == 0)
        return;
    budget->debt -= kept;
    if (kept > budget->capacity)
        budget->debt += kept - budget->capacity;
    record(budget, back + kept / budget->ways, kept);
}

uint64_t budget_left(struct budget *budget, uint64_t now)
{
    while (budget->count != 0 && back_at(budget, chunk_at(budget, 0)) <= now)
        take_back(budget, back_at(budget, chunk_at(budget, 0)));
    uint64_t gone = budget->used + budget->granted;
    return gone < budget->capacity ? budget->capacity - gone : 0;
}

uint64_t budget_grant(struct budget *budget, uint64_t now, uint64_t most)
{
    uint64_t left = budget_left(budget, now);
    if (left < budget->least)
        return 0;
    if (most < budget->least)
        most = budget->least;
    uint64_t ticks = left < most ? left : most;
    budget->granted += ticks;
    return ticks;
}

void budget_settle(struct budget *budget, uint64_t granted, uint64_t end, uint64_t ticks)
{
    budget->granted -= granted;
    if (ticks == 0)
        return;
    budget->total += ticks;
    budget->debt += ticks > granted ? ticks - granted : 0;
    record(budget, end, ticks);
}

uint64_t budget_ready_at(struct budget *budget, uint64_t now)
{
    uint64_t left = budget_left(budget, now);
    if (left >= budget->least)
        return now;
    uint64_t gone = budget->used + budget->granted;
    for (uint32_t i = 0; i < budget->count; i++) {
        gone -= chunk_at(budget, i)->ticks;
        if (gone + budget->least <= budget->capacity)
            return back_at(budget, chunk_at(budget, i));
    }
    return UINT64_MAX;
}
