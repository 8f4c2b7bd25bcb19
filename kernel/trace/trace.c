/*
 * The trace: one recording at a time, in one contiguous memory object cut into a buffer for each CPU and one more, for the lives of
 * processes and threads. The memory is charged to the untyped given and handed out read-only; nobody else can write it, so what the
 * kernel keeps in the buffers' headers can be believed.
 *
 * The recording does not count its memory: the memory's kill ends the recording (trace_memory_gone), and a CPU that is still writing
 * is in a kernel entry that began before the grace period. `recording` and the life buffer are guarded by trace_lock, a leaf; a CPU's
 * mask and buffer are changed under it and read by that CPU without.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/memory.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/trace_events.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>

struct trace trace_object;

constexpr uint32_t RECORDS_MIN = 64, RECORDS_MAX = 1u << 18;
constexpr uint64_t READ_MAX = 256; /* records copied by one call */

static struct spinlock trace_lock;
static struct {
    struct memory *memory; /* not counted; nullptr = none */
    uint8_t *base;         /* direct-map address */
    uint64_t buffer_bytes;
    uint32_t classes; /* 0 = stopped */
    uint64_t start_ns;
} recording GUARDED_BY(&trace_lock);
static _Atomic uint64_t only_process; /* 0 = all */

void trace_init(void) { object_init_static(&trace_object.object, OBJECT_TRACE, sizeof(trace_object)); }

/* ---- Writing ---- */

static struct tess_trace_record *record_at(struct tess_trace_buffer *buffer, uint64_t number)
{
    return (struct tess_trace_record *)(buffer + 1) + number % buffer->capacity;
}

/* Words are stored whole: readers look at them meanwhile, and then at head, to see what they can believe. */
static void append(struct tess_trace_buffer *buffer, const struct tess_trace_record *record)
{
    _Atomic uint64_t *head = (_Atomic uint64_t *)&buffer->head;
    uint64_t number = atomic_load_explicit(head, memory_order_relaxed);
    uint64_t *to = (uint64_t *)record_at(buffer, number);
    const uint64_t *from = (const uint64_t *)record;
    atomic_thread_fence(memory_order_release); /* who sees a new word sees the old head, or a later one */
    for (uint32_t i = 0; i < sizeof(*record) / sizeof(uint64_t); i++)
        __atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
    atomic_store_explicit(head, number + 1, memory_order_release);
}

static struct tess_trace_record make(const struct cpu *cpu, uint16_t event, uint64_t thread, uint64_t first, uint64_t second)
{
    return (struct tess_trace_record){
        .time_ns = arch_time_ns(), .event = event, .cpu = (uint16_t)cpu->index, .thread = (uint32_t)thread, .args = {first, second}};
}

void trace_write(struct cpu *cpu, uint16_t event, uint64_t thread, uint64_t first, uint64_t second)
{
    struct tess_trace_buffer *buffer = atomic_load_explicit(&cpu->trace.buffer, memory_order_acquire);
    uint64_t only = atomic_load_explicit(&only_process, memory_order_relaxed);
    /* Outside an epoch (an interrupt in idle) nothing keeps the buffer. */
    if (buffer == nullptr || atomic_load_explicit(&cpu->epoch, memory_order_relaxed) == 0 ||
        (only != 0 && only != cpu->trace.process_id && event != TRACE_SWITCH))
        return;
    struct tess_trace_record record = make(cpu, event, thread, first, second);
    append(buffer, &record);
}

static struct tess_trace_buffer *buffer_at(uint32_t index) REQUIRES(&trace_lock)
{
    return (struct tess_trace_buffer *)(recording.base + index * recording.buffer_bytes);
}

void trace_write_life(struct cpu *cpu, uint16_t event, uint64_t thread, uint64_t first, uint64_t second)
{
    spinlock_acquire(&trace_lock);
    if (recording.memory != nullptr) {
        struct tess_trace_record record = make(cpu, event, thread, first, second);
        append(buffer_at(cpu_count), &record);
    }
    spinlock_release(&trace_lock);
}

