/*
 * execve. What can be refused is refused first: paths, arguments, the file, #!. Then a fresh address space gets what every process has above
 * the program's range (the arena goes over as it is, with descriptors and this thread's block), and process.exec goes on in it at
 * linux_exec_start, which loads the program. From there on an error ends the process.
 */
#include <linux/call.h>
#include <linux/dispatch.h>
#include <linux/file.h>
#include <linux/load.h>
#include <linux/memory.h>
#include <linux/posix.h>
#include <linux/registers.h>
#include <linux/signals.h>
#include <linux/threads.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/posix.h>
#include <tess/stub/process.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint64_t PATH_MAX = 4096;
constexpr uint32_t STRINGS_MAX = 1 << 16, SCRIPT_DEPTH = 5, LINE_MAX = 256;

/* In the arena, from the call to the end of loading. */
struct exec {
    struct linux_file *file;
    struct linux_program program;
    uint32_t argument_count, environment_count;
    handle_t old_vspace;
    char name[16];
    uint64_t path_at, text_at,
        end; /* in text: the path and the first argument lie before text_at, downwards, so that #! can put more there */
    char text[LINUX_STRINGS_MAX];
};
constexpr uint64_t TEXT_START = 64 << 10; /* room for the path, and what #! puts in front */

static void drop(handle_t handle)
{
    status_t status = tess_cspace_delete(linux_process()->cspace, handle);
    (void)status;
}

/* ---- Arguments ---- */

static int64_t add_strings(struct exec *exec, uint64_t vector, uint32_t *out_count)
{
    *out_count = 0;
    for (uint64_t pointer; vector != 0; vector += 8, ++*out_count) {
        if (linux_load_user_u64(&pointer, vector) != 0) {
            return -LINUX_EFAULT;
        }
        if (pointer == 0) {
            return 0;
        }
        if (*out_count == STRINGS_MAX) {
            return -LINUX_E2BIG;
        }
        int64_t length = linux_string_from_user(exec->text + exec->end, pointer, sizeof(exec->text) - exec->end);
        if (length < 0) {
            return length == -LINUX_ENAMETOOLONG ? -LINUX_E2BIG : length;
        }
        exec->end += (uint64_t)length + 1;
    }
    return 0;
}

/* Before what is there already. */
static bool put_before(struct exec *exec, const char *text)
{
    uint64_t size = strlen(text) + 1;
    if (size > exec->text_at) {
        return false;
    }
    exec->text_at -= size;
    memcpy(exec->text + exec->text_at, text, size);
    return true;
}

/* ---- The file ---- */

/* #! interpreter [argument]: include/uapi of Linux has no words for it; execve(2) has. The new arguments: interpreter, argument, path, the old
 * ones but the first. */
static int64_t read_script(struct exec *exec, const char *path, char line[LINE_MAX + 1], char **out_interpreter)
{
    memset(line, 0, LINE_MAX + 1);
    int64_t result =
        linux_error(tess_memory_read(exec->program.memory, exec->program.offset, (uint64_t)line, min_u64(LINE_MAX, exec->program.size)));
    if (result != 0 || line[0] != '#' || line[1] != '!') {
        return result != 0 ? result : 1;
    }
    char *end = line + 2, *at = line + 2;
    while (*end != 0 && *end != '\n') {
        end++;
    }
    if (*end == 0 && exec->program.size > LINE_MAX) {
        return -LINUX_ENOEXEC;
    }
    *end = 0;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t')) {
        *--end = 0;
    }
    while (*at == ' ' || *at == '\t') {
        at++;
    }
    if (*at == 0) {
        return -LINUX_ENOEXEC;
    }
    *out_interpreter = at;
    while (*at != 0 && *at != ' ' && *at != '\t') {
        at++;
    }
    char *argument = at;
    while (*argument == ' ' || *argument == '\t') {
        *argument++ = 0;
    }
    /* The first argument, if there was one, gives way to the path. */
    if (exec->argument_count > 0) {
        exec->text_at += strlen(exec->text + exec->text_at) + 1;
        exec->argument_count--;
    }
    bool has_room = put_before(exec, path) && (*argument == 0 || put_before(exec, argument)) && put_before(exec, *out_interpreter);
    exec->argument_count += *argument == 0 ? 2 : 3;
    return has_room ? 0 : -LINUX_E2BIG;
}

