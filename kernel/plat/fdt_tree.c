/* Walks a flattened device tree; see fdt_tree.h. Token values: Devicetree Specification 0.4, 5.4.1. */
#include "fdt_tree.h"
#include <tess/string.h>

constexpr uint32_t FDT_MAGIC = 0xd00dfeed;
constexpr uint32_t FDT_HEADER_SIZE = 40;
constexpr uint32_t FDT_VERSION = 17; /* the only layout in use since 2007 */

enum : uint32_t {
    TOKEN_BEGIN_NODE = 1,
    TOKEN_END_NODE = 2,
    TOKEN_PROP = 3,
    TOKEN_NOP = 4,
    TOKEN_END = 9,
};

/* Assembled from bytes: the blob is big-endian and may lie anywhere. */
static uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static bool section_fits(uint32_t start, uint32_t size, uint32_t total)
{
    return start >= FDT_HEADER_SIZE && start <= total && size <= total - start;
}

bool fdt_open(struct fdt *fdt, const void *blob, uint64_t max_size)
{
    const uint8_t *header = blob;

    if (!blob || max_size < FDT_HEADER_SIZE || be32(header) != FDT_MAGIC)
        return false;
    uint32_t total = be32(header + 4);
    uint32_t struct_start = be32(header + 8), strings_start = be32(header + 12), reserve_start = be32(header + 16);
    uint32_t version = be32(header + 20), compatible_version = be32(header + 24);
    uint32_t strings_size = be32(header + 32), struct_size = be32(header + 36);
    if (total < FDT_HEADER_SIZE || total > max_size || total > FDT_SIZE_MAX)
        return false;
    if (version < FDT_VERSION || compatible_version > FDT_VERSION || struct_start % 4 != 0)
        return false;
    if (!section_fits(struct_start, struct_size, total) || !section_fits(strings_start, strings_size, total) ||
        !section_fits(reserve_start, 0, total))
        return false;
    *fdt = (struct fdt){
        .blob = blob,
        .total_size = total,
        .reserve_start = reserve_start,
        .struct_start = struct_start,
        .struct_end = struct_start + struct_size,
        .strings_start = strings_start,
        .strings_end = strings_start + strings_size,
    };
    return true;
}

bool fdt_reservation(const struct fdt *fdt, uint32_t index, uint64_t *out_base, uint64_t *out_size)
{
    if (index >= (fdt->total_size - fdt->reserve_start) / 16)
        return false;
    const uint8_t *entry = fdt->blob + fdt->reserve_start + index * 16;
    *out_base = (uint64_t)be32(entry) << 32 | be32(entry + 4);
    *out_size = (uint64_t)be32(entry + 8) << 32 | be32(entry + 12);
    return *out_base != 0 || *out_size != 0;
}

/* ---- Tokens ----------------------------------------------------------------------------------------------------- */

static bool read_word(const struct fdt *fdt, uint32_t *position, uint32_t *out_value)
{
    if (*position > fdt->struct_end || fdt->struct_end - *position < 4)
        return false;
    *out_value = be32(fdt->blob + *position);
    *position += 4;
    return true;
}

/* Rounds up to the next token; struct_start is aligned, and FDT_SIZE_MAX keeps this from wrapping. */
static uint32_t token_align(uint32_t position) { return (position + 3) & ~3u; }

/* A string of at most end - start bytes with its terminator; its length, or UINT32_MAX. */
static uint32_t string_length(const struct fdt *fdt, uint32_t start, uint32_t end)
{
    for (uint32_t at = start; at < end; at++) {
        if (fdt->blob[at] == 0)
            return at - start;
    }
    return UINT32_MAX;
}

static bool read_property(const struct fdt *fdt, uint32_t *position, struct fdt_property *out)
{
    uint32_t size, name;

    if (!read_word(fdt, position, &size) || !read_word(fdt, position, &name))
        return false;
    if (size > fdt->struct_end - *position || name >= fdt->strings_end - fdt->strings_start)
        return false;
    if (string_length(fdt, fdt->strings_start + name, fdt->strings_end) == UINT32_MAX)
        return false;
    *out = (struct fdt_property){
        .name = (const char *)fdt->blob + fdt->strings_start + name,
        .data = fdt->blob + *position,
        .size = size,
    };
    *position = token_align(*position + size);
    return true;
}

struct fdt_cursor fdt_start(const struct fdt *fdt) { return (struct fdt_cursor){.position = fdt->struct_start, .depth = -1}; }

static bool enter_node(const struct fdt *fdt, struct fdt_cursor *cursor)
{
    uint32_t length = string_length(fdt, cursor->position, fdt->struct_end);

    if (length == UINT32_MAX || cursor->depth + 1 >= (int32_t)FDT_DEPTH_MAX)
        return false;
    cursor->depth++;
    cursor->levels[cursor->depth].name = (const char *)fdt->blob + cursor->position;
    cursor->position = token_align(cursor->position + length + 1);
    cursor->levels[cursor->depth].properties = cursor->position;
    return true;
}

