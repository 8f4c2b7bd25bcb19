/* endpoint: call, receive, reply, reply_receive, send; who is told what when the other side goes. */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/process.h>
#include <tess/stub/ring.h>
#include <tess/stub/test.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

static handle_t make(void)
{
    handle_t endpoint = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    return endpoint;
}

static status_t receive(handle_t endpoint, uint64_t deadline, struct tess_regs *out)
{
    *out = (struct tess_regs){.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = deadline};
    return tess_invoke(out);
}

static status_t reply(handle_t endpoint, status_t status, uint64_t word0)
{
    struct tess_regs regs = {.op = OP_ENDPOINT_REPLY | 1ull << 16 | (uint64_t)(uint32_t)status << 32, .handle = endpoint, .word = {word0}};
    return tess_invoke(&regs);
}

/* ---- A server thread and its callers ---- */

struct server {
    handle_t endpoint;
    uint64_t served;
    status_t ended_with;
};

/* Answers word0 + 1 until it is told to stop by a call with word0 = ~0. */
static void serves(void *context)
{
    struct server *server = context;
    struct tess_regs regs;
    status_t status = receive(server->endpoint, patience(), &regs);
    while (status == OK) {
        bool is_last = regs.word[0] == ~0ull;
        server->served++;
        uint64_t answer = regs.word[0] + 1;
        if (is_last) {
            EXPECT_OK(reply(server->endpoint, OK, 0));
            return;
        }
        regs = (struct tess_regs){
            .op = OP_ENDPOINT_REPLY_RECEIVE | 1ull << 16, .handle = server->endpoint, .aux = patience(), .word = {answer}};
        status = tess_invoke(&regs);
    }
    server->ended_with = status;
}

static status_t call(handle_t endpoint, uint64_t word, uint64_t deadline, uint64_t *out_word)
{
    struct tess_regs regs = {.op = op_make(INTERFACE_TEST, 200, 1, 0, 0), .handle = endpoint, .aux = deadline, .word = {word}};
    status_t status = tess_invoke(&regs);
    *out_word = regs.word[0];
    return status;
}

struct client {
    handle_t endpoint;
    uint64_t first, rounds;
};

static void calls(void *context)
{
    struct client *client = context;
    for (uint64_t i = 0; i < client->rounds && test_has_passed(); i++) {
        uint64_t answer = 0;
        EXPECT_OK(call(client->endpoint, client->first + i, patience(), &answer));
        EXPECT_EQUAL(answer, client->first + i + 1);
    }
}

static void call_reply(void)
{
    struct server server = {.endpoint = make()};
    struct client clients[3];
    struct std_thread thread, threads[3];
    uint64_t answer;
    thread_start(&thread, serves, &server);
    for (uint64_t i = 0; i < 3; i++) {
        clients[i] = (struct client){server.endpoint, i << 32, 300};
        thread_start(&threads[i], calls, &clients[i]);
    }
    for (uint32_t i = 0; i < 3; i++)
        thread_join(&threads[i]);
    EXPECT_OK(call(server.endpoint, ~0ull, patience(), &answer));
    thread_join(&thread);
    EXPECT_EQUAL(server.served, 901);
    handle_drop(server.endpoint);
}

static void status_of_reply(void *context)
{
    struct server *server = context;
    struct tess_regs regs;
    static const status_t statuses[] = {ERROR_NOT_FOUND, ERROR_CLOSED, -100, 17};
    for (uint32_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        EXPECT_OK(receive(server->endpoint, patience(), &regs));
        EXPECT_OK(reply(server->endpoint, statuses[i], 5));
    }
}

static void statuses(void)
{
    struct server server = {.endpoint = make()};
    struct std_thread thread;
    uint64_t answer;
    thread_start(&thread, status_of_reply, &server);
    EXPECT_STATUS(call(server.endpoint, 1, patience(), &answer), ERROR_NOT_FOUND);
    EXPECT_STATUS(call(server.endpoint, 1, patience(), &answer), ERROR_CLOSED);
    EXPECT_EQUAL((uint32_t)call(server.endpoint, 1, patience(), &answer), (uint32_t)-100);
    EXPECT_EQUAL((uint32_t)call(server.endpoint, 1, patience(), &answer), 17);
    EXPECT_EQUAL(answer, 5);
    thread_join(&thread);
    handle_drop(server.endpoint);
}

