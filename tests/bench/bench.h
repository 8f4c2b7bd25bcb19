/* The kernel's benchmark: `init` of a boot image of its own (tools/bench). See bench.c. */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

/* One benchmark. run() does the thing `count` times and checks the results; whatever is wrong ends the benchmark (bench_must). */
struct bench {
    const char *name;
    uint32_t count;        /* per batch: enough that the counter's granularity (100 instructions on riscv64) does not matter */
    void (*prepare)(void); /* once; may be nullptr */
    void (*before)(void);  /* before each batch, not measured; may be nullptr */
    void (*run)(uint32_t count);
};

extern const struct bench bench_call_reply, bench_call_reply_handle, bench_event_wake, bench_futex_wake, bench_ring_nop, bench_ring_null,
    bench_thread, bench_process, bench_process_clone, bench_upcall;

/* Ends everything with a message unless OK. */
void bench_must(status_t status, const char *what);
void bench_check(bool is_right, const char *what);

/* Starts this same program as another process, which runs the role `name` with two handles, "first" and "second". Returns the untyped
 * it lives on, whose destruction ends it. */
handle_t bench_peer_start(const char *name, handle_t first, handle_t second);
[[noreturn]] void bench_keep_serve(handle_t from);
/* In the peer: does not return. False: no such role. */
bool bench_peer_run(const char *name);

/* Long work of every kind (latency.c), and the part of its other process. */
void bench_latency_run(void);
[[noreturn]] void bench_latency_crowd(handle_t event);

/* How the paths scale, with 1, 2, 4.. workers up to `cpus`; and a worker's part: false = no such role. */
void bench_scale_run(uint32_t cpus);
bool bench_scale_work(const char *role);
