/*
 * Upcalls: foreign system calls, faults and interrupts under the smallest personality (personality.h), which passes calls on. A thread
 * that has taken it goes on with this program's ordinary code, which is foreign from then on.
 */
#include <conformance.h>
#include <personality.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

struct foreign {
    struct std_thread thread;
    struct personality *personality;
    uint32_t index;
    void (*fn)(struct foreign *foreign);
    struct tess_upcall_frame *frame;
    handle_t event;
    uint64_t seed;
    _Atomic uint64_t rounds;
    _Atomic bool is_over;
};

static void foreign_main(void *context)
{
    struct foreign *foreign = context;
    if (EXPECT_OK(personality_take(foreign->personality, foreign->index, tess_thread_block()->thread)))
        foreign->fn(foreign);
}

static void foreign_start(struct foreign *foreign, struct personality *personality, uint32_t index, void (*fn)(struct foreign *))
{
    *foreign = (struct foreign){.personality = personality, .index = index, .fn = fn, .seed = index + 4711};
    foreign->frame = personality_frame(personality, index);
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &foreign->event));
    thread_start(&foreign->thread, foreign_main, foreign);
}

/* Runs fn in a thread of its own that has taken the personality. */
static void run_foreign(void (*fn)(struct foreign *foreign))
{
    struct foreign foreign;
    struct personality personality;
    if (!EXPECT_OK(personality_map()))
        return;
    if (EXPECT_OK(personality_create(&personality, 1))) {
        foreign_start(&foreign, &personality, 0, fn);
        thread_join(&foreign.thread);
        handle_drop(foreign.event);
        personality_destroy(&personality);
    }
    personality_unmap();
}

static uint64_t word_of(struct tess_upcall_frame *frame, uint32_t index) { return __atomic_load_n(&frame->user[index], __ATOMIC_RELAXED); }

static void await_word(struct tess_upcall_frame *frame, uint32_t index, uint64_t at_least)
{
    uint64_t end = patience();
    while (word_of(frame, index) < at_least && time_now_ns() < end)
        sleep_ns(20 * NS_PER_US);
    EXPECT(word_of(frame, index) >= at_least);
}

/* ---- System calls ---- */

static void calls(struct foreign *foreign)
{
    uint64_t bits = 0;
    for (uint64_t i = 0; i < 1000; i++)
        EXPECT_EQUAL(personality_call(PERSONALITY_ADD, i, 2 * i), 3 * i);
    EXPECT_EQUAL(foreign->frame->foreign.cause, UPCALL_SYSTEM_CALL);
    EXPECT_EQUAL(foreign->frame->foreign.access, 0);
    EXPECT_OK(tess_event_set(foreign->event, 5));
    EXPECT_OK(tess_event_wait(foreign->event, 5, &bits, patience()));
    EXPECT_EQUAL(bits, 5);
    EXPECT_STATUS(tess_event_wait(foreign->event, 1, &bits, time_after_ns(NS_PER_MS)), ERROR_TIMED_OUT);
    EXPECT_OK(tess_thread_yield(tess_thread_block()->thread));
    registers_kept();
    EXPECT_EQUAL(foreign->frame->user[PERSONALITY_FAULTS], 0);
}

static void system_call(void) { run_foreign(calls); }

/* The return without the kernel on x86_64, the shortest one elsewhere. */
static void quick_calls(struct foreign *foreign)
{
    handle_t self = tess_thread_block()->thread;
    EXPECT_OK(tess_thread_set_upcall(self, foreign->personality->frames.memory, 0, (uint64_t)foreign->frame, personality_quick_entry(), 0));
    while (!atomic_load(&foreign->is_over)) {
        uint64_t i = atomic_fetch_add(&foreign->rounds, 1);
        EXPECT_EQUAL(personality_call(PERSONALITY_ADD, i, 7), i + 7);
    }
}

