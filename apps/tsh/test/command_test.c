/*
 * The shell's commands against canned services: what a person types, and what is printed; every command with missing, superfluous
 * and odd arguments, with handles that were not given, and with services that fail.
 */
#include <check.h>
#include <shell.h>
#include <std/time.h>
#include <stdlib.h>
#include <tess/abi.h>
#include <tess/invoke.h>

enum fake_handle : uint64_t { FAKE_SUPERVISOR = 1, FAKE_SYSTEM, FAKE_NET, FAKE_DEVMGR, FAKE_LOG, FAKE_MACHINE, FAKE_HTTP };

static struct tess_message_page page;
static char printed[1 << 16];
static status_t failure; /* every call returns this when it is not OK */
static char keys[64];    /* what console_read() gives */
static size_t key_count;
static struct shell shell;
static bool has_argument;

/* ---- the console ---- */

void console_write(struct console *, const char *bytes, size_t count)
{
    size_t length = strlen(printed);
    CHECK(length + count < sizeof(printed));
    memcpy(printed + length, bytes, count);
    printed[length + count] = '\0';
}

void console_drain(struct console *, uint64_t) {}

bool console_read(struct console *, char *out_byte)
{
    if (key_count == 0) {
        return false;
    }
    *out_byte = keys[--key_count];
    return true;
}

uint32_t console_wait(struct console *, uint64_t) { return 0; }

uint64_t time_now_ns(void) { return 60'000'000'000; }

/* ---- the services ---- */

struct tess_message_page *tess_message_page(void) { return &page; }

static uint64_t *word(struct tess_regs *regs, uint32_t index) { return index < 4 ? &regs->word[index] : &page.words[index]; }

static void put(struct tess_regs *regs, uint32_t first, const uint64_t *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        *word(regs, first + i) = values[i];
    }
}

static void put_name(struct tess_regs *regs, uint32_t first, const char *name)
{
    char field[16] = {};
    memcpy(field, name, strlen(name));
    memcpy(word(regs, first), field, 8);
    memcpy(word(regs, first + 1), field + 8, 8);
}

static bool is_name(struct tess_regs *regs, const char *name)
{
    char field[16];
    memcpy(field, word(regs, 0), 16);
    return strncmp(field, name, 16) == 0;
}

