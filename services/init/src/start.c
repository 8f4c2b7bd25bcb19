/* What init does once: opens the manifest, makes the endpoints, starts the services. */
#include <init.h>
#include <std/log.h>
#include <std/program.h>
#include <tess/stub/cspace.h>
#include <tess/stub/untyped.h>

constexpr char MANIFEST_PATH[] = "manifest.bin";

const char *start_open(struct init *init)
{
    const void *data;
    uint64_t offset, size;
    const char *problem = image_open(init);
    if (problem != nullptr) {
        return problem;
    }
    if (!image_find(init, MANIFEST_PATH, &data, &offset, &size)) {
        return "manifest.bin is not in the boot image";
    }
    problem = manifest_open(&init->manifest, data, size, ABI_HASH);
    if (problem != nullptr) {
        log_error("manifest.bin: %s", problem);
        return "the manifest cannot be used";
    }
    if (init->manifest.header->services.count > SERVICES_MAX || init->manifest.header->provides.count >= ENDPOINTS_MAX) {
        return "the manifest has more services or endpoints than init has room for";
    }
    return nullptr;
}

static status_t create_endpoint(struct init *init, uint32_t service, uint32_t interface)
{
    struct endpoint endpoint = {.service = service, .interface = interface};
    uint32_t type, rights;
    uint64_t badge;
    status_t status = tess_untyped_create_endpoint(std_self.untyped, &endpoint.owner);
    if (status == OK) {
        status = tess_cspace_inspect(std_self.cspace, endpoint.owner, &type, &rights, &badge, &endpoint.object_id);
    }
    if (status == OK) {
        status = std_handle_copy(endpoint.owner, RIGHTS_ALL, &endpoint.serve);
    }
    init->endpoints[init->endpoint_count++] = endpoint;
    return status;
}

status_t start_endpoints(struct init *init)
{
    status_t status = OK;
    for (uint32_t i = 0; i < init->manifest.header->provides.count && status == OK; i++) {
        const struct manifest_provide *provide = &init->manifest.provides[i];
        status = create_endpoint(init, provide->service, provide->interface);
    }
    if (status == OK) {
        status = create_endpoint(init, SERVICES_MAX, INTERFACE_SUPERVISOR);
    }
    if (status == OK) {
        init->supervisor = (struct loop_service){.dispatch = supervisor_handle, .context = init};
        status = loop_serve(&init->loop, &init->supervisor, init->endpoints[init->endpoint_count - 1].owner);
    }
    return status;
}

void start_services(struct init *init)
{
    uint32_t wanted = 0, started = 0;
    init->service_count = init->manifest.header->services.count;
    for (uint32_t i = 0; i < init->service_count; i++) {
        service_init(init, &init->services[i], &init->manifest.services[i]);
    }
    for (uint32_t i = 0; i < init->service_count; i++) {
        if (init->services[i].spec->start == MANIFEST_START_BOOT) {
            wanted++;
            started += service_start(&init->services[i]) == OK;
        }
    }
    struct audit audit = {};
    (void)audit_take(init, &audit);
    unsigned long long used = audit.used_pages * PAGE_BYTES / 1024;
    if (started == wanted) {
        log_info("%u services started, %llu KiB used", started, used);
    } else {
        log_warning("%u of %u services started, %llu KiB used", started, wanted, used);
    }
}
