/*
 * The program's mappings. The kernel has the map; what it does not tell (which parts are shared or a file's) is in process->special,
 * a list of ranges under memory_lock. Anonymous memory is one object for each mmap, whose handle is deleted at once: the mapping keeps it.
 * Lock: memory_lock, round what reads the map and then changes it.
 */
#include <linux/call.h>
#include <linux/file.h>
#include <linux/memory.h>
#include <linux/signals.h>
#include <stdckdint.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint64_t PAGE = 4096;
constexpr uint64_t MINIMUM = 65536; /* the lowest address a program gets: vm.mmap_min_addr */
constexpr uint64_t COPY_MAX = 1 << 20;

static void drop(handle_t handle)
{
    status_t status = tess_cspace_delete(linux_process()->cspace, handle);
    (void)status;
}

static int64_t round_size(uint64_t size, uint64_t *out_size)
{
    if (size == 0) {
        return -LINUX_EINVAL;
    }
    if (ckd_add(out_size, size, PAGE - 1)) {
        return -LINUX_ENOMEM;
    }
    *out_size = align_down(*out_size, PAGE);
    return *out_size > LINUX_USER_TOP ? -LINUX_ENOMEM : 0;
}

static int64_t map_error(status_t status)
{
    return status == ERROR_NO_SPACE || status == ERROR_BAD_ARGUMENT || status == ERROR_NO_HANDLES ? -LINUX_ENOMEM
           : status == ERROR_BUSY                                                                 ? -LINUX_EEXIST
                                                                                                  : linux_error(status);
}

static int64_t map(handle_t memory, uint64_t offset, uint64_t size, uint64_t address, uint32_t flags, uint64_t *out_address)
{
    uint64_t at;
    if ((flags & MAP_WRITE) != 0 && (flags & MAP_EXEC) != 0) {
        return -LINUX_EACCES; /* never both: docs/linux.md */
    }
    flags |= flags & (MAP_WRITE | MAP_EXEC) ? MAP_READ : 0;
    int64_t result = map_error(tess_vspace_map(linux_process()->vspace, memory, offset, size, address, flags, &at));
    if (result == 0 && out_address != nullptr) {
        *out_address = at;
    }
    return result;
}

int64_t linux_memory_map_anonymous(uint64_t address, uint64_t size, uint32_t flags, uint64_t *out_address)
{
    handle_t memory;
    int64_t result = map_error(tess_untyped_create_memory(linux_process()->untyped, size, 0, &memory));
    if (result == 0) {
        result = map(memory, 0, size, address, flags, out_address);
        drop(memory);
    }
    return result;
}

int64_t linux_memory_map_copy(handle_t memory, uint64_t offset, uint64_t address, uint64_t size, uint64_t bytes, uint32_t flags)
{
    struct linux_process *process = linux_process();
    handle_t copy;
    /* The rest of the last page of a file is zeros already, in memory of a file; in the boot image it is padding. */
    if (bytes > size - PAGE && tess_memory_clone(memory, process->untyped, offset, size, &copy) == OK) {
        int64_t result = map(copy, 0, size, address, flags | MAP_FIXED | MAP_REPLACE | MAP_MAY_FAULT, nullptr);
        drop(copy);
        return result;
    }
    int64_t result = linux_memory_map_anonymous(address, size, MAP_READ | MAP_WRITE | MAP_FIXED | MAP_REPLACE, nullptr);
    for (uint64_t at = 0; result == 0 && at < bytes; at += COPY_MAX) {
        result = linux_error(tess_memory_read(memory, offset + at, address + at, min_u64(bytes - at, COPY_MAX)));
    }
    if (result == 0 && (flags & MAP_WRITE) == 0) {
        result = linux_error(tess_vspace_protect(process->vspace, address, size, flags & (MAP_READ | MAP_EXEC)));
    }
    return result;
}

int64_t linux_memory_find(uint64_t size, uint64_t *out_address)
{
    struct linux_process *process = linux_process();
    int64_t result = map_error(tess_vspace_reserve(process->vspace, 0, size, 0, out_address));
    if (result == 0) {
        result = linux_error(tess_vspace_unmap(process->vspace, *out_address, size));
    }
    return result;
}

