/* vspace.clone, process.clone, process.exec: what the clone shares, has for its own and lacks; from one thread of several; without
 * memory at any point; killed at any moment. */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/endpoint.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

constexpr int32_t CHILD_OK = 42;

/* Like fork: true in both; *out_process is HANDLE_NONE in the clone. */
static bool fork_from(handle_t payer, handle_t *out_process)
{
    *out_process = HANDLE_NONE;
    return tess_process_clone(std_self.process, payer, 0, 0, 0, 0, 0, HANDLE_NONE, 0, out_process, DEADLINE_INFINITE) == OK;
}

[[noreturn]] static void end(int32_t status)
{
    for (;;)
        (void)tess_process_exit(std_self.process, status);
}

/* The child's checks: the first that fails is its exit status. */
#define CHILD_EXPECT(condition)                                                                                                            \
    do {                                                                                                                                   \
        if (!(condition))                                                                                                                  \
            end(__LINE__ + 1000);                                                                                                          \
    } while (false)

static void expect_end(handle_t process, uint32_t wanted_cause, int32_t wanted_status)
{
    uint32_t cause = 99;
    int32_t status = 0;
    EXPECT_OK(tess_process_wait(process, &cause, &status, patience()));
    EXPECT_EQUAL(cause, wanted_cause);
    EXPECT_EQUAL((uint32_t)status, (uint32_t)wanted_status);
    handle_drop(process);
}

static uint64_t id_of(handle_t handle)
{
    uint32_t type, rights;
    uint64_t badge, id = 0;
    return tess_cspace_inspect(std_self.cspace, handle, &type, &rights, &badge, &id) == OK ? id : 0;
}

static bool is_mapped(uint64_t address)
{
    uint64_t start, size, offset;
    uint32_t flags;
    return tess_vspace_query(std_self.vspace, address, &start, &size, &flags, &offset) == OK && start <= address;
}

static volatile uint64_t global = 1;

/* The clone goes on behind the call with the same registers, stack and data, and both go their own ways. */
static void returns_twice_on(handle_t payer)
{
    volatile uint64_t local = 2;
    void *heap;
    EXPECT_OK(std_pages_alloc(3 * STD_PAGE, &heap));
    volatile uint64_t *words = heap;
    words[0] = 3;
    words[1024] = 4;
    global = 1;
    handle_t child;
    if (!EXPECT(fork_from(payer, &child)))
        return;
    if (child == HANDLE_NONE) {
        CHILD_EXPECT(global == 1 && local == 2 && words[0] == 3 && words[1024] == 4);
        global = 11;
        local = 12;
        words[0] = 13;
        sleep_ns(5 * NS_PER_MS);
        CHILD_EXPECT(global == 11 && local == 12 && words[0] == 13 && words[1024] == 4);
        end(CHILD_OK);
    }
    local = 22;
    words[1024] = 24;
    expect_end(child, EXIT_NORMAL, CHILD_OK);
    EXPECT(global == 1 && local == 22 && words[0] == 3 && words[1024] == 24);
    global = 31;
    std_pages_free(heap, 3 * STD_PAGE);
}

static void returns_twice(void) { returns_twice_on(guest.root); }
static void other_untyped(void) { returns_twice_on(std_self.untyped); }

static void map_at(handle_t memory, uint32_t flags, volatile uint64_t **out)
{
    uint64_t at = 0;
    EXPECT_OK(tess_vspace_map(std_self.vspace, memory, 0, 2 * STD_PAGE, 0, flags | MAP_READ | MAP_WRITE, &at));
    *out = (volatile uint64_t *)at;
}

