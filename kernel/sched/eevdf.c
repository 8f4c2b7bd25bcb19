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
    tree_init(&queue->waiting, is_before);
}

/*
 * Most queues hold one or two. What is kept follows from who waits:
 *   nobody          the running one's v is V; when nobody runs either, base is
 *   one (`only`)    nothing: V follows from it and the running one
 *     unplaced      base: V when it joined the one who ran alone, but for joined_after. Who wakes somebody mostly waits next: then no
 *                   place is ever needed
 *   in the tree     base and sum
 */
static inline bool is_in_tree_mode(const struct eevdf_queue *queue) { return queue->waiting.root != nullptr; }

/* ---- V ---- */

static inline void sum_add(struct eevdf_queue *queue, uint64_t v, uint32_t weight)
{
    queue->sum += (__int128)(int64_t)(v - queue->base) * weight;
}

static inline void sum_subtract(struct eevdf_queue *queue, uint64_t v, uint32_t weight)
{
    queue->sum -= (__int128)(int64_t)(v - queue->base) * weight;
}

/* Moves base to V, less than one off; afterwards |sum| < weight. A sum that does not fit 64 bits is brought near in steps. */
[[clang::noinline]] static void rebase(struct eevdf_queue *queue)
{
    while ((int64_t)queue->sum != queue->sum) {
        int64_t step = (queue->sum > 0 ? INT64_MAX : -INT64_MAX) / (int64_t)queue->weight;
        queue->base += (uint64_t)step;
        queue->sum -= (__int128)step * (int64_t)queue->weight;
    }
    int64_t sum = (int64_t)queue->sum, step = sum / (int64_t)queue->weight;
    queue->base += (uint64_t)step;
    queue->sum = sum - step * (int64_t)queue->weight;
}

/* In ticks, of somebody that far behind V. Whoever is further behind than the limit allows is cut before the product could overflow. */
static inline int64_t lag_of(const struct eevdf_queue *queue, int64_t behind, uint32_t weight)
{
    int64_t limit = queue->lag_limit;
    return eevdf_clamp((eevdf_clamp(behind, limit << EEVDF_SHIFT) * (int64_t)weight) >> EEVDF_SHIFT, limit);
}

/* How far V is ahead of v_a when there are only a and b; cut at what lag_of() cuts. */
static inline int64_t behind_of_two(const struct eevdf_queue *queue, uint64_t v_a, uint64_t v_b, uint32_t weight_b)
{
    int64_t difference = eevdf_clamp((int64_t)(v_b - v_a), queue->lag_limit << EEVDF_SHIFT);
    return difference * (int64_t)weight_b / (int64_t)queue->weight;
}

/* Where somebody stands who comes with this lag to others of `weight_before`. V moves when somebody with lag comes: seen from the V
 * after that, it stands where its lag says if it is put (1 + w/W) times as far from the V before. */
static inline uint64_t place(const struct eevdf_queue *queue, uint64_t weight_before, int64_t lag, uint32_t weight)
{
    if (lag == 0 || weight_before == 0)
        return queue->base;
    int64_t scaled = eevdf_clamp(lag, queue->lag_limit) * (1ll << EEVDF_SHIFT);
    return queue->base - (uint64_t)(scaled / (int64_t)weight + scaled / (int64_t)weight_before);
}

/* base is V, without the entity. */
static inline void take_place(struct eevdf_queue *queue, uint64_t weight_before, struct eevdf_entity *entity)
{
    entity->v = place(queue, weight_before, entity->lag, entity->weight);
    entity->deadline = entity->v + eevdf_length(entity->request, entity->weight);
    entity->lag = 0;
}

[[clang::noinline]] static void place_only(struct eevdf_queue *queue)
{
    queue->is_unplaced = false;
    queue->base += eevdf_length(queue->joined_after, queue->joined_weight);
    take_place(queue, queue->joined_weight, queue->only);
}

/* base = V. */
static inline void settle(struct eevdf_queue *queue)
{
    const struct eevdf_running *running = &queue->running;
    if (queue->is_unplaced)
        place_only(queue);
    if (is_in_tree_mode(queue))
        rebase(queue);
    else if (queue->only == nullptr)
        queue->base = running->weight != 0 ? running->v : queue->base;
    else if (running->weight == 0)
        queue->base = queue->only->v;
    else
        queue->base = running->v + (uint64_t)behind_of_two(queue, running->v, queue->only->v, queue->only->weight);
}

/* ---- Who waits ---- */

[[clang::noinline]] static void insert_second(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    struct eevdf_entity *only = queue->only;
    if (queue->is_unplaced)
        place_only(queue);
    if (only != nullptr) {
        queue->base = only->v;
        queue->sum = 0;
        if (queue->running.weight != 0)
            sum_add(queue, queue->running.v, queue->running.weight);
        queue->only = nullptr;
        only->is_in_tree = true;
        tree_insert_augmented(&queue->waiting, &only->node, update);
    }
    sum_add(queue, entity->v, entity->weight);
    entity->is_in_tree = true;
    tree_insert_augmented(&queue->waiting, &entity->node, update);
}

/* The running one, if any, counts already; `entity` does not. */
static inline void insert(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    queue->weight += entity->weight;
    if (eevdf_has_waiting(queue))
        insert_second(queue, entity);
    else
        queue->only = entity;
}

static inline void take_out(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    queue->weight -= entity->weight;
    if (!entity->is_in_tree) {
        queue->only = nullptr;
        return;
    }
    sum_subtract(queue, entity->v, entity->weight);
    entity->is_in_tree = false;
    tree_remove_augmented(&queue->waiting, &entity->node, update);
}

