/* untyped: quotas that nest, exact accounts, destruction with everything inside alive. */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

struct info {
    uint64_t limit, used, objects;
};

static struct info info_of(handle_t untyped)
{
    struct info info = {};
    EXPECT_OK(tess_untyped_info(untyped, &info.limit, &info.used, &info.objects));
    return info;
}

static void wait_used(handle_t untyped, uint64_t pages)
{
    uint64_t end = patience();
    while (info_of(untyped).used != pages && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    EXPECT_EQUAL(info_of(untyped).used, pages);
}

static void quota(void)
{
    handle_t outer, inner, out;
    EXPECT_STATUS(tess_untyped_create_untyped(std_self.untyped, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_untyped(std_self.untyped, ~0ull, &out), ERROR_NO_MEMORY);
    EXPECT_STATUS(tess_untyped_create_untyped(std_self.untyped, 1ull << 63, &out), ERROR_NO_MEMORY);
    if (!EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 10 * STD_PAGE + 1, &outer)))
        return;
    EXPECT_EQUAL(info_of(outer).limit, 11);
    EXPECT_EQUAL(info_of(outer).used, 0);
    EXPECT_EQUAL(info_of(outer).objects, 0);
    EXPECT_STATUS(tess_untyped_create_untyped(outer, 12 * STD_PAGE, &out), ERROR_NO_MEMORY);
    EXPECT_STATUS(tess_untyped_create_untyped(outer, 11 * STD_PAGE, &out), ERROR_NO_MEMORY); /* its own record needs a cell, too */
    EXPECT_EQUAL(info_of(outer).used, 0);
    EXPECT_OK(tess_untyped_create_untyped(outer, 6 * STD_PAGE, &inner));
    EXPECT_EQUAL(info_of(outer).used, 7);
    EXPECT_EQUAL(info_of(outer).objects, 1);
    EXPECT_EQUAL(info_of(inner).limit, 6);
    handle_t memory;
    EXPECT_OK(tess_untyped_create_memory(inner, 4 * STD_PAGE, MEMORY_COMMITTED, &memory));
    EXPECT_EQUAL(info_of(inner).used, 5);
    EXPECT_EQUAL(info_of(outer).used, 7);
    handle_drop(memory);
    wait_used(inner, 0);
    handle_drop(inner); /* the last handle: it goes */
    wait_used(outer, 0);
    handle_destroy(outer);
}

/* An untyped with something in it stays when only its handle goes. */
static void kept_by_contents(void)
{
    handle_t outer, inner, event;
    uint64_t bits;
    if (!EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 16 * STD_PAGE, &outer)) ||
        !EXPECT_OK(tess_untyped_create_untyped(outer, 4 * STD_PAGE, &inner)) || !EXPECT_OK(tess_untyped_create_event(inner, &event)))
        return;
    handle_drop(inner);
    EXPECT_OK(tess_event_set(event, 4));
    EXPECT_OK(tess_event_read(event, &bits));
    EXPECT_EQUAL(bits, 4);
    EXPECT_EQUAL(info_of(outer).used, 5);
    handle_drop(event);
    wait_used(outer, 0);
    handle_destroy(outer);
}

