/*
 * What holds for every method alike, driven by the generated table: bad handle, stale handle, wrong type, unknown method, missing
 * right, wrong sizes, scalars out of range, handle arguments that are bad, stale, of another type or without the right; and
 * that none of these refusals changes anything (test_run compares all memory and objects).
 */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/machine.h>
#include <tess/stub/untyped.h>

status_t raw_call(uint64_t op, handle_t handle, uint64_t aux, uint64_t words[12])
{
    struct tess_message_page *page = tess_message_page();
    struct tess_regs regs = {.op = op, .handle = handle, .aux = aux};
    for (uint32_t i = 0; i < 4; i++)
        regs.word[i] = words[i];
    for (uint32_t i = 4; i < 12; i++)
        page->words[i] = words[i];
    status_t status = tess_invoke(&regs);
    for (uint32_t i = 0; i < 4; i++)
        words[i] = regs.word[i];
    for (uint32_t i = 4; i < 12; i++)
        words[i] = page->words[i];
    return status;
}

handle_t with_rights(handle_t handle, uint32_t rights)
{
    handle_t result = HANDLE_NONE;
    EXPECT_OK(std_handle_copy(handle, rights, &result));
    return result;
}

bool samples_make(struct samples *samples)
{
    *samples = (struct samples){};
    handle_t *of = samples->of, untyped = std_self.untyped;
    struct std_ring_sizes sizes = {.sq_entries = 16, .cq_entries = 16, .call_slots = 4, .watch_slots = 4, .operation_slots = 1};
    struct child_args child = {.role = "exit", .is_suspended = true};
    if (!child_start(&samples->child, &child) || !EXPECT_OK(std_ring_open(&samples->ring, &sizes)))
        return false;
    of[OBJECT_UNTYPED] = samples->child.untyped;
    of[OBJECT_CSPACE] = samples->child.spawned.cspace;
    of[OBJECT_VSPACE] = samples->child.spawned.vspace;
    of[OBJECT_PROCESS] = samples->child.spawned.process;
    of[OBJECT_THREAD] = samples->child.spawned.thread;
    of[OBJECT_RING] = samples->ring.handle;
    of[OBJECT_LOG] = std_self.log;
    of[OBJECT_CLOCK] = guest.clock;
    of[OBJECT_MACHINE] = guest.machine;
    of[OBJECT_SYSTEM] = guest.system;
    of[OBJECT_TRACE] = guest.trace;
    EXPECT_OK(tess_untyped_create_memory(untyped, 4 * STD_PAGE, 0, &of[OBJECT_MEMORY]));
    EXPECT_OK(tess_untyped_create_endpoint(untyped, &of[OBJECT_ENDPOINT]));
    EXPECT_OK(tess_untyped_create_event(untyped, &of[OBJECT_EVENT]));
    EXPECT_OK(tess_untyped_create_pager(untyped, &of[OBJECT_PAGER]));
    if (guest.cpu_count > 1)
        EXPECT_OK(tess_untyped_create_cpu_lease(untyped, guest.cell, guest.cpu_count - 1, &of[OBJECT_CPU_LEASE]));
    EXPECT_OK(tess_untyped_create_sched(untyped, guest.cell, SCHED_BUDGET_MIN_NS, SCHED_PERIOD_MAX_NS, &of[OBJECT_SCHED]));
    EXPECT_OK(tess_untyped_create_cell(untyped, guest.cell, 1, (const uint8_t[16]){"sample"}, &of[OBJECT_CELL]));
    EXPECT_OK(tess_machine_interrupt(guest.machine, untyped, guest.platform.irq_source_count - 1, 0, &of[OBJECT_INTERRUPT]));
    EXPECT_OK(tess_machine_dma(guest.machine, untyped, 0, &of[OBJECT_DMA]));
    status_t status = tess_machine_ioports(guest.machine, untyped, 0x80, 1, &of[OBJECT_IOPORTS]);
    return EXPECT(status == OK || (status == ERROR_UNSUPPORTED && guest.platform.arch != 1));
}

