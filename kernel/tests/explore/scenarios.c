/* What is explored. Each scenario is small: every thread makes one to three calls, so that all schedules can be looked at. */
#include "explore.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/process.h>

static constexpr uint64_t SECOND = 1'000'000'000, LATE = 100 * SECOND;

static void must(status_t status)
{
    if (status != OK)
        panic("scenario: %d", status);
}

static handle_t endpoint, event, ring_handle;
static struct event *the_event;

static struct object *object_of(handle_t handle)
{
    struct cap cap;
    must(cspace_lookup(explore_handles, handle, &cap));
    return cap.object;
}

static void make_endpoint(void)
{
    struct invocation inv = {.cspace = explore_handles};
    must(untyped_create_endpoint(&inv, untyped_root, &endpoint));
}

static void make_event(void)
{
    struct invocation inv = {.cspace = explore_handles};
    must(untyped_create_event(&inv, untyped_root, &event));
    the_event = (struct event *)object_of(event);
}

static uint64_t call_op(uint32_t words) { return op_make(INTERFACE_TEST, 1, words, 0, 0); }

static void add_caller(uint64_t deadline) { explore_add_call(explore_add_thread(), endpoint, call_op(2), deadline, 11, 12); }

static struct explore_thread *add_server(uint64_t deadline)
{
    struct explore_thread *server = explore_add_thread();
    explore_add_call(server, endpoint, OP_ENDPOINT_RECEIVE, deadline, 0, 0);
    explore_add_call(server, endpoint, OP_ENDPOINT_REPLY | 1 << 16, 0, 77, 0);
    return server;
}

/* Caller and server agree on whether there was a call, and on what it said. */
static void check_pair(bool may_die)
{
    const struct explore_thread *caller = &explore_threads[0], *server = &explore_threads[1];
    bool was_received = server->thread->frame.out_op != 0, was_answered = server->done > 1 && server->status[1] == OK;
    if (server->done > 0 && server->status[0] == OK)
        EXPECT(was_received && server->out[0][0] == 11 && server->out[0][1] == 12);
    EXPECT(may_die || (caller->status[0] == OK) == was_answered);
    if (caller->status[0] == OK)
        EXPECT(was_received && caller->out[0][0] == 77);
    EXPECT(server->thread->owed.caller == nullptr);
}

/* ---- Rendezvous against the caller's timeout ---- */

static void timeout_setup(void)
{
    make_endpoint();
    add_caller(2 * SECOND);
    add_server(3 * SECOND);
}

static void timeout_check(void)
{
    check_pair(false);
    EXPECT(explore_threads[0].status[0] == OK || explore_threads[0].status[0] == ERROR_TIMED_OUT);
}

static const struct explore_scenario call_timeout = {"call-timeout", 2, false, 1, timeout_setup, timeout_check, nullptr};

/* ---- Rendezvous against interruption ---- */

static void cancel_setup(void)
{
    make_endpoint();
    add_caller(DEADLINE_INFINITE);
    add_server(LATE);
    explore_add_call(explore_add_thread(), explore_threads[0].handle, OP_THREAD_INTERRUPT, 0, 0, 0);
}

static void cancel_check(void)
{
    check_pair(false);
    EXPECT(explore_threads[0].status[0] == OK || explore_threads[0].status[0] == ERROR_INTERRUPTED);
    EXPECT(explore_threads[2].status[0] == OK);
}

static const struct explore_scenario call_cancel = {"call-cancel", 2, false, 0, cancel_setup, cancel_check, nullptr};

/* ---- Rendezvous against the server's death, and the endpoint's ---- */

static void server_death_setup(void)
{
    make_endpoint();
    add_caller(LATE);
    add_server(LATE)->may_end = true;
    explore_add_call(explore_add_thread(), explore_threads[1].handle, OP_THREAD_EXIT, 0, 0, 0);
}

static void server_death_check(void)
{
    const struct explore_thread *caller = &explore_threads[0];
    EXPECT(caller->status[0] == OK || caller->status[0] == ERROR_PEER_DIED || caller->status[0] == ERROR_TIMED_OUT);
    /* Nobody is left to answer: only a call that was never taken may run into its deadline. */
    EXPECT(caller->status[0] != ERROR_TIMED_OUT || explore_threads[1].thread->frame.out_op == 0);
    check_pair(true);
    EXPECT(explore_threads[1].thread->is_finished);
}

static const struct explore_scenario server_death = {"server-death", 2, false, 0, server_death_setup, server_death_check, nullptr};