struct eevdf_entity *eevdf_first(const struct eevdf_queue *queue)
{
    if (queue->only != nullptr)
        return queue->only;
    struct tree_node *node = tree_first(&queue->waiting);
    return node != nullptr ? entity_of(node) : nullptr;
}

struct eevdf_entity *eevdf_next(const struct eevdf_entity *entity)
{
    struct tree_node *node = entity->is_in_tree ? tree_next(&entity->node) : nullptr;
    return node != nullptr ? entity_of(node) : nullptr;
}

/* ---- Coming and going ---- */

static inline void run(struct eevdf_queue *queue, const struct eevdf_running *place)
{
    queue->running = *place;
    queue->weight += place->weight;
    if (is_in_tree_mode(queue))
        sum_add(queue, place->v, place->weight);
}

static inline void stop(struct eevdf_queue *queue)
{
    struct eevdf_running *running = &queue->running;
    queue->weight -= running->weight;
    if (is_in_tree_mode(queue))
        sum_subtract(queue, running->v, running->weight);
    running->weight = 0;
}

[[clang::noinline]] static void join_others(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    settle(queue);
    take_place(queue, queue->weight, entity);
    insert(queue, entity);
}

void eevdf_join(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    if (eevdf_runs_alone(queue))
        eevdf_join_alone(queue, entity, 0);
    else
        join_others(queue, entity);
}

void eevdf_remove(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    settle(queue);
    entity->lag = lag_of(queue, (int64_t)(queue->base - entity->v), entity->weight);
    take_out(queue, entity);
}

[[clang::noinline]] static int64_t leave_others(struct eevdf_queue *queue)
{
    struct eevdf_running *running = &queue->running;
    const struct eevdf_entity *only = queue->only;
    uint32_t weight = running->weight;
    int64_t lag = 0;
    if (only != nullptr) {
        lag = lag_of(queue, behind_of_two(queue, running->v, only->v, only->weight), weight);
    } else {
        settle(queue);
        lag = lag_of(queue, (int64_t)(queue->base - running->v), weight);
    }
    stop(queue);
    return lag;
}

int64_t eevdf_leave(struct eevdf_queue *queue) { return queue->is_unplaced ? eevdf_leave_to_unplaced(queue) : leave_others(queue); }

void eevdf_put_back(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    const struct eevdf_running place = queue->running;
    if (entity->weight != place.weight || entity->request != place.request) {
        entity->lag = eevdf_leave(queue); /* lag is in ticks: it stays the same under another weight */
        eevdf_join(queue, entity);
        return;
    }
    stop(queue);
    entity->v = place.v;
    entity->deadline = place.deadline;
    insert(queue, entity);
}

/* v <= V exactly if (v - base) * weight <= sum; and |sum| < weight. One entity is not above the mean, so the search finds one. */
[[clang::noinline]] static struct eevdf_entity *search(struct eevdf_queue *queue)
{
    struct tree_node *node = queue->waiting.root;
    rebase(queue);
    uint64_t limit = queue->base - (queue->sum < 0 ? 1 : 0);
    for (;;) {
        if (node->left != nullptr && (int64_t)(entity_of(node->left)->min_v - limit) <= 0)
            node = node->left;
        else if ((int64_t)(entity_of(node)->v - limit) <= 0 || node->right == nullptr)
            return entity_of(node);
        else
            node = node->right;
    }
}

[[clang::noinline]] static struct eevdf_entity *pick_placed(struct eevdf_queue *queue)
{
    struct eevdf_entity *entity = queue->only;
    if (entity == nullptr && !is_in_tree_mode(queue))
        return nullptr;
    if (entity == nullptr)
        entity = search(queue);
    take_out(queue, entity);
    const struct eevdf_running place = {.v = entity->v, .deadline = entity->deadline, .request = entity->request, .weight = entity->weight};
    run(queue, &place);
    return entity;
}

struct eevdf_entity *eevdf_pick(struct eevdf_queue *queue) { return queue->is_unplaced ? eevdf_pick_unplaced(queue) : pick_placed(queue); }

void eevdf_resume(struct eevdf_queue *queue, const struct eevdf_running *place) { run(queue, place); }

void eevdf_begin(struct eevdf_queue *queue, struct eevdf_entity *entity)
{
    settle(queue);
    take_place(queue, queue->weight, entity);
    const struct eevdf_running start = {.v = entity->v, .deadline = entity->deadline, .request = entity->request, .weight = entity->weight};
    run(queue, &start);
}

/* Just behind the mean of the others, one of whom is then not behind V. */
void eevdf_give_up(struct eevdf_queue *queue)
{
    struct eevdf_running place = queue->running;
    stop(queue);
    if (queue->weight != 0) {
        settle(queue);
        if ((int64_t)(place.v - queue->base) < 2)
            place.v = queue->base + 2; /* base may be one below the mean */
    }
    place.deadline = place.v + eevdf_length(place.request, place.weight);
    run(queue, &place);
}

bool eevdf_preempts(struct eevdf_queue *queue, const struct eevdf_entity *entity)
{
    const struct eevdf_running *running = &queue->running;
    if (entity->request >= running->request)
        return false;
    if (queue->is_unplaced)
        place_only(queue);
    if ((int64_t)(entity->deadline - running->deadline) >= 0)
        return false;
    if (!is_in_tree_mode(queue)) /* of two, the one behind */
        return (int64_t)(entity->v - running->v) <= 0;
    return (__int128)(int64_t)(entity->v - queue->base) * (int64_t)queue->weight <= queue->sum;
}

uint64_t eevdf_ticks_left(const struct eevdf_queue *queue)
{
    const struct eevdf_running *running = &queue->running;
    int64_t left = (int64_t)(running->deadline - running->v);
    return left <= 0 ? 0 : (uint64_t)(((unsigned __int128)(uint64_t)left * running->weight) >> EEVDF_SHIFT);
}
