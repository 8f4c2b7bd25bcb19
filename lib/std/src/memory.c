/* Mappings keep their memory alive: a handle may be deleted as soon as its memory is mapped (see std_pages_alloc). */
#include <std/memory.h>
#include <std/program.h>
#include <stdckdint.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

static bool round_pages(uint64_t size, uint64_t *out_size)
{
    if (size == 0 || ckd_add(out_size, size, STD_PAGE - 1)) {
        return false;
    }
    *out_size = align_down(*out_size, STD_PAGE);
    return true;
}

status_t std_map(handle_t memory, uint64_t offset, uint64_t size_bytes, uint32_t map_flags, void **out_address)
{
    uint64_t size, address;
    if (!round_pages(size_bytes, &size)) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = tess_vspace_map(std_self.vspace, memory, offset, size, 0, map_flags, &address);
    if (status == OK) {
        *out_address = (void *)address;
    }
    return status;
}

void std_unmap(void *address, uint64_t size_bytes)
{
    uint64_t size;
    if (address == nullptr || !round_pages(size_bytes, &size)) {
        return;
    }
    status_t status = tess_vspace_unmap(std_self.vspace, (uint64_t)address, size);
    if (status != OK) {
        /* Splitting a mapping may need memory; nobody could go on safely with an address that may or may not be mapped. */
        std_abort("unmap of %p: %s", address, status_name(status));
    }
}

status_t std_mapping_create(uint64_t size_bytes, uint32_t flags, struct std_mapping *out_mapping)
{
    uint64_t size;
    handle_t memory;
    void *address;
    *out_mapping = (struct std_mapping){};
    if (!round_pages(size_bytes, &size)) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = tess_untyped_create_memory(std_self.untyped, size, flags, &memory);
    if (status != OK) {
        return status;
    }
    status = std_map(memory, 0, size, MAP_READ | MAP_WRITE, &address);
    if (status != OK) {
        std_handle_delete(memory);
        return status;
    }
    *out_mapping = (struct std_mapping){.memory = memory, .address = address, .size = size};
    return OK;
}

void std_mapping_destroy(struct std_mapping *mapping)
{
    std_unmap(mapping->address, mapping->size);
    std_handle_delete(mapping->memory);
    *mapping = (struct std_mapping){};
}

status_t std_pages_alloc(uint64_t size_bytes, void **out_address)
{
    struct std_mapping mapping;
    status_t status = std_mapping_create(size_bytes, 0, &mapping);
    if (status == OK) {
        std_handle_delete(mapping.memory);
        *out_address = mapping.address;
    }
    return status;
}

void std_pages_free(void *address, uint64_t size_bytes) { std_unmap(address, size_bytes); }

static bool grow(struct heap *heap, size_t size)
{
    uint64_t chunk = max_u64(size + HEAP_REGION_OVERHEAD, heap->chunk_size);
    void *memory;
    if (!round_pages(chunk, &chunk) || (heap->limit != 0 && !is_range_within(heap->total, chunk, heap->limit)) ||
        std_pages_alloc(chunk, &memory) != OK) {
        return false;
    }
    heap_add_region(heap, memory, chunk);
    return true;
}

static void damaged(struct heap *, void *pointer)
{
    std_abort("heap: %p was released twice, or something wrote beyond its block", pointer);
}

status_t std_heap_init(struct heap *heap, uint64_t chunk_bytes, uint64_t limit_bytes)
{
    heap_init(heap);
    heap->grow = grow;
    heap->damaged = damaged;
    heap->chunk_size = chunk_bytes;
    heap->limit = limit_bytes;
    return chunk_bytes == 0 || grow(heap, 0) ? OK : ERROR_NO_MEMORY;
}
