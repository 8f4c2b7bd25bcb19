/* How a process begins: the first of a cell (struct linux_start), or after exec (exec.c). */
#include <linux/arena.h>
#include <linux/dispatch.h>
#include <linux/errno.h>
#include <linux/file.h>
#include <linux/load.h>
#include <linux/posix.h>
#include <linux/process.h>
#include <linux/registers.h>
#include <linux/signals.h>
#include <linux/threads.h>
#include <linux/user.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/vspace.h>

static void take_identity(struct linux_process *process, const struct linux_start *start)
{
    process->process = start->process;
    process->vspace = start->vspace;
    process->cspace = start->cspace;
    process->untyped = start->untyped;
    process->log = start->log;
    process->image = start->image;
    process->arena = start->arena;
    process->clock = start->clock;
    process->signal_page = start->signal_page;
    process->inodes = start->inodes;
    process->posix = start->posix;
    process->pid = start->pid;
    process->parent = start->parent;
    process->uid = process->euid = process->suid = process->fsuid = start->uid;
    process->gid = process->egid = process->sgid = process->fsgid = start->gid;
    process->umask = 022;
    process->cpu_count = start->cpu_count;
    memcpy(process->hostname, start->hostname, sizeof(process->hostname));
    memcpy(process->random, start->seed, sizeof(process->random));
    process->arena_next = LINUX_ARENA_HEAP;
    process->next_tid = start->pid + 1;
    for (uint32_t i = 0; i < LINUX_RLIMITS; i++) {
        process->limits[i] = (struct linux_rlimit){UINT64_MAX, UINT64_MAX};
    }
    process->limits[LINUX_RLIMIT_STACK] = (struct linux_rlimit){8ull << 20, UINT64_MAX};
    process->limits[LINUX_RLIMIT_NOFILE] = (struct linux_rlimit){1024, 4096};
    process->limits[LINUX_RLIMIT_CORE] = (struct linux_rlimit){0, UINT64_MAX};
    process->limits[LINUX_RLIMIT_MEMLOCK] = (struct linux_rlimit){8ull << 20, 8ull << 20};
}

/* The stub would look for the message page through the frame, which is not there yet. */
static void take_upcalls(struct linux_process *process, struct linux_thread *thread)
{
    struct tess_message_page *page = (struct tess_message_page *)((uint64_t)thread->frame & ~4095ull);
    struct tess_regs regs = {.op = OP_THREAD_SET_UPCALL,
                             .handle = thread->handle,
                             .aux = DEADLINE_NOW,
                             .word = {process->arena, linux_arena_offset(thread->frame), (uint64_t)thread->frame, (uint64_t)linux_entry}};
    page->words[4] = (uint64_t)linux_fault_entry;
    if (tess_invoke(&regs) != OK) {
        __builtin_trap();
    }
}

static void map_fixed(handle_t memory, uint64_t offset, uint64_t address, uint32_t flags)
{
    uint64_t at;
    if (memory != HANDLE_NONE && tess_vspace_map(linux_process()->vspace, memory, offset, 4096, address, flags | MAP_FIXED, &at) != OK) {
        linux_log(LOG_ERROR, "linux: cannot map a page of the system's at %#llx", (unsigned long long)address);
        linux_process_exit(127 << 8);
    }
}

void linux_start_map_pages(void)
{
    extern const char linux_trampoline_page[];
    struct linux_process *process = linux_process();
    map_fixed(process->clock, 0, LINUX_CLOCK_BASE, MAP_READ);
    map_fixed(process->image, (uint64_t)linux_trampoline_page - NATIVE_BASE, LINUX_TRAMPOLINE, MAP_READ | MAP_EXEC);
    linux_posix_adopt();
}

static int64_t open_first(const struct linux_start *start, const char *path, struct linux_program *out)
{
    if (start->program != HANDLE_NONE) {
        *out = (struct linux_program){.memory = start->program, .offset = start->program_offset, .size = start->program_size};
        return 0;
    }
    struct linux_file *file;
    struct linux_file_memory memory;
    int64_t result = linux_file_open_program(-100, path, 0, &file); /* AT_FDCWD; the file stays open, there is one such */
    if (result == 0) {
        result = file->operations->memory == nullptr ? -LINUX_EACCES : file->operations->memory(file, 0, &memory);
    }
    if (result == 0) {
        *out = (struct linux_program){memory.memory, memory.offset, memory.size, memory.map_flags};
    }
    return result;
}

void linux_start(uint64_t arena)
{
    const struct linux_start *start = (const struct linux_start *)arena;
    struct linux_process *process = (struct linux_process *)(arena + LINUX_ARENA_PROCESS);
    take_identity(process, start);
    struct linux_thread *thread = linux_thread_prepare(process, (void *)(arena + LINUX_ARENA_MESSAGE));
    thread->handle = start->thread;
    thread->tid = start->pid;
    linux_frame_adopt(thread->frame);
    take_upcalls(process, thread);
    process->threads = thread;
    process->thread_count = 1;
    linux_start_map_pages();
    linux_signal_set_mask(thread, 0);
    linux_signal_tell_actions(process);
    linux_files_start(start);

    const struct linux_program_strings strings = {(const char *)arena + LINUX_ARENA_STRINGS, LINUX_STRINGS_MAX, start->argument_count,
                                                  start->environment_count};
    struct linux_program program;
    int64_t result = open_first(start, strings.text, &program);
    result = result == 0 ? linux_load_check(&program) : result;
    result = result == 0 ? linux_load(&program, &strings) : result;
    if (result != 0) {
        linux_log(LOG_ERROR, "linux: cannot start %s: error %d", strings.text, (int)-result);
        linux_process_exit((result == -LINUX_ENOENT ? 127 : 126) << 8);
    }
    linux_resume();
}

void linux_process_exit(int32_t wait_status)
{
    status_t status = tess_process_exit(linux_process()->process, wait_status);
    (void)status;
    __builtin_trap();
}

void linux_start_upcalls(struct linux_thread *thread) { take_upcalls(thread->process, thread); }
