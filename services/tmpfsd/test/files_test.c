/*
 * tmpfsd on the real kernel, booted by tests/boot/files.py: what only the kernel can show (rights of memory handles, bytes without a message, slices of the
 * boot image, closing by death of the handle, the disk that is full, waiting for a lock).
 *
 * Prints "files_test: N checks, M failed" as its last line and stays.
 */
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/thread.h>
#include <std/time.h>
#include <tess/string.h>
#include <tess/stub/directory.h>
#include <tess/stub/file.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>
#include <tess/util.h>

static constexpr uint64_t CALL_NS = 20 * NS_PER_S, PIECE = 1 << 20;
static constexpr uint32_t RW = OPEN_READ | OPEN_WRITE;

static uint32_t check_count, check_failed;
#define CHECK(condition) check(condition, #condition, __LINE__)

static bool check(bool is_true, const char *text, uint32_t line)
{
    check_count++;
    if (!is_true) {
        check_failed++;
        log_error("files_test:%u: %s", line, text);
    }
    return is_true;
}

static handle_t root;
static struct tess_inode_record *table;

static uint64_t soon(void) { return time_after_ns(CALL_NS); }

static status_t open(handle_t from, const char *path, uint32_t flags, handle_t *out_file, uint32_t *out_inode)
{
    uint8_t text[80] = {};
    uint32_t generation, mode;
    uint64_t device;
    memcpy(text, path, strlen(path));
    return tess_directory_open(from, flags, 0644, text, out_inode, &generation, &mode, &device, out_file, soon());
}

static status_t remove(const char *path)
{
    uint8_t text[80] = {};
    memcpy(text, path, strlen(path));
    return tess_directory_remove(root, 0, 0, text, soon());
}

static void test_archive(void)
{
    handle_t file, memory, writer;
    uint32_t inode, data, again;
    char text[8] = {};
    CHECK(open(root, "/etc/motd", OPEN_READ, &file, &inode) == OK);
    status_t status = tess_file_memory(file, &data, &again, &memory, soon());
    if (!CHECK(status == OK && again == inode && table[inode].data == data)) {
        log_error("%s", status_name(status));
    }
    CHECK(tess_memory_read(memory, 0, (uint64_t)text, 5) == OK && strcmp(text, "hello") == 0 && table[inode].size == 5000);
    CHECK(tess_memory_write(memory, 0, (uint64_t)"x", 1) == ERROR_MISSING_RIGHT);
    uint64_t size, pages, at;
    uint32_t flags, is_device;
    CHECK(tess_memory_info(memory, &size, &pages, &flags, &is_device) == OK && size == 8192);
    CHECK(open(root, "etc/motd", RW, &writer, &inode) == OK && tess_file_extend(writer, EXTEND_APPEND, 0, 3, &at, soon()) == OK &&
          at == 5000);
    CHECK(table[inode].data != data && table[inode].size == 5003);
    std_handle_delete(memory);
    CHECK(tess_file_memory(writer, &data, &again, &memory, soon()) == OK && tess_memory_write(memory, 5000, (uint64_t)"end", 3) == OK);
    std_handle_delete(memory);
    CHECK(tess_file_memory(file, &data, &again, &memory, soon()) == OK && tess_memory_read(memory, 5000, (uint64_t)text, 3) == OK);
    CHECK(memcmp(text, "end", 3) == 0 && tess_memory_read(memory, 0, (uint64_t)text, 5) == OK && memcmp(text, "hello", 5) == 0);
    std_handle_delete(memory);
    std_handle_delete(writer);
    std_handle_delete(file);
}

