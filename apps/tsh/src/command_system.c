/* Commands that show what the kernel reports through `system`: processes, CPUs, memory, handles, and the log. */
#include <caps.h>
#include <format.h>
#include <shell.h>
#include <std/time.h>
#include <tess/string.h>
#include <tess/stub/log.h>
#include <tess/stub/supervisor.h>
#include <tess/stub/system.h>

constexpr size_t PAGE_BYTES = 4096;

/* ---- processes ---- */

static status_t process_next(struct shell *shell, uint64_t after_id, struct tess_process_info *out_info)
{
    return tess_system_process_next(shell->handles.system, after_id, (uint64_t)(uintptr_t)out_info);
}

bool process_find(struct shell *shell, const char *name_or_pid, struct tess_process_info *out_info)
{
    uint64_t wanted_id = 0, id = 0;
    bool is_number = words_number(name_or_pid, &wanted_id);
    while (process_next(shell, id, out_info) == OK) {
        char name[NAME_BYTES + 1];
        id = out_info->id;
        format_name(name, sizeof(name), out_info->name, sizeof(out_info->name));
        if (is_number ? id == wanted_id : strcmp(name, name_or_pid) == 0) {
            return true;
        }
    }
    shell_print(shell, "there is no process %s%s\n", is_number ? "" : "called ", name_or_pid);
    return false;
}

static const char *state_name(uint32_t state)
{
    switch (state) {
    case PROCESS_STATE_ALIVE: return "alive";
    case PROCESS_STATE_ENDING: return "ending";
    case PROCESS_STATE_ENDED: return "ended";
    default: return "unknown";
    }
}

void command_ps(struct shell *shell, const struct words *)
{
    if (!shell_has(shell, shell->handles.system, "system")) {
        return;
    }
    struct tess_process_info info;
    uint64_t id = 0, now = time_now_ns();
    shell_print(shell, "%5s %-16s %-8s %7s %7s %10s %12s %s\n", "PID", "NAME", "STATE", "THREADS", "HANDLES", "MEMORY", "CPU", "AGE");
    while (process_next(shell, id, &info) == OK) {
        char name[NAME_BYTES + 1], memory[24], cpu[24], age[24];
        id = info.id;
        format_name(name, sizeof(name), info.name, sizeof(info.name));
        format_size(memory, sizeof(memory), info.memory_pages * PAGE_BYTES);
        format_duration(cpu, sizeof(cpu), info.cpu_ns);
        format_duration(age, sizeof(age), now > info.start_ns ? now - info.start_ns : 0);
        shell_print(shell, "%5llu %-16s %-8s %7u %7llu %10s %12s %s\n", (unsigned long long)id, name, state_name(info.state),
                    info.thread_count, (unsigned long long)info.handle_count, memory, cpu, age);
    }
}

/* ---- top ---- */

constexpr size_t TOP_PROCESSES = 24;
constexpr size_t TOP_CPUS = 8;
constexpr uint64_t TOP_PERIOD_NS = 2'000'000'000;

struct top_process {
    uint64_t id, cpu_ns, used_ns; /* used: since the last look */
    struct tess_process_info info;
};

struct top {
    struct top_process processes[TOP_PROCESSES];
    size_t process_count;
    struct tess_cpu_info cpus[TOP_CPUS];
    uint64_t time_ns;
};

static uint64_t top_cpu_before(const struct top *before, uint64_t id)
{
    for (size_t i = 0; i < before->process_count; i++) {
        if (before->processes[i].id == id) {
            return before->processes[i].cpu_ns;
        }
    }
    return 0;
}

/* Busiest first; those beyond the table are dropped from its end. */
static void top_insert(struct top *top, const struct top_process *process)
{
    size_t at = top->process_count;
    if (at == TOP_PROCESSES) {
        if (top->processes[at - 1].used_ns >= process->used_ns) {
            return;
        }
        at--;
    } else {
        top->process_count++;
    }
    for (; at > 0 && top->processes[at - 1].used_ns < process->used_ns; at--) {
        top->processes[at] = top->processes[at - 1];
    }
    top->processes[at] = *process;
}

static void top_look(struct shell *shell, const struct top *before, struct top *top)
{
    *top = (struct top){.time_ns = time_now_ns()};
    for (uint32_t i = 0; i < TOP_CPUS; i++) {
        if (tess_system_cpu(shell->handles.system, i, (uint64_t)(uintptr_t)&top->cpus[i]) != OK) {
            top->cpus[i].is_online = 0;
        }
    }
    struct top_process process;
    for (uint64_t id = 0; process_next(shell, id, &process.info) == OK;) {
        process.id = id = process.info.id;
        process.cpu_ns = process.info.cpu_ns;
        process.used_ns = process.cpu_ns - top_cpu_before(before, id);
        top_insert(top, &process);
    }
}

