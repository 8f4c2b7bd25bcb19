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

/* ---- Who waits ---- */

/* On the way through those who wait. An operation that never waits keeps the place while the lock is dropped. */
struct scan {
    struct operation place;
    struct list_node *next;
    uint32_t work;
};

static void scan_begin(struct pager *pager, struct scan *scan) REQUIRES(&pager->lock)
{
    *scan = (struct scan){.place.waiter.is_operation = true, .next = list_first(&pager->faults.waiters)};
}

static void pause(struct pager *pager) REQUIRES(&pager->lock)
{
    spinlock_release(&pager->lock);
    arch_irq_poll();
    spinlock_acquire(&pager->lock);
}

/* nullptr: nobody is left, and the lock was not dropped since that is so. */
static struct thread *scan_next(struct pager *pager, struct scan *scan) REQUIRES(&pager->lock)
{
    constexpr uint32_t AT_ONCE = 64;
    struct list *waiters = &pager->faults.waiters;
    for (struct list_node *node, *place = &scan->place.waiter.node; (node = scan->next) != nullptr;) {
        if (scan->work++ >= AT_ONCE) {
            scan->work = 0;
            list_insert_before(node, place);
            pause(pager);
            scan->next = list_next(waiters, place);
            list_remove(place);
            continue;
        }
        scan->next = list_next(waiters, node);
        struct waiter *waiter = container_of(node, struct waiter, node);
        if (!waiter->is_operation)
            return waiter_thread(waiter);
    }
    return nullptr;
}

struct request {
    uint64_t id, page, key, access;
};

static bool is_for(const struct thread *thread, const struct request *request)
{
    return thread->wait_arg == request->page && fault_memory(thread) == request->id;
}

/* All who wait for the page count as told. False: somebody was told before, so the pager knows of it. */
static bool mark_told(struct pager *pager, struct request *request) REQUIRES(&pager->lock)
{
    struct scan scan;
    bool is_news = true;
    scan_begin(pager, &scan);
    for (struct thread *thread; (thread = scan_next(pager, &scan)) != nullptr;) {
        if (!is_for(thread, request))
            continue;
        is_news = is_news && (thread->wait_bits & FAULT_TOLD) == 0;
        request->access |= thread->wait_bits & FAULT_ACCESS;
        thread->wait_bits |= FAULT_TOLD;
    }
    return is_news;
}

static void unmark_told(struct pager *pager, const struct request *request) REQUIRES(&pager->lock)
{
    struct scan scan;
    scan_begin(pager, &scan);
    for (struct thread *thread; (thread = scan_next(pager, &scan)) != nullptr;)
        if (is_for(thread, request))
            thread->wait_bits &= ~FAULT_TOLD;
}

/* The first page that somebody waits for and the pager was not told of. False: there is none. */
static bool tell(struct pager *pager, struct request *out_request) REQUIRES(&pager->lock)
{
    struct scan scan;
    struct thread *thread;
    do {
        scan_begin(pager, &scan);
        while ((thread = scan_next(pager, &scan)) != nullptr && (thread->wait_bits & FAULT_TOLD) != 0)
            ;
        if (thread == nullptr)
            return false;
        *out_request = (struct request){.id = fault_memory(thread), .page = thread->wait_arg, .key = thread->fault_key};
    } while (!mark_told(pager, out_request));
    return true;
}

static void telling_begin(struct pager *pager) REQUIRES(&pager->lock)
{
    while (pager->is_telling) {
        arch_cpu_relax();
        pause(pager);
    }
    pager->is_telling = true;
}

static struct waiter *claim_taker(struct pager *pager) REQUIRES(&pager->lock)
{
    list_for_each (node, &pager->takers.waiters) {
        struct waiter *waiter = container_of(node, struct waiter, node);
        if (!waiter_claim_any(waiter))
            continue; /* whoever ends its wait unlinks it */
        list_remove(node);
        return waiter;
    }
    return nullptr;
}

/* Those who ask for requests get what there is by now. */
static void serve_takers(struct pager *pager)
{
    struct request request;
    spinlock_acquire(&pager->lock);
    telling_begin(pager);
    while (!list_is_empty(&pager->takers.waiters) && tell(pager, &request)) {
        struct waiter *taker = claim_taker(pager);
        if (taker == nullptr) {
            unmark_told(pager, &request); /* they all gave up meanwhile */
            break;
        }
        const uint64_t words[] = {request.key, request.page << PAGE_SHIFT, PAGE_SIZE, request.access};
        waiter_end(taker, OK, words, ARRAY_LENGTH(words));
    }
    pager->is_telling = false;
    spinlock_release(&pager->lock);
}

static void join_locked(struct pager *pager, struct thread *thread, struct memory *memory, uint64_t index) REQUIRES(&pager->lock)
{
    uint32_t access = (thread->fault_access & PROT_WRITE ? UPCALL_WRITE : 0) | (thread->fault_access & PROT_EXEC ? UPCALL_EXECUTE : 0);
    thread->wait_arg = index;
    thread->wait_bits = memory->object.id << FAULT_ID_SHIFT | access;
    thread->fault_key = memory->pager_key;
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
    struct pager *pager = nullptr;
    status_t status = OK;
    spinlock_acquire(&vspace->lock);
    struct region *region = region_at_or_after(vspace, address);
    if (region != nullptr && region->start <= address && (region->prot & access) == access && region->memory != nullptr) {
        struct memory *memory = region->memory;
        spinlock_acquire(&memory->lock);
        pager = memory->pager; /* stays readable for this kernel entry */
        status = wait_locked(thread, memory, region->offset_pages + ((address - region->start) >> PAGE_SHIFT));
        spinlock_release(&memory->lock);
    }
    spinlock_release(&vspace->lock);
    if (status == STATUS_BLOCKED)
        serve_takers(pager);
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

/* Ends the waits for these pages. */
static void end_waits(struct pager *pager, uint64_t id, uint64_t first, uint64_t count, status_t status)
{
    constexpr uint32_t WORK = 12; /* as much as to pass over so many */
    struct scan scan;
    spinlock_acquire(&pager->lock);
    scan_begin(pager, &scan);
    for (struct thread *thread; (thread = scan_next(pager, &scan)) != nullptr;) {
        if (fault_memory(thread) != id || thread->wait_arg - first >= count || !waiter_claim_any(&thread->waiter))
            continue; /* one whose wait somebody else ends is unlinked by him */
        list_remove(&thread->wait_node);
        waiter_end(&thread->waiter, status, nullptr, 0);
        scan.work += WORK;
    }
    spinlock_release(&pager->lock);
    arch_irq_poll();
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
    struct request request = {};
    status_t status = OK;
    spinlock_acquire(&self->lock);
    telling_begin(self);
    bool is_told = tell(self, &request);
    self->is_telling = false;
    if (!is_told)
        status = !object_is_alive(&self->object) ? ERROR_PEER_DIED
                 : inv->aux == DEADLINE_NOW      ? ERROR_TIMED_OUT
                                                 : wait_begin(inv, &self->takers, &self->object, 0, 0);
    spinlock_release(&self->lock);
    *out_key = request.key;
    *out_offset = request.page << PAGE_SHIFT;
    *out_size = is_told ? PAGE_SIZE : 0;
    *out_access = (uint32_t)request.access;
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
