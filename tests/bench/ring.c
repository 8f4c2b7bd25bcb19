/* A ring: 64 submissions and their completions in one enter, per operation: filling the entry, the kernel, reading the completion. */
#include "bench.h"
#include <std/program.h>
#include <std/ring.h>
#include <tess/stub/system.h>

constexpr uint32_t BATCH = 64;

static struct std_ring ring;
static handle_t system_handle;

static void ring_prepare(void)
{
    const struct std_ring_sizes sizes = {.sq_entries = BATCH, .cq_entries = BATCH};
    if (ring.handle == HANDLE_NONE) {
        bench_must(std_ring_open(&ring, &sizes), "a ring");
        system_handle = std_handle_needed("system");
    }
}

static void submit(uint32_t count, uint64_t op, handle_t handle)
{
    for (uint32_t done = 0; done < count; done += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            struct tess_submission *entry = std_ring_next(&ring);
            if (entry == nullptr) {
                bench_check(false, "no entry is free");
                return;
            }
            entry->op = op;
            entry->cookie = i;
            entry->handle = handle;
            std_ring_push(&ring);
        }
        bench_must(std_ring_enter(&ring, BATCH, DEADLINE_INFINITE), "ring.enter");
        for (uint32_t i = 0; i < BATCH; i++) {
            const struct tess_completion *seen = std_ring_peek(&ring);
            bench_check(seen != nullptr && seen->status == OK && seen->cookie == i, "another completion came");
            std_ring_seen(&ring);
        }
    }
}

static void nop_run(uint32_t count) { submit(count, 0, HANDLE_NONE); }

static void null_run(uint32_t count) { submit(count, OP_SYSTEM_NULL, system_handle); }

const struct bench bench_ring_nop = {.name = "ring_nop", .count = 2 * BATCH, .prepare = ring_prepare, .run = nop_run};
const struct bench bench_ring_null = {.name = "ring_null", .count = 2 * BATCH, .prepare = ring_prepare, .run = null_run};
