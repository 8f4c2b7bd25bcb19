/* Reading, writing, positions: what every kind of file has in its operations. */
#include "files.h"
#include <tess/invoke.h>
#include <tess/stub/file.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

static int64_t do_read(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    return file->operations->read == nullptr ? -LINUX_EINVAL : file->operations->read(file, buffer, size, offset);
}

static int64_t do_write(struct linux_file *file, uint64_t buffer, uint64_t size, int64_t offset)
{
    return file->operations->write == nullptr ? -LINUX_EINVAL : file->operations->write(file, buffer, size, offset);
}

static int64_t transfer(uint64_t fd, bool is_write, uint64_t buffer, uint64_t size, int64_t offset)
{
    struct linux_file *file;
    int64_t result = files_get_for(fd, is_write, &file);
    if (result != 0) {
        return result;
    }
    if (offset != -1 && file->operations->seek == nullptr) {
        result = -LINUX_ESPIPE;
    } else {
        result = is_write ? do_write(file, buffer, size, offset) : do_read(file, buffer, size, offset);
    }
    linux_file_put(file);
    return result;
}

int64_t linux_sys_read(uint64_t fd, uint64_t buffer, uint64_t size) { return transfer(fd, false, buffer, size, -1); }
int64_t linux_sys_write(uint64_t fd, uint64_t buffer, uint64_t size) { return transfer(fd, true, buffer, size, -1); }

int64_t linux_sys_pread64(uint64_t fd, uint64_t buffer, uint64_t size, uint64_t offset)
{
    return (int64_t)offset < 0 ? -LINUX_EINVAL : transfer(fd, false, buffer, size, (int64_t)offset);
}

int64_t linux_sys_pwrite64(uint64_t fd, uint64_t buffer, uint64_t size, uint64_t offset)
{
    return (int64_t)offset < 0 ? -LINUX_EINVAL : transfer(fd, true, buffer, size, (int64_t)offset);
}

