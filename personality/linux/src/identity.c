/* Who the process is: ids, users, names. Users belong to the cell; the services check what they mean. */
#include <linux/call.h>
#include <linux/posix.h>
#include <tess/string.h>
#include <tess/util.h>

int64_t linux_sys_getpid(void) { return linux_process()->pid; }
int64_t linux_sys_gettid(void) { return linux_self()->tid; }
int64_t linux_sys_getppid(void) { return __atomic_load_n(&linux_process()->parent, __ATOMIC_RELAXED); }
int64_t linux_sys_getuid(void) { return linux_process()->uid; }
int64_t linux_sys_geteuid(void) { return linux_process()->euid; }
int64_t linux_sys_getgid(void) { return linux_process()->gid; }
int64_t linux_sys_getegid(void) { return linux_process()->egid; }

/* ---- Changing users ---- */

constexpr uint32_t SAME = UINT32_MAX; /* -1: leave it */

struct identity {
    uint32_t real, effective, saved;
};

static bool is_privileged(void) { return linux_process()->euid == 0; }
static bool is_one_of(uint32_t id, const struct identity *now)
{
    return id == SAME || id == now->real || id == now->effective || id == now->saved;
}

static struct identity users(void)
{
    const struct linux_process *process = linux_process();
    return (struct identity){process->uid, process->euid, process->suid};
}

static struct identity groups(void)
{
    const struct linux_process *process = linux_process();
    return (struct identity){process->gid, process->egid, process->sgid};
}

static int64_t change(bool is_user, struct identity now, uint32_t real, uint32_t effective, uint32_t saved)
{
    struct linux_process *process = linux_process();
    if (!is_privileged() && (!is_one_of(real, &now) || !is_one_of(effective, &now) || !is_one_of(saved, &now))) {
        return -LINUX_EPERM;
    }
    now.real = real != SAME ? real : now.real;
    now.effective = effective != SAME ? effective : now.effective;
    now.saved = saved != SAME ? saved : now.saved;
    const struct identity old = is_user ? groups() : users();
    int64_t result = is_user ? linux_posix_credentials(now.real, now.effective, now.saved, old.real, old.effective, old.saved)
                             : linux_posix_credentials(old.real, old.effective, old.saved, now.real, now.effective, now.saved);
    if (result != 0) {
        return result;
    }
    if (is_user) {
        process->uid = now.real;
        process->euid = process->fsuid = now.effective;
        process->suid = now.saved;
    } else {
        process->gid = now.real;
        process->egid = process->fsgid = now.effective;
        process->sgid = now.saved;
    }
    return 0;
}

static int64_t change_one(bool is_user, uint64_t id)
{
    uint32_t to = (uint32_t)id;
    return to == SAME ? -LINUX_EINVAL
                      : change(is_user, is_user ? users() : groups(), is_privileged() ? to : SAME, to, is_privileged() ? to : SAME);
}

static int64_t change_two(bool is_user, uint32_t real, uint32_t effective)
{
    struct identity now = is_user ? users() : groups();
    if (!is_privileged() && real != SAME && real != now.real && real != now.effective) {
        return -LINUX_EPERM;
    }
    bool is_saved = real != SAME || (effective != SAME && effective != now.real);
    return change(is_user, now, real, effective, is_saved ? (effective != SAME ? effective : now.effective) : SAME);
}

int64_t linux_sys_setuid(uint64_t uid) { return change_one(true, uid); }
int64_t linux_sys_setgid(uint64_t gid) { return change_one(false, gid); }
int64_t linux_sys_setreuid(uint64_t ruid, uint64_t euid) { return change_two(true, (uint32_t)ruid, (uint32_t)euid); }
int64_t linux_sys_setregid(uint64_t rgid, uint64_t egid) { return change_two(false, (uint32_t)rgid, (uint32_t)egid); }

