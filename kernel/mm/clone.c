/* memory.clone, vspace.clone, and the record of a clone under way (clone.h). */
#include <kernel/abi_dispatch.h>
#include <kernel/clone.h>
#include <kernel/process.h>
#include <kernel/region.h>
#include <kernel/untyped.h>
#include <tess/string.h>

static void put(struct object *object)
{
    if (object != nullptr)
        object_put(object);
}

static bool is_same_call(const struct clone_work *work, const struct invocation *inv)
{
    return work->op == inv->op && work->target == inv->object && memcmp(work->words, inv->words, op_words(inv->op) * 8) == 0;
}

status_t clone_work_get(struct invocation *inv, struct untyped *untyped, struct clone_work **out_work)
{
    static_assert(sizeof(struct clone_work) <= 512);
    struct thread *thread = inv->thread;
    if (thread->clone_work == nullptr || !is_same_call(thread->clone_work, inv)) {
        clone_work_end(thread);
        struct clone_work *work = untyped_cell_alloc(untyped, OBJECT_THREAD, sizeof(struct clone_work));
        if (work == nullptr)
            return ERROR_NO_MEMORY;
        work->untyped = untyped;
        work->target = inv->object;
        work->op = inv->op;
        memcpy(work->words, inv->words, op_words(inv->op) * 8);
        object_get(&untyped->object);
        object_get(inv->object);
        thread->clone_work = work;
    }
    *out_work = thread->clone_work;
    return OK;
}

static void memory_in_hand_end(struct clone_work *work)
{
    put(work->source != nullptr ? &work->source->object : nullptr);
    put(work->copy != nullptr ? &work->copy->object : nullptr);
    work->source = work->copy = nullptr;
}

void clone_work_end(struct thread *thread)
{
    struct clone_work *work = thread->clone_work;
    if (work == nullptr)
        return;
    thread->clone_work = nullptr;
    memory_in_hand_end(work);
    if (work->thread != nullptr) {
        thread_kill(work->thread);
        object_put(&work->thread->object);
    }
    put(work->process != nullptr ? &work->process->object : nullptr);
    put(work->vspace != nullptr ? &work->vspace->object : nullptr);
    put(work->cspace != nullptr ? &work->cspace->object : nullptr);
    struct untyped *untyped = work->untyped;
    put(work->target);
    untyped_cell_free(untyped, OBJECT_THREAD, work, sizeof(struct clone_work));
    object_put(&untyped->object);
}

/* Takes the source in hand, and makes an empty memory for its copy. */
static status_t memory_in_hand_begin(struct clone_work *work, struct memory *source, struct untyped *untyped, uint64_t first,
                                     uint64_t count)
{
    struct memory *copy;
    status_t status = memory_create(untyped, count, source->is_resizable ? MEMORY_RESIZABLE : 0, &copy);
    if (status != OK)
        return status;
    copy->source_id = source->object.id;
    object_get(&source->object);
    work->source = source;
    work->copy = copy;
    work->first = first;
    work->count = count;
    work->cursor = 0;
    return object_publish(&copy->object); /* from now on it ends with its untyped */
}

static status_t memory_in_hand_step(struct clone_work *work)
{
    return memory_clone_step(work->source, work->copy, work->first, work->count, &work->cursor);
}

status_t memory_clone(struct invocation *inv, struct memory *self, const struct cap *untyped, uint64_t offset, uint64_t size,
                      handle_t *out_memory)
{
    uint64_t end;
    if (((offset | size) & (PAGE_SIZE - 1)) != 0 || size == 0 || ckd_add(&end, offset, size) || end > peek(self->size_pages) << PAGE_SHIFT)
        return ERROR_BAD_ARGUMENT;
    if (self->kind == MEMORY_KIND_DEVICE || self->is_paged)
        return ERROR_UNSUPPORTED;
    struct clone_work *work;
    struct untyped *payer = (struct untyped *)untyped->object;
    status_t status = clone_work_get(inv, payer, &work);
    if (status == OK && work->copy == nullptr)
        status = memory_in_hand_begin(work, self, payer, offset >> PAGE_SHIFT, size >> PAGE_SHIFT);
    if (status == OK)
        status = memory_in_hand_step(work);
    if (status == ERROR_RESTART)
        return status;
    if (status == OK)
        status = cspace_insert(inv->cspace, &work->copy->object, nullptr, RIGHTS_ALL, nullptr, out_memory);
    clone_work_end(inv->thread);
    return status;
}

/* ---- Address spaces ---- */

static uint32_t inherit_of(const struct region *region)
{
    if (region->memory == nullptr)
        return INHERIT_SHARE;
    if (region->inherit != INHERIT_DEFAULT)
        return region->inherit;
    return region->memory->kind == MEMORY_KIND_ANONYMOUS && !region->memory->is_paged ? INHERIT_COPY : INHERIT_SHARE;
}

