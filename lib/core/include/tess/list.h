/*
 * Intrusive doubly linked list: the node lies in the element (container_of finds it back). All operations take constant time;
 * the caller holds whatever lock guards the list. A node that is in no list after list_node_init() or list_remove() points to
 * itself, so removing it again does no harm and list_node_is_linked() is right.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <tess/util.h>

struct list_node {
    struct list_node *prev, *next;
};
struct list {
    struct list_node head; /* next = first, prev = last */
};

#define LIST_INITIALIZER(name)                                                                                                             \
    {                                                                                                                                      \
        {                                                                                                                                  \
            &(name).head, &(name).head                                                                                                     \
        }                                                                                                                                  \
    }
#define list_entry(node, type, member) container_of(node, type, member)
/* The current node must not be removed inside; list_for_each_safe allows exactly that. */
#define list_for_each(node, list) for (struct list_node *node = (list)->head.next; node != &(list)->head; node = node->next)
#define list_for_each_safe(node, list)                                                                                                     \
    for (struct list_node *node = (list)->head.next, *node##_next = node->next; node != &(list)->head;                                     \
         node = node##_next, node##_next = node->next)

static inline void list_init(struct list *list) { list->head.prev = list->head.next = &list->head; }
static inline void list_node_init(struct list_node *node) { node->prev = node->next = node; }
static inline bool list_node_is_linked(const struct list_node *node) { return node->next != node; }
static inline bool list_is_empty(const struct list *list) { return list->head.next == &list->head; }

static inline void list_insert_before(struct list_node *position, struct list_node *node)
{
    node->prev = position->prev;
    node->next = position;
    position->prev->next = node;
    position->prev = node;
}
static inline void list_push_back(struct list *list, struct list_node *node) { list_insert_before(&list->head, node); }
static inline void list_push_front(struct list *list, struct list_node *node) { list_insert_before(list->head.next, node); }

static inline void list_remove(struct list_node *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_node_init(node);
}

/* nullptr when there is none. */
static inline struct list_node *list_first(const struct list *list) { return list_is_empty(list) ? nullptr : list->head.next; }
static inline struct list_node *list_last(const struct list *list) { return list_is_empty(list) ? nullptr : list->head.prev; }
static inline struct list_node *list_next(const struct list *list, const struct list_node *node)
{
    return node->next == &list->head ? nullptr : node->next;
}
static inline struct list_node *list_pop_front(struct list *list)
{
    struct list_node *node = list_first(list);
    if (node != nullptr) {
        list_remove(node);
    }
    return node;
}
/* Moves all of `source` behind the last of `list`; `source` is empty afterwards. */
static inline void list_splice_back(struct list *list, struct list *source)
{
    if (list_is_empty(source)) {
        return;
    }
    source->head.next->prev = list->head.prev;
    list->head.prev->next = source->head.next;
    source->head.prev->next = &list->head;
    list->head.prev = source->head.prev;
    list_init(source);
}
