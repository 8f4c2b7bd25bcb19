#include <std/log.h>
#include <std/program.h>
#include <tess/fmt.h>
#include <tess/stub/log.h>

void log_print(uint32_t level, const char *format, ...)
{
    char text[480];
    if (std_self.log == HANDLE_NONE) {
        return;
    }
    va_list args;
    va_start(args, format);
    int length = fmt_vprint(text, sizeof(text), format, args);
    va_end(args);
    if (length <= 0) {
        return;
    }
    uint64_t size = (size_t)length < sizeof(text) ? (uint64_t)length : sizeof(text) - 1;
    /* Nothing can be done about a log that refuses. */
    status_t status = tess_log_append(std_self.log, (uint64_t)text, size, level);
    (void)status;
}
