/*
 * cap/derivation.c: one step from every tree. The tree is any well-formed one of up to NODES nodes (its shape is chosen, its links
 * are written from the definition in the file's head), so a proof of one step is one of every sequence whose trees stay that small.
 */
#include <kernel/cap/derivation.c>
#include <proof.h>

#ifndef NODES
#define NODES 4
#endif

/* Node 0 is the object's root. children[p][0 .. count[p]) is the order under p. */
static struct derivation_node nodes[NODES + 1];
static uint8_t count[NODES + 1], children[NODES + 1][NODES], parent[NODES + 1];
static bool is_in[NODES + 1];

/* Any tree: every node that is in has a parent with a smaller rank, and a place of its own among its siblings. */
static void choose_tree(void)
{
    uint8_t rank[NODES + 1], place[NODES + 1];
    rank[0] = 0;
    is_in[0] = true;
    for (uint32_t i = 1; i <= NODES; i++) {
        is_in[i] = nondet_bool();
        parent[i] = (uint8_t)choose(NODES + 1);
        rank[i] = (uint8_t)choose(NODES + 1);
        place[i] = (uint8_t)choose(NODES);
        count[parent[i]] += is_in[i];
    }
    for (uint32_t i = 1; i <= NODES; i++) {
        if (!is_in[i])
            continue;
        ASSUME(is_in[parent[i]] && (parent[i] == 0 ? 0 : rank[parent[i]]) < rank[i]);
        ASSUME(place[i] < count[parent[i]]);
        for (uint32_t k = 1; k < i; k++)
            ASSUME(!is_in[k] || parent[k] != parent[i] || place[k] != place[i]);
        children[parent[i]][place[i]] = (uint8_t)i;
    }
}

static struct derivation_node *next_of(uint32_t p, uint32_t i) { return i + 1 == count[p] ? tag(&nodes[p]) : &nodes[children[p][i + 1]]; }
static struct derivation_node *prev_of(uint32_t p, uint32_t i) { return &nodes[children[p][i == 0 ? count[p] - 1 : i - 1]]; }

static void write_links(void)
{
    for (uint32_t p = 0; p <= NODES; p++) {
        if (is_in[p] && count[p] != 0)
            nodes[p].child = &nodes[children[p][0]];
        for (uint32_t i = 0; i < NODES; i++)
            if (is_in[p] && i < count[p]) {
                nodes[children[p][i]].next = next_of(p, i);
                nodes[children[p][i]].prev = prev_of(p, i);
            }
    }
}

static void prove_links(void)
{
    for (uint32_t p = 0; p <= NODES; p++) {
        if (!is_in[p]) {
            PROVE(nodes[p].child == nullptr && nodes[p].next == nullptr && nodes[p].prev == nullptr);
            continue;
        }
        PROVE(nodes[p].child == (count[p] != 0 ? &nodes[children[p][0]] : nullptr));
        for (uint32_t i = 0; i < NODES; i++)
            if (i < count[p]) {
                PROVE(nodes[children[p][i]].next == next_of(p, i));
                PROVE(nodes[children[p][i]].prev == prev_of(p, i));
            }
    }
    PROVE(nodes[0].next == nullptr && nodes[0].prev == nullptr);
}

void proof_insert(void)
{
    choose_tree();
    write_links();
    uint32_t p = choose(NODES + 1), fresh = NODES; /* nodes differ in nothing but their number */
    ASSUME(is_in[p] && !is_in[fresh]);
    derivation_insert(&nodes[p], &nodes[fresh]);
    is_in[fresh] = true;
    for (uint32_t i = NODES - 1; i > 0; i--)
        children[p][i] = children[p][i - 1];
    children[p][0] = (uint8_t)fresh;
    count[p]++;
    prove_links();
    REACHED();
}

/* The children take the node's place, in their order. */
void proof_remove(void)
{
    choose_tree();
    write_links();
    uint32_t gone = NODES;
    ASSUME(is_in[gone]);
    derivation_remove(&nodes[gone]);
    uint32_t p = parent[gone], n = 0;
    uint8_t joined[NODES];
    for (uint32_t i = 0; i < NODES; i++) {
        if (i >= count[p])
            continue;
        if (children[p][i] != gone) {
            joined[n++] = children[p][i];
            continue;
        }
        for (uint32_t k = 0; k < NODES; k++)
            if (k < count[gone])
                joined[n++] = children[gone][k];
    }
    for (uint32_t i = 0; i < NODES; i++)
        if (i < n)
            children[p][i] = joined[i];
    count[p] = (uint8_t)n;
    count[gone] = 0;
    is_in[gone] = false;
    prove_links();
    REACHED();
}
