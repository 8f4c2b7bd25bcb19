/*
 * A random series of requests beside a model that is as simple as can be: files by number, names as pairs (directory, name), bytes in arrays. Answers, sizes,
 * links and bytes must agree at every step; and with memory running out at any allocation nothing half done may be seen.
 */
#include "client.h"
#include <check.h>
#include <stdlib.h>

static constexpr uint32_t OBJECTS = 64, NAMES = 6, BYTES = 3 * 4096;

struct object {
    bool is_used, is_directory;
    uint32_t parent; /* of a directory */
    uint32_t links;
    uint32_t size;
    uint8_t data[BYTES];
    uint32_t entries[NAMES]; /* object + 1, by name */
};
static struct object objects[OBJECTS];
static handle_t root;
static uint64_t state;

static uint32_t random_below(uint32_t limit)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % limit;
}

static uint32_t object_new(bool is_directory)
{
    for (uint32_t i = 1; i < OBJECTS; i++) {
        if (!objects[i].is_used) {
            objects[i] = (struct object){.is_used = true, .is_directory = is_directory};
            return i;
        }
    }
    return 0;
}

/* A random directory, with its path. */
static uint32_t random_directory(char *path)
{
    uint32_t at = 0;
    path[0] = '\0';
    while (random_below(3) != 0) {
        uint32_t name = random_below(NAMES);
        uint32_t next = objects[at].entries[name];
        if (next == 0 || !objects[next - 1].is_directory || strlen(path) > 60) {
            break;
        }
        sprintf(path + strlen(path), "/%c", 'a' + name);
        at = next - 1;
    }
    return at;
}

static bool is_below(uint32_t object, uint32_t directory)
{
    while (object != 0 && object != directory) {
        object = objects[object].parent;
    }
    return object == directory;
}

static bool is_empty(uint32_t directory)
{
    for (uint32_t i = 0; i < NAMES; i++) {
        if (objects[directory].entries[i] != 0) {
            return false;
        }
    }
    return true;
}

static void drop(uint32_t object)
{
    objects[object].links--;
    objects[object].is_used = !objects[object].is_directory && objects[object].links > 0;
}

struct place {
    uint32_t directory, name, object; /* object + 1 */
    char path[80];
};

static struct place random_place(void)
{
    struct place place;
    place.directory = random_directory(place.path);
    place.name = random_below(NAMES);
    place.object = objects[place.directory].entries[place.name];
    sprintf(place.path + strlen(place.path), "/%c", 'a' + place.name);
    return place;
}

/* What the model says a rename answers. */
static status_t model_rename(const struct place *from, const struct place *to, uint32_t flags)
{
    if (from->object == 0) {
        return ERROR_NOT_FOUND;
    }
    uint32_t moved = from->object - 1, there = to->object;
    if (objects[moved].is_directory && is_below(to->directory, moved)) {
        return ERROR_BAD_ARGUMENT;
    }
    if (there == 0) {
        return flags == RENAME_SWAP ? ERROR_NOT_FOUND : OK;
    }
    if (flags == RENAME_KEEP) {
        return ERROR_ALREADY;
    }
    if (there == from->object) {
        return OK;
    }
    if (flags == RENAME_SWAP) {
        return objects[there - 1].is_directory && is_below(from->directory, there - 1) ? ERROR_BAD_ARGUMENT : OK;
    }
    if (objects[there - 1].is_directory) {
        return !objects[moved].is_directory ? ERROR_IS_DIRECTORY : is_empty(there - 1) ? OK : ERROR_NOT_EMPTY;
    }
    return objects[moved].is_directory ? ERROR_NOT_DIRECTORY : OK;
}

static void apply_rename(const struct place *from, const struct place *to, uint32_t flags)
{
    uint32_t moved = from->object;
    if (to->object == moved) {
        return;
    }
    objects[from->directory].entries[from->name] = flags == RENAME_SWAP ? to->object : 0;
    if (flags == RENAME_SWAP) {
        objects[to->object - 1].parent = objects[to->object - 1].is_directory ? from->directory : 0;
    } else if (to->object != 0) {
        drop(to->object - 1);
    }
    objects[to->directory].entries[to->name] = moved;
    objects[moved - 1].parent = objects[moved - 1].is_directory ? to->directory : 0;
}

static bool is_failing; /* an allocation may have failed: NO_SPACE is an answer too, if nothing was done */

static bool agrees(status_t got, status_t wanted, const char *what, const char *path)
{
    if (is_failing && got == ERROR_NO_SPACE && (wanted == OK || wanted == ERROR_NO_SPACE)) {
        return false;
    }
    if (got != wanted) {
        printf("%s %s: %d, wanted %d\n", what, path, got, wanted);
        CHECK(got == wanted);
    }
    return got == OK && wanted == OK;
}

static void step_make(bool is_directory)
{
    struct place place = random_place();
    uint32_t object = object_new(is_directory);
    if (object == 0) {
        return;
    }
    objects[object].is_used = false;
    status_t wanted = place.object != 0 ? ERROR_ALREADY : OK;
    status_t got = do_make(root, place.path, is_directory ? MODE_DIRECTORY | 0755 : MODE_REGULAR | 0644);
    if (agrees(got, wanted, "make", place.path)) {
        objects[object].is_used = true;
        objects[object].links = 1;
        objects[object].parent = is_directory ? place.directory : 0;
        objects[place.directory].entries[place.name] = object + 1;
    }
}

