/* Descriptors: the lowest free one first. */
#include "files.h"
#include <linux/queue.h>
#include <tess/invoke.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/directory.h>
#include <tess/stub/memory.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

static bool is_marked(const struct linux_file_table *table, uint32_t fd) { return (table->marks[fd / 8] >> fd % 8 & 1) != 0; }

static void mark(struct linux_file_table *table, uint32_t fd, bool is_closed_on_exec)
{
    uint8_t bit = (uint8_t)(1u << fd % 8);
    table->marks[fd / 8] = (uint8_t)(is_closed_on_exec ? table->marks[fd / 8] | bit : table->marks[fd / 8] & ~bit);
}

void files_handle_delete(handle_t handle)
{
    if (handle != HANDLE_NONE) {
        status_t status = tess_cspace_delete(linux_process()->cspace, handle);
        (void)status; /* a handle that is gone needs no deleting */
    }
}

static uint32_t limit(void)
{
    uint64_t most = linux_process()->limits[LINUX_RLIMIT_NOFILE].current;
    return most < FILES_MAX ? (uint32_t)most : FILES_MAX;
}

int64_t linux_file_get(uint64_t fd, struct linux_file **out_file)
{
    struct linux_file_table *table = files_table();
    uint32_t index = (uint32_t)fd;
    if (index >= FILES_MAX) {
        return -LINUX_EBADF;
    }
    linux_lock(&table->lock);
    struct linux_file *file = table->files[index];
    if (file != nullptr) {
        file->references++;
    }
    linux_unlock(&table->lock);
    *out_file = file;
    return file != nullptr ? 0 : -LINUX_EBADF;
}

void linux_file_get_again(struct linux_file *file) { file->references++; }

void linux_file_put(struct linux_file *file)
{
    if (--file->references == 0) {
        file->operations->close(file);
    }
}

int64_t files_get_for(uint64_t fd, bool for_writing, struct linux_file **out_file)
{
    int64_t result = linux_file_get(fd, out_file);
    if (result != 0) {
        return result;
    }
    uint32_t flags = *(*out_file)->flags, mode = flags & LINUX_O_ACCMODE;
    if ((flags & LINUX_O_PATH) != 0 || mode == (for_writing ? LINUX_O_RDONLY : LINUX_O_WRONLY)) {
        linux_file_put(*out_file);
        return -LINUX_EBADF;
    }
    return 0;
}

static int64_t install_locked(struct linux_file_table *table, struct linux_file *file, uint32_t flags, uint32_t minimum)
{
    uint32_t most = limit(), fd = minimum > table->lowest ? minimum : table->lowest;
    while (fd < most && table->files[fd] != nullptr) {
        fd++;
    }
    if (fd >= most) {
        return -LINUX_EMFILE;
    }
    if (minimum <= table->lowest) {
        table->lowest = fd + 1;
    }
    table->files[fd] = file;
    table->top = fd >= table->top ? fd + 1 : table->top;
    mark(table, fd, (flags & LINUX_O_CLOEXEC) != 0);
    return fd;
}

int64_t linux_file_install(struct linux_file *file, uint32_t flags, uint32_t minimum)
{
    struct linux_file_table *table = files_table();
    linux_lock(&table->lock);
    int64_t result = install_locked(table, file, flags, minimum);
    linux_unlock(&table->lock);
    if (result < 0) {
        linux_file_put(file);
    }
    return result;
}

static struct linux_file *take_out(struct linux_file_table *table, uint32_t fd)
{
    struct linux_file *file = fd < FILES_MAX ? table->files[fd] : nullptr;
    if (file != nullptr) {
        table->files[fd] = nullptr;
        table->lowest = fd < table->lowest ? fd : table->lowest;
    }
    return file;
}

/* POSIX locks of the process on the file go when any descriptor of it is closed. */
static void drop_locks(struct linux_file *file)
{
    struct node *node = node_of(file);
    if (node != nullptr && node->locker != HANDLE_NONE) {
        handle_t locker = node->locker;
        node->locker = HANDLE_NONE;
        files_handle_delete(locker);
    }
}

