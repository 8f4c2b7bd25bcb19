/* Cells: the tree of domains, what is ready in each on every CPU, and the end of all that one holds (kernel/cell.h). */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/audit.h>
#include <kernel/cell.h>
#include <kernel/page.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/sched_budget.h>
#include <kernel/untyped.h>
#include <kernel/vspace.h>
#include <tess/string.h>

constexpr uint32_t CELL_LIMIT_KINDS = CELL_LIMIT_CALLS + 1;

struct cell cell_root;
static struct list cell_all = LIST_INITIALIZER(cell_all);
static struct spinlock cell_all_lock;

static uint32_t shares_size(void) { return cpu_count * (uint32_t)sizeof(struct cell_share); }

static void setup(struct cell *cell, uint32_t weight)
{
    cell->weight = weight;
    list_init(&cell->children);
    list_init(&cell->processes);
    throttle_init(&cell->throttle, &cell->object);
    for (uint32_t kind = 0; kind < CELL_LIMIT_KINDS; kind++)
        atomic_store(&cell->limits[kind].limit, UINT64_MAX);
    spinlock_acquire(&cell_all_lock);
    list_push_back(&cell_all, &cell->all_node);
    spinlock_release(&cell_all_lock);
}

void cell_init(void)
{
    static_assert(CPU_MAX * sizeof(struct cell_share) <= 2 * PAGE_SIZE);
    paddr_t page = page_alloc(shares_size() > PAGE_SIZE ? 1 : 0);
    if (page == 0)
        panic("not enough memory for the root cell");
    cell_root.shares = phys_to_virt(page);
    memset(cell_root.shares, 0, shares_size());
    object_init_static(&cell_root.object, OBJECT_CELL, sizeof(cell_root));
    memcpy(cell_root.name, "root", 4);
    cell_root.depth = 1;
    cell_root.sched_limit = SCHED_ROOT_PPM * cpu_count;
    setup(&cell_root, THREAD_WEIGHT_DEFAULT);
}

/* ---- Limits ---- */

/* Of what is charged at the same time in several cells, each may be refused though one would fit; nobody gets more than fits. */
bool cell_charge(struct cell *cell, uint32_t kind, uint64_t count)
{
    for (struct cell *at = cell; at != nullptr; at = at->parent) {
        uint64_t before = atomic_fetch_add(&at->limits[kind].used, count);
        if (count != 0 && before + count > atomic_load(&at->limits[kind].limit)) {
            for (struct cell *undone = cell;; undone = undone->parent) {
                atomic_fetch_sub(&undone->limits[kind].used, count);
                if (undone == at)
                    return false;
            }
        }
    }
    return true;
}

void cell_uncharge(struct cell *cell, uint32_t kind, uint64_t count)
{
    for (; cell != nullptr; cell = cell->parent)
        atomic_fetch_sub(&cell->limits[kind].used, count);
}

status_t cell_set_limit(struct invocation *inv, struct cell *self, uint32_t kind, uint64_t limit)
{
    (void)inv;
    if (kind >= CELL_LIMIT_KINDS)
        return ERROR_BAD_ARGUMENT;
    atomic_store(&self->limits[kind].limit, limit);
    return OK;
}

/* ---- Load ---- */

/* ---- What it holds ---- */

status_t cell_add_process(struct cell *cell, struct process *process)
{
    spinlock_acquire(&cell->lock);
    bool is_killed = cell->is_killed;
    if (!is_killed) {
        list_push_front(&cell->processes, &process->cell_node);
        peekable_set(cell->process_count, cell->process_count + 1);
    }
    spinlock_release(&cell->lock);
    if (is_killed)
        return ERROR_PEER_DIED;
    object_get(&cell->object);
    process->cell = cell;
    return OK;
}

void cell_remove_process(struct cell *cell, struct process *process)
{
    spinlock_acquire(&cell->lock);
    list_remove(&process->cell_node);
    peekable_set(cell->process_count, cell->process_count - 1);
    spinlock_release(&cell->lock);
    object_put(&cell->object);
}

/* The next process that was not told to end yet, counted; nullptr: none. Those that were are at the end of the list. */
static struct process *take_process(struct cell *cell)
{
    struct process *found = nullptr;
    spinlock_acquire(&cell->lock);
    cell->is_killed = true;
    for (struct list_node *node; found == nullptr && (node = list_first(&cell->processes)) != nullptr;) {
        struct process *process = container_of(node, struct process, cell_node);
        if (process->was_told)
            break;
        process->was_told = true;
        list_remove(node);
        list_push_back(&cell->processes, node);
        if (object_try_get(&process->object))
            found = process;
    }
    spinlock_release(&cell->lock);
    return found;
}