static void test_bytes(void)
{
    handle_t file, memory;
    uint32_t inode, data, number;
    uint64_t at;
    char text[8] = {};
    CHECK(open(root, "f", RW | OPEN_CREATE, &file, &inode) == OK && tess_file_extend(file, 0, 100'000, 5, &at, soon()) == OK);
    CHECK(tess_file_memory(file, &data, &number, &memory, soon()) == OK && tess_memory_write(memory, 100'000, (uint64_t)"hello", 5) == OK);
    CHECK(tess_file_truncate(file, 100'002, soon()) == OK && tess_file_truncate(file, 200'000, soon()) == OK);
    CHECK(tess_memory_read(memory, 100'000, (uint64_t)text, 5) == OK && memcmp(text, "he\0\0\0", 5) == 0 && table[inode].size == 200'000);
    void *address;
    CHECK(std_map(memory, 98'304, STD_PAGE, MAP_READ | MAP_WRITE | MAP_MAY_FAULT, &address) == OK);
    CHECK(((char *)address)[100'000 - 98'304] == 'h');
    std_unmap(address, STD_PAGE);
    CHECK(tess_file_allocate(file, ALLOCATE_PUNCH | ALLOCATE_KEEP_SIZE, 90'000, 20'000, soon()) == OK);
    CHECK(tess_memory_read(memory, 100'000, (uint64_t)text, 2) == OK && text[0] == 0);
    CHECK(remove("f") == OK && table[inode].links == 0);
    std_handle_delete(memory);
    std_handle_delete(file);
}

/* Files until nothing is left; each of the others still works, and when they are gone everything is back. */
static void test_full(void)
{
    uint64_t total, before, free, inodes, free_inodes, at;
    handle_t file;
    uint32_t inode;
    CHECK(tess_directory_usage(root, &total, &before, &inodes, &free_inodes, soon()) == OK && before > PIECE);
    CHECK(open(root, "big", RW | OPEN_CREATE, &file, &inode) == OK);
    status_t status = OK;
    uint64_t size = 0;
    for (; status == OK; size += PIECE) {
        status = tess_file_extend(file, 0, size, PIECE, &at, soon());
    }
    CHECK(status == ERROR_NO_SPACE && table[inode].size == size - PIECE && size > PIECE);
    for (uint64_t piece = PIECE; piece >= STD_PAGE; piece /= 2) {
        while (tess_file_extend(file, EXTEND_APPEND, 0, piece, &at, soon()) == OK) {
        }
    }
    CHECK(tess_directory_usage(root, &total, &free, &inodes, &free_inodes, soon()) == OK && free < 64 * STD_PAGE);
    handle_t other;
    uint32_t number;
    CHECK(open(root, "small", RW | OPEN_CREATE, &other, &number) == OK);
    std_handle_delete(other);
    /* And as many names as there can be. */
    uint32_t made = 0;
    for (char name[24]; status != OK && made < 100'000; made++) {
        uint8_t path[80] = {};
        uint32_t left = made, i = 0;
        for (; i < 6; i++, left /= 10) {
            name[i] = (char)('0' + left % 10);
        }
        memcpy(path, name, i);
        status_t result = tess_directory_make(root, 0100644, 0, path, &number, soon());
        if (result != OK) {
            CHECK(result == ERROR_NO_SPACE);
            break;
        }
    }
    CHECK(made > 500);
    log_info("%u names", made);
    for (uint32_t n = 0; n < made; n++) {
        uint8_t path[80] = {};
        uint32_t left = n;
        for (uint32_t i = 0; i < 6; i++, left /= 10) {
            path[i] = (uint8_t)('0' + left % 10);
        }
        if (tess_directory_remove(root, 0, 0, path, soon()) != OK) {
            check(false, "remove", __LINE__);
            break;
        }
    }
    CHECK(remove("small") == OK && remove("big") == OK);
    std_handle_delete(file);
    uint64_t deadline = soon();
    do {
        CHECK(tess_directory_usage(root, &total, &free, &inodes, &free_inodes, soon()) == OK);
    } while (free < before && time_now_ns() < deadline);
    CHECK(free == before);
}

static handle_t lock_file;
static void lock_waiter(void *result)
{
    /* A second open file waits until the first gives up. */
    handle_t file;
    uint32_t inode;
    status_t status = open(root, "lock", RW, &file, &inode);
    if (status == OK) {
        status = tess_file_lock(file, LOCK_EXCLUSIVE | LOCK_WHOLE | LOCK_WAIT, 0, UINT64_MAX, soon());
        std_handle_delete(file);
    }
    *(volatile status_t *)result = status == OK ? 1 : status;
}

static void test_locks(void)
{
    uint32_t inode;
    volatile status_t result = 0;
    struct std_thread thread;
    CHECK(open(root, "lock", RW | OPEN_CREATE, &lock_file, &inode) == OK);
    CHECK(tess_file_lock(lock_file, LOCK_EXCLUSIVE | LOCK_WHOLE, 0, UINT64_MAX, soon()) == OK);
    handle_t other;
    CHECK(open(root, "lock", RW, &other, &inode) == OK);
    CHECK(tess_file_lock(other, LOCK_SHARED | LOCK_WHOLE, 0, UINT64_MAX, soon()) == ERROR_WOULD_BLOCK);
    /* Who gives up waiting gets nothing: the lock goes to the next. */
    CHECK(tess_file_lock(other, LOCK_EXCLUSIVE | LOCK_WHOLE | LOCK_WAIT, 0, UINT64_MAX, time_after_ns(NS_PER_MS)) == ERROR_TIMED_OUT);
    CHECK(std_thread_start(&thread, lock_waiter, (void *)&result, 0) == OK);
    std_handle_delete(lock_file); /* nobody has it any more */
    CHECK(std_thread_join(&thread, soon()) == OK && result == 1);
    CHECK(tess_file_lock(other, LOCK_EXCLUSIVE | LOCK_WHOLE | LOCK_WAIT, 0, UINT64_MAX, soon()) == OK);
    std_handle_delete(other);
}

static void measure(void)
{
    constexpr uint32_t rounds = 500;
    handle_t file;
    uint32_t inode;
    uint64_t start = time_now_ns();
    for (uint32_t i = 0; i < rounds; i++) {
        if (!CHECK(open(root, "etc/motd", OPEN_READ, &file, &inode) == OK)) {
            return;
        }
        std_handle_delete(file);
    }
    uint64_t opened = time_now_ns();
    uint8_t path[80] = "etc/motd", record[64];
    for (uint32_t i = 0; i < rounds; i++) {
        if (!CHECK(tess_directory_stat(root, 0, 0, path, &inode, record, soon()) == OK)) {
            return;
        }
    }
    uint64_t looked = time_now_ns();
    log_info("open and close %u ns, stat %u ns", (uint32_t)((opened - start) / rounds), (uint32_t)((looked - opened) / rounds));
}

int main(void)
{
    root = std_handle_needed("root");
    handle_t memory;
    uint32_t count;
    void *address = nullptr;
    CHECK(tess_directory_table(root, &count, &memory, soon()) == OK);
    CHECK(std_map(memory, 0, align_up(count * sizeof(*table), STD_PAGE), MAP_READ, &address) == OK);
    CHECK(tess_memory_write(memory, 0, (uint64_t)"x", 1) == ERROR_MISSING_RIGHT);
    table = address;
    test_archive();
    test_bytes();
    test_locks();
    test_full();
    measure();
    log_info("files_test: %u checks, %u failed", check_count, check_failed);
    time_sleep_until(DEADLINE_INFINITE);
    return 0;
}
