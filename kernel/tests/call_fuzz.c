/*
 * Fuzz entry: hostile programs on several CPUs, and in which order the CPUs take turns. The input is a part for each CPU, from which the programs
 * that run there draw their choices, and one for the schedule. The CPUs are coroutines of one host thread that switch at the kernel's
 * atomic operations (explore/include/stdatomic.h), and time is virtual: an input that is run alone always does the same. When the
 * parts are used up, or nothing would ever run again, the generation is destroyed, and nothing may be missing.
 *
 * CALLS=n in the environment ends the run after so many system calls; how many were made is printed.
 */
#include "programs.h"
#include <arch/arch.h>
#include <host.h>
#include <kernel/object.h>
#include <kernel/sched.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tess/util.h>
#include <ucontext.h>

constexpr uint32_t CPUS = 3, PARTS = CPUS + 1, SCHEDULE = CPUS;
constexpr uint32_t SURPLUS = 64, SURPLUS_LONG = 2048; /* calls made with choices that the input does not give: most inputs, one in four */
constexpr size_t STACK_BYTES = 512 << 10, INPUT_MAX = 1 << 16;

uint64_t programs_seed = 1;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out, size_t max_size,
                                 unsigned int seed);

/* ---- The input: each part but the last behind its length in two bytes ---- */

struct part {
    const uint8_t *next, *end;
};

static void split(const uint8_t *data, size_t size, struct part parts[PARTS])
{
    const uint8_t *end = data + size;
    for (uint32_t i = 0; i < PARTS; i++) {
        size_t left = (size_t)(end - data), length = left;
        if (i != SCHEDULE) {
            length = left < 2 ? 0 : (size_t)(data[0] | data[1] << 8);
            data += left < 2 ? left : 2;
            length = min_u64(length, (size_t)(end - data));
        }
        parts[i] = (struct part){data, data + length};
        data += length;
    }
}

static size_t join(const struct part parts[PARTS], uint8_t *out, size_t max_size)
{
    size_t size = 0;
    for (uint32_t i = 0; i < PARTS; i++) {
        size_t head = i != SCHEDULE ? 2 : 0, length = (size_t)(parts[i].end - parts[i].next);
        if (size + head > max_size)
            break;
        length = min_u64(length, max_size - size - head);
        if (head != 0) {
            out[size++] = (uint8_t)length;
            out[size++] = (uint8_t)(length >> 8);
        }
        memcpy(out + size, parts[i].next, length);
        size += length;
    }
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    static uint8_t room[INPUT_MAX], whole[INPUT_MAX];
    struct part parts[PARTS];
    split(data, size, parts);
    struct part *part = &parts[seed % PARTS];
    size_t length = (size_t)(part->end - part->next), most = length + (max_size > size + 8 ? max_size - size - 8 : 0);
    memcpy(room, part->next, length);
    length = LLVMFuzzerMutate(room, length, min_u64(most == 0 ? 1 : most, sizeof(room)));
    *part = (struct part){room, room + length};
    size = join(parts, whole, min_u64(max_size, sizeof(whole)));
    memcpy(data, whole, size);
    return size;
}

/* The parts of one input with some of the other's. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out, size_t max_size,
                                 unsigned int seed)
{
    struct part parts[PARTS], others[PARTS];
    split(a, a_size, parts);
    split(b, b_size, others);
    for (uint32_t i = 0; i < PARTS; i++)
        if (seed >> i & 1)
            parts[i] = others[i];
    return join(parts, out, max_size);
}

/* ---- What programs choose ---- */

static struct part parts[PARTS];
static uint64_t after[PARTS]; /* the choices behind the end of a part follow from the whole input */
static uint64_t surplus_left, calls_total, calls_limit;

static uint8_t take_byte(uint32_t which)
{
    struct part *part = &parts[which];
    if (part->next != part->end)
        return *part->next++;
    after[which] = after[which] * 6364136223846793005 + 1442695040888963407; /* Knuth, TAOCP 3.3.4, MMIX */
    return (uint8_t)(after[which] >> 56);
}

static uint64_t take(uint32_t bytes)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; i++)
        value = value << 8 | take_byte(arch_cpu()->index);
    return value;
}

uint64_t next_random(uint64_t *) { return take(8); }
uint64_t below(uint64_t *, uint64_t limit) { return take(limit <= 256 ? 1 : limit <= 65536 ? 2 : 8) % limit; }

static vaddr_t play(struct thread *thread)
{
    const struct part *part = &parts[arch_cpu()->index];
    if (part->next == part->end && surplus_left-- == 0)
        atomic_store(&programs_must_end, true);
    return programs_user(thread);
}

/* ---- The CPUs' turns ---- */

struct coroutine {
    ucontext_t context;
    const void *stack;
    size_t stack_bytes;
    void *fake_stack; /* the address sanitizer's */
};
static struct coroutine coroutines[CPUS], host_thread;
static struct coroutine *running = &host_thread;
unsigned points_left; /* explore/include/stdatomic.h counts it down */
static uint32_t idle_turns;
static bool is_ending, is_supervising;

