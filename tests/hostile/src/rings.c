/* A ring whose memory is overwritten with garbage by one thread while others use it; memory exhausted; threads without end. */
#include <hostile.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

static handle_t ring, events[4], endpoint, served;
static uint64_t ring_at;
static _Atomic bool is_over;
static _Atomic uint64_t calls;

static void writes_garbage(void *)
{
    uint64_t seed = seed_of_argument() ^ 0xABCDEF;
    while (!atomic_load(&is_over)) {
        uint64_t at = random_next(&seed) % 4 != 0 ? random_next(&seed) % 8 * 4 : random_next(&seed) % (3 * STD_PAGE / 4) * 4;
        uint32_t value = (uint32_t)(random_next(&seed) % 3 == 0 ? random_next(&seed) : random_next(&seed) % 40);
        *(volatile uint32_t *)(ring_at + at) = value;
    }
}

static void uses_it(void *)
{
    uint64_t seed = seed_of_argument() ^ 0x123456;
    while (!atomic_load(&is_over)) {
        uint32_t a, b;
        status_t status = OK;
        switch (random_next(&seed) % 7) {
        case 0:
            status =
                tess_ring_watch(ring, events[random_next(&seed) % 4], random_next(&seed), random_next(&seed) % 8, random_next(&seed) % 4);
            break;
        case 1: status = tess_ring_timeout(ring, time_now_ns() + random_next(&seed) % 100'000, random_next(&seed) % 8); break;
        case 2: status = tess_ring_cancel(ring, random_next(&seed) % 8, &a); break;
        case 3: status = tess_event_set(events[random_next(&seed) % 4], random_next(&seed)); break;
        case 4: {
            struct tess_regs regs = {
                .op = OP_RING_REPLY, .handle = ring, .aux = random_next(&seed) % 4 | (1 + random_next(&seed) % 50) << 32};
            status = tess_invoke(&regs);
            break;
        }
        case 5: {
            struct tess_regs regs = {.op = op_make(INTERFACE_TEST, 1, 4, 0, 0) | (random_next(&seed) % 2 != 0 ? OP_SEND : 0),
                                     .handle = served,
                                     .aux = time_after_ns(100'000)};
            status = tess_invoke(&regs);
            break;
        }
        default:
            status = tess_ring_enter(ring, random_next(&seed) % 20, random_next(&seed) % 20, &a, &b,
                                     time_after_ns(random_next(&seed) % 100'000));
        }
        (void)status;
        atomic_fetch_add(&calls, 1);
    }
}

int32_t role_ring(void)
{
    static struct std_thread threads[4];
    handle_t memory;
    endpoint = std_handle_needed("endpoint");
    if (tess_untyped_create_memory(std_self.untyped, 3 * STD_PAGE, 0, &memory) != OK ||
        tess_vspace_map(std_self.vspace, memory, 0, 3 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &ring_at) != OK ||
        tess_untyped_create_ring(std_self.untyped, memory, 16, 16, 4, 12, 6, &ring) != OK ||
        tess_untyped_create_endpoint(std_self.untyped, &served) != OK || tess_ring_bind(ring, served, 1) != OK)
        return 1;
    for (uint32_t i = 0; i < 4; i++)
        if (tess_untyped_create_event(std_self.untyped, &events[i]) != OK)
            return 2;
    thread_start(&threads[0], writes_garbage, nullptr);
    for (uint32_t i = 1; i < 4; i++)
        thread_start(&threads[i], uses_it, nullptr);
    for (uint32_t i = 0; i < 6; i++) {
        sleep_ns(50 * NS_PER_MS);
        report_calls(endpoint, atomic_exchange(&calls, 0));
    }
    if (seed_of_argument() % 3 != 0) { /* else it ends with everything running */
        atomic_store(&is_over, true);
        sleep_ns(10 * NS_PER_MS);
    }
    return 0;
}

/* ---- Memory ---- */

static status_t make_something(uint64_t *seed, handle_t *out)
{
    static const uint8_t name[16] = "nobody";
    handle_t untyped = std_self.untyped;
    uint64_t size = (1 + random_next(seed) % 64) * STD_PAGE;
    switch (random_next(seed) % 10) {
    case 0: return tess_untyped_create_untyped(untyped, size, out);
    case 1: return tess_untyped_create_cspace(untyped, 1 + random_next(seed) % 32768, out);
    case 2: return tess_untyped_create_memory(untyped, size, MEMORY_COMMITTED, out);
    case 3: return tess_untyped_create_memory(untyped, size, MEMORY_CONTIGUOUS, out);
    case 4: return tess_untyped_create_vspace(untyped, out);
    case 5: return tess_untyped_create_process(untyped, std_self.vspace, std_self.cspace, name, out);
    case 6: return tess_untyped_create_endpoint(untyped, out);
    case 7: {
        void *pages;
        *out = HANDLE_NONE;
        return std_pages_alloc(size, &pages); /* mapped, never touched, never freed */
    }
    case 8: return std_handle_copy(std_self.thread, RIGHTS_ALL, out);
    default: return tess_untyped_create_event(untyped, out);
    }
}

int32_t role_exhaust(void)
{
    static handle_t made[200];
    uint64_t seed = seed_of_argument(), refused = 0;
    endpoint = std_handle_needed("endpoint");
    for (uint32_t i = 0; i < 6000; i++) {
        handle_t *slot = &made[random_next(&seed) % ARRAY_LENGTH(made)];
        if (*slot != HANDLE_NONE && random_next(&seed) % 3 == 0) {
            std_handle_delete(*slot);
            *slot = HANDLE_NONE;
        }
        handle_t fresh = HANDLE_NONE;
        status_t status = make_something(&seed, &fresh);
        refused += status != OK;
        if (status == OK && fresh != HANDLE_NONE) {
            std_handle_delete(*slot);
            *slot = fresh;
        }
        if (i % 500 == 499)
            report_calls(endpoint, 500);
    }
    return refused != 0 ? 0 : 1;
}

/* ---- Threads without end: each starts others, until there is no memory for one more, and then goes on trying ---- */

static void multiplies(void *)
{
    static struct std_thread spare;
    for (;;) {
        struct std_thread thread;
        status_t status = std_thread_start(&thread, multiplies, nullptr, STD_PAGE);
        (void)status;
        (void)spare;
        atomic_fetch_add(&calls, 1);
    }
}

int32_t role_bomb(void)
{
    static struct std_thread first;
    endpoint = std_handle_needed("endpoint");
    thread_start(&first, multiplies, nullptr);
    for (uint32_t i = 0; i < 4; i++) {
        sleep_ns(60 * NS_PER_MS);
        report_calls(endpoint, atomic_exchange(&calls, 0));
    }
    return 0;
}
