/* The model described in fake_kernel.h. Objects are never reused; a handle is the index of its slot + 1, never reused either. */
#include "fake_kernel.h"
#include <std/log.h>
#include <std/loop.h>
#include <std/program.h>
#include <std/spawn.h>
#include <std/time.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tess/invoke.h>

constexpr uint32_t OBJECTS_MAX = 4000;
constexpr uint32_t SLOTS_MAX = 40000;

struct object {
    uint32_t type;
    uint32_t untyped; /* charged to it; 0 = nothing */
    bool is_alive;
    uint64_t limit, used, pages;
    /* process */
    uint32_t cause;
    int32_t status;
    bool has_ended, is_reported, is_started;
    struct loop_watch *watch;
    struct tess_handle_info given[64];
    char given_names[64][24];
    uint32_t given_count;
};

struct slot {
    uint32_t object; /* 0 = empty */
    uint32_t rights;
    uint64_t badge;
};

static struct object *objects;
static struct slot *slots;
static uint32_t object_count, slot_count, fail_countdown;
static bool has_failed;
static uint64_t now_ns;
static char log_text[65536], log_taken[65536];
static struct tess_message_page page;
static const void *boot_image;
static size_t boot_image_size;
static struct loop_timer *timers[256];

struct std_self std_self;
handle_t fake_clock_page, fake_image, fake_machine, fake_system, fake_clock;

struct tess_message_page *tess_message_page(void) { return &page; }

static bool must_fail(void)
{
    if (fail_countdown == 0 || --fail_countdown != 0) {
        return false;
    }
    has_failed = true;
    return true;
}

/* ---- objects and handles ---- */

static uint32_t object_new(uint32_t type, uint32_t untyped, uint64_t pages)
{
    if (untyped != 0 && objects[untyped].limit - objects[untyped].used < pages) {
        return 0;
    }
    uint32_t id = ++object_count;
    objects[id] = (struct object){.type = type, .untyped = untyped, .is_alive = true, .pages = pages};
    objects[untyped].used += pages;
    return id;
}

static handle_t handle_new(uint32_t object, uint32_t rights, uint64_t badge)
{
    slots[++slot_count] = (struct slot){object, rights, badge};
    return slot_count;
}

static struct slot *slot_of(handle_t handle)
{
    return handle != 0 && handle <= slot_count && slots[handle].object != 0 ? &slots[handle] : nullptr;
}

static void object_kill(uint32_t id)
{
    struct object *object = &objects[id];
    if (!object->is_alive) {
        return;
    }
    object->is_alive = false;
    for (uint32_t i = 1; i <= object_count; i++) {
        if (objects[i].untyped == id) {
            object_kill(i);
        }
    }
    if (object->type == OBJECT_PROCESS && !object->has_ended) {
        object->has_ended = true;
        object->cause = EXIT_DESTROYED;
    }
    objects[object->untyped].used -= object->pages;
    for (uint32_t i = 1; i <= slot_count; i++) {
        if (slots[i].object == id) {
            slots[i].object = 0;
        }
    }
}

/* Objects without handles go, except processes' inner parts, which the model charges to the process. */
static void slot_delete(handle_t handle)
{
    uint32_t object = slots[handle].object;
    slots[handle].object = 0;
    for (uint32_t i = 1; i <= slot_count; i++) {
        if (slots[i].object == object) {
            return;
        }
    }
    if (objects[object].type == OBJECT_MEMORY) {
        object_kill(object);
    }
}

uint32_t fake_handles(void)
{
    uint32_t count = 0;
    for (uint32_t i = 1; i <= slot_count; i++) {
        count += slots[i].object != 0;
    }
    return count;
}

uint64_t fake_pages(void) { return objects[1].used; }

uint32_t fake_objects(void)
{
    uint32_t count = 0;
    for (uint32_t i = 1; i <= object_count; i++) {
        count += objects[i].is_alive;
    }
    return count;
}

uint32_t fake_processes(void)
{
    uint32_t count = 0;
    for (uint32_t i = 1; i <= object_count; i++) {
        count += objects[i].is_alive && objects[i].type == OBJECT_PROCESS && !objects[i].has_ended && objects[i].is_started;
    }
    return count;
}

