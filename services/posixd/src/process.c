/* Handles of processes and threads, signal pages, and what core asks of the world. */
#include "posixd.h"
#include <posixd/page.h>
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/stub/cspace.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

static struct posix_process records[PROCESSES_MAX];
struct runtime runtimes[PROCESSES_MAX];
struct posix_core core;
void (*first_ended)(uint32_t code, int32_t status);
struct posix_process *first_process;

static struct member members[THREADS_MAX];
static struct list free_members;

/* ---- Threads ---- */

static struct member *member_of(struct list_node *node) { return list_entry(node, struct member, node); }

static struct member *member_find(const struct posix_process *process, uint32_t tid)
{
    list_for_each (node, &runtime_of(process)->members) {
        if (member_of(node)->tid == tid)
            return member_of(node);
    }
    return nullptr;
}

static void member_drop(struct runtime *runtime, struct member *member)
{
    if (runtime->page != nullptr)
        page_place_free(runtime->page, &runtime->places_used, member->place);
    std_handle_delete(member->thread);
    member->thread = HANDLE_NONE;
    list_remove(&member->node);
    if (member != &runtime->main) {
        list_push_back(&free_members, &member->node);
        runtime->member_count--;
    }
}

/* All but the first. */
static void members_drop(struct runtime *runtime)
{
    list_for_each_safe (node, &runtime->members) {
        if (member_of(node) != &runtime->main)
            member_drop(runtime, member_of(node));
    }
}

status_t thread_add(struct posix_process *process, handle_t thread, uint32_t *out_tid, uint32_t *out_place)
{
    uint32_t type, rights;
    uint64_t badge, id;
    if (tess_cspace_inspect(std_self.cspace, thread, &type, &rights, &badge, &id) != OK || type != OBJECT_THREAD ||
        (rights & THREAD_RIGHT_CONTROL) == 0)
        return ERROR_BAD_ARGUMENT;
    struct list_node *node = list_pop_front(&free_members);
    if (node == nullptr)
        return ERROR_NO_SPACE;
    struct runtime *runtime = runtime_of(process);
    struct member *member = member_of(node);
    member->tid = posix_id_next(&core);
    member->thread = thread;
    member->place = page_place_take(runtime->page, &runtime->places_used, member->tid);
    list_push_back(&runtime->members, &member->node);
    runtime->member_count++;
    *out_tid = member->tid;
    *out_place = member->place;
    return OK;
}

status_t thread_remove(struct posix_process *process, uint32_t tid)
{
    struct member *member = member_find(process, tid);
    if (member == nullptr || member == &runtime_of(process)->main)
        return ERROR_NOT_FOUND;
    member_drop(runtime_of(process), member);
    return OK;
}

bool is_thread_alive(uint32_t tid)
{
    for (uint32_t i = 1; i < PROCESSES_MAX; i++) {
        const struct posix_process *process = &core.processes[i];
        if (process->state != POSIX_FREE && process->state != POSIX_ZOMBIE && (process->pid == tid || member_find(process, tid) != nullptr))
            return true;
    }
    return false;
}

/* The first thread's handle is looked up when it is needed: few processes are ever signalled. */
static handle_t thread_handle(struct runtime *runtime, struct member *member)
{
    uint64_t id;
    if (member->thread == HANDLE_NONE && member == &runtime->main && runtime->process != HANDLE_NONE &&
        tess_process_thread_next(runtime->process, 0, &id, &member->thread) != OK)
        member->thread = HANDLE_NONE;
    return member->thread;
}

/* ---- What core asks for ---- */

static status_t send_signal(void *context, struct posix_process *process, uint32_t thread, const struct posix_signal *signal)
{
    (void)context;
    struct runtime *runtime = runtime_of(process);
    struct member *target = thread == 0 ? nullptr : member_find(process, thread);
    if (runtime->page == nullptr || (thread != 0 && target == nullptr))
        return OK; /* it is ending */
    if (signal->signal == SIGNAL_CONT || (signal->signal > SIGNAL_CONT && signal->signal <= SIGNAL_TTOU))
        page_take_back(runtime->page, signal->signal);
    bool is_everywhere_blocked = target != nullptr && page_is_blocked(runtime->page, target->place, signal->signal);
    if (page_is_ignored(runtime->page, signal->signal) && !is_everywhere_blocked &&
        !page_is_blocked(runtime->page, runtime->main.place, signal->signal))
        return OK;
    status_t status = page_send(runtime->page, thread, target != nullptr ? target->place : PAGE_NO_PLACE, &runtime->sequence, signal);
    if (status != OK)
        return status;
    list_for_each (node, &runtime->members) {
        struct member *member = member_of(node);
        if (target == nullptr ? !page_is_blocked(runtime->page, member->place, signal->signal) : member == target) {
            (void)tess_thread_interrupt(thread_handle(runtime, member)); /* one that ends needs none */
            break;
        }
    }
    return OK;
}

