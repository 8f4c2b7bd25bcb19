/* Things that must end the one who does them, and nobody else. */
#include <hostile.h>
#include <tess/string.h>
#include <tess/stub/memory.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

typedef void (*code_fn)(void);

static uint64_t recurse(uint64_t depth)
{
    volatile uint8_t block[1000];
    block[depth % sizeof(block)] = 1;
    return depth == ~0ull ? 0 : recurse(depth + 1) + block[0];
}

static void read_at(uint64_t address) { (void)*(volatile uint64_t *)address; }

static void write_at(uint64_t address)
{
    *(volatile uint64_t *)address = 0x4141414141414141; /* NOLINT(clang-analyzer-core.NullDereference): 0 is one of the attacks */
}

static void jump_to(uint64_t address) { ((code_fn)address)(); }

static void recursion(void) { (void)recurse(0); }

static void kernel_text(void) { read_at(0xFFFFFFFF80001000); }

static void direct_map(void)
{
#if defined(__x86_64__)
    read_at(0xFFFF800000100000);
#elif defined(__aarch64__)
    read_at(0xFFFF000040000000);
#else
    read_at(0xFFFFFFC080000000);
#endif
}

static void kernel_write(void) { write_at(0xFFFFFFC000000000); }

static void top_of_memory(void) { write_at(~7ull); }

static void null_write(void) { write_at(0); }

static void above_user_space(void) { read_at(1ull << 38); }

static void own_text(void) { write_at((uint64_t)own_text & ~7ull); }

static const uint64_t constant_table[64] = {1, 2, 3};

static void constants(void) { write_at((uint64_t)constant_table); }

static void clock_write(void) { write_at(std_bootstrap()->clock_page); }

static void execute_data(void)
{
    static uint64_t code[8];
    jump_to((uint64_t)code);
}

static void execute_stack(void)
{
    uint64_t code[8] = {};
    jump_to((uint64_t)code);
}

/* Memory that was written, made read-only again, but never executable by its mapping. */
static void execute_readonly(void)
{
    void *pages;
    if (std_pages_alloc(STD_PAGE, &pages) == OK) {
        memset(pages, 0x90, STD_PAGE);
        if (tess_vspace_protect(std_self.vspace, (uint64_t)pages, STD_PAGE, MAP_READ) == OK)
            jump_to((uint64_t)pages);
    }
}

/* Where the overrun returns to, if it returns. */
static void escape(void) { std_exit(0); }

[[clang::noinline]] static void write_words(volatile uint64_t *to, uint64_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        to[i] = value;
}

/* The stack guard stands between the array and the return address. */
static void smash_stack(void)
{
    uint64_t words[4];
    write_words(words, (uint64_t)escape, 12);
}

static void wild_jump(void) { jump_to(0x3FFFFFFFF0); }

static void kernel_jump(void) { jump_to(0xFFFFFFFF80000000); }

static void noncanonical_jump(void) { jump_to(0x0123456789ABCDE0); }

static void odd_jump(void) { jump_to(0x13); }

/* Privileged and undefined instructions. */
static void privileged(void)
{
#if defined(__x86_64__)
    __asm__ volatile("cli");
#elif defined(__aarch64__)
    __asm__ volatile("msr daifset, #15\n mrs x0, sctlr_el1" ::: "x0");
#else
    __asm__ volatile("csrr a0, sstatus" ::: "a0");
#endif
}

static void stop_the_machine(void)
{
#if defined(__x86_64__)
    __asm__ volatile("hlt");
#elif defined(__aarch64__)
    __asm__ volatile("hvc #0");
#else
    __asm__ volatile("sret");
#endif
}

static void load_tables(void)
{
#if defined(__x86_64__)
    __asm__ volatile("mov %0, %%cr3" ::"r"(0ull));
#elif defined(__aarch64__)
    __asm__ volatile("msr ttbr0_el1, %0" ::"r"(0ull));
#else
    __asm__ volatile("csrw satp, %0" ::"r"(0ull));
#endif
}

static void port_access(void)
{
#if defined(__x86_64__)
    __asm__ volatile("outb %%al, $0x80" ::"a"(0));
#else
    __builtin_trap();
#endif
}

