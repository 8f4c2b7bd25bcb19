/* Limits of cells on handles and calls, and of endpoints on who waits there: refused by name, counted, and nobody else's matter. */
#include <conformance.h>
#include <tess/stub/cell.h>
#include <tess/stub/cspace.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

static const uint8_t NAME[16] = "limited cell";
constexpr uint64_t NO_LIMIT = ~0ull;
constexpr uint32_t SLOTS = 64; /* of a page of a table */

static struct tess_cell_info info_of(handle_t cell)
{
    struct tess_cell_info info = {};
    EXPECT_OK(tess_cell_info(cell, (uint64_t)&info));
    return info;
}

static handle_t cell_make(handle_t parent)
{
    handle_t cell = HANDLE_NONE;
    EXPECT_OK(tess_untyped_create_cell(std_self.untyped, parent, 1024, NAME, &cell));
    return cell;
}

/* Fills a table until it is refused; how many went in. */
static uint32_t fill(handle_t table, status_t wanted)
{
    uint32_t count = 0;
    handle_t out;
    status_t status;
    while ((status = tess_cspace_copy(table, std_self.log, RIGHTS_ALL, &out)) == OK && count < 1000)
        count++;
    EXPECT_STATUS(status, wanted);
    return count;
}

/* The limit of a cell round it holds as well, and tables are charged where their process is. */
static void handles(void)
{
    handle_t outer = cell_make(guest.cell), inner = cell_make(outer), table, process;
    uint64_t before = info_of(guest.cell).handles;
    EXPECT_OK(tess_untyped_create_cspace(std_self.untyped, 1000, &table));
    EXPECT_EQUAL(fill(table, ERROR_NO_HANDLES) >= 1000, true);
    handle_drop(table);
    EXPECT_OK(tess_untyped_create_cspace(std_self.untyped, 1000, &table));
    EXPECT_OK(tess_cell_create_process(inner, std_self.untyped, std_self.vspace, table, NAME, &process));
    EXPECT_OK(tess_cell_set_limit(outer, CELL_LIMIT_HANDLES, 2 * SLOTS));
    EXPECT_EQUAL(fill(table, ERROR_CELL_LIMIT), 2 * SLOTS);
    EXPECT(info_of(inner).handles == 2 * SLOTS && info_of(outer).handles == 2 * SLOTS && info_of(outer).handle_limit == 2 * SLOTS);
    EXPECT(info_of(inner).handle_limit == NO_LIMIT);
    /* Another table finds no room there, but outside. */
    handle_t second, other, out;
    EXPECT_OK(tess_untyped_create_cspace(std_self.untyped, 100, &second));
    EXPECT_OK(tess_cspace_copy(second, std_self.log, RIGHTS_ALL, &out));
    EXPECT_STATUS(tess_cell_create_process(inner, std_self.untyped, std_self.vspace, second, NAME, &other), ERROR_CELL_LIMIT);
    EXPECT_OK(tess_cell_set_limit(outer, CELL_LIMIT_HANDLES, 3 * SLOTS));
    EXPECT_OK(tess_cell_create_process(inner, std_self.untyped, std_self.vspace, second, NAME, &other));
    EXPECT_EQUAL(info_of(outer).handles, 3 * SLOTS);
    handle_destroy(other);
    handle_destroy(process);
    handle_destroy(second);
    handle_destroy(table);
    for (uint64_t end = patience(); info_of(outer).handles != 0 && time_now_ns() < end;)
        sleep_ns(NS_PER_MS);
    EXPECT(info_of(outer).handles == 0 && info_of(inner).handles == 0);
    for (uint64_t end = patience(); info_of(guest.cell).handles != before && time_now_ns() < end;)
        sleep_ns(NS_PER_MS);
    EXPECT_EQUAL(info_of(guest.cell).handles, before);
    handle_drop(inner);
    handle_drop(outer);
}

