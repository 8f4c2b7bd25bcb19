/* Sleeping on words, one or several at once; two descriptors in one call. */
#include <linux/call.h>
#include <linux/errno.h>
#include <linux/queue.h>
#include <tess/invoke.h>
#include <tess/stub/vspace.h>

int64_t linux_word_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    status_t status = tess_vspace_futex_wait(linux_process()->vspace, (uint64_t)word, value, UINT32_MAX, deadline);
    return status == OK || status == ERROR_WOULD_BLOCK ? 0 : status == ERROR_TIMED_OUT ? -LINUX_ETIMEDOUT : linux_error(status);
}

void linux_word_wake(_Atomic uint32_t *word)
{
    uint32_t woken;
    do {
        if (tess_vspace_futex_wake(linux_process()->vspace, (uint64_t)word, FUTEX_BATCH, UINT32_MAX, &woken) != OK)
            return;
    } while (woken == FUTEX_BATCH);
}

int64_t linux_file_install_two(struct linux_file *first, struct linux_file *second, uint32_t flags, uint64_t fds)
{
    int64_t one = linux_file_install(first, flags, 0);
    if (one < 0) {
        linux_file_put(second);
        return one;
    }
    int64_t two = linux_file_install(second, flags, 0);
    int64_t result = two < 0 ? two : linux_store_user_u32(fds, (uint32_t)one);
    if (result == 0)
        result = linux_store_user_u32(fds + 4, (uint32_t)two);
    if (result != 0) {
        (void)linux_sys_close((uint64_t)one);
        if (two >= 0)
            (void)linux_sys_close((uint64_t)two);
    }
    return result;
}
