/* The process's own table of handles. */
#include <std/program.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>

void std_handle_delete(handle_t handle)
{
    if (handle != HANDLE_NONE) {
        /* A handle that is gone already needs no deleting. */
        status_t status = tess_cspace_delete(std_self.cspace, handle);
        (void)status;
    }
}

status_t std_handle_copy(handle_t handle, uint32_t rights, handle_t *out_handle)
{
    return tess_cspace_copy(std_self.cspace, handle, rights, out_handle);
}

status_t std_handle_mint(handle_t handle, uint32_t rights, uint64_t badge, handle_t *out_handle)
{
    return tess_cspace_mint(std_self.cspace, handle, rights, badge, out_handle);
}

void std_handles_discard(const handle_t *handles, uint32_t count)
{
    /* `handles` may lie in the message page. */
    handle_t copy[MESSAGE_HANDLES];
    count = count < MESSAGE_HANDLES ? count : MESSAGE_HANDLES;
    for (uint32_t i = 0; i < count; i++) {
        copy[i] = handles[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        std_handle_delete(copy[i]);
    }
}
