/* Pagers: who waits for a page, and how it comes. See kernel/pager.h; what a pager does with pages that are there: pager_page.c. */
#include <kernel/abi_dispatch.h>
#include <kernel/ipc.h>
#include <kernel/pager.h>
#include <kernel/process.h>
#include <kernel/region.h>
#include <kernel/sched.h>
#include <kernel/upcall.h>

/* wait_bits of a thread: the memory's id, whether the page was told to the pager, and the access. */
constexpr uint64_t FAULT_TOLD = 0x80, FAULT_ACCESS = UPCALL_WRITE | UPCALL_EXECUTE;
constexpr uint32_t FAULT_ID_SHIFT = 8;

static uint64_t fault_memory(const struct thread *thread) { return thread->wait_bits >> FAULT_ID_SHIFT; }

static struct thread *thread_at(struct list_node *node) { return waiter_thread(container_of(node, struct waiter, node)); }

static bool is_for(const struct thread *thread, const struct thread *other)
{
    return thread->wait_arg == other->wait_arg && fault_memory(thread) == fault_memory(other);
}

/* ---- Who waits ---- */

/* What a request says of the page that `thread` waits for; all who wait for it count as told. */
static void tell_locked(struct pager *pager, struct thread *thread, uint64_t words[4]) REQUIRES(&pager->lock)
{
    uint64_t access = 0;
    list_for_each (node, &pager->faults.waiters) {
        struct thread *other = thread_at(node);
        if (!is_for(other, thread))
            continue;
        other->wait_bits |= FAULT_TOLD;
        access |= other->wait_bits & FAULT_ACCESS;
    }
    words[0] = thread->fault_key;
    words[1] = thread->wait_arg << PAGE_SHIFT;
    words[2] = PAGE_SIZE;
    words[3] = access;
}

/* One who asks for requests gets the one of this thread, which is about to wait; true when there was one. */
static bool tell_taker_locked(struct pager *pager, struct thread *thread) REQUIRES(&pager->lock)
{
    for (struct list_node *node = list_first(&pager->takers.waiters), *next; node != nullptr; node = next) {
        next = list_next(&pager->takers.waiters, node);
        struct waiter *waiter = container_of(node, struct waiter, node);
        if (!waiter_claim_any(waiter))
            continue; /* whoever ends its wait unlinks it */
        list_remove(node);
        const uint64_t words[] = {thread->fault_key, thread->wait_arg << PAGE_SHIFT, PAGE_SIZE, thread->wait_bits & FAULT_ACCESS};
        waiter_end(waiter, OK, words, ARRAY_LENGTH(words));
        return true;
    }
    return false;
}

static void join_locked(struct pager *pager, struct thread *thread, struct memory *memory, uint64_t index) REQUIRES(&pager->lock)
{
    uint32_t access = (thread->fault_access & PROT_WRITE ? UPCALL_WRITE : 0) | (thread->fault_access & PROT_EXEC ? UPCALL_EXECUTE : 0);
    thread->wait_arg = index;
    thread->wait_bits = memory->object.id << FAULT_ID_SHIFT | access;
    thread->fault_key = memory->pager_key;
    bool is_asked = false;
    list_for_each (node, &pager->faults.waiters) {
        if (is_for(thread_at(node), thread)) {
            thread->wait_bits |= thread_at(node)->wait_bits & FAULT_TOLD;
            is_asked = true;
            break;
        }
    }
    if (!is_asked && tell_taker_locked(pager, thread))
        thread->wait_bits |= FAULT_TOLD;
    thread->fault_saved = (uint64_t)arch_frame_status(&thread->frame);
    thread->fault_status = OK;
    atomic_fetch_or(&thread->pending, THREAD_PENDING_FAULT);
    list_push_back(&pager->faults.waiters, &thread->wait_node);
    thread->fault_sequence = thread_wait_publish(thread, &pager->faults, nullptr, DEADLINE_INFINITE);
}

static status_t wait_locked(struct thread *thread, struct memory *memory, uint64_t index) REQUIRES(&memory->lock)
{
    paddr_t page;
    struct pager *pager = memory->pager;
    if (!memory->is_paged || index >= memory->size_pages || memory_page_locked(memory, index, false, &page) == OK)
        return OK; /* it came meanwhile, or the access is a bad one by now */
    if (pager == nullptr)
        return ERROR_PEER_DIED;
    spinlock_acquire(&pager->lock);
    join_locked(pager, thread, memory, index);
    spinlock_release(&pager->lock);
    return STATUS_BLOCKED;
}

