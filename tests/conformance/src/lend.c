/*
 * Lending: a server answers on its caller's budget, through calls in each other, until the answer, and no longer than the caller waits. What
 * the sched object says was used tells whose time it is.
 */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/endpoint.h>
#include <tess/stub/sched.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

constexpr uint32_t SERVERS = 3;
enum what : uint64_t { WORK = 1, WORK_UNTIL_TOLD, CALL_ON, KEEP, QUIT };

struct server {
    struct std_thread thread;
    handle_t endpoint, next; /* next: for CALL_ON, with `then` */
    _Atomic uint64_t rounds;
    _Atomic bool is_told;
    status_t got;
};
static struct server servers[SERVERS];
static _Atomic bool is_over;

static uint64_t own_ns(void)
{
    uint64_t id, cpu_ns = 0;
    uint32_t state, cpu;
    EXPECT_OK(tess_thread_info(tess_thread_block()->thread, &id, &state, &cpu, &cpu_ns));
    return cpu_ns;
}

static status_t ask(handle_t endpoint, uint64_t what, uint64_t arg, uint64_t deadline)
{
    uint64_t words[12] = {what, arg};
    return raw_call(op_make(INTERFACE_TEST, 5, 2, 0, 0), endpoint, deadline, words);
}

static void works_until_told(struct server *server)
{
    while (!atomic_load(&server->is_told))
        if (atomic_fetch_add(&server->rounds, 1) % 4096 == 0) /* the test wants the CPU too, if there is but one */
            (void)tess_thread_sleep(tess_thread_block()->thread, time_after_ns(NS_PER_MS / 2));
}

static void serves(void *context)
{
    struct server *server = context;
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = server->endpoint, .aux = DEADLINE_INFINITE};
    while (tess_invoke(&regs) == OK && regs.word[0] != QUIT) {
        handle_t kept = HANDLE_NONE;
        uint64_t what = regs.word[0], arg = regs.word[1];
        if (what == WORK)
            for (uint64_t end = own_ns() + arg; own_ns() < end;)
                ;
        if (what == KEEP)
            EXPECT_OK(tess_endpoint_keep_reply(server->endpoint, &kept));
        if (what == WORK_UNTIL_TOLD || what == KEEP)
            works_until_told(server);
        if (what == CALL_ON)
            server->got = ask(server->next, arg >> 32, arg & 0xFFFFFFFF, DEADLINE_INFINITE);
        if (what == KEEP) {
            handle_destroy(kept);
            regs = (struct tess_regs){.op = OP_ENDPOINT_RECEIVE, .handle = server->endpoint, .aux = DEADLINE_INFINITE};
        } else {
            regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY_RECEIVE, .handle = server->endpoint, .aux = DEADLINE_INFINITE};
        }
    }
    regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = server->endpoint};
    (void)tess_invoke(&regs);
}

static bool servers_start(void)
{
    for (uint32_t i = 0; i < SERVERS; i++) {
        servers[i] = (struct server){};
        if (!EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &servers[i].endpoint)))
            return false;
    }
    for (uint32_t i = 0; i < SERVERS; i++) {
        servers[i].next = servers[(i + 1) % SERVERS].endpoint;
        thread_start(&servers[i].thread, serves, &servers[i]);
    }
    return true;
}

static void tell_all(void)
{
    for (uint32_t i = 0; i < SERVERS; i++)
        atomic_store(&servers[i].is_told, true);
}

static void servers_end(void)
{
    tell_all();
    for (uint32_t i = 0; i < SERVERS; i++)
        (void)ask(servers[i].endpoint, QUIT, 0, patience());
    for (uint32_t i = 0; i < SERVERS; i++) {
        thread_join(&servers[i].thread);
        handle_drop(servers[i].endpoint);
    }
}

/* ---- A client on a budget ---- */

struct client {
    struct std_thread thread;
    uint64_t what, arg, deadline;
    uint32_t server;
    _Atomic bool may_call;
    status_t status;
};

static void calls(void *context)
{
    struct client *client = context;
    while (!atomic_load(&client->may_call))
        (void)tess_thread_sleep(tess_thread_block()->thread, time_after_ns(NS_PER_MS / 4));
    client->status = ask(servers[client->server].endpoint, client->what, client->arg, client->deadline);
}

static void client_call(struct client *client, handle_t sched)
{
    atomic_store(&client->may_call, false);
    thread_start(&client->thread, calls, client);
    EXPECT_OK(tess_sched_bind(sched, client->thread.thread));
    atomic_store(&client->may_call, true);
}

static handle_t make(uint64_t budget_ns, uint64_t period_ns)
{
    handle_t sched = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_sched(std_self.untyped, guest.cell, budget_ns, period_ns, &sched));
    return sched;
}

static uint64_t used_ns(handle_t sched)
{
    struct tess_sched_info info = {};
    EXPECT_OK(tess_sched_info(sched, (uint64_t)&info));
    return info.used_ns;
}

