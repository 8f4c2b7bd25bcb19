/* What POSIX says of names, permissions, bytes and locks, case by case, through the service's requests. */
#include "client.h"
#include <check.h>

static handle_t root, file, other;
static struct tess_inode_record record;
static uint32_t number, data;
static uint64_t offset;

static constexpr uint32_t RW = OPEN_READ | OPEN_WRITE;

static void begin(void)
{
    fake_start(&service);
    CHECK(do_open(HANDLE_NONE, "/", OPEN_READ | OPEN_DIRECTORY, 0, &root) == OK);
}

static void end(void)
{
    fake_close(&service, root);
    fake_end(&service);
}

static void create(const char *path, uint32_t mode)
{
    CHECK(do_open(root, path, RW | OPEN_CREATE | OPEN_EXCLUSIVE, mode, &file) == OK);
    fake_close(&service, file);
}

static void names(void)
{
    begin();
    create("a", 0644);
    CHECK(do_stat(root, "a", 0, &record, &number) == OK && record.mode == (MODE_REGULAR | 0644) && record.links == 1);
    CHECK(do_open(root, "a", RW | OPEN_CREATE | OPEN_EXCLUSIVE, 0, &file) == ERROR_ALREADY);
    CHECK(do_open(root, "b", OPEN_READ, 0, &file) == ERROR_NOT_FOUND);
    CHECK(do_open(root, "a/b", OPEN_READ, 0, &file) == ERROR_NOT_DIRECTORY);
    CHECK(do_open(root, "a/", OPEN_READ, 0, &file) == ERROR_NOT_DIRECTORY);
    CHECK(do_open(root, "c/", RW | OPEN_CREATE, 0, &file) == ERROR_IS_DIRECTORY);
    CHECK(do_open(root, "", OPEN_READ, 0, &file) == ERROR_NOT_FOUND);
    CHECK(do_make(root, "d", MODE_DIRECTORY | 0755) == OK && do_make(root, "d/e/", MODE_DIRECTORY | 0755) == OK);
    CHECK(do_stat(root, "d", 0, &record, &number) == OK && record.links == 3);
    CHECK(do_stat(root, "d/e/../../d//./e/..", 0, &record, &number) == OK && record.links == 3);
    CHECK(do_stat(root, "/../../..", 0, &record, &number) == OK && number == 1 && record.links == 3);
    CHECK(do_make(root, "d", MODE_DIRECTORY | 0755) == ERROR_ALREADY && do_make(root, ".", MODE_DIRECTORY) == ERROR_ALREADY);
    CHECK(do_make(root, "x/y", MODE_DIRECTORY | 0755) == ERROR_NOT_FOUND && do_make(root, "s", MODE_SYMLINK) == ERROR_BAD_ARGUMENT);
    CHECK(do_open(root, "d", OPEN_WRITE, 0, &file) == ERROR_IS_DIRECTORY);
    CHECK(do_open(root, "d", OPEN_READ | OPEN_CREATE, 0, &file) == ERROR_IS_DIRECTORY);
    CHECK(do_open(root, "a", OPEN_READ | OPEN_DIRECTORY, 0, &file) == ERROR_NOT_DIRECTORY);
    CHECK(do_remove(root, "d", 0) == ERROR_IS_DIRECTORY && do_remove(root, "a", REMOVE_DIRECTORY) == ERROR_NOT_DIRECTORY);
    CHECK(do_remove(root, "d", REMOVE_DIRECTORY) == ERROR_NOT_EMPTY && do_remove(root, "d/.", REMOVE_DIRECTORY) == ERROR_BAD_ARGUMENT);
    CHECK(do_remove(root, "d/e/..", REMOVE_DIRECTORY) == ERROR_NOT_EMPTY && do_remove(root, "/", REMOVE_DIRECTORY) == ERROR_BUSY);
    CHECK(do_open(root, "d/e", OPEN_READ, 0, &other) == OK);
    CHECK(do_remove(root, "d/e", REMOVE_DIRECTORY) == OK && do_stat(other, "..", 0, &record, &number) == OK);
    CHECK(do_open(other, "x", RW | OPEN_CREATE, 0600, &file) == ERROR_NOT_FOUND); /* in a directory that is gone */
    CHECK(do_remove(root, "d", REMOVE_DIRECTORY) == OK);
    fake_close(&service, other);
    char text[4200];
    memset(text, 'n', sizeof(text));
    text[256] = '\0';
    CHECK(do_open(root, text, RW | OPEN_CREATE, 0600, &file) == ERROR_NAME_TOO_LONG);
    text[255] = '\0';
    create(text, 0600);
    memset(text, '/', sizeof(text));
    memcpy(&text[4094], "a", 2);
    CHECK(do_open(root, text, OPEN_READ, 0, &file) == OK);
    fake_close(&service, file);
    memcpy(&text[4094], "/a", 3);
    CHECK(do_open(root, text, OPEN_READ, 0, &file) == ERROR_NAME_TOO_LONG);
    end();
}

