/*
 * The cell object: a domain of accounting that holds processes and child cells.
 *
 * CPU time is fair between the cells that lie in one, then inside each, on every CPU by itself: there, a ready thread has the weight
 * of its share: thread's weight / load of its cell * weight of the cell / load of the cell around it, and so on up to the root. `load` is the
 * sum of the weights of what is ready in the cell on that CPU, threads and child cells. A waiting thread keeps the weight it joined
 * with; who runs gets the present one whenever it is put back, so what a change of load makes wrong lasts a slice.
 */
#pragma once
#include <kernel/throttle.h>

/* Of one CPU; guarded by its run queue's lock. */
struct cell_share {
    uint64_t load;
    uint64_t ticks;   /* CPU time used */
    uint32_t counted; /* with which weight it counts in the load of the cell around it, while load is not 0 */
};

struct cell {
    struct object object;
    struct spinlock lock;
    struct cell *parent; /* counted; nullptr: the root */
    uint32_t depth;
    uint32_t weight; /* peek() */
    struct list children GUARDED_BY(&lock);
    struct list processes GUARDED_BY(&lock); /* cell_node; not counted: a process counts its cell */
    uint32_t process_count;                  /* under lock, peek() */
    bool is_killed;                          /* under lock: nothing can be made in it */
    bool was_emptied;                        /* parent->lock: its processes and child cells were all told to end */
    struct list_node sibling;                /* parent->lock */
    struct list_node all_node;               /* cell_all_lock */
    char name[16];
    struct cell_share *shares;          /* of every CPU */
    struct cell *quota;                 /* this or the next one round it that has a CPU quota, nullptr: none; lock, peek() */
    uint64_t quota_ns, quota_period_ns; /* lock, peek() */
    struct throttle throttle;           /* of its quota */
    struct {
        _Atomic uint64_t used, limit;  /* used: its own and that of the cells in it */
    } limits[2];                       /* CELL_LIMIT_* */
    uint64_t sched_limit, sched_given; /* utilisation in SCHED_PPM that sched objects and child cells may have, and have; admission_lock */
};

constexpr uint32_t WEIGHT_MAX = 65536;

extern struct cell cell_root;
extern const struct object_class cell_class;
void cell_init(void); /* the CPUs are counted; before the first process */

static inline struct cell_share *cell_share(const struct cell *cell, uint32_t cpu) { return &cell->shares[cpu]; }

/* A ready thread of this weight comes or goes on the CPU whose run queue's lock is held. Inlined: the run queue's short forms call
 * nothing. */
[[gnu::always_inline]] static inline void cell_load_add(struct cell *cell, uint32_t cpu, uint32_t weight)
{
    for (;;) {
        struct cell_share *share = cell_share(cell, cpu);
        bool was_empty = share->load == 0;
        share->load += weight;
        if (!was_empty || cell->parent == nullptr)
            return;
        weight = share->counted = peek(cell->weight);
        cell = cell->parent;
    }
}

[[gnu::always_inline]] static inline void cell_load_subtract(struct cell *cell, uint32_t cpu, uint32_t weight)
{
    for (;;) {
        struct cell_share *share = cell_share(cell, cpu);
        share->load -= weight;
        if (share->load != 0 || cell->parent == nullptr)
            return;
        weight = share->counted;
        cell = cell->parent;
    }
}

/* What such a thread weighs there against all others. */
[[gnu::always_inline]] static inline uint32_t cell_effective_weight(const struct cell *cell, uint32_t cpu, uint32_t weight)
{
    if (cell->parent == nullptr)
        return weight;
    constexpr uint32_t FRACTION_BITS = 16; /* 2^16 * 2^16 * 2^16 is the largest product: a share is at most the cell's own weight */
    uint64_t share_weight = (uint64_t)weight << FRACTION_BITS;
    for (; cell->parent != nullptr; cell = cell->parent) {
        const struct cell_share *share = cell_share(cell, cpu);
        share_weight = share_weight * share->counted / share->load;
    }
    share_weight >>= FRACTION_BITS;
    return share_weight == 0 ? 1 : (uint32_t)share_weight;
}

/* So many more of CELL_LIMIT_*; false: more than it or a cell round it may have, nothing changed. Takes no lock. */
[[nodiscard]] bool cell_charge(struct cell *cell, uint32_t kind, uint64_t count);
void cell_uncharge(struct cell *cell, uint32_t kind, uint64_t count);

/* cell->process_count counts it and it can be killed from here on; PEER_DIED when the cell was killed. */
struct process;
[[nodiscard]] status_t cell_add_process(struct cell *cell, struct process *process);
void cell_remove_process(struct cell *cell, struct process *process);
