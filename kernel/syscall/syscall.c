/*
 * Entry from user mode: system calls, faults, interrupts. Everything an invocation brings is checked here or in the generated
 * dispatcher, in the order abi/README.md gives: handle, type, method, right, arguments.
 *
 * A system call has two steps. The first, kernel_syscall_quick(), makes calls that cannot wait, while those registers that C
 * functions preserve are still the user's and not saved; nothing in it may give the thread away. The second, kernel_syscall(), makes
 * the others, and does what is to be done on the way out.
 */
#include <arch/arch.h>
#include <kernel/audit.h>
#include <kernel/handler.h>
#include <kernel/invocation.h>
#include <kernel/ipc.h>
#include <kernel/pager.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/trace_events.h>
#include <kernel/upcall.h>
#include <kernel/vspace.h>

/* The only method that op can name; whether it does is for is_named() and the shape to say. */
static inline const struct kernel_method *method_candidate(const struct invocation *inv, uint64_t op)
{
    return &kernel_methods[inv->object->type][op % KERNEL_METHODS_MAX];
}

static inline bool is_named(const struct kernel_method *method, uint64_t op)
{
    return method->fn != nullptr && ((op ^ method->shape) & 0xFFFF) == 0; /* method and interface */
}

/* Names the method, has its sizes, and the method is neither blocking nor raw. */
static inline bool is_plain(const struct kernel_method *method, uint64_t op) { return (op & METHOD_SHAPE_MASK) == method->shape; }

static inline bool has_right(const struct kernel_method *method, uint32_t rights) { return (method->right & rights) == method->right; }

/* Why op names nothing that may be done with the handle, in the documented order of checks. */
[[clang::noinline]] static status_t refusal(const struct invocation *inv, const struct kernel_method *method)
{
    if (op_interface(inv->op) != inv->object->type)
        return ERROR_WRONG_TYPE;
    if (!is_named(method, inv->op))
        return ERROR_UNKNOWN_METHOD;
    return has_right(method, inv->rights) ? ERROR_BAD_ARGUMENT : audit_denied(inv->cspace, inv->object, inv->op, inv->rights);
}

static status_t look_up(struct invocation *inv, handle_t handle)
{
    struct cap cap;
    status_t status = cspace_lookup(inv->cspace, handle, &cap);
    if (status != OK)
        return status;
    inv->object = cap.object;
    inv->rights = cap.rights;
    inv->badge = cap.badge;
    return OK;
}

status_t invocation_check(struct invocation *inv, bool *out_may_wait)
{
    status_t status = look_up(inv, inv->handle);
    if (status != OK)
        return status;
    *out_may_wait = true;
    if (inv->object->type == OBJECT_ENDPOINT && op_interface(inv->op) != INTERFACE_ENDPOINT)
        return OK;
    const struct kernel_method *method = method_candidate(inv, inv->op);
    if (!is_named(method, inv->op) || !has_right(method, inv->rights))
        return refusal(inv, method);
    if (method->shape & METHOD_RAW)
        return ERROR_UNKNOWN_METHOD;
    *out_may_wait = (method->shape & METHOD_BLOCKING) != 0;
    return ((inv->op ^ method->shape) & METHOD_SHAPE_MASK) == 0 ? OK : ERROR_BAD_ARGUMENT;
}

status_t invocation_run(struct invocation *inv)
{
    if (inv->object->type == OBJECT_ENDPOINT && op_interface(inv->op) != INTERFACE_ENDPOINT)
        return endpoint_call(inv, (struct endpoint *)inv->object);
    return method_candidate(inv, inv->op)->fn(inv);
}

static inline void words_read(struct invocation *inv, const struct thread *thread, uint32_t count)
{
    inv->words = arch_frame_words(&thread->frame);
    if (count <= 4)
        return;
    for (uint32_t i = 0; i < 4; i++)
        inv->copied[i] = arch_frame_word(&thread->frame, i);
    for (uint32_t i = 4; i < count; i++)
        inv->copied[i] = __atomic_load_n(&thread->message->words[i], __ATOMIC_RELAXED);
    inv->words = inv->copied;
}

void invocation_return(struct invocation *inv, uint32_t count)
{
    if (inv->is_submitted) {
        inv->out_count = count;
        return;
    }
    struct thread *thread = inv->thread;
    for (uint32_t i = 0; i < count; i++) {
        if (i < 4)
            arch_frame_set_word(&thread->frame, i, inv->out[i]);
        else
            thread->message->words[i] = inv->out[i];
    }
}

/* Whoever wants the thread to stop sets its pending flag and then exit_work here or, from another CPU, sends an interrupt, which is
 * taken as soon as user mode is reached. */