bool fake_child_handle(uint64_t process_id, const char *name, uint32_t *out_rights, uint64_t *out_badge, uint64_t *out_object)
{
    const struct object *process = &objects[process_id];
    for (uint32_t i = 0; i < process->given_count; i++) {
        if (strcmp(process->given_names[i], name) == 0) {
            *out_rights = process->given[i].rights;
            *out_badge = process->given[i].badge;
            *out_object = process->given[i].object_id;
            return true;
        }
    }
    return false;
}

/* ---- kernel calls ---- */

static status_t make(struct tess_regs *regs, uint32_t untyped, uint32_t type, uint64_t pages)
{
    uint32_t id = must_fail() ? 0 : object_new(type, untyped, pages);
    if (id == 0) {
        return ERROR_NO_MEMORY;
    }
    objects[id].limit = type == OBJECT_UNTYPED ? pages : 0;
    regs->word[0] = handle_new(id, RIGHTS_ALL, 0);
    return OK;
}

/* copy and mint into init's own table; the child's table exists only inside process_spawn(). */
static status_t copy(struct tess_regs *regs, uint64_t badge, uint32_t needed)
{
    struct slot *source = slot_of(regs->word[0]);
    if (source == nullptr) {
        return ERROR_BAD_HANDLE;
    }
    if ((source->rights & needed) != needed) {
        return ERROR_MISSING_RIGHT;
    }
    if (badge != 0 && (source->badge != 0 || (source->rights & RIGHT_OWNER) == 0)) {
        return ERROR_ALREADY;
    }
    if (must_fail()) {
        return ERROR_NO_MEMORY;
    }
    regs->word[0] = handle_new(source->object, source->rights & (uint32_t)regs->word[1], badge != 0 ? badge : source->badge);
    return OK;
}

static status_t on_cspace(struct tess_regs *regs)
{
    struct slot *target = slot_of(regs->word[0]);
    switch (regs->op) {
    case OP_CSPACE_COPY: return copy(regs, 0, RIGHT_COPY);
    case OP_CSPACE_MINT: return copy(regs, regs->word[2], RIGHT_MINT);
    case OP_CSPACE_INFO:
        regs->word[0] = fake_handles();
        regs->word[1] = 1024;
        return OK;
    default: break;
    }
    if (target == nullptr) {
        return ERROR_STALE_HANDLE;
    }
    switch (regs->op) {
    case OP_CSPACE_DELETE: slot_delete(regs->word[0]); return OK;
    case OP_CSPACE_REVOKE: return target->rights & RIGHT_REVOKE ? OK : ERROR_MISSING_RIGHT;
    case OP_CSPACE_DESTROY: object_kill(target->object); return OK;
    case OP_CSPACE_INSPECT: regs->word[3] = target->object; return OK;
    default: abort();
    }
}

static status_t on_process(struct tess_regs *regs, struct object *process, uint32_t id)
{
    switch (regs->op) {
    case OP_PROCESS_KILL:
        if (process->has_ended) {
            return ERROR_ALREADY;
        }
        process->has_ended = true;
        process->cause = EXIT_KILLED;
        return OK;
    case OP_PROCESS_WAIT:
        regs->word[0] = process->cause;
        regs->word[1] = (uint64_t)(int64_t)process->status;
        return process->has_ended || !process->is_started ? OK : ERROR_TIMED_OUT;
    case OP_PROCESS_INFO: *(struct tess_process_info *)regs->word[0] = (struct tess_process_info){.id = id}; return OK;
    case OP_PROCESS_CRASH_INFO:
        *(struct tess_crash_record *)regs->word[0] =
            (struct tess_crash_record){.fault_kind = 1, .pc = 0x200010, .frame_count = 1, .frames = {0x200010}};
        return OK;
    default: abort();
    }
}

