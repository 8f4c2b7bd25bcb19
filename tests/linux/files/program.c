/*
 * What a Linux program may expect of files, in calls alone: no C library. Prints what fails by its line, then "files: N checks, M failed", and what an open, a stat and a
 * read cost; ends with the number of failures. Runs on Linux as well as here, in an empty directory, as user 0.
 */
#include <linux/calls.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
static long call6(long n, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "+a"(n) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return n;
}
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call main\n ud2\n");
#elif defined(__aarch64__)
static long call6(long n, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d,
                     x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
__asm__(".globl _start\n_start: mov x29, xzr\n mov x0, sp\n bl main\n brk #1\n");
#else
static long call6(long n, long a, long b, long c, long d, long e, long f)
{
    register long a7 __asm__("a7") = n, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c, a3 __asm__("a3") = d,
                     a4 __asm__("a4") = e, a5 __asm__("a5") = f;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
    return a0;
}
__asm__(".globl _start\n_start: mv a0, sp\n call main\n unimp\n");
#endif

#define CALL(name, a, b, c, d, e, f) call6(LINUX_CALL_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

enum {
    EPERM = 1,
    ENOENT = 2,
    EBADF = 9,
    EAGAIN = 11,
    EACCES = 13,
    EFAULT = 14,
    EEXIST = 17,
    EXDEV = 18,
    ENOTDIR = 20,
    EISDIR = 21,
    EINVAL = 22,
    EFBIG = 27,
    ENOSPC = 28,
    ESPIPE = 29,
    ENOTTY = 25,
    ERANGE = 34,
    ENAMETOOLONG = 36,
    ENOTEMPTY = 39,
    ELOOP = 40,
    ENODATA = 61
};
enum {
    O_RDONLY = 0,
    O_WRONLY = 1,
    O_RDWR = 2,
    O_CREAT = 0100,
    O_EXCL = 0200,
    O_TRUNC = 01000,
    O_APPEND = 02000,
    O_NONBLOCK = 04000,
    O_CLOEXEC = 02000000,
    O_PATH = 010000000,
#if defined(__aarch64__)
    O_DIRECTORY = 040000,
    O_NOFOLLOW = 0100000,
#else
    O_DIRECTORY = 0200000,
    O_NOFOLLOW = 0400000,
#endif
    O_TMPFILE = 020000000 | O_DIRECTORY
};
enum { HERE = -100, NOFOLLOW = 0x100, REMOVEDIR = 0x200, EMPTY_PATH = 0x1000 };

struct statx_time {
    int64_t s;
    uint32_t ns;
    int32_t pad;
};
struct statx {
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode, pad;
    uint64_t inode, size, blocks, attributes_mask;
    struct statx_time access, birth, change, modify;
    uint32_t special_major, special_minor, device_major, device_minor;
    uint64_t rest[14];
};

static unsigned count, failed;
static char buffer[70000], other[70000];

static size_t length(const char *text)
{
    size_t n = 0;
    while (text[n] != '\0') {
        n++;
    }
    return n;
}

void *memset(void *to, int value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((volatile char *)to)[i] = (char)value;
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((volatile char *)to)[i] = ((const char *)from)[i];
    }
    return to;
}

static int equal(const char *a, const char *b, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            return 0;
        }
    }
    return 1;
}

static void say(const char *text, long number, const char *after)
{
    char line[128], digits[24];
    size_t at = 0, n = 0;
    for (size_t i = 0; i < length(text); i++) {
        line[at++] = text[i];
    }
    if (number < 0) {
        line[at++] = '-';
        number = -number;
    }
    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    while (n > 0) {
        line[at++] = digits[--n];
    }
    for (size_t i = 0; i < length(after); i++) {
        line[at++] = after[i];
    }
    CALL(WRITE, 1, line, at, 0, 0, 0);
}

#define CHECK(condition)                                                                                                                   \
    do {                                                                                                                                   \
        count++;                                                                                                                           \
        if (!(condition)) {                                                                                                                \
            failed++;                                                                                                                      \
            say("files: line ", __LINE__, " failed\n");                                                                                    \
        }                                                                                                                                  \
    } while (0)
