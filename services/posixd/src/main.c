/* posixd: see abi/service/posix.toml and docs/linux.md. Every caller is taken for hostile. */
#include "posixd.h"
#include <std/log.h>
#include <std/program.h>
#include <tess/stub/untyped.h>

struct loop loop;
handle_t endpoint, cell_untyped;

static status_t dispatch(struct loop_service *service, struct tess_call *call)
{
    status_t status = posix_serve(service, call);
    waiters_run();
    return status;
}

static void badge_gone(struct loop_service *service, uint64_t badge)
{
    (void)service;
    badge_kind(badge) == BADGE_PROCESS ? process_badge_gone(badge) : pipe_badge_gone(badge);
    waiters_run();
}

static status_t start(void)
{
    static struct loop_service service = {.dispatch = dispatch, .badge_gone = badge_gone};
    /* A watch for each process. Calls that wait are kept as reply objects, so few are in progress at a time. */
    constexpr struct std_ring_sizes sizes = {.sq_entries = 2, .cq_entries = 1024, .call_slots = 64, .watch_slots = PROCESSES_MAX + 64};
    processes_init();
    waiters_init();
    status_t status = loop_open(&loop, &sizes);
    if (status == OK)
        status = tess_untyped_create_endpoint(std_self.untyped, &endpoint);
    if (status == OK)
        status = loop_serve(&loop, &service, endpoint);
    if (status == OK)
        status = tess_untyped_create_untyped(std_self.untyped, cell_memory(), &cell_untyped);
    if (status != OK)
        log_error("cannot serve: %s", status_name(status));
    return status;
}

int main(void)
{
    if (start() != OK || first_start() != OK) {
        first_switch_off();
        return 1;
    }
    return loop_run(&loop);
}
