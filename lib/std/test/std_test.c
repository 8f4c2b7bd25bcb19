/*
 * Tests of lib/std on the real kernel. The program stands in for init (bin/init of an image of its own): it runs the checks, writes
 * "std_test: N checks, M failed" to the log and switches the machine off, with a failure code when one failed. Started with the
 * argument "child" it is what process_spawn() is tried with.
 */
#include <std/log.h>
#include <std/loop.h>
#include <std/program.h>
#include <std/spawn.h>
#include <std/thread.h>
#include <std/time.h>
#include <tess/cpio.h>
#include <tess/invoke.h>
#include <tess/serve/test.h>
#include <tess/string.h>
#include <tess/stub/clock.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/machine.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/test.h>
#include <tess/stub/untyped.h>
#include <tess/util.h>

static uint32_t check_count, check_failed;

#define CHECK(condition) check((condition), __LINE__, #condition)
#define CHECK_STATUS(expression, wanted) check_status((expression), (wanted), __LINE__, #expression)

static void check(bool is_right, int line, const char *text)
{
    check_count++;
    if (!is_right) {
        check_failed++;
        log_error("std_test.c:%d: failed: %s", line, text);
    }
}

static void check_status(status_t got, status_t wanted, int line, const char *text)
{
    check_count++;
    if (got != wanted) {
        check_failed++;
        log_error("std_test.c:%d: %s: got %s, wanted %s", line, text, status_name(got), status_name(wanted));
    }
}

static uint64_t pages_used(void)
{
    uint64_t limit = 0, used = 0, objects = 0;
    CHECK_STATUS(tess_untyped_info(std_self.untyped, &limit, &used, &objects), OK);
    return used;
}

static uint32_t handles_used(void)
{
    uint32_t used = 0, limit = 0;
    CHECK_STATUS(tess_cspace_info(std_self.cspace, &used, &limit), OK);
    return used;
}

/* Memory goes back when every CPU has passed a quiescent point: soon, not at once. */
static bool is_back(uint64_t pages, uint32_t handles)
{
    for (uint32_t i = 0; i < 200; i++) {
        if (pages_used() <= pages && handles_used() == handles) {
            return true;
        }
        time_sleep_until(time_after_ns(5 * NS_PER_MS));
    }
    log_error("pages %llu, were %llu; handles %u, were %u", (unsigned long long)pages_used(), (unsigned long long)pages, handles_used(),
              handles);
    return false;
}

/* ---- The simple parts ---- */

static void test_time(void)
{
    uint64_t start = time_now_ns();
    time_sleep_until(start + 5 * NS_PER_MS);
    uint64_t slept = time_now_ns() - start;
    CHECK(start > 0 && slept >= 5 * NS_PER_MS && slept < NS_PER_S);
    CHECK(time_after_ns(DEADLINE_INFINITE) == DEADLINE_INFINITE);
}

static void test_memory(void)
{
    uint64_t pages = pages_used();
    uint32_t handles = handles_used();
    struct std_mapping mapping;
    CHECK_STATUS(std_mapping_create(3 * STD_PAGE - 5, 0, &mapping), OK);
    uint8_t *bytes = mapping.address;
    CHECK(mapping.size == 3 * STD_PAGE && bytes[0] == 0 && bytes[3 * STD_PAGE - 1] == 0);
    memset(bytes, 0x5A, mapping.size);
    void *second;
    CHECK_STATUS(std_map(mapping.memory, STD_PAGE, STD_PAGE, MAP_READ, &second), OK);
    CHECK(((uint8_t *)second)[7] == 0x5A);
    std_unmap(second, STD_PAGE);
    std_mapping_destroy(&mapping);
    CHECK(mapping.memory == HANDLE_NONE);
    CHECK_STATUS(std_mapping_create(0, 0, &mapping), ERROR_BAD_ARGUMENT);
    CHECK(std_mapping_create(1ull << 39, MEMORY_COMMITTED, &mapping) != OK);
    void *pages_address;
    CHECK_STATUS(std_pages_alloc(8 * STD_PAGE, &pages_address), OK);
    memset(pages_address, 1, 8 * STD_PAGE);
    std_pages_free((uint8_t *)pages_address + 2 * STD_PAGE, 2 * STD_PAGE);
    std_pages_free(pages_address, 2 * STD_PAGE);
    std_pages_free((uint8_t *)pages_address + 4 * STD_PAGE, 4 * STD_PAGE);
    CHECK(is_back(pages, handles));
}