/* Mappings: shared, copied, dropped, changed in a part; two mappings of one memory stay two of one. */
static void mappings(void)
{
    handle_t memory[4];
    volatile uint64_t *copied, *again, *shared, *dropped, *part;
    for (uint32_t i = 0; i < 4; i++)
        EXPECT_OK(tess_untyped_create_memory(std_self.untyped, 2 * STD_PAGE, 0, &memory[i]));
    map_at(memory[0], 0, &copied);
    map_at(memory[0], MAP_INHERIT_COPY, &again);
    map_at(memory[1], MAP_INHERIT_SHARE, &shared);
    map_at(memory[2], MAP_INHERIT_DROP, &dropped);
    map_at(memory[3], 0, &part);
    EXPECT_OK(tess_vspace_set_inherit(std_self.vspace, (uint64_t)part + STD_PAGE, STD_PAGE, INHERIT_DROP));
    EXPECT_STATUS(tess_vspace_set_inherit(std_self.vspace, (uint64_t)part + STD_PAGE, STD_PAGE, 4), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_vspace_set_inherit(std_self.vspace, 1ull << 37, STD_PAGE, INHERIT_DROP), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_vspace_set_inherit(std_self.vspace, 1, STD_PAGE, INHERIT_DROP), ERROR_BAD_ARGUMENT);
    copied[0] = shared[0] = dropped[0] = part[0] = part[512] = 1;
    handle_t child, vspace;
    uint64_t start, size, offset;
    uint32_t flags;
    EXPECT_OK(tess_vspace_clone(std_self.vspace, std_self.untyped, &vspace));
    EXPECT_OK(tess_vspace_query(vspace, (uint64_t)copied, &start, &size, &flags, &offset));
    EXPECT_EQUAL(start, (uint64_t)copied);
    EXPECT_EQUAL(flags, MAP_READ | MAP_WRITE);
    handle_drop(vspace);
    if (!EXPECT(fork_from(std_self.untyped, &child)))
        return;
    if (child == HANDLE_NONE) {
        CHILD_EXPECT(copied[0] == 1 && again[0] == 1 && shared[0] == 1 && part[0] == 1);
        CHILD_EXPECT(!is_mapped((uint64_t)dropped) && !is_mapped((uint64_t)part + STD_PAGE) && is_mapped((uint64_t)part));
        copied[0] = 7;
        CHILD_EXPECT(again[0] == 7);
        /* The handle names the memory that is mapped here; what is shared is the parent's. */
        uint64_t value = 8;
        CHILD_EXPECT(tess_memory_write(memory[0], 0, (uint64_t)&value, 8) == OK && again[0] == 8);
        CHILD_EXPECT(tess_memory_decommit(memory[0], 0, STD_PAGE) == OK && copied[0] == 0);
        CHILD_EXPECT(tess_memory_write(memory[1], 8, (uint64_t)&value, 8) == OK);
        shared[0] = 9;
        end(CHILD_OK);
    }
    expect_end(child, EXIT_NORMAL, CHILD_OK);
    EXPECT(copied[0] == 1 && again[0] == 1 && dropped[0] == 1 && part[0] == 1);
    EXPECT_EQUAL(shared[0], 9);
    EXPECT_EQUAL(shared[1], 8);
    volatile uint64_t *all[] = {copied, again, shared, dropped, part};
    for (uint32_t i = 0; i < ARRAY_LENGTH(all); i++)
        EXPECT_OK(tess_vspace_unmap(std_self.vspace, (uint64_t)all[i], 2 * STD_PAGE));
    for (uint32_t i = 0; i < 4; i++)
        handle_drop(memory[i]);
}