static void links(void)
{
    begin();
    create("a", 0644);
    CHECK(do_open(root, "a", OPEN_PATH, 0, &file) == OK && do_link(root, file, "b") == OK && do_link(root, file, "b") == ERROR_ALREADY);
    fake_close(&service, file);
    CHECK(do_stat(root, "b", 0, &record, &number) == OK && record.links == 2);
    CHECK(do_remove(root, "a", 0) == OK && do_stat(root, "b", 0, &record, &number) == OK && record.links == 1);
    CHECK(do_make(root, "d", MODE_DIRECTORY | 0755) == OK && do_open(root, "d", OPEN_PATH, 0, &file) == OK);
    CHECK(do_link(root, file, "d2") == ERROR_NOT_OWNER);
    fake_close(&service, file);
    CHECK(do_symlink(root, "b", "s") == OK && do_symlink(root, "", "t") == ERROR_NOT_FOUND && do_symlink(root, "x", "s") == ERROR_ALREADY);
    CHECK(do_stat(root, "s", OPEN_NOFOLLOW, &record, &number) == OK && record.mode == (MODE_SYMLINK | 0777) && record.size == 1);
    CHECK(do_stat(root, "s", 0, &record, &number) == OK && record.mode == (MODE_REGULAR | 0644));
    CHECK(do_open(root, "s", OPEN_READ | OPEN_NOFOLLOW, 0, &file) == ERROR_LINK_LOOP);
    CHECK(do_open(root, "s", OPEN_PATH | OPEN_NOFOLLOW, 0, &file) == OK);
    handle_t buffer = fake_buffer(nullptr, 0, 16);
    struct tess_call call = {};
    CHECK(fake_call(&service, file, OP_FILE_READLINK, (uint64_t[12]){16}, &buffer, &call) == OK && call.words[0] == 1);
    char text[16] = "";
    fake_load(buffer, 0, text, 1);
    CHECK_TEXT(text, "b");
    host_handle_delete(buffer);
    fake_close(&service, file);
    CHECK(do_symlink(root, "loop", "loop") == OK && do_stat(root, "loop", 0, &record, &number) == ERROR_LINK_LOOP);
    CHECK(do_symlink(root, "/d/../d/new", "far") == OK &&
          do_open(root, "far", RW | OPEN_CREATE | OPEN_EXCLUSIVE, 0600, &file) == ERROR_ALREADY);
    CHECK(do_open(root, "far", RW | OPEN_CREATE, 0600, &file) == OK && do_stat(root, "d/new", 0, &record, &number) == OK);
    fake_close(&service, file);
    CHECK(do_remove(root, "far", 0) == OK && do_stat(root, "d/new", 0, &record, &number) == OK);
    CHECK(do_symlink(root, "d", "sd") == OK && do_stat(root, "sd/new", 0, &record, &number) == OK);
    CHECK(do_stat(root, "sd/new", OPEN_NO_SYMLINKS, &record, &number) == ERROR_LINK_LOOP);
    CHECK(do_remove(root, "sd/", REMOVE_DIRECTORY) == ERROR_NOT_DIRECTORY);
    CHECK(do_open(root, "d", OPEN_PATH, 0, &file) == OK);
    CHECK(do_stat(file, "../b", OPEN_BENEATH, &record, &number) == ERROR_CROSS_MOUNT &&
          do_stat(file, "/b", OPEN_BENEATH, &record, &number) == ERROR_CROSS_MOUNT);
    CHECK(do_stat(file, "new/../../../new", OPEN_IN_ROOT, &record, &number) == ERROR_NOT_DIRECTORY);
    CHECK(do_stat(file, "../../new", OPEN_IN_ROOT, &record, &number) == OK && do_stat(file, "/new", OPEN_IN_ROOT, &record, &number) == OK);
    fake_close(&service, file);
    end();
}