status_t tess_invoke(struct tess_regs *regs)
{
    struct slot *slot = slot_of(regs->handle);
    if (slot == nullptr) {
        return regs->handle == 0 ? ERROR_BAD_HANDLE : ERROR_STALE_HANDLE;
    }
    struct object *object = &objects[slot->object];
    switch (op_interface(regs->op)) {
    case INTERFACE_CSPACE: return on_cspace(regs);
    case INTERFACE_PROCESS: return on_process(regs, object, slot->object);
    default: break;
    }
    switch (regs->op) {
    case OP_UNTYPED_CREATE_UNTYPED: return make(regs, slot->object, OBJECT_UNTYPED, regs->word[0] / 4096);
    case OP_UNTYPED_CREATE_ENDPOINT: return make(regs, slot->object, OBJECT_ENDPOINT, 1);
    case OP_UNTYPED_INFO:
        regs->word[0] = object->limit;
        regs->word[1] = object->used;
        regs->word[2] = 0;
        return OK;
    case OP_MEMORY_SLICE: return make(regs, 1, OBJECT_MEMORY, 1);
    case OP_MEMORY_INFO: regs->word[0] = boot_image_size; return OK;
    case OP_VSPACE_MAP: regs->word[0] = (uint64_t)boot_image; return OK;
    default: printf("fake kernel: op %#lx\n", (unsigned long)regs->op); abort();
    }
}

/* ---- lib/std ---- */

void log_print(uint32_t level, const char *format, ...)
{
    size_t length = strlen(log_text);
    va_list args;
    va_start(args, format);
    length += (size_t)snprintf(log_text + length, sizeof(log_text) - length, "%u init: ", level);
    length += (size_t)vsnprintf(log_text + length, sizeof(log_text) - length, format, args);
    snprintf(log_text + length, sizeof(log_text) - length, "\n");
    va_end(args);
}

const char *fake_log(void)
{
    strcpy(log_taken, log_text);
    log_text[0] = '\0';
    return log_taken;
}

void std_handle_delete(handle_t handle)
{
    if (slot_of(handle) != nullptr) {
        slot_delete(handle);
    }
}

status_t std_handle_copy(handle_t handle, uint32_t rights, handle_t *out_handle)
{
    struct tess_regs regs = {.word = {handle, rights}};
    status_t status = copy(&regs, 0, RIGHT_COPY);
    *out_handle = regs.word[0];
    return status;
}

status_t std_handle_mint(handle_t handle, uint32_t rights, uint64_t badge, handle_t *out_handle)
{
    struct tess_regs regs = {.word = {handle, rights}};
    status_t status = copy(&regs, badge, RIGHT_MINT);
    *out_handle = regs.word[0];
    return status;
}

uint64_t time_now_ns(void) { return now_ns; }

uint64_t time_after_ns(uint64_t delta_ns) { return now_ns + delta_ns; }

status_t process_spawn(const struct spawn_args *args, struct spawned *out_spawned)
{
    *out_spawned = (struct spawned){.failed_step = "creating the process"};
    struct slot *untyped = slot_of(args->untyped);
    uint32_t id = must_fail() ? 0 : object_new(OBJECT_PROCESS, untyped->object, 8);
    if (id == 0) {
        return ERROR_NO_MEMORY;
    }
    struct object *process = &objects[id];
    out_spawned->failed_step = "giving a handle";
    for (uint32_t i = 0; i < args->handle_count; i++) {
        const struct spawn_handle *give = &args->handles[i];
        struct slot *slot = slot_of(give->handle);
        out_spawned->failed_name = give->name;
        if (slot == nullptr || (slot->rights & RIGHT_COPY) == 0 || strlen(give->name) > 23) {
            object_kill(id);
            return ERROR_BAD_HANDLE;
        }
        process->given[i] =
            (struct tess_handle_info){.rights = slot->rights & give->rights, .badge = slot->badge, .object_id = slot->object};
        strcpy(process->given_names[i], give->name);
        process->given_count++;
    }
    *out_spawned = (struct spawned){.image_base = 0x200000};
    out_spawned->process = handle_new(id, RIGHTS_ALL, 0);
    handle_t *parts[] = {&out_spawned->thread, &out_spawned->cspace, &out_spawned->vspace};
    static const uint32_t types[] = {OBJECT_THREAD, OBJECT_CSPACE, OBJECT_VSPACE};
    for (uint32_t i = 0; i < 3; i++) {
        *parts[i] = handle_new(object_new(types[i], untyped->object, 1), RIGHTS_ALL, 0);
    }
    return OK;
}

status_t process_start(const struct spawned *spawned)
{
    if (must_fail()) {
        return ERROR_NO_MEMORY;
    }
    objects[slot_of(spawned->process)->object].is_started = true;
    return OK;
}

