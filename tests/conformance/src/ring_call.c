/* A ring that serves endpoints: calls as completions, replies out of order by token, badges that go, full queues, the end. */
#include <conformance.h>
#include <stdatomic.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/process.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

static struct std_ring ring;
static handle_t endpoint;

static bool open_ring(uint32_t cq, uint32_t calls)
{
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = cq, .call_slots = calls, .watch_slots = 4};
    return EXPECT_OK(std_ring_open(&ring, &sizes)) && EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint)) &&
           EXPECT_OK(tess_ring_bind(ring.handle, endpoint, 0x5555));
}

static struct tess_completion take(void)
{
    struct tess_completion completion = {};
    EXPECT_OK(std_ring_wait(&ring, &completion, patience()));
    return completion;
}

static status_t answer(uint64_t token, uint64_t word)
{
    struct tess_call call = {.words = {word}, .reply_words = 1};
    return std_ring_reply(&ring, token, OK, &call);
}

struct caller {
    handle_t handle;
    uint64_t word, deadline, answer;
    status_t status;
};

static void calls(void *context)
{
    struct caller *caller = context;
    uint64_t words[12] = {caller->word, [11] = caller->word * 3};
    caller->status = raw_call(op_make(INTERFACE_TEST, 77, 12, 0, 0), caller->handle, caller->deadline, words);
    caller->answer = words[0];
}

static void out_of_order(void)
{
    constexpr uint32_t COUNT = 6;
    struct caller callers[COUNT];
    struct std_thread threads[COUNT];
    uint64_t tokens[COUNT];
    handle_t badged;
    if (!open_ring(16, COUNT))
        return;
    EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHTS_ALL, 42, &badged));
    for (uint64_t i = 0; i < COUNT; i++) {
        callers[i] = (struct caller){.handle = badged, .word = i, .deadline = patience()};
        thread_start(&threads[i], calls, &callers[i]);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        struct tess_completion completion = take();
        EXPECT_EQUAL(completion.kind, COMPLETION_CALL);
        EXPECT_EQUAL((uint32_t)completion.status, 0x5555);
        EXPECT_EQUAL(completion.badge, 42);
        EXPECT_EQUAL(op_method(completion.op), 77);
        EXPECT_EQUAL(op_rights(completion.op), RIGHTS_ALL & ~(uint32_t)RIGHT_OWNER);
        EXPECT_EQUAL(completion.words[11], completion.words[0] * 3);
        tokens[completion.words[0] % COUNT] = completion.cookie;
    }
    for (uint32_t i = COUNT; i-- > 0;) { /* the last one first */
        EXPECT_OK(answer(tokens[i], 1000 + i));
        thread_join(&threads[i]);
        EXPECT_STATUS(callers[i].status, OK);
        EXPECT_EQUAL(callers[i].answer, 1000 + i);
        EXPECT_STATUS(answer(tokens[i], 1), ERROR_NOT_FOUND); /* a token works once */
    }
    EXPECT_STATUS(answer(0, 1), ERROR_NOT_FOUND);
    EXPECT_STATUS(answer(~0ull, 1), ERROR_NOT_FOUND);
    handle_drop(badged);
    std_ring_close(&ring);
    handle_drop(endpoint);
}

/* More callers than call slots or completion entries: they queue and all are served. */
static void many_callers(void)
{
    constexpr uint32_t COUNT = 12;
    struct caller callers[COUNT];
    struct std_thread threads[COUNT];
    if (!open_ring(2, 3))
        return;
    for (uint64_t i = 0; i < COUNT; i++) {
        callers[i] = (struct caller){.handle = endpoint, .word = i, .deadline = patience()};
        thread_start(&threads[i], calls, &callers[i]);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        struct tess_completion completion = take();
        EXPECT_OK(answer(completion.cookie, completion.words[0] + 1));
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        thread_join(&threads[i]);
        EXPECT_STATUS(callers[i].status, OK);
        EXPECT_EQUAL(callers[i].answer, i + 1);
    }
    std_ring_close(&ring);
    handle_drop(endpoint);
}

