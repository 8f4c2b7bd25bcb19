/*
 * What the file system needs of the world: memory for the bytes of files, handles, time. src/host.c does it with system calls,
 * test/fake_host.c in ordinary memory. Everything else of tmpfsd is pure.
 */
#pragma once
#include <stdint.h>
#include <tess/abi.h>
#include <tess/call.h>

constexpr uint64_t HOST_PAGE = 4096;
constexpr uint64_t HOST_BYTES_MAX = UINT64_C(1) << 40; /* of one file */

/* A resizable memory object for a file's bytes, of `pages` pages without any memory in them. NO_SPACE. */
[[nodiscard]] status_t host_bytes_create(uint64_t pages, handle_t *out_bytes);
[[nodiscard]] status_t host_bytes_resize(handle_t bytes, uint64_t pages);
/* The pages of the range are there afterwards, or NO_SPACE. Page aligned, as is decommit, after which they read as zeros. */
[[nodiscard]] status_t host_bytes_commit(handle_t bytes, uint64_t offset, uint64_t size);
[[nodiscard]] status_t host_bytes_decommit(handle_t bytes, uint64_t offset, uint64_t size);
/* Zeros, without taking memory for a page that has none. */
[[nodiscard]] status_t host_bytes_zero(handle_t bytes, uint64_t offset, uint64_t size);
/* Copies from the archive (host_slice's) into it; NO_SPACE. */
[[nodiscard]] status_t host_bytes_fill(handle_t bytes, uint64_t archive_offset, uint64_t size);
/* A view of the archive; both page aligned. */
[[nodiscard]] status_t host_slice(uint64_t archive_offset, uint64_t size, handle_t *out_bytes);
/* Handles for a client: to move. rights: MEMORY_RIGHT_*. */
[[nodiscard]] status_t host_bytes_share(handle_t bytes, uint32_t rights, handle_t *out_handle);
[[nodiscard]] status_t host_table_share(handle_t *out_handle);
/* A handle of the endpoint with this badge, to move; and the badge of one that somebody sent (NOT_FOUND: not of this endpoint). */
[[nodiscard]] status_t host_badge_mint(uint64_t badge, uint32_t rights, handle_t *out_handle);
[[nodiscard]] status_t host_badge_of(handle_t handle, uint64_t *out_badge);
void host_handle_delete(handle_t handle);

/* A client's buffer. */
[[nodiscard]] status_t host_buffer_read(handle_t buffer, uint64_t offset, void *data, uint64_t size);
[[nodiscard]] status_t host_buffer_write(handle_t buffer, uint64_t offset, const void *data, uint64_t size);

/* Answers a call that was deferred; an error: nobody waits for it any more. */
[[nodiscard]] status_t host_reply(uint64_t token, status_t status);
/* Entry `index` of the table can be written from now on; NO_SPACE. */
[[nodiscard]] status_t host_table_commit(uint32_t index);
int64_t host_time_ns(void); /* since 1970 */
void host_usage(uint64_t *out_total_bytes, uint64_t *out_free_bytes);
