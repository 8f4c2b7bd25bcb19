#include <httpd/http_date.h>
#include <tess/fmt.h>

static bool is_leap(uint32_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

void http_date(uint64_t unix_seconds, char out_text[HTTP_DATE_BYTES])
{
    static const char days[] = "ThuFriSatSunMonTueWed"; /* 1 January 1970 was a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint64_t day = unix_seconds / 86400;
    uint32_t second = (uint32_t)(unix_seconds % 86400);
    uint32_t weekday = (uint32_t)(day % 7);
    /* 400 years are always 146097 days; the loops below then run at most 400 and 12 times. */
    uint32_t year = (uint32_t)(1970 + day / 146097 * 400);
    day %= 146097;
    for (uint32_t length; day >= (length = is_leap(year) ? 366 : 365); year++) {
        day -= length;
    }
    uint32_t month = 0;
    for (uint32_t length; day >= (length = month_days[month] + (month == 1 && is_leap(year) ? 1u : 0u)); month++) {
        day -= length;
    }
    fmt_print(out_text, HTTP_DATE_BYTES, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + (size_t)weekday * 3, (unsigned)day + 1,
              months + (size_t)month * 3, year, second / 3600, second / 60 % 60, second % 60);
}
