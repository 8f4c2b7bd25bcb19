/* Submitted operations that wait: methods that block, futexes, calls; deadlines, linked timeouts, cancel; the end of either side. */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/process.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

static struct std_ring ring;

static bool open_ring(uint32_t cq, uint32_t operations)
{
    struct std_ring_sizes sizes = {.sq_entries = 16, .cq_entries = cq, .watch_slots = 2, .operation_slots = operations};
    return EXPECT_OK(std_ring_open(&ring, &sizes));
}

static struct tess_completion take(void)
{
    struct tess_completion completion = {};
    EXPECT_OK(std_ring_wait(&ring, &completion, patience()));
    return completion;
}

static struct tess_completion take_result(uint64_t cookie, status_t status)
{
    struct tess_completion completion = take();
    EXPECT_EQUAL(completion.kind, COMPLETION_RESULT);
    EXPECT_EQUAL(completion.cookie, cookie);
    EXPECT_STATUS(completion.status, status);
    return completion;
}

static void expect_none(void)
{
    struct tess_completion completion;
    EXPECT_STATUS(std_ring_wait(&ring, &completion, time_after_ns(2 * NS_PER_MS)), ERROR_TIMED_OUT);
}

static void submit(uint64_t op, handle_t handle, uint64_t cookie, uint64_t deadline, uint64_t word0, uint64_t word1, uint64_t word2)
{
    struct tess_submission entry = {.op = op, .cookie = cookie, .handle = handle, .aux = deadline, .words = {word0, word1, word2}};
    EXPECT_OK(std_ring_submit(&ring, &entry));
}

static void flush(void)
{
    uint32_t submitted, available;
    EXPECT_OK(tess_ring_enter(ring.handle, ring.sq_unsent, 0, &submitted, &available, DEADLINE_NOW));
    EXPECT_EQUAL(submitted, ring.sq_unsent);
    ring.sq_unsent = 0;
}

static handle_t make_event(void)
{
    handle_t event = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    return event;
}

/* Every blocking method that can be submitted. */
static void methods_wait(void)
{
    static volatile uint32_t word;
    handle_t event = make_event();
    struct child child;
    struct child_args args = {.role = "exit", .argument = "7", .is_suspended = true};
    if (!open_ring(16, 8) || !child_start(&child, &args))
        return;
    word = 3;
    submit(OP_EVENT_WAIT, event, 1, patience(), 6, 0, 0);
    submit(OP_EVENT_WAIT, event, 2, patience(), 0, 0, 0);
    submit(OP_VSPACE_FUTEX_WAIT, std_self.vspace, 3, patience(), (uint64_t)&word, 3, 1);
    submit(OP_VSPACE_FUTEX_WAIT, std_self.vspace, 4, patience(), (uint64_t)&word, 4, 1);
    submit(OP_PROCESS_WAIT, child.spawned.process, 5, patience(), 0, 0, 0);
    submit(0, HANDLE_NONE, 7, 0, 0, 0, 0);
    flush();
    take_result(2, ERROR_BAD_ARGUMENT);
    take_result(4, ERROR_WOULD_BLOCK);
    take_result(7, OK);
    uint64_t end = time_after_ns(2 * NS_PER_MS);
    submit(OP_THREAD_SLEEP, std_self.thread, 6, end, 0, 0, 0);
    take_result(6, ERROR_TIMED_OUT);
    EXPECT(time_now_ns() >= end);
    expect_none();
    EXPECT_OK(tess_event_set(event, 12));
    EXPECT_EQUAL(take_result(1, OK).words[0], 4);
    uint64_t bits;
    EXPECT_OK(tess_event_read(event, &bits));
    EXPECT_EQUAL(bits, 8);
    uint32_t woken, moved;
    EXPECT_OK(tess_vspace_futex_wake(std_self.vspace, (uint64_t)&word, 1, 1, &woken));
    EXPECT_EQUAL(woken, 1);
    take_result(3, OK);
    EXPECT_OK(tess_process_kill(child.spawned.process, 9));
    struct tess_completion completion = take_result(5, OK);
    EXPECT_EQUAL(completion.words[0], EXIT_KILLED);
    EXPECT_EQUAL(completion.words[1], 9);
    EXPECT_EQUAL(op_words(completion.op), 2);
    /* Moved to another word, and made a lock's owner. */
    static volatile uint32_t other, owned;
    owned = 77;
    submit(OP_VSPACE_FUTEX_WAIT, std_self.vspace, 8, patience(), (uint64_t)&word, 3, 1);
    submit(OP_VSPACE_FUTEX_LOCK, std_self.vspace, 9, patience(), (uint64_t)&owned, 78, 0);
    flush();
    EXPECT_OK(tess_vspace_futex_requeue(std_self.vspace, (uint64_t)&word, 3, (uint64_t)&other, 0, 1, &woken, &moved));
    EXPECT_EQUAL(moved, 1);
    EXPECT_OK(tess_vspace_futex_wake(std_self.vspace, (uint64_t)&other, 1, 1, &woken));
    take_result(8, OK);
    EXPECT_OK(tess_vspace_futex_unlock(std_self.vspace, (uint64_t)&owned, 77, &woken));
    EXPECT_EQUAL(woken, 78);
    EXPECT_EQUAL(owned, 78);
    take_result(9, OK);
    /* The object dies. */
    submit(OP_EVENT_WAIT, event, 10, patience(), 1, 0, 0);
    flush();
    handle_destroy(event);
    take_result(10, ERROR_PEER_DIED);
    submit(OP_RING_ENTER, ring.handle, 11, patience(), 0, 0, 0);
    take_result(11, ERROR_UNKNOWN_METHOD);
    child_end(&child);
    std_ring_close(&ring);
}

