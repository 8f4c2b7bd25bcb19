/* ELF-64 Object File Format, version 1.5 draft 2: file header, program header. Offsets of fields are written out: the file is
 * data from outside and may lie at any address. */
#include <tess/elf.h>
#include <tess/string.h>
#include <tess/util.h>

constexpr uint64_t HEADER_SIZE = 64;
constexpr uint64_t PROGRAM_HEADER_SIZE = 56;
constexpr uint32_t PROGRAM_HEADERS_MAX = 64;
constexpr uint64_t ADDRESS_LIMIT = 1ull << 37;
constexpr uint16_t TYPE_DYN = 3;
enum : uint32_t { PT_LOAD = 1, PT_INTERP = 3, PT_TLS = 7 };
enum : uint32_t { PF_X = 1, PF_W = 2, PF_R = 4 };

static status_t parse_load(const uint8_t *header, uint64_t size, struct elf_image *image)
{
    if (image->segment_count == ELF_SEGMENTS_MAX) {
        return ERROR_BAD_FORMAT;
    }
    uint32_t flags = load_le32(header + 4);
    struct elf_segment segment = {
        .address = load_le64(header + 16),
        .memory_size = load_le64(header + 40),
        .file_offset = load_le64(header + 8),
        .file_size = load_le64(header + 32),
        .is_writable = (flags & PF_W) != 0,
        .is_executable = (flags & PF_X) != 0,
    };
    if (segment.memory_size == 0) {
        return segment.file_size == 0 ? OK : ERROR_BAD_FORMAT;
    }
    if ((flags & PF_R) == 0 || (segment.is_writable && segment.is_executable)) {
        return ERROR_BAD_FORMAT;
    }
    if (!is_range_within(segment.address, segment.memory_size, ADDRESS_LIMIT) || segment.file_size > segment.memory_size ||
        !is_range_within(segment.file_offset, segment.file_size, size) || segment.file_offset % ELF_PAGE != segment.address % ELF_PAGE) {
        return ERROR_BAD_FORMAT;
    }
    if (!segment.is_writable && segment.file_size != segment.memory_size) {
        return ERROR_BAD_FORMAT;
    }
    if (align_down(segment.address, ELF_PAGE) < image->extent) {
        return ERROR_BAD_FORMAT; /* not ascending, or shares a page */
    }
    image->extent = align_up(segment.address + segment.memory_size, ELF_PAGE);
    image->segments[image->segment_count++] = segment;
    return OK;
}

static bool is_entry_valid(const struct elf_image *image)
{
    for (uint32_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];
        if (segment->is_executable && image->entry >= segment->address && image->entry - segment->address < segment->file_size) {
            return true;
        }
    }
    return false;
}

status_t elf_parse(const void *file, uint64_t size, enum elf_machine machine, struct elf_image *out_image)
{
    const uint8_t *bytes = file;
    *out_image = (struct elf_image){};
    if (size < HEADER_SIZE || memcmp(bytes, "\177ELF", 4) != 0) {
        return ERROR_BAD_FORMAT;
    }
    bool is_elf64_le = bytes[4] == 2 && bytes[5] == 1 && bytes[6] == 1;
    if (!is_elf64_le || load_le16(bytes + 16) != TYPE_DYN || load_le16(bytes + 18) != machine) {
        return ERROR_UNSUPPORTED;
    }
    struct elf_image image = {.entry = load_le64(bytes + 24)};
    uint64_t table = load_le64(bytes + 32);
    uint32_t count = load_le16(bytes + 56);
    if (load_le16(bytes + 54) != PROGRAM_HEADER_SIZE || count == 0 || count > PROGRAM_HEADERS_MAX ||
        !is_range_within(table, count * PROGRAM_HEADER_SIZE, size)) {
        return ERROR_BAD_FORMAT;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *header = bytes + table + i * PROGRAM_HEADER_SIZE;
        uint32_t type = load_le32(header);
        if (type == PT_INTERP || type == PT_TLS) {
            return ERROR_UNSUPPORTED;
        }
        status_t status = type == PT_LOAD ? parse_load(header, size, &image) : OK;
        if (status != OK) {
            return status;
        }
    }
    if (!is_entry_valid(&image)) {
        return ERROR_BAD_FORMAT;
    }
    *out_image = image;
    return OK;
}
