/* Replies that are kept: answered later, elsewhere, by another ring or thread; the caller and every holder may go first. */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/endpoint.h>
#include <tess/stub/event.h>
#include <tess/stub/reply.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

static handle_t endpoint;

struct caller {
    struct std_thread thread;
    uint64_t word, deadline, answer;
    status_t status;
};

static void calls(void *context)
{
    struct caller *caller = context;
    uint64_t words[12] = {caller->word};
    caller->status = raw_call(op_make(INTERFACE_TEST, 5, 1, 0, 0), endpoint, caller->deadline, words);
    caller->answer = words[0];
}

static void begin(struct caller *caller, uint64_t word, uint64_t deadline)
{
    *caller = (struct caller){.word = word, .deadline = deadline};
    thread_start(&caller->thread, calls, caller);
}

static void end(struct caller *caller, status_t status, uint64_t answer)
{
    thread_join(&caller->thread);
    EXPECT_STATUS(caller->status, status);
    if (status == OK)
        EXPECT_EQUAL(caller->answer, answer);
}

static void receive(uint64_t word)
{
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = patience()};
    EXPECT_OK(tess_invoke(&regs));
    EXPECT_EQUAL(regs.word[0], word);
}

static handle_t keep(void)
{
    handle_t reply = HANDLE_NONE;
    EXPECT_OK(tess_endpoint_keep_reply(endpoint, &reply));
    return reply;
}

static status_t send(handle_t reply, uint64_t word)
{
    struct tess_regs regs = {.op = OP_REPLY_SEND | 1ull << 16, .handle = reply, .word = {word}};
    return tess_invoke(&regs);
}

static uint32_t is_waiting(handle_t reply)
{
    uint32_t is_waiting = 2;
    EXPECT_OK(tess_reply_info(reply, &is_waiting));
    return is_waiting;
}

/* One thread keeps several, and answers them in another order. */
static void kept(void)
{
    struct caller callers[3];
    handle_t replies[3], none;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    EXPECT_STATUS(tess_endpoint_keep_reply(endpoint, &none), ERROR_NOT_FOUND);
    for (uint64_t i = 0; i < 3; i++) {
        begin(&callers[i], i, patience());
        receive(i);
        replies[i] = keep();
        EXPECT_EQUAL(is_waiting(replies[i]), 1);
        EXPECT_STATUS(tess_endpoint_keep_reply(endpoint, &none), ERROR_NOT_FOUND);
    }
    struct tess_regs regs = {.op = OP_ENDPOINT_REPLY, .handle = endpoint};
    EXPECT_STATUS(tess_invoke(&regs), ERROR_NOT_FOUND); /* the thread owes nothing */
    handle_t mute = with_rights(replies[1], RIGHTS_ALL & ~(uint32_t)REPLY_RIGHT_SEND);
    EXPECT_STATUS(send(mute, 1), ERROR_MISSING_RIGHT);
    regs = (struct tess_regs){.op = OP_REPLY_SEND | 13ull << 16, .handle = replies[1]};
    EXPECT_STATUS(tess_invoke(&regs), ERROR_BAD_ARGUMENT);
    EXPECT_EQUAL(is_waiting(mute), 1);
    for (uint64_t i = 3; i-- > 0;) {
        EXPECT_OK(send(replies[i], 70 + i));
        EXPECT_STATUS(send(replies[i], 1), ERROR_STALE_HANDLE); /* it is over */
        end(&callers[i], OK, 70 + i);
    }
    uint32_t waiting;
    EXPECT_STATUS(tess_reply_info(mute, &waiting), ERROR_STALE_HANDLE);
    /* A status, and a bad handle in the answer: the caller hears of it, and the object is over. */
    begin(&callers[0], 1, patience());
    receive(1);
    regs = (struct tess_regs){.op = OP_REPLY_SEND | (uint64_t)(uint32_t)ERROR_REFUSED << 32, .handle = keep()};
    EXPECT_OK(tess_invoke(&regs));
    end(&callers[0], ERROR_REFUSED, 0);
    begin(&callers[0], 1, patience());
    receive(1);
    tess_message_page()->words[8] = ~0ull;
    regs = (struct tess_regs){.op = OP_REPLY_SEND | 1ull << 20, .handle = keep()};
    EXPECT_STATUS(tess_invoke(&regs), ERROR_BAD_HANDLE);
    end(&callers[0], ERROR_NO_HANDLES, 0);
    handle_drop(endpoint);
}