static bool grows(handle_t sched, bool does)
{
    for (uint64_t end = patience(); time_now_ns() < end;) {
        uint64_t before = used_ns(sched);
        sleep_ns(40 * NS_PER_MS);
        if ((used_ns(sched) != before) == does)
            return true;
    }
    return false;
}

static bool is_working(uint32_t i)
{
    uint64_t before = atomic_load(&servers[i].rounds);
    for (uint64_t end = patience(); time_now_ns() < end;)
        if (atomic_load(&servers[i].rounds) != before)
            return true;
    return false;
}

static void on_callers_time(void)
{
    constexpr uint64_t WORK_NS = 30 * NS_PER_MS;
    if (!servers_start())
        return;
    handle_t sched = make(80 * NS_PER_MS, 100 * NS_PER_MS);
    struct client client = {.what = WORK, .arg = WORK_NS, .deadline = DEADLINE_INFINITE};
    client_call(&client, sched);
    thread_join(&client.thread);
    EXPECT_OK(client.status);
    EXPECT(used_ns(sched) >= WORK_NS - WORK_NS / 8);
    /* Through two more. */
    uint64_t before = used_ns(sched);
    struct client deep = {.what = CALL_ON, .arg = (uint64_t)WORK << 32 | WORK_NS, .deadline = DEADLINE_INFINITE};
    client_call(&deep, sched);
    thread_join(&deep.thread);
    EXPECT_OK(deep.status);
    EXPECT(used_ns(sched) - before >= WORK_NS - WORK_NS / 8);
    /* Its own time is its own again. */
    before = used_ns(sched);
    EXPECT_OK(ask(servers[0].endpoint, WORK, WORK_NS, DEADLINE_INFINITE));
    EXPECT_OK(ask(servers[1].endpoint, WORK, WORK_NS, DEADLINE_INFINITE));
    EXPECT_EQUAL(used_ns(sched), before);
    servers_end();
    handle_drop(sched);
}

/* A server that finds the call in the queue. */
static void queued(void)
{
    if (!servers_start())
        return;
    handle_t sched = make(80 * NS_PER_MS, 100 * NS_PER_MS);
    struct client busy = {.what = WORK_UNTIL_TOLD, .deadline = DEADLINE_INFINITE, .may_call = true};
    thread_start(&busy.thread, calls, &busy);
    EXPECT(is_working(0));
    struct client client = {.what = WORK_UNTIL_TOLD, .deadline = DEADLINE_INFINITE};
    client_call(&client, sched);
    thread_wait_until_waiting(client.thread.thread);
    EXPECT(grows(sched, false));
    atomic_store(&servers[0].is_told, true);
    thread_join(&busy.thread);
    thread_join(&client.thread);
    struct client again = {.what = WORK, .arg = 20 * NS_PER_MS, .deadline = DEADLINE_INFINITE};
    uint64_t before = used_ns(sched);
    atomic_store(&servers[0].is_told, false);
    struct client busy_again = {.what = WORK_UNTIL_TOLD, .deadline = DEADLINE_INFINITE, .may_call = true};
    thread_start(&busy_again.thread, calls, &busy_again);
    EXPECT(is_working(0));
    client_call(&again, sched);
    thread_wait_until_waiting(again.thread.thread);
    atomic_store(&servers[0].is_told, true);
    thread_join(&busy_again.thread);
    thread_join(&again.thread);
    EXPECT(used_ns(sched) - before >= 5 * NS_PER_MS);
    servers_end();
    handle_drop(sched);
}

/* The caller gives up (deadline), at the end of a chain of `depth` calls; the last server goes on, on its own time. */
static void gives_up(uint64_t what, uint64_t arg, uint32_t last, bool is_killed)
{
    if (!servers_start())
        return;
    handle_t sched = make(700 * NS_PER_MS, NS_PER_S);
    struct client client = {.what = what, .arg = arg, .deadline = is_killed ? DEADLINE_INFINITE : time_after_ns(150 * NS_PER_MS)};
    client_call(&client, sched);
    EXPECT(is_working(last) && (!is_killed || grows(sched, true)));
    if (is_killed)
        EXPECT_OK(tess_thread_interrupt(client.thread.thread));
    thread_join(&client.thread);
    EXPECT_STATUS(client.status, is_killed ? ERROR_INTERRUPTED : ERROR_TIMED_OUT);
    EXPECT(grows(sched, false));
    EXPECT(is_working(last));
    EXPECT(grows(sched, false));
    servers_end();
    handle_drop(sched);
}

static void timed_out(void) { gives_up(WORK_UNTIL_TOLD, 0, 0, false); }
static void timed_out_deep(void) { gives_up(CALL_ON, (uint64_t)WORK_UNTIL_TOLD << 32, 1, false); }
static void interrupted(void) { gives_up(WORK_UNTIL_TOLD, 0, 0, true); }
static void interrupted_deep(void) { gives_up(CALL_ON, (uint64_t)WORK_UNTIL_TOLD << 32, 1, true); }