static void deadlines_and_cancel(void)
{
    handle_t event = make_event();
    uint32_t count;
    if (!open_ring(4, 4))
        return;
    submit(OP_EVENT_WAIT, event, 1, DEADLINE_NOW, 1, 0, 0);
    take_result(1, ERROR_TIMED_OUT);
    submit(OP_EVENT_WAIT, event, 2, time_after_ns(NS_PER_MS), 1, 0, 0);
    take_result(2, ERROR_TIMED_OUT);
    for (uint64_t i = 0; i < 4; i++)
        submit(OP_EVENT_WAIT, event, 3 + i % 2, DEADLINE_INFINITE, 1, 0, 0);
    submit(OP_EVENT_WAIT, event, 5, DEADLINE_INFINITE, 1, 0, 0); /* one more than there are records for */
    flush();
    take_result(5, ERROR_NO_SPACE);
    EXPECT_OK(tess_ring_cancel(ring.handle, 4, &count));
    EXPECT_EQUAL(count, 2);
    take_result(4, ERROR_CANCELLED);
    take_result(4, ERROR_CANCELLED);
    EXPECT_STATUS(tess_ring_cancel(ring.handle, 4, &count), ERROR_NOT_FOUND);
    EXPECT_OK(tess_event_set(event, 1));
    take_result(3, OK);
    /* More results than entries: none is lost, and the records are free only when their results are out. */
    uint64_t seen = 0;
    for (uint64_t i = 0; i < 3; i++)
        submit(OP_EVENT_WAIT, event, 10 + i, time_after_ns(NS_PER_MS), 2, 0, 0);
    flush();
    EXPECT_OK(tess_ring_timeout(ring.handle, 1, 20));
    EXPECT_OK(tess_ring_timeout(ring.handle, 1, 21));
    sleep_ns(3 * NS_PER_MS);
    EXPECT_OK(tess_event_set(event, 1));
    for (uint32_t i = 0; i < 6; i++)
        seen |= 1ull << take().cookie;
    EXPECT_EQUAL(seen, 1 << 3 | 7 << 10 | 3 << 20);
    expect_none();
    submit(OP_EVENT_WAIT, event, 6, DEADLINE_INFINITE, 1, 0, 0); /* goes with the ring */
    flush();
    std_ring_close(&ring);
    handle_drop(event);
}

