/*
 * Handles on their way: what happens in the middle of a message that carries some. All arrive or none; those that do not stay where they
 * were. The other side is a process of its own that waits without a deadline, as the quick way of calls wants it.
 */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

enum : uint32_t { SENDS_BACK = 1, ENDS_AT_ONCE = 96, LEAVES_ROOM = 97, ENDS = 99 };
constexpr uint32_t FILLERS_MAX = 512;

/* ---- The other side ---- */

/* Its table has room for so many handles, no more. */
static void leave_room(handle_t filler, uint32_t room)
{
    static handle_t fillers[FILLERS_MAX];
    static uint32_t count;
    while (count != 0)
        std_handle_delete(fillers[--count]);
    while (count < FILLERS_MAX && std_handle_copy(filler, RIGHTS_ALL, &fillers[count]) == OK)
        count++;
    while (room-- != 0)
        std_handle_delete(fillers[--count]);
}

/* So that its table cannot grow. */
static void use_memory_up(void)
{
    handle_t memory;
    for (uint64_t size = 1 << 20; size >= STD_PAGE; size /= 2)
        while (tess_untyped_create_memory(std_self.untyped, size, MEMORY_COMMITTED, &memory) == OK)
            ;
}

int32_t role_keeper(void)
{
    handle_t endpoint = std_handle_needed("endpoint"), filler = std_handle_needed("filler");
    if (std_arg(1) != nullptr)
        use_memory_up();
    const struct tess_regs receive = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = DEADLINE_INFINITE};
    struct tess_regs regs = receive;
    for (bool is_replying = false;; is_replying = true) {
        status_t status = tess_invoke(&regs);
        if (status != OK && is_replying) { /* what it was to send back is gone: the caller was told */
            regs = receive;
            status = tess_invoke(&regs);
        }
        if (status != OK || op_method(regs.op) == ENDS)
            break;
        uint64_t sizes = regs.op & (15ull << 16 | 7ull << 20), moved = ((1ull << op_handles(regs.op)) - 1) << 24;
        if (op_method(regs.op) == ENDS_AT_ONCE)
            (void)tess_process_exit(std_self.process, 0);
        if (op_method(regs.op) == LEAVES_ROOM)
            leave_room(filler, (uint32_t)regs.word[0]);
        regs.op = OP_ENDPOINT_REPLY_RECEIVE | sizes | moved;
        regs.handle = endpoint;
        regs.aux = DEADLINE_INFINITE;
    }
    regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = endpoint};
    return tess_invoke(&regs) == OK ? 0 : 1;
}

struct keeper {
    struct child child;
    handle_t endpoint, filler;
};

static bool keeper_start(struct keeper *keeper, uint32_t slot_limit, const char *argument)
{
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &keeper->endpoint));
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &keeper->filler));
    struct child_args args = {.role = "keeper",
                              .argument = argument,
                              .slot_limit = slot_limit,
                              .handles = {{"endpoint", keeper->endpoint, RIGHTS_ALL, false}, {"filler", keeper->filler, RIGHTS_ALL, false}},
                              .handle_count = 2};
    return child_start(&keeper->child, &args);
}

static status_t ask(const struct keeper *keeper, uint32_t method, uint32_t words, uint32_t handles, uint32_t mask, uint64_t message[12])
{
    return raw_call(op_make(INTERFACE_TEST, method, words, handles, mask), keeper->endpoint, DEADLINE_INFINITE, message);
}

static void keeper_end(struct keeper *keeper, bool is_over)
{
    uint64_t message[12] = {};
    if (!is_over)
        EXPECT_OK(ask(keeper, ENDS, 0, 0, 0, message));
    child_expect(&keeper->child, EXIT_NORMAL, 0);
    child_end(&keeper->child);
    handle_drop(keeper->filler);
    handle_drop(keeper->endpoint);
}

static uint32_t used_slots(void)
{
    uint32_t used = 0, limit;
    EXPECT_OK(tess_cspace_info(std_self.cspace, &used, &limit));
    return used;
}

static handle_t make_event(void)
{
    handle_t event = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    return event;
}

/* ---- Four handles ---- */

/* There and back, moved. */
static void pass(const struct keeper *keeper, handle_t *handles, uint32_t count)
{
    uint64_t message[12] = {};
    for (uint32_t i = 0; i < count; i++)
        message[MESSAGE_HANDLE_WORD + i] = handles[i];
    EXPECT_OK(ask(keeper, SENDS_BACK, 0, count, (1u << count) - 1, message));
    for (uint32_t i = 0; i < count; i++) {
        EXPECT_STATUS(tess_event_set(handles[i], 1), ERROR_STALE_HANDLE);
        handles[i] = message[MESSAGE_HANDLE_WORD + i];
        EXPECT_OK(tess_event_set(handles[i], 1));
    }
}