static void top_print(struct shell *shell, const struct top *before, const struct top *top)
{
    char text[24], memory[24];
    for (uint32_t i = 0; i < TOP_CPUS; i++) {
        const struct tess_cpu_info *old = &before->cpus[i], *new = &top->cpus[i];
        if (new->is_online) {
            uint64_t busy = new->busy_ns - old->busy_ns, idle = new->idle_ns - old->idle_ns;
            format_percent(text, sizeof(text), busy, busy + idle);
            shell_print(shell, "CPU %u  %6s busy  %llu switches  %llu calls  %llu interrupts  %llu timer\n", i, text,
                        (unsigned long long)(new->switches - old->switches), (unsigned long long)(new->syscalls - old->syscalls),
                        (unsigned long long)(new->interrupts - old->interrupts),
                        (unsigned long long)(new->timer_interrupts - old->timer_interrupts));
        }
    }
    shell_print(shell, "\n%5s %-16s %7s %10s %7s\n", "PID", "NAME", "CPU", "MEMORY", "HANDLES");
    for (size_t i = 0; i < top->process_count; i++) {
        const struct top_process *process = &top->processes[i];
        char name[NAME_BYTES + 1];
        format_name(name, sizeof(name), process->info.name, sizeof(process->info.name));
        format_percent(text, sizeof(text), process->used_ns, top->time_ns - before->time_ns);
        format_size(memory, sizeof(memory), process->info.memory_pages * PAGE_BYTES);
        shell_print(shell, "%5llu %-16s %7s %10s %7llu\n", (unsigned long long)process->id, name, text, memory,
                    (unsigned long long)process->info.handle_count);
    }
}

/* True when a key was pressed before the deadline; the key is taken. */
static bool wait_for_key(struct shell *shell, uint64_t deadline_ns)
{
    char byte;
    while (!console_read(&shell->console, &byte)) {
        if (console_wait(&shell->console, deadline_ns) == 0) {
            return false;
        }
    }
    return true;
}

void command_top(struct shell *shell, const struct words *words)
{
    static struct top looks[2]; /* too large for the stack */
    uint64_t count = UINT64_MAX;
    if (words->count > 1 && !words_number_within(words->word[1], 1, 1'000'000, &count)) {
        shell_print(shell, "top: \"%s\" is no number from 1 to 1000000\n", words->word[1]);
        return;
    }
    if (!shell_has(shell, shell->handles.system, "system")) {
        return;
    }
    looks[0] = (struct top){}; /* the first picture is since boot */
    for (uint64_t i = 0; i < count; i++) {
        struct top *before = &looks[i % 2], *now = &looks[(i + 1) % 2];
        top_look(shell, before, now);
        shell_print(shell, count > 1 ? "\033[H\033[2J" : "");
        top_print(shell, before, now);
        if (i + 1 < count && wait_for_key(shell, now->time_ns + TOP_PERIOD_NS)) {
            return;
        }
    }
}

/* ---- memory ---- */

static void print_pages(struct shell *shell, const char *label, uint64_t pages)
{
    char size[24];
    format_size(size, sizeof(size), pages * PAGE_BYTES);
    shell_print(shell, "  %-12s %10s\n", label, size);
}

static void print_audit(struct shell *shell, bool is_logged)
{
    uint32_t handles_used, handles_limit;
    uint64_t own_pages, service_pages, free_pages, restarts;
    if (shell->handles.supervisor == HANDLE_NONE) {
        return;
    }
    status_t status = tess_supervisor_audit(shell->handles.supervisor, is_logged, &handles_used, &handles_limit, &own_pages, &service_pages,
                                            &free_pages, &restarts, shell_deadline());
    if (status != OK) {
        shell_error(shell, "supervisor", status);
        return;
    }
    shell_print(shell, "init: %u of %u handles, %llu restarts of services\n", handles_used, handles_limit, (unsigned long long)restarts);
    print_pages(shell, "init itself", own_pages);
    print_pages(shell, "services", service_pages);
    print_pages(shell, "unassigned", free_pages);
}