static void renames(void)
{
    begin();
    create("a", 0644);
    create("b", 0600);
    CHECK(do_make(root, "d", MODE_DIRECTORY | 0755) == OK && do_make(root, "d/e", MODE_DIRECTORY | 0755) == OK);
    CHECK(do_rename(root, "a", root, "b", RENAME_KEEP) == ERROR_ALREADY && do_rename(root, "a", root, "b", 0) == OK);
    CHECK(do_stat(root, "b", 0, &record, &number) == OK && record.mode == (MODE_REGULAR | 0644));
    CHECK(do_stat(root, "a", 0, &record, &number) == ERROR_NOT_FOUND && do_rename(root, "a", root, "b", 0) == ERROR_NOT_FOUND);
    CHECK(do_rename(root, "d", root, "d/e/f", 0) == ERROR_BAD_ARGUMENT && do_rename(root, "d", root, "d", 0) == OK);
    CHECK(do_rename(root, "b", root, "d", 0) == ERROR_IS_DIRECTORY && do_rename(root, "d", root, "b", 0) == ERROR_NOT_DIRECTORY);
    CHECK(do_rename(root, "d/e", root, "d", 0) == ERROR_NOT_EMPTY && do_rename(root, "d/.", root, "x", 0) == ERROR_BUSY);
    CHECK(do_make(root, "g", MODE_DIRECTORY | 0755) == OK && do_rename(root, "d/e", root, "g", 0) == OK);
    CHECK(do_stat(root, "d", 0, &record, &number) == OK && record.links == 2 && do_stat(root, "g/..", 0, &record, &number) == OK &&
          number == 1);
    CHECK(record.links == 4);
    CHECK(do_rename(root, "b", root, "g", RENAME_SWAP) == OK && do_stat(root, "g", 0, &record, &number) == OK &&
          record.mode == (MODE_REGULAR | 0644));
    CHECK(do_rename(root, "b", root, "d/x", RENAME_SWAP) == ERROR_NOT_FOUND &&
          do_rename(root, "g", root, "d/x/", 0) == ERROR_NOT_DIRECTORY);
    CHECK(do_rename(root, "b", root, "d/h/", 0) == OK && do_stat(root, "d", 0, &record, &number) == OK && record.links == 3);
    CHECK(do_rename(root, "d", root, "d/h", RENAME_SWAP) == ERROR_BAD_ARGUMENT &&
          do_rename(root, "d/h", root, "d", RENAME_SWAP) == ERROR_BAD_ARGUMENT);
    CHECK(do_open(root, "g", OPEN_PATH, 0, &file) == OK && do_link(root, file, "g2") == OK);
    CHECK(do_rename(root, "g", root, "g2", 0) == OK && do_stat(root, "g", 0, &record, &number) == OK && record.links == 2);
    fake_close(&service, file);
    end();
}