/* One after the other; it ends with the first that is not whole. */
static int64_t transfer_vector(struct linux_file *file, bool is_write, uint64_t vector, uint64_t count, int64_t offset)
{
    int64_t done = 0;
    if (count > 1024) {
        return -LINUX_EINVAL;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t part[2];
        int64_t result = linux_copy_from_user(part, vector + i * sizeof(part), sizeof(part));
        if (result == 0 && (int64_t)part[1] < 0) {
            result = -LINUX_EINVAL;
        }
        if (result == 0 && part[1] > 0) {
            int64_t at = offset == -1 ? -1 : offset + done;
            result = is_write ? do_write(file, part[0], part[1], at) : do_read(file, part[0], part[1], at);
        }
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

static int64_t vector_call(uint64_t fd, bool is_write, uint64_t vector, uint64_t count, int64_t offset)
{
    struct linux_file *file;
    int64_t result = files_get_for(fd, is_write, &file);
    if (result != 0) {
        return result;
    }
    result = offset != -1 && file->operations->seek == nullptr ? -LINUX_ESPIPE : transfer_vector(file, is_write, vector, count, offset);
    linux_file_put(file);
    return result;
}

int64_t linux_sys_readv(uint64_t fd, uint64_t vector, uint64_t count) { return vector_call(fd, false, vector, count, -1); }
int64_t linux_sys_writev(uint64_t fd, uint64_t vector, uint64_t count) { return vector_call(fd, true, vector, count, -1); }

int64_t linux_sys_preadv(uint64_t fd, uint64_t vector, uint64_t count, uint64_t offset)
{
    return (int64_t)offset < 0 ? -LINUX_EINVAL : vector_call(fd, false, vector, count, (int64_t)offset);
}

int64_t linux_sys_pwritev(uint64_t fd, uint64_t vector, uint64_t count, uint64_t offset)
{
    return (int64_t)offset < 0 ? -LINUX_EINVAL : vector_call(fd, true, vector, count, (int64_t)offset);
}

int64_t linux_sys_preadv2(uint64_t fd, uint64_t vector, uint64_t count, uint64_t offset, uint64_t high, uint64_t flags)
{
    (void)high;
    return flags != 0 ? -LINUX_EOPNOTSUPP : (int64_t)offset < -1 ? -LINUX_EINVAL : vector_call(fd, false, vector, count, (int64_t)offset);
}

int64_t linux_sys_pwritev2(uint64_t fd, uint64_t vector, uint64_t count, uint64_t offset, uint64_t high, uint64_t flags)
{
    (void)high;
    return flags != 0 ? -LINUX_EOPNOTSUPP : (int64_t)offset < -1 ? -LINUX_EINVAL : vector_call(fd, true, vector, count, (int64_t)offset);
}

int64_t linux_sys_lseek(uint64_t fd, uint64_t offset, uint64_t whence)
{
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    if (result == 0) {
        result = files_is_path(file)                 ? -LINUX_EBADF
                 : file->operations->seek == nullptr ? -LINUX_ESPIPE
                                                     : file->operations->seek(file, (int64_t)offset, (uint32_t)whence);
        linux_file_put(file);
    }
    return result;
}

int64_t linux_sys_ioctl(uint64_t fd, uint64_t request, uint64_t argument)
{
    enum : uint32_t { FIOCLEX = 0x5451, FIONCLEX = 0x5450, FIONBIO = 0x5421 };
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    if (result != 0) {
        return result;
    }
    uint32_t what = (uint32_t)request, on;
    if (files_is_path(file)) {
        result = -LINUX_EBADF;
    } else if (what == FIOCLEX || what == FIONCLEX) {
        result = linux_sys_fcntl(fd, 2, what == FIOCLEX);
    } else if (what == FIONBIO) {
        result = linux_load_user_u32(&on, argument);
        if (result == 0) {
            result = linux_sys_fcntl(fd, 4, (*file->flags & ~LINUX_O_NONBLOCK) | (on != 0 ? LINUX_O_NONBLOCK : 0));
        }
    } else {
        result = file->operations->ioctl == nullptr ? -LINUX_ENOTTY : file->operations->ioctl(file, what, argument);
    }
    linux_file_put(file);
    return result;
}

static int64_t sync_one(uint64_t fd)
{
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    if (result == 0) {
        result = files_is_path(file) ? -LINUX_EBADF : file->operations->sync == nullptr ? -LINUX_EINVAL : file->operations->sync(file);
        linux_file_put(file);
    }
    return result;
}

int64_t linux_sys_fsync(uint64_t fd) { return sync_one(fd); }
int64_t linux_sys_fdatasync(uint64_t fd) { return sync_one(fd); }
int64_t linux_sys_sync(void) { return 0; }
int64_t linux_sys_syncfs(uint64_t fd)
{
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    if (result == 0) {
        linux_file_put(file);
    }
    return result;
}

int64_t linux_sys_fadvise64(uint64_t fd, uint64_t offset, uint64_t size, uint64_t advice)
{
    (void)offset, (void)size;
    struct linux_file *file;
    int64_t result = linux_file_get(fd, &file);
    if (result == 0) {
        result = file->operations->seek == nullptr ? -LINUX_ESPIPE : (uint32_t)advice > 5 ? -LINUX_EINVAL : 0;
        linux_file_put(file);
    }
    return result;
}

int64_t linux_sys_readahead(uint64_t fd, uint64_t offset, uint64_t size)
{
    (void)offset, (void)size;
    struct linux_file *file;
    int64_t result = files_get_for(fd, false, &file);
    if (result == 0) {
        linux_file_put(file);
    }
    return result;
}

int64_t linux_sys_getdents64(uint64_t fd, uint64_t buffer, uint64_t size)
{
    struct linux_file *file;
    int64_t result = files_get_for(fd, false, &file);
    if (result == 0) {
        result = file->operations->directory == nullptr ? -LINUX_ENOTDIR : file->operations->directory(file, buffer, (uint32_t)size);
        linux_file_put(file);
    }
    return result;
}

int64_t linux_sys_ftruncate(uint64_t fd, uint64_t size)
{
    struct linux_file *file;
    if ((int64_t)size < 0) {
        return -LINUX_EINVAL;
    }
    int64_t result = linux_file_get(fd, &file);
    if (result == 0) {
        bool may_write = !files_is_path(file) && (*file->flags & LINUX_O_ACCMODE) != LINUX_O_RDONLY;
        result = files_is_path(file)                                   ? -LINUX_EBADF
                 : file->operations->truncate == nullptr || !may_write ? -LINUX_EINVAL
                                                                       : file->operations->truncate(file, size);
        linux_file_put(file);
    }
    return result;
}

int64_t linux_sys_fallocate(uint64_t fd, uint64_t mode, uint64_t offset, uint64_t size)
{
    enum : uint32_t { KEEP_SIZE = 1, PUNCH_HOLE = 2 };
    struct linux_file *file;
    if ((int64_t)offset < 0 || (int64_t)size <= 0) {
        return -LINUX_EINVAL;
    }
    if (((uint32_t)mode & ~(KEEP_SIZE | PUNCH_HOLE)) != 0 || (uint32_t)mode == PUNCH_HOLE) {
        return -LINUX_EOPNOTSUPP;
    }
    int64_t result = files_get_for(fd, true, &file);
    if (result != 0) {
        return result;
    }
    struct node *node = node_of(file);
    if (node == nullptr || (node->mode & MODE_TYPE) != MODE_REGULAR) {
        result = node == nullptr ? -LINUX_ESPIPE : -LINUX_ENODEV;
    } else {
        uint32_t flags = ((mode & KEEP_SIZE) != 0 ? ALLOCATE_KEEP_SIZE : 0) | ((mode & PUNCH_HOLE) != 0 ? ALLOCATE_PUNCH : 0);
        calls_begin();
        status_t status = tess_file_allocate(node->handle, flags, offset, size, DEADLINE_INFINITE);
        calls_end();
        result = status == ERROR_OVERFLOW ? -LINUX_EFBIG : linux_error(status);
    }
    linux_file_put(file);
    return result;
}

/* ---- From file to file. The bytes go through memory of ours, which the operations take for the program's: it is below NATIVE_BASE. ---- */

static int64_t load_offset(uint64_t address, int64_t *out_offset)
{
    uint64_t value;
    *out_offset = -1;
    if (address == 0) {
        return 0;
    }
    int64_t result = linux_load_user_u64(&value, address);
    *out_offset = (int64_t)value;
    return result == 0 && *out_offset < 0 ? -LINUX_EINVAL : result;
}

static int64_t window_open(uint64_t size, uint64_t *out_address)
{
    handle_t memory;
    status_t status = tess_untyped_create_memory(linux_process()->untyped, size, 0, &memory);
    if (status == OK) {
        status = tess_vspace_map(linux_process()->vspace, memory, 0, size, 0, MAP_READ | MAP_WRITE, out_address);
        files_handle_delete(memory);
    }
    return status == OK ? 0 : -LINUX_ENOMEM;
}

static void window_close(uint64_t address, uint64_t size)
{
    status_t status = tess_vspace_unmap(linux_process()->vspace, address, size);
    (void)status; /* the program sees a few pages more */
}

static int64_t pump(struct linux_file *in, int64_t *in_offset, struct linux_file *out, int64_t *out_offset, uint64_t size)
{
    constexpr uint64_t window_size = 64 << 10;
    uint64_t window, done = 0;
    int64_t result = window_open(window_size, &window);
    if (result != 0) {
        return result;
    }
    while (done < size) {
        int64_t got = do_read(in, window, min_u64(size - done, window_size), *in_offset);
        if (got <= 0) {
            result = got;
            break;
        }
        int64_t put = do_write(out, window, (uint64_t)got, *out_offset);
        int64_t moved = put > 0 ? put : 0;
        *in_offset += *in_offset >= 0 ? moved : 0;
        *out_offset += *out_offset >= 0 ? moved : 0;
        if (*in_offset < 0 && moved < got && in->operations->seek != nullptr) {
            result = in->operations->seek(in, moved - got, 1);
        }
        done += (uint64_t)moved;
        if (put < got) {
            result = put < 0 ? put : 0;
            break;
        }
    }
    window_close(window, window_size);
    return done > 0 ? (int64_t)done : result;
}

static int64_t move(uint64_t in_fd, uint64_t in_address, uint64_t out_fd, uint64_t out_address, uint64_t size, bool must_be_regular)
{
    struct linux_file *in, *out;
    int64_t in_offset, out_offset;
    int64_t result = load_offset(in_address, &in_offset);
    if (result == 0) {
        result = load_offset(out_address, &out_offset);
    }
    if (result == 0) {
        result = files_get_for(in_fd, false, &in);
    }
    if (result != 0) {
        return result;
    }
    result = files_get_for(out_fd, true, &out);
    if (result != 0) {
        linux_file_put(in);
        return result;
    }
    bool is_regular = in->operations->memory != nullptr && out->operations->memory != nullptr;
    if ((must_be_regular && !is_regular) || in->operations->seek == nullptr) {
        result = -LINUX_EINVAL;
    } else if ((*out->flags & LINUX_O_APPEND) != 0) {
        result = must_be_regular ? -LINUX_EBADF : -LINUX_EINVAL;
    } else {
        result = pump(in, &in_offset, out, &out_offset, size);
    }
    if (result > 0 && in_address != 0 && linux_store_user_u64(in_address, (uint64_t)in_offset) != 0) {
        result = -LINUX_EFAULT;
    }
    if (result > 0 && out_address != 0 && linux_store_user_u64(out_address, (uint64_t)out_offset) != 0) {
        result = -LINUX_EFAULT;
    }
    linux_file_put(in);
    linux_file_put(out);
    return result;
}

int64_t linux_sys_sendfile(uint64_t out_fd, uint64_t in_fd, uint64_t offset, uint64_t size)
{
    return move(in_fd, offset, out_fd, 0, size, false);
}

int64_t linux_sys_copy_file_range(uint64_t in_fd, uint64_t in_offset, uint64_t out_fd, uint64_t out_offset, uint64_t size, uint64_t flags)
{
    return flags != 0 ? -LINUX_EINVAL : move(in_fd, in_offset, out_fd, out_offset, size, true);
}
