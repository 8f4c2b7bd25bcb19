/*
 * Depth-first search over schedules. A schedule is the list of choices at the points where there is more than one; it is replayed from
 * its beginning for each next one (as CHESS does: Musuvathi and Qadeer 2007). A CPU that only spins lets the others go first, and is not run again
 * before another one has written something since it last looked, so spinning never makes a schedule infinite.
 *
 * What changes from schedule to schedule lies in `state`, outside of what is put back to the snapshot.
 */
#include "explore.h"
#include <arch/arch.h>
#include <elf.h>
#include <kernel/cell.h>
#include <kernel/clock.h>
#include <kernel/page.h>
#include <kernel/page_table.h>
#include <kernel/process.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

constexpr uint32_t CPUS_MAX = 3, CHOICES_MAX = 4096, CLOCK = CPUS_MAX;
constexpr uint64_t STEPS_LIMIT = 100'000, STACK_BYTES = 256 << 10, RAM_PAGES = 512;

struct task {
    ucontext_t context;
    bool is_finished, is_idle;
    bool is_spinning;
    uint64_t wrote;      /* its writes */
    uint64_t seen;       /* those of the others when it last spun and went on, */
    const void *seen_at; /* in this loop */
    bool ipi;
    uint64_t deadline_ns;
};

static struct state {
    const struct explore_scenario *scenario;
    struct task tasks[CPUS_MAX];
    uint8_t *stacks;
    ucontext_t main;
    uint32_t current, budget, bound, ticks_left;
    uint64_t now_ns, writes, points;
    bool is_running;
    /* The schedule. */
    uint8_t chosen[CHOICES_MAX], options[CHOICES_MAX], taken[CHOICES_MAX]; /* taken: which CPU, for the report */
    uint32_t point_of[CHOICES_MAX];
    uint32_t depth, planned;
    uint64_t schedules, most_points;
    uint64_t limit;
} *state;

struct explore_thread explore_threads[EXPLORE_THREADS_MAX];
uint32_t explore_thread_count;
struct process *explore_process;
struct cspace *explore_handles;
struct vspace *explore_space;
void (*explore_returned)(const struct explore_thread *thread);

/* ---- Choices ---- */

[[noreturn]] static void report(void)
{
    fprintf(stderr, "scenario %s, schedule %lu, %u choices:", state->scenario->name, state->schedules, state->depth);
    for (uint32_t i = 0; i < state->depth; i++)
        if (state->chosen[i] != 0)
            fprintf(stderr, " %u@%u", state->taken[i], state->point_of[i]);
    fprintf(stderr, "\n");
    for (uint32_t i = 0; i < explore_thread_count; i++) {
        fprintf(stderr, "thread %u: %u of %u steps; statuses", i, explore_threads[i].done, explore_threads[i].count);
        for (uint32_t k = 0; k < explore_threads[i].done; k++)
            fprintf(stderr, " %ld", explore_threads[i].status[k]);
        fprintf(stderr, "\n");
    }
    exit(1);
}

void explore_fail(const char *file, int line, const char *text)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, text);
    report();
}

static bool is_enabled(uint32_t index)
{
    const struct task *task = &state->tasks[index];
    if (task->is_finished)
        return false;
    if (task->is_idle)
        return task->ipi || task->deadline_ns <= state->now_ns;
    return !task->is_spinning || task->seen != state->writes - task->wrote;
}

static uint64_t next_deadline(void)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < state->scenario->cpus; i++)
        if (state->tasks[i].deadline_ns > state->now_ns && state->tasks[i].deadline_ns < next)
            next = state->tasks[i].deadline_ns;
    return next;
}

