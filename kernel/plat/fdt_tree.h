/*
 * Reading a flattened device tree (Devicetree Specification 0.4, chapter 5) without trusting it. Private to plat/fdt*.c.
 *
 * The blob is outside data: every access is checked against the bounds that fdt_open() verified, nothing is assumed aligned
 * or terminated, nesting is limited, and a malformed token ends the walk. Nothing is allocated or copied; names and property
 * data point into the blob, names are terminated inside it. Pure C with no kernel services, so that the host can test it.
 */
#pragma once
#include <kernel/types.h>

constexpr uint32_t FDT_DEPTH_MAX = 16;
constexpr uint32_t FDT_SIZE_MAX = 2u << 20; /* bounds the time a hostile blob can cost */

struct fdt {
    const uint8_t *blob;
    uint32_t total_size;
    uint32_t reserve_start;            /* memory reservation block */
    uint32_t struct_start, struct_end; /* byte offsets in blob, end not included */
    uint32_t strings_start, strings_end;
};

struct fdt_property {
    const char *name;
    const uint8_t *data;
    uint32_t size; /* bytes */
};

/* A place in a depth-first walk. levels[0] is the root, levels[depth] the current node; zero-initialise with FDT_CURSOR. */
struct fdt_cursor {
    uint32_t position; /* of the next token */
    int32_t depth;     /* -1 before the root */
    struct {
        const char *name;    /* with its unit address */
        uint32_t properties; /* offset of the node's first property */
    } levels[FDT_DEPTH_MAX];
};

/* Checks the header; false when this is no device tree that fits into max_size. */
bool fdt_open(struct fdt *fdt, const void *blob, uint64_t max_size);

struct fdt_cursor fdt_start(const struct fdt *fdt);
/* Moves to the next node, parents before children; false at the end of the tree or of what is well-formed. */
bool fdt_next(const struct fdt *fdt, struct fdt_cursor *cursor);
/* Moves to a node by absolute path ("/soc/uart@1000", unit addresses may be left out; ':' ends it) or by phandle. */
bool fdt_find_path(const struct fdt *fdt, const char *path, uint32_t length, struct fdt_cursor *out_node);
bool fdt_find_phandle(const struct fdt *fdt, uint32_t phandle, struct fdt_cursor *out_node);

/* Entry `index` of the memory reservation block; false after the last. */
bool fdt_reservation(const struct fdt *fdt, uint32_t index, uint64_t *out_base, uint64_t *out_size);

/* Properties of the node at `level` of the cursor's path (cursor->depth for the current node). */
bool fdt_property_at(const struct fdt *fdt, const struct fdt_cursor *node, int32_t level, const char *name,
                     struct fdt_property *out_property);
bool fdt_property(const struct fdt *fdt, const struct fdt_cursor *node, const char *name, struct fdt_property *out_property);
/* A property of one cell, or `fallback` when it is absent or has another size. */
uint32_t fdt_u32_at(const struct fdt *fdt, const struct fdt_cursor *node, int32_t level, const char *name, uint32_t fallback);
uint32_t fdt_u32(const struct fdt *fdt, const struct fdt_cursor *node, const char *name, uint32_t fallback);
/* Does the string list of property `name` contain `text`? */
bool fdt_has_string(const struct fdt *fdt, const struct fdt_cursor *node, const char *name, const char *text);
bool fdt_is_compatible(const struct fdt *fdt, const struct fdt_cursor *node, const char *compatible);
bool fdt_is_available(const struct fdt *fdt, const struct fdt_cursor *node); /* status absent or okay */
/* Is the name of the node at `level`, up to its '@', equal to `name`? */
bool fdt_name_is(const struct fdt_cursor *node, int32_t level, const char *name);

/* Reads a number of `cells` (0, 1 or 2; more only when the upper ones are zero) at cell *index, which it moves on. */
bool fdt_cells(const struct fdt_property *property, uint32_t *index, uint32_t cells, uint64_t *out_value);
/* Entry `index` of "reg": the raw numbers, and the same translated to a CPU address through the ranges of the parents. */
bool fdt_reg_raw(const struct fdt *fdt, const struct fdt_cursor *node, uint32_t index, uint64_t *out_base, uint64_t *out_size);
bool fdt_reg(const struct fdt *fdt, const struct fdt_cursor *node, uint32_t index, uint64_t *out_base, uint64_t *out_size);
/* Entry `index` of "interrupts" as arch_irq_* numbers it (GIC: INTID, PLIC: source). */
bool fdt_interrupt(const struct fdt *fdt, const struct fdt_cursor *node, uint32_t index, uint32_t *out_source);
/* Decodes one interrupt specifier of `cells` cells at cell *index, which it moves on. */
bool fdt_interrupt_specifier(const struct fdt_property *property, uint32_t *index, uint32_t cells, uint32_t *out_source);