static int64_t open_program(struct exec *exec, int32_t directory, const char *path, uint32_t flags)
{
    struct linux_file_memory memory;
    if (exec->file != nullptr) {
        linux_file_put(exec->file);
        exec->file = nullptr;
    }
    int64_t result = linux_file_open_program(directory, path, flags, &exec->file);
    if (result != 0) {
        exec->file = nullptr;
        return result;
    }
    result = exec->file->operations->memory == nullptr ? -LINUX_EACCES : exec->file->operations->memory(exec->file, 0, &memory);
    if (result == 0) {
        exec->program = (struct linux_program){memory.memory, memory.offset, memory.size, memory.map_flags};
    }
    return result;
}

static int64_t find_program(struct exec *exec, int32_t directory, char *path, uint32_t flags)
{
    char line[LINE_MAX + 1], *interpreter;
    for (uint32_t depth = 0; depth < SCRIPT_DEPTH; depth++) {
        int64_t result = open_program(exec, directory, path, flags);
        result = result == 0 ? read_script(exec, path, line, &interpreter) : result;
        if (result < 0) {
            return result;
        }
        if (result == 1) {
            return linux_load_check(&exec->program);
        }
        memcpy(path, interpreter, strlen(interpreter) + 1);
        directory = -100;
        flags = 0;
    }
    return -LINUX_ELOOP;
}

static int64_t prepare(struct exec *exec, int32_t directory, char *path, uint64_t arguments, uint64_t environment, uint32_t flags)
{
    exec->text_at = exec->end = TEXT_START;
    int64_t result = add_strings(exec, arguments, &exec->argument_count);
    result = result == 0 ? add_strings(exec, environment, &exec->environment_count) : result;
    if (result == 0 && exec->argument_count == 0) { /* Linux gives one that is empty */
        exec->argument_count = put_before(exec, "");
    }
    result = result == 0 ? find_program(exec, directory, path, flags) : result;
    if (result != 0) {
        return result;
    }
    const char *base = path;
    for (const char *at = path; *at != 0; at++) {
        base = *at == '/' ? at + 1 : base;
    }
    memcpy(exec->name, base, strnlen(base, sizeof(exec->name) - 1));
    return put_before(exec, path) ? 0 : -LINUX_E2BIG;
}

/* ---- The new space ---- */

static int64_t map_into(handle_t vspace, handle_t memory, uint64_t size, uint64_t address, uint32_t flags)
{
    uint64_t at;
    return linux_error(tess_vspace_map(vspace, memory, 0, size, address, flags | MAP_FIXED, &at));
}

static int64_t make_space(struct linux_process *process, handle_t *out_vspace)
{
    uint64_t image_size, committed;
    uint32_t flags, is_device;
    int64_t result = linux_error(tess_memory_info(process->image, &image_size, &committed, &flags, &is_device));
    result = result == 0 ? linux_error(tess_untyped_create_vspace(process->untyped, out_vspace)) : result;
    if (result != 0) {
        return result;
    }
    result = map_into(*out_vspace, process->image, align_up(image_size, 4096), NATIVE_BASE, MAP_READ | MAP_EXEC);
    result = result == 0 ? map_into(*out_vspace, process->arena, LINUX_ARENA_SIZE, LINUX_ARENA_BASE, MAP_READ | MAP_WRITE) : result;
    result = result == 0 ? linux_files_map_into(*out_vspace) : result;
    if (result != 0) {
        drop(*out_vspace);
    }
    return result;
}

static int64_t go(struct exec *exec)
{
    struct linux_process *process = linux_process();
    struct linux_thread *thread = linux_self();
    uint8_t *block = (uint8_t *)thread - LINUX_BLOCK_THREAD;
    handle_t vspace;
    int64_t result = make_space(process, &vspace);
    if (result != 0) {
        return result;
    }
    exec->old_vspace = process->vspace;
    process->exec = exec;
    status_t status = tess_process_exec(process->process, vspace, (uint64_t)linux_exec_entry, (uint64_t)block + LINUX_THREAD_BLOCK,
                                        (uint64_t)thread, vspace, 0, process->arena, linux_arena_offset(block), DEADLINE_INFINITE);
    drop(vspace);
    return status == ERROR_NO_MEMORY ? -LINUX_ENOMEM : linux_error(status);
}

