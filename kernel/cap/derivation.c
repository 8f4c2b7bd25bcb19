/*
 * The derivation tree of one object: who was derived from whom. Pure links, guarded by the object's lock.
 *
 * Children of a node form a circular list through prev; next of the last child points to the parent, with bit 0 set. So inserting,
 * deleting (the children become the parent's) and finding the parent of a first or last child all take constant time.
 */
#include <kernel/cap.h>

static struct derivation_node *tag(struct derivation_node *parent) { return (struct derivation_node *)((uintptr_t)parent | 1); }

static bool is_tagged(const struct derivation_node *link) { return ((uintptr_t)link & 1) != 0; }

static struct derivation_node *untag(struct derivation_node *link) { return (struct derivation_node *)((uintptr_t)link & ~(uintptr_t)1); }

void derivation_init_root(struct derivation_node *root) { *root = (struct derivation_node){}; }

void derivation_insert(struct derivation_node *parent, struct derivation_node *node)
{
    struct derivation_node *first = parent->child;
    node->child = nullptr;
    if (first == nullptr) {
        node->prev = node;
        node->next = tag(parent);
    } else {
        node->prev = first->prev;
        node->next = first;
        first->prev = node;
    }
    parent->child = node;
}

void derivation_insert_after(struct derivation_node *sibling, struct derivation_node *node)
{
    struct derivation_node *next = sibling->next;
    node->child = nullptr;
    node->prev = sibling;
    node->next = next;
    sibling->next = node;
    /* Behind the last one the parent's first child knows the last by its prev. */
    if (is_tagged(next))
        untag(next)->child->prev = node;
    else
        next->prev = node;
}

/* `head` to `tail`, linked to each other, take the node's place. */
static void put_in_place(struct derivation_node *node, struct derivation_node *head, struct derivation_node *tail)
{
    bool is_first = is_tagged(node->prev->next), is_last = is_tagged(node->next);
    struct derivation_node *parent = is_first ? untag(node->prev->next) : is_last ? untag(node->next) : nullptr;
    tail->next = node->next;
    head->prev = is_first && is_last ? tail : node->prev;
    if (is_first)
        parent->child = head;
    else
        node->prev->next = head;
    if (!is_last)
        node->next->prev = tail;
    else if (!is_first)
        parent->child->prev = tail;
    *node = (struct derivation_node){};
}

void derivation_replace(struct derivation_node *node, struct derivation_node *by)
{
    by->child = nullptr;
    put_in_place(node, by, by);
}

void derivation_remove(struct derivation_node *node)
{
    if (node->child != nullptr) {
        put_in_place(node, node->child, node->child->prev);
        return;
    }
    bool is_first = is_tagged(node->prev->next), is_last = is_tagged(node->next);
    if (is_first && is_last) {
        untag(node->next)->child = nullptr;
    } else if (is_first) {
        untag(node->prev->next)->child = node->next;
        node->next->prev = node->prev;
    } else {
        node->prev->next = node->next;
        if (is_last)
            untag(node->next)->child->prev = node->prev;
        else
            node->next->prev = node->prev;
    }
    *node = (struct derivation_node){};
}
