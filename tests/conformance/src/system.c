/* system, log, clock: what they report, and that bad buffers are refused. */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/clock.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/log.h>
#include <tess/stub/memory.h>
#include <tess/stub/system.h>
#include <tess/stub/untyped.h>

static const uint64_t bad_addresses[] = {0, 1, 1ull << 38, (1ull << 38) - 8, 1ull << 47, 0xFFFFFFFF80000000, ~0ull};

static void info(void)
{
    struct tess_system_info info;
    EXPECT_OK(tess_system_null(guest.system));
    EXPECT_OK(tess_system_info(guest.system, (uint64_t)&info));
    EXPECT(info.cpu_count == guest.cpu_count && info.ram_pages > info.free_pages && info.free_pages > 0);
    uint64_t now = time_now_ns();
    EXPECT(info.time_ns <= now && now - info.time_ns < NS_PER_S); /* the kernel's clock and the page's are one */
    EXPECT_EQUAL(info.object_count[OBJECT_PROCESS], 1);
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad_addresses); i++) {
        EXPECT_STATUS(tess_system_info(guest.system, bad_addresses[i]), ERROR_BAD_ADDRESS);
        EXPECT_STATUS(tess_system_cpu(guest.system, 0, bad_addresses[i]), ERROR_BAD_ADDRESS);
        EXPECT_STATUS(tess_system_process_next(guest.system, 0, bad_addresses[i]), ERROR_BAD_ADDRESS);
    }
    EXPECT_STATUS(tess_system_info(guest.system, (uint64_t)system_tests), ERROR_BAD_ADDRESS);
}

static void cpus(void)
{
    struct tess_cpu_info cpu;
    uint64_t busy = 0;
    for (uint32_t i = 0; i < guest.cpu_count; i++) {
        EXPECT_OK(tess_system_cpu(guest.system, i, (uint64_t)&cpu));
        EXPECT_EQUAL(cpu.index, i);
        EXPECT_EQUAL(cpu.is_online, 1);
        busy += cpu.busy_ns;
    }
    EXPECT(busy > 0);
    EXPECT_STATUS(tess_system_cpu(guest.system, guest.cpu_count, (uint64_t)&cpu), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_system_cpu(guest.system, ~0u, (uint64_t)&cpu), ERROR_NOT_FOUND);
}

/* All places that take a lock: how many, and how often they had to wait since boot. */
static uint64_t contention(uint32_t *out_count)
{
    struct tess_lock_info lock;
    uint64_t sum = 0;
    for (*out_count = 0; tess_system_lock(guest.system, *out_count, (uint64_t)&lock) == OK; (*out_count)++) {
        EXPECT(lock.name[0] != 0 && lock.name[sizeof(lock.name) - 1] == 0);
        sum += lock.contended;
    }
    return sum;
}

static _Atomic bool must_stop;

static void fights(void *event)
{
    while (!must_stop) {
        EXPECT_OK(tess_event_set(*(handle_t *)event, 1));
    }
}

static void locks(void)
{
    uint32_t count;
    uint64_t before = contention(&count);
    struct tess_lock_info lock;
    EXPECT(count > 50);
    EXPECT_STATUS(tess_system_lock(guest.system, count, (uint64_t)&lock), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_system_lock(guest.system, ~0u, (uint64_t)&lock), ERROR_NOT_FOUND);
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad_addresses); i++) {
        EXPECT_STATUS(tess_system_lock(guest.system, 0, bad_addresses[i]), ERROR_BAD_ADDRESS);
    }
    if (guest.cpu_count == 1) {
        EXPECT_EQUAL(before, 0); /* the kernel never gives up its CPU while it holds a lock */
        return;
    }
    handle_t event;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    struct std_thread threads[3];
    must_stop = false;
    for (uint32_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        thread_start(&threads[i], fights, &event);
    }
    uint64_t limit = patience();
    while (contention(&count) == before && time_now_ns() < limit) {
    }
    EXPECT(contention(&count) > before);
    must_stop = true;
    for (uint32_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        thread_join(&threads[i]);
    }
    handle_drop(event);
}

static void processes(void)
{
    struct child child;
    struct tess_process_info info = {}, found = {};
    if (!child_start(&child, &(struct child_args){.role = "wait"}))
        return;
    uint32_t count = 0, type, rights;
    uint64_t badge, id;
    EXPECT_OK(tess_cspace_inspect(std_self.cspace, child.spawned.process, &type, &rights, &badge, &id));
    for (uint64_t after = 0; tess_system_process_next(guest.system, after, (uint64_t)&info) == OK && count < 100; count++) {
        EXPECT(info.id > after);
        after = info.id;
        if (info.id == id)
            found = info;
    }
    EXPECT_EQUAL(count, 2);
    EXPECT(memcmp(found.name, "wait", 5) == 0);
    /* Its handles: those of its own table, by type. */
    struct tess_handle_info handle = {};
    uint32_t types[OBJECT_TYPE_LIMIT] = {}, handles = 0;
    for (uint64_t after = 0; tess_system_handle_next(guest.system, id, after, (uint64_t)&handle) == OK && handles < 100; handles++) {
        after = handle.handle;
        types[handle.type % OBJECT_TYPE_LIMIT]++;
        if (handle.type == OBJECT_PROCESS)
            EXPECT(handle.object_id == id && handle.detail[0] == id);
        if (handle.type == OBJECT_THREAD)
            EXPECT_EQUAL(handle.detail[1], id);
        if (handle.type == OBJECT_UNTYPED)
            EXPECT_EQUAL(handle.detail[0], (1 << 20) / STD_PAGE);
    }
    EXPECT_EQUAL(handles, found.handle_count);
    EXPECT(types[OBJECT_CSPACE] == 1 && types[OBJECT_VSPACE] == 1 && types[OBJECT_PROCESS] == 1 && types[OBJECT_THREAD] == 1);
    EXPECT_STATUS(tess_system_handle_next(guest.system, id, 0, 8), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_system_handle_next(guest.system, 0, 0, (uint64_t)&handle), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_system_handle_next(guest.system, ~0ull, 0, (uint64_t)&handle), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_system_handle_next(guest.system, id, ~0ull, (uint64_t)&handle), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_system_process_next(guest.system, ~0ull, (uint64_t)&info), ERROR_NOT_FOUND);
    child_end(&child);
}