/* Handles have the same values, and name the same objects, or the clone's own. */
static void handles(void)
{
    handle_t event, endpoint, badged, dropped, stale, narrow, child;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &dropped));
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &stale));
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHTS_ALL, 77, &badged));
    EXPECT_OK(tess_cspace_mint(std_self.cspace, event, EVENT_RIGHT_SIGNAL | RIGHT_INSPECT, 0, &narrow));
    EXPECT_OK(tess_cspace_set_inherit(std_self.cspace, dropped, INHERIT_DROP));
    EXPECT_STATUS(tess_cspace_set_inherit(std_self.cspace, dropped, INHERIT_COPY), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_cspace_set_inherit(std_self.cspace, dropped, 8), ERROR_BAD_ARGUMENT);
    handle_t ring, entries;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &entries));
    EXPECT_OK(tess_untyped_create_ring(std_self.untyped, entries, 4, 8, 0, 2, 0, &ring));
    handle_drop(stale);
    EXPECT_STATUS(tess_cspace_set_inherit(std_self.cspace, stale, INHERIT_DROP), ERROR_STALE_HANDLE);
    uint64_t ids[] = {id_of(std_self.process), id_of(std_self.vspace), id_of(std_self.cspace), id_of(std_self.thread)};
    uint64_t event_id = id_of(event);
    EXPECT_OK(tess_cspace_set_inherit(std_self.cspace, guest.root, INHERIT_SHARE));
    if (!EXPECT(fork_from(guest.root, &child)))
        return;
    if (child == HANDLE_NONE) {
        uint32_t type, rights;
        uint64_t badge, id, bits;
        CHILD_EXPECT(id_of(event) == event_id);
        CHILD_EXPECT(id_of(std_self.process) != 0 && id_of(std_self.process) != ids[0]);
        CHILD_EXPECT(id_of(std_self.vspace) != 0 && id_of(std_self.vspace) != ids[1]);
        CHILD_EXPECT(id_of(std_self.cspace) != 0 && id_of(std_self.cspace) != ids[2]);
        CHILD_EXPECT(id_of(std_self.thread) != 0 && id_of(std_self.thread) != ids[3]);
        CHILD_EXPECT(tess_cspace_inspect(std_self.cspace, badged, &type, &rights, &badge, &id) == OK && badge == 77);
        CHILD_EXPECT(tess_cspace_inspect(std_self.cspace, narrow, &type, &rights, &badge, &id) == OK &&
                     rights == (EVENT_RIGHT_SIGNAL | RIGHT_INSPECT));
        CHILD_EXPECT(id_of(dropped) == 0 && id_of(ring) == 0);
        CHILD_EXPECT(tess_event_clear(stale, 1) == ERROR_STALE_HANDLE);
        /* The table works as any: new handles, deleting, revoking what the clone derived. */
        handle_t more[100], own;
        for (uint32_t i = 0; i < 100; i++)
            CHILD_EXPECT(tess_cspace_copy(std_self.cspace, event, RIGHTS_ALL, &more[i]) == OK);
        CHILD_EXPECT(tess_cspace_revoke(std_self.cspace, event) == OK && id_of(more[50]) == 0 && id_of(event) == event_id);
        CHILD_EXPECT(tess_untyped_create_event(std_self.untyped, &own) == OK);
        CHILD_EXPECT(tess_cspace_delete(std_self.cspace, endpoint) == OK);
        CHILD_EXPECT(tess_event_set(narrow, 5) == OK);
        CHILD_EXPECT(tess_event_wait(event, 8, &bits, patience()) == OK);
        end(CHILD_OK);
    }
    uint64_t bits;
    EXPECT_OK(tess_event_wait(event, 5, &bits, patience()));
    EXPECT(id_of(endpoint) != 0 && id_of(badged) != 0);
    EXPECT_OK(tess_event_set(event, 8));
    expect_end(child, EXIT_NORMAL, CHILD_OK);
    handle_t all[] = {event, endpoint, badged, dropped, narrow, ring, entries};
    for (uint32_t i = 0; i < ARRAY_LENGTH(all); i++)
        handle_drop(all[i]);
}

/* Destroying an object or revoking above takes the clone's handles too; a badge is gone when the clone's handle is. */
static void revoked(void)
{
    handle_t root, given, child;
    uint64_t bits;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &root));
    EXPECT_OK(tess_cspace_copy(std_self.cspace, root, RIGHTS_ALL, &given));
    handle_t go;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &go));
    if (!EXPECT(fork_from(guest.root, &child)))
        return;
    if (child == HANDLE_NONE) {
        CHILD_EXPECT(tess_event_wait(go, 1, &bits, patience()) == OK);
        CHILD_EXPECT(tess_event_set(given, 1) == ERROR_STALE_HANDLE);
        CHILD_EXPECT(tess_event_set(root, 1) == OK);
        end(CHILD_OK);
    }
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, root));
    EXPECT_STATUS(tess_event_set(given, 1), ERROR_STALE_HANDLE);
    EXPECT_OK(tess_event_set(go, 1));
    expect_end(child, EXIT_NORMAL, CHILD_OK);
    handle_drop(root);
    handle_drop(go);
}

