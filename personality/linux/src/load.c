/*
 * The loader: ELF-64 programs (fixed, position independent, with an interpreter) and the stack that they start with (System V ABI, "Process
 * Initialization"; auxiliary vector: include/uapi/linux/auxvec.h of Linux). It runs in the process that becomes the program, whose space is
 * empty below the native range, and has nobody's authority but that process's: what a hostile file could do here the program could do as well.
 * Sizes and offsets are checked all the same, so that a damaged file is an error and not a crash. Interpreters and #! are in exec.c.
 */
#include <linux/errno.h>
#include <linux/file.h>
#include <linux/load.h>
#include <linux/memory.h>
#include <linux/process.h>
#include <linux/registers.h>
#include <linux/user.h>
#include <stdckdint.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint64_t PAGE = 4096;
constexpr uint64_t PIE_BASE = 0x2AA0000000; /* two thirds of the program's range, as Linux does */
constexpr uint64_t BREAK_MAX = 1ull << 30;
constexpr uint32_t HEADERS_MAX = 32;
#if defined(__x86_64__)
constexpr uint16_t MACHINE = 62;
#elif defined(__aarch64__)
constexpr uint16_t MACHINE = 183;
#else
constexpr uint16_t MACHINE = 243;
#endif
enum : uint16_t { ET_EXEC = 2, ET_DYN = 3 };
enum : uint32_t { PT_LOAD = 1, PT_INTERP = 3, PT_PHDR = 6 };
enum : uint32_t { PF_X = 1, PF_W = 2, PF_R = 4 };

