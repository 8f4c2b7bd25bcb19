/* What debuggers and supervisors need: registers of stopped threads, memory of other spaces, threads of a process, its handler. */
#include <conformance.h>
#include <std/ring.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/ring.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

#if defined(__x86_64__)
typedef struct tess_registers_x86_64 registers_t;
static uint64_t *pc_of(registers_t *r) { return &r->rip; }
static uint64_t *sp_of(registers_t *r) { return &r->rsp; }
static uint64_t *flags_of(registers_t *r) { return &r->rflags; }
static uint64_t op_of(const registers_t *r) { return r->rax; }
static uint64_t handle_of(const registers_t *r) { return r->rdi; }
constexpr uint64_t FLAGS_ALLOWED = 0x240DD5 | 0x202;
#elif defined(__aarch64__)
typedef struct tess_registers_aarch64 registers_t;
static uint64_t *pc_of(registers_t *r) { return &r->pc; }
static uint64_t *sp_of(registers_t *r) { return &r->sp; }
static uint64_t *flags_of(registers_t *r) { return &r->pstate; }
static uint64_t op_of(const registers_t *r) { return r->x[0]; }
static uint64_t handle_of(const registers_t *r) { return r->x[1]; }
constexpr uint64_t FLAGS_ALLOWED = 0xF0000000;
#else
typedef struct tess_registers_riscv64 registers_t;
static uint64_t *pc_of(registers_t *r) { return &r->pc; }
static uint64_t *sp_of(registers_t *r) { return &r->sp; }
static uint64_t *flags_of(registers_t *r) { return &r->t6; }
static uint64_t op_of(const registers_t *r) { return r->a[0]; }
static uint64_t handle_of(const registers_t *r) { return r->a[1]; }
constexpr uint64_t FLAGS_ALLOWED = ~0ull;
#endif

static status_t get(handle_t thread, registers_t *registers)
{
    uint64_t size;
    return tess_thread_get_registers(thread, REGISTERS_GENERAL, (uint64_t)registers, sizeof(*registers), &size);
}

static status_t set(handle_t thread, const registers_t *registers)
{
    return tess_thread_set_registers(thread, REGISTERS_GENERAL, (uint64_t)registers, sizeof(*registers));
}

/* ---- Registers ---- */

static _Atomic uint64_t landings, laps;

[[noreturn]] static void lands(void)
{
    atomic_fetch_add(&landings, 1);
    for (;;)
        atomic_fetch_add(&laps, 1);
}