/* ---- Log ---- */

static uint8_t buffer[4096];

/* Finds the newest record that ends with this text (the kernel puts the writer's name before it); false when it is not there. */
static bool log_has(const char *text, struct tess_log_record *out_record)
{
    uint64_t cursor = 0, size, lost;
    bool is_found = false;
    size_t length = strlen(text);
    while (tess_log_drain(std_self.log, cursor, (uint64_t)buffer, sizeof(buffer), &cursor, &size, &lost) == OK && size != 0)
        for (uint64_t at = 0; at + sizeof(struct tess_log_record) <= size;) {
            struct tess_log_record record;
            memcpy(&record, buffer + at, sizeof(record));
            if (record.size >= length && memcmp(buffer + at + sizeof(record) + record.size - length, text, length) == 0) {
                *out_record = record;
                is_found = true;
            }
            at += sizeof(record) + align_up(record.size, 8);
        }
    return is_found;
}

static void log(void)
{
    struct tess_log_record record = {};
    static char longest[600];
    EXPECT_OK(tess_log_append(std_self.log, (uint64_t)"a line of the test", 18, LOG_DEBUG));
    if (EXPECT(log_has("a line of the test", &record)))
        EXPECT_EQUAL(record.level, LOG_DEBUG);
    EXPECT(record.process_id != 0);
    EXPECT_OK(tess_log_append(std_self.log, (uint64_t)"\x1b[31mred\n\x07", 10, LOG_INFO)); /* no control characters get through */
    EXPECT(log_has(" [31mred  ", &record));
    memset(longest, 'x', sizeof(longest));
    EXPECT_OK(tess_log_append(std_self.log, (uint64_t)longest, sizeof(longest), LOG_DEBUG));
    longest[400] = 0; /* cut, but not by much */
    EXPECT(log_has(longest, &record));
    EXPECT_STATUS(tess_log_append(std_self.log, (uint64_t)"x", 0, LOG_INFO), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_log_append(std_self.log, (uint64_t)"x", 1, LOG_ERROR + 1), ERROR_BAD_ARGUMENT);
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad_addresses); i++) {
        uint64_t cursor, size, lost;
        EXPECT_STATUS(tess_log_append(std_self.log, bad_addresses[i], 20, LOG_INFO), ERROR_BAD_ADDRESS);
        EXPECT_STATUS(tess_log_drain(std_self.log, 0, bad_addresses[i], 4096, &cursor, &size, &lost), ERROR_BAD_ADDRESS);
    }
    uint64_t cursor, size, lost;
    EXPECT_STATUS(tess_log_drain(std_self.log, 0, (uint64_t)buffer, 500, &cursor, &size, &lost), ERROR_BAD_ARGUMENT);
    EXPECT_OK(tess_log_drain(std_self.log, ~0ull, (uint64_t)buffer, sizeof(buffer), &cursor, &size, &lost));
    EXPECT_EQUAL(size, 0);
}

/* ---- Clock ---- */

static void clock(void)
{
    handle_t page;
    uint64_t before = time_now_ns(), now = before, value;
    for (uint32_t i = 0; i < 10'000; i++) {
        uint64_t next = time_now_ns();
        EXPECT(next >= now);
        now = next;
    }
    EXPECT(now > before);
    uint64_t wall = time_wall_ns(), offset = wall - time_now_ns();
    EXPECT_OK(tess_clock_set(guest.clock, 1'700'000'000ull * NS_PER_S));
    EXPECT(time_wall_ns() - time_now_ns() <= 1'700'000'000ull * NS_PER_S);
    EXPECT(time_wall_ns() / NS_PER_S >= 1'700'000'000);
    EXPECT_OK(tess_clock_set(guest.clock, offset < 1ull << 62 ? offset : 0));
    if (!EXPECT_OK(tess_clock_page(guest.clock, &page)))
        return;
    EXPECT_OK(tess_memory_read(page, 8, (uint64_t)&value, 8));
    EXPECT(value != 0);
    EXPECT_STATUS(tess_memory_write(page, 8, (uint64_t)&value, 8), ERROR_MISSING_RIGHT);
    handle_drop(page);
}

/* Threads on all CPUs see one time that never goes back. */
static _Atomic uint64_t latest;

static void compares_clocks(void *)
{
    for (uint32_t i = 0; i < 20'000 && test_has_passed(); i++) {
        uint64_t seen = atomic_load(&latest), now = time_now_ns();
        if (now + 1000 < seen) /* below a microsecond it cannot be told from the order of the two reads */
            test_fail("time went back by %lu ns", seen - now);
        while (seen < now && !atomic_compare_exchange_weak(&latest, &seen, now))
            ;
    }
}

static void one_time(void)
{
    struct std_thread threads[4];
    for (uint32_t i = 0; i < 4; i++)
        thread_start(&threads[i], compares_clocks, nullptr);
    for (uint32_t i = 0; i < 4; i++)
        thread_join(&threads[i]);
}

void system_tests(void)
{
    static const struct test tests[] = {
        {"system.info", info}, {"system.cpus", cpus}, {"system.locks", locks},      {"system.processes", processes},
        {"log.all", log},      {"clock.all", clock},  {"clock.one_time", one_time},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