static void bad_arguments(void)
{
    handle_t out, memory, vspace, cspace, process;
    static const uint8_t name[16] = "bad";
    handle_t u = std_self.untyped;
    EXPECT_STATUS(tess_untyped_create_cspace(u, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_cspace(u, 32769, &out), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_untyped_create_cspace(u, 32768, &cspace));
    EXPECT_STATUS(tess_untyped_create_memory(u, 0, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_memory(u, ~0ull, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_memory(u, (1ull << 40) + 1, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_memory(u, STD_PAGE, 32, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_memory(u, 1ull << 40, MEMORY_COMMITTED, &out), ERROR_NO_MEMORY);
    EXPECT_STATUS(tess_untyped_create_memory(u, 1ull << 40, MEMORY_CONTIGUOUS, &out), ERROR_NO_MEMORY);
    EXPECT_OK(tess_untyped_create_memory(u, 1ull << 40, 0, &memory)); /* nothing is charged until it is used */
    handle_drop(memory);
    EXPECT_OK(tess_untyped_create_memory(u, 4 * STD_PAGE, 0, &memory));
    EXPECT_OK(tess_untyped_create_vspace(u, &vspace));
    EXPECT_OK(tess_untyped_create_process(u, vspace, cspace, name, &process));
    EXPECT_STATUS(tess_untyped_create_thread(u, process, memory, 1, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_thread(u, process, memory, 4 * STD_PAGE, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_thread(u, process, memory, ~0xFFFull, 0, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_thread(u, process, memory, 0, 2, &out), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_untyped_create_thread(u, process, guest.clock_page, 0, 0, &out), ERROR_MISSING_RIGHT);
    static const uint32_t rings[][5] = {{0, 16, 1, 1},   {3, 16, 1, 1},      {1024, 16, 1, 1}, {16, 0, 1, 1},
                                        {16, 1, 1, 1},   {16, 3, 1, 1},      {16, 2048, 1, 1}, {1, 2, 257, 1},
                                        {1, 2, 1, 1025}, {1, 2, 1, 1, 1025}, {64, 128, 1, 1},  {1u << 31, 1u << 31, 1, 1}};
    for (uint32_t i = 0; i < ARRAY_LENGTH(rings); i++)
        EXPECT_STATUS(tess_untyped_create_ring(u, memory, rings[i][0], rings[i][1], rings[i][2], rings[i][3], rings[i][4], &out),
                      ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_untyped_create_ring(u, memory, 1, 2, 0, 0, 0, &out));
    handle_drop(out);
}

/* ---- Destruction with everything inside alive and in use ---- */

static void waits_for_ever(void *context)
{
    uint64_t bits;
    EXPECT_STATUS(tess_event_wait(*(handle_t *)context, 1, &bits, patience()), ERROR_PEER_DIED);
}

static void destroy_all(void)
{
    handle_t untyped, nested, deep, event, memory, vspace, endpoint;
    if (!EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 6 << 20, &untyped)))
        return;
    deep = untyped;
    for (uint32_t i = 0; i < 20; i++) { /* twenty levels deep, an event on each */
        EXPECT_OK(tess_untyped_create_untyped(deep, (4u << 20) - (i << 16), &nested));
        EXPECT_OK(tess_untyped_create_event(nested, &event));
        deep = nested;
    }
    EXPECT_OK(tess_untyped_create_event(deep, &event));
    EXPECT_OK(tess_untyped_create_memory(deep, 64 * STD_PAGE, 0, &memory));
    EXPECT_OK(tess_untyped_create_vspace(deep, &vspace));
    EXPECT_OK(tess_untyped_create_endpoint(deep, &endpoint));
    void *shown;
    EXPECT_OK(std_map(memory, 0, 64 * STD_PAGE, MAP_READ | MAP_WRITE, &shown));
    for (uint32_t i = 0; i < 64; i++)
        *(volatile uint64_t *)((uint8_t *)shown + i * STD_PAGE) = i + 1;
    struct std_thread thread;
    thread_start(&thread, waits_for_ever, &event);
    thread_wait_until_waiting(thread.thread);
    struct child child;
    handle_t own = std_self.untyped;
    std_self.untyped = deep;
    bool has_child = child_start(&child, &(struct child_args){.role = "wait"});
    std_self.untyped = own;
    handle_destroy(untyped);
    thread_join(&thread);
    EXPECT_STATUS(tess_event_set(event, 1), ERROR_STALE_HANDLE);
    EXPECT_STATUS(tess_untyped_create_event(deep, &event), ERROR_STALE_HANDLE);
    EXPECT_EQUAL(*(volatile uint64_t *)shown, 0); /* its memory is gone: scratch */
    if (has_child) {
        uint32_t used, limit;
        EXPECT_STATUS(tess_cspace_info(child.spawned.cspace, &used, &limit), ERROR_STALE_HANDLE);
    }
    std_unmap(shown, 64 * STD_PAGE);
}

/* Making objects from an untyped while it is destroyed: each attempt works, or says that it is gone. */
struct race {
    handle_t untyped;
    _Atomic bool is_over;
    _Atomic uint64_t made;
};

static void makes_objects(void *context)
{
    struct race *race = context;
    while (!atomic_load(&race->is_over)) {
        handle_t out;
        status_t status = tess_untyped_create_event(race->untyped, &out);
        if (status == OK) {
            atomic_fetch_add(&race->made, 1);
            status = tess_cspace_delete(std_self.cspace, out);
        }
        EXPECT(status == OK || status == ERROR_STALE_HANDLE || status == ERROR_NO_MEMORY || status == ERROR_BAD_HANDLE);
    }
}

static void destroy_while_used(void)
{
    for (uint32_t round = 0; round < 20; round++) {
        struct race race = {};
        struct std_thread threads[2];
        if (!EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 64 * STD_PAGE, &race.untyped)))
            return;
        for (uint32_t i = 0; i < 2; i++)
            thread_start(&threads[i], makes_objects, &race);
        sleep_ns(2 * NS_PER_MS);
        handle_destroy(race.untyped);
        atomic_store(&race.is_over, true);
        for (uint32_t i = 0; i < 2; i++)
            thread_join(&threads[i]);
    }
}

void untyped_tests(void)
{
    static const struct test tests[] = {
        {"untyped.quota", quota},
        {"untyped.kept_by_contents", kept_by_contents},
        {"untyped.bad_arguments", bad_arguments},
        {"untyped.destroy_all", destroy_all},
        {"untyped.destroy_while_used", destroy_while_used},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