static void wait_for(_Atomic uint64_t *word, uint64_t at_least)
{
    uint64_t end = patience();
    while (atomic_load(word) < at_least && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    EXPECT(atomic_load(word) >= at_least);
}

static void registers(void)
{
    struct std_mapping memory;
    handle_t thread;
    registers_t now = {}, then;
    uint64_t size;
    atomic_store(&landings, 0);
    if (!EXPECT_OK(std_mapping_create(4 * STD_PAGE, 0, &memory)))
        return;
    EXPECT_OK(tess_untyped_create_thread(std_self.untyped, std_self.process, memory.memory, 0, 0, &thread));
    EXPECT_STATUS(tess_thread_get_registers(thread, 2, (uint64_t)&now, sizeof(now), &size), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_get_registers(thread, REGISTERS_FPU, (uint64_t)&now, sizeof(now), &size), ERROR_UNSUPPORTED);
    EXPECT_STATUS(tess_thread_get_registers(thread, REGISTERS_GENERAL, (uint64_t)&now, sizeof(now) - 8, &size), ERROR_OVERFLOW);
    EXPECT_STATUS(tess_thread_get_registers(thread, REGISTERS_GENERAL, 8, sizeof(now), &size), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_thread_set_registers(thread, REGISTERS_GENERAL, 8, sizeof(now)), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_thread_set_registers(thread, REGISTERS_GENERAL, (uint64_t)&now, sizeof(now) + 8), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_registers(thread, REGISTERS_FPU, (uint64_t)&now, sizeof(now)), ERROR_UNSUPPORTED);
    handle_t narrow = with_rights(thread, RIGHTS_ALL & ~THREAD_RIGHT_REGISTERS);
    EXPECT_STATUS(get(narrow, &now), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(set(narrow, &now), ERROR_MISSING_RIGHT);
    handle_drop(narrow);
    /* What the kernel must not load is refused, or cut. */
    static const uint64_t bad[] = {1ull << 47, 0xFFFFFFFF80000000, ~0ull - 1};
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        *pc_of(&now) = bad[i];
        EXPECT_STATUS(set(thread, &now), ERROR_BAD_ARGUMENT);
    }
    EXPECT_STATUS(tess_thread_resume(thread), ERROR_BAD_ARGUMENT); /* still never started */
    memset(&now, 0xFF, sizeof(now));
    *pc_of(&now) = (uint64_t)lands;
    *sp_of(&now) = (uint64_t)memory.address + 4 * STD_PAGE - 16;
#if defined(__x86_64__)
    EXPECT_STATUS(set(thread, &now), ERROR_BAD_ARGUMENT); /* fs_base */
    now.fs_base = 0x1234560;
#endif
    EXPECT_OK(set(thread, &now));
    EXPECT_STATUS(tess_thread_start(thread, (uint64_t)lands, 0, 0, 0, 0), ERROR_ALREADY);
    EXPECT_OK(get(thread, &then));
    EXPECT_EQUAL(*flags_of(&then) & ~FLAGS_ALLOWED, 0);
    EXPECT_EQUAL(*pc_of(&then), (uint64_t)lands);
#if defined(__x86_64__)
    now.rflags = 0x202; /* no single steps */
    EXPECT_OK(set(thread, &now));
#endif
    EXPECT_EQUAL(atomic_load(&landings), 0);
    EXPECT_OK(tess_thread_resume(thread));
    wait_for(&landings, 1);
    for (uint64_t i = 2; i < 20; i++) {
        EXPECT_STATUS(get(thread, &now), ERROR_BUSY);
        EXPECT_OK(tess_thread_suspend(thread));
        uint64_t end = patience();
        while (get(thread, &now) == ERROR_BUSY && time_now_ns() < end)
            ;
        EXPECT_OK(get(thread, &now));
        uint64_t before = atomic_load(&laps);
        *pc_of(&now) = (uint64_t)lands;
        *sp_of(&now) = (uint64_t)memory.address + 4 * STD_PAGE - 16;
        EXPECT_OK(set(thread, &now));
        EXPECT_EQUAL(atomic_load(&laps), before);
        EXPECT_OK(tess_thread_resume(thread));
        wait_for(&landings, i);
    }
    handle_destroy(thread);
    sleep_ns(NS_PER_MS);
    std_mapping_destroy(&memory);
}

/* The FPU's area may hold anything. */
static void fpu_registers(void)
{
    static uint8_t area[STD_PAGE];
    struct std_mapping memory;
    handle_t thread;
    registers_t now = {};
    uint64_t size = 0, again, seed = 5;
    atomic_store(&landings, 0);
    if (!EXPECT_OK(std_mapping_create(4 * STD_PAGE, 0, &memory)))
        return;
    if (tess_untyped_create_thread(std_self.untyped, std_self.process, memory.memory, 0, THREAD_FPU, &thread) == OK) {
        EXPECT_OK(tess_thread_get_registers(thread, REGISTERS_FPU, (uint64_t)area, sizeof(area), &size));
        EXPECT(size >= 64 && size < sizeof(area));
        EXPECT_STATUS(tess_thread_get_registers(thread, REGISTERS_FPU, (uint64_t)area, size - 1, &again), ERROR_OVERFLOW);
        EXPECT_OK(tess_thread_set_registers(thread, REGISTERS_FPU, (uint64_t)area, size));
        *pc_of(&now) = (uint64_t)lands;
        *sp_of(&now) = (uint64_t)memory.address + 4 * STD_PAGE - 16;
        EXPECT_OK(set(thread, &now));
        for (uint64_t round = 1; round < 10; round++) {
            for (uint32_t i = 0; i < size; i++)
                area[i] = round == 1 ? 0xFF : (uint8_t)random_next(&seed);
            uint64_t end = patience();
            while (tess_thread_set_registers(thread, REGISTERS_FPU, (uint64_t)area, size) == ERROR_BUSY && time_now_ns() < end)
                ;
            EXPECT_OK(tess_thread_set_registers(thread, REGISTERS_FPU, (uint64_t)area, size));
            uint64_t before = atomic_load(&laps);
            EXPECT_OK(tess_thread_resume(thread));
            wait_for(&laps, before + 1000);
            EXPECT_OK(tess_thread_suspend(thread));
        }
        handle_destroy(thread);
        sleep_ns(NS_PER_MS);
    }
    std_mapping_destroy(&memory);
}

/* ---- Memory of another space ---- */

static void space(void)
{
    static uint8_t here[5 * STD_PAGE];
    handle_t other, memory;
    uint64_t address, size;
    EXPECT_OK(tess_untyped_create_vspace(std_self.untyped, &other));
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, 6 * STD_PAGE, 0, &memory));
    EXPECT_OK(tess_vspace_map(other, memory, 0, 4 * STD_PAGE, 0x20000000, MAP_READ | MAP_WRITE | MAP_FIXED, &address));
    EXPECT_OK(tess_vspace_map(other, memory, 4 * STD_PAGE, STD_PAGE, 0x20004000, MAP_READ | MAP_EXEC | MAP_FIXED, &address));
    for (uint32_t i = 0; i < sizeof(here); i++)
        here[i] = (uint8_t)(i * 7 + i / 256);
    EXPECT_OK(tess_vspace_write(other, 0x20000123, (uint64_t)here, 10'000, &size));
    EXPECT_EQUAL(size, 10'000);
    memset(here, 0, sizeof(here));
    EXPECT_OK(tess_vspace_read(other, 0x20000123, (uint64_t)here + 3, 10'000, &size));
    EXPECT_EQUAL(size, 10'000);
    bool is_same = true;
    for (uint32_t i = 0; i < 10'000; i++)
        is_same = is_same && here[i + 3] == (uint8_t)(i * 7 + i / 256);
    EXPECT(is_same);
    uint8_t byte = 0;
    EXPECT_OK(tess_memory_read(memory, 0x123 + 77, (uint64_t)&byte, 1)); /* it is the same memory */
    EXPECT_EQUAL(byte, 77 * 7 % 256);
    /* Bounded, and up to the first place that cannot be accessed. */
    EXPECT_OK(tess_vspace_read(other, 0x20000000, (uint64_t)here, sizeof(here), &size));
    EXPECT_EQUAL(size, VSPACE_COPY_MAX);
    EXPECT_OK(tess_vspace_read(other, 0x20004F00, (uint64_t)here, STD_PAGE, &size));
    EXPECT_EQUAL(size, 0x100);
    EXPECT_OK(tess_vspace_write(other, 0x20003FF0, (uint64_t)here, 100, &size)); /* then comes text */
    EXPECT_EQUAL(size, 16);
    EXPECT_OK(tess_vspace_read(other, 0, (uint64_t)here, 0, &size));
    static const uint64_t bad[] = {0, 8, 0x20005000, 1ull << 38, (1ull << 38) - 4, 0xFFFFFFFF80000000, ~0ull - 4};
    for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        EXPECT_STATUS(tess_vspace_read(other, bad[i], (uint64_t)here, 8, &size), ERROR_BAD_ADDRESS);
        EXPECT_STATUS(tess_vspace_write(other, bad[i], (uint64_t)here, 8, &size), ERROR_BAD_ADDRESS);
        EXPECT_STATUS(tess_vspace_read(other, 0x20000000, bad[i], 8, &size), ERROR_BAD_ADDRESS);
        EXPECT_STATUS(tess_vspace_write(other, 0x20000000, bad[i], 8, &size), ERROR_BAD_ADDRESS);
    }
    EXPECT_STATUS(tess_vspace_write(other, 0x20004000, (uint64_t)here, 8, &size), ERROR_BAD_ADDRESS);
    EXPECT_STATUS(tess_vspace_write(std_self.vspace, (uint64_t)space, (uint64_t)here, 8, &size), ERROR_BAD_ADDRESS);
    handle_t narrow = with_rights(other, RIGHTS_ALL & ~(VSPACE_RIGHT_READ | VSPACE_RIGHT_WRITE));
    EXPECT_STATUS(tess_vspace_read(narrow, 0x20000000, (uint64_t)here, 8, &size), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_vspace_write(narrow, 0x20000000, (uint64_t)here, 8, &size), ERROR_MISSING_RIGHT);
    handle_drop(narrow);
    handle_drop(other);
    handle_drop(memory);
}

static void threads(void)
{
    struct child child;
    uint64_t id, last, cpu_ns;
    uint32_t state, cpu, count = 0;
    handle_t thread;
    if (!child_start(&child, &(struct child_args){.role = "wait"}))
        return;
    EXPECT_OK(tess_thread_info(child.spawned.thread, &last, &state, &cpu, &cpu_ns));
    EXPECT_OK(tess_process_thread_next(child.spawned.process, 0, &id, &thread));
    EXPECT_EQUAL(id, last);
    handle_drop(thread);
    EXPECT_STATUS(tess_process_thread_next(child.spawned.process, id, &id, &thread), ERROR_NOT_FOUND);
    handle_t narrow = with_rights(child.spawned.process, RIGHTS_ALL & ~PROCESS_RIGHT_DEBUG);
    EXPECT_STATUS(tess_process_thread_next(narrow, 0, &id, &thread), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_process_clear_handler(narrow), ERROR_MISSING_RIGHT);
    handle_drop(narrow);
    child_end(&child);
    for (last = 0; tess_process_thread_next(std_self.process, last, &id, &thread) == OK; last = id, count++) {
        EXPECT(id > last);
        handle_drop(thread);
    }
    EXPECT_EQUAL(count, 2); /* and the watchdog */
}

/* ---- The handler ---- */

static status_t receive(handle_t endpoint, struct tess_regs *out)
{
    *out = (struct tess_regs){.op = OP_ENDPOINT_RECEIVE, .handle = endpoint, .aux = patience()};
    return tess_invoke(out);
}

static status_t answer(handle_t endpoint, status_t status, uint64_t action, uint64_t value)
{
    struct tess_regs regs = {
        .op = OP_ENDPOINT_REPLY | 2ull << 16 | (uint64_t)(uint32_t)status << 32, .handle = endpoint, .word = {action, value}};
    return tess_invoke(&regs);
}

struct watched {
    struct child child;
    handle_t endpoint, badged;
};

/* A child whose faults come to `endpoint` with badge 77. */
static bool watch(struct watched *watched, const char *role, const char *argument, uint32_t flags)
{
    if (!child_start(&watched->child, &(struct child_args){.role = role, .argument = argument, .is_suspended = true}))
        return false;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &watched->endpoint));
    EXPECT_OK(tess_cspace_mint(std_self.cspace, watched->endpoint, RIGHTS_ALL & ~RIGHT_OWNER, 77, &watched->badged));
    EXPECT_OK(tess_process_set_handler(watched->child.spawned.process, watched->badged, flags));
    return EXPECT_OK(process_start(&watched->child.spawned));
}

static void watch_end(struct watched *watched)
{
    child_end(&watched->child);
    handle_drop(watched->badged);
    handle_drop(watched->endpoint);
}

static void expect_event(struct watched *watched, uint64_t cause, uint64_t address)
{
    struct tess_regs regs;
    uint64_t id, cpu_ns;
    uint32_t state, cpu;
    registers_t registers;
    if (!EXPECT_OK(receive(watched->endpoint, &regs)))
        return;
    EXPECT_EQUAL(regs.op & UINT32_MAX, OP_HANDLER_EVENT);
    EXPECT_EQUAL(regs.aux, 77);
    EXPECT_OK(tess_thread_info(watched->child.spawned.thread, &id, &state, &cpu, &cpu_ns));
    EXPECT_EQUAL(regs.word[0], id);
    EXPECT_EQUAL(regs.word[1], cause);
    EXPECT_EQUAL(regs.word[2], address);
    EXPECT_OK(get(watched->child.spawned.thread, &registers));
    EXPECT_EQUAL(*pc_of(&registers), regs.word[3]);
    /* Not for interrupts to end. */
    EXPECT_OK(tess_thread_interrupt(watched->child.spawned.thread));
    EXPECT(thread_is_waiting(watched->child.spawned.thread));
}

static void handled_faults(void)
{
    struct watched watched;
    struct tess_crash_record crash;
    uint64_t address;
    handle_t memory;
    /* Brought in and tried again. */
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &memory));
    if (watch(&watched, "upcall", "poke", 0)) {
        expect_event(&watched, UPCALL_PAGE | UPCALL_WRITE << 8, 0x3000000000);
        EXPECT_OK(
            tess_vspace_map(watched.child.spawned.vspace, memory, 0, STD_PAGE, 0x3000000000, MAP_READ | MAP_WRITE | MAP_FIXED, &address));
        EXPECT_OK(answer(watched.endpoint, OK, HANDLER_RESUME, 0));
        child_expect(&watched.child, EXIT_NORMAL, 44);
        watch_end(&watched);
    }
    handle_drop(memory);
    /* Not handled: as if there were no handler. */
    static const struct {
        status_t status;
        uint64_t action;
    } refusals[] = {{OK, HANDLER_PASS}, {ERROR_REFUSED, HANDLER_RESUME}, {OK, 99}};
    for (uint32_t i = 0; i < 2 * ARRAY_LENGTH(refusals); i++) {
        if (!watch(&watched, "fault", "read", i % 2 != 0 ? HANDLER_FIRST : 0))
            return;
        expect_event(&watched, UPCALL_PAGE, 8);
        EXPECT_OK(answer(watched.endpoint, refusals[i / 2].status, refusals[i / 2].action, 0));
        child_expect(&watched.child, EXIT_FAULT, -1);
        EXPECT_OK(tess_process_crash_info(watched.child.spawned.process, (uint64_t)&crash));
        EXPECT_EQUAL(crash.address, 8);
        EXPECT_EQUAL(crash.fault_kind, UPCALL_PAGE);
        watch_end(&watched);
    }
}

/* Beside upcall code: first, and what is not handled goes on to it; or after it, for what it does not handle. */
static void beside_upcalls(void)
{
    struct watched watched;
    struct tess_crash_record crash;
    if (!watch(&watched, "upcall", "probe", HANDLER_FIRST))
        return;
    expect_event(&watched, UPCALL_PAGE, 64);
    EXPECT_OK(answer(watched.endpoint, OK, HANDLER_PASS, 0));
    child_expect(&watched.child, EXIT_NORMAL, 12);
    watch_end(&watched);
    if (!watch(&watched, "upcall", "probe", 0))
        return;
    child_expect(&watched.child, EXIT_NORMAL, 12); /* we were not asked */
    watch_end(&watched);
    if (!watch(&watched, "upcall", "native", 0)) /* without an entry for faults of native code */
        return;
    expect_event(&watched, UPCALL_PAGE, 8);
    EXPECT_OK(answer(watched.endpoint, OK, HANDLER_PASS, 0));
    child_expect(&watched.child, EXIT_FAULT, -1);
    EXPECT_OK(tess_process_crash_info(watched.child.spawned.process, (uint64_t)&crash));
    EXPECT(crash.pc >= NATIVE_BASE);
    watch_end(&watched);
}

/* The registers an answer leaves are those the thread goes on with. */
static void changed_registers(void)
{
    struct watched watched;
    registers_t registers;
    if (!watch(&watched, "fault", "read", HANDLER_FIRST))
        return;
    expect_event(&watched, UPCALL_PAGE, 8);
    EXPECT_OK(get(watched.child.spawned.thread, &registers));
    *pc_of(&registers) = 16;
    EXPECT_OK(set(watched.child.spawned.thread, &registers));
    EXPECT_OK(answer(watched.endpoint, OK, HANDLER_RESUME, 0));
    expect_event(&watched, UPCALL_PAGE | UPCALL_EXECUTE << 8, 16);
    EXPECT_OK(tess_process_kill(watched.child.spawned.process, 5)); /* while it waits for us */
    child_expect(&watched.child, EXIT_KILLED, 5);
    EXPECT_STATUS(answer(watched.endpoint, OK, HANDLER_RESUME, 0), ERROR_PEER_DIED);
    watch_end(&watched);
}

static void handler_gone(void)
{
    struct watched watched;
    uint64_t id;
    for (uint32_t i = 0; i < 4; i++) {
        if (!watch(&watched, "fault", "read", 0))
            return;
        if (i == 0)
            expect_event(&watched, UPCALL_PAGE, 8);
        else if (i == 1)
            thread_wait_until_waiting(watched.child.spawned.thread);
        handle_t owner = HANDLE_NONE;
        if (i == 0) /* taken: the call can be answered although its endpoint is gone */
            EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &owner));
        handle_destroy(watched.endpoint);
        if (i == 0) {
            EXPECT_OK(answer(owner, OK, HANDLER_PASS, 0));
            handle_drop(owner);
        }
        uint32_t cause = 99;
        int32_t status;
        EXPECT_OK(tess_process_wait(watched.child.spawned.process, &cause, &status, patience()));
        EXPECT_EQUAL(cause, EXIT_FAULT);
        EXPECT_STATUS(tess_process_clear_handler(watched.child.spawned.process), ERROR_NOT_FOUND);
        EXPECT_STATUS(tess_process_thread_next(watched.child.spawned.process, 0, &id, &id), ERROR_NOT_FOUND);
        EXPECT_STATUS(tess_process_set_handler(watched.child.spawned.process, watched.endpoint, 0), ERROR_STALE_HANDLE);
        child_end(&watched.child);
        std_handle_delete(watched.badged);
        std_handle_delete(watched.endpoint);
    }
    EXPECT_STATUS(tess_process_set_handler(std_self.process, std_self.untyped, 0), ERROR_WRONG_TYPE);
    handle_t endpoint;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    EXPECT_STATUS(tess_process_set_handler(std_self.process, endpoint, 8), ERROR_BAD_ARGUMENT);
    handle_drop(endpoint);
}

