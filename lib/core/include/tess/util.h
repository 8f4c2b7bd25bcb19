/* Small things every other file needs: alignment, bits, byte order, hashing. Pure, no state. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))
/* The structure whose `member` is at `pointer`. */
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

static inline uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static inline uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* `alignment` is a power of two. align_up wraps to 0 above 2^64 - alignment: callers that take values from outside check. */
static inline bool is_power_of_two(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }
static inline uint64_t align_down(uint64_t value, uint64_t alignment) { return value & ~(alignment - 1); }
static inline uint64_t align_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }
static inline bool is_aligned(uint64_t value, uint64_t alignment) { return (value & (alignment - 1)) == 0; }
/* [offset, offset + size) lies within [0, limit); no overflow whatever the values. */
static inline bool is_range_within(uint64_t offset, uint64_t size, uint64_t limit) { return offset <= limit && size <= limit - offset; }

/* Index of the lowest and highest set bit; value must not be 0. */
static inline uint32_t bit_lowest(uint64_t value) { return (uint32_t)__builtin_ctzll(value); }
static inline uint32_t bit_highest(uint64_t value) { return 63 - (uint32_t)__builtin_clzll(value); }
/* Smallest n with 2^n >= value; 0 for 0 and 1. */
static inline uint32_t log2_ceil(uint64_t value) { return value <= 1 ? 0 : bit_highest(value - 1) + 1; }

/* Little- and big-endian values at any address. */
static inline uint16_t load_le16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t load_le32(const void *p)
{
    const uint8_t *b = p;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline uint64_t load_le64(const void *p)
{
    const uint8_t *b = p;
    return load_le32(b) | (uint64_t)load_le32(b + 4) << 32;
}
static inline uint16_t load_be16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] << 8 | b[1]);
}
static inline uint32_t load_be32(const void *p) { return __builtin_bswap32(load_le32(p)); }
static inline uint64_t load_be64(const void *p) { return __builtin_bswap64(load_le64(p)); }
static inline void store_le16(void *p, uint16_t value)
{
    uint8_t *b = p;
    b[0] = (uint8_t)value;
    b[1] = (uint8_t)(value >> 8);
}
static inline void store_le32(void *p, uint32_t value)
{
    store_le16(p, (uint16_t)value);
    store_le16((uint8_t *)p + 2, (uint16_t)(value >> 16));
}
static inline void store_le64(void *p, uint64_t value)
{
    store_le32(p, (uint32_t)value);
    store_le32((uint8_t *)p + 4, (uint32_t)(value >> 32));
}
static inline void store_be16(void *p, uint16_t value) { store_le16(p, __builtin_bswap16(value)); }
static inline void store_be32(void *p, uint32_t value) { store_le32(p, __builtin_bswap32(value)); }
static inline void store_be64(void *p, uint64_t value) { store_le64(p, __builtin_bswap64(value)); }

/* Spreads the bits of a key (the finalizer of splitmix64, Steele et al. 2014); a bijection. */
static inline uint64_t hash_u64(uint64_t key)
{
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9ull;
    key = (key ^ key >> 27) * 0x94D049BB133111EBull;
    return key ^ key >> 31;
}
/* FNV-1a, 64 bits: for short names, not against an adversary. */
static inline uint64_t hash_bytes(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t hash = 0xCBF29CE484222325ull;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001B3ull;
    }
    return hash;
}
