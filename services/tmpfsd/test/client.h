/* Calls of a client, in one line each. */
#pragma once
#include "fake_host.h"
#include <tess/util.h>

static struct service service;

static inline void put_path(uint64_t *words, const char *path) { memcpy(words, path, strnlen(path, 80)); }

[[maybe_unused]] static status_t do_open(handle_t from, const char *path, uint32_t flags, uint32_t mode, handle_t *out_file)
{
    struct tess_call call = {};
    size_t size = strlen(path);
    uint64_t words[12] = {flags, mode};
    status_t status;
    if (size <= 80) {
        put_path(&words[2], path);
        status = fake_call(&service, from, OP_DIRECTORY_OPEN, words, nullptr, &call);
    } else {
        handle_t buffer = fake_buffer(path, size, size);
        words[2] = size;
        status = fake_call(&service, from, OP_DIRECTORY_OPEN_LONG, words, &buffer, &call);
        host_handle_delete(buffer);
    }
    *out_file = status == OK ? call.words[8] : HANDLE_NONE;
    return status;
}

[[maybe_unused]] static status_t do_stat(handle_t from, const char *path, uint32_t flags, struct tess_inode_record *out_record,
                                         uint32_t *out_inode)
{
    struct tess_call call = {};
    uint64_t words[12] = {flags};
    put_path(&words[2], path);
    status_t status = fake_call(&service, from, OP_DIRECTORY_STAT, words, nullptr, &call);
    *out_inode = (uint32_t)call.words[0];
    memcpy(out_record, &call.words[1], sizeof(*out_record));
    return status;
}

[[maybe_unused]] static status_t do_make(handle_t from, const char *path, uint32_t mode)
{
    struct tess_call call = {};
    uint64_t words[12] = {mode, 0};
    put_path(&words[2], path);
    return fake_call(&service, from, OP_DIRECTORY_MAKE, words, nullptr, &call);
}

[[maybe_unused]] static status_t do_remove(handle_t from, const char *path, uint32_t flags)
{
    struct tess_call call = {};
    uint64_t words[12] = {flags, 0};
    put_path(&words[2], path);
    return fake_call(&service, from, OP_DIRECTORY_REMOVE, words, nullptr, &call);
}

static inline handle_t two_texts(const char *first, const char *second)
{
    char text[2 * PATH_MAX_BYTES];
    memcpy(text, first, strlen(first));
    memcpy(text + strlen(first), second, strlen(second));
    return fake_buffer(text, strlen(first) + strlen(second), 0);
}

[[maybe_unused]] static status_t do_rename(handle_t from, const char *old, handle_t to, const char *new, uint32_t flags)
{
    struct tess_call call = {};
    uint64_t words[12] = {flags, strlen(old), strlen(new)};
    handle_t handles[2] = {to, two_texts(old, new)};
    status_t status = fake_call(&service, from, OP_DIRECTORY_RENAME, words, handles, &call);
    host_handle_delete(handles[1]);
    return status;
}

[[maybe_unused]] static status_t do_link(handle_t from, handle_t file, const char *path)
{
    struct tess_call call = {};
    uint64_t words[12] = {0, strlen(path)};
    handle_t handles[2] = {file, fake_buffer(path, strlen(path), 0)};
    status_t status = fake_call(&service, from, OP_DIRECTORY_LINK, words, handles, &call);
    host_handle_delete(handles[1]);
    return status;
}

[[maybe_unused]] static status_t do_symlink(handle_t from, const char *target, const char *path)
{
    struct tess_call call = {};
    uint64_t words[12] = {strlen(target), strlen(path)};
    handle_t buffer = two_texts(target, path);
    status_t status = fake_call(&service, from, OP_DIRECTORY_SYMLINK, words, &buffer, &call);
    host_handle_delete(buffer);
    return status;
}

[[maybe_unused]] static status_t do_memory(handle_t file, handle_t *out_memory, uint32_t *out_data)
{
    struct tess_call call = {};
    uint64_t words[12] = {};
    status_t status = fake_call(&service, file, OP_FILE_MEMORY, words, nullptr, &call);
    *out_data = (uint32_t)call.words[0];
    *out_memory = status == OK ? call.words[8] : HANDLE_NONE;
    return status;
}

[[maybe_unused]] static status_t do_extend(handle_t file, uint32_t flags, uint64_t offset, uint64_t size, uint64_t *out_offset)
{
    struct tess_call call = {};
    uint64_t words[12] = {flags, offset, size};
    status_t status = fake_call(&service, file, OP_FILE_EXTEND, words, nullptr, &call);
    *out_offset = call.words[0];
    return status;
}

[[maybe_unused]] static status_t do_truncate(handle_t file, uint64_t size)
{
    struct tess_call call = {};
    uint64_t words[12] = {size};
    return fake_call(&service, file, OP_FILE_TRUNCATE, words, nullptr, &call);
}

[[maybe_unused]] static status_t do_lock(handle_t file, uint32_t flags, uint64_t start, uint64_t end, uint64_t token)
{
    struct tess_call call = {.token = token};
    uint64_t words[12] = {flags, start, end};
    status_t status = fake_call(&service, file, OP_FILE_LOCK, words, nullptr, &call);
    return status == OK && call.is_deferred ? 1 : status;
}

[[maybe_unused]] static status_t do_set(handle_t file, uint32_t what, uint32_t mode, uint32_t uid, uint32_t gid, int64_t atime,
                                        int64_t mtime)
{
    struct tess_call call = {};
    uint64_t words[12] = {what, mode, uid, gid, (uint64_t)atime, (uint64_t)mtime};
    return fake_call(&service, file, OP_FILE_SET, words, nullptr, &call);
}

[[maybe_unused]] static handle_t do_identify(uint32_t uid, uint32_t gid, handle_t directory)
{
    struct tess_call call = {};
    uint64_t words[12] = {uid, gid, 0};
    status_t status = fake_call(&service, HANDLE_NONE, OP_DIRECTORY_IDENTIFY, words, &directory, &call);
    return status == OK ? call.words[8] : HANDLE_NONE;
}