/* ---- What is shared or a file's ---- */

struct linux_mapping {
    struct linux_mapping *next;
    uint64_t start, end;
};

static bool is_special(struct linux_process *process, uint64_t start, uint64_t end)
{
    for (struct linux_mapping *mapping = process->special; mapping != nullptr; mapping = mapping->next) {
        if (mapping->start < end && start < mapping->end) {
            return true;
        }
    }
    return false;
}

bool linux_memory_is_file(uint64_t address)
{
    struct linux_process *process = linux_process();
    linux_lock(&process->memory_lock);
    bool is_file = is_special(process, address, address + 1);
    linux_unlock(&process->memory_lock);
    return is_file;
}

/* A range in the middle of one stays special on both sides; what is forgotten too late only makes madvise do less. */
static void forget_special(struct linux_process *process, uint64_t start, uint64_t end)
{
    struct linux_mapping **link = &process->special;
    while (*link != nullptr) {
        struct linux_mapping *mapping = *link;
        if (mapping->start >= start && mapping->end <= end) {
            *link = mapping->next;
            linux_free(mapping, sizeof(*mapping));
            continue;
        }
        if (mapping->start < start && mapping->end > start && mapping->end <= end) {
            mapping->end = start;
        } else if (mapping->start >= start && mapping->start < end) {
            mapping->start = end;
        }
        link = &mapping->next;
    }
}

static void remember_special(struct linux_process *process, uint64_t start, uint64_t end)
{
    struct linux_mapping *mapping = linux_allocate(sizeof(*mapping));
    if (mapping != nullptr) {
        *mapping = (struct linux_mapping){process->special, start, end};
        process->special = mapping;
    }
}

void linux_memory_forget(struct linux_process *process)
{
    forget_special(process, 0, UINT64_MAX);
    if (process->break_memory != HANDLE_NONE) {
        drop(process->break_memory);
    }
    process->break_memory = HANDLE_NONE;
    process->break_start = process->break_end = process->break_limit = 0;
}

/* ---- mmap ---- */

enum : uint64_t {
    PROT_MASK = 7,
    PROT_GROWS = 0x03000000, /* PROT_GROWSDOWN, PROT_GROWSUP: for stacks that grow, which these are not */
    L_SHARED = 1,
    L_PRIVATE = 2,
    L_SHARED_VALIDATE = 3,
    L_TYPE = 15,
    L_FIXED = 0x10,
    L_ANONYMOUS = 0x20,
    L_FIXED_NOREPLACE = 0x100000,
};

struct request {
    uint64_t address, size, offset;
    uint32_t flags; /* for the kernel: protection and place */
    bool is_shared, is_fixed;
};

/* A private mapping of a file: its own pages where they cannot change, else a snapshot; a guard behind the file's end. */
static int64_t map_private(const struct request *request, const struct linux_file_memory *file, uint64_t *out_address)
{
    struct linux_process *process = linux_process();
    uint64_t rest = file->size > request->offset ? align_up(file->size - request->offset, PAGE) : 0, size = min_u64(request->size, rest);
    if (file->is_constant && (request->flags & MAP_WRITE) == 0 && size == request->size) {
        return map(file->memory, file->offset, size, request->address, request->flags | file->map_flags | MAP_INHERIT_SHARE, out_address);
    }
    uint64_t address = request->address;
    int64_t result = 0;
    if (!request->is_fixed || (request->flags & MAP_REPLACE) == 0) {
        uint32_t fixed = request->is_fixed ? MAP_FIXED : 0;
        result = map_error(tess_vspace_reserve(process->vspace, address, request->size, fixed, &address));
    } else if (size < request->size) {
        result = linux_error(tess_vspace_unmap(process->vspace, address, request->size));
        result = result == 0 ? map_error(tess_vspace_reserve(process->vspace, address, request->size, MAP_FIXED, &address)) : result;
    }
    if (result == 0 && size > 0) {
        uint64_t bytes = min_u64(size, file->size - request->offset);
        result = linux_memory_map_copy(file->memory, file->offset, address, size, bytes, request->flags & PROT_MASK);
    }
    *out_address = address;
    return result;
}