static void endpoint_death_setup(void)
{
    make_endpoint();
    add_caller(DEADLINE_INFINITE);
    add_server(DEADLINE_INFINITE);
    handle_t cspace = explore_give(&explore_handles->object, RIGHTS_ALL);
    explore_add_call(explore_add_thread(), cspace, OP_CSPACE_DESTROY, 0, endpoint, 0);
}

static void endpoint_death_check(void)
{
    EXPECT(explore_threads[2].status[0] == OK);
    EXPECT(explore_threads[0].status[0] == OK || explore_threads[0].status[0] == ERROR_PEER_DIED ||
           explore_threads[0].status[0] == ERROR_STALE_HANDLE);
}

/* A server that took the call can answer through a handle that is gone no more: its end does. */
static void endpoint_death_setup_ending(void)
{
    endpoint_death_setup();
    explore_threads[1].count = 1;
    explore_threads[1].may_end = true;
    explore_add_call(&explore_threads[1], explore_threads[1].handle, OP_THREAD_EXIT, 0, 0, 0);
}

static const struct explore_scenario endpoint_death = {"endpoint-death",     2,      false, 0, endpoint_death_setup_ending,
                                                       endpoint_death_check, nullptr};

/* ---- Wake-up against sleep ---- */

static void wake_setup(void)
{
    make_event();
    explore_add_call(explore_add_thread(), event, OP_EVENT_WAIT, DEADLINE_INFINITE, 1, 0);
    explore_add_call(explore_add_thread(), event, OP_EVENT_SET, 0, 1, 0);
}

static void wake_check(void) { EXPECT(explore_threads[0].status[0] == OK && explore_threads[1].status[0] == OK && the_event->bits == 0); }

static const struct explore_scenario wake_sleep = {"wake-sleep", 2, false, 0, wake_setup, wake_check, nullptr};

static void add_sleep(struct explore_thread *thread, uint64_t deadline)
{
    explore_add_call(thread, thread->handle, OP_THREAD_SLEEP, deadline, 0, 0);
}

static void wake_timeout_setup(void)
{
    make_event();
    struct explore_thread *waiter = explore_add_thread(), *other = explore_add_thread();
    explore_add_call(waiter, event, OP_EVENT_WAIT, 2 * SECOND, 1, 0);
    explore_add_call(waiter, event, OP_EVENT_WAIT, LATE, 2, 0);
    add_sleep(other, 2 * SECOND);
    explore_add_call(other, event, OP_EVENT_SET, 0, 1, 0);
    add_sleep(other, 3 * SECOND);
    explore_add_call(other, event, OP_EVENT_SET, 0, 2, 0);
}

/* The bit went to the waiter or stayed; and the old timer ended nothing but its own wait. */
static void wake_timeout_check(void)
{
    const struct explore_thread *waiter = &explore_threads[0];
    EXPECT(waiter->status[0] == OK ? the_event->bits == 0 : waiter->status[0] == ERROR_TIMED_OUT && the_event->bits == 1);
    EXPECT(waiter->status[1] == OK);
}

static const struct explore_scenario wake_timeout = {"wake-timeout", 2, false, 1, wake_timeout_setup, wake_timeout_check, nullptr};

static void suspend_setup(void)
{
    make_event();
    explore_add_call(explore_add_thread(), event, OP_EVENT_WAIT, DEADLINE_INFINITE, 1, 0);
    struct explore_thread *other = explore_add_thread();
    explore_add_call(other, explore_threads[0].handle, OP_THREAD_SUSPEND, 0, 0, 0);
    explore_add_call(other, event, OP_EVENT_SET, 0, 1, 0);
    explore_add_call(other, explore_threads[0].handle, OP_THREAD_RESUME, 0, 0, 0);
}

static void suspend_check(void)
{
    EXPECT(explore_threads[0].status[0] == OK);
    for (uint32_t i = 0; i < 3; i++)
        EXPECT(explore_threads[1].status[i] == OK);
}

static const struct explore_scenario suspend_resume = {"suspend-resume", 2, false, 0, suspend_setup, suspend_check, nullptr};

static void kill_setup(void)
{
    make_event();
    explore_add_call(explore_add_thread(), event, OP_EVENT_WAIT, DEADLINE_INFINITE, 1, 0);
    explore_threads[0].may_end = true;
    explore_add_call(explore_add_thread(), explore_threads[0].handle, OP_THREAD_EXIT, 0, 0, 0);
}

static void kill_check(void) { EXPECT(explore_threads[0].thread->is_finished && list_is_empty(&the_event->waiters.waiters)); }

static const struct explore_scenario kill_sleep = {"kill-sleep", 2, false, 0, kill_setup, kill_check, nullptr};