static void linked(void)
{
    handle_t event = make_event();
    if (!open_ring(4, 2))
        return;
    /* Its time comes first. */
    submit(OP_EVENT_WAIT | SUBMIT_LINK_TIMEOUT, event, 1, DEADLINE_INFINITE, 1, 0, 0);
    submit(OP_RING_TIMEOUT, HANDLE_NONE, 0, 0, time_after_ns(NS_PER_MS), 100, 0);
    struct tess_completion completion = take();
    EXPECT_EQUAL(completion.kind, COMPLETION_TIMEOUT);
    EXPECT_EQUAL(completion.cookie, 100);
    EXPECT_STATUS(completion.status, ERROR_TIMED_OUT);
    take_result(1, ERROR_TIMED_OUT);
    /* It does not. */
    submit(OP_EVENT_WAIT | SUBMIT_LINK_TIMEOUT, event, 2, DEADLINE_INFINITE, 1, 0, 0);
    submit(OP_RING_TIMEOUT, HANDLE_NONE, 0, 0, patience(), 101, 0);
    flush();
    EXPECT_OK(tess_event_set(event, 1));
    completion = take();
    EXPECT_EQUAL(completion.kind, COMPLETION_TIMEOUT);
    EXPECT_EQUAL(completion.cookie, 101);
    EXPECT_STATUS(completion.status, ERROR_CANCELLED);
    EXPECT_EQUAL(take_result(2, OK).words[0], 1);
    /* Bounded, at once; the operation's own deadline; no timeout behind it. */
    submit(OP_EVENT_READ | SUBMIT_LINK_TIMEOUT, event, 3, 0, 0, 0, 0);
    submit(OP_RING_TIMEOUT, HANDLE_NONE, 0, 0, 1, 102, 0);
    EXPECT_STATUS(take().status, ERROR_CANCELLED);
    take_result(3, OK);
    submit(OP_EVENT_WAIT | SUBMIT_LINK_TIMEOUT, event, 4, time_after_ns(NS_PER_MS), 1, 0, 0);
    submit(OP_RING_TIMEOUT, HANDLE_NONE, 0, 0, patience(), 103, 0);
    EXPECT_STATUS(take().status, ERROR_CANCELLED);
    take_result(4, ERROR_TIMED_OUT);
    submit(OP_EVENT_READ | SUBMIT_LINK_TIMEOUT, event, 5, 0, 0, 0, 0);
    take_result(5, ERROR_BAD_ARGUMENT);
    submit(OP_EVENT_READ | SUBMIT_LINK_TIMEOUT, event, 6, 0, 0, 0, 0);
    submit(OP_EVENT_READ, event, 7, 0, 0, 0, 0);
    take_result(6, ERROR_BAD_ARGUMENT);
    take_result(7, OK);
    expect_none();
    std_ring_close(&ring);
    handle_drop(event);
}

/* ---- Calls ---- */

static handle_t endpoint, client;

static void make_endpoint(void)
{
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHTS_ALL, 33, &client));
}

static void drop_endpoint(void)
{
    handle_drop(client);
    handle_drop(endpoint);
}

static void submit_call(uint64_t cookie, uint64_t deadline, uint64_t word, uint32_t flags)
{
    struct tess_submission entry = {.op = op_make(INTERFACE_TEST, 9, 12, 0, 0) | flags,
                                    .cookie = cookie,
                                    .handle = client,
                                    .aux = deadline,
                                    .words = {word, [11] = word * 3}};
    EXPECT_OK(std_ring_submit(&ring, &entry));
}

/* Answers `count` calls, each with its first word + 1, and looks at the rest of it. */
static _Atomic uint32_t served;

