/*
 * The life of a service:
 *
 *     STOPPED --start--> RUNNING --ends, policy says no--> STOPPED
 *                        RUNNING --ends, policy says yes--> BACKING_OFF --wait over--> RUNNING
 *                        RUNNING --ends too often--> FAILED
 *     BACKING_OFF --cannot be started--> BACKING_OFF, or FAILED in the end
 *     any other --cannot be started--> FAILED        BACKING_OFF, FAILED --start--> RUNNING        any --stop--> STOPPED
 *
 * Everything a service has is charged to its own untyped, so giving back is destroying that.
 */
#include <init.h>
#include <report.h>
#include <std/log.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/fmt.h>
#include <tess/string.h>
#include <tess/stub/cell.h>
#include <tess/stub/cspace.h>
#include <tess/stub/process.h>
#include <tess/stub/untyped.h>

constexpr uint64_t END_PATIENCE_NS = NS_PER_S; /* for the threads of a killed process to be gone */
constexpr size_t SYMBOLS_PATH_BYTES = 96;
constexpr uint32_t ARGUMENTS_MAX = 32;

static void service_set_state(struct service *service, enum service_state state)
{
    service->state = state;
    service->since_ns = time_now_ns();
}

/* ---- ends ---- */

/* The service's process is dead or dying; afterwards nothing of it is left, and what it had given out is stale. */
static void service_reclaim(struct service *service)
{
    struct init *init = service->init;
    uint32_t cause;
    int32_t status;
    loop_unwatch(&init->loop, &service->death);
    if (service->process != HANDLE_NONE) {
        (void)tess_process_wait(service->process, &cause, &status, time_after_ns(END_PATIENCE_NS));
    }
    const struct manifest_range *provides = &service->spec->provides;
    for (uint32_t i = 0; i < provides->count; i++) {
        (void)tess_cspace_revoke(std_self.cspace, init->endpoints[provides->first + i].serve);
    }
    if (service->untyped != HANDLE_NONE) {
        status_t destroyed = tess_cspace_destroy(std_self.cspace, service->untyped);
        if (destroyed != OK) {
            log_error("%s: its memory does not come back: %s", service->name, status_name(destroyed));
        }
    }
    std_handle_delete(service->process);
    std_handle_delete(service->untyped);
    std_handle_delete(service->cell);
    service->process = service->untyped = service->cell = HANDLE_NONE;
    service->process_id = service->image_base = 0;
}

void service_end(struct service *service, enum service_state state)
{
    if (service->state == SERVICE_RUNNING) {
        (void)tess_process_kill(service->process, 0);
        service->last_cause = EXIT_KILLED;
        service->last_status = 0;
        service_reclaim(service);
    }
    loop_timer_stop(&service->init->loop, &service->restart);
    service_set_state(service, state);
}

static void report_line(void *, uint32_t level, const char *text) { log_print(level, "%s", text); }

static void service_report(const struct service *service, const char *restart)
{
    struct init *init = service->init;
    struct tess_crash_record crash;
    bool has_crash = service->last_cause == EXIT_FAULT && tess_process_crash_info(service->process, (uint64_t)(uintptr_t)&crash) == OK;
    struct report_program program = {.name = service->name, .process_id = service->process_id, .image_base = service->image_base};
    char path[SYMBOLS_PATH_BYTES];
    const void *symbols;
    uint64_t offset, size;
    fmt_print(path, sizeof(path), "%s.sym", manifest_string(&init->manifest, service->spec->program));
    if (image_find(init, path, &symbols, &offset, &size)) {
        program.symbols = symbols;
        program.symbols_size = size;
    }
    report_end(&program, service->last_cause, service->last_status, has_crash ? &crash : nullptr, restart, report_line, nullptr);
}

static bool is_restart_wanted(const struct service *service)
{
    switch (service->spec->restart) {
    case MANIFEST_RESTART_ALWAYS: return true;
    case MANIFEST_RESTART_ON_FAILURE: return service->last_cause != EXIT_NORMAL || service->last_status != 0;
    case MANIFEST_RESTART_NEVER: return false;
    }
    return false;
}

/* What a restart lacks may come back: it counts as one more end in a row. */
static void service_retry(struct service *service, uint64_t ended_ns)
{
    uint64_t delay_ns = 0;
    if (!backoff_ended(&service->backoff, 0, &delay_ns)) {
        log_error("%s: given up after %u ends in a row", service->name, service->backoff.ends_in_a_row);
        return;
    }
    log_warning("%s: trying again in %llu ms", service->name, (unsigned long long)(delay_ns / NS_PER_MS));
    service->state = SERVICE_BACKING_OFF;
    service->since_ns = ended_ns;
    loop_timer_start(&service->init->loop, &service->restart, time_after_ns(delay_ns));
}

