/* More of what is explored: words that programs wait at, operations of a ring, kept replies, clones and cells, each against the end of something. */
#include "explore.h"
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/page_table.h>
#include <kernel/process.h>

static constexpr uint64_t SECOND = 1'000'000'000, LATE = 100 * SECOND;
constexpr vaddr_t FIRST = 0x400000;

static void must(status_t status)
{
    if (status != OK)
        panic("scenario: %d", status);
}

static struct object *object_of(handle_t handle)
{
    struct cap cap;
    must(cspace_lookup(explore_handles, handle, &cap));
    return cap.object;
}

/* A memory of so many pages, mapped at `address`. */
static handle_t map_memory(uint64_t pages, vaddr_t address)
{
    struct memory *memory;
    vaddr_t at;
    must(memory_create(untyped_root, pages, 0, &memory));
    must(object_publish(&memory->object));
    must(vspace_map_memory(explore_space, memory, 0, pages << PAGE_SHIFT, address, true, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
                           INHERIT_COPY, &at));
    must(vspace_fault(explore_space, address, PROT_WRITE));
    handle_t handle = explore_give(&memory->object, RIGHTS_ALL);
    object_put(&memory->object);
    return handle;
}

/* ---- A word's waiter is moved to another word and woken there, or its time is up ---- */

static void add_futex_wait(handle_t space, uint64_t deadline)
{
    explore_add_call(explore_add_thread(), space, OP_VSPACE_FUTEX_WAIT, deadline, FIRST, 0)->words[2] = 1;
}

static void add_requeue(handle_t space, vaddr_t to)
{
    struct explore_step *step = explore_add_call(explore_add_thread(), space, OP_VSPACE_FUTEX_REQUEUE, 0, FIRST, FUTEX_ANY);
    step->words[2] = to;
    step->words[4] = 1;
}

static void futex_setup(void)
{
    map_memory(1, FIRST);
    handle_t space = explore_give(&explore_space->object, RIGHTS_ALL);
    add_futex_wait(space, 2 * SECOND);
    add_requeue(space, FIRST + 4);
    explore_add_call(explore_add_thread(), space, OP_VSPACE_FUTEX_WAKE, 0, FIRST + 4, 1)->words[2] = 1;
}

static void futex_check(void)
{
    const struct explore_thread *waiter = &explore_threads[0], *mover = &explore_threads[1], *waker = &explore_threads[2];
    EXPECT(mover->status[0] == OK && waker->status[0] == OK);
    EXPECT(waiter->status[0] == (waker->out[0][0] == 1 ? OK : ERROR_TIMED_OUT));
    EXPECT(waker->out[0][0] <= mover->out[0][1]);
}

const struct explore_scenario explore_futex = {"futex-requeue", 2, true, 1, futex_setup, futex_check, nullptr};

/* ---- It is moved to another memory while the first one, or that one, ends ---- */

static void futex_death_setup(void)
{
    handle_t memories[2];
    for (uint32_t i = 0; i < 2; i++)
        memories[i] = map_memory(1, FIRST + i * PAGE_SIZE);
    handle_t space = explore_give(&explore_space->object, RIGHTS_ALL), table = explore_give(&explore_handles->object, RIGHTS_ALL);
    add_futex_wait(space, LATE);
    add_requeue(space, FIRST + PAGE_SIZE);
    explore_add_call(explore_add_thread(), table, OP_CSPACE_DESTROY, 0, memories[1], 0);
}

/* Whoever was moved to what ended is told, whether it was before or after. */
static void futex_death_check(void)
{
    const struct explore_thread *waiter = &explore_threads[0], *mover = &explore_threads[1];
    bool was_moved = mover->status[0] == OK && mover->out[0][1] == 1;
    EXPECT(mover->status[0] == OK || mover->status[0] == ERROR_PEER_DIED || mover->status[0] == ERROR_BAD_ADDRESS);
    EXPECT(waiter->status[0] == (was_moved ? ERROR_PEER_DIED : ERROR_TIMED_OUT));
    EXPECT(explore_threads[2].status[0] == OK);
}

const struct explore_scenario explore_futex_death = {"futex-death", 2, true, 0, futex_death_setup, futex_death_check, nullptr};

