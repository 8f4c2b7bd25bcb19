/* The audit log: who gave which handle to whom, took it back, made hardware reachable, killed, or was denied; and that nobody floods it
 * unseen. */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/endpoint.h>
#include <tess/stub/event.h>
#include <tess/stub/log.h>
#include <tess/stub/machine.h>
#include <tess/stub/process.h>
#include <tess/stub/untyped.h>

static struct tess_audit_record found[600];
static uint32_t found_count;
static uint64_t cursor;

/* What came since the last call goes to `found`; returns how many records were lost. */
static uint64_t take(void)
{
    static uint8_t buffer[4096];
    uint64_t size = 0, lost = 0, all_lost = 0;
    found_count = 0;
    do {
        if (!EXPECT_OK(tess_log_drain(guest.audit, cursor, (uint64_t)buffer, sizeof(buffer), &cursor, &size, &lost)))
            return 0;
        all_lost += lost;
        for (uint64_t at = 0; at < size;) {
            struct tess_log_record head;
            memcpy(&head, buffer + at, sizeof(head));
            EXPECT_EQUAL(head.size, sizeof(struct tess_audit_record));
            if (found_count < ARRAY_LENGTH(found))
                memcpy(&found[found_count++], buffer + at + sizeof(head), sizeof(found[0]));
            EXPECT_EQUAL(head.process_id, found[found_count - 1].from);
            at += sizeof(head) + head.size;
        }
    } while (size != 0);
    return all_lost;
}

static const struct tess_audit_record *find(uint32_t what, uint64_t object)
{
    for (uint32_t i = found_count; i-- > 0;)
        if (found[i].what == what && (object == 0 || found[i].object == object))
            return &found[i];
    static const struct tess_audit_record none;
    test_fail("no record of %u for object %lu", what, object);
    return &none;
}

static uint64_t object_id(handle_t handle)
{
    uint32_t type, rights;
    uint64_t badge, id = 0;
    EXPECT_OK(tess_cspace_inspect(std_self.cspace, handle, &type, &rights, &badge, &id));
    return id;
}

static void reading(void)
{
    static uint8_t buffer[1024];
    uint64_t next, size, lost;
    (void)take();
    EXPECT_STATUS(tess_log_append(guest.audit, (uint64_t)"x", 1, LOG_INFO), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_log_drain(guest.audit, 0, (uint64_t)buffer, 100, &next, &size, &lost), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_log_drain(guest.audit, 0, 8, sizeof(buffer), &next, &size, &lost), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_log_drain(guest.audit, 0, (uint64_t)buffer, sizeof(buffer), &next, &size, &lost)); /* the oldest kept */
    EXPECT(size > 0 && lost == 0 && next <= cursor + 1);
    (void)take();
    EXPECT_EQUAL(find(AUDIT_DENIED, object_id(guest.audit))->detail[0], (uint32_t)OP_LOG_APPEND);
    /* One reader is told; a reader of the other log is another. */
    handle_t event;
    uint64_t bits;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    EXPECT_OK(tess_log_attach(guest.audit, event, 4));
    EXPECT_STATUS(tess_log_attach(guest.audit, event, 4), ERROR_BUSY);
    handle_t powerless = with_rights(event, RIGHT_INSPECT);
    EXPECT_STATUS(tess_event_set(powerless, 1), ERROR_MISSING_RIGHT);
    EXPECT_OK(tess_event_wait(event, 4, &bits, patience()));
    handle_drop(powerless);
    handle_drop(event);
}

static void authority(void)
{
    struct child child;
    handle_t event, copy, interrupt;
    uint64_t self_id = object_id(std_self.process);
    (void)take();
    if (!child_start(&child, &(struct child_args){.role = "wait"}))
        return;
    uint64_t child_id = object_id(child.spawned.process);
    (void)take();
    EXPECT(memcmp(find(AUDIT_PROCESS, child_id)->to_name, "wait", 5) == 0);
    /* Its handles were given to it one by one. */
    uint32_t given = 0;
    for (uint32_t i = 0; i < found_count; i++)
        given += found[i].what == AUDIT_GIVE && found[i].to == child_id && found[i].from == self_id ? found[i].count : 0;
    EXPECT(given >= 3);
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    uint64_t event_id = object_id(event);
    EXPECT_OK(tess_cspace_copy(child.spawned.cspace, event, EVENT_RIGHT_WAIT | RIGHT_INSPECT, &copy));
    (void)take();
    const struct tess_audit_record *record = find(AUDIT_GIVE, event_id);
    EXPECT(record->to == child_id && record->type == OBJECT_EVENT && record->rights == (EVENT_RIGHT_WAIT | RIGHT_INSPECT));
    EXPECT(record->from == self_id && memcmp(record->to_name, "wait", 5) == 0 && record->count == 1);
    EXPECT_OK(tess_cspace_mint(child.spawned.cspace, event, RIGHT_INSPECT, 0, &copy));
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, event));
    (void)take();
    EXPECT(find(AUDIT_MINT, event_id)->to == child_id);
    EXPECT(find(AUDIT_REVOKE, event_id)->from == self_id);
    /* Within one table nobody gets anything. */
    copy = with_rights(event, RIGHT_INSPECT);
    handle_drop(copy);
    (void)take();
    EXPECT_EQUAL(found_count, 0);
    EXPECT_OK(tess_machine_interrupt(guest.machine, std_self.untyped, guest.platform.irq_source_count - 1, INTERRUPT_LEVEL, &interrupt));
    (void)take();
    record = find(AUDIT_DEVICE, 0);
    EXPECT(record->type == OBJECT_INTERRUPT && record->detail[0] == guest.platform.irq_source_count - 1 &&
           record->detail[1] == INTERRUPT_LEVEL);
    handle_destroy(interrupt);
    EXPECT_OK(tess_process_kill(child.spawned.process, 9));
    child_expect(&child, EXIT_KILLED, 9);
    (void)take();
    EXPECT_EQUAL(find(AUDIT_DESTROY, 0)->type, OBJECT_INTERRUPT);
    EXPECT_EQUAL(find(AUDIT_KILL, child_id)->detail[0], 9);
    child_end(&child);
    handle_drop(event);
}

