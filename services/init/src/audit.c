/* What init holds: the figures by which a leak would show. */
#include <init.h>
#include <std/log.h>
#include <std/program.h>
#include <tess/stub/cspace.h>
#include <tess/stub/untyped.h>

status_t audit_take(struct init *init, struct audit *out_audit)
{
    struct audit audit = {};
    uint64_t limit, used, objects;
    status_t status = tess_cspace_info(std_self.cspace, &audit.handles_used, &audit.handles_limit);
    if (status == OK) {
        status = tess_untyped_info(std_self.untyped, &limit, &used, &objects);
    }
    if (status != OK) {
        return status;
    }
    audit.free_pages = limit - used;
    for (uint32_t i = 0; i < init->service_count; i++) {
        uint64_t quota, charged;
        const struct service *service = &init->services[i];
        if (service->untyped != HANDLE_NONE && tess_untyped_info(service->untyped, &quota, &charged, &objects) == OK) {
            audit.service_pages += quota;
            audit.used_pages += charged;
        }
    }
    audit.own_pages = used - audit.service_pages;
    audit.used_pages += audit.own_pages;
    *out_audit = audit;
    return OK;
}

void audit_log(const struct init *init, const struct audit *audit)
{
    log_print(LOG_INFO, "audit: %u handles, %llu pages of its own, %llu pages of quota out, %llu pages left, %llu restarts",
              audit->handles_used, (unsigned long long)audit->own_pages, (unsigned long long)audit->service_pages,
              (unsigned long long)audit->free_pages, (unsigned long long)init->restarts);
}