static void permissions(void)
{
    begin();
    handle_t user = do_identify(1000, 100, root), peer = do_identify(1001, 100, root);
    CHECK(do_make(root, "tmp", MODE_DIRECTORY | MODE_STICKY | 0777) == OK && do_make(root, "home", MODE_DIRECTORY | 0755) == OK);
    CHECK(do_open(user, "home/x", RW | OPEN_CREATE, 0600, &file) == ERROR_NO_PERMISSION);
    CHECK(do_open(user, "tmp/x", RW | OPEN_CREATE, 0600, &file) == OK);
    CHECK(do_stat(peer, "tmp/x", 0, &record, &number) == OK && record.uid == 1000 && record.gid == 100);
    CHECK(do_open(peer, "tmp/x", OPEN_READ, 0, &other) == ERROR_NO_PERMISSION && do_remove(peer, "tmp/x", 0) == ERROR_NOT_OWNER);
    CHECK(do_rename(peer, "tmp/x", peer, "tmp/y", 0) == ERROR_NOT_OWNER);
    CHECK(do_open(peer, "tmp/x", OPEN_PATH, 0, &other) == OK);
    CHECK(do_set(other, SET_MODE, 0777, 0, 0, 0, 0) == ERROR_NOT_OWNER && do_set(other, SET_MTIME, 0, 0, 0, 0, 5) == ERROR_NOT_OWNER);
    CHECK(do_set(other, SET_ATIME_NOW | SET_MTIME_NOW, 0, 0, 0, 0, 0) == ERROR_NO_PERMISSION);
    CHECK(do_memory(other, &(handle_t){0}, &data) == ERROR_NO_PERMISSION);
    fake_close(&service, other);
    CHECK(do_set(file, SET_MODE, 06777, 0, 0, 0, 0) == OK && do_set(file, SET_UID, 0, 1001, 0, 0, 0) == ERROR_NOT_OWNER);
    CHECK(do_set(file, SET_GID, 0, 0, 200, 0, 0) == ERROR_NOT_OWNER && do_set(file, SET_GID, 0, 0, 100, 0, 0) == OK);
    CHECK(do_stat(root, "tmp/x", 0, &record, &number) == OK && record.mode == (MODE_REGULAR | 0777)); /* chown took the bits */
    CHECK(do_set(file, SET_MTIME | SET_ATIME, 0, 0, 0, -7, 9) == OK && do_stat(root, "tmp/x", 0, &record, &number) == OK);
    CHECK(record.atime_ns == -7 && record.mtime_ns == 9 && record.ctime_ns > 9);
    CHECK(do_set(file, 1u << 20, 0, 0, 0, 0, 0) == ERROR_BAD_ARGUMENT);
    CHECK(do_open(peer, "tmp/x", OPEN_READ | OPEN_EXECUTE, 0, &other) == OK);
    fake_close(&service, other);
    CHECK(do_set(file, SET_MODE, 0077, 0, 0, 0, 0) == OK && do_open(user, "tmp/x", OPEN_READ, 0, &other) == ERROR_NO_PERMISSION);
    CHECK(do_open(root, "tmp/x", RW, 0, &other) == OK);
    fake_close(&service, other);
    CHECK(do_set(file, SET_MODE, 0666, 0, 0, 0, 0) == OK && do_open(root, "tmp/x", OPEN_EXECUTE, 0, &other) == ERROR_NO_PERMISSION);
    fake_close(&service, file);
    CHECK(do_make(root, "set", MODE_DIRECTORY | MODE_SETGID | 0777) == OK && do_open(root, "set", OPEN_PATH, 0, &file) == OK);
    CHECK(do_set(file, SET_GID, 0, 0, 77, 0, 0) == OK && do_make(user, "set/sub", MODE_DIRECTORY | 0755) == OK);
    CHECK(do_stat(root, "set/sub", 0, &record, &number) == OK && record.gid == 77 && (record.mode & MODE_SETGID) != 0);
    fake_close(&service, file);
    CHECK(do_make(user, "tmp/null", MODE_CHARACTER | 0666) == ERROR_NOT_OWNER && do_make(user, "tmp/fifo", MODE_FIFO | 0666) == OK);
    struct tess_call call = {};
    CHECK(fake_call(&service, user, OP_DIRECTORY_IDENTIFY, (uint64_t[12]){0}, &root, &call) == ERROR_MISSING_RIGHT);
    CHECK(fake_call(&service, user, OP_DIRECTORY_CHANGE_ROOT, (uint64_t[12]){0}, nullptr, &call) == ERROR_NOT_OWNER);
    fake_close(&service, user);
    CHECK(do_open(root, "tmp", OPEN_PATH, 0, &file) == OK);
    CHECK(fake_call(&service, file, OP_DIRECTORY_CHANGE_ROOT, (uint64_t[12]){0}, nullptr, &call) == OK);
    handle_t jail = call.words[8];
    CHECK(do_stat(jail, "/../../x", 0, &record, &number) == OK && record.uid == 1000 &&
          do_stat(jail, "/tmp", 0, &record, &number) == ERROR_NOT_FOUND);
    fake_close(&service, jail);
    fake_close(&service, file);
    fake_close(&service, peer);
    end();
}

