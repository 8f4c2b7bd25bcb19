/*
 * Making a process. Everything is checked and made first; the steps that cannot be taken back (moving handles, starting the thread)
 * come last. Until then a failure deletes whatever the child was to be.
 */
#include <std/memory.h>
#include <std/program.h>
#include <std/spawn.h>
#include <std/time.h>
#include <stdatomic.h>
#include <stdckdint.h>
#include <tess/elf.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/cell.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint64_t SPAWN_BASE = 0x200000; /* the whole of a small program then shares one last-level page table */
constexpr uint64_t BOOTSTRAP_ADDRESS = SPAWN_BASE + STD_PAGE;
constexpr uint64_t CLOCK_ADDRESS = SPAWN_BASE + 2 * STD_PAGE;
constexpr uint64_t STACK_ADDRESS = SPAWN_BASE + 4 * STD_PAGE;
constexpr uint64_t STACK_DEFAULT = 64 * 1024;
constexpr uint64_t STACK_COMMITTED = 2 * STD_PAGE; /* as deep as programs usually go; the rest comes when touched */
constexpr uint64_t STACK_MAX = 1ull << 32;
constexpr uint32_t SLOTS_DEFAULT = 256;
constexpr uint64_t WRITE_MAX = 1 << 20; /* memory.write takes no more at once */

union bootstrap_page {
    struct tess_bootstrap bootstrap;
    uint8_t bytes[STD_PAGE];
};

struct spawn {
    const struct spawn_args *args;
    struct spawned *child;
    struct elf_image elf;
    handle_t pages; /* message page, bootstrap page */
    uint64_t stack_size;
    union bootstrap_page page;
};

/* Notes what is being done, for the log of whoever spawns. */
static void step(struct spawn *spawn, const char *what, const char *name)
{
    spawn->child->failed_step = what;
    spawn->child->failed_name = name;
}

/* ---- Address space ---- */

static status_t map_child(struct spawn *spawn, handle_t memory, uint64_t offset, uint64_t size, uint64_t address, uint32_t flags)
{
    uint64_t at;
    return tess_vspace_map(spawn->child->vspace, memory, offset, size, address, flags | MAP_FIXED, &at);
}

static status_t write_memory(handle_t memory, uint64_t offset, const uint8_t *from, uint64_t size)
{
    while (size > 0) {
        uint64_t part = min_u64(size, WRITE_MAX);
        status_t status = tess_memory_write(memory, offset, (uint64_t)from, part);
        if (status != OK) {
            return status;
        }
        offset += part;
        from += part;
        size -= part;
    }
    return OK;
}

/* The mapping keeps the memory. */
static status_t map_and_drop(struct spawn *spawn, handle_t memory, uint64_t size, uint64_t address)
{
    status_t status = map_child(spawn, memory, 0, size, address, MAP_READ | MAP_WRITE);
    std_handle_delete(memory);
    return status;
}

/* What a program writes to is there before it starts: it does not die of lacking memory in the middle of its work, and what it
 * holds does not depend on which of its ways it has been already. */
static status_t map_data(struct spawn *spawn, uint64_t address, uint64_t memory_size, uint64_t offset, const uint8_t *from, uint64_t size)
{
    handle_t memory;
    status_t status = tess_untyped_create_memory(spawn->args->untyped, memory_size, MEMORY_COMMITTED, &memory);
    if (status != OK) {
        return status;
    }
    status = write_memory(memory, offset, from, size);
    if (status != OK) {
        std_handle_delete(memory);
        return status;
    }
    return map_and_drop(spawn, memory, memory_size, address);
}

static status_t map_stack(struct spawn *spawn)
{
    handle_t memory;
    uint64_t size = spawn->stack_size, committed = min_u64(size, STACK_COMMITTED);
    status_t status = tess_untyped_create_memory(spawn->args->untyped, size, 0, &memory);
    if (status != OK) {
        return status;
    }
    status = tess_memory_commit(memory, size - committed, committed);
    if (status != OK) {
        std_handle_delete(memory);
        return status;
    }
    return map_and_drop(spawn, memory, size, STACK_ADDRESS);
}

