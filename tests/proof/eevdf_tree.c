/*
 * The run queue's tree: lib/core's tree.c with the order and the augmentation of sched/eevdf.c. One insertion into, or removal from, every balanced
 * tree of NODES nodes, at every place, beside equal ones too; deadlines are given, because only their order counts; v is any. After it the tree is
 * in order, balanced, linked both ways, and each node knows the least v of its subtree.
 */
#include <kernel/eevdf.h>
#include <kernel/sched/eevdf.c>
#define insert tree_insert_any /* both have a function of this name */
#include <lib/core/src/tree.c>
#undef insert
#include <proof.h>

#ifndef NODES
#define NODES 3
#endif
enum { NEW = NODES, DEPTH = 4 };

static struct tree tree;
static struct eevdf_entity entities[NODES + 1];

/* Every balanced tree of nodes first .. end - 1, by number of shape; returns its root. */
static struct tree_node *any_tree(struct tree_node *parent, uint32_t first, uint32_t end, uint32_t *shape)
{
    uint32_t count = end - first, root = first;
    if (count == 0)
        return nullptr;
    /* With 2 or 4 nodes either side may have one more; with 3 both have as many. */
    root = first + (count - 1) / 2;
    if (count % 2 == 0) {
        root += *shape & 1;
        *shape >>= 1;
    }
    struct tree_node *node = &entities[root].node;
    node->parent = parent;
    node->left = any_tree(node, first, root, shape);
    node->right = any_tree(node, root + 1, end, shape);
    node->height = 1 + max_u32(node_height(node->left), node_height(node->right));
    update(node);
    return node;
}

static uint64_t any_v(void) { return UINT64_MAX - 7 + (uint64_t)((int8_t)nondet_u8() >> 3); }

static void make(uint32_t shape)
{
    tree_init(&tree, is_before);
    for (uint32_t i = 0; i < NODES; i++) {
        entities[i].v = any_v();
        entities[i].deadline = UINT64_MAX - 3 + 2 * i; /* it wraps in between */
    }
    entities[NEW].v = any_v();
    tree.root = any_tree(nullptr, 0, NODES, &shape);
}

/* How many there are below; the least v in *out_v and the first and last deadline, after a look at links, order and heights. */
static uint32_t prove_subtree(const struct tree_node *node, uint32_t depth, uint64_t least_deadline, uint64_t most_deadline)
{
    const struct eevdf_entity *entity = entity_of(node);
    uint32_t count = 1, heights[2] = {};
    PROVE((int64_t)(entity->deadline - least_deadline) >= 0 && (int64_t)(most_deadline - entity->deadline) >= 0);
    bool is_one = entity->min_v == entity->v, is_least = (int64_t)(entity->v - entity->min_v) >= 0;
    for (uint32_t side = 0; side < 2; side++) {
        const struct tree_node *child = side == 0 ? node->left : node->right;
        if (child == nullptr)
            continue;
        PROVE(depth > 0 && child->parent == node);
        if (depth > 0)
            count += prove_subtree(child, depth - 1, side == 0 ? least_deadline : entity->deadline,
                                   side == 0 ? entity->deadline : most_deadline);
        uint64_t below = entity_of(child)->min_v;
        is_one = is_one || entity->min_v == below;
        is_least = is_least && (int64_t)(below - entity->min_v) >= 0;
        heights[side] = child->height;
    }
    PROVE(is_one && is_least);
    PROVE(node->height == 1 + max_u32(heights[0], heights[1]) && heights[0] <= heights[1] + 1 && heights[1] <= heights[0] + 1);
    return count;
}

static void prove_tree(uint32_t count)
{
    PROVE((tree.root == nullptr) == (count == 0));
    if (tree.root == nullptr)
        return;
    PROVE(tree.root->parent == nullptr);
    PROVE(prove_subtree(tree.root, DEPTH - 1, UINT64_MAX - 8, UINT64_MAX + 24) == count);
}

enum { SHAPES = NODES == 4 ? 4 : NODES == 2 ? 2 : 1 };

/* Between two, or equal to one: it then comes behind it. */
void proof_insert(void)
{
    uint32_t choice = choose(SHAPES * (2 * NODES + 1));
    for (uint32_t i = 0; i < SHAPES * (2 * NODES + 1); i++)
        if (choice == i) {
            make(i % SHAPES);
            entities[NEW].deadline = UINT64_MAX - 4 + i / SHAPES;
            tree_insert_augmented(&tree, &entities[NEW].node, update);
            prove_tree(NODES + 1);
            const struct tree_node *before = tree_prev(&entities[NEW].node), *after = tree_next(&entities[NEW].node);
            PROVE(before == nullptr || (int64_t)(entities[NEW].deadline - entity_of(before)->deadline) >= 0);
            PROVE(after == nullptr || (int64_t)(entity_of(after)->deadline - entities[NEW].deadline) > 0);
            REACHED();
            return;
        }
}

void proof_remove(void)
{
    uint32_t choice = choose(SHAPES * NODES);
    for (uint32_t i = 0; i < SHAPES * NODES; i++)
        if (choice == i) {
            make(i % SHAPES);
            tree_remove_augmented(&tree, &entities[i / SHAPES].node, update);
            PROVE(entities[i / SHAPES].node.parent == nullptr && entities[i / SHAPES].node.height == 0);
            prove_tree(NODES - 1);
            REACHED();
            return;
        }
}
