/*
 * Running out: every method that makes an object, on an untyped of 0, 1, 2, ... pages until it works: each attempt is refused with
 * NO_MEMORY and leaves nothing charged; and in a process whose table of handles is full: NO_HANDLES, and nothing charged.
 */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/endpoint.h>
#include <tess/stub/machine.h>
#include <tess/stub/memory.h>
#include <tess/stub/pager.h>
#include <tess/stub/trace.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

/* Everything a maker needs; the objects are charged elsewhere than to the untyped that runs out. */
struct parts {
    handle_t machine, trace, memory, vspace, cspace, process, pager;
};
typedef status_t (*maker_fn)(const struct parts *parts, handle_t untyped, handle_t *out_handle);

static status_t make_untyped(const struct parts *, handle_t untyped, handle_t *out)
{
    return tess_untyped_create_untyped(untyped, 2 * STD_PAGE, out);
}
static status_t make_cspace(const struct parts *, handle_t untyped, handle_t *out) { return tess_untyped_create_cspace(untyped, 16, out); }
static status_t make_memory(const struct parts *, handle_t untyped, handle_t *out)
{
    return tess_untyped_create_memory(untyped, 1 << 20, 0, out);
}
static status_t make_committed(const struct parts *, handle_t untyped, handle_t *out)
{
    return tess_untyped_create_memory(untyped, 12 * STD_PAGE, MEMORY_COMMITTED, out);
}
static status_t make_contiguous(const struct parts *, handle_t untyped, handle_t *out)
{
    return tess_untyped_create_memory(untyped, 5 * STD_PAGE, MEMORY_CONTIGUOUS, out);
}
static status_t make_pager(const struct parts *, handle_t untyped, handle_t *out) { return tess_untyped_create_pager(untyped, out); }
static status_t make_paged_memory(const struct parts *parts, handle_t untyped, handle_t *out)
{
    return tess_pager_create_memory(parts->pager, untyped, 1 << 20, 0, out);
}
static status_t make_vspace(const struct parts *, handle_t untyped, handle_t *out) { return tess_untyped_create_vspace(untyped, out); }
static status_t make_process(const struct parts *parts, handle_t untyped, handle_t *out)
{
    static const uint8_t name[16] = "exhausted";
    return tess_untyped_create_process(untyped, parts->vspace, parts->cspace, name, out);
}
static status_t make_thread(const struct parts *parts, handle_t untyped, handle_t *out)
{
    return tess_untyped_create_thread(untyped, parts->process, parts->memory, 0, 0, out);
}
static status_t make_fpu_thread(const struct parts *parts, handle_t untyped, handle_t *out)
{
    return tess_untyped_create_thread(untyped, parts->process, parts->memory, 0, THREAD_FPU, out);
}
static status_t make_endpoint(const struct parts *, handle_t untyped, handle_t *out) { return tess_untyped_create_endpoint(untyped, out); }
static status_t make_event(const struct parts *, handle_t untyped, handle_t *out) { return tess_untyped_create_event(untyped, out); }
static status_t make_cell(const struct parts *, handle_t untyped, handle_t *out)
{
    static const uint8_t name[16] = "exhausted";
    return tess_untyped_create_cell(untyped, guest.cell, 1, name, out);
}
static status_t make_ring(const struct parts *parts, handle_t untyped, handle_t *out)
{
    return tess_untyped_create_ring(untyped, parts->memory, 16, 64, 256, 100, 40, out);
}
static status_t make_device_memory(const struct parts *parts, handle_t untyped, handle_t *out)
{
    return tess_machine_device_memory(parts->machine, untyped, guest.platform.arch == 1 ? 0xFED00000 : guest.platform.console_base,
                                      STD_PAGE, out);
}
static status_t make_interrupt(const struct parts *parts, handle_t untyped, handle_t *out)
{
    return tess_machine_interrupt(parts->machine, untyped, guest.platform.irq_source_count - 1, 0, out);
}
static status_t make_ioports(const struct parts *parts, handle_t untyped, handle_t *out)
{
    return tess_machine_ioports(parts->machine, untyped, 0x80, 1, out);
}
static status_t make_dma(const struct parts *parts, handle_t untyped, handle_t *out)
{
    return tess_machine_dma(parts->machine, untyped, 0, out);
}
static status_t make_trace(const struct parts *parts, handle_t untyped, handle_t *out)
{
    return tess_trace_start(parts->trace, untyped, 64, 0, 0, out);
}

