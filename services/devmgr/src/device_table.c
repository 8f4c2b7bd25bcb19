/* The checked reader of the table of devices; see device_table.h. */
#include <device_table.h>

static bool is_match_good(const struct device_match *match)
{
    if (match->service[0] == 0 || match->flags > DEVICE_CONSOLE) {
        return false;
    }
    return match->flags == DEVICE_CONSOLE ? match->device_count == 0 : match->device_count >= 1 && match->device_count <= DEVICE_IDS_MAX;
}

const struct device_table *device_table_open(const void *data, size_t size_bytes)
{
    const struct device_table *table = data;
    if (size_bytes < sizeof *table || (uintptr_t)data % 8 != 0 || table->magic != DEVICE_TABLE_MAGIC ||
        table->version != DEVICE_TABLE_VERSION || table->count > (size_bytes - sizeof *table) / sizeof table->entries[0] ||
        table->size != sizeof *table + table->count * sizeof table->entries[0]) {
        return nullptr;
    }
    for (uint32_t i = 0; i < table->count; i++) {
        if (!is_match_good(&table->entries[i])) {
            return nullptr;
        }
    }
    return table;
}

const struct device_match *device_table_find(const struct device_table *table, uint64_t badge)
{
    return badge >= DEVICE_BADGE_BASE && badge - DEVICE_BADGE_BASE < table->count ? &table->entries[badge - DEVICE_BADGE_BASE] : nullptr;
}