#define EQUAL(expression, wanted)                                                                                                          \
    do {                                                                                                                                   \
        long got_ = (expression);                                                                                                          \
        count++;                                                                                                                           \
        if (got_ != (long)(wanted)) {                                                                                                      \
            failed++;                                                                                                                      \
            say("files: line ", __LINE__, "");                                                                                             \
            say(" got ", got_, "\n");                                                                                                      \
        }                                                                                                                                  \
    } while (0)

static long open(const char *path, long flags, long mode) { return CALL(OPENAT, HERE, path, flags, mode, 0, 0); }
static long close(long fd) { return CALL(CLOSE, fd, 0, 0, 0, 0, 0); }
static long read(long fd, void *to, size_t size) { return CALL(READ, fd, to, size, 0, 0, 0); }
static long write(long fd, const void *from, size_t size) { return CALL(WRITE, fd, from, size, 0, 0, 0); }
static long seek(long fd, long offset, long whence) { return CALL(LSEEK, fd, offset, whence, 0, 0, 0); }
static long mkdir(const char *path, long mode) { return CALL(MKDIRAT, HERE, path, mode, 0, 0, 0); }
static long unlink(const char *path) { return CALL(UNLINKAT, HERE, path, 0, 0, 0, 0); }
static long rmdir(const char *path) { return CALL(UNLINKAT, HERE, path, REMOVEDIR, 0, 0, 0); }
static long rename(const char *from, const char *to) { return CALL(RENAMEAT2, HERE, from, HERE, to, 0, 0); }
static long link(const char *from, const char *to) { return CALL(LINKAT, HERE, from, HERE, to, 0, 0); }
static long symlink(const char *target, const char *path) { return CALL(SYMLINKAT, target, HERE, path, 0, 0, 0); }
static long statx(const char *path, long flags, struct statx *to) { return CALL(STATX, HERE, path, flags, 0x7FF, to, 0); }
static long fcntl(long fd, long command, long argument) { return CALL(FCNTL, fd, command, argument, 0, 0, 0); }

static void bytes(void)
{
    long fd = open("f", O_RDWR | O_CREAT | O_EXCL, 0640);
    struct statx st;
    CHECK(fd >= 0);
    EQUAL(open("f", O_RDWR | O_CREAT | O_EXCL, 0640), -EEXIST);
    EQUAL(write(fd, "hello world", 11), 11);
    EQUAL(read(fd, buffer, 10), 0);
    EQUAL(seek(fd, 0, 0), 0);
    EQUAL(read(fd, buffer, 5), 5);
    CHECK(equal(buffer, "hello", 5));
    EQUAL(read(fd, buffer, 100), 6);
    CHECK(equal(buffer, " world", 6));
    EQUAL(seek(fd, -5, 2), 6);
    EQUAL(seek(fd, -50, 1), -EINVAL);
    EQUAL(CALL(PREAD64, fd, buffer, 3, 6, 0, 0), 3);
    CHECK(equal(buffer, "wor", 3));
    EQUAL(CALL(PWRITE64, fd, "W", 1, 6, 0, 0), 1);
    EQUAL(CALL(PREAD64, fd, buffer, 3, -1, 0, 0), -EINVAL);
    EQUAL(seek(fd, 100000, 0), 100000);
    EQUAL(write(fd, "x", 1), 1);
    EQUAL(statx("f", 0, &st), 0);
    CHECK(st.size == 100001 && st.mode == 0100640 && st.links == 1 && st.uid == 0);
    EQUAL(CALL(PREAD64, fd, buffer, 8, 50000, 0, 0), 8);
    CHECK(equal(buffer, "\0\0\0\0\0\0\0\0", 8));
    EQUAL(CALL(FTRUNCATE, fd, 8, 0, 0, 0, 0), 0);
    EQUAL(CALL(FTRUNCATE, fd, 20, 0, 0, 0, 0), 0);
    EQUAL(CALL(PREAD64, fd, buffer, 100, 0, 0, 0), 20);
    CHECK(equal(buffer, "hello Wo\0\0\0\0\0\0\0\0\0\0\0\0", 20));
    EQUAL(seek(fd, 0, 0), 0);
    EQUAL(write(fd, (void *)8, 10), -EFAULT);
    EQUAL(read(fd, (void *)8, 0), 0);
    EQUAL(read(fd, (void *)8, 10), -EFAULT);
    EQUAL(seek(fd, 0, 1), 0);
    for (size_t i = 0; i < sizeof(buffer); i++) {
        buffer[i] = (char)(i * 7 + i / 256);
    }
    EQUAL(write(fd, buffer, sizeof(buffer)), sizeof(buffer));
    EQUAL(CALL(PREAD64, fd, other, sizeof(other), 0, 0, 0), sizeof(other));
    CHECK(equal(buffer, other, sizeof(buffer)));
    struct {
        const void *base;
        size_t size;
    } vector[3] = {{"abc", 3}, {"", 0}, {"defg", 4}};
    EQUAL(seek(fd, 10, 0), 10);
    EQUAL(CALL(WRITEV, fd, vector, 3, 0, 0, 0), 7);
    vector[0].base = other, vector[2].base = other + 3;
    EQUAL(CALL(PREADV, fd, vector, 3, 10, 0, 0), 7);
    CHECK(equal(other, "abcdefg", 7));
    close(fd);
    EQUAL(read(fd, buffer, 1), -EBADF);
    fd = open("f", O_WRONLY | O_APPEND, 0);
    EQUAL(write(fd, "end", 3), 3);
    EQUAL(seek(fd, 0, 1), sizeof(buffer) + 3);
    EQUAL(read(fd, buffer, 1), -EBADF);
    close(fd);
    fd = open("f", O_RDONLY | O_TRUNC | O_WRONLY, 0);
    EQUAL(seek(fd, 0, 2), 0);
    EQUAL(CALL(FALLOCATE, fd, 0, 0, 10000, 0, 0), 0);
    EQUAL(seek(fd, 0, 2), 10000);
    EQUAL(CALL(FTRUNCATE, fd, -1, 0, 0, 0, 0), -EINVAL);
    EQUAL(CALL(FSYNC, fd, 0, 0, 0, 0, 0), 0);
    close(fd);
    EQUAL(unlink("f"), 0);
    fd = open(".", O_TMPFILE | O_RDWR, 0600);
    CHECK(fd >= 0);
    EQUAL(write(fd, "gone", 4), 4);
    close(fd);
}

