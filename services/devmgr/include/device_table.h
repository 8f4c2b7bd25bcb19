/*
 * Which driver service may claim which device: file "devices.tbl" of the boot image, compiled from the manifest's
 * [service.device] tables by tools/image/compile.py. A driver's handle to devmgr carries the badge
 * DEVICE_BADGE_BASE + index of its entry. device_table_open() checks everything once.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

constexpr uint32_t DEVICE_TABLE_MAGIC = 0x56445354; /* "TSDV" */
constexpr uint32_t DEVICE_TABLE_VERSION = 1;
constexpr uint64_t DEVICE_BADGE_BASE = 0x10000;
constexpr uint32_t DEVICE_IDS_MAX = 8;
constexpr uint32_t DEVICE_CONSOLE = 1; /* flag: the boot console's UART instead of a PCI device */

struct device_match {
    char service[16]; /* zero padded; a name of 16 characters has no zero */
    uint32_t flags;
    uint16_t vendor;
    uint16_t unit;         /* the how-manieth device that matches, from 0 */
    uint32_t device_count; /* 1..8, console: 0 */
    uint32_t reserved;
    uint16_t devices[DEVICE_IDS_MAX];
};

struct device_table {
    uint32_t magic, version, count, size; /* size: of the whole file */
    struct device_match entries[];
};

static_assert(sizeof(struct device_match) == 48);

/* The table at the start of `data` (the file's size, or more: memory handles end on a page), or nullptr when it is damaged. */
[[nodiscard]] const struct device_table *device_table_open(const void *data, size_t size_bytes);
/* The entry a badge stands for, or nullptr. */
[[nodiscard]] const struct device_match *device_table_find(const struct device_table *table, uint64_t badge);
