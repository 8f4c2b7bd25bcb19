/*
 * Which handles a service gets: exactly those of its manifest entry, and a handle to append to the log. Client handles carry
 * the badge that the manifest's compiler gave them. Spawning copies with the rights listed here; what had to be made for it in
 * init's table is deleted again, so that nothing of it stays.
 */
#include <init.h>
#include <std/log.h>
#include <std/program.h>
#include <tess/string.h>
#include <tess/stub/memory.h>
#include <tess/util.h>

/* A server needs all of its endpoint, but must not be able to kill it: calls queue in it while the server restarts. */
constexpr uint32_t SERVE_RIGHTS = RIGHTS_ALL & ~RIGHT_DESTROY;
constexpr uint32_t LOG_RIGHTS = LOG_RIGHT_APPEND | RIGHT_INSPECT;

static status_t add(struct grants *grants, const char *name, handle_t handle, uint32_t rights)
{
    if (grants->count == ARRAY_LENGTH(grants->handles)) {
        return ERROR_NO_SPACE;
    }
    grants->handles[grants->count++] = (struct spawn_handle){.name = name, .handle = handle, .rights = rights};
    return OK;
}

/* As add(); the handle is deleted by grants_drop(), whatever happens. */
static status_t add_temporary(struct grants *grants, const char *name, handle_t handle, uint32_t rights)
{
    if (grants->temporary_count == ARRAY_LENGTH(grants->temporary)) {
        std_handle_delete(handle);
        return ERROR_NO_SPACE;
    }
    grants->temporary[grants->temporary_count++] = handle;
    return add(grants, name, handle, rights);
}

static status_t grant_serve(struct init *init, const struct service *service, struct grants *grants)
{
    constexpr char prefix[] = "serve.";
    constexpr size_t prefix_length = sizeof(prefix) - 1;
    const struct manifest_range *provides = &service->spec->provides;
    status_t status = OK;
    for (uint32_t i = 0; i < provides->count && status == OK; i++) {
        if (i == ARRAY_LENGTH(grants->serve_names)) {
            return ERROR_NO_SPACE;
        }
        char *name = grants->serve_names[i];
        const char *endpoint = init->manifest.provides[provides->first + i].name;
        memcpy(name, prefix, prefix_length);
        memcpy(name + prefix_length, endpoint, strnlen(endpoint, sizeof(grants->serve_names[i]) - 1 - prefix_length));
        status = add(grants, name, init->endpoints[provides->first + i].serve, SERVE_RIGHTS);
    }
    return status;
}

static status_t grant_client(const struct endpoint *endpoint, const struct manifest_handle *want, struct grants *grants)
{
    handle_t handle;
    status_t status = std_handle_mint(endpoint->owner, want->rights | RIGHT_COPY, want->badge, &handle);
    return status == OK ? add_temporary(grants, want->name, handle, want->rights) : status;
}

static handle_t kernel_source(const struct init *init, uint32_t kernel)
{
    switch (kernel) {
    case MANIFEST_KERNEL_MACHINE: return init->machine;
    case MANIFEST_KERNEL_SYSTEM: return init->system;
    case MANIFEST_KERNEL_LOG: return std_self.log;
    case MANIFEST_KERNEL_CLOCK: return init->clock;
    case MANIFEST_KERNEL_UNTYPED: return std_self.untyped;
    case MANIFEST_KERNEL_TRACE: return init->trace;
    case MANIFEST_KERNEL_AUDIT: return init->audit;
    default: return HANDLE_NONE;
    }
}

/* A read-only view of one file of the boot image; files lie on page boundaries there. */
static status_t grant_file(const struct init *init, const struct manifest_handle *want, struct grants *grants)
{
    const void *data;
    uint64_t offset, size;
    handle_t slice;
    if (!image_find(init, manifest_string(&init->manifest, want->target), &data, &offset, &size)) {
        return ERROR_NOT_FOUND;
    }
    if (!is_aligned(offset, PAGE_BYTES) || size == 0) {
        return ERROR_BAD_FORMAT;
    }
    status_t status = tess_memory_slice(init->image, offset, align_up(size, PAGE_BYTES), &slice);
    return status == OK ? add_temporary(grants, want->name, slice, want->rights) : status;
}

static status_t grant_one(struct init *init, const struct manifest_handle *want, struct grants *grants)
{
    switch (want->source) {
    case MANIFEST_SOURCE_ENDPOINT: return grant_client(&init->endpoints[want->target], want, grants);
    case MANIFEST_SOURCE_INIT: return grant_client(&init->endpoints[init->endpoint_count - 1], want, grants);
    case MANIFEST_SOURCE_KERNEL: return add(grants, want->name, kernel_source(init, want->target), want->rights);
    case MANIFEST_SOURCE_IMAGE:
        return want->target == MANIFEST_NONE ? add(grants, want->name, init->image, want->rights) : grant_file(init, want, grants);
    }
    return ERROR_BAD_FORMAT;
}

status_t grants_make(struct init *init, const struct service *service, struct grants *grants)
{
    bool has_log = false;
    *grants = (struct grants){};
    status_t status = grant_serve(init, service, grants);
    const struct manifest_range *handles = &service->spec->handles;
    for (uint32_t i = 0; i < handles->count && status == OK; i++) {
        const struct manifest_handle *want = &init->manifest.handles[handles->first + i];
        has_log = has_log || strcmp(want->name, "log") == 0;
        status = grant_one(init, want, grants);
        if (status != OK) {
            log_error("%s: handle \"%s\" cannot be made: %s", service->name, want->name, status_name(status));
        }
    }
    if (status == OK && !has_log) {
        status = add(grants, "log", std_self.log, LOG_RIGHTS);
    }
    return status;
}

void grants_drop(struct grants *grants)
{
    for (uint32_t i = 0; i < grants->temporary_count; i++) {
        std_handle_delete(grants->temporary[i]);
    }
}