void point_reached(void);
void __wrap_arch_cpu_relax(void);
void __wrap_arch_idle(void);

static void change_to(struct coroutine *to)
{
    struct coroutine *from = running;
    if (to == from)
        return;
    running = to;
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_bytes);
    swapcontext(&from->context, &to->context);
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
    if (from != &host_thread)
        host_cpu = cpus[from - coroutines];
}

static void next_turn(void) { change_to(&coroutines[(host_cpu->index + 1) % CPUS]); }

/* A byte of the schedule: who goes on, and for how many points. */
void point_reached(void)
{
    if (running == &host_thread)
        return;
    uint32_t choice = take_byte(SCHEDULE);
    points_left = (1 + (choice >> 6)) << (choice >> 2 & 15) * 3 / 4;
    change_to(&coroutines[(host_cpu->index + (choice & 3)) % CPUS]);
}

void __wrap_arch_cpu_relax(void)
{
    if (running != &host_thread)
        next_turn();
}

/* Every CPU idles: time passes, or the generation ends. */
static void all_idle(void)
{
    uint64_t next = host_next_deadline();
    if (next != UINT64_MAX && !programs_must_end) {
        host_virtual_ns = max_u64(host_virtual_ns, next);
        return;
    }
    atomic_store(&programs_must_end, true);
    is_supervising = true;
    quiesce_enter(host_cpu);
    if (!is_ending)
        programs_end();
    bool is_over = is_ending && programs_have_ended();
    is_ending = true;
    quiesce_leave(host_cpu);
    is_supervising = false;
    if (is_over)
        change_to(&host_thread);
}

void __wrap_arch_idle(void)
{
    if (host_take_interrupts()) {
        idle_turns = 0;
        return;
    }
    if (++idle_turns > 2 * CPUS && !is_supervising) {
        idle_turns = 0;
        all_idle();
    }
    next_turn();
}

static void cpu_main(void)
{
    const void *stack_before;
    size_t bytes_before;
    __sanitizer_finish_switch_fiber(nullptr, &stack_before, &bytes_before);
    if (host_thread.stack == nullptr) { /* where the first one comes from */
        host_thread.stack = stack_before;
        host_thread.stack_bytes = bytes_before;
    }
    host_cpu = cpus[running - coroutines];
    quiesce_enter(host_cpu);
    struct thread *thread = sched_exit();
    for (;;) {
        idle_turns = 0;
        if (host_take_interrupts()) {
            thread = kernel_user_irq(thread);
            continue;
        }
        /* A call to be made again is still in its registers; often it waits for what others give back. */
        vaddr_t address = 0;
        if (thread->frame.restarts == 0)
            address = play(thread);
        else
            next_turn();
        thread->frame.restarts = 0;
        thread = address != 0 ? host_touch(thread, address) : host_call(thread);
    }
}

static void print_total(void) { fprintf(stderr, "%lu calls on %u CPUs\n", calls_total, CPUS); }

static void boot(void)
{
    const char *limit = getenv("CALLS");
    calls_limit = limit != nullptr && *limit != 0 ? strtoull(limit, nullptr, 0) : UINT64_MAX;
    host_time_is_virtual = true;
    programs_boot(CPUS);
    for (uint32_t i = 0; i < CPUS; i++) {
        struct coroutine *coroutine = &coroutines[i];
        void *stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED)
            panic("no room for a stack");
        coroutine->stack = stack;
        coroutine->stack_bytes = STACK_BYTES;
        getcontext(&coroutine->context);
        coroutine->context.uc_stack = (stack_t){.ss_sp = stack, .ss_size = STACK_BYTES};
        makecontext(&coroutine->context, cpu_main, 0);
        coroutine->context.uc_stack = (stack_t){}; /* the sanitizer would forget all about the stack at every switch */
    }
    atexit(print_total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_booted;
    if (!is_booted)
        boot();
    is_booted = true;
    split(data, size, parts);
    uint64_t hash = hash_bytes(data, size);
    for (uint32_t i = 0; i < PARTS; i++)
        after[i] = hash_u64(hash + i);
    surplus_left = hash % 4 == 0 ? SURPLUS_LONG : SURPLUS;
    is_ending = false;
    idle_turns = 0;
    host_cpu = cpus[0];
    quiesce_enter(host_cpu);
    programs_begin();
    quiesce_leave(host_cpu);
    points_left = 0; /* the points up to here were nobody's */
    change_to(&coroutines[0]);
    bool is_told = calls_total / 1'000'000 != (calls_total + programs_calls) / 1'000'000;
    calls_total += programs_calls;
    if (is_told || calls_total >= calls_limit)
        print_total();
    if (calls_total >= calls_limit) {
        raise(SIGUSR1); /* libFuzzer ends */
        calls_limit = UINT64_MAX;
    }
    return 0;
}