static void descriptors(void)
{
    long fd = open("d", O_RDWR | O_CREAT, 0600), low = CALL(DUP, fd, 0, 0, 0, 0, 0);
    EQUAL(low, fd + 1);
    EQUAL(close(fd), 0);
    EQUAL(CALL(DUP, low, 0, 0, 0, 0, 0), fd);
    EQUAL(CALL(DUP3, fd, 50, O_CLOEXEC, 0, 0, 0), 50);
    EQUAL(fcntl(50, 1, 0), 1);
    EQUAL(fcntl(fd, 1, 0), 0);
    EQUAL(fcntl(fd, 2, 1), 0);
    EQUAL(fcntl(fd, 1, 0), 1);
    EQUAL(CALL(DUP3, fd, fd, 0, 0, 0, 0), -EINVAL);
    EQUAL(CALL(DUP3, 999, 5, 0, 0, 0, 0), -EBADF);
    EQUAL(fcntl(fd, 0, 40), 40);
    EQUAL(fcntl(fd, 1030, 40), 41);
    EQUAL(write(40, "shared", 6), 6);
    EQUAL(seek(fd, 0, 1), 6);
    EQUAL(fcntl(fd, 3, 0) & 03, O_RDWR);
    EQUAL(fcntl(fd, 4, O_APPEND | O_NONBLOCK), 0);
    EQUAL(fcntl(41, 3, 0) & (O_APPEND | O_NONBLOCK), O_APPEND | O_NONBLOCK);
    EQUAL(CALL(CLOSE_RANGE, 40, 60, 0, 0, 0, 0), 0);
    EQUAL(close(50), -EBADF);
    EQUAL(close(-1), -EBADF);
    EQUAL(CALL(IOCTL, fd, 0x5401, buffer, 0, 0, 0), -ENOTTY);
    close(fd);
    close(low);
    EQUAL(unlink("d"), 0);
}

