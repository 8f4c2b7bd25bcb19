/* The table of commands, and those that need no service. */
#include <format.h>
#include <shell.h>
#include <std/time.h>
#include <stdarg.h>
#include <tess/fmt.h>
#include <tess/string.h>
#include <tess/stub/machine.h>

constexpr uint64_t CALL_PATIENCE_NS = 3'000'000'000;

void shell_print(struct shell *shell, const char *format, ...)
{
    char text[512], *from = text;
    va_list args;
    va_start(args, format);
    fmt_vprint(text, sizeof(text), format, args);
    va_end(args);
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n') {
            console_write(&shell->console, from, (size_t)(text + i - from));
            console_write(&shell->console, "\r\n", 2);
            from = text + i + 1;
        }
    }
    console_write(&shell->console, from, (size_t)(text + length - from));
}

uint64_t shell_deadline(void) { return time_now_ns() + CALL_PATIENCE_NS; }

void shell_error(struct shell *shell, const char *what, status_t status)
{
    const char *more = status == ERROR_TIMED_OUT ? " (no answer: see `services`)" : "";
    shell_print(shell, "%s: %s%s\n", what, status_name(status), more);
}

bool shell_has(struct shell *shell, handle_t handle, const char *name)
{
    if (handle == HANDLE_NONE) {
        shell_print(shell, "the shell was given no handle to %s\n", name);
    }
    return handle != HANDLE_NONE;
}

static void command_help(struct shell *shell, const struct words *words)
{
    const struct command *command;
    bool is_found = false;
    for (size_t i = 0; (command = command_at(i)) != nullptr; i++) {
        if (words->count == 1 || strcmp(words->word[1], command->name) == 0) {
            shell_print(shell, "  %-9s %-24s %s\n", command->name, command->arguments, command->summary);
            is_found = true;
        }
    }
    if (!is_found) {
        shell_print(shell, "help: no command is called \"%s\"\n", words->word[1]);
    }
}

static void command_echo(struct shell *shell, const struct words *words)
{
    for (size_t i = 1; i < words->count; i++) {
        shell_print(shell, "%s%s", i > 1 ? " " : "", words->word[i]);
    }
    shell_print(shell, "\n");
}

static void command_clear(struct shell *shell, const struct words *) { shell_print(shell, "\033[H\033[2J"); }

static void command_history(struct shell *shell, const struct words *)
{
    const char *text;
    for (uint32_t i = 0; (text = line_history(&shell->line, i)) != nullptr; i++) {
        shell_print(shell, "%4u  %s\n", i + 1, text);
    }
}

static void power(struct shell *shell, uint32_t how, const char *what)
{
    if (!shell_has(shell, shell->handles.machine, "machine")) {
        return;
    }
    shell_print(shell, "%s\n", what);
    console_drain(&shell->console, shell_deadline());
    shell_error(shell, "machine", tess_machine_power(shell->handles.machine, how));
}

static void command_shutdown(struct shell *shell, const struct words *) { power(shell, POWER_OFF, "switching off"); }

static void command_reboot(struct shell *shell, const struct words *) { power(shell, POWER_REBOOT, "rebooting"); }

static const struct command commands[] = {
    {"help", "[COMMAND]", "this list, or one line of it", 0, 1, command_help},
    {"ps", "", "processes", 0, 0, command_ps},
    {"top", "[COUNT]", "CPUs and busiest processes every 2 s, until a key or COUNT times", 0, 1, command_top},
    {"mem", "[log]", "memory, in all and by kernel object; log: init's figures to the log, too", 0, 1, command_mem},
    {"caps", "PID|NAME", "what a process may do", 1, 1, command_caps},
    {"cells", "", "resource domains and what they use", 0, 0, command_cells},
    {"log", "[-f]", "the records kept; -f: go on until a key", 0, 1, command_log},
    {"services", "", "services and their state", 0, 0, command_services},
    {"start", "SERVICE", "start a stopped or failed service", 1, 1, command_start},
    {"stop", "SERVICE", "end a service and leave it so", 1, 1, command_stop},
    {"restart", "SERVICE", "end a service and start it again", 1, 1, command_restart},
    {"kill", "PID|SERVICE", "end a service's process as a crash would", 1, 1, command_kill},
    {"run", "PROGRAM [ARGUMENT]", "run a program of the boot image once", 1, 2, command_run_program},
    {"devices", "", "devices and the drivers that hold them", 0, 0, command_devices},
    {"net", "[ping A.B.C.D|resolve NAME]", "network figures; or ask the network", 0, 2, command_net},
    {"http", "", "the web server's figures", 0, 0, command_http},
    {"trace", "[start [RECORDS]|stop|show [COUNT]|end]", "record what the kernel does; /trace.bin has it all", 0, 2, command_trace},
    {"audit", "[NAME]", "what was done with authority: given, taken back, denied", 0, 1, command_audit},
    {"history", "", "lines typed before", 0, 0, command_history},
    {"echo", "[WORD ...]", "print the words", 0, WORDS_MAX, command_echo},
    {"clear", "", "clear the screen", 0, 0, command_clear},
    {"shutdown", "", "switch the machine off", 0, 0, command_shutdown},
    {"reboot", "", "start the machine again", 0, 0, command_reboot},
};

const struct command *command_at(size_t index) { return index < sizeof(commands) / sizeof(commands[0]) ? &commands[index] : nullptr; }

void command_run(struct shell *shell, char *text)
{
    struct words words;
    const char *error = words_split(text, &words);
    if (error != nullptr) {
        shell_print(shell, "not understood: %s\n", error);
        return;
    }
    if (words.count == 0) {
        return;
    }
    const struct command *command;
    for (size_t i = 0; (command = command_at(i)) != nullptr; i++) {
        if (strcmp(command->name, words.word[0]) != 0) {
            continue;
        }
        if (words.count - 1 < command->arguments_min || words.count - 1 > command->arguments_max) {
            shell_print(shell, "usage: %s %s\n", command->name, command->arguments);
        } else {
            command->run(shell, &words);
        }
        return;
    }
    shell_print(shell, "no command \"%s\"; try help\n", words.word[0]);
}
