/* trace: what is recorded, that nothing is invented and losses are told, and that all memory comes back whoever ends it. */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/endpoint.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/system.h>
#include <tess/stub/thread.h>
#include <tess/stub/trace.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

constexpr uint32_t ALL = ~0u;

struct info {
    uint32_t buffers, records, classes;
    uint64_t buffer_bytes, process_id, start_ns;
};

static struct info info_now(void)
{
    struct info info = {};
    EXPECT_OK(
        tess_trace_info(guest.trace, &info.buffers, &info.records, &info.buffer_bytes, &info.classes, &info.process_id, &info.start_ns));
    return info;
}

static handle_t start(uint32_t records, uint32_t classes, uint64_t process_id)
{
    handle_t memory = HANDLE_NONE;
    EXPECT_OK(tess_trace_start(guest.trace, std_self.untyped, records, classes, process_id, &memory));
    return memory;
}

/* Ends the recording with its memory. */
static void finish(handle_t memory)
{
    handle_destroy(memory);
    EXPECT_EQUAL(info_now().buffers, 0);
}

static uint64_t object_id(handle_t handle)
{
    uint32_t type, rights;
    uint64_t badge, id = 0;
    EXPECT_OK(tess_cspace_inspect(std_self.cspace, handle, &type, &rights, &badge, &id));
    return id;
}

typedef bool (*match_fn)(const struct tess_trace_record *record, uint64_t wanted);

/* Records of one buffer from *cursor on that match; all of them are looked at, but no more than were there at first: busy CPUs may
 * write faster than this reads. */
static uint32_t count_in(uint32_t buffer, uint64_t *cursor, match_fn match, uint64_t wanted, uint64_t *out_lost)
{
    static struct tess_trace_record records[64];
    uint32_t found = 0;
    uint64_t count = 0, last_ns = 0, left = info_now().records;
    *out_lost = 0;
    do {
        uint64_t lost, before = *cursor;
        if (!EXPECT_OK(tess_trace_read(guest.trace, buffer, *cursor, (uint64_t)records, sizeof(records), cursor, &count, &lost)))
            return 0;
        if (before != 0)
            EXPECT_EQUAL(*cursor - before, count + lost);
        *out_lost += lost;
        for (uint64_t i = 0; i < count; i++) {
            const struct trace_event_info *event = trace_event_info(records[i].event);
            EXPECT(event != nullptr && records[i].time_ns >= last_ns && records[i].time_ns <= time_now_ns());
            EXPECT(records[i].cpu < guest.cpu_count && (buffer == guest.cpu_count || records[i].cpu == buffer));
            EXPECT((buffer == guest.cpu_count) == (event->class_bit == TRACE_CLASS_LIFE));
            last_ns = records[i].time_ns;
            found += match != nullptr && match(&records[i], wanted);
        }
        left -= count < left ? count : left;
    } while (count == ARRAY_LENGTH(records) && left != 0);
    return found;
}

static uint32_t count_all(match_fn match, uint64_t wanted)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i <= guest.cpu_count; i++) {
        uint64_t cursor = 0, lost;
        found += count_in(i, &cursor, match, wanted, &lost);
        EXPECT_EQUAL(lost, 0);
    }
    return found;
}

static bool is_event(const struct tess_trace_record *record, uint64_t wanted) { return record->event == wanted; }