static int64_t close_one(uint32_t fd)
{
    struct linux_file_table *table = files_table();
    linux_lock(&table->lock);
    struct linux_file *file = take_out(table, fd);
    linux_unlock(&table->lock);
    if (file == nullptr) {
        return -LINUX_EBADF;
    }
    drop_locks(file);
    linux_file_put(file);
    return 0;
}

int64_t linux_sys_close(uint64_t fd) { return close_one((uint32_t)fd); }

int64_t linux_sys_close_range(uint64_t first, uint64_t last, uint64_t flags)
{
    enum : uint32_t { UNSHARE = 2, CLOEXEC = 4 };
    uint32_t from = (uint32_t)first, to = (uint32_t)last;
    if (from > to || ((uint32_t)flags & ~(UNSHARE | CLOEXEC)) != 0) {
        return -LINUX_EINVAL;
    }
    struct linux_file_table *table = files_table();
    for (uint32_t fd = from; fd <= to && fd < table->top; fd++) {
        if ((flags & CLOEXEC) == 0) {
            int64_t result = close_one(fd);
            (void)result; /* there was none */
        } else {
            linux_lock(&table->lock);
            mark(table, fd, true);
            linux_unlock(&table->lock);
        }
    }
    return 0;
}

int64_t linux_sys_dup(uint64_t fd)
{
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    return result == 0 ? linux_file_install(file, 0, 0) : result;
}

int64_t linux_sys_dup3(uint64_t old_fd, uint64_t new_fd, uint64_t flags)
{
    struct linux_file_table *table = files_table();
    uint32_t to = (uint32_t)new_fd;
    struct linux_file *file;
    if ((uint32_t)old_fd == to || ((uint32_t)flags & ~LINUX_O_CLOEXEC) != 0) {
        return -LINUX_EINVAL;
    }
    int64_t result = linux_file_get(old_fd, &file);
    if (result != 0) {
        return result;
    }
    if (to >= limit()) {
        linux_file_put(file);
        return -LINUX_EBADF;
    }
    linux_lock(&table->lock);
    struct linux_file *before = take_out(table, to);
    table->files[to] = file;
    table->top = to >= table->top ? to + 1 : table->top;
    mark(table, to, (flags & LINUX_O_CLOEXEC) != 0);
    table->lowest += table->lowest == to;
    linux_unlock(&table->lock);
    if (before != nullptr) {
        drop_locks(before);
        linux_file_put(before);
    }
    return to;
}

int64_t linux_sys_dup2(uint64_t old_fd, uint64_t new_fd)
{
    if ((uint32_t)old_fd != (uint32_t)new_fd) {
        return linux_sys_dup3(old_fd, new_fd, 0);
    }
    struct linux_file *file;
    int64_t result = linux_file_get(old_fd, &file);
    if (result == 0) {
        linux_file_put(file);
        return (uint32_t)new_fd;
    }
    return result;
}

/* ---- fcntl ---- */

enum : uint32_t {
    F_DUPFD = 0,
    F_GETFD = 1,
    F_SETFD = 2,
    F_GETFL = 3,
    F_SETFL = 4,
    F_GETLK = 5,
    F_SETLKW = 7,
    F_SETOWN = 8,
    F_GETOWN = 9,
    F_OFD_GETLK = 36,
    F_OFD_SETLKW = 38,
    F_DUPFD_CLOEXEC = 1030,
};

int64_t files_lock(struct linux_file *file, uint32_t command, uint64_t argument); /* lock.c */

