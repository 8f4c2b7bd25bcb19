/*
 * Threads and processes, from creation to the last page given back. The thread has a stack and a message page that are kept for
 * the next one, as a thread pool would; the process brings everything of its own but its code.
 */
#include "bench.h"
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/memory.h>
#include <tess/stub/process.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>

/* ---- Thread: create, start, end, wait for that ---- */

constexpr uint64_t THREAD_MEMORY = 4 * STD_PAGE; /* message page, stack */

struct thread_context {
    handle_t thread, ended;
    uint64_t runs;
};

static struct std_mapping thread_mapping;
static struct thread_context thread_context;

[[noreturn]] static void thread_main(struct thread_context *context)
{
    context->runs++;
    bench_must(tess_event_set(context->ended, 1), "event.set");
    bench_must(tess_thread_exit(context->thread), "thread.exit");
    __builtin_trap();
}

static void thread_prepare(void)
{
    bench_must(std_mapping_create(THREAD_MEMORY, 0, &thread_mapping), "a stack");
    bench_must(tess_untyped_create_event(std_self.untyped, &thread_context.ended), "an event");
}

static void thread_run(uint32_t count)
{
    uint64_t runs = thread_context.runs;
    uint64_t sp = (uint64_t)thread_mapping.address + THREAD_MEMORY;
#if defined(__x86_64__)
    sp -= 8; /* as after a call (System V ABI, AMD64 supplement, 3.2.2) */
#endif
    for (uint32_t i = 0; i < count; i++) {
        handle_t thread;
        uint64_t bits;
        bench_must(tess_untyped_create_thread(std_self.untyped, std_self.process, thread_mapping.memory, 0, 0, &thread), "create_thread");
        thread_context.thread = thread;
        bench_must(tess_thread_start(thread, (uint64_t)thread_main, sp, (uint64_t)&thread_context, 0, 0), "thread.start");
        bench_must(tess_event_wait(thread_context.ended, 1, &bits, DEADLINE_INFINITE), "event.wait");
        /* It may not have got round to its own end: after this it will never use its stack again. */
        bench_must(tess_cspace_destroy(std_self.cspace, thread), "cspace.destroy");
        /* The handle went stale with the thread; deleting what is gone is no mistake. */
        std_handle_delete(thread);
    }
    bench_check(thread_context.runs == runs + count, "a thread did not run");
}

const struct bench bench_thread = {.name = "thread", .count = 20, .prepare = thread_prepare, .run = thread_run};

/* ---- Process: table, address space, process, thread, two pages and a code page; ends by process.exit ---- */

constexpr uint64_t CODE_ADDRESS = 0x200000, DATA_ADDRESS = 0x201000, DATA_SIZE = 2 * STD_PAGE;
constexpr uint32_t CHILD_SLOTS = 16;
constexpr int32_t CHILD_STATUS = 7;

/* The child: uses its stack, then process.exit(handle = argument 0, op = argument 1, status 7). */
extern const char bench_child_start[], bench_child_end[];
#if defined(__x86_64__)
__asm__(".pushsection .rodata.bench_child, \"a\", @progbits\n"
        ".globl bench_child_start, bench_child_end\n.hidden bench_child_start, bench_child_end\n"
        "bench_child_start: push %rdi\nmov %rsi, %rax\nxor %esi, %esi\nmov $7, %edx\nsyscall\nud2\nbench_child_end:\n"
        ".popsection\n");
#elif defined(__aarch64__)
__asm__(".pushsection .rodata.bench_child, \"a\", @progbits\n.balign 4\n"
        ".globl bench_child_start, bench_child_end\n.hidden bench_child_start, bench_child_end\n"
        "bench_child_start: str x0, [sp, #-16]!\nmov x9, x0\nmov x0, x1\nmov x1, x9\nmov x2, xzr\nmov x3, #7\nsvc #0\nbrk #1\n"
        "bench_child_end:\n.popsection\n");
#elif defined(__riscv)
__asm__(".pushsection .rodata.bench_child, \"a\", @progbits\n.balign 4\n"
        ".globl bench_child_start, bench_child_end\n.hidden bench_child_start, bench_child_end\n"
        "bench_child_start: sd a0, -16(sp)\nmv t0, a0\nmv a0, a1\nmv a1, t0\nli a2, 0\nli a3, 7\necall\nunimp\n"
        "bench_child_end:\n.popsection\n");
