/*
 * What the kernel's paths cost, in instructions. Meant for one CPU under QEMU's -icount shift=0: there one instruction takes one
 * nanosecond of the guest's clock, so that time is a count, the same in every run. Each benchmark runs once to warm up, then in
 * BATCHES batches; per repetition the least and the median batch are printed as "bench: NAME MINIMUM MEDIAN" in the log. What is
 * measured is all a user pays: the stub, the loop around it, and the kernel. Afterwards nothing may be left over in memory.
 */
#include "bench.h"
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/machine.h>
#include <tess/stub/system.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint32_t BATCHES = 15;
constexpr uint32_t FAULT_PAGES = 256;

static handle_t system_handle;

[[noreturn]] static void power(uint32_t how)
{
    bench_must(tess_machine_power(std_handle_needed("machine"), how), "switching off");
    std_abort("still running without power");
}

void bench_check(bool is_right, const char *what)
{
    if (!is_right) {
        log_error("bench: failed: %s", what);
        power(POWER_FAIL);
    }
}

void bench_must(status_t status, const char *what)
{
    if (status != OK) {
        log_error("bench: failed: %s: %s", what, status_name(status));
        power(POWER_FAIL);
    }
}

/* ---- Kernel call ---- */

static void null_run(uint32_t count)
{
    status_t status = OK;
    for (uint32_t i = 0; i < count; i++) {
        status |= tess_system_null(system_handle);
    }
    bench_must(status, "null");
}

static const struct bench null_bench = {.name = "null", .count = 500, .run = null_run};

/* ---- Fault: the first touch of each page of fresh memory, with its share of new page tables ---- */

static struct std_mapping fault_mapping;

static void fault_before(void)
{
    std_mapping_destroy(&fault_mapping);
    bench_must(std_mapping_create(FAULT_PAGES * STD_PAGE, 0, &fault_mapping), "memory to touch");
}

static void fault_run(uint32_t count)
{
    volatile uint64_t *word = fault_mapping.address;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < count; i++) {
        seen |= *word;
        *word = i + 1;
        word += STD_PAGE / sizeof(*word);
    }
    bench_check(seen == 0, "a fresh page was not zero");
}

static const struct bench fault_bench = {.name = "fault", .count = FAULT_PAGES, .before = fault_before, .run = fault_run};

/* ---- Map, read once (so that there is a translation to remove), unmap ---- */

static struct std_mapping page_mapping;
constexpr uint64_t PAGE_CONTENT = 0x1234567890ABCDEF;

static void page_prepare(void)
{
    std_mapping_destroy(&fault_mapping);
    bench_must(std_mapping_create(STD_PAGE, 0, &page_mapping), "a page to map");
    *(volatile uint64_t *)page_mapping.address = PAGE_CONTENT;
}

static void map_unmap_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t address;
        status_t status = tess_vspace_map(std_self.vspace, page_mapping.memory, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &address);
        bench_must(status, "map");
        bench_check(*(volatile uint64_t *)address == PAGE_CONTENT, "the mapped page shows something else");
        bench_must(tess_vspace_unmap(std_self.vspace, address, STD_PAGE), "unmap");
    }
}

static const struct bench map_unmap_bench = {.name = "map_unmap", .count = 200, .prepare = page_prepare, .run = map_unmap_run};

/* ---- Handles ---- */

static void mint_delete_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        handle_t minted;
        bench_must(tess_cspace_mint(std_self.cspace, page_mapping.memory, RIGHT_COPY, 0, &minted), "mint");
        bench_check(minted != page_mapping.memory, "mint gave the source");
        bench_must(tess_cspace_delete(std_self.cspace, minted), "delete");
    }
}

static const struct bench mint_delete_bench = {.name = "mint_delete", .count = 200, .run = mint_delete_run};

/* ---- All of them ---- */

/* process_clone early: what the others map would be cloned too. */
static const struct bench *const benches[] = {&null_bench,       &bench_process_clone, &bench_call_reply,  &bench_call_reply_handle,
                                              &bench_event_wake, &bench_futex_wake,    &bench_ring_nop,    &bench_ring_null,
                                              &fault_bench,      &map_unmap_bench,     &mint_delete_bench, &bench_thread,
                                              &bench_process,    &bench_upcall};

static uint64_t used_pages(void)
{
    uint64_t limit, used, objects;
    bench_must(tess_untyped_info(std_self.untyped, &limit, &used, &objects), "untyped.info");
    return used;
}

static void measure(const struct bench *bench)
{
    uint64_t results[BATCHES];
    if (bench->prepare != nullptr) {
        bench->prepare();
    }
    uint64_t used_before = 0;
    for (uint32_t batch = 0; batch <= BATCHES; batch++) {
        if (bench->before != nullptr) {
            bench->before();
        }
        uint64_t start = time_now_ns();
        bench->run(bench->count);
        uint64_t cost = (time_now_ns() - start + bench->count - 1) / bench->count;
        if (batch == 0) {
            used_before = used_pages(); /* the first one only warms up */
            continue;
        }
        uint32_t place = batch - 1;
        for (; place > 0 && results[place - 1] > cost; place--) {
            results[place] = results[place - 1];
        }
        results[place] = cost;
    }
    bench_check(used_pages() == used_before, "memory is left over");
    log_info("bench: %s %lu %lu", bench->name, (unsigned long)results[0], (unsigned long)results[BATCHES / 2]);
}

/* The clock starts at the kernel's first instruction; halted time is taken off. */
static void report_boot(uint64_t now_ns)
{
    struct tess_cpu_info info;
    bench_must(tess_system_cpu(system_handle, 0, (uint64_t)&info), "system.cpu");
    unsigned long cost = (unsigned long)(now_ns - info.idle_ns);
    log_info("bench: boot_init %lu %lu", cost, cost);
}

/* The kernel's command line: "bench=scale N", "bench=latency", or nothing. */
static const char *wanted(void)
{
    static struct tess_platform platform;
    bench_must(tess_machine_platform(std_handle_needed("machine"), (uint64_t)&platform), "machine.platform");
    return platform.cmdline;
}

static bool is_prefix(const char *prefix, const char *text) { return strncmp(text, prefix, strlen(prefix)) == 0; }

int main(void)
{
    uint64_t start_ns = time_now_ns();
    const char *role = std_arg(0);
    if (role != nullptr) {
        return bench_peer_run(role) ? 0 : 1;
    }
    system_handle = std_handle_needed("system");
    static const char scale[] = "bench=scale ";
    const char *what = wanted();
    bool is_scale = is_prefix(scale, what), is_latency = is_prefix("bench=latency", what);
    if (is_scale)
        bench_scale_run((uint32_t)(what[sizeof(scale) - 1] - '0'));
    if (is_latency)
        bench_latency_run();
    if (is_scale || is_latency) {
        log_info("bench: done");
        power(POWER_OFF);
    }
    report_boot(start_ns);
    for (uint32_t i = 0; i < ARRAY_LENGTH(benches); i++) {
        measure(benches[i]);
    }
    log_info("bench: done");
    power(POWER_OFF);
}
