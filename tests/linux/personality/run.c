/*
 * The personality before there are services: init of an image of its own that makes one Linux process for each file in linux/ of the boot
 * image, waits for it, and writes its wait status to the log: "linux NAME: status N, M pages left". What a program writes goes to the log.
 */
#include <linux/start.h>
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <tess/cpio.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/clock.h>
#include <tess/stub/cspace.h>
#include <tess/stub/machine.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

static const uint8_t *image;
static uint64_t image_size;
static handle_t image_memory, personality, clock_page;
static uint64_t personality_size;

static void must(status_t status, const char *what)
{
    if (status != OK) {
        std_abort("run: %s: %s", what, status_name(status));
    }
}

static handle_t slice(const struct cpio_file *file)
{
    handle_t memory;
    must(tess_memory_slice(image_memory, file->offset, align_up(file->size, STD_PAGE), &memory), "slice");
    return memory;
}

static handle_t give(handle_t cspace, handle_t handle)
{
    handle_t given;
    must(tess_cspace_copy(cspace, handle, RIGHTS_ALL, &given), "give");
    return given;
}

static uint64_t map(handle_t vspace, handle_t memory, uint64_t size, uint64_t address, uint32_t flags)
{
    uint64_t at;
    must(tess_vspace_map(vspace, memory, 0, size, address, flags | MAP_FIXED, &at), "map");
    return at;
}

static int32_t run(const char *name, const struct cpio_file *file, uint32_t *out_cause)
{
    handle_t untyped, vspace, cspace, process, thread, arena, program = slice(file);
    uint8_t process_name[NAME_BYTES] = "linux";
    must(tess_untyped_create_untyped(std_self.untyped, 64ull << 20, &untyped), "untyped");
    must(tess_untyped_create_vspace(untyped, &vspace), "vspace");
    must(tess_untyped_create_cspace(untyped, 512, &cspace), "cspace");
    must(tess_untyped_create_process(untyped, vspace, cspace, process_name, &process), "process");
    must(tess_untyped_create_memory(untyped, LINUX_ARENA_SIZE, 0, &arena), "arena");
    must(tess_untyped_create_thread(untyped, process, arena, LINUX_ARENA_MESSAGE, THREAD_FPU, &thread), "thread");
    map(vspace, personality, personality_size, NATIVE_BASE, MAP_READ | MAP_EXEC);
    map(vspace, arena, LINUX_ARENA_SIZE, LINUX_ARENA_BASE, MAP_READ | MAP_WRITE);
    struct linux_start start = {
        .version = LINUX_START_VERSION,
        .argument_count = 2,
        .environment_count = 1,
        .process = give(cspace, process),
        .vspace = give(cspace, vspace),
        .cspace = give(cspace, cspace),
        .thread = give(cspace, thread),
        .untyped = give(cspace, untyped),
        .log = give(cspace, std_self.log),
        .image = give(cspace, personality),
        .arena = give(cspace, arena),
        .clock = give(cspace, clock_page),
        .program = give(cspace, program),
        .program_size = file->size,
        .pid = 1,
        .group = 1,
        .session = 1,
        .seed = {std_bootstrap()->seed, 1, 2, 3},
        .cpu_count = 1,
        .hostname = "test",
        .file_count = 3,
        .files = {{.kind = LINUX_START_LOG}, {.kind = LINUX_START_LOG, .flags = 1}, {.kind = LINUX_START_LOG, .flags = 1}},
    };
    char strings[256] = {};
    uint32_t size = 0;
    const char *const texts[] = {name, name, "argument", "HOME=/"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        memcpy(strings + size, texts[i], strlen(texts[i]) + 1);
        size += (uint32_t)strlen(texts[i]) + 1;
    }
    must(tess_memory_write(arena, 0, (uint64_t)&start, sizeof(start)), "start record");
    must(tess_memory_write(arena, LINUX_ARENA_STRINGS, (uint64_t)strings, sizeof(strings)), "strings");
    must(tess_thread_start(thread, LINUX_START, LINUX_START_STACK, LINUX_ARENA_BASE, 0, 0), "start");
    int32_t status;
    must(tess_process_wait(process, out_cause, &status, DEADLINE_INFINITE), "wait");
    struct tess_crash_record crash;
    if (tess_process_crash_info(process, (uint64_t)&crash) == OK) {
        log_error("crash: kind %u write %u address %#llx pc %#llx sp %#llx", crash.fault_kind, crash.is_write,
                  (unsigned long long)crash.address, (unsigned long long)crash.pc, (unsigned long long)crash.sp);
        for (uint32_t i = 0; i < crash.frame_count && i < 16; i++) {
            log_error("crash:   %#llx", (unsigned long long)crash.frames[i]);
        }
    }
    must(tess_cspace_destroy(std_self.cspace, untyped), "destroy");
    const handle_t own[] = {untyped, vspace, cspace, process, thread, arena, program};
    for (uint32_t i = 0; i < ARRAY_LENGTH(own); i++) {
        std_handle_delete(own[i]);
    }
    return status;
}

int main(void)
{
    uint64_t committed, cursor = 0;
    uint32_t flags, is_device;
    void *address;
    image_memory = std_handle_needed("image");
    must(tess_memory_info(image_memory, &image_size, &committed, &flags, &is_device), "image");
    must(std_map(image_memory, 0, image_size, MAP_READ, &address), "image");
    image = address;
    must(tess_clock_page(std_handle_needed("clock"), &clock_page), "clock");
    struct cpio_file file;
    must(cpio_find(image, image_size, "personality/linux", &file), "personality/linux");
    personality = slice(&file);
    personality_size = align_up(file.size, STD_PAGE);
    while (cpio_next(image, image_size, &cursor, &file) == OK) {
        if (strncmp(file.name, "linux/", 6) == 0) {
            uint32_t cause;
            int32_t status = run(file.name + 6, &file, &cause);
            log_info("linux %s: cause %u, status %d", file.name + 6, cause, status);
        }
    }
    log_info("linux: all done");
    status_t status = tess_machine_power(std_handle_needed("machine"), POWER_OFF);
    (void)status;
    return 0;
}
