/*
 * Intrusive balanced binary tree (AVL: Adelson-Velsky and Landis 1962), ordered by `less`. Height at most 1.44 log2(n). Equal
 * elements keep the order of their insertion. The caller holds whatever lock guards the tree. No allocation, no recursion.
 *
 * Searching is the caller's, who knows its key:
 *     for (struct tree_node *n = tree.root; n != nullptr; n = key < key_of(n) ? n->left : n->right) ...
 * or tree_lower_bound() with a probe element.
 *
 * An augmented tree keeps something about a node's subtree in its element: `update` computes it from the element and its two children,
 * and is called bottom up for every node whose subtree changed. Such a tree is changed by the functions that take it, and no other.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <tess/util.h>

struct tree_node {
    struct tree_node *parent, *left, *right;
    uint32_t height; /* of the subtree; 1 = leaf */
};
typedef bool tree_less_fn(const struct tree_node *a, const struct tree_node *b);
struct tree {
    struct tree_node *root;
    tree_less_fn *less;
};

typedef void tree_update_fn(struct tree_node *node);

#define tree_entry(node, type, member) container_of(node, type, member)

static inline void tree_init(struct tree *tree, tree_less_fn *less) { *tree = (struct tree){.root = nullptr, .less = less}; }
static inline bool tree_is_empty(const struct tree *tree) { return tree->root == nullptr; }
void tree_insert(struct tree *tree, struct tree_node *node);
/* `node` must be in the tree. */
void tree_remove(struct tree *tree, struct tree_node *node);
void tree_insert_augmented(struct tree *tree, struct tree_node *node, tree_update_fn *update);
void tree_remove_augmented(struct tree *tree, struct tree_node *node, tree_update_fn *update);
/* In order; nullptr = none. */
struct tree_node *tree_first(const struct tree *tree);
struct tree_node *tree_last(const struct tree *tree);
struct tree_node *tree_next(const struct tree_node *node);
struct tree_node *tree_prev(const struct tree_node *node);
/* The first element that is not less than `probe` (an element that need not be in the tree). */
struct tree_node *tree_lower_bound(const struct tree *tree, const struct tree_node *probe);
