/* The cell's first program: an empty process with the personality mapped, which loads the program itself (docs/linux.md, "Start, exec, fork"). */
#include "first.h"
#include "posixd.h"
#include <linux/file.h>
#include <linux/start.h>
#include <posixd/page.h>
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <tess/serve/posix.h>
#include <tess/stub/clock.h>
#include <tess/stub/cspace.h>
#include <tess/stub/directory.h>
#include <tess/stub/machine.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint64_t KEPT_BYTES = 2 << 20; /* of the service's memory, for itself */
constexpr uint32_t TABLE_SLOTS = 4096;
constexpr uint32_t OWN = ~(uint32_t)(RIGHT_DESTROY | RIGHT_REVOKE);

static struct tess_page {
    alignas(8) uint8_t bytes[STD_PAGE];
} page;
static struct run_header header;
static const char *strings;
static uint32_t ended_code;
static int32_t ended_status;

/* ---- The end ---- */

void first_switch_off(void)
{
    handle_t machine = std_handle("machine");
    if (machine != HANDLE_NONE)
        (void)tess_machine_power(machine, POWER_OFF);
}

static void tell_end(void)
{
    log_info("program ended: code %u status %d", ended_code, ended_status); /* tools/linux_run.py reads this */
    first_switch_off();
}

static void on_end(uint32_t code, int32_t status)
{
    ended_code = code;
    ended_status = status;
    stdio_finish(tell_end);
}

/* ---- What it is to run ---- */

static status_t read_run(void)
{
    handle_t file = std_handle_needed("run");
    uint64_t size, committed;
    uint32_t flags, is_device;
    void *address;
    status_t status = tess_memory_info(file, &size, &committed, &flags, &is_device);
    if (status == OK)
        status = std_map(file, 0, size, MAP_READ, &address);
    if (status != OK)
        return status;
    memcpy(&header, address, sizeof(header));
    strings = (const char *)address + sizeof(header);
    uint32_t ends = 0;
    if (header.magic != RUN_MAGIC || header.version != 1 || header.strings_size > size - sizeof(header) ||
        header.strings_size > LINUX_STRINGS_MAX)
        return ERROR_BAD_FORMAT;
    for (uint64_t i = 0; i < header.strings_size; i++)
        ends += strings[i] == 0;
    return header.strings_size > 0 && strings[header.strings_size - 1] == 0 && ends == 1 + header.argument_count + header.environment_count
               ? OK
               : ERROR_BAD_FORMAT;
}

/* ---- Its process ---- */

struct birth {
    handle_t vspace, cspace, process, thread, arena, image, signals, posix, root, inodes;
    struct stdio_pipe in, out;
};

static status_t map(struct birth *birth, handle_t memory, uint64_t size, uint64_t address, uint32_t flags)
{
    uint64_t at;
    return tess_vspace_map(birth->vspace, memory, 0, size, address, flags | MAP_FIXED, &at);
}

static status_t make_space(struct birth *birth)
{
    uint64_t size, committed;
    uint32_t flags, is_device;
    birth->image = std_handle_needed("personality");
    status_t status = tess_memory_info(birth->image, &size, &committed, &flags, &is_device);
    if (status == OK)
        status = tess_untyped_create_vspace(cell_untyped, &birth->vspace);
    if (status == OK)
        status = map(birth, birth->image, size, NATIVE_BASE, MAP_READ | MAP_EXEC);
    if (status == OK)
        status = tess_untyped_create_memory(cell_untyped, LINUX_ARENA_SIZE, 0, &birth->arena);
    if (status == OK)
        status = map(birth, birth->arena, LINUX_ARENA_SIZE, LINUX_ARENA_BASE, MAP_READ | MAP_WRITE);
    return status;
}

static status_t make_process(struct birth *birth)
{
    uint8_t name[NAME_BYTES] = {};
    const char *path = strings, *base = path;
    for (const char *at = path; *at != 0; at++)
        base = *at == '/' ? at + 1 : base;
    memcpy(name, base, strnlen(base, NAME_BYTES - 1));
    status_t status = tess_untyped_create_cspace(cell_untyped, TABLE_SLOTS, &birth->cspace);
    if (status == OK)
        status = tess_untyped_create_process(cell_untyped, birth->vspace, birth->cspace, name, &birth->process);
    if (status == OK)
        status = tess_untyped_create_thread(cell_untyped, birth->process, birth->arena, LINUX_ARENA_MESSAGE, THREAD_FPU, &birth->thread);
    return status;
}