static void serves(void *context)
{
    uint64_t count = (uint64_t)context;
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = patience()};
    atomic_store(&served, 0);
    for (uint64_t i = 0; i < count; i++) {
        EXPECT_OK(tess_invoke(&regs));
        EXPECT_EQUAL(regs.aux, 33);
        EXPECT_EQUAL(tess_message_page()->words[11], regs.word[0] * 3);
        atomic_fetch_add(&served, 1);
        regs.op = OP_ENDPOINT_REPLY_RECEIVE | 2ull << 16;
        regs.word[0]++;
        regs.word[1] = 5;
        regs.handle = endpoint;
        regs.aux = i + 1 < count ? patience() : DEADLINE_NOW;
    }
    EXPECT_STATUS(tess_invoke(&regs), ERROR_TIMED_OUT);
}

static void calls(void)
{
    struct std_thread server;
    make_endpoint();
    if (!open_ring(16, 8))
        return;
    for (uint32_t round = 0; round < 2; round++) {
        /* Queued before there is a server; then to one that waits. */
        if (round == 1) {
            thread_start(&server, serves, (void *)5);
            thread_wait_until_waiting(server.thread);
        }
        for (uint64_t i = 0; i < 5; i++)
            submit_call(i, patience(), 10 * i, 0);
        flush();
        if (round == 0)
            thread_start(&server, serves, (void *)5);
        for (uint64_t i = 0; i < 5; i++) {
            struct tess_completion completion = take_result(i, OK); /* in their order */
            EXPECT_EQUAL(completion.words[0], 10 * i + 1);
            EXPECT_EQUAL(completion.words[1], 5);
            EXPECT_EQUAL(op_words(completion.op), 2);
        }
        thread_join(&server);
    }
    submit_call(20, DEADLINE_NOW, 1, 0);
    take_result(20, ERROR_WOULD_BLOCK);
    submit_call(21, time_after_ns(NS_PER_MS), 1, 0);
    take_result(21, ERROR_TIMED_OUT);
    submit_call(22, patience(), 1, OP_SEND);
    flush();
    expect_none();
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = patience()};
    EXPECT_OK(tess_invoke(&regs));
    take_result(22, OK);
    regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = endpoint};
    EXPECT_STATUS(tess_invoke(&regs), ERROR_NOT_FOUND);
    /* The caller gives up while the server works: it hears so when it answers, and may go on without. */
    uint32_t count;
    for (uint32_t round = 0; round < 2; round++) {
        submit_call(23, patience(), 1, 0);
        flush();
        regs = (struct tess_regs){.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = patience()};
        EXPECT_OK(tess_invoke(&regs));
        EXPECT_OK(tess_ring_cancel(ring.handle, 23, &count));
        take_result(23, ERROR_CANCELLED);
        regs = (struct tess_regs){.op = round == 0 ? OP_ENDPOINT_REPLY : OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = DEADLINE_NOW};
        EXPECT_STATUS(tess_invoke(&regs), round == 0 ? ERROR_PEER_DIED : ERROR_TIMED_OUT);
    }
    submit_call(24, patience(), 1, 0);
    flush();
    handle_destroy(endpoint);
    take_result(24, ERROR_PEER_DIED);
    submit_call(25, patience(), 1, 0);
    take_result(25, ERROR_STALE_HANDLE);
    std_ring_close(&ring);
}