void samples_drop(struct samples *samples)
{
    for (uint32_t type = OBJECT_MEMORY; type <= OBJECT_IOPORTS; type++)
        if (type == OBJECT_MEMORY || type == OBJECT_ENDPOINT || (type >= OBJECT_EVENT && type <= OBJECT_DMA) || type == OBJECT_IOPORTS)
            std_handle_delete(samples->of[type]);
    std_handle_delete(samples->of[OBJECT_CELL]);
    std_handle_delete(samples->of[OBJECT_CPU_LEASE]);
    std_handle_delete(samples->of[OBJECT_SCHED]);
    std_handle_delete(samples->of[OBJECT_PAGER]);
    std_ring_close(&samples->ring);
    child_end(&samples->child);
}

static struct samples samples;

/* The status of a call whose words are all 0 except those given. Bad input must be refused whatever the rest is. */
static status_t call_plain(const struct method *method, handle_t handle)
{
    uint64_t words[12] = {};
    return raw_call(method_op(method), handle, DEADLINE_NOW, words);
}

static void check(const struct method *method, status_t got, status_t wanted, const char *what)
{
    if (got != wanted)
        test_fail("%s with %s gave %s, not %s", method->name, what, status_name(got), status_name(wanted));
}

static void bad_handles(void)
{
    static const handle_t bad[] = {HANDLE_NONE, ~0ull, 0xFFFFFFFFull, 1ull << 32 | 0x00FFFFFF, 0x7FFFFFFF00000001ull, 5};
    for (uint32_t m = 0; m < method_count; m++)
        for (uint32_t i = 0; i < ARRAY_LENGTH(bad); i++)
            check(&methods[m], call_plain(&methods[m], bad[i]), ERROR_BAD_HANDLE, "a bad handle");
}

static void stale_handles(void)
{
    if (!samples_make(&samples))
        return;
    for (uint32_t m = 0; m < method_count; m++) {
        handle_t object = samples.of[methods[m].interface];
        if (object == HANDLE_NONE)
            continue;
        handle_t copy = with_rights(object, RIGHTS_ALL);
        handle_drop(copy);
        check(&methods[m], call_plain(&methods[m], copy), ERROR_STALE_HANDLE, "a deleted handle");
        handle_t again = with_rights(object, RIGHTS_ALL); /* the same slot, another generation */
        check(&methods[m], call_plain(&methods[m], copy), ERROR_STALE_HANDLE, "the handle before the last in its slot");
        check(&methods[m], call_plain(&methods[m], again + (1ull << 32)), ERROR_BAD_HANDLE, "a handle that does not exist yet");
        handle_drop(again);
    }
    samples_drop(&samples);
}

static void wrong_types(void)
{
    if (!samples_make(&samples))
        return;
    for (uint32_t m = 0; m < method_count; m++)
        for (uint32_t type = 1; type < OBJECT_TYPE_LIMIT; type++) {
            handle_t object = samples.of[type];
            if (object == HANDLE_NONE || type == methods[m].interface)
                continue;
            /* An endpoint takes every interface but its own: a call, which nobody receives. */
            status_t wanted = type == OBJECT_ENDPOINT ? ERROR_WOULD_BLOCK : ERROR_WRONG_TYPE;
            check(&methods[m], call_plain(&methods[m], object), wanted, "another type of object");
            if (type != OBJECT_ENDPOINT) {
                handle_t powerless = with_rights(object, 0);
                check(&methods[m], call_plain(&methods[m], powerless), ERROR_WRONG_TYPE, "another type of object and no rights");
                handle_drop(powerless);
            }
        }
    samples_drop(&samples);
}

static bool method_exists(uint32_t interface, uint32_t number)
{
    for (uint32_t m = 0; m < method_count; m++)
        if (methods[m].interface == interface && methods[m].number == number)
            return true;
    return false;
}

static void unknown_methods(void)
{
    if (!samples_make(&samples))
        return;
    for (uint32_t type = 1; type < OBJECT_TYPE_LIMIT; type++)
        for (uint32_t number = 0; number < 256 && samples.of[type] != HANDLE_NONE; number++) {
            struct method method = {.name = "an unknown method", .interface = (uint8_t)type, .number = (uint8_t)number};
            if (method_exists(type, number))
                continue;
            check(&method, call_plain(&method, samples.of[type]), ERROR_UNKNOWN_METHOD, "all rights");
            if (number % 16 == 0) {
                handle_t powerless = with_rights(samples.of[type], 0);
                check(&method, call_plain(&method, powerless), ERROR_UNKNOWN_METHOD, "no rights");
                handle_drop(powerless);
            }
        }
    samples_drop(&samples);
}