void trace_switched(struct cpu *cpu, const struct thread *thread)
{
    uint64_t old_thread = cpu->trace.thread_id, old_process = cpu->trace.process_id, only = atomic_load(&only_process);
    cpu->trace.thread_id = thread != nullptr ? thread->object.id : 0;
    cpu->trace.process_id = thread != nullptr ? thread->process->object.id : 0;
    bool is_wanted = only == 0 || only == old_process || only == cpu->trace.process_id;
    if (is_wanted && old_thread != cpu->trace.thread_id)
        trace_switch(cpu, old_thread, (uint32_t)cpu->trace.thread_id, (uint32_t)cpu->trace.process_id,
                     old_thread != 0 ? cpu->trace.why : 0);
    cpu->trace.why = TRACE_WHY_WAITS;
}

void trace_handed_over(struct cpu *cpu, const struct thread *from, const struct thread *to)
{
    const struct invocation *inv = cpu->invocation;
    trace_why(cpu, TRACE_WHY_HANDS_OVER);
    if (op_interface(inv->op) != INTERFACE_ENDPOINT)
        trace_call(cpu, from->object.id, inv->object->id, (uint32_t)inv->op, (uint32_t)to->owed.sequence);
    else
        trace_reply(cpu, from->object.id, (uint32_t)to->object.id, (uint32_t)(atomic_load(&to->wait_word) >> 8), op_status(inv->op));
}

void trace_call_made(struct cpu *cpu, status_t status) { trace_syscall(cpu, trace_thread_id(cpu), (uint32_t)cpu->invocation->op, status); }

void smp_poll_for(const struct spinlock *lock)
{
    constexpr uint64_t SAME_WAIT_NS = 20'000;
    struct cpu *cpu = arch_cpu();
    smp_poll();
    if (!trace_is_on(cpu, TRACE_CLASS_LOCK))
        return;
    uint64_t now = arch_time_ns();
    bool is_same = cpu->trace.waited_for == lock && now - cpu->trace.waited_at_ns < SAME_WAIT_NS;
    cpu->trace.waited_for = lock;
    cpu->trace.waited_at_ns = now;
    const char *site = __builtin_return_address(0);
    if (!is_same)
        trace_lock_wait(cpu, trace_thread_id(cpu), (uint32_t)(site - kernel_image_start));
}

void trace_update(struct cpu *cpu)
{
    bool was_on = (cpu->exit_work & EXIT_TRACE) != 0, is_on = peek(cpu->trace.mask) != 0;
    cpu->exit_work = is_on ? cpu->exit_work | EXIT_TRACE : cpu->exit_work & ~(uint32_t)EXIT_TRACE;
    if (is_on && !was_on) {
        const struct thread *thread = cpu->current;
        cpu->trace.thread_id = thread != nullptr ? thread->object.id : 0;
        cpu->trace.process_id = thread != nullptr ? thread->process->object.id : 0;
    }
}

/* ---- Starting and stopping ---- */

static void set_masks(void) REQUIRES(&trace_lock)
{
    for (uint32_t i = 0; i < cpu_count; i++) {
        struct tess_trace_buffer *buffer = recording.memory != nullptr ? buffer_at(i) : nullptr;
        atomic_store_explicit(&cpus[i]->trace.buffer, buffer, memory_order_release);
        peekable_set(cpus[i]->trace.mask, recording.classes);
    }
}

/* No lock held: the other CPUs learn what was set. */
static void tell_cpus(void)
{
    for (uint32_t i = 0; i < cpu_count; i++) {
        if (cpus[i] == arch_cpu())
            trace_update(cpus[i]);
        else if (atomic_load(&cpus[i]->is_online))
            smp_kick(i);
    }
}

