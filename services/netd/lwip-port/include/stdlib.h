/* The part of the C library's stdlib.h that lwIP uses. */
#pragma once
#include <stddef.h>

int atoi(const char *text);