int64_t kernel_syscall_end(status_t status)
{
    struct cpu *cpu = arch_cpu();
    struct invocation *inv = cpu->invocation;
    if (status == ERROR_NO_MEMORY && (status = look_up(inv, arch_frame_handle(&inv->thread->frame))) == OK)
        return SYSCALL_RUN; /* nothing was changed, and the second step waits for memory */
    if (status == ERROR_RESTART)
        return SYSCALL_AGAIN;
    if (cpu->exit_work != 0) {
        arch_frame_set_status(&cpu->current->frame, status);
        trace_call_made(cpu, status);
        return SYSCALL_LEAVE;
    }
    quiesce_leave(cpu);
    return status;
}

[[clang::noinline]] static status_t end_without_target(struct invocation *inv, handle_t handle)
{
    status_t status = look_up(inv, handle);
    return status != OK ? status : inv->object->type == OBJECT_ENDPOINT ? SYSCALL_MESSAGE : SYSCALL_RUN;
}

/* An endpoint is found here too: no op has the shape of a method of its that is plain. */
static inline status_t end_unmade(struct invocation *inv, struct badge *badge)
{
    inv->badge = badge; /* nothing else has one */
    return inv->object->type == OBJECT_ENDPOINT ? SYSCALL_MESSAGE : SYSCALL_RUN;
}

/* No stack frame: everything called comes last. */
status_t kernel_syscall_quick(uint64_t op, handle_t handle)
{
    struct cpu *cpu = arch_cpu();
    quiesce_enter(cpu);
    cpu->stats.syscalls++;
    struct invocation *inv = cpu->invocation;
    inv->op = op;
    struct cap cap;
    if (__builtin_expect(!cspace_peek(inv->cspace, handle, &cap), false))
        return end_without_target(inv, handle);
    inv->object = cap.object;
    inv->rights = cap.rights;
    const struct kernel_method *method = method_candidate(inv, op);
    if (!is_plain(method, op) || !has_right(method, cap.rights))
        return end_unmade(inv, cap.badge);
    if (method->shape >> 16 != 0)
        words_read(inv, inv->thread, op_words(op));
    return method->fn(inv);
}

/*
 * Out of memory while something that was given up is on its way back: the call or fault is made again and again, with others running
 * in between, for a second in every two. A virtual CPU that its host stopped inside the kernel holds everything up for that long.
 */
static bool may_wait_for_memory(struct thread *thread)
{
    constexpr uint64_t PATIENCE_NS = 1'000'000'000;
    uint64_t now = arch_time_ns();
    if (thread->memory_wait_until_ns == 0 || now >= thread->memory_wait_until_ns + PATIENCE_NS)
        thread->memory_wait_until_ns = now + PATIENCE_NS;
    return now < thread->memory_wait_until_ns && reap_is_pending();
}

/* Any method, and calls. */
static inline status_t run(struct invocation *inv)
{
    if (inv->object->type == OBJECT_ENDPOINT && op_interface(inv->op) != INTERFACE_ENDPOINT)
        return endpoint_call(inv, (struct endpoint *)inv->object);
    const struct kernel_method *method = method_candidate(inv, inv->op);
    if (!is_named(method, inv->op) || !has_right(method, inv->rights))
        return refusal(inv, method);
    if (!(method->shape & METHOD_RAW)) {
        if (((inv->op ^ method->shape) & METHOD_SHAPE_MASK) != 0)
            return ERROR_BAD_ARGUMENT;
        words_read(inv, inv->thread, op_words(inv->op));
    }
    return method->fn(inv);
}

/* Asked in this order: what is not on its way back any more was there for the second try. */
[[clang::noinline]] static status_t run_without_memory(struct invocation *inv)
{
    bool is_hopeful = may_wait_for_memory(inv->thread);
    status_t status = run(inv);
    return status == ERROR_NO_MEMORY && !inv->is_committed && is_hopeful ? ERROR_RESTART : status;
}

/* Long work: others first, interrupts are taken on the way out, and then the call is made again. A clone has its time slice. */
[[clang::noinline]] static struct thread *leave_again(struct thread *current, uint64_t op)
{
    arch_frame_rewind_syscall(&current->frame, op);
    if (current->clone_work == nullptr)
        sched_yield();
    return sched_exit();
}

/* The way back of an entry that changed nothing, when nothing needs attention; else through the scheduler. */
static inline struct thread *leave(struct cpu *cpu, struct thread *thread)
{
    if (cpu->exit_work != 0)
        return sched_exit();
    quiesce_leave(cpu);
    return thread;
}

static inline struct thread *leave_blocked(struct thread *current)
{
    thread_wait_recheck(current);
    return sched_exit();
}