/* The woken one may run on the other CPU only, which is idle or about to be. */
static void wake_other_setup(void)
{
    wake_setup();
    explore_threads[0].thread->affinity = 1;
    explore_threads[1].thread->affinity = 2;
}

static const struct explore_scenario wake_other = {"wake-other-cpu", 2, false, 0, wake_other_setup, wake_check, nullptr};

/* ---- Rings ---- */

static struct ring *ring;

struct ring *explore_make_ring(handle_t *out_handle)
{
    static struct thread maker; /* whose cell pays for the ring's operations */
    maker.process = explore_process;
    struct invocation inv = {.cspace = explore_handles, .thread = &maker};
    struct memory *memory;
    must(memory_create(untyped_root, 1, MEMORY_COMMITTED, &memory));
    must(untyped_create_ring(&inv, untyped_root, &(struct cap){.object = &memory->object}, EXPLORE_SUBMISSIONS, EXPLORE_COMPLETIONS, 2, 4,
                             2, out_handle));
    return (struct ring *)object_of(*out_handle);
}

static void make_ring(void) { ring = explore_make_ring(&ring_handle); }

static struct tess_ring_header *ring_words(void) { return (struct tess_ring_header *)ring->pages[0]; }

static const struct tess_completion *completion(uint32_t index)
{
    return (const struct tess_completion *)(ring->pages[0] + 128 + 128 * (EXPLORE_SUBMISSIONS + index));
}

/* Two completions, a watch's and a message's, for one who waits for both. */
static void ring_setup(void)
{
    make_ring();
    make_event();
    make_endpoint();
    struct invocation inv = {.cspace = explore_handles};
    must(ring_watch(&inv, ring, event, 1, 5, 0));
    must(ring_bind(&inv, ring, &(struct cap){.object = object_of(endpoint)}, 6));
    explore_add_call(explore_add_thread(), ring_handle, OP_RING_ENTER, DEADLINE_INFINITE, 0, 2);
    explore_add_call(explore_add_thread(), event, OP_EVENT_SET, 0, 1, 0);
    explore_add_call(explore_add_thread(), endpoint, call_op(1) | OP_SEND, DEADLINE_INFINITE, 9, 0);
}

static void ring_check(void)
{
    EXPECT(explore_threads[0].status[0] == OK && explore_threads[0].out[0][1] == 2);
    EXPECT(ring_words()->cq_tail == 2 && ring->reserved == 0);
    uint32_t watch = completion(0)->kind == COMPLETION_WATCH ? 0 : 1;
    EXPECT(completion(watch)->kind == COMPLETION_WATCH && completion(watch)->words[0] == 1);
    EXPECT(completion(!watch)->kind == COMPLETION_CALL && completion(!watch)->words[0] == 9);
}

static const struct explore_scenario ring_wait = {"ring-wait", 2, false, 0, ring_setup, ring_check, nullptr};

/* One thread submits what completes another's wait; a timeout and its cancellation race. */
static void submit_setup(void)
{
    make_ring();
    make_event();
    struct tess_submission *submission = (struct tess_submission *)(ring->pages[0] + 128);
    submission[0] = (struct tess_submission){.op = OP_EVENT_SET, .handle = event, .cookie = 3, .words = {1}};
    ring_words()->sq_tail = 1;
    struct invocation inv = {.cspace = explore_handles};
    must(ring_watch(&inv, ring, event, 1, 5, 0));
    explore_add_call(explore_add_thread(), ring_handle, OP_RING_ENTER, DEADLINE_INFINITE, 1, 0);
    explore_add_call(explore_add_thread(), ring_handle, OP_RING_ENTER, DEADLINE_INFINITE, 0, 2);
}

static void submit_check(void)
{
    EXPECT(explore_threads[0].status[0] == OK && explore_threads[0].out[0][0] == 1);
    EXPECT(explore_threads[1].status[0] == OK && explore_threads[1].out[0][1] == 2);
    EXPECT(ring_words()->cq_tail == 2 && ring_words()->sq_head == 1 && ring->reserved == 0);
}

static const struct explore_scenario ring_submit = {"ring-submit", 2, false, 0, submit_setup, submit_check, nullptr};

/* ---- TLB shootdown: two CPUs of one address space take pages away from each other ---- */

constexpr vaddr_t FIRST = 0x400000, SECOND_PAGE = 0x401000;

