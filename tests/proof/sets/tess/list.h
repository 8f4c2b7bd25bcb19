/* Overrides lib/core's list.h: a list is a set, and its first is any of it. What holds so, holds for every order (list.c proves the links).
 * The harness keeps the sets. */
#pragma once
#include <tess/util.h>

struct list_node {
    uint64_t unused[2];
};
struct list {
    uint64_t unused[2];
};

void list_init(struct list *list);
bool list_is_empty(const struct list *list);
void list_push_front(struct list *list, struct list_node *node);
void list_remove(struct list_node *node);
struct list_node *list_pop_front(struct list *list);
