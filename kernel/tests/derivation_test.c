/* The derivation tree against a model: every sequence of insertions and removals up to a length, all links looked at each time.
 */
#include <check.h>
#include <kernel/cap.h>

constexpr uint32_t NODES = 6, LENGTH = 9;

struct model {
    int8_t parent[NODES + 1];
    int8_t order[NODES + 1][NODES + 1];
    uint8_t count[NODES + 1];
    bool is_in[NODES + 1];
};

static struct derivation_node nodes[NODES + 1]; /* 0 = the object's root */
static uint64_t states;

static void model_insert(struct model *m, int parent, int node)
{
    for (int i = m->count[parent]++; i > 0; i--)
        m->order[parent][i] = m->order[parent][i - 1];
    m->order[parent][0] = (int8_t)node;
    m->parent[node] = (int8_t)parent;
    m->count[node] = 0;
    m->is_in[node] = true;
}

static void model_remove(struct model *m, int node)
{
    int parent = m->parent[node], at = 0, n = 0;
    int8_t joined[NODES + 1];
    for (at = 0; at < m->count[parent]; at++) {
        if (m->order[parent][at] != node) {
            joined[n++] = m->order[parent][at];
            continue;
        }
        for (int i = 0; i < m->count[node]; i++) {
            joined[n++] = m->order[node][i];
            m->parent[m->order[node][i]] = (int8_t)parent;
        }
    }
    memcpy(m->order[parent], joined, (size_t)n);
    m->count[parent] = (uint8_t)n;
    m->is_in[node] = false;
}

static bool is_same(const struct model *m)
{
    for (uint32_t p = 0; p <= NODES; p++) {
        if (p != 0 && !m->is_in[p]) {
            if (nodes[p].child != nullptr || nodes[p].next != nullptr || nodes[p].prev != nullptr)
                return false;
            continue;
        }
        const struct derivation_node *node = nodes[p].child;
        if (m->count[p] == 0) {
            if (node != nullptr)
                return false;
            continue;
        }
        for (uint32_t i = 0; i < m->count[p]; i++) {
            if (node != &nodes[m->order[p][i]])
                return false;
            if (node->prev != &nodes[m->order[p][i == 0 ? m->count[p] - 1 : i - 1]])
                return false;
            bool is_last = i + 1u == m->count[p];
            if (((uintptr_t)node->next & 1) != is_last)
                return false;
            node = is_last ? (const struct derivation_node *)((uintptr_t)node->next & ~(uintptr_t)1) : node->next;
        }
        if (node != &nodes[p])
            return false;
    }
    return true;
}

static void explore(const struct model *m, uint32_t depth)
{
    states++;
    if (!is_same(m)) {
        CHECK(!"tree and model differ");
        return;
    }
    if (depth == LENGTH || check_failed != 0)
        return;
    struct derivation_node saved[NODES + 1];
    memcpy(saved, nodes, sizeof(nodes));
    int fresh = 0;
    for (uint32_t i = 1; i <= NODES && fresh == 0; i++) /* which of the free ones makes no difference */
        if (!m->is_in[i])
            fresh = (int)i;
    for (uint32_t i = 0; i <= NODES; i++) {
        if (i != 0 && !m->is_in[i])
            continue;
        struct model next;
        if (fresh != 0) {
            next = *m;
            model_insert(&next, (int)i, fresh);
            derivation_insert(&nodes[i], &nodes[fresh]);
            explore(&next, depth + 1);
            memcpy(nodes, saved, sizeof(nodes));
        }
        if (i != 0 && fresh != 0 && m->count[i] == 0) { /* as derived from it, and it then removed */
            next = *m;
            model_insert(&next, (int)i, fresh);
            model_remove(&next, (int)i);
            derivation_replace(&nodes[i], &nodes[fresh]);
            CHECK(is_same(&next));
            memcpy(nodes, saved, sizeof(nodes));
        }
        if (i != 0) {
            next = *m;
            model_remove(&next, (int)i);
            derivation_remove(&nodes[i]);
            explore(&next, depth + 1);
            memcpy(nodes, saved, sizeof(nodes));
        }
    }
}

int main(void)
{
    static struct model empty = {.is_in = {true}};
    derivation_init_root(&nodes[0]);
    explore(&empty, 0);
    CHECK(states > 10'000);
    printf("%lu states\n", states);
    return check_result();
}
