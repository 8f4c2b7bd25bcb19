/* Futexes: two threads of one process, each waits for the other's word. */
#include "bench.h"
#include <std/memory.h>
#include <std/program.h>
#include <std/thread.h>
#include <std/time.h>
#include <stdatomic.h>
#include <tess/stub/vspace.h>

static _Atomic uint32_t ping, pong;

static void wait_for(_Atomic uint32_t *word, uint32_t old)
{
    while (atomic_load_explicit(word, memory_order_acquire) == old) {
        status_t status = tess_vspace_futex_wait(std_self.vspace, (uint64_t)word, old, UINT32_MAX, DEADLINE_INFINITE);
        bench_must(status == ERROR_WOULD_BLOCK ? OK : status, "futex_wait");
    }
}

static void wake_one(_Atomic uint32_t *word)
{
    uint32_t woken;
    atomic_fetch_add_explicit(word, 1, memory_order_release);
    bench_must(tess_vspace_futex_wake(std_self.vspace, (uint64_t)word, 1, UINT32_MAX, &woken), "futex_wake");
}

static void answers(void *)
{
    for (uint32_t seen = 0;; seen++) {
        wait_for(&ping, seen);
        wake_one(&pong);
    }
}

static void futex_prepare(void)
{
    static struct std_thread thread;
    bench_must(std_thread_start(&thread, answers, nullptr, 0), "a thread");
}

static void futex_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t seen = atomic_load_explicit(&pong, memory_order_relaxed);
        wake_one(&ping);
        wait_for(&pong, seen);
    }
}

const struct bench bench_futex_wake = {.name = "futex_wake", .count = 200, .prepare = futex_prepare, .run = futex_run};