static const struct maker {
    const char *name;
    maker_fn make;
} makers[] = {
    {"untyped", make_untyped},
    {"cspace", make_cspace},
    {"memory", make_memory},
    {"committed memory", make_committed},
    {"contiguous memory", make_contiguous},
    {"vspace", make_vspace},
    {"process", make_process},
    {"thread", make_thread},
    {"thread with FPU", make_fpu_thread},
    {"endpoint", make_endpoint},
    {"event", make_event},
    {"pager", make_pager},
    {"paged_memory", make_paged_memory},
    {"cell", make_cell},
    {"ring", make_ring},
    {"device memory", make_device_memory},
    {"interrupt", make_interrupt},
    {"ioports", make_ioports},
    {"dma", make_dma},
    {"trace", make_trace},
};

static bool parts_make(struct parts *parts)
{
    static const uint8_t name[16] = "parts";
    *parts = (struct parts){.machine = std_handle("machine"), .trace = std_handle("trace")};
    return EXPECT_OK(tess_untyped_create_memory(std_self.untyped, 8 * STD_PAGE * 4, 0, &parts->memory)) &&
           EXPECT_OK(tess_untyped_create_pager(std_self.untyped, &parts->pager)) &&
           EXPECT_OK(tess_untyped_create_vspace(std_self.untyped, &parts->vspace)) &&
           EXPECT_OK(tess_untyped_create_cspace(std_self.untyped, 16, &parts->cspace)) &&
           EXPECT_OK(tess_untyped_create_process(std_self.untyped, parts->vspace, parts->cspace, name, &parts->process));
}

static uint64_t used_pages(handle_t untyped)
{
    uint64_t limit, used = 0, objects;
    EXPECT_OK(tess_untyped_info(untyped, &limit, &used, &objects));
    return used;
}

/* What was refused may be freed a moment later (grace period). */
static void expect_unused(handle_t untyped, const char *name)
{
    uint64_t end = patience();
    while (used_pages(untyped) != 0 && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    if (used_pages(untyped) != 0)
        test_fail("%s: %lu pages stay charged after a refusal", name, used_pages(untyped));
}

static void exhaust_memory(const struct parts *parts, const struct maker *maker)
{
    for (uint64_t pages = 1; pages < 64; pages++) {
        handle_t untyped, object;
        if (!EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, pages * STD_PAGE, &untyped)))
            return;
        status_t status = maker->make(parts, untyped, &object);
        if (status == OK) {
            handle_destroy(object);
            expect_unused(untyped, maker->name);
        } else if (status != ERROR_NO_MEMORY && status != ERROR_UNSUPPORTED) {
            test_fail("%s on %lu pages: %s", maker->name, pages, status_name(status));
        }
        expect_unused(untyped, maker->name);
        handle_destroy(untyped);
        if (status != ERROR_NO_MEMORY)
            return;
    }
    test_fail("%s needs more than 63 pages", maker->name);
}

static void memory_runs_out(void)
{
    for (uint32_t i = 0; i < ARRAY_LENGTH(makers); i++) {
        struct parts parts; /* fresh ones: a process ends with its last thread, even one that never ran */
        if (!parts_make(&parts))
            return;
        exhaust_memory(&parts, &makers[i]);
    }
}

/* Methods that need memory without making an object, with the untyped full to the last page. */
static void full_untyped(void)
{
    handle_t untyped, vspace, memory, cspace, endpoint, filler[64], out;
    uint64_t address;
    uint32_t count = 0;
    if (!EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 40 * STD_PAGE, &untyped)) ||
        !EXPECT_OK(tess_untyped_create_vspace(untyped, &vspace)) || !EXPECT_OK(tess_untyped_create_cspace(untyped, 64, &cspace)) ||
        !EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint)) ||
        !EXPECT_OK(tess_untyped_create_memory(untyped, 4 << 20, 0, &memory)))
        return;
    uint64_t limit, used, objects;
    EXPECT_OK(tess_untyped_info(untyped, &limit, &used, &objects));
    handle_t rest;
    EXPECT_OK(tess_untyped_create_memory(untyped, (limit - used) * STD_PAGE, 0, &rest));
    EXPECT_STATUS(tess_memory_commit(rest, 0, (limit - used) * STD_PAGE), limit - used > 8 ? ERROR_NO_MEMORY : OK);
    /* Cells that are left in half used pages. */
    while (count < ARRAY_LENGTH(filler) && tess_vspace_map(vspace, memory, 0, STD_PAGE, 0, MAP_READ, &address) == OK)
        count++;
    EXPECT_STATUS(tess_vspace_map(vspace, memory, 0, STD_PAGE, 0, MAP_READ, &address), ERROR_NO_MEMORY);
    EXPECT_STATUS(tess_memory_commit(memory, 0, STD_PAGE), ERROR_NO_MEMORY);
    EXPECT_STATUS(tess_memory_write(memory, 0, (uint64_t)&limit, 8), ERROR_NO_MEMORY);
    EXPECT_STATUS(tess_cspace_copy(cspace, endpoint, RIGHTS_ALL, &out), ERROR_NO_MEMORY);
    EXPECT_STATUS(tess_untyped_create_untyped(untyped, STD_PAGE, &out), ERROR_NO_MEMORY);
    /* Reading what is not there needs nothing. */
    uint64_t value = 1;
    EXPECT_OK(tess_memory_read(memory, 1 << 20, (uint64_t)&value, 8));
    EXPECT_EQUAL(value, 0);
    EXPECT_OK(tess_untyped_info(untyped, &limit, &used, &objects));
    EXPECT_EQUAL(used, limit);
    /* Giving back makes room again. */
    handle_destroy(rest);
    sleep_ns(5 * NS_PER_MS);
    EXPECT_OK(tess_memory_write(memory, 0, (uint64_t)&limit, 8));
    EXPECT_OK(tess_cspace_copy(cspace, endpoint, RIGHTS_ALL, &out));
    handle_destroy(untyped);
    handle_drop(endpoint);
}

