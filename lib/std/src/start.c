/*
 * From the first instruction to main(). The kernel (or spawner) enters _start with the bootstrap page's address in the first
 * argument register, a stack, and the TLS register pointing at the thread block. A static PIE carries relocations that nobody
 * has applied yet: until relocate() returns, no address constant in data may be used.
 */
#include <std/log.h>
#include <std/program.h>
#include <tess/fmt.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/process.h>

[[noreturn]] void std_start(struct tess_bootstrap *bootstrap);

#if defined(__x86_64__)
constexpr uint64_t RELATIVE = 8; /* System V ABI, AMD64 supplement, table 4.9: R_X86_64_RELATIVE */
__asm__(".pushsection .text._start, \"ax\", @progbits\n"
        ".globl _start\n.hidden _start\n.type _start, @function\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    andq $-16, %rsp\n"
        "    call std_start\n"
        "    ud2\n"
        ".size _start, . - _start\n.popsection\n");
#elif defined(__aarch64__)
constexpr uint64_t RELATIVE = 1027; /* ELF for the Arm 64-bit Architecture, 5.7.11: R_AARCH64_RELATIVE */
__asm__(".pushsection .text._start, \"ax\", @progbits\n"
        ".globl _start\n.hidden _start\n.type _start, @function\n"
        "_start:\n"
        "    mov x29, xzr\n"
        "    mov x30, xzr\n"
        "    bl std_start\n"
        "    brk #1\n"
        ".size _start, . - _start\n.popsection\n");
#elif defined(__riscv)
constexpr uint64_t RELATIVE = 3; /* RISC-V ELF psABI, 8.4.1: R_RISCV_RELATIVE */
__asm__(".pushsection .text._start, \"ax\", @progbits\n"
        ".globl _start\n.hidden _start\n.type _start, @function\n"
        "_start:\n"
        "    li s0, 0\n"
        "    li ra, 0\n"
        "    call std_start\n"
        "    unimp\n"
        ".size _start, . - _start\n.popsection\n");
#endif

/* ELF-64: dynamic table and relocations with addend. */
struct dynamic {
    uint64_t tag, value;
};
struct relocation {
    uint64_t offset, info, addend;
};
enum : uint64_t { DT_NULL = 0, DT_RELA = 7, DT_RELASZ = 8 };

[[gnu::visibility("hidden")]] extern const struct dynamic _DYNAMIC[];
[[gnu::visibility("hidden")]] extern const char __ehdr_start[]; /* the file header: the load address */

[[gnu::no_stack_protector]] static void relocate(void)
{
    uint64_t base = (uint64_t)__ehdr_start, table = 0, size = 0;
    for (const struct dynamic *d = _DYNAMIC; d->tag != DT_NULL; d++) {
        if (d->tag == DT_RELA) {
            table = d->value;
        } else if (d->tag == DT_RELASZ) {
            size = d->value;
        }
    }
    const struct relocation *relocations = (const struct relocation *)(base + table);
    for (uint64_t i = 0; i < size / sizeof(struct relocation); i++) {
        if ((uint32_t)relocations[i].info != RELATIVE) {
            __builtin_trap();
        }
        *(uint64_t *)(base + relocations[i].offset) = base + relocations[i].addend;
    }
}

struct std_self std_self;
uintptr_t __stack_chk_guard; /* what stands between a function's arrays and its return address */
[[noreturn]] void __stack_chk_fail(void);
static const struct tess_bootstrap *bootstrap_page;

const struct tess_bootstrap *std_bootstrap(void) { return bootstrap_page; }

static uint32_t handle_count(void)
{
    constexpr uint32_t limit = sizeof(bootstrap_page->handles) / sizeof(bootstrap_page->handles[0]);
    return bootstrap_page->handle_count < limit ? bootstrap_page->handle_count : limit;
}

handle_t std_handle(const char *name)
{
    for (uint32_t i = 0; i < handle_count(); i++) {
        const struct tess_bootstrap_handle *entry = &bootstrap_page->handles[i];
        if (strnlen(name, sizeof(entry->name)) < sizeof(entry->name) && strncmp(entry->name, name, sizeof(entry->name)) == 0) {
            return entry->handle;
        }
    }
    return HANDLE_NONE;
}

handle_t std_handle_needed(const char *name)
{
    handle_t handle = std_handle(name);
    if (handle == HANDLE_NONE) {
        std_abort("the handle '%s' was not given: see this service's entry in the manifest", name);
    }
    return handle;
}

uint32_t std_arg_count(void) { return bootstrap_page->args_count; }

const char *std_arg(uint32_t index)
{
    if (index >= bootstrap_page->args_count) {
        return nullptr;
    }
    const char *arg = (const char *)bootstrap_page + bootstrap_page->args_offset;
    while (index-- > 0) {
        arg += strlen(arg) + 1;
    }
    return arg;
}

void std_exit(int32_t status)
{
    status_t result = tess_process_exit(std_self.process, status);
    (void)result; /* it returns only without the right to end oneself */
    __builtin_trap();
}

void std_abort(const char *format, ...)
{
    char text[480];
    va_list args;
    va_start(args, format);
    fmt_vprint(text, sizeof(text), format, args);
    va_end(args);
    log_print(LOG_ERROR, "%s", text);
    __builtin_trap();
}

void __stack_chk_fail(void) { std_abort("a stack was written beyond an array"); }

[[gnu::no_stack_protector]] void std_start(struct tess_bootstrap *bootstrap)
{
    relocate();
    __stack_chk_guard = bootstrap->seed & ~0xFFull; /* a zero byte that no string operation writes past */
    bootstrap_page = bootstrap;
    std_self = (struct std_self){
        .cspace = std_handle("self.cspace"),
        .vspace = std_handle("self.vspace"),
        .process = std_handle("self.process"),
        .thread = std_handle("self.thread"),
        .untyped = std_handle("self.untyped"),
        .log = std_handle("log"),
    };
    if (bootstrap->version != ABI_VERSION || bootstrap->abi_hash != ABI_HASH) {
        std_abort("built for another ABI: %#llx, the system has %#llx", (unsigned long long)ABI_HASH,
                  (unsigned long long)bootstrap->abi_hash);
    }
    std_exit(main());
}