static void test_heap(void)
{
    struct heap heap;
    CHECK_STATUS(std_heap_init(&heap, 16 * 1024, 256 * 1024), OK);
    void *blocks[64];
    uint32_t count = 0;
    while (count < ARRAY_LENGTH(blocks) && (blocks[count] = heap_allocate(&heap, 8000, 16)) != nullptr) {
        memset(blocks[count], (int)count, 8000);
        count++;
    }
    CHECK(count >= 16 && count < 33);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(((uint8_t *)blocks[i])[7999] == i);
        heap_release(&heap, blocks[i]);
    }
    CHECK(heap.used == 0);
}

/* ---- Threads ---- */

static struct std_mutex mutex;
static uint64_t counter;

static void count_up(void *context)
{
    for (uint64_t i = 0; i < *(uint64_t *)context; i++) {
        std_mutex_lock(&mutex);
        uint64_t value = counter;
        __asm__ volatile("" : "+r"(value));
        counter = value + 1;
        std_mutex_unlock(&mutex);
    }
}

static void test_threads(void)
{
    uint64_t pages = pages_used(), rounds = 2000;
    uint32_t handles = handles_used();
    struct std_thread threads[4];
    CHECK_STATUS(std_mutex_init(&mutex), OK);
    for (uint32_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        CHECK_STATUS(std_thread_start(&threads[i], count_up, &rounds, 0), OK);
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        CHECK_STATUS(std_thread_join(&threads[i], time_after_ns(30 * NS_PER_S)), OK);
    }
    CHECK(counter == rounds * ARRAY_LENGTH(threads));
    std_mutex_destroy(&mutex);
    CHECK(is_back(pages, handles));
}

/* ---- A server with a loop, in a thread of its own ---- */

constexpr uint32_t DEFERRED_MAX = 8;
struct deferred {
    struct loop_timer timer;
    uint64_t token;
    struct server *server;
};
struct server {
    struct loop loop;
    struct loop_service service;
    struct loop_watch watch;
    handle_t endpoint, event;
    struct deferred deferred[DEFERRED_MAX];
    uint32_t deferred_count;
    _Atomic uint64_t badge_gone, bits_seen, ready;
};

static status_t serve_echo(void *, struct tess_call *, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t *out_a, uint64_t *out_b,
                           uint64_t *out_c, uint64_t *out_d)
{
    *out_a = a, *out_b = b, *out_c = c, *out_d = d;
    return OK;
}
static status_t serve_secret(void *, struct tess_call *call, uint64_t *out_value)
{
    *out_value = call->badge;
    return OK;
}
static status_t serve_pass(void *, struct tess_call *call, uint64_t cookie, handle_t object, handle_t *out_object)
{
    if (cookie == 0) {
        return ERROR_REFUSED; /* the loop deletes the handle */
    }
    call->reply_move_mask = 1;
    *out_object = object;
    return OK;
}
static status_t serve_wide(void *, struct tess_call *, const uint8_t data[96], uint8_t out_data[96])
{
    for (uint32_t i = 0; i < 96; i++) {
        out_data[i] = (uint8_t)(data[i] + 1);
    }
    return OK;
}
static void answer_late(struct loop_timer *timer)
{
    struct deferred *deferred = timer->context;
    struct tess_call call = {};
    test_defer_reply(&call);
    loop_reply(&deferred->server->loop, deferred->token, OK, &call);
}
static status_t serve_defer(void *context, struct tess_call *call, uint64_t delay_ns)
{
    struct server *server = context;
    struct deferred *deferred = &server->deferred[server->deferred_count++ % DEFERRED_MAX];
    *deferred = (struct deferred){.timer = {.fn = answer_late, .context = deferred}, .token = call->token, .server = server};
    loop_timer_start(&server->loop, &deferred->timer, time_after_ns(delay_ns));
    call->is_deferred = true;
    return OK;
}
static const struct test_server test_server = {
    .echo = serve_echo, .secret = serve_secret, .pass = serve_pass, .wide = serve_wide, .defer = serve_defer};