static void shootdown_setup(void)
{
    struct memory *memories[2];
    handle_t handles[2];
    for (uint32_t i = 0; i < 2; i++) {
        vaddr_t at;
        must(memory_create(untyped_root, 1, 0, &memories[i]));
        handles[i] = explore_give(&memories[i]->object, RIGHTS_ALL);
        must(vspace_map_memory(explore_space, memories[i], 0, PAGE_SIZE, FIRST + i * PAGE_SIZE, MAP_FIXED, PROT_READ | PROT_WRITE,
                               PROT_READ | PROT_WRITE, INHERIT_DEFAULT, &at));
    }
    for (uint32_t i = 0; i < 2; i++) {
        struct explore_thread *thread = explore_add_thread();
        explore_add_touch(thread, i == 0 ? SECOND_PAGE : FIRST);
        explore_add_call(thread, handles[i], OP_MEMORY_DECOMMIT, 0, 0, PAGE_SIZE);
    }
}

static void shootdown_check(void)
{
    for (uint32_t i = 0; i < 2; i++)
        EXPECT(explore_threads[i].status[1] == OK);
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t k = 0; k < 2; k++)
            EXPECT(cpus[i]->tlb_requests[k] == 0);
}

static const struct explore_scenario shootdown = {"tlb-shootdown", 2, false, 0, shootdown_setup, shootdown_check, nullptr};

/* A CPU that leaves idle while another one takes a page from it. */
static void idle_setup(void)
{
    struct memory *memory;
    vaddr_t at;
    must(memory_create(untyped_root, 2, 0, &memory));
    handle_t handle = explore_give(&memory->object, RIGHTS_ALL);
    must(vspace_map_memory(explore_space, memory, 0, 2 * PAGE_SIZE, FIRST, MAP_FIXED, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
                           INHERIT_DEFAULT, &at));
    struct explore_thread *taker = explore_add_thread(), *user = explore_add_thread();
    add_sleep(taker, 2 * SECOND);
    explore_add_call(taker, handle, OP_MEMORY_DECOMMIT, 0, 0, PAGE_SIZE);
    explore_add_touch(user, FIRST);
    explore_add_touch(user, SECOND_PAGE); /* stays, and its table: only then may an idle CPU be left alone */
    add_sleep(user, 2 * SECOND);
    taker->thread->affinity = 1;
    user->thread->affinity = 2;
}

static void idle_check(void) { EXPECT(explore_threads[0].status[1] == OK); }

static const struct explore_scenario tlb_idle = {"tlb-idle", 2, false, 0, idle_setup, idle_check, nullptr};

/* The CPU that was found idle with the space loaded has been busy with another one, and is idle with that when it is left alone. */
static void idle_other_setup(void)
{
    struct vspace *other_space;
    struct process *own = explore_process;
    idle_setup();
    explore_threads[1].steps[2].deadline = 3 * SECOND;
    explore_add_touch(&explore_threads[1], SECOND_PAGE);
    must(vspace_create(untyped_root, &other_space));
    must(process_create(untyped_root, &cell_root, other_space, explore_handles, "other\0\0\0\0\0\0\0\0\0\0", &explore_process));
    struct explore_thread *other = explore_add_thread();
    explore_process = own;
    add_sleep(other, 2 * SECOND);
    other->thread->affinity = 2;
}

static const struct explore_scenario tlb_idle_other = {"tlb-idle-other", 2, false, 1, idle_other_setup, idle_check, nullptr};

/* ---- Epoch reclamation ---- */

static struct {
    struct deferred deferred;
    _Atomic bool is_there;
} things[2];
static _Atomic uint32_t published; /* index + 1 of a thing readers can find */

static void thing_release(struct deferred *deferred)
{
    atomic_store(&container_of(deferred, typeof(things[0]), deferred)->is_there, false);
}

static void reclaim_setup(void)
{
    atomic_store(&things[0].is_there, true);
    atomic_store(&published, 1);
}

static void reclaim_task(uint32_t index)
{
    struct cpu *cpu = arch_cpu();
    if (index == 0) {
        for (uint32_t round = 0; round < 2; round++) {
            quiesce_enter(cpu);
            uint32_t found = atomic_load(&published);
            if (found != 0) {
                EXPECT(atomic_load(&things[found - 1].is_there));
                EXPECT(atomic_load(&things[found - 1].is_there));
            }
            quiesce_leave(cpu);
        }
        return;
    }
    if (index == 1) {
        quiesce_enter(cpu);
        atomic_store(&published, 0);
        quiesce_defer(&things[0].deferred, thing_release);
        while (!quiesce_run()) {
            quiesce_leave(cpu);
            arch_cpu_relax();
            quiesce_enter(cpu);
        }
        quiesce_leave(cpu);
        return;
    }
    /* Short of memory in the middle of an entry, with something in its hands. */
    quiesce_enter(cpu);
    uint32_t found = atomic_load(&published);
    quiesce_drain();
    if (found != 0)
        EXPECT(atomic_load(&things[found - 1].is_there));
    quiesce_leave(cpu);
}