static void holders_and_callers_go(void)
{
    struct caller caller;
    struct std_ring ring;
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = 4, .watch_slots = 2};
    struct tess_completion completion;
    handle_t reply, copy;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    if (!EXPECT_OK(std_ring_open(&ring, &sizes)))
        return;
    /* The last handle goes; it is destroyed. */
    begin(&caller, 1, patience());
    receive(1);
    reply = keep();
    copy = with_rights(reply, RIGHTS_ALL);
    handle_drop(reply);
    EXPECT_EQUAL(is_waiting(copy), 1);
    handle_drop(copy);
    end(&caller, ERROR_PEER_DIED, 0);
    begin(&caller, 2, patience());
    receive(2);
    handle_destroy(keep());
    end(&caller, ERROR_PEER_DIED, 0);
    /* The caller goes: by its deadline, interrupted. Who watches hears of it, also when it was before. */
    for (uint32_t i = 0; i < 2; i++) {
        begin(&caller, 3, i == 0 ? time_after_ns(20 * NS_PER_MS) : patience());
        receive(3);
        reply = keep();
        EXPECT_OK(tess_ring_watch(ring.handle, reply, 0, 9, WATCH_DEATH));
        if (i == 1)
            EXPECT_OK(tess_thread_interrupt(caller.thread.thread));
        EXPECT_OK(std_ring_wait(&ring, &completion, patience()));
        EXPECT_EQUAL(completion.cookie, 9);
        EXPECT_STATUS(completion.status, ERROR_PEER_DIED);
        end(&caller, i == 0 ? ERROR_TIMED_OUT : ERROR_INTERRUPTED, 0);
        EXPECT_EQUAL(is_waiting(reply), 0);
        EXPECT_OK(tess_ring_watch(ring.handle, reply, 0, 10, WATCH_DEATH));
        EXPECT_OK(std_ring_wait(&ring, &completion, patience()));
        EXPECT_EQUAL(completion.cookie, 10);
        EXPECT_STATUS(send(reply, 1), ERROR_PEER_DIED);
        EXPECT_STATUS(send(reply, 1), ERROR_STALE_HANDLE);
    }
    /* It gave up before its reply was kept. */
    begin(&caller, 4, time_after_ns(5 * NS_PER_MS));
    receive(4);
    end(&caller, ERROR_TIMED_OUT, 0);
    EXPECT_STATUS(tess_endpoint_keep_reply(endpoint, &reply), ERROR_PEER_DIED);
    /* The endpoint goes: who was taken is answered all the same. */
    begin(&caller, 5, patience());
    receive(5);
    reply = keep();
    handle_destroy(endpoint);
    EXPECT_OK(send(reply, 50));
    end(&caller, OK, 50);
    std_ring_close(&ring);
}

/* A ring's call becomes a reply; it is moved to another process's table and answered after the ring is gone; a submitted call too. */
static void from_ring(void)
{
    struct caller caller;
    struct std_ring ring, client;
    struct std_ring_sizes sizes = {.sq_entries = 2, .cq_entries = 4, .call_slots = 1, .operation_slots = 2};
    struct tess_completion completion;
    handle_t reply, moved, back;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    if (!EXPECT_OK(std_ring_open(&ring, &sizes)) || !EXPECT_OK(std_ring_open(&client, &sizes)) ||
        !EXPECT_OK(tess_ring_bind(ring.handle, endpoint, 0)))
        return;
    begin(&caller, 1, patience());
    EXPECT_OK(std_ring_wait(&ring, &completion, patience()));
    EXPECT_STATUS(tess_ring_keep_reply(ring.handle, completion.cookie + 1, &reply), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_ring_keep_reply(ring.handle, 0, &reply), ERROR_NOT_FOUND);
    EXPECT_OK(tess_ring_keep_reply(ring.handle, completion.cookie, &reply));
    EXPECT_STATUS(tess_ring_keep_reply(ring.handle, completion.cookie, &back), ERROR_NOT_FOUND);
    EXPECT_STATUS(std_ring_reply(&ring, completion.cookie, OK, nullptr), ERROR_NOT_FOUND);
    /* Its slot is free: the next call comes, a submitted one. */
    struct tess_submission entry = {
        .op = op_make(INTERFACE_TEST, 5, 1, 0, 0), .cookie = 8, .handle = endpoint, .aux = patience(), .words = {2}};
    EXPECT_OK(std_ring_submit(&client, &entry));
    EXPECT_STATUS(std_ring_enter(&client, 0, DEADLINE_NOW), OK);
    EXPECT_OK(std_ring_wait(&ring, &completion, patience()));
    EXPECT_EQUAL(completion.words[0], 2);
    EXPECT_OK(tess_ring_keep_reply(ring.handle, completion.cookie, &back));
    std_ring_close(&ring);
    struct child child;
    struct child_args args = {.role = "wait", .is_suspended = true};
    if (child_start(&child, &args)) {
        EXPECT_OK(tess_cspace_move(child.spawned.cspace, reply, &moved));
        EXPECT_STATUS(send(reply, 1), ERROR_STALE_HANDLE);
        EXPECT(thread_is_waiting(caller.thread.thread));
        child_end(&child); /* it dies with it */
        end(&caller, ERROR_PEER_DIED, 0);
    }
    EXPECT_OK(send(back, 33));
    EXPECT_OK(std_ring_wait(&client, &completion, patience()));
    EXPECT_EQUAL(completion.cookie, 8);
    EXPECT_EQUAL(completion.words[0], 33);
    std_ring_close(&client);
    handle_drop(endpoint);
}