static status_t load_segment(struct spawn *spawn, const struct elf_segment *segment)
{
    const struct spawn_args *args = spawn->args;
    uint64_t first = align_down(segment->address, STD_PAGE);
    uint64_t size = align_up(segment->address + segment->memory_size, STD_PAGE) - first;
    uint64_t address = spawn->child->image_base + first;
    if (segment->is_writable) {
        return map_data(spawn, address, size, segment->address - first, (const uint8_t *)args->file + segment->file_offset,
                        segment->file_size);
    }
    return map_child(spawn, args->file_memory, args->file_offset + align_down(segment->file_offset, STD_PAGE), size, address,
                     MAP_READ | (segment->is_executable ? MAP_EXEC : 0));
}

static status_t make_address_space(struct spawn *spawn)
{
    struct spawned *child = spawn->child;
    step(spawn, "making the address space", nullptr);
    status_t status = tess_untyped_create_vspace(spawn->args->untyped, &child->vspace);
    if (status != OK) {
        return status;
    }
    /* Committed: writing the bootstrap page at the end must not fail. */
    step(spawn, "making the bootstrap page", nullptr);
    status = tess_untyped_create_memory(spawn->args->untyped, 2 * STD_PAGE, MEMORY_COMMITTED, &spawn->pages);
    if (status == OK) {
        status = map_child(spawn, spawn->pages, 0, 2 * STD_PAGE, SPAWN_BASE, MAP_READ | MAP_WRITE);
    }
    if (status == OK && spawn->args->clock_memory != HANDLE_NONE) {
        step(spawn, "mapping the clock page", nullptr);
        status = map_child(spawn, spawn->args->clock_memory, 0, STD_PAGE, CLOCK_ADDRESS, MAP_READ);
    }
    if (status == OK) {
        step(spawn, "making the stack", nullptr);
        status = map_stack(spawn);
    }
    for (uint32_t i = 0; status == OK && i < spawn->elf.segment_count; i++) {
        step(spawn, "mapping the program", nullptr);
        status = load_segment(spawn, &spawn->elf.segments[i]);
    }
    return status;
}

/* ---- Process, handles ---- */

static status_t make_process(struct spawn *spawn)
{
    const struct spawn_args *args = spawn->args;
    struct spawned *child = spawn->child;
    uint8_t name[NAME_BYTES] = {};
    memcpy(name, args->name, strnlen(args->name, NAME_BYTES));
    step(spawn, "making the table of handles", nullptr);
    status_t status = tess_untyped_create_cspace(args->untyped, args->slot_limit != 0 ? args->slot_limit : SLOTS_DEFAULT, &child->cspace);
    if (status != OK) {
        return status;
    }
    step(spawn, "making the process", nullptr);
    status = args->cell != HANDLE_NONE
                 ? tess_cell_create_process(args->cell, args->untyped, child->vspace, child->cspace, name, &child->process)
                 : tess_untyped_create_process(args->untyped, child->vspace, child->cspace, name, &child->process);
    if (status != OK) {
        return status;
    }
    step(spawn, "making the thread", nullptr);
    return tess_untyped_create_thread(args->untyped, child->process, spawn->pages, 0, 0, &child->thread);
}

static struct tess_bootstrap_handle *next_entry(struct spawn *spawn, const char *name)
{
    struct tess_bootstrap *bootstrap = &spawn->page.bootstrap;
    size_t length = strnlen(name, sizeof(bootstrap->handles[0].name));
    step(spawn, "giving a handle", name);
    if (bootstrap->handle_count == ARRAY_LENGTH(bootstrap->handles) || length == sizeof(bootstrap->handles[0].name)) {
        return nullptr;
    }
    struct tess_bootstrap_handle *entry = &bootstrap->handles[bootstrap->handle_count++];
    memcpy(entry->name, name, length);
    return entry;
}

static status_t give(struct spawn *spawn, const char *name, handle_t handle, uint32_t rights)
{
    struct tess_bootstrap_handle *entry = next_entry(spawn, name);
    return entry == nullptr ? ERROR_NO_SPACE : tess_cspace_copy(spawn->child->cspace, handle, rights, &entry->handle);
}

