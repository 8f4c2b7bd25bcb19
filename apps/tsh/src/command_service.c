/* Commands that talk to init's supervisor protocol and to devmgr. */
#include <format.h>
#include <shell.h>
#include <std/time.h>
#include <tess/fmt.h>
#include <tess/string.h>
#include <tess/stub/devmgr.h>
#include <tess/stub/supervisor.h>

static const char *state_name(uint32_t state)
{
    static const char *const names[] = {"stopped", "running", "backing off", "failed"};
    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

static const char *cause_name(uint32_t cause)
{
    switch (cause) {
    case EXIT_NORMAL: return "exited";
    case EXIT_KILLED: return "killed";
    case EXIT_FAULT: return "crashed";
    case EXIT_DESTROYED: return "destroyed";
    default: return "ended";
    }
}

status_t service_next(struct shell *shell, uint32_t index, struct service_state *out_state)
{
    uint8_t name[NAME_BYTES];
    status_t status =
        tess_supervisor_next(shell->handles.supervisor, index, name, &out_state->state, &out_state->process_id, &out_state->restarts,
                             &out_state->since_ns, &out_state->last_cause, &out_state->last_status, shell_deadline());
    if (status == OK) {
        format_name(out_state->name, sizeof(out_state->name), (const char *)name, sizeof(name));
    }
    return status;
}

bool service_find(struct shell *shell, const char *name_or_pid, struct service_state *out_state)
{
    uint64_t process_id = 0;
    bool is_number = words_number(name_or_pid, &process_id);
    for (uint32_t i = 0; service_next(shell, i, out_state) == OK; i++) {
        if (is_number ? out_state->process_id == process_id && process_id != 0 : strcmp(out_state->name, name_or_pid) == 0) {
            return true;
        }
    }
    return false;
}

void command_services(struct shell *shell, const struct words *)
{
    if (!shell_has(shell, shell->handles.supervisor, "supervisor")) {
        return;
    }
    shell_print(shell, "%-16s %-12s %5s %8s %-14s %s\n", "SERVICE", "STATE", "PID", "RESTARTS", "SINCE", "LAST END");
    struct service_state service;
    status_t status;
    uint32_t index = 0;
    for (; (status = service_next(shell, index, &service)) == OK; index++) {
        char since[24], pid[24] = "-";
        format_duration(since, sizeof(since), time_now_ns() - service.since_ns);
        if (service.process_id != 0) {
            fmt_print(pid, sizeof(pid), "%llu", (unsigned long long)service.process_id);
        }
        shell_print(shell, "%-16s %-12s %5s %8u %-14s ", service.name, state_name(service.state), pid, service.restarts, since);
        if (service.last_cause == EXIT_NORMAL && service.last_status == 0 && service.restarts == 0) {
            shell_print(shell, "-\n");
        } else {
            shell_print(shell, "%s, status %d\n", cause_name(service.last_cause), service.last_status);
        }
    }
    if (status != ERROR_NOT_FOUND) {
        shell_error(shell, "supervisor", status);
    }
}

/* start, stop and restart differ only in the method. */
static void control(struct shell *shell, const struct words *words, status_t (*method)(handle_t, const uint8_t[NAME_BYTES], uint64_t),
                    const char *done)
{
    uint8_t name[NAME_BYTES];
    if (!shell_has(shell, shell->handles.supervisor, "supervisor")) {
        return;
    }
    status_t status = ERROR_NOT_FOUND;
    if (words_field(words->word[1], (char *)name, sizeof(name))) {
        status = method(shell->handles.supervisor, name, shell_deadline());
    }
    if (status == OK) {
        shell_print(shell, "%s %s\n", words->word[1], done);
    } else if (status == ERROR_NOT_FOUND) {
        shell_print(shell, "%s: no service is called \"%s\"; `services` lists them\n", words->word[0], words->word[1]);
    } else if (status == ERROR_ALREADY) {
        shell_print(shell, "%s: %s is so already\n", words->word[0], words->word[1]);
    } else {
        shell_error(shell, words->word[1], status);
    }
}

void command_start(struct shell *shell, const struct words *words) { control(shell, words, tess_supervisor_start, "started"); }

void command_stop(struct shell *shell, const struct words *words) { control(shell, words, tess_supervisor_stop, "stopped"); }

void command_restart(struct shell *shell, const struct words *words) { control(shell, words, tess_supervisor_restart, "restarted"); }

void command_kill(struct shell *shell, const struct words *words)
{
    struct service_state service;
    uint64_t process_id;
    if (!shell_has(shell, shell->handles.supervisor, "supervisor")) {
        return;
    }
    if (!words_number(words->word[1], &process_id)) {
        if (!service_find(shell, words->word[1], &service)) {
            shell_print(shell, "kill: no service is called \"%s\"; `services` lists them\n", words->word[1]);
            return;
        }
        if (service.process_id == 0) {
            shell_print(shell, "kill: %s is not running\n", service.name);
            return;
        }
        process_id = service.process_id;
    }
    status_t status = tess_supervisor_kill(shell->handles.supervisor, process_id, shell_deadline());
    if (status == ERROR_NOT_FOUND) {
        shell_print(shell, "kill: %s is not the process of a service\n", words->word[1]);
    } else if (status != OK) {
        shell_error(shell, "kill", status);
    } else {
        shell_print(shell, "killed process %llu\n", (unsigned long long)process_id);
    }
}

void command_run_program(struct shell *shell, const struct words *words)
{
    uint8_t name[NAME_BYTES], argument[32] = {};
    uint64_t process_id;
    if (!shell_has(shell, shell->handles.supervisor, "supervisor")) {
        return;
    }
    if (words->count > 2 && !words_field(words->word[2], (char *)argument, sizeof(argument))) {
        shell_print(shell, "run: the argument must have 1 to %u bytes\n", (unsigned)sizeof(argument));
        return;
    }
    status_t status = ERROR_NOT_FOUND;
    if (words_field(words->word[1], (char *)name, sizeof(name))) {
        status = tess_supervisor_program(shell->handles.supervisor, name, argument, &process_id, shell_deadline());
    }
    if (status == OK) {
        shell_print(shell, "%s runs as process %llu\n", words->word[1], (unsigned long long)process_id);
    } else if (status == ERROR_NOT_FOUND) {
        shell_print(shell, "run: no program that may be started by hand is called \"%s\"\n", words->word[1]);
    } else if (status == ERROR_ALREADY) {
        shell_print(shell, "run: %s is running already\n", words->word[1]);
    } else {
        shell_error(shell, words->word[1], status);
    }
}

void command_devices(struct shell *shell, const struct words *)
{
    if (!shell_has(shell, shell->handles.devmgr, "devmgr")) {
        return;
    }
    uint32_t bdf, vendor, device, class;
    uint8_t holder[NAME_BYTES];
    status_t status;
    shell_print(shell, "%-9s %-10s %-7s %s\n", "DEVICE", "ID", "CLASS", "HELD BY");
    for (uint32_t i = 0;
         (status = tess_devmgr_next(shell->handles.devmgr, i, &bdf, &vendor, &device, &class, holder, shell_deadline())) == OK; i++) {
        char name[NAME_BYTES + 1];
        format_name(name, sizeof(name), (const char *)holder, sizeof(holder));
        /* bus (8), device (5), function (3): PCI Local Bus 3.0, 3.2.2.3.2 */
        shell_print(shell, "%02x:%02x.%x   %04x:%04x  %06x  %s\n", bdf >> 8 & 255, bdf >> 3 & 31, bdf & 7, vendor, device, class,
                    name[0] != '\0' ? name : "nobody");
    }
    if (status != ERROR_NOT_FOUND) {
        shell_error(shell, "devmgr", status);
    }
}