/* One of `count` ways to go on. */
static uint32_t choose(uint32_t count, const uint32_t *who)
{
    if (count == 1)
        return 0;
    uint32_t at = state->depth;
    if (at == CHOICES_MAX)
        explore_fail(__FILE__, __LINE__, "too many choices");
    if (at >= state->planned) {
        state->chosen[at] = 0;
        state->options[at] = (uint8_t)count;
        state->planned = at + 1;
    } else if (state->options[at] != count) {
        explore_fail(__FILE__, __LINE__, "the schedule does not repeat");
    }
    state->depth = at + 1;
    state->taken[at] = (uint8_t)who[state->chosen[at]];
    state->point_of[at] = (uint32_t)state->points;
    return state->chosen[at];
}

static void switch_to(uint32_t next)
{
    uint32_t from = state->current;
    if (next == from)
        return;
    state->current = next;
    swapcontext(&state->tasks[from].context, &state->tasks[next].context);
    host_cpu = cpus[state->current];
}

/* The present CPU goes on, or another one does; `must_leave`: it cannot go on now. */
static void schedule(bool must_leave)
{
    uint32_t me = state->current;
    for (;;) {
        uint32_t who[CPUS_MAX + 2], count = 0;
        if (!must_leave)
            who[count++] = me;
        bool may_switch = must_leave || state->budget > 0;
        for (uint32_t i = 0; i < state->scenario->cpus && may_switch; i++)
            if (i != me && is_enabled(i))
                who[count++] = i;
        if (count == 0 && is_enabled(me))
            who[count++] = me;
        uint64_t deadline = next_deadline();
        bool must_tick = count == 0 && deadline != UINT64_MAX;
        if ((may_switch && state->ticks_left > 0 && deadline != UINT64_MAX) || must_tick)
            who[count++] = CLOCK;
        if (count == 0)
            setcontext(&state->main); /* nobody has anything to do any more */
        uint32_t choice = choose(count, who);
        bool is_preemption = !must_leave && choice != 0;
        state->budget -= is_preemption;
        if (who[choice] != CLOCK) {
            switch_to(who[choice]);
            return;
        }
        state->ticks_left -= state->ticks_left > 0;
        state->now_ns = deadline;
        state->writes++;
    }
}

void explore_wrote(void)
{
    if (state == nullptr)
        return;
    state->writes++;
    state->tasks[state->current].wrote++;
}

void explore_point(void)
{
    if (state == nullptr || !state->is_running)
        return;
    if (++state->points > STEPS_LIMIT)
        explore_fail(__FILE__, __LINE__, "no end");
    schedule(false);
}

/* ---- What the host's architecture layer would do ---- */

void __wrap_arch_cpu_relax(void);
void __wrap_arch_idle(void);
void __wrap_arch_ipi_send(uint32_t cpu_index);
void __wrap_arch_timer_set(uint64_t deadline_ns);
uint64_t __wrap_arch_time_ns(void);
void *__wrap_calloc(size_t count, size_t size);

void __wrap_arch_cpu_relax(void)
{
    if (!state->is_running)
        return;
    struct task *task = &state->tasks[state->current];
    const void *here = __builtin_return_address(0);
    task->is_spinning = task->seen_at == here; /* another loop may wait for what was read before */
    if (++state->points > STEPS_LIMIT)
        explore_fail(__FILE__, __LINE__, "no end");
    schedule(true);
    task->is_spinning = false;
    task->seen = state->writes - task->wrote;
    task->seen_at = here;
}

void __wrap_arch_ipi_send(uint32_t cpu_index) { state->tasks[cpu_index].ipi = true; }
void __wrap_arch_timer_set(uint64_t deadline_ns) { state->tasks[host_cpu->index].deadline_ns = deadline_ns; }
uint64_t __wrap_arch_time_ns(void) { return state->now_ns; }

static bool take_interrupts(void)
{
    struct task *task = &state->tasks[state->current];
    bool any = task->ipi;
    if (task->ipi) {
        task->ipi = false;
        irq_ipi();
    }
    if (task->deadline_ns <= state->now_ns) {
        task->deadline_ns = UINT64_MAX;
        irq_timer();
        any = true;
    }
    return any;
}

