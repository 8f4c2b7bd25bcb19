/*
 * Fuzz entry: the input is a series of requests of hostile clients, with any words, any handle that they have, paths of a few letters. The service must
 * neither touch what is not its own nor lose anything: when all handles are closed, everything is back.
 */
#include "client.h"
#include <stdlib.h>

static constexpr uint32_t HANDLES = 16;
static const uint8_t *input;
static size_t left;

static uint8_t next(void) { return left > 0 ? (left--, *input++) : 0; }

static uint64_t next_word(void)
{
    uint8_t kind = next();
    static const uint64_t special[] = {
        0, 1, 2, 4096, 4095, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 40, (UINT64_C(1) << 40) + 1, 1 << 20, UINT64_C(1) << 63};
    return kind < 128 ? kind : kind < 192 ? special[kind % ARRAY_LENGTH(special)] : (uint64_t)next() << 8 | next();
}

static void next_path(char *path, uint32_t size)
{
    static const char letters[] = "ab/.\0sd/";
    for (uint32_t i = 0; i < size; i++) {
        path[i] = letters[next() % 8];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t ops[] = {OP_DIRECTORY_OPEN,        OP_DIRECTORY_OPEN_LONG, OP_DIRECTORY_STAT,     OP_DIRECTORY_STAT_LONG,
                                   OP_DIRECTORY_MAKE,        OP_DIRECTORY_MAKE_LONG, OP_DIRECTORY_REMOVE,   OP_DIRECTORY_REMOVE_LONG,
                                   OP_DIRECTORY_RENAME,      OP_DIRECTORY_LINK,      OP_DIRECTORY_SYMLINK,  OP_DIRECTORY_LIST,
                                   OP_DIRECTORY_RESOLVE,     OP_DIRECTORY_PATH,      OP_DIRECTORY_IDENTIFY, OP_DIRECTORY_TABLE,
                                   OP_DIRECTORY_CHANGE_ROOT, OP_DIRECTORY_USAGE,     OP_FILE_MEMORY,        OP_FILE_EXTEND,
                                   OP_FILE_TRUNCATE,         OP_FILE_ALLOCATE,       OP_FILE_TOUCH,         OP_FILE_SET,
                                   OP_FILE_READLINK,         OP_FILE_LOCK,           OP_FILE_LOCK_QUERY,    OP_FILE_LOCKER,
                                   OP_FILE_XATTR_GET,        OP_FILE_XATTR_SET,      OP_FILE_XATTR_LIST,    OP_FILE_XATTR_REMOVE};
    input = data;
    left = size;
    fake_start(&service);
    fake.pages_max = 64;
    handle_t handles[HANDLES] = {};
    if (do_open(HANDLE_NONE, "/", OPEN_READ, 0, &handles[0]) != OK) {
        abort();
    }
    char paths[64];
    handle_t buffer = fake_buffer("user.aa", 7, 4096);
    while (left > 0) {
        uint64_t op = ops[next() % ARRAY_LENGTH(ops)], words[12];
        uint8_t who = next();
        for (uint32_t i = 0; i < 12; i++) {
            words[i] = i < op_words(op) ? next_word() : 0;
        }
        bool has_path = op_words(op) == 12;
        if (has_path) {
            next_path(paths, 16);
            memset(&words[2], 0, 80);
            memcpy(&words[2], paths, 16);
        } else if (op_handles(op) > 0 && who >= 64) {
            next_path(paths, 32);
            if (!fake_store(buffer, 0, paths, 32)) {
                abort();
            }
        }
        if ((op == OP_DIRECTORY_OPEN || op == OP_DIRECTORY_OPEN_LONG) && (who & 128) != 0) {
            words[0] |= OPEN_READ | OPEN_WRITE | OPEN_CREATE;
        }
        if ((op == OP_DIRECTORY_MAKE || op == OP_DIRECTORY_MAKE_LONG) && (who & 128) != 0) {
            words[0] = MODE_DIRECTORY | (words[0] & 0777);
        }
        handle_t sent[4] = {buffer, buffer, buffer, buffer};
        if (op_handles(op) == 2 || op == OP_DIRECTORY_IDENTIFY) {
            sent[0] = handles[who / HANDLES % HANDLES] != HANDLE_NONE ? handles[who / HANDLES % HANDLES] : buffer;
        }
        fake.allocations_max = who == 77 ? fake.allocations : UINT64_MAX;
        struct tess_call call = {.token = who};
        handle_t through = handles[who % HANDLES];
        bool is_manifest = op == OP_DIRECTORY_IDENTIFY && (who & 1) != 0;
        if (through == HANDLE_NONE && !is_manifest) {
            through = handles[0];
        }
        status_t status = fake_call(&service, is_manifest ? HANDLE_NONE : through, op, words, sent, &call);
        if (status == OK && call.reply_handles == 1) {
            uint32_t slot = 1 + (who >> 3) % (HANDLES - 1);
            if (handles[slot] != HANDLE_NONE) {
                fake_close(&service, handles[slot]);
            }
            handles[slot] = call.words[8];
        } else if (who == 99) {
            service_cancelled(&service, next());
        }
    }
    for (uint32_t i = 0; i < HANDLES; i++) {
        if (handles[i] != HANDLE_NONE) {
            fake_close(&service, handles[i]);
        }
    }
    host_handle_delete(buffer);
    if (service.file_count != 0 || service.fs.lock_count != 0 || service.fs.waiter_count != 0) {
        abort();
    }
    fake_end(&service);
    return 0;
}
