/*
 * A budget that is lent with a call (decision 0010) against every end of that call: the caller's death, interruption and deadline, the end of the
 * budget's time, and of the budget itself. Whoever comes first: a server that owes its caller an answer runs on what the caller runs on; once the
 * caller goes on nobody does; and in the end every grant, reference and place is given back.
 */
#include "explore.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/process.h>
#include <kernel/sched_budget.h>

static constexpr uint64_t SECOND = 1'000'000'000, LATE = 100 * SECOND, MILLISECOND = 1'000'000;
static constexpr uint64_t LONG = 10 * SECOND; /* a budget that does not run out before the deadlines have passed */

static struct sched *sched;
static handle_t sched_handle, endpoints[2];
static uint32_t refs_before;
static bool may_end_early; /* what is lent, before the call does */
static struct explore_thread *const threads = explore_threads;

static void must(status_t status)
{
    if (status != OK)
        panic("scenario: %d", status);
}

static uint64_t call_op(void) { return op_make(INTERFACE_TEST, 1, 1, 0, 0); }

/* Between a program's calls. A server that has taken its debt is about to give back what it was lent, in the same entry. */
static void lend_returned(const struct explore_thread *thread)
{
    for (uint32_t i = 1; i < explore_thread_count; i++) {
        const struct thread *server = threads[i].thread;
        EXPECT(thread != &threads[0] || server->loan == nullptr || peek(server->owed.caller) == nullptr);
        if (thread == &threads[i] && !may_end_early && peek(server->owed.caller) == &threads[0].thread->waiter)
            EXPECT(server->loan == sched && server->runs_on == sched);
    }
}

/* Thread 0 on a budget calls the first endpoint. */
static void make_caller(uint64_t budget_ns, uint64_t period_ns, uint64_t deadline)
{
    explore_returned = lend_returned;
    struct invocation inv = {.cspace = explore_handles};
    for (uint32_t i = 0; i < 2; i++)
        must(untyped_create_endpoint(&inv, untyped_root, &endpoints[i]));
    struct explore_thread *caller = explore_add_thread();
    explore_add_call(caller, endpoints[0], call_op(), deadline, 11, 0);
    struct cap cap;
    must(untyped_create_sched(&inv, untyped_root, &(struct cap){.object = &cell_root.object}, budget_ns, period_ns, &sched_handle));
    must(cspace_lookup(explore_handles, sched_handle, &cap));
    sched = (struct sched *)cap.object;
    must(sched_bind(&inv, sched, &(struct cap){.object = &caller->thread->object}));
    refs_before = sched->object.refs;
}

static void add_server(handle_t endpoint, uint64_t deadline)
{
    struct explore_thread *server = explore_add_thread();
    explore_add_call(server, endpoint, OP_ENDPOINT_RECEIVE, deadline, 0, 0);
    explore_add_call(server, endpoint, OP_ENDPOINT_REPLY | 1 << 16, 0, 77, 0);
}

static void lend_check(void)
{
    for (uint32_t i = 0; i < explore_thread_count; i++) {
        const struct thread *thread = threads[i].thread;
        EXPECT(thread->loan == nullptr && thread->throttled_by == nullptr && thread->runs_on == thread->sched);
        EXPECT(thread->owed.caller == nullptr);
    }
    for (uint32_t i = 0; i < cpu_count; i++) {
        const struct run_queue *queue = cpus[i]->run_queue;
        EXPECT(queue->budgeted.root == nullptr && queue->grant.count == 0 && queue->grant.sched == nullptr && queue->count == 0);
    }
    EXPECT(sched->throttle.budget.granted == 0 && list_is_empty(&sched->throttle.waiting));
    EXPECT(sched->object.refs == refs_before || !object_is_alive(&sched->object));
}

/* ---- The lender's death ---- */

static void death_setup(void)
{
    make_caller(LONG, LONG, DEADLINE_INFINITE);
    threads[0].may_end = true;
    add_server(endpoints[0], LATE);
    explore_add_call(explore_add_thread(), threads[0].handle, OP_THREAD_EXIT, 0, 0, 0);
}

static void death_check(void)
{
    lend_check();
    EXPECT(threads[0].thread->is_finished && sched->thread_count == 0);
}

const struct explore_scenario explore_lend_death = {"lend-death", 2, false, 0, death_setup, death_check, nullptr};

