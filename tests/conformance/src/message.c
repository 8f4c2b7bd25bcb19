/* Messages of all sizes: 0..12 words, 0..4 handles copied or moved, both ways; refused as a whole or passed as a whole. */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/untyped.h>

struct mirror {
    handle_t endpoint;
    handle_t table; /* HANDLE_NONE: nothing special */
};

/* Sends every message back as it came, handles moved; method 99 ends it. */
static void mirrors(void *context)
{
    struct mirror *mirror = context;
    struct tess_message_page *page = tess_message_page();
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = mirror->endpoint, .aux = patience()};
    while (tess_invoke(&regs) == OK && op_method(regs.op) != 99) {
        uint64_t sizes = regs.op & (15ull << 16 | 7ull << 20);
        uint32_t handles = op_handles(regs.op);
        regs.op = OP_ENDPOINT_REPLY_RECEIVE | sizes | ((1ull << handles) - 1) << 24;
        regs.handle = mirror->endpoint;
        regs.aux = patience();
        (void)page;
    }
    regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = mirror->endpoint};
    (void)tess_invoke(&regs);
}

static struct mirror mirror;
static struct std_thread mirror_thread;

static void mirror_start(void)
{
    mirror = (struct mirror){};
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &mirror.endpoint));
    thread_start(&mirror_thread, mirrors, &mirror);
}

static void mirror_end(void)
{
    uint64_t words[12] = {};
    EXPECT_OK(raw_call(op_make(INTERFACE_TEST, 99, 0, 0, 0), mirror.endpoint, patience(), words));
    thread_join(&mirror_thread);
    handle_drop(mirror.endpoint);
}

static void words(void)
{
    mirror_start();
    for (uint32_t count = 0; count <= 12; count++) {
        uint64_t message[12], sent[12];
        for (uint64_t i = 0; i < 12; i++)
            message[i] = sent[i] = 0x1111111111111111 * (i + 1) + count;
        /* Words that do not belong to the message must not reach the other side: it sends back what it has. */
        EXPECT_OK(raw_call(op_make(INTERFACE_TEST, 1, count, 0, 0), mirror.endpoint, patience(), message));
        for (uint32_t i = 0; i < count; i++)
            EXPECT_EQUAL(message[i], sent[i]);
    }
    mirror_end();
}

static status_t inspect_type(handle_t handle, uint32_t *out_type, uint64_t *out_id)
{
    uint32_t rights;
    uint64_t badge;
    return tess_cspace_inspect(std_self.cspace, handle, out_type, &rights, &badge, out_id);
}

/* Every number of handles, every move mask, with 0 and 8 words. */
static void handles(void)
{
    mirror_start();
    for (uint32_t count = 1; count <= 4; count++)
        for (uint32_t mask = 0; mask < 1u << count; mask++) {
            uint64_t message[12] = {}, ids[4];
            handle_t sent[4];
            uint32_t type;
            for (uint32_t i = 0; i < count; i++) {
                EXPECT_OK(tess_untyped_create_event(std_self.untyped, &sent[i]));
                EXPECT_OK(inspect_type(sent[i], &type, &ids[i]));
                message[8 + i] = sent[i];
            }
            EXPECT_OK(raw_call(op_make(INTERFACE_TEST, 1, mask % 2 != 0 ? 8 : 0, count, mask), mirror.endpoint, patience(), message));
            for (uint32_t i = 0; i < count; i++) {
                uint64_t id;
                EXPECT_OK(inspect_type(message[8 + i], &type, &id));
                EXPECT_EQUAL(type, OBJECT_EVENT);
                EXPECT_EQUAL(id, ids[i]);
                EXPECT_STATUS(inspect_type(sent[i], &type, &id), (mask >> i) & 1 ? ERROR_STALE_HANDLE : OK);
                if (!((mask >> i) & 1))
                    handle_drop(sent[i]);
                handle_drop(message[8 + i]);
            }
        }
    mirror_end();
}

