/* What tools/run writes for the first program ("image:run"), checked here: it may come from anybody's image. Strings follow: the program's path,
 * its arguments (the first is its name), its environment, each with its end. */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

constexpr uint32_t RUN_MAGIC = 0x4E55524C; /* "LRUN" */
struct run_header {
    uint32_t magic, version;
    uint32_t argument_count, environment_count, cpu_count, reserved;
    uint64_t program_size; /* 0: the path is opened in the root file system */
    uint64_t input_size, strings_size;
};
static_assert(sizeof(struct run_header) == 48);

/* ---- stdio.c: two threads ---- */
struct stdio_pipe {
    handle_t memory, reader, writer; /* as pipe_create gave them */
};
/* Feeds `input`, then lets go of in's writer; carries what comes out to the console until stdio_finish(). */
[[nodiscard]] status_t stdio_start(const struct stdio_pipe *in, const struct stdio_pipe *out, handle_t input, uint64_t input_size,
                                   handle_t console);
/* The first program has ended: what it has written is carried away, then `then` is called (in another thread). */
void stdio_finish(void (*then)(void));
