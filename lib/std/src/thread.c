/*
 * One memory per thread: message page, guard page, stack (grows down towards the guard), thread block at the very top.
 *
 * Ending: the thread raises `ended` and then asks for its own end, both without touching its stack; the joiner destroys the thread
 * object after the event, so it does not matter who is first.
 */
#include <std/program.h>
#include <std/thread.h>
#include <stdckdint.h>
#include <tess/invoke.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>
#include <tess/stub/vspace.h>
#include <tess/util.h>

constexpr uint64_t STACK_DEFAULT = 64 * 1024;

/* What lies at the top of a new thread's stack. */
struct thread_top {
    struct tess_thread_block block;
    void (*fn)(void *context);
    void *context;
    handle_t ended;
    uint64_t reserved;
};
static_assert(sizeof(struct thread_top) % 16 == 0);

/* event.set(ended, 1), then thread.exit(thread) until it works: registers only. */
[[noreturn]] static void thread_end(handle_t ended, handle_t thread)
{
#if defined(__x86_64__)
    register uint64_t exit_op __asm__("r12") = OP_THREAD_EXIT;
    register uint64_t self __asm__("r13") = thread;
    __asm__ volatile("syscall\n1: movq %%r12, %%rax\nmovq %%r13, %%rdi\nxorl %%esi, %%esi\nsyscall\njmp 1b"
                     :
                     : "a"(OP_EVENT_SET), "D"(ended), "S"(0ull), "d"(1ull), "r"(exit_op), "r"(self)
                     : "memory", "rcx", "r11");
#elif defined(__aarch64__)
    register uint64_t op __asm__("x0") = OP_EVENT_SET;
    register uint64_t handle __asm__("x1") = ended;
    register uint64_t aux __asm__("x2") = 0;
    register uint64_t bits __asm__("x3") = 1;
    register uint64_t exit_op __asm__("x19") = OP_THREAD_EXIT;
    register uint64_t self __asm__("x20") = thread;
    __asm__ volatile("svc #0\n1: mov x0, x19\nmov x1, x20\nmov x2, xzr\nsvc #0\nb 1b"
                     :
                     : "r"(op), "r"(handle), "r"(aux), "r"(bits), "r"(exit_op), "r"(self)
                     : "memory");
#elif defined(__riscv)
    register uint64_t op __asm__("a0") = OP_EVENT_SET;
    register uint64_t handle __asm__("a1") = ended;
    register uint64_t aux __asm__("a2") = 0;
    register uint64_t bits __asm__("a3") = 1;
    register uint64_t exit_op __asm__("s2") = OP_THREAD_EXIT;
    register uint64_t self __asm__("s3") = thread;
    __asm__ volatile("ecall\n1: mv a0, s2\nmv a1, s3\nli a2, 0\necall\nj 1b"
                     :
                     : "r"(op), "r"(handle), "r"(aux), "r"(bits), "r"(exit_op), "r"(self)
                     : "memory");
#endif
    __builtin_unreachable();
}

[[noreturn]] static void thread_main(struct thread_top *top)
{
    top->fn(top->context);
    thread_end(top->ended, top->block.thread);
}

static void thread_release(struct std_thread *thread)
{
    if (thread->thread != HANDLE_NONE) {
        /* STALE_HANDLE when it has ended by itself. */
        status_t status = tess_cspace_destroy(std_self.cspace, thread->thread);
        (void)status;
        std_handle_delete(thread->thread);
    }
    std_handle_delete(thread->ended);
    std_mapping_destroy(&thread->mapping);
    *thread = (struct std_thread){};
}

static status_t thread_prepare(struct std_thread *thread, uint64_t size)
{
    status_t status = std_mapping_create(size, 0, &thread->mapping);
    if (status != OK) {
        return status;
    }
    /* Not unmapped: somebody's next mapping would lie there, and go with this one. */
    status = tess_vspace_protect(std_self.vspace, (uint64_t)thread->mapping.address + STD_PAGE, STD_PAGE, 0);
    if (status != OK) {
        return status;
    }
    status = tess_untyped_create_event(std_self.untyped, &thread->ended);
    if (status != OK) {
        return status;
    }
    return tess_untyped_create_thread(std_self.untyped, std_self.process, thread->mapping.memory, 0, 0, &thread->thread);
}

status_t std_thread_start(struct std_thread *thread, void (*fn)(void *context), void *context, uint64_t stack_bytes)
{
    uint64_t size;
    *thread = (struct std_thread){};
    if (ckd_add(&size, stack_bytes == 0 ? STACK_DEFAULT : stack_bytes, 2 * STD_PAGE + sizeof(struct thread_top))) {
        return ERROR_BAD_ARGUMENT;
    }
    status_t status = thread_prepare(thread, size);
    if (status == OK) {
        uint8_t *base = thread->mapping.address;
        struct thread_top *top = (struct thread_top *)(base + thread->mapping.size) - 1;
        *top = (struct thread_top){
            .block = {.self = (uint64_t)&top->block, .message_page = (uint64_t)base, .thread = thread->thread},
            .fn = fn,
            .context = context,
            .ended = thread->ended,
        };
        uint64_t sp = (uint64_t)top;
#if defined(__x86_64__)
        sp -= 8; /* as after a call (System V ABI, AMD64 supplement, 3.2.2): where the return address would be */
#endif
        status = tess_thread_start(thread->thread, (uint64_t)thread_main, sp, (uint64_t)top, 0, (uint64_t)&top->block);
    }
    if (status != OK) {
        thread_release(thread);
    }
    return status;
}

status_t std_thread_join(struct std_thread *thread, uint64_t deadline_ns)
{
    uint64_t bits;
    status_t status = tess_event_wait(thread->ended, 1, &bits, deadline_ns);
    if (status == OK) {
        thread_release(thread);
    }
    return status;
}

/* ---- Mutex ---- */

status_t std_mutex_init(struct std_mutex *mutex)
{
    *mutex = (struct std_mutex){};
    return OK;
}

void std_mutex_destroy(struct std_mutex *mutex) { *mutex = (struct std_mutex){}; }

void std_mutex_lock(struct std_mutex *mutex)
{
    uint32_t expected = 0;
    if (atomic_compare_exchange_strong_explicit(&mutex->state, &expected, 1, memory_order_acquire, memory_order_relaxed)) {
        return;
    }
    /* 2 tells the owner to wake somebody; who is woken keeps 2 because there may be more. */
    while (atomic_exchange_explicit(&mutex->state, 2, memory_order_acquire) != 0) {
        status_t status = tess_vspace_futex_wait(std_self.vspace, (uint64_t)&mutex->state, 2, UINT32_MAX, DEADLINE_INFINITE);
        if (status != OK && status != ERROR_WOULD_BLOCK && status != ERROR_INTERRUPTED) {
            std_abort("mutex: %s", status_name(status));
        }
    }
}

void std_mutex_unlock(struct std_mutex *mutex)
{
    if (atomic_exchange_explicit(&mutex->state, 0, memory_order_release) == 2) {
        uint32_t woken;
        status_t status = tess_vspace_futex_wake(std_self.vspace, (uint64_t)&mutex->state, 1, UINT32_MAX, &woken);
        (void)status; /* a word that is gone has no sleepers */
    }
}
