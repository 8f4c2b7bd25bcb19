/*
 * The programs themselves: make random calls (kinds of arguments from abi.json, handles mostly right) and scribble over their
 * rings. A generation is: an untyped, in it two untypeds with a process each and one that both may destroy.
 */
#include "programs.h"
#include <arch/arch.h>
#include <host.h>
#include <kernel/abi_dispatch.h>
#include <kernel/cell.h>
#include <kernel/clock.h>
#include <kernel/ipc.h>
#include <kernel/machine.h>
#include <kernel/page.h>
#include <kernel/page_cache.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>
#include <stdio.h>
#include <string.h>

enum argument : uint16_t {
    ARGUMENT_SMALL,
    ARGUMENT_TINY,
    ARGUMENT_SIZE,
    ARGUMENT_OFFSET,
    ARGUMENT_ADDRESS,
    ARGUMENT_RIGHTS,
    ARGUMENT_BITS,
    ARGUMENT_TIME,
    ARGUMENT_FLAGS,
    ARGUMENT_POWER,
    ARGUMENT_HANDLE_ANY,
    ARGUMENT_HANDLE,
};
struct method {
    const char *name;
    uint8_t type, number, words;
    bool is_raw;
    uint16_t kinds[12];
};
#include "arguments.h"

constexpr uint64_t RAM_PAGES = 32768, GENERATION_PAGES = 12000, PROCESS_PAGES = 3000;
constexpr vaddr_t BUFFER = 0x400000;
constexpr uint64_t BUFFER_PAGES = 16;
constexpr uint32_t THREADS_PER_PROCESS = 4;

_Atomic uint64_t programs_calls;
_Atomic bool programs_must_end;
static _Atomic uint64_t results[64];
static _Atomic uint64_t method_ok[ARRAY_LENGTH(methods)];

/* A handle of this table to an object of the type (0 = any); sometimes nonsense. Inside a kernel entry. */
static handle_t pick_handle(uint64_t *rng, struct cspace *cspace, uint32_t type)
{
    uint32_t count = atomic_load(&cspace->slot_count);
    handle_t found = next_random(rng);
    if (count == 0 || below(rng, 64) == 0)
        return found;
    uint32_t start = (uint32_t)below(rng, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (start + i) % count;
        struct slot *slot = &cspace->pages[index / SLOTS_PER_PAGE][index % SLOTS_PER_PAGE];
        handle_t handle = atomic_load(&slot->name);
        struct cap cap;
        if (cspace_lookup(cspace, handle, &cap) == OK && (type == 0 || cap.object->type == type))
            return handle;
    }
    return found;
}

