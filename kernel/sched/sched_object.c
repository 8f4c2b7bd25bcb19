/*
 * Sched objects (kernel/sched_budget.h). bind_lock guards which thread is bound to which; a thread's own lock what it runs on; admission_lock
 * what cells have given out.
 */
#include <arch/arch.h>
#include <kernel/abi_dispatch.h>
#include <kernel/cell.h>
#include <kernel/clock.h>
#include <kernel/process.h>
#include <kernel/sched.h>
#include <kernel/sched_budget.h>
#include <kernel/vspace.h>

static struct spinlock bind_lock, admission_lock;

/* ---- Admission ---- */

bool cell_give_ppm(struct cell *cell, int64_t ppm)
{
    spinlock_acquire(&admission_lock);
    uint64_t given = cell->sched_given + (uint64_t)ppm;
    bool has_enough = ppm <= 0 || given <= cell->sched_limit;
    if (has_enough)
        peekable_set(cell->sched_given, given);
    spinlock_release(&admission_lock);
    return has_enough;
}

status_t cell_set_sched_limit(struct invocation *inv, struct cell *self, const struct cap *child_cap, uint64_t ppm)
{
    (void)inv;
    struct cell *child = (struct cell *)child_cap->object;
    if (ppm > SCHED_PPM * CPU_MAX)
        return ERROR_BAD_ARGUMENT;
    if (child->parent != self)
        return ERROR_REFUSED;
    spinlock_acquire(&admission_lock);
    uint64_t given = self->sched_given - child->sched_limit + ppm;
    bool has_enough = given <= self->sched_limit && child->sched_given <= ppm;
    if (has_enough) {
        peekable_set(self->sched_given, given);
        peekable_set(child->sched_limit, ppm);
    }
    spinlock_release(&admission_lock);
    return has_enough ? OK : ERROR_OVERCOMMITTED;
}

/* ---- Binding ---- */

/* What it is bound to, unless it answers somebody on a budget. */
static void set_runs_on_locked(struct thread *thread) REQUIRES(&thread->lock)
{
    peekable_set(thread->runs_on, thread->loan != nullptr ? thread->loan : peek(thread->sched));
    /* Both go when nothing is left to do: admit_budgeted(). */
    atomic_fetch_or(&thread->long_way, THREAD_LONG_WAY_BUDGET);
    atomic_fetch_or(&thread->pending, THREAD_PENDING_BUDGET);
}

static void set_runs_on(struct thread *thread)
{
    spinlock_acquire(&thread->lock);
    set_runs_on_locked(thread);
    spinlock_release(&thread->lock);
    sched_budget_changed(thread);
}

static void unbind_locked(struct thread *thread) REQUIRES(&bind_lock)
{
    thread->sched->thread_count--;
    peekable_set(thread->sched, nullptr);
    list_remove(&thread->sched_node);
    set_runs_on(thread);
}

void sched_thread_gone(struct thread *thread)
{
    if (peek(thread->sched) == nullptr)
        return;
    spinlock_acquire(&bind_lock);
    if (thread->sched != nullptr)
        unbind_locked(thread);
    spinlock_release(&bind_lock);
}

static void sched_class_kill(struct object *object)
{
    struct sched *sched = (struct sched *)object;
    spinlock_acquire(&bind_lock);
    struct list_node *node;
    while ((node = list_first(&sched->threads)) != nullptr)
        unbind_locked(container_of(node, struct thread, sched_node));
    spinlock_release(&bind_lock);
    throttle_open(&sched->throttle);
    (void)cell_give_ppm(sched->cell, -(int64_t)sched->ppm);
}

static bool sched_class_destroy(struct object *object)
{
    struct sched *sched = (struct sched *)object;
    for (uint32_t cpu = 0; cpu < cpu_count; cpu++)
        run_queue_forget(cpus[cpu]->run_queue, &sched->throttle);
    object_put(&sched->cell->object);
    return true;
}

const struct object_class sched_class = {.kill = sched_class_kill, .destroy = sched_class_destroy};

/* ---- Lending ---- */

void sched_lend_budgeted(struct thread *from, struct thread *to)
{
    /* Whoever takes a loan of `from` back changes from->runs_on and then looks at from->awaits and, under the lock of who owes, at its loan; here
     * it is the other way round. */
    atomic_thread_fence(memory_order_seq_cst);
    spinlock_acquire(&to->lock);
    struct sched *sched = peek(from->runs_on);
    uint32_t depth = peek(from->loan) != nullptr ? peek(from->loan_depth) + 1 : 1;
    bool is_lent = sched != nullptr && to->loan == nullptr && depth <= SCHED_LOAN_DEPTH && object_try_get(&sched->object);
    if (is_lent) {
        peekable_set(to->loan, sched);
        peekable_set(to->loan_depth, depth);
        to->due = from->due;
        set_runs_on_locked(to);
    }
    spinlock_release(&to->lock);
    if (is_lent)
        sched_budget_changed(to); /* the current thread: it goes on on another place */
}