void __wrap_arch_idle(void)
{
    struct task *task = &state->tasks[state->current];
    if (!task->ipi && task->deadline_ns > state->now_ns) {
        task->is_idle = true;
        schedule(true);
        task->is_idle = false;
    }
    (void)take_interrupts();
}

/* host.c's per-CPU blocks must lie where the snapshot reaches. */
void *__wrap_calloc(size_t count, size_t size)
{
    static _Alignas(64) uint8_t arena[1 << 16];
    static size_t used;
    size_t bytes = (count * size + 63) & ~(size_t)63;
    if (used + bytes > sizeof(arena))
        abort();
    used += bytes;
    return arena + used - bytes;
}

/* ---- A TLB for each CPU: what a program touched, until it is flushed. No page that one still shows may go back. ---- */

constexpr uint32_t TLB_ENTRIES = 8;
static struct {
    vaddr_t va;
    paddr_t pa;
    uint64_t token; /* of the address space: what it holds stays while others are loaded */
    bool is_freed;  /* it may still be here while the CPU flushes before its programs run again */
} tlb[CPUS_MAX][TLB_ENTRIES];
static uint64_t loaded[CPUS_MAX];

void __wrap_arch_tlb_flush_page_local(vaddr_t va);
void __wrap_arch_tlb_flush_all_local(void);
void __wrap_arch_tlb_flush_kernel_local(void);
void __wrap_arch_vspace_switch(uint64_t token);
void __wrap_arch_vspace_switch_emptied(uint64_t token);
void __real_untyped_page_free(struct untyped *untyped, enum object_type type, paddr_t page);
void __wrap_untyped_page_free(struct untyped *untyped, enum object_type type, paddr_t page);
void __real_untyped_page_free_zeroed(struct untyped *untyped, enum object_type type, paddr_t page);
void __wrap_untyped_page_free_zeroed(struct untyped *untyped, enum object_type type, paddr_t page);

static void tlb_fill(vaddr_t va)
{
    paddr_t pa;
    uint32_t prot;
    if (!page_table_lookup(explore_space->root, va, &pa, &prot))
        return;
    for (uint32_t i = 0; i < TLB_ENTRIES; i++)
        if (tlb[host_cpu->index][i].pa == 0) {
            tlb[host_cpu->index][i].va = va;
            tlb[host_cpu->index][i].pa = pa;
            tlb[host_cpu->index][i].is_freed = false;
            tlb[host_cpu->index][i].token = loaded[host_cpu->index];
            return;
        }
    panic("explore: the TLB is full");
}

/* One entry of the loaded address space, or all of it. */
static void tlb_flush(vaddr_t va, bool is_all)
{
    uint32_t me = host_cpu->index;
    for (uint32_t i = 0; i < TLB_ENTRIES; i++)
        if (tlb[me][i].token == loaded[me] && (is_all || tlb[me][i].va == va))
            tlb[me][i].pa = 0;
}

void __wrap_arch_tlb_flush_page_local(vaddr_t va) { tlb_flush(va, false); }
void __wrap_arch_tlb_flush_all_local(void) { tlb_flush(0, true); }
void __wrap_arch_tlb_flush_kernel_local(void)
{
    for (uint32_t i = 0; i < TLB_ENTRIES; i++)
        tlb[host_cpu->index][i].pa = 0;
}
void __wrap_arch_vspace_switch(uint64_t token) { loaded[host_cpu->index] = token; }
void __wrap_arch_vspace_switch_emptied(uint64_t token)
{
    loaded[host_cpu->index] = token;
    tlb_flush(0, true);
}

static void tlb_note_freed(paddr_t page)
{
    for (uint32_t cpu = 0; cpu < CPUS_MAX && state->is_running; cpu++)
        for (uint32_t i = 0; i < TLB_ENTRIES; i++)
            tlb[cpu][i].is_freed |= tlb[cpu][i].pa == page;
}