/* One ring calls, another serves: all in one thread. */
static void ring_to_ring(void)
{
    struct std_ring server;
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = 4, .call_slots = 2, .watch_slots = 1};
    make_endpoint();
    if (!open_ring(16, 8) || !EXPECT_OK(std_ring_open(&server, &sizes)) || !EXPECT_OK(tess_ring_bind(server.handle, endpoint, 5)))
        return;
    struct tess_completion completion;
    struct tess_call call = {.words = {4}, .reply_words = 1};
    handle_t event = make_event(), back;
    uint32_t count;
    for (uint64_t i = 0; i < 5; i++)
        submit_call(i, patience(), i, 0);
    flush();
    for (uint64_t i = 0; i < 5; i++) { /* two slots: the others queue */
        EXPECT_OK(std_ring_wait(&server, &completion, patience()));
        EXPECT_EQUAL(completion.kind, COMPLETION_CALL);
        EXPECT_EQUAL(completion.badge, 33);
        EXPECT_EQUAL(completion.words[0], i);
        EXPECT_EQUAL(completion.words[11], i * 3);
        call.words[0] = i + 100;
        EXPECT_OK(std_ring_reply(&server, completion.cookie, i == 3 ? ERROR_REFUSED : OK, &call));
        struct tess_completion result = take_result(i, i == 3 ? ERROR_REFUSED : OK);
        if (i != 3)
            EXPECT_EQUAL(result.words[0], i + 100);
    }
    /* Handles there and back. */
    struct tess_submission entry = {
        .op = op_make(INTERFACE_TEST, 9, 1, 1, 1), .cookie = 9, .handle = client, .aux = patience(), .words = {1, [8] = event}};
    EXPECT_OK(std_ring_submit(&ring, &entry));
    flush();
    EXPECT_OK(std_ring_wait(&server, &completion, patience()));
    EXPECT_STATUS(tess_event_set(event, 1), ERROR_STALE_HANDLE);
    back = completion.words[8];
    EXPECT_OK(tess_event_set(back, 1));
    call = (struct tess_call){.words = {4, [8] = back}, .reply_words = 1, .reply_handles = 1, .reply_move_mask = 1};
    EXPECT_OK(std_ring_reply(&server, completion.cookie, OK, &call));
    completion = take_result(9, OK);
    EXPECT_EQUAL(op_handles(completion.op), 1);
    handle_drop(completion.words[8]);
    /* Bad handles either way. */
    entry.words[8] = ~0ull;
    EXPECT_OK(std_ring_submit(&ring, &entry));
    take_result(9, ERROR_BAD_HANDLE);
    submit_call(10, patience(), 1, 0);
    flush();
    EXPECT_OK(std_ring_wait(&server, &completion, patience()));
    call = (struct tess_call){.words = {4, [8] = ~0ull}, .reply_words = 1, .reply_handles = 1};
    EXPECT_STATUS(std_ring_reply(&server, completion.cookie, OK, &call), ERROR_BAD_HANDLE);
    EXPECT(take().status != OK);
    /* Cancelled while served: the server is told, its slot is free. */
    for (uint64_t i = 0; i < 6; i++) {
        submit_call(11, i % 2 == 0 ? DEADLINE_INFINITE : time_after_ns(NS_PER_MS), 1, 0);
        flush();
        EXPECT_OK(std_ring_wait(&server, &completion, patience()));
        uint64_t token = completion.cookie;
        if (i % 2 == 0)
            EXPECT_OK(tess_ring_cancel(ring.handle, 11, &count));
        EXPECT_OK(std_ring_wait(&server, &completion, patience()));
        EXPECT_EQUAL(completion.kind, COMPLETION_CANCELLED);
        EXPECT_EQUAL(completion.cookie, token);
        EXPECT_STATUS(std_ring_reply(&server, token, OK, nullptr), ERROR_NOT_FOUND);
        take_result(11, i % 2 == 0 ? ERROR_CANCELLED : ERROR_TIMED_OUT);
    }
    /* The server's ring goes with one call taken and others queued; then the caller's. */
    for (uint64_t i = 0; i < 4; i++)
        submit_call(i, patience(), i, 0);
    flush();
    std_ring_close(&server);
    take_result(0, ERROR_PEER_DIED);
    take_result(1, ERROR_PEER_DIED);
    expect_none();
    EXPECT_OK(std_ring_open(&server, &sizes));
    EXPECT_OK(tess_ring_bind(server.handle, endpoint, 5));
    EXPECT_OK(std_ring_wait(&server, &completion, patience()));
    EXPECT_EQUAL(completion.words[0], 2);
    uint64_t token = completion.cookie;
    std_ring_close(&ring);
    bool is_told = false;
    while (!is_told && EXPECT_OK(std_ring_wait(&server, &completion, patience())))
        is_told = completion.kind == COMPLETION_CANCELLED && completion.cookie == token;
    std_ring_close(&server);
    drop_endpoint();
}

