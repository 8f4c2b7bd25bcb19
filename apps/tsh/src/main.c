/* The shell: reads lines from the console, runs commands, and shows new log records above the line being typed. */
#include <shell.h>
#include <std/log.h>
#include <std/program.h>
#include <tess/string.h>
#include <tess/stub/log.h>

constexpr char PROMPT[] = "tsh> ";
constexpr uint32_t SHOWN_LEVEL = LOG_INFO; /* of records that appear by themselves; `log` shows all */

static struct shell shell; /* history and buffers are too large for the stack */

static void write_line(void *, const char *bytes, size_t count) { console_write(&shell.console, bytes, count); }

static const char *candidate(void *, size_t index)
{
    const struct command *command = command_at(index);
    return command != nullptr ? command->name : nullptr;
}

/* Up to the moment the console was attached the kernel printed the records itself. */
static void skip_log(void)
{
    static uint64_t buffer[512];
    uint64_t size, lost;
    do {
        if (tess_log_drain(shell.handles.log, shell.log_cursor, (uint64_t)(uintptr_t)buffer, sizeof(buffer), &shell.log_cursor, &size,
                           &lost) != OK) {
            return;
        }
    } while (size != 0);
}

static void take_input(void)
{
    char byte;
    while (console_read(&shell.console, &byte)) {
        enum line_result result = line_feed(&shell.line, byte);
        if (result == LINE_READY) {
            char text[LINE_BYTES_MAX];
            memcpy(text, shell.line.text, shell.line.length + 1);
            command_run(&shell, text);
        }
        if (result != LINE_EDITING) {
            line_start(&shell.line);
        }
    }
}

static void take_news(uint32_t news)
{
    if (news & CONSOLE_RESTARTED) {
        shell.line.is_shown = false;
        shell.line.drawn_columns = 0;
        shell_print(&shell, "\n(the console's driver was restarted)\n");
        line_show(&shell.line);
    }
    if (news & CONSOLE_LOG) {
        line_hide(&shell.line);
        log_print_new(&shell, SHOWN_LEVEL);
        line_show(&shell.line);
    }
    if (news & CONSOLE_INPUT) {
        take_input();
    }
}

int main(void)
{
    shell.handles = (struct shell_handles){
        .console = std_handle_needed("console"),
        .supervisor = std_handle("supervisor"),
        .system = std_handle("system"),
        .net = std_handle("net"),
        .devmgr = std_handle("devmgr"),
        .log = std_handle("records"),
        .machine = std_handle("machine"),
        .http = std_handle("http"),
        .trace = std_handle("trace"),
        .audit = std_handle("audit"),
        .cspace = std_self.cspace,
        .untyped = std_self.untyped,
    };
    status_t status = console_open(&shell.console, shell.handles.console, shell.handles.log);
    if (status == ERROR_NOT_FOUND || status == ERROR_UNSUPPORTED) {
        log_info("tsh: this machine has no console");
        return 0;
    }
    if (status != OK) {
        log_error("tsh: console: %s", status_name(status));
        return 1;
    }
    skip_log();
    line_init(&shell.line, PROMPT, write_line, candidate, nullptr);
    shell_print(&shell, "\nTessera shell. \"help\" lists the commands.\n");
    line_start(&shell.line);
    while (true) {
        take_news(console_wait(&shell.console, DEADLINE_INFINITE));
    }
}
