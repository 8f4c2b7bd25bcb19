/*
 * sched/eevdf.c: one step from every queue of COUNT waiting entities and a running one or none. Weights are given, so that products with them are
 * sums; virtual times lie within 16 of the base, which is where 64 bits wrap, deadlines and requests are as small, and virtual time is 2^2
 * finer than ticks instead of 2^16: the arithmetic is the same. Shown for each step: the sum and the weight are those of the members, exactly;
 * the tree (lib/core's own, balanced, any shape) is in order of deadlines with the least v of each subtree; whoever is picked is eligible, and
 * of the eligible ones the first by deadline; after rebase() `base` is V, so that all lags together are zero but for what a division leaves.
 */
#include <kernel/eevdf.h>
#include <kernel/sched/eevdf.c>
#define insert tree_insert_any /* both have a function of this name */
#include <lib/core/src/tree.c>
#undef insert
#include <proof.h>

#ifndef COUNT
#define COUNT 2
#endif
#ifndef GONE
#define GONE 0
#endif
#ifndef RUNNING
#define RUNNING 1
#endif
enum { RUNNING_WEIGHT = RUNNING ? 2 : 0, OTHER = COUNT }; /* entities[OTHER] is not in the queue */

static struct eevdf_queue queue;
static struct eevdf_entity entities[COUNT + 1];
static const uint32_t weights[] = {3, 1, 2, 3};
static const uint32_t count = COUNT;

static int64_t any_small(void) { return (int8_t)nondet_u8() >> 3; } /* -16 .. 15 */

static void any_entity(struct eevdf_entity *entity, uint32_t weight)
{
    entity->weight = weight;
    entity->request = 1 + (nondet_u8() & 3);
}

static int64_t sum_of(uint64_t base)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += (int64_t)(entities[i].v - base) * entities[i].weight;
    if (queue.running.weight != 0)
        sum += (int64_t)(queue.running.v - base) * queue.running.weight;
    return sum;
}

static uint64_t weight_of_all(void)
{
    uint64_t weight = queue.running.weight;
    for (uint32_t i = 0; i < count; i++)
        weight += entities[i].weight;
    return weight;
}

static void hang(struct tree_node *parent, struct tree_node **link, uint32_t i)
{
    *link = &entities[i].node;
    entities[i].node.parent = parent;
}

/* Every shape of a balanced tree of `count` nodes in the order of their numbers. */
static void any_shape(void)
{
    uint32_t root = count == 3 ? 1 : choose(count);
    hang(nullptr, &queue.waiting.root, root);
    for (uint32_t i = 0; i < count; i++)
        entities[i].node.height = 1;
    struct tree_node *node = &entities[root].node;
    if (count > 1)
        node->height = 2;
    if (root > 0)
        hang(node, &node->left, 0);
    if (root + 1 < count)
        hang(node, &node->right, root + 1);
    for (uint32_t i = 0; i < count; i++)
        if (i != root)
            update(&entities[i].node);
    update(node);
}