/* A server's thread holds a call of a process that ends: nothing of it is left while the server does not answer. */
static void dead_caller(void)
{
    struct child child;
    struct account before;
    make_endpoint();
    account_begin(&before);
    struct child_args args = {.role = "call", .handles = {{"endpoint", client, RIGHTS_ALL, false}}, .handle_count = 1};
    if (!child_start(&child, &args))
        return;
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = patience()};
    EXPECT_OK(tess_invoke(&regs));
    child_end(&child);
    account_settle(&before);
    regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = endpoint};
    EXPECT_STATUS(tess_invoke(&regs), ERROR_PEER_DIED);
    EXPECT_STATUS(tess_invoke(&(struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = endpoint}), ERROR_NOT_FOUND);
    drop_endpoint();
}

/* ---- Polled: another thread's time takes the submissions ---- */

static void polls(void *)
{
    uint32_t submitted, available;
    status_t status = OK;
    while (status == OK)
        status = tess_ring_poll(ring.handle, 8, &submitted, &available, patience());
    EXPECT_STATUS(status, ERROR_INTERRUPTED);
}

static void polled(void)
{
    struct std_thread poller;
    handle_t event = make_event();
    uint32_t submitted, available;
    uint64_t bits;
    if (!open_ring(16, 2))
        return;
    EXPECT_STATUS(tess_ring_poll(ring.handle, 8, &submitted, &available, DEADLINE_NOW), ERROR_TIMED_OUT);
    EXPECT_STATUS(tess_ring_poll(ring.handle, 8, &submitted, &available, time_after_ns(NS_PER_MS)), ERROR_TIMED_OUT);
    EXPECT_STATUS(tess_ring_poll(ring.handle, 0, &submitted, &available, patience()), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_ring_poll(ring.handle, 17, &submitted, &available, patience()), ERROR_BAD_ARGUMENT);
    submit(OP_EVENT_SET, event, 1, 0, 1, 0, 0);
    submit(OP_EVENT_SET, event, 2, 0, 2, 0, 0);
    EXPECT_OK(tess_ring_poll(ring.handle, 8, &submitted, &available, patience()));
    EXPECT_EQUAL(submitted, 2);
    EXPECT_EQUAL(available, 2);
    ring.sq_unsent = 0;
    take_result(1, OK);
    take_result(2, OK);
    thread_start(&poller, polls, nullptr);
    for (uint64_t i = 0; i < 50; i++) {
        submit(OP_EVENT_SET, event, i, 0, 1ull << i, 0, 0);
        ring.sq_unsent = 0; /* not ours to send */
        const struct tess_completion *completion;
        for (uint64_t end = patience(); (completion = std_ring_peek(&ring)) == nullptr && time_now_ns() < end;)
            ;
        EXPECT(completion != nullptr);
        if (completion == nullptr)
            break;
        EXPECT_EQUAL(completion->cookie, i);
        std_ring_seen(&ring);
    }
    EXPECT_OK(tess_event_wait(event, ~0ull, &bits, DEADLINE_NOW));
    EXPECT_EQUAL(bits, (1ull << 50) - 1);
    EXPECT_OK(tess_thread_interrupt(poller.thread));
    thread_join(&poller);
    std_ring_close(&ring);
    handle_drop(event);
}

/* ---- Several at once: submitted calls, waits and futexes against servers, cancels, rings that go ---- */

static _Atomic bool is_storm_over;
static volatile uint32_t storm_word;
static handle_t storm_event;

static void storm_server(void *context)
{
    uint64_t seed = (uint64_t)context;
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = time_after_ns(NS_PER_MS)};
    while (!atomic_load(&is_storm_over)) {
        status_t status = tess_invoke(&regs);
        EXPECT(status == OK || status == ERROR_TIMED_OUT);
        bool answers = status == OK && random_next(&seed) % 8 != 0;
        uint32_t count;
        if (random_next(&seed) % 4 == 0)
            EXPECT_OK(tess_vspace_futex_wake(std_self.vspace, (uint64_t)&storm_word, 2, 1, &count));
        if (random_next(&seed) % 4 == 0)
            EXPECT_OK(tess_event_set(storm_event, 1 + random_next(&seed) % 3));
        if (status == OK && !answers) /* late, and perhaps too late */
            (void)tess_thread_yield(tess_thread_block()->thread);
        regs = (struct tess_regs){.op = (status == OK ? OP_ENDPOINT_REPLY_RECEIVE : OP_ENDPOINT_RECEIVE),
                                  .handle = endpoint,
                                  .aux = time_after_ns(random_next(&seed) % 300'000)};
    }
    regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = endpoint};
    status_t status = tess_invoke(&regs);
    EXPECT(status == OK || status == ERROR_PEER_DIED || status == ERROR_NOT_FOUND);
}

