/* For lwIP: the functions are lib/core's. */
#pragma once
#include <tess/string.h>