static void calls(void)
{
    handle_t cell = cell_make(guest.cell), table, process, memory, threads[3], refused;
    const struct std_ring_sizes sizes = {.sq_entries = 4, .cq_entries = 4, .operation_slots = 5};
    struct std_ring ring;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory));
    EXPECT_OK(tess_untyped_create_cspace(std_self.untyped, 100, &table));
    EXPECT_OK(tess_cell_create_process(cell, std_self.untyped, std_self.vspace, table, NAME, &process));
    EXPECT_OK(tess_cell_set_limit(cell, CELL_LIMIT_CALLS, 3));
    for (uint32_t i = 0; i < 3; i++)
        EXPECT_OK(tess_untyped_create_thread(std_self.untyped, process, memory, 0, 0, &threads[i]));
    EXPECT_STATUS(tess_untyped_create_thread(std_self.untyped, process, memory, 0, 0, &refused), ERROR_CELL_LIMIT);
    EXPECT(info_of(cell).calls == 3 && info_of(cell).call_limit == 3);
    handle_destroy(threads[0]);
    status_t status;
    uint64_t end = patience();
    while ((status = tess_untyped_create_thread(std_self.untyped, process, memory, 0, 0, &threads[0])) == ERROR_CELL_LIMIT &&
           time_now_ns() < end)
        sleep_ns(NS_PER_MS);
    EXPECT_OK(status);
    /* A ring's operations are its maker's: not enough, enough, and back. */
    uint64_t used = info_of(guest.cell).calls;
    EXPECT_OK(tess_cell_set_limit(guest.cell, CELL_LIMIT_CALLS, used + 4));
    EXPECT_STATUS(std_ring_open(&ring, &sizes), ERROR_CELL_LIMIT);
    EXPECT_OK(tess_cell_set_limit(guest.cell, CELL_LIMIT_CALLS, used + 5));
    if (EXPECT_OK(std_ring_open(&ring, &sizes))) {
        EXPECT_EQUAL(info_of(guest.cell).calls, used + 5);
        EXPECT_STATUS(tess_untyped_create_thread(std_self.untyped, std_self.process, memory, 0, 0, &refused), ERROR_CELL_LIMIT);
        std_ring_close(&ring);
    }
    EXPECT_OK(tess_cell_set_limit(guest.cell, CELL_LIMIT_CALLS, NO_LIMIT));
    EXPECT_STATUS(tess_cell_set_limit(guest.cell, CELL_LIMIT_CALLS + 1, 1), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_cell_set_limit(guest.cell, UINT32_MAX, 1), ERROR_BAD_ARGUMENT);
    for (uint32_t i = 0; i < 3; i++)
        handle_destroy(threads[i]);
    handle_destroy(process);
    handle_destroy(table);
    handle_drop(memory);
    handle_drop(cell);
}

/* As many callers as may wait at an endpoint; one more is refused until one of them has given up. */
static void queue(void)
{
    const struct std_ring_sizes sizes = {.sq_entries = 512, .cq_entries = 1024, .operation_slots = 1024};
    static_assert(ENDPOINT_QUEUE_MAX == 1024);
    struct std_ring ring;
    handle_t endpoint;
    uint64_t words[12] = {};
    uint32_t submitted, available, count;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    if (!EXPECT_OK(std_ring_open(&ring, &sizes)))
        return;
    for (uint32_t i = 0; i < ENDPOINT_QUEUE_MAX; i++) {
        const struct tess_submission entry = {
            .op = op_make(INTERFACE_TEST, 9, 1, 0, 0), .cookie = i, .handle = endpoint, .aux = DEADLINE_INFINITE};
        EXPECT_OK(std_ring_submit(&ring, &entry));
        if (i % 512 != 511)
            continue;
        EXPECT_OK(tess_ring_enter(ring.handle, ring.sq_unsent, 0, &submitted, &available, DEADLINE_NOW));
        EXPECT_EQUAL(submitted, ring.sq_unsent);
        ring.sq_unsent = 0;
    }
    EXPECT_STATUS(raw_call(op_make(INTERFACE_TEST, 5, 1, 0, 0), endpoint, patience(), words), ERROR_QUEUE_FULL);
    EXPECT_STATUS(raw_call(op_make(INTERFACE_TEST, 5, 1, 0, 0) | OP_SEND, endpoint, patience(), words), ERROR_QUEUE_FULL);
    EXPECT_OK(tess_ring_cancel(ring.handle, 7, &count));
    EXPECT_EQUAL(count, 1);
    EXPECT_STATUS(raw_call(op_make(INTERFACE_TEST, 5, 1, 0, 0), endpoint, time_after_ns(NS_PER_MS), words), ERROR_TIMED_OUT);
    EXPECT_STATUS(raw_call(op_make(INTERFACE_TEST, 5, 1, 0, 0), endpoint, time_after_ns(NS_PER_MS), words), ERROR_TIMED_OUT);
    /* Received ones make room too. */
    for (uint32_t i = 0; i < 3; i++) {
        struct tess_regs regs = {.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = patience()};
        EXPECT_OK(tess_invoke(&regs));
        regs = (struct tess_regs){.op = OP_ENDPOINT_REPLY, .handle = endpoint};
        EXPECT_OK(tess_invoke(&regs));
    }
    std_ring_close(&ring);
    EXPECT_STATUS(raw_call(op_make(INTERFACE_TEST, 5, 1, 0, 0), endpoint, time_after_ns(NS_PER_MS), words), ERROR_TIMED_OUT);
    handle_drop(endpoint);
}

void limits_tests(void)
{
    static const struct test tests[] = {{"limits.handles", handles}, {"limits.calls", calls}, {"limits.queue", queue}};
    tests_run(tests, ARRAY_LENGTH(tests));
}