status_t pager_wait(struct thread *thread, vaddr_t address, uint32_t access)
{
    /* The pager gave this very access up: nothing else was waited for since. */
    status_t failed = thread->fault_status;
    thread->fault_status = OK;
    if (failed != OK && thread->fault_address == address && thread->fault_sequence == thread_wait_sequence(thread))
        return failed;
    thread->fault_address = address;
    thread->fault_access = access;
    struct vspace *vspace = thread->process->vspace;
    status_t status = OK;
    spinlock_acquire(&vspace->lock);
    struct region *region = region_at_or_after(vspace, address);
    if (region != nullptr && region->start <= address && (region->prot & access) == access && region->memory != nullptr) {
        struct memory *memory = region->memory;
        spinlock_acquire(&memory->lock);
        status = wait_locked(thread, memory, region->offset_pages + ((address - region->start) >> PAGE_SHIFT));
        spinlock_release(&memory->lock);
    }
    spinlock_release(&vspace->lock);
    return status;
}

void pager_wait_finish(struct thread *thread)
{
    int64_t status = arch_frame_status(&thread->frame);
    arch_frame_set_status(&thread->frame, (int64_t)thread->fault_saved);
    thread->fault_status = status == ERROR_INTERRUPTED ? OK : (status_t)status;
    atomic_fetch_and(&thread->pending, ~(uint32_t)THREAD_PENDING_FAULT);
}

bool pager_wait_is_masked(const struct thread *thread)
{
    return (atomic_load(&thread->pending) & THREAD_PENDING_FAULT) != 0 &&
           (thread->upcall == nullptr || !is_foreign_code(thread, arch_frame_pc(&thread->frame)));
}

/* Ends some of the waits for these pages; true when there may be more. */
static bool end_some(struct pager *pager, uint64_t id, uint64_t first, uint64_t count, status_t status) REQUIRES(&pager->lock)
{
    constexpr uint32_t AT_ONCE = 8;
    uint32_t ended = 0;
    for (struct list_node *node = list_first(&pager->faults.waiters), *next; node != nullptr && ended < AT_ONCE; node = next) {
        next = list_next(&pager->faults.waiters, node);
        struct waiter *waiter = container_of(node, struct waiter, node);
        struct thread *thread = waiter_thread(waiter);
        if (fault_memory(thread) != id || thread->wait_arg - first >= count || !waiter_claim_any(waiter))
            continue; /* one whose wait somebody else ends is unlinked by him */
        list_remove(node);
        waiter_end(waiter, status, nullptr, 0);
        ended++;
    }
    return ended == AT_ONCE;
}

static void end_waits(struct pager *pager, uint64_t id, uint64_t first, uint64_t count, status_t status)
{
    for (bool has_more = true; has_more;) {
        spinlock_acquire(&pager->lock);
        has_more = end_some(pager, id, first, count, status);
        spinlock_release(&pager->lock);
        arch_irq_poll();
    }
}

void pager_wake(struct memory *memory, uint64_t first, uint64_t count)
{
    struct pager *pager = peek(memory->pager); /* stays readable for this kernel entry; its own end wakes all */
    if (pager != nullptr)
        end_waits(pager, memory->object.id, first, count, OK);
}

/* ---- Life ---- */

static void detach_locked(struct pager *pager, struct memory *memory) REQUIRES(&memory->lock)
{
    spinlock_acquire(&pager->lock);
    list_remove(&memory->pager_node);
    peekable_set(memory->pager, nullptr);
    spinlock_release(&pager->lock);
}

void pager_memory_gone(struct memory *memory)
{
    spinlock_acquire(&memory->lock);
    struct pager *pager = memory->pager;
    if (pager != nullptr)
        detach_locked(pager, memory);
    spinlock_release(&memory->lock);
    if (pager != nullptr)
        end_waits(pager, memory->object.id, 0, UINT64_MAX, OK);
}