static int64_t map_file(const struct request *request, uint64_t fd, uint64_t *out_address)
{
    struct linux_file *file;
    struct linux_file_memory memory;
    int64_t result = linux_file_get(fd, &file);
    if (result != 0) {
        return result;
    }
    uint32_t mode = *file->flags & LINUX_O_ACCMODE;
    if (mode == LINUX_O_WRONLY || (request->is_shared && (request->flags & MAP_WRITE) != 0 && mode != LINUX_O_RDWR)) {
        result = -LINUX_EACCES;
    } else {
        result = file->operations->memory == nullptr ? -LINUX_ENODEV : file->operations->memory(file, request->offset, &memory);
    }
    if (result == 0 && request->is_shared) {
        result = map(memory.memory, memory.offset, request->size, request->address, request->flags | memory.map_flags | MAP_INHERIT_SHARE,
                     out_address);
    } else if (result == 0) {
        result = map_private(request, &memory, out_address);
    }
    linux_file_put(file);
    return result;
}

int64_t linux_sys_mmap(uint64_t address, uint64_t size, uint64_t protection, uint64_t flags, uint64_t fd, uint64_t offset)
{
    struct linux_process *process = linux_process();
    struct request request = {.flags = protection & PROT_MASK, .offset = offset, .is_shared = (flags & L_TYPE) != L_PRIVATE};
    int64_t result = round_size(size, &request.size);
    if (result != 0) {
        return result;
    }
    uint64_t type = flags & L_TYPE;
    if (offset % PAGE != 0 || (type != L_SHARED && type != L_PRIVATE && type != L_SHARED_VALIDATE)) {
        return -LINUX_EINVAL;
    }
    request.is_fixed = (flags & (L_FIXED | L_FIXED_NOREPLACE)) != 0;
    if (request.is_fixed) {
        if (address % PAGE != 0) {
            return -LINUX_EINVAL;
        }
        if (!is_range_within(address, request.size, LINUX_USER_TOP)) {
            return -LINUX_ENOMEM;
        }
        if (address < MINIMUM) {
            return -LINUX_EPERM;
        }
        request.address = address;
        request.flags |= MAP_FIXED | ((flags & L_FIXED_NOREPLACE) != 0 ? 0 : MAP_REPLACE);
    } else if (address >= MINIMUM && is_range_within(align_down(address, PAGE), request.size, LINUX_USER_TOP)) {
        request.address = align_down(address, PAGE);
    }
    uint64_t at = 0;
    if ((flags & L_ANONYMOUS) != 0) {
        result =
            linux_memory_map_anonymous(request.address, request.size, request.flags | (request.is_shared ? MAP_INHERIT_SHARE : 0), &at);
    } else {
        result = map_file(&request, fd, &at);
    }
    bool is_special = request.is_shared || (flags & L_ANONYMOUS) == 0;
    if (result == 0 && (is_special || process->special != nullptr)) {
        linux_lock(&process->memory_lock);
        forget_special(process, at, at + request.size);
        if (is_special) {
            remember_special(process, at, at + request.size);
        }
        linux_unlock(&process->memory_lock);
    }
    return result == 0 ? (int64_t)at : result;
}

int64_t linux_sys_munmap(uint64_t address, uint64_t size)
{
    struct linux_process *process = linux_process();
    if (address % PAGE != 0 || size == 0 || round_size(size, &size) != 0 || !is_range_within(address, size, LINUX_USER_TOP)) {
        return -LINUX_EINVAL;
    }
    if (process->special != nullptr) {
        linux_lock(&process->memory_lock);
        forget_special(process, address, address + size);
        linux_unlock(&process->memory_lock);
    }
    status_t status =
        address == 0 && size <= PAGE ? OK : tess_vspace_unmap(process->vspace, max_u64(address, PAGE), size - (address == 0 ? PAGE : 0));
    return status == ERROR_NOT_FOUND ? 0 : linux_error(status);
}