struct elf_header {
    uint8_t magic[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, headers, sections;
    uint32_t flags;
    uint16_t size, header_size, header_count, section_size, section_count, names;
};
static_assert(sizeof(struct elf_header) == 64);
struct program_header {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_size, memory_size, align;
};
static_assert(sizeof(struct program_header) == 56);

struct image {
    struct elf_header header;
    struct program_header headers[HEADERS_MAX];
    uint64_t start, end;   /* of its addresses, page aligned, before the base is added */
    uint64_t base;         /* added to its addresses */
    uint64_t headers_at;   /* AT_PHDR */
    char interpreter[256]; /* empty: none */
};

static int64_t read_file(const struct linux_program *program, uint64_t offset, void *to, uint64_t size)
{
    if (!is_range_within(offset, size, program->size)) {
        return -LINUX_ENOEXEC;
    }
    return linux_error(tess_memory_read(program->memory, program->offset + offset, (uint64_t)to, size));
}

/* ---- Reading ---- */

static int64_t read_interpreter(const struct linux_program *program, const struct program_header *header, struct image *image)
{
    if (header->file_size < 2 || header->file_size > sizeof(image->interpreter)) {
        return -LINUX_ENOEXEC;
    }
    int64_t result = read_file(program, header->offset, image->interpreter, header->file_size);
    return result == 0 && image->interpreter[header->file_size - 1] != 0 ? -LINUX_ENOEXEC : result;
}

static int64_t read_load(const struct linux_program *program, const struct program_header *header, struct image *image)
{
    uint64_t end;
    if (header->memory_size == 0) {
        return 0;
    }
    if (ckd_add(&end, header->address, header->memory_size) || end > LINUX_USER_TOP || header->file_size > header->memory_size ||
        !is_range_within(header->offset, header->file_size, program->size) || (header->offset - header->address) % PAGE != 0) {
        return -LINUX_ENOEXEC;
    }
    if (header->offset <= image->header.headers && image->header.headers < header->offset + header->file_size) {
        image->headers_at = header->address + (image->header.headers - header->offset);
    }
    image->start = min_u64(image->start, align_down(header->address, PAGE));
    image->end = max_u64(image->end, align_up(end, PAGE));
    return 0;
}

static int64_t read_image(const struct linux_program *program, struct image *image)
{
    const struct elf_header *header = &image->header;
    *image = (struct image){.start = UINT64_MAX};
    int64_t result = read_file(program, 0, &image->header, sizeof(image->header));
    if (result != 0) {
        return result;
    }
    bool is_elf = header->magic[0] == 0x7F && header->magic[1] == 'E' && header->magic[2] == 'L' && header->magic[3] == 'F' &&
                  header->magic[4] == 2 && header->magic[5] == 1;
    if (!is_elf || (header->type != ET_EXEC && header->type != ET_DYN) || header->machine != MACHINE ||
        header->header_size != sizeof(struct program_header) || header->header_count == 0 || header->header_count > HEADERS_MAX) {
        return -LINUX_ENOEXEC;
    }
    result = read_file(program, header->headers, image->headers, header->header_count * sizeof(struct program_header));
    for (uint32_t i = 0; result == 0 && i < header->header_count; i++) {
        const struct program_header *part = &image->headers[i];
        result = part->type == PT_LOAD     ? read_load(program, part, image)
                 : part->type == PT_INTERP ? read_interpreter(program, part, image)
                                           : 0;
    }
    return result == 0 && image->start >= image->end ? -LINUX_ENOEXEC : result;
}

int64_t linux_load_check(const struct linux_program *program)
{
    struct image image;
    return read_image(program, &image);
}

/* ---- Mapping ---- */

static uint32_t map_flags(uint32_t flags)
{
    uint32_t map = MAP_READ; /* what may only be executed or written is readable too */
    if (flags & PF_W) {
        map |= MAP_WRITE;
    } else if (flags & PF_X) {
        map |= MAP_EXEC;
    }
    return map;
}

/* What the file gives of a segment: its own pages where they are not written to, else a private copy. */
static int64_t map_file_part(const struct linux_program *program, const struct program_header *header, uint64_t first, uint64_t size)
{
    struct linux_process *process = linux_process();
    uint64_t offset = program->offset + align_down(header->offset, PAGE), at;
    if ((header->flags & PF_W) == 0) {
        return linux_error(tess_vspace_map(process->vspace, program->memory, offset, size, first,
                                           map_flags(header->flags) | MAP_FIXED | MAP_INHERIT_SHARE | program->map_flags, &at));
    }
    return linux_memory_map_copy(program->memory, offset, first, size, min_u64(size, program->size - align_down(header->offset, PAGE)),
                                 map_flags(header->flags));
}

static int64_t map_segment(const struct linux_program *program, const struct program_header *header, uint64_t base)
{
    uint64_t address = base + header->address, first = align_down(address, PAGE);
    uint64_t file_end = address + header->file_size, end = align_up(address + header->memory_size, PAGE);
    uint64_t middle = header->file_size == 0 ? first : align_up(file_end, PAGE);
    int64_t result = 0;
    if (middle > first) {
        result = map_file_part(program, header, first, middle - first);
    }
    if (result == 0 && end > middle) {
        result = linux_memory_map_anonymous(middle, end - middle, map_flags(header->flags) | MAP_FIXED, nullptr);
    }
    if (result == 0 && (header->flags & PF_W) != 0 && middle > file_end && header->memory_size > header->file_size) {
        result = linux_zero_user(file_end, middle - file_end);
    }
    return result;
}

static int64_t map_image(const struct linux_program *program, struct image *image, uint64_t base)
{
    image->base = base;
    for (uint32_t i = 0; i < image->header.header_count; i++) {
        if (image->headers[i].type == PT_LOAD && image->headers[i].memory_size != 0) {
            int64_t result = map_segment(program, &image->headers[i], base);
            if (result != 0) {
                return result;
            }
        }
    }
    return 0;
}

/* ---- The stack ---- */

enum : uint64_t {
    AT_NULL = 0,
    AT_PHDR = 3,
    AT_PHENT = 4,
    AT_PHNUM = 5,
    AT_PAGESZ = 6,
    AT_BASE = 7,
    AT_FLAGS = 8,
    AT_ENTRY = 9,
    AT_UID = 11,
    AT_EUID = 12,
    AT_GID = 13,
    AT_EGID = 14,
    AT_PLATFORM = 15,
    AT_HWCAP = 16,
    AT_CLKTCK = 17,
    AT_SECURE = 23,
    AT_RANDOM = 25,
    AT_HWCAP2 = 26,
    AT_EXECFN = 31,
    AT_MINSIGSTKSZ = 51,
};

/* What glibc chooses its functions by, where it does not ask the CPU itself. */
static uint64_t hardware_capabilities(void)
{
#if defined(__x86_64__)
    uint32_t a = 1, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return d;
#elif defined(__aarch64__)
    return 3; /* HWCAP_FP, HWCAP_ASIMD */
#else
    return 1u << ('i' - 'a') | 1u << ('m' - 'a') | 1u << ('a' - 'a') | 1u << ('f' - 'a') | 1u << ('d' - 'a') | 1u << ('c' - 'a');
#endif
}

#if defined(__x86_64__)
static const char platform[] = "x86_64";
#elif defined(__aarch64__)
static const char platform[] = "aarch64";
#else
static const char platform[] = "riscv64";
#endif

struct stack {
    uint64_t at; /* downwards */
    int64_t error;
};

static uint64_t push_bytes(struct stack *stack, const void *from, uint64_t size)
{
    stack->at -= size;
    if (stack->error == 0) {
        stack->error = linux_copy_to_user(stack->at, from, size);
    }
    return stack->at;
}

static void put_word(struct stack *stack, uint64_t *at, uint64_t value)
{
    if (stack->error == 0) {
        stack->error = linux_store_user_u64(*at, value);
    }
    *at += 8;
}

/* Pointers to `count` strings that lie one behind the other from `text`; and a null pointer. Gives the end of the strings. */
static uint64_t put_pointers(struct stack *stack, uint64_t *at, uint32_t count, const char *text, uint64_t offset)
{
    for (uint32_t i = 0; i < count; i++) {
        put_word(stack, at, (uint64_t)text + offset);
        text += strlen(text) + 1;
    }
    put_word(stack, at, 0);
    return (uint64_t)text;
}

static uint64_t strings_size(const struct linux_program_strings *strings, uint64_t *out_path)
{
    const char *text = strings->text;
    for (uint32_t i = 0; i < 1 + strings->argument_count + strings->environment_count; i++) {
        text += strlen(text) + 1;
        if (i == 0) {
            *out_path = (uint64_t)(text - strings->text);
        }
    }
    return (uint64_t)(text - strings->text);
}

static int64_t build_stack(const struct linux_program_strings *strings, const struct image *image, uint64_t interpreter_base,
                           uint64_t *out_sp)
{
    struct linux_process *process = linux_process();
    uint64_t size = align_up(min_u64(max_u64(process->limits[LINUX_RLIMIT_STACK].current, 256 << 10), 64ull << 20), PAGE);
    uint64_t top = LINUX_USER_TOP, path_size, random[2];
    int64_t result = linux_memory_map_anonymous(top - size, size, MAP_READ | MAP_WRITE | MAP_FIXED, nullptr);
    if (result != 0) {
        return result;
    }
    struct stack stack = {.at = top - 16};
    uint64_t text_size = strings_size(strings, &path_size);
    if (text_size > size / 4) {
        return -LINUX_E2BIG;
    }
    uint64_t text = push_bytes(&stack, strings->text, text_size), offset = text - (uint64_t)strings->text;
    linux_random(random, sizeof(random));
    uint64_t random_at = push_bytes(&stack, random, sizeof(random));
    uint64_t platform_at = push_bytes(&stack, platform, sizeof(platform));
    const uint64_t auxv[] = {AT_HWCAP,       hardware_capabilities(),
                             AT_PAGESZ,      PAGE,
                             AT_CLKTCK,      100,
                             AT_PHDR,        image->base + image->headers_at,
                             AT_PHENT,       sizeof(struct program_header),
                             AT_PHNUM,       image->header.header_count,
                             AT_BASE,        interpreter_base,
                             AT_FLAGS,       0,
                             AT_ENTRY,       image->base + image->header.entry,
                             AT_UID,         process->uid,
                             AT_EUID,        process->euid,
                             AT_GID,         process->gid,
                             AT_EGID,        process->egid,
                             AT_SECURE,      0,
                             AT_RANDOM,      random_at,
                             AT_HWCAP2,      0,
                             AT_EXECFN,      text,
                             AT_PLATFORM,    platform_at,
                             AT_MINSIGSTKSZ, 8192,
                             AT_NULL,        0};
    static_assert(sizeof(auxv) <= sizeof(process->auxv));
    memcpy(process->auxv, auxv, sizeof(auxv));
    uint64_t words = 1 + strings->argument_count + 1 + strings->environment_count + 1 + ARRAY_LENGTH(auxv);
    stack.at = align_down(stack.at - words * 8, 16);
    uint64_t at = stack.at;
    put_word(&stack, &at, strings->argument_count);
    uint64_t end = put_pointers(&stack, &at, strings->argument_count, strings->text + path_size, offset);
    put_pointers(&stack, &at, strings->environment_count, (const char *)end, offset);
    if (stack.error == 0) {
        stack.error = linux_copy_to_user(at, auxv, sizeof(auxv));
    }
    process->stack_start = top - size;
    process->stack_end = top;
    process->arguments_start = text + path_size;
    process->arguments_end = process->environment_start = end + offset;
    process->environment_end = text + text_size;
    *out_sp = stack.at;
    return stack.error;
}

/* ---- All of it ---- */

static int64_t load_interpreter(const char *path, uint64_t *out_base, uint64_t *out_entry)
{
    struct image image;
    struct linux_file *file;
    struct linux_file_memory memory;
    int64_t result = linux_file_open_program(-100, path, 0, &file);
    if (result != 0) {
        return result;
    }
    result = file->operations->memory == nullptr ? -LINUX_ELOOP : file->operations->memory(file, 0, &memory);
    struct linux_program program = {memory.memory, memory.offset, memory.size, memory.map_flags};
    result = result == 0 ? read_image(&program, &image) : result;
    if (result == 0) {
        *out_base = 0;
        if (image.header.type == ET_DYN) {
            uint64_t place;
            result = linux_memory_find(image.end - image.start, &place);
            *out_base = place - image.start;
        }
    }
    result = result == 0 ? map_image(&program, &image, *out_base) : result;
    *out_entry = *out_base + image.header.entry;
    linux_file_put(file);
    return result;
}

int64_t linux_load(const struct linux_program *program, const struct linux_program_strings *strings)
{
    struct linux_process *process = linux_process();
    struct image image;
    uint64_t interpreter = 0, sp = 0;
    int64_t result = read_image(program, &image);
    if (result != 0) {
        return result;
    }
    uint64_t base = image.header.type == ET_DYN ? PIE_BASE - image.start : 0, entry = base + image.header.entry;
    if (image.header.type == ET_DYN && image.interpreter[0] == 0 && image.end - image.start > 0x1000000000) {
        return -LINUX_ENOEXEC;
    }
    result = map_image(program, &image, base);
    if (result == 0) {
        result = linux_memory_start_break(base + image.end, BREAK_MAX);
    }
    if (result == 0 && image.interpreter[0] != 0) {
        result = load_interpreter(image.interpreter, &interpreter, &entry);
    }
    process->code_start = base + image.start;
    process->code_end = base + image.end;
    result = result == 0 ? build_stack(strings, &image, interpreter, &sp) : result;
    if (result == 0) {
        linux_registers *registers = linux_registers_of(linux_frame());
        *registers = (linux_registers){.LINUX_REGISTER_PC = entry, .LINUX_REGISTER_SP = sp};
    }
    return result;
}