static void names(void)
{
    struct statx st, again;
    EQUAL(mkdir("dir", 0755), 0);
    EQUAL(mkdir("dir", 0755), -EEXIST);
    EQUAL(mkdir("dir/sub", 0755), 0);
    EQUAL(mkdir("no/sub", 0755), -ENOENT);
    EQUAL(statx("dir", 0, &st), 0);
    CHECK(st.links == 3 || st.links == 1); /* Linux's overlay file system says 1 */
    EQUAL(rmdir("dir"), -ENOTEMPTY);
    EQUAL(unlink("dir"), -EISDIR);
    long fd = open("dir/a", O_RDWR | O_CREAT, 0644);
    CHECK(fd >= 0);
    EQUAL(write(fd, "1", 1), 1);
    EQUAL(rmdir("dir/a"), -ENOTDIR);
    EQUAL(open("dir/a/b", O_RDONLY, 0), -ENOTDIR);
    EQUAL(open("dir", O_WRONLY, 0), -EISDIR);
    EQUAL(open("dir/a", O_RDONLY | O_DIRECTORY, 0), -ENOTDIR);
    EQUAL(open("", O_RDONLY, 0), -ENOENT);
    EQUAL(open((char *)8, O_RDONLY, 0), -EFAULT);
    EQUAL(link("dir/a", "dir/b"), 0);
    EQUAL(link("dir", "dir2"), -EPERM);
    EQUAL(statx("dir/b", 0, &st), 0);
    CHECK(st.links == 2 && st.size == 1);
    EQUAL(unlink("dir/a"), 0);
    EQUAL(CALL(STATX, fd, "", EMPTY_PATH, 0x7FF, &again, 0), 0);
    CHECK(again.inode == st.inode && again.links == 1);
    EQUAL(rename("dir/b", "dir/c"), 0);
    EQUAL(rename("dir/b", "dir/c"), -ENOENT);
    EQUAL(rename("dir", "dir/sub/x"), -EINVAL);
    EQUAL(rename("dir/c", "dir/sub"), -EISDIR);
    EQUAL(CALL(RENAMEAT2, HERE, "dir/c", HERE, "dir/sub", 1, 0), -EEXIST);
    EQUAL(CALL(RENAMEAT2, HERE, "dir/c", HERE, "dir/sub", 2, 0), 0);
    EQUAL(statx("dir/sub", 0, &st), 0);
    CHECK((st.mode & 0170000) == 0100000);
    EQUAL(symlink("dir/sub", "ln"), 0);
    EQUAL(CALL(READLINKAT, HERE, "ln", buffer, 100, 0, 0), 7);
    CHECK(equal(buffer, "dir/sub", 7));
    EQUAL(CALL(READLINKAT, HERE, "ln", buffer, 3, 0, 0), 3);
    EQUAL(CALL(READLINKAT, HERE, "dir", buffer, 3, 0, 0), -EINVAL);
    EQUAL(open("ln", O_RDONLY | O_NOFOLLOW, 0), -ELOOP);
    EQUAL(statx("ln", NOFOLLOW, &st), 0);
    CHECK(st.mode == 0120777 && st.size == 7);
    EQUAL(symlink("loop", "loop"), 0);
    EQUAL(open("loop", O_RDONLY, 0), -ELOOP);
    EQUAL(CALL(FACCESSAT, HERE, "ln", 4, 0, 0, 0), 0);
    EQUAL(CALL(FACCESSAT, HERE, "ln", 1, 0, 0, 0), -EACCES);
    EQUAL(CALL(FACCESSAT, HERE, "nothing", 0, 0, 0, 0), -ENOENT);
    memset(buffer, 'n', 300);
    buffer[256] = '\0';
    EQUAL(mkdir(buffer, 0755), -ENAMETOOLONG);
    buffer[255] = '\0';
    EQUAL(mkdir(buffer, 0755), 0);
    EQUAL(statx(buffer, 0, &st), 0);
    memcpy(other, buffer, 255);
    memcpy(other + 255, "/x", 3);
    EQUAL(close(open(other, O_RDWR | O_CREAT, 0600)), 0);
    EQUAL(unlink(other), 0);
    EQUAL(rmdir(buffer), 0);
    EQUAL(unlink("ln"), 0);
    EQUAL(unlink("loop"), 0);
    EQUAL(unlink("dir/sub"), 0);
    EQUAL(rmdir("dir/c"), 0);
    EQUAL(rmdir("dir"), 0);
    close(fd);
    EQUAL(CALL(MKNODAT, HERE, "fifo", 0010644, 0, 0, 0), 0);
    EQUAL(statx("fifo", 0, &st), 0);
    CHECK(st.mode == 0010644);
    EQUAL(unlink("fifo"), 0);
}