static void life(void)
{
    handle_t memory, other;
    uint64_t cursor, count, lost, address;
    struct tess_trace_record record;
    EXPECT_EQUAL(info_now().buffers, 0);
    EXPECT_STATUS(tess_trace_stop(guest.trace), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_trace_change(guest.trace, ALL, 0), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_trace_read(guest.trace, 0, 0, (uint64_t)&record, sizeof(record), &cursor, &count, &lost), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_trace_start(guest.trace, std_self.untyped, 63, ALL, 0, &memory), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_trace_start(guest.trace, std_self.untyped, (1u << 18) + 1, ALL, 0, &memory), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_trace_start(guest.trace, std_self.untyped, ~0u, ALL, 0, &memory), ERROR_BAD_ARGUMENT);
    memory = start(64, TRACE_CLASS_SYSCALL, 0);
    struct info info = info_now();
    EXPECT_EQUAL(info.buffers, guest.cpu_count + 1);
    EXPECT(info.records >= 64 && info.buffer_bytes >= info.records * sizeof(record));
    EXPECT_EQUAL(info.classes, TRACE_CLASS_SYSCALL | TRACE_CLASS_LIFE);
    EXPECT_STATUS(tess_trace_start(guest.trace, std_self.untyped, 64, ALL, 0, &other), ERROR_BUSY);
    /* Nobody can write to it, change its size, or take its pages. */
    EXPECT_STATUS(tess_memory_write(memory, 0, (uint64_t)&record, 8), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_memory_decommit(memory, 0, STD_PAGE), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &address), ERROR_MISSING_RIGHT);
    /* Reading: what is refused. */
    EXPECT_STATUS(tess_trace_read(guest.trace, guest.cpu_count + 1, 0, (uint64_t)&record, sizeof(record), &cursor, &count, &lost),
                  ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_trace_read(guest.trace, 0, 0, (uint64_t)&record, sizeof(record) - 1, &cursor, &count, &lost), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_system_null(guest.system));
    static const uint64_t bad[] = {0, 1ull << 38, 0xFFFFFFFF80000000, ~0ull};
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++)
        EXPECT_STATUS(tess_trace_read(guest.trace, guest.cpu_count, 0, bad[i], 64, &cursor, &count, &lost), ERROR_BAD_ADDRESS);
    EXPECT_OK(tess_trace_read(guest.trace, 0, ~0ull, (uint64_t)&record, sizeof(record), &cursor, &count, &lost)); /* from the future */
    EXPECT_EQUAL(count, 0);
    /* Stopped: nothing more comes, what there is stays. */
    EXPECT_OK(tess_trace_stop(guest.trace));
    EXPECT_EQUAL(info_now().classes, 0);
    uint32_t before = count_all(is_event, TRACE_SYSCALL);
    EXPECT(before > 0);
    EXPECT_OK(tess_system_null(guest.system));
    EXPECT_EQUAL(count_all(is_event, TRACE_SYSCALL), before);
    EXPECT_OK(tess_trace_change(guest.trace, TRACE_CLASS_SYSCALL, 0));
    EXPECT_OK(tess_system_null(guest.system));
    EXPECT(count_all(is_event, TRACE_SYSCALL) > before);
    EXPECT_OK(tess_trace_stop(guest.trace));
    /* The next one takes its place; the first one's memory stays until its holder drops it. */
    other = start(64, 0, 0);
    EXPECT_EQUAL(count_all(is_event, TRACE_SYSCALL), 0);
    handle_destroy(memory);
    EXPECT_EQUAL(info_now().buffers, guest.cpu_count + 1);
    handle_drop(other); /* the last handle: nobody is left who would read it */
    EXPECT_EQUAL(info_now().buffers, 0);
}

static struct {
    handle_t endpoint, client;
    uint32_t sequence;
} talk;

static void client_fn(void *)
{
    for (uint32_t i = 0; i < 4; i++) {
        struct tess_regs regs = {.op = op_make(INTERFACE_TEST, 5, 0, 0, 0), .handle = talk.client, .aux = DEADLINE_INFINITE};
        EXPECT_OK(tess_invoke(&regs));
    }
}

static bool is_call(const struct tess_trace_record *record, uint64_t wanted)
{
    return record->event == TRACE_CALL && record->args[0] == wanted && (uint32_t)record->args[1] >> 8 == INTERFACE_TEST;
}

static bool is_reply_to(const struct tess_trace_record *record, uint64_t wanted)
{
    return record->event == TRACE_REPLY && (uint32_t)record->args[0] == wanted && (uint32_t)record->args[1] == OK;
}