static void badge_gone(void)
{
    handle_t badged, copy, other;
    if (!open_ring(8, 2))
        return;
    EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHTS_ALL, 7, &badged));
    EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHTS_ALL, 8, &other));
    copy = with_rights(badged, RIGHTS_ALL);
    handle_drop(badged);
    struct tess_completion completion;
    EXPECT_STATUS(std_ring_wait(&ring, &completion, time_after_ns(2 * NS_PER_MS)), ERROR_TIMED_OUT);
    handle_drop(copy);
    completion = take();
    EXPECT_EQUAL(completion.kind, COMPLETION_BADGE_GONE);
    EXPECT_EQUAL(completion.cookie, 0x5555);
    EXPECT_EQUAL(completion.words[0], 7);
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, endpoint)); /* takes the other one */
    EXPECT_EQUAL(take().words[0], 8);
    /* More notices than there is room for: all come, in time. */
    uint64_t seen = 0;
    for (uint64_t i = 1; i <= 30; i++) {
        EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHTS_ALL, i, &badged));
        handle_drop(badged);
    }
    for (uint32_t i = 0; i < 30; i++)
        seen |= 1ull << (take().words[0] & 63);
    EXPECT_EQUAL(seen, (1ull << 31) - 2);
    std_ring_close(&ring);
    handle_drop(endpoint);
}

/* A client process dies: its badge goes. */
static void client_dies(void)
{
    struct child child;
    handle_t badged;
    if (!open_ring(8, 2))
        return;
    EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHTS_ALL, 99, &badged));
    struct child_args args = {.role = "call", .handles = {{"endpoint", badged, RIGHTS_ALL, true}}, .handle_count = 1};
    if (!child_start(&child, &args))
        return;
    struct tess_completion completion = take();
    EXPECT_EQUAL(completion.kind, COMPLETION_CALL);
    uint64_t token = completion.cookie;
    child_end(&child);
    completion = take();
    EXPECT_EQUAL(completion.kind, COMPLETION_CANCELLED);
    EXPECT_EQUAL(completion.cookie, token);
    completion = take();
    EXPECT_EQUAL(completion.kind, COMPLETION_BADGE_GONE);
    EXPECT_EQUAL(completion.words[0], 99);
    EXPECT_STATUS(answer(token, 1), ERROR_NOT_FOUND);
    std_ring_close(&ring);
    handle_drop(endpoint);
}

/* Servers know that a client is gone before anybody can start another with the same badge. */
static void badge_before_death(void)
{
    struct child child;
    handle_t badged;
    if (!open_ring(8, 2))
        return;
    EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHTS_ALL, 99, &badged));
    struct child_args args = {.role = "wait", .handles = {{"endpoint", badged, RIGHTS_ALL, true}}, .handle_count = 1};
    if (!child_start(&child, &args))
        return;
    EXPECT_OK(tess_ring_watch(ring.handle, child.spawned.process, 0, 5, WATCH_DEATH));
    EXPECT_OK(tess_process_kill(child.spawned.process, 0));
    struct tess_completion completion = take();
    EXPECT_EQUAL(completion.kind, COMPLETION_BADGE_GONE);
    EXPECT_EQUAL(completion.words[0], 99);
    completion = take();
    EXPECT_EQUAL(completion.kind, COMPLETION_WATCH);
    EXPECT_EQUAL(completion.cookie, 5);
    child_end(&child);
    std_ring_close(&ring);
    handle_drop(endpoint);
}

static void binding(void)
{
    handle_t second, blind;
    struct std_ring other;
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = 2, .call_slots = 1, .watch_slots = 1};
    if (!open_ring(8, 2) || !EXPECT_OK(std_ring_open(&other, &sizes)))
        return;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &second));
    EXPECT_STATUS(tess_ring_bind(other.handle, endpoint, 1), ERROR_BUSY);
    EXPECT_STATUS(tess_ring_bind(ring.handle, endpoint, 1), ERROR_BUSY);
    EXPECT_STATUS(tess_ring_unbind(other.handle, endpoint), ERROR_NOT_FOUND);
    EXPECT_OK(tess_ring_bind(ring.handle, second, 2)); /* one ring, two endpoints */
    blind = with_rights(second, RIGHTS_ALL & ~(uint32_t)RIGHT_OWNER);
    EXPECT_STATUS(tess_ring_unbind(ring.handle, blind), ERROR_MISSING_RIGHT);
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = second, .aux = DEADLINE_NOW};
    EXPECT_STATUS(tess_invoke(&regs), ERROR_BUSY);
    regs = (struct tess_regs){.op = op_make(INTERFACE_TEST, 5, 1, 0, 0) | OP_SEND, .handle = blind, .aux = DEADLINE_NOW, .word = {9}};
    EXPECT_OK(tess_invoke(&regs)); /* a message without reply */
    struct tess_completion completion = take();
    EXPECT_EQUAL(completion.kind, COMPLETION_CALL);
    EXPECT_EQUAL((uint32_t)completion.status, 2);
    EXPECT_EQUAL(completion.cookie, 0);
    EXPECT_EQUAL(completion.words[0], 9);
    EXPECT_OK(tess_ring_unbind(ring.handle, second));
    EXPECT_STATUS(tess_ring_unbind(ring.handle, second), ERROR_NOT_FOUND);
    EXPECT_OK(tess_ring_bind(other.handle, second, 3));
    /* A binding does not keep its ring; a new ring takes over the queue. */
    std_ring_close(&other);
    struct caller caller = {.handle = blind, .word = 4, .deadline = patience()};
    struct std_thread thread;
    thread_start(&thread, calls, &caller);
    thread_wait_until_waiting(thread.thread);
    EXPECT_OK(tess_ring_bind(ring.handle, second, 6));
    completion = take();
    EXPECT_EQUAL((uint32_t)completion.status, 6);
    EXPECT_OK(answer(completion.cookie, 5));
    thread_join(&thread);
    EXPECT_EQUAL(caller.answer, 5);
    handle_drop(blind);
    handle_drop(second);
    std_ring_close(&ring);
    handle_drop(endpoint);
}