static void kill_process(void *context, struct posix_process *process)
{
    (void)context;
    (void)tess_process_kill(runtime_of(process)->process, SIGNAL_KILL);
}

/* Every thread there is, also those that nobody told us of. One that is made meanwhile has a larger id. */
static void each_thread(struct posix_process *process, status_t (*what)(handle_t thread))
{
    uint64_t id = 0;
    handle_t thread;
    while (tess_process_thread_next(runtime_of(process)->process, id, &id, &thread) == OK) {
        (void)what(thread); /* it is so already, was never started, or ends */
        std_handle_delete(thread);
    }
}
static void stop_process(void *context, struct posix_process *process) { (void)context, each_thread(process, tess_thread_suspend); }
static void resume_process(void *context, struct posix_process *process) { (void)context, each_thread(process, tess_thread_resume); }
static void tell_news(void *context, struct posix_process *parent) { (void)context, waiters_news(parent); }

static bool has_thread(void *context, const struct posix_process *process, uint32_t thread)
{
    (void)context;
    return process->state != POSIX_ZOMBIE && member_find(process, thread) != nullptr;
}

static bool is_thread_id(void *context, uint32_t id)
{
    (void)context;
    return is_thread_alive(id);
}

static uint32_t child_flags(void *context, const struct posix_process *parent)
{
    (void)context;
    const struct runtime *runtime = runtime_of(parent);
    return runtime->page == nullptr ? 0 : page_flags(runtime->page);
}

/* Everything but the record goes: at the end, or when nothing came of it. */
static void close_runtime(struct posix_process *process)
{
    struct runtime *runtime = runtime_of(process);
    waiters_drop(process);
    members_drop(runtime);
    std_handle_delete(runtime->main.thread);
    runtime->main.thread = HANDLE_NONE;
    if (runtime->page != nullptr)
        std_unmap(runtime->page, STD_PAGE);
    runtime->page = nullptr;
    if (runtime->process != HANDLE_NONE)
        loop_unwatch(&loop, &runtime->death);
    std_handle_delete(runtime->process);
    runtime->process = HANDLE_NONE;
}

static void freed(void *context, struct posix_process *process)
{
    (void)context;
    close_runtime(process);
}

static const struct posix_operations operations = {.send = send_signal,
                                                   .kill = kill_process,
                                                   .stop = stop_process,
                                                   .resume = resume_process,
                                                   .news = tell_news,
                                                   .has_thread = has_thread,
                                                   .is_thread_id = is_thread_id,
                                                   .child_flags = child_flags,
                                                   .freed = freed};

void processes_init(void)
{
    list_init(&free_members);
    for (uint32_t i = 0; i < THREADS_MAX; i++)
        list_push_back(&free_members, &members[i].node);
    for (uint32_t i = 0; i < PROCESSES_MAX; i++) {
        list_init(&runtimes[i].members);
        list_init(&runtimes[i].waiters);
    }
    posix_core_init(&core, records, PROCESSES_MAX, &operations, nullptr);
}

/* ---- Life ---- */

struct posix_process *process_of_badge(uint64_t badge)
{
    uint32_t index = badge_index(badge);
    if (badge_kind(badge) != BADGE_PROCESS || index == 0 || index >= PROCESSES_MAX)
        return nullptr;
    struct posix_process *process = &records[index];
    bool is_running = process->state != POSIX_FREE && process->state != POSIX_ZOMBIE;
    return is_running && process->generation == badge_generation(badge) ? process : nullptr;
}

status_t process_open(struct posix_process *process, handle_t *out_memory)
{
    struct runtime *runtime = runtime_of(process);
    handle_t memory;
    void *page;
    /* Committed: to look at it must not fail when the cell has used up its memory. */
    status_t status = tess_untyped_create_memory(cell_untyped, STD_PAGE, MEMORY_COMMITTED, &memory);
    if (status != OK)
        return ERROR_NO_MEMORY;
    status = std_map(memory, 0, STD_PAGE, MAP_READ | MAP_WRITE, &page);
    if (status != OK) {
        std_handle_delete(memory);
        return ERROR_NO_MEMORY;
    }
    runtime->page = page;
    runtime->places_used = 1;
    runtime->sequence = 0;
    runtime->member_count = 0;
    runtime->has_news = false;
    runtime->start_ns = time_now_ns();
    runtime->main = (struct member){.tid = process->pid, .place = 0};
    list_init(&runtime->members);
    list_push_back(&runtime->members, &runtime->main.node);
    page_init(runtime->page, process->pid);
    *out_memory = memory;
    return OK;
}

