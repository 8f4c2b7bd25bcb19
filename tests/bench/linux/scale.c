/* The work of ../scale.c: independent processes, one on each CPU, do the same for WINDOW_NS; how often, all together, counts. */
#include "system.h"

constexpr uint64_t WINDOW_NS = 500'000'000;
constexpr uint32_t WORKERS_MAX = 8, PAGES = 64;

static struct shared {
    volatile uint32_t ready;
    volatile uint64_t end_ns; /* 0: not yet */
    volatile uint64_t done[WORKERS_MAX][8];
} *shared;

static void faults(void)
{
    volatile uint8_t *memory = memory_map(PAGES * PAGE, false);
    for (uint32_t i = 0; i < PAGES; i++)
        memory[i * PAGE] = 1;
    call3(SYS_MUNMAP, (long)memory, PAGES * PAGE, 0);
}

static int page_file;

static void maps(void)
{
    for (uint32_t i = 0; i < PAGES; i++) {
        long address = must(call6(SYS_MMAP, 0, PAGE, PROTECTION_READ_WRITE, MAP_SHARED_FLAG, page_file, 0), "mmap");
        (void)*(volatile uint64_t *)address;
        call3(SYS_MUNMAP, address, PAGE, 0);
    }
}

static int to_server[2], from_server[2];

static void calls(void)
{
    uint64_t words[4] = {};
    for (uint32_t i = 0; i < PAGES; i++)
        echo_call(to_server, from_server, words);
}

static void worker(uint32_t index, void (*work)(void))
{
    cpu_pin(index);
    long server = 0;
    if (work == calls)
        echo_start(to_server, from_server, &server); /* on this CPU too */
    if (work == maps) {
        page_file = (int)must(call3(SYS_MEMFD_CREATE, (long)"page", 0, 0), "memfd_create");
        must(call3(SYS_FTRUNCATE, page_file, PAGE, 0), "ftruncate");
    }
    work();
    __atomic_fetch_add(&shared->ready, 1, __ATOMIC_SEQ_CST);
    while (shared->end_ns == 0)
        call3(SYS_SCHED_YIELD, 0, 0, 0);
    uint64_t done = 0;
    for (; now_ns() < shared->end_ns; done += PAGES)
        work();
    shared->done[index][0] = done;
    if (server != 0) {
        call3(SYS_KILL, server, SIGNAL_KILL, 0);
        process_reap(server);
    }
    leave(0);
}

static void measure(const char *name, void (*work)(void), uint32_t workers)
{
    shared->ready = 0;
    shared->end_ns = 0;
    long processes[WORKERS_MAX];
    for (uint32_t i = 0; i < workers; i++) {
        shared->done[i][0] = 0;
        processes[i] = process_fork();
        if (processes[i] == 0)
            worker(i, work);
    }
    while (shared->ready != workers)
        call3(SYS_SCHED_YIELD, 0, 0, 0);
    shared->end_ns = now_ns() + WINDOW_NS;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < workers; i++) {
        process_reap(processes[i]);
        sum += shared->done[i][0];
    }
    say("scale: %s %u %u", name, workers, sum * (1'000'000'000 / WINDOW_NS), 0);
}

void scale_run(uint32_t cpus)
{
    shared = memory_map(PAGE, true);
    for (uint32_t workers = 1; workers <= cpus; workers *= 2) {
        measure("fault", faults, workers);
        measure("call_reply", calls, workers);
        measure("map_unmap", maps, workers);
    }
}