static status_t dispatch(struct loop_service *service, struct tess_call *call)
{
    return test_dispatch(&test_server, service->context, call);
}
static void badge_gone(struct loop_service *service, uint64_t badge) { ((struct server *)service->context)->badge_gone = badge; }
static void event_seen(struct loop_watch *watch, uint64_t bits, status_t status)
{
    struct server *server = watch->context;
    server->bits_seen |= status == OK ? bits : 1ull << 63;
    if ((bits & 8) != 0) {
        loop_stop(&server->loop, 7);
    }
}

static void server_main(void *context)
{
    struct server *server = context;
    server->service = (struct loop_service){.dispatch = dispatch, .badge_gone = badge_gone, .context = server};
    server->watch = (struct loop_watch){.fn = event_seen, .context = server};
    CHECK_STATUS(loop_open(&server->loop, nullptr), OK);
    CHECK_STATUS(loop_serve(&server->loop, &server->service, server->endpoint), OK);
    CHECK_STATUS(loop_watch(&server->loop, &server->watch, server->event, 15, WATCH_MULTI), OK);
    server->ready = 1;
    CHECK(loop_run(&server->loop) == 7);
    loop_unwatch(&server->loop, &server->watch);
    loop_unserve(&server->loop, &server->service);
    loop_close(&server->loop);
}

static bool becomes(_Atomic uint64_t *value, uint64_t wanted)
{
    for (uint32_t i = 0; i < 400 && *value != wanted; i++) {
        time_sleep_until(time_after_ns(5 * NS_PER_MS));
    }
    return *value == wanted;
}

static void call_late(void *context)
{
    CHECK_STATUS(tess_test_defer(*(handle_t *)context, 30 * NS_PER_MS, time_after_ns(10 * NS_PER_S)), OK);
}

static void test_calls(struct server *server, handle_t client)
{
    uint64_t soon = time_after_ns(20 * NS_PER_S), a, b, c, d;
    CHECK_STATUS(tess_test_echo(client, 1, 2, 3, 4, &a, &b, &c, &d, soon), OK);
    CHECK(a == 1 && b == 2 && c == 3 && d == 4);
    CHECK_STATUS(tess_test_secret(client, &a, soon), ERROR_MISSING_RIGHT);
    uint8_t out[96], in[96];
    for (uint32_t i = 0; i < 96; i++) {
        in[i] = (uint8_t)(i * 3);
    }
    CHECK_STATUS(tess_test_wide(client, in, out, soon), OK);
    CHECK(out[0] == 1 && out[95] == (uint8_t)(95 * 3 + 1));
    CHECK_STATUS(tess_test_crash(client, soon), ERROR_UNKNOWN_METHOD);
    struct tess_regs wrong_size = {.op = OP_TEST_ECHO - (1 << 16), .handle = client, .aux = soon};
    CHECK_STATUS(tess_invoke(&wrong_size), ERROR_BAD_ARGUMENT);

    uint32_t handles = handles_used();
    handle_t event, passed;
    CHECK_STATUS(tess_untyped_create_event(std_self.untyped, &event), OK);
    CHECK_STATUS(tess_test_pass(client, 1, event, &passed, soon), OK);
    CHECK_STATUS(tess_event_set(passed, 5), OK);
    CHECK_STATUS(tess_event_read(event, &a), OK);
    CHECK(a == 5);
    CHECK_STATUS(tess_test_pass(client, 0, event, &passed, soon), ERROR_REFUSED);
    CHECK_STATUS(tess_test_pass_moving(client, 1, event, &passed, soon), OK);
    CHECK_STATUS(tess_event_read(event, &a), ERROR_STALE_HANDLE);
    CHECK_STATUS(tess_event_read(passed, &a), OK);
    std_handle_delete(passed);
    CHECK(handles_used() == handles + 1); /* the copy of the first pass */

    /* A deferred call is answered after a later, shorter one; a caller that gives up harms nobody. */
    struct std_thread late;
    uint64_t start = time_now_ns();
    CHECK_STATUS(std_thread_start(&late, call_late, &client, 0), OK);
    CHECK_STATUS(tess_test_defer(client, NS_PER_MS, soon), OK);
    CHECK_STATUS(std_thread_join(&late, soon), OK);
    CHECK(time_now_ns() - start >= 30 * NS_PER_MS);
    CHECK_STATUS(tess_test_defer(client, 20 * NS_PER_MS, time_after_ns(NS_PER_MS)), ERROR_TIMED_OUT);
    CHECK_STATUS(tess_event_set(server->event, 3), OK);
    CHECK(becomes(&server->bits_seen, 3));
}