static void bytes(void)
{
    begin();
    handle_t memory;
    CHECK(do_open(root, "f", RW | OPEN_CREATE, 0644, &file) == OK);
    CHECK(do_extend(file, 0, 5000, 100, &offset) == OK && offset == 5000 && fake.pages == 1);
    CHECK(do_memory(file, &memory, &data) == OK && fake_rights(memory) == (MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE | MEMORY_RIGHT_EXEC));
    CHECK(fake_store(memory, 5000, "hello", 5));
    CHECK(do_extend(file, EXTEND_APPEND, 0, 10, &offset) == OK && offset == 5100);
    CHECK(do_stat(root, "f", 0, &record, &number) == OK && record.size == 5110);
    char text[8] = "";
    fake_load(memory, 5000, text, 5);
    CHECK_TEXT(text, "hello");
    CHECK(do_truncate(file, 5002) == OK && do_truncate(file, 5010) == OK);
    fake_load(memory, 5000, text, 5);
    CHECK_TEXT(text, "he");
    CHECK(do_truncate(file, 0) == OK && do_stat(root, "f", 0, &record, &number) == OK && record.size == 0 && fake.pages == 0);
    CHECK(do_truncate(file, HOST_BYTES_MAX + 1) == ERROR_OVERFLOW && do_extend(file, 0, UINT64_MAX, 2, &offset) == ERROR_OVERFLOW);
    CHECK(do_extend(file, 0, 0, (1 << 20) + 1, &offset) == ERROR_BAD_ARGUMENT && do_extend(file, 2, 0, 1, &offset) == ERROR_BAD_ARGUMENT);
    fake.pages_max = 2;
    CHECK(do_extend(file, 0, 100, 3 * HOST_PAGE, &offset) == ERROR_NO_SPACE);
    CHECK(do_stat(root, "f", 0, &record, &number) == OK && record.size == 0 && fake.pages <= 1);
    CHECK(do_truncate(file, 0) == OK && do_extend(file, 0, 100, HOST_PAGE, &offset) == OK && fake.pages == 2);
    fake.pages_max = 100;
    host_handle_delete(memory);
    CHECK(do_remove(root, "f", 0) == OK && fake.pages == 2); /* still open */
    CHECK(do_open(file, "", OPEN_READ | OPEN_EMPTY, 0, &other) == OK && do_link(root, file, "again") == ERROR_NOT_FOUND);
    CHECK(do_memory(other, &memory, &data) == OK && (fake_rights(memory) & MEMORY_RIGHT_WRITE) == 0);
    CHECK(do_truncate(other, 0) == ERROR_NO_PERMISSION);
    host_handle_delete(memory);
    fake_close(&service, other);
    fake_close(&service, file);
    CHECK(fake.pages == 0);
    CHECK(do_open(root, ".", OPEN_WRITE | OPEN_TEMPORARY, 0600, &file) == OK && do_extend(file, 0, 0, 1, &offset) == OK);
    CHECK(do_link(root, file, "named") == OK && do_stat(root, "named", 0, &record, &number) == OK && record.links == 1);
    fake_close(&service, file);
    CHECK(do_open(root, ".", OPEN_WRITE | OPEN_TEMPORARY | OPEN_EXCLUSIVE, 0600, &file) == OK &&
          do_link(root, file, "n2") == ERROR_NOT_FOUND);
    fake_close(&service, file);
    /* Holes */
    CHECK(do_open(root, "h", RW | OPEN_CREATE, 0600, &file) == OK && do_extend(file, 0, 0, 4 * HOST_PAGE, &offset) == OK &&
          fake.pages == 5);
    struct tess_call call = {};
    uint64_t punch[12] = {ALLOCATE_PUNCH | ALLOCATE_KEEP_SIZE, 100, 2 * HOST_PAGE};
    CHECK(fake_call(&service, file, OP_FILE_ALLOCATE, punch, nullptr, &call) == OK && fake.pages == 4);
    CHECK(fake_call(&service, file, OP_FILE_ALLOCATE, (uint64_t[12]){0, 0, 6 * HOST_PAGE}, nullptr, &call) == OK && fake.pages == 7);
    CHECK(fake_call(&service, file, OP_FILE_ALLOCATE, (uint64_t[12]){8, 0, 1}, nullptr, &call) == ERROR_UNSUPPORTED);
    CHECK(fake_call(&service, file, OP_FILE_ALLOCATE, (uint64_t[12]){0, 0, 0}, nullptr, &call) == ERROR_BAD_ARGUMENT);
    fake_close(&service, file);
    end();
}