/* ---- With other threads at work ---- */

static _Atomic bool is_over;

static void churn(void *context)
{
    (void)context;
    while (!atomic_load(&is_over)) {
        handle_t memory, copy;
        uint64_t at;
        if (tess_untyped_create_memory(guest.root, 12 * STD_PAGE, 0, &memory) != OK)
            continue;
        if (tess_vspace_map(std_self.vspace, memory, 0, 12 * STD_PAGE, 0, MAP_READ | MAP_WRITE, &at) == OK) {
            for (uint64_t i = 0; i < 12; i++)
                *(volatile uint64_t *)(at + i * STD_PAGE) = i;
            if (tess_cspace_copy(std_self.cspace, memory, RIGHTS_ALL, &copy) == OK)
                std_handle_delete(copy);
            (void)tess_vspace_protect(std_self.vspace, at + STD_PAGE, STD_PAGE, MAP_READ);
            (void)tess_vspace_unmap(std_self.vspace, at, 5 * STD_PAGE);
            (void)tess_vspace_unmap(std_self.vspace, at + 5 * STD_PAGE, 7 * STD_PAGE);
        }
        std_handle_delete(memory);
        sleep_ns(NS_PER_MS); /* whoever holds the address space's lock all the time leaves none for the clone */
    }
}

static volatile uint64_t counters[4 * 64];

static void count(void *context)
{
    volatile uint64_t *counter = context;
    for (uint64_t value = 1; !atomic_load(&is_over); value++) {
        if (*counter != value - 1)
            return; /* a write was lost: the test sees 0 */
        *counter = value;
    }
    counter[1] = 1;
}

/* The clone has one thread whatever the others do; the others lose nothing. */
static void of_many_threads(void)
{
    static struct std_thread threads[4];
    atomic_store(&is_over, false);
    for (uint32_t i = 0; i < 4; i++) {
        counters[i * 64] = counters[i * 64 + 1] = 0;
        thread_start(&threads[i], i < 2 ? churn : count, (void *)&counters[i * 64]);
    }
    for (uint32_t round = 0; round < 5; round++) {
        handle_t child;
        if (!EXPECT(fork_from(guest.root, &child)))
            break;
        if (child == HANDLE_NONE) {
            uint64_t a = counters[2 * 64];
            for (uint32_t i = 0; i < 1000; i++)
                CHILD_EXPECT(counters[2 * 64] == a);
            counters[3 * 64] = 5;
            end(CHILD_OK);
        }
        expect_end(child, EXIT_NORMAL, CHILD_OK);
    }
    atomic_store(&is_over, true);
    for (uint32_t i = 0; i < 4; i++)
        thread_join(&threads[i]);
    EXPECT_EQUAL(counters[2 * 64 + 1] + counters[3 * 64 + 1], 2);
}

/* Clones of clones, whose makers end before and after them. */
static void generations(void)
{
    handle_t event, child;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    if (!EXPECT(fork_from(guest.root, &child)))
        return;
    if (child == HANDLE_NONE) {
        for (uint32_t depth = 0; depth < 6; depth++) {
            handle_t next;
            global = depth;
            CHILD_EXPECT(fork_from(guest.root, &next));
            if (next != HANDLE_NONE) {
                if (depth & 1)
                    sleep_ns(2 * NS_PER_MS);
                CHILD_EXPECT(global == depth);
                CHILD_EXPECT(tess_event_set(event, 1ull << depth) == OK);
                end(CHILD_OK);
            }
            CHILD_EXPECT(global == depth);
        }
        CHILD_EXPECT(tess_event_set(event, 1ull << 6) == OK);
        end(CHILD_OK);
    }
    expect_end(child, EXIT_NORMAL, CHILD_OK);
    for (uint32_t i = 0; i < 7; i++) {
        uint64_t bits;
        EXPECT_OK(tess_event_wait(event, 1ull << i, &bits, patience()));
    }
    handle_drop(event);
}

/* ---- Memory runs out at any point ---- */