/* The ring dies with calls taken and calls queued. */
static void ring_dies(void)
{
    struct caller callers[4];
    struct std_thread threads[4];
    if (!open_ring(8, 2))
        return;
    for (uint64_t i = 0; i < 4; i++) {
        callers[i] = (struct caller){.handle = endpoint, .word = i, .deadline = time_after_ns(NS_PER_S)};
        thread_start(&threads[i], calls, &callers[i]);
        thread_wait_until_waiting(threads[i].thread);
    }
    std_ring_close(&ring); /* two were taken: their server is gone; two wait for another one */
    thread_join(&threads[0]);
    thread_join(&threads[1]);
    EXPECT_STATUS(callers[0].status, ERROR_PEER_DIED);
    EXPECT_STATUS(callers[1].status, ERROR_PEER_DIED);
    EXPECT(thread_is_waiting(threads[2].thread));
    handle_destroy(endpoint);
    thread_join(&threads[2]);
    thread_join(&threads[3]);
    EXPECT_STATUS(callers[2].status, ERROR_PEER_DIED);
    EXPECT_STATUS(callers[3].status, ERROR_PEER_DIED);
}

/* Callers give up (deadline, interrupt) before their turn and after: late replies say so and harm nobody. */
static void callers_give_up(void)
{
    struct caller callers[4];
    struct std_thread threads[4];
    if (!open_ring(8, 2))
        return;
    for (uint64_t i = 0; i < 4; i++) {
        callers[i] = (struct caller){.handle = endpoint, .word = i, .deadline = i % 2 == 0 ? time_after_ns(20 * NS_PER_MS) : patience()};
        thread_start(&threads[i], calls, &callers[i]);
        thread_wait_until_waiting(threads[i].thread);
    }
    struct tess_completion first = take(), second = take();
    thread_join(&threads[0]);
    thread_join(&threads[2]); /* still in the queue */
    EXPECT_STATUS(callers[0].status, ERROR_TIMED_OUT);
    EXPECT_STATUS(callers[2].status, ERROR_TIMED_OUT);
    EXPECT_OK(tess_thread_interrupt(threads[1].thread));
    thread_join(&threads[1]);
    EXPECT_STATUS(callers[1].status, ERROR_INTERRUPTED);
    /* The server hears of both that it had taken, and has their slots back. */
    struct tess_completion third = {};
    uint64_t gone = 0;
    for (uint32_t i = 0; i < 3; i++) {
        struct tess_completion completion = take();
        if (completion.kind == COMPLETION_CALL) {
            third = completion;
            continue;
        }
        EXPECT_EQUAL(completion.kind, COMPLETION_CANCELLED);
        gone += completion.cookie;
    }
    EXPECT_EQUAL(gone, first.cookie + second.cookie);
    EXPECT_STATUS(answer(first.cookie, 1), ERROR_NOT_FOUND);
    EXPECT_STATUS(answer(second.cookie, 1), ERROR_NOT_FOUND);
    EXPECT_EQUAL(third.words[0], 3);
    EXPECT_OK(answer(third.cookie, 33));
    thread_join(&threads[3]);
    EXPECT_EQUAL(callers[3].answer, 33);
    std_ring_close(&ring);
    handle_drop(endpoint);
}

/* A reply that comes when the caller's time is up: the caller gets one of the two, and always gets on. */
constexpr uint32_t LATE_ROUNDS = 400;
static _Atomic uint32_t late_round, late_answered, late_timed_out;

