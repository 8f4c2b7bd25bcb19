/* A call and its reply with one handle moved between the two processes: with the call and with the reply by turns. */
#include "bench.h"
#include <std/program.h>
#include <std/time.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/untyped.h>

constexpr uint64_t MOVE_FIRST = 1ull << 24, ONE_HANDLE = 1ull << 20;

static handle_t endpoint, travelling;

static void transfer_prepare(void)
{
    bench_must(tess_untyped_create_endpoint(std_self.untyped, &endpoint), "an endpoint");
    bench_must(tess_untyped_create_event(std_self.untyped, &travelling), "an event to move");
    bench_peer_start("keep", endpoint, std_self.log);
}

static void transfer_run(uint32_t count)
{
    struct tess_message_page *page = tess_message_page();
    for (uint32_t i = 0; i < count; i++) {
        bool is_going = i % 2 == 0;
        struct tess_regs regs = {
            .op = is_going ? OP_TEST_PASS | MOVE_FIRST : OP_TEST_SECRET, .handle = endpoint, .aux = DEADLINE_INFINITE, .word = {i}};
        if (is_going) {
            page->words[MESSAGE_HANDLE_WORD] = travelling;
        }
        bench_must(tess_invoke(&regs), "call");
        bench_check(op_handles(regs.op) == (is_going ? 0 : 1), "the handle is elsewhere");
        if (!is_going) {
            travelling = page->words[MESSAGE_HANDLE_WORD];
        }
    }
    bench_must(tess_event_set(travelling, 1), "using the handle that came back");
}

const struct bench bench_call_reply_handle = {.name = "call_reply_handle", .count = 200, .prepare = transfer_prepare, .run = transfer_run};

void bench_keep_serve(handle_t from)
{
    struct tess_message_page *page = tess_message_page();
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = from, .aux = DEADLINE_INFINITE};
    handle_t kept = 0;
    for (;;) {
        bench_must(tess_invoke(&regs), "receiving");
        regs.op = OP_ENDPOINT_REPLY_RECEIVE; /* status OK */
        if (kept == 0) {
            kept = page->words[MESSAGE_HANDLE_WORD];
        } else {
            page->words[MESSAGE_HANDLE_WORD] = kept;
            kept = 0;
            regs.op |= ONE_HANDLE | MOVE_FIRST;
        }
        regs.handle = from;
        regs.aux = DEADLINE_INFINITE;
    }
}