static void exhausted(void)
{
    uint32_t refusals = 0;
    bool has_worked = false;
    for (uint64_t pages = 1; pages < 600 && !has_worked && test_has_passed(); pages += pages < 40 ? 1 : 13) {
        handle_t untyped, child = HANDLE_NONE;
        EXPECT_OK(tess_untyped_create_untyped(guest.root, pages * STD_PAGE, &untyped));
        status_t status = tess_process_clone(std_self.process, untyped, 0, 0, 0, 0, 0, HANDLE_NONE, 0, &child, DEADLINE_INFINITE);
        if (status == OK && child == HANDLE_NONE)
            end(CHILD_OK);
        if (status == OK) {
            uint32_t cause;
            int32_t code;
            EXPECT_OK(tess_process_wait(child, &cause, &code, patience()));
            has_worked = cause == EXIT_NORMAL; /* else it had no page for a fault of its own */
            handle_drop(child);
        } else {
            EXPECT_STATUS(status, ERROR_NO_MEMORY);
            uint64_t limit, used, objects;
            uint64_t limit_ns = patience(); /* what was made comes back a moment later */
            do
                EXPECT_OK(tess_untyped_info(untyped, &limit, &used, &objects));
            while (used != 0 && time_now_ns() < limit_ns);
            EXPECT_EQUAL(used, 0);
            refusals++;
        }
        handle_destroy(untyped);
    }
    EXPECT(has_worked && refusals > 3);
    test_note("%u refusals", refusals);
}

/* Clones itself for ever; killed at any moment. */
int32_t role_fork(void)
{
    for (;;) {
        handle_t child;
        uint32_t cause;
        int32_t status;
        if (!fork_from(std_self.untyped, &child))
            return 1;
        if (child == HANDLE_NONE)
            end(CHILD_OK);
        if (tess_process_wait(child, &cause, &status, DEADLINE_INFINITE) != OK || status != CHILD_OK)
            return 2;
        std_handle_delete(child);
    }
}

static uint64_t used_pages(void)
{
    uint64_t limit, used, objects;
    EXPECT_OK(tess_untyped_info(std_self.untyped, &limit, &used, &objects));
    return used;
}

static void killed(void)
{
    uint64_t before = used_pages(), deadline = patience();
    for (uint32_t round = 0; round < 24 && test_has_passed(); round++) {
        struct child child;
        /* What the last one had is back first: a host that stops a CPU in the kernel holds up all that is given back. */
        while (round != 0 && used_pages() > before && time_now_ns() < deadline)
            sleep_ns(NS_PER_MS);
        struct child_args args = {.role = "fork", .untyped_bytes = 2 << 20};
        if (!child_start(&child, &args))
            return;
        sleep_ns(NS_PER_MS + round * NS_PER_MS / 7);
        if (round & 1)
            EXPECT_OK(tess_process_kill(child.spawned.process, 3));
        child_end(&child);
    }
}

/* ---- vfork and exec ---- */

static volatile uint64_t shared_word;

[[noreturn]] static void shared_main(uint64_t process)
{
    shared_word = 9;
    for (;;)
        (void)tess_process_exit(process, CHILD_OK);
}

static void shared_vspace(void)
{
    constexpr uint64_t SIZE = 4 * STD_PAGE;
    struct std_mapping stack;
    handle_t child;
    EXPECT_OK(std_mapping_create(SIZE, 0, &stack));
    uint64_t sp = (uint64_t)stack.address + SIZE - 128;
    struct tess_thread_block *block = (struct tess_thread_block *)(sp + 64 - 64 % 16);
    *block = (struct tess_thread_block){.self = (uint64_t)block, .message_page = (uint64_t)stack.address, .thread = std_self.thread};
    uint64_t tls = (uint64_t)block;
    sp -= sp % 16;
#if defined(__x86_64__)
    sp -= 8;
#endif
    uint32_t shared = PROCESS_CLONE_VSPACE_SHARED;
    EXPECT_STATUS(tess_process_clone(std_self.process, std_self.untyped, shared, (uint64_t)shared_main, sp, 0, tls, HANDLE_NONE, 0, &child,
                                     DEADLINE_INFINITE),
                  ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_process_clone(std_self.process, std_self.untyped, shared, (uint64_t)shared_main, sp, 0, tls, stack.memory, 1, &child,
                                     DEADLINE_INFINITE),
                  ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_process_clone(std_self.process, std_self.untyped, shared, (uint64_t)shared_main, sp, 0, tls, std_self.vspace, 0,
                                     &child, DEADLINE_INFINITE),
                  ERROR_WRONG_TYPE);
    for (uint32_t round = 0; round < 3; round++) {
        shared_word = 0;
        if (EXPECT_OK(tess_process_clone(std_self.process, std_self.untyped, shared, (uint64_t)shared_main, sp, std_self.process, tls,
                                         stack.memory, 0, &child, DEADLINE_INFINITE))) {
            expect_end(child, EXIT_NORMAL, CHILD_OK);
            EXPECT_EQUAL(shared_word, 9);
        }
    }
    std_mapping_destroy(&stack);
}

