/* The bounds-checked reader of the compiled manifest; see manifest.h. */
#include <manifest.h>

/* CRC-32, IEEE 802.3, bit by bit: the file has a few KiB and is read once. */
static uint32_t crc32_update(uint32_t crc, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
        }
    }
    return crc;
}

static uint32_t manifest_checksum(const uint8_t *file, size_t size)
{
    constexpr size_t FIELD = offsetof(struct manifest_header, checksum);
    static const uint8_t zero[4];
    uint32_t crc = crc32_update(UINT32_MAX, file, FIELD);
    crc = crc32_update(crc, zero, sizeof zero);
    return ~crc32_update(crc, file + FIELD + sizeof zero, size - FIELD - sizeof zero);
}

static bool is_table_inside(struct manifest_table table, size_t record_size, size_t file_size)
{
    return table.offset % 8 == 0 && table.offset >= sizeof(struct manifest_header) && table.offset <= file_size &&
           table.count <= (file_size - table.offset) / record_size;
}

static bool is_range_inside(struct manifest_range range, uint32_t count)
{
    return range.first <= count && range.count <= count - range.first;
}

static bool is_terminated(const char *text, size_t size)
{
    while (size > 0 && *text != 0) {
        text++;
        size--;
    }
    return size > 0;
}

/* All strings are terminated when the last byte of the table is zero. */
static bool is_string(const struct manifest *m, uint32_t string) { return string < m->header->strings.count; }

static const char *service_check(const struct manifest *m, const struct manifest_service *s, uint32_t index)
{
    const struct manifest_header *h = m->header;
    if (s->name[0] == 0 || !is_string(m, s->program) || s->start > MANIFEST_START_BOOT || s->restart > MANIFEST_RESTART_ALWAYS ||
        s->slot_limit == 0 || s->slot_limit > 32768 || s->memory_bytes == 0 || s->memory_bytes % 4096 != 0 || s->priority > 31 ||
        s->cpu_quota > 25600) {
        return "a service's fields are out of range";
    }
    if (!is_range_inside(s->after, h->indices.count) || !is_range_inside(s->args, h->indices.count) ||
        !is_range_inside(s->provides, h->provides.count) || !is_range_inside(s->handles, h->handles.count)) {
        return "a service's lists lie outside their tables";
    }
    for (uint32_t i = 0; i < s->after.count; i++) {
        if (manifest_index(m, s->after, i) >= index) { /* the order of the table honours `after`: no circles */
            return "a service is to start after a later one";
        }
    }
    for (uint32_t i = 0; i < s->args.count; i++) {
        if (!is_string(m, manifest_index(m, s->args, i))) {
            return "an argument is no string";
        }
    }
    for (uint32_t i = 0; i < s->provides.count; i++) {
        if (m->provides[s->provides.first + i].service != index) {
            return "an endpoint belongs to two services";
        }
    }
    return nullptr;
}

static bool is_handle_good(const struct manifest *m, const struct manifest_handle *handle)
{
    if (handle->name[0] == 0 || !is_terminated(handle->name, sizeof handle->name)) {
        return false;
    }
    switch (handle->source) {
    case MANIFEST_SOURCE_ENDPOINT: return handle->target < m->header->provides.count && handle->badge != 0;
    case MANIFEST_SOURCE_KERNEL: return handle->target <= MANIFEST_KERNEL_AUDIT;
    case MANIFEST_SOURCE_IMAGE: return handle->target == MANIFEST_NONE || is_string(m, handle->target);
    case MANIFEST_SOURCE_INIT: return handle->badge != 0;
    }
    return false;
}

static const char *records_check(const struct manifest *m)
{
    const struct manifest_header *h = m->header;
    for (uint32_t i = 0; i < h->provides.count; i++) {
        const struct manifest_provide *provide = &m->provides[i];
        if (provide->name[0] == 0 || !is_terminated(provide->name, sizeof provide->name) || provide->service >= h->services.count) {
            return "an endpoint's fields are out of range";
        }
    }
    for (uint32_t i = 0; i < h->handles.count; i++) {
        if (!is_handle_good(m, &m->handles[i])) {
            return "a handle's fields are out of range";
        }
    }
    for (uint32_t i = 0; i < h->services.count; i++) {
        const char *problem = service_check(m, &m->services[i], i);
        if (problem != nullptr) {
            return problem;
        }
    }
    return nullptr;
}

const char *manifest_open(struct manifest *out, const void *data, size_t size_bytes, uint64_t abi_hash)
{
    const struct manifest_header *h = data;
    if (size_bytes < sizeof *h || (uintptr_t)data % 8 != 0 || h->magic != MANIFEST_MAGIC) {
        return "not a compiled manifest";
    }
    if (h->version != MANIFEST_VERSION) {
        return "compiled for another version of init";
    }
    if (h->size != size_bytes) {
        return "the file is cut off";
    }
    if (manifest_checksum(data, size_bytes) != h->checksum) {
        return "the checksum is wrong";
    }
    if (h->abi_hash != abi_hash) {
        return "compiled for another version of the interfaces";
    }
    if (!is_table_inside(h->services, sizeof(struct manifest_service), size_bytes) ||
        !is_table_inside(h->provides, sizeof(struct manifest_provide), size_bytes) ||
        !is_table_inside(h->handles, sizeof(struct manifest_handle), size_bytes) ||
        !is_table_inside(h->indices, sizeof(uint32_t), size_bytes) || !is_table_inside(h->strings, 1, size_bytes) ||
        h->services.count == 0) {
        return "a table lies outside the file";
    }
    const uint8_t *bytes = data;
    struct manifest m = {
        .header = h,
        .services = (const void *)(bytes + h->services.offset),
        .provides = (const void *)(bytes + h->provides.offset),
        .handles = (const void *)(bytes + h->handles.offset),
        .indices = (const void *)(bytes + h->indices.offset),
        .strings = (const char *)bytes + h->strings.offset,
    };
    if (!is_terminated(h->name, sizeof h->name) || !is_terminated(h->hostname, sizeof h->hostname) || h->strings.count == 0 ||
        m.strings[h->strings.count - 1] != 0) {
        return "a string does not end";
    }
    const char *problem = records_check(&m);
    if (problem == nullptr) {
        *out = m;
    }
    return problem;
}
