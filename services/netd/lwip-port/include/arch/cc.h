/* What lwIP asks of a compiler and platform. Clang, little-endian, freestanding; lwIP itself is used unmodified. */
#pragma once
#include <stdint.h>

#define BYTE_ORDER LITTLE_ENDIAN
#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_CTYPE_H 1
#define X8_F "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "zu"

/* Ends the process with the message: a broken invariant in the stack is not something to go on with; init starts it anew. */
[[noreturn]] void port_assert_failed(const char *message, const char *file, int line);
/* Not predictable from outside (DHCP and DNS transaction ids, ports). */
uint32_t port_random(void);

#define LWIP_PLATFORM_DIAG(x)                                                                                                              \
    do {                                                                                                                                   \
    } while (0)
#define LWIP_PLATFORM_ASSERT(message) port_assert_failed(message, __FILE__, __LINE__)
#define LWIP_RAND() port_random()
