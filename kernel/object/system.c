/* The read-only view of the whole system. */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/machine.h>
#include <kernel/page.h>
#include <kernel/page_cache.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>
#include <tess/string.h>

struct system system_object;

void system_init(void) { object_init_static(&system_object.object, OBJECT_SYSTEM, sizeof(system_object)); }

static status_t give(struct invocation *inv, uint64_t address, const void *record, uint64_t size)
{
    return user_copy_out(inv->thread->process->vspace, address, record, size);
}

status_t system_null(struct invocation *inv, struct system *self)
{
    (void)inv, (void)self;
    return OK;
}

status_t system_info(struct invocation *inv, struct system *self, uint64_t address)
{
    (void)self;
    struct tess_system_info info = {
        .time_ns = arch_time_ns(),
        .cpu_count = cpu_count,
        .dying_count = (uint32_t)reap_pending_count(),
        .ram_pages = page_ram_count(),
        .free_pages = page_free_count() + page_cache_count(),
        .kernel_pages = page_ram_count() - untyped_root->limit_pages,
        .process_count = object_count(OBJECT_PROCESS),
    };
    for (uint32_t i = 0; i < ARRAY_LENGTH(info.object_count); i++) {
        info.object_count[i] = object_count(i);
        info.object_pages[i] = object_pages(i);
    }
    return give(inv, address, &info, sizeof(info));
}

status_t system_lock(struct invocation *inv, struct system *self, uint32_t index, uint64_t address)
{
    (void)self;
    if (index >= lock_site_count())
        return ERROR_NOT_FOUND;
    struct tess_lock_info info = {};
    for (uint32_t i = 0; i < sizeof(info.name) - 1 && lock_sites_start[index].name[i] != '\0'; i++)
        info.name[i] = (uint8_t)lock_sites_start[index].name[i];
    for (uint32_t i = 0; i < cpu_count; i++)
        info.contended += peek(cpus[i]->lock_contended[index]);
    return give(inv, address, &info, sizeof(info));
}

status_t system_cpu(struct invocation *inv, struct system *self, uint32_t index, uint64_t address)
{
    (void)self;
    if (index >= cpu_count)
        return ERROR_NOT_FOUND;
    const struct cpu_stats *stats = &cpus[index]->stats;
    uint64_t now = arch_time_ns(), idle_ns = stats->idle_ns, since = stats->idle_since_ns;
    if (since != 0 && since < now)
        idle_ns += now - since;
    struct tess_cpu_info info = {
        .index = index,
        .is_online = atomic_load(&cpus[index]->is_online),
        .idle_ns = idle_ns,
        .busy_ns = now > idle_ns ? now - idle_ns : 0,
        .switches = stats->switches,
        .syscalls = stats->syscalls,
        .interrupts = stats->interrupts,
        .timer_interrupts = stats->timer_interrupts,
        .ipis = stats->ipis,
        .faults = stats->faults,
    };
    return give(inv, address, &info, sizeof(info));
}

struct process *process_find(uint64_t after, bool is_exact)
{
    struct process *found = nullptr;
    spinlock_acquire(&process_all_lock);
    list_for_each (node, &process_all) {
        struct process *process = container_of(node, struct process, all_node);
        bool fits = is_exact ? process->object.id == after : process->object.id > after;
        fits = fits && atomic_load(&process->object.refs) != 0; /* else it is on its way out */
        if (fits && (found == nullptr || process->object.id < found->object.id))
            found = process;
    }
    if (found != nullptr && !object_try_get(&found->object))
        found = nullptr;
    spinlock_release(&process_all_lock);
    return found;
}

status_t system_process_next(struct invocation *inv, struct system *self, uint64_t after_id, uint64_t address)
{
    (void)self;
    struct process *process = process_find(after_id, false);
    if (process == nullptr)
        return ERROR_NOT_FOUND;
    struct tess_process_info info;
    process_describe(process, &info);
    object_put(&process->object);
    return give(inv, address, &info, sizeof(info));
}

static void describe_handle(const struct cap *cap, struct tess_handle_info *info)
{
    info->type = cap->object->type;
    info->rights = cap->rights;
    info->badge = badge_number(cap->badge);
    info->object_id = cap->object->id;
    switch (cap->object->type) {
    case OBJECT_MEMORY: {
        struct memory *memory = (struct memory *)cap->object;
        info->detail[0] = peek(memory->size_pages) << PAGE_SHIFT;
        info->detail[1] = memory->kind == MEMORY_KIND_DEVICE;
        break;
    }
    case OBJECT_UNTYPED:
        info->detail[0] = ((struct untyped *)cap->object)->limit_pages;
        info->detail[1] = untyped_used_pages((struct untyped *)cap->object);
        break;
    case OBJECT_PROCESS: info->detail[0] = cap->object->id; break;
    case OBJECT_THREAD:
        info->detail[0] = cap->object->id;
        info->detail[1] = thread_from_object(cap->object)->process->object.id;
        break;
    case OBJECT_DMA: info->detail[0] = dma_pinned_pages((struct dma *)cap->object); break;
    case OBJECT_INTERRUPT: info->detail[0] = ((struct interrupt *)cap->object)->source; break;
    case OBJECT_IOPORTS:
        info->detail[0] = ((struct ioports *)cap->object)->base;
        info->detail[1] = ((struct ioports *)cap->object)->count;
        break;
    default: break;
    }
}

status_t system_handle_next(struct invocation *inv, struct system *self, uint64_t process_id, uint64_t after, uint64_t address)
{
    (void)self;
    struct process *process = process_find(process_id, true);
    if (process == nullptr)
        return ERROR_NOT_FOUND;
    struct tess_handle_info info = {};
    struct cap cap;
    uint64_t index = after == 0 ? 0 : (uint64_t)(uint32_t)after + 1;
    status_t status = cspace_next(process->cspace, &index, &info.handle, &cap);
    if (status == OK)
        describe_handle(&cap, &info);
    object_put(&process->object);
    return status == OK ? give(inv, address, &info, sizeof(info)) : status;
}