int64_t linux_sys_execveat(uint64_t directory, uint64_t path, uint64_t arguments, uint64_t environment, uint64_t flags)
{
    char name[PATH_MAX];
    if ((flags & ~0x1100ull) != 0) { /* AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW */
        return -LINUX_EINVAL;
    }
    int64_t result = linux_string_from_user(name, path, sizeof(name));
    if (result < 0) {
        return result;
    }
    struct exec *exec = linux_allocate_raw(sizeof(*exec));
    if (exec == nullptr) {
        return -LINUX_ENOMEM;
    }
    memset(exec, 0, offsetof(struct exec, text));
    result = prepare(exec, (int32_t)directory, name, arguments, environment, (uint32_t)flags);
    result = result == 0 ? go(exec) : result;
    if (exec->file != nullptr) {
        linux_file_put(exec->file);
    }
    linux_free(exec, sizeof(*exec));
    return result;
}

int64_t linux_sys_execve(uint64_t path, uint64_t arguments, uint64_t environment)
{
    return linux_sys_execveat((uint64_t)-100, path, arguments, environment, 0);
}

/* ---- After it ---- */

static void forget_program(struct linux_process *process, struct linux_thread *self)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct linux_thread **list = i == 0 ? &process->threads : &process->gone;
        for (struct linux_thread *thread = *list, *next; thread != nullptr; thread = next) {
            next = thread->next;
            if (thread != self) {
                linux_signal_forget(thread);
                drop(thread->handle);
                linux_free((uint8_t *)thread - LINUX_BLOCK_THREAD, LINUX_THREAD_BLOCK);
            }
        }
        *list = nullptr;
    }
    process->threads = self;
    process->thread_count = 1;
    linux_memory_forget(process);
    linux_timers_forget(process, false);
    for (uint32_t i = 0; i < LINUX_SIGNALS; i++) {
        bool is_ignored = process->actions[i].handler == LINUX_SIG_IGN;
        process->actions[i] = (struct linux_signal_action){.handler = is_ignored ? LINUX_SIG_IGN : LINUX_SIG_DFL};
    }
    process->dumpable = 0;
}

/* A thread that others wait for, or that holds a lock of ours, has ended: the locks are free now, whatever they were. */
static void free_locks(struct linux_process *process)
{
    struct linux_lock *const locks[] = {&process->thread_lock, &process->signal_lock, &process->memory_lock, &process->arena_lock};
    for (uint32_t i = 0; i < ARRAY_LENGTH(locks); i++) {
        locks[i]->state = 0;
    }
}

void linux_exec_start(uint64_t thread_address, uint64_t vspace)
{
    struct linux_thread *thread = (struct linux_thread *)thread_address;
    struct linux_process *process = thread->process;
    struct exec *exec = process->exec;
    process->vspace = vspace;
    const struct linux_thread old = *thread;
    thread = linux_thread_prepare(process, (uint8_t *)thread - LINUX_BLOCK_THREAD);
    thread->handle = old.handle;
    thread->mask = old.mask;
    thread->pending = old.pending;
    thread->tid = process->pid;
    thread->affinity = old.affinity;
    memcpy(thread->name, exec->name, sizeof(thread->name));
    linux_frame_adopt(thread->frame);
    linux_start_upcalls(thread);
    free_locks(process);
    drop(exec->old_vspace);
    forget_program(process, thread);
    linux_start_map_pages();
    if (process->posix != HANDLE_NONE) {
        thread->frame->mask = 1;
        status_t status = tess_posix_exec(process->posix, (const uint8_t *)exec->name, DEADLINE_INFINITE);
        (void)status;
        thread->frame->mask = 0;
    }
    linux_signal_set_mask(thread, thread->mask);
    linux_signal_tell_actions(process);
    linux_files_exec();
    const struct linux_program_strings strings = {exec->text + exec->text_at, exec->end - exec->text_at, exec->argument_count,
                                                  exec->environment_count};
    int64_t result = linux_load(&exec->program, &strings);
    if (result != 0) {
        linux_log(LOG_ERROR, "linux: cannot load %s: error %d", strings.text, (int)-result);
        linux_process_exit(LINUX_SIGKILL);
    }
    linux_file_put(exec->file);
    process->exec = nullptr;
    linux_free(exec, sizeof(*exec));
    linux_signals_take(thread, 0, false);
    linux_resume();
}