static void test_server_thread(void)
{
    static struct server server;
    struct std_thread thread;
    handle_t client;
    CHECK_STATUS(tess_untyped_create_endpoint(std_self.untyped, &server.endpoint), OK);
    CHECK_STATUS(tess_untyped_create_event(std_self.untyped, &server.event), OK);
    uint64_t rights = (RIGHTS_ALL & ~(uint64_t)(RIGHT_OWNER | TEST_RIGHT_SECRET));
    CHECK_STATUS(std_handle_mint(server.endpoint, (uint32_t)rights, 77, &client), OK);
    CHECK_STATUS(std_thread_start(&thread, server_main, &server, 0), OK);
    CHECK(becomes(&server.ready, 1));
    test_calls(&server, client);
    std_handle_delete(client);
    CHECK(becomes(&server.badge_gone, 77));
    CHECK_STATUS(tess_event_set(server.event, 8), OK);
    CHECK_STATUS(std_thread_join(&thread, time_after_ns(20 * NS_PER_S)), OK);
    std_handle_delete(server.endpoint);
    std_handle_delete(server.event);
}

/* ---- Spawning ---- */

static const void *image;
static uint64_t image_size;
static handle_t clock_memory;

static status_t spawn_child(handle_t untyped, const struct cpio_file *file, const void *bytes, handle_t event, bool is_moved,
                            const char *const *args, uint32_t arg_count, struct spawned *out_child)
{
    const struct spawn_handle handles[] = {{"log", std_self.log, LOG_RIGHT_APPEND, false},
                                           {"event", event, EVENT_RIGHT_SIGNAL | RIGHT_INSPECT, is_moved}};
    const struct spawn_args spawn = {
        .name = "child",
        .file = bytes,
        .file_size = file->size,
        .file_memory = std_handle("image"),
        .file_offset = file->offset,
        .untyped = untyped,
        .clock_memory = clock_memory,
        .args = args,
        .arg_count = arg_count,
        .handles = handles,
        .handle_count = ARRAY_LENGTH(handles),
    };
    return process_spawn(&spawn, out_child);
}

static void run_child(handle_t untyped, const struct cpio_file *file, handle_t event, const char *what, uint32_t cause, int32_t status)
{
    struct spawned child;
    const char *args[] = {"child", what, "", "third"};
    uint64_t bits;
    uint32_t got_cause = 0;
    int32_t got_status = 0;
    CHECK_STATUS(spawn_child(untyped, file, file->data, event, false, args, ARRAY_LENGTH(args), &child), OK);
    if (child.failed_step != nullptr) {
        log_error("spawn failed: %s %s", child.failed_step, child.failed_name != nullptr ? child.failed_name : "");
        return;
    }
    CHECK_STATUS(tess_event_wait(event, 1, &bits, time_after_ns(20 * NS_PER_S)), OK);
    CHECK_STATUS(tess_process_wait(child.process, &got_cause, &got_status, time_after_ns(20 * NS_PER_S)), OK);
    CHECK(got_cause == cause && got_status == status);
    process_drop(&child);
}

static void open_image(void)
{
    uint64_t committed;
    uint32_t flags, is_device;
    handle_t memory = std_handle_needed("image");
    CHECK_STATUS(tess_memory_info(memory, &image_size, &committed, &flags, &is_device), OK);
    void *address = nullptr;
    CHECK_STATUS(std_map(memory, 0, image_size, MAP_READ, &address), OK);
    image = address;
    CHECK_STATUS(tess_clock_page(std_handle("clock"), &clock_memory), OK);
}

/* Written before pages are counted: .bss is committed page by page. */
static uint8_t damaged[8192];
static char huge[5000];

