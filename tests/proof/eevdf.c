/*
 * sched/eevdf.c: one step from every queue of COUNT waiting entities and a running one or none. Weights are given, so that products with them are
 * sums; virtual times lie within 16 of the base, which is where 64 bits wrap, deadlines and requests are as small, and virtual time is 2^2
 * finer than ticks instead of 2^16: the arithmetic is the same. Shown for each step: the sum and the weight are those of the members, exactly;
 * who is picked is eligible and has the earliest deadline of those that are, as looking at each of them says; who joins has the lag that it left with;
 * after rebase() `base` is V, so that all lags together are zero but for what a division leaves. What the tree looks like is any balanced shape;
 * that it stays one, in order and with the least v of each subtree, is proven in eevdf_tree.c: here it notes who comes and goes.
 */
#include <kernel/eevdf.h>
#include <kernel/sched/eevdf.c>
#include <proof.h>

#ifndef COUNT
#define COUNT 2
#endif
#ifndef RUNNING
#define RUNNING 1
#endif
#ifndef UNPLACED
#define UNPLACED 0 /* of one that waits: it joined who ran alone, and has no place yet */
#endif
enum { RUNNING_WEIGHT = RUNNING ? 2 : 0, OTHER = COUNT, UNIT = 1 << EEVDF_SHIFT }; /* entities[OTHER] is not in the queue */

static struct eevdf_queue queue;
static struct eevdf_entity entities[COUNT + 1];
static const uint32_t weights[] = {3, 1, 2, 3};
static bool is_linked[COUNT + 1];
static uint32_t linked_count;

/* ---- The tree ---- */

static uint32_t index_of(const struct tree_node *node)
{
    uint32_t found = COUNT + 1;
    for (uint32_t i = 0; i <= COUNT; i++)
        if (node == &entities[i].node)
            found = i;
    PROVE(found <= COUNT);
    return found;
}
void tree_insert_augmented(struct tree *tree, struct tree_node *node, tree_update_fn *update_fn)
{
    uint32_t i = index_of(node);
    PROVE(!is_linked[i] && update_fn == update);
    is_linked[i] = true;
    linked_count++;
    if (tree->root == nullptr)
        tree->root = node;
}
void tree_remove_augmented(struct tree *tree, struct tree_node *node, tree_update_fn *update_fn)
{
    uint32_t i = index_of(node);
    PROVE(is_linked[i] && update_fn == update);
    is_linked[i] = false;
    if (--linked_count == 0)
        tree->root = nullptr;
}
struct tree_node *tree_first(const struct tree *tree) { return nullptr; }
struct tree_node *tree_next(const struct tree_node *node) { return nullptr; }

static void hang(struct tree_node *parent, struct tree_node **link, uint32_t i)
{
    *link = &entities[i].node;
    entities[i].node.parent = parent;
}

/* The balanced tree of all with this one as its root, in the order of their numbers. */
static void make_tree(uint32_t root)
{
    struct tree_node *node = &entities[root].node;
    queue.waiting.root = node;
    if (root > 0)
        hang(node, &node->left, 0);
    if (root + 1 < COUNT)
        hang(node, &node->right, root + 1);
    for (uint32_t i = 0; i < COUNT; i++)
        if (i != root)
            update(&entities[i].node);
    update(node);
}

/* ---- States ---- */

static int64_t any_small(void) { return (int8_t)nondet_u8() >> 3; } /* -16 .. 15 */

static void any_entity(struct eevdf_entity *entity, uint32_t weight)
{
    entity->weight = weight;
    entity->request = 1 + (nondet_u8() & 3);
}

/* Of those in the queue that have a place. */
static int64_t sum_of(uint64_t base)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < COUNT; i++)
        sum += (int64_t)(entities[i].v - base) * entities[i].weight;
    if (queue.running.weight != 0)
        sum += (int64_t)(queue.running.v - base) * queue.running.weight;
    return sum;
}

static uint64_t weight_of_all(void)
{
    uint64_t weight = queue.running.weight;
    for (uint32_t i = 0; i < COUNT; i++)
        weight += entities[i].weight;
    return weight;
}

