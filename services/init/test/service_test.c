/*
 * The whole of init's supervision on a model of the kernel, with a boot image made by the image builder (argument 1): who gets
 * which handles, restarts and their limits, and that nothing leaks whatever fails where.
 */
#include "fake_kernel.h"
#include <check.h>
#include <init.h>
#include <stdio.h>
#include <stdlib.h>

static void *image;
static size_t image_size;
static struct init init;

static void machine_start(void)
{
    fake_reset(image, image_size);
    init = (struct init){
        .machine = fake_machine, .system = fake_system, .clock = fake_clock, .clock_page = fake_clock_page, .image = fake_image};
    const char *problem = start_open(&init);
    CHECK(problem == nullptr);
    CHECK(start_endpoints(&init) == OK);
    start_services(&init);
}

static struct service *find(const char *name)
{
    uint8_t field[NAME_BYTES] = {};
    memcpy(field, name, strlen(name));
    return service_by_name(&init, field);
}

static status_t call(uint64_t op, uint32_t rights, const void *words, size_t count, struct tess_call *call)
{
    *call = (struct tess_call){.op = op, .rights = rights};
    memcpy(call->words, words, count);
    struct loop_service service = {.context = &init};
    status_t status = supervisor_handle(&service, call);
    fake_run();
    return status;
}

static status_t control(uint64_t op, const char *name)
{
    struct tess_call result;
    char field[NAME_BYTES] = {};
    memcpy(field, name, strlen(name));
    return call(op, SUPERVISOR_RIGHT_CONTROL, field, sizeof(field), &result);
}

static void test_grants(void)
{
    uint32_t rights;
    uint64_t badge, object;
    machine_start();
    CHECK(strstr(fake_log(), "init: 3 services started") != nullptr);
    CHECK(fake_processes() == 3);
    uint64_t web = find("web")->process_id, net = find("net")->process_id, devmgr = find("devmgr")->process_id;
    CHECK(fake_child_handle(net, "serve.net", &rights, &badge, &object));
    uint64_t net_endpoint = object;
    CHECK((rights & RIGHT_OWNER) && !(rights & RIGHT_DESTROY) && badge == 0);
    CHECK(fake_child_handle(web, "net", &rights, &badge, &object));
    CHECK(object == net_endpoint && badge != 0 && !(rights & (RIGHT_OWNER | RIGHT_COPY | RIGHT_MINT | NET_RIGHT_CONNECT)));
    CHECK(rights & NET_RIGHT_LISTEN);
    CHECK(fake_child_handle(net, "device", &rights, &badge, &object) && badge == 0x10000 && rights & DEVICE_RIGHT_CLAIM);
    CHECK(fake_child_handle(net, "supervisor", &rights, &badge, &object));
    CHECK(fake_child_handle(devmgr, "machine", &rights, &badge, &object));
    CHECK((rights & MACHINE_RIGHT_HARDWARE) && !(rights & MACHINE_RIGHT_POWER));
    CHECK(!fake_child_handle(web, "machine", &rights, &badge, &object));
    CHECK(!fake_child_handle(web, "serve.net", &rights, &badge, &object));
    CHECK(fake_child_handle(web, "page", &rights, &badge, &object) && (rights & MEMORY_RIGHT_READ) && !(rights & MEMORY_RIGHT_WRITE));
    CHECK(fake_child_handle(web, "log", &rights, &badge, &object) && (rights & LOG_RIGHT_APPEND) && !(rights & LOG_RIGHT_READ));
    /* whose endpoint is it */
    struct tess_call result;
    CHECK(call(OP_SUPERVISOR_ENDPOINT, SUPERVISOR_RIGHT_OBSERVE, &net_endpoint, 8, &result) == OK);
    CHECK(memcmp(result.words, "net\0\0\0\0\0", 8) == 0 && result.words[2] == INTERFACE_NET);
    object = 999999;
    CHECK(call(OP_SUPERVISOR_ENDPOINT, SUPERVISOR_RIGHT_OBSERVE, &object, 8, &result) == ERROR_NOT_FOUND);
    CHECK(call(OP_SUPERVISOR_NEXT, SUPERVISOR_RIGHT_CONTROL, &object, 8, &result) == ERROR_MISSING_RIGHT);
}

