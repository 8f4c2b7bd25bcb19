/* Two processes: a call answered by an echo server, and two events that go to and fro. */
#include "bench.h"
#include <std/memory.h>
#include <std/program.h>
#include <std/spawn.h>
#include <std/time.h>
#include <tess/cpio.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/clock.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/test.h>
#include <tess/stub/untyped.h>
#include <tess/util.h>

constexpr uint64_t PEER_BYTES = 4 << 20;

handle_t bench_peer_start(const char *name, handle_t first, handle_t second)
{
    static const void *image;
    static uint64_t image_size;
    static handle_t clock_memory;
    handle_t memory = std_handle_needed("image"), untyped;
    if (image == nullptr) {
        uint64_t committed;
        uint32_t flags, is_device;
        void *address;
        bench_must(tess_memory_info(memory, &image_size, &committed, &flags, &is_device), "the boot image's size");
        bench_must(std_map(memory, 0, image_size, MAP_READ, &address), "mapping the boot image");
        image = address;
        bench_must(tess_clock_page(std_handle_needed("clock"), &clock_memory), "the clock's page");
    }
    struct cpio_file file;
    bench_must(cpio_find(image, image_size, "bin/init", &file), "finding bin/init");
    bench_must(tess_untyped_create_untyped(std_self.untyped, PEER_BYTES, &untyped), "memory for a peer");
    const struct spawn_handle handles[] = {{.name = "first", .handle = first, .rights = RIGHTS_ALL},
                                           {.name = "second", .handle = second, .rights = RIGHTS_ALL},
                                           {.name = "log", .handle = std_self.log, .rights = RIGHTS_ALL},
                                           {.name = "machine", .handle = std_handle_needed("machine"), .rights = RIGHTS_ALL}};
    const struct spawn_args args = {.name = name,
                                    .file = file.data,
                                    .file_size = file.size,
                                    .file_memory = memory,
                                    .file_offset = file.offset,
                                    .untyped = untyped,
                                    .clock_memory = clock_memory,
                                    .args = &name,
                                    .arg_count = 1,
                                    .handles = handles,
                                    .handle_count = ARRAY_LENGTH(handles)};
    struct spawned peer;
    bench_must(process_spawn(&args, &peer), "starting a peer");
    process_drop(&peer);
    return untyped;
}

/* ---- Call and reply, 32 bytes each way ---- */

static handle_t echo_endpoint;

static void echo_prepare(void)
{
    bench_must(tess_untyped_create_endpoint(std_self.untyped, &echo_endpoint), "an endpoint");
    bench_peer_start("echo", echo_endpoint, std_self.log);
}

/* Each word comes back one larger. */
static void echo_run(uint32_t count)
{
    uint64_t a = 1, b = 20, c = 300, d = 4000;
    for (uint32_t i = 0; i < count; i++) {
        bench_must(tess_test_echo(echo_endpoint, a, b, c, d, &a, &b, &c, &d, DEADLINE_INFINITE), "echo");
    }
    bench_check(a == 1 + count && b == 20 + count && c == 300 + count && d == 4000 + count, "the echo came back wrong");
}

const struct bench bench_call_reply = {.name = "call_reply", .count = 200, .prepare = echo_prepare, .run = echo_run};

[[noreturn]] static void echo_serve(handle_t endpoint)
{
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = DEADLINE_INFINITE};
    for (;;) {
        bench_must(tess_invoke(&regs), "receiving");
        bench_check((uint32_t)regs.op == OP_TEST_ECHO, "an unknown message");
        for (uint32_t i = 0; i < ARRAY_LENGTH(regs.word); i++) {
            regs.word[i]++;
        }
        regs.op = OP_ENDPOINT_REPLY_RECEIVE | (uint64_t)ARRAY_LENGTH(regs.word) << 16; /* status OK, 4 words */
        regs.handle = endpoint;
        regs.aux = DEADLINE_INFINITE;
    }
}

/* ---- Events ---- */

static handle_t ping, pong;

static void wake_prepare(void)
{
    bench_must(tess_untyped_create_event(std_self.untyped, &ping), "an event");
    bench_must(tess_untyped_create_event(std_self.untyped, &pong), "an event");
    bench_peer_start("wake", ping, pong);
}

static void wake_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bits, sent = 1ull << i % 64;
        bench_must(tess_event_set(ping, sent), "event.set");
        bench_must(tess_event_wait(pong, UINT64_MAX, &bits, DEADLINE_INFINITE), "event.wait");
        bench_check(bits == sent, "other bits came back");
    }
}

const struct bench bench_event_wake = {.name = "event_wake", .count = 200, .prepare = wake_prepare, .run = wake_run};

[[noreturn]] static void wake_serve(handle_t from, handle_t to)
{
    for (;;) {
        uint64_t bits;
        bench_must(tess_event_wait(from, UINT64_MAX, &bits, DEADLINE_INFINITE), "event.wait");
        bench_must(tess_event_set(to, bits), "event.set");
    }
}

bool bench_peer_run(const char *name)
{
    if (strcmp(name, "crowd") == 0) {
        bench_latency_crowd(std_handle_needed("first"));
    }
    if (strcmp(name, "echo") == 0) {
        echo_serve(std_handle_needed("first"));
    }
    if (strcmp(name, "keep") == 0) {
        bench_keep_serve(std_handle_needed("first"));
    }
    if (strcmp(name, "wake") == 0) {
        wake_serve(std_handle_needed("first"), std_handle_needed("second"));
    }
    return bench_scale_work(name);
}