static void late_calls(void *context)
{
    (void)context;
    for (uint32_t round = 0; round < LATE_ROUNDS; round++) {
        uint64_t deadline = time_after_ns(300'000);
        uint64_t words[12] = {deadline};
        status_t status = raw_call(op_make(INTERFACE_TEST, 77, 1, 0, 0), endpoint, deadline, words);
        if (status == OK) {
            atomic_fetch_add(&late_answered, 1);
            EXPECT_EQUAL(words[0], deadline);
            handle_drop(words[MESSAGE_HANDLE_WORD]);
        } else {
            EXPECT_STATUS(status, ERROR_TIMED_OUT);
            atomic_fetch_add(&late_timed_out, 1);
        }
        atomic_fetch_add(&late_round, 1);
    }
}

static void late_replies(void)
{
    handle_t event;
    struct std_thread client;
    uint64_t seed = 77;
    if (!open_ring(16, 4) || !EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event)))
        return;
    atomic_store(&late_round, 0);
    atomic_store(&late_answered, 0);
    atomic_store(&late_timed_out, 0);
    thread_start(&client, late_calls, nullptr);
    while (atomic_load(&late_round) < LATE_ROUNDS && test_has_passed()) {
        struct tess_completion completion = {};
        status_t status = std_ring_wait(&ring, &completion, patience());
        if (status == ERROR_TIMED_OUT)
            EXPECT_EQUAL(atomic_load(&late_round), LATE_ROUNDS); /* nobody calls: it must be at its end */
        if (status != OK || completion.kind != COMPLETION_CALL)
            continue;
        uint64_t when = completion.words[0] - 40'000 + random_next(&seed) % 60'000;
        while (time_now_ns() < when)
            ;
        struct tess_call call = {.words = {completion.words[0], [8] = event}, .reply_words = 1, .reply_handles = 1};
        status = std_ring_reply(&ring, completion.cookie, OK, &call);
        EXPECT(status == OK || status == ERROR_NOT_FOUND || status == ERROR_PEER_DIED);
        if (atomic_load(&late_round) == LATE_ROUNDS - 1) /* the last one's end makes no completion */
            sleep_ns(2 * NS_PER_MS);
    }
    thread_join(&client);
    test_note("%u answered, %u timed out", atomic_load(&late_answered), atomic_load(&late_timed_out));
    handle_drop(event);
    std_ring_close(&ring);
    handle_drop(endpoint);
}

/* Makes a ring, serves an endpoint with it, gives it to "parent", and ends. */
int32_t role_ring_maker(void)
{
    struct std_ring made;
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = 8, .call_slots = 2, .watch_slots = 1};
    if (std_ring_open(&made, &sizes) != OK || tess_ring_bind(made.handle, std_handle_needed("served"), 1) != OK)
        return 1;
    uint64_t words[12] = {[8] = made.handle};
    return raw_call(op_make(INTERFACE_TEST, 77, 0, 1, 0), std_handle_needed("parent"), patience(), words) == OK ? 0 : 2;
}

/* A server that ended, but whose ring somebody keeps: calls wait for the next one, also those with handles. */
static void maker_ends(void)
{
    handle_t served, event;
    struct child child;
    if (!open_ring(8, 2) || !EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &served)) ||
        !EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event)))
        return;
    struct child_args args = {.role = "ring_maker",
                              .handles = {{"served", served, RIGHTS_ALL, false}, {"parent", endpoint, RIGHTS_ALL, false}},
                              .handle_count = 2};
    if (!child_start(&child, &args))
        return;
    struct tess_completion completion = take();
    EXPECT_OK(answer(completion.cookie, 0));
    child_expect(&child, EXIT_NORMAL, 0);
    for (uint32_t handles = 0; handles < 2; handles++) {
        uint64_t words[12] = {[8] = event};
        status_t status = raw_call(op_make(INTERFACE_TEST, 77, 0, handles, 0), served, time_after_ns(20 * NS_PER_MS), words);
        EXPECT_STATUS(status, ERROR_TIMED_OUT);
    }
    handle_drop(completion.words[8]);
    struct caller caller = {.handle = served, .word = 5, .deadline = patience()};
    struct std_thread thread;
    thread_start(&thread, calls, &caller);
    EXPECT_OK(tess_ring_bind(ring.handle, served, 2));
    completion = take();
    EXPECT_EQUAL(completion.words[0], 5);
    EXPECT_OK(answer(completion.cookie, 6));
    thread_join(&thread);
    EXPECT_OK(caller.status);
    child_end(&child);
    handle_drop(event);
    std_ring_close(&ring);
    handle_drop(served);
    handle_drop(endpoint);
}