/* The status word that the personality ends its process with is Linux's; anything else is a plain exit. */
static void read_status(uint32_t cause, int32_t status, uint32_t *out_code, int32_t *out_status)
{
    uint32_t word = (uint32_t)status & 0xFFFF, signal = word & 0x7F;
    bool is_killed = cause != EXIT_NORMAL || (signal != 0 && signal <= SIGNAL_MAX);
    *out_code = !is_killed ? POSIX_CHILD_EXITED : cause == EXIT_NORMAL && (word & 0x80) != 0 ? POSIX_CHILD_DUMPED : POSIX_CHILD_KILLED;
    *out_status = cause == EXIT_FAULT    ? (int32_t)SIGNAL_SEGV
                  : cause != EXIT_NORMAL ? (int32_t)SIGNAL_KILL
                  : is_killed            ? (int32_t)signal
                                         : (int32_t)(word >> 8);
}

static void process_ended(struct posix_process *process, uint32_t cause, int32_t status)
{
    struct runtime *runtime = runtime_of(process);
    bool is_messy = cause != EXIT_NORMAL || runtime->member_count > 0;
    uint32_t code;
    int32_t value;
    read_status(cause, status, &code, &value);
    close_runtime(process);
    if (is_messy)
        pipes_mend();
    if (process == first_process) {
        first_process = nullptr;
        posix_ended(&core, process, code, value);
        first_ended(code, value);
        return;
    }
    posix_ended(&core, process, code, value);
}

/* The personality itself has failed: a program's own faults are signals. */
static void report_crash(const struct posix_process *process)
{
    struct tess_crash_record crash;
    if (tess_process_crash_info(runtime_of(process)->process, (uint64_t)&crash) != OK)
        return;
    log_error("process %u: fault %u at %#llx, address %#llx", process->pid, crash.fault_kind, (unsigned long long)crash.pc,
              (unsigned long long)crash.address);
    for (uint64_t i = 1; i < crash.frame_count && i < 8; i++)
        log_error("  from %#llx", (unsigned long long)crash.frames[i]);
}

static void on_death(struct loop_watch *watch, uint64_t bits, status_t status)
{
    (void)bits, (void)status;
    struct posix_process *process = watch->context;
    struct runtime *runtime = runtime_of(process);
    struct tess_process_info info;
    uint32_t cause = EXIT_DESTROYED;
    int32_t end_status = 0;
    if (tess_process_info(runtime->process, (uint64_t)&info) == OK)
        process->cpu_ns = info.cpu_ns;
    (void)tess_process_wait(runtime->process, &cause, &end_status, time_after_ns(100 * NS_PER_MS));
    if (cause == EXIT_FAULT)
        report_crash(process);
    process_ended(process, cause, end_status);
    waiters_run();
}

status_t process_started(struct posix_process *process, handle_t handle)
{
    constexpr uint32_t needed = PROCESS_RIGHT_MANAGE | PROCESS_RIGHT_DEBUG | RIGHT_WATCH | RIGHT_INSPECT;
    struct runtime *runtime = runtime_of(process);
    uint32_t type, rights;
    uint64_t badge, id;
    if (process->state != POSIX_STARTING)
        return ERROR_ALREADY;
    if (tess_cspace_inspect(std_self.cspace, handle, &type, &rights, &badge, &id) != OK || type != OBJECT_PROCESS ||
        (rights & needed) != needed)
        return ERROR_BAD_ARGUMENT;
    runtime->death = (struct loop_watch){.fn = on_death, .context = process};
    status_t status = loop_watch(&loop, &runtime->death, handle, 0, WATCH_DEATH);
    if (status != OK)
        return status;
    runtime->process = handle;
    posix_started(&core, process);
    return OK;
}

void process_exec(struct posix_process *process)
{
    struct runtime *runtime = runtime_of(process);
    bool had_others = runtime->member_count > 0;
    members_drop(runtime);
    std_handle_delete(runtime->main.thread); /* another thread may be the first now */
    runtime->main.thread = HANDLE_NONE;
    page_init(runtime->page, process->pid);
    if (had_others)
        pipes_mend();
    waiters_exec(process);
}

void process_badge_gone(uint64_t badge)
{
    struct posix_process *process = process_of_badge(badge);
    /* Nobody can say any more which process it was to be: it has ended before it began. One that runs without its handle is watched. */
    if (process != nullptr && process->state == POSIX_STARTING)
        process_ended(process, EXIT_KILLED, SIGNAL_KILL);
}