void __wrap_untyped_page_free(struct untyped *untyped, enum object_type type, paddr_t page)
{
    tlb_note_freed(page);
    __real_untyped_page_free(untyped, type, page);
}

void __wrap_untyped_page_free_zeroed(struct untyped *untyped, enum object_type type, paddr_t page)
{
    tlb_note_freed(page);
    __real_untyped_page_free_zeroed(untyped, type, page);
}

/* ---- Threads and their scripts ---- */

static struct explore_thread *script_of(const struct thread *thread)
{
    for (uint32_t i = 0; i < explore_thread_count; i++)
        if (explore_threads[i].thread == thread)
            return &explore_threads[i];
    panic("a thread without a script");
}

/* What ended is noted; the next call is put in the registers. */
static vaddr_t next_step(struct thread *thread)
{
    struct explore_thread *script = script_of(thread);
    struct arch_frame *frame = &thread->frame;
    if (frame->fp != 0) {
        script->status[script->done] = frame->status;
        for (uint32_t i = 0; i < 4; i++)
            script->out[script->done][i] = frame->words[i];
        script->done++;
        frame->fp = 0;
        if (explore_returned != nullptr)
            explore_returned(script);
    }
    if (script->done == script->count) {
        /* Only an interruption that came too late for the script ends this sleep. */
        if (script->is_sleeping && frame->status != ERROR_INTERRUPTED)
            explore_fail(__FILE__, __LINE__, "a thread runs whose wait nobody ended");
        script->is_sleeping = true;
        frame->handle = script->handle;
        frame->op = OP_THREAD_SLEEP;
        frame->deadline = DEADLINE_INFINITE;
        return 0;
    }
    const struct explore_step *step = &script->steps[script->done];
    frame->fp = 1;
    if (step->touch != 0) {
        frame->status = 0;
        return step->touch;
    }
    frame->handle = step->handle_of != 0 ? script->out[step->handle_of - 1][0] : step->handle;
    frame->op = step->op;
    frame->deadline = step->deadline;
    for (uint32_t i = 0; i < ARRAY_LENGTH(step->words); i++)
        if (i < 4)
            frame->words[i] = step->words[i];
        else
            thread->message->words[i] = step->words[i];
    return 0;
}

/* A program runs. */
static void tlb_check(void)
{
    for (uint32_t i = 0; i < TLB_ENTRIES; i++)
        if (tlb[host_cpu->index][i].pa != 0 && tlb[host_cpu->index][i].is_freed && tlb[host_cpu->index][i].token == loaded[host_cpu->index])
            explore_fail(__FILE__, __LINE__, "a program can still write to a page that went back");
}

static void cpu_loop(void)
{
    quiesce_enter(host_cpu);
    struct thread *thread = sched_exit();
    for (;;) {
        if (take_interrupts()) {
            thread = kernel_user_irq(thread);
            continue;
        }
        tlb_check();
        for (uint32_t i = 0; i < state->scenario->cpus; i++)
            if (cpus[i] != host_cpu && cpus[i]->current == thread)
                explore_fail(__FILE__, __LINE__, "a thread runs on two CPUs");
        vaddr_t address = thread->frame.restarts != 0 ? 0 : next_step(thread);
        thread->frame.restarts = 0;
        if (address != 0) {
            struct thread *faulting = thread;
            thread = host_touch(thread, address);
            if (thread == faulting)
                tlb_fill(address);
            continue;
        }
        thread = host_call(thread);
    }
}

static void task_main(void)
{
    host_cpu = cpus[state->current];
    if (state->scenario->task != nullptr) {
        state->scenario->task(state->current);
        state->tasks[state->current].is_finished = true;
        schedule(true);
    }
    cpu_loop();
}

static void must(status_t status, const char *what)
{
    if (status != OK)
        panic("%s: %d", what, status);
}

handle_t explore_give(struct object *object, uint32_t rights)
{
    handle_t handle;
    must(cspace_insert(explore_handles, object, nullptr, rights, nullptr, &handle), "handle");
    return handle;
}