static int64_t set_flags(struct linux_file *file, uint32_t flags)
{
    constexpr uint32_t changeable = LINUX_O_APPEND | LINUX_O_NONBLOCK | LINUX_O_ASYNC | LINUX_O_DIRECT | LINUX_O_NOATIME;
    if (file->operations->set_flags != nullptr) {
        int64_t result = file->operations->set_flags(file, flags);
        if (result != 0) {
            return result;
        }
    }
    uint32_t before = *file->flags, after;
    do {
        after = (before & ~changeable) | (flags & changeable);
    } while (!__c11_atomic_compare_exchange_weak(file->flags, &before, after, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return 0;
}

static int64_t on_descriptor(uint32_t fd, uint32_t command, uint64_t argument)
{
    struct linux_file_table *table = files_table();
    int64_t result = 0;
    linux_lock(&table->lock);
    if (table->files[fd] == nullptr) {
        result = -LINUX_EBADF;
    } else if (command == F_GETFD) {
        result = is_marked(table, fd);
    } else {
        mark(table, fd, (argument & 1) != 0);
    }
    linux_unlock(&table->lock);
    return result;
}

static int64_t on_file(struct linux_file *file, uint32_t command, uint64_t argument)
{
    if (files_is_path(file) && command != F_GETFL) {
        return -LINUX_EBADF;
    }
    switch (command) {
    case F_GETFL: return *file->flags | LINUX_O_LARGEFILE;
    case F_SETFL: return set_flags(file, (uint32_t)argument);
    case F_SETOWN:
    case F_GETOWN: return 0;
    default: break;
    }
    bool is_lock = (command >= F_GETLK && command <= F_SETLKW) || (command >= F_OFD_GETLK && command <= F_OFD_SETLKW);
    return is_lock ? files_lock(file, command, argument) : -LINUX_EINVAL;
}

int64_t linux_sys_fcntl(uint64_t fd, uint64_t command, uint64_t argument)
{
    uint32_t what = (uint32_t)command;
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    if (result != 0) {
        return result;
    }
    if (what == F_DUPFD || what == F_DUPFD_CLOEXEC) {
        if ((uint32_t)argument >= limit()) {
            linux_file_put(file);
            return -LINUX_EINVAL;
        }
        return linux_file_install(file, what == F_DUPFD ? 0 : LINUX_O_CLOEXEC, (uint32_t)argument);
    }
    result = what == F_GETFD || what == F_SETFD ? on_descriptor((uint32_t)fd, what, argument) : on_file(file, what, argument);
    linux_file_put(file);
    return result;
}

/* ---- Life of the process ---- */

static int64_t map_inodes(handle_t vspace)
{
    struct linux_process *process = linux_process();
    uint64_t size, pages, address;
    uint32_t flags, is_device;
    if (process->inodes == HANDLE_NONE) {
        return -LINUX_ENOENT;
    }
    status_t status = tess_memory_info(process->inodes, &size, &pages, &flags, &is_device);
    if (status == OK) {
        status = tess_vspace_map(vspace, process->inodes, 0, size, LINUX_INODES_BASE, MAP_READ | MAP_FIXED | MAP_INHERIT_SHARE, &address);
    }
    return linux_error(status);
}

/* An open file by its handle alone. */
static struct linux_file *adopt(handle_t handle, uint32_t flags)
{
    uint8_t path[80] = {};
    struct tess_inode_record record;
    struct node *node;
    uint32_t inode;
    if (handle == HANDLE_NONE || tess_directory_stat(handle, OPEN_EMPTY, 0, path, &inode, (uint8_t *)&record, DEADLINE_INFINITE) != OK ||
        node_create(handle, inode, record.mode, record.size, flags, &node) != 0) {
        return nullptr;
    }
    return &node->file;
}

static struct linux_file *log_file(uint32_t flags)
{
    struct linux_file *file = linux_allocate(sizeof(*file));
    if (file != nullptr) {
        *file = (struct linux_file){.operations = &log_operations, .references = 1, .own_flags = flags, .kind = FILE_KIND_LOG};
        file->flags = &file->own_flags;
    }
    return file;
}

static struct linux_file *start_file(const struct linux_start_file *start)
{
    struct linux_file *file = nullptr;
    switch (start->kind) {
    case LINUX_START_LOG: return log_file(start->flags);
    case LINUX_START_FILE: return adopt(start->handles[0], start->flags);
    case LINUX_START_QUEUE: return linux_queue_start(start, &file) == 0 ? file : nullptr;
    default: return nullptr;
    }
}

void linux_files_start(const struct linux_start *start)
{
    struct linux_process *process = linux_process();
    struct linux_file_table *table = linux_allocate(sizeof(*table));
    if (table == nullptr) {
        linux_process_exit(127 << 8);
    }
    process->files = table;
    table->has_inodes = map_inodes(process->vspace) == 0;
    table->root = adopt(start->root, LINUX_O_PATH);
    table->working_directory = adopt(start->working_directory, LINUX_O_PATH);
    for (uint32_t i = 0; i < start->file_count && i < LINUX_START_FILES; i++) {
        table->files[i] = start_file(&start->files[i]);
        table->top = i + 1;
    }
}

static void for_each(struct linux_file_table *table, void (*function)(struct linux_file *file))
{
    for (uint32_t fd = 0; fd < table->top; fd++) {
        struct linux_file *file = table->files[fd];
        bool is_seen = file == nullptr;
        for (uint32_t other = 0; other < fd && !is_seen && file->references > 1; other++) {
            is_seen = table->files[other] == file;
        }
        if (!is_seen) {
            function(file);
        }
    }
    if (table->root != nullptr) {
        function(table->root);
    }
    if (table->working_directory != nullptr && table->working_directory != table->root) {
        function(table->working_directory);
    }
}

static void count_record(struct linux_file *file)
{
    struct node *node = node_of(file);
    if (node != nullptr) {
        node->record->users++;
    }
}

int64_t linux_files_fork(void)
{
    struct linux_file_table *table = files_table();
    linux_lock(&table->memory_lock);
    linux_lock(&table->lock);
    for_each(table, count_record); /* for the child */
    return 0;
}

/* Other threads, and the references of their calls, are not there any more: after fork in the child, and after exec. */
static void count_again(struct linux_file_table *table)
{
    struct linux_file *others[] = {table->root, table->working_directory};
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < table->top + ARRAY_LENGTH(others); i++) {
            struct linux_file *file = i < table->top ? table->files[i] : others[i - table->top];
            if (file != nullptr) {
                file->references = round == 0 ? 0 : file->references + 1;
            }
        }
    }
}