static void locks(void)
{
    begin();
    handle_t a = HANDLE_NONE, b = HANDLE_NONE;
    create("l", 0600);
    CHECK(do_open(root, "l", RW, 0, &a) == OK && do_open(root, "l", RW, 0, &b) == OK);
    CHECK(do_lock(a, LOCK_WHOLE | LOCK_SHARED, 0, UINT64_MAX, 0) == OK && do_lock(b, LOCK_WHOLE | LOCK_SHARED, 0, UINT64_MAX, 0) == OK);
    CHECK(do_lock(a, LOCK_WHOLE | LOCK_EXCLUSIVE, 0, UINT64_MAX, 0) == ERROR_WOULD_BLOCK);
    CHECK(do_lock(a, LOCK_WHOLE | LOCK_EXCLUSIVE | LOCK_WAIT, 0, UINT64_MAX, 11) == 1 && fake.reply_count == 0);
    CHECK(do_lock(b, LOCK_WHOLE | LOCK_UNLOCK, 0, UINT64_MAX, 0) == OK && fake.reply_count == 1 && fake.replies[0] == 11);
    CHECK(do_lock(b, LOCK_WHOLE | LOCK_SHARED, 0, UINT64_MAX, 0) == ERROR_WOULD_BLOCK);
    CHECK(do_lock(b, LOCK_EXCLUSIVE, 10, 20, 0) == OK && do_lock(b, LOCK_SHARED, 12, 14, 0) == OK); /* another space; three parts now */
    CHECK(do_lock(a, LOCK_SHARED, 12, 14, 0) == OK && do_lock(a, LOCK_SHARED, 11, 14, 0) == ERROR_WOULD_BLOCK);
    CHECK(do_lock(a, LOCK_EXCLUSIVE, 20, 21, 0) == OK && service.fs.lock_count == 6);
    CHECK(do_lock(b, LOCK_UNLOCK, 0, UINT64_MAX, 0) == OK && service.fs.lock_count == 3);
    struct tess_call call = {};
    CHECK(fake_call(&service, a, OP_FILE_LOCKER, (uint64_t[12]){42}, nullptr, &call) == OK);
    handle_t locker = call.words[8];
    CHECK(do_lock(locker, LOCK_EXCLUSIVE, 100, 200, 0) == OK);
    CHECK(fake_call(&service, b, OP_FILE_LOCK_QUERY, (uint64_t[12]){LOCK_SHARED, 150, 151}, nullptr, &call) == OK);
    CHECK(call.words[0] == LOCK_EXCLUSIVE && call.words[1] == 100 && call.words[2] == 200 && call.words[3] == 42);
    CHECK(do_lock(b, LOCK_EXCLUSIVE | LOCK_WAIT, 150, 160, 12) == 1);
    fake_close(&service, locker); /* its process died */
    CHECK(fake.reply_count == 2 && fake.replies[1] == 12 && fake.reply_status[1] == OK);
    CHECK(do_lock(a, LOCK_EXCLUSIVE | LOCK_WAIT, 150, 160, 13) == 1);
    fake.is_deaf = true;
    CHECK(do_lock(b, LOCK_UNLOCK, 0, UINT64_MAX, 0) == OK); /* who waited is gone: the lock is free */
    fake.is_deaf = false;
    CHECK(do_lock(b, LOCK_EXCLUSIVE, 150, 160, 0) == OK && do_lock(a, LOCK_EXCLUSIVE | LOCK_WAIT, 150, 160, 14) == 1);
    service_cancelled(&service, 14);
    CHECK(service.fs.waiter_count == 0 && do_lock(a, LOCK_EXCLUSIVE | LOCK_WAIT, 150, 160, 15) == 1);
    uint64_t before = fake.reply_count;
    fake_close(&service, a);
    CHECK(fake.reply_count == before + 1 && fake.reply_status[before % 8] == ERROR_CANCELLED && service.fs.waiter_count == 0);
    CHECK(do_lock(b, LOCK_SHARED, 5, 5, 0) == ERROR_BAD_ARGUMENT && do_lock(b, 0, 5, 6, 0) == ERROR_BAD_ARGUMENT);
    CHECK(do_open(root, "l", OPEN_READ, 0, &a) == OK && do_lock(a, LOCK_EXCLUSIVE, 0, 1, 0) == ERROR_NO_PERMISSION);
    fake_close(&service, a);
    fake_close(&service, b);
    CHECK(service.fs.lock_count == 0);
    end();
}

