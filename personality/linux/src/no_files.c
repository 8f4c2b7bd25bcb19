/* Until src/files is there: the descriptors of the start page; without them, what is written to 1 and 2 goes to the log, line by line. Nothing
 * can be opened. */
#include <linux/arena.h>
#include <linux/call.h>
#include <linux/file.h>
#include <linux/queue.h>
#include <tess/invoke.h>
#include <tess/stub/log.h>
#include <tess/util.h>

struct linux_file_table {
    struct linux_file *files[LINUX_START_FILES];
};

void linux_files_start(const struct linux_start *start)
{
    struct linux_file_table *table = linux_process()->files = linux_allocate(sizeof(*table));
    for (uint32_t i = 0; table != nullptr && i < min_u32(start->file_count, LINUX_START_FILES); i++) {
        if (start->files[i].kind == LINUX_START_QUEUE && linux_queue_start(&start->files[i], &table->files[i]) != 0) {
            table->files[i] = nullptr;
        }
    }
}
int64_t linux_files_fork(void) { return 0; }
void linux_files_forked(bool is_child) { (void)is_child; }
int64_t linux_files_map_into(handle_t vspace) { return (void)vspace, 0; }
void linux_files_exec(void) {}
void linux_files_exit(void) {}
int64_t linux_file_get(uint64_t fd, struct linux_file **out_file)
{
    struct linux_file_table *table = linux_process()->files;
    *out_file = table == nullptr || fd >= LINUX_START_FILES ? nullptr : table->files[fd];
    return *out_file == nullptr ? -LINUX_EBADF : 0;
}
void linux_file_put(struct linux_file *file) { (void)file; }
int64_t linux_file_open_program(int32_t directory, const char *path, uint32_t flags, struct linux_file **out_file)
{
    return (void)directory, (void)path, (void)flags, (void)out_file, -LINUX_ENOENT;
}

int64_t linux_sys_read(uint64_t fd, uint64_t buffer, uint64_t size)
{
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    return result != 0 || file->operations->read == nullptr ? -LINUX_EBADF : file->operations->read(file, buffer, size, -1);
}

int64_t linux_sys_write(uint64_t fd, uint64_t buffer, uint64_t size)
{
    struct linux_file *file;
    char text[200];
    if (linux_file_get(fd, &file) == 0) {
        return file->operations->write == nullptr ? -LINUX_EBADF : file->operations->write(file, buffer, size, -1);
    }
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
