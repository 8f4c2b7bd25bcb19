/* The supervisor protocol: what init tells about its services, and does with them for others. */
#include <init.h>
#include <std/log.h>
#include <tess/serve/supervisor.h>
#include <tess/string.h>
#include <tess/stub/process.h>
#include <tess/stub/untyped.h>

static void put_name(uint8_t out_name[NAME_BYTES], const char *name)
{
    memset(out_name, 0, NAME_BYTES);
    memcpy(out_name, name, strnlen(name, NAME_BYTES));
}

static status_t handle_next(void *context, struct tess_call *, uint32_t index, uint8_t out_name[16], uint32_t *out_state,
                            uint64_t *out_process_id, uint32_t *out_restarts, uint64_t *out_since_ns, uint32_t *out_last_cause,
                            int32_t *out_last_status)
{
    struct init *init = context;
    if (index >= init->service_count) {
        return ERROR_NOT_FOUND;
    }
    const struct service *service = &init->services[index];
    put_name(out_name, service->name);
    *out_state = service->state;
    *out_process_id = service->process_id;
    *out_restarts = service->restarts;
    *out_since_ns = service->since_ns;
    *out_last_cause = service->last_cause;
    *out_last_status = service->last_status;
    return OK;
}

static status_t handle_start(void *context, struct tess_call *, const uint8_t name[16])
{
    struct service *service = service_by_name(context, name);
    if (service == nullptr) {
        return ERROR_NOT_FOUND;
    }
    if (service->state == SERVICE_RUNNING) {
        return ERROR_ALREADY;
    }
    service->has_argument = false;
    service_end(service, SERVICE_STOPPED); /* a restart may be due: this start takes its place */
    backoff_reset(&service->backoff);
    return service_start(service);
}

static status_t handle_stop(void *context, struct tess_call *, const uint8_t name[16])
{
    struct service *service = service_by_name(context, name);
    if (service == nullptr) {
        return ERROR_NOT_FOUND;
    }
    if (service->state == SERVICE_STOPPED) {
        return ERROR_ALREADY;
    }
    service_end(service, SERVICE_STOPPED);
    log_info("%s stopped", service->name);
    return OK;
}

static status_t handle_restart(void *context, struct tess_call *, const uint8_t name[16])
{
    struct init *init = context;
    struct service *service = service_by_name(init, name);
    if (service == nullptr) {
        return ERROR_NOT_FOUND;
    }
    service_end(service, SERVICE_STOPPED);
    backoff_reset(&service->backoff);
    status_t status = service_start(service);
    if (status == OK) {
        service->restarts++;
        init->restarts++;
    }
    return status;
}

static status_t handle_kill(void *context, struct tess_call *, uint64_t process_id)
{
    struct service *service = service_by_process(context, process_id);
    if (service == nullptr) {
        return ERROR_NOT_FOUND;
    }
    /* The watch on the process tells the rest of init, as for any other death. ALREADY: it is on its way. */
    status_t status = tess_process_kill(service->process, 0);
    return status == ERROR_ALREADY ? OK : status;
}

static status_t handle_program(void *context, struct tess_call *, const uint8_t name[16], const uint8_t argument[32],
                               uint64_t *out_process_id)
{
    struct service *service = service_by_name(context, name);
    if (service == nullptr || service->spec->start != MANIFEST_START_MANUAL) {
        return ERROR_NOT_FOUND;
    }
    if (service->state == SERVICE_RUNNING) {
        return ERROR_ALREADY;
    }
    service_end(service, SERVICE_STOPPED);
    service->has_argument = argument[0] != 0;
    memcpy(service->argument, argument, ARGUMENT_BYTES);
    service->argument[ARGUMENT_BYTES] = '\0';
    backoff_reset(&service->backoff);
    status_t status = service_start(service);
    *out_process_id = service->process_id;
    return status;
}

static status_t handle_endpoint(void *context, struct tess_call *, uint64_t object_id, uint8_t out_service[16], uint32_t *out_interface)
{
    const struct init *init = context;
    for (uint32_t i = 0; i < init->endpoint_count; i++) {
        const struct endpoint *endpoint = &init->endpoints[i];
        if (endpoint->object_id == object_id) {
            put_name(out_service, endpoint->service < init->service_count ? init->services[endpoint->service].name : "init");
            *out_interface = endpoint->interface;
            return OK;
        }
    }
    return ERROR_NOT_FOUND;
}

static status_t handle_memory(void *context, struct tess_call *, uint32_t index, uint64_t *out_limit_pages, uint64_t *out_used_pages,
                              uint64_t *out_object_count)
{
    const struct init *init = context;
    if (index >= init->service_count) {
        return ERROR_NOT_FOUND;
    }
    const struct service *service = &init->services[index];
    if (service->untyped == HANDLE_NONE) {
        *out_limit_pages = service->spec->memory_bytes / PAGE_BYTES;
        return OK;
    }
    return tess_untyped_info(service->untyped, out_limit_pages, out_used_pages, out_object_count);
}

static status_t handle_audit(void *context, struct tess_call *, bool is_logged, uint32_t *out_handles_used, uint32_t *out_handles_limit,
                             uint64_t *out_own_pages, uint64_t *out_service_pages, uint64_t *out_free_pages, uint64_t *out_restarts)
{
    struct init *init = context;
    struct audit audit;
    status_t status = audit_take(init, &audit);
    if (status != OK) {
        return status;
    }
    if (is_logged) {
        audit_log(init, &audit);
    }
    *out_handles_used = audit.handles_used;
    *out_handles_limit = audit.handles_limit;
    *out_own_pages = audit.own_pages;
    *out_service_pages = audit.service_pages;
    *out_free_pages = audit.free_pages;
    *out_restarts = init->restarts;
    return OK;
}

status_t supervisor_handle(struct loop_service *service, struct tess_call *call)
{
    static const struct supervisor_server server = {
        .next = handle_next,
        .start = handle_start,
        .stop = handle_stop,
        .restart = handle_restart,
        .kill = handle_kill,
        .program = handle_program,
        .endpoint = handle_endpoint,
        .memory = handle_memory,
        .audit = handle_audit,
    };
    return supervisor_dispatch(&server, service->context, call);
}