/* Answers against deadlines, drops and destructions, from two threads that share the handles. */
static _Atomic handle_t shared[4];
static _Atomic bool is_over;
static _Atomic uint64_t answered;

static void storm_caller(void *context)
{
    uint64_t seed = (uint64_t)context;
    while (!atomic_load(&is_over)) {
        uint64_t words[12] = {7};
        status_t status = raw_call(op_make(INTERFACE_TEST, 5, 1, 0, 0), endpoint, time_after_ns(random_next(&seed) % 300'000), words);
        EXPECT(status == OK || status == ERROR_TIMED_OUT || status == ERROR_PEER_DIED);
        if (status == OK)
            EXPECT_EQUAL(words[0], 8);
        atomic_fetch_add(&answered, status == OK);
    }
}

static void storm_server(void *context)
{
    uint64_t seed = (uint64_t)context;
    while (!atomic_load(&is_over)) {
        struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = time_after_ns(random_next(&seed) % 200'000)};
        status_t status = tess_invoke(&regs);
        EXPECT(status == OK || status == ERROR_TIMED_OUT);
        handle_t reply = HANDLE_NONE;
        if (status == OK) {
            status = tess_endpoint_keep_reply(endpoint, &reply);
            EXPECT(status == OK || status == ERROR_PEER_DIED);
            if (status != OK)
                reply = HANDLE_NONE;
        }
        reply = atomic_exchange(&shared[random_next(&seed) % 4], reply); /* another's, perhaps */
        if (reply == HANDLE_NONE)
            continue;
        switch (random_next(&seed) % 4) {
        case 0: std_handle_delete(reply); break;
        case 1:
            status = tess_cspace_destroy(std_self.cspace, reply);
            EXPECT_OK(status);
            std_handle_delete(reply);
            break;
        default: status = send(reply, 8); EXPECT(status == OK || status == ERROR_PEER_DIED);
        }
    }
}

static void storm(void)
{
    struct std_thread callers[3], servers[2];
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    atomic_store(&is_over, false);
    atomic_store(&answered, 0);
    for (uint64_t i = 0; i < 4; i++)
        atomic_store(&shared[i], HANDLE_NONE);
    for (uint64_t i = 0; i < 3; i++)
        thread_start(&callers[i], storm_caller, (void *)(i + 1));
    for (uint64_t i = 0; i < 2; i++)
        thread_start(&servers[i], storm_server, (void *)(i + 11));
    sleep_ns(400 * NS_PER_MS);
    atomic_store(&is_over, true);
    for (uint32_t i = 0; i < 2; i++)
        thread_join(&servers[i]);
    for (uint32_t i = 0; i < 3; i++)
        thread_join(&callers[i]);
    for (uint32_t i = 0; i < 4; i++)
        std_handle_delete(atomic_load(&shared[i]));
    test_note("%lu answered", atomic_load(&answered));
    handle_drop(endpoint);
}

void reply_tests(void)
{
    static const struct test tests[] = {
        {"reply.kept", kept},
        {"reply.holders_and_callers_go", holders_and_callers_go},
        {"reply.from_ring", from_ring},
        {"reply.storm", storm},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
