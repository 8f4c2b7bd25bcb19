/* The report on a service's end. */
#include <report.h>
#include <symbols.h>
#include <tess/fmt.h>

constexpr size_t LINE_BYTES = 200;

static const char *cause_text(uint32_t cause)
{
    switch (cause) {
    case EXIT_NORMAL: return "exited";
    case EXIT_KILLED: return "was killed";
    case EXIT_FAULT: return "crashed";
    case EXIT_DESTROYED: return "lost its memory";
    default: return "ended";
    }
}

/* enum fault_kind of the kernel's architecture contract. */
static const char *fault_text(uint32_t kind)
{
    static const char *const texts[] = {
        "an exception",         "page fault",       "illegal instruction", "breakpoint",     "unaligned access", "arithmetic error",
        "floating point error", "protection fault", "out of memory",       "guard page hit", "page lost"};
    return texts[kind < sizeof(texts) / sizeof(texts[0]) ? kind : 0];
}

static void report_frame(const struct report_program *program, uint64_t index, uint64_t address, report_line_fn *line, void *context)
{
    char text[LINE_BYTES];
    const char *name;
    uint64_t distance, offset = address - program->image_base;
    /* A return address is behind the call: what is asked for is the call. */
    uint64_t lookup = index == 0 ? offset : offset - 1;
    if (address > program->image_base && program->symbols != nullptr &&
        symbols_find(program->symbols, program->symbols_size, lookup, &name, &distance)) {
        distance += offset - lookup;
        fmt_print(text, sizeof(text), "  #%llu %.64s+0x%llx (%s+0x%llx)", (unsigned long long)index, name, (unsigned long long)distance,
                  program->name, (unsigned long long)offset);
    } else {
        fmt_print(text, sizeof(text), "  #%llu 0x%llx", (unsigned long long)index, (unsigned long long)address);
    }
    line(context, LOG_ERROR, text);
}

static void report_crash(const struct report_program *program, const struct tess_crash_record *crash, report_line_fn *line, void *context)
{
    char text[LINE_BYTES];
    fmt_print(text, sizeof(text), "  %s%s 0x%llx, code 0x%llx, pc 0x%llx, sp 0x%llx, thread %llu", fault_text(crash->fault_kind),
              crash->is_write ? " writing" : " at", (unsigned long long)crash->address, (unsigned long long)crash->code,
              (unsigned long long)crash->pc, (unsigned long long)crash->sp, (unsigned long long)crash->thread_id);
    line(context, LOG_ERROR, text);
    /* frames[0] is pc, the others are return addresses. */
    uint64_t limit = sizeof(crash->frames) / sizeof(crash->frames[0]);
    for (uint64_t i = 0; i < crash->frame_count && i < limit; i++) {
        report_frame(program, i, crash->frames[i], line, context);
    }
}

void report_end(const struct report_program *program, uint32_t cause, int32_t status, const struct tess_crash_record *crash,
                const char *restart, report_line_fn *line, void *context)
{
    char text[LINE_BYTES];
    fmt_print(text, sizeof(text), "%s (process %llu) %s, status %d; %s", program->name, (unsigned long long)program->process_id,
              cause_text(cause), status, restart);
    line(context, cause == EXIT_NORMAL && status == 0 ? LOG_INFO : LOG_WARNING, text);
    if (crash != nullptr) {
        report_crash(program, crash, line, context);
    }
}