static void run_forked(struct linux_file *file)
{
    if (file->operations->forked != nullptr) {
        file->operations->forked(file);
    }
}

void linux_files_forked(bool is_child)
{
    struct linux_file_table *table = files_table();
    if (is_child) {
        count_again(table);
        for_each(table, run_forked);
    }
    linux_unlock(&table->lock);
    linux_unlock(&table->memory_lock);
}

int64_t linux_files_map_into(handle_t vspace)
{
    struct linux_file_table *table = files_table();
    int64_t result = table->has_inodes ? map_inodes(vspace) : 0;
    if (result == 0) {
        result = records_map_into(table, vspace);
    }
    for (uint32_t fd = 0; fd < table->top && result == 0; fd++) {
        struct linux_file *file = table->files[fd];
        if (file != nullptr && !is_marked(table, fd) && file->operations->map_into != nullptr) {
            result = file->operations->map_into(file, vspace);
        }
    }
    return result;
}

void linux_files_exec(void)
{
    struct linux_file_table *table = files_table();
    /* A thread that exec ended may have held them. */
    table->lock = (struct linux_lock){};
    table->memory_lock = (struct linux_lock){};
    count_again(table);
    for (uint32_t fd = 0; fd < table->top; fd++) {
        if (is_marked(table, fd)) {
            mark(table, fd, false);
            int64_t result = close_one(fd);
            (void)result; /* none there */
        }
    }
}

void linux_files_exit(void)
{
    for (uint32_t fd = 0; fd < files_table()->top; fd++) {
        int64_t result = close_one(fd);
        (void)result; /* none there */
    }
}