void command_mem(struct shell *shell, const struct words *words)
{
    struct tess_system_info info;
    bool is_logged = words->count > 1;
    if (is_logged && strcmp(words->word[1], "log") != 0) {
        shell_print(shell, "usage: mem [log]\n");
        return;
    }
    if (!shell_has(shell, shell->handles.system, "system")) {
        return;
    }
    status_t status = tess_system_info(shell->handles.system, (uint64_t)(uintptr_t)&info);
    if (status != OK) {
        shell_error(shell, "system", status);
        return;
    }
    print_pages(shell, "RAM", info.ram_pages);
    print_pages(shell, "kernel", info.kernel_pages);
    print_pages(shell, "free", info.free_pages);
    shell_print(shell, "\n  %-12s %8s %10s\n", "OBJECT", "COUNT", "MEMORY");
    for (uint32_t type = 1; type < OBJECT_TYPE_LIMIT; type++) {
        if (info.object_count[type] != 0 || info.object_pages[type] != 0) {
            char size[24];
            format_size(size, sizeof(size), info.object_pages[type] * PAGE_BYTES);
            shell_print(shell, "  %-12s %8llu %10s\n", object_type_name(type), (unsigned long long)info.object_count[type], size);
        }
    }
    shell_print(shell, "\n");
    print_audit(shell, is_logged);
    if (is_logged) {
        shell_print(shell, "init's figures were also written to the log\n");
    }
}

/* ---- capabilities ---- */

/* Who is behind a handle: endpoints are init's to name, processes the kernel's. `name` is the caller's buffer. */
static struct caps_target find_target(struct shell *shell, const struct tess_handle_info *handle, char name[NAME_BYTES + 1])
{
    struct caps_target target = {};
    struct tess_process_info process;
    if (handle->type == OBJECT_ENDPOINT && shell->handles.supervisor != HANDLE_NONE) {
        uint8_t service[NAME_BYTES];
        if (tess_supervisor_endpoint(shell->handles.supervisor, handle->object_id, service, &target.interface, shell_deadline()) == OK) {
            format_name(name, NAME_BYTES + 1, (const char *)service, sizeof(service));
            target.name = name;
        }
    } else if (handle->type == OBJECT_PROCESS && process_next(shell, handle->object_id - 1, &process) == OK &&
               process.id == handle->object_id) {
        format_name(name, NAME_BYTES + 1, process.name, sizeof(process.name));
        target.name = name;
    }
    return target;
}

void command_caps(struct shell *shell, const struct words *words)
{
    struct tess_process_info process;
    struct tess_handle_info handle;
    char name[NAME_BYTES + 1], text[160], generic[64];
    const char *warning = nullptr;
    if (!shell_has(shell, shell->handles.system, "system") || !process_find(shell, words->word[1], &process)) {
        return;
    }
    format_name(name, sizeof(name), process.name, sizeof(process.name));
    shell_print(shell, "process %llu (%s) may, and nothing else:\n", (unsigned long long)process.id, name);
    uint64_t after = 0, count = 0;
    status_t status;
    while ((status = tess_system_handle_next(shell->handles.system, process.id, after, (uint64_t)(uintptr_t)&handle)) == OK) {
        struct caps_target target = find_target(shell, &handle, name);
        caps_describe(text, sizeof(text), &handle, &target);
        caps_generic_rights(generic, sizeof(generic), handle.rights);
        shell_print(shell, "  %-10s %s  [%s]\n", object_type_name(handle.type), text, generic);
        warning = warning == nullptr ? caps_warning(&handle) : warning;
        after = handle.handle;
        count++;
    }
    if (status != ERROR_NOT_FOUND) {
        shell_error(shell, "system", status);
    }
    shell_print(shell, "%llu handles\n", (unsigned long long)count);
    if (warning != nullptr) {
        shell_print(shell, "note: %s\n", warning);
    }
}

/* ---- cells ---- */

/* Shares of CPU time: what the kernel knows of every cell, services' or not. */
static void print_cells(struct shell *shell)
{
    struct tess_cell_info info = {};
    for (bool is_first = true; tess_system_cell_next(shell->handles.system, info.id, (uint64_t)(uintptr_t)&info) == OK; is_first = false) {
        char used_text[24], limit_text[24];
        uint64_t quota_percent = info.quota_ns != 0 ? info.quota_ns * 100 / info.quota_period_ns : 0; /* 0: none */
        if (is_first) {
            shell_print(shell, "  %-16s %6s %9s %10s %7s %9s %10s %10s\n", "CELL", "WEIGHT", "PROCESSES", "CPU MS", "QUOTA %", "THROTTLED",
                        "MEMORY", "OF");
        }
        format_size(used_text, sizeof(used_text), info.memory_pages * PAGE_BYTES);
        format_size(limit_text, sizeof(limit_text), info.limit_pages * PAGE_BYTES);
        shell_print(shell, "  %-16.16s %6u %9u %10llu %7llu %9llu %10s %10s\n", info.name, info.weight, info.process_count,
                    (unsigned long long)(info.cpu_ns / NS_PER_MS), (unsigned long long)quota_percent, (unsigned long long)info.throttled,
                    used_text, limit_text);
    }
}

