/* The table of calls, and what the entry code of the architecture calls in C. It is entered with all registers of the program in the frame. */
#pragma once
#include <linux/calls.h>
#include <stdint.h>
#include <tess/abi.h>

/* Each function has as many of these arguments as it has; the entry code passes all six. */
typedef void (*linux_call_function)(void);
extern const linux_call_function linux_call_table[LINUX_CALL_LIMIT];
extern const char *const linux_call_names[LINUX_CALL_LIMIT];

int64_t linux_call_missing(void);
/* A call has this result and something is to be done before the program goes on: signals, restart, registers. */
void linux_call_exit(int64_t result);
/* A fault of the program's, or an interrupt. */
void linux_event(void);
/* A fault of ours: true when it was on the program's memory and a fix-up was found. */
bool linux_native_fault(struct tess_upcall_frame *frame);
/* First code of the first thread; of a program after exec; of a thread after clone. */
[[noreturn]] void linux_start(uint64_t arena);
[[noreturn]] void linux_exec_start(uint64_t thread, uint64_t vspace);

/* Assembly (entry.S). */
extern const char linux_gate[], linux_entry[], linux_fault_entry[], linux_restart_start[], linux_restart_end[], linux_restart_target[];
extern const char linux_thread_entry[], linux_exec_entry[], linux_trampoline_start[], linux_trampoline_end[];
/* Goes on with the program as the frame says. */
[[noreturn]] void linux_resume(void);
/* Sets *state to LINUX_THREAD_GONE and ends the thread, touching no memory after that. */
[[noreturn]] void linux_thread_end(_Atomic uint32_t *state, uint64_t op, handle_t thread);