/* The lowest address at which the vspace shows the memory in a region that is copied. */
static bool first_copied(struct vspace *vspace, struct memory *memory, vaddr_t *out_start)
{
    constexpr uint32_t AT_ONCE = 64;
    struct region place; /* in the list from the first pause on */
    region_place_init(&place);
    bool found = false;
    spinlock_acquire(&vspace->lock);
    spinlock_acquire(&memory->lock);
    uint64_t last_link = memory->link_count;
    uint32_t count = 0;
    for (struct list_node *node = &memory->regions.head; (node = list_next(&memory->regions, node)) != nullptr;) {
        struct region *region = container_of(node, struct region, memory_node);
        if (region_is_place(region))
            continue;
        if (region->link_number > last_link)
            break;
        if (region->vspace == vspace && inherit_of(region) == INHERIT_COPY && (!found || region->start < *out_start)) {
            *out_start = region->start;
            found = true;
        }
        if (++count % AT_ONCE == 0) {
            region_place_move(&place, node);
            spinlock_release(&memory->lock);
            vspace_pause(vspace);
            spinlock_acquire(&memory->lock);
            node = &place.memory_node;
        }
    }
    list_remove(&place.memory_node);
    spinlock_release(&memory->lock);
    spinlock_release(&vspace->lock);
    return found;
}

struct memory *vspace_clone_counterpart(struct vspace *source, struct vspace *clone, struct memory *memory)
{
    vaddr_t start = 0;
    if (!first_copied(source, memory, &start))
        return nullptr;
    spinlock_acquire(&clone->lock);
    struct region *region = region_at_or_after(clone, start);
    struct memory *copy = region != nullptr && region->start == start ? region->memory : nullptr;
    if (copy != nullptr && copy->source_id != memory->object.id)
        copy = nullptr;
    spinlock_release(&clone->lock);
    return copy; /* stays for this kernel entry */
}

/* Describes the next region in work->region; what it shows is counted. NOT_FOUND: there is none. */
static status_t next_region(struct clone_work *work, struct vspace *source, struct memory **out_memory)
{
    spinlock_acquire(&source->lock);
    vspace_settle(source);
    struct region *region = region_at_or_after(source, work->at);
    if (region != nullptr) {
        work->region = *region;
        /* One that begins below was mapped meanwhile; of what it took the place of there the clone has something already. */
        work->region.start = max_u64(region->start, work->at);
        work->region.offset_pages += (work->region.start - region->start) >> PAGE_SHIFT;
        work->region_inherit = region->inherit;
        work->region.inherit = (uint8_t)inherit_of(region);
        work->at = region->end;
        *out_memory = region->memory;
        if (region->memory != nullptr)
            object_get(&region->memory->object);
    }
    spinlock_release(&source->lock);
    return region != nullptr ? OK : ERROR_NOT_FOUND;
}

static status_t map_in_clone(struct clone_work *work, struct memory *memory)
{
    const struct region *r = &work->region;
    vaddr_t at;
    uint32_t flags = MAP_FIXED | (r->may_fault ? MAP_MAY_FAULT : 0);
    return vspace_map_memory(work->vspace, memory, r->offset_pages << PAGE_SHIFT, r->end - r->start, r->start, flags, r->prot, r->max_prot,
                             work->region_inherit, &at);
}

static status_t clone_region(struct clone_work *work, struct vspace *source, struct memory *memory, struct untyped *untyped)
{
    vaddr_t at;
    if (memory == nullptr)
        return vspace_map_bare(work->vspace, &work->region, MAP_FIXED, &at);
    if (work->region.inherit == INHERIT_SHARE)
        return map_in_clone(work, memory);
    struct memory *copy = vspace_clone_counterpart(source, work->vspace, memory);
    if (copy != nullptr)
        return map_in_clone(work, copy);
    return memory_in_hand_begin(work, memory, untyped, 0, peek(memory->size_pages));
}

status_t vspace_clone_step(struct clone_work *work, struct vspace *source, struct untyped *untyped)
{
    constexpr uint32_t STEP_REGIONS = 8;
    if (work->vspace == nullptr) {
        status_t status = vspace_create(untyped, &work->vspace);
        if (status == OK)
            status = object_publish(&work->vspace->object);
        if (status != OK)
            return status;
    }
    for (uint32_t done = 0; done < STEP_REGIONS; done++) {
        status_t status;
        if (work->copy != nullptr) {
            status = memory_in_hand_step(work);
            if (status == OK)
                status = map_in_clone(work, work->copy);
            if (status != OK)
                return status;
            memory_in_hand_end(work);
            continue;
        }
        struct memory *memory = nullptr;
        status = next_region(work, source, &memory);
        if (status == ERROR_NOT_FOUND)
            return OK;
        if (work->region.inherit != INHERIT_DROP)
            status = clone_region(work, source, memory, untyped);
        if (memory != nullptr)
            object_put(&memory->object);
        if (status != OK)
            return status;
        if (done % 4 == 3)
            arch_irq_poll();
    }
    return ERROR_RESTART;
}

status_t vspace_clone(struct invocation *inv, struct vspace *self, const struct cap *untyped, handle_t *out_vspace)
{
    struct clone_work *work;
    struct untyped *payer = (struct untyped *)untyped->object;
    status_t status = clone_work_get(inv, payer, &work);
    if (status == OK)
        status = vspace_clone_step(work, self, payer);
    if (status == ERROR_RESTART)
        return status;
    if (status == OK)
        status = cspace_insert(inv->cspace, &work->vspace->object, nullptr, RIGHTS_ALL, nullptr, out_vspace);
    clone_work_end(inv->thread);
    return status;
}