static void listing(void)
{
    begin();
    char name[16];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "file%d", i);
        CHECK(do_make(root, name, MODE_REGULAR | 0600) == OK);
    }
    handle_t buffer = fake_buffer(nullptr, 0, 4096);
    uint64_t position = 0;
    int count = 0, seen[300] = {};
    for (;;) {
        struct tess_call call = {};
        CHECK(fake_call(&service, root, OP_DIRECTORY_LIST, (uint64_t[12]){position, 1000}, &buffer, &call) == OK);
        if (call.words[0] == 0) {
            break;
        }
        for (uint64_t at = 0; at < call.words[0];) {
            struct tess_directory_entry head;
            fake_load(buffer, at, &head, sizeof(head));
            memset(name, 0, sizeof(name));
            fake_load(buffer, at + sizeof(head), name, head.name_size);
            at += align_up(sizeof(head) + head.name_size, 8);
            position = head.position;
            int index;
            if (sscanf(name, "file%d", &index) == 1) {
                seen[index]++;
                if (count % 3 == 0) {
                    CHECK(do_remove(root, name, 0) == OK); /* what is listed may go */
                }
            }
            count++;
        }
        CHECK(position == call.words[1]);
    }
    CHECK(count == 302);
    for (int i = 0; i < 300; i++) {
        CHECK(seen[i] == 1);
    }
    struct tess_call call = {};
    CHECK(fake_call(&service, root, OP_DIRECTORY_LIST, (uint64_t[12]){0, 8}, &buffer, &call) == ERROR_OVERFLOW);
    CHECK(do_make(root, "d", MODE_DIRECTORY | 0755) == OK && do_make(root, "d/e", MODE_DIRECTORY | 0755) == OK &&
          do_open(root, "d/e", OPEN_PATH, 0, &file) == OK);
    CHECK(fake_call(&service, file, OP_DIRECTORY_PATH, (uint64_t[12]){100}, &buffer, &call) == OK && call.words[0] == 4);
    memset(name, 0, sizeof(name));
    fake_load(buffer, 0, name, 4);
    CHECK_TEXT(name, "/d/e");
    CHECK(fake_call(&service, root, OP_DIRECTORY_PATH, (uint64_t[12]){100}, &buffer, &call) == OK && call.words[0] == 1);
    fake_close(&service, file);
    host_handle_delete(buffer);
    end();
}

static void mounts(void)
{
    begin();
    CHECK(do_make(root, "proc", MODE_DIRECTORY | 0755) == OK && do_symlink(root, "/proc/self/fd/0", "stdin") == OK);
    entry_find(service.fs.root, "proc", 4)->inode->is_mount = true;
    CHECK(do_stat(root, "stdin", 0, &record, &number) == ERROR_CROSS_MOUNT &&
          do_stat(root, "/proc", 0, &record, &number) == ERROR_CROSS_MOUNT);
    struct tess_call call = {};
    uint64_t words[12] = {0, 0};
    put_path(&words[2], "stdin");
    CHECK(fake_call(&service, root, OP_DIRECTORY_RESOLVE, words, nullptr, &call) == OK && call.words[1] == 9);
    CHECK(memcmp(&call.words[2], "self/fd/0", 9) == 0);
    put_path(&words[2], "/");
    words[2] = '/';
    CHECK(fake_call(&service, root, OP_DIRECTORY_RESOLVE, words, nullptr, &call) == ERROR_NOT_FOUND);
    end();
}

static void xattrs(void)
{
    begin();
    struct tess_call call = {};
    CHECK(do_open(root, "x", RW | OPEN_CREATE, 0600, &file) == OK);
    handle_t buffer = fake_buffer("user.avalue", 11, 4096);
    CHECK(fake_call(&service, file, OP_FILE_XATTR_SET, (uint64_t[12]){XATTR_REPLACE, 6, 5}, &buffer, &call) == ERROR_NOT_FOUND);
    CHECK(fake_call(&service, file, OP_FILE_XATTR_SET, (uint64_t[12]){0, 6, 5}, &buffer, &call) == OK);
    CHECK(fake_call(&service, file, OP_FILE_XATTR_SET, (uint64_t[12]){XATTR_CREATE, 6, 5}, &buffer, &call) == ERROR_ALREADY);
    CHECK(fake_call(&service, file, OP_FILE_XATTR_GET, (uint64_t[12]){6, 0}, &buffer, &call) == OK && call.words[0] == 5);
    CHECK(fake_call(&service, file, OP_FILE_XATTR_GET, (uint64_t[12]){6, 4}, &buffer, &call) == ERROR_OVERFLOW);
    CHECK(fake_call(&service, file, OP_FILE_XATTR_LIST, (uint64_t[12]){0}, &buffer, &call) == OK && call.words[0] == 7);
    CHECK(fake_call(&service, file, OP_FILE_XATTR_GET, (uint64_t[12]){6, 100}, &buffer, &call) == OK);
    char text[8] = "";
    fake_load(buffer, 0, text, 5);
    CHECK_TEXT(text, "value");
    CHECK(fake_call(&service, file, OP_FILE_XATTR_REMOVE, (uint64_t[12]){6}, &buffer, &call) == ERROR_UNSUPPORTED); /* "valuea" */
    host_handle_delete(buffer);
    fake_close(&service, file);
    end();
}