/* A supervisor that knows all of the child's calls: its own interface. */
static void handled_system_calls(void)
{
    struct watched watched;
    struct tess_regs regs;
    registers_t registers;
    uint64_t count = 0, exits = 0;
    if (!watch(&watched, "wait", nullptr, HANDLER_SYSTEM_CALLS)) /* sleeps, then ends */
        return;
    while (exits == 0 && count < 1000 && EXPECT_OK(receive(watched.endpoint, &regs))) {
        EXPECT_EQUAL(regs.op & UINT32_MAX, OP_HANDLER_EVENT);
        EXPECT_EQUAL(regs.word[1], UPCALL_SYSTEM_CALL);
        if (!EXPECT_OK(get(watched.child.spawned.thread, &registers)))
            break;
        count++;
        if (op_of(&registers) == OP_PROCESS_EXIT) {
            EXPECT(handle_of(&registers) != HANDLE_NONE);
            exits++;
            EXPECT_OK(tess_process_kill(watched.child.spawned.process, 55));
            EXPECT_STATUS(answer(watched.endpoint, OK, HANDLER_RESUME, 0), ERROR_PEER_DIED);
        } else {
            EXPECT_OK(answer(watched.endpoint, OK, HANDLER_RESULT, (uint64_t)(int64_t)ERROR_UNSUPPORTED));
        }
    }
    EXPECT_EQUAL(exits, 1);
    EXPECT(count >= 2);
    child_expect(&watched.child, EXIT_KILLED, 55);
    watch_end(&watched);
    test_note("%lu calls", count);
}