static void destroy_and_delete(handle_t handle)
{
    CHECK_STATUS(tess_cspace_destroy(std_self.cspace, handle), OK);
    std_handle_delete(handle);
}

static void test_spawn(void)
{
    struct cpio_file file;
    open_image();
    memset(damaged, 0, sizeof(damaged));
    memset(huge, 'x', sizeof(huge) - 1);
    CHECK_STATUS(cpio_find(image, image_size, "bin/init", &file), OK);
    handle_t untyped, event;
    /* Once before counting: our own stack grows. */
    CHECK_STATUS(tess_untyped_create_untyped(std_self.untyped, 1 << 20, &untyped), OK);
    CHECK_STATUS(tess_untyped_create_event(std_self.untyped, &event), OK);
    run_child(untyped, &file, event, "exit", EXIT_NORMAL, 42);
    destroy_and_delete(untyped);
    std_handle_delete(event);
    time_sleep_until(time_after_ns(100 * NS_PER_MS));

    uint64_t pages = pages_used();
    uint32_t handles = handles_used();
    CHECK_STATUS(tess_untyped_create_untyped(std_self.untyped, 1 << 20, &untyped), OK);
    CHECK_STATUS(tess_untyped_create_event(std_self.untyped, &event), OK);
    uint32_t handles_between = handles_used();
    for (uint32_t i = 0; i < 5; i++) {
        run_child(untyped, &file, event, "exit", EXIT_NORMAL, 42);
    }
    CHECK(handles_used() == handles_between);

    /* Refused: each with a reason and without a trace. */
    struct spawned child;
    memcpy(damaged, file.data, min_u64(sizeof(damaged), file.size));
    damaged[18] ^= 0xFF; /* machine */
    CHECK_STATUS(spawn_child(untyped, &file, damaged, event, false, nullptr, 0, &child), ERROR_UNSUPPORTED);
    damaged[0] = 0;
    CHECK_STATUS(spawn_child(untyped, &file, damaged, event, false, nullptr, 0, &child), ERROR_BAD_FORMAT);
    CHECK(child.failed_step != nullptr && child.process == HANDLE_NONE);
    const char *huge_args[] = {huge};
    CHECK_STATUS(spawn_child(untyped, &file, file.data, event, true, huge_args, 1, &child), ERROR_NO_SPACE);
    CHECK_STATUS(spawn_child(untyped, &file, file.data, HANDLE_NONE + 99, false, nullptr, 0, &child), ERROR_BAD_HANDLE);
    handle_t small;
    CHECK_STATUS(tess_untyped_create_untyped(untyped, 8 * STD_PAGE, &small), OK);
    CHECK_STATUS(spawn_child(small, &file, file.data, event, true, nullptr, 0, &child), ERROR_NO_MEMORY);
    destroy_and_delete(small);
    CHECK(handles_used() == handles_between);

    /* A child that faults is reported; destroying its untyped takes everything back. */
    run_child(untyped, &file, event, "fault", EXIT_FAULT, -1);
    destroy_and_delete(untyped);
    std_handle_delete(event);
    CHECK(is_back(pages, handles));
}

static int child_main(void)
{
    bool is_right = std_arg_count() == 4 && strcmp(std_arg(3), "third") == 0 && strcmp(std_arg(2), "") == 0 && std_arg(4) == nullptr &&
                    std_handle("log") == std_self.log && std_handle("absent") == HANDLE_NONE && time_now_ns() > 0;
    status_t status = tess_event_set(std_handle_needed("event"), is_right ? 1 : 2);
    if (strcmp(std_arg(1), "fault") == 0) {
        std_abort("this fault is part of the test");
    }
    return status == OK && is_right ? 42 : 1;
}

int main(void)
{
    if (std_arg(0) != nullptr && strcmp(std_arg(0), "child") == 0) {
        return child_main();
    }
    test_time();
    test_memory();
    test_heap();
    test_threads();
    test_server_thread();
    test_spawn();
    log_info("std_test: %u checks, %u failed", check_count, check_failed);
    time_sleep_until(time_after_ns(20 * NS_PER_MS));
    status_t status = tess_machine_power(std_handle_needed("machine"), check_failed == 0 ? POWER_OFF : POWER_FAIL);
    return status == OK ? 0 : 1;
}