static void step_remove(bool is_directory)
{
    struct place place = random_place();
    status_t wanted = place.object == 0                                        ? ERROR_NOT_FOUND
                      : objects[place.object - 1].is_directory != is_directory ? (is_directory ? ERROR_NOT_DIRECTORY : ERROR_IS_DIRECTORY)
                      : is_directory && !is_empty(place.object - 1)            ? ERROR_NOT_EMPTY
                                                                               : OK;
    if (agrees(do_remove(root, place.path, is_directory ? REMOVE_DIRECTORY : 0), wanted, "remove", place.path)) {
        objects[place.directory].entries[place.name] = 0;
        drop(place.object - 1);
    }
}

static void step_rename(void)
{
    static const uint32_t kinds[] = {0, 0, RENAME_KEEP, RENAME_SWAP};
    struct place from = random_place(), to = random_place();
    uint32_t flags = kinds[random_below(4)];
    if (agrees(do_rename(root, from.path, root, to.path, flags), model_rename(&from, &to, flags), "rename", to.path)) {
        apply_rename(&from, &to, flags);
    }
}

static void step_link(void)
{
    struct place from = random_place(), to = random_place();
    handle_t file;
    if (do_open(root, from.path, OPEN_PATH, 0, &file) != OK) {
        CHECK(from.object == 0 || is_failing);
        return;
    }
    status_t wanted = objects[from.object - 1].is_directory ? ERROR_NOT_OWNER : to.object != 0 ? ERROR_ALREADY : OK;
    if (agrees(do_link(root, file, to.path), wanted, "link", to.path)) {
        objects[to.directory].entries[to.name] = from.object;
        objects[from.object - 1].links++;
    }
    fake_close(&service, file);
}

static void step_bytes(void)
{
    struct place place = random_place();
    handle_t file, memory;
    uint32_t data;
    uint64_t at;
    if (place.object == 0 || objects[place.object - 1].is_directory || do_open(root, place.path, OPEN_READ | OPEN_WRITE, 0, &file) != OK) {
        return;
    }
    struct object *object = &objects[place.object - 1];
    uint32_t offset = random_below(BYTES), size = 1 + random_below(BYTES - offset);
    bool is_append = random_below(4) == 0 && object->size + size <= BYTES;
    if (random_below(3) == 0) {
        if (agrees(do_truncate(file, offset), OK, "truncate", place.path)) {
            memset(object->data + offset, 0, BYTES - offset);
            object->size = offset;
        }
    } else if (agrees(do_extend(file, is_append ? EXTEND_APPEND : 0, offset, size, &at), OK, "extend", place.path)) {
        CHECK(at == (is_append ? object->size : offset));
        if (do_memory(file, &memory, &data) == OK) {
            uint8_t byte = (uint8_t)(1 + random_below(255)), block[BYTES];
            memset(block, byte, size);
            if (fake_store(memory, at, block, size)) {
                memset(object->data + at, byte, size);
            }
            host_handle_delete(memory);
        }
        object->size = (uint32_t)max_u64(object->size, at + size);
    }
    fake_close(&service, file);
}

static void compare(uint32_t directory, char *path)
{
    size_t length = strlen(path);
    for (uint32_t i = 0; i < NAMES; i++) {
        struct tess_inode_record record;
        uint32_t number;
        sprintf(path + length, "/%c", 'a' + i);
        if (strlen(path) > 80) {
            continue;
        }
        uint32_t there = objects[directory].entries[i];
        CHECK(do_stat(root, path, 0, &record, &number) == (there == 0 ? ERROR_NOT_FOUND : OK));
        if (there == 0) {
            continue;
        }
        const struct object *object = &objects[there - 1];
        handle_t file, memory;
        uint32_t data;
        if (object->is_directory) {
            compare(there - 1, path);
            continue;
        }
        CHECK(record.size == object->size && record.links == object->links);
        if (object->size > 0 && do_open(root, path, OPEN_READ, 0, &file) == OK) {
            uint8_t block[BYTES];
            if (do_memory(file, &memory, &data) == OK) {
                fake_load(memory, 0, block, object->size);
                CHECK(memcmp(block, object->data, object->size) == 0);
                host_handle_delete(memory);
            }
            fake_close(&service, file);
        }
    }
    path[length] = '\0';
}

static void run(uint64_t seed, uint32_t steps, bool may_fail)
{
    char path[200] = "";
    state = seed;
    memset(objects, 0, sizeof(objects));
    objects[0] = (struct object){.is_used = true, .is_directory = true, .links = 1};
    fake_start(&service);
    fake.pages_max = may_fail ? 20 : 4096;
    CHECK(do_open(HANDLE_NONE, "/", OPEN_READ, 0, &root) == OK);
    for (uint32_t i = 0; i < steps; i++) {
        is_failing = may_fail;
        fake.allocations_max = may_fail && random_below(3) == 0 ? fake.allocations + random_below(2) : UINT64_MAX;
        switch (random_below(8)) {
        case 0: step_make(true); break;
        case 1: step_make(false); break;
        case 2: step_remove(random_below(2) == 0); break;
        case 3: step_rename(); break;
        case 4: step_link(); break;
        default: step_bytes(); break;
        }
        fake.allocations_max = UINT64_MAX;
        if (i % 64 == 0) {
            compare(0, path);
        }
    }
    compare(0, path);
    fake_close(&service, root);
    fake_end(&service);
}

int main(void)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run(seed, 800, seed % 3 == 0);
    }
    return check_result();
}
