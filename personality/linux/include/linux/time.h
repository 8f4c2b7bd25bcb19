/* Times of calls that wait (clock.c). */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

[[nodiscard]] int64_t linux_time_from_user(uint64_t address, uint64_t *out_ns); /* struct timespec: 0, -LINUX_EFAULT, -LINUX_EINVAL */
uint64_t linux_deadline_after(uint64_t ns);                                     /* a kernel deadline so far from now */
uint64_t linux_deadline_at_wall(uint64_t ns);                                   /* ns since 1970 */
uint64_t linux_clock_process_cpu(void);