bool fdt_next(const struct fdt *fdt, struct fdt_cursor *cursor)
{
    struct fdt_property skipped;
    uint32_t token;

    while (read_word(fdt, &cursor->position, &token)) {
        switch (token) {
        case TOKEN_NOP: break;
        case TOKEN_PROP:
            if (!read_property(fdt, &cursor->position, &skipped))
                return false;
            break;
        case TOKEN_BEGIN_NODE: return enter_node(fdt, cursor);
        case TOKEN_END_NODE:
            /* The end of the root ends the tree: a second root would have no place in it. */
            if (--cursor->depth < 0)
                return false;
            break;
        default: return false;
        }
    }
    return false;
}

/* ---- Properties ------------------------------------------------------------------------------------------------- */

bool fdt_property_at(const struct fdt *fdt, const struct fdt_cursor *node, int32_t level, const char *name,
                     struct fdt_property *out_property)
{
    if (level < 0 || level > node->depth)
        return false;
    uint32_t position = node->levels[level].properties, token;
    while (read_word(fdt, &position, &token)) {
        if (token == TOKEN_NOP)
            continue;
        /* Properties come before child nodes (5.4.2), so anything else ends the list. */
        if (token != TOKEN_PROP || !read_property(fdt, &position, out_property))
            return false;
        if (strcmp(out_property->name, name) == 0)
            return true;
    }
    return false;
}

bool fdt_property(const struct fdt *fdt, const struct fdt_cursor *node, const char *name, struct fdt_property *out_property)
{
    return fdt_property_at(fdt, node, node->depth, name, out_property);
}

uint32_t fdt_u32_at(const struct fdt *fdt, const struct fdt_cursor *node, int32_t level, const char *name, uint32_t fallback)
{
    struct fdt_property property;

    if (!fdt_property_at(fdt, node, level, name, &property) || property.size != 4)
        return fallback;
    return be32(property.data);
}

uint32_t fdt_u32(const struct fdt *fdt, const struct fdt_cursor *node, const char *name, uint32_t fallback)
{
    return fdt_u32_at(fdt, node, node->depth, name, fallback);
}

bool fdt_has_string(const struct fdt *fdt, const struct fdt_cursor *node, const char *name, const char *text)
{
    struct fdt_property property;

    if (!fdt_property(fdt, node, name, &property) || property.size == 0 || property.data[property.size - 1] != 0)
        return false;
    for (uint32_t at = 0; at < property.size; at++) {
        bool is_string_start = at == 0 || property.data[at - 1] == 0;
        if (is_string_start && strcmp((const char *)property.data + at, text) == 0)
            return true;
    }
    return false;
}

bool fdt_is_compatible(const struct fdt *fdt, const struct fdt_cursor *node, const char *compatible)
{
    return fdt_has_string(fdt, node, "compatible", compatible);
}

bool fdt_is_available(const struct fdt *fdt, const struct fdt_cursor *node)
{
    struct fdt_property property;

    return !fdt_property(fdt, node, "status", &property) || fdt_has_string(fdt, node, "status", "okay") ||
           fdt_has_string(fdt, node, "status", "ok");
}

bool fdt_cells(const struct fdt_property *property, uint32_t *index, uint32_t cells, uint64_t *out_value)
{
    uint32_t available = property->size / 4;
    uint64_t value = 0;

    if (*index > available || cells > available - *index)
        return false;
    for (uint32_t i = 0; i < cells; i++) {
        if (value >> 32 != 0)
            return false;
        value = value << 32 | be32(property->data + 4 * (*index + i));
    }
    *index += cells;
    *out_value = value;
    return true;
}

/* ---- Finding nodes ---------------------------------------------------------------------------------------------- */

/* Does `name` match the `length` bytes of a path component, which may leave out the unit address? */
static bool component_matches(const char *name, const char *component, uint32_t length)
{
    uint32_t i = 0;

    while (i < length && name[i] && name[i] == component[i])
        i++;
    return i == length && (name[i] == 0 || name[i] == '@');
}

bool fdt_name_is(const struct fdt_cursor *node, int32_t level, const char *name)
{
    return level >= 0 && level <= node->depth && component_matches(node->levels[level].name, name, (uint32_t)strlen(name));
}

static uint32_t component_length(const char *path, uint32_t length)
{
    uint32_t i = 0;

    while (i < length && path[i] && path[i] != '/' && path[i] != ':')
        i++;
    return i;
}

bool fdt_find_path(const struct fdt *fdt, const char *path, uint32_t length, struct fdt_cursor *out_node)
{
    int32_t matched = 0;
    uint32_t component = 0;

    *out_node = fdt_start(fdt);
    if (!fdt_next(fdt, out_node) || length == 0 || path[0] != '/')
        return false;
    path++, length--;
    while ((component = component_length(path, length)) != 0) {
        do {
            if (!fdt_next(fdt, out_node) || out_node->depth <= matched)
                return false;
        } while (out_node->depth != matched + 1 || !component_matches(out_node->levels[matched + 1].name, path, component));
        matched++;
        path += component, length -= component;
        if (length == 0 || path[0] != '/')
            break;
        path++, length--;
    }
    return true;
}