static status_t make_posix(struct birth *birth)
{
    struct posix_process *process;
    status_t status = posix_fork(&core, core.processes, 0, 0, &process);
    if (status == OK)
        status = process_open(process, &birth->signals);
    if (status == OK)
        status = posix_new_session(&core, process);
    if (status == OK)
        status = std_handle_mint(endpoint, POSIX_RIGHT_USE | RIGHT_COPY | RIGHT_MOVE | RIGHT_INSPECT,
                                 badge_of(process->generation, index_of(process), BADGE_PROCESS), &birth->posix);
    first_process = process;
    return status;
}

/* The root directory of user 0, and the inode table. */
static status_t make_files(struct birth *birth)
{
    handle_t admin = std_handle_needed("root"), first;
    uint8_t path[80] = "/", groups[40] = {};
    uint32_t inode, generation, mode, count;
    uint64_t device;
    status_t status = tess_directory_open(admin, OPEN_READ, 0, path, &inode, &generation, &mode, &device, &first, DEADLINE_INFINITE);
    if (status == OK) {
        status = tess_directory_identify(admin, 0, 0, 0, groups, first, &birth->root, DEADLINE_INFINITE);
        std_handle_delete(first);
    }
    return status == OK ? tess_directory_table(admin, &count, &birth->inodes, DEADLINE_INFINITE) : status;
}

static status_t make_pipes(struct birth *birth)
{
    status_t status = pipe_create(PIPE_QUEUE_BYTES_DEFAULT, &birth->in.memory, &birth->in.reader, &birth->in.writer);
    if (status == OK)
        status = pipe_create(PIPE_QUEUE_BYTES_DEFAULT, &birth->out.memory, &birth->out.reader, &birth->out.writer);
    return status;
}

/* ---- What it finds ---- */

/* A handle of its own table; HANDLE_NONE of what there is none. */
static status_t give(struct birth *birth, handle_t handle, uint32_t rights, handle_t *out)
{
    *out = HANDLE_NONE;
    return handle == HANDLE_NONE ? OK : tess_cspace_copy(birth->cspace, handle, rights, out);
}

static status_t give_pipe(struct birth *birth, const struct stdio_pipe *pipe, bool is_input, struct linux_start_file *out)
{
    out->kind = LINUX_START_QUEUE;
    out->flags = is_input ? LINUX_O_RDONLY : LINUX_O_WRONLY;
    status_t status = give(birth, pipe->memory, RIGHTS_ALL, &out->handles[0]);
    if (status == OK)
        status =
            is_input ? give(birth, pipe->reader, RIGHTS_ALL, &out->handles[1]) : give(birth, pipe->writer, RIGHTS_ALL, &out->handles[2]);
    return status;
}

static status_t give_all(struct birth *birth, struct linux_start *start)
{
    handle_t clock = HANDLE_NONE;
    if (std_handle("clock") != HANDLE_NONE && tess_clock_page(std_handle("clock"), &clock) != OK)
        clock = HANDLE_NONE;
    const struct {
        handle_t from;
        uint32_t rights;
        handle_t *to;
    } all[] = {
        {birth->process, OWN, &start->process},
        {birth->vspace, OWN, &start->vspace},
        {birth->cspace, OWN, &start->cspace},
        {birth->thread, OWN, &start->thread},
        {cell_untyped, OWN, &start->untyped},
        {std_handle("log.all"), LOG_RIGHT_APPEND | RIGHT_COPY | RIGHT_INSPECT, &start->log},
        {birth->image, OWN, &start->image},
        {birth->arena, OWN, &start->arena},
        {clock, OWN, &start->clock},
        {birth->signals, MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE | RIGHT_COPY | RIGHT_INSPECT, &start->signal_page},
        {birth->posix, RIGHTS_ALL, &start->posix},
        {birth->root, RIGHTS_ALL, &start->root},
        {birth->root, RIGHTS_ALL, &start->working_directory},
        {birth->inodes, RIGHTS_ALL, &start->inodes},
        {header.program_size > 0 ? std_handle("program") : HANDLE_NONE, OWN, &start->program},
    };
    status_t status = OK;
    for (uint32_t i = 0; i < ARRAY_LENGTH(all) && status == OK; i++)
        status = give(birth, all[i].from, all[i].rights, all[i].to);
    for (uint32_t i = 0; i < 3 && status == OK; i++)
        status = give_pipe(birth, i == 0 ? &birth->in : &birth->out, i == 0, &start->files[i]);
    start->file_count = 3;
    std_handle_delete(clock);
    return status;
}

