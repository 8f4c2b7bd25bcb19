/*
 * A source (service or watch) has a slot; its cookie is generation << 16 | slot + 1. The generation changes when a registration
 * ends, so that a completion that was already on its way is recognised and dropped. Calls report only the cookie's low half.
 */
#include <std/loop.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/invoke.h>
#include <tess/stub/ring.h>
#include <tess/util.h>

constexpr struct std_ring_sizes SIZES_DEFAULT = {.sq_entries = 16, .cq_entries = 64, .call_slots = 32, .watch_slots = 64};
constexpr uint32_t SERVICES_EXTRA = 64; /* sources beside watches */

static uint64_t cookie_of(const struct loop *loop, uint32_t slot) { return (uint64_t)loop->sources[slot].generation << 16 | (slot + 1); }

/* The source this cookie names; nullptr when its registration has ended. */
static struct loop_source *source_find(struct loop *loop, uint64_t cookie, uint64_t mask, bool is_service)
{
    uint32_t slot = (uint32_t)(cookie & 0xFFFF) - 1;
    if (slot >= loop->source_count || loop->sources[slot].what == nullptr || loop->sources[slot].is_service != is_service ||
        ((cookie_of(loop, slot) ^ cookie) & mask) != 0) {
        return nullptr;
    }
    return &loop->sources[slot];
}

static bool source_add(struct loop *loop, void *what, bool is_service, uint32_t *out_slot)
{
    for (uint32_t slot = 0; slot < loop->source_count; slot++) {
        if (loop->sources[slot].what == nullptr) {
            loop->sources[slot].what = what;
            loop->sources[slot].is_service = is_service;
            *out_slot = slot;
            return true;
        }
    }
    return false;
}

static void source_remove(struct loop *loop, uint32_t slot)
{
    loop->sources[slot].what = nullptr;
    loop->sources[slot].generation++;
}

/* ---- Life ---- */

static bool timer_less(const struct tree_node *a, const struct tree_node *b)
{
    return tree_entry(a, struct loop_timer, node)->at_ns < tree_entry(b, struct loop_timer, node)->at_ns;
}

static uint64_t sources_size(const struct loop *loop) { return loop->source_count * sizeof(struct loop_source); }

status_t loop_open(struct loop *loop, const struct std_ring_sizes *sizes)
{
    const struct std_ring_sizes *wanted = sizes != nullptr ? sizes : &SIZES_DEFAULT;
    struct std_mapping sources;
    *loop = (struct loop){.source_count = wanted->watch_slots + SERVICES_EXTRA};
    tree_init(&loop->timers, timer_less);
    status_t status = std_mapping_create(sources_size(loop), MEMORY_COMMITTED, &sources);
    if (status != OK) {
        return status;
    }
    std_handle_delete(sources.memory); /* the mapping keeps it */
    loop->sources = sources.address;
    status = std_ring_open(&loop->ring, wanted);
    if (status != OK) {
        std_pages_free(loop->sources, sources_size(loop));
    }
    return status;
}

void loop_close(struct loop *loop)
{
    std_ring_close(&loop->ring);
    std_pages_free(loop->sources, sources_size(loop));
    *loop = (struct loop){};
}

/* ---- Endpoints ---- */

status_t loop_serve(struct loop *loop, struct loop_service *service, handle_t endpoint)
{
    if (!source_add(loop, service, true, &service->slot)) {
        return ERROR_NO_SPACE;
    }
    service->endpoint = endpoint;
    status_t status = tess_ring_bind(loop->ring.handle, endpoint, cookie_of(loop, service->slot));
    if (status != OK) {
        source_remove(loop, service->slot);
    }
    return status;
}

void loop_unserve(struct loop *loop, struct loop_service *service)
{
    if (loop->sources[service->slot].what == service) {
        source_remove(loop, service->slot);
        /* NOT_FOUND when the endpoint is gone: then nothing is bound. */
        status_t status = tess_ring_unbind(loop->ring.handle, service->endpoint);
        (void)status;
    }
}

/* Reply handles that were to be moved but stayed here. */
static void discard_moved(const struct tess_call *call)
{
    for (uint32_t i = 0; i < call->reply_handles && i < MESSAGE_HANDLES; i++) {
        if ((call->reply_move_mask >> i & 1) != 0) {
            std_handle_delete(call->words[MESSAGE_HANDLE_WORD + i]);
        }
    }
}

status_t loop_reply(struct loop *loop, uint64_t token, status_t status, struct tess_call *call)
{
    status_t sent = token == 0 ? ERROR_NOT_FOUND : std_ring_reply(&loop->ring, token, status, call);
    bool has_payload = call != nullptr && status >= 0;
    if (sent == OK && has_payload) {
        return OK;
    }
    if (call != nullptr) {
        discard_moved(call);
    }
    if (sent != OK && sent != ERROR_PEER_DIED && sent != ERROR_NOT_FOUND && has_payload) {
        /* The answer itself was refused (the caller's table is full, say); the caller must learn that. */
        status_t again = std_ring_reply(&loop->ring, token, sent, nullptr);
        (void)again;
    }
    return sent;
}

