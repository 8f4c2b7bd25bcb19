/*
 * How a service ended, in lines for the log: cause, registers, and a backtrace with the names of functions. Pure; the record came
 * from the kernel, but its addresses from a program that went wrong.
 */
#pragma once
#include <stddef.h>
#include <tess/abi.h>

/* Where the program lies and what its functions are called. */
struct report_program {
    const char *name;
    uint64_t process_id;
    uint64_t image_base;
    const void *symbols; /* nullptr: none in the boot image */
    size_t symbols_size;
};

typedef void report_line_fn(void *context, uint32_t level, const char *text);

/* `crash` is nullptr when there is none (it did not end by an exception); `restart` says what happens next. */
void report_end(const struct report_program *program, uint32_t cause, int32_t status, const struct tess_crash_record *crash,
                const char *restart, report_line_fn *line, void *context);
