/* Ends. */
#include <linux/call.h>
#include <linux/file.h>

int64_t linux_sys_exit_group(uint64_t status)
{
    linux_files_exit();
    linux_process_exit((int32_t)(status & 0xFF) << 8);
}
