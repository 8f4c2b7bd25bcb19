/* The arithmetic of kernel/eevdf.h. `base` follows V, so that sum stays small and its quotient is one 64-bit division. */
#include <kernel/eevdf.h>

static inline struct eevdf_entity *entity_of(const struct tree_node *node) { return container_of(node, struct eevdf_entity, node); }

static bool is_before(const struct tree_node *a, const struct tree_node *b)
{
    return (int64_t)(entity_of(a)->deadline - entity_of(b)->deadline) < 0;
}

static void update(struct tree_node *node)
{
    struct eevdf_entity *entity = entity_of(node);
    uint64_t min_v = entity->v;
    if (node->left != nullptr && (int64_t)(entity_of(node->left)->min_v - min_v) < 0)
        min_v = entity_of(node->left)->min_v;
    if (node->right != nullptr && (int64_t)(entity_of(node->right)->min_v - min_v) < 0)
        min_v = entity_of(node->right)->min_v;
    entity->min_v = min_v;
}

void eevdf_init(struct eevdf_queue *queue, int64_t lag_limit)
{
    *queue = (struct eevdf_queue){.lag_limit = lag_limit};
    tree_init_augmented(&queue->waiting, is_before, update);
}

static inline void add(struct eevdf_queue *queue, uint64_t v, uint32_t weight)
{
    queue->sum += (__int128)(int64_t)(v - queue->base) * weight;
    queue->weight += weight;
}

static inline void subtract(struct eevdf_queue *queue, uint64_t v, uint32_t weight)
{
    queue->sum -= (__int128)(int64_t)(v - queue->base) * weight;
    queue->weight -= weight;
}

/* Moves base to V (rounded towards where it was). A sum that does not fit 64 bits is brought near in steps. */
static inline void rebase(struct eevdf_queue *queue)
{
    if (queue->weight == 0)
        return;
    constexpr int64_t LIMIT = INT64_MAX;
    while (__builtin_expect(queue->sum > LIMIT || queue->sum < -LIMIT, false)) {
        int64_t step = (queue->sum > 0 ? LIMIT : -LIMIT) / (int64_t)queue->weight;
        queue->base += (uint64_t)step;
        queue->sum -= (__int128)step * (int64_t)queue->weight;
    }
    int64_t step = (int64_t)queue->sum / (int64_t)queue->weight;
    queue->base += (uint64_t)step;
    queue->sum -= step * (int64_t)queue->weight;
}

static inline int64_t clamp(int64_t value, int64_t limit) { return value > limit ? limit : value < -limit ? -limit : value; }

/* After rebase(). */
static inline int64_t lag_of(const struct eevdf_queue *queue, uint64_t v, uint32_t weight)
{
    int64_t behind = (int64_t)(queue->base - v);
    int64_t most = (queue->lag_limit << EEVDF_SHIFT) / weight; /* so that the product does not overflow */
    return (clamp(behind, most) * (int64_t)weight) >> EEVDF_SHIFT;
}

static inline uint64_t length(uint64_t ticks, uint32_t weight) { return (ticks << EEVDF_SHIFT) / weight; }

/* V moves when somebody with lag comes: seen from the V after that, it stands where its lag says if it is put (1 + w/W) times as far
 * from the V before. */
static inline uint64_t place(struct eevdf_queue *queue, int64_t lag, uint32_t weight)
{
    rebase(queue);
    if (lag == 0 || queue->weight == 0)
        return queue->base;
    int64_t scaled = clamp(lag, queue->lag_limit) * (1ll << EEVDF_SHIFT);
    return queue->base - (uint64_t)(scaled / (int64_t)weight + scaled / (int64_t)queue->weight);
}

void eevdf_join(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    entity->v = place(queue, entity->lag, entity->weight);
    entity->deadline = entity->v + length(entity->request, entity->weight);
    entity->lag = 0;
    add(queue, entity->v, entity->weight);
    tree_insert(&queue->waiting, &entity->node);
}

void eevdf_remove(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    rebase(queue);
    entity->lag = lag_of(queue, entity->v, entity->weight);
    tree_remove(&queue->waiting, &entity->node);
    subtract(queue, entity->v, entity->weight);
}

bool eevdf_charge(struct eevdf_queue *queue, uint64_t ticks)
{
    struct eevdf_running *running = &queue->running;
    if (ticks > EEVDF_CHARGE_MAX)
        ticks = EEVDF_CHARGE_MAX;
    uint64_t step = length(ticks, running->weight);
    running->v += step;
    queue->sum += (__int128)step * running->weight;
    if ((int64_t)(running->v - running->deadline) < 0)
        return false;
    running->deadline = running->v + length(running->request, running->weight);
    return true;
}

int64_t eevdf_leave(struct eevdf_queue *queue)
{
    struct eevdf_running *running = &queue->running;
    uint32_t weight = running->weight;
    running->weight = 0;
    if (queue->weight == weight) { /* it was alone */
        queue->base = running->v;
        queue->sum = 0;
        queue->weight = 0;
        return 0;
    }
    rebase(queue);
    int64_t lag = lag_of(queue, running->v, weight);
    subtract(queue, running->v, weight);
    return lag;
}

void eevdf_put_back(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    struct eevdf_running *running = &queue->running;
    if (entity->weight == running->weight && entity->request == running->request) {
        entity->v = running->v;
        entity->deadline = running->deadline;
        running->weight = 0;
        tree_insert(&queue->waiting, &entity->node);
        return;
    }
    entity->lag = eevdf_leave(queue); /* lag is in ticks: it stays the same under another weight */
    eevdf_join(queue, entity);
}

struct eevdf_entity *eevdf_pick(struct eevdf_queue *queue)
{
    struct tree_node *node = queue->waiting.root;
    if (node == nullptr)
        return nullptr;
    /* v <= V exactly if (v - base) * weight <= sum. Of all entities one is not above the mean, so the search finds one. */
    if (node->left != nullptr || node->right != nullptr) {
        rebase(queue);
        int64_t sum = (int64_t)queue->sum; /* less than one weight off */
        uint64_t limit = queue->base - (sum < 0 ? 1 : 0);
        for (;;) {
            if (node->left != nullptr && (int64_t)(entity_of(node->left)->min_v - limit) <= 0)
                node = node->left;
            else if ((int64_t)(entity_of(node)->v - limit) <= 0 || node->right == nullptr)
                break;
            else
                node = node->right;
        }
    }
    struct eevdf_entity *entity = entity_of(node);
    tree_remove(&queue->waiting, node);
    queue->running = (struct eevdf_running){.v = entity->v, .deadline = entity->deadline, .request = entity->request, .weight = entity->weight};
    return entity;
}

void eevdf_resume(struct eevdf_queue *queue, const struct eevdf_running *place)
{
    queue->running = *place;
    if (queue->weight == 0)
        queue->base = place->v;
    add(queue, place->v, place->weight);
}

bool eevdf_preempts(const struct eevdf_queue *queue, const struct eevdf_entity *entity)
{
    const struct eevdf_running *running = &queue->running;
    return entity->request < running->request && (int64_t)(entity->deadline - running->deadline) < 0 &&
           (__int128)(int64_t)(entity->v - queue->base) * (int64_t)queue->weight <= queue->sum;
}

uint64_t eevdf_ticks_left(const struct eevdf_queue *queue)
{
    const struct eevdf_running *running = &queue->running;
    int64_t left = (int64_t)(running->deadline - running->v);
    return left <= 0 ? 0 : (uint64_t)(((unsigned __int128)(uint64_t)left * running->weight) >> EEVDF_SHIFT);
}