/* Pages of a file that the program may now write to, privately: a copy takes their place. */
static int64_t make_own(uint64_t address, uint64_t size, uint32_t flags)
{
    struct linux_process *process = linux_process();
    handle_t memory;
    int64_t result = map_error(tess_untyped_create_memory(process->untyped, size, 0, &memory));
    for (uint64_t at = 0; result == 0 && at < size; at += COPY_MAX) {
        result = linux_error(tess_memory_write(memory, at, address + at, min_u64(size - at, COPY_MAX)));
    }
    if (result == 0) {
        result = map(memory, 0, size, address, flags | MAP_FIXED | MAP_REPLACE, nullptr);
    }
    drop(memory);
    return result;
}

int64_t linux_sys_mprotect(uint64_t address, uint64_t size, uint64_t protection)
{
    struct linux_process *process = linux_process();
    if (address % PAGE != 0 || (protection & ~(PROT_MASK | PROT_GROWS | 8)) != 0) {
        return -LINUX_EINVAL;
    }
    if (size == 0) {
        return 0;
    }
    if (round_size(size, &size) != 0 || !is_range_within(address, size, LINUX_USER_TOP)) {
        return -LINUX_ENOMEM;
    }
    uint32_t flags = protection & PROT_MASK;
    if ((flags & MAP_WRITE) != 0 && (flags & MAP_EXEC) != 0) {
        return -LINUX_EACCES;
    }
    flags |= flags & (MAP_WRITE | MAP_EXEC) ? MAP_READ : 0;
    status_t status = tess_vspace_protect(process->vspace, address, size, flags);
    if (status == ERROR_MISSING_RIGHT && (flags & MAP_WRITE) != 0) {
        return make_own(address, size, flags);
    }
    return status == ERROR_NOT_FOUND ? -LINUX_ENOMEM : linux_error(status);
}

/* ---- brk ---- */

int64_t linux_memory_start_break(uint64_t address, uint64_t size_max)
{
    struct linux_process *process = linux_process();
    uint64_t next, size, offset;
    uint32_t flags;
    if (process->break_memory != HANDLE_NONE) {
        drop(process->break_memory);
        process->break_memory = HANDLE_NONE;
    }
    process->break_start = process->break_end = process->break_limit = align_up(address, PAGE);
    if (tess_vspace_query(process->vspace, process->break_start, &next, &size, &flags, &offset) == OK) {
        size_max = min_u64(size_max, next > process->break_start ? next - process->break_start : 0);
    }
    if (size_max == 0) {
        return 0;
    }
    int64_t result = map_error(tess_untyped_create_memory(process->untyped, size_max, 0, &process->break_memory));
    if (result == 0) {
        result = map(process->break_memory, 0, size_max, process->break_start, MAP_FIXED, nullptr);
    }
    if (result == 0) {
        process->break_limit = process->break_start + size_max;
    }
    return result;
}

int64_t linux_sys_brk(uint64_t address)
{
    struct linux_process *process = linux_process();
    linux_lock(&process->memory_lock);
    uint64_t from = align_up(process->break_end, PAGE), to = align_up(address, PAGE);
    if (address >= process->break_start && address <= process->break_limit) {
        status_t status = OK;
        if (to > from) {
            status = tess_vspace_protect(process->vspace, from, to - from, MAP_READ | MAP_WRITE);
        } else if (to < from) {
            status = tess_vspace_protect(process->vspace, to, from - to, 0);
            status_t given_back = tess_memory_decommit(process->break_memory, to - process->break_start, from - to);
            (void)given_back; /* what stays reads as it was, which POSIX leaves open */
        }
        if (status == OK) {
            process->break_end = address;
        }
    }
    uint64_t end = process->break_end;
    linux_unlock(&process->memory_lock);
    return (int64_t)end;
}

/* ---- mremap ---- */

enum : uint64_t { MREMAP_MAYMOVE = 1, MREMAP_FIXED = 2, MREMAP_DONTUNMAP = 4 };