/* An archive with a directory, a file of a page and a half that is aligned, two names of one, a link and a device. */
static void archives(void)
{
    static uint8_t archive[8 * 4096] __attribute__((aligned(4096)));
    static const struct {
        const char *name;
        uint32_t inode, mode, links, size, minor;
    } files[] = {{"./bin", 1, 0040711, 2, 0, 0}, {"bin/sh", 2, 0100755, 2, 0, 0},   {"bin/dash", 2, 0100755, 2, 6000, 0},
                 {"lnk", 3, 0120777, 1, 6, 0},   {"dev/null", 4, 0020666, 1, 0, 3}, {"TRAILER!!!", 0, 0, 1, 0, 0}};
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        size_t name_size = strlen(files[i].name) + 1;
        size_t pad = files[i].size > 4096 ? -(at + 110 + name_size) % 4096 : -(at + 110 + name_size) % 4;
        at += (size_t)snprintf((char *)&archive[at], 111, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", files[i].inode,
                               files[i].mode, 7, 8, files[i].links, 1000, files[i].size, 0, 0, 1, files[i].minor,
                               (unsigned)(name_size + pad), 0);
        memset(&archive[at], 0, name_size + pad);
        memcpy(&archive[at], files[i].name, name_size);
        at += name_size + pad;
        memset(&archive[at], 'x', files[i].size);
        if (files[i].size == 6) {
            memcpy(&archive[at], "bin/sh", 6);
        }
        at += (files[i].size + 3) / 4 * 4;
    }
    fake.archive = archive;
    fake.archive_size = sizeof(archive);
    begin();
    CHECK(archive_load(&service.fs, archive, at) == OK);
    CHECK(do_stat(root, "lnk", 0, &record, &number) == OK && record.size == 6000 && record.links == 2 && record.uid == 7);
    CHECK(record.mtime_ns == INT64_C(1000'000'000'000) && do_stat(root, "bin", 0, &record, &number) == OK && record.mode == 0040711);
    CHECK(do_stat(root, "dev/null", 0, &record, &number) == OK && record.mode == 0020666 && record.size == 0x103);
    CHECK(do_open(root, "bin/sh", OPEN_READ, 0, &file) == OK);
    handle_t memory;
    uint32_t again;
    CHECK(do_memory(file, &memory, &data) == OK && fake.pages == 0 && (fake_rights(memory) & MEMORY_RIGHT_EXEC) != 0);
    CHECK(do_open(root, "bin/dash", RW, 0, &other) == OK && do_extend(other, EXTEND_APPEND, 0, 1, &offset) == OK && offset == 6000);
    host_handle_delete(memory);
    CHECK(do_memory(file, &memory, &again) == OK && again != data && fake.pages == 2);
    char text[2] = "";
    fake_load(memory, 5999, text, 1);
    CHECK_TEXT(text, "x");
    host_handle_delete(memory);
    fake_close(&service, other);
    fake_close(&service, file);
    for (size_t cut = 0; cut < at; cut += 37) { /* damage is found, and nothing is lost */
        struct service *copy = &service;
        fake_close(copy, root);
        fake_end(copy);
        begin();
        CHECK(archive_load(&service.fs, archive, cut) != OK || cut + 110 > at);
    }
    end();
}

int main(void)
{
    names();
    links();
    renames();
    permissions();
    bytes();
    locks();
    listing();
    mounts();
    xattrs();
    archives();
    return check_result();
}