/* The other table takes the first `room` of four, and not the next. */
static void stop_midway(const struct keeper *keeper, uint32_t room, uint32_t mask, status_t wanted)
{
    uint64_t message[12] = {room};
    handle_t events[MESSAGE_HANDLES];
    EXPECT_OK(ask(keeper, LEAVES_ROOM, 1, 0, 0, message));
    for (uint32_t i = 0; i < MESSAGE_HANDLES; i++)
        message[MESSAGE_HANDLE_WORD + i] = events[i] = make_event();
    uint32_t used = used_slots();
    EXPECT_STATUS(ask(keeper, SENDS_BACK, 0, MESSAGE_HANDLES, mask, message), wanted);
    EXPECT_EQUAL(used_slots(), used);
    for (uint32_t i = 0; i < MESSAGE_HANDLES; i++)
        EXPECT_OK(tess_event_set(events[i], 1));
    pass(keeper, events, room); /* the room is still there */
    for (uint32_t i = 0; i < MESSAGE_HANDLES; i++)
        handle_drop(events[i]);
}

static void no_room(uint32_t slot_limit, const char *argument, status_t wanted)
{
    static const uint32_t masks[] = {0, 5, 15};
    struct keeper keeper;
    if (!keeper_start(&keeper, slot_limit, argument))
        return;
    for (uint32_t room = 0; room < MESSAGE_HANDLES; room++)
        for (uint32_t i = 0; i < ARRAY_LENGTH(masks); i++)
            stop_midway(&keeper, room, masks[i], wanted);
    uint64_t message[12] = {MESSAGE_HANDLES};
    handle_t events[MESSAGE_HANDLES];
    EXPECT_OK(ask(&keeper, LEAVES_ROOM, 1, 0, 0, message));
    for (uint32_t i = 0; i < MESSAGE_HANDLES; i++)
        events[i] = make_event();
    pass(&keeper, events, MESSAGE_HANDLES);
    for (uint32_t i = 0; i < MESSAGE_HANDLES; i++)
        handle_drop(events[i]);
    keeper_end(&keeper, false);
}

static void full(void) { no_room(64, nullptr, ERROR_NO_HANDLES); }

static void exhausted(void) { no_room(FILLERS_MAX, "no memory", ERROR_NO_MEMORY); }

struct revoker {
    handle_t source;
    _Atomic bool is_over;
};

static void revokes(void *context)
{
    struct revoker *revoker = context;
    while (!atomic_load(&revoker->is_over)) {
        EXPECT_OK(tess_cspace_revoke(std_self.cspace, revoker->source));
        EXPECT_OK(tess_thread_yield(tess_thread_block()->thread));
    }
}

/* What a message carries is revoked at any moment of its way, there or back; what is left over there goes with it. */
static void revoked(void)
{
    struct keeper keeper;
    struct revoker revoker = {.source = make_event()};
    struct std_thread thread;
    if (!keeper_start(&keeper, 0, nullptr))
        return;
    uint32_t used = used_slots();
    thread_start(&thread, revokes, &revoker);
    for (uint64_t end = time_after_ns(NS_PER_S / 5), i = 0; time_now_ns() < end; i++) {
        uint32_t count = i % 2 != 0 ? 1 : MESSAGE_HANDLES, mask = i % 4 < 2 ? (1u << count) - 1 : 0;
        uint64_t message[12] = {};
        handle_t sent[MESSAGE_HANDLES];
        for (uint32_t j = 0; j < count; j++) {
            EXPECT_OK(tess_cspace_copy(std_self.cspace, revoker.source, RIGHTS_ALL, &sent[j]));
            message[MESSAGE_HANDLE_WORD + j] = sent[j];
        }
        status_t status = ask(&keeper, SENDS_BACK, 0, count, mask, message);
        if (status != OK && status != ERROR_STALE_HANDLE && status != ERROR_NO_HANDLES) /* there; back */
            test_fail("%s round %lu count %u mask %u", status_name(status), i, count, mask);
        for (uint32_t j = 0; j < count; j++) {
            std_handle_delete(sent[j]);
            if (status == OK)
                std_handle_delete(message[MESSAGE_HANDLE_WORD + j]);
        }
    }
    atomic_store(&revoker.is_over, true);
    thread_join(&thread);
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, revoker.source));
    EXPECT_EQUAL(used_slots(), used);
    handle_drop(revoker.source);
    keeper_end(&keeper, false);
}

/* ---- One handle, moved by the quick way ---- */