status_t loop_watch(struct loop *, struct loop_watch *watch, handle_t handle, uint64_t, uint32_t)
{
    if (must_fail()) {
        return ERROR_NO_SPACE;
    }
    objects[slot_of(handle)->object].watch = watch;
    return OK;
}

void loop_unwatch(struct loop *, struct loop_watch *watch)
{
    for (uint32_t i = 1; i <= object_count; i++) {
        objects[i].watch = objects[i].watch == watch ? nullptr : objects[i].watch;
    }
}

status_t loop_serve(struct loop *, struct loop_service *, handle_t) { return must_fail() ? ERROR_NO_SPACE : OK; }

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t at_ns)
{
    loop_timer_stop(loop, timer);
    timer->at_ns = at_ns;
    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        if (timers[i] == nullptr) {
            timers[i] = timer;
            return;
        }
    }
    abort();
}

void loop_timer_stop(struct loop *, struct loop_timer *timer)
{
    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        timers[i] = timers[i] == timer ? nullptr : timers[i];
    }
}

uint32_t fake_timers(void)
{
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        count += timers[i] != nullptr;
    }
    return count;
}

/* ---- what the test does ---- */

void fake_run(void)
{
    for (uint32_t i = 1; i <= object_count; i++) {
        if (objects[i].has_ended && !objects[i].is_reported) {
            objects[i].is_reported = true;
            struct loop_watch *watch = objects[i].watch;
            objects[i].watch = nullptr;
            if (watch != nullptr) {
                watch->fn(watch, 0, ERROR_PEER_DIED);
            }
        }
    }
}

void fake_end(uint64_t process_id, uint32_t cause, int32_t status)
{
    objects[process_id].has_ended = true;
    objects[process_id].cause = cause;
    objects[process_id].status = status;
    fake_run();
}

void fake_sleep(uint64_t ns)
{
    uint64_t until = now_ns + ns;
    while (true) {
        struct loop_timer **next = nullptr;
        for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
            if (timers[i] != nullptr && timers[i]->at_ns <= until && (next == nullptr || timers[i]->at_ns < (*next)->at_ns)) {
                next = &timers[i];
            }
        }
        if (next == nullptr) {
            break;
        }
        struct loop_timer *timer = *next;
        *next = nullptr;
        now_ns = timer->at_ns > now_ns ? timer->at_ns : now_ns;
        timer->fn(timer);
    }
    now_ns = until;
}

void fake_fail_at(uint32_t n)
{
    fail_countdown = n;
    has_failed = false;
}

bool fake_has_failed(void) { return has_failed; }

void fake_reset(const void *image, size_t image_size)
{
    free(objects);
    free(slots);
    objects = calloc(OBJECTS_MAX, sizeof(*objects));
    slots = calloc(SLOTS_MAX, sizeof(*slots));
    object_count = slot_count = 0;
    boot_image = image;
    boot_image_size = image_size;
    now_ns = 1'000'000'000;
    log_text[0] = '\0';
    memset(timers, 0, sizeof(timers));
    fake_fail_at(0);
    uint32_t root = object_new(OBJECT_UNTYPED, 0, 0);
    objects[root].limit = FAKE_RAM_PAGES;
    std_self.untyped = handle_new(root, RIGHTS_ALL, 0);
    std_self.cspace = handle_new(object_new(OBJECT_CSPACE, root, 4), RIGHTS_ALL, 0);
    std_self.vspace = handle_new(object_new(OBJECT_VSPACE, root, 4), RIGHTS_ALL, 0);
    std_self.log = handle_new(object_new(OBJECT_LOG, 0, 0), RIGHTS_ALL, 0);
    fake_image = handle_new(object_new(OBJECT_MEMORY, 0, 0), RIGHTS_ALL, 0);
    fake_clock_page = handle_new(object_new(OBJECT_MEMORY, 0, 0), RIGHTS_ALL, 0);
    fake_machine = handle_new(object_new(OBJECT_MACHINE, 0, 0), RIGHTS_ALL, 0);
    fake_system = handle_new(object_new(OBJECT_SYSTEM, 0, 0), RIGHTS_ALL, 0);
    fake_clock = handle_new(object_new(OBJECT_CLOCK, 0, 0), RIGHTS_ALL, 0);
}
