/*
 * Checks a static PIE (ELF64, little endian, ET_DYN) and lists what must be mapped. Pure: reads [file, file + size) only, each
 * field once, whatever the file says; hostile or truncated input gives ERROR_BAD_FORMAT. Used by the kernel for init and by
 * lib/std for every other program.
 *
 * Refused: another machine, an interpreter, thread-local storage, segments that are writable and executable, unreadable, share
 * a page, are not in ascending order, leave [0, 2^37), or are misplaced in the file; an entry outside executable segments.
 * Relocations are not applied here: a program relocates itself (lib/std start code) with its own authority.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <tess/abi.h>

constexpr uint32_t ELF_SEGMENTS_MAX = 16;
constexpr uint64_t ELF_PAGE = 4096;

enum elf_machine : uint16_t {
    ELF_X86_64 = 62,
    ELF_AARCH64 = 183,
    ELF_RISCV = 243,
#if defined(__x86_64__)
    ELF_NATIVE = ELF_X86_64,
#elif defined(__aarch64__)
    ELF_NATIVE = ELF_AARCH64,
#elif defined(__riscv)
    ELF_NATIVE = ELF_RISCV,
#endif
};

/*
 * One PT_LOAD. address and file_offset are equal modulo ELF_PAGE. Mapping the file's own pages
 * [align_down(file_offset), align_up(file_offset + file_size)) is right for segments that are not writable (memory_size equals
 * file_size there); a writable one is a fresh zeroed memory into which file_size bytes are copied.
 */
struct elf_segment {
    uint64_t address; /* relative to the load address */
    uint64_t memory_size;
    uint64_t file_offset;
    uint64_t file_size;
    bool is_writable;
    bool is_executable;
};
struct elf_image {
    uint64_t entry;  /* relative to the load address, like all addresses here */
    uint64_t extent; /* bytes from the load address to the end of the last segment, page aligned */
    uint32_t segment_count;
    struct elf_segment segments[ELF_SEGMENTS_MAX];
};

/* ERROR_BAD_FORMAT, or ERROR_UNSUPPORTED for a sound ELF file of another kind or machine. */
[[nodiscard]] status_t elf_parse(const void *file, uint64_t size, enum elf_machine machine, struct elf_image *out_image);