/* The protection of a range that is one mapping's. */
static int64_t protection_of(uint64_t address, uint64_t size, uint32_t *out_flags)
{
    uint64_t start, found_size, offset;
    for (uint64_t at = address; at < address + size; at = start + found_size) {
        uint32_t flags;
        if (tess_vspace_query(linux_process()->vspace, at, &start, &found_size, &flags, &offset) != OK || start > at) {
            return -LINUX_EFAULT;
        }
        if (at != address && flags != *out_flags) {
            return -LINUX_EFAULT;
        }
        *out_flags = flags;
    }
    return 0;
}

static int64_t move_mapping(uint64_t from, uint64_t old_size, uint64_t new_size, uint32_t flags, uint64_t to, uint64_t *out_address)
{
    struct linux_process *process = linux_process();
    handle_t memory;
    uint64_t copied = min_u64(old_size, new_size);
    int64_t result = map_error(tess_untyped_create_memory(process->untyped, new_size, 0, &memory));
    if (result != 0) {
        return result;
    }
    for (uint64_t at = 0; result == 0 && at < copied && (flags & MAP_READ) != 0; at += COPY_MAX) {
        result = linux_error(tess_memory_write(memory, at, from + at, min_u64(copied - at, COPY_MAX)));
    }
    if (result == 0) {
        result = map(memory, 0, new_size, to, flags | (to != 0 ? MAP_FIXED | MAP_REPLACE : 0), out_address);
    }
    drop(memory);
    if (result == 0) {
        result = linux_error(tess_vspace_unmap(process->vspace, from, old_size));
    }
    return result;
}

int64_t linux_sys_mremap(uint64_t old_address, uint64_t old_size, uint64_t new_size, uint64_t flags, uint64_t new_address)
{
    struct linux_process *process = linux_process();
    uint64_t old_end, at = old_address;
    uint32_t protection = 0;
    if (old_address % PAGE != 0 || (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED)) != 0 || old_size == 0 ||
        round_size(old_size, &old_size) != 0 || round_size(new_size, &new_size) != 0 || ckd_add(&old_end, old_address, old_size) ||
        old_end > LINUX_USER_TOP) {
        return -LINUX_EINVAL;
    }
    bool is_fixed = (flags & MREMAP_FIXED) != 0;
    if (is_fixed && ((flags & MREMAP_MAYMOVE) == 0 || new_address % PAGE != 0 || !is_range_within(new_address, new_size, LINUX_USER_TOP) ||
                     new_address < MINIMUM || (new_address < old_end && old_address < new_address + new_size))) {
        return -LINUX_EINVAL;
    }
    linux_lock(&process->memory_lock);
    int64_t result = protection_of(old_address, old_size, &protection);
    if (result == 0 && !is_fixed && new_size <= old_size) {
        if (new_size < old_size) {
            result = linux_error(tess_vspace_unmap(process->vspace, old_address + new_size, old_size - new_size));
        }
    } else if (result == 0) {
        bool is_grown = !is_fixed && is_range_within(old_address, new_size, LINUX_USER_TOP) && !is_special(process, old_address, old_end) &&
                        linux_memory_map_anonymous(old_end, new_size - old_size, protection | MAP_FIXED, nullptr) == 0;
        if (!is_grown) {
            result = (flags & MREMAP_MAYMOVE) == 0
                         ? -LINUX_ENOMEM
                         : move_mapping(old_address, old_size, new_size, protection, is_fixed ? new_address : 0, &at);
        }
    }
    linux_unlock(&process->memory_lock);
    return result == 0 ? (int64_t)at : result;
}

/* ---- Advice and the like ---- */

static bool is_mapped(uint64_t address, uint64_t size)
{
    uint64_t start, found_size, offset;
    uint32_t flags;
    for (uint64_t at = address; at < address + size; at = start + found_size) {
        if (tess_vspace_query(linux_process()->vspace, at, &start, &found_size, &flags, &offset) != OK || start > at) {
            return false;
        }
    }
    return true;
}