static bool is_fault_at(const struct tess_trace_record *record, uint64_t wanted)
{
    return record->event == TRACE_FAULT && record->args[0] == wanted && (uint32_t)record->args[1] == 1 && record->args[1] >> 32 == 1;
}

static bool is_switch_to(const struct tess_trace_record *record, uint64_t wanted)
{
    return record->event == TRACE_SWITCH && (uint32_t)record->args[0] == wanted;
}

static bool is_null(const struct tess_trace_record *record, uint64_t wanted)
{
    return record->event == TRACE_SYSCALL && record->args[0] == (uint32_t)OP_SYSTEM_NULL && record->thread == wanted;
}

static bool is_object(const struct tess_trace_record *record, uint64_t wanted)
{
    return (record->event == TRACE_OBJECT_MADE || record->event == TRACE_OBJECT_KILLED) && record->args[0] == wanted;
}

static bool is_refused_charge(const struct tess_trace_record *record, uint64_t wanted)
{
    return record->event == TRACE_CHARGE_REFUSED && record->args[0] == wanted && record->args[1] == 4;
}

static bool is_thread_of(const struct tess_trace_record *record, uint64_t wanted)
{
    return record->event == TRACE_THREAD && record->args[0] == wanted;
}

static bool is_process_named(const struct tess_trace_record *record, uint64_t wanted)
{
    return record->event == TRACE_PROCESS && record->thread == wanted && memcmp(record->args, "exit\0\0\0\0\0\0\0\0\0\0\0\0", 16) == 0;
}

static bool is_end_of(const struct tess_trace_record *record, uint64_t wanted)
{
    return record->event == TRACE_PROCESS_ENDED && record->thread == wanted && (uint32_t)record->args[0] == EXIT_NORMAL &&
           record->args[0] >> 32 == 7;
}

/* Something of every class, with what it says. */
static void events(void)
{
    handle_t memory = start(4096, ALL, 0), page, untyped, out;
    struct std_thread client;
    struct child child;
    uint64_t address;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &talk.endpoint));
    talk.client = with_rights(talk.endpoint, RIGHTS_ALL & ~RIGHT_OWNER);
    uint64_t endpoint_id = object_id(talk.endpoint), self_id = object_id(std_self.thread), process_id = object_id(std_self.process);
    thread_start(&client, client_fn, nullptr);
    uint64_t client_id = object_id(client.thread);
    for (uint32_t i = 0; i < 4; i++) {
        struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = talk.endpoint, .aux = patience()};
        EXPECT_OK(tess_invoke(&regs));
        regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = talk.endpoint};
        EXPECT_OK(tess_invoke(&regs));
    }
    thread_join(&client);
    EXPECT_OK(tess_system_null(guest.system));
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &page));
    uint64_t page_id = object_id(page);
    EXPECT_OK(tess_vspace_map(std_self.vspace, page, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &address));
    *(volatile uint64_t *)(address + 24) = 1;
    EXPECT_OK(tess_vspace_unmap(std_self.vspace, address, STD_PAGE));
    handle_drop(page);
    sleep_ns(2 * NS_PER_MS);
    EXPECT_OK(tess_trace_stop(guest.trace));
    EXPECT_EQUAL(count_all(is_call, endpoint_id), 4);
    EXPECT_EQUAL(count_all(is_reply_to, client_id), 4);
    EXPECT_EQUAL(count_all(is_null, self_id), 1);
    EXPECT_EQUAL(count_all(is_fault_at, address + 24), 1);
    EXPECT(count_all(is_switch_to, client_id) >= 1 && count_all(is_switch_to, self_id) >= 1 && count_all(is_switch_to, 0) >= 1);
    EXPECT_EQUAL(count_all(is_object, page_id), 2);
    EXPECT(count_all(is_event, TRACE_PAGE_ALLOC) > 0 && count_all(is_event, TRACE_PAGE_FREE) > 0);
    EXPECT(count_all(is_event, TRACE_TIMER) > 0);
    EXPECT(guest.cpu_count == 1 || count_all(is_event, TRACE_IPI) > 0);
    EXPECT(count_all(is_thread_of, process_id) >= 2); /* this one was there before */
    /* Last, because such a call is made again for as long as memory may come back. */
    EXPECT_OK(tess_trace_change(guest.trace, TRACE_CLASS_MEMORY, 0));
    EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 3 * STD_PAGE, &untyped));
    uint64_t untyped_id = object_id(untyped);
    EXPECT_STATUS(tess_untyped_create_memory(untyped, 4 * STD_PAGE, MEMORY_CONTIGUOUS, &out), ERROR_NO_MEMORY);
    handle_destroy(untyped);
    EXPECT(count_all(is_refused_charge, untyped_id) >= 1);
    EXPECT_OK(tess_trace_change(guest.trace, 0, 0)); /* lives are always recorded */
    uint64_t child_id = 0;
    if (child_start(&child, &(struct child_args){.role = "exit"})) {
        child_id = object_id(child.spawned.process);
        child_expect(&child, EXIT_NORMAL, 7);
        child_end(&child);
    }
    EXPECT_EQUAL(count_all(is_process_named, child_id), 1);
    EXPECT_EQUAL(count_all(is_end_of, child_id), 1);
    handle_drop(talk.client);
    handle_drop(talk.endpoint);
    finish(memory);
}