static void quick(void)
{
    struct keeper keeper;
    uint32_t type, rights, type_back, rights_back;
    uint64_t badge, id, badge_back, id_back;
    handle_t endpoint, badged, event = make_event(), derived = with_rights(event, RIGHTS_ALL);
    if (!keeper_start(&keeper, 0, nullptr))
        return;
    for (uint32_t words = 0; words <= MESSAGE_HANDLE_WORD; words++) {
        uint64_t message[12] = {1, 2, 3, 4, 5, 6, 7, 8, event};
        uint32_t used = used_slots();
        EXPECT_OK(ask(&keeper, SENDS_BACK, words, 1, 1, message));
        for (uint64_t i = 0; i < words; i++)
            EXPECT_EQUAL(message[i], i + 1);
        EXPECT_STATUS(tess_event_set(event, 1), ERROR_STALE_HANDLE);
        EXPECT_EQUAL(used_slots(), used);
        event = message[8];
    }
    EXPECT_OK(tess_event_set(derived, 1)); /* what was derived from it stays */
    handle_drop(derived);
    handle_drop(event);
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHT_MOVE | RIGHT_INSPECT, 77, &badged));
    EXPECT_OK(tess_cspace_inspect(std_self.cspace, badged, &type, &rights, &badge, &id));
    uint64_t message[12] = {[8] = badged};
    EXPECT_OK(ask(&keeper, SENDS_BACK, 0, 1, 1, message));
    EXPECT_OK(tess_cspace_inspect(std_self.cspace, message[8], &type_back, &rights_back, &badge_back, &id_back));
    EXPECT(badge == 77 && badge_back == 77 && id_back == id && rights_back == rights && type_back == type);
    handle_drop(message[8]);
    handle_drop(endpoint);
    keeper_end(&keeper, false);
}

static void quick_refused(void)
{
    struct keeper keeper;
    handle_t event = make_event(), fixed = with_rights(event, RIGHTS_ALL & ~(uint32_t)RIGHT_MOVE), gone = with_rights(event, RIGHTS_ALL),
             dead = make_event();
    handle_drop(gone);
    handle_destroy(dead);
    if (!keeper_start(&keeper, 64, nullptr))
        return;
    const struct {
        handle_t handle;
        status_t wanted;
    } cases[] = {{HANDLE_NONE, ERROR_BAD_HANDLE}, {~0ull, ERROR_BAD_HANDLE},    {gone, ERROR_STALE_HANDLE},
                 {dead, ERROR_STALE_HANDLE},      {fixed, ERROR_MISSING_RIGHT}, {event, OK}};
    for (uint32_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        uint64_t message[12] = {[8] = cases[i].handle};
        uint32_t used = used_slots();
        EXPECT_STATUS(ask(&keeper, SENDS_BACK, 0, 1, 1, message), cases[i].wanted);
        EXPECT_EQUAL(used_slots(), used);
        if (cases[i].wanted == OK)
            event = message[8];
    }
    uint64_t message[12] = {};
    EXPECT_OK(ask(&keeper, LEAVES_ROOM, 1, 0, 0, message));
    message[8] = event;
    EXPECT_STATUS(ask(&keeper, SENDS_BACK, 0, 1, 1, message), ERROR_NO_HANDLES);
    EXPECT_OK(tess_event_set(event, 1));
    message[0] = 1;
    EXPECT_OK(ask(&keeper, LEAVES_ROOM, 1, 0, 0, message));
    pass(&keeper, &event, 1);
    handle_drop(fixed);
    handle_drop(event);
    keeper_end(&keeper, false);
}

/* Who has it ends without an answer: it ends with his table, what was derived from it stays. */
static void receiver_dies(void)
{
    struct keeper keeper;
    handle_t event = make_event(), derived = with_rights(event, RIGHTS_ALL);
    if (!keeper_start(&keeper, 0, nullptr))
        return;
    uint64_t message[12] = {[8] = event};
    uint32_t used = used_slots();
    EXPECT_STATUS(ask(&keeper, ENDS_AT_ONCE, 0, 1, 1, message), ERROR_PEER_DIED);
    EXPECT_STATUS(tess_event_set(event, 1), ERROR_STALE_HANDLE);
    EXPECT_EQUAL(used_slots(), used - 1);
    EXPECT_OK(tess_event_set(derived, 1));
    handle_drop(derived);
    keeper_end(&keeper, true);
}

struct sender {
    handle_t endpoint, event;
    status_t status;
};

static void sends(void *context)
{
    struct sender *sender = context;
    uint64_t message[12] = {[8] = sender->event};
    sender->status = raw_call(op_make(INTERFACE_TEST, SENDS_BACK, 0, 1, 1), sender->endpoint, DEADLINE_INFINITE, message);
}

/* Nobody took the message: the handle stays with who sent it, whatever ended the call. */
static void untaken(void)
{
    for (uint32_t how = 0; how < 2; how++) {
        struct sender sender = {.event = make_event()};
        struct std_thread thread;
        EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &sender.endpoint));
        thread_start(&thread, sends, &sender);
        thread_wait_until_waiting(thread.thread);
        if (how == 0)
            handle_destroy(sender.endpoint);
        else
            EXPECT_OK(tess_thread_interrupt(thread.thread));
        thread_join(&thread);
        EXPECT_STATUS(sender.status, how == 0 ? ERROR_PEER_DIED : ERROR_INTERRUPTED);
        EXPECT_OK(tess_event_set(sender.event, 1));
        if (how != 0)
            handle_drop(sender.endpoint);
        handle_drop(sender.event);
    }
}

void transfer_tests(void)
{
    static const struct test tests[] = {
        {"transfer.full", full},       {"transfer.exhausted", exhausted},         {"transfer.revoked", revoked},
        {"transfer.quick", quick},     {"transfer.quick_refused", quick_refused}, {"transfer.receiver_dies", receiver_dies},
        {"transfer.untaken", untaken},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
