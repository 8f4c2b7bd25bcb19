/* Start of a test program, options, accounting, children. */
#include <guest.h>
#include <tess/cpio.h>
#include <tess/fmt.h>
#include <tess/string.h>
#include <tess/stub/clock.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/machine.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/system.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

struct guest guest;
int32_t child_result;
static struct cpio_file program; /* bin/init in the boot image */

/* ---- Start ---- */

/* Pages of data, stack and table come on demand; they come now, so that they are in every account. */
static void touch_everything(void)
{
    uint64_t address = 0, start, size, offset;
    uint32_t flags;
    while (tess_vspace_query(std_self.vspace, address, &start, &size, &flags, &offset) == OK) {
        for (uint64_t page = start; (flags & MAP_WRITE) && page < start + size; page += STD_PAGE)
            (void)*(volatile uint8_t *)page;
        address = start + size;
    }
    handle_t copies[192];
    uint32_t count = 0;
    while (count < ARRAY_LENGTH(copies) && std_handle_copy(std_self.thread, RIGHTS_ALL, &copies[count]) == OK)
        count++;
    while (count > 0)
        std_handle_delete(copies[--count]);
}

static void find_program(void)
{
    uint64_t size, committed;
    uint32_t flags, is_device;
    void *archive;
    if (tess_memory_info(guest.image, &size, &committed, &flags, &is_device) != OK ||
        std_map(guest.image, 0, size, MAP_READ, &archive) != OK || cpio_find(archive, size, "bin/init", &program) != OK)
        std_abort("no bin/init in the boot image");
}

bool guest_init(void)
{
    guest.machine = std_handle("machine");
    guest.system = std_handle("system");
    guest.cell = std_handle("cell");
    guest.clock = std_handle("clock");
    guest.image = std_handle("image");
    guest.trace = std_handle("trace");
    guest.audit = std_handle("audit");
    guest.root = std_self.untyped;
    const char *role = std_arg(0);
    if (role != nullptr) {
        for (const struct role *r = roles; r->name != nullptr; r++)
            if (strcmp(r->name, role) == 0) {
                child_result = r->fn();
                return false;
            }
        std_abort("no role %s", role);
    }
    struct tess_system_info info;
    if (tess_machine_platform(guest.machine, (uint64_t)&guest.platform) != OK || tess_system_info(guest.system, (uint64_t)&info) != OK ||
        tess_clock_page(guest.clock, &guest.clock_page) != OK)
        std_abort("not the first process");
    guest.cpu_count = info.cpu_count;
    find_program();
    touch_everything();
    return true;
}

/* Where the value of `name` starts in the command line; nullptr when it is not there. */
static const char *option_find(const char *name)
{
    const char *line = guest.platform.cmdline;
    size_t length = strlen(name);
    while (*line != 0) {
        if (strncmp(line, name, length) == 0 && line[length] == '=')
            return line + length + 1;
        while (*line != 0 && *line != ' ')
            line++;
        while (*line == ' ')
            line++;
    }
    return nullptr;
}

uint64_t option_u64(const char *name, uint64_t otherwise)
{
    const char *value = option_find(name);
    if (value == nullptr)
        return otherwise;
    uint64_t number = 0;
    for (; *value >= '0' && *value <= '9'; value++)
        number = number * 10 + (uint64_t)(*value - '0');
    return number;
}

bool option_text(const char *name, char *text, uint32_t size)
{
    const char *value = option_find(name);
    uint32_t length = 0;
    if (value == nullptr)
        return false;
    while (length + 1 < size && value[length] != 0 && value[length] != ' ') {
        text[length] = value[length];
        length++;
    }
    text[length] = 0;
    return true;
}

/* ---- Accounting ---- */

void account_read(struct account *account)
{
    uint64_t limit;
    uint32_t slots;
    memset(account, 0, sizeof(*account));
    status_t status = tess_untyped_info(guest.root, &limit, &account->used_pages, &account->object_count);
    if (status == OK)
        status = tess_cspace_info(std_self.cspace, &account->handles, &slots);
    if (status == OK)
        status = tess_system_info(guest.system, (uint64_t)&account->system);
    if (status != OK)
        test_fail("account: %s", status_name(status));
}

void account_begin(struct account *account)
{
    uint64_t end = time_after_ns(3 * NS_PER_S);
    do
        account_read(account);
    while (account->system.dying_count != 0 && time_now_ns() < end);
}

static const char *const type_names[32] = {"none",     "untyped", "cspace", "memory",    "vspace", "process",  "thread",
                                           "endpoint", "ring",    "event",  "interrupt", "dma",    "log",      "clock",
                                           "machine",  "ioports", "system", "cell",      "sched",  "cpu_lease"};