/* A page fault that finds no memory ends the process as a fault. */
static void fault_without_memory(void)
{
    struct child child;
    struct child_args args = {.role = "fault", .argument = "exhaust", .untyped_bytes = 64 * STD_PAGE};
    if (!child_start(&child, &args))
        return;
    child_expect(&child, EXIT_FAULT, -1);
    child_end(&child);
}

/* In a child with a small table: self.* and what it was given. */
int32_t role_exhaust_handles(void)
{
    struct parts parts, others;
    handle_t last = HANDLE_NONE, copy, untyped;
    EXPECT_OK(tess_machine_platform(std_handle_needed("machine"), (uint64_t)&guest.platform));
    if (!parts_make(&parts) || !parts_make(&others) || !EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 48 * STD_PAGE, &untyped)))
        return 1;
    uint32_t used, limit, count = 0;
    while (std_handle_copy(std_self.thread, RIGHTS_ALL, &copy) == OK) {
        last = copy;
        count++;
    }
    EXPECT_OK(tess_cspace_info(std_self.cspace, &used, &limit));
    EXPECT_EQUAL(used, limit);
    EXPECT_STATUS(std_handle_copy(std_self.thread, RIGHTS_ALL, &copy), ERROR_NO_HANDLES);
    EXPECT_STATUS(std_handle_mint(std_self.thread, RIGHTS_ALL, 0, &copy), ERROR_NO_HANDLES);
    EXPECT_STATUS(tess_cspace_move(std_self.cspace, std_self.thread, &copy), ERROR_NO_HANDLES);
    EXPECT_OK(tess_cspace_info(std_self.cspace, &used, &limit)); /* the move changed nothing */
    for (uint32_t i = 0; i < ARRAY_LENGTH(makers); i++) {
        handle_t object;
        status_t status = makers[i].make(makers[i].make == make_thread ? &others : &parts, untyped, &object);
        if (status != ERROR_NO_HANDLES && status != ERROR_UNSUPPORTED && status != ERROR_BAD_HANDLE && status != ERROR_NOT_FOUND)
            test_fail("%s in a full table: %s", makers[i].name, status_name(status));
        expect_unused(untyped, makers[i].name);
    }
    handle_drop(last);
    EXPECT_OK(std_handle_copy(std_self.thread, RIGHTS_ALL, &copy));
    return count > 0 && test_has_passed() ? 0 : 1;
}

static void handles_run_out(void)
{
    struct child child;
    struct child_args args = {.role = "exhaust",
                              .slot_limit = 40,
                              .untyped_bytes = 2 << 20,
                              .handles = {{"log", std_self.log, RIGHTS_ALL, false},
                                          {"machine", guest.machine, RIGHTS_ALL, false},
                                          {"trace", guest.trace, RIGHTS_ALL, false}},
                              .handle_count = 3};
    if (!child_start(&child, &args))
        return;
    child_expect(&child, EXIT_NORMAL, 0);
    child_end(&child);
}

void exhaustion_tests(void)
{
    static const struct test tests[] = {
        {"exhaustion.objects", memory_runs_out},
        {"exhaustion.full_untyped", full_untyped},
        {"exhaustion.fault", fault_without_memory},
        {"exhaustion.handles", handles_run_out},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