static void missing_rights(void)
{
    if (!samples_make(&samples))
        return;
    for (uint32_t m = 0; m < method_count; m++) {
        handle_t object = samples.of[methods[m].interface];
        if (object == HANDLE_NONE || methods[m].right == 0)
            continue;
        handle_t lacking = with_rights(object, RIGHTS_ALL & ~methods[m].right);
        check(&methods[m], call_plain(&methods[m], lacking), ERROR_MISSING_RIGHT, "all rights but its own");
        uint64_t words[12] = {};
        uint64_t op = method_op(&methods[m]) ^ 1ull << 16;
        check(&methods[m], raw_call(op, lacking, DEADLINE_NOW, words), ERROR_MISSING_RIGHT, "no right and a wrong size");
        handle_drop(lacking);
        handle_t powerless = with_rights(object, 0);
        check(&methods[m], call_plain(&methods[m], powerless), ERROR_MISSING_RIGHT, "no rights");
        handle_drop(powerless);
    }
    samples_drop(&samples);
}

static void wrong_sizes(void)
{
    if (!samples_make(&samples))
        return;
    for (uint32_t m = 0; m < method_count; m++) {
        const struct method *method = &methods[m];
        handle_t object = samples.of[method->interface];
        if (object == HANDLE_NONE || method->is_raw)
            continue;
        for (uint32_t count = 0; count < 16; count++) {
            uint64_t words[12] = {};
            uint64_t op = op_make(method->interface, method->number, count, 0, 0);
            if (count != method->in_words)
                check(method, raw_call(op, object, DEADLINE_NOW, words), ERROR_BAD_ARGUMENT, "a wrong number of words");
        }
        for (uint32_t handles = 1; handles < 8; handles++) {
            uint64_t words[12] = {};
            uint64_t op = op_make(method->interface, method->number, method->in_words, handles, 0);
            check(method, raw_call(op, object, DEADLINE_NOW, words), ERROR_BAD_ARGUMENT, "handles that it does not take");
        }
    }
    samples_drop(&samples);
}

static void fill_words(const struct method *method, uint64_t words[12])
{
    memset(words, 0, 12 * sizeof(words[0]));
    for (uint32_t i = 0; i < method->argument_count; i++)
        if (method->arguments[i].kind == ARGUMENT_HANDLE)
            words[method->arguments[i].word] = samples.of[method->arguments[i].type];
}

static void scalars_out_of_range(void)
{
    static const uint64_t wide[] = {1ull << 32, ~0ull >> 1, 1ull << 63};
    if (!samples_make(&samples))
        return;
    for (uint32_t m = 0; m < method_count; m++)
        for (uint32_t i = 0; i < methods[m].argument_count; i++) {
            const struct argument *argument = &methods[m].arguments[i];
            handle_t object = samples.of[methods[m].interface];
            bool is_narrow = argument->kind == ARGUMENT_U32 || argument->kind == ARGUMENT_I32;
            for (uint32_t w = 0; w < ARRAY_LENGTH(wide) && is_narrow && object != HANDLE_NONE; w++) {
                uint64_t words[12];
                fill_words(&methods[m], words);
                words[argument->word] = wide[w];
                check(&methods[m], raw_call(method_op(&methods[m]), object, DEADLINE_NOW, words), ERROR_BAD_ARGUMENT,
                      "a 32-bit argument of more bits");
            }
        }
    samples_drop(&samples);
}

