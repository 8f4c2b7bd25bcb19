/* Random histories against a shadow: no two live blocks overlap, contents survive, everything comes back. */
#include <alloc/arena.h>
#include <alloc/heap.h>
#include <alloc/pool.h>
#include <check.h>
#include <stdlib.h>
#include <tess/util.h>

static uint64_t random_state = 1;
static uint32_t random_next(void)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33);
}

constexpr uint32_t LIVE_MAX = 400;
struct live {
    uint8_t *pointer;
    size_t size;
    uint8_t fill;
};

static bool is_intact(const struct live *live)
{
    for (size_t i = 0; i < live->size; i++) {
        if (live->pointer[i] != live->fill) {
            return false;
        }
    }
    return true;
}

static uint32_t grow_count;
static void *grown[64];
static bool grow(struct heap *heap, size_t size)
{
    if (grow_count == ARRAY_LENGTH(grown)) {
        return false;
    }
    size_t chunk = size + HEAP_REGION_OVERHEAD > 100000 ? size + HEAP_REGION_OVERHEAD : 100000;
    void *memory = malloc(chunk);
    grown[grow_count++] = memory;
    heap_add_region(heap, memory, chunk);
    return true;
}

static void test_heap(void)
{
    static struct live live[LIVE_MAX];
    struct heap heap;
    heap_init(&heap);
    CHECK(heap_allocate(&heap, 1, 1) == nullptr);
    heap.grow = grow;
    for (uint32_t round = 0; round < 60000; round++) {
        struct live *l = &live[random_next() % LIVE_MAX];
        if (l->pointer != nullptr) {
            if (!is_intact(l)) {
                CHECK(!"contents survive");
                return;
            }
            if (random_next() % 4 == 0) {
                size_t size = 1 + random_next() % 6000;
                uint8_t *moved = heap_resize(&heap, l->pointer, size);
                if (moved != nullptr) {
                    struct live kept = {moved, size < l->size ? size : l->size, l->fill};
                    if (!is_intact(&kept)) {
                        CHECK(!"resize keeps contents");
                        return;
                    }
                    memset(moved, l->fill, size);
                    *l = (struct live){moved, size, l->fill};
                }
                continue;
            }
            heap_release(&heap, l->pointer);
            l->pointer = nullptr;
            continue;
        }
        size_t size = 1 + (random_next() % 3 == 0 ? random_next() % 20000 : random_next() % 300);
        size_t alignment = random_next() % 5 == 0 ? (size_t)1 << random_next() % 13 : 16;
        *l = (struct live){heap_allocate(&heap, size, alignment), size, (uint8_t)round};
        if (l->pointer != nullptr) {
            if (!is_aligned((uintptr_t)l->pointer, alignment) || heap_block_size(l->pointer) < size) {
                CHECK(!"aligned and large enough");
                return;
            }
            memset(l->pointer, l->fill, size);
        }
    }
    for (uint32_t i = 0; i < LIVE_MAX; i++) {
        heap_release(&heap, live[i].pointer);
    }
    CHECK(heap.used == 0);
    CHECK(grow_count > 0 && grow_count < ARRAY_LENGTH(grown));
    /* All neighbours were joined: as many free blocks as regions. */
    uint32_t lists = 0;
    for (uint32_t i = 0; i < HEAP_FIRST_COUNT; i++) {
        lists += (uint32_t)__builtin_popcount(heap.second_map[i]);
    }
    CHECK(lists <= grow_count);
    for (uint32_t i = 0; i < grow_count; i++) {
        free(grown[i]);
    }
}

static uint32_t damage_count;
static void on_damage(struct heap *, void *)
{
    damage_count++;
    printf("heap: damage found, as expected\n");
    exit(check_result());
}

static void test_arena(void)
{
    static uint8_t memory[1000];
    struct arena arena;
    arena_init(&arena, memory, sizeof(memory));
    uint8_t *first = arena_allocate(&arena, 10, 1);
    CHECK(first == memory);
    uint8_t *second = arena_allocate(&arena, 100, 64);
    CHECK(second != nullptr && is_aligned((uintptr_t)second, 64));
    size_t mark = arena_mark(&arena);
    uint8_t *third = allocator_allocate(&arena.allocator, 100);
    allocator_release(&arena.allocator, third, 100);
    CHECK(allocator_allocate(&arena.allocator, 50) == third);
    CHECK(arena_allocate(&arena, 1000, 1) == nullptr);
    CHECK(arena_allocate(&arena, SIZE_MAX, 1) == nullptr);
    arena_reset(&arena, mark);
    CHECK(arena_mark(&arena) == mark);
}

static void test_pool(void)
{
    static uint8_t memory[64 * 1024];
    struct arena arena;
    arena_init(&arena, memory, sizeof(memory));
    struct pool pool;
    pool_init(&pool, &arena.allocator, 24, 8, 10, 100);
    static void *objects[100];
    for (uint32_t i = 0; i < 100; i++) {
        objects[i] = pool_get(&pool);
        CHECK(objects[i] != nullptr);
        if (objects[i] != nullptr) {
            memset(objects[i], (int)i, 24);
        }
    }
    CHECK(pool_get(&pool) == nullptr);
    bool is_whole = true;
    for (uint32_t i = 0; i < 100; i++) {
        is_whole &= ((uint8_t *)objects[i])[0] == i && ((uint8_t *)objects[i])[23] == i;
    }
    CHECK(is_whole);
    pool_put(&pool, objects[3]);
    CHECK(pool_get(&pool) == objects[3]);
    for (uint32_t i = 0; i < 99; i++) {
        pool_put(&pool, objects[i]);
    }
    CHECK(pool_destroy(&pool) == 1);
    pool_init(&pool, &arena.allocator, SIZE_MAX / 4, 8, 10, 100);
    CHECK(pool_get(&pool) == nullptr);
}

int main(void)
{
    test_heap();
    test_arena();
    test_pool();
    /* Last: a double release must be noticed, and does not return. */
    static uint8_t memory[4096];
    struct heap heap;
    heap_init(&heap);
    heap_add_region(&heap, memory, sizeof(memory));
    heap.damaged = on_damage;
    void *pointer = heap_allocate(&heap, 100, 16);
    heap_release(&heap, pointer);
    heap_release(&heap, pointer);
    CHECK(!"a double release is found");
    return check_result();
}