static void wrong_use(void)
{
    handle_t endpoint = make(), client = with_rights(endpoint, RIGHTS_ALL & ~(uint32_t)RIGHT_OWNER);
    struct tess_regs regs;
    uint64_t answer;
    EXPECT_STATUS(receive(client, DEADLINE_NOW, &regs), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(receive(endpoint, DEADLINE_NOW, &regs), ERROR_TIMED_OUT);
    EXPECT_STATUS(receive(endpoint, time_after_ns(NS_PER_MS), &regs), ERROR_TIMED_OUT);
    EXPECT_STATUS(reply(endpoint, OK, 0), ERROR_NOT_FOUND);
    EXPECT_STATUS(call(endpoint, 1, DEADLINE_NOW, &answer), ERROR_WOULD_BLOCK);
    EXPECT_STATUS(call(endpoint, 1, time_after_ns(2 * NS_PER_MS), &answer), ERROR_TIMED_OUT);
    /* Malformed messages. */
    static const uint64_t bad[] = {13ull << 16,
                                   15ull << 16,
                                   9ull << 16 | 1ull << 20,
                                   5ull << 20,
                                   7ull << 20,
                                   1ull << 24,
                                   1ull << 20 | 2ull << 24,
                                   1ull << 29,
                                   1ull << 31,
                                   1ull << 40,
                                   1ull << 23};
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        uint64_t words[12] = {};
        EXPECT_STATUS(raw_call(op_make(INTERFACE_TEST, 1, 0, 0, 0) | bad[i], endpoint, DEADLINE_NOW, words), ERROR_BAD_ARGUMENT);
        if (bad[i] >> 29 == 0)
            EXPECT_STATUS(raw_call(OP_ENDPOINT_REPLY | bad[i], endpoint, 0, words), ERROR_BAD_ARGUMENT);
    }
    handle_drop(client);
    handle_drop(endpoint);
}

/* ---- Queued callers: in order, with deadlines, interrupted ---- */

struct caller {
    handle_t endpoint;
    uint64_t word, deadline, answer;
    status_t status;
};

static void calls_once(void *context)
{
    struct caller *caller = context;
    caller->status = call(caller->endpoint, caller->word, caller->deadline, &caller->answer);
}

static void queue(void)
{
    handle_t endpoint = make();
    struct caller callers[5];
    struct std_thread threads[5];
    for (uint64_t i = 0; i < 5; i++) {
        callers[i] = (struct caller){.endpoint = endpoint, .word = i, .deadline = i == 1 ? time_after_ns(5 * NS_PER_MS) : patience()};
        thread_start(&threads[i], calls_once, &callers[i]);
        if (i != 1) /* this one may have given up by the time we look */
            thread_wait_until_waiting(threads[i].thread);
    }
    EXPECT_OK(tess_thread_interrupt(threads[3].thread));
    thread_join(&threads[1]);
    thread_join(&threads[3]);
    EXPECT_STATUS(callers[1].status, ERROR_TIMED_OUT);
    EXPECT_STATUS(callers[3].status, ERROR_INTERRUPTED);
    static const uint64_t order[] = {0, 2, 4};
    for (uint32_t i = 0; i < 3; i++) {
        struct tess_regs regs;
        EXPECT_OK(receive(endpoint, DEADLINE_NOW, &regs));
        EXPECT_EQUAL(regs.word[0], order[i]);
        EXPECT_EQUAL(op_method(regs.op), 200);
        EXPECT_STATUS(receive(endpoint, DEADLINE_NOW, &regs), ERROR_BUSY); /* one owes a reply already */
        EXPECT_OK(reply(endpoint, OK, 1000 + i));
        EXPECT_STATUS(reply(endpoint, OK, 0), ERROR_NOT_FOUND);
        thread_join(&threads[order[i]]);
        EXPECT_EQUAL(callers[order[i]].answer, 1000 + i);
    }
    handle_drop(endpoint);
}

