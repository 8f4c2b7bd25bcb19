/*
 * The memory and string functions of the C library that freestanding code needs; the compiler emits calls to the mem* ones
 * by itself. Semantics are those of C23 7.26. No locks, no allocation, callable from anywhere.
 */
#pragma once
#include <stddef.h>

void *memcpy(void *restrict destination, const void *restrict source, size_t count);
void *memmove(void *destination, const void *source, size_t count);
void *memset(void *destination, int value, size_t count);
int memcmp(const void *left, const void *right, size_t count);

size_t strlen(const char *text);
/* At most `limit`; never reads text[limit] or beyond. */
size_t strnlen(const char *text, size_t limit);
int strcmp(const char *left, const char *right);
int strncmp(const char *left, const char *right, size_t limit);