/* Takes one memory away from the pager; false when there is none. The memory stays readable for this kernel entry. */
static bool detach_one(struct pager *pager)
{
    spinlock_acquire(&pager->lock);
    struct list_node *node = list_first(&pager->memories);
    spinlock_release(&pager->lock);
    if (node == nullptr)
        return false;
    struct memory *memory = container_of(node, struct memory, pager_node);
    spinlock_acquire(&memory->lock);
    if (memory->pager == pager)
        detach_locked(pager, memory);
    spinlock_release(&memory->lock);
    return true;
}

static void pager_kill(struct object *object)
{
    struct pager *pager = (struct pager *)object;
    while (detach_one(pager))
        arch_irq_poll();
    wait_queue_end(&pager->faults, ERROR_PEER_DIED);
    wait_queue_end(&pager->takers, ERROR_PEER_DIED);
}

const struct object_class pager_class = {.kill = pager_kill};

/* ---- Methods ---- */

status_t untyped_create_pager(struct invocation *inv, struct untyped *self, handle_t *out_pager)
{
    struct pager *pager;
    status_t status = object_create(self, OBJECT_PAGER, sizeof(struct pager), (void **)&pager);
    if (status != OK)
        return status;
    pager->faults.lock = pager->takers.lock = &pager->lock;
    list_init(&pager->faults.waiters);
    list_init(&pager->takers.waiters);
    list_init(&pager->memories);
    return invocation_give(inv, &pager->object, RIGHTS_ALL, out_pager);
}

static status_t attach(struct pager *pager, struct memory *memory, uint64_t key)
{
    spinlock_acquire(&memory->lock);
    spinlock_acquire(&pager->lock);
    /* The pager's end looks at the list after it has changed the state. */
    bool is_alive = object_is_alive(&pager->object);
    memory->is_plain = false;
    memory->is_paged = memory->may_share = true;
    memory->pager_key = key;
    if (is_alive) {
        list_push_back(&pager->memories, &memory->pager_node);
        peekable_set(memory->pager, pager);
    }
    spinlock_release(&pager->lock);
    spinlock_release(&memory->lock);
    return is_alive ? OK : ERROR_STALE_HANDLE;
}

status_t pager_create_memory(struct invocation *inv, struct pager *self, const struct cap *untyped, uint64_t size_bytes, uint64_t key,
                             handle_t *out_memory)
{
    uint64_t pages = size_bytes / PAGE_SIZE + (size_bytes % PAGE_SIZE != 0);
    if (pages == 0 || pages > MEMORY_PAGES_MAX)
        return ERROR_BAD_ARGUMENT;
    struct memory *memory;
    status_t status = memory_create((struct untyped *)untyped->object, pages, MEMORY_RESIZABLE, &memory);
    if (status != OK)
        return status;
    status = attach(self, memory, key);
    if (status == OK)
        return invocation_give(inv, &memory->object, RIGHTS_ALL, out_memory);
    object_put(&memory->object);
    return status;
}

status_t pager_request(struct invocation *inv, struct pager *self, uint64_t *out_key, uint64_t *out_offset, uint64_t *out_size,
                       uint32_t *out_access)
{
    uint64_t words[4] = {};
    status_t status = ERROR_WOULD_BLOCK;
    spinlock_acquire(&self->lock);
    list_for_each (node, &self->faults.waiters) {
        if ((thread_at(node)->wait_bits & FAULT_TOLD) == 0) {
            tell_locked(self, thread_at(node), words);
            status = OK;
            break;
        }
    }
    if (status != OK)
        status = !object_is_alive(&self->object) ? ERROR_PEER_DIED
                 : inv->aux == DEADLINE_NOW      ? ERROR_TIMED_OUT
                                                 : wait_begin(inv, &self->takers, &self->object, 0, 0);
    spinlock_release(&self->lock);
    *out_key = words[0];
    *out_offset = words[1];
    *out_size = words[2];
    *out_access = (uint32_t)words[3];
    return status;
}

status_t pager_fail(struct invocation *inv, struct pager *self, const struct cap *memory, uint64_t offset, uint64_t size, int32_t status)
{
    (void)inv;
    struct memory *object = (struct memory *)memory->object;
    uint64_t end;
    if (((offset | size) & (PAGE_SIZE - 1)) != 0 || ckd_add(&end, offset, size) || status >= 0 || status < -4095)
        return ERROR_BAD_ARGUMENT;
    if (peek(object->pager) != self)
        return ERROR_REFUSED;
    end_waits(self, object->object.id, offset >> PAGE_SHIFT, size >> PAGE_SHIFT, status);
    return OK;
}