static void quick_system_call(void)
{
    struct foreign foreign;
    struct personality personality;
    if (!EXPECT_OK(personality_map()) || !EXPECT_OK(personality_create(&personality, 1)))
        return;
    foreign_start(&foreign, &personality, 0, quick_calls);
    uint64_t end = patience();
    while (atomic_load(&foreign.rounds) < 1000 && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    /* Wherever it is between the look at `pending` and the jump back: none is lost. */
    for (uint64_t i = 0; i < 200 && test_has_passed(); i++) {
        EXPECT_OK(tess_thread_interrupt(foreign.thread.thread));
        await_word(foreign.frame, PERSONALITY_INTERRUPTS, i + 1);
    }
    EXPECT(atomic_load(&foreign.rounds) >= 1000);
    atomic_store(&foreign.is_over, true);
    thread_join(&foreign.thread);
    handle_drop(foreign.event);
    /* Ended by another thread in the middle of upcalls. */
    foreign_start(&foreign, &personality, 0, quick_calls);
    while (atomic_load(&foreign.rounds) < 100 && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    handle_destroy(foreign.thread.thread);
    handle_drop(foreign.event);
    std_handle_delete(foreign.thread.ended);
    sleep_ns(NS_PER_MS);
    std_mapping_destroy(&foreign.thread.mapping);
    personality_destroy(&personality);
    personality_unmap();
}

/* ---- thread.set_upcall ---- */

static void set_upcall(void)
{
    struct personality personality;
    handle_t thread, event, message;
    if (!EXPECT_OK(personality_create(&personality, 8)))
        return;
    handle_t memory = personality.frames.memory;
    uint64_t at = (uint64_t)personality.frame, entry = personality_entry();
    EXPECT_OK(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &message));
    EXPECT_OK(tess_untyped_create_thread(std_self.untyped, std_self.process, message, 0, 0, &thread));
    EXPECT_STATUS(tess_thread_set_upcall(thread, memory, 512, at, entry, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_upcall(thread, memory, 2 * STD_PAGE, at, entry, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_upcall(thread, memory, ~(uint64_t)(UPCALL_FRAME_SIZE - 1), at, entry, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_upcall(thread, memory, 0, 1ull << 47, entry, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_upcall(thread, memory, 0, at, NATIVE_BASE - 2, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_upcall(thread, memory, 0, at, 1ull << 38, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_upcall(thread, memory, 0, at, 0, 0), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_upcall(thread, memory, 0, at, entry, 4096), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_upcall(thread, memory, 0, at, entry, ~0ull), ERROR_BAD_ARGUMENT);
    EXPECT_STATUS(tess_thread_set_upcall(thread, std_self.untyped, 0, at, entry, 0), ERROR_WRONG_TYPE);
    EXPECT_STATUS(tess_thread_set_upcall(thread, guest.clock_page, 0, at, entry, 0), ERROR_MISSING_RIGHT);
    /* Nothing is pinned by what was refused. */
    EXPECT_OK(tess_memory_decommit(memory, 0, 2 * STD_PAGE));
    /* A frame pins its memory until another one takes its place, or the thread is gone. */
    EXPECT_OK(tess_thread_set_upcall(thread, memory, STD_PAGE - UPCALL_FRAME_SIZE, at, entry, 0));
    EXPECT_STATUS(tess_memory_decommit(memory, 0, 2 * STD_PAGE), ERROR_BUSY);
    EXPECT_OK(tess_thread_set_upcall(thread, message, UPCALL_FRAME_SIZE, at, entry, entry));
    EXPECT_OK(tess_memory_decommit(memory, 0, 2 * STD_PAGE));
    EXPECT_OK(tess_thread_set_upcall(thread, memory, 0, at, entry, 0));
    EXPECT_OK(tess_thread_interrupt(thread));
    EXPECT_EQUAL(__atomic_load_n(&personality.frame->pending, __ATOMIC_RELAXED), 1);
    EXPECT_OK(tess_thread_exit(thread));
    handle_drop(thread);
    uint64_t end = patience();
    while (tess_memory_decommit(memory, 0, 2 * STD_PAGE) != OK && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    EXPECT_OK(tess_memory_decommit(memory, 0, 2 * STD_PAGE));
    handle_drop(message);
    /* Of another thread that was started. */
    struct child child;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event));
    if (child_start(&child, &(struct child_args){.role = "wait"})) {
        EXPECT_STATUS(tess_thread_set_upcall(child.spawned.thread, memory, 0, at, entry, 0), ERROR_BUSY);
        EXPECT_OK(tess_memory_decommit(memory, 0, 2 * STD_PAGE));
        child_end(&child);
    }
    handle_drop(event);
    personality_destroy(&personality);
}

/* A thread that has its frame before it starts. */
static _Atomic uint64_t sum;

[[noreturn]] static void begins_foreign(void)
{
    atomic_store(&sum, personality_call(PERSONALITY_ADD, 30, 12));
    for (;;)
        (void)personality_call(PERSONALITY_ADD, 1, 1);
}

static void set_before_start(void)
{
    struct personality personality;
    struct std_mapping stack;
    handle_t thread;
    if (!EXPECT_OK(personality_map()) || !EXPECT_OK(personality_create(&personality, 1)) ||
        !EXPECT_OK(std_mapping_create(16384, 0, &stack)))
        return;
    atomic_store(&sum, 0);
    EXPECT_OK(tess_untyped_create_thread(std_self.untyped, std_self.process, stack.memory, 0, 0, &thread));
    EXPECT_OK(personality_take(&personality, 0, thread));
    EXPECT_OK(tess_thread_start(thread, (uint64_t)begins_foreign, (uint64_t)stack.address + 16384 - 16, 0, 0, 0));
    uint64_t end = patience();
    while (atomic_load(&sum) == 0 && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    EXPECT_EQUAL(atomic_load(&sum), 42);
    handle_destroy(thread);
    sleep_ns(NS_PER_MS);
    std_mapping_destroy(&stack);
    personality_destroy(&personality);
    personality_unmap();
}

/* ---- Faults ---- */

static void expect_fault(struct foreign *foreign, uint64_t address, uint64_t cause)
{
    uint64_t before = foreign->frame->user[PERSONALITY_FAULTS];
    EXPECT_EQUAL(personality_probe(foreign->frame, address), ~0ull);
    EXPECT_EQUAL(foreign->frame->user[PERSONALITY_FAULTS], before + 1);
    EXPECT_EQUAL(foreign->frame->user[PERSONALITY_CAUSE] & UINT32_MAX, cause);
    if (cause == UPCALL_PAGE) {
        EXPECT_EQUAL(foreign->frame->user[PERSONALITY_ADDRESS], address);
        EXPECT_EQUAL(foreign->frame->user[PERSONALITY_CAUSE] >> 32, 0);
    }
}

static void faulting(struct foreign *foreign)
{
    uint64_t word = 0x1234;
    EXPECT_EQUAL(personality_probe(foreign->frame, (uint64_t)&word), 0x1234);
    expect_fault(foreign, 8, UPCALL_PAGE);
    for (uint64_t i = 1; i < 200; i++)
        expect_fault(foreign, 0x3000000000 + 4104 * i / 8 * 8, UPCALL_PAGE);
    /* Native code's own. */
    EXPECT_EQUAL(personality_call(PERSONALITY_LOAD, (uint64_t)&word, 0), 0x1234);
    for (uint64_t i = 0; i < 100; i++) {
        EXPECT_EQUAL(personality_call(PERSONALITY_LOAD, 0x3000000000 + 8 * i, 0), 0);
        EXPECT_EQUAL(foreign->frame->user[PERSONALITY_NATIVE_FAULTS], i + 1);
        EXPECT_EQUAL(foreign->frame->user[PERSONALITY_NATIVE_ADDRESS], 0x3000000000 + 8 * i);
        EXPECT_EQUAL(foreign->frame->native.cause, 0);
    }
    /* What the kernel resolves is none. */
    void *pages;
    uint64_t before = foreign->frame->user[PERSONALITY_FAULTS];
    if (EXPECT_OK(std_pages_alloc(8 * STD_PAGE, &pages))) {
        EXPECT_EQUAL(personality_probe(foreign->frame, (uint64_t)pages), 0);
        EXPECT_EQUAL(personality_call(PERSONALITY_LOAD, (uint64_t)pages + STD_PAGE, 0), 0);
        EXPECT_EQUAL(foreign->frame->user[PERSONALITY_FAULTS], before);
        EXPECT_EQUAL(foreign->frame->user[PERSONALITY_NATIVE_FAULTS], 100);
        std_pages_free(pages, 8 * STD_PAGE);
    }
}

static void faults(void) { run_foreign(faulting); }

/* In a child, whose end is looked at: what std_arg(1) says. */
typedef void (*code_fn)(void);

static void scribbles(void *context)
{
    uint64_t seed = (uint64_t)context | 1, *words = context;
    for (;;) {
        uint64_t random = random_next(&seed), value = random_next(&seed);
        uint32_t index = random % (sizeof(struct tess_upcall_frame) / 8);
        __atomic_store_n(&words[index],
                         value % 3 == 0   ? value
                         : value % 3 == 1 ? NATIVE_BASE + value % 8192
                                          : value % 64,
                         __ATOMIC_RELAXED);
    }
}

static int32_t scribbled_on(struct personality *personality)
{
    struct std_thread threads[2];
    for (uint32_t i = 0; i < 2; i++)
        thread_start(&threads[i], scribbles, personality->frame);
    if (personality_take(personality, 0, std_self.thread) != OK)
        return 1;
    for (uint64_t i = 0;; i++)
        (void)(i % 4 != 0 ? personality_call(PERSONALITY_ADD + i % 2, i, i) : personality_probe(personality->frame, i));
}

int32_t role_upcall(void)
{
    const char *what = std_arg(1);
    struct personality personality;
    if (strcmp(what, "poke") == 0) {
        *(volatile uint64_t *)0x3000000000 = 44;
        return *(volatile int32_t *)0x3000000000;
    }
    if (personality_map() != OK || personality_create(&personality, 1) != OK)
        return 1;
    handle_t self = std_self.thread, memory = personality.frames.memory;
    uint64_t at = (uint64_t)personality.frame, entry = personality_entry(), nowhere = NATIVE_BASE + 0x100000;
    if (strcmp(what, "probe") == 0) /* handled by upcall code, if it is asked */
        return personality_take(&personality, 0, self) == OK && personality_probe(personality.frame, 64) == ~0ull ? 12 : 13;
    if (strcmp(what, "scribble") == 0)
        return scribbled_on(&personality);
    status_t status = OK;
    if (strcmp(what, "entry") == 0)
        status = tess_thread_set_upcall(self, memory, 0, at, nowhere, 0);
    else if (strcmp(what, "both") == 0)
        status = tess_thread_set_upcall(self, memory, 0, at, nowhere, nowhere);
    else if (strcmp(what, "native") == 0)
        status = tess_thread_set_upcall(self, memory, 0, at, entry, 0);
    else if (strcmp(what, "nested") == 0)
        status = tess_thread_set_upcall(self, memory, 0, at, entry, nowhere);
    else
        status = personality_take(&personality, 0, self);
    if (status != OK)
        return 2;
    if (strcmp(what, "gone") == 0) {
        /* The memory is no more: upcall code sees another page than the kernel. */
        (void)tess_cspace_destroy(std_self.cspace, memory);
        (void)personality_call(PERSONALITY_ADD, 1, 2);
        (void)tess_vspace_unmap(std_self.vspace, at, STD_PAGE);
    }
    if (strcmp(what, "jump") == 0)
        ((code_fn)nowhere)(); /* native range: the second context, and a fix-up that returns from nowhere */
    (void)personality_call(PERSONALITY_LOAD, 8, 0);
    return 3;
}

static void ends_in_upcall(void)
{
    static const char *const whats[] = {"entry", "both", "native", "nested"};
    for (uint32_t i = 0; i < ARRAY_LENGTH(whats); i++) {
        struct child child;
        struct tess_crash_record crash = {};
        if (!child_start(&child, &(struct child_args){.role = "upcall", .argument = whats[i]}))
            return;
        child_expect(&child, EXIT_FAULT, -1);
        EXPECT_OK(tess_process_crash_info(child.spawned.process, (uint64_t)&crash));
        EXPECT(crash.pc >= NATIVE_BASE && crash.fault_kind == UPCALL_PAGE);
        child_end(&child);
    }
}

/* Whatever the frame holds, it is the process's own trouble. */
static void hostile_frame(void)
{
    static const char *const whats[] = {"gone", "jump", "scribble"};
    for (uint32_t i = 0; i < 12; i++) {
        struct child child;
        uint32_t cause;
        int32_t status;
        if (!child_start(&child, &(struct child_args){.role = "upcall", .argument = whats[min_u64(i, 2)]}))
            return;
        if (tess_process_wait(child.spawned.process, &cause, &status, time_after_ns(60 * NS_PER_MS)) == OK)
            EXPECT(cause == EXIT_FAULT || cause == EXIT_NORMAL);
        child_end(&child);
    }
}

/* ---- Interrupts ---- */

/* Computes without a call. */
static void spins(struct foreign *foreign)
{
    while (!atomic_load(&foreign->is_over))
        atomic_fetch_add(&foreign->rounds, 1);
}

static void waits(struct foreign *foreign)
{
    uint64_t bits;
    EXPECT_STATUS(tess_event_wait(foreign->event, 1, &bits, patience()), ERROR_INTERRUPTED);
    atomic_fetch_add(&foreign->rounds, 1);
    /* It was consumed on the way back. */
    EXPECT_STATUS(tess_event_wait(foreign->event, 1, &bits, time_after_ns(NS_PER_MS)), ERROR_TIMED_OUT);
    foreign->frame->mask = 1;
    EXPECT_OK(tess_event_wait(foreign->event, 2, &bits, patience()));
    foreign->frame->mask = 0;
    atomic_fetch_add(&foreign->rounds, 1);
}

static void interrupts(void)
{
    struct foreign foreign;
    struct personality personality;
    if (!EXPECT_OK(personality_map()) || !EXPECT_OK(personality_create(&personality, 2)))
        return;
    foreign_start(&foreign, &personality, 0, spins);
    uint64_t end = patience();
    while (atomic_load(&foreign.rounds) == 0 && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    for (uint64_t i = 0; i < 50; i++) {
        EXPECT_OK(tess_thread_interrupt(foreign.thread.thread));
        await_word(foreign.frame, PERSONALITY_INTERRUPTS, i + 1);
        EXPECT_EQUAL(__atomic_load_n(&foreign.frame->pending, __ATOMIC_RELAXED), 0);
    }
    EXPECT_EQUAL(word_of(foreign.frame, PERSONALITY_INTERRUPTS), 50);
    /* Suspended: it comes when the thread goes on. */
    EXPECT_OK(tess_thread_suspend(foreign.thread.thread));
    EXPECT_OK(tess_thread_interrupt(foreign.thread.thread));
    EXPECT_OK(tess_thread_interrupt(foreign.thread.thread));
    EXPECT_OK(tess_thread_resume(foreign.thread.thread));
    await_word(foreign.frame, PERSONALITY_INTERRUPTS, 51);
    atomic_store(&foreign.is_over, true);
    thread_join(&foreign.thread);
    handle_drop(foreign.event);

    foreign_start(&foreign, &personality, 1, waits);
    thread_wait_until_waiting(foreign.thread.thread);
    EXPECT_OK(tess_thread_interrupt(foreign.thread.thread));
    await_word(foreign.frame, PERSONALITY_INTERRUPTS, 1);
    while (__atomic_load_n(&foreign.frame->mask, __ATOMIC_RELAXED) == 0 && time_now_ns() < end)
        sleep_ns(NS_PER_MS / 10);
    thread_wait_until_waiting(foreign.thread.thread);
    EXPECT_OK(tess_thread_interrupt(foreign.thread.thread));
    sleep_ns(NS_PER_MS);
    EXPECT_EQUAL(word_of(foreign.frame, PERSONALITY_INTERRUPTS), 1);
    EXPECT_EQUAL(__atomic_load_n(&foreign.frame->pending, __ATOMIC_RELAXED), 1);
    EXPECT(thread_is_waiting(foreign.thread.thread));
    EXPECT_OK(tess_event_set(foreign.event, 2));
    await_word(foreign.frame, PERSONALITY_INTERRUPTS, 2);
    thread_join(&foreign.thread);
    EXPECT_EQUAL(atomic_load(&foreign.rounds), 2);
    handle_drop(foreign.event);
    personality_destroy(&personality);
    personality_unmap();
}

/* Everything in turn, for as long as it takes. */
static void keeps_busy(struct foreign *foreign)
{
    uint64_t bits;
    while (!atomic_load(&foreign->is_over)) {
        uint64_t random = random_next(&foreign->seed);
        switch (random >> 32 & 7) {
        case 0:
        case 1: (void)tess_event_wait(foreign->event, 1, &bits, patience()); break; /* ended by interrupts alone */
        case 2: (void)tess_event_wait(foreign->event, 1, &bits, time_after_ns(random % (200 * NS_PER_US))); break;
        case 3: EXPECT_EQUAL(personality_probe(foreign->frame, 64), ~0ull); break;
        case 4: EXPECT_EQUAL(personality_call(PERSONALITY_LOAD, 72, 0), 0); break;
        case 5:
            for (volatile uint32_t i = 0; i < random % 20'000; i++)
                ;
            break;
        default:
            for (uint64_t i = 0; i < random % 64; i++)
                EXPECT_EQUAL(personality_call(PERSONALITY_ADD, random, i), random + i);
            break;
        }
        atomic_fetch_add(&foreign->rounds, 1);
    }
}

/* Interrupts at random moments. Each one must be seen: one that is lost while the thread waits is a wait without end. */
static void storm(void)
{
    struct foreign foreigns[3];
    struct personality personality;
    uint64_t seed = 99, count = option_u64("upcall.storm", 400);
    if (!EXPECT_OK(personality_map()) || !EXPECT_OK(personality_create(&personality, ARRAY_LENGTH(foreigns))))
        return;
    for (uint32_t i = 0; i < ARRAY_LENGTH(foreigns); i++)
        foreign_start(&foreigns[i], &personality, i, keeps_busy);
    for (uint64_t round = 0; round < count && test_has_passed(); round++) {
        struct foreign *foreign = &foreigns[random_next(&seed) % ARRAY_LENGTH(foreigns)];
        uint64_t before = word_of(foreign->frame, PERSONALITY_INTERRUPTS);
        EXPECT_OK(tess_thread_interrupt(foreign->thread.thread));
        uint64_t end = patience();
        while (word_of(foreign->frame, PERSONALITY_INTERRUPTS) == before && time_now_ns() < end)
            EXPECT_OK(tess_thread_yield(std_self.thread));
        if (word_of(foreign->frame, PERSONALITY_INTERRUPTS) == before)
            test_fail("interrupt %lu was lost", round);
        if (random_next(&seed) % 4 == 0)
            sleep_ns(random_next(&seed) % (100 * NS_PER_US));
    }
    uint64_t rounds = 0;
    for (uint32_t i = 0; i < ARRAY_LENGTH(foreigns); i++) {
        atomic_store(&foreigns[i].is_over, true);
        EXPECT_OK(tess_thread_interrupt(foreigns[i].thread.thread));
        EXPECT_OK(tess_event_set(foreigns[i].event, 1));
        thread_join(&foreigns[i].thread);
        rounds += atomic_load(&foreigns[i].rounds);
        handle_drop(foreigns[i].event);
    }
    personality_destroy(&personality);
    personality_unmap();
    test_note("%lu rounds", rounds);
}

void upcall_tests(void)
{
    static const struct test tests[] = {
        {"upcall.set_upcall", set_upcall},
        {"upcall.set_before_start", set_before_start},
        {"upcall.system_call", system_call},
        {"upcall.quick_system_call", quick_system_call},
        {"upcall.faults", faults},
        {"upcall.ends_in_upcall", ends_in_upcall},
        {"upcall.hostile_frame", hostile_frame},
        {"upcall.interrupts", interrupts},
        {"upcall.storm", storm},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
