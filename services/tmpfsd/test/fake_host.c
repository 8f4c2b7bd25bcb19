#include "fake_host.h"
#include <stdio.h>
#include <stdlib.h>
#include <tess/util.h>

struct fake fake;

enum kind : uint32_t { KIND_FREE, KIND_BYTES, KIND_BADGE, KIND_TABLE };
struct object {
    enum kind kind;
    uint32_t users;
    uint8_t *data;
    uint64_t pages;
    bool *there; /* by page */
    uint64_t badge;
    bool is_buffer, is_slice;
};
struct slot {
    struct object *object;
    uint32_t rights;
};
static struct slot slots[1u << 16];
static uint32_t slot_hint;
static struct tess_inode_record table[FAKE_INODES];
static struct inode *inodes[FAKE_INODES];
static uint32_t indices[FAKE_INODES];

static void *allocate(struct allocator *, size_t size, size_t)
{
    if (fake.allocations >= fake.allocations_max) {
        return nullptr;
    }
    fake.allocations++;
    return malloc(size);
}

static void release(struct allocator *, void *pointer, size_t)
{
    fake.allocations--;
    free(pointer);
}

static handle_t slot_new(struct object *object, uint32_t rights)
{
    for (uint32_t i = 0; i < ARRAY_LENGTH(slots); i++) {
        struct slot *slot = &slots[(slot_hint + i) % ARRAY_LENGTH(slots)];
        if (slot->object == nullptr) {
            *slot = (struct slot){.object = object, .rights = rights};
            object->users++;
            fake.handles++;
            slot_hint = (uint32_t)(slot - slots) + 1;
            return (handle_t)(slot - slots) + 1;
        }
    }
    abort();
}

static struct slot *slot_of(handle_t handle)
{
    if (handle == 0 || handle > ARRAY_LENGTH(slots) || slots[handle - 1].object == nullptr) {
        printf("no handle: %llu\n", (unsigned long long)handle);
        abort();
    }
    return &slots[handle - 1];
}

void host_handle_delete(handle_t handle)
{
    if (handle == HANDLE_NONE) {
        return;
    }
    struct slot *slot = slot_of(handle);
    struct object *object = slot->object;
    slot->object = nullptr;
    fake.handles--;
    if (--object->users > 0) {
        return;
    }
    for (uint64_t i = 0; i < object->pages && !object->is_buffer; i++) {
        fake.pages -= object->there[i];
    }
    free(object->data);
    free(object->there);
    free(object);
}

static struct object *bytes_new(uint64_t pages)
{
    struct object *object = calloc(1, sizeof(*object));
    *object = (struct object){.kind = KIND_BYTES, .pages = pages, .data = calloc(pages, HOST_PAGE), .there = calloc(pages, 1)};
    return object;
}

/* The tests' files are small; a larger one has no memory. */
static constexpr uint64_t PAGES_MAX = 4096;

status_t host_bytes_create(uint64_t pages, handle_t *out_bytes)
{
    if (pages > PAGES_MAX) {
        return ERROR_NO_SPACE;
    }
    *out_bytes = slot_new(bytes_new(pages), UINT32_MAX);
    return OK;
}

status_t host_bytes_resize(handle_t bytes, uint64_t pages)
{
    struct object *object = slot_of(bytes)->object;
    if (object->is_slice) {
        abort();
    }
    if (pages > PAGES_MAX) {
        return ERROR_NO_SPACE;
    }
    for (uint64_t i = pages; i < object->pages; i++) {
        fake.pages -= object->there[i];
    }
    object->data = realloc(object->data, pages * HOST_PAGE);
    object->there = realloc(object->there, pages);
    if (pages > object->pages) {
        memset(object->data + object->pages * HOST_PAGE, 0, (pages - object->pages) * HOST_PAGE);
        memset(object->there + object->pages, 0, pages - object->pages);
    }
    object->pages = pages;
    return OK;
}

static void check_range(const struct object *object, uint64_t offset, uint64_t size)
{
    if (!is_range_within(offset, size, object->pages * HOST_PAGE)) {
        printf("range %llu %llu of %llu pages\n", (unsigned long long)offset, (unsigned long long)size, (unsigned long long)object->pages);
        abort();
    }
}

