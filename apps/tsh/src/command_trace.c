/* The command `trace`: starts and stops the kernel's recording, whose memory is the shell's, and shows the end of it. */
#include <format.h>
#include <shell.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/trace.h>

constexpr uint64_t RECORDS_DEFAULT = 2048, SHOWN_DEFAULT = 32, SHOWN_MAX = 256;
constexpr uint32_t CPUS_MAX = 256;
/* Memory and objects are many and say little to most; locks cost while they are waited for. */
constexpr uint32_t CLASSES_DEFAULT = TRACE_CLASS_SCHED | TRACE_CLASS_CALL | TRACE_CLASS_SYSCALL | TRACE_CLASS_FAULT | TRACE_CLASS_INTERRUPT;

static handle_t recording; /* the memory of what this shell started */

struct trace_state {
    uint32_t buffers, records, classes;
    uint64_t buffer_bytes, process_id, start_ns;
};

static bool read_state(struct shell *shell, struct trace_state *state)
{
    status_t status = tess_trace_info(shell->handles.trace, &state->buffers, &state->records, &state->buffer_bytes, &state->classes,
                                      &state->process_id, &state->start_ns);
    if (status != OK) {
        shell_error(shell, "trace", status);
    }
    return status == OK;
}

static void trace_end(struct shell *shell)
{
    if (recording != HANDLE_NONE) {
        (void)tess_cspace_delete(shell->handles.cspace, recording); /* the last handle: its memory goes back */
        recording = HANDLE_NONE;
    }
}

static void trace_start(struct shell *shell, uint64_t records)
{
    (void)tess_trace_stop(shell->handles.trace); /* NOT_FOUND when there was none */
    trace_end(shell);
    status_t status = tess_trace_start(shell->handles.trace, shell->handles.untyped, (uint32_t)records, CLASSES_DEFAULT, 0, &recording);
    if (status != OK) {
        recording = HANDLE_NONE;
        shell_error(shell, "trace", status);
    }
}

static void print_state(struct shell *shell)
{
    struct trace_state state = {};
    char size[24];
    if (!read_state(shell, &state)) {
        return;
    }
    if (state.buffers == 0) {
        shell_print(shell, "nothing is recorded; \"trace start\" begins\n");
        return;
    }
    format_size(size, sizeof(size), state.buffers * state.buffer_bytes);
    shell_print(shell, "%s, the last %u records of each CPU, %s; http://THIS-MACHINE/trace.bin, for tools/trace2json\n",
                state.classes != 0 ? "recording" : "stopped", state.records, size);
}

static uint64_t arg_value(const struct tess_trace_record *record, const struct trace_arg_info *arg)
{
    uint64_t word = record->args[arg->word] >> arg->shift;
    return arg->type == TRACE_ARG_U32 || arg->type == TRACE_ARG_I32 ? (uint32_t)word : word;
}

static void print_record(struct shell *shell, const struct tess_trace_record *record)
{
    const struct trace_event_info *event = trace_event_info(record->event);
    char stamp[32], name[NAME_BYTES + 1];
    format_stamp(stamp, sizeof(stamp), record->time_ns);
    shell_print(shell, "%s cpu %u #%u %s", stamp, record->cpu, record->thread, event != nullptr ? event->name : "unknown");
    for (uint32_t i = 0; event != nullptr && i < event->arg_count; i++) {
        const struct trace_arg_info *arg = &event->args[i];
        uint64_t value = arg_value(record, arg);
        if (arg->type == TRACE_ARG_BYTES) {
            format_name(name, sizeof(name), (const char *)record->args, sizeof(record->args));
            shell_print(shell, " %s %s", arg->name, name);
        } else if (arg->type == TRACE_ARG_I32 || arg->type == TRACE_ARG_I64) {
            shell_print(shell, " %s %lld", arg->name, arg->type == TRACE_ARG_I32 ? (long long)(int32_t)value : (long long)value);
        } else if (strcmp(arg->name, "op") == 0 && method_name(op_interface(value), op_method(value)) != nullptr) {
            shell_print(shell, " %s.%s", interface_name(op_interface(value)), method_name(op_interface(value), op_method(value)));
        } else {
            shell_print(shell, strcmp(arg->name, "address") == 0 ? " %s %llx" : " %s %llu", arg->name, (unsigned long long)value);
        }
    }
    shell_print(shell, "\n");
}

/* The newest `wanted` records of all buffers, oldest first: a merge by time, each buffer read from that far before its end. */
static void trace_show(struct shell *shell, uint64_t wanted)
{
    static struct tess_trace_record newest[SHOWN_MAX];
    struct trace_state state = {};
    if (!read_state(shell, &state)) {
        return;
    }
    uint64_t kept = 0;
    for (uint32_t i = 0; i < state.buffers && i <= CPUS_MAX; i++) {
        struct tess_trace_record records[8];
        uint64_t cursor = 0, count = 0, lost, left = state.records;
        while (left != 0 &&
               tess_trace_read(shell->handles.trace, i, cursor, (uint64_t)(uintptr_t)records, sizeof(records), &cursor, &count, &lost) ==
                   OK &&
               count != 0) {
            left -= count < left ? count : left;
            for (uint64_t n = 0; n < count; n++) {
                if (kept == wanted && records[n].time_ns <= newest[0].time_ns) {
                    continue;
                }
                uint64_t at = kept;
                if (kept == wanted) {
                    memmove(newest, newest + 1, (kept - 1) * sizeof(newest[0]));
                    at = kept - 1;
                } else {
                    kept++;
                }
                for (; at > 0 && newest[at - 1].time_ns > records[n].time_ns; at--) {
                    newest[at] = newest[at - 1];
                }
                newest[at] = records[n];
            }
        }
    }
    for (uint64_t i = 0; i < kept; i++) {
        print_record(shell, &newest[i]);
    }
    print_state(shell);
}

void command_trace(struct shell *shell, const struct words *words)
{
    const char *what = words->count > 1 ? words->word[1] : "";
    bool is_start = strcmp(what, "start") == 0, is_show = strcmp(what, "show") == 0;
    uint64_t number = is_start ? RECORDS_DEFAULT : SHOWN_DEFAULT;
    if (!shell_has(shell, shell->handles.trace, "trace")) {
        return;
    }
    if (words->count > 2 && !words_number_within(words->word[2], is_start ? 64 : 1, is_start ? 262'144 : SHOWN_MAX, &number)) {
        shell_print(shell, "trace: start takes 64 to 262144 records for each CPU, show 1 to %u\n", (uint32_t)SHOWN_MAX);
    } else if (is_start) {
        trace_start(shell, number);
        print_state(shell);
    } else if (is_show) {
        trace_show(shell, number);
    } else if (strcmp(what, "stop") == 0) {
        (void)tess_trace_stop(shell->handles.trace); /* what there is to say about it is said next */
        print_state(shell);
    } else if (strcmp(what, "end") == 0) {
        (void)tess_trace_stop(shell->handles.trace);
        trace_end(shell);
        print_state(shell);
    } else if (what[0] == 0) {
        print_state(shell);
    } else {
        shell_print(shell, "usage: trace [start [RECORDS]|stop|show [COUNT]|end]\n");
    }
}