static bool account_is_same(const struct account *a, const struct account *b)
{
    return a->used_pages == b->used_pages && a->object_count == b->object_count && a->handles == b->handles &&
           a->system.process_count == b->system.process_count &&
           memcmp(a->system.object_count, b->system.object_count, sizeof(a->system.object_count)) == 0 &&
           memcmp(a->system.object_pages, b->system.object_pages, sizeof(a->system.object_pages)) == 0;
}

static void account_report(const struct account *before, const struct account *after)
{
    char text[240];
    int length = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < 32 && length < 160; i++)
        if (before->system.object_count[i] != after->system.object_count[i] ||
            before->system.object_pages[i] != after->system.object_pages[i])
            length += fmt_print(text + length, sizeof(text) - (size_t)length, " %s %ld objects %ld pages;",
                                type_names[i] != nullptr ? type_names[i] : "?",
                                (long)(after->system.object_count[i] - before->system.object_count[i]),
                                (long)(after->system.object_pages[i] - before->system.object_pages[i]));
    test_fail("not given back: %ld pages, %ld objects, %d handles;%s", (long)(after->used_pages - before->used_pages),
              (long)(after->object_count - before->object_count), (int)(after->handles - before->handles), text);
}

void account_settle(const struct account *before)
{
    struct account now;
    uint64_t end = time_after_ns(3 * NS_PER_S);
    for (;;) {
        account_read(&now);
        if (account_is_same(before, &now))
            return;
        if (time_now_ns() > end)
            break;
        sleep_ns(NS_PER_MS);
    }
    account_report(before, &now);
}

/* ---- Children ---- */

bool child_start(struct child *child, const struct child_args *args)
{
    const char *arguments[] = {args->role, args->argument};
    struct spawn_handle handles[ARRAY_LENGTH(args->handles)];
    memcpy(handles, args->handles, sizeof(handles));
    *child = (struct child){};
    if (!EXPECT_OK(
            tess_untyped_create_untyped(std_self.untyped, args->untyped_bytes != 0 ? args->untyped_bytes : 1 << 20, &child->untyped)))
        return false;
    struct spawn_args spawn = {
        .name = args->role,
        .file = program.data,
        .file_size = program.size,
        .file_memory = guest.image,
        .file_offset = program.offset,
        .untyped = child->untyped,
        .cell = args->cell,
        .clock_memory = guest.clock_page,
        .slot_limit = args->slot_limit,
        .args = arguments,
        .arg_count = args->argument != nullptr ? 2 : 1,
        .handles = handles,
        .handle_count = args->handle_count,
        .is_suspended = args->is_suspended,
    };
    status_t status = process_spawn(&spawn, &child->spawned);
    if (status != OK) {
        test_fail("no child %s: %s: %s", args->role, child->spawned.failed_step, status_name(status));
        child_end(child);
        return false;
    }
    return true;
}

void child_expect(struct child *child, uint32_t cause, int32_t status)
{
    uint32_t got_cause = 0;
    int32_t got_status = 0;
    if (!EXPECT_OK(tess_process_wait(child->spawned.process, &got_cause, &got_status, patience())))
        return;
    if (got_cause != cause || got_status != status)
        test_fail("child ended with cause %u status %d, not %u %d", got_cause, got_status, cause, status);
}

void child_end(struct child *child)
{
    process_drop(&child->spawned);
    if (child->untyped != HANDLE_NONE)
        handle_destroy(child->untyped);
    *child = (struct child){};
}

/* ---- Small things ---- */

void sleep_ns(uint64_t ns) { time_sleep_until(time_after_ns(ns)); }

uint64_t random_next(uint64_t *state)
{
    /* Marsaglia, "Xorshift RNGs"; Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled". */
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1Dull;
}

void handle_drop(handle_t handle) { EXPECT_OK(tess_cspace_delete(std_self.cspace, handle)); }

void handle_destroy(handle_t handle) { EXPECT_OK(tess_cspace_destroy(std_self.cspace, handle)); }

void thread_start(struct std_thread *thread, void (*fn)(void *), void *context)
{
    status_t status = std_thread_start(thread, fn, context, 0);
    if (status != OK)
        std_abort("cannot start a thread: %s", status_name(status));
}

void thread_join(struct std_thread *thread)
{
    if (std_thread_join(thread, patience()) != OK) {
        test_fail("a thread did not end");
        handle_destroy(thread->thread);
    }
}

bool thread_is_waiting(handle_t thread)
{
    uint64_t id, cpu_ns;
    uint32_t state, cpu;
    return tess_thread_info(thread, &id, &state, &cpu, &cpu_ns) == OK && state == 2;
}

void thread_wait_until_waiting(handle_t thread)
{
    uint64_t end = patience();
    while (!thread_is_waiting(thread) && time_now_ns() < end)
        sleep_ns(50 * NS_PER_US);
    EXPECT(thread_is_waiting(thread));
}