/* One bad handle among good ones: the message is refused as a whole, the good ones stay, the receiver goes on waiting. */
static void refused(void)
{
    mirror_start();
    handle_t good, fixed, gone;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &good));
    fixed = with_rights(good, EVENT_RIGHT_WAIT);
    gone = with_rights(good, RIGHTS_ALL);
    handle_drop(gone);
    const struct {
        handle_t bad;
        uint32_t mask;
        status_t wanted;
    } cases[] = {{HANDLE_NONE, 0, ERROR_BAD_HANDLE}, {~0ull, 1, ERROR_BAD_HANDLE},    {gone, 0, ERROR_STALE_HANDLE},
                 {fixed, 0, ERROR_MISSING_RIGHT},    {fixed, 2, ERROR_MISSING_RIGHT}, {good, 1, ERROR_BAD_ARGUMENT},
                 {good, 3, ERROR_BAD_ARGUMENT}};
    for (uint32_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        uint64_t message[12] = {[8] = good, [9] = cases[i].bad};
        uint32_t used, now, limit;
        EXPECT_OK(tess_cspace_info(std_self.cspace, &used, &limit));
        status_t status = raw_call(op_make(INTERFACE_TEST, 1, 0, 2, cases[i].mask), mirror.endpoint, patience(), message);
        if (status != cases[i].wanted)
            test_fail("case %u: %s", i, status_name(status));
        EXPECT_OK(tess_cspace_info(std_self.cspace, &now, &limit));
        EXPECT_EQUAL(now, used);
        EXPECT_OK(tess_event_set(good, 1));
    }
    uint64_t message[12] = {[8] = good, [9] = good}; /* the same twice, copied: two handles arrive */
    EXPECT_OK(raw_call(op_make(INTERFACE_TEST, 1, 0, 2, 0), mirror.endpoint, patience(), message));
    EXPECT(message[8] != message[9]);
    handle_drop(message[8]);
    handle_drop(message[9]);
    handle_drop(fixed);
    handle_drop(good);
    mirror_end();
}

/* ---- A receiver whose table is full ---- */

int32_t role_full(void)
{
    handle_t copy, endpoint = std_handle_needed("endpoint");
    while (std_handle_copy(endpoint, RIGHTS_ALL, &copy) == OK)
        ;
    struct mirror own = {.endpoint = endpoint};
    mirrors(&own);
    return 0;
}

static void full_table(void)
{
    struct child child;
    handle_t endpoint, event;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    struct child_args args = {.role = "full", .slot_limit = 24, .handles = {{"endpoint", endpoint, RIGHTS_ALL, false}}, .handle_count = 1};
    if (!child_start(&child, &args))
        return;
    thread_wait_until_waiting(child.spawned.thread);
    for (uint32_t mask = 0; mask < 2; mask++) {
        uint64_t message[12] = {[8] = event};
        EXPECT_STATUS(raw_call(op_make(INTERFACE_TEST, 1, 0, 1, mask), endpoint, patience(), message), ERROR_NO_HANDLES);
        EXPECT_OK(tess_event_set(event, 1));
    }
    uint64_t message[12] = {3};
    EXPECT_OK(raw_call(op_make(INTERFACE_TEST, 1, 1, 0, 0), endpoint, patience(), message)); /* it still serves */
    EXPECT_EQUAL(message[0], 3);
    EXPECT_OK(raw_call(op_make(INTERFACE_TEST, 99, 0, 0, 0), endpoint, patience(), message));
    child_expect(&child, EXIT_NORMAL, 0);
    child_end(&child);
    handle_drop(event);
    handle_drop(endpoint);
}

/* Badge and rights that the receiver sees are those of the handle that was called, whatever the caller writes. */
static void reports_badge(void *context)
{
    handle_t endpoint = *(handle_t *)context;
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = patience()};
    while (tess_invoke(&regs) == OK && op_method(regs.op) != 99)
        regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY_RECEIVE | 3ull << 16,
                                  .handle = endpoint,
                                  .aux = patience(),
                                  .word = {regs.aux, op_rights(regs.op), op_interface(regs.op)}};
    regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = endpoint};
    EXPECT_OK(tess_invoke(&regs));
}

static void badges(void)
{
    handle_t endpoint, badged, less;
    struct std_thread thread;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHTS_ALL, 0xABCDEF, &badged));
    EXPECT_OK(tess_cspace_mint(std_self.cspace, badged, TEST_RIGHT_PING, 0, &less));
    thread_start(&thread, reports_badge, &endpoint);
    const struct {
        handle_t handle;
        uint64_t badge, rights;
    } cases[] = {{endpoint, 0, RIGHTS_ALL}, {badged, 0xABCDEF, RIGHTS_ALL & ~(uint32_t)RIGHT_OWNER}, {less, 0xABCDEF, TEST_RIGHT_PING}};
    for (uint32_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        uint64_t message[12] = {};
        EXPECT_OK(raw_call(op_make(INTERFACE_NET, 1, 0, 0, 0), cases[i].handle, patience(), message));
        EXPECT_EQUAL(message[0], cases[i].badge);
        EXPECT_EQUAL(message[1], cases[i].rights);
        EXPECT_EQUAL(message[2], INTERFACE_NET);
    }
    uint64_t message[12] = {};
    EXPECT_OK(raw_call(op_make(INTERFACE_TEST, 99, 0, 0, 0), endpoint, patience(), message));
    thread_join(&thread);
    handle_drop(less);
    handle_drop(badged);
    handle_drop(endpoint);
}

void message_tests(void)
{
    static const struct test tests[] = {
        {"message.words", words},           {"message.handles", handles}, {"message.refused", refused},
        {"message.full_table", full_table}, {"message.badges", badges},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