struct explore_thread *explore_add_thread(void)
{
    static struct memory *messages;
    if (explore_thread_count == 0)
        must(memory_create(untyped_root, EXPLORE_THREADS_MAX, MEMORY_COMMITTED, &messages), "message pages");
    struct explore_thread *script = &explore_threads[explore_thread_count];
    must(thread_create(untyped_root, explore_process, messages, (uint64_t)explore_thread_count << PAGE_SHIFT, 0, &script->thread),
         "thread");
    must(object_publish(&script->thread->object), "publish");
    script->handle = explore_give(&script->thread->object, RIGHTS_ALL);
    explore_thread_count++;
    return script;
}

static struct explore_step *add_step(struct explore_thread *thread)
{
    if (thread->count == EXPLORE_STEPS_MAX)
        panic("too many steps");
    return &thread->steps[thread->count++];
}

struct explore_step *explore_add_call(struct explore_thread *thread, handle_t handle, uint64_t op, uint64_t deadline, uint64_t word0,
                                      uint64_t word1)
{
    struct explore_step *step = add_step(thread);
    *step = (struct explore_step){.handle = handle, .op = op, .deadline = deadline, .words = {word0, word1}};
    return step;
}

void explore_add_touch(struct explore_thread *thread, vaddr_t address) { *add_step(thread) = (struct explore_step){.touch = address}; }

/* ---- Snapshot: the program's writable segments, and the pages of its RAM that are in use ---- */

struct part {
    uint8_t *at, *saved;
    size_t bytes;
};
static struct snapshot {
    struct part parts[RAM_PAGES + 8];
    uint32_t count;
} *snapshot;

static void *map(size_t bytes)
{
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        abort();
    return at;
}

static void save(void *at, size_t bytes)
{
    if (snapshot->count == ARRAY_LENGTH(snapshot->parts))
        abort();
    snapshot->parts[snapshot->count++] = (struct part){.at = at, .saved = map(bytes), .bytes = bytes};
    memcpy(snapshot->parts[snapshot->count - 1].saved, at, bytes);
}

static int save_segments(struct dl_phdr_info *info, size_t, void *)
{
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_W))
            save((uint8_t *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, info->dlpi_phdr[i].p_memsz);
    return 1; /* the program itself comes first; libraries are not the kernel's */
}

static void take_snapshot(void)
{
    snapshot = map(sizeof(struct snapshot));
    for (uint64_t i = 0; i < page_array_count; i++)
        if (page_array[i].state != PAGE_FREE)
            save(phys_to_virt((page_array_first + i) << PAGE_SHIFT), PAGE_SIZE);
    dl_iterate_phdr(save_segments, nullptr);
}

static void put_back(void)
{
    for (uint32_t i = 0; i < snapshot->count; i++)
        memcpy(snapshot->parts[i].at, snapshot->parts[i].saved, snapshot->parts[i].bytes);
}

/* ---- The search ---- */

static void run_schedule(void)
{
    put_back();
    for (uint32_t i = 0; i < state->scenario->cpus; i++) {
        struct task *task = &state->tasks[i];
        task->is_finished = task->is_idle = task->is_spinning = task->ipi = false;
        task->wrote = task->seen = 0;
        task->seen_at = nullptr;
        task->deadline_ns = UINT64_MAX;
        getcontext(&task->context);
        task->context.uc_stack.ss_sp = state->stacks + i * STACK_BYTES;
        task->context.uc_stack.ss_size = STACK_BYTES;
        task->context.uc_link = nullptr;
        makecontext(&task->context, task_main, 0);
    }
    state->current = 0;
    state->budget = state->bound;
    state->ticks_left = state->scenario->clock_ticks;
    state->now_ns = 1'000'000'000;
    state->depth = 0;
    state->points = state->writes = 0;
    state->is_running = true;
    swapcontext(&state->main, &state->tasks[0].context); /* comes back when nobody has anything to do any more */
    state->is_running = false;
    host_cpu = cpus[0];
}