static void any_queue(uint32_t root)
{
    eevdf_init(&queue, 1 + (nondet_u8() & 7));
    queue.base = UINT64_MAX - 7;
    for (uint32_t i = 0; i < COUNT; i++) {
        any_entity(&entities[i], weights[i]);
        entities[i].v = queue.base + (uint64_t)any_small();
        entities[i].deadline = queue.base + (uint64_t)any_small();
        ASSUME(i == 0 || (int64_t)(entities[i].deadline - entities[i - 1].deadline) >= 0);
        queue.weight += weights[i];
    }
    if (RUNNING) {
        queue.running = (struct eevdf_running){.v = queue.base + (uint64_t)any_small(), .weight = RUNNING_WEIGHT};
        queue.running.deadline = queue.running.v + (nondet_u8() & 15);
        queue.running.request = 1 + (nondet_u8() & 3);
        queue.weight += RUNNING_WEIGHT;
    }
    if (COUNT == 1) {
        queue.only = &entities[0];
        queue.is_unplaced = UNPLACED;
        if (UNPLACED) {
            ASSUME((int64_t)(queue.running.v - queue.base) >= 0);
            queue.joined_weight = RUNNING_WEIGHT;
            queue.joined_after = nondet_u8() & 7;
            entities[0].lag = any_small();
        }
    } else if (COUNT != 0) {
        for (uint32_t i = 0; i < COUNT; i++)
            entities[i].is_in_tree = is_linked[i] = true;
        linked_count = COUNT;
        queue.sum = sum_of(queue.base);
        make_tree(root);
    }
    any_entity(&entities[OTHER], weights[OTHER]);
    entities[OTHER].lag = any_small();
}

/* Each shape on its own: pointers are then known. */
#define FOR_EACH_SHAPE(step)                                                                                                               \
    if (COUNT == 3 || (COUNT == 2 && nondet_bool()))                                                                                       \
        step(1);                                                                                                                           \
    else                                                                                                                                   \
        step(0)

/* Sum and weight, and who is linked: so many, each as its flag says. */
static void prove_queue(uint32_t members, int64_t sum, uint64_t weight)
{
    PROVE(queue.weight == weight);
    PROVE((queue.waiting.root != nullptr) == (linked_count != 0));
    if (queue.waiting.root != nullptr)
        PROVE(queue.only == nullptr && !queue.is_unplaced && queue.sum == sum && linked_count == members);
    else
        PROVE(members == (queue.only != nullptr));
    for (uint32_t i = 0; i <= COUNT; i++)
        PROVE(entities[i].is_in_tree == is_linked[i]);
}

/* ---- Steps ---- */

/* Nobody runs. */
static void pick(uint32_t root)
{
    any_queue(root);
    uint64_t base = queue.base;
    int64_t sum = sum_of(base);
    uint64_t weight = weight_of_all();
    struct eevdf_entity *entity = eevdf_pick(&queue);
    PROVE((entity == nullptr) == (COUNT == 0));
    if (entity == nullptr)
        return;
    uint32_t picked = index_of(&entity->node);
    PROVE(picked < COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        bool is_eligible = (int64_t)(entities[i].v - base) * (int64_t)weight <= sum;
        PROVE(i != picked || is_eligible);
        PROVE(!is_eligible || (int64_t)(entities[i].deadline - entity->deadline) >= 0);
    }
    PROVE(queue.running.v == entity->v && queue.running.deadline == entity->deadline && queue.running.weight == entity->weight &&
          queue.running.request == entity->request);
    prove_queue(COUNT - 1, sum + (int64_t)(base - queue.base) * (int64_t)weight, weight);
    REACHED();
}
void proof_pick(void) { FOR_EACH_SHAPE(pick); }

static void put_back(uint32_t root)
{
    any_queue(root);
    struct eevdf_entity *entity = &entities[OTHER];
    entity->weight = queue.running.weight;
    entity->request = queue.running.request;
    uint64_t weight = weight_of_all(), v = queue.running.v, deadline = queue.running.deadline;
    eevdf_put_back(&queue, entity);
    PROVE(entity->v == v && entity->deadline == deadline && queue.running.weight == 0);
    prove_queue(COUNT + 1, sum_of(queue.base) + (int64_t)(v - queue.base) * RUNNING_WEIGHT, weight);
    REACHED();
}
void proof_put_back(void) { FOR_EACH_SHAPE(put_back); }