static void directories(void)
{
    char path[16] = "many/file00";
    EQUAL(mkdir("many", 0755), 0);
    for (int i = 0; i < 100; i++) {
        path[9] = (char)('0' + i / 10), path[10] = (char)('0' + i % 10);
        EQUAL(close(open(path, O_WRONLY | O_CREAT, 0600)), 0);
    }
    long fd = open("many", O_RDONLY | O_DIRECTORY, 0), got;
    int seen[100] = {}, entries = 0;
    while ((got = CALL(GETDENTS64, fd, buffer, 500, 0, 0, 0)) > 0) {
        for (long at = 0; at < got;) {
            uint16_t size;
            memcpy(&size, buffer + at + 16, 2);
            const char *name = buffer + at + 19;
            if (equal(name, "file", 4)) {
                seen[(name[4] - '0') * 10 + name[5] - '0']++;
            }
            entries++;
            at += size;
        }
    }
    EQUAL(got, 0);
    EQUAL(entries, 102);
    for (int i = 0; i < 100; i++) {
        CHECK(seen[i] == 1);
    }
    EQUAL(seek(fd, 0, 0), 0);
    EQUAL(CALL(GETDENTS64, fd, buffer, 8, 0, 0, 0), -EINVAL);
    EQUAL(read(fd, buffer, 10), -EISDIR);
    EQUAL(CALL(OPENAT, fd, "file42", O_RDONLY, 0, 0, 0), fd + 1);
    close(fd + 1);
    EQUAL(CALL(GETCWD, buffer, sizeof(buffer), 0, 0, 0, 0) > 0, 1);
    EQUAL(CALL(FCHDIR, fd, 0, 0, 0, 0, 0), 0);
    long size = CALL(GETCWD, buffer, sizeof(buffer), 0, 0, 0, 0);
    CHECK(size >= 6 && equal(buffer + size - 6, "/many", 6));
    EQUAL(CALL(GETCWD, buffer, 3, 0, 0, 0, 0), -ERANGE);
    for (int i = 0; i < 100; i++) {
        path[9] = (char)('0' + i / 10), path[10] = (char)('0' + i % 10);
        EQUAL(unlink(path + 5), 0);
    }
    EQUAL(CALL(CHDIR, "..", 0, 0, 0, 0, 0), 0);
    EQUAL(CALL(CHDIR, "nothing", 0, 0, 0, 0, 0), -ENOENT);
    EQUAL(rmdir("many"), 0);
    EQUAL(CALL(GETDENTS64, fd, buffer, 500, 0, 0, 0), -ENOENT);
    close(fd);
}

static void attributes(void)
{
    struct statx st;
    long fd = open("a", O_RDWR | O_CREAT, 0600);
    EQUAL(CALL(FCHMOD, fd, 04711, 0, 0, 0, 0), 0);
    EQUAL(CALL(FCHOWNAT, HERE, "a", 5, -1, 0, 0), 0);
    EQUAL(statx("a", 0, &st), 0);
    CHECK(st.mode == 0100711 && st.uid == 5 && st.gid == 0);
    int64_t times[4] = {1000, 5, 2000, 7};
    EQUAL(CALL(UTIMENSAT, HERE, "a", times, 0, 0, 0), 0);
    EQUAL(statx("a", 0, &st), 0);
    CHECK(st.access.s == 1000 && st.access.ns == 5 && st.modify.s == 2000 && st.modify.ns == 7);
    times[1] = 0x3FFFFFFE, times[3] = 0x3FFFFFFF;
    EQUAL(CALL(UTIMENSAT, fd, 0, times, 0, 0, 0), 0);
    EQUAL(statx("a", 0, &st), 0);
    CHECK(st.access.s == 1000 && st.modify.s != 2000);
    times[1] = 1000000000;
    EQUAL(CALL(UTIMENSAT, HERE, "a", times, 0, 0, 0), -EINVAL);
    EQUAL(CALL(FLOCK, fd, 2, 0, 0, 0, 0), 0);
    long again = open("a", O_RDWR, 0);
    EQUAL(CALL(FLOCK, again, 2 | 4, 0, 0, 0, 0), -EAGAIN);
    EQUAL(CALL(FLOCK, fd, 8, 0, 0, 0, 0), 0);
    EQUAL(CALL(FLOCK, again, 2 | 4, 0, 0, 0, 0), 0);
    struct {
        int16_t type, whence;
        int64_t start, size;
        int32_t pid;
    } lock = {.type = 1, .start = 10, .size = 5};
    EQUAL(fcntl(fd, 37, (long)&lock), 0); /* F_OFD_SETLK */
    EQUAL(fcntl(again, 37, (long)&lock), -EAGAIN);
    EQUAL(fcntl(again, 36, (long)&lock), 0);
    CHECK(lock.type == 1 && lock.start == 10 && lock.size == 5 && lock.pid == -1);
    lock.start = 20, lock.pid = 0;
    EQUAL(fcntl(again, 37, (long)&lock), 0);
    lock.start = 100;
    EQUAL(fcntl(fd, 6, (long)&lock), 0);
    close(again);
    lock.start = 20;
    EQUAL(fcntl(fd, 37, (long)&lock), 0);
    EQUAL(CALL(FSETXATTR, fd, "user.k", "value", 5, 0, 0), 0);
    EQUAL(CALL(FGETXATTR, fd, "user.k", buffer, 100, 0, 0), 5);
    CHECK(equal(buffer, "value", 5));
    EQUAL(CALL(FGETXATTR, fd, "user.none", buffer, 100, 0, 0), -ENODATA);
    EQUAL(CALL(FLISTXATTR, fd, buffer, 100, 0, 0, 0), 7);
    EQUAL(CALL(FREMOVEXATTR, fd, "user.k", 0, 0, 0, 0), 0);
    close(fd);
    EQUAL(unlink("a"), 0);
}