static void service_restart(struct service *service)
{
    uint64_t ended_ns = service->since_ns;
    if (service_start(service) != OK) {
        service_retry(service, ended_ns);
        return;
    }
    service->restarts++;
    service->init->restarts++;
    log_info("%s runs again as process %llu, %llu ms after its end", service->name, (unsigned long long)service->process_id,
             (unsigned long long)((service->since_ns - ended_ns) / NS_PER_MS));
}

static void restart_due(struct loop_timer *timer) { service_restart(timer->context); }

static void service_died(struct service *service)
{
    uint64_t delay_ns = 0;
    uint64_t ran_ns = time_now_ns() - service->since_ns;
    char plan[64] = "not restarted";
    enum service_state state = SERVICE_STOPPED;
    if (is_restart_wanted(service)) {
        if (!backoff_ended(&service->backoff, ran_ns, &delay_ns)) {
            fmt_print(plan, sizeof(plan), "given up after %u ends in a row", service->backoff.ends_in_a_row);
            state = SERVICE_FAILED;
        } else {
            state = SERVICE_BACKING_OFF;
            fmt_print(plan, sizeof(plan), delay_ns == 0 ? "restarting now" : "restarting in %llu ms",
                      (unsigned long long)(delay_ns / NS_PER_MS));
        }
    }
    service_report(service, plan);
    service_reclaim(service);
    service_set_state(service, state);
    if (state == SERVICE_BACKING_OFF && delay_ns == 0) {
        service_restart(service);
    } else if (state == SERVICE_BACKING_OFF) {
        loop_timer_start(&service->init->loop, &service->restart, service->since_ns + delay_ns);
    }
}

static void process_gone(struct loop_watch *watch, uint64_t, status_t)
{
    struct service *service = watch->context;
    service->last_cause = EXIT_DESTROYED;
    service->last_status = 0;
    (void)tess_process_wait(service->process, &service->last_cause, &service->last_status, time_after_ns(END_PATIENCE_NS));
    service_died(service);
}

/* ---- starts ---- */

static uint32_t service_arguments(const struct service *service, const char *args[ARGUMENTS_MAX])
{
    const struct manifest *manifest = &service->init->manifest;
    if (service->has_argument) {
        args[0] = service->argument;
        return 1;
    }
    uint32_t count = service->spec->args.count < ARGUMENTS_MAX ? service->spec->args.count : ARGUMENTS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        args[i] = manifest_string(manifest, manifest_index(manifest, service->spec->args, i));
    }
    return count;
}

/* Makes the process, not running yet, out of service->untyped. */
static status_t service_spawn(struct service *service, struct spawned *spawned)
{
    static struct grants grants; /* too large for the stack; init has one thread */
    struct init *init = service->init;
    const char *path = manifest_string(&init->manifest, service->spec->program), *args[ARGUMENTS_MAX];
    const void *file;
    uint64_t offset, size;
    if (!image_find(init, path, &file, &offset, &size)) {
        log_error("cannot start %s: program %s is not in the boot image", service->name, path);
        return ERROR_NOT_FOUND;
    }
    *spawned = (struct spawned){.failed_step = "making its handles"};
    status_t status = grants_make(init, service, &grants);
    if (status == OK) {
        struct spawn_args spawn = {
            .name = service->name,
            .file = file,
            .file_size = size,
            .file_memory = init->image,
            .file_offset = offset,
            .untyped = service->untyped,
            .cell = service->cell,
            .clock_memory = init->clock_page,
            .slot_limit = service->spec->slot_limit,
            .args = args,
            .arg_count = service_arguments(service, args),
            .handles = grants.handles,
            .handle_count = grants.count,
            .is_suspended = true,
        };
        status = process_spawn(&spawn, spawned);
    }
    grants_drop(&grants);
    if (status != OK) {
        log_error("cannot start %s: %s (%s%s%s)", service->name, status_name(status),
                  spawned->failed_step != nullptr ? spawned->failed_step : "spawning", spawned->failed_name != nullptr ? ": " : "",
                  spawned->failed_name != nullptr ? spawned->failed_name : "");
    }
    return status;
}