static void kept(void)
{
    if (!servers_start())
        return;
    handle_t sched = make(700 * NS_PER_MS, NS_PER_S);
    struct client client = {.what = KEEP, .deadline = DEADLINE_INFINITE};
    client_call(&client, sched);
    EXPECT(is_working(0));
    EXPECT(grows(sched, false)); /* the caller waits, but nobody works on its time */
    EXPECT(is_working(0));
    atomic_store(&servers[0].is_told, true);
    thread_join(&client.thread);
    EXPECT_STATUS(client.status, ERROR_PEER_DIED);
    servers_end();
    handle_drop(sched);
}

/* A budget that is used up in the middle of an answer does not hold up the server, nor whoever calls it next. */
static void used_up(void)
{
    if (!servers_start())
        return;
    uint64_t begun_ns = time_now_ns();
    handle_t sched = make(2 * NS_PER_MS, SCHED_PERIOD_MAX_NS);
    struct client client = {.what = WORK, .arg = 60 * NS_PER_MS, .deadline = DEADLINE_INFINITE};
    client_call(&client, sched);
    EXPECT_OK(ask(servers[0].endpoint, WORK, NS_PER_MS, patience()));
    EXPECT(time_now_ns() - begun_ns < SCHED_PERIOD_MAX_NS / 2);
    EXPECT_OK(tess_sched_unbind(sched, client.thread.thread)); /* it would wait for its own time */
    thread_join(&client.thread);
    EXPECT_OK(client.status);
    servers_end();
    handle_drop(sched);
}

/* The object goes while a server runs on it, and while the caller of a chain waits. */
static void revoked(void)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (!servers_start())
            return;
        handle_t sched = make(700 * NS_PER_MS, NS_PER_S);
        struct client client = {
            .what = i == 0 ? WORK_UNTIL_TOLD : CALL_ON, .arg = (uint64_t)WORK_UNTIL_TOLD << 32, .deadline = DEADLINE_INFINITE};
        client_call(&client, sched);
        EXPECT(is_working(i));
        EXPECT(grows(sched, true));
        handle_destroy(sched);
        EXPECT(is_working(i));
        sleep_ns(50 * NS_PER_MS);
        EXPECT(is_working(i));
        tell_all();
        thread_join(&client.thread);
        EXPECT_OK(client.status);
        servers_end();
    }
}

/* ---- Everything at once ---- */

static void calls_at_random(void *context)
{
    uint64_t random = (uint64_t)context;
    while (!atomic_load(&is_over)) {
        uint64_t work_ns = random_next(&random) % 200000, r = random_next(&random);
        uint64_t deadline = r % 3 == 0 ? DEADLINE_INFINITE : time_after_ns(random_next(&random) % 400000);
        (void)ask(servers[0].endpoint, r % 4 == 0 ? WORK : CALL_ON, r % 4 == 0 ? work_ns : (uint64_t)WORK << 32 | work_ns, deadline);
    }
}

static void storm(void)
{
    struct std_thread clients[4];
    uint64_t random = 77;
    if (!servers_start())
        return;
    atomic_store(&is_over, false);
    for (uint64_t i = 0; i < 4; i++)
        thread_start(&clients[i], calls_at_random, (void *)(0xABCDEF12345ull * (i + 1)));
    for (uint64_t end = time_after_ns(option_u64("test.budget_ms", 700) * NS_PER_MS); time_now_ns() < end;) {
        handle_t sched = make(SCHED_BUDGET_MIN_NS << random_next(&random) % 5, SCHED_PERIOD_MIN_NS << random_next(&random) % 3);
        for (uint32_t i = 0; i < 8; i++) {
            handle_t thread = random_next(&random) % 4 != 0 ? clients[random_next(&random) % 4].thread
                                                            : servers[random_next(&random) % SERVERS].thread.thread;
            (void)tess_sched_bind(sched, thread);
            if (random_next(&random) % 2 == 0)
                sleep_ns(random_next(&random) % 900000);
            if (random_next(&random) % 2 == 0)
                (void)tess_sched_unbind(sched, thread);
            if (random_next(&random) % 4 == 0)
                (void)tess_thread_interrupt(clients[random_next(&random) % 4].thread);
        }
        handle_destroy(sched);
    }
    atomic_store(&is_over, true);
    for (uint32_t i = 0; i < 4; i++)
        thread_join(&clients[i]);
    servers_end();
}

void lend_tests(void)
{
    static const struct test tests[] = {
        {"lend.on_callers_time", on_callers_time},
        {"lend.queued", queued},
        {"lend.timed_out", timed_out},
        {"lend.timed_out_deep", timed_out_deep},
        {"lend.interrupted", interrupted},
        {"lend.interrupted_deep", interrupted_deep},
        {"lend.kept", kept},
        {"lend.used_up", used_up},
        {"lend.revoked", revoked},
        {"lend.storm", storm},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