static void check_end(void)
{
    for (uint32_t i = 0; i < state->scenario->cpus; i++)
        if (state->scenario->task != nullptr && !state->tasks[i].is_finished)
            explore_fail(__FILE__, __LINE__, "a CPU waits for ever");
    for (uint32_t i = 0; i < explore_thread_count; i++)
        if (!explore_threads[i].is_sleeping && !(explore_threads[i].may_end && explore_threads[i].thread->is_finished))
            explore_fail(__FILE__, __LINE__, "a thread waits for ever");
    state->scenario->check();
}

/* The next schedule in order; false when there is none. */
static bool advance(void)
{
    while (state->planned > 0) {
        uint32_t last = state->planned - 1;
        if (++state->chosen[last] < state->options[last])
            return true;
        state->planned--;
    }
    return false;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void boot(void)
{
    host_boot(RAM_PAGES, state->scenario->cpus);
    host_cpu = cpus[0];
    quiesce_enter(host_cpu);
    if (state->scenario->task == nullptr) {
        must(vspace_create(untyped_root, &explore_space), "vspace");
        must(cspace_create(untyped_root, 64, &explore_handles), "cspace");
        must(process_create(untyped_root, &cell_root, explore_space, explore_handles, "explored\0\0\0\0\0\0\0", &explore_process),
             "process");
    }
    state->scenario->setup();
    for (uint32_t i = 0; i < explore_thread_count; i++)
        (void)thread_start_at(explore_threads[i].thread, 0, 0, 0, 0, 0);
    quiesce_leave(host_cpu);
}

static int explore(const struct explore_scenario *scenario, uint32_t preemptions, uint64_t limit, double most_seconds)
{
    struct state *fresh = map(sizeof(struct state));
    fresh->scenario = scenario;
    fresh->bound = preemptions;
    fresh->limit = limit;
    fresh->stacks = map(CPUS_MAX * STACK_BYTES);
    fresh->now_ns = 1'000'000'000;
    for (uint32_t i = 0; i < CPUS_MAX; i++)
        fresh->tasks[i].deadline_ns = UINT64_MAX;
    state = fresh;
    boot();
    take_snapshot();
    do {
        state->schedules++;
        run_schedule();
        check_end();
        if (state->points > state->most_points)
            state->most_points = state->points;
    } while (advance() && state->schedules < state->limit && (state->schedules % 1024 != 0 || seconds() < most_seconds));
    printf("%s: %lu schedules with up to %u preemptions%s, up to %lu points each, %.1f s\n", scenario->name, state->schedules, preemptions,
           state->planned == 0 ? " (all)" : "", state->most_points, seconds());
    return 0;
}

/* explore [SCENARIO [PREEMPTIONS [SCHEDULES AT MOST [SECONDS OF CPU TIME AT MOST]]]]; without a name it prints them. The soak (SOAK in the environment) looks one
 * preemption further. */
int main(int count, char **arguments)
{
    const char *soak = getenv("SOAK"); /* make exports it empty when it is not set */
    bool is_soak = soak != nullptr && *soak != 0;
    uint32_t preemptions = count > 2 ? (uint32_t)strtoul(arguments[2], nullptr, 0) : is_soak ? 3 : 2;
    uint64_t limit = count > 3 ? strtoull(arguments[3], nullptr, 0) : UINT64_MAX;
    double most_seconds = count > 4 ? strtod(arguments[4], nullptr) : 1e18;
    for (uint32_t i = 0; explore_scenarios[i] != nullptr; i++)
        if (count < 2)
            printf("%s\n", explore_scenarios[i]->name);
        else if (strcmp(explore_scenarios[i]->name, arguments[1]) == 0)
            return explore(explore_scenarios[i], preemptions - (count < 3 && !is_soak && explore_scenarios[i]->is_large), limit,
                           most_seconds);
    return count < 2 ? 0 : 2;
}
