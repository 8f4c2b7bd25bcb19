/*
 * Reader of the symbol tables that tools/symbols.py writes (bin/<program>.sym in the boot image). Pure; whatever the table says,
 * it reads [table, table + size) only.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* The function that `offset` (from the image's base) lies in: the last one that starts at or before it. False when there is none
 * or the table is damaged. The name lies in the table. */
bool symbols_find(const void *table, size_t size, uint64_t offset, const char **out_name, uint64_t *out_distance);