/* Sends a copy of "gift" over "endpoint", then is refused 10,000 times, for two reasons in turn. */
constexpr uint32_t REFUSALS = 10'000;
int32_t role_flood(void)
{
    handle_t endpoint = std_handle_needed("endpoint"), gift = std_handle_needed("gift");
    struct tess_message_page *page = tess_message_page();
    page->words[MESSAGE_HANDLE_WORD] = gift;
    struct tess_regs regs = {.op = op_make(INTERFACE_TEST, 1, 0, 1, 0), .handle = endpoint, .aux = DEADLINE_INFINITE};
    if (tess_invoke(&regs) != OK)
        return 1;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < REFUSALS; i++)
        refused += (i % 2 == 0 ? tess_event_set(gift, 1) : tess_event_clear(gift, 1)) == ERROR_MISSING_RIGHT;
    return refused == REFUSALS ? 0 : 2;
}

static void flood(void)
{
    handle_t endpoint, event;
    struct child child;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    uint64_t event_id = object_id(event);
    struct child_args args = {.role = "flood",
                              .handles = {{"endpoint", endpoint, RIGHTS_ALL & ~RIGHT_OWNER, false}, {"gift", event, RIGHT_COPY, false}},
                              .handle_count = 2};
    if (!child_start(&child, &args))
        return;
    uint64_t child_id = object_id(child.spawned.process);
    (void)take();
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = patience()};
    EXPECT_OK(tess_invoke(&regs));
    handle_t got = tess_message_page()->words[MESSAGE_HANDLE_WORD];
    regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = endpoint};
    EXPECT_OK(tess_invoke(&regs));
    child_expect(&child, EXIT_NORMAL, 0);
    uint64_t lost = take();
    EXPECT_EQUAL(lost, 0);
    const struct tess_audit_record *record = find(AUDIT_GIVE, event_id);
    EXPECT(record->from == child_id && record->to == object_id(std_self.process) && record->rights == RIGHT_COPY);
    EXPECT(memcmp(record->from_name, "flood", 6) == 0);
    /* All refusals are accounted for, in few records. */
    uint64_t denied = 0, records = 0, left_out = 0;
    for (uint32_t i = 0; i < found_count; i++) {
        if (found[i].from != child_id)
            continue;
        records++;
        denied += found[i].what == AUDIT_DENIED ? found[i].count : 0;
        left_out += found[i].what == AUDIT_LEFT_OUT ? found[i].count : 0;
        if (found[i].what == AUDIT_LEFT_OUT)
            EXPECT_EQUAL(found[i].count, found[i].detail[0]);
    }
    EXPECT_EQUAL(denied + left_out, REFUSALS);
    EXPECT(records < 200 && left_out > 0);
    child_end(&child);
    handle_drop(got);
    handle_drop(event);
    handle_drop(endpoint);
}

/* The same again and again is one record, and a count. */
static void repeated(void)
{
    handle_t event;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    handle_t powerless = with_rights(event, 0);
    uint64_t id = object_id(event);
    (void)take();
    for (uint32_t i = 0; i < 500; i++)
        EXPECT_STATUS(tess_event_set(powerless, 1), ERROR_MISSING_RIGHT);
    (void)take();
    uint32_t written = found_count;
    EXPECT_STATUS(tess_event_clear(powerless, 1), ERROR_MISSING_RIGHT); /* another: what was counted is written */
    uint64_t total = find(AUDIT_DENIED, id)->count;
    EXPECT(written >= 1 && written < 10);
    (void)take();
    for (uint32_t i = 0; i < found_count; i++)
        total += found[i].detail[0] == (uint32_t)OP_EVENT_SET ? found[i].count : 0;
    EXPECT(total == 500 || written > 1);
    handle_drop(powerless);
    handle_drop(event);
}

/* Those who make more records than the log keeps overwrite the oldest, and every reader learns how many it missed. */
static void overflow(void)
{
    handle_t event;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    handle_t powerless = with_rights(event, 0);
    (void)take();
    uint64_t mine = cursor;
    for (uint32_t i = 0; i < 2000; i++) /* the first process has no limit */
        EXPECT_STATUS(i % 2 == 0 ? tess_event_set(powerless, 1) : tess_event_clear(powerless, 1), ERROR_MISSING_RIGHT);
    uint64_t lost = take();
    EXPECT(lost > 1000 && found_count > 100);
    EXPECT_EQUAL(lost + found_count, cursor - mine);
    handle_drop(powerless);
    handle_drop(event);
}

void audit_tests(void)
{
    static const struct test tests[] = {
        {"audit.reading", reading},   {"audit.authority", authority}, {"audit.flood", flood},
        {"audit.repeated", repeated}, {"audit.overflow", overflow},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
