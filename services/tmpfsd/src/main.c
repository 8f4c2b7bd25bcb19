/*
 * tmpfsd: files in memory for the processes of a cell. What its untyped has is divided at the start: an eighth for names, inodes and open files, the
 * rest for bytes, so that files that fill everything leave enough to remove them. What it holds at first is the archive "files" of the manifest, whose files are slices of
 * the boot image until somebody writes to them. Arguments: mount=PATH, a directory (made if need be) that is a mount point of the clients'; devices, the nodes in
 * /dev that every program expects, if the archive has none.
 */
#include "host.h"
#include <std/log.h>
#include <std/loop.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/stub/memory.h>
#include <tess/stub/untyped.h>
#include <tmpfs/service.h>

static constexpr uint64_t INODE_COST = 512; /* bytes of everything that one inode with one name takes */
static constexpr uint32_t INODES_MIN = 1024, INODES_MAX = 1u << 20;

static struct loop loop;
static struct heap heap;
static struct service *service;

static status_t call_dispatch(struct loop_service *self, struct tess_call *call)
{
    (void)self;
    return service_call(service, call);
}

static void badge_gone(struct loop_service *self, uint64_t badge)
{
    (void)self;
    service_badge_gone(service, badge);
}

static void cancelled(struct loop *self, uint64_t token)
{
    (void)self;
    service_cancelled(service, token);
}

/* Pages that are there: nothing that is written to later can find no memory. */
static status_t pages_committed(uint64_t size, void **out_address)
{
    struct std_mapping mapping;
    status_t status = std_mapping_create(size, MEMORY_COMMITTED, &mapping);
    if (status == OK) {
        std_handle_delete(mapping.memory);
        *out_address = memset(mapping.address, 0, mapping.size); /* translations too */
    }
    return status;
}

static bool heap_grow(struct heap *self, size_t size)
{
    uint64_t chunk = align_up(max_u64(size + HEAP_REGION_OVERHEAD, self->chunk_size), STD_PAGE);
    void *memory;
    if (!is_range_within(self->total, chunk, self->limit) || pages_committed(chunk, &memory) != OK) {
        return false;
    }
    heap_add_region(self, memory, chunk);
    return true;
}

static void heap_damaged(struct heap *, void *pointer) { std_abort("heap: %p is damaged", pointer); }

struct shares {
    uint64_t own, bytes;
    uint32_t inode_max;
};

static status_t divide(struct shares *out_shares)
{
    uint64_t limit, used, objects;
    status_t status = tess_untyped_info(std_self.untyped, &limit, &used, &objects);
    if (status == OK) {
        uint64_t all = (limit - used) * STD_PAGE;
        out_shares->own = align_up(all / 8, STD_PAGE);
        out_shares->bytes = all - out_shares->own;
        uint64_t inodes = out_shares->own / INODE_COST;
        out_shares->inode_max = (uint32_t)max_u64(INODES_MIN, min_u64(inodes, INODES_MAX));
    }
    return status;
}

static status_t make_place(const struct shares *shares, struct host_setup *setup, struct tmpfs_place *place)
{
    uint64_t table_size = align_up(shares->inode_max * sizeof(struct tess_inode_record), STD_PAGE);
    void *table, *inodes = nullptr, *indices = nullptr;
    status_t status = tess_untyped_create_untyped(std_self.untyped, shares->bytes, &setup->bytes);
    if (status == OK) {
        status = tess_untyped_create_memory(std_self.untyped, table_size, 0, &setup->table);
    }
    if (status == OK) {
        status = std_map(setup->table, 0, table_size, MAP_READ | MAP_WRITE, &table);
    }
    if (status == OK) {
        status = pages_committed(shares->inode_max * sizeof(struct inode *), &inodes);
    }
    if (status == OK) {
        status = pages_committed(shares->inode_max * sizeof(uint32_t), &indices);
    }
    if (status == OK) {
        *place = (struct tmpfs_place){.table = table, .inodes = inodes, .free_indices = indices, .inode_max = shares->inode_max};
    }
    return status;
}