bool fdt_find_phandle(const struct fdt *fdt, uint32_t phandle, struct fdt_cursor *out_node)
{
    *out_node = fdt_start(fdt);
    if (phandle == 0 || phandle == UINT32_MAX)
        return false;
    while (fdt_next(fdt, out_node)) {
        if (fdt_u32(fdt, out_node, "phandle", 0) == phandle)
            return true;
    }
    return false;
}

/* ---- Addresses and interrupts ----------------------------------------------------------------------------------- */

/* #address-cells and #size-cells of a bus node speak of its children (2.3.5). */
static uint32_t address_cells(const struct fdt *fdt, const struct fdt_cursor *node, int32_t bus)
{
    return fdt_u32_at(fdt, node, bus, "#address-cells", 2);
}

static uint32_t size_cells(const struct fdt *fdt, const struct fdt_cursor *node, int32_t bus)
{
    return fdt_u32_at(fdt, node, bus, "#size-cells", 1);
}

bool fdt_reg_raw(const struct fdt *fdt, const struct fdt_cursor *node, uint32_t index, uint64_t *out_base, uint64_t *out_size)
{
    struct fdt_property reg;
    uint32_t addresses = address_cells(fdt, node, node->depth - 1), sizes = size_cells(fdt, node, node->depth - 1);

    if (node->depth < 1 || addresses > 4 || sizes > 4 || addresses + sizes == 0 || !fdt_property(fdt, node, "reg", &reg))
        return false;
    if (index >= reg.size / 4 / (addresses + sizes))
        return false;
    uint32_t at = index * (addresses + sizes);
    return fdt_cells(&reg, &at, addresses, out_base) && fdt_cells(&reg, &at, sizes, out_size);
}

/* Through the "ranges" of the bus node at `bus` (2.3.8): absent means no translation exists, empty means identity. */
static bool translate_once(const struct fdt *fdt, const struct fdt_cursor *node, int32_t bus, uint64_t *address)
{
    struct fdt_property ranges;
    uint32_t child_cells = address_cells(fdt, node, bus), parent_cells = address_cells(fdt, node, bus - 1);
    uint32_t sizes = size_cells(fdt, node, bus), at = 0;

    if (!fdt_property_at(fdt, node, bus, "ranges", &ranges))
        return false;
    if (ranges.size == 0)
        return true;
    while (at < ranges.size / 4) {
        uint64_t child, parent, size;
        if (!fdt_cells(&ranges, &at, child_cells, &child) || !fdt_cells(&ranges, &at, parent_cells, &parent) ||
            !fdt_cells(&ranges, &at, sizes, &size) || child_cells + parent_cells + sizes == 0)
            return false;
        if (*address >= child && *address - child < size) {
            *address = parent + (*address - child);
            return true;
        }
    }
    return false;
}

bool fdt_reg(const struct fdt *fdt, const struct fdt_cursor *node, uint32_t index, uint64_t *out_base, uint64_t *out_size)
{
    if (!fdt_reg_raw(fdt, node, index, out_base, out_size))
        return false;
    for (int32_t bus = node->depth - 1; bus > 0; bus--) {
        if (!translate_once(fdt, node, bus, out_base))
            return false;
    }
    uint64_t end;
    return !__builtin_add_overflow(*out_base, *out_size, &end);
}

bool fdt_interrupt_specifier(const struct fdt_property *property, uint32_t *index, uint32_t cells, uint32_t *out_source)
{
    uint64_t type = 0, number, flags;

    if (cells == 0 || cells > 4)
        return false;
    /* Three or four cells: a GIC (type, number, flags[, affinity]); type 0 = SPI from INTID 32, 1 = PPI from INTID 16.
     * One or two: the number itself (PLIC). */
    if (cells >= 3 && !fdt_cells(property, index, 1, &type))
        return false;
    if (!fdt_cells(property, index, 1, &number))
        return false;
    for (uint32_t rest = cells >= 3 ? cells - 2 : cells - 1; rest > 0; rest--) {
        if (!fdt_cells(property, index, 1, &flags))
            return false;
    }
    if (type > 1 || number > UINT16_MAX)
        return false;
    *out_source = (uint32_t)number + (cells < 3 ? 0 : type == 0 ? 32 : 16);
    return true;
}

bool fdt_interrupt(const struct fdt *fdt, const struct fdt_cursor *node, uint32_t index, uint32_t *out_source)
{
    struct fdt_property interrupts;
    struct fdt_cursor controller;
    uint32_t parent = 0, at = 0;

    /* "interrupt-parent" is inherited from the nearest ancestor that has it (2.4.1.1). */
    for (int32_t level = node->depth; level >= 0 && parent == 0; level--)
        parent = fdt_u32_at(fdt, node, level, "interrupt-parent", 0);
    if (!fdt_property(fdt, node, "interrupts", &interrupts) || !fdt_find_phandle(fdt, parent, &controller))
        return false;
    uint32_t cells = fdt_u32(fdt, &controller, "#interrupt-cells", 0);
    for (uint32_t i = 0; i <= index; i++) {
        if (!fdt_interrupt_specifier(&interrupts, &at, cells, out_source))
            return false;
    }
    return true;
}