static status_t on_supervisor(struct tess_regs *regs)
{
    switch (regs->op) {
    case OP_SUPERVISOR_NEXT:
        if (regs->word[0] > 1) {
            return ERROR_NOT_FOUND;
        }
        bool is_first = regs->word[0] == 0;
        put_name(regs, 0, is_first ? "netd" : "httpd");
        put(regs, 2,
            is_first ? (uint64_t[]){1, 7, 2, 58'000'000'000, EXIT_FAULT, (uint64_t)-1}
                     : (uint64_t[]){3, 0, 9, 50'000'000'000, EXIT_KILLED, 0},
            6);
        return OK;
    case OP_SUPERVISOR_START: return is_name(regs, "httpd") ? OK : is_name(regs, "netd") ? ERROR_ALREADY : ERROR_NOT_FOUND;
    case OP_SUPERVISOR_STOP:
    case OP_SUPERVISOR_RESTART: return is_name(regs, "netd") ? OK : ERROR_NOT_FOUND;
    case OP_SUPERVISOR_KILL: return regs->word[0] == 7 ? OK : ERROR_NOT_FOUND;
    case OP_SUPERVISOR_PROGRAM:
        if (!is_name(regs, "bench")) {
            return ERROR_NOT_FOUND;
        }
        has_argument = *word(regs, 2) == 0x6C6C61; /* "all" */
        regs->word[0] = 99;
        return OK;
    case OP_SUPERVISOR_ENDPOINT:
        if (regs->word[0] != 50) {
            return ERROR_NOT_FOUND;
        }
        put_name(regs, 0, "httpd");
        put(regs, 2, (uint64_t[]){INTERFACE_HTTP}, 1);
        return OK;
    case OP_SUPERVISOR_MEMORY: put(regs, 0, (uint64_t[]){1024, 512, 33}, 3); return OK;
    case OP_SUPERVISOR_AUDIT: put(regs, 0, (uint64_t[]){40, 4096, 100, 2048, 6000, 11}, 6); return OK;
    default: abort();
    }
}

static status_t on_handle_next(struct tess_regs *regs)
{
    static const struct tess_handle_info handles[] = {
        {.handle = 1, .type = OBJECT_ENDPOINT, .rights = HTTP_RIGHT_OBSERVE, .object_id = 50},
        {.handle = 2, .type = OBJECT_MEMORY, .rights = MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE | RIGHT_COPY, .detail = {16384}},
        {.handle = 3, .type = OBJECT_PROCESS, .rights = RIGHTS_ALL, .object_id = 7},
        {.handle = 4, .type = OBJECT_DMA, .rights = DMA_RIGHT_MAP, .detail = {64}},
    };
    if (regs->word[0] != 7 || regs->word[1] > 3) {
        return ERROR_NOT_FOUND;
    }
    *(struct tess_handle_info *)regs->word[2] = handles[regs->word[1]];
    return OK;
}

static status_t on_system(struct tess_regs *regs)
{
    switch (regs->op) {
    case OP_SYSTEM_INFO:
        *(struct tess_system_info *)regs->word[0] = (struct tess_system_info){.ram_pages = 8192,
                                                                              .free_pages = 4096,
                                                                              .kernel_pages = 300,
                                                                              .object_count = {[OBJECT_THREAD] = 12},
                                                                              .object_pages = {[OBJECT_THREAD] = 6}};
        return OK;
    case OP_SYSTEM_CPU:
        if (regs->word[0] > 0) {
            return ERROR_NOT_FOUND;
        }
        *(struct tess_cpu_info *)regs->word[1] = (struct tess_cpu_info){.is_online = 1, .busy_ns = 250, .idle_ns = 750};
        return OK;
    case OP_SYSTEM_PROCESS_NEXT:
        if (regs->word[0] >= 7) {
            return ERROR_NOT_FOUND;
        }
        *(struct tess_process_info *)regs->word[1] = (struct tess_process_info){
            .id = 7, .name = "netd", .thread_count = 1, .handle_count = 21, .memory_pages = 100, .cpu_ns = 1'500'000'000};
        return OK;
    case OP_SYSTEM_CELL_NEXT:
        if (regs->word[0] >= 3) {
            return ERROR_NOT_FOUND;
        }
        *(struct tess_cell_info *)regs->word[1] = (struct tess_cell_info){.id = 3,
                                                                          .name = "netd",
                                                                          .weight = 1024,
                                                                          .process_count = 1,
                                                                          .cpu_ns = 77'000'000,
                                                                          .memory_pages = 512,
                                                                          .limit_pages = 1024,
                                                                          .quota_ns = 50,
                                                                          .quota_period_ns = 100,
                                                                          .throttled = 3};
        return OK;
    case OP_SYSTEM_HANDLE_NEXT: return on_handle_next(regs);
    default: abort();
    }
}

static status_t on_net(struct tess_regs *regs)
{
    switch (regs->op) {
    case OP_NET_INFO: put(regs, 0, (uint64_t[]){7, 0x0F02000A, 0x00FFFFFF, 0x0202000A, 0x0302000A, 0x563412005452}, 6); return OK;
    case OP_NET_COUNTERS: put(regs, 0, (uint64_t[]){10, 20, 1024, 2048, 1, 3, 4, 5, 6, 0, 70000}, 11); return OK;
    case OP_NET_PING: regs->word[0] = 1'234'567; return regs->word[0] != 0 ? OK : ERROR_TIMED_OUT;
    case OP_NET_RESOLVE: return ERROR_NOT_FOUND;
    default: abort();
    }
}

static status_t on_log(struct tess_regs *regs)
{
    CHECK(regs->op == OP_LOG_DRAIN);
    if (regs->word[0] != 0) {
        regs->word[1] = regs->word[2] = 0;
        return OK;
    }
    struct tess_log_record *record = (struct tess_log_record *)regs->word[1];
    *record = (struct tess_log_record){.time_ns = 1'500'000'000, .level = LOG_WARNING, .size = 9};
    memcpy(record + 1, "a\033[2J b\n\n", 9);
    put(regs, 0, (uint64_t[]){1, sizeof(*record) + 16, 2}, 3);
    return OK;
}

status_t tess_invoke(struct tess_regs *regs)
{
    if (failure != OK) {
        return failure;
    }
    switch (regs->handle) {
    case FAKE_SUPERVISOR: return on_supervisor(regs);
    case FAKE_SYSTEM: return on_system(regs);
    case FAKE_NET: return on_net(regs);
    case FAKE_LOG: return on_log(regs);
    case FAKE_MACHINE: return ERROR_UNSUPPORTED;
    case FAKE_HTTP: put(regs, 0, (uint64_t[]){100, 2, 3, 9, 50, 0, 1, 123456, 900'000'000}, 9); return OK;
    case FAKE_DEVMGR:
        if (regs->word[0] > 0) {
            return ERROR_NOT_FOUND;
        }
        put(regs, 0, (uint64_t[]){3 << 3, 0x1AF4, 0x1041, 0x020000}, 4);
        put_name(regs, 4, "virtio-net");
        return OK;
    default: abort();
    }
}

/* ---- the tests ---- */

static const char *run(const char *text)
{
    char copy[LINE_BYTES_MAX];
    strcpy(copy, text);
    printed[0] = '\0';
    command_run(&shell, copy);
    return printed;
}

#define CHECK_PRINTS(text, wanted)                                                                                                         \
    do {                                                                                                                                   \
        const char *got_text = run(text);                                                                                                  \
        check_count++;                                                                                                                     \
        if (strstr(got_text, wanted) == nullptr) {                                                                                         \
            check_failed++;                                                                                                                \
            printf("%s:%d: %s prints\n%s  wanted in it: %s\n", __FILE__, __LINE__, text, got_text, wanted);                                \
        }                                                                                                                                  \
    } while (0)

static void test_output(void)
{
    CHECK_TEXT(run("echo a  'b c'"), "a b c\r\n");
    CHECK_PRINTS("help", "services");
    CHECK_PRINTS("help kill", "end a service's process");
    CHECK_PRINTS("ps", "    7 netd             alive          1      21    400 KiB      1.500 s 1 min 00 s");
    CHECK_PRINTS("top 1", "CPU 0   25.0% busy");
    CHECK_PRINTS("mem", "RAM              32 MiB");
    CHECK_PRINTS("mem", "thread             12     24 KiB");
    CHECK_PRINTS("mem", "init: 40 of 4096 handles, 11 restarts");
    CHECK_PRINTS("caps 7", "call httpd:http (observe)");
    CHECK_PRINTS("caps netd", "read and write 16 KiB of memory  [copy]");
    CHECK_PRINTS("caps netd", "end process 7 (netd)");
    CHECK_PRINTS("caps netd", "note: a driver of a bus-mastering device is trusted with all memory");
    CHECK_PRINTS("mem log", "also written to the log");
    CHECK_PRINTS("mem x", "usage: mem [log]");
    CHECK_PRINTS("cells", "netd                 7      4 MiB      2 MiB       33");
    CHECK_PRINTS("cells", "netd               1024         1         77      50         3      2 MiB      4 MiB");
    CHECK_PRINTS("log", "(2 records lost)\r\n[    1.500000] warning a [2J b\r\n");
    CHECK_PRINTS("services", "netd             running          7        2 2.000 s        crashed, status -1");
    CHECK_PRINTS("services", "httpd            failed           -        9 10.000 s       killed, status 0");
    CHECK_PRINTS("start httpd", "httpd started");
    CHECK_PRINTS("stop netd", "netd stopped");
    CHECK_PRINTS("restart netd", "netd restarted");
    CHECK_PRINTS("kill 7", "killed process 7");
    CHECK_PRINTS("kill netd", "killed process 7");
    CHECK_PRINTS("run bench all", "bench runs as process 99");
    CHECK(has_argument);
    CHECK_PRINTS("run bench", "bench runs as process 99");
    CHECK(!has_argument);
    CHECK_PRINTS("devices", "00:03.0   1af4:1041  020000  virtio-net");
    CHECK_PRINTS("net", "link up, 52:54:00:12:34:56, address by DHCP");
    CHECK_PRINTS("net", "address   10.0.2.15");
    CHECK_PRINTS("net ping 10.0.2.2", "10.0.2.2 answered after 1.2 ms");
    CHECK_PRINTS("http", "100, 2 of them refused as wrong; 120 KiB sent");
    CHECK_PRINTS("clear", "\033[H\033[2J");
    CHECK_PRINTS("shutdown", "switching off\r\nmachine: UNSUPPORTED");
    CHECK_TEXT(run(""), "");
    CHECK_TEXT(run("   "), "");
}

static void test_odd_arguments(void)
{
    CHECK_PRINTS("frob", "no command \"frob\"; try help");
    CHECK_PRINTS("help frob", "no command is called \"frob\"");
    CHECK_PRINTS("ps x", "usage: ps");
    CHECK_PRINTS("kill", "usage: kill PID|SERVICE");
    CHECK_PRINTS("kill 1 2", "usage: kill PID|SERVICE");
    CHECK_PRINTS("kill 8", "kill: 8 is not the process of a service");
    CHECK_PRINTS("kill -1", "no service is called \"-1\"");
    CHECK_PRINTS("kill 99999999999999999999", "no service is called");
    CHECK_PRINTS("kill httpd", "kill: httpd is not running");
    CHECK_PRINTS("caps 8", "there is no process 8");
    CHECK_PRINTS("caps ghost", "there is no process called ghost");
    CHECK_PRINTS("top 0", "no number from 1");
    CHECK_PRINTS("top -n", "no number from 1");
    CHECK_PRINTS("start ghost", "no service is called \"ghost\"");
    CHECK_PRINTS("start netd", "netd is so already");
    CHECK_PRINTS("restart a-name-that-is-too-long", "no service is called");
    CHECK_PRINTS("run ghost", "no program that may be started by hand");
    CHECK_PRINTS("run bench 0123456789012345678901234567890123", "1 to 32 bytes");
    CHECK_PRINTS("net ping", "usage: net");
    CHECK_PRINTS("net ping 1.2.3", "is no IPv4 address");
    CHECK_PRINTS("net resolve nowhere", "nowhere: NOT_FOUND");
    CHECK_PRINTS("net resolve \"\"", "1 to 95 bytes");
    CHECK_PRINTS("net x y", "usage: net");
    CHECK_PRINTS("log -x", "usage: log");
    CHECK_PRINTS("echo 'x", "not understood: a ' is not closed");
    CHECK_PRINTS("echo 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7", "not understood: too many words");
    strcpy(keys, "q");
    key_count = 1;
    CHECK_PRINTS("top", "PID");
}

/* No command may hang, loop or crash, whatever the other side answers. */
static void test_failures(void)
{
    static const char *const lines[] = {
        "ps",        "top 2",        "mem",    "caps 7",    "cells",     "log",     "services", "start netd",
        "stop netd", "restart netd", "kill 7", "kill netd", "run bench", "devices", "net",      "net ping 10.0.2.2",
        "http",      "shutdown",     "reboot"};
    for (status_t status = ERROR_BAD_HANDLE; status >= ERROR_CLOSED; status--) {
        failure = status;
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
            CHECK(strlen(run(lines[i])) > 0);
        }
    }
    failure = ERROR_TIMED_OUT;
    CHECK_PRINTS("net", "net: TIMED_OUT (no answer: see `services`)");
    failure = OK;
    shell.handles = (struct shell_handles){};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        CHECK_PRINTS(lines[i], "the shell was given no handle to");
    }
}

int main(void)
{
    shell.handles = (struct shell_handles){.supervisor = FAKE_SUPERVISOR,
                                           .system = FAKE_SYSTEM,
                                           .net = FAKE_NET,
                                           .devmgr = FAKE_DEVMGR,
                                           .log = FAKE_LOG,
                                           .machine = FAKE_MACHINE,
                                           .http = FAKE_HTTP};
    test_output();
    test_odd_arguments();
    test_failures();
    return check_result();
}
