/*
 * The manifest reader against a file made by the image builder (argument 1) and against every way to damage it: any cut, any
 * changed byte with a corrected checksum. Whatever it accepts is walked completely, so that the sanitizers see a bad index.
 */
#include <check.h>
#include <manifest.h>
#include <stdlib.h>
#include <tess/abi.h>

static uint32_t crc32(const uint8_t *bytes, size_t count)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
        }
    }
    return ~crc;
}

static void seal(uint8_t *file, size_t size)
{
    struct manifest_header *header = (void *)file;
    header->checksum = 0;
    header->checksum = crc32(file, size);
}

/* Touches everything an accepted manifest offers. */
static size_t walk(const struct manifest *m)
{
    size_t sum = strlen(m->header->name) + strlen(m->header->hostname);
    for (uint32_t i = 0; i < m->header->services.count; i++) {
        const struct manifest_service *service = &m->services[i];
        sum += strlen(manifest_string(m, service->program));
        for (uint32_t k = 0; k < service->args.count; k++) {
            sum += strlen(manifest_string(m, manifest_index(m, service->args, k)));
        }
        for (uint32_t k = 0; k < service->after.count; k++) {
            sum += m->services[manifest_index(m, service->after, k)].slot_limit;
        }
        for (uint32_t k = 0; k < service->provides.count; k++) {
            sum += strlen(m->provides[service->provides.first + k].name);
        }
        for (uint32_t k = 0; k < service->handles.count; k++) {
            const struct manifest_handle *handle = &m->handles[service->handles.first + k];
            sum += strlen(handle->name);
            if (handle->source == MANIFEST_SOURCE_ENDPOINT) {
                sum += m->services[m->provides[handle->target].service].slot_limit;
            } else if (handle->source == MANIFEST_SOURCE_IMAGE && handle->target != MANIFEST_NONE) {
                sum += strlen(manifest_string(m, handle->target));
            }
        }
    }
    return sum;
}

/* A copy of exactly the size, so that a read behind the end is caught. */
static const char *open_copy(const uint8_t *file, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, file, size);
    struct manifest m;
    const char *problem = manifest_open(&m, copy, size, ABI_HASH);
    if (problem == nullptr) {
        walk(&m);
    }
    free(copy);
    return problem;
}

int main(int argc, char **argv)
{
    static uint8_t file[65536];
    FILE *stream = argc == 2 ? fopen(argv[1], "rb") : nullptr;
    if (stream == nullptr) {
        fprintf(stderr, "usage: manifest_test FILE\n");
        return 2;
    }
    size_t size = fread(file, 1, sizeof file, stream);
    fclose(stream);

    struct manifest m;
    CHECK_TEXT(manifest_open(&m, file, size, ABI_HASH) ? "bad" : "good", "good");
    CHECK(m.header->services.count == 3);
    CHECK_TEXT(m.services[0].name, "devmgr");
    CHECK_TEXT(m.services[2].name, "web");
    CHECK(m.services[2].memory_bytes == 65536 && m.services[2].args.count == 2);
    CHECK_TEXT(manifest_string(&m, manifest_index(&m, m.services[2].args, 1)), "80");
    const struct manifest_handle *net = &m.handles[m.services[2].handles.first];
    CHECK(net->source == MANIFEST_SOURCE_ENDPOINT && net->badge == 3);
    CHECK_TEXT(m.provides[net->target].name, "net");
    CHECK(manifest_open(&m, file, size, ABI_HASH + 1) != nullptr);

    for (size_t cut = 0; cut < size; cut++) {
        CHECK(open_copy(file, cut) != nullptr);
    }
    for (size_t i = 0; i < size; i++) {
        uint8_t kept = file[i];
        static const uint8_t values[] = {0, 1, 2, 4, 5, 8, 0x7F, 0x80, 0xFF};
        file[i] ^= 0x10;
        CHECK(open_copy(file, size) != nullptr); /* the checksum finds it */
        for (size_t v = 0; v < sizeof values; v++) {
            file[i] = values[v];
            seal(file, size);
            (void)open_copy(file, size);
        }
        file[i] = kept;
        seal(file, size);
    }
    return check_result();
}