/* The short way of call and reply. */
static void server_fn(void *)
{
    struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = talk.endpoint, .aux = DEADLINE_INFINITE};
    EXPECT_OK(tess_invoke(&regs));
    for (uint32_t i = 0; i < 8; i++) {
        regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY_RECEIVE, .handle = talk.endpoint, .aux = DEADLINE_INFINITE};
        status_t status = tess_invoke(&regs);
        if (status == ERROR_PEER_DIED || status == ERROR_STALE_HANDLE)
            return;
    }
}

static bool is_any_reply(const struct tess_trace_record *record, uint64_t wanted)
{
    return record->event == TRACE_REPLY && record->thread == wanted;
}

static void handed_over(void)
{
    struct std_thread server, client;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &talk.endpoint));
    talk.client = with_rights(talk.endpoint, RIGHTS_ALL & ~RIGHT_OWNER);
    uint64_t endpoint_id = object_id(talk.endpoint);
    thread_start(&server, server_fn, nullptr);
    thread_wait_until_waiting(server.thread);
    uint64_t server_id = object_id(server.thread);
    handle_t memory = start(4096, TRACE_CLASS_CALL, 0);
    for (uint32_t i = 0; i < 2; i++) {
        thread_start(&client, client_fn, nullptr);
        thread_join(&client);
    }
    EXPECT_OK(tess_trace_stop(guest.trace));
    EXPECT_EQUAL(count_all(is_call, endpoint_id), 8);
    EXPECT_EQUAL(count_all(is_any_reply, server_id), 8);
    EXPECT_EQUAL(count_all(is_event, TRACE_SWITCH), 0); /* not asked for */
    handle_destroy(talk.endpoint);                      /* and all handles to it */
    thread_join(&server);
    finish(memory);
}

/* Only one process's events. */
static void one_process(void)
{
    struct child child;
    if (!child_start(&child, &(struct child_args){.role = "exit", .is_suspended = true}))
        return;
    handle_t memory = start(1024, TRACE_CLASS_SYSCALL | TRACE_CLASS_FAULT, object_id(child.spawned.process));
    uint64_t self_id = object_id(std_self.thread);
    EXPECT_OK(tess_system_null(guest.system));
    EXPECT_OK(process_start(&child.spawned));
    child_expect(&child, EXIT_NORMAL, 7);
    EXPECT_OK(tess_trace_stop(guest.trace));
    EXPECT_EQUAL(count_all(is_null, self_id), 0);
    EXPECT(count_all(is_event, TRACE_SYSCALL) > 0);
    child_end(&child);
    finish(memory);
}

