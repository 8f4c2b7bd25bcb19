/* Memory of the process, charged to its own untyped. Sizes are rounded up to pages. */
#pragma once
#include <alloc/heap.h>
#include <stdbool.h>
#include <stdint.h>
#include <tess/abi.h>

constexpr uint64_t STD_PAGE = 4096;

/* Memory to share: the handle and where it is mapped here (readable, writable). */
struct std_mapping {
    handle_t memory;
    void *address;
    uint64_t size;
};
/* flags: MEMORY_*. All or nothing. */
[[nodiscard]] status_t std_mapping_create(uint64_t size_bytes, uint32_t flags, struct std_mapping *out_mapping);
/* Unmaps and deletes the handle; zeroes the structure; does nothing with a zeroed one. */
void std_mapping_destroy(struct std_mapping *mapping);

/* Maps part of any memory anywhere; map_flags: MAP_READ and so on. */
[[nodiscard]] status_t std_map(handle_t memory, uint64_t offset, uint64_t size_bytes, uint32_t map_flags, void **out_address);
void std_unmap(void *address, uint64_t size_bytes);

/* Zeroed private pages without a handle: they go back with std_pages_free (also in parts). */
[[nodiscard]] status_t std_pages_alloc(uint64_t size_bytes, void **out_address);
void std_pages_free(void *address, uint64_t size_bytes);

/* A heap that grows by `chunk_bytes` or what is needed, up to limit_bytes in all (0 = as far as the untyped goes). */
[[nodiscard]] status_t std_heap_init(struct heap *heap, uint64_t chunk_bytes, uint64_t limit_bytes);