struct thread *kernel_syscall_general(struct thread *current)
{
    struct cpu *cpu = arch_cpu();
    struct invocation *inv = cpu->invocation;
    inv->is_committed = false;
    if (__builtin_expect(cpu->exit_work & EXIT_TRACE, 0))
        trace_call_made(cpu, STATUS_BLOCKED);
    status_t status = run(inv);
    if (status == STATUS_BLOCKED)
        return leave_blocked(current);
    if (status == ERROR_NO_MEMORY && !inv->is_committed)
        status = run_without_memory(inv);
    if (status == STATUS_BLOCKED)
        return leave_blocked(current);
    if (status == ERROR_RESTART)
        return leave_again(current, inv->op);
    if (status != STATUS_NO_RESULT)
        arch_frame_set_status(&current->frame, status);
    return cpu->current == current ? leave(cpu, current) : sched_exit();
}

/* A call, or a method of an endpoint. */
static inline struct thread *message_and_leave(struct thread *current)
{
    struct invocation *inv = arch_cpu()->invocation;
    inv->aux = arch_frame_deadline(&current->frame);
    if (op_interface(inv->op) != INTERFACE_ENDPOINT)
        return endpoint_call_quick(inv, current);
    if ((inv->op & 0xFFFF) == OP_ENDPOINT_REPLY_RECEIVE)
        return endpoint_reply_receive_quick(inv, current);
    return kernel_syscall_general(current);
}

struct thread *kernel_syscall(struct thread *current, enum syscall_next next)
{
    if (next == SYSCALL_MESSAGE)
        return message_and_leave(current);
    struct invocation *inv = arch_cpu()->invocation;
    inv->aux = arch_frame_deadline(&current->frame);
    if (next == SYSCALL_RUN)
        return kernel_syscall_general(current);
    return next == SYSCALL_AGAIN ? leave_again(current, inv->op) : sched_exit();
}

static void fault_unresolved(struct thread *current, const struct fault *fault)
{
    uint32_t flags = peek(current->process->handler_flags);
    bool is_handled = (flags & HANDLER_FIRST) && handler_ask(current, fault, fault->kind, true);
    if (!is_handled)
        is_handled = upcall_fault(current, fault);
    if (!is_handled && !(flags & HANDLER_FIRST))
        is_handled = handler_ask(current, fault, fault->kind, false);
    if (!is_handled)
        process_crash(current, fault);
}

/* A page fault that cannot be resolved. */
[[clang::noinline]] static void fault_refused(struct thread *current, const struct fault *fault, status_t status)
{
    struct fault end = *fault;
    if (status == ERROR_NO_MEMORY) {
        end.kind = FAULT_NO_MEMORY;
    } else if (status != ERROR_BAD_ADDRESS) {
        end.kind = FAULT_PAGER;
        end.code = (uint64_t)(int64_t)status;
    } else if (vspace_is_guard(current->process->vspace, fault->address)) {
        end.kind = FAULT_GUARD;
    }
    fault_unresolved(current, &end);
}

/* A pager has the page. */
[[clang::noinline]] static struct thread *fault_paged(struct thread *current, const struct fault *fault, uint32_t access)
{
    status_t status = pager_wait(current, fault->address, access);
    if (status == STATUS_BLOCKED)
        thread_wait_recheck(current);
    else if (status != OK)
        fault_refused(current, fault, status);
    return sched_exit();
}

[[clang::noinline]] static struct thread *fault_without_memory(struct thread *current, const struct fault *fault, uint32_t access)
{
    bool is_hopeful = may_wait_for_memory(current); /* before the second try, as above */
    status_t status = vspace_fault(current->process->vspace, fault->address, access);
    if (status == ERROR_NO_MEMORY && is_hopeful) {
        sched_yield();
    } else if (status != OK && status != ERROR_RESTART && status != ERROR_NOT_PRESENT) {
        fault_refused(current, fault, status);
    }
    return sched_exit();
}

struct thread *kernel_user_fault(struct thread *current, const struct fault *fault)
{
    struct cpu *cpu = arch_cpu();
    quiesce_enter(cpu);
    cpu->stats.faults++;
    trace_fault(cpu, current->object.id, fault->address, fault->kind, fault->is_execute ? 2 : fault->is_write);
    if (fault->kind == FAULT_PAGE) {
        uint32_t access = fault->is_execute ? PROT_EXEC : fault->is_write ? PROT_WRITE : PROT_READ;
        status_t status = vspace_fault(current->process->vspace, fault->address, access);
        if (status == OK || status == ERROR_RESTART)
            return leave(cpu, current);
        if (status == ERROR_NO_MEMORY)
            return fault_without_memory(current, fault, access);
        if (status == ERROR_NOT_PRESENT)
            return fault_paged(current, fault, access);
        fault_refused(current, fault, status);
    } else {
        fault_unresolved(current, fault);
    }
    return cpu->current == current ? leave(cpu, current) : sched_exit();
}

struct thread *kernel_user_irq(struct thread *current)
{
    struct cpu *cpu = arch_cpu();
    quiesce_enter(cpu);
    return leave(cpu, current);
}