/* Replies with handles. */
static void handles_back(void)
{
    handle_t event, moved;
    struct std_thread thread;
    struct caller caller;
    if (!open_ring(8, 2))
        return;
    for (uint32_t is_move = 0; is_move < 2; is_move++) {
        EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
        caller = (struct caller){.handle = endpoint, .word = 1, .deadline = patience()};
        thread_start(&thread, calls, &caller);
        struct tess_completion completion = take();
        struct tess_call call = {.words = {4, [8] = event}, .reply_words = 1, .reply_handles = 1, .reply_move_mask = is_move};
        EXPECT_OK(std_ring_reply(&ring, completion.cookie, OK, &call));
        moved = ((struct tess_message_page *)thread.mapping.address)->words[8]; /* after the join it is gone */
        thread_join(&thread);
        EXPECT_STATUS(caller.status, OK);
        EXPECT_EQUAL(caller.answer, 4);
        EXPECT_STATUS(tess_event_set(event, 1), is_move != 0 ? ERROR_STALE_HANDLE : OK);
        EXPECT_OK(tess_event_set(moved, 1));
        handle_drop(moved);
        if (is_move == 0)
            handle_drop(event);
    }
    /* A bad handle in a reply: the caller hears of it, the server too. */
    caller = (struct caller){.handle = endpoint, .word = 1, .deadline = patience()};
    thread_start(&thread, calls, &caller);
    struct tess_completion completion = take();
    /* A move mask beyond the handles is refused before anything happens. */
    struct tess_call malformed = {.words = {4}, .reply_words = 1, .reply_handles = 1, .reply_move_mask = 2};
    EXPECT_STATUS(std_ring_reply(&ring, completion.cookie, OK, &malformed), ERROR_BAD_ARGUMENT);
    struct tess_call call = {.words = {4, [8] = ~0ull}, .reply_words = 1, .reply_handles = 1};
    EXPECT_STATUS(std_ring_reply(&ring, completion.cookie, OK, &call), ERROR_BAD_HANDLE);
    thread_join(&thread);
    EXPECT(caller.status != OK);
    std_ring_close(&ring);
    handle_drop(endpoint);
}

/* A call that fails after it was promised room: whoever found the ring full because of it is served all the same, though the server
 * sleeps and nobody else enters the ring. */
static _Atomic bool is_refused_over;

static void refused_calls(void *)
{
    uint64_t words[12] = {};
    words[8] = std_self.log;
    words[9] = ~0ull;
    while (!atomic_load(&is_refused_over))
        EXPECT_STATUS(raw_call(op_make(INTERFACE_TEST, 77, 1, 2, 0), endpoint, DEADLINE_INFINITE, words), ERROR_BAD_HANDLE);
}

static void serves_all(void *)
{
    struct tess_completion completion;
    while (std_ring_wait(&ring, &completion, DEADLINE_INFINITE) == OK && completion.words[0] != 0)
        EXPECT_OK(answer(completion.cookie, completion.words[0] + 1));
    EXPECT_OK(answer(completion.cookie, 0));
}

static void missed_room(void)
{
    struct std_thread refused[2], server;
    handle_t second;
    if (!open_ring(2, 1) || !EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &second)) ||
        !EXPECT_OK(tess_ring_bind(ring.handle, second, 2)))
        return;
    atomic_store(&is_refused_over, false);
    thread_start(&server, serves_all, nullptr);
    for (uint32_t i = 0; i < 2; i++)
        thread_start(&refused[i], refused_calls, nullptr);
    struct caller caller = {.handle = second};
    uint64_t end = time_after_ns(300 * NS_PER_MS);
    for (uint64_t i = 1; time_now_ns() < end && test_has_passed(); i++) {
        caller.word = i;
        caller.deadline = patience();
        calls(&caller);
        EXPECT_STATUS(caller.status, OK);
    }
    atomic_store(&is_refused_over, true);
    for (uint32_t i = 0; i < 2; i++)
        thread_join(&refused[i]);
    test_note("%lu calls", caller.word);
    caller.word = 0;
    calls(&caller);
    thread_join(&server);
    handle_drop(second);
    std_ring_close(&ring);
    handle_drop(endpoint);
}

void ring_call_tests(void)
{
    static const struct test tests[] = {
        {"ring_call.out_of_order", out_of_order},
        {"ring_call.many_callers", many_callers},
        {"ring_call.badge_gone", badge_gone},
        {"ring_call.client_dies", client_dies},
        {"ring_call.binding", binding},
        {"ring_call.ring_dies", ring_dies},
        {"ring_call.callers_give_up", callers_give_up},
        {"ring_call.late_replies", late_replies},
        {"ring_call.maker_ends", maker_ends},
        {"ring_call.handles_back", handles_back},
        {"ring_call.missed_room", missed_room},
        {"ring_call.badge_before_death", badge_before_death},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