static status_t give_copies(struct spawn *spawn)
{
    /* A process may end itself, but not destroy what its spawner needs to find out why. */
    constexpr uint32_t own = RIGHTS_ALL & ~(uint32_t)(RIGHT_DESTROY | RIGHT_REVOKE);
    const struct spawned *child = spawn->child;
    const struct {
        const char *name;
        handle_t handle;
    } self[] = {{"self.cspace", child->cspace},
                {"self.vspace", child->vspace},
                {"self.process", child->process},
                {"self.thread", child->thread},
                {"self.untyped", spawn->args->untyped}};
    for (uint32_t i = 0; i < ARRAY_LENGTH(self); i++) {
        status_t status = give(spawn, self[i].name, self[i].handle, own);
        if (status != OK) {
            return status;
        }
    }
    for (uint32_t i = 0; i < spawn->args->handle_count; i++) {
        const struct spawn_handle *handle = &spawn->args->handles[i];
        status_t status = handle->is_moved ? OK : give(spawn, handle->name, handle->handle, handle->rights);
        if (status != OK) {
            return status;
        }
    }
    return OK;
}

/* Moves are not taken back, so that they can fail only for lack of room or of a right is checked before any is made. */
static status_t check_moves(struct spawn *spawn)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < spawn->args->handle_count; i++) {
        const struct spawn_handle *handle = &spawn->args->handles[i];
        if (!handle->is_moved) {
            continue;
        }
        uint32_t type, rights;
        uint64_t badge, id;
        step(spawn, "moving a handle", handle->name);
        status_t status = tess_cspace_inspect(std_self.cspace, handle->handle, &type, &rights, &badge, &id);
        if (status != OK) {
            return status;
        }
        if ((rights & RIGHT_MOVE) == 0) {
            return ERROR_MISSING_RIGHT;
        }
        if (strnlen(handle->name, sizeof(spawn->page.bootstrap.handles[0].name)) == sizeof(spawn->page.bootstrap.handles[0].name)) {
            return ERROR_NO_SPACE;
        }
        count++;
    }
    bool has_room = count <= ARRAY_LENGTH(spawn->page.bootstrap.handles) - spawn->page.bootstrap.handle_count;
    return has_room ? OK : ERROR_NO_SPACE;
}

static status_t give_moves(struct spawn *spawn)
{
    for (uint32_t i = 0; i < spawn->args->handle_count; i++) {
        const struct spawn_handle *handle = &spawn->args->handles[i];
        if (handle->is_moved) {
            struct tess_bootstrap_handle *entry = next_entry(spawn, handle->name);
            status_t status = entry == nullptr ? ERROR_NO_SPACE : tess_cspace_move(spawn->child->cspace, handle->handle, &entry->handle);
            if (status != OK) {
                return status;
            }
        }
    }
    return OK;
}

/* ---- Bootstrap page ---- */

static status_t place_args(struct spawn *spawn)
{
    struct tess_bootstrap *bootstrap = &spawn->page.bootstrap;
    uint64_t at = sizeof(*bootstrap);
    step(spawn, "placing the arguments", nullptr);
    bootstrap->args_offset = (uint32_t)at;
    bootstrap->args_count = spawn->args->arg_count;
    for (uint32_t i = 0; i < spawn->args->arg_count; i++) {
        uint64_t room = sizeof(spawn->page) - at;
        uint64_t length = strnlen(spawn->args->args[i], room);
        if (length == room) {
            return ERROR_NO_SPACE;
        }
        memcpy(&spawn->page.bytes[at], spawn->args->args[i], length);
        at += length + 1;
    }
    return OK;
}

/* Another one for each: what one program knows of its own says nothing useful of ours. */
static uint64_t next_seed(void)
{
    static _Atomic uint64_t count;
    unsigned _BitInt(128) product = std_bootstrap()->seed + atomic_fetch_add(&count, 1);
    product *= time_now_ns() | 1;
    return (uint64_t)product ^ (uint64_t)(product >> 64) * 0x9E3779B97F4A7C15; /* 2^64 / golden ratio; Knuth, TAOCP 3, 6.4 */
}

