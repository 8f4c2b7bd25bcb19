/* Putting a program into the address space (load.c), which is empty below the native range. */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

/* Its file: memory at an offset. */
struct linux_program {
    handle_t memory;
    uint64_t offset, size;
    uint32_t map_flags;
};
/* Strings of the new program, one behind the other with their ends: path, then argument_count, then environment_count. */
struct linux_program_strings {
    const char *text;
    uint64_t size;
    uint32_t argument_count, environment_count;
};

/* Whether the file could be a program of this machine: 0 or -LINUX_ENOEXEC, with no effect. */
[[nodiscard]] int64_t linux_load_check(const struct linux_program *program);
/* Maps it, its interpreter and its stack, and writes the frame's registers. After an error the process has to end. */
[[nodiscard]] int64_t linux_load(const struct linux_program *program, const struct linux_program_strings *strings);