/* One CPU's buffer goes round several times: what is lost is told exactly, to each of two readers. */
static void overflow(void)
{
    EXPECT_OK(tess_thread_set_affinity(std_self.thread, 1));
    handle_t memory = start(64, TRACE_CLASS_SYSCALL, 0);
    uint64_t self_id = object_id(std_self.thread), slow = 0, fast = 0, lost, more;
    (void)count_in(0, &slow, nullptr, 0, &lost);
    EXPECT_EQUAL(lost, 0);
    EXPECT(slow > 0);
    fast = slow;
    uint32_t capacity = info_now().records, seen = 0;
    for (uint32_t round = 0; round < 10; round++) {
        for (uint32_t i = 0; i < capacity / 4; i++)
            EXPECT_OK(tess_system_null(guest.system));
        seen += count_in(0, &fast, is_null, self_id, &lost);
        EXPECT_EQUAL(lost, 0);
    }
    EXPECT_EQUAL(seen, 10 * (capacity / 4));
    uint64_t from = slow;
    uint32_t kept = count_in(0, &slow, nullptr, 0, &lost);
    (void)kept;
    EXPECT(lost > capacity && slow >= fast);
    EXPECT(slow - from >= lost && slow - from - lost <= capacity + 8); /* its own calls are recorded meanwhile */
    (void)count_in(0, &fast, nullptr, 0, &more);
    EXPECT_EQUAL(more, 0);
    EXPECT_OK(tess_trace_stop(guest.trace));
    uint64_t again = 0;
    (void)count_in(0, &again, nullptr, 0, &lost);
    EXPECT_EQUAL(lost, 0); /* from the oldest on nothing is missing */
    finish(memory);
    EXPECT_OK(tess_thread_set_affinity(std_self.thread, UINT64_MAX));
}

/* What is mapped and what trace.read gives are the same. */
static void mapped(void)
{
    handle_t memory = start(64, TRACE_CLASS_SYSCALL, 0);
    struct info info = info_now();
    void *base;
    static struct tess_trace_record records[256];
    if (!EXPECT_OK(std_map(memory, 0, info.buffers * info.buffer_bytes, MAP_READ, &base)))
        return;
    for (uint32_t i = 0; i < 100; i++)
        EXPECT_OK(tess_system_null(guest.system));
    EXPECT_OK(tess_trace_stop(guest.trace));
    for (uint32_t i = 0; i < info.buffers; i++) {
        const struct tess_trace_buffer *buffer = (const void *)((const char *)base + i * info.buffer_bytes);
        const struct tess_trace_record *shown = (const void *)(buffer + 1);
        uint64_t cursor, count, lost;
        EXPECT(buffer->index == i && buffer->capacity == info.records);
        EXPECT_OK(tess_trace_read(guest.trace, i, 0, (uint64_t)records, sizeof(records), &cursor, &count, &lost));
        EXPECT_EQUAL(cursor, buffer->head);
        for (uint64_t n = 0; n < count; n++)
            EXPECT(memcmp(&records[n], &shown[(cursor - count + n) % buffer->capacity], sizeof(records[n])) == 0);
    }
    /* The handle goes, the mapping keeps it; with the mapping it is over. */
    handle_drop(memory);
    EXPECT_EQUAL(info_now().buffers, info.buffers);
    std_unmap(base, info.buffers * info.buffer_bytes);
    EXPECT_EQUAL(info_now().buffers, 0);
}

/* Starts a recording on its own memory and is killed, or lets go of its memory, in the middle of it. */
int32_t role_trace(void)
{
    handle_t memory;
    status_t status = tess_trace_start(std_handle_needed("trace"), std_self.untyped, 1024, ALL, 0, &memory);
    return status == OK ? role_wait() : 1;
}

