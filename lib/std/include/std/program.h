/*
 * A native program: `int main(void)` runs in the first thread; its result ends the process (process.exit). What the process was
 * given is found here by name. Nothing else is reachable.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <tess/abi.h>

int main(void);

/* Handles every program has; HANDLE_NONE when its spawner left one out. */
struct std_self {
    handle_t cspace, vspace, process, thread, untyped, log;
};
extern struct std_self std_self;

/* Never changes after the start. */
const struct tess_bootstrap *std_bootstrap(void);
/* The handle of this name ("net", "self.untyped", ...); HANDLE_NONE when it was not given. */
handle_t std_handle(const char *name);
/* As std_handle, but ends the process with a message in the log when it is missing. */
handle_t std_handle_needed(const char *name);
/* Arguments, without a program name; nullptr past the last. */
const char *std_arg(uint32_t index);
uint32_t std_arg_count(void);

[[noreturn]] void std_exit(int32_t status);
/* Writes the text to the log as an error and dies of a breakpoint, so that the report shows a backtrace. */
[[noreturn, gnu::format(printf, 1, 2)]] void std_abort(const char *format, ...);

/* Handles of the process's own table. Deleting HANDLE_NONE does nothing. */
void std_handle_delete(handle_t handle);
[[nodiscard]] status_t std_handle_copy(handle_t handle, uint32_t rights, handle_t *out_handle);
[[nodiscard]] status_t std_handle_mint(handle_t handle, uint32_t rights, uint64_t badge, handle_t *out_handle);