/* ---- It leaves its budget, then its call ---- */

static void leave_setup(void)
{
    may_end_early = true;
    make_caller(LONG, LONG, DEADLINE_INFINITE);
    add_server(endpoints[0], LATE);
    struct explore_thread *other = explore_add_thread();
    explore_add_call(other, sched_handle, OP_SCHED_UNBIND, 0, threads[0].handle, 0);
    explore_add_call(other, threads[0].handle, OP_THREAD_INTERRUPT, 0, 0, 0);
}

static void leave_check(void)
{
    lend_check();
    EXPECT(threads[0].status[0] == OK || threads[0].status[0] == ERROR_INTERRUPTED);
    EXPECT(threads[2].status[0] == OK && sched->thread_count == 0 && threads[0].thread->runs_on == nullptr);
}

const struct explore_scenario explore_lend_leave = {"lend-leave", 2, false, 0, leave_setup, leave_check, nullptr};

/* ---- Lent on by a server that calls another one, until the deadline of the first caller ---- */

static void nested_setup(void)
{
    may_end_early = true; /* who answered it may hold, for some instructions more, a grant of all that there is */
    make_caller(LONG, LONG, 2 * SECOND);
    struct explore_thread *middle = explore_add_thread();
    explore_add_call(middle, endpoints[0], OP_ENDPOINT_RECEIVE, LATE, 0, 0);
    explore_add_call(middle, endpoints[1], call_op(), LATE, 22, 0);
    explore_add_call(middle, endpoints[0], OP_ENDPOINT_REPLY | 1 << 16, 0, 77, 0);
    add_server(endpoints[1], LATE);
}

/* It has the words of its call, whichever of the two came first. */
static void nested_check(void)
{
    lend_check();
    EXPECT(threads[0].status[0] == OK || threads[0].status[0] == ERROR_TIMED_OUT);
    EXPECT((threads[0].status[0] == OK) == (threads[1].status[2] == OK) && threads[0].thread->runs_on == sched);
}

const struct explore_scenario explore_lend_nested = {"lend-nested", 2, true, 1, nested_setup, nested_check, nullptr};

/* ---- The same when the last one sleeps until that deadline has passed: nothing stays lent to it ---- */

static void late_setup(void)
{
    nested_setup();
    struct explore_thread *last = &threads[2];
    last->count = 1;
    explore_add_call(last, last->handle, OP_THREAD_SLEEP, 3 * SECOND, 0, 0);
    explore_add_call(last, endpoints[1], OP_ENDPOINT_REPLY | 1 << 16, 0, 77, 0);
}

static void late_check(void)
{
    lend_check();
    EXPECT(threads[0].status[0] == ERROR_TIMED_OUT);
}

const struct explore_scenario explore_lend_late = {"lend-late", 2, true, 1, late_setup, late_check, nullptr};

/* ---- The budget is used up while the server works: it goes on on its own time ---- */

static void spent_setup(void)
{
    may_end_early = true;
    make_caller(MILLISECOND, 10 * MILLISECOND, DEADLINE_INFINITE);
    add_server(endpoints[0], DEADLINE_INFINITE);
}

static void spent_check(void)
{
    lend_check();
    EXPECT(threads[0].status[0] == OK && threads[1].status[1] == OK);
}

const struct explore_scenario explore_lend_spent = {"lend-spent", 2, true, 3, spent_setup, spent_check, nullptr};

/* ---- The budget itself ends ---- */

static void revoke_setup(void)
{
    may_end_early = true;
    make_caller(MILLISECOND, 10 * MILLISECOND, DEADLINE_INFINITE);
    add_server(endpoints[0], DEADLINE_INFINITE);
    handle_t table = explore_give(&explore_handles->object, RIGHTS_ALL);
    explore_add_call(explore_add_thread(), table, OP_CSPACE_DESTROY, 0, sched_handle, 0);
}

static void revoke_check(void)
{
    lend_check();
    for (uint32_t i = 0; i < 3; i++)
        EXPECT(threads[i].status[0] == OK);
    EXPECT(threads[1].status[1] == OK && threads[0].thread->sched == nullptr && sched->thread_count == 0);
}

const struct explore_scenario explore_lend_revoke = {"lend-revoke", 2, true, 1, revoke_setup, revoke_check, nullptr};
