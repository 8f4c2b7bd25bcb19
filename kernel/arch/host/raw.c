/* memset for the files that are compiled without instrumentation (meson.build). */
#include <stddef.h>

void *host_raw_memset(void *destination, int value, size_t count);

void *host_raw_memset(void *destination, int value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((volatile unsigned char *)destination)[i] = (unsigned char)value;
    return destination;
}
