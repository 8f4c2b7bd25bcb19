/*
 * For debuggers, checkpoints and process managers: registers of stopped threads, memory of other address spaces, threads of a process.
 * User memory is read or written with no lock held; then everything is done at once under thread->lock.
 */
#include <kernel/abi_dispatch.h>
#include <kernel/handler.h>
#include <kernel/upcall.h>
#include <kernel/vspace.h>
#include <tess/string.h>

/* Registers of the two kinds on their way. */
union registers {
    uint64_t general[ARCH_REGISTERS];
    alignas(64) uint8_t fpu[PAGE_SIZE - 64]; /* arch_fpu_size() is no more */
};

static uint32_t kind_size(uint32_t kind) { return kind == REGISTERS_GENERAL ? ARCH_REGISTERS * sizeof(uint64_t) : arch_fpu_size(); }

static status_t check_kind(const struct thread *thread, uint32_t kind)
{
    if (kind > REGISTERS_FPU)
        return ERROR_BAD_ARGUMENT;
    return kind == REGISTERS_FPU && thread->fpu == nullptr ? ERROR_UNSUPPORTED : OK;
}

status_t thread_get_registers(struct invocation *inv, struct thread *self, uint32_t kind, uint64_t address, uint64_t size,
                              uint64_t *out_size)
{
    union registers registers;
    status_t status = check_kind(self, kind);
    if (status == OK && size < kind_size(kind))
        status = ERROR_OVERFLOW;
    if (status != OK)
        return status;
    spinlock_acquire(&self->lock);
    const struct arch_frame *frame = thread_stopped_frame(self);
    if (frame == nullptr)
        status = ERROR_BUSY;
    else if (kind == REGISTERS_FPU)
        memcpy(registers.fpu, self->fpu, arch_fpu_size());
    else
        arch_frame_get_registers(frame, registers.general);
    spinlock_release(&self->lock);
    if (status != OK)
        return status;
    *out_size = kind_size(kind);
    return user_copy_out(inv->thread->process->vspace, address, &registers, kind_size(kind));
}

status_t thread_set_registers(struct invocation *inv, struct thread *self, uint32_t kind, uint64_t address, uint64_t size)
{
    union registers registers;
    status_t status = check_kind(self, kind);
    if (status == OK && size != kind_size(kind))
        status = ERROR_BAD_ARGUMENT;
    if (status == OK)
        status = user_copy_in(inv->thread->process->vspace, &registers, address, size);
    if (status != OK)
        return status;
    spinlock_acquire(&self->lock);
    struct arch_frame *frame = thread_stopped_frame(self);
    if (frame == nullptr) {
        status = ERROR_BUSY;
    } else if (kind == REGISTERS_FPU) {
        arch_fpu_sanitize(registers.fpu);
        memcpy(self->fpu, registers.fpu, arch_fpu_size());
    } else if (!arch_frame_set_registers(frame, registers.general)) {
        status = ERROR_BAD_ARGUMENT;
    } else {
        self->is_started = true;
    }
    spinlock_release(&self->lock);
    return status;
}

/* A page's part at a time through a buffer, so that neither space's lock is held while the other one faults. */
static status_t copy(struct vspace *to_space, uint64_t to, struct vspace *from_space, uint64_t from, uint64_t size, uint64_t *out_size)
{
    uint8_t bounce[512];
    size = min_u64(size, (uint64_t)VSPACE_COPY_MAX);
    for (*out_size = 0; *out_size < size;) {
        uint64_t at = *out_size, part = min_u64(size - at, sizeof(bounce));
        part = min_u64(part, min_u64(PAGE_SIZE - ((from + at) & (PAGE_SIZE - 1)), PAGE_SIZE - ((to + at) & (PAGE_SIZE - 1))));
        status_t status = user_copy_in(from_space, bounce, from + at, part);
        if (status == OK)
            status = user_copy_out(to_space, to + at, bounce, part);
        if (status != OK)
            return at == 0 || status != ERROR_BAD_ADDRESS ? status : OK;
        *out_size += part;
    }
    return OK;
}

status_t vspace_read(struct invocation *inv, struct vspace *self, uint64_t from, uint64_t to, uint64_t size, uint64_t *out_size)
{
    return copy(inv->thread->process->vspace, to, self, from, size, out_size);
}

status_t vspace_write(struct invocation *inv, struct vspace *self, uint64_t to, uint64_t from, uint64_t size, uint64_t *out_size)
{
    return copy(self, to, inv->thread->process->vspace, from, size, out_size);
}

status_t process_thread_next(struct invocation *inv, struct process *self, uint64_t after_id, uint64_t *out_id, handle_t *out_thread)
{
    struct thread *found = nullptr;
    spinlock_acquire(&self->lock);
    list_for_each (node, &self->threads) {
        struct thread *thread = container_of(node, struct thread, process_node);
        if (thread->object.id > after_id && (found == nullptr || thread->object.id < found->object.id))
            found = thread;
    }
    if (found != nullptr)
        object_get(&found->object);
    spinlock_release(&self->lock);
    if (found == nullptr)
        return ERROR_NOT_FOUND;
    *out_id = found->object.id;
    status_t status = cspace_insert(inv->cspace, &found->object, nullptr, RIGHTS_ALL, nullptr, out_thread);
    object_put(&found->object);
    return status;
}
