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
    struct tree waiting;       /* two or more, or what is left of them */
    uint64_t weight;           /* of all, the running one included */
    uint64_t base;             /* while nobody is here: V; with a tree: near V */
    __int128 sum;              /* with a tree: of weight * (v - base), the running one included */
    int64_t lag_limit;
};

/* lag_limit: how much lag somebody keeps who leaves; at most EEVDF_LAG_MAX. */
void eevdf_init(struct eevdf_queue *queue, int64_t lag_limit);

/* Somebody becomes ready: its place follows from its lag, weight and request. */
void eevdf_join(struct eevdf_queue *queue, struct eevdf_entity *entity);
/* Takes a waiting one out; it keeps its lag. */
void eevdf_remove(struct eevdf_queue *queue, struct eevdf_entity *entity);

/* The running one ran for so many ticks. True when its request is used up: it then has a new deadline. */
bool eevdf_charge(struct eevdf_queue *queue, uint64_t ticks);
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
bool eevdf_preempts(const struct eevdf_queue *queue, const struct eevdf_entity *entity);
/* Ticks until the running one has used up its request. */
uint64_t eevdf_ticks_left(const struct eevdf_queue *queue);
static inline bool eevdf_has_waiting(const struct eevdf_queue *queue) { return queue->only != nullptr || !tree_is_empty(&queue->waiting); }
/* Who waits, in order of deadlines; nullptr: none (any more). */
struct eevdf_entity *eevdf_first(const struct eevdf_queue *queue);
struct eevdf_entity *eevdf_next(const struct eevdf_entity *entity);
