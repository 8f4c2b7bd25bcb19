/* AVL tree with parent pointers. Invariant of every node: |height(left) - height(right)| <= 1, height = 1 + max of both. */
#include <tess/tree.h>

static uint32_t node_height(const struct tree_node *node) { return node == nullptr ? 0 : node->height; }

/* `update` is constant wherever these are inlined: a plain tree pays nothing for it. */
#define INLINE [[gnu::always_inline]] static inline

INLINE void node_update(struct tree_node *node, tree_update_fn *update)
{
    node->height = 1 + max_u32(node_height(node->left), node_height(node->right));
    if (update != nullptr) {
        update(node);
    }
}

/* Puts `replacement` (may be nullptr) where `node` hangs. */
static void replace_child(struct tree *tree, struct tree_node *node, struct tree_node *replacement)
{
    struct tree_node *parent = node->parent;
    if (parent == nullptr) {
        __atomic_store_n(&tree->root, replacement, __ATOMIC_RELAXED); /* others may look whether there is anything */
    } else if (parent->left == node) {
        parent->left = replacement;
    } else {
        parent->right = replacement;
    }
    if (replacement != nullptr) {
        replacement->parent = parent;
    }
}

INLINE struct tree_node *rotate_left(struct tree *tree, struct tree_node *node, tree_update_fn *update)
{
    struct tree_node *up = node->right;
    replace_child(tree, node, up);
    node->right = up->left;
    if (node->right != nullptr) {
        node->right->parent = node;
    }
    up->left = node;
    node->parent = up;
    node_update(node, update);
    node_update(up, update);
    return up;
}

INLINE struct tree_node *rotate_right(struct tree *tree, struct tree_node *node, tree_update_fn *update)
{
    struct tree_node *up = node->left;
    replace_child(tree, node, up);
    node->left = up->right;
    if (node->left != nullptr) {
        node->left->parent = node;
    }
    up->right = node;
    node->parent = up;
    node_update(node, update);
    node_update(up, update);
    return up;
}

/* Restores the invariant at `node`, whose subtrees hold it; returns the root of its subtree. */
INLINE struct tree_node *node_balance(struct tree *tree, struct tree_node *node, tree_update_fn *update)
{
    uint32_t left = node_height(node->left), right = node_height(node->right);
    if (left > right + 1) {
        if (node_height(node->left->left) < node_height(node->left->right)) {
            rotate_left(tree, node->left, update);
        }
        return rotate_right(tree, node, update);
    }
    if (right > left + 1) {
        if (node_height(node->right->right) < node_height(node->right->left)) {
            rotate_right(tree, node->right, update);
        }
        return rotate_left(tree, node, update);
    }
    node_update(node, update);
    return node;
}

/* From `node` upwards, until a subtree's height is what it was; to the root when something is kept about subtrees. */
INLINE void rebalance(struct tree *tree, struct tree_node *node, tree_update_fn *update)
{
    while (node != nullptr) {
        uint32_t before = node->height;
        node = node_balance(tree, node, update);
        if (node->height == before && update == nullptr) {
            return;
        }
        node = node->parent;
    }
}

INLINE void insert(struct tree *tree, struct tree_node *node, tree_update_fn *update)
{
    struct tree_node *parent = nullptr, **link = &tree->root;
    while (*link != nullptr) {
        parent = *link;
        link = tree->less(node, parent) ? &parent->left : &parent->right;
    }
    *node = (struct tree_node){.parent = parent, .height = 1};
    __atomic_store_n(link, node, __ATOMIC_RELAXED);
    if (update != nullptr) {
        update(node);
    }
    rebalance(tree, parent, update);
}

INLINE void remove_node(struct tree *tree, struct tree_node *node, tree_update_fn *update)
{
    struct tree_node *changed; /* lowest node whose subtree lost an element */
    if (node->left == nullptr || node->right == nullptr) {
        changed = node->parent;
        replace_child(tree, node, node->left != nullptr ? node->left : node->right);
    } else {
        /* The successor takes the place, links and height of the node. */
        struct tree_node *next = tree_next(node);
        changed = next->parent == node ? next : next->parent;
        replace_child(tree, next, next->right);
        replace_child(tree, node, next);
        next->left = node->left;
        next->right = node->right;
        next->height = node->height;
        if (next->left != nullptr) {
            next->left->parent = next;
        }
        if (next->right != nullptr) {
            next->right->parent = next;
        }
    }
    *node = (struct tree_node){};
    rebalance(tree, changed, update);
}

void tree_insert(struct tree *tree, struct tree_node *node) { insert(tree, node, nullptr); }
void tree_remove(struct tree *tree, struct tree_node *node) { remove_node(tree, node, nullptr); }
void tree_insert_augmented(struct tree *tree, struct tree_node *node, tree_update_fn *update) { insert(tree, node, update); }
void tree_remove_augmented(struct tree *tree, struct tree_node *node, tree_update_fn *update) { remove_node(tree, node, update); }

struct tree_node *tree_first(const struct tree *tree)
{
    struct tree_node *node = tree->root;
    while (node != nullptr && node->left != nullptr) {
        node = node->left;
    }
    return node;
}

struct tree_node *tree_last(const struct tree *tree)
{
    struct tree_node *node = tree->root;
    while (node != nullptr && node->right != nullptr) {
        node = node->right;
    }
    return node;
}

struct tree_node *tree_next(const struct tree_node *node)
{
    if (node->right != nullptr) {
        struct tree_node *next = node->right;
        while (next->left != nullptr) {
            next = next->left;
        }
        return next;
    }
    while (node->parent != nullptr && node->parent->right == node) {
        node = node->parent;
    }
    return node->parent;
}

struct tree_node *tree_prev(const struct tree_node *node)
{
    if (node->left != nullptr) {
        struct tree_node *prev = node->left;
        while (prev->right != nullptr) {
            prev = prev->right;
        }
        return prev;
    }
    while (node->parent != nullptr && node->parent->left == node) {
        node = node->parent;
    }
    return node->parent;
}

struct tree_node *tree_lower_bound(const struct tree *tree, const struct tree_node *probe)
{
    struct tree_node *found = nullptr;
    for (struct tree_node *node = tree->root; node != nullptr;) {
        if (tree->less(node, probe)) {
            node = node->right;
        } else {
            found = node;
            node = node->left;
        }
    }
    return found;
}