/* The caller goes away between receive and reply. */
static void caller_gone(void)
{
    handle_t endpoint = make();
    struct tess_regs regs;
    struct caller caller = {.endpoint = endpoint, .word = 1, .deadline = time_after_ns(10 * NS_PER_MS)};
    struct std_thread thread;
    thread_start(&thread, calls_once, &caller);
    EXPECT_OK(receive(endpoint, patience(), &regs));
    thread_join(&thread);
    EXPECT_STATUS(caller.status, ERROR_TIMED_OUT);
    EXPECT_STATUS(reply(endpoint, OK, 1), ERROR_PEER_DIED);
    EXPECT_STATUS(reply(endpoint, OK, 1), ERROR_NOT_FOUND);
    /* Interrupted, and waiting for something else by then: the late reply must not end that wait. */
    caller.deadline = patience();
    thread_start(&thread, calls_once, &caller);
    EXPECT_OK(receive(endpoint, patience(), &regs));
    EXPECT_OK(tess_thread_interrupt(thread.thread));
    thread_join(&thread);
    EXPECT_STATUS(caller.status, ERROR_INTERRUPTED);
    regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY_RECEIVE | 1ull << 16, .handle = endpoint, .aux = DEADLINE_NOW};
    EXPECT_STATUS(tess_invoke(&regs), ERROR_TIMED_OUT); /* a reply nobody waits for is dropped */
    handle_drop(endpoint);
}

/* ---- The server goes away ---- */

static void receives_and_ends(void *context)
{
    struct tess_regs regs;
    EXPECT_OK(receive(*(handle_t *)context, patience(), &regs));
}

static void receives_from(void *context)
{
    struct server *server = context;
    struct tess_regs regs;
    server->ended_with = receive(server->endpoint, patience(), &regs);
}

static void server_gone(void)
{
    uint64_t answer;
    /* A thread that owes a reply ends. */
    handle_t endpoint = make();
    struct std_thread thread, other;
    thread_start(&thread, receives_and_ends, &endpoint);
    EXPECT_STATUS(call(endpoint, 1, patience(), &answer), ERROR_PEER_DIED);
    thread_join(&thread);
    /* The endpoint dies with a caller and a receiver. */
    struct server server = {.endpoint = endpoint};
    thread_start(&thread, receives_from, &server);
    thread_wait_until_waiting(thread.thread);
    handle_destroy(endpoint);
    thread_join(&thread);
    EXPECT_STATUS(server.ended_with, ERROR_PEER_DIED);
    endpoint = make();
    struct caller caller = {.endpoint = endpoint, .deadline = patience()};
    thread_start(&other, calls_once, &caller);
    thread_wait_until_waiting(other.thread);
    handle_destroy(endpoint);
    thread_join(&other);
    EXPECT_STATUS(caller.status, ERROR_PEER_DIED);
    /* The last owner's handle goes while a caller waits: nobody will ever receive. */
    endpoint = make();
    caller = (struct caller){.endpoint = with_rights(endpoint, RIGHTS_ALL & ~(uint32_t)RIGHT_OWNER), .deadline = patience()};
    thread_start(&other, calls_once, &caller);
    thread_wait_until_waiting(other.thread);
    handle_drop(endpoint);
    thread_join(&other);
    EXPECT_STATUS(caller.status, ERROR_PEER_DIED);
    EXPECT_STATUS(call(caller.endpoint, 1, patience(), &answer), ERROR_PEER_DIED);
    handle_drop(caller.endpoint);
}

/* ---- Sends ---- */