static void transfers(void)
{
    long in = open("in", O_RDWR | O_CREAT, 0600), out = open("out", O_RDWR | O_CREAT, 0600);
    for (size_t i = 0; i < sizeof(buffer); i++) {
        buffer[i] = (char)(i * 3 + i / 256);
    }
    EQUAL(write(in, buffer, sizeof(buffer)), sizeof(buffer));
    int64_t offset = 100;
    EQUAL(CALL(SENDFILE, out, in, &offset, 69000, 0, 0), 69000);
    CHECK(offset == 69100);
    EQUAL(CALL(PREAD64, out, other, sizeof(other), 0, 0, 0), 69000);
    CHECK(equal(other, buffer + 100, 69000));
    EQUAL(seek(in, 0, 0), 0);
    int64_t to = 10;
    EQUAL(CALL(COPY_FILE_RANGE, in, 0, out, &to, 1000, 0), 1000);
    CHECK(to == 1010);
    EQUAL(CALL(PREAD64, out, other, 1000, 10, 0, 0), 1000);
    CHECK(equal(other, buffer, 1000));
    char *map = (char *)CALL(MMAP, 0, 8192, 1, 2, in, 4096);
    EQUAL((unsigned long)map > -4096UL ? (long)map : 0, 0);
    CHECK((unsigned long)map < -4096UL && equal(map, buffer + 4096, 8192));
    char *shared = (char *)CALL(MMAP, 0, 4096, 3, 1, out, 0);
    CHECK((unsigned long)shared < -4096UL);
    shared[5] = '!';
    EQUAL(CALL(PREAD64, out, other, 1, 5, 0, 0), 1);
    CHECK(other[0] == '!');
    close(in);
    close(out);
    EQUAL(unlink("in"), 0);
    EQUAL(unlink("out"), 0);
    long memory = CALL(MEMFD_CREATE, "name", 1, 0, 0, 0, 0);
    CHECK(memory >= 0);
    EQUAL(write(memory, "m", 1), 1);
    close(memory);
    long self = open("self", O_RDWR | O_CREAT, 0600), twin;
    EQUAL(write(self, "twin", 4), 4);
    char proc[] = "/proc/self/fd/0";
    proc[14] = (char)('0' + self);
    twin = open(proc, O_RDONLY, 0);
    CHECK(twin >= 0);
    EQUAL(read(twin, buffer, 10), 4);
    EQUAL(write(twin, buffer, 1), -EBADF);
    close(self);
    close(twin);
    EQUAL(open("/proc/self/fd/999", O_RDONLY, 0), -ENOENT);
    EQUAL(unlink("self"), 0);
    long null = open("/dev/null", O_RDWR, 0), zero = open("/dev/zero", O_RDWR, 0), full = open("/dev/full", O_RDWR, 0);
    EQUAL(read(null, buffer, 10), 0);
    EQUAL(write(null, buffer, 10), 10);
    EQUAL(read(zero, buffer, 10), 10);
    CHECK(equal(buffer, "\0\0\0\0\0\0\0\0\0\0", 10));
    EQUAL(write(full, buffer, 10), -ENOSPC);
    long random = open("/dev/urandom", O_RDONLY, 0);
    EQUAL(read(random, buffer, 64), 64);
    CHECK(!equal(buffer, buffer + 32, 32));
    close(null), close(zero), close(full), close(random);
}