void trace_memory_gone(struct memory *memory)
{
    spinlock_acquire(&trace_lock);
    bool was_ours = recording.memory == memory;
    if (was_ours) {
        recording.memory = nullptr;
        recording.classes = 0;
        set_masks();
    }
    spinlock_release(&trace_lock);
    if (was_ours)
        tell_cpus();
}

/* So that every thread has a process and a name, also those that were there before. */
static void record_lives(struct cpu *cpu)
{
    struct process *process;
    for (uint64_t id = 0; (process = process_find(id, false)) != nullptr; object_put(&process->object)) {
        id = process->object.id;
        trace_process(cpu, id, process->name);
        spinlock_acquire(&process->lock);
        list_for_each (node, &process->threads)
            trace_thread(cpu, container_of(node, struct thread, process_node)->object.id, (uint32_t)id);
        spinlock_release(&process->lock);
    }
}

status_t trace_start(struct invocation *inv, struct trace *self, const struct cap *untyped, uint32_t records, uint32_t classes,
                     uint64_t process_id, handle_t *out_memory)
{
    (void)self;
    if (records < RECORDS_MIN || records > RECORDS_MAX)
        return ERROR_BAD_ARGUMENT;
    uint64_t bytes = align_up(sizeof(struct tess_trace_buffer) + records * sizeof(struct tess_trace_record), PAGE_SIZE);
    struct memory *memory;
    status_t status = memory_create((struct untyped *)untyped->object, bytes / PAGE_SIZE * (cpu_count + 1), MEMORY_CONTIGUOUS, &memory);
    if (status != OK)
        return status;
    memory->is_traced = true;
    spinlock_acquire(&memory->lock);
    memory->pin_count++; /* for ever */
    spinlock_release(&memory->lock);
    uint8_t *base = phys_to_virt(memory->run);
    for (uint32_t i = 0; i <= cpu_count; i++) {
        struct tess_trace_buffer *buffer = (struct tess_trace_buffer *)(base + i * bytes);
        buffer->index = i;
        buffer->capacity = (bytes - sizeof(*buffer)) / sizeof(struct tess_trace_record);
    }
    spinlock_acquire(&trace_lock);
    bool is_busy = recording.memory != nullptr && recording.classes != 0;
    if (!is_busy) {
        recording.memory = memory;
        recording.base = base;
        recording.buffer_bytes = bytes;
        recording.classes = classes | TRACE_CLASS_LIFE;
        recording.start_ns = arch_time_ns();
        atomic_store(&only_process, process_id);
        set_masks();
    }
    spinlock_release(&trace_lock);
    if (is_busy) {
        object_put(&memory->object);
        return ERROR_BUSY;
    }
    tell_cpus();
    record_lives(arch_cpu());
    /* Its kill, when no handle can be given, ends the recording. */
    return invocation_give(inv, &memory->object, (0xFF & ~(uint32_t)RIGHT_OWNER) | MEMORY_RIGHT_READ, out_memory);
}

static status_t set_classes(uint32_t classes, bool has_process, uint64_t process_id)
{
    spinlock_acquire(&trace_lock);
    bool is_there = recording.memory != nullptr;
    if (is_there) {
        recording.classes = classes;
        if (has_process)
            atomic_store(&only_process, process_id);
        set_masks();
    }
    spinlock_release(&trace_lock);
    if (!is_there)
        return ERROR_NOT_FOUND;
    tell_cpus();
    return OK;
}

status_t trace_change(struct invocation *inv, struct trace *self, uint32_t classes, uint64_t process_id)
{
    (void)inv, (void)self;
    return set_classes(classes | TRACE_CLASS_LIFE, true, process_id);
}

status_t trace_stop(struct invocation *inv, struct trace *self)
{
    (void)inv, (void)self;
    return set_classes(0, false, 0);
}

/* ---- Reading ---- */

