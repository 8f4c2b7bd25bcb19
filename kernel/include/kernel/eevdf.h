/*
 * One queue of "earliest eligible virtual deadline first" (Stoica and Abdel-Wahab 1995): pure arithmetic over an augmented tree,
 * no clock, no locks, no threads, so that the host tests it against a reference.
 *
 * An entity with weight w that runs for t ticks moves ahead by t * 2^16 / w in virtual time. The queue's virtual time V is the mean of
 * all entities' (the running one included), weighted. lag = w * (V - v) / 2^16 is the time in ticks that an entity was owed and did not
 * get; it is eligible while lag >= 0. An entity asks for `request` ticks at a time: the virtual deadline of a request is its start plus
 * request * 2^16 / w, and of the eligible entities the one with the earliest deadline runs. Who leaves keeps its lag, at most
 * EEVDF_LAG_MAX either way, and joins again with it: sleeping neither pays nor costs.
 *
 * Who runs is not in the tree: its place is in the queue itself (`running`), so a thread may pass it on to another (a call that hands
 * over) without the queue being touched.
 *
 * Bounds. weight 1 .. 2^16, request 1 .. 2^32, lag limit 1 .. 2^28, one charge at most 2^40 ticks (longer ones count as that): a step of virtual time is below
 * 2^56, and virtual times that are compared lie less than 2^62 apart, so 64-bit differences do not wrap. `sum` is exact in 128 bits for up
 * to 2^32 entities.
 */
#pragma once
#include <kernel/types.h>
#include <tess/tree.h>

constexpr uint32_t EEVDF_WEIGHT_MAX = 1u << 16;
constexpr uint32_t EEVDF_SHIFT = 16;
constexpr int64_t EEVDF_LAG_MAX = 1ll << 28; /* ticks; at most this, and see eevdf_init */
constexpr uint64_t EEVDF_REQUEST_MAX = 1ull << 32;
constexpr uint64_t EEVDF_CHARGE_MAX = 1ull << 40;

struct eevdf_entity {
    struct tree_node node; /* by deadline */
    uint64_t v, deadline;  /* valid in the queue */
    uint64_t min_v;        /* of the subtree */
    bool is_in_tree;
    uint32_t weight;  /* in the queue: with which it counts; else with which it joins */
    uint64_t request; /* ticks */
    int64_t lag;      /* ticks; valid outside the queue */
};

struct eevdf_running {
    uint64_t v, deadline;
    uint64_t request;
    uint32_t weight; /* 0: nobody runs */
};

struct eevdf_queue {
    struct eevdf_running running;
    struct eevdf_entity *only; /* waits, and nobody else does */
    bool is_unplaced;          /* `only` joined, but where it stands was not computed yet: lag is valid, v and deadline are not */
    uint32_t joined_weight;    /* then: of who ran when it joined, */
    uint64_t joined_after;     /* after so many ticks that were not charged yet */
    struct tree waiting;       /* two or more, or what is left of them */
    uint64_t weight;           /* of all, the running one included */
    uint64_t base;             /* while nobody is here, and when an unplaced one joined: V; with a tree: near V */
    __int128 sum;              /* with a tree: of weight * (v - base), the running one included */
    int64_t lag_limit;
};

/* lag_limit: how much lag somebody keeps who leaves; at most EEVDF_LAG_MAX. */
void eevdf_init(struct eevdf_queue *queue, int64_t lag_limit);

/* Somebody becomes ready: its place follows from its lag, weight and request. */
void eevdf_join(struct eevdf_queue *queue, struct eevdf_entity *entity);
/* The same when nobody waits, and the running one ran for `ticks` more than it was charged: they will be. */
static inline void eevdf_join_alone(struct eevdf_queue *queue, struct eevdf_entity *entity, uint64_t ticks)
{
    queue->only = entity;
    queue->is_unplaced = true;
    queue->base = queue->running.v;
    queue->joined_weight = queue->running.weight;
    queue->joined_after = ticks;
    queue->weight += entity->weight;
}
/* Takes a waiting one out; it keeps its lag. */
void eevdf_remove(struct eevdf_queue *queue, struct eevdf_entity *entity);