static bool take_pages(struct object *object, uint64_t offset, uint64_t size)
{
    for (uint64_t i = offset / HOST_PAGE; size > 0 && i <= (offset + size - 1) / HOST_PAGE; i++) {
        if (!object->there[i] && !object->is_buffer) {
            if (fake.pages >= fake.pages_max) {
                return false;
            }
            fake.pages++;
            object->there[i] = true;
        }
    }
    return true;
}

status_t host_bytes_commit(handle_t bytes, uint64_t offset, uint64_t size)
{
    struct object *object = slot_of(bytes)->object;
    check_range(object, offset, size);
    return take_pages(object, offset, size) ? OK : ERROR_NO_SPACE;
}

status_t host_bytes_decommit(handle_t bytes, uint64_t offset, uint64_t size)
{
    struct object *object = slot_of(bytes)->object;
    check_range(object, offset, size);
    if (offset % HOST_PAGE != 0 || size % HOST_PAGE != 0 || object->is_slice) {
        abort();
    }
    memset(object->data + offset, 0, size);
    for (uint64_t i = offset / HOST_PAGE; i < (offset + size) / HOST_PAGE; i++) {
        fake.pages -= object->there[i];
        object->there[i] = false;
    }
    return OK;
}

status_t host_bytes_zero(handle_t bytes, uint64_t offset, uint64_t size)
{
    struct object *object = slot_of(bytes)->object;
    check_range(object, offset, size);
    memset(object->data + offset, 0, size);
    return OK;
}

status_t host_bytes_fill(handle_t bytes, uint64_t archive_offset, uint64_t size)
{
    struct object *object = slot_of(bytes)->object;
    check_range(object, 0, size);
    if (!take_pages(object, 0, size)) {
        return ERROR_NO_SPACE;
    }
    memcpy(object->data, (const uint8_t *)fake.archive + archive_offset, size);
    return OK;
}

status_t host_slice(uint64_t archive_offset, uint64_t size, handle_t *out_bytes)
{
    struct object *object = bytes_new(size / HOST_PAGE);
    uint64_t there = min_u64(size, fake.archive_size - archive_offset);
    memcpy(object->data, (const uint8_t *)fake.archive + archive_offset, there);
    object->is_slice = object->is_buffer = true;
    *out_bytes = slot_new(object, MEMORY_RIGHT_READ | MEMORY_RIGHT_EXEC);
    return OK;
}

status_t host_bytes_share(handle_t bytes, uint32_t rights, handle_t *out_handle)
{
    const struct slot *slot = slot_of(bytes);
    *out_handle = slot_new(slot->object, slot->rights & rights);
    return OK;
}

static struct object table_object = {.kind = KIND_TABLE, .users = 1};
status_t host_table_share(handle_t *out_handle)
{
    *out_handle = slot_new(&table_object, MEMORY_RIGHT_READ);
    return OK;
}

status_t host_badge_mint(uint64_t badge, uint32_t rights, handle_t *out_handle)
{
    if (fake.handles > ARRAY_LENGTH(slots) - 64) {
        return ERROR_NO_SPACE;
    }
    struct object *object = calloc(1, sizeof(*object));
    object->kind = KIND_BADGE;
    object->badge = badge;
    *out_handle = slot_new(object, rights);
    return OK;
}

status_t host_badge_of(handle_t handle, uint64_t *out_badge)
{
    const struct object *object = slot_of(handle)->object;
    *out_badge = object->badge;
    return object->kind == KIND_BADGE ? OK : ERROR_NOT_FOUND;
}

status_t host_buffer_read(handle_t buffer, uint64_t offset, void *data, uint64_t size)
{
    const struct slot *slot = slot_of(buffer);
    if (slot->object->kind != KIND_BYTES || (slot->rights & MEMORY_RIGHT_READ) == 0) {
        return ERROR_MISSING_RIGHT;
    }
    if (!is_range_within(offset, size, slot->object->pages * HOST_PAGE)) {
        return ERROR_BAD_ADDRESS;
    }
    memcpy(data, slot->object->data + offset, size);
    return OK;
}

status_t host_buffer_write(handle_t buffer, uint64_t offset, const void *data, uint64_t size)
{
    const struct slot *slot = slot_of(buffer);
    if (slot->object->kind != KIND_BYTES || (slot->rights & MEMORY_RIGHT_WRITE) == 0) {
        return ERROR_MISSING_RIGHT;
    }
    if (!is_range_within(offset, size, slot->object->pages * HOST_PAGE) || !take_pages(slot->object, offset, size)) {
        return ERROR_BAD_ADDRESS;
    }
    memcpy(slot->object->data + offset, data, size);
    return OK;
}