/* ---- A submission that waits, its linked timeout, its cancellation, and what it waits for ---- */

static struct ring *ring;
static struct event *event;

static void link_setup(void)
{
    struct invocation inv = {.cspace = explore_handles};
    handle_t event_handle, ring_handle;
    ring = explore_make_ring(&ring_handle);
    must(untyped_create_event(&inv, untyped_root, &event_handle));
    event = (struct event *)object_of(event_handle);
    struct tess_submission *submission = (struct tess_submission *)(ring->pages[0] + 128);
    submission[0] = (struct tess_submission){
        .op = OP_EVENT_WAIT | SUBMIT_LINK_TIMEOUT, .handle = event_handle, .aux = DEADLINE_INFINITE, .cookie = 3, .words = {1}};
    submission[1] = (struct tess_submission){.op = OP_RING_TIMEOUT, .cookie = 4, .words = {2 * SECOND, 8}};
    ((struct tess_ring_header *)ring->pages[0])->sq_tail = 2;
    explore_add_call(explore_add_thread(), ring_handle, OP_RING_ENTER, LATE, 2, 2);
    explore_add_call(explore_add_thread(), ring_handle, OP_RING_CANCEL, 0, 3, 0);
    explore_add_call(explore_add_thread(), event_handle, OP_EVENT_SET, 0, 1, 0);
}

static void link_check(void)
{
    const struct tess_completion *completions = (const struct tess_completion *)(ring->pages[0] + 128 + 128 * EXPLORE_SUBMISSIONS);
    EXPECT(explore_threads[0].status[0] == OK && explore_threads[0].out[0][1] == 2 && explore_threads[2].status[0] == OK);
    EXPECT(ring->cq_tail == 2 && ring->reserved == 0);
    uint32_t result = completions[0].kind == COMPLETION_RESULT ? 0 : 1;
    const struct tess_completion *done = &completions[result], *timeout = &completions[!result];
    EXPECT(done->kind == COMPLETION_RESULT && done->cookie == 3 && timeout->kind == COMPLETION_TIMEOUT && timeout->cookie == 8);
    EXPECT(done->status == OK || done->status == ERROR_TIMED_OUT || done->status == ERROR_CANCELLED);
    EXPECT(timeout->status == (done->status == ERROR_TIMED_OUT ? ERROR_TIMED_OUT : ERROR_CANCELLED));
    EXPECT((event->bits == 0) == (done->status == OK)); /* the bit went to the wait or stayed */
    EXPECT((done->status == ERROR_CANCELLED) <= (explore_threads[1].status[0] == OK));
}

const struct explore_scenario explore_link = {"ring-link", 2, true, 1, link_setup, link_check, nullptr};

/* ---- A reply that is kept, and the death of the caller ---- */

static void reply_setup(void)
{
    struct invocation inv = {.cspace = explore_handles};
    handle_t endpoint;
    must(untyped_create_endpoint(&inv, untyped_root, &endpoint));
    struct explore_thread *caller = explore_add_thread(), *server = explore_add_thread(), *killer = explore_add_thread();
    explore_add_call(caller, endpoint, op_make(INTERFACE_TEST, 1, 1, 0, 0), DEADLINE_INFINITE, 11, 0);
    caller->may_end = true;
    explore_add_call(server, endpoint, OP_ENDPOINT_RECEIVE, LATE, 0, 0);
    explore_add_call(server, endpoint, OP_ENDPOINT_KEEP_REPLY, 0, 0, 0);
    explore_add_call(server, 0, OP_REPLY_SEND | 1 << 16, 0, 77, 0)->handle_of = 2;
    explore_add_call(killer, caller->handle, OP_THREAD_EXIT, 0, 0, 0);
}

static void reply_check(void)
{
    const struct explore_thread *caller = &explore_threads[0], *server = &explore_threads[1];
    EXPECT(caller->thread->is_finished && server->thread->owed.caller == nullptr);
    if (caller->done > 0 && caller->status[0] == OK)
        EXPECT(caller->out[0][0] == 77 && server->status[2] == OK);
    EXPECT(server->status[0] != OK || server->status[1] == OK || server->status[1] == ERROR_PEER_DIED ||
           server->status[1] == ERROR_NOT_FOUND);
    EXPECT(server->status[1] != OK || server->status[2] == OK || server->status[2] == ERROR_PEER_DIED);
}

