#include <stdckdint.h>
#include <tmpfs/tmpfs.h>

static uint64_t pages_of(uint64_t size) { return align_up(size, HOST_PAGE) / HOST_PAGE; }

/* Who has the bytes of before sees another number in the record, and asks again. */
static void bytes_moved(struct inode *inode) { __atomic_store_n(&inode->record->data, inode->record->data + 1, __ATOMIC_RELEASE); }

void bytes_drop_slice(struct inode *inode)
{
    host_handle_delete(inode->slice);
    inode->slice = HANDLE_NONE;
}

void bytes_free(struct inode *inode)
{
    bytes_drop_slice(inode);
    host_handle_delete(inode->bytes);
    inode->bytes = HANDLE_NONE;
}

/* Memory of the file's own, with what the archive has. */
static status_t bytes_own(struct inode *inode)
{
    if (inode->bytes != HANDLE_NONE) {
        return OK;
    }
    handle_t bytes;
    uint64_t pages = max_u64(pages_of(inode->size), 1);
    status_t status = host_bytes_create(pages, &bytes);
    if (status == OK && inode->archive_offset != 0) {
        status = host_bytes_fill(bytes, inode->archive_offset, inode->size);
        if (status != OK) {
            host_handle_delete(bytes);
        }
    }
    if (status != OK) {
        return status;
    }
    inode->bytes = bytes;
    inode->pages = pages;
    inode->archive_offset = 0;
    bytes_drop_slice(inode);
    bytes_moved(inode);
    return OK;
}

status_t bytes_memory(struct inode *inode, bool for_writing, handle_t *out_bytes)
{
    bool is_slice = inode->archive_offset != 0 && !for_writing && is_aligned(inode->archive_offset, HOST_PAGE);
    if (!is_slice) {
        status_t status = bytes_own(inode);
        *out_bytes = inode->bytes;
        return status;
    }
    status_t status = OK;
    if (inode->slice == HANDLE_NONE) {
        status = host_slice(inode->archive_offset, pages_of(inode->size) * HOST_PAGE, &inode->slice);
    }
    *out_bytes = inode->slice;
    return status;
}

static status_t bytes_grow(struct inode *inode, uint64_t size)
{
    uint64_t pages = pages_of(size);
    if (pages <= inode->pages) {
        return OK;
    }
    status_t status = host_bytes_resize(inode->bytes, pages);
    if (status == OK) {
        inode->pages = pages;
    }
    return status;
}

/* Back to what the size needs; a failure leaves pages that nobody sees. */
static void bytes_trim(struct inode *inode)
{
    uint64_t pages = max_u64(pages_of(inode->size), 1);
    if (pages < inode->pages && host_bytes_resize(inode->bytes, pages) == OK) {
        inode->pages = pages;
    }
}

/* Whoever may write the file may have written behind its end. */
static status_t clear_tail(struct inode *inode)
{
    uint64_t tail = align_up(inode->size, HOST_PAGE) - inode->size;
    return tail == 0 ? OK : host_bytes_zero(inode->bytes, inode->size, tail);
}

static status_t commit(struct inode *inode, uint64_t offset, uint64_t size)
{
    uint64_t start = align_down(offset, HOST_PAGE), end = align_up(offset + size, HOST_PAGE), total, free;
    host_usage(&total, &free);
    if (end - start > total) {
        return ERROR_NO_SPACE;
    }
    return host_bytes_commit(inode->bytes, start, end - start);
}

static status_t range_end(uint64_t offset, uint64_t size, uint64_t *out_end)
{
    return ckd_add(out_end, offset, size) || *out_end > HOST_BYTES_MAX ? ERROR_OVERFLOW : OK;
}

status_t bytes_extend(struct inode *inode, bool is_append, uint64_t offset, uint64_t size, uint64_t *out_offset)
{
    uint64_t start = is_append ? inode->size : offset, end;
    status_t status = range_end(start, size, &end);
    if (status == OK) {
        status = bytes_own(inode);
    }
    if (status == OK) {
        status = bytes_grow(inode, end);
    }
    if (status == OK && start > inode->size) {
        status = clear_tail(inode);
    }
    if (status == OK && size > 0) {
        status = commit(inode, start, size);
    }
    if (status != OK) {
        if (inode->bytes != HANDLE_NONE) {
            bytes_trim(inode);
        }
        return status;
    }
    *out_offset = start;
    if (size > 0) {
        inode->size = max_u64(inode->size, end);
        inode_modified(inode);
    }
    return OK;
}