static void bad_stack(void)
{
#if defined(__x86_64__)
    __asm__ volatile("movq %0, %%rsp\n pushq %%rax" ::"r"(0xFFFFFFFF80100000ull));
#elif defined(__aarch64__)
    __asm__ volatile("mov sp, %0\n str x0, [sp, #-16]!" ::"r"(0xFFFFFFFF80100000ull));
#else
    __asm__ volatile("mv sp, %0\n sd a0, -8(sp)" ::"r"(0xFFFFFFFF80100000ull));
#endif
}

/* A system call with the stack and thread pointer somewhere in the kernel, then a fault. */
static void call_with_bad_stack(void)
{
#if defined(__x86_64__)
    __asm__ volatile("movq %0, %%rsp\n movq $-1, %%rdi\n movq $-1, %%rax\n syscall\n ud2" ::"r"(0xFFFFFFFF80100000ull));
#elif defined(__aarch64__)
    __asm__ volatile("mov sp, %0\n msr tpidr_el0, %0\n mov x1, #-1\n svc #0\n udf #0" ::"r"(0xFFFFFFFF80100000ull));
#else
    __asm__ volatile("mv sp, %0\n mv tp, %0\n li a1, -1\n ecall\n unimp" ::"r"(0xFFFFFFFF80100000ull));
#endif
}

/* Threads whose first instruction, stack and thread pointer are nonsense. */
static void nonsense_thread(void)
{
    handle_t memory, thread;
    if (tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory) != OK ||
        tess_untyped_create_thread(std_self.untyped, std_self.process, memory, 0, 0, &thread) != OK ||
        tess_thread_start(thread, 0x123457, 0x3FFFFFFFFF, ~0ull, ~0ull, 0x3FFFFFFFF0) != OK)
        return;
    time_sleep_until(DEADLINE_INFINITE);
}

/* On x86_64 with a system call on the way, which may not take SYSRET back. */
static void debug_trap(void)
{
#if defined(__x86_64__)
    __asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n syscall\n nop\n int3" ::"a"(0), "D"(0) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    __asm__ volatile("brk #7");
#else
    __asm__ volatile("ebreak");
#endif
}

/* A random walk over kernel addresses through system calls (they must be refused), then directly. */
static void pointers_then_read(void)
{
    uint64_t seed = 77;
    handle_t memory;
    if (tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory) != OK)
        return;
    for (uint32_t i = 0; i < 3000; i++) {
        uint64_t address = random_next(&seed) | 1ull << 63;
        if (tess_memory_read(memory, 0, address, 8) != ERROR_BAD_ADDRESS || tess_memory_write(memory, 0, address, 8) != ERROR_BAD_ADDRESS)
            return;
    }
    read_at(random_next(&seed) | 1ull << 63);
}

/* Not formatted: each line of such a list would be indented deeper, and more with every run. */
/* clang-format off */
#define ATTACKS(X) \
    X(recursion) X(kernel_text) X(direct_map) X(kernel_write) X(top_of_memory) X(null_write) X(above_user_space) X(own_text) \
    X(constants) X(clock_write) X(execute_data) X(execute_stack) X(execute_readonly) X(smash_stack) X(wild_jump) X(kernel_jump) \
    X(noncanonical_jump) X(odd_jump) X(privileged) X(stop_the_machine) X(load_tables) X(port_access) X(bad_stack) \
    X(call_with_bad_stack) X(nonsense_thread) X(debug_trap) X(pointers_then_read)
/* clang-format on */
#define NAME(attack) #attack,
#define FUNCTION(attack) attack,
const char *const attack_names[] = {ATTACKS(NAME)};
const uint32_t attack_count = ARRAY_LENGTH(attack_names);
static const code_fn attack_functions[] = {ATTACKS(FUNCTION)};

int32_t role_attack(void)
{
    for (uint32_t i = 0; i < attack_count; i++)
        if (strcmp(attack_names[i], std_arg(1)) == 0)
            attack_functions[i]();
    return 88; /* it came through */
}