static uint64_t pick_argument(uint64_t *rng, struct thread *thread, uint16_t kind)
{
    struct cspace *cspace = thread->process->cspace;
    uint64_t page = below(rng, BUFFER_PAGES) << PAGE_SHIFT;
    switch (kind & 0xFF) {
    case ARGUMENT_HANDLE: return pick_handle(rng, cspace, below(rng, 32) == 0 ? 0 : kind >> 8);
    case ARGUMENT_HANDLE_ANY: return pick_handle(rng, cspace, 0);
    case ARGUMENT_TINY: return below(rng, 4);
    case ARGUMENT_SIZE:
        switch (below(rng, 8)) {
        case 0: return next_random(rng) >> below(rng, 64);
        case 1: return 1ull << below(rng, 41);
        case 2: return below(rng, 3000);
        default: return (1 + below(rng, 40)) << PAGE_SHIFT;
        }
    case ARGUMENT_OFFSET: return below(rng, 8) == 0 ? next_random(rng) >> below(rng, 64) : below(rng, 2) == 0 ? 0 : page;
    case ARGUMENT_ADDRESS:
        switch (below(rng, 8)) {
        case 0: return next_random(rng) >> below(rng, 64);
        case 1: return 0;
        case 2: return 0x10000000 + page * 16;
        case 3: return USER_TOP - PAGE_SIZE;
        case 4: return BUFFER + below(rng, 4) * 4; /* where several meet */
        default: return BUFFER + page + (below(rng, 2) ? below(rng, 512) * 8 : 0);
        }
    case ARGUMENT_RIGHTS: return below(rng, 2) ? RIGHTS_ALL : (uint32_t)next_random(rng);
    case ARGUMENT_BITS: return below(rng, 4) == 0 ? 0 : 1ull << below(rng, 8) | 1ull << below(rng, 64);
    case ARGUMENT_TIME: return arch_time_ns() + below(rng, 200'000);
    case ARGUMENT_FLAGS: return below(rng, 16) == 0 ? (uint32_t)next_random(rng) : below(rng, 8);
    case ARGUMENT_POWER: return below(rng, 8) == 0 ? below(rng, 2000) : 1ull << below(rng, 7);
    default: return below(rng, 16) == 0 ? (uint32_t)next_random(rng) : below(rng, 70);
    }
}

/* What is to be thought about before it is called, by method; found out once. */
enum : uint8_t { IS_POWER = 1, IS_CELL_KILL = 2, IS_DELETE = 4, IS_MOVE = 8, IS_DEADLY = 16 };
static uint8_t cautions[ARRAY_LENGTH(methods)];

static void find_cautions(void)
{
    for (uint32_t i = 0; i < ARRAY_LENGTH(methods); i++) {
        const char *name = methods[i].name;
        bool is_delete = strcmp(name, "cspace.delete") == 0;
        bool is_deadly = is_delete || strstr(name, "kill") != nullptr || strstr(name, "exit") != nullptr ||
                         strcmp(name, "cspace.destroy") == 0 || strcmp(name, "thread.suspend") == 0 || strcmp(name, "cspace.revoke") == 0;
        cautions[i] =
            (uint8_t)((strcmp(name, "machine.power") == 0 ? IS_POWER : 0) | (strcmp(name, "cell.kill") == 0 ? IS_CELL_KILL : 0) |
                      (strcmp(name, "cspace.move") == 0 ? IS_MOVE : 0) | (is_delete ? IS_DELETE : 0) | (is_deadly ? IS_DEADLY : 0));
    }
}

/* A program that may stop everything, or sleeps for ever, would end the test early. */
static bool is_excluded(const struct method *method, uint64_t *rng, struct cspace *cspace, handle_t handle)
{
    struct cap cap;
    uint8_t caution = cautions[method - methods];
    if (caution == 0)
        return false;
    if (caution & IS_POWER)
        return true;
    if ((caution & IS_CELL_KILL) && cspace_lookup(cspace, handle, &cap) == OK && cap.object == &cell_root.object)
        return true;
    if (cspace->used_count < 40 && (caution & (IS_DELETE | IS_MOVE)))
        return true; /* a program without handles has no say */
    return (caution & IS_DEADLY) && below(rng, caution & IS_DELETE ? 2 : 400) != 0;
}

/* A method of what a random handle names, mostly. */
static const struct method *pick_method(uint64_t *rng, struct cspace *cspace, handle_t *out_handle)
{
    struct cap cap;
    *out_handle = pick_handle(rng, cspace, below(rng, 3) == 0 ? OBJECT_CSPACE : below(rng, 3) == 0 ? OBJECT_UNTYPED : 0);
    bool is_known = cspace_lookup(cspace, *out_handle, &cap) == OK && below(rng, 50) != 0;
    uint32_t first = 0, count = ARRAY_LENGTH(methods);
    while (is_known && first < ARRAY_LENGTH(methods) && methods[first].type != cap.object->type)
        first++;
    if (first == ARRAY_LENGTH(methods))
        first = 0;
    else if (is_known) /* the methods of a type stand together */
        for (count = 1; first + count < ARRAY_LENGTH(methods) && methods[first + count].type == cap.object->type; count++)
            ;
    for (uint32_t tries = 0;; tries++) {
        if (tries > 100)
            first = 0, count = ARRAY_LENGTH(methods);
        const struct method *method = &methods[first + below(rng, count)];
        if (!is_excluded(method, rng, cspace, *out_handle))
            return method;
    }
}

/* New submissions in one of the thread's rings; now and then nonsense in the header. */
static void scribble(uint64_t *rng, struct thread *thread)
{
    struct cap cap;
    handle_t handle = pick_handle(rng, thread->process->cspace, OBJECT_RING);
    if (cspace_lookup(thread->process->cspace, handle, &cap) != OK || cap.object->type != OBJECT_RING)
        return;
    struct ring *ring = (struct ring *)cap.object;
    struct tess_ring_header *header = (struct tess_ring_header *)ring->pages[0];
    uint32_t tail = __atomic_load_n(&header->sq_tail, __ATOMIC_RELAXED);
    for (uint32_t n = (uint32_t)below(rng, 4); n > 0; n--, tail++) {
        handle_t target;
        const struct method *method = pick_method(rng, thread->process->cspace, &target);
        uint32_t offset = 128 + 128 * (tail & (ring->sq_entries - 1));
        uint64_t *entry = (uint64_t *)(ring->pages[offset >> PAGE_SHIFT] + (offset & (PAGE_SIZE - 1)));
        struct tess_submission submission = {
            .op = op_make(method->type, method->number, method->words, 0, 0), .handle = target, .cookie = below(rng, 8)};
        for (uint32_t i = 0; i < method->words; i++)
            submission.words[i] = pick_argument(rng, thread, method->kinds[i]);
        for (uint32_t i = 0; i < sizeof(submission) / 8; i++)
            __atomic_store_n(&entry[i], ((uint64_t *)&submission)[i], __ATOMIC_RELAXED);
    }
    if (below(rng, 50) == 0)
        tail = (uint32_t)next_random(rng);
    __atomic_store_n(&header->sq_tail, tail, __ATOMIC_RELEASE);
    uint32_t head = below(rng, 50) == 0 ? (uint32_t)next_random(rng) : __atomic_load_n(&header->cq_tail, __ATOMIC_ACQUIRE);
    if (below(rng, 3) != 0)
        __atomic_store_n(&header->cq_head, head, __ATOMIC_RELEASE);
}

static void set_call(struct thread *thread, handle_t handle, uint64_t op, uint64_t deadline)
{
    thread->frame.handle = handle;
    thread->frame.op = op;
    thread->frame.deadline = deadline;
}

static uint64_t pick_deadline(uint64_t *rng)
{
    return below(rng, 3) == 0 ? DEADLINE_NOW : below(rng, 300) == 0 ? DEADLINE_INFINITE : arch_time_ns() + below(rng, 300'000);
}

/* A message for an endpoint: random words and handles. */
static void set_message(uint64_t *rng, struct thread *thread, uint64_t method_op)
{
    uint32_t handles = below(rng, 2) ? 0 : (uint32_t)below(rng, 5), words = (uint32_t)below(rng, handles != 0 ? 9 : 13);
    uint64_t op =
        op_make(op_interface(method_op), op_method(method_op), words, handles, handles != 0 ? (uint32_t)below(rng, 1u << handles) : 0);
    for (uint32_t i = 0; i < 4; i++)
        thread->frame.words[i] = next_random(rng);
    for (uint32_t i = 0; i < handles; i++)
        __atomic_store_n(&thread->message->words[MESSAGE_HANDLE_WORD + i], pick_handle(rng, thread->process->cspace, 0), __ATOMIC_RELAXED);
    thread->frame.op = op;
}

/* Plays the program of `thread`. */
vaddr_t programs_user(struct thread *thread)
{
    uint64_t *rng = &thread->frame.random;
    if (*rng == 0)
        *rng = programs_seed * 0x9E3779B97F4A7C15 + thread->object.id * 0xD1342543DE82EF95 + 1;
    struct cpu *cpu = arch_cpu();
    if (thread->frame.fp != 0) { /* index + 1 of the last call's method */
        int64_t status = thread->frame.status;
        atomic_fetch_add(&results[status <= 0 && status > -63 ? -status : 63], 1);
        if (status == OK)
            atomic_fetch_add(&method_ok[thread->frame.fp - 1], 1);
        thread->frame.fp = 0;
        if (status == ERROR_RESTART || status > 0)
            panic("status %ld reached a program", status);
    }
    struct cspace *cspace = thread->process->cspace;
    if (below(rng, 64) == 0)
        host_interrupt((uint32_t)below(rng, HOST_IRQ_COUNT));
    /* The end of the process; soon when its table was closed. */
    if (programs_must_end || below(rng, atomic_load(&cspace->is_closed) ? 100 : 20'000) == 0)
        return USER_TOP;
    if (below(rng, 16) == 0)
        return BUFFER + (below(rng, BUFFER_PAGES) << PAGE_SHIFT);
    quiesce_enter(cpu); /* the look-ups below are ours, not the program's */
    if (below(rng, 8) == 0)
        scribble(rng, thread);
    handle_t handle;
    const struct method *method = pick_method(rng, cspace, &handle);
    if (below(rng, 12) == 0) { /* a call to a server */
        handle = pick_handle(rng, cspace, OBJECT_ENDPOINT);
        set_message(rng, thread, op_make(32 + (uint32_t)below(rng, 8), 1, 0, 0, 0));
        if (below(rng, 4) == 0)
            thread->frame.op |= OP_SEND;
        set_call(thread, handle, thread->frame.op, pick_deadline(rng));
    } else if (method->is_raw) {
        set_message(rng, thread, op_make(method->type, method->number, 0, 0, 0));
        set_call(thread, handle, thread->frame.op, method->type == OBJECT_RING ? below(rng, 8) | below(rng, 4) << 32 : pick_deadline(rng));
    } else {
        for (uint32_t i = 0; i < method->words; i++) {
            uint64_t value = pick_argument(rng, thread, method->kinds[i]);
            if (i < 4)
                thread->frame.words[i] = value;
            else
                __atomic_store_n(&thread->message->words[i], value, __ATOMIC_RELAXED);
        }
        set_call(thread, handle, op_make(method->type, method->number, method->words, 0, 0), pick_deadline(rng));
        thread->frame.fp = (uint64_t)(method - methods) + 1;
    }
    quiesce_leave(cpu);
    atomic_fetch_add(&programs_calls, 1);
    return 0;
}

/* ---- Generations ---- */

static void must(status_t status, const char *what)
{
    if (status != OK)
        panic("%s: %d", what, status);
}

static struct untyped *make_untyped(struct untyped *parent, struct cspace *cspace, uint64_t pages)
{
    struct invocation inv = {.cspace = cspace};
    handle_t handle;
    must(untyped_create_untyped(&inv, parent, pages << PAGE_SHIFT, &handle), "untyped");
    struct cap cap;
    must(cspace_lookup(cspace, handle, &cap), "look-up");
    return (struct untyped *)cap.object;
}

static void give(struct cspace *cspace, struct object *object, uint32_t rights)
{
    handle_t handle;
    must(cspace_insert(cspace, object, nullptr, rights, nullptr, &handle), "insert");
}

static struct cspace *tables[2];
static struct thread *all_threads[2][THREADS_PER_PROCESS];

static void make_process(struct untyped *untyped, uint32_t which)
{
    struct vspace *vspace;
    struct cspace *cspace = tables[which];
    struct process *process;
    struct memory *buffer, *messages;
    vaddr_t address;
    must(vspace_create(untyped, &vspace), "vspace");
    must(process_create(untyped, &cell_root, vspace, cspace, "stress\0\0\0\0\0\0\0\0\0", &process), "process");
    must(object_publish(&process->object), "publish");
    must(object_publish(&vspace->object), "publish");
    must(memory_create(untyped, BUFFER_PAGES, 0, &buffer), "buffer");
    must(object_publish(&buffer->object), "publish");
    must(memory_create(untyped, THREADS_PER_PROCESS, MEMORY_COMMITTED, &messages), "messages");
    must(vspace_map_memory(vspace, buffer, 0, BUFFER_PAGES << PAGE_SHIFT, BUFFER, MAP_FIXED, PROT_READ | PROT_WRITE,
                           PROT_READ | PROT_WRITE | PROT_EXEC, INHERIT_DEFAULT, &address),
         "map");
    struct object *const common[] = {&vspace->object,         &process->object,     &untyped->object,       &cspace->object,
                                     &tables[!which]->object, &buffer->object,      &machine_object.object, &system_object.object,
                                     &log_object.object,      &clock_object.object, &cell_root.object};
    for (uint32_t i = 0; i < ARRAY_LENGTH(common); i++)
        give(cspace, common[i], common[i]->untyped == untyped_root ? RIGHTS_ALL & ~(uint32_t)RIGHT_DESTROY : RIGHTS_ALL);
    struct invocation inv = {.cspace = cspace};
    handle_t handle;
    const struct cap root = {.object = &cell_root.object};
    must(untyped_create_cell(&inv, untyped, &root, THREAD_WEIGHT_DEFAULT, (const uint8_t[16]){"stress"}, &handle), "cell");
    for (uint32_t i = 0; i < 2; i++) {
        must(untyped_create_endpoint(&inv, untyped, &handle), "endpoint");
        must(untyped_create_event(&inv, untyped, &handle), "event");
        struct cap cap;
        must(cspace_lookup(cspace, handle, &cap), "look-up");
        give(tables[!which], cap.object, RIGHTS_ALL);
    }
    struct thread **threads = all_threads[which];
    for (uint32_t i = 0; i < THREADS_PER_PROCESS; i++) {
        must(thread_create(untyped, process, messages, (uint64_t)i << PAGE_SHIFT, i & 1, &threads[i]), "thread");
        must(object_publish(&threads[i]->object), "publish");
        give(cspace, &threads[i]->object, RIGHTS_ALL);
    }
    object_put(&messages->object);
    object_put(&buffer->object);
    object_put(&vspace->object);
    object_put(&process->object);
    object_put(&cspace->object);
}

static struct cspace *own; /* the supervisor's table */
static struct untyped *generation;
static uint32_t generation_count;
static uint64_t ended_ns;
static uint64_t base_used, base_free, base_objects[32];

void programs_begin(void)
{
    for (uint32_t kind = 0; kind < 2; kind++) /* the last programs may have limited themselves */
        atomic_store(&cell_root.limits[kind].limit, UINT64_MAX);
    generation = make_untyped(untyped_root, own, GENERATION_PAGES);
    object_get(&generation->object);
    struct untyped *parts[2];
    for (uint32_t i = 0; i < 2; i++) {
        parts[i] = make_untyped(generation, own, PROCESS_PAGES);
        must(cspace_create(parts[i], 512, &tables[i]), "table");
        must(object_publish(&tables[i]->object), "publish");
    }
    struct untyped *shared = make_untyped(generation, own, PROCESS_PAGES);
    give(tables[0], &shared->object, RIGHTS_ALL);
    give(tables[1], &shared->object, RIGHTS_ALL);
    object_get(&tables[0]->object);
    object_get(&tables[1]->object);
    struct cspace *both[2] = {tables[0], tables[1]};
    make_process(parts[0], 0);
    make_process(parts[1], 1);
    object_put(&both[0]->object);
    object_put(&both[1]->object);
    atomic_store(&programs_calls, 0);
    atomic_store(&programs_must_end, false);
    for (uint32_t i = 0; i < 2 * THREADS_PER_PROCESS; i++) {
        struct thread *thread = all_threads[i / THREADS_PER_PROCESS][i % THREADS_PER_PROCESS];
        (void)thread_start_at(thread, 0, 0, 0, 0, 0);
        object_put(&thread->object);
    }
}

static void check_equal(const char *what, uint64_t got, uint64_t wanted)
{
    if (got != wanted)
        panic("generation %u: %s: %lu, not %lu", generation_count, what, got, wanted);
}

void programs_end(void)
{
    while (untyped_kill_step(generation))
        smp_poll();
    object_kill(&generation->object);
    struct cap cap;
    uint64_t index = 0;
    handle_t handle;
    while (cspace_next(own, &index, &handle, &cap) == OK)
        (void)cspace_remove(own, handle);
    object_put(&generation->object);
    ended_ns = arch_time_ns();
}

/* Killed threads end on their own CPUs: this takes a moment. */
bool programs_have_ended(void)
{
    host_settle();
    if (untyped_used_pages(untyped_root) != base_used && arch_time_ns() - ended_ns < 10'000'000'000)
        return false;
    for (uint32_t i = 0; i < 32; i++)
        if (object_count(i) != base_objects[i])
            fprintf(stderr, "objects of type %u: %lu, not %lu\n", i, object_count(i), base_objects[i]);
    check_equal("pages charged", untyped_used_pages(untyped_root), base_used);
    check_equal("free frames", page_free_count() + page_cache_count(), base_free);
    for (uint32_t i = 0; i < 32; i++)
        check_equal("objects", object_count(i), base_objects[i]);
    check_equal("pages of memories", object_pages(OBJECT_MEMORY), 0);
    generation_count++;
    return true;
}

void programs_boot(uint32_t count_cpus)
{
    find_cautions();
    host_boot(RAM_PAGES, count_cpus);
    quiesce_enter(arch_cpu());
    must(cspace_create(untyped_root, 4096, &own), "own table");
    handle_t handle;
    must(cspace_insert(own, &own->object, nullptr, RIGHTS_ALL, nullptr, &handle), "warm-up");
    must(cspace_remove(own, handle), "warm-up");
    base_used = untyped_used_pages(untyped_root);
    base_free = page_free_count() + page_cache_count();
    for (uint32_t i = 0; i < 32; i++)
        base_objects[i] = object_count(i);
    quiesce_leave(arch_cpu());
}

void programs_report(void)
{
    printf("%u generations; statuses:", generation_count);
    for (uint32_t i = 0; i < ARRAY_LENGTH(results); i++)
        if (results[i] != 0)
            printf(" %d:%lu", -(int)i, results[i]);
    printf("\nnever succeeded:");
    for (uint32_t i = 0; i < ARRAY_LENGTH(methods); i++)
        if (method_ok[i] == 0 && !methods[i].is_raw)
            printf(" %s", methods[i].name);
    printf("\n");
}
