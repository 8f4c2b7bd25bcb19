/* Binary search in a sorted table {u32 count, count * {u32 offset, u32 name}, names}, little-endian. */
#include <symbols.h>
#include <tess/string.h>
#include <tess/util.h>

constexpr size_t HEADER_BYTES = 4;
constexpr size_t ENTRY_BYTES = 8;

bool symbols_find(const void *table, size_t size, uint64_t offset, const char **out_name, uint64_t *out_distance)
{
    const uint8_t *bytes = table;
    if (size < HEADER_BYTES) {
        return false;
    }
    uint64_t count = load_le32(bytes);
    if (count > (size - HEADER_BYTES) / ENTRY_BYTES) {
        return false;
    }
    uint64_t low = 0, high = count; /* entries before low start at or before offset; those from high on behind it */
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (load_le32(bytes + HEADER_BYTES + middle * ENTRY_BYTES) <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return false;
    }
    const uint8_t *entry = bytes + HEADER_BYTES + (low - 1) * ENTRY_BYTES;
    uint32_t name = load_le32(entry + 4);
    if (name >= size || strnlen((const char *)bytes + name, size - name) == size - name) {
        return false;
    }
    *out_name = (const char *)bytes + name;
    *out_distance = offset - load_le32(entry);
    return true;
}
