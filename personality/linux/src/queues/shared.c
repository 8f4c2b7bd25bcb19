/* Addresses for what processes share: from LINUX_SHARED_BASE to the end of the native range, in steps. The kernel says what is taken, so that
 * processes that share the address space need no list in common. */
#include <linux/errno.h>
#include <linux/process.h>
#include <linux/queue.h>
#include <tess/invoke.h>
#include <tess/stub/vspace.h>

constexpr uint64_t STEP = 128ull << 10, RANGE = NATIVE_BASE + (1ull << 30) - LINUX_SHARED_BASE, STEPS = RANGE / STEP;

int64_t linux_shared_map(handle_t memory, uint64_t size, void **out_address)
{
    struct linux_process *process = linux_process();
    uint64_t first = memory * 7 % STEPS, address; /* neighbours in the table of handles do not begin at one place */
    for (uint64_t i = 0; i < STEPS; i++) {
        uint64_t at = LINUX_SHARED_BASE + (first + i) % STEPS * STEP;
        if (size > LINUX_SHARED_BASE + RANGE - at)
            continue;
        status_t status =
            tess_vspace_map(process->vspace, memory, 0, size, at, MAP_READ | MAP_WRITE | MAP_FIXED | MAP_INHERIT_SHARE, &address);
        if (status == OK) {
            *out_address = (void *)address;
            return 0;
        }
        if (status != ERROR_BUSY)
            return linux_error(status);
    }
    return -LINUX_ENOMEM;
}

void linux_shared_unmap(void *address, uint64_t size)
{
    status_t status = tess_vspace_unmap(linux_process()->vspace, (uint64_t)address, (size + 4095) & ~4095ull);
    (void)status; /* of a part of one mapping it can fail; this is a whole one */
}