static void sends(void)
{
    handle_t endpoint = make();
    struct tess_regs regs = {.op = op_make(INTERFACE_TEST, 201, 1, 0, 0) | OP_SEND, .handle = endpoint, .aux = DEADLINE_NOW, .word = {77}};
    EXPECT_STATUS(tess_invoke(&regs), ERROR_WOULD_BLOCK);
    struct server server = {.endpoint = endpoint};
    struct std_thread thread;
    thread_start(&thread, receives_from, &server);
    thread_wait_until_waiting(thread.thread);
    regs = (struct tess_regs){.op = op_make(INTERFACE_TEST, 201, 1, 0, 0) | OP_SEND, .handle = endpoint, .aux = DEADLINE_NOW, .word = {77}};
    EXPECT_OK(tess_invoke(&regs));
    thread_join(&thread);
    EXPECT_STATUS(server.ended_with, OK);
    handle_drop(endpoint);
}

/* ---- Another process ---- */

int32_t role_echo(void)
{
    struct server server = {.endpoint = std_handle_needed("endpoint")};
    serves(&server);
    return test_has_passed() ? 0 : 1;
}

int32_t role_call(void)
{
    struct client client = {std_handle_needed("endpoint"), 1000, 200};
    calls(&client);
    return test_has_passed() ? 0 : 1;
}

static void between_processes(void)
{
    handle_t endpoint = make(), client = with_rights(endpoint, RIGHTS_ALL & ~(uint32_t)RIGHT_OWNER);
    struct child server, clients[2];
    uint64_t answer;
    struct child_args args = {.role = "echo", .handles = {{"endpoint", endpoint, RIGHTS_ALL, true}}, .handle_count = 1};
    if (!child_start(&server, &args))
        return;
    args = (struct child_args){.role = "call", .handles = {{"endpoint", client, RIGHTS_ALL, false}}, .handle_count = 1};
    for (uint32_t i = 0; i < 2; i++)
        if (!child_start(&clients[i], &args))
            return;
    for (uint32_t i = 0; i < 2; i++) {
        child_expect(&clients[i], EXIT_NORMAL, 0);
        child_end(&clients[i]);
    }
    EXPECT_OK(call(client, 5, patience(), &answer));
    EXPECT_EQUAL(answer, 6);
    EXPECT_OK(call(client, ~0ull, patience(), &answer));
    child_expect(&server, EXIT_NORMAL, 0);
    /* It took the only owner's handle with it. */
    EXPECT_STATUS(call(client, 5, patience(), &answer), ERROR_PEER_DIED);
    child_end(&server);
    handle_drop(client);
}

/* The server process is killed while calls run. */
static void server_killed(void)
{
    for (uint32_t i = 0; i < 5; i++) {
        handle_t endpoint = make(), client = with_rights(endpoint, RIGHTS_ALL & ~(uint32_t)RIGHT_OWNER);
        struct child server;
        struct child_args args = {.role = "echo", .handles = {{"endpoint", endpoint, RIGHTS_ALL, true}}, .handle_count = 1};
        if (!child_start(&server, &args))
            return;
        uint64_t answer, word = 0, end = time_after_ns((5 + 3 * i) * NS_PER_MS);
        while (time_now_ns() < end)
            EXPECT_OK(call(client, word++, patience(), &answer));
        struct caller caller = {.endpoint = client, .deadline = patience()};
        struct std_thread thread;
        thread_start(&thread, calls_once, &caller);
        EXPECT_OK(tess_process_kill(server.spawned.process, 1));
        thread_join(&thread);
        EXPECT(caller.status == OK || caller.status == ERROR_PEER_DIED);
        child_expect(&server, EXIT_KILLED, 1);
        EXPECT_STATUS(call(client, 5, patience(), &answer), ERROR_PEER_DIED);
        child_end(&server);
        handle_drop(client);
    }
}

void endpoint_tests(void)
{
    static const struct test tests[] = {
        {"endpoint.call_reply", call_reply},
        {"endpoint.statuses", statuses},
        {"endpoint.wrong_use", wrong_use},
        {"endpoint.queue", queue},
        {"endpoint.caller_gone", caller_gone},
        {"endpoint.server_gone", server_gone},
        {"endpoint.sends", sends},
        {"endpoint.between_processes", between_processes},
        {"endpoint.server_killed", server_killed},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