/* A child that may hold something still, readable for this kernel entry; nullptr: none. */
static struct cell *next_child(struct cell *cell, struct cell *emptied)
{
    struct cell *found = nullptr;
    spinlock_acquire(&cell->lock);
    if (emptied != nullptr && !emptied->was_emptied && list_node_is_linked(&emptied->sibling)) {
        emptied->was_emptied = true;
        list_remove(&emptied->sibling);
        list_push_back(&cell->children, &emptied->sibling);
    }
    struct list_node *node = list_first(&cell->children);
    if (node != nullptr && !container_of(node, struct cell, sibling)->was_emptied)
        found = container_of(node, struct cell, sibling);
    spinlock_release(&cell->lock);
    return found;
}

/* Tells a bounded number of processes to end; true when some may be left. */
static bool kill_step(struct cell *cell)
{
    constexpr uint32_t STEP = 16;
    struct cell *at = cell, *emptied = nullptr;
    for (uint32_t done = 0; done < STEP;) {
        struct process *process = take_process(at);
        if (process != nullptr) {
            process_end(process, EXIT_KILLED, -1);
            object_put(&process->object);
            done++;
            continue;
        }
        struct cell *child = next_child(at, emptied);
        emptied = nullptr;
        if (child != nullptr) {
            at = child;
        } else if (at == cell) {
            return false;
        } else {
            emptied = at;
            at = at->parent;
            done++;
        }
    }
    return true;
}

static void cell_class_kill(struct object *object)
{
    while (kill_step((struct cell *)object))
        ;
    throttle_open(&((struct cell *)object)->throttle);
}

static bool cell_class_destroy(struct object *object)
{
    struct cell *cell = (struct cell *)object;
    for (uint32_t cpu = 0; cpu < cpu_count; cpu++)
        run_queue_disown(cpus[cpu]->run_queue, cell);
    for (uint32_t cpu = 0; cpu < cpu_count; cpu++)
        run_queue_forget(cpus[cpu]->run_queue, &cell->throttle);
    spinlock_acquire(&cell_all_lock);
    list_remove(&cell->all_node);
    spinlock_release(&cell_all_lock);
    if (cell->parent != nullptr) {
        spinlock_acquire(&cell->parent->lock);
        list_remove(&cell->sibling);
        spinlock_release(&cell->parent->lock);
        (void)cell_give_ppm(cell->parent, -(int64_t)cell->sched_limit);
        object_put(&cell->parent->object);
    }
    untyped_cell_free(object->untyped, OBJECT_CELL, cell->shares, shares_size());
    return true;
}

const struct object_class cell_class = {.kill = cell_class_kill, .destroy = cell_class_destroy};

/* ---- Methods ---- */

status_t untyped_create_cell(struct invocation *inv, struct untyped *self, const struct cap *parent_cap, uint32_t weight,
                             const uint8_t name[16], handle_t *out_cell)
{
    struct cell *parent = (struct cell *)parent_cap->object, *cell;
    if (weight == 0 || weight > WEIGHT_MAX)
        return ERROR_BAD_ARGUMENT;
    if (parent->depth == CELL_DEPTH_MAX)
        return ERROR_OVERFLOW;
    if (shares_size() > PAGE_SIZE)
        return ERROR_UNSUPPORTED;
    struct cell_share *shares = untyped_cell_alloc(self, OBJECT_CELL, shares_size());
    if (shares == nullptr)
        return ERROR_NO_MEMORY;
    status_t status = object_create(self, OBJECT_CELL, sizeof(struct cell), (void **)&cell);
    if (status != OK) {
        untyped_cell_free(self, OBJECT_CELL, shares, shares_size());
        return status;
    }
    cell->shares = shares;
    cell->depth = parent->depth + 1;
    memcpy(cell->name, name, sizeof(cell->name));
    cell->name[sizeof(cell->name) - 1] = 0;
    setup(cell, weight);
    list_node_init(&cell->sibling);
    spinlock_acquire(&parent->lock);
    bool is_killed = parent->is_killed;
    if (!is_killed) {
        object_get(&parent->object);
        cell->parent = parent;
        peekable_set(cell->quota, parent->quota);
        list_push_front(&parent->children, &cell->sibling);
    }
    spinlock_release(&parent->lock);
    if (is_killed) {
        object_put(&cell->object);
        return ERROR_PEER_DIED;
    }
    return invocation_give(inv, &cell->object, RIGHTS_ALL, out_cell);
}

status_t cell_create_process(struct invocation *inv, struct cell *self, const struct cap *untyped, const struct cap *vspace,
                             const struct cap *cspace, const uint8_t name[16], handle_t *out_process)
{
    struct process *process;
    status_t status = process_create((struct untyped *)untyped->object, self, (struct vspace *)vspace->object,
                                     (struct cspace *)cspace->object, (const char *)name, &process);
    if (status != OK)
        return status;
    audit_process(AUDIT_PROCESS, inv->cspace, process, 0);
    return invocation_give(inv, &process->object, RIGHTS_ALL, out_process);
}

