/*
 * init: the first process. It owns all RAM that is left after the kernel's own, divides it among the services of the manifest,
 * and keeps them running. One thread; everything arrives in one event loop. Files: main.c and start.c (start-up), image.c (boot image),
 * grant.c (which handles a service gets), service.c (the life of a service), supervisor.c (protocol), audit.c (what init holds).
 *
 * What init keeps per running service: handles to its untyped and its process, and one watch. All of it goes when the service
 * ends. Endpoints are init's own and stay, so that calls queue while a service restarts.
 */
#pragma once
#include <backoff.h>
#include <manifest.h>
#include <std/loop.h>
#include <std/spawn.h>
#include <tess/abi.h>

constexpr uint32_t SERVICES_MAX = 64;
constexpr uint32_t ENDPOINTS_MAX = 96;
constexpr size_t ARGUMENT_BYTES = 32; /* supervisor.program */
constexpr uint64_t PAGE_BYTES = 4096;

enum service_state : uint32_t { SERVICE_STOPPED, SERVICE_RUNNING, SERVICE_BACKING_OFF, SERVICE_FAILED }; /* as supervisor.next */

struct init;

struct service {
    struct init *init;
    const struct manifest_service *spec;
    char name[NAME_BYTES + 1];
    enum service_state state;

    /* While running; HANDLE_NONE and 0 otherwise. */
    handle_t untyped, cell, process;
    uint64_t process_id, image_base;
    struct loop_watch death;

    struct loop_timer restart; /* runs in SERVICE_BACKING_OFF */
    struct backoff backoff;

    /* Since boot. */
    uint32_t restarts;
    uint64_t since_ns;   /* of the present state */
    uint32_t last_cause; /* EXIT_*, of the last end */
    int32_t last_status;

    char argument[ARGUMENT_BYTES + 1]; /* of supervisor.program, instead of the manifest's arguments */
    bool has_argument;
};

struct endpoint {
    handle_t owner; /* clients' handles are minted from this one */
    handle_t serve; /* a copy of it, from which the service's own handle is copied: revoking it takes back that, and all that an
                     * incarnation of the service gave out, and leaves the clients' handles alone */
    uint64_t object_id;
    uint32_t service; /* index; SERVICES_MAX = init itself */
    uint32_t interface;
};

struct init {
    handle_t machine, system, cell, clock, clock_page, image, trace, audit;
    const uint8_t *image_base;
    uint64_t image_size;
    struct manifest manifest;
    struct loop loop;
    struct loop_service supervisor;
    struct service services[SERVICES_MAX];
    uint32_t service_count;
    struct endpoint endpoints[ENDPOINTS_MAX]; /* in the manifest's order of provides, then init's own */
    uint32_t endpoint_count;
    uint64_t restarts;
};

/* start.c, in this order. start_open() returns nullptr, or what is wrong. start_services() logs what cannot be started and goes on. */
const char *start_open(struct init *init);
status_t start_endpoints(struct init *init);
void start_services(struct init *init);

/* image.c: maps the boot image and checks it from end to end, so that later look-ups cannot meet damage. nullptr, or what is wrong. */
const char *image_open(struct init *init);
/* A file of the image; false when there is none of this name. */
bool image_find(const struct init *init, const char *path, const void **out_data, uint64_t *out_offset, uint64_t *out_size);

/* grant.c: what the manifest lists for a service, as process_spawn() takes it. The structure stays in place until grants_drop(). */
struct grants {
    struct spawn_handle handles[64];
    uint32_t count;
    handle_t temporary[64]; /* of init's table: made for this spawn only */
    uint32_t temporary_count;
    char serve_names[64][24];
};
[[nodiscard]] status_t grants_make(struct init *init, const struct service *service, struct grants *grants);
void grants_drop(struct grants *grants);

/* service.c */
void service_init(struct init *init, struct service *service, const struct manifest_service *spec);
/* Starts it; logs why when it cannot, and then it is SERVICE_FAILED. It must not be running. */
status_t service_start(struct service *service);
/* Ends it if it runs, gives back all it had; its state becomes `state`. */
void service_end(struct service *service, enum service_state state);
/* nullptr when there is none. */
struct service *service_by_name(struct init *init, const uint8_t name[NAME_BYTES]);
struct service *service_by_process(struct init *init, uint64_t process_id);

/* supervisor.c: answers one call of the protocol. */
status_t supervisor_handle(struct loop_service *service, struct tess_call *call);

/* audit.c */
struct audit {
    uint32_t handles_used, handles_limit;
    uint64_t own_pages, service_pages, free_pages;
    uint64_t used_pages; /* really charged: by init itself, and by services inside their quotas */
};
status_t audit_take(struct init *init, struct audit *out_audit);
void audit_log(const struct init *init, const struct audit *audit);
