/*
 * Upcalls (kernel/upcall.h). The common system call of foreign code and, where it is a kernel call, upcall_return are done by the
 * entry code of the architecture alone; this is the rest, and what they mean.
 */
#include <kernel/abi_dispatch.h>
#include <kernel/handler.h>
#include <kernel/memory.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/upcall.h>

static_assert(UPCALL_PAGE == FAULT_PAGE && UPCALL_ILLEGAL == FAULT_ILLEGAL && UPCALL_BREAKPOINT == FAULT_BREAKPOINT);
static_assert(UPCALL_ALIGNMENT == FAULT_ALIGNMENT && UPCALL_ARITHMETIC == FAULT_ARITHMETIC && UPCALL_FPU == FAULT_FPU);
static_assert(UPCALL_GENERAL == FAULT_GENERAL && UPCALL_NO_MEMORY == FAULT_NO_MEMORY && UPCALL_GUARD == FAULT_GUARD);
static_assert(UPCALL_PAGER == FAULT_PAGER);
static_assert(ARCH_REGISTERS <= ARRAY_LENGTH(((struct tess_upcall_context *)nullptr)->registers));

/* What the frame says, once. */
static uint64_t shared_u64(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
static uint32_t shared_u32(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
static void share_u64(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }
static void share_u32(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }

static void describe(struct tess_upcall_context *context, uint32_t cause, uint32_t access, uint64_t address, uint64_t code)
{
    share_u32(&context->cause, cause);
    share_u32(&context->access, access);
    share_u64(&context->address, address);
    share_u64(&context->code, code);
}

static void save(struct tess_upcall_context *context, const struct thread *thread)
{
    uint64_t registers[ARCH_REGISTERS];
    arch_frame_get_registers(&thread->frame, registers);
    for (uint32_t i = 0; i < ARCH_REGISTERS; i++)
        share_u64(&context->registers[i], registers[i]);
}

static void enter(struct thread *thread, const struct tess_upcall_context *context, uint64_t entry)
{
    arch_frame_enter_upcall(&thread->frame, entry, shared_u64(&context->stack), thread->upcall_address);
}

bool upcall_fault(struct thread *thread, const struct fault *fault)
{
    struct tess_upcall_frame *frame = thread->upcall;
    if (frame == nullptr)
        return false;
    bool is_foreign = is_foreign_code(thread, arch_frame_pc(&thread->frame));
    struct tess_upcall_context *context = is_foreign ? &frame->foreign : &frame->native;
    uint64_t entry = is_foreign ? thread->upcall_entry : thread->upcall_fault_entry;
    /* A fault of the code that handles such a fault: it would go on for ever. */
    if (entry == 0 || (!is_foreign && shared_u32(&context->cause) != 0))
        return false;
    save(context, thread);
    describe(context, fault->kind, (fault->is_write ? UPCALL_WRITE : 0) | (fault->is_execute ? UPCALL_EXECUTE : 0), fault->address,
             fault->code);
    enter(thread, context, entry);
    return true;
}

/* ---- Interrupts ---- */

bool upcall_mark_interrupt(struct thread *thread)
{
    spinlock_acquire(&thread->lock);
    atomic_fetch_or(&thread->pending, THREAD_PENDING_INTERRUPT);
    bool is_sticky = thread->upcall != nullptr;
    if (is_sticky)
        share_u32(&thread->upcall->pending, 1);
    spinlock_release(&thread->lock);
    return is_sticky;
}

bool upcall_is_masked(struct thread *thread)
{
    spinlock_acquire(&thread->lock);
    bool is_masked = thread->upcall != nullptr && shared_u32(&thread->upcall->mask) != 0;
    spinlock_release(&thread->lock);
    return is_masked;
}

/* Flag and mark go together, so that no mark is left of an interrupt that was consumed. */
static bool consume(struct thread *thread)
{
    spinlock_acquire(&thread->lock);
    uint32_t old = atomic_fetch_and(&thread->pending, ~(uint32_t)THREAD_PENDING_INTERRUPT);
    share_u32(&thread->upcall->pending, 0);
    spinlock_release(&thread->lock);
    return (old & THREAD_PENDING_INTERRUPT) != 0;
}

void upcall_interrupt(struct thread *thread)
{
    struct tess_upcall_frame *frame = thread->upcall;
    if (frame == nullptr)
        return;
    uint64_t pc = arch_frame_pc(&thread->frame);
    if (is_foreign_code(thread, pc)) {
        if (!consume(thread))
            return;
        save(&frame->foreign, thread);
        describe(&frame->foreign, UPCALL_INTERRUPT, 0, 0, 0);
        enter(thread, &frame->foreign, thread->upcall_entry);
    } else if (pc >= shared_u64(&frame->restart_start) && pc < shared_u64(&frame->restart_end)) {
        /* It looked at `pending` and is about to go back to foreign code without us. It looks again. */
        uint64_t target = shared_u64(&frame->restart_target);
        if (target >= NATIVE_BASE && target < USER_TOP)
            arch_frame_set_pc(&thread->frame, target);
    }
}

/* ---- Return ---- */

/* The context may hold anything. What no register may hold is a fault of the code that put it there. */
static void restore(struct thread *thread, struct tess_upcall_context *context)
{
    uint64_t registers[ARCH_REGISTERS];
    for (uint32_t i = 0; i < ARCH_REGISTERS; i++)
        registers[i] = shared_u64(&context->registers[i]);
    static const struct fault bad_registers = {.kind = FAULT_GENERAL};
    if (!arch_frame_set_registers(&thread->frame, registers) && !upcall_fault(thread, &bad_registers))
        process_crash(thread, &bad_registers);
}

static void upcall_return(struct thread *thread)
{
    struct tess_upcall_frame *frame = thread->upcall;
    if (arch_frame_op(&thread->frame) != 0) {
        share_u32(&frame->native.cause, 0);
        restore(thread, &frame->native);
        return;
    }
    /* As if the foreign code had gone on and been interrupted before its first instruction. */
    if (consume(thread)) {
        describe(&frame->foreign, UPCALL_INTERRUPT, 0, 0, 0);
        enter(thread, &frame->foreign, thread->upcall_entry);
        return;
    }
    restore(thread, &frame->foreign);
}

struct thread *kernel_foreign_syscall(struct thread *current)
{
    struct cpu *cpu = arch_cpu();
    quiesce_enter(cpu);
    struct tess_upcall_frame *frame = current->upcall;
    bool is_gate = arch_frame_pc(&current->frame) > NATIVE_BASE;
    if (frame == nullptr) {
        static const struct fault unhandled = {.kind = FAULT_ILLEGAL};
        if (is_gate || !handler_ask(current, &unhandled, UPCALL_SYSTEM_CALL, false))
            process_crash(current, &unhandled);
    } else if (is_gate) {
        upcall_return(current);
    } else {
        save(&frame->foreign, current);
        describe(&frame->foreign, UPCALL_SYSTEM_CALL, 0, 0, 0);
        enter(current, &frame->foreign, current->upcall_entry);
    }
    if (cpu->exit_work != 0 || cpu->current != current)
        return sched_exit();
    quiesce_leave(cpu);
    return current;
}

/* ---- Set-up ---- */

static void unpin(struct memory *memory, uint64_t index)
{
    if (memory != nullptr) {
        memory_unpin(memory, index, 1);
        object_put(&memory->object);
    }
}

void upcall_release(struct thread *thread) { unpin(thread->upcall_memory, thread->upcall_index); }

/* On itself, or on a thread that nobody can start meanwhile. */
static void set_locked(struct thread *thread, struct tess_upcall_frame *frame, uint64_t address, uint64_t entry, uint64_t fault_entry)
    REQUIRES(&thread->lock)
{
    thread->upcall = frame;
    thread->upcall_entry = entry;
    thread->upcall_fault_entry = fault_entry;
    thread->upcall_address = address;
    thread->native_limit = NATIVE_BASE + NATIVE_GATE_SIZE;
    arch_frame_set_upcall_address(&thread->frame, address);
    share_u32(&frame->pending, (atomic_load(&thread->pending) & THREAD_PENDING_INTERRUPT) != 0);
}

static bool is_native_entry(uint64_t address) { return address >= NATIVE_BASE && address < USER_TOP; }

status_t thread_set_upcall(struct invocation *inv, struct thread *self, const struct cap *memory, uint64_t offset, uint64_t address,
                           uint64_t entry, uint64_t fault_entry)
{
    struct memory *object = (struct memory *)memory->object;
    if (offset % UPCALL_FRAME_SIZE != 0 || offset >> PAGE_SHIFT >= peek(object->size_pages) || address >= USER_TOP ||
        !is_native_entry(entry) || (fault_entry != 0 && !is_native_entry(fault_entry)))
        return ERROR_BAD_ARGUMENT;
    status_t status = memory_pin(object, offset >> PAGE_SHIFT, 1);
    if (status != OK)
        return status;
    paddr_t page = 0;
    spinlock_acquire(&object->lock);
    status = memory_page_locked(object, offset >> PAGE_SHIFT, false, &page);
    spinlock_release(&object->lock);
    object_get(&object->object);
    struct memory *old = object; /* what is to be let go */
    uint64_t old_index = offset >> PAGE_SHIFT;
    bool is_own = self == inv->thread;
    spinlock_acquire(&self->lock);
    if (status == OK && !is_own && self->is_started)
        status = ERROR_BUSY;
    if (status == OK) {
        old = self->upcall_memory;
        old_index = self->upcall_index;
        self->upcall_memory = object;
        self->upcall_index = offset >> PAGE_SHIFT;
        set_locked(self, (struct tess_upcall_frame *)((uint8_t *)phys_to_virt(page) + (offset & (PAGE_SIZE - 1))), address, entry,
                   fault_entry);
    }
    spinlock_release(&self->lock);
    if (status == OK && is_own)
        arch_upcall_address_load(&self->frame);
    unpin(old, old_index);
    return status;
}

status_t upcall_clone(struct thread *thread, const struct thread *from, struct memory *memory)
{
    uint64_t index = from->upcall_index;
    status_t status = memory_pin(memory, index, 1);
    if (status != OK)
        return status;
    paddr_t page = 0;
    spinlock_acquire(&memory->lock);
    status = memory_page_locked(memory, index, false, &page); /* there: it is pinned */
    spinlock_release(&memory->lock);
    if (status != OK) {
        memory_unpin(memory, index, 1);
        return status;
    }
    object_get(&memory->object);
    spinlock_acquire(&thread->lock);
    thread->upcall_memory = memory;
    thread->upcall_index = index;
    set_locked(thread, (struct tess_upcall_frame *)((uint8_t *)phys_to_virt(page) + ((uintptr_t)from->upcall & (PAGE_SIZE - 1))),
               from->upcall_address, from->upcall_entry, from->upcall_fault_entry);
    spinlock_release(&thread->lock);
    return OK;
}

void upcall_reset(struct thread *thread)
{
    spinlock_acquire(&thread->lock);
    struct memory *old = thread->upcall_memory;
    thread->upcall = nullptr;
    thread->upcall_memory = nullptr;
    thread->upcall_entry = thread->upcall_fault_entry = thread->upcall_address = 0;
    thread->native_limit = 0;
    spinlock_release(&thread->lock);
    unpin(old, thread->upcall_index);
}
