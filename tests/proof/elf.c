/*
 * lib/core's ELF reader on arbitrary bytes: it reads nothing outside the file, and whatever it accepts keeps every promise of elf.h.
 */
#include <lib/core/src/elf.c>
#include <proof.h>

#ifndef HEADERS
#define HEADERS 2
#endif

void proof_elf_parse(void)
{
    enum { ROOM = 64 + 56 * HEADERS };
    uint8_t room[ROOM]; /* any bytes */
    uint64_t size = choose(ROOM + 1);
    const uint8_t *file = room + ROOM - size; /* so that a byte behind the file is a byte outside the array */
    struct elf_image image;
    if (elf_parse(file, size, ELF_RISCV, &image) != OK) {
        PROVE(image.segment_count == 0);
        return;
    }
    REACHED();
    PROVE(image.segment_count >= 1 && image.segment_count <= ELF_SEGMENTS_MAX);
    PROVE(image.extent <= (1ull << 37) && image.extent % ELF_PAGE == 0);
    uint64_t end = 0;
    bool is_entry_inside = false;
    for (uint32_t i = 0; i < HEADERS; i++) {
        if (i >= image.segment_count)
            break;
        struct elf_segment s = image.segments[i];
        PROVE(s.memory_size != 0 && s.file_size <= s.memory_size);
        PROVE(s.address <= (1ull << 37) && s.memory_size <= (1ull << 37) - s.address);
        PROVE(s.file_offset <= size && s.file_size <= size - s.file_offset);
        PROVE(s.address % ELF_PAGE == s.file_offset % ELF_PAGE);
        PROVE(!(s.is_writable && s.is_executable));
        PROVE(s.is_writable || s.file_size == s.memory_size);
        PROVE((s.address & ~(ELF_PAGE - 1)) >= end); /* ascending, and no page is shared */
        end = (s.address + s.memory_size + ELF_PAGE - 1) & ~(ELF_PAGE - 1);
        is_entry_inside = is_entry_inside || (s.is_executable && image.entry >= s.address && image.entry < s.address + s.file_size);
    }
    PROVE(end == image.extent && is_entry_inside);
}
