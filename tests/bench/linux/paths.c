/* The work of ../bench.c: the same names, counts and batches; what Linux has for it. */
#include "system.h"

constexpr uint32_t BATCHES = 15, FAULT_PAGES = 256;

static void null_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        call3(SYS_GETPPID, 0, 0, 0);
}

/* ---- Two processes, two pipes, 32 bytes each way; each word comes back one larger ---- */

void echo_start(int to_server[2], int from_server[2], long *out_process)
{
    must(call3(SYS_PIPE2, (long)to_server, 0, 0), "pipe2");
    must(call3(SYS_PIPE2, (long)from_server, 0, 0), "pipe2");
    *out_process = process_fork();
    if (*out_process != 0)
        return;
    uint64_t words[4];
    for (;;) {
        if (call3(SYS_READ, to_server[0], (long)words, sizeof(words)) != sizeof(words))
            leave(1);
        for (uint32_t i = 0; i < 4; i++)
            words[i]++;
        if (call3(SYS_WRITE, from_server[1], (long)words, sizeof(words)) != sizeof(words))
            leave(1);
    }
}

void echo_call(const int to_server[2], const int from_server[2], uint64_t words[4])
{
    must(call3(SYS_WRITE, to_server[1], (long)words, 32), "write");
    must(call3(SYS_READ, from_server[0], (long)words, 32), "read");
}

static int echo_to[2], echo_from[2];
static long echo_process;

static void echo_prepare(void) { echo_start(echo_to, echo_from, &echo_process); }

static void echo_run(uint32_t count)
{
    uint64_t words[4] = {1, 20, 300, 4000};
    for (uint32_t i = 0; i < count; i++)
        echo_call(echo_to, echo_from, words);
    if (words[0] != 1 + count || words[3] != 4000 + count)
        must(-1, "the echo came back wrong");
}

/* ---- Two processes, two eventfds ---- */

static int ping, pong;
static long wake_process;

static void wake_prepare(void)
{
    ping = (int)must(call3(SYS_EVENTFD2, 0, 0, 0), "eventfd");
    pong = (int)must(call3(SYS_EVENTFD2, 0, 0, 0), "eventfd");
    wake_process = process_fork();
    for (uint64_t value; wake_process == 0;)
        if (call3(SYS_READ, ping, (long)&value, 8) != 8 || call3(SYS_WRITE, pong, (long)&value, 8) != 8)
            leave(1);
}

static void wake_run(uint32_t count)
{
    for (uint64_t i = 0, sent = 1, value; i < count; i++) {
        must(call3(SYS_WRITE, ping, (long)&sent, 8), "write");
        must(call3(SYS_READ, pong, (long)&value, 8), "read");
    }
}

/* ---- Two threads of one process, a futex each way ---- */

static volatile uint32_t turn, partner;
static uint8_t partner_stack[4 * PAGE];

static void turn_pass(uint32_t to)
{
    __atomic_store_n(&turn, to, __ATOMIC_SEQ_CST);
    call6(SYS_FUTEX, (long)&turn, FUTEX_WAKE_OP | FUTEX_PRIVATE_BIT, 1, 0, 0, 0);
}

static void turn_await(uint32_t mine)
{
    uint32_t seen;
    while ((seen = __atomic_load_n(&turn, __ATOMIC_SEQ_CST)) != mine)
        call6(SYS_FUTEX, (long)&turn, FUTEX_WAIT_OP | FUTEX_PRIVATE_BIT, seen, 0, 0, 0);
}

static void partner_main(void *unused)
{
    (void)unused;
    for (;;) {
        turn_await(1);
        turn_pass(0);
    }
}

static void futex_prepare(void) { thread_start(partner_main, nullptr, partner_stack + sizeof(partner_stack), &partner); }

static void futex_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        turn_pass(1);
        turn_await(0);
    }
}

/* ---- The first touch of each page of fresh memory ---- */

static void *fault_memory;

static void fault_before(void)
{
    if (fault_memory != nullptr)
        call3(SYS_MUNMAP, (long)fault_memory, FAULT_PAGES * PAGE, 0);
    fault_memory = memory_map(FAULT_PAGES * PAGE, false);
}

static void fault_run(uint32_t count)
{
    volatile uint64_t *word = fault_memory;
    for (uint32_t i = 0; i < count; i++, word += PAGE / 8) {
        (void)*word;
        *word = i + 1;
    }
}

/* ---- Map a page that exists, read it, unmap ---- */

static int page_file;

static void page_prepare(void)
{
    page_file = (int)must(call3(SYS_MEMFD_CREATE, (long)"page", 0, 0), "memfd_create");
    must(call3(SYS_FTRUNCATE, page_file, PAGE, 0), "ftruncate");
}

static void map_unmap_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        long address = must(call6(SYS_MMAP, 0, PAGE, PROTECTION_READ_WRITE, MAP_SHARED_FLAG, page_file, 0), "mmap");
        (void)*(volatile uint64_t *)address;
        must(call3(SYS_MUNMAP, address, PAGE, 0), "munmap");
    }
}

/* ---- Thread and process, from creation to the end ---- */

static uint8_t thread_stack[4 * PAGE];
static volatile uint32_t thread_word;

static void thread_main(void *unused)
{
    (void)unused;
    leave(0);
}

static void thread_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        thread_start(thread_main, nullptr, thread_stack + sizeof(thread_stack), &thread_word);
        thread_join(&thread_word);
    }
}

static void process_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        long process = process_fork();
        if (process == 0)
            leave(0);
        process_reap(process);
    }
}

/* A parent with 1 MiB of memory of its own touched. */
static void clone_prepare(void)
{
    volatile uint8_t *memory = memory_map(256 * PAGE, false);
    for (uint64_t i = 0; i < 256 * PAGE; i += PAGE)
        memory[i] = 1;
}

static const struct bench {
    const char *name;
    uint32_t count;
    void (*prepare)(void), (*before)(void), (*run)(uint32_t count);
} benches[] = {
    {.name = "null", .count = 500, .run = null_run},
    {.name = "call_reply", .count = 200, .prepare = echo_prepare, .run = echo_run},
    {.name = "event_wake", .count = 200, .prepare = wake_prepare, .run = wake_run},
    {.name = "futex_wake", .count = 200, .prepare = futex_prepare, .run = futex_run},
    {.name = "fault", .count = FAULT_PAGES, .before = fault_before, .run = fault_run},
    {.name = "map_unmap", .count = 200, .prepare = page_prepare, .run = map_unmap_run},
    {.name = "thread", .count = 20, .run = thread_run},
    {.name = "process", .count = 10, .run = process_run},
    {.name = "process_clone", .count = 10, .prepare = clone_prepare, .run = process_run},
};

void paths_run(void)
{
    for (uint32_t b = 0; b < sizeof(benches) / sizeof(benches[0]); b++) {
        const struct bench *bench = &benches[b];
        uint64_t results[BATCHES];
        if (bench->prepare != nullptr)
            bench->prepare();
        for (uint32_t batch = 0; batch <= BATCHES; batch++) {
            if (bench->before != nullptr)
                bench->before();
            uint64_t start = now_ns();
            bench->run(bench->count);
            uint64_t cost = (now_ns() - start + bench->count - 1) / bench->count;
            if (batch == 0)
                continue; /* the first one only warms up */
            uint32_t place = batch - 1;
            for (; place > 0 && results[place - 1] > cost; place--)
                results[place] = results[place - 1];
            results[place] = cost;
        }
        say("bench: %s %u %u", bench->name, results[0], results[BATCHES / 2], 0);
    }
}