/* The watch is set before the first instruction runs, so that no end can be missed. */
static status_t service_launch(struct service *service, struct spawned *spawned)
{
    struct tess_process_info info;
    service->process = spawned->process;
    service->image_base = spawned->image_base;
    status_t status = tess_process_info(service->process, (uint64_t)(uintptr_t)&info);
    if (status == OK) {
        service->process_id = info.id;
        service->death = (struct loop_watch){.fn = process_gone, .context = service};
        status = loop_watch(&service->init->loop, &service->death, service->process, 0, WATCH_DEATH);
    }
    if (status == OK) {
        status = process_start(spawned);
    }
    std_handle_delete(spawned->thread);
    std_handle_delete(spawned->cspace);
    std_handle_delete(spawned->vspace);
    if (status != OK) {
        log_error("cannot start %s: %s", service->name, status_name(status));
    }
    return status;
}

static status_t service_create_untyped(struct service *service)
{
    status_t status = tess_untyped_create_untyped(std_self.untyped, service->spec->memory_bytes, &service->untyped);
    if (status != OK) {
        uint64_t limit = 0, used = 0, objects;
        service->untyped = HANDLE_NONE;
        (void)tess_untyped_info(std_self.untyped, &limit, &used, &objects);
        log_error("cannot start %s: not enough memory: %llu KiB wanted, %llu KiB left (%s)", service->name,
                  (unsigned long long)(service->spec->memory_bytes / 1024), (unsigned long long)((limit - used) * PAGE_BYTES / 1024),
                  status_name(status));
    }
    return status;
}

/* Priority 16, which is usual, weighs as much as a cell without anything said. */
static uint32_t service_weight(const struct service *service)
{
    constexpr uint32_t WEIGHT_OF_ONE = 64;
    uint32_t priority = service->spec->priority;
    return priority != 0 ? priority * WEIGHT_OF_ONE : WEIGHT_OF_ONE / 4;
}

/* Its own cell, which goes with service->untyped. */
static status_t service_create_cell(struct service *service)
{
    handle_t root = service->init->cell;
    if (root == HANDLE_NONE) {
        return OK;
    }
    status_t status =
        tess_untyped_create_cell(service->untyped, root, service_weight(service), (const uint8_t *)service->name, &service->cell);
    if (status == OK && service->spec->cpu_quota != 0) {
        constexpr uint64_t QUOTA_PERIOD_NS = 100'000'000;
        status = tess_cell_set_quota(service->cell, QUOTA_PERIOD_NS / 100 * service->spec->cpu_quota, QUOTA_PERIOD_NS);
    }
    if (status == OK && service->spec->handle_limit != 0) {
        status = tess_cell_set_limit(service->cell, CELL_LIMIT_HANDLES, service->spec->handle_limit);
    }
    if (status == OK && service->spec->call_limit != 0) {
        status = tess_cell_set_limit(service->cell, CELL_LIMIT_CALLS, service->spec->call_limit);
    }
    if (status != OK) {
        service->cell = HANDLE_NONE;
        log_error("cannot start %s: no cell for it (%s)", service->name, status_name(status));
    }
    return status;
}

status_t service_start(struct service *service)
{
    struct spawned spawned;
    status_t status = service_create_untyped(service);
    if (status == OK) {
        status = service_create_cell(service);
    }
    if (status == OK) {
        status = service_spawn(service, &spawned);
    }
    if (status == OK) {
        status = service_launch(service, &spawned);
    }
    if (status != OK) {
        service_reclaim(service);
    }
    service_set_state(service, status == OK ? SERVICE_RUNNING : SERVICE_FAILED);
    return status;
}

/* ---- look-ups ---- */

void service_init(struct init *init, struct service *service, const struct manifest_service *spec)
{
    *service = (struct service){.init = init, .spec = spec};
    memcpy(service->name, spec->name, NAME_BYTES);
    service->restart = (struct loop_timer){.fn = restart_due, .context = service};
    service->since_ns = time_now_ns();
}

struct service *service_by_name(struct init *init, const uint8_t name[NAME_BYTES])
{
    for (uint32_t i = 0; i < init->service_count; i++) {
        if (memcmp(init->services[i].spec->name, name, NAME_BYTES) == 0) {
            return &init->services[i];
        }
    }
    return nullptr;
}

struct service *service_by_process(struct init *init, uint64_t process_id)
{
    for (uint32_t i = 0; i < init->service_count; i++) {
        if (process_id != 0 && init->services[i].process_id == process_id) {
            return &init->services[i];
        }
    }
    return nullptr;
}