static void arguments(void)
{
    handle_t out, none;
    struct child other;
    struct child_args args = {.role = "wait"};
    if (!child_start(&other, &args))
        return;
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &none));
    EXPECT_STATUS(tess_process_clone(other.spawned.process, std_self.untyped, 0, 0, 0, 0, 0, HANDLE_NONE, 0, &out, DEADLINE_INFINITE),
                  ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_process_clone(std_self.process, std_self.untyped, 4, 0, 0, 0, 0, HANDLE_NONE, 0, &out, DEADLINE_INFINITE),
                  ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_process_clone(std_self.process, std_self.untyped, 0, 1ull << 47, 0, 0, 0, HANDLE_NONE, 0, &out, DEADLINE_INFINITE),
                  ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_process_clone(std_self.process, std_self.untyped, 0, 0, 0, 0, 0, ~0ull, 0, &out, DEADLINE_INFINITE),
                  ERROR_BAD_HANDLE);
    EXPECT_STATUS(tess_process_exec(other.spawned.process, std_self.vspace, 4096, 0, 0, 0, 0, none, 0, DEADLINE_INFINITE),
                  ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_process_exec(std_self.process, std_self.vspace, 1ull << 50, 0, 0, 0, 0, none, 0, DEADLINE_INFINITE),
                  ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_process_exec(std_self.process, std_self.vspace, 4096, 0, 0, 0, 0, none, STD_PAGE, DEADLINE_INFINITE),
                  ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_process_exec(std_self.process, std_self.vspace, 4096, 0, 0, 0, 0, none, 8, DEADLINE_INFINITE), ERROR_BAD_ARGUMENT);
    handle_drop(none);
    child_end(&other);
}

/* process.exit(handle = arg0, op = arg1, status 7), then a trap. */
extern const char exec_child_start[], exec_child_end[];
#if defined(__x86_64__)
__asm__(".pushsection .rodata.exec_child, \"a\", @progbits\n"
        ".globl exec_child_start, exec_child_end\n.hidden exec_child_start, exec_child_end\n"
        "exec_child_start: push %rdi\nmov %rsi, %rax\nxor %esi, %esi\nmov $7, %edx\nsyscall\nud2\nexec_child_end:\n"
        ".popsection\n");
#elif defined(__aarch64__)
__asm__(".pushsection .rodata.exec_child, \"a\", @progbits\n.balign 4\n"
        ".globl exec_child_start, exec_child_end\n.hidden exec_child_start, exec_child_end\n"
        "exec_child_start: str x0, [sp, #-16]!\nmov x9, x0\nmov x0, x1\nmov x1, x9\nmov x2, xzr\nmov x3, #7\nsvc #0\nbrk #1\n"
        "exec_child_end:\n.popsection\n");
#elif defined(__riscv)
__asm__(".pushsection .rodata.exec_child, \"a\", @progbits\n.balign 4\n"
        ".globl exec_child_start, exec_child_end\n.hidden exec_child_start, exec_child_end\n"
        "exec_child_start: sd a0, -16(sp)\nmv t0, a0\nmv a0, a1\nmv a1, t0\nli a2, 0\nli a3, 7\necall\nunimp\n"
        "exec_child_end:\n.popsection\n");
#endif

static void spin(void *context)
{
    volatile uint64_t *word = context;
    for (;;)
        (*word)++;
}