static long now(void)
{
    long time[2];
    CALL(CLOCK_GETTIME, 1, time, 0, 0, 0, 0);
    return time[0] * 1000000000 + time[1];
}

static void costs(void)
{
    enum { ROUNDS = 200 };
    struct statx st;
    long fd = open("cost", O_RDWR | O_CREAT, 0600);
    write(fd, buffer, 8192);
    long start = now();
    for (int i = 0; i < ROUNDS; i++) {
        close(open("cost", O_RDONLY, 0));
    }
    say("files: open and close ", (now() - start) / ROUNDS, "\n");
    start = now();
    for (int i = 0; i < ROUNDS; i++) {
        statx("cost", 0, &st);
    }
    say("files: stat ", (now() - start) / ROUNDS, "\n");
    start = now();
    for (int i = 0; i < ROUNDS; i++) {
        CALL(PREAD64, fd, buffer, 4096, 0, 0, 0);
    }
    say("files: pread 4 KiB ", (now() - start) / ROUNDS, "\n");
    start = now();
    for (int i = 0; i < ROUNDS; i++) {
        CALL(PWRITE64, fd, buffer, 4096, 0, 0, 0);
    }
    say("files: pwrite 4 KiB ", (now() - start) / ROUNDS, "\n");
    start = now();
    for (int i = 0; i < ROUNDS; i++) {
        CALL(STATX, fd, "", EMPTY_PATH, 0x7FF, &st, 0);
    }
    say("files: stat of a descriptor ", (now() - start) / ROUNDS, "\n");
    start = now();
    for (int i = 0; i < ROUNDS; i++) {
        close(open("cost2", O_RDWR | O_CREAT, 0600));
        unlink("cost2");
    }
    say("files: create and unlink ", (now() - start) / ROUNDS, "\n");
    close(fd);
    unlink("cost");
}

/* What exec leaves open: a description with its position, nothing that was to be closed. */
static void after_exec(void)
{
    EQUAL(read(60, buffer, 10), 3);
    CHECK(equal(buffer, "456", 3));
    EQUAL(read(61, buffer, 10), -EBADF);
    EQUAL(fcntl(60, 1, 0), 0);
    EQUAL(unlink("kept"), 0);
    EQUAL(open("/dev/null", O_RDONLY, 0), 3);
    say("files: after exec ", count, " checks");
    say(", ", failed, " failed\n");
}

static void run_again(const char *program)
{
    const char *arguments[] = {program, "again", nullptr}, *environment[] = {nullptr};
    long fd = open("kept", O_RDWR | O_CREAT, 0600);
    EQUAL(write(fd, "123456", 6), 6);
    EQUAL(seek(fd, 3, 0), 3);
    EQUAL(CALL(DUP3, fd, 60, 0, 0, 0, 0), 60);
    EQUAL(CALL(DUP3, fd, 61, O_CLOEXEC, 0, 0, 0), 61);
    close(fd);
    EQUAL(CALL(EXECVE, "nothing", arguments, environment, 0, 0, 0), -ENOENT);
    EQUAL(CALL(EXECVE, "/dev", arguments, environment, 0, 0, 0), -EACCES);
    EQUAL(CALL(EXECVE, program, arguments, environment, 0, 0, 0), 0);
}

/* stack: the number of arguments, and the arguments. */
[[noreturn]] void main(const long *stack);
void main(const long *stack)
{
    if (stack[0] == 2) {
        after_exec();
    } else {
        bytes();
        descriptors();
        names();
        directories();
        attributes();
        transfers();
        say("files: ", count, " checks");
        say(", ", failed, " failed\n");
        costs();
        if (failed == 0) {
            run_again((const char *)stack[1]);
        }
    }
    for (;;) {
        CALL(EXIT_GROUP, failed < 100 ? failed : 100, 0, 0, 0, 0, 0);
    }
}