status_t cell_set_weight(struct invocation *inv, struct cell *self, uint32_t weight)
{
    (void)inv;
    if (weight == 0 || weight > WEIGHT_MAX)
        return ERROR_BAD_ARGUMENT;
    peekable_set(self->weight, weight);
    return OK;
}

/* A quota stays, once there was one: without a limit, if so said. */
status_t cell_set_quota(struct invocation *inv, struct cell *self, uint64_t budget_ns, uint64_t period_ns)
{
    (void)inv;
    if (budget_ns != 0 && (period_ns < SCHED_PERIOD_MIN_NS || period_ns > SCHED_PERIOD_MAX_NS || budget_ns < SCHED_BUDGET_MIN_NS))
        return ERROR_BAD_ARGUMENT;
    if (self->parent == nullptr)
        return ERROR_REFUSED;
    if (budget_ns > period_ns * cpu_count)
        budget_ns = period_ns * cpu_count;
    spinlock_acquire(&self->lock);
    bool is_new = self->quota != self;
    bool is_busy = is_new && !list_is_empty(&self->children);
    if (!is_busy) {
        peekable_set(self->quota_ns, budget_ns);
        peekable_set(self->quota_period_ns, budget_ns != 0 ? period_ns : 0);
        peekable_set(self->quota, self);
    }
    spinlock_release(&self->lock);
    if (is_busy)
        return ERROR_BUSY;
    if (budget_ns == 0)
        throttle_open(&self->throttle);
    else
        throttle_change(&self->throttle, budget_ns, period_ns, cpu_count);
    for (uint32_t cpu = 0; is_new && cpu < cpu_count; cpu++) /* what runs there runs without */
        if (run_queue_regrant(cpus[cpu]->run_queue, self))
            sched_kick(cpu);
    return OK;
}

status_t cell_kill(struct invocation *inv, struct cell *self)
{
    if (kill_step(self))
        return ERROR_RESTART;
    audit_did(AUDIT_KILL, inv->cspace, &self->object, 0, 0);
    return OK;
}

static void describe(struct cell *cell, struct tess_cell_info *out_info)
{
    uint64_t ticks = 0;
    for (uint32_t cpu = 0; cpu < cpu_count; cpu++)
        ticks += run_queue_cell_ticks(cpus[cpu]->run_queue, cell);
    uint64_t left_ns, used_ns, throttled;
    throttle_describe(&cell->throttle, &left_ns, &used_ns, &throttled);
    *out_info = (struct tess_cell_info){
        .id = cell->object.id,
        .parent_id = cell->parent != nullptr ? cell->parent->object.id : 0,
        .weight = peek(cell->weight),
        .process_count = peek(cell->process_count),
        .cpu_ns = arch_counter_ns(ticks),
        .memory_pages = peek(cell->object.untyped->used_pages),
        .limit_pages = cell->object.untyped->limit_pages,
        .quota_ns = peek(cell->quota_ns),
        .quota_period_ns = peek(cell->quota_period_ns),
        .throttled = throttled,
        .sched_ppm = peek(cell->sched_given),
        .sched_limit_ppm = peek(cell->sched_limit),
        .handles = atomic_load(&cell->limits[CELL_LIMIT_HANDLES].used),
        .handle_limit = atomic_load(&cell->limits[CELL_LIMIT_HANDLES].limit),
        .calls = atomic_load(&cell->limits[CELL_LIMIT_CALLS].used),
        .call_limit = atomic_load(&cell->limits[CELL_LIMIT_CALLS].limit),
    };
    memcpy(out_info->name, cell->name, sizeof(out_info->name));
}

status_t cell_info(struct invocation *inv, struct cell *self, uint64_t address)
{
    struct tess_cell_info info;
    describe(self, &info);
    return user_copy_out(inv->thread->process->vspace, address, &info, sizeof(info));
}

status_t system_cell_next(struct invocation *inv, struct system *self, uint64_t after_id, uint64_t address)
{
    (void)self;
    struct cell *found = nullptr;
    spinlock_acquire(&cell_all_lock);
    list_for_each (node, &cell_all) {
        struct cell *cell = container_of(node, struct cell, all_node);
        uint64_t id = cell->object.id;
        if (id > after_id && (found == nullptr || id < found->object.id) && atomic_load(&cell->object.refs) != 0)
            found = cell;
    }
    if (found != nullptr && !object_try_get(&found->object))
        found = nullptr;
    spinlock_release(&cell_all_lock);
    if (found == nullptr)
        return ERROR_NOT_FOUND;
    struct tess_cell_info info;
    describe(found, &info);
    object_put(&found->object);
    return user_copy_out(inv->thread->process->vspace, address, &info, sizeof(info));
}