/* The running one ran for so many ticks. True when its request is used up: it then has a new deadline. */
[[gnu::always_inline]] static inline bool eevdf_charge(struct eevdf_queue *queue, uint64_t ticks);
/* The running one goes away (it waits, or ended): its lag. */
int64_t eevdf_leave(struct eevdf_queue *queue);
/* The running one goes on waiting in the queue as `entity`, with entity's weight and request from now on. */
void eevdf_put_back(struct eevdf_queue *queue, struct eevdf_entity *entity);
/* Nobody runs: the one who shall, taken out of the tree; nullptr when there is none. */
struct eevdf_entity *eevdf_pick(struct eevdf_queue *queue);
/* Nobody runs: `entity`, which is not in the queue, joins and runs at once. */
void eevdf_begin(struct eevdf_queue *queue, struct eevdf_entity *entity);
/* The running one gives way to the others: it is not eligible before one of them has run, and asks for a new request. */
void eevdf_give_up(struct eevdf_queue *queue);
/* Nobody runs: somebody starts with this place, as it was before eevdf_leave (a hand-over). */
void eevdf_resume(struct eevdf_queue *queue, const struct eevdf_running *place);

/* The waiting `entity` asked for less at a time than the running one, is eligible and has the earlier deadline. */
bool eevdf_preempts(struct eevdf_queue *queue, const struct eevdf_entity *entity);
/* Ticks until the running one has used up its request. */
uint64_t eevdf_ticks_left(const struct eevdf_queue *queue);
static inline bool eevdf_has_waiting(const struct eevdf_queue *queue) { return queue->only != nullptr || !tree_is_empty(&queue->waiting); }
static inline bool eevdf_runs_alone(const struct eevdf_queue *queue) { return queue->running.weight != 0 && !eevdf_has_waiting(queue); }

static inline int64_t eevdf_clamp(int64_t value, int64_t limit) { return value > limit ? limit : value < -limit ? -limit : value; }
static inline uint64_t eevdf_length(uint64_t ticks, uint32_t weight) { return (ticks << EEVDF_SHIFT) / weight; }

[[gnu::always_inline]] static inline bool eevdf_charge(struct eevdf_queue *queue, uint64_t ticks)
{
    struct eevdf_running *running = &queue->running;
    if (ticks > EEVDF_CHARGE_MAX)
        ticks = EEVDF_CHARGE_MAX;
    uint64_t step = eevdf_length(ticks, running->weight);
    running->v += step;
    if (!tree_is_empty(&queue->waiting))
        queue->sum += (__int128)step * running->weight;
    if ((int64_t)(running->v - running->deadline) < 0)
        return false;
    running->deadline = running->v + eevdf_length(running->request, running->weight);
    return true;
}

/* eevdf_leave and eevdf_pick when the only one that waits is unplaced. The two lags made zero when it joined; since then the running one
 * owes the other's share of what it had. */
static inline int64_t eevdf_leave_to_unplaced(struct eevdf_queue *queue)
{
    struct eevdf_running *running = &queue->running;
    const struct eevdf_entity *only = queue->only;
    /* Weights are below 2^17: no product wraps, and what is cut off owes more than the limit of any lag, whatever the two weigh. */
    constexpr uint64_t AHEAD_MAX = 1ull << 46;
    uint64_t ahead = min_u64(running->v - queue->base, AHEAD_MAX);
    int64_t ticks = (int64_t)(ahead * running->weight >> EEVDF_SHIFT) - (int64_t)queue->joined_after;
    int64_t owed = ticks > 0 ? (int64_t)((uint64_t)ticks * only->weight / queue->weight) : 0;
    queue->weight = only->weight;
    running->weight = 0;
    return eevdf_clamp(-only->lag - owed, queue->lag_limit);
}

/* Alone, it owes nothing and is owed nothing. */
static inline struct eevdf_entity *eevdf_pick_unplaced(struct eevdf_queue *queue)
{
    struct eevdf_entity *entity = queue->only;
    queue->is_unplaced = false;
    queue->only = nullptr;
    entity->lag = 0;
    queue->running = (struct eevdf_running){.v = queue->base,
                                            .deadline = queue->base + eevdf_length(entity->request, entity->weight),
                                            .request = entity->request,
                                            .weight = entity->weight};
    return entity;
}

/* Who waits, in order of deadlines; nullptr: none (any more). */
struct eevdf_entity *eevdf_first(const struct eevdf_queue *queue);
struct eevdf_entity *eevdf_next(const struct eevdf_entity *entity);
