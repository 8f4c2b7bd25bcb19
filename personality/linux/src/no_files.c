/* Until src/files is there: what is written to descriptors 1 and 2 goes to the log, line by line; nothing can be opened. */
#include <linux/call.h>
#include <linux/file.h>
#include <tess/invoke.h>
#include <tess/stub/log.h>
#include <tess/util.h>

void linux_files_start(const struct linux_start *start) { (void)start; }
int64_t linux_files_fork(void) { return 0; }
void linux_files_forked(bool is_child) { (void)is_child; }
int64_t linux_files_map_into(handle_t vspace) { return (void)vspace, 0; }
void linux_files_exec(void) {}
void linux_files_exit(void) {}
int64_t linux_file_get(uint64_t fd, struct linux_file **out_file) { return (void)fd, (void)out_file, -LINUX_EBADF; }
void linux_file_put(struct linux_file *file) { (void)file; }
int64_t linux_file_open_program(int32_t directory, const char *path, uint32_t flags, struct linux_file **out_file)
{
    return (void)directory, (void)path, (void)flags, (void)out_file, -LINUX_ENOENT;
}

int64_t linux_sys_write(uint64_t fd, uint64_t buffer, uint64_t size)
{
    char text[200];
    uint64_t part = min_u64(size, sizeof(text));
    if ((int32_t)fd != 1 && (int32_t)fd != 2) {
        return -LINUX_EBADF;
    }
    int64_t result = linux_copy_from_user(text, buffer, part);
    if (result != 0) {
        return result;
    }
    uint64_t shown = part > 0 && text[part - 1] == '\n' ? part - 1 : part;
    if (shown > 0) {
        status_t status = tess_log_append(linux_process()->log, (uint64_t)text, shown, LOG_INFO);
        (void)status;
    }
    return (int64_t)part;
}

int64_t linux_sys_writev(uint64_t fd, uint64_t vector, uint64_t count)
{
    int64_t done = 0;
    for (uint64_t i = 0; i < min_u64(count, 1024); i++) {
        uint64_t part[2];
        int64_t result = linux_copy_from_user(part, vector + i * sizeof(part), sizeof(part));
        result = result == 0 ? linux_sys_write(fd, part[0], part[1]) : result;
        if (result < 0) {
            return done > 0 ? done : result;
        }
        done += result;
        if ((uint64_t)result < part[1]) {
            break;
        }
    }
    return done;
}
