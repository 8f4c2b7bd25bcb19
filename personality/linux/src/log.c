/* The cell's log, and what the compiler and the stubs ask for. */
#include <linux/process.h>
#include <stdarg.h>
#include <tess/fmt.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/log.h>
#include <tess/util.h>

void linux_log(uint32_t level, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int length = fmt_vprint(text, sizeof(text), format, args);
    va_end(args);
    if (length > 0 && linux_process()->log != HANDLE_NONE) {
        status_t status = tess_log_append(linux_process()->log, (uint64_t)text, min_u64((uint64_t)length, sizeof(text) - 1), level);
        (void)status;
    }
}

/* <tess/invoke.h>: handles that nobody asked for. */
void std_handles_discard(const handle_t *handles, uint32_t count)
{
    handle_t copy[MESSAGE_HANDLES]; /* `handles` may lie in the message page */
    count = min_u32(count, MESSAGE_HANDLES);
    for (uint32_t i = 0; i < count; i++) {
        copy[i] = handles[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        status_t status = tess_cspace_delete(linux_process()->cspace, copy[i]);
        (void)status;
    }
}
