/*
 * Files of Linux programs: makes one Linux process whose root directory is tmpfsd's, runs /bin/program (program.c) in it, and says how it ended. Booted by
 * tests/boot/linux_files.py with a manifest of its own.
 */
#include <linux/start.h>
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/string.h>
#include <tess/stub/clock.h>
#include <tess/stub/cspace.h>
#include <tess/stub/directory.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

static handle_t cspace;

static void must(status_t status, const char *what)
{
    if (status != OK) {
        std_abort("run: %s: %s", what, status_name(status));
    }
}

static handle_t give(handle_t handle)
{
    handle_t given;
    must(tess_cspace_copy(cspace, handle, RIGHTS_ALL, &given), "give");
    return given;
}

static void map(handle_t vspace, handle_t memory, uint64_t size, uint64_t address, uint32_t flags)
{
    uint64_t at;
    must(tess_vspace_map(vspace, memory, 0, size, address, flags | MAP_FIXED, &at), "map");
}

/* The root directory for user 0, and the inode table. */
static void get_files(handle_t *out_root, handle_t *out_table)
{
    handle_t root = std_handle_needed("root"), first;
    uint8_t path[80] = "/", groups[40] = {};
    uint32_t inode, generation, mode, count;
    uint64_t device;
    must(tess_directory_open(root, OPEN_READ, 0, path, &inode, &generation, &mode, &device, &first, DEADLINE_INFINITE), "open /");
    must(tess_directory_identify(root, 0, 0, 0, groups, first, out_root, DEADLINE_INFINITE), "identify");
    must(tess_directory_table(root, &count, out_table, DEADLINE_INFINITE), "table");
    std_handle_delete(first);
}

static void tell_crash(handle_t process)
{
    struct tess_crash_record crash;
    if (tess_process_crash_info(process, (uint64_t)&crash) == OK) {
        log_error("crash: kind %u write %u address %#llx pc %#llx", crash.fault_kind, crash.is_write, (unsigned long long)crash.address,
                  (unsigned long long)crash.pc);
        for (uint32_t i = 0; i < crash.frame_count && i < 16; i++) {
            log_error("crash:   %#llx", (unsigned long long)crash.frames[i]);
        }
    }
}

int main(void)
{
    handle_t untyped, vspace, process, thread, arena, personality = std_handle_needed("personality"), clock_page, root, table;
    uint8_t name[NAME_BYTES] = "linux";
    uint64_t size, committed;
    uint32_t flags, is_device;
    must(tess_clock_page(std_handle_needed("clock"), &clock_page), "clock");
    must(tess_memory_info(personality, &size, &committed, &flags, &is_device), "personality");
    get_files(&root, &table);
    must(tess_untyped_create_untyped(std_self.untyped, 16ull << 20, &untyped), "untyped");
    must(tess_untyped_create_vspace(untyped, &vspace), "vspace");
    must(tess_untyped_create_cspace(untyped, 8192, &cspace), "cspace");
    must(tess_untyped_create_process(untyped, vspace, cspace, name, &process), "process");
    must(tess_untyped_create_memory(untyped, LINUX_ARENA_SIZE, 0, &arena), "arena");
    must(tess_untyped_create_thread(untyped, process, arena, LINUX_ARENA_MESSAGE, THREAD_FPU, &thread), "thread");
    map(vspace, personality, size, NATIVE_BASE, MAP_READ | MAP_EXEC);
    map(vspace, arena, LINUX_ARENA_SIZE, LINUX_ARENA_BASE, MAP_READ | MAP_WRITE);
    struct linux_start start = {
        .version = LINUX_START_VERSION,
        .argument_count = 1,
        .process = give(process),
        .vspace = give(vspace),
        .cspace = give(cspace),
        .thread = give(thread),
        .untyped = give(untyped),
        .log = give(std_self.log),
        .image = give(personality),
        .arena = give(arena),
        .clock = give(clock_page),
        .inodes = give(table),
        .root = give(root),
        .working_directory = give(root),
        .pid = 1,
        .group = 1,
        .session = 1,
        .cpu_count = 1,
        .seed = {std_bootstrap()->seed, 1, 2, 3},
        .hostname = "test",
        .file_count = 3,
        .files = {{.kind = LINUX_START_LOG}, {.kind = LINUX_START_LOG, .flags = 1}, {.kind = LINUX_START_LOG, .flags = 1}},
    };
    std_handle_delete(root);
    constexpr char strings[] = "/bin/program\0/bin/program";
    must(tess_memory_write(arena, 0, (uint64_t)&start, sizeof(start)), "start record");
    must(tess_memory_write(arena, LINUX_ARENA_STRINGS, (uint64_t)strings, sizeof(strings)), "strings");
    must(tess_thread_start(thread, LINUX_START, LINUX_START_STACK, LINUX_ARENA_BASE, 0, 0), "start");
    uint32_t cause;
    int32_t status;
    must(tess_process_wait(process, &cause, &status, DEADLINE_INFINITE), "wait");
    tell_crash(process);
    log_info("program: cause %u, status %d", cause, status);
    time_sleep_until(DEADLINE_INFINITE);
    return 0;
}