static _Atomic uint64_t storm_results;

static void storm_client(void *context)
{
    uint64_t seed = (uint64_t)context;
    while (!atomic_load(&is_storm_over)) {
        struct std_ring own;
        struct std_ring_sizes sizes = {.sq_entries = 8, .cq_entries = 4, .operation_slots = 6, .watch_slots = 1};
        if (!EXPECT_OK(std_ring_open(&own, &sizes)))
            return;
        uint64_t sent = 0, got = 0;
        for (uint32_t i = 0; i < 30; i++) {
            struct tess_submission entry = {
                .cookie = random_next(&seed) % 3, .aux = time_after_ns(random_next(&seed) % 400'000), .words = {1}};
            switch (random_next(&seed) % 4) {
            case 0:
                entry.op = OP_EVENT_WAIT;
                entry.handle = storm_event;
                entry.words[0] = 3;
                break;
            case 1:
                entry.op = OP_VSPACE_FUTEX_WAIT;
                entry.handle = std_self.vspace;
                entry.words[0] = (uint64_t)&storm_word;
                entry.words[2] = 1;
                break;
            default: entry.op = op_make(INTERFACE_TEST, 9, 1, 0, 0); entry.handle = client;
            }
            if (std_ring_submit(&own, &entry) == OK)
                sent++;
            struct tess_completion completion;
            uint32_t count;
            status_t status = std_ring_wait(&own, &completion, time_after_ns(random_next(&seed) % 100'000));
            got += status == OK;
            if (random_next(&seed) % 4 == 0)
                (void)tess_ring_cancel(own.handle, random_next(&seed) % 3, &count);
        }
        /* Some rings go with everything under way; of the others each submission comes back exactly once. */
        bool waits = random_next(&seed) % 2 == 0;
        struct tess_completion completion;
        while (waits && got < sent && EXPECT_OK(std_ring_wait(&own, &completion, patience())))
            got++;
        if (waits)
            EXPECT_STATUS(std_ring_wait(&own, &completion, DEADLINE_NOW), ERROR_TIMED_OUT);
        atomic_fetch_add(&storm_results, got);
        std_ring_close(&own);
    }
}

static void storm(void)
{
    struct std_thread servers[2], clients[3];
    make_endpoint();
    storm_event = make_event();
    atomic_store(&is_storm_over, false);
    atomic_store(&storm_results, 0);
    for (uint64_t i = 0; i < 2; i++)
        thread_start(&servers[i], storm_server, (void *)(i + 1));
    for (uint64_t i = 0; i < 3; i++)
        thread_start(&clients[i], storm_client, (void *)(i + 11));
    sleep_ns(500 * NS_PER_MS);
    atomic_store(&is_storm_over, true);
    for (uint32_t i = 0; i < 3; i++)
        thread_join(&clients[i]);
    for (uint32_t i = 0; i < 2; i++)
        thread_join(&servers[i]);
    test_note("%lu results", atomic_load(&storm_results));
    handle_drop(storm_event);
    drop_endpoint();
}

void operation_tests(void)
{
    static const struct test tests[] = {
        {"operation.methods_wait", methods_wait},
        {"operation.deadlines_and_cancel", deadlines_and_cancel},
        {"operation.linked", linked},
        {"operation.calls", calls},
        {"operation.ring_to_ring", ring_to_ring},
        {"operation.dead_caller", dead_caller},
        {"operation.polled", polled},
        {"operation.storm", storm},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