const struct explore_scenario explore_reply = {"reply-death", 2, false, 0, reply_setup, reply_check, nullptr};

/* ---- A clone of the address space while its pages come and go ---- */

static void clone_setup(void)
{
    map_memory(2, FIRST);
    handle_t space = explore_give(&explore_space->object, RIGHTS_ALL), untyped = explore_give(&untyped_root->object, RIGHTS_ALL);
    explore_add_call(explore_add_thread(), space, OP_VSPACE_CLONE, 0, untyped, 0);
    explore_add_touch(explore_add_thread(), FIRST + PAGE_SIZE);
    explore_add_call(explore_add_thread(), space, OP_VSPACE_UNMAP, 0, FIRST, PAGE_SIZE);
}

static void clone_check(void)
{
    const struct explore_thread *cloner = &explore_threads[0];
    EXPECT(cloner->status[0] == OK && explore_threads[2].status[0] == OK);
    struct vspace *clone = (struct vspace *)object_of(cloner->out[0][0]);
    paddr_t page, shared;
    uint32_t prot;
    /* What was touched after the clone had it is the parent's own; what both have, neither may write to. */
    EXPECT(page_table_lookup(explore_space->root, FIRST + PAGE_SIZE, &page, &prot));
    EXPECT(!page_table_lookup(explore_space->root, FIRST, &shared, &prot));
    EXPECT(vspace_fault(clone, FIRST + PAGE_SIZE, PROT_READ) == OK && page_table_lookup(clone->root, FIRST + PAGE_SIZE, &shared, &prot));
    bool is_writable = page_table_lookup(explore_space->root, FIRST + PAGE_SIZE, &page, &prot) && (prot & PROT_WRITE) != 0;
    EXPECT(page != shared || (!is_writable && page_of(page)->holders == 2));
}

const struct explore_scenario explore_clone = {"clone-fault", 2, true, 0, clone_setup, clone_check, nullptr};

/* ---- A cell is killed while a process and a child cell with another are made in it ---- */

static struct cspace *table, *their_table; /* it is closed when the last process that uses it ended */
static struct vspace *space;
static struct cell *cell;
static struct process *processes[2];
static const char name[16] = "explored";

static void cell_setup(void)
{
    must(cspace_create(untyped_root, 8, &table));
    must(cspace_create(untyped_root, 8, &their_table));
    must(vspace_create(untyped_root, &space));
    struct invocation inv = {.cspace = table};
    handle_t handle;
    must(untyped_create_cell(&inv, untyped_root, &(struct cap){.object = &cell_root.object}, 1024, (const uint8_t *)name, &handle));
    struct cap cap;
    must(cspace_lookup(table, handle, &cap));
    cell = (struct cell *)cap.object;
}

static void make_in(struct cell *where, uint32_t index)
{
    status_t status = process_create(untyped_root, where, space, their_table, name, &processes[index]);
    EXPECT(status == OK || status == ERROR_PEER_DIED);
    if (status != OK)
        processes[index] = nullptr;
}

static void cell_task(uint32_t index)
{
    struct invocation inv = {.cspace = table};
    handle_t handle;
    struct cap cap;
    quiesce_enter(arch_cpu());
    if (index == 0) {
        make_in(cell, 0);
    } else if (index == 1) {
        status_t status =
            untyped_create_cell(&inv, untyped_root, &(struct cap){.object = &cell->object}, 1024, (const uint8_t *)name, &handle);
        EXPECT(status == OK || status == ERROR_PEER_DIED);
        if (status == OK && cspace_lookup(table, handle, &cap) == OK)
            make_in((struct cell *)cap.object, 1);
    } else {
        while (cell_kill(&inv, cell) == ERROR_RESTART)
            ;
    }
    quiesce_leave(arch_cpu());
}

static void cell_check(void)
{
    for (uint32_t i = 0; i < 2; i++)
        EXPECT(processes[i] == nullptr || processes[i]->state != PROCESS_ALIVE);
}

const struct explore_scenario explore_cell = {"cell-kill", 3, false, 0, cell_setup, cell_check, cell_task};