#endif

static handle_t code_memory;

static void process_prepare(void)
{
    bench_must(tess_untyped_create_memory(std_self.untyped, STD_PAGE, 0, &code_memory), "memory for code");
    bench_must(tess_memory_write(code_memory, 0, (uint64_t)bench_child_start, (uint64_t)(bench_child_end - bench_child_start)),
               "writing code");
}

static void map_child(handle_t vspace, handle_t memory, uint64_t size, uint64_t address, uint32_t flags)
{
    uint64_t at;
    bench_must(tess_vspace_map(vspace, memory, 0, size, address, flags | MAP_FIXED, &at), "mapping into the child");
}

static void process_run_one(void)
{
    static const uint8_t name[16] = "child";
    handle_t cspace, vspace, memory, process, thread, to_itself;
    bench_must(tess_untyped_create_cspace(std_self.untyped, CHILD_SLOTS, &cspace), "create_cspace");
    bench_must(tess_untyped_create_vspace(std_self.untyped, &vspace), "create_vspace");
    bench_must(tess_untyped_create_memory(std_self.untyped, DATA_SIZE, 0, &memory), "create_memory");
    map_child(vspace, code_memory, STD_PAGE, CODE_ADDRESS, MAP_READ | MAP_EXEC);
    map_child(vspace, memory, DATA_SIZE, DATA_ADDRESS, MAP_READ | MAP_WRITE);
    bench_must(tess_untyped_create_process(std_self.untyped, vspace, cspace, name, &process), "create_process");
    bench_must(tess_cspace_copy(cspace, process, RIGHTS_ALL, &to_itself), "cspace.copy");
    bench_must(tess_untyped_create_thread(std_self.untyped, process, memory, 0, 0, &thread), "create_thread");
    bench_must(tess_thread_start(thread, CODE_ADDRESS, DATA_ADDRESS + DATA_SIZE, to_itself, OP_PROCESS_EXIT, 0), "thread.start");
    uint32_t cause;
    int32_t status;
    bench_must(tess_process_wait(process, &cause, &status, DEADLINE_INFINITE), "process.wait");
    bench_check(cause == EXIT_NORMAL && status == CHILD_STATUS, "the child ended otherwise");
    const handle_t all[] = {thread, process, memory, vspace, cspace};
    for (uint32_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        bench_must(tess_cspace_delete(std_self.cspace, all[i]), "cspace.delete");
    }
}

static void process_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        process_run_one();
    }
}

const struct bench bench_process = {.name = "process", .count = 10, .prepare = process_prepare, .run = process_run};

/* ---- Clone: of this program with 1 MiB touched; the clone's first act is to end, the parent waits for that ---- */

constexpr uint64_t TOUCHED_SIZE = 1 << 20;

static uint8_t *touched;

static void clone_prepare(void)
{
    void *pages;
    bench_must(std_pages_alloc(TOUCHED_SIZE, &pages), "pages");
    touched = pages;
}

static void clone_before(void)
{
    for (uint64_t i = 0; i < TOUCHED_SIZE; i += STD_PAGE) {
        touched[i]++;
    }
}

static void clone_run(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        handle_t process;
        uint32_t cause;
        int32_t status;
        bench_must(tess_process_clone(std_self.process, std_self.untyped, 0, 0, 0, 0, 0, HANDLE_NONE, 0, &process, DEADLINE_INFINITE),
                   "process.clone");
        if (process == HANDLE_NONE) {
            bench_must(tess_process_exit(std_self.process, CHILD_STATUS), "process.exit");
        }
        bench_must(tess_process_wait(process, &cause, &status, DEADLINE_INFINITE), "process.wait");
        bench_check(cause == EXIT_NORMAL && status == CHILD_STATUS, "the clone ended otherwise");
        bench_must(tess_cspace_delete(std_self.cspace, process), "cspace.delete");
    }
}

const struct bench bench_process_clone = {
    .name = "process_clone", .count = 1, .prepare = clone_prepare, .before = clone_before, .run = clone_run};
