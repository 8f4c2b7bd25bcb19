/* Scalars shared by kernel and user code (tier core). */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Slot index in bits 0..31, generation (never 0) in bits 32..63. 0 is never a handle. */
typedef uint64_t handle_t;
constexpr handle_t HANDLE_NONE = 0;

/* Zero or a positive result, or a negative error (enum in <tess/abi.h>, generated from abi/errors.toml). */
typedef int32_t status_t;

/* Monotonic nanoseconds since boot; deadlines are absolute. */
constexpr uint64_t DEADLINE_INFINITE = UINT64_MAX; /* never */
constexpr uint64_t DEADLINE_NOW = 0;               /* do not block */
