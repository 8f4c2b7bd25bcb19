/* The command `audit`: the kernel's records of what was done with authority, in words. */
#include <format.h>
#include <shell.h>
#include <tess/fmt.h>
#include <tess/string.h>
#include <tess/stub/log.h>

static void name_of(char *buffer, size_t size, const char *name, uint64_t id)
{
    char text[NAME_BYTES + 1];
    format_name(text, sizeof(text), name, NAME_BYTES);
    fmt_print(buffer, size, id == 0 ? "the kernel" : "%s (%llu)", text, (unsigned long long)id);
}

/* "event 17 (set inspect)" */
static void object_of(char *buffer, size_t size, const struct tess_audit_record *record, bool has_rights)
{
    int at = fmt_print(buffer, size, "%s %llu", object_type_name((enum object_type)record->type), (unsigned long long)record->object);
    if (!has_rights || at < 0) {
        return;
    }
    const char *separator = " (";
    for (uint32_t bit = 0; bit < 32 && (size_t)at < size; bit++) {
        const char *name = (record->rights >> bit & 1) != 0 ? right_name(record->type, bit) : nullptr;
        if (name != nullptr) {
            at += fmt_print(buffer + at, size - (size_t)at, "%s%s", separator, name);
            separator = " ";
        }
    }
    if (separator[1] == 0 && (size_t)at < size) {
        fmt_print(buffer + at, size - (size_t)at, ")");
    }
}

static void what_happened(char *buffer, size_t size, const struct tess_audit_record *record)
{
    char to[48], object[160];
    const char *method = method_name(op_interface(record->detail[0]), op_method(record->detail[0]));
    name_of(to, sizeof(to), record->to_name, record->to);
    object_of(object, sizeof(object), record, record->what == AUDIT_GIVE || record->what == AUDIT_MINT);
    unsigned long long first = record->detail[0], second = record->detail[1];
    switch (record->what) {
    case AUDIT_GIVE: fmt_print(buffer, size, "gave %s %s", to, object); return;
    case AUDIT_MINT:
        fmt_print(buffer, size, record->badge != 0 ? "minted for %s %s, badge %llu" : "minted for %s %s", to, object,
                  (unsigned long long)record->badge);
        return;
    case AUDIT_REVOKE: fmt_print(buffer, size, "took back what was derived from its %s", object); return;
    case AUDIT_DESTROY: fmt_print(buffer, size, "destroyed %s", object); return;
    case AUDIT_DEVICE: fmt_print(buffer, size, "made %s of hardware: %llx, %llx", object, first, second); return;
    case AUDIT_DENIED:
        fmt_print(buffer, size, "was DENIED %s.%s on %s", interface_name(op_interface(record->detail[0])), method != nullptr ? method : "?",
                  object);
        return;
    case AUDIT_KILL: fmt_print(buffer, size, "killed %s", to); return;
    case AUDIT_PROCESS: fmt_print(buffer, size, "made the process %s", to); return;
    case AUDIT_LEFT_OUT:
        fmt_print(buffer, size, "made too many records; those left out: %u, %llu of them denials", record->count, first);
        return;
    default: fmt_print(buffer, size, "did what this shell does not know (%u)", record->what); return;
    }
}

static void print_record(struct shell *shell, const struct tess_log_record *head, const struct tess_audit_record *record, const char *only)
{
    char stamp[32], from[48], text[320], times[24] = "", name[NAME_BYTES + 1], to[NAME_BYTES + 1];
    format_name(name, sizeof(name), record->from_name, NAME_BYTES);
    format_name(to, sizeof(to), record->to_name, NAME_BYTES);
    if (only != nullptr && strcmp(only, name) != 0 && strcmp(only, to) != 0) {
        return;
    }
    format_stamp(stamp, sizeof(stamp), head->time_ns);
    name_of(from, sizeof(from), record->from_name, record->from);
    what_happened(text, sizeof(text), record);
    if (record->count > 1 && record->what != AUDIT_LEFT_OUT) {
        fmt_print(times, sizeof(times), ", %u times", record->count);
    }
    shell_print(shell, "%s %s %s%s\n", stamp, from, text, times);
}

void command_audit(struct shell *shell, const struct words *words)
{
    static uint8_t buffer[2048];
    const char *only = words->count > 1 ? words->word[1] : nullptr;
    uint64_t cursor = 0, size = 0, lost = 0;
    if (!shell_has(shell, shell->handles.audit, "audit")) {
        return;
    }
    for (uint32_t i = 0; i < 1024; i++) { /* more than the log keeps: what is added meanwhile does not hold this up for ever */
        status_t status = tess_log_drain(shell->handles.audit, cursor, (uint64_t)(uintptr_t)buffer, sizeof(buffer), &cursor, &size, &lost);
        if (status != OK) {
            shell_error(shell, "audit", status);
            return;
        }
        if (lost != 0) {
            shell_print(shell, "%llu records were overwritten meanwhile\n", (unsigned long long)lost);
        }
        if (i == 0 && size != 0) {
            uint64_t first;
            memcpy(&first, buffer, sizeof(first));
            if (first != 0) {
                shell_print(shell, "%llu older records are not kept any more\n", (unsigned long long)first);
            }
        }
        if (size == 0) {
            return;
        }
        for (uint64_t at = 0; at < size;) {
            struct tess_log_record head;
            struct tess_audit_record record;
            memcpy(&head, buffer + at, sizeof(head));
            memcpy(&record, buffer + at + sizeof(head), sizeof(record));
            print_record(shell, &head, &record, only);
            at += sizeof(head) + ((head.size + 7u) & ~7u);
        }
    }
}
