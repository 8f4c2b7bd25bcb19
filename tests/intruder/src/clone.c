/* A child process as a copy of this one's address space, at the same addresses, with handles of its own. */
#include <intruder.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

#if defined(__x86_64__)
constexpr uint64_t RETURN_ADDRESS_BYTES = 8; /* a function starts as after a call */
#else
constexpr uint64_t RETURN_ADDRESS_BYTES = 0;
#endif
constexpr uint32_t CHILD_SLOTS = 192;
static handle_t shared_memory;
struct shared *shared = (struct shared *)SHARED_ADDRESS;

[[noreturn]] static void child_main(uint64_t fn, uint64_t argument)
{
    std_self = shared->self;
    int32_t (*run)(uint64_t) = (int32_t (*)(uint64_t))fn;
    std_exit(run(argument));
}

void shared_make(void)
{
    uint64_t at;
    status_t status = tess_untyped_create_memory(std_self.untyped, STD_PAGE, MEMORY_COMMITTED, &shared_memory);
    if (status == OK)
        status = tess_vspace_map(std_self.vspace, shared_memory, 0, STD_PAGE, SHARED_ADDRESS, MAP_READ | MAP_WRITE | MAP_FIXED, &at);
    if (status != OK)
        std_abort("no shared page: %s", status_name(status));
}

static bool is_zero(const uint64_t *page)
{
    for (uint32_t i = 0; i < STD_PAGE / sizeof(*page); i++)
        if (page[i] != 0)
            return false;
    return true;
}

/* Copies what is mapped at [start, start + size) and maps the copy in the child. The message page lies in the bootstrap's mapping. */
static status_t copy_mapping(struct clone *clone, uint64_t start, uint64_t size, uint32_t flags, handle_t *out_memory)
{
    const struct tess_bootstrap *bootstrap = std_bootstrap();
    bool is_stack = start == bootstrap->stack_base;
    uint64_t at;
    status_t status = tess_untyped_create_memory(clone->untyped, size, 0, out_memory);
    for (uint64_t page = 0; status == OK && !is_stack && page < size; page += STD_PAGE)
        if (!is_zero((const uint64_t *)(start + page)))
            status = tess_memory_write(*out_memory, page, start + page, STD_PAGE);
    if (status == OK)
        status = tess_vspace_map(clone->vspace, *out_memory, 0, size, start, (flags & (MAP_READ | MAP_WRITE | MAP_EXEC)) | MAP_FIXED, &at);
    return status;
}

static status_t copy_space(struct clone *clone, handle_t *out_message)
{
    uint64_t start, size, offset, message = tess_thread_block()->message_page;
    uint32_t flags;
    status_t status = OK;
    for (uint64_t at = 0; status == OK && tess_vspace_query(std_self.vspace, at, &start, &size, &flags, &offset) == OK; at = start + size) {
        handle_t memory = HANDLE_NONE;
        uint64_t mapped;
        if (start == SHARED_ADDRESS) {
            status = tess_vspace_map(clone->vspace, shared_memory, 0, STD_PAGE, start, MAP_READ | MAP_WRITE | MAP_FIXED, &mapped);
            continue;
        }
        status = copy_mapping(clone, start, size, flags, &memory);
        if (status == OK && start == message)
            *out_message = memory;
        else
            std_handle_delete(memory);
    }
    return status;
}

static status_t give(struct clone *clone, handle_t handle, handle_t *out_handle)
{
    return tess_cspace_copy(clone->cspace, handle, RIGHTS_ALL & ~(uint32_t)(RIGHT_DESTROY | RIGHT_REVOKE), out_handle);
}

static status_t give_handles(struct clone *clone, const struct clone_args *args)
{
    struct std_self *self = &shared->self;
    *self = (struct std_self){};
    shared->http = HANDLE_NONE;
    status_t status = give(clone, clone->cspace, &self->cspace);
    if (status == OK)
        status = give(clone, clone->vspace, &self->vspace);
    if (status == OK)
        status = give(clone, clone->process, &self->process);
    if (status == OK)
        status = give(clone, clone->thread, &self->thread);
    if (status == OK)
        status = give(clone, clone->untyped, &self->untyped);
    if (status == OK && args->has_log)
        status = give(clone, std_self.log, &self->log);
    if (status == OK && args->has_http)
        status = give(clone, std_handle_needed("http"), &shared->http);
    return status;
}

static status_t clone_make(struct clone *clone, const struct clone_args *args)
{
    static const uint8_t name[NAME_BYTES] = "intruder-child";
    handle_t message = HANDLE_NONE;
    status_t status = tess_untyped_create_untyped(std_self.untyped, args->untyped_bytes, &clone->untyped);
    if (status == OK)
        status = tess_untyped_create_vspace(clone->untyped, &clone->vspace);
    if (status == OK)
        status = tess_untyped_create_cspace(clone->untyped, CHILD_SLOTS, &clone->cspace);
    if (status == OK)
        status = tess_untyped_create_process(clone->untyped, clone->vspace, clone->cspace, name, &clone->process);
    if (status == OK)
        status = copy_space(clone, &message);
    if (status == OK)
        status = tess_untyped_create_thread(clone->untyped, clone->process, message, 0, 0, &clone->thread);
    if (status == OK)
        status = give_handles(clone, args);
    if (status == OK) {
        /* Its copy of the thread block names its own thread. */
        uint64_t block = (uint64_t)tess_thread_block() - tess_thread_block()->message_page;
        uint64_t place = block + offsetof(struct tess_thread_block, thread);
        status = tess_memory_write(message, place, (uint64_t)&shared->self.thread, sizeof(handle_t));
    }
    std_handle_delete(message);
    return status;
}

status_t clone_start(struct clone *clone, const struct clone_args *args)
{
    *clone = (struct clone){};
    status_t status = clone_make(clone, args);
    if (status == OK) {
        const struct tess_bootstrap *bootstrap = std_bootstrap();
        uint64_t sp = bootstrap->stack_base + bootstrap->stack_size - 64 - RETURN_ADDRESS_BYTES;
        status =
            tess_thread_start(clone->thread, (uint64_t)child_main, sp, (uint64_t)args->fn, args->argument, (uint64_t)tess_thread_block());
    }
    if (status != OK)
        clone_end(clone);
    return status;
}

void clone_end(struct clone *clone)
{
    if (clone->untyped != HANDLE_NONE && tess_cspace_destroy(std_self.cspace, clone->untyped) != OK)
        std_abort("a child cannot be destroyed");
    std_handle_delete(clone->thread);
    std_handle_delete(clone->process);
    std_handle_delete(clone->cspace);
    std_handle_delete(clone->vspace);
    std_handle_delete(clone->untyped);
    *clone = (struct clone){};
}