/* If it owes `caller` its answer (any: nullptr). */
static bool take_back(struct thread *thread, const struct waiter *caller)
{
    spinlock_acquire(&thread->lock);
    struct sched *loan = caller == nullptr || thread->owed.caller == caller ? thread->loan : nullptr;
    if (loan != nullptr) {
        peekable_set(thread->loan, nullptr);
        set_runs_on_locked(thread);
    }
    spinlock_release(&thread->lock);
    if (loan == nullptr)
        return false;
    sched_budget_changed(thread);
    object_put(&loan->object);
    return true;
}

void sched_lend_take_back(struct thread *thread)
{
    /* And what it lent on: whom it waits for owes it an answer, and stays readable for this kernel entry. */
    const struct waiter *caller = nullptr;
    while (take_back(thread, caller)) {
        struct debt *debt = peek(thread->awaits);
        if (debt == nullptr || debt->kind != DEBT_THREAD)
            return;
        caller = &thread->waiter;
        thread = container_of(debt, struct thread, owed);
    }
}

/* ---- Methods ---- */

status_t untyped_create_sched(struct invocation *inv, struct untyped *self, const struct cap *cell_cap, uint64_t budget_ns,
                              uint64_t period_ns, handle_t *out_sched)
{
    struct cell *cell = (struct cell *)cell_cap->object;
    if (period_ns < SCHED_PERIOD_MIN_NS || period_ns > SCHED_PERIOD_MAX_NS || budget_ns < SCHED_BUDGET_MIN_NS ||
        budget_ns > period_ns * cpu_count)
        return ERROR_BAD_ARGUMENT;
    struct sched *sched;
    status_t status = object_create(self, OBJECT_SCHED, sizeof(struct sched), (void **)&sched);
    if (status != OK)
        return status;
    object_get(&cell->object);
    sched->cell = cell;
    sched->budget_ns = budget_ns;
    sched->period_ns = period_ns;
    sched->period_ticks = throttle_ticks(period_ns);
    list_init(&sched->threads);
    throttle_init(&sched->throttle, &sched->object);
    uint64_t ppm = (budget_ns * SCHED_PPM + period_ns - 1) / period_ns;
    if (!cell_give_ppm(cell, (int64_t)ppm)) {
        object_put(&sched->object);
        return ERROR_OVERCOMMITTED;
    }
    sched->ppm = ppm;
    throttle_change(&sched->throttle, budget_ns, period_ns, 1);
    return invocation_give(inv, &sched->object, RIGHTS_ALL, out_sched);
}

/* How many CPUs may use it at once: as many as threads were ever bound at a time. */
static void set_ways(struct sched *sched) REQUIRES(&bind_lock)
{
    uint32_t ways = sched->thread_count < cpu_count ? sched->thread_count : cpu_count;
    if (ways > sched->ways)
        throttle_change(&sched->throttle, sched->budget_ns, sched->period_ns, sched->ways = ways);
}

status_t sched_bind(struct invocation *inv, struct sched *self, const struct cap *thread_cap)
{
    (void)inv;
    struct thread *thread = thread_from_object(thread_cap->object);
    status_t status = OK;
    spinlock_acquire(&bind_lock);
    if (thread->sched != nullptr)
        status = ERROR_BUSY;
    else if (!object_is_alive(&self->object))
        status = ERROR_PEER_DIED;
    else if (self->thread_count == SCHED_THREADS_MAX)
        status = ERROR_NO_SPACE;
    if (status == OK) {
        peekable_set(thread->sched, self);
        list_push_back(&self->threads, &thread->sched_node);
        self->thread_count++;
        set_ways(self);
        atomic_thread_fence(memory_order_seq_cst); /* thread_finish() looks the other way round */
        if (peek(thread->is_finished)) {
            unbind_locked(thread);
            status = ERROR_PEER_DIED;
        } else {
            set_runs_on(thread);
        }
    }
    spinlock_release(&bind_lock);
    return status;
}

status_t sched_unbind(struct invocation *inv, struct sched *self, const struct cap *thread_cap)
{
    (void)inv;
    struct thread *thread = thread_from_object(thread_cap->object);
    spinlock_acquire(&bind_lock);
    bool is_bound = thread->sched == self;
    if (is_bound)
        unbind_locked(thread);
    spinlock_release(&bind_lock);
    return is_bound ? OK : ERROR_NOT_FOUND;
}

status_t sched_info(struct invocation *inv, struct sched *self, uint64_t address)
{
    struct tess_sched_info info = {.budget_ns = self->budget_ns, .period_ns = self->period_ns};
    throttle_describe(&self->throttle, &info.left_ns, &info.used_ns, &info.depletions);
    spinlock_acquire(&bind_lock);
    info.thread_count = self->thread_count;
    spinlock_release(&bind_lock);
    return user_copy_out(inv->thread->process->vspace, address, &info, sizeof(info));
}
