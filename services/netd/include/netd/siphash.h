/* SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash of short input. */
#pragma once
#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint64_t key[2], const void *data, size_t size);