status_t host_reply(uint64_t token, status_t status)
{
    fake.replies[fake.reply_count % 8] = token;
    fake.reply_status[fake.reply_count++ % 8] = status;
    return fake.is_deaf ? ERROR_PEER_DIED : OK;
}

status_t host_table_commit(uint32_t index) { return index < FAKE_INODES ? OK : ERROR_NO_SPACE; }
int64_t host_time_ns(void) { return ++fake.now_ns; }

void host_usage(uint64_t *out_total_bytes, uint64_t *out_free_bytes)
{
    *out_total_bytes = fake.pages_max * HOST_PAGE;
    *out_free_bytes = (fake.pages_max - fake.pages) * HOST_PAGE;
}

/* ---- The tests' side ---- */

void fake_start(struct service *service)
{
    fake = (struct fake){.allocator = {.allocate = allocate, .release = release},
                         .allocations_max = UINT64_MAX,
                         .pages_max = 1024,
                         .archive = fake.archive,
                         .archive_size = fake.archive_size};
    memset(table, 0, sizeof(table));
    memset(inodes, 0, sizeof(inodes));
    memset(service, 0, sizeof(*service));
    struct tmpfs_place place = {.table = table, .inodes = inodes, .free_indices = indices, .inode_max = FAKE_INODES};
    if (service_init(service, &fake.allocator, &place) != OK) {
        abort();
    }
}

void fake_end(struct service *service)
{
    service_destroy(service);
    if (fake.allocations != 0 || fake.pages != 0 || fake.handles != 0 || service->fs.inode_count != 0) {
        printf("left: %llu allocations, %llu pages, %u handles, %u inodes\n", (unsigned long long)fake.allocations,
               (unsigned long long)fake.pages, fake.handles, service->fs.inode_count);
        abort();
    }
}

handle_t fake_buffer(const void *data, uint64_t size, uint64_t room)
{
    struct object *object = bytes_new(max_u64(align_up(max_u64(size, room), HOST_PAGE) / HOST_PAGE, 1));
    object->is_buffer = true;
    if (size > 0) {
        memcpy(object->data, data, size);
    }
    return slot_new(object, MEMORY_RIGHT_READ | MEMORY_RIGHT_WRITE);
}

const uint8_t *fake_bytes(handle_t memory, uint64_t *out_pages)
{
    const struct object *object = slot_of(memory)->object;
    *out_pages = object->pages;
    return object->data;
}

bool fake_store(handle_t memory, uint64_t offset, const void *data, uint64_t size)
{
    return host_buffer_write(memory, offset, data, size) == OK;
}

void fake_load(handle_t memory, uint64_t offset, void *data, uint64_t size)
{
    if (host_buffer_read(memory, offset, data, size) != OK) {
        memset(data, 0xEE, size);
    }
}

uint32_t fake_rights(handle_t handle) { return slot_of(handle)->rights; }

uint64_t fake_badge(handle_t handle) { return slot_of(handle)->object->badge; }

void fake_close(struct service *service, handle_t handle)
{
    const struct object *object = slot_of(handle)->object;
    bool is_last = object->kind == KIND_BADGE && object->users == 1;
    uint64_t badge = object->badge;
    host_handle_delete(handle);
    if (is_last) {
        service_badge_gone(service, badge);
    }
}

status_t fake_call(struct service *service, handle_t handle, uint64_t op, const uint64_t *words, const handle_t *handles,
                   struct tess_call *call)
{
    const struct slot *slot = handle != HANDLE_NONE ? slot_of(handle) : nullptr;
    uint32_t count = op_handles(op);
    uint64_t token = call->token;
    *call = (struct tess_call){.op = op,
                               .badge = slot != nullptr ? slot->object->badge : 1,
                               .rights = slot != nullptr ? slot->rights : UINT32_MAX,
                               .token = token,
                               .handle_count = count};
    memcpy(call->words, words, sizeof(call->words));
    for (uint32_t i = 0; i < count; i++) {
        const struct slot *sent = slot_of(handles[i]);
        call->handles[i] = slot_new(sent->object, sent->rights);
    }
    status_t status = service_call(service, call);
    for (uint32_t i = 0; i < count && !call->handles_taken; i++) {
        host_handle_delete(call->handles[i]);
    }
    return status;
}
