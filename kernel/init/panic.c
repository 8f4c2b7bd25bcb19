/* The end: a report on the console and an exit code that says failure. */
#include <arch/arch.h>
#include <kernel/log.h>
#include <kernel/process.h>
#include <stdarg.h>
#include <tess/fmt.h>

/* Made by tools/symbols.py at link time: u32 count, then {u32 offset, u32 name offset} sorted, then names. */
extern const uint32_t kernel_symbols_start[], kernel_symbols_end[];

static _Atomic uint32_t panicking_cpu; /* index + 1 */

static void print_address(uint32_t number, uint64_t pc)
{
    uint64_t size = (uint64_t)((const char *)kernel_symbols_end - (const char *)kernel_symbols_start);
    uint64_t offset = pc - (uint64_t)kernel_image_start;
    const char *name = "?";
    uint64_t distance = 0;
    if (size >= 4 && pc >= (uint64_t)kernel_image_start && pc < (uint64_t)kernel_text_end) {
        uint32_t low = 0, high = kernel_symbols_start[0];
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            if (kernel_symbols_start[1 + 2 * middle] <= offset)
                low = middle + 1;
            else
                high = middle;
        }
        if (low != 0 && kernel_symbols_start[2 * low] < size) {
            name = (const char *)kernel_symbols_start + kernel_symbols_start[2 * low];
            distance = offset - kernel_symbols_start[2 * low - 1];
        }
    }
    log_console_line("  #%u %016lx %s+0x%lx", number, pc, name, distance);
}

static void print_frame(const struct arch_frame *frame)
{
    const uint64_t *words = (const uint64_t *)frame;
    constexpr uint32_t count = ARRAY_LENGTH(arch_frame_names);
    for (uint32_t i = 0; i < count; i += 3) {
        char line[128];
        int at = 0;
        for (uint32_t j = i; j < i + 3 && j < count; j++)
            at += fmt_print(line + at, sizeof(line) - (size_t)at, "  %6s %016lx", arch_frame_names[j], words[j]);
        log_console_line("%s", line);
    }
}

constexpr uint64_t STACK_STEP_MAX = 8192; /* no function has a larger frame */

static bool is_kernel_stack(uint64_t fp) { return (fp & 7) == 0 && fp >= DIRECT_MAP_BASE && fp < UINT64_MAX - 16; }

static void print_backtrace(uint64_t pc, uint64_t fp)
{
    log_console_line("backtrace:");
    uint32_t number = 0;
    if (pc != 0)
        print_address(number++, pc);
    while (number < 24 && is_kernel_stack(fp)) {
        const uint64_t *record = (const uint64_t *)(fp + (uint64_t)ARCH_FRAME_RECORD_OFFSET);
        if (record[1] < (uint64_t)kernel_image_start || record[1] >= (uint64_t)kernel_text_end)
            break;
        print_address(number++, record[1]);
        /* The first step of a system call leaves the user's frame pointer at the end of the chain: whatever it is. */
        if (record[0] <= fp || record[0] - fp > STACK_STEP_MAX)
            break;
        fp = record[0];
    }
}

static void begin(void)
{
    uint32_t expected = 0, mine = arch_cpu()->index + 1;
    if (!atomic_compare_exchange_strong(&panicking_cpu, &expected, mine)) {
        if (expected != mine)
            arch_halt();               /* another CPU is reporting */
        arch_power(ARCH_EXIT_FAILURE); /* a panic inside the report */
    }
    log_panic_mode();
}

[[noreturn]] static void end(void)
{
    struct cpu *cpu = arch_cpu();
    struct thread *thread = cpu->current;
    log_console_line("cpu %u of %u, thread %lu of process %s", cpu->index, cpu_count, thread != nullptr ? thread->object.id : 0,
                     thread != nullptr ? thread->process->name : "(none)");
    log_console_line("last log records:");
    log_console_last(16);
    log_console_line("PANIC END");
    arch_power(ARCH_EXIT_FAILURE);
}

void panic(const char *format, ...)
{
    begin();
    char text[256];
    va_list args;
    va_start(args, format);
    (void)fmt_vprint(text, sizeof(text), format, args);
    va_end(args);
    log_console_line("\nKERNEL PANIC: %s", text);
    print_backtrace(0, (uint64_t)__builtin_frame_address(0));
    end();
}

void kernel_fault(const struct arch_frame *frame, const struct fault *fault)
{
    static const char *const kinds[] = {"?",   "page fault", "illegal instruction", "breakpoint", "alignment", "arithmetic",
                                        "fpu", "general"};
    begin();
    log_console_line("\nKERNEL PANIC: %s in the kernel, address %016lx, code %lx%s%s",
                     kinds[fault->kind <= FAULT_GENERAL ? fault->kind : 0], fault->address, fault->code, fault->is_write ? ", write" : "",
                     fault->is_execute ? ", execute" : "");
    print_frame(frame);
    print_backtrace(arch_frame_pc(frame), arch_frame_fp(frame));
    end();
}

/* UBSan in trap mode needs no runtime; the stack protector calls this. */
[[noreturn]] void __stack_chk_fail(void);
void __stack_chk_fail(void) { panic("stack smashed"); }
