/* Sizes, times, addresses and names as text. */
#include <format.h>
#include <tess/fmt.h>
#include <tess/string.h>

void format_size(char *buffer, size_t size, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    uint64_t whole = bytes, rest = 0;
    while (whole >= 1024) {
        rest = whole % 1024;
        whole /= 1024;
        unit++;
    }
    uint64_t tenths = rest * 10 / 1024;
    if (tenths == 0 || whole >= 100) {
        fmt_print(buffer, size, "%llu %s", (unsigned long long)whole, units[unit]);
    } else {
        fmt_print(buffer, size, "%llu.%llu %s", (unsigned long long)whole, (unsigned long long)tenths, units[unit]);
    }
}

void format_duration(char *buffer, size_t size, uint64_t ns)
{
    unsigned long long us = ns / 1000, ms = us / 1000, seconds = ms / 1000, minutes = seconds / 60, hours = minutes / 60;
    if (us < 1000) {
        fmt_print(buffer, size, "%llu us", us);
    } else if (ms < 1000) {
        fmt_print(buffer, size, "%llu.%llu ms", ms, us % 1000 / 100);
    } else if (seconds < 60) {
        fmt_print(buffer, size, "%llu.%03llu s", seconds, ms % 1000);
    } else if (minutes < 60) {
        fmt_print(buffer, size, "%llu min %02llu s", minutes, seconds % 60);
    } else if (hours < 24) {
        fmt_print(buffer, size, "%llu h %02llu min", hours, minutes % 60);
    } else {
        fmt_print(buffer, size, "%llu d %02llu h", hours / 24, hours % 24);
    }
}

void format_stamp(char *buffer, size_t size, uint64_t ns)
{
    unsigned long long us = ns / 1000;
    fmt_print(buffer, size, "[%5llu.%06llu]", us / 1000000, us % 1000000);
}

void format_ipv4(char *buffer, size_t size, uint32_t address)
{
    fmt_print(buffer, size, "%u.%u.%u.%u", address & 255, address >> 8 & 255, address >> 16 & 255, address >> 24);
}

void format_mac(char *buffer, size_t size, const uint8_t mac[6])
{
    fmt_print(buffer, size, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

void format_percent(char *buffer, size_t size, uint64_t part, uint64_t whole)
{
    if (whole == 0) {
        fmt_print(buffer, size, "-");
        return;
    }
    /* Both shifted alike, so that the product fits. */
    while (part > UINT64_MAX / 1000) {
        part >>= 1;
        whole >>= 1;
    }
    unsigned long long tenths = whole == 0 ? 0 : part * 1000 / whole;
    fmt_print(buffer, size, "%llu.%llu%%", tenths / 10, tenths % 10);
}

void format_name(char *buffer, size_t size, const char *name, size_t field)
{
    size_t count = strnlen(name, field);
    count = count < size ? count : size - 1;
    for (size_t i = 0; i < count; i++) {
        buffer[i] = name[i] > ' ' && name[i] <= '~' ? name[i] : '?';
    }
    buffer[count] = '\0';
}