int64_t linux_sys_setresuid(uint64_t ruid, uint64_t euid, uint64_t suid)
{
    return change(true, users(), (uint32_t)ruid, (uint32_t)euid, (uint32_t)suid);
}

int64_t linux_sys_setresgid(uint64_t rgid, uint64_t egid, uint64_t sgid)
{
    return change(false, groups(), (uint32_t)rgid, (uint32_t)egid, (uint32_t)sgid);
}

static int64_t tell(struct identity now, uint64_t real, uint64_t effective, uint64_t saved)
{
    bool is_told = linux_store_user_u32(real, now.real) == 0 && linux_store_user_u32(effective, now.effective) == 0 &&
                   linux_store_user_u32(saved, now.saved) == 0;
    return is_told ? 0 : -LINUX_EFAULT;
}

int64_t linux_sys_getresuid(uint64_t ruid, uint64_t euid, uint64_t suid) { return tell(users(), ruid, euid, suid); }
int64_t linux_sys_getresgid(uint64_t rgid, uint64_t egid, uint64_t sgid) { return tell(groups(), rgid, egid, sgid); }

int64_t linux_sys_setfsuid(uint64_t uid)
{
    struct linux_process *process = linux_process();
    struct identity now = users();
    uint32_t old = process->fsuid, to = (uint32_t)uid;
    if (to != SAME && (is_privileged() || is_one_of(to, &now))) {
        process->fsuid = to;
    }
    return old;
}

int64_t linux_sys_setfsgid(uint64_t gid)
{
    struct linux_process *process = linux_process();
    struct identity now = groups();
    uint32_t old = process->fsgid, to = (uint32_t)gid;
    if (to != SAME && (is_privileged() || is_one_of(to, &now))) {
        process->fsgid = to;
    }
    return old;
}

int64_t linux_sys_getgroups(uint64_t size, uint64_t groups)
{
    const struct linux_process *process = linux_process();
    int32_t room = (int32_t)size;
    if (room != 0 && (room < 0 || (uint32_t)room < process->group_count)) {
        return -LINUX_EINVAL;
    }
    int64_t result = room == 0 ? 0 : linux_copy_to_user(groups, process->groups, process->group_count * sizeof(uint32_t));
    return result != 0 ? result : process->group_count;
}

int64_t linux_sys_setgroups(uint64_t size, uint64_t groups)
{
    struct linux_process *process = linux_process();
    uint32_t list[ARRAY_LENGTH(process->groups)];
    if (!is_privileged()) {
        return -LINUX_EPERM;
    }
    if (size > ARRAY_LENGTH(list)) {
        return -LINUX_EINVAL;
    }
    if (linux_copy_from_user(list, groups, size * sizeof(uint32_t)) != 0) {
        return -LINUX_EFAULT;
    }
    memcpy(process->groups, list, sizeof(list));
    process->group_count = (uint32_t)size;
    return 0;
}

/* ---- Names ---- */

struct linux_utsname {
    char system[65], node[65], release[65], version[65], machine[65], domain[65];
};

int64_t linux_sys_uname(uint64_t buffer)
{
    struct linux_utsname name = {
        .system = "Linux",
        .release = "6.1.0-tessera",
        .version = "#1 SMP Tessera",
        .domain = "(none)",
#if defined(__x86_64__)
        .machine = "x86_64",
#elif defined(__aarch64__)
        .machine = "aarch64",
#else
        .machine = "riscv64",
#endif
    };
    memcpy(name.node, linux_process()->hostname, sizeof(linux_process()->hostname));
    return linux_copy_to_user(buffer, &name, sizeof(name));
}

int64_t linux_sys_umask(uint64_t mask) { return __c11_atomic_exchange(&linux_process()->umask, (uint32_t)mask & 0777, __ATOMIC_RELAXED); }

int64_t linux_sys_personality(uint64_t persona) { return (uint32_t)persona == UINT32_MAX || (uint32_t)persona == 0 ? 0 : -LINUX_EINVAL; }