static void reclaim_check(void) { EXPECT(!things[0].is_there && quiesce_pending_count() == 0); }

static const struct explore_scenario reclaim = {"epoch-reclaim", 3, false, 0, reclaim_setup, reclaim_check, reclaim_task};

/* ---- Look-up without a lock against removal and the slot's next use ---- */

static struct cspace *table;
static struct object targets[2];
static handle_t first_handle;

static void lookup_setup(void)
{
    must(cspace_create(untyped_root, 1, &table));
    for (uint32_t i = 0; i < 2; i++)
        object_init_static(&targets[i], OBJECT_SYSTEM, sizeof(struct object));
    must(cspace_insert(table, &targets[0], nullptr, 0x11, nullptr, &first_handle));
}

static void lookup_task(uint32_t index)
{
    struct cpu *cpu = arch_cpu();
    quiesce_enter(cpu);
    if (index == 0) {
        struct cap cap;
        status_t status = cspace_lookup(table, first_handle, &cap);
        EXPECT(status == OK || status == ERROR_STALE_HANDLE);
        if (status == OK)
            EXPECT(cap.object == &targets[0] && cap.rights == 0x11 && cap.badge == nullptr);
    } else if (index == 2) { /* somebody guesses the next handle before it was given out */
        struct cap cap;
        if (cspace_lookup(table, first_handle + (1ull << 32), &cap) == OK)
            EXPECT(cap.object == &targets[1] && cap.rights == 0x22);
    } else {
        handle_t next;
        must(cspace_remove(table, first_handle));
        must(cspace_insert(table, &targets[1], nullptr, 0x22, nullptr, &next));
        EXPECT((uint32_t)next == (uint32_t)first_handle && next != first_handle);
    }
    quiesce_leave(cpu);
}

static void lookup_check(void) { EXPECT(table->used_count == 1); }

static const struct explore_scenario lookup = {"handle-lookup", 3, false, 0, lookup_setup, lookup_check, lookup_task};

/* Two copies under one handle while it is revoked: nothing derived stays, whoever was first. */
static handle_t copies[2];
static status_t copy_status[2];

static void revoke_setup(void)
{
    must(cspace_create(untyped_root, 8, &table));
    object_init_static(&targets[0], OBJECT_SYSTEM, sizeof(struct object));
    must(cspace_insert(table, &targets[0], nullptr, RIGHTS_ALL, nullptr, &first_handle));
}

static void revoke_task(uint32_t index)
{
    struct cpu *cpu = arch_cpu();
    struct cap cap;
    quiesce_enter(cpu);
    if (index < 2) {
        must(cspace_lookup(table, first_handle, &cap));
        copy_status[index] = cspace_insert(table, &targets[0], &cap, 1, nullptr, &copies[index]);
        if (copy_status[index] == OK && index == 1)
            (void)cspace_remove(table, copies[1]);
    } else {
        must(cspace_lookup(table, first_handle, &cap));
        while (object_revoke_step(&targets[0], cap.slot, cap.generation))
            ;
    }
    quiesce_leave(cpu);
}

static void revoke_check(void)
{
    struct cap cap;
    uint32_t left = 0;
    for (uint32_t i = 0; i < 2; i++)
        left += copy_status[i] == OK && cspace_lookup(table, copies[i], &cap) == OK;
    EXPECT(table->used_count == 1 + left && targets[0].refs == 2 + left && cspace_lookup(table, first_handle, &cap) == OK);
}

static const struct explore_scenario revoke = {"revoke-copy", 3, false, 0, revoke_setup, revoke_check, revoke_task};

const struct explore_scenario *const explore_scenarios[] = {&call_timeout,
                                                            &call_cancel,
                                                            &server_death,
                                                            &endpoint_death,
                                                            &wake_sleep,
                                                            &wake_timeout,
                                                            &wake_other,
                                                            &suspend_resume,
                                                            &kill_sleep,
                                                            &ring_wait,
                                                            &ring_submit,
                                                            &shootdown,
                                                            &tlb_idle,
                                                            &tlb_idle_other,
                                                            &reclaim,
                                                            &lookup,
                                                            &revoke,
                                                            &explore_futex,
                                                            &explore_futex_death,
                                                            &explore_link,
                                                            &explore_reply,
                                                            &explore_clone,
                                                            &explore_cell,
                                                            &explore_lend_death,
                                                            &explore_lend_leave,
                                                            &explore_lend_nested,
                                                            &explore_lend_late,
                                                            &explore_lend_spent,
                                                            &explore_lend_revoke,
                                                            nullptr};