static void test_restarts(void)
{
    machine_start();
    uint32_t handles = fake_handles(), objects = fake_objects();
    uint64_t pages = fake_pages();
    struct service *net = find("net");
    fake_log();
    for (int i = 0; i < 200; i++) {
        uint64_t process = net->process_id;
        fake_end(process, i % 2 ? EXIT_FAULT : EXIT_KILLED, 0);
        fake_sleep(BACKOFF_STABLE_NS);
        CHECK(net->state == SERVICE_RUNNING && net->process_id != process && net->process_id != 0);
        CHECK(fake_handles() == handles && fake_objects() == objects && fake_pages() == pages && fake_timers() == 0);
    }
    CHECK(net->restarts == 200 && init.restarts == 200 && fake_processes() == 3);
    const char *text = fake_log();
    CHECK(strstr(text, "was killed, status 0; restarting now") != nullptr);
    CHECK(strstr(text, "page fault at 0x0") != nullptr && strstr(text, "#0 0x200010") != nullptr);
    /* dying again and again: longer waits, then an end of it */
    uint32_t ends = 0;
    while (net->state != SERVICE_FAILED && ends < 50) {
        if (net->state == SERVICE_RUNNING) {
            ends++;
            fake_end(net->process_id, EXIT_FAULT, 0);
        }
        fake_sleep(10'000'000);
    }
    CHECK(ends == BACKOFF_GIVE_UP);
    CHECK(net->process_id == 0 && fake_handles() == handles - 2 && fake_timers() == 0);
    CHECK(strstr(fake_log(), "given up after 10 ends in a row") != nullptr);
    CHECK(control(OP_SUPERVISOR_START, "net") == OK && net->state == SERVICE_RUNNING);
    CHECK(fake_handles() == handles && fake_objects() == objects && fake_pages() == pages);
    /* what a restart lacked is there again a little later */
    fake_sleep(BACKOFF_STABLE_NS);
    fake_fail_at(1);
    fake_end(net->process_id, EXIT_FAULT, 0);
    CHECK(fake_has_failed() && net->state == SERVICE_BACKING_OFF && fake_timers() == 1);
    fake_sleep(BACKOFF_FIRST_NS);
    CHECK(net->state == SERVICE_RUNNING && fake_timers() == 0);
    CHECK(fake_handles() == handles && fake_objects() == objects && fake_pages() == pages);
    /* exit in order: on-failure does not restart */
    fake_end(net->process_id, EXIT_NORMAL, 0);
    CHECK(net->state == SERVICE_STOPPED && control(OP_SUPERVISOR_STOP, "net") == ERROR_ALREADY);
    CHECK(control(OP_SUPERVISOR_START, "net") == OK);
    fake_end(net->process_id, EXIT_NORMAL, 3);
    CHECK(net->state == SERVICE_RUNNING);
    CHECK(fake_handles() == handles && fake_objects() == objects && fake_pages() == pages);
}