static void sleeper(void *context)
{
    (void)context;
    for (;;)
        (void)tess_thread_sleep(std_self.thread, DEADLINE_INFINITE);
}

/* In a clone: builds another address space and goes on there, alone. */
[[noreturn]] static void exec_in_child(handle_t untyped, handle_t event, handle_t closed, uint32_t siblings)
{
    constexpr uint64_t CODE = 0x200000, DATA = 0x201000;
    static struct std_thread threads[4];
    static volatile uint64_t words[4];
    handle_t vspace, code, data;
    uint64_t at;
    std_self.untyped = untyped;
    CHILD_EXPECT(tess_untyped_create_vspace(untyped, &vspace) == OK);
    CHILD_EXPECT(tess_untyped_create_memory(untyped, STD_PAGE, 0, &code) == OK);
    CHILD_EXPECT(tess_untyped_create_memory(untyped, 2 * STD_PAGE, 0, &data) == OK);
    CHILD_EXPECT(tess_memory_write(code, 0, (uint64_t)exec_child_start, (uint64_t)(exec_child_end - exec_child_start)) == OK);
    CHILD_EXPECT(tess_vspace_map(vspace, code, 0, STD_PAGE, CODE, MAP_READ | MAP_EXEC | MAP_FIXED, &at) == OK);
    CHILD_EXPECT(tess_vspace_map(vspace, data, 0, 2 * STD_PAGE, DATA, MAP_READ | MAP_WRITE | MAP_FIXED, &at) == OK);
    /* The handles that the call needs may be marked too. */
    handle_t marked[] = {closed, vspace, data};
    for (uint32_t i = 0; i < ARRAY_LENGTH(marked); i++)
        CHILD_EXPECT(tess_cspace_set_inherit(std_self.cspace, marked[i], HANDLE_DROP_ON_EXEC) == OK);
    for (uint32_t i = 0; i < siblings; i++)
        thread_start(&threads[i], i & 1 ? sleeper : spin, (void *)&words[i]);
    CHILD_EXPECT(tess_event_set(event, 1) == OK);
    /* No room for the message page: refused, and nothing happened. */
    handle_t tiny, nothing;
    if (tess_untyped_create_untyped(untyped, STD_PAGE, &tiny) == OK && tess_untyped_create_memory(tiny, STD_PAGE, 0, &nothing) == OK)
        CHILD_EXPECT(tess_process_exec(std_self.process, vspace, CODE, DATA + STD_PAGE, 0, 0, 0, nothing, 0, DEADLINE_INFINITE) ==
                     ERROR_NO_MEMORY);
    status_t status = tess_process_exec(std_self.process, vspace, CODE, DATA + 2 * STD_PAGE, std_self.process, OP_PROCESS_EXIT, 0, data, 0,
                                        DEADLINE_INFINITE);
    end(-status);
}

static void exec(void)
{
    for (uint32_t siblings = 0; siblings < 5; siblings++) {
        handle_t child, untyped, event, closed;
        uint64_t bits;
        EXPECT_OK(tess_untyped_create_untyped(std_self.untyped, 2 << 20, &untyped));
        EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
        EXPECT_OK(tess_untyped_create_event(untyped, &closed));
        if (!EXPECT(fork_from(guest.root, &child)))
            return;
        if (child == HANDLE_NONE)
            exec_in_child(untyped, event, closed, siblings < 4 ? siblings : 4);
        EXPECT_OK(tess_event_wait(event, 1, &bits, patience()));
        expect_end(child, EXIT_NORMAL, 7);
        handle_drop(closed);
        handle_destroy(untyped);
        handle_drop(event);
    }
}

void fork_tests(void)
{
    static const struct test tests[] = {
        {"fork.returns_twice", returns_twice},
        {"fork.other_untyped", other_untyped},
        {"fork.mappings", mappings},
        {"fork.handles", handles},
        {"fork.revoked", revoked},
        {"fork.of_many_threads", of_many_threads},
        {"fork.generations", generations},
        {"fork.exhausted", exhausted},
        {"fork.killed", killed},
        {"fork.shared_vspace", shared_vspace},
        {"fork.arguments", arguments},
        {"fork.exec", exec},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
