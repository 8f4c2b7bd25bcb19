/*
 * How the kernel's paths scale: independent processes, one on each CPU, do the same for WINDOW_NS; how often, all together, counts.
 * Nothing of theirs is shared but the page they report on. linux/scale.c is the same on Linux; tools/compare runs both.
 */
#include "bench.h"
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <stdatomic.h>
#include <stddef.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/system.h>
#include <tess/stub/test.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint64_t WINDOW_NS = 500'000'000;
constexpr uint32_t WORKERS_MAX = 8, STEPS = 64; /* operations between two looks at the clock */

struct shared {
    _Atomic uint32_t claimed, ready, ended; /* workers: have an index, are warm, have reported */
    _Atomic uint64_t end_ns;                /* 0: not yet */
    struct {
        alignas(64) uint64_t operations;
    } done[WORKERS_MAX];
};
static_assert(sizeof(struct shared) <= STD_PAGE);

/* ---- What is done; STEPS times ---- */

static handle_t second; /* what the worker was given: an endpoint, or nothing */

static void faults(void)
{
    struct std_mapping memory;
    bench_must(std_mapping_create(STEPS * STD_PAGE, 0, &memory), "memory to touch");
    for (uint32_t i = 0; i < STEPS; i++)
        *(volatile uint8_t *)((uint8_t *)memory.address + i * STD_PAGE) = 1;
    std_mapping_destroy(&memory);
}

static void maps(void)
{
    static struct std_mapping page;
    if (page.address == nullptr) {
        bench_must(std_mapping_create(STD_PAGE, 0, &page), "a page to map");
        *(volatile uint8_t *)page.address = 1;
    }
    for (uint32_t i = 0; i < STEPS; i++) {
        uint64_t address;
        bench_must(tess_vspace_map(std_self.vspace, page.memory, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &address), "map");
        bench_check(*(volatile uint8_t *)address == 1, "the mapped page shows something else");
        bench_must(tess_vspace_unmap(std_self.vspace, address, STD_PAGE), "unmap");
    }
}

static void calls(void)
{
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (uint32_t i = 0; i < STEPS; i++)
        bench_must(tess_test_echo(second, a, b, c, d, &a, &b, &c, &d, DEADLINE_INFINITE), "echo");
    bench_check(a == STEPS && d == STEPS, "the echo came back wrong");
}

static const struct work {
    const char *name, *role; /* of the line printed; of the worker's process */
    void (*fn)(void);
} works[] = {{"fault", "scale-fault", faults}, {"call_reply", "scale-call", calls}, {"map_unmap", "scale-map", maps}};

bool bench_scale_work(const char *role)
{
    const struct work *work = nullptr;
    for (uint32_t i = 0; i < ARRAY_LENGTH(works); i++)
        if (strcmp(role, works[i].role) == 0)
            work = &works[i];
    if (work == nullptr)
        return false;
    void *address;
    bench_must(std_map(std_handle_needed("first"), 0, STD_PAGE, MAP_READ | MAP_WRITE, &address), "mapping the shared page");
    second = std_handle_needed("second");
    struct shared *shared = address;
    uint32_t index = atomic_fetch_add(&shared->claimed, 1);
    bench_must(tess_thread_set_affinity(std_self.thread, 1ull << index), "thread.set_affinity");
    work->fn();
    atomic_fetch_add(&shared->ready, 1);
    uint64_t end_ns, operations = 0;
    while ((end_ns = atomic_load(&shared->end_ns)) == 0)
        bench_must(tess_thread_yield(std_self.thread), "thread.yield");
    for (; time_now_ns() < end_ns; operations += STEPS)
        work->fn();
    shared->done[index].operations = operations;
    atomic_fetch_add(&shared->ended, 1);
    return true;
}

/* ---- Who starts them ---- */

static void wait_for(const _Atomic uint32_t *counter, uint32_t value)
{
    while (atomic_load(counter) != value)
        (void)tess_thread_sleep(std_self.thread, time_after_ns(1'000'000)); /* TIMED_OUT is its normal end */
}

/* ---- Which locks were found held: what is shared on a path shows here, whatever the clock says ---- */

constexpr uint32_t LOCKS_MAX = 512, LOCKS_SHOWN = 4;
static uint64_t contended[LOCKS_MAX];

static void locks_clear(void)
{
    struct tess_lock_info info;
    for (uint32_t i = 0; i < LOCKS_MAX && tess_system_lock(std_handle_needed("system"), i, (uint64_t)&info) == OK; i++)
        contended[i] = info.contended;
}

/* Says which were found held most often since locks_clear(). */
static void locks_report(const char *name, uint32_t workers)
{
    struct tess_lock_info info;
    struct {
        uint64_t count;
        char name[sizeof(info.name)];
    } top[LOCKS_SHOWN] = {};
    uint64_t sum = 0;
    for (uint32_t i = 0; i < LOCKS_MAX && tess_system_lock(std_handle_needed("system"), i, (uint64_t)&info) == OK; i++) {
        uint64_t count = info.contended - contended[i];
        sum += count;
        uint32_t place = LOCKS_SHOWN;
        while (place > 0 && count > top[place - 1].count)
            place--;
        if (place == LOCKS_SHOWN)
            continue;
        memmove(&top[place + 1], &top[place], (LOCKS_SHOWN - 1 - place) * sizeof(top[0]));
        top[place].count = count;
        memcpy(top[place].name, info.name, sizeof(info.name));
    }
    log_info("locks: %s %u %lu", name, workers, (unsigned long)sum);
    for (uint32_t i = 0; i < LOCKS_SHOWN && top[i].count != 0; i++)
        log_info("locks:   %lu at %s", (unsigned long)top[i].count, top[i].name);
}

static void measure(const struct work *work, uint32_t workers)
{
    struct std_mapping page;
    handle_t peers[2 * WORKERS_MAX];
    uint32_t peer_count = 0;
    bench_must(std_mapping_create(STD_PAGE, MEMORY_COMMITTED, &page), "a page to share");
    struct shared *shared = page.address;
    for (uint32_t i = 0; i < workers; i++) {
        handle_t endpoint;
        bench_must(tess_untyped_create_endpoint(std_self.untyped, &endpoint), "an endpoint");
        if (work->fn == calls)
            peers[peer_count++] = bench_peer_start("echo", endpoint, std_self.log);
        peers[peer_count++] = bench_peer_start(work->role, page.memory, endpoint);
        std_handle_delete(endpoint);
    }
    wait_for(&shared->ready, workers);
    locks_clear();
    atomic_store(&shared->end_ns, time_now_ns() + WINDOW_NS);
    wait_for(&shared->ended, workers);
    locks_report(work->name, workers);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < workers; i++)
        sum += shared->done[i].operations;
    while (peer_count > 0) {
        bench_must(tess_cspace_destroy(std_self.cspace, peers[--peer_count]), "ending a peer");
        std_handle_delete(peers[peer_count]);
    }
    std_mapping_destroy(&page);
    log_info("scale: %s %u %lu", work->name, workers, (unsigned long)(sum * (NS_PER_S / WINDOW_NS)));
}

void bench_scale_run(uint32_t cpus)
{
    for (uint32_t workers = 1; workers <= cpus && workers <= WORKERS_MAX; workers *= 2)
        for (uint32_t i = 0; i < ARRAY_LENGTH(works); i++)
            measure(&works[i], workers);
}