static void handle_call(struct loop *loop, const struct tess_completion *completion)
{
    struct tess_call call = {
        .op = completion->op & UINT32_MAX,
        .rights = op_rights(completion->op),
        .badge = completion->badge,
        .token = completion->cookie,
        .handle_count = min_u32(op_handles(completion->op), MESSAGE_HANDLES),
    };
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++) {
        call.words[i] = completion->words[i];
    }
    for (uint32_t i = 0; i < call.handle_count; i++) {
        call.handles[i] = completion->words[MESSAGE_HANDLE_WORD + i];
    }
    struct loop_source *source = source_find(loop, (uint32_t)completion->status, UINT32_MAX, true);
    status_t status = ERROR_PEER_DIED;
    if (source != nullptr) {
        struct loop_service *service = source->what;
        status = service->dispatch(service, &call);
    }
    if (!call.handles_taken) {
        std_handles_discard(call.handles, call.handle_count);
    }
    if (!call.is_deferred) {
        loop_reply(loop, call.token, status, &call);
    }
}

static void handle_badge_gone(struct loop *loop, const struct tess_completion *completion)
{
    struct loop_source *source = source_find(loop, completion->cookie, UINT64_MAX, true);
    if (source != nullptr) {
        struct loop_service *service = source->what;
        if (service->badge_gone != nullptr) {
            service->badge_gone(service, completion->words[0]);
        }
    }
}

/* ---- Watches ---- */

status_t loop_watch(struct loop *loop, struct loop_watch *watch, handle_t object, uint64_t mask, uint32_t flags)
{
    if (!source_add(loop, watch, false, &watch->slot)) {
        return ERROR_NO_SPACE;
    }
    watch->is_once = (flags & WATCH_MULTI) == 0;
    status_t status = tess_ring_watch(loop->ring.handle, object, mask, cookie_of(loop, watch->slot), flags);
    if (status != OK) {
        source_remove(loop, watch->slot);
    }
    return status;
}

void loop_unwatch(struct loop *loop, struct loop_watch *watch)
{
    if (watch->slot < loop->source_count && loop->sources[watch->slot].what == watch) {
        uint32_t count;
        uint64_t cookie = cookie_of(loop, watch->slot);
        source_remove(loop, watch->slot);
        /* NOT_FOUND when it has just completed: that completion is dropped by its generation. */
        status_t status = tess_ring_cancel(loop->ring.handle, cookie, &count);
        (void)status;
    }
}

static void handle_watch(struct loop *loop, const struct tess_completion *completion)
{
    struct loop_source *source = source_find(loop, completion->cookie, UINT64_MAX, false);
    if (source == nullptr) {
        return;
    }
    struct loop_watch *watch = source->what;
    if (watch->is_once || completion->status == ERROR_PEER_DIED) {
        source_remove(loop, watch->slot);
    }
    watch->fn(watch, completion->words[0], completion->status);
}

/* ---- Timers ---- */

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    if (timer->is_running) {
        tree_remove(&loop->timers, &timer->node);
        timer->is_running = false;
    }
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t at_ns)
{
    loop_timer_stop(loop, timer);
    timer->at_ns = at_ns;
    timer->is_running = true;
    tree_insert(&loop->timers, &timer->node);
}

static uint64_t timers_next(const struct loop *loop)
{
    struct tree_node *first = tree_first(&loop->timers);
    return first == nullptr ? DEADLINE_INFINITE : tree_entry(first, struct loop_timer, node)->at_ns;
}

/* Those due now; one that starts itself again for the past waits for the next round. */
static uint32_t timers_run(struct loop *loop)
{
    if (tree_is_empty(&loop->timers)) {
        return 0;
    }
    uint32_t count = 0;
    uint64_t now = time_now_ns();
    for (; count < 64 && timers_next(loop) <= now && !loop->is_stopped; count++) {
        struct loop_timer *timer = tree_entry(tree_first(&loop->timers), struct loop_timer, node);
        loop_timer_stop(loop, timer);
        timer->fn(timer);
    }
    return count;
}

/* ---- Running ---- */

static void handle_completion(struct loop *loop, const struct tess_completion *completion)
{
    switch (completion->kind) {
    case COMPLETION_CALL: handle_call(loop, completion); break;
    case COMPLETION_BADGE_GONE: handle_badge_gone(loop, completion); break;
    case COMPLETION_WATCH: handle_watch(loop, completion); break;
    case COMPLETION_CANCELLED:
        if (loop->cancelled != nullptr) {
            loop->cancelled(loop, completion->cookie);
        }
        break;
    default: /* nothing else was asked for */ break;
    }
}

status_t loop_run_once(struct loop *loop, uint64_t deadline_ns)
{
    uint32_t handled = timers_run(loop);
    struct tess_completion completion;
    for (uint32_t i = 0; i < loop->ring.cq_entries && !loop->is_stopped && std_ring_take(&loop->ring, &completion); i++) {
        handle_completion(loop, &completion);
        handled++;
    }
    if (handled > 0 || loop->is_stopped) {
        return OK;
    }
    status_t status = std_ring_wait(&loop->ring, &completion, min_u64(deadline_ns, timers_next(loop)));
    if (status == OK) {
        handle_completion(loop, &completion);
        return OK;
    }
    return status == ERROR_TIMED_OUT && timers_run(loop) > 0 ? OK : status;
}

int32_t loop_run(struct loop *loop)
{
    while (!loop->is_stopped) {
        status_t status = loop_run_once(loop, DEADLINE_INFINITE);
        /* TIMED_OUT: a timer's time came a little early by our clock. */
        if (status != OK && status != ERROR_TIMED_OUT && status != ERROR_INTERRUPTED) {
            return status;
        }
    }
    loop->is_stopped = false;
    return loop->stop_result;
}

void loop_stop(struct loop *loop, int32_t result)
{
    loop->is_stopped = true;
    loop->stop_result = result;
}