static uint64_t next_random(uint64_t *state)
{
    /* splitmix64 (Steele, Lea, Flood 2014): spreads the one seed that the service was given. */
    uint64_t z = *state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

static status_t write_strings(const struct birth *birth)
{
    for (uint64_t at = 0; at < header.strings_size;) {
        uint64_t part = min_u64(header.strings_size - at, 1 << 20);
        status_t status = tess_memory_write(birth->arena, LINUX_ARENA_STRINGS + at, (uint64_t)strings + at, part);
        if (status != OK)
            return status;
        at += part;
    }
    return OK;
}

static status_t write_start(struct birth *birth)
{
    struct linux_start *start = (struct linux_start *)page.bytes;
    uint64_t seed = std_bootstrap()->seed;
    *start = (struct linux_start){.version = LINUX_START_VERSION,
                                  .argument_count = header.argument_count,
                                  .environment_count = header.environment_count,
                                  .program_size = header.program_size,
                                  .pid = first_process->pid,
                                  .parent = first_process->parent->pid,
                                  .group = first_process->group,
                                  .session = first_process->session,
                                  .cpu_count = header.cpu_count,
                                  .hostname = "tessera"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(start->seed); i++)
        start->seed[i] = next_random(&seed);
    status_t status = give_all(birth, start);
    if (status == OK)
        status = tess_memory_write(birth->arena, 0, (uint64_t)start, sizeof(page));
    return status == OK ? write_strings(birth) : status;
}

/* All that the process has is its own by now; ours is only what is needed to watch it and to move its bytes. */
static void drop(struct birth *birth)
{
    const handle_t handles[] = {birth->vspace, birth->cspace, birth->thread, birth->arena,     birth->signals,
                                birth->posix,  birth->root,   birth->inodes, birth->in.reader, birth->out.writer};
    for (uint32_t i = 0; i < ARRAY_LENGTH(handles); i++)
        std_handle_delete(handles[i]);
}

status_t first_start(void)
{
    static const struct {
        const char *what;
        status_t (*step)(struct birth *birth);
    } steps[] = {{"address space", make_space},  {"process", make_process}, {"id", make_posix},
                 {"standard files", make_pipes}, {"files", make_files},     {"start page", write_start}};
    static struct birth birth;
    status_t status = read_run();
    if (status != OK) {
        log_error("what to run cannot be read: %s", status_name(status));
        return status;
    }
    for (uint32_t i = 0; i < ARRAY_LENGTH(steps); i++) {
        status = steps[i].step(&birth);
        if (status != OK) {
            log_error("the first program cannot be started: %s: %s", steps[i].what, status_name(status));
            return status;
        }
    }
    first_ended = on_end;
    status = stdio_start(&birth.in, &birth.out, std_handle("input"), header.input_size, std_handle("console"));
    if (status == OK)
        status = process_started(first_process, birth.process);
    if (status == OK)
        status = tess_thread_start(birth.thread, LINUX_START, LINUX_START_STACK, LINUX_ARENA_BASE, 0, 0);
    if (status != OK)
        log_error("the first program cannot be started: %s", status_name(status));
    drop(&birth);
    return status;
}

uint64_t cell_memory(void)
{
    uint64_t limit, used, objects;
    if (tess_untyped_info(std_self.untyped, &limit, &used, &objects) != OK || (limit - used) * STD_PAGE <= KEPT_BYTES)
        return 0;
    return (limit - used) * STD_PAGE - KEPT_BYTES;
}
