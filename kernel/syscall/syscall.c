/*
 * Entry from user mode: system calls, faults, interrupts. Everything an invocation brings is checked here or in the generated
 * dispatcher, in the order abi/README.md gives: handle, type, method, right, arguments.
 */
#include <arch/arch.h>
#include <kernel/invocation.h>
#include <kernel/ipc.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/vspace.h>

/* The only method that op can name; whether it does is for is_named() and the shape to say. */
static inline const struct kernel_method *method_candidate(const struct invocation *inv)
{
    return &kernel_methods[inv->object->type][inv->op % KERNEL_METHODS_MAX];
}

static inline bool is_named(const struct kernel_method *method, uint64_t op)
{
    return method->fn != nullptr && ((op ^ method->shape) & 0xFFFF) == 0; /* method and interface */
}

static inline bool has_right(const struct kernel_method *method, const struct invocation *inv)
{
    return (inv->rights & method->right) == method->right;
}

/* Why op names nothing that may be done with the handle, in the documented order of checks. */
[[clang::noinline]] static status_t refusal(const struct invocation *inv, const struct kernel_method *method)
{
    if (op_interface(inv->op) != inv->object->type)
        return ERROR_WRONG_TYPE;
    if (!is_named(method, inv->op))
        return ERROR_UNKNOWN_METHOD;
    return has_right(method, inv) ? ERROR_BAD_ARGUMENT : ERROR_MISSING_RIGHT;
}

static status_t look_up(struct invocation *inv)
{
    struct cap cap;
    status_t status = cspace_lookup(inv->cspace, inv->handle, &cap);
    if (status != OK)
        return status;
    inv->object = cap.object;
    inv->self = __builtin_expect(cap.object->type != OBJECT_THREAD, true) ? cap.object : object_self(cap.object);
    inv->rights = cap.rights;
    inv->badge = cap.badge;
    return OK;
}

status_t invocation_run(struct invocation *inv)
{
    status_t status = look_up(inv);
    if (status != OK)
        return status;
    if (inv->object->type == OBJECT_ENDPOINT && op_interface(inv->op) != INTERFACE_ENDPOINT)
        return ERROR_UNKNOWN_METHOD; /* calls wait: they are not made through a ring yet */
    const struct kernel_method *method = method_candidate(inv);
    if (!is_named(method, inv->op) || !has_right(method, inv))
        return refusal(inv, method);
    if (method->shape & (METHOD_BLOCKING | METHOD_RAW))
        return ERROR_UNKNOWN_METHOD;
    if (((inv->op ^ method->shape) & METHOD_SHAPE_MASK) != 0)
        return ERROR_BAD_ARGUMENT;
    return method->fn(inv);
}

static inline void words_read(struct invocation *inv, const struct thread *thread, uint32_t count)
{
    for (uint32_t i = 0; i < 4; i++)
        inv->words[i] = arch_frame_word(&thread->frame, i);
    for (uint32_t i = 4; i < count; i++)
        inv->words[i] = __atomic_load_n(&thread->message->words[i], __ATOMIC_RELAXED);
}

static inline status_t run(struct invocation *inv, struct thread *thread)
{
    status_t status = look_up(inv);
    if (status != OK)
        return status;
    if (inv->object->type == OBJECT_ENDPOINT && op_interface(inv->op) != INTERFACE_ENDPOINT)
        return endpoint_call(inv, inv->self);
    const struct kernel_method *method = method_candidate(inv);
    kernel_method_fn fn = method->fn; /* nullptr: op 0 has the shape of what does not exist */
    if (((inv->op ^ method->shape) & METHOD_SHAPE_MASK) == 0 && fn != nullptr && has_right(method, inv)) {
        uint32_t in_words = op_words(inv->op);
        if (in_words != 0)
            words_read(inv, thread, in_words);
        return fn(inv);
    }
    if ((method->shape & METHOD_RAW) && is_named(method, inv->op) && has_right(method, inv))
        return method->fn(inv);
    return refusal(inv, method);
}

/* The way back when nothing needs attention; else through the scheduler. Whoever wants the thread to stop sets its pending flag and
 * then exit_work here or, from another CPU, sends an interrupt, which is taken as soon as user mode is reached. */
static inline struct thread *leave(struct cpu *cpu, struct thread *thread)
{
    if (cpu->exit_work != 0)
        return sched_exit();
    quiesce_leave(cpu);
    return thread;
}

/* Out of memory while something that was given up has not come back: true when it may be there now. Only the thread and its process
 * may be used afterwards. */
static bool wait_for_memory(void)
{
    constexpr uint64_t PATIENCE_NS = 20'000'000; /* four other CPUs' slices */
    return reap_is_pending() && reap_all(arch_time_ns() + PATIENCE_NS);
}

[[clang::noinline]] static status_t run_again(struct invocation *inv, struct thread *thread) { return run(inv, thread); }

/* Long work: others first, interrupts are taken on the way out, and then the call is made again. */
[[clang::noinline]] static struct thread *leave_again(struct thread *current)
{
    arch_frame_rewind_syscall(&current->frame);
    sched_yield();
    return sched_exit();
}

struct thread *kernel_syscall(struct thread *current)
{
    struct cpu *cpu = arch_cpu();
    quiesce_enter(cpu);
    cpu->stats->syscalls++;
    struct invocation inv;
    inv.thread = current;
    inv.cspace = current->process->cspace;
    inv.op = arch_frame_op(&current->frame);
    inv.handle = arch_frame_handle(&current->frame);
    inv.aux = arch_frame_deadline(&current->frame);
    inv.out_count = 0;
    inv.is_submitted = inv.is_committed = false;
    status_t status = run(&inv, current);
    if (__builtin_expect(status != OK, false)) {
        if (status == ERROR_NO_MEMORY && !inv.is_committed && wait_for_memory())
            status = run_again(&inv, current);
        if (status == STATUS_BLOCKED) {
            thread_wait_recheck(current);
            return sched_exit();
        }
        if (status == STATUS_NO_RESULT)
            return cpu->current == current ? leave(cpu, current) : sched_exit();
        if (status == ERROR_RESTART)
            return leave_again(current);
    }
    arch_frame_set_status(&current->frame, status);
    for (uint32_t i = 0; __builtin_expect(i < inv.out_count, false); i++) {
        if (i < 4)
            arch_frame_set_word(&current->frame, i, inv.out[i]);
        else
            current->message->words[i] = inv.out[i];
    }
    return leave(cpu, nullptr);
}

struct thread *kernel_user_fault(struct thread *current, const struct fault *fault)
{
    struct cpu *cpu = arch_cpu();
    quiesce_enter(cpu);
    cpu->stats->faults++;
    if (fault->kind == FAULT_PAGE) {
        uint32_t access = fault->is_execute ? PROT_EXEC : fault->is_write ? PROT_WRITE : PROT_READ;
        status_t status = vspace_fault(current->process->vspace, fault->address, access);
        if (status == ERROR_NO_MEMORY && wait_for_memory())
            status = vspace_fault(current->process->vspace, fault->address, access);
        if (status == OK)
            return leave(cpu, current);
    }
    process_crash(current, fault);
    return sched_exit();
}

struct thread *kernel_user_irq(struct thread *current)
{
    struct cpu *cpu = arch_cpu();
    quiesce_enter(cpu);
    return leave(cpu, current);
}