static void test_control(void)
{
    struct tess_call result;
    machine_start();
    uint32_t handles = fake_handles();
    struct service *web = find("web");
    CHECK(control(OP_SUPERVISOR_STOP, "web") == OK && web->state == SERVICE_STOPPED && fake_processes() == 2);
    fake_sleep(100'000'000'000);
    CHECK(web->state == SERVICE_STOPPED && fake_handles() == handles - 2);
    CHECK(control(OP_SUPERVISOR_RESTART, "web") == OK && web->state == SERVICE_RUNNING);
    CHECK(control(OP_SUPERVISOR_START, "web") == ERROR_ALREADY);
    CHECK(control(OP_SUPERVISOR_START, "nobody") == ERROR_NOT_FOUND && control(OP_SUPERVISOR_RESTART, "") == ERROR_NOT_FOUND);
    uint64_t process = web->process_id;
    CHECK(call(OP_SUPERVISOR_KILL, SUPERVISOR_RIGHT_CONTROL, &process, 8, &result) == OK);
    CHECK(web->state == SERVICE_RUNNING && web->process_id != process && web->last_cause == EXIT_KILLED);
    CHECK(call(OP_SUPERVISOR_KILL, SUPERVISOR_RIGHT_CONTROL, &process, 8, &result) == ERROR_NOT_FOUND);
    process = 0; /* "stopped" must not be found as process 0 */
    CHECK(control(OP_SUPERVISOR_STOP, "web") == OK);
    CHECK(call(OP_SUPERVISOR_KILL, SUPERVISOR_RIGHT_CONTROL, &process, 8, &result) == ERROR_NOT_FOUND);
    CHECK(control(OP_SUPERVISOR_START, "web") == OK);
    /* stopped while a restart is due */
    fake_end(web->process_id, EXIT_FAULT, 0);
    fake_end(web->process_id, EXIT_FAULT, 0);
    CHECK(web->state == SERVICE_BACKING_OFF && fake_timers() == 1);
    CHECK(control(OP_SUPERVISOR_STOP, "web") == OK && fake_timers() == 0);
    CHECK(control(OP_SUPERVISOR_START, "web") == OK);
    process = true;
    CHECK(call(OP_SUPERVISOR_AUDIT, SUPERVISOR_RIGHT_OBSERVE, &process, 8, &result) == OK);
    CHECK(strstr(fake_log(), "init: audit:") != nullptr);
    CHECK(result.words[0] == handles && fake_handles() == handles);
    uint8_t program[48] = "web"; /* not a manual one */
    CHECK(call(OP_SUPERVISOR_PROGRAM, SUPERVISOR_RIGHT_CONTROL, program, sizeof(program), &result) == ERROR_NOT_FOUND);
}

/* Every call that can run out of memory does so once: the service fails cleanly, then starts again with nothing lost. */
static void test_exhaustion(void)
{
    machine_start();
    uint32_t handles = fake_handles(), objects = fake_objects();
    uint64_t pages = fake_pages();
    struct service *services[] = {find("net"), find("web"), find("devmgr")};
    for (size_t i = 0; i < 3; i++) {
        uint32_t n = 1;
        do {
            service_end(services[i], SERVICE_STOPPED);
            fake_fail_at(n++);
            status_t status = service_start(services[i]);
            CHECK(status == OK || services[i]->state == SERVICE_FAILED);
            CHECK((status == OK) == !fake_has_failed());
            if (status != OK) {
                CHECK(fake_handles() == handles - 2 && strstr(fake_log(), "init: cannot start") != nullptr);
            }
        } while (fake_has_failed() && n < 100);
        CHECK(n > 3 && n < 100);
        fake_fail_at(0);
        CHECK(fake_handles() == handles && fake_objects() == objects && fake_pages() == pages);
    }
    /* and when the quota really is too large */
    struct manifest_service spec = *services[0]->spec;
    spec.memory_bytes = 1ull << 40;
    service_end(services[0], SERVICE_STOPPED);
    services[0]->spec = &spec;
    fake_log();
    CHECK(service_start(services[0]) == ERROR_NO_MEMORY);
    CHECK(strstr(fake_log(), "cannot start net: not enough memory: 1073741824 KiB wanted") != nullptr);
}

static void test_damaged_image(void)
{
    size_t whole = image_size;
    for (image_size = 0; image_size < whole; image_size += image_size < 256 ? 1 : 97) {
        fake_reset(image, image_size);
        init = (struct init){.image = fake_image};
        const char *problem = start_open(&init);
        /* Behind the trailer there is only padding. */
        CHECK(problem != nullptr || image_size + 4096 > whole);
    }
    image_size = whole;
    init = (struct init){};
    CHECK_TEXT(start_open(&init), "there is no boot image");
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : nullptr;
    if (file == nullptr) {
        printf("usage: %s BOOT-IMAGE\n", argv[0]);
        return 2;
    }
    image = aligned_alloc(4096, 1 << 20);
    image_size = fread(image, 1, 1 << 20, file);
    fclose(file);
    test_grants();
    test_restarts();
    test_control();
    test_exhaustion();
    test_damaged_image();
    free(image);
    return check_result();
}