static status_t map_archive(struct host_setup *setup)
{
    setup->archive = std_handle("files");
    if (setup->archive == HANDLE_NONE) {
        return OK;
    }
    uint64_t pages;
    uint32_t flags, is_device;
    void *data;
    status_t status = tess_memory_info(setup->archive, &setup->archive_size, &pages, &flags, &is_device);
    if (status == OK) {
        status = std_map(setup->archive, 0, setup->archive_size, MAP_READ, &data);
    }
    setup->archive_data = status == OK ? data : nullptr;
    return status;
}

/* What the path names, made if there is nothing. */
static status_t make(const char *path, uint32_t mode, uint64_t device, struct inode **out_inode)
{
    struct walk *at = &service->walk;
    at->cred = &service->superuser;
    at->root = service->fs.root;
    status_t status = walk(at, service->fs.root, WALK_PARENT, path, (uint32_t)strlen(path));
    if (status == OK && at->inode == nullptr) {
        return namespace_make(&service->fs, at, mode, device, nullptr, 0, out_inode);
    }
    *out_inode = at->inode;
    return status;
}

/* The devices that every program expects, as Linux numbers them: major << 8 | minor. */
static status_t make_devices(void)
{
    static const struct {
        char name[16];
        uint32_t mode, device;
    } devices[] = {{"/dev", MODE_DIRECTORY | 0755, 0},
                   {"/dev/null", MODE_CHARACTER | 0666, 0x103},
                   {"/dev/zero", MODE_CHARACTER | 0666, 0x105},
                   {"/dev/full", MODE_CHARACTER | 0666, 0x107},
                   {"/dev/random", MODE_CHARACTER | 0666, 0x108},
                   {"/dev/urandom", MODE_CHARACTER | 0666, 0x109},
                   {"/dev/tty", MODE_CHARACTER | 0666, 0x500},
                   {"/dev/shm", MODE_DIRECTORY | MODE_STICKY | 0777, 0}};
    status_t status = OK;
    for (uint32_t i = 0; i < ARRAY_LENGTH(devices) && status == OK; i++) {
        struct inode *inode;
        status = make(devices[i].name, devices[i].mode, devices[i].device, &inode);
    }
    return status;
}

static status_t obey_arguments(void)
{
    status_t status = OK;
    for (uint32_t i = 0; i < std_arg_count() && status == OK; i++) {
        const char *argument = std_arg(i);
        struct inode *inode;
        if (strcmp(argument, "devices") == 0) {
            status = make_devices();
        } else if (strncmp(argument, "mount=", 6) == 0) {
            status = make(argument + 6, MODE_DIRECTORY | 0555, 0, &inode);
            if (status == OK) {
                inode->is_mount = true;
            }
        }
    }
    return status;
}

static status_t start(void)
{
    static struct loop_service endpoint = {.dispatch = call_dispatch, .badge_gone = badge_gone};
    constexpr struct std_ring_sizes sizes = {.sq_entries = 2, .cq_entries = 1024, .call_slots = 256, .watch_slots = 1};
    struct host_setup setup = {.endpoint = std_handle_needed("serve.directory"), .loop = &loop};
    struct tmpfs_place place;
    struct shares shares;
    status_t status = loop_open(&loop, &sizes);
    loop.cancelled = cancelled;
    if (status == OK) {
        status = divide(&shares);
    }
    if (status == OK) {
        status = make_place(&shares, &setup, &place);
    }
    if (status == OK) {
        status = map_archive(&setup);
    }
    if (status != OK) {
        return status;
    }
    host_init(&setup);
    heap_init(&heap);
    heap.grow = heap_grow;
    heap.damaged = heap_damaged;
    heap.chunk_size = 64 * STD_PAGE;
    heap.limit = shares.own / 4 * 3;
    service = allocator_allocate_zeroed(&heap.allocator, sizeof(*service));
    if (service == nullptr) {
        return ERROR_NO_MEMORY;
    }
    status = service_init(service, &heap.allocator, &place);
    if (status == OK && setup.archive_data != nullptr) {
        status = archive_load(&service->fs, setup.archive_data, setup.archive_size);
    }
    if (status == OK) {
        status = obey_arguments();
    }
    return status == OK ? loop_serve(&loop, &endpoint, setup.endpoint) : status;
}

int main(void)
{
    status_t status = start();
    if (status != OK) {
        log_error("%s", status_name(status));
        return status;
    }
    log_info("%u inodes", service->fs.inode_count);
    return loop_run(&loop);
}
