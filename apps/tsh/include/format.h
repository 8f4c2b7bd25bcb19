/* Figures as people read them. Pure; every function terminates the buffer. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* "512 B", "16 KiB", "1.5 MiB": at most one decimal, and none when it is 0. */
void format_size(char *buffer, size_t size, uint64_t bytes);
/* "850 us", "12.3 ms", "4.567 s", "2 min 05 s", "3 h 07 min", "2 d 04 h". */
void format_duration(char *buffer, size_t size, uint64_t ns);
/* "[    4.567890]": seconds and microseconds, for log lines. */
void format_stamp(char *buffer, size_t size, uint64_t ns);
/* "10.0.2.15" of an address with the first byte lowest. */
void format_ipv4(char *buffer, size_t size, uint32_t address);
/* "52:54:00:12:34:56". */
void format_mac(char *buffer, size_t size, const uint8_t mac[6]);
/* Percentage with one decimal, "12.5%": part of whole; "-" when whole is 0. */
void format_percent(char *buffer, size_t size, uint64_t part, uint64_t whole);
/* A zero-padded name of at most `field` bytes; bytes that are not printable ASCII become '?'. */
void format_name(char *buffer, size_t size, const char *name, size_t field);