/* One handle argument of one method. */
static void bad_handle_argument(const struct method *method, const struct argument *argument)
{
    handle_t object = samples.of[method->interface], good = samples.of[argument->type];
    handle_t other = samples.of[argument->type == OBJECT_EVENT ? OBJECT_MEMORY : OBJECT_EVENT];
    handle_t lacking = with_rights(good, RIGHTS_ALL & ~argument->right), gone = with_rights(good, RIGHTS_ALL);
    handle_drop(gone);
    const struct {
        handle_t handle;
        status_t wanted;
        const char *what;
    } cases[] = {{HANDLE_NONE, ERROR_BAD_HANDLE, "no handle as argument"},
                 {~0ull, ERROR_BAD_HANDLE, "a bad handle as argument"},
                 {gone, ERROR_STALE_HANDLE, "a stale handle as argument"},
                 {other, ERROR_WRONG_TYPE, "a wrong type as argument"},
                 {lacking, ERROR_MISSING_RIGHT, "a handle without the right"}};
    for (uint32_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        uint64_t words[12];
        fill_words(method, words);
        words[argument->word] = cases[i].handle;
        check(method, raw_call(method_op(method), object, DEADLINE_NOW, words), cases[i].wanted, cases[i].what);
    }
    handle_drop(lacking);
}

static void bad_handle_arguments(void)
{
    if (!samples_make(&samples))
        return;
    for (uint32_t m = 0; m < method_count; m++)
        for (uint32_t i = 0; i < methods[m].argument_count; i++)
            if (methods[m].arguments[i].kind == ARGUMENT_HANDLE && samples.of[methods[m].interface] != HANDLE_NONE)
                bad_handle_argument(&methods[m], &methods[m].arguments[i]);
    samples_drop(&samples);
}

/* The same refusals through a ring, and that raw methods cannot be submitted; a call finds nobody. */
static void submitted(void)
{
    if (!samples_make(&samples))
        return;
    for (uint32_t m = 0; m < method_count; m++) {
        const struct method *method = &methods[m];
        handle_t object = samples.of[method->interface];
        if (object == HANDLE_NONE)
            continue;
        handle_t lacking = with_rights(object, RIGHTS_ALL & ~method->right);
        const struct tess_submission entries[] = {
            {.op = method_op(method), .cookie = 1, .handle = HANDLE_NONE},
            {.op = method_op(method), .cookie = 2, .handle = lacking},
            {.op = op_make(method->interface, 255, 0, 0, 0), .cookie = 3, .handle = object},
            {.op = method_op(method), .cookie = 4, .handle = samples.of[method->interface == OBJECT_EVENT ? OBJECT_MEMORY : OBJECT_EVENT]},
            {.op = op_make(method->interface, method->number, method->in_words + 1u, 0, 0), .cookie = 5, .handle = object},
            {.op = method_op(method), .cookie = 6, .handle = samples.of[OBJECT_ENDPOINT]},
        };
        const status_t wanted[] = {
            ERROR_BAD_HANDLE,
            method->right == 0 ? ERROR_BAD_ARGUMENT : ERROR_MISSING_RIGHT,
            ERROR_UNKNOWN_METHOD,
            ERROR_WRONG_TYPE,
            method->is_raw ? ERROR_UNKNOWN_METHOD : ERROR_BAD_ARGUMENT,
            method->interface == OBJECT_ENDPOINT ? ERROR_UNKNOWN_METHOD : ERROR_WOULD_BLOCK,
        };
        for (uint32_t i = 0; i < ARRAY_LENGTH(entries); i++) {
            struct tess_completion completion;
            EXPECT_OK(std_ring_submit(&samples.ring, &entries[i]));
            if (!EXPECT_OK(std_ring_wait(&samples.ring, &completion, patience())))
                break;
            EXPECT_EQUAL(completion.kind, COMPLETION_RESULT);
            EXPECT_EQUAL(completion.cookie, i + 1);
            check(method, completion.status, wanted[i], "a submission");
        }
        handle_drop(lacking);
    }
    samples_drop(&samples);
}

void generic_tests(void)
{
    static const struct test tests[] = {
        {"generic.bad_handle", bad_handles},
        {"generic.stale_handle", stale_handles},
        {"generic.wrong_type", wrong_types},
        {"generic.unknown_method", unknown_methods},
        {"generic.missing_right", missing_rights},
        {"generic.wrong_size", wrong_sizes},
        {"generic.scalar_range", scalars_out_of_range},
        {"generic.handle_argument", bad_handle_arguments},
        {"generic.submitted", submitted},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