status_t trace_info(struct invocation *inv, struct trace *self, uint32_t *out_buffers, uint32_t *out_records, uint64_t *out_buffer_bytes,
                    uint32_t *out_classes, uint64_t *out_process_id, uint64_t *out_start_ns)
{
    (void)inv, (void)self;
    spinlock_acquire(&trace_lock);
    if (recording.memory != nullptr) {
        *out_buffers = cpu_count + 1;
        *out_records = (uint32_t)buffer_at(0)->capacity;
        *out_buffer_bytes = recording.buffer_bytes;
        *out_classes = recording.classes;
        *out_process_id = atomic_load(&only_process);
        *out_start_ns = recording.start_ns;
    }
    spinlock_release(&trace_lock);
    return OK;
}

/* Copies up to `count` records from *cursor on; returns how many are whole, and how many before them were overwritten. */
static uint32_t copy_out(struct tess_trace_buffer *buffer, uint64_t *cursor, struct tess_trace_record *to, uint32_t count,
                         uint64_t *out_lost)
{
    _Atomic uint64_t *head = (_Atomic uint64_t *)&buffer->head;
    uint64_t end = atomic_load_explicit(head, memory_order_acquire), first = *cursor;
    /* The oldest slot may be in the middle of being overwritten. */
    uint64_t oldest = end >= buffer->capacity ? end - buffer->capacity + 1 : 0;
    if (first < oldest)
        first = oldest;
    uint32_t taken = first < end ? (uint32_t)min_u64(count, end - first) : 0;
    for (uint32_t n = 0; n < taken; n++) {
        const uint64_t *from = (const uint64_t *)record_at(buffer, first + n);
        for (uint32_t i = 0; i < sizeof(*to) / sizeof(uint64_t); i++)
            ((uint64_t *)&to[n])[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
    atomic_thread_fence(memory_order_acquire); /* pairs with the one in append() */
    end = atomic_load_explicit(head, memory_order_relaxed);
    oldest = end >= buffer->capacity ? end - buffer->capacity + 1 : 0;
    uint32_t overtaken = oldest > first ? (uint32_t)min_u64(oldest - first, taken) : 0;
    for (uint32_t n = 0; n + overtaken < taken && overtaken != 0; n++)
        to[n] = to[n + overtaken];
    *out_lost = first + overtaken - *cursor;
    *cursor = first + taken;
    return taken - overtaken;
}

status_t trace_read(struct invocation *inv, struct trace *self, uint32_t index, uint64_t cursor, uint64_t address, uint64_t size,
                    uint64_t *out_cursor, uint64_t *out_count, uint64_t *out_lost)
{
    (void)self;
    if (size < sizeof(struct tess_trace_record))
        return ERROR_BAD_ARGUMENT;
    spinlock_acquire(&trace_lock);
    /* The memory may be killed from now on; it is not freed before this kernel entry ends. */
    struct tess_trace_buffer *buffer = recording.memory != nullptr && index <= cpu_count ? buffer_at(index) : nullptr;
    spinlock_release(&trace_lock);
    if (buffer == nullptr)
        return ERROR_NOT_FOUND;
    uint64_t head = atomic_load((_Atomic uint64_t *)&buffer->head), wanted = min_u64(size / sizeof(struct tess_trace_record), READ_MAX);
    uint64_t next = min_u64(cursor, head), done = 0, lost = 0;
    while (done < wanted && next < head) {
        struct tess_trace_record records[16];
        uint64_t missed;
        uint32_t count = copy_out(buffer, &next, records, (uint32_t)min_u64(wanted - done, ARRAY_LENGTH(records)), &missed);
        lost += cursor == 0 && done == 0 ? 0 : missed; /* from "the oldest" on nothing is missing */
        status_t status =
            user_copy_out(inv->thread->process->vspace, address + done * sizeof(records[0]), records, count * sizeof(records[0]));
        if (status != OK)
            return status;
        done += count;
        if (count == 0 && missed == 0)
            break;
    }
    *out_cursor = next;
    *out_count = done;
    *out_lost = lost;
    return OK;
}