static void any_queue(void)
{
    eevdf_init(&queue, 1 + (nondet_u8() & 7));
    queue.base = UINT64_MAX - 7;
    for (uint32_t i = 0; i < count; i++) {
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
    if (count == 1) {
        queue.only = &entities[0];
    } else if (count != 0) {
        for (uint32_t i = 0; i < count; i++)
            entities[i].is_in_tree = true;
        queue.sum = sum_of(queue.base);
        any_shape();
    }
    any_entity(&entities[OTHER], weights[OTHER]);
    entities[OTHER].lag = any_small();
}

/* The subtree's least v, after a look at its order, links and heights. */
static uint64_t prove_subtree(const struct tree_node *node, uint32_t depth)
{
    const struct eevdf_entity *entity = entity_of(node);
    uint64_t least = entity->v;
    uint32_t height = 0, low = UINT32_MAX;
    for (uint32_t side = 0; side < 2; side++) {
        const struct tree_node *child = side == 0 ? node->left : node->right;
        low = child == nullptr ? 0 : low;
        if (child == nullptr)
            continue;
        PROVE(depth > 0 && child->parent == node);
        int64_t distance = (int64_t)(entity_of(child)->deadline - entity->deadline);
        PROVE(side == 0 ? distance <= 0 : distance >= 0);
        uint64_t below = depth > 0 ? prove_subtree(child, depth - 1) : least;
        least = (int64_t)(below - least) < 0 ? below : least;
        height = max_u32(height, child->height);
    }
    PROVE(node->height == height + 1 && entity->min_v == least);
    return least;
}

/* With `members` as they are now in the queue. */
static void prove_queue(uint32_t members)
{
    if (queue.waiting.root != nullptr) {
        PROVE(queue.only == nullptr && queue.waiting.root->parent == nullptr);
        prove_subtree(queue.waiting.root, 2);
        uint32_t seen = 0;
        for (struct eevdf_entity *entity = eevdf_first(&queue); entity != nullptr; entity = eevdf_next(entity)) {
            PROVE(entity->is_in_tree);
            seen++;
        }
        PROVE(seen == members);
    } else {
        PROVE(members == (queue.only != nullptr));
    }
}

static void prove_sums(int64_t sum, uint64_t weight)
{
    PROVE(queue.weight == weight);
    PROVE(queue.waiting.root == nullptr || queue.sum == sum);
}

/* ---- Steps ---- */

void proof_pick(void)
{
    any_queue();
    uint64_t base = queue.base;
    int64_t sum = sum_of(base);
    uint64_t weight = weight_of_all();
    struct eevdf_entity *entity = eevdf_pick(&queue);
    PROVE((entity == nullptr) == (count == 0));
    if (entity == nullptr)
        return;
    uint32_t picked = (uint32_t)(entity - entities);
    PROVE(picked < count);
    for (uint32_t i = 0; i < count; i++) {
        bool is_eligible = (int64_t)(entities[i].v - base) * (int64_t)weight <= sum;
        PROVE(i != picked || is_eligible);
        PROVE(!is_eligible || (int64_t)(entities[i].deadline - entity->deadline) >= 0);
    }
    PROVE(queue.running.v == entity->v && queue.running.deadline == entity->deadline && queue.running.weight == entity->weight);
    prove_sums(sum + (int64_t)(base - queue.base) * (int64_t)weight, weight);
    prove_queue(count - 1);
    REACHED();
}

void proof_put_back(void)
{
    any_queue();
    struct eevdf_entity *entity = &entities[OTHER];
    entity->weight = queue.running.weight;
    entity->request = queue.running.request;
    uint64_t base = queue.base, weight = weight_of_all(), v = queue.running.v;
    int64_t sum = sum_of(base);
    eevdf_put_back(&queue, entity);
    PROVE(entity->v == v && queue.running.weight == 0);
    prove_sums(sum + (int64_t)(base - queue.base) * (int64_t)weight, weight);
    prove_queue(count + 1);
    REACHED();
}

void proof_join(void)
{
    any_queue();
    struct eevdf_entity *entity = &entities[OTHER];
    uint64_t weight = weight_of_all();
    eevdf_join(&queue, entity);
    PROVE(entity->lag == 0 && (int64_t)(entity->deadline - entity->v) == (int64_t)length(entity->request, entity->weight));
    int64_t sum = sum_of(queue.base) + (int64_t)(entity->v - queue.base) * entity->weight;
    prove_sums(sum, weight + entity->weight);
    prove_queue(count + 1);
    REACHED();
}

void proof_remove(void)
{
    any_queue();
    const uint32_t gone = GONE;
    uint64_t weight = weight_of_all();
    eevdf_remove(&queue, &entities[gone]);
    PROVE(entities[gone].lag >= -queue.lag_limit && entities[gone].lag <= queue.lag_limit);
    entities[gone].weight = 0; /* counts nothing in sum_of() */
    prove_sums(sum_of(queue.base), weight - weights[gone]);
    prove_queue(count - 1);
    REACHED();
}

void proof_charge(void)
{
    any_queue();
    uint64_t weight = weight_of_all(), ticks = nondet_u8() & 15, before = queue.running.v;
    (void)eevdf_charge(&queue, ticks);
    PROVE(queue.running.v == before + length(ticks, queue.running.weight));
    PROVE((int64_t)(queue.running.deadline - queue.running.v) > 0);
    prove_sums(sum_of(queue.base), weight);
    prove_queue(count);
    REACHED();
}

/* base becomes V: all lags together are less than one unit of virtual time for each unit of weight. */
void proof_rebase(void)
{
    any_queue();
    uint64_t weight = weight_of_all();
    rebase(&queue);
    int64_t sum = sum_of(queue.base);
    PROVE(queue.sum == sum && sum < (int64_t)weight && sum > -(int64_t)weight);
    REACHED();
}