/* Private anonymous memory reads as zero again: fresh memory takes its place, mapping by mapping. */
static int64_t discard(uint64_t address, uint64_t end)
{
    struct linux_process *process = linux_process();
    while (address < end) {
        uint64_t start, size, offset;
        uint32_t flags;
        if (tess_vspace_query(process->vspace, address, &start, &size, &flags, &offset) != OK || start > address) {
            return -LINUX_ENOMEM;
        }
        uint64_t part_end = min_u64(end, start + size);
        int64_t result = 0;
        if (address >= process->break_start && part_end <= process->break_limit && process->break_memory != HANDLE_NONE) {
            result = linux_error(tess_memory_decommit(process->break_memory, address - process->break_start, part_end - address));
        } else if (!is_special(process, address, part_end)) {
            result = linux_memory_map_anonymous(address, part_end - address, flags | MAP_FIXED | MAP_REPLACE, nullptr);
        }
        if (result != 0) {
            return result;
        }
        address = part_end;
    }
    return 0;
}

int64_t linux_sys_madvise(uint64_t address, uint64_t size, uint64_t advice)
{
    struct linux_process *process = linux_process();
    uint32_t kind = (uint32_t)advice;
    bool is_known = kind <= 4 || (kind >= 8 && kind <= 25) || kind == 100 || kind == 101;
    if (!is_known || address % PAGE != 0 || (size != 0 && round_size(size, &size) != 0) ||
        !is_range_within(address, size, LINUX_USER_TOP)) {
        return -LINUX_EINVAL;
    }
    if (kind == 9 || kind == 100 || kind == 101) { /* MADV_REMOVE, MADV_HWPOISON, MADV_SOFT_OFFLINE */
        return kind == 9 ? -LINUX_EINVAL : -LINUX_EPERM;
    }
    if (kind == 4) { /* MADV_DONTNEED; MADV_FREE may do it later, so never */
        linux_lock(&process->memory_lock);
        int64_t result = discard(address, address + size);
        linux_unlock(&process->memory_lock);
        return result;
    }
    return size == 0 || is_mapped(address, size) ? 0 : -LINUX_ENOMEM;
}

int64_t linux_sys_mincore(uint64_t address, uint64_t size, uint64_t vector)
{
    if (address % PAGE != 0) {
        return -LINUX_EINVAL;
    }
    if (size == 0) {
        return 0;
    }
    if (round_size(size, &size) != 0 || !is_range_within(address, size, LINUX_USER_TOP) || !is_mapped(address, size)) {
        return -LINUX_ENOMEM;
    }
    static const uint8_t resident[64] = {[0 ... 63] = 1};
    for (uint64_t done = 0; done < size / PAGE; done += sizeof(resident)) {
        if (linux_copy_to_user(vector + done, resident, min_u64(sizeof(resident), size / PAGE - done)) != 0) {
            return -LINUX_EFAULT;
        }
    }
    return 0;
}

int64_t linux_sys_msync(uint64_t address, uint64_t size, uint64_t flags)
{
    if (address % PAGE != 0 || (flags & ~7ull) != 0 || (flags & 5) == 5) {
        return -LINUX_EINVAL;
    }
    if (size == 0) {
        return 0;
    }
    bool is_there = round_size(size, &size) == 0 && is_range_within(address, size, LINUX_USER_TOP) && is_mapped(address, size);
    return is_there ? 0 : -LINUX_ENOMEM;
}

/* Memory is never paged out. */
int64_t linux_sys_mlock(uint64_t address, uint64_t size)
{
    uint64_t start = align_down(address, PAGE);
    if (size == 0) {
        return 0;
    }
    bool is_there =
        round_size(size + (address - start), &size) == 0 && is_range_within(start, size, LINUX_USER_TOP) && is_mapped(start, size);
    return is_there ? 0 : -LINUX_ENOMEM;
}
int64_t linux_sys_munlock(uint64_t address, uint64_t size) { return linux_sys_mlock(address, size); }
int64_t linux_sys_mlock2(uint64_t address, uint64_t size, uint64_t flags)
{
    return flags > 1 ? -LINUX_EINVAL : linux_sys_mlock(address, size);
}
int64_t linux_sys_mlockall(uint64_t flags) { return flags == 0 || (flags & ~7ull) != 0 || flags == 4 ? -LINUX_EINVAL : 0; }
int64_t linux_sys_munlockall(void) { return 0; }