status_t bytes_truncate(struct inode *inode, uint64_t size)
{
    if (size > HOST_BYTES_MAX) {
        return ERROR_OVERFLOW;
    }
    if (size == 0 && inode->archive_offset != 0) {
        inode->archive_offset = 0;
        bytes_drop_slice(inode);
        bytes_moved(inode);
    }
    status_t status = size != inode->size && inode->archive_offset != 0 ? bytes_own(inode) : OK;
    if (status != OK) {
        return status;
    }
    if (inode->bytes != HANDLE_NONE && size > inode->size) {
        status = bytes_grow(inode, size);
        if (status == OK) {
            status = clear_tail(inode);
        }
    } else if (inode->bytes != HANDLE_NONE && size < inode->size) {
        uint64_t pages = max_u64(pages_of(size), 1);
        status = pages < inode->pages ? host_bytes_resize(inode->bytes, pages) : OK;
        inode->pages = status == OK ? pages : inode->pages;
    }
    if (status != OK) {
        return status;
    }
    bool is_shorter = size < inode->size;
    inode->size = size;
    if (is_shorter && inode->bytes != HANDLE_NONE) {
        /* It fails only where the page is shared with a snapshot and there is no memory; whatever makes the file longer tries again. */
        status = size == 0 ? host_bytes_decommit(inode->bytes, 0, HOST_PAGE) : clear_tail(inode);
        if (status != OK && size == 0) {
            status = host_bytes_zero(inode->bytes, 0, HOST_PAGE);
        }
        (void)status;
    }
    inode_modified(inode);
    return OK;
}

/* Zeros where something is; whole pages go. */
static status_t punch(struct inode *inode, uint64_t offset, uint64_t end)
{
    end = min_u64(end, inode->size);
    if (offset >= end || (inode->bytes == HANDLE_NONE && inode->archive_offset == 0)) {
        return OK;
    }
    status_t status = bytes_own(inode);
    uint64_t first = align_up(offset, HOST_PAGE), last = end == inode->size ? align_up(end, HOST_PAGE) : align_down(end, HOST_PAGE);
    if (status == OK && first >= last) {
        return host_bytes_zero(inode->bytes, offset, end - offset);
    }
    if (status == OK && offset < first) {
        status = host_bytes_zero(inode->bytes, offset, first - offset);
    }
    if (status == OK && last < end) {
        status = host_bytes_zero(inode->bytes, last, end - last);
    }
    return status == OK ? host_bytes_decommit(inode->bytes, first, last - first) : status;
}

status_t bytes_allocate(struct inode *inode, uint32_t flags, uint64_t offset, uint64_t size)
{
    uint64_t end;
    status_t status = range_end(offset, size, &end);
    if (status != OK || size == 0) {
        return size == 0 ? ERROR_BAD_ARGUMENT : status;
    }
    if (flags == (ALLOCATE_PUNCH | ALLOCATE_KEEP_SIZE)) {
        status = punch(inode, offset, end);
        if (status == OK) {
            inode_modified(inode);
        }
        return status;
    }
    if ((flags & ~ALLOCATE_KEEP_SIZE) != 0) {
        return ERROR_UNSUPPORTED;
    }
    if ((flags & ALLOCATE_KEEP_SIZE) != 0) {
        end = min_u64(end, align_up(inode->size, HOST_PAGE)); /* beyond the end it is a hint */
        if (offset >= end) {
            return OK;
        }
    }
    status = bytes_own(inode);
    if (status == OK) {
        status = bytes_grow(inode, end);
    }
    if (status == OK && end > inode->size) {
        status = clear_tail(inode);
    }
    if (status == OK) {
        status = commit(inode, offset, end - offset);
    }
    if (status != OK) {
        if (inode->bytes != HANDLE_NONE) {
            bytes_trim(inode);
        }
        return status;
    }
    if ((flags & ALLOCATE_KEEP_SIZE) == 0 && end > inode->size) {
        inode->size = end;
        inode_modified(inode);
    } else {
        inode_changed(inode);
    }
    return OK;
}
