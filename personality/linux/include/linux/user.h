/*
 * The program's memory. Everything below NATIVE_BASE is the program's and may be unmapped, protected or changed by its other threads at any
 * moment; it is touched only through these (a fault ends them with -LINUX_EFAULT), or by the kernel on our behalf (memory.read and
 * the like take a program's address as it is and answer BAD_ADDRESS). Read once, then check: a second read may give something else.
 */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

/* Whether [address, address + size) is below NATIVE_BASE; nothing is said of what is mapped there. */
static inline bool linux_is_user(uint64_t address, uint64_t size) { return address <= NATIVE_BASE && size <= NATIVE_BASE - address; }

/* 0 or -LINUX_EFAULT; then an unknown part was copied. */
[[nodiscard]] int64_t linux_copy_from_user(void *to, uint64_t from, uint64_t size);
[[nodiscard]] int64_t linux_copy_to_user(uint64_t to, const void *from, uint64_t size);
[[nodiscard]] int64_t linux_zero_user(uint64_t to, uint64_t size);
/* A string with its end, at most `size` bytes with it: its length, -LINUX_EFAULT, or -LINUX_ENAMETOOLONG. */
[[nodiscard]] int64_t linux_string_from_user(char *to, uint64_t from, uint64_t size);
/* One word, atomically; aligned. compare_exchange: the word found there in *expected, as in C; 0 or -LINUX_EFAULT. */
[[nodiscard]] int64_t linux_load_user_u32(uint32_t *out_value, uint64_t from);
[[nodiscard]] int64_t linux_load_user_u64(uint64_t *out_value, uint64_t from);
[[nodiscard]] int64_t linux_store_user_u32(uint64_t to, uint32_t value);
[[nodiscard]] int64_t linux_store_user_u64(uint64_t to, uint64_t value);
[[nodiscard]] int64_t linux_exchange_user_u32(uint64_t address, uint32_t *expected, uint32_t desired);