/* Its lag is, when it has joined, what it came with: but for three divisions, each less than one unit of virtual time off; and but for two who
 * are further apart than any lag may be, where V is cut. */
static void join(uint32_t root)
{
    any_queue(root);
    int64_t apart = (int64_t)(queue.running.v - entities[0].v), most = queue.lag_limit * UNIT;
    bool is_exact = COUNT != 1 || (!UNPLACED && apart <= most && apart >= -most);
    struct eevdf_entity *entity = &entities[OTHER];
    uint64_t weight = weight_of_all();
    int64_t lag = eevdf_clamp(entity->lag, queue.lag_limit);
    bool is_alone = eevdf_runs_alone(&queue);
    eevdf_join(&queue, entity);
    PROVE(queue.is_unplaced == is_alone);
    int64_t sum = sum_of(queue.base) + (int64_t)(entity->v - queue.base) * entity->weight, w = entity->weight;
    prove_queue(COUNT + 1, sum, weight + entity->weight);
    if (!is_alone) {
        PROVE(entity->lag == 0 && (int64_t)(entity->deadline - entity->v) == (int64_t)eevdf_length(entity->request, entity->weight));
        /* w * (V - v) * W, which would be lag * 2^shift * W. */
        int64_t all = (int64_t)weight + w, has = w * (sum + (int64_t)(queue.base - entity->v) * all), off = has - lag * UNIT * all;
        PROVE(weight == 0 || !is_exact || (off <= 3 * w * all && off >= -3 * w * all));
    }
    REACHED();
}
void proof_join(void) { FOR_EACH_SHAPE(join); }

static void leave(uint32_t root)
{
    any_queue(root);
    uint64_t weight = weight_of_all();
    int64_t before = sum_of(queue.base) + (int64_t)(queue.base - queue.running.v) * (int64_t)weight, limit = queue.lag_limit;
    int64_t lag = eevdf_leave(&queue);
    PROVE(lag >= -limit && lag <= limit && queue.running.weight == 0);
    int64_t all = (int64_t)weight, off = RUNNING_WEIGHT * before - lag * UNIT * all;
    if (lag > -limit && lag < limit && !UNPLACED)
        PROVE(off <= (RUNNING_WEIGHT + UNIT) * all && off >= -(RUNNING_WEIGHT + UNIT) * all);
    PROVE(queue.weight == weight - RUNNING_WEIGHT && queue.is_unplaced == UNPLACED);
    if (COUNT > 1)
        prove_queue(COUNT, sum_of(queue.base), weight - RUNNING_WEIGHT);
    REACHED();
}
void proof_leave(void) { FOR_EACH_SHAPE(leave); }

static void preempts(uint32_t root)
{
    any_queue(root);
    uint64_t base = queue.base;
    int64_t sum = sum_of(base);
    uint64_t weight = weight_of_all();
    uint32_t i = COUNT - 1;
    bool is_eligible = (int64_t)(entities[i].v - base) * (int64_t)weight <= sum;
    bool is_first = (int64_t)(entities[i].deadline - queue.running.deadline) < 0;
    PROVE(eevdf_preempts(&queue, &entities[i]) == (entities[i].request < queue.running.request && is_eligible && is_first));
    REACHED();
}
void proof_preempts(void) { FOR_EACH_SHAPE(preempts); }

static void charge(uint32_t root)
{
    any_queue(root);
    uint64_t weight = weight_of_all(), ticks = nondet_u8() & 15, before = queue.running.v;
    (void)eevdf_charge(&queue, ticks);
    PROVE(queue.running.v == before + eevdf_length(ticks, queue.running.weight));
    PROVE((int64_t)(queue.running.deadline - queue.running.v) > 0);
    prove_queue(COUNT, sum_of(queue.base), weight);
    REACHED();
}
void proof_charge(void) { FOR_EACH_SHAPE(charge); }

/* base becomes V: all lags together are less than one unit of virtual time for each unit of weight. */
static void rebase_any(uint32_t root)
{
    any_queue(root);
    uint64_t weight = weight_of_all();
    rebase(&queue);
    int64_t sum = sum_of(queue.base);
    PROVE(queue.sum == sum && sum < (int64_t)weight && sum > -(int64_t)weight);
    REACHED();
}
void proof_rebase(void) { FOR_EACH_SHAPE(rebase_any); }