static void wait_until_recording(bool wanted)
{
    uint64_t end = patience();
    while ((info_now().buffers != 0) != wanted && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    EXPECT_EQUAL(info_now().buffers != 0, wanted);
}

static void tracer_dies(void)
{
    for (uint32_t i = 0; i < 4; i++) {
        struct child child;
        struct child_args args = {.role = "trace", .handles = {{"trace", guest.trace, RIGHTS_ALL, false}}, .handle_count = 1};
        if (!child_start(&child, &args))
            return;
        wait_until_recording(true);
        if (i % 2 == 0) {
            EXPECT_OK(tess_process_kill(child.spawned.process, 3));
            child_expect(&child, EXIT_KILLED, 3);
        } else {
            child_end(&child);
        }
        wait_until_recording(false);
        if (i % 2 == 0)
            child_end(&child);
    }
}

/* All CPUs are busy while somebody starts, reads, and ends recordings. */
static _Atomic bool must_stop;

/* The first also makes faults and shootdowns; those of all would mostly wait for each other. */
static void busy_fn(void *context)
{
    bool is_first = context != nullptr;
    handle_t memory, event;
    uint64_t address = 0;
    if (is_first && (!EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory)) ||
                     !EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, STD_PAGE, 0, MAP_READ | MAP_WRITE, &address))))
        return;
    for (uint32_t i = 0; !atomic_load(&must_stop); i++) {
        (void)tess_system_null(guest.system);
        (void)tess_thread_yield(tess_thread_block()->thread);
        if (is_first && i % 16 == 0) {
            *(volatile uint64_t *)address = 1;
            EXPECT_OK(tess_memory_decommit(memory, 0, STD_PAGE));
        }
        if (tess_untyped_create_event(std_self.untyped, &event) == OK)
            handle_drop(event);
    }
    if (is_first) {
        EXPECT_OK(tess_vspace_unmap(std_self.vspace, address, STD_PAGE));
        handle_drop(memory);
    }
}

static void busy_cpus(void)
{
    struct std_thread threads[8];
    uint32_t count = guest.cpu_count < 4 ? 2 : 5;
    atomic_store(&must_stop, false);
    for (uint32_t i = 0; i < count; i++)
        thread_start(&threads[i], busy_fn, i == 0 ? threads : nullptr);
    for (uint32_t round = 0; round < 10; round++) {
        handle_t memory = start(64 << (round % 4), ALL, 0);
        uint64_t cursors[256] = {}, lost, total = 0;
        for (uint32_t pass = 0; pass < 4; pass++) {
            for (uint32_t i = 0; i <= guest.cpu_count && i < ARRAY_LENGTH(cursors); i++)
                (void)count_in(i, &cursors[i], nullptr, 0, &lost);
            if (pass == 2)
                EXPECT_OK(tess_trace_change(guest.trace, round % 2 == 0 ? ALL : TRACE_CLASS_SCHED | TRACE_CLASS_MEMORY, 0));
            (void)tess_thread_yield(tess_thread_block()->thread);
        }
        for (uint32_t i = 0; i < guest.cpu_count && i < ARRAY_LENGTH(cursors); i++)
            total += cursors[i];
        EXPECT(total > 0);
        if (round % 3 != 0)
            EXPECT_OK(tess_trace_stop(guest.trace));
        finish(memory);
    }
    atomic_store(&must_stop, true);
    for (uint32_t i = 0; i < count; i++)
        thread_join(&threads[i]);
}

void trace_tests(void)
{
    static const struct test tests[] = {
        {"trace.life", life},         {"trace.events", events}, {"trace.handed_over", handed_over}, {"trace.one_process", one_process},
        {"trace.overflow", overflow}, {"trace.mapped", mapped}, {"trace.tracer_dies", tracer_dies}, {"trace.busy_cpus", busy_cpus},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
