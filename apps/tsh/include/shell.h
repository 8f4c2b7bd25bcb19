/*
 * What the shell's commands share: the handles it was given, and printing. One thread; a command runs to its end before the
 * next line is read.
 */
#pragma once
#include <console.h>
#include <line.h>
#include <tess/types.h>
#include <words.h>

/* HANDLE_NONE where the manifest gave none: the command that needs it says so. */
struct shell_handles {
    handle_t console, supervisor, system, net, devmgr, log, machine, http, trace, audit, cspace, untyped;
};

struct shell {
    struct shell_handles handles;
    struct console console;
    struct line line;
    uint64_t log_cursor; /* of the next record not shown yet */
};

struct command {
    const char *name;
    const char *arguments; /* for the usage line */
    const char *summary;
    size_t arguments_min, arguments_max;
    void (*run)(struct shell *shell, const struct words *words);
};

/* Prints at most 512 bytes; \n becomes CR LF. */
[[gnu::format(printf, 2, 3)]] void shell_print(struct shell *shell, const char *format, ...);

/* Calls to services do not wait longer than this. */
uint64_t shell_deadline(void);

/* "NAME: what went wrong", for a failed call to a service or the kernel. */
void shell_error(struct shell *shell, const char *what, status_t status);

/* False, after saying so, when the shell was not given this handle. */
bool shell_has(struct shell *shell, handle_t handle, const char *name);

/* The index-th command; nullptr past the last. */
const struct command *command_at(size_t index);

/* Splits and runs one line. */
void command_run(struct shell *shell, char *text);

/* A service by name, or by the PID of its process: as supervisor.next reports it. False when there is none. */
struct service_state {
    char name[17];
    uint32_t state, restarts, last_cause;
    int32_t last_status;
    uint64_t process_id, since_ns;
};
status_t service_next(struct shell *shell, uint32_t index, struct service_state *out_state);
bool service_find(struct shell *shell, const char *name_or_pid, struct service_state *out_state);

/* A process by PID or name, as system.process_next reports it. False, after saying so, when there is none. */
bool process_find(struct shell *shell, const char *name_or_pid, struct tess_process_info *out_info);

/* Prints the log records from shell->log_cursor on, those of at least `level`, and moves the cursor behind them. */
void log_print_new(struct shell *shell, uint32_t level);

void command_ps(struct shell *shell, const struct words *words);
void command_top(struct shell *shell, const struct words *words);
void command_mem(struct shell *shell, const struct words *words);
void command_caps(struct shell *shell, const struct words *words);
void command_cells(struct shell *shell, const struct words *words);
void command_log(struct shell *shell, const struct words *words);
void command_services(struct shell *shell, const struct words *words);
void command_start(struct shell *shell, const struct words *words);
void command_stop(struct shell *shell, const struct words *words);
void command_restart(struct shell *shell, const struct words *words);
void command_kill(struct shell *shell, const struct words *words);
void command_run_program(struct shell *shell, const struct words *words);
void command_devices(struct shell *shell, const struct words *words);
void command_net(struct shell *shell, const struct words *words);
void command_audit(struct shell *shell, const struct words *words);
void command_trace(struct shell *shell, const struct words *words);
void command_http(struct shell *shell, const struct words *words);
