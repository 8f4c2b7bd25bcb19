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

void derivation_replace(struct derivation_node *node, struct derivation_node *by)
{
    bool is_first = is_tagged(node->prev->next), is_last = is_tagged(node->next);
    struct derivation_node *parent = is_first ? untag(node->prev->next) : is_last ? untag(node->next) : nullptr;
    by->child = nullptr;
    by->next = node->next;
    by->prev = is_first && is_last ? by : node->prev;
    if (!is_first)
        node->prev->next = by;
    else
        parent->child = by;
    if (!is_last)
        node->next->prev = by;
    else if (!is_first)
        parent->child->prev = by;
    *node = (struct derivation_node){};
}

void derivation_remove(struct derivation_node *node)
{
    bool is_first = is_tagged(node->prev->next);
    bool is_last = is_tagged(node->next);
    struct derivation_node *head, *tail; /* what takes the node's place: its children, if any */
    if (node->child != nullptr) {
        head = node->child;
        tail = head->prev;
    } else {
        head = tail = nullptr;
    }

    if (is_first && is_last) {
        struct derivation_node *parent = untag(node->next);
        parent->child = head;
        if (head != nullptr)
            tail->next = tag(parent); /* head->prev is tail already */
    } else if (is_first) {
        struct derivation_node *parent = untag(node->prev->next), *last = node->prev, *second = node->next;
        if (head != nullptr) {
            head->prev = last;
            tail->next = second;
            second->prev = tail;
            parent->child = head;
        } else {
            second->prev = last;
            parent->child = second;
        }
    } else if (is_last) {
        struct derivation_node *parent = untag(node->next), *before = node->prev;
        if (head != nullptr) {
            before->next = head;
            head->prev = before;
            tail->next = tag(parent);
            parent->child->prev = tail;
        } else {
            before->next = tag(parent);
            parent->child->prev = before;
        }
    } else {
        struct derivation_node *before = node->prev, *after = node->next;
        if (head != nullptr) {
            before->next = head;
            head->prev = before;
            tail->next = after;
            after->prev = tail;
        } else {
            before->next = after;
            after->prev = before;
        }
    }
    *node = (struct derivation_node){};
}