/* Through a ring, as a service takes them. */
static void handled_by_ring(void)
{
    struct watched watched;
    struct std_ring ring;
    struct tess_completion completion;
    struct std_ring_sizes sizes = {.sq_entries = 1, .cq_entries = 4, .call_slots = 2, .watch_slots = 2};
    if (!watch(&watched, "fault", "read", 0))
        return;
    if (EXPECT_OK(std_ring_open(&ring, &sizes))) {
        EXPECT_OK(tess_ring_bind(ring.handle, watched.endpoint, 9));
        if (EXPECT_OK(std_ring_wait(&ring, &completion, patience()))) {
            EXPECT_EQUAL(completion.kind, COMPLETION_CALL);
            EXPECT_EQUAL(completion.badge, 77);
            EXPECT_EQUAL(completion.words[2], 8);
        }
        std_ring_close(&ring); /* without an answer */
        child_expect(&watched.child, EXIT_FAULT, -1);
    }
    watch_end(&watched);
}

void inspect_tests(void)
{
    static const struct test tests[] = {
        {"inspect.registers", registers},
        {"inspect.fpu_registers", fpu_registers},
        {"inspect.space", space},
        {"inspect.threads", threads},
        {"handler.faults", handled_faults},
        {"handler.beside_upcalls", beside_upcalls},
        {"handler.changed_registers", changed_registers},
        {"handler.gone", handler_gone},
        {"handler.system_calls", handled_system_calls},
        {"handler.ring", handled_by_ring},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