static status_t finish_page(struct spawn *spawn)
{
    struct tess_bootstrap *bootstrap = &spawn->page.bootstrap;
    bootstrap->block.self = BOOTSTRAP_ADDRESS;
    bootstrap->block.message_page = SPAWN_BASE;
    bootstrap->block.thread = bootstrap->handles[3].handle; /* self.thread, see give_copies */
    bootstrap->version = ABI_VERSION;
    bootstrap->abi_hash = ABI_HASH;
    bootstrap->image_base = spawn->child->image_base;
    bootstrap->stack_base = STACK_ADDRESS;
    bootstrap->stack_size = spawn->stack_size;
    bootstrap->clock_page = spawn->args->clock_memory != HANDLE_NONE ? CLOCK_ADDRESS : 0;
    bootstrap->seed = next_seed();
    step(spawn, "writing the bootstrap page", nullptr);
    return write_memory(spawn->pages, STD_PAGE, spawn->page.bytes, sizeof(spawn->page));
}

/* ---- All of it ---- */

static status_t check(struct spawn *spawn)
{
    const struct spawn_args *args = spawn->args;
    step(spawn, "reading the program file", args->name);
    uint64_t stack = args->stack_bytes != 0 ? args->stack_bytes : STACK_DEFAULT;
    if (stack > STACK_MAX || !is_aligned(args->file_offset, STD_PAGE)) {
        return ERROR_BAD_ARGUMENT;
    }
    spawn->stack_size = align_up(stack, STD_PAGE);
    spawn->child->image_base = STACK_ADDRESS + spawn->stack_size + STD_PAGE;
    status_t status = elf_parse(args->file, args->file_size, ELF_NATIVE, &spawn->elf);
    spawn->child->entry = spawn->child->image_base + spawn->elf.entry;
    spawn->child->stack_top = STACK_ADDRESS + spawn->stack_size;
    spawn->child->bootstrap = BOOTSTRAP_ADDRESS;
    return status;
}

static status_t build(struct spawn *spawn)
{
    status_t (*const steps[])(struct spawn *) = {check,       make_address_space, make_process, place_args,
                                                 give_copies, check_moves,        give_moves,   finish_page};
    for (uint32_t i = 0; i < ARRAY_LENGTH(steps); i++) {
        status_t status = steps[i](spawn);
        if (status != OK) {
            return status;
        }
    }
    step(spawn, "starting the thread", nullptr);
    return spawn->args->is_suspended ? OK : process_start(spawn->child);
}

static void destroy(handle_t handle)
{
    if (handle != HANDLE_NONE) {
        status_t status = tess_cspace_destroy(std_self.cspace, handle);
        (void)status;
        std_handle_delete(handle);
    }
}

status_t process_spawn(const struct spawn_args *args, struct spawned *out_spawned)
{
    *out_spawned = (struct spawned){};
    struct spawn spawn = {.args = args, .child = out_spawned};
    status_t status = build(&spawn);
    std_handle_delete(spawn.pages);
    if (status == OK) {
        out_spawned->failed_step = out_spawned->failed_name = nullptr;
        return OK;
    }
    /* The table holds handles to itself and the rest: destroyed, not just deleted. */
    destroy(out_spawned->thread);
    destroy(out_spawned->process);
    destroy(out_spawned->cspace);
    destroy(out_spawned->vspace);
    *out_spawned = (struct spawned){.failed_step = out_spawned->failed_step, .failed_name = out_spawned->failed_name};
    return status;
}

status_t process_start(const struct spawned *spawned)
{
    return tess_thread_start(spawned->thread, spawned->entry, spawned->stack_top, spawned->bootstrap, 0, spawned->bootstrap);
}

void process_drop(struct spawned *spawned)
{
    std_handle_delete(spawned->thread);
    std_handle_delete(spawned->process);
    std_handle_delete(spawned->cspace);
    std_handle_delete(spawned->vspace);
    *spawned = (struct spawned){};
}