void command_cells(struct shell *shell, const struct words *)
{
    struct service_state service;
    if (!shell_has(shell, shell->handles.supervisor, "supervisor")) {
        return;
    }
    shell_print(shell, "each service has a cell, and a quota of init's memory.\n");
    shell_print(shell, "  %-16s %5s %10s %10s %8s\n", "SERVICE", "PID", "QUOTA", "USED", "OBJECTS");
    for (uint32_t i = 0; service_next(shell, i, &service) == OK; i++) {
        uint64_t limit, used, objects;
        status_t status = tess_supervisor_memory(shell->handles.supervisor, i, &limit, &used, &objects, shell_deadline());
        if (status != OK) {
            shell_error(shell, service.name, status);
            continue;
        }
        char limit_text[24], used_text[24];
        format_size(limit_text, sizeof(limit_text), limit * PAGE_BYTES);
        format_size(used_text, sizeof(used_text), used * PAGE_BYTES);
        shell_print(shell, "  %-16s %5llu %10s %10s %8llu\n", service.name, (unsigned long long)service.process_id, limit_text, used_text,
                    (unsigned long long)objects);
    }
    print_cells(shell);
    print_audit(shell, false);
}

/* ---- log ---- */

static const char *level_mark(uint16_t level)
{
    static const char *const marks[] = {"debug ", "", "warning ", "ERROR "};
    return level < sizeof(marks) / sizeof(marks[0]) ? marks[level] : "";
}

/* The text of a record comes from any process: what is not printable must not reach the terminal. */
static void print_record(struct shell *shell, const struct tess_log_record *record, const char *bytes)
{
    char stamp[32], text[400];
    size_t count = record->size < sizeof(text) - 1 ? record->size : sizeof(text) - 1;
    for (size_t i = 0; i < count; i++) {
        text[i] = (uint8_t)bytes[i] >= ' ' && (uint8_t)bytes[i] != 0x7F ? bytes[i] : ' ';
    }
    while (count > 0 && text[count - 1] == ' ') {
        count--;
    }
    text[count] = '\0';
    format_stamp(stamp, sizeof(stamp), record->time_ns);
    shell_print(shell, "%s %s%s\n", stamp, level_mark(record->level), text);
}

void log_print_new(struct shell *shell, uint32_t level)
{
    static uint64_t buffer[1024];
    while (true) {
        uint64_t size, lost;
        status_t status = tess_log_drain(shell->handles.log, shell->log_cursor, (uint64_t)(uintptr_t)buffer, sizeof(buffer),
                                         &shell->log_cursor, &size, &lost);
        if (status != OK) {
            shell_error(shell, "log", status);
            return;
        }
        if (lost != 0) {
            shell_print(shell, "(%llu records lost)\n", (unsigned long long)lost);
        }
        if (size == 0) {
            return;
        }
        const char *at = (const char *)buffer, *end = at + size;
        while (end - at >= (ptrdiff_t)sizeof(struct tess_log_record)) {
            const struct tess_log_record *record = (const struct tess_log_record *)at;
            if (record->level >= level) {
                print_record(shell, record, at + sizeof(*record));
            }
            at += sizeof(*record) + ((record->size + 7u) & ~7u);
        }
    }
}

void command_log(struct shell *shell, const struct words *words)
{
    if (words->count > 1 && strcmp(words->word[1], "-f") != 0) {
        shell_print(shell, "usage: log [-f]\n");
        return;
    }
    if (!shell_has(shell, shell->handles.log, "log")) {
        return;
    }
    shell->log_cursor = 0;
    log_print_new(shell, LOG_DEBUG);
    char byte;
    while (words->count > 1 && !console_read(&shell->console, &byte)) {
        if (console_wait(&shell->console, DEADLINE_INFINITE) & CONSOLE_LOG) {
            log_print_new(shell, LOG_DEBUG);
        }
    }
}
